//! A run folder: resolved config, metrics, stages, checkpoints, and the state that a resume goes on from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::file::{Checkpoint, CheckpointInfo, expect_readable, read_tensors, write_tensors};
use super::lock::RunLock;
use crate::error::{Error, Result};
use crate::files;
use crate::model::{MatmulBackend, Weights};
use crate::train::{Evaluation, Observer, Occasion, Progress, RunConfig, StageOutcome, Trainer};

pub(super) const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
pub(super) const STAGES: &str = "stages.json";
const STATE: &str = "resume.safetensors";
pub(super) const FINAL: &str = "final.safetensors";

/// What `stages.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagesFile {
    /// Steps done when the file was written.
    pub step: u64,
    /// Seconds of training until then.
    pub seconds: f64,
    /// Whether the run came to its end.
    pub finished: bool,
    /// Content hash of the training data.
    pub data_hash: String,
    /// Each stage with when it was reached, `null` where it was not.
    pub stages: Vec<StageOutcome>,
}

impl StagesFile {
    /// Reads the `stages.json` of the run in `folder`.
    ///
    /// # Errors
    /// When it is missing, damaged, or a stage in it is one that no config can have; the message names it.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STAGES);
        let file: Self = files::read_json(&path)?;
        for (place, outcome) in file.stages.iter().enumerate() {
            outcome.stage.check(place).map_err(|e| Error::file(&path, e))?;
        }
        Ok(file)
    }
}

/// A run on disk, locked for this process.
pub struct RunFolder {
    path: PathBuf,
    lock: RunLock,
    metrics: Vec<Evaluation>,
    last_good: Option<PathBuf>,
    saved: Instant,
}

impl RunFolder {
    /// Whether `path` holds a run.
    pub fn exists(path: &Path) -> bool {
        path.join(CONFIG).exists()
    }

