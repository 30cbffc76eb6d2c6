//! The stages of a run: which rows each trains on and is evaluated on, and the change from one to the next.

use super::Trainer;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, Role, Split, TRAIN};
use crate::model::{Rows, Sharing};
use crate::random::Stream;
use crate::train::config::RunConfig;
use crate::train::curriculum::Curriculum;
use crate::train::stages::{Stage, grokking_stages};

impl Trainer {
    // Selects the training rows and the evaluation sets of the present stage: all of them where there is no curriculum.
    pub(super) fn enter_stage(&mut self) {
        let max_hops = self.max_hops();
        let rows = self.training_rows();
        let fits = |query: &Query| max_hops.is_none_or(|max| query.hops() <= max);
        let stage_rows: Vec<u32> = (0..rows.len() as u32).filter(|&i| fits(&rows[i as usize])).collect();
        let sampled = Stream::new(self.config.seeds().order, "evaluated training rows", 0)
            .sample(&stage_rows, self.config.train.train_sample)
            .into_iter()
            .map(|i| rows[i as usize].clone())
            .collect();
        let stages: Vec<&Stage> = self
            .progress
            .stages
            .outcomes
            .iter()
            .map(|outcome| &outcome.stage)
            .collect();
        self.evaluation_sets = std::iter::once((Split::train(), sampled))
            .chain(evaluated_splits(&self.data, &stages, max_hops).cloned())
            .collect();
        self.stage_rows = stage_rows;
        // No epoch has this number, so that the next batch draws a new order.
        self.epoch_order.0 = u64::MAX;
    }

    // The number of hops of the longest chains of the present stage, where there is a curriculum.
    pub(super) fn max_hops(&self) -> Option<usize> {
        self.config.curriculum?;
        let last = self.progress.stages.outcomes.len().saturating_sub(1);
        Some(Curriculum::FIRST + self.progress.stages.n_reached().min(last))
    }

    /// The learnable recursion depth so far: the longest chains, in hops, that the curriculum has passed (1: facts alone).
    /// `None` where there is no curriculum.
    pub fn learned_hops(&self) -> Option<usize> {
        self.config.curriculum?;
        Some(Curriculum::learned_hops(self.progress.stages.n_reached()))
    }

    // Begins the next stage of the curriculum.
    pub(super) fn begin_stage(&mut self) -> Result<()> {
        self.progress.stage_start = self.progress.step;
        if self
            .config
            .curriculum
            .is_some_and(|curriculum| curriculum.reset_optimizer)
        {
            for parameter in &mut self.parameters {
                parameter.first_moment = parameter.first_moment.zeros_like()?;
                parameter.second_moment = parameter.second_moment.zeros_like()?;
            }
        }
        self.enter_stage();
        Ok(())
    }
}

/// The splits of the data beside `train` that are evaluated while rows of up to `max_hops` hops are trained on: all, but the
/// validation split where it is of no stage.
pub(crate) fn evaluated_splits<'a>(
    data: &'a Dataset,
    stages: &[&Stage],
    max_hops: Option<usize>,
) -> impl Iterator<Item = &'a (Split, Vec<Query>)> {
    let is_stage = |split: &Split| stages.iter().any(|stage| stage.split == *split);
    let fits = move |query: &Query| max_hops.is_none_or(|max| query.hops() <= max);
    data.splits[1..].iter().filter(move |(split, rows)| {
        (split.role() != Role::Validation || is_stage(split)) && rows.first().is_some_and(fits)
    })
}

/// The stages of a run with this config on this data.
///
/// # Errors
/// When the config is impossible or does not fit the data: a stage's split is missing or empty, the model's positions are too
/// few.
pub(crate) fn stages_of(config: &RunConfig, data: &Dataset) -> Result<Vec<Stage>> {
    config.check()?;
    if data.split(TRAIN)?.is_empty() {
        return Err(Error::input("the data has no training rows"));
    }
    let stages = match &config.curriculum {
        Some(curriculum) => curriculum.stages(data)?,
        None => config.stages.clone(),
    };
    for stage in &stages {
        check(stage, config, data)?;
    }
    // A row that does not fit the model is an error now, not when its batch comes.
    let rows = data.splits.iter().flat_map(|(_, rows)| rows);
    let longest = rows.max_by_key(|query| query.tokens.len());
    Rows::pack(
        longest.map(|query| &*query.tokens),
        &config.model,
        data.vocab.len(),
        Sharing::Nothing,
    )?;
    Ok(stages)
}

// Checks that the data has rows to measure the stage on.
fn check(stage: &Stage, config: &RunConfig, data: &Dataset) -> Result<()> {
    let name = &stage.name;
    let rows = data.split(&stage.split).map_err(|e| {
        let mut text = format!("stage `{name}`: {e}");
        if config.stages == grokking_stages() {
            let instead = if data.depths().is_empty() {
                "[[stages]]"
            } else {
                "[curriculum] with stage_steps, or [[stages]]"
            };
            text.push_str(
                ". A config with no [[stages]] has the three grokking stages, for systematic data; for this data add ",
            );
            text.push_str(instead);
            text.push_str(" with name, split and accuracy, or stages = [] to watch for none");
        }
        Error::input(text)
    })?;
    if rows.is_empty() {
        return Err(Error::input(format!(
            "stage `{name}`: the split `{}` has no rows, so that the stage could never be reached",
            stage.split
        )));
    }
    Ok(())
}
