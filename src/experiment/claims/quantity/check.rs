//! Whether an experiment will measure what a quantity is made of: told before anything is trained.

use super::Quantity;
use crate::error::{Error, Result};
use crate::experiment::claims::lens::{R1, R2};
use crate::experiment::claims::overthinking::kl_rules;
use crate::experiment::preset::{DepthPreset, Preset, SystematicPreset};
use crate::graph::{Dataset, Split, Target};
use crate::train::Curriculum;
use crate::wording::choices;

/// The grokking stages of the systematic experiment.
const GROKKING_STAGES: usize = 3;

impl Quantity {
    /// Checks that the runs are there, and that their stages, splits, hops and halting rules are among those that the preset, which
    /// makes these data sets, measures.
    ///
    /// # Errors
    /// At the first that is not; the message names its key, its value and what is allowed.
    pub fn check(&self, preset: &Preset, made: &[Dataset]) -> Result<()> {
        let runs = preset.runs();
        if let Some(unknown) = self
            .runs()
            .into_iter()
            .find(|name| runs.iter().all(|(known, _)| known != name))
        {
            let names: Vec<&str> = runs.iter().map(|(name, _)| *name).collect();
            return Err(Error::unknown("run", unknown, &names));
        }
        for (key, share) in self.shares() {
            if !(0.0..=1.0).contains(&share) {
                return Err(refused(key, share, "0 to 1"));
            }
        }
        if let Some(stage) = self.stage() {
            let count = stages(preset);
            if !(1..=count).contains(&stage) {
                return Err(refused("stage", stage, &format!("1 to {count}")));
            }
        }
        if let Some(split) = self.split() {
            split_is_made(split, made)?;
        }
        match (preset, self.is_systematic()) {
            (_, None) => self.check_accuracy(preset),
            (Preset::Systematic(preset), Some(true)) => self.check_systematic(preset),
            (Preset::Depth(preset), Some(false)) => self.check_depth(preset),
            (Preset::Systematic(_), Some(false)) => Err(of_other("depth", "systematic")),
            (Preset::Depth(_), Some(true)) => Err(of_other("systematic", "depth")),
        }
    }

