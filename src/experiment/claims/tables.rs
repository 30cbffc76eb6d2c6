//! The claims that experiments are held against, in the paper's order.

use super::super::evidence::Need;
use super::causal::{BridgeTooLate, FirstIterationCausal};
use super::depth::{DepthGrows, DynamicLearnsAsDeep, PhaseTransition, UnlocksDepth, VanillaLearnsLessDeep};
use super::generalization::{Generalizes, MoreIterations, ThreeStages};
use super::lens::{AppearsInIteration, DecodableAndInvisible, NeverRead, ReadAtOwnRelation, TargetBeforeBridge};
use super::overthinking::{DynamicOverthinksSlower, InjectionIsNoCure, KlHaltsTooEarly, Overthinking};
use super::shortcut::{CommonState, Shortcut};
use super::{Claim, ClaimId, Source, Test};
use crate::measure::{Eval, Extrapolate, Halt, Lens, Margin, Patch, Probe, Reach, Settle};

// A part of the paper that the workbench is about.
const fn paper(part: &'static str) -> Source {
    Source {
        paper: "Kohli et al. 2026",
        part,
    }
}

/// The claims of the systematic experiment.
pub static SYSTEMATIC: &[Claim] = &[
    Claim {
        id: ClaimId::Generalizes,
        source: paper("Section 5"),
        statement: "Looping generalizes systematically, vanilla does not",
        needs: &[Need::of::<Eval>()],
        test: Test::EachLooped(&Generalizes {
            stage: 3,
            paper: [0.75, 0.80],
        }),
    },
    Claim {
        id: ClaimId::ThreeStages,
        source: paper("Section 5"),
        statement: "Three stages; OOD rises only after ID is near perfect",
        needs: &[],
        test: Test::EachLooped(&ThreeStages {
            max_share_at_second: 0.5,
        }),
    },
    Claim {
        id: ClaimId::TargetBeforeBridge,
        source: paper("Figure 4"),
        statement: "At the first stage the lens shows the target without the bridge",
        needs: &[Need::of::<Lens>()],
        test: Test::EachLooped(&TargetBeforeBridge {
            stage: 1,
            min_target: 0.9,
            max_bridge: 0.5,
        }),
    },
    Claim {
        id: ClaimId::ReadAtOwnRelation,
        source: paper("Figure 4"),
        statement: "The bridge is read at r1 and the target at r2",
        needs: &[Need::of::<Lens>()],
        test: Test::EachLooped(&ReadAtOwnRelation {
            min_id: 0.9,
            min_ood: 0.5,
        }),
    },
    Claim {
        id: ClaimId::SecondIteration,
        source: paper("Figure 4"),
        statement: "The OOD target appears with the second iteration",
        needs: &[Need::of::<Lens>()],
        test: Test::EachLooped(&AppearsInIteration {
            iteration: 2,
            min_share_of_max: 0.5,
            min_top1: 0.05,
        }),
    },
    Claim {
        id: ClaimId::NeverReadByVanilla,
        source: paper("Figure 4"),
        statement: "In a vanilla model the OOD target is never read",
        needs: &[Need::of::<Lens>()],
        test: Test::EachVanilla(&NeverRead {
            max_target: 0.1,
            min_visible: 0.5,
        }),
    },
    Claim {
        id: ClaimId::FirstIterationCausal,
        source: paper("Appendix E"),
        statement: "Every layer of the first iteration is causal at r1",
        needs: &[Need::of::<Patch>()],
        test: Test::EachLooped(&FirstIterationCausal { min_recovery: 0.9 }),
    },
    Claim {
        id: ClaimId::BridgeTooLate,
        source: paper("Appendix E"),
        statement: "In a vanilla model the OOD bridge comes too late to be used",
        needs: &[Need::of::<Lens>(), Need::of::<Patch>()],
        test: Test::EachVanilla(&BridgeTooLate {
            min_visible: 0.5,
            min_recovery: 0.5,
        }),
    },
    Claim {
        id: ClaimId::BridgeInvisible,
        source: Source {
            paper: "probes of others on the released 2-hop checkpoints",
            part: "",
        },
        statement: "at r2 the bridge is decodable and invisible to the lens",
        needs: &[Need::of::<Lens>(), Need::of::<Probe>()],
        test: Test::EachLooped(&DecodableAndInvisible { max_lens: 0.1 }),
    },
    Claim {
        id: ClaimId::MoreIterations,
        source: paper("Section 6, which says it of deeper chains"),
        statement: "more iterations than in training raise OOD accuracy",
        needs: &[Need::of::<Eval>()],
        test: Test::EachLooped(&MoreIterations { min_gain: 0.0 }),
    },
];

