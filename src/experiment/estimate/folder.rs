//! What a run folder will hold: when the run is evaluated, its checkpoints, and its bytes.

use std::collections::BTreeMap;

use crate::checkpoint::{CheckpointInfo, StagesFile, checkpoint_bytes, state_bytes};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, Split};
use crate::train::{Curriculum, Evaluation, Interval, RunConfig, Stage, StageOutcome, evaluated_splits};

/// The evaluations and checkpoints of a run that takes all its steps.
pub(super) struct Schedule<'a> {
    config: &'a RunConfig,
    data: &'a Dataset,
    stages: &'a [Stage],
    /// Steps of the run.
    pub(super) steps: u64,
    // The longest and the shortest interval between two evaluations, in steps.
    longest: u64,
    shortest: u64,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(config: &'a RunConfig, data: &'a Dataset, stages: &'a [Stage]) -> Self {
        let loop_config = &config.train;
        let steps = match &config.curriculum {
            None => loop_config.steps,
            Some(curriculum) => {
                let of_stages = (0..stages.len()).map(|passed| curriculum.max_steps(passed));
                loop_config.steps.min(of_stages.fold(0, u64::saturating_add))
            }
        };
        let (first, last) = super::hops_of(config, stages);
        let batches = |max_hops: Option<usize>| {
            let rows = data.splits[0].1.iter();
            let fits = |row: &&Query| max_hops.is_none_or(|max| row.hops() <= max);
            (rows.filter(fits).count().div_ceil(loop_config.batch) as u64).max(1)
        };
        let (first, last) = (batches(first), batches(last));
        let every = |interval: Interval, batches: u64| interval.steps(batches);
        let early = every(loop_config.evaluate_early, first);
        let regular = every(loop_config.evaluate_every, first);
        Self {
            config,
            data,
            stages,
            steps,
            longest: every(loop_config.evaluate_every, last),
            // Until the first stage is reached.
            shortest: if stages.is_empty() { regular } else { regular.min(early) },
        }
    }

    // At step 0, at multiples of the interval, and at the end.
    fn evaluations(&self, interval: u64) -> u64 {
        1 + self.steps.div_ceil(interval)
    }

    /// Evaluations where the first stage is reached at once.
    pub(super) fn min_evaluations(&self) -> u64 {
        self.evaluations(self.longest)
    }

    /// Evaluations where no stage is reached.
    pub(super) fn max_evaluations(&self) -> u64 {
        self.evaluations(self.shortest)
    }

    // The splits that are evaluated while chains of up to `max_hops` hops are trained on, with their rows.
    fn evaluated(&self, max_hops: Option<usize>) -> Vec<(Split, usize)> {
        let fits = |row: &&Query| max_hops.is_none_or(|max| row.hops() <= max);
        let trained = self.data.splits[0].1.iter().filter(fits).count();
        let sample = (Split::train(), trained.min(self.config.train.train_sample));
        let stages: Vec<&Stage> = self.stages.iter().collect();
        let others = evaluated_splits(self.data, &stages, max_hops);
        let others = others.map(|(split, rows)| (split.clone(), rows.len()));
        std::iter::once(sample).chain(others).collect()
    }

    /// Queries of an evaluation.
    pub(super) fn evaluated_queries(&self, max_hops: Option<usize>) -> usize {
        self.evaluated(max_hops).iter().map(|(_, rows)| rows).sum()
    }

    // At the first evaluation at or after each step that is `growth` times the last one's.
    fn log_spaced_checkpoints(&self) -> u64 {
        let growth = self.config.train.checkpoint_growth;
        let (mut last, mut count) = (0, 1);
        while last < self.steps {
            let due = ((last as f64 * growth).ceil() as u64).max(last + 1);
            let evaluated = due
                .div_ceil(self.shortest)
                .saturating_mul(self.shortest)
                .min(self.steps);
            if (evaluated as f64) < last as f64 * growth {
                break;
            }
            (last, count) = (evaluated, count + 1);
        }
        count
    }

    /// The largest number of checkpoints: log-spaced ones, that of every stage, and the final one.
    pub(super) fn max_checkpoints(&self) -> u64 {
        self.log_spaced_checkpoints() + self.stages.len() as u64 + 1
    }

    // An evaluation such as the last one will be.
    fn evaluation(&self) -> Evaluation {
        const ACCURACY: f64 = 0.123_456_789_012_345_6;
        let (_, last) = super::hops_of(self.config, self.stages);
        let splits = self.evaluated(last).into_iter();
        Evaluation {
            step: self.steps,
            epoch: ACCURACY,
            seconds: ACCURACY,
            loss: Some(ACCURACY),
            lr: ACCURACY,
            gradient_norm: Some(ACCURACY),
            accuracy: splits.map(|(split, _)| (split, ACCURACY)).collect::<BTreeMap<_, _>>(),
        }
    }

    /// About the bytes of the run folder at the end.
    ///
    /// # Errors
    /// When a number of the config is not finite.
    pub(super) fn bytes(&self) -> Result<u64> {
        let (config, vocab, evaluation) = (self.config, &self.data.vocab, self.evaluation());
        let json = |text: serde_json::Result<String>| text.map(|text| text.len() as u64).map_err(Error::failed);
        let line = json(serde_json::to_string(&evaluation))? + 1;
        let checkpoint = checkpoint_bytes(&CheckpointInfo {
            step: evaluation.step,
            epoch: evaluation.epoch,
            seed: Some(config.seed),
            seeds: config.own_seeds(),
            data_hash: Some(self.data.hash.clone()),
            learned_hops: config.curriculum.map(|_| Curriculum::FIRST),
            accuracy: evaluation.accuracy,
            ..CheckpointInfo::of_model(config.model.clone(), vocab.len(), Some(vocab.tokens().to_vec()))
        })?;
        let outcome = |stage: &Stage| StageOutcome {
            stage: stage.clone(),
            reached: None,
        };
        let stages = StagesFile {
            step: self.steps,
            seconds: evaluation.seconds,
            finished: true,
            data_hash: self.data.hash.clone(),
            stages: self.stages.iter().map(outcome).collect(),
        };
        let config_bytes = toml::to_string(config).map_err(Error::failed)?.len() as u64;
        let parts = [
            self.max_checkpoints().saturating_mul(checkpoint),
            state_bytes(&config.model.slots(vocab.len())),
            self.max_evaluations().saturating_mul(line),
            json(serde_json::to_string_pretty(&stages))?,
            config_bytes,
        ];
        Ok(parts.into_iter().fold(0, u64::saturating_add))
    }
}