    // Whether it is of the systematic experiment alone; `None` where it is of any.
    fn is_systematic(&self) -> Option<bool> {
        match self {
            Self::Accuracy { .. } | Self::StageStep { .. } | Self::StageRatio { .. } => None,
            Self::OodAtSecondStage { .. }
            | Self::TargetBeforeBridge { .. }
            | Self::ReadAtOwnRelation { .. }
            | Self::AppearsInIteration { .. }
            | Self::Lens { .. }
            | Self::FirstIterationRecovery { .. }
            | Self::BridgeLateness { .. }
            | Self::ProbeAboveLens { .. }
            | Self::Gain { .. } => Some(true),
            Self::LearnedDifference { .. }
            | Self::LateDepths { .. }
            | Self::AnsweredBeyond { .. }
            | Self::AnsweredDifference { .. }
            | Self::MarginFall { .. }
            | Self::PeakDifference { .. }
            | Self::LossDifference { .. }
            | Self::AccuracyLoss { .. }
            | Self::KlShare { .. }
            | Self::KlAccuracyLost { .. }
            | Self::Suffix { .. }
            | Self::LayerDistance { .. } => Some(false),
        }
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::AppearsInIteration { share_of_max, top1, .. } => {
                vec![("share_of_max", *share_of_max), ("top1", *top1)]
            }
            Self::BridgeLateness { visible, recovery, .. } => vec![("visible", *visible), ("recovery", *recovery)],
            Self::LateDepths { late, .. } => vec![("late", *late)],
            _ => Vec::new(),
        }
    }

    fn stage(&self) -> Option<usize> {
        match self {
            Self::StageStep { stage, .. } | Self::StageRatio { stage, .. } | Self::TargetBeforeBridge { stage, .. } => {
                Some(*stage)
            }
            _ => None,
        }
    }

    fn split(&self) -> Option<&Split> {
        match self {
            Self::Accuracy { split, .. }
            | Self::ReadAtOwnRelation { split, .. }
            | Self::Lens { split, .. }
            | Self::FirstIterationRecovery { split, .. }
            | Self::ProbeAboveLens { split, .. }
            | Self::Gain { split, .. } => Some(split),
            _ => None,
        }
    }

    fn check_accuracy(&self, preset: &Preset) -> Result<()> {
        let eval = match preset {
            Preset::Systematic(preset) => &preset.eval,
            Preset::Depth(preset) => &preset.eval,
        };
        match self {
            Self::Accuracy { split, .. } => split_is_measured(split, &eval.splits, "eval"),
            _ => Ok(()),
        }
    }

    fn check_systematic(&self, preset: &SystematicPreset) -> Result<()> {
        let by_lens = |split: &Split| split_is_measured(split, &preset.lens.splits, "lens");
        let by_patch = |split: &Split| split_is_measured(split, &preset.patch.pairing.splits, "patch");
        match self {
            Self::OodAtSecondStage { run } => {
                let count = preset.runs.iter().find(|(name, _)| name == run);
                match count.map_or(0, |(_, config)| config.stages.len()) {
                    GROKKING_STAGES => Ok(()),
                    other => Err(Error::input(format!(
                        "the run {run} has {other} stages; allowed: a run with {GROKKING_STAGES}"
                    ))),
                }
            }
            Self::TargetBeforeBridge { .. } => by_lens(&Split::train_chains()),
            Self::AppearsInIteration { .. } => by_lens(&Split::ood()),
            Self::Lens { position, .. } if *position != R1 && *position != R2 => {
                Err(refused("position", position, &format!("{R1}, {R2}")))
            }
            Self::ReadAtOwnRelation { split, .. } | Self::Lens { split, .. } => by_lens(split),
            Self::FirstIterationRecovery { split, .. } => by_patch(split),
            Self::BridgeLateness { .. } => by_patch(&Split::in_distribution()).and_then(|()| by_lens(&Split::ood())),
            Self::ProbeAboveLens { split, .. } => {
                by_lens(split)?;
                let mut specs = preset.probe.specs.iter();
                let is_probed = specs.any(|spec| {
                    spec.label == Target::Bridge && spec.positions.contains(&R2) && spec.test.contains(split)
                });
                is_probed.then_some(()).ok_or_else(|| {
                    refused(
                        "split",
                        split,
                        "one that a probe of the bridge at r2 is tested on (measure.probe)",
                    )
                })
            }
            Self::Gain { split, .. } => split_is_measured(split, &preset.eval.splits, "eval"),
            _ => Ok(()),
        }
    }

    fn check_depth(&self, preset: &DepthPreset) -> Result<()> {
        match self {
            Self::PeakDifference { hops, .. } | Self::LossDifference { hops, .. } => {
                hops_allowed("hops", *hops, preset.data.hops)
            }
            Self::AnsweredDifference { learned, .. } => hops_allowed("learned", *learned, learnable(preset)),
            Self::KlShare { kl, entropy, .. } | Self::KlAccuracyLost { kl, entropy, .. } => {
                let rules = &preset.halt.rules;
                match kl_rules(*kl, *entropy).iter().find(|rule| !rules.contains(rule)) {
                    None => Ok(()),
                    Some(rule) => {
                        let known: Vec<String> = rules.iter().map(ToString::to_string).collect();
                        Err(refused(
                            "kl, entropy: the rule",
                            rule,
                            &format!("{} (measure.halt.rules)", known.join(", ")),
                        ))
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

// The stages of every run.
fn stages(preset: &Preset) -> usize {
    match preset {
        Preset::Systematic(preset) => preset.runs.first().map_or(0, |(_, config)| config.stages.len()),
        Preset::Depth(preset) => (learnable(preset) + 1).saturating_sub(Curriculum::FIRST),
    }
}

// The most hops that its curriculum can pass.
fn learnable(preset: &DepthPreset) -> usize {
    preset.curriculum.deepest.unwrap_or(preset.data.hops)
}

fn hops_allowed(key: &str, hops: usize, max: usize) -> Result<()> {
    if (Curriculum::FIRST..=max).contains(&hops) {
        return Ok(());
    }
    Err(refused(key, hops, &format!("{} to {max}", Curriculum::FIRST)))
}

fn split_is_made(split: &Split, made: &[Dataset]) -> Result<()> {
    if made.iter().any(|data| data.split(split).is_ok()) {
        return Ok(());
    }
    let names: Vec<&str> = made.first().map_or(Vec::new(), |data| data.split_names().collect());
    Err(Error::unknown("split", split.name(), &names))
}

// A method that names no splits measures all that it can.
fn split_is_measured(split: &Split, named: &[Split], method: &str) -> Result<()> {
    if named.is_empty() || named.contains(split) {
        return Ok(());
    }
    let names: Vec<String> = named.iter().map(ToString::to_string).collect();
    let allowed = format!("those of measure.{method}: {}", choices(split.name(), &names));
    Err(refused("split", format!("\"{split}\""), &allowed))
}

fn of_other(quantity: &str, preset: &str) -> Error {
    Error::input(format!(
        "the quantity is of a {quantity} experiment and the preset of a {preset} one; allowed: one of the same kind"
    ))
}

fn refused(key: &str, value: impl std::fmt::Display, allowed: &str) -> Error {
    Error::input(format!("{key} = {value}; allowed: {allowed}"))
}