/// The claims of the depth experiment.
pub static DEPTH: &[Claim] = &[
    Claim {
        id: ClaimId::DepthGrows,
        source: paper("Section 6"),
        statement: "The learnable depth grows with R",
        needs: &[],
        test: Test::Together(&DepthGrows),
    },
    Claim {
        id: ClaimId::DynamicLearnsAsDeep,
        source: paper("Section 6"),
        statement: "Drawing R for every batch learns at least as deep as the largest fixed R",
        needs: &[],
        test: Test::Together(&DynamicLearnsAsDeep),
    },
    Claim {
        id: ClaimId::VanillaLearnsLessDeep,
        source: paper("Section 6"),
        statement: "A vanilla model with as many effective layers learns less deep",
        needs: &[],
        test: Test::Together(&VanillaLearnsLessDeep),
    },
    Claim {
        id: ClaimId::PhaseTransition,
        source: paper("Section 6"),
        statement: "Depth comes in a phase transition: the first hops take nearly all updates, deeper ones then nearly none",
        needs: &[Need::of::<Extrapolate>()],
        test: Test::Together(&PhaseTransition {
            min_learned: 4,
            min_share: 0.5,
            late: 0.9,
        }),
    },
    Claim {
        id: ClaimId::UnlocksDepth,
        source: paper("Section 6, Figure 19"),
        statement: "More iterations at inference answer deeper chains than were learned, only where R was above 4",
        needs: &[Need::of::<Extrapolate>()],
        test: Test::Together(&UnlocksDepth {
            max_small_r: 4,
            min_accuracy: 0.6,
        }),
    },
    Claim {
        id: ClaimId::Overthinking,
        source: paper("Figure 8"),
        statement: "Overthinking: the logit margin peaks and falls, and deeper chains peak lower",
        needs: &[Need::of::<Margin>()],
        test: Test::Together(&Overthinking {
            min_learned: 3,
            min_fall: 0.0,
        }),
    },
    Claim {
        id: ClaimId::DynamicOverthinksSlower,
        source: paper("Figure 8"),
        statement: "The dynamic model overthinks more slowly than the fixed one",
        needs: &[Need::of::<Eval>()],
        test: Test::Together(&DynamicOverthinksSlower { hops: 2 }),
    },
    Claim {
        id: ClaimId::KlHaltsTooEarly,
        source: paper("Section 4, Figures 9 and 10"),
        statement: "KL alone halts too early on the deepest chains; with entropy it does not",
        needs: &[Need::of::<Halt>()],
        test: Test::Together(&KlHaltsTooEarly {
            kl: 0.01,
            entropy: 3.0,
            max_share: 0.5,
        }),
    },
    Claim {
        id: ClaimId::InjectionIsNoCure,
        source: paper("Section 6"),
        statement: "Input injection does not cure overthinking",
        needs: &[Need::of::<Eval>()],
        test: Test::Together(&InjectionIsNoCure { min_loss: 0.0 }),
    },
    Claim {
        id: ClaimId::Shortcut,
        source: paper("Appendix K"),
        statement: "On many-to-one relations the model reads a short suffix only, on permutations the whole chain",
        needs: &[Need::of::<Reach>()],
        test: Test::Together(&Shortcut {
            min_learned: 2,
            tolerance: 0.1,
        }),
    },
    Claim {
        id: ClaimId::CommonState,
        source: Source {
            paper: "arXiv 2604.11791",
            part: "",
        },
        statement: "without input injection all layers fall towards one common state, with it towards one each",
        needs: &[Need::of::<Settle>()],
        test: Test::Together(&CommonState { max_apart: 0.1 }),
    },
];
