//! Quantities: what a criterion over seeds is a range of, one number a seed.

mod check;
mod depth;
mod json;
mod systematic;

use serde::{Deserialize, Serialize};

pub(crate) use json::{finite_or_word, finite_or_word_where_there};

use crate::experiment::{Evidence, RunView};
use crate::graph::{Position, Split, Target};

/// A number that an experiment with one seed gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Quantity {
    /// Accuracy at the end of training, at the training iterations.
    Accuracy {
        /// Of this run,
        run: String,
        /// on this split.
        split: Split,
    },
    /// Updates until a stage was reached.
    StageStep {
        /// Of this run.
        run: String,
        /// The stage, from 1.
        stage: usize,
    },
    /// What a stage cost one run, over what it cost another.
    StageRatio {
        /// The run above the line,
        slow: String,
        /// and that below it.
        fast: String,
        /// The stage, from 1.
        stage: usize,
        /// What is counted.
        cost: Cost,
    },
    /// OOD accuracy when the second stage was reached, where all stages were reached.
    OodAtSecondStage {
        /// Of this run.
        run: String,
    },
    /// The largest top-1 share of the target at r2 minus that of the bridge at r1, on training chains.
    TargetBeforeBridge {
        /// Of this run,
        run: String,
        /// at this stage, from 1.
        stage: usize,
    },
    /// The smaller of the largest top-1 shares of the bridge at r1 and the target at r2, at the end of training.
    ReadAtOwnRelation {
        /// Of this run,
        run: String,
        /// on this split.
        split: Split,
    },
    /// The iteration, from 1, of the first effective layer at which the lens reads the OOD target at r2.
    AppearsInIteration {
        /// Of this run.
        run: String,
        /// It is read where it is top-1 for this share of the chains for which it is at its best layer,
        share_of_max: f64,
        /// and for this share of all.
        top1: f64,
    },
    /// The largest top-1 share over layers, at the end of training.
    Lens {
        /// Of this run,
        run: String,
        /// on this split.
        split: Split,
        /// What is read,
        label: Target,
        /// and where.
        position: Position,
    },
    /// The least recovery over the layers of the first iteration when the clean state at r1 is restored.
    FirstIterationRecovery {
        /// Of this run,
        run: String,
        /// on this split.
        split: Split,
    },
    /// The first layer at which the lens reads the OOD bridge at r1, minus the last layer from which the ID answer is read
    /// there; infinite where the bridge is never read.
    BridgeLateness {
        /// Of this run.
        run: String,
        /// The bridge is read where it is top-1 for this share of chains.
        visible: f64,
        /// The answer is read from where the recovery is this.
        recovery: f64,
    },
    /// Accuracy of the probe of the bridge at r2, minus the lens' largest top-1 share of it.
    ProbeAboveLens {
        /// Of this run,
        run: String,
        /// on this split.
        split: Split,
    },
    /// The largest accuracy beyond the training iterations minus that at the training iterations.
    Gain {
        /// Of this run,
        run: String,
        /// on this split.
        split: Split,
    },
    /// The deepest chains that one run learned minus those of another, in hops.
    LearnedDifference {
        /// The run that is to have learned more,
        more: String,
        /// than this one.
        less: String,
    },
    /// The share of all depths that were learned late: after the share `late` of the updates that it took to learn the last one.
    LateDepths {
        /// Of this run.
        run: String,
        /// The share of the updates after which a depth counts as learned late.
        late: f64,
    },
    /// The deepest chains that are answered at some number of iterations minus the deepest learned ones, in hops.
    AnsweredBeyond {
        /// Of this run.
        run: String,
    },
    /// The deepest chains that one run answers at some number of iterations minus those of another, in hops, each at its checkpoint
    /// that had learned `learned` hops: so both were trained on the same chains.
    AnsweredDifference {
        /// The run that is to answer more,
        more: String,
        /// than this one.
        less: String,
        /// The hops that both have learned.
        learned: usize,
    },
    /// What the margin loses from its peak to the most iterations, at the deepest learned chains, in logits.
    MarginFall {
        /// Of this run.
        run: String,
    },
    /// The margin's peak at chains of `hops` hops minus that at the deepest learned chains, in logits.
    PeakDifference {
        /// Of this run.
        run: String,
        /// The hops of the shallow chains.
        hops: usize,
    },
    /// What one run loses from its largest accuracy to that after the most iterations, minus what another loses.
    LossDifference {
        /// The run that is to lose more,
        more: String,
        /// than this one,
        less: String,
        /// at chains of this number of hops.
        hops: usize,
    },
    /// What accuracy at the deepest learned chains loses from its largest to that after the most iterations.
    AccuracyLoss {
        /// Of this run.
        run: String,
    },
    /// Mean iterations of halting by KL alone over those by KL with entropy, on the deepest chains of the data.
    KlShare {
        /// Of this run.
        run: String,
        /// Threshold of KL, in nats.
        kl: f64,
        /// Threshold of the entropy, in nats.
        entropy: f64,
    },
    /// Accuracy of halting by KL with entropy minus that by KL alone, at the deepest learned chains.
    KlAccuracyLost {
        /// Of this run.
        run: String,
        /// Threshold of KL, in nats.
        kl: f64,
        /// Threshold of the entropy, in nats.
        entropy: f64,
    },
    /// Relations of the shortest suffix that keeps the answers, as a share of all; 1 where none does.
    Suffix {
        /// Of this run.
        run: String,
    },
    /// How far the states after the different layers of the block are from each other after the most iterations, as a share of their
    /// norm, at the deepest learned chains.
    LayerDistance {
        /// Of this run.
        run: String,
    },
}

