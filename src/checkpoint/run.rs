//! A run folder: resolved config, metrics, stages, checkpoints, and the state that a resumed run continues from.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::file::{Checkpoint, CheckpointInfo};
use super::lock::RunLock;
use super::record::{
    CONFIG, FINAL, METRICS, STAGES, STATE, StagesFile, expect_run, is_run, read_metrics, stage_file, step_file,
};
use super::tensors::{expect_readable, read_tensors, tensor_file};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{MatmulBackend, Weights};
use crate::train::{CheckpointReason, Evaluation, Observer, Progress, RunConfig, Trainer};

/// A run folder that this process trains in. It is locked, and as an [`Observer`] of the trainer it writes metrics,
/// checkpoints and the state of the run.
pub struct RunFolder {
    path: PathBuf,
    lock: RunLock,
    metrics: Vec<Evaluation>,
    last_good: Option<PathBuf>,
    saved: Instant,
}

impl RunFolder {
    /// Whether there is a run in `path`.
    pub fn exists(path: &Path) -> bool {
        is_run(path)
    }

    /// Opens the run folder `path` for training and locks it: with `resume` as [`RunFolder::resume`] where there is a run in
    /// it, otherwise as [`RunFolder::create`]. The wait for the lock ends once `stop` is set.
    ///
    /// # Errors
    /// Those of [`RunFolder::create`] and [`RunFolder::resume`], and [`Error::Interrupted`].
    pub fn open(path: &Path, trainer: &mut Trainer, resume: bool, stop: &AtomicBool) -> Result<Self> {
        if !resume {
            expect_no_run(path)?;
        }
        files::create_folder(path)?;
        let folder = Self::locked(path, RunLock::acquire_unless(path, stop)?);
        // Of several processes that begin a run at once, the first creates it.
        if resume && Self::exists(path) {
            folder.resumed(trainer)
        } else {
            folder.created(trainer.config())
        }
    }

    /// Begins a new run in `path` and locks the folder.
    ///
    /// # Errors
    /// When there is a run in `path` already, or `path` is locked by another process, or cannot be written.
    pub fn create(path: &Path, config: &RunConfig) -> Result<Self> {
        expect_no_run(path)?;
        files::create_folder(path)?;
        Self::locked(path, RunLock::acquire(path)?).created(config)
    }

    /// Opens the run in `path`, locks the folder, and restores its saved state into `trainer`. The trainer must have the
    /// settings of the run, except that `train.steps` may differ where no cooldown depends on it.
    ///
    /// # Errors
    /// When `path` is not a run folder, another process trains in it, settings or data differ, or a file is damaged.
    pub fn resume(path: &Path, trainer: &mut Trainer) -> Result<Self> {
        expect_run(path)?;
        Self::locked(path, RunLock::acquire(path)?).resumed(trainer)
    }

    fn locked(path: &Path, lock: RunLock) -> Self {
        Self {
            path: path.to_owned(),
            lock,
            metrics: Vec::new(),
            last_good: None,
            saved: Instant::now(),
        }
    }

    fn created(self, config: &RunConfig) -> Result<Self> {
        // Another process may have made one before this one had the lock.
        expect_no_run(&self.path)?;
        self.write_config(config)?;
        Ok(self)
    }

