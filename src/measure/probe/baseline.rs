//! What a probe must beat: the same architecture before any training.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::task::{Against, Decoded, Task};
use crate::checkpoint::{Checkpoint, initial_checkpoint};
use crate::error::Result;
use crate::files;
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::model::{Model, ModelConfig, Site, Weights};
use crate::random::Stream;

/// The hashes of the step-0 checkpoints of the runs that `checkpoints` are of, each once.
///
/// # Errors
/// When one cannot be read.
pub(super) fn hashes(checkpoints: &[LoadedCheckpoint]) -> Result<Vec<String>> {
    let files: BTreeSet<PathBuf> = checkpoints
        .iter()
        .filter_map(|checkpoint| initial_checkpoint(&checkpoint.path.path))
        .collect();
    let hash = |path: &PathBuf| Ok(files::short_hash(&files::read(path)?));
    files.iter().map(hash).collect()
}

// What a baseline was computed for: checkpoints of one run share theirs.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    config: ModelConfig,
    // The hash of the checkpoint of step 0; `None` for new weights.
    checkpoint: Option<String>,
    iterations: usize,
}

/// The baselines of one probe at one position, each computed once.
pub(super) struct Baselines<'t> {
    task: &'t Task<'t>,
    known: Vec<(Key, Vec<Decoded>)>,
}

impl<'t> Baselines<'t> {
    pub(super) fn new(task: &'t Task<'t>) -> Self {
        Self {
            task,
            known: Vec::new(),
        }
    }

    /// The baselines of a checkpoint at `sites`.
    ///
    /// # Errors
    /// When the run's checkpoint of step 0 cannot be read, or as [`Task::baselines`].
    pub(super) fn of(
        &mut self,
        checkpoint: &LoadedCheckpoint,
        sites: &[Site],
        iterations: usize,
    ) -> Result<Against<'_>> {
        let (config, device) = (checkpoint.model.config(), checkpoint.model.device());
        let seed = self.task.seed;
        let key = |checkpoint: Option<String>| Key {
            config: config.clone(),
            checkpoint,
            iterations,
        };
        let untrained = self.place(key(None), sites, || {
            // A seed of its own: with that of the run the weights would be those of step 0.
            let seed = Stream::new(seed, "untrained baseline", 0).below(1 << 53) as u64;
            let weights = Weights::init(config, checkpoint.model.vocab(), seed, device)?;
            Model::new(config.clone(), checkpoint.model.vocab(), &weights)
        })?;
        let initial = initial_checkpoint(&checkpoint.path.path)
            .map(|path| Checkpoint::read(&path, device))
            .transpose()?
            .filter(|initial| initial.info.model == *config && initial.info.vocab_size == checkpoint.model.vocab());
        let step_0 = initial
            .map(|initial| self.place(key(Some(initial.hash.clone())), sites, || initial.model()))
            .transpose()?;
        Ok(Against {
            untrained: &self.known[untrained].1,
            step_0: step_0.map(|place| &*self.known[place].1),
        })
    }

    // Where in `known` the baseline is; computed with `model` where it is not there yet.
    fn place(&mut self, key: Key, sites: &[Site], model: impl FnOnce() -> Result<Model>) -> Result<usize> {
        if let Some(place) = self.known.iter().position(|(known, _)| *known == key) {
            return Ok(place);
        }
        let decoded = self.task.baselines(&model()?, sites, key.iterations)?;
        self.known.push((key, decoded));
        Ok(self.known.len() - 1)
    }
}