/// What a stage costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Training steps.
    Updates,
    /// Floating-point operations of training: updates times those of a query, so a time that no other work on the machine
    /// changes.
    Flops,
}

/// What a seed gives for a quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// The number.
    Value(#[serde(with = "finite_or_word")] f64),
    /// A lower bound: training ended, or the data or the curriculum did, before the number itself could be seen.
    AtLeast(#[serde(with = "finite_or_word")] f64),
    /// An upper bound, for the same reasons.
    AtMost(#[serde(with = "finite_or_word")] f64),
    /// It could not be measured, for this reason.
    Missing(String),
}

impl Measured {
    fn of(value: Option<f64>, reason: &str) -> Self {
        match value {
            Some(value) if !value.is_nan() => Self::Value(value),
            _ => Self::Missing(reason.to_owned()),
        }
    }

    /// The number, or the bound that is known.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) | Self::AtLeast(value) | Self::AtMost(value) => Some(*value),
            Self::Missing(_) => None,
        }
    }
}

const NOT_MEASURED: &str = "what it depends on was not measured";

impl Quantity {
    /// The runs that it is of.
    pub fn runs(&self) -> Vec<&str> {
        match self {
            Self::Accuracy { run, .. }
            | Self::StageStep { run, .. }
            | Self::OodAtSecondStage { run }
            | Self::TargetBeforeBridge { run, .. }
            | Self::ReadAtOwnRelation { run, .. }
            | Self::AppearsInIteration { run, .. }
            | Self::Lens { run, .. }
            | Self::FirstIterationRecovery { run, .. }
            | Self::BridgeLateness { run, .. }
            | Self::ProbeAboveLens { run, .. }
            | Self::Gain { run, .. }
            | Self::LateDepths { run, .. }
            | Self::AnsweredBeyond { run }
            | Self::MarginFall { run }
            | Self::PeakDifference { run, .. }
            | Self::AccuracyLoss { run }
            | Self::KlShare { run, .. }
            | Self::KlAccuracyLost { run, .. }
            | Self::Suffix { run }
            | Self::LayerDistance { run } => vec![run],
            Self::StageRatio { slow: a, fast: b, .. }
            | Self::LearnedDifference { more: a, less: b }
            | Self::AnsweredDifference { more: a, less: b, .. }
            | Self::LossDifference { more: a, less: b, .. } => vec![a, b],
        }
    }

    /// Measures it on the evidence of one seed.
    pub fn measure(&self, evidence: &Evidence) -> Measured {
        let runs: Option<Vec<RunView>> = self
            .runs()
            .into_iter()
            .map(|name| evidence.runs().find(|run| run.name() == name))
            .collect();
        match runs.as_deref() {
            None => Measured::Missing("a run that it is of is not there".to_owned()),
            Some(&[run]) => self.of_run(run),
            Some(&[a, b]) => self.of_pair(a, b),
            Some(_) => Measured::Missing(NOT_MEASURED.to_owned()),
        }
    }

    fn of_run(&self, run: RunView) -> Measured {
        let value = match self {
            Self::StageStep { stage, .. } => return systematic::stage_step(run, *stage),
            Self::OodAtSecondStage { .. } => return systematic::ood_at_second_stage(run),
            Self::TargetBeforeBridge { stage, .. } => return systematic::target_before_bridge(run, *stage),
            Self::AppearsInIteration { share_of_max, top1, .. } => {
                return systematic::appears_in_iteration(run, *share_of_max, *top1);
            }
            Self::Accuracy { split, .. } => run.final_accuracy(split).map(|row| row.accuracy),
            Self::ReadAtOwnRelation { split, .. } => systematic::read_at_own_relation(run, split),
            Self::Lens {
                split, label, position, ..
            } => systematic::lens(run, split, *label, *position),
            Self::FirstIterationRecovery { split, .. } => systematic::first_iteration_recovery(run, split),
            Self::BridgeLateness { visible, recovery, .. } => systematic::bridge_lateness(run, *visible, *recovery),
            Self::ProbeAboveLens { split, .. } => systematic::probe_above_lens(run, split),
            Self::Gain { split, .. } => systematic::gain(run, split),
            Self::LateDepths { late, .. } => depth::late_depths(run, *late),
            Self::AnsweredBeyond { .. } => return depth::answered_beyond(run),
            Self::MarginFall { .. } => depth::margin_fall(run),
            Self::PeakDifference { hops, .. } => depth::peak_difference(run, *hops),
            Self::AccuracyLoss { .. } => depth::loss(run, run.depth()),
            Self::KlShare { kl, entropy, .. } => depth::kl_share(run, *kl, *entropy),
            Self::KlAccuracyLost { kl, entropy, .. } => depth::kl_accuracy_lost(run, *kl, *entropy),
            Self::Suffix { .. } => depth::suffix(run),
            Self::LayerDistance { .. } => depth::layer_distance(run),
            Self::StageRatio { .. }
            | Self::LearnedDifference { .. }
            | Self::AnsweredDifference { .. }
            | Self::LossDifference { .. } => None,
        };
        Measured::of(value, NOT_MEASURED)
    }

    fn of_pair(&self, a: RunView, b: RunView) -> Measured {
        let value = match self {
            Self::StageRatio { stage, cost, .. } => return systematic::stage_ratio(a, b, *stage, *cost),
            Self::LearnedDifference { .. } => return depth::learned_difference(a, b),
            Self::AnsweredDifference { learned, .. } => return depth::answered_difference(a, b, *learned),
            Self::LossDifference { hops, .. } => depth::loss(a, *hops).zip(depth::loss(b, *hops)).map(|(a, b)| a - b),
            _ => None,
        };
        Measured::of(value, NOT_MEASURED)
    }
}
