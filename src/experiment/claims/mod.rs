//! Claims of the paper as data: what is claimed and where, the criterion as numbers, the evidence that it needs, and a pure
//! function from evidence to a verdict.
//!
//! A criterion's text is made of the same numbers that its test compares with.

mod causal;
mod depth;
mod generalization;
mod lens;
mod overthinking;
mod quantity;
mod shortcut;
mod tables;
#[cfg(test)]
pub(super) mod tests;
pub(crate) mod words;

use std::fmt;

use serde::Serialize;

use super::evidence::{Evidence, Need, RunView};
pub(crate) use depth::plain;
pub(crate) use quantity::finite_or_word_where_there;
pub use quantity::{Cost, Measured, Quantity};
pub use tables::{DEPTH, SYSTEMATIC};

/// Which claim it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimId {
    /// Looping generalizes systematically, vanilla does not.
    Generalizes,
    /// Three stages, OOD last.
    ThreeStages,
    /// The target without the bridge at the first stage.
    TargetBeforeBridge,
    /// Bridge and target at their own relations.
    ReadAtOwnRelation,
    /// The OOD target with the second iteration.
    SecondIteration,
    /// The OOD target never in a vanilla model.
    NeverReadByVanilla,
    /// Every layer of the first iteration is causal.
    FirstIterationCausal,
    /// The OOD bridge too late in a vanilla model.
    BridgeTooLate,
    /// The bridge decodable and invisible at r2.
    BridgeInvisible,
    /// More iterations than in training raise OOD accuracy.
    MoreIterations,
    /// The learnable depth grows with R.
    DepthGrows,
    /// R drawn for every batch learns as deep.
    DynamicLearnsAsDeep,
    /// Vanilla models of equal effective depth learn less deep.
    VanillaLearnsLessDeep,
    /// Depth comes in a phase transition.
    PhaseTransition,
    /// More iterations answer deeper chains than were learned.
    UnlocksDepth,
    /// The logit margin peaks and falls.
    Overthinking,
    /// The dynamic model overthinks more slowly.
    DynamicOverthinksSlower,
    /// KL alone halts too early.
    KlHaltsTooEarly,
    /// Input injection does not cure overthinking.
    InjectionIsNoCure,
    /// Many-to-one relations leave a shortcut.
    Shortcut,
    /// All layers fall towards one state without injection.
    CommonState,
}

impl ClaimId {
    /// How a summary numbers it, by the paper's claims.
    pub fn label(self) -> &'static str {
        match self {
            Self::Generalizes => "1.",
            Self::ThreeStages => "2.",
            Self::TargetBeforeBridge => "3a.",
            Self::ReadAtOwnRelation => "3b.",
            Self::SecondIteration => "3c.",
            Self::NeverReadByVanilla => "3d.",
            Self::FirstIterationCausal => "4a.",
            Self::BridgeTooLate => "4b.",
            Self::BridgeInvisible => "Others' finding:",
            Self::MoreIterations => "Beside the claims:",
            Self::DepthGrows => "5a.",
            Self::DynamicLearnsAsDeep => "5b.",
            Self::VanillaLearnsLessDeep => "5c.",
            Self::PhaseTransition => "6.",
            Self::UnlocksDepth => "7.",
            Self::Overthinking => "8a.",
            Self::DynamicOverthinksSlower => "8b.",
            Self::KlHaltsTooEarly => "8c.",
            Self::InjectionIsNoCure => "8d.",
            Self::Shortcut => "10.",
            Self::CommonState => "2604.11791:",
        }
    }
}

/// Where something is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The paper.
    pub paper: &'static str,
    /// Section or figure; empty where it is the whole paper.
    pub part: &'static str,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.paper)?;
        if !self.part.is_empty() {
            write!(f, ", {}", self.part)?;
        }
        Ok(())
    }
}

/// A claim: what is claimed, where, and how it is tested.
pub struct Claim {
    /// Its identity.
    pub id: ClaimId,
    /// Where the paper makes it.
    pub source: Source,
    /// What is claimed, without its label.
    pub statement: &'static str,
    /// The methods whose results it needs.
    pub needs: &'static [Need],
    /// The verdict from evidence.
    pub test: Test,
}