    fn locked(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            lock: RunLock::acquire(path)?,
            metrics: Vec::new(),
            last_good: None,
            saved: Instant::now(),
        })
    }

    /// Makes a new run in `path` and locks it.
    ///
    /// # Errors
    /// When `path` holds a run already, is locked by another process, or cannot be written.
    pub fn create(path: &Path, config: &RunConfig) -> Result<Self> {
        let no_run = || {
            if Self::exists(path) {
                return Err(Error::file(
                    path,
                    "holds a run already; nothing was changed. Use --resume to go on with it, or choose another --out",
                ));
            }
            Ok(())
        };
        no_run()?;
        files::create_folder(path)?;
        let folder = Self::locked(path)?;
        // Another process may have made one before this one had the lock.
        no_run()?;
        folder.write_config(config)?;
        Ok(folder)
    }

    fn write_config(&self, config: &RunConfig) -> Result<()> {
        let path = self.path.join(CONFIG);
        let config = RunConfig {
            data: relative_to(&self.path, &config.data),
            ..config.clone()
        };
        let text = toml::to_string(&config).map_err(|e| Error::write(&path, e))?;
        files::write(&path, text.as_bytes())
    }

    /// Opens the run in `path`, locks it, and brings `trainer` to where it stopped. Another `train.steps` than the run had is
    /// allowed where no cooldown hangs on it; every other setting must be the run's.
    ///
    /// # Errors
    /// When there is no run, another process trains in it, its settings or data are others, or its files are damaged.
    pub fn resume(path: &Path, trainer: &mut Trainer) -> Result<Self> {
        expect_run(path)?;
        let mut folder = Self::locked(path)?;
        let config_path = path.join(CONFIG);
        let had = RunConfig::read(&config_path, &[])?;
        let wants = trainer.config();
        let mut others = had.differences(wants);
        // Where the data lie is of no account: their hash is compared.
        others.retain(|(key, ..)| key != "data" && (key != "train.steps" || wants.optimizer.cooldown > 0));
        if !others.is_empty() {
            let others = others
                .iter()
                .map(|(key, had, given)| format!("{key} is {had} in the run, {given} is given"));
            return Err(Error::file(
                &config_path,
                format!(
                    "the run has other settings than those given: {}; only train.steps may change, and only without a cooldown. \
                     Choose another --out for a new run, or go on with the run's own settings: loopscope train {} --resume",
                    others.collect::<Vec<_>>().join("; "),
                    path.display()
                ),
            ));
        }
        let state = path.join(STATE);
        // A run that stopped before its first save stands at its start.
        if state.exists() {
            folder.restore(&state, trainer)?;
        }
        if had.train.steps != trainer.config().train.steps {
            folder.write_config(trainer.config())?;
        }
        Ok(folder)
    }

    fn restore(&mut self, state: &Path, trainer: &mut Trainer) -> Result<()> {
        let (tensors, info) = read_tensors(state)?;
        let info = info.ok_or_else(|| Error::file(state, "has no loopscope metadata; it is no saved state"))?;
        let info: SavedState =
            serde_json::from_str(&info).map_err(|e| Error::file(state, format!("its metadata does not fit: {e}")))?;
        if info.data_hash != trainer.data().hash {
            return Err(Error::file(
                state,
                format!(
                    "the run trains on data {}, the folder given holds data {}",
                    info.data_hash,
                    trainer.data().hash
                ),
            ));
        }
        if info.progress.step > trainer.config().train.steps {
            return Err(Error::file(
                state,
                format!(
                    "the run has done {} steps already, more than train.steps = {}",
                    info.progress.step,
                    trainer.config().train.steps
                ),
            ));
        }
        if trainer.model().device().is_cpu() && info.matmul != trainer.model().backend().matmul() {
            tracing::warn!(
                "this run was trained with {}, here it goes on with {}: as good, but not bit for bit what it would have \
                 been. --portable makes every machine alike",
                info.matmul,
                trainer.model().backend().matmul()
            );
        }
        let device = trainer.model().device().clone();
        let find = |name: &str| -> Result<[Tensor; 3]> {
            let part = |kind: &str| -> Result<Tensor> {
                tensors
                    .get(&format!("{kind}.{name}"))
                    .ok_or_else(|| Error::file(state, format!("the tensor {kind}.{name} is missing")))
                    .and_then(|tensor| Ok(tensor.to_device(&device)?))
            };
            Ok([part("value")?, part("first_moment")?, part("second_moment")?])
        };
        let evaluated = info.progress.evaluated;
        trainer.restore(info.progress, find).map_err(|e| match e {
            Error::Input(reason) => Error::file(state, reason),
            other => other,
        })?;
        // What was written after the state was saved will be measured again.
        self.metrics = read_metrics(&self.path)?
            .into_iter()
            .filter(|line| Some(line.step) <= evaluated)
            .collect();
        self.write_metrics()?;
        self.last_good = Some(state.to_owned());
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_metrics(&self) -> Result<()> {
        let path = self.path.join(METRICS);
        let mut text = String::new();
        for line in &self.metrics {
            text.push_str(&serde_json::to_string(line).map_err(|e| Error::write(&path, e))?);
            text.push('\n');
        }
        files::write(&path, text.as_bytes())
    }

    fn save_state(&mut self, trainer: &Trainer) -> Result<()> {
        let tensors = trainer.parameters()?.into_iter().flat_map(|p| {
            [
                ("value", p.value),
                ("first_moment", p.first_moment),
                ("second_moment", p.second_moment),
            ]
            .map(|(kind, tensor)| (format!("{kind}.{}", p.name), tensor))
        });
        let info = SavedState {
            progress: trainer.progress(),
            data_hash: trainer.data().hash.clone(),
            matmul: trainer.model().backend().matmul(),
        };
        let path = self.path.join(STATE);
        expect_readable(&path, &info)?;
        write_tensors(&path, tensors, &info)?;
        self.last_good = Some(path);
        self.saved = Instant::now();
        self.write_stages(trainer)
    }

    fn write_stages(&self, trainer: &Trainer) -> Result<()> {
        let progress = trainer.progress();
        files::write_json(
            &self.path.join(STAGES),
            &StagesFile {
                step: progress.step,
                seconds: progress.seconds,
                finished: trainer.finished(),
                data_hash: trainer.data().hash.clone(),
                stages: progress.stages.outcomes,
            },
        )
    }

    fn write_checkpoint(&mut self, trainer: &Trainer, evaluation: &Evaluation, occasion: Occasion) -> Result<()> {
        let name = match occasion {
            Occasion::Stage(place) => stage_file(place, &trainer.progress().stages.outcomes[place].stage.name),
            Occasion::Growth => step_file(evaluation.step),
            Occasion::Final => FINAL.to_owned(),
        };
        let vocab = &trainer.data().vocab;
        let config = trainer.config();
        let info = CheckpointInfo {
            model: config.model.clone(),
            vocab_size: vocab.len(),
            vocab: Some(vocab.tokens().to_vec()),
            step: evaluation.step,
            epoch: evaluation.epoch,
            seed: Some(config.seed),
            data_hash: Some(trainer.data().hash.clone()),
            learned_hops: trainer.learned_hops(),
            accuracy: evaluation.accuracy.clone(),
        };
        let mut values: BTreeMap<String, Tensor> =
            trainer.parameters()?.into_iter().map(|p| (p.name, p.value)).collect();
        let weights = Weights::gather(&config.model, vocab.len(), |name| Ok(values.remove(name)))?;
        let path = self.path.join(name);
        Checkpoint::write(&path, &info, &weights)?;
        self.last_good = Some(path);
        Ok(())
    }
}

