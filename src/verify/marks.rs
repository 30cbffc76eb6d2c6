//! The pass marks, and the cells that should miss them, from `marks.toml`.

use serde::Deserialize;

use super::score::Agreement;
use crate::error::{Error, Result};
use crate::measure::Claim;

/// What a method must reach.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// AUROC of its site scores, at least.
    pub auroc: f64,
    /// Sites that are called and are not so, among those that are not so, at most.
    pub false_positives: f64,
    /// Counterfactual answers after an edit where the entity is used, at least.
    pub sufficiency: f64,
    /// Counterfactual answers after an edit where it is not used, or after a placebo, at most.
    pub selectivity: f64,
    /// How far a number may be from what the circuit is designed to give.
    pub tolerance: f64,
}

/// What a method cannot show, by the mechanism of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The method's name.
    pub method: String,
    /// What it claims.
    pub claim: Claim,
    /// The circuits on which it misses a mark.
    pub circuits: Vec<String>,
    /// Why.
    pub reason: String,
}

/// The marks and limits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarksFile {
    /// The marks.
    pub marks: Marks,
    /// The limits.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

impl Marks {
    // Whether the scores or calls of a variant miss a mark.
    pub(super) fn misses(&self, of: &Agreement) -> bool {
        of.auroc.is_some_and(|auroc| auroc < self.auroc) || self.misses_false_positives(of)
    }

    pub(super) fn misses_false_positives(&self, of: &Agreement) -> bool {
        of.false_positives().is_some_and(|rate| rate > self.false_positives)
    }

    // Whether edits, whose scores are shares of counterfactual answers, miss a mark.
    pub(super) fn misses_edits(&self, of: &Agreement) -> bool {
        of.score_of_positives.is_some_and(|share| share < self.sufficiency) || self.misses_selectivity(of)
    }

    pub(super) fn misses_selectivity(&self, of: &Agreement) -> bool {
        of.score_of_negatives.is_some_and(|share| share > self.selectivity)
    }
}

impl MarksFile {
    /// Those that hold for this version.
    ///
    /// # Errors
    /// When the file that is built in is damaged.
    pub fn built_in() -> Result<Self> {
        toml::from_str(include_str!("marks.toml")).map_err(|e| Error::failed(format!("marks.toml: {e}")))
    }

    /// Why a method should miss a mark on a circuit; `None` where it should hold all.
    pub fn limit(&self, method: &str, claim: Claim, circuit: &str) -> Option<&str> {
        let fits = |limit: &&Limit| {
            limit.method == method && limit.claim == claim && limit.circuits.iter().any(|name| name == circuit)
        };
        self.limits.iter().find(fits).map(|limit| limit.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::circuit::Name;
    use crate::measure::{self, Method};
    use crate::registry::with_every_method;

    macro_rules! names {
        ($($module:ident::$Method:ident,)*) => { [$(<measure::$Method as Method>::NAME),*] };
    }

    #[test]
    fn every_limit_names_a_method_and_circuits_and_no_cell_has_two() {
        let methods = with_every_method!(names);
        let circuits: Vec<String> = Name::all().iter().map(ToString::to_string).collect();
        let mut seen = HashSet::new();
        for limit in MarksFile::built_in().unwrap().limits {
            assert!(methods.contains(&limit.method.as_str()), "{limit:?}");
            assert!(!limit.reason.is_empty() && !limit.circuits.is_empty(), "{limit:?}");
            for circuit in limit.circuits {
                assert!(circuits.contains(&circuit), "{circuit}");
                assert!(
                    seen.insert((limit.method.clone(), limit.claim, circuit)),
                    "{}",
                    limit.method
                );
            }
        }
    }
}