/// What a claim is held against, with its criterion.
pub enum Test {
    /// Each looped run by itself.
    EachLooped(&'static dyn for<'a> Criterion<RunView<'a>>),
    /// Each vanilla run by itself.
    EachVanilla(&'static dyn for<'a> Criterion<RunView<'a>>),
    /// All runs together.
    Together(&'static dyn for<'a> Criterion<&'a Evidence>),
}

/// The numbers of a criterion, and what they mean for evidence of this type.
pub trait Criterion<E>: Sync {
    /// The criterion in words, made of its numbers; a clause without a full stop.
    fn text(&self) -> String;

    /// Holds the criterion against evidence.
    fn judge(&self, evidence: E) -> Judgement;
}

/// What a criterion makes of evidence.
pub struct Judgement {
    /// Whether it is met; absent where what it needs was not measured.
    pub met: Option<bool>,
    /// The numbers, a line each.
    pub numbers: Vec<String>,
}

/// Whether a criterion was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The criterion is met.
    Reproduced,
    /// The criterion is not met.
    NotReproduced,
    /// What the criterion needs was not there to measure.
    NotTested,
}

impl Verdict {
    /// Of a criterion that was met, was not, or could not be looked at.
    pub fn of(met: Option<bool>) -> Self {
        match met {
            Some(true) => Self::Reproduced,
            Some(false) => Self::NotReproduced,
            None => Self::NotTested,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::NotTested => "not tested",
        })
    }
}

/// A claim held against an experiment.
pub struct Finding {
    /// The claim.
    pub claim: &'static Claim,
    /// The run that it was held against; absent where it was all of them together.
    pub run: Option<String>,
    /// The criterion in words.
    pub criterion: String,
    /// Whether its criterion is met.
    pub verdict: Verdict,
    /// The numbers, a line each.
    pub numbers: Vec<String>,
}

impl Finding {
    /// The claim in one line: its label, what it says, and the run.
    pub fn heading(&self) -> String {
        let run = self.run.as_ref().map_or(String::new(), |run| format!(" ({run})"));
        format!("{} {}{run}", self.claim.id.label(), self.claim.statement)
    }
}

/// Holds claims against an experiment, in their order.
pub fn hold(claims: &'static [Claim], evidence: &Evidence) -> Vec<Finding> {
    claims.iter().flat_map(|claim| claim.hold(evidence)).collect()
}

impl Claim {
    fn hold(&'static self, evidence: &Evidence) -> Vec<Finding> {
        match self.test {
            Test::EachLooped(criterion) => self.hold_each(evidence, true, criterion),
            Test::EachVanilla(criterion) => self.hold_each(evidence, false, criterion),
            Test::Together(criterion) => {
                let is_there = |need: &&Need| evidence.runs().any(|run| run.has(need));
                vec![self.finding(None, criterion, evidence, is_there)]
            }
        }
    }

    fn hold_each<'a>(
        &'static self,
        evidence: &'a Evidence,
        looped: bool,
        criterion: &dyn Criterion<RunView<'a>>,
    ) -> Vec<Finding> {
        let runs = evidence.runs().filter(|run| run.role().is_looped() == looped);
        let hold = |run: RunView<'a>| {
            let is_there = |need: &&Need| run.has(need);
            self.finding(Some(run.name().to_owned()), criterion, run, is_there)
        };
        runs.map(hold).collect()
    }

    // Without the results that it needs a claim is not tested.
    fn finding<E>(
        &'static self,
        run: Option<String>,
        criterion: &dyn Criterion<E>,
        evidence: E,
        is_there: impl Fn(&&Need) -> bool,
    ) -> Finding {
        let missing: Vec<&str> = self
            .needs
            .iter()
            .filter(|need| !is_there(need))
            .map(|need| need.name)
            .collect();
        let judgement = if missing.is_empty() {
            criterion.judge(evidence)
        } else {
            Judgement {
                met: None,
                numbers: vec![format!("not measured: {}", missing.join(", "))],
            }
        };
        Finding {
            claim: self,
            run,
            criterion: criterion.text(),
            verdict: Verdict::of(judgement.met),
            numbers: judgement.numbers,
        }
    }
}