    // Writes a file of the run, whole or not at all, and only while this process has the lock.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write_locked(path, bytes, || self.lock.check()).map_err(|error| {
            // The process that took the lock removes the temporary files of this one.
            self.lock.check().err().unwrap_or(error)
        })
    }

    fn write_config(&self, config: &RunConfig) -> Result<()> {
        let path = self.path.join(CONFIG);
        let config = RunConfig {
            data: relative_to(&self.path, &config.data),
            ..config.clone()
        };
        let text = toml::to_string(&config).map_err(|e| Error::write(&path, e))?;
        self.write(&path, text.as_bytes())
    }

    fn resumed(mut self, trainer: &mut Trainer) -> Result<Self> {
        let path = self.path.clone();
        let config_path = path.join(CONFIG);
        let saved = RunConfig::read(&config_path, &[])?;
        let given = trainer.config();
        let mut differences = saved.differences(given);
        // The path of the data may differ: the hash of their content is compared.
        differences.retain(|(key, ..)| key != "data" && (key != "train.steps" || given.optimizer.cooldown > 0));
        if !differences.is_empty() {
            let differences = differences
                .iter()
                .map(|(key, saved, given)| format!("{key} is {saved} in the run, {given} is given"));
            return Err(Error::file(
                &config_path,
                format!(
                    "the run has other settings than those given: {}; only train.steps may change, and only without a cooldown. \
                     Choose another --out for a new run, or continue with the run's own settings: loopscope train {} --resume",
                    differences.collect::<Vec<_>>().join("; "),
                    path.display()
                ),
            ));
        }
        let state = path.join(STATE);
        // A run that stopped before its first save begins anew; one that has ended would be lost.
        if state.exists() {
            self.restore(&state, trainer)?;
        } else if StagesFile::read(&path).is_ok_and(|stages| stages.finished) {
            return Err(Error::file(
                &path,
                format!(
                    "its run has ended and has no {STATE} to go on from; nothing was changed. To train it anew: loopscope train {} \
                     --out ANOTHER_FOLDER",
                    config_path.display()
                ),
            ));
        }
        if saved.train.steps != trainer.config().train.steps {
            self.write_config(trainer.config())?;
        }
        Ok(self)
    }

    fn restore(&mut self, state: &Path, trainer: &mut Trainer) -> Result<()> {
        let (tensors, info) = read_tensors(state)?;
        let info =
            info.ok_or_else(|| Error::file(state, "has no loopscope metadata; it is not the saved state of a run"))?;
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
                "this run was trained with {}, here it continues with {}: as accurate, but not bit for bit what it would \
                 have been. --portable gives the same bits on every machine",
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
        self.restore_metrics(evaluated)?;
        // A process that ended right after it had saved the state left older stages behind.
        let written = StagesFile::read(&self.path).ok();
        let written = written.map(|file| (file.step, file.finished));
        if written != Some((trainer.progress().step, trainer.finished())) {
            self.write_stages(trainer)?;
        }
        self.last_good = Some(state.to_owned());
        Ok(())
    }

    // Restores the metrics up to the last evaluation before the state was saved; later ones will be measured again.
    fn restore_metrics(&mut self, evaluated: Option<u64>) -> Result<()> {
        self.metrics = read_metrics(&self.path)?
            .into_iter()
            .filter(|line| Some(line.step) <= evaluated)
            .collect();
        let last = self.metrics.last().map(|line| line.step);
        if last != evaluated {
            let step =
                |step: Option<u64>| step.map_or_else(|| "none".to_owned(), |step| format!("that of step {step}"));
            return Err(Error::file(
                &self.path.join(METRICS),
                format!(
                    "lacks evaluations: its last one is {}, that of the saved state is {}. Restore it from a copy, or remove \
                     {STATE} and {STAGES} to train from the beginning, to the same bits",
                    step(last),
                    step(evaluated)
                ),
            ));
        }
        self.write_metrics()
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
        self.write(&path, text.as_bytes())
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
        self.write(&path, &tensor_file(&path, tensors, &info)?)?;
        self.last_good = Some(path);
        self.saved = Instant::now();
        self.write_stages(trainer)
    }

    fn write_stages(&self, trainer: &Trainer) -> Result<()> {
        let progress = trainer.progress();
        let stages = StagesFile {
            step: progress.step,
            seconds: progress.seconds,
            finished: trainer.finished(),
            data_hash: trainer.data().hash.clone(),
            stages: progress.stages.outcomes,
        };
        let path = self.path.join(STAGES);
        self.write(&path, &files::json(&path, &stages)?)
    }

    fn write_checkpoint(&mut self, trainer: &Trainer, evaluation: &Evaluation, reason: CheckpointReason) -> Result<()> {
        let name = match reason {
            CheckpointReason::Stage(index) => stage_file(index, &trainer.progress().stages.outcomes[index].stage.name),
            CheckpointReason::LogSpaced => step_file(evaluation.step),
            CheckpointReason::Final => FINAL.to_owned(),
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
            seeds: config.own_seeds(),
            data_hash: Some(trainer.data().hash.clone()),
            learned_hops: trainer.learned_hops(),
            accuracy: evaluation.accuracy.clone(),
        };
        let mut values: BTreeMap<String, Tensor> =
            trainer.parameters()?.into_iter().map(|p| (p.name, p.value)).collect();
        let weights = Weights::gather(&config.model, vocab.len(), |name| Ok(values.remove(name)))?;
        let path = self.path.join(name);
        self.write(&path, &Checkpoint::to_bytes(&path, &info, &weights)?)?;
        self.last_good = Some(path);
        Ok(())
    }
}

impl Observer for RunFolder {
    fn on_evaluation(
        &mut self,
        trainer: &Trainer,
        evaluation: &Evaluation,
        reasons: &[CheckpointReason],
    ) -> Result<()> {
        self.metrics.push(evaluation.clone());
        self.write_metrics()?;
        for &reason in reasons {
            self.write_checkpoint(trainer, evaluation, reason)?;
        }
        let due = self.saved.elapsed().as_secs_f64() >= trainer.config().train.save_every_seconds;
        if due || !reasons.is_empty() {
            self.save_state(trainer)?;
        }
        Ok(())
    }

    fn on_interrupt(&mut self, trainer: &Trainer) -> Result<()> {
        self.save_state(trainer)
    }

    fn last_good_checkpoint(&self) -> String {
        self.last_good
            .as_ref()
            .map_or_else(|| "none yet".to_owned(), |path| path.display().to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    progress: Progress,
    data_hash: String,
    // What computed GEMM in its training so far.
    #[serde(default, rename = "products")]
    matmul: MatmulBackend,
}

fn expect_no_run(path: &Path) -> Result<()> {
    if is_run(path) {
        return Err(Error::file(
            path,
            "holds a run already; nothing was changed. Use --resume to continue it, or choose another --out",
        ));
    }
    Ok(())
}

// The path of `to` relative to `folder`, so that a run and its data can be moved together.
pub(crate) fn relative_to(folder: &Path, to: &Path) -> PathBuf {
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