impl Observer for RunFolder {
    fn evaluated(&mut self, trainer: &Trainer, evaluation: &Evaluation, occasions: &[Occasion]) -> Result<()> {
        self.lock.check()?;
        self.metrics.push(evaluation.clone());
        self.write_metrics()?;
        for &occasion in occasions {
            self.write_checkpoint(trainer, evaluation, occasion)?;
        }
        let due = self.saved.elapsed().as_secs_f64() >= trainer.config().train.save_every_seconds;
        if due || !occasions.is_empty() {
            self.save_state(trainer)?;
        }
        Ok(())
    }

    fn interrupted(&mut self, trainer: &Trainer) -> Result<()> {
        self.lock.check()?;
        self.save_state(trainer)
    }

    fn last_good(&self) -> String {
        self.last_good
            .as_ref()
            .map_or_else(|| "none yet".to_owned(), |path| path.display().to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    progress: Progress,
    data_hash: String,
    // What computed the matrix products of its training so far.
    #[serde(default, rename = "products")]
    matmul: MatmulBackend,
}

pub(super) fn stage_file(place: usize, name: &str) -> String {
    format!("stage-{}-{name}.safetensors", place + 1)
}

pub(super) fn step_file(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

/// The checkpoint of step 0 in the folder of this checkpoint, where there is one.
pub fn initial_checkpoint(checkpoint: &Path) -> Option<PathBuf> {
    Some(checkpoint.with_file_name(step_file(0))).filter(|path| path.is_file())
}

/// The lines of a run's `metrics.jsonl`.
///
/// # Errors
/// When the file is missing or a line is not an evaluation.
pub(crate) fn read_metrics(folder: &Path) -> Result<Vec<Evaluation>> {
    let path = folder.join(METRICS);
    files::read_text(&path)?
        .lines()
        .enumerate()
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| Error::file(&path, format!("line {}: {e}", i + 1))))
        .collect()
}

/// What a finished or running run has to tell, beside its checkpoints.
pub struct RunRecord {
    pub config: RunConfig,
    pub stages: StagesFile,
    pub metrics: Vec<Evaluation>,
}

impl RunRecord {
    /// Reads config, stages and metrics of the run in `folder`.
    ///
    /// # Errors
    /// When it is no run folder or a file is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        expect_run(folder)?;
        Ok(Self {
            config: RunConfig::read(&folder.join(CONFIG), &[])?,
            stages: StagesFile::read(folder)?,
            metrics: read_metrics(folder)?,
        })
    }
}

pub(super) fn expect_run(folder: &Path) -> Result<()> {
    if RunFolder::exists(folder) {
        return Ok(());
    }
    let reason = if folder.is_dir() {
        "is not a run folder (it has no config.toml)"
    } else {
        "no such file or folder"
    };
    Err(Error::file(folder, reason))
}

// `to` as seen from `folder`, so that a run and its data can be moved together.
fn relative_to(folder: &Path, to: &Path) -> PathBuf {
    let (Ok(folder), Ok(to)) = (folder.canonicalize(), to.canonicalize()) else {
        return to.to_owned();
    };
    let common = folder
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder
        .components()
        .skip(common)
        .map(|_| std::path::Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}
