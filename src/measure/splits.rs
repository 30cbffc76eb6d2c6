//! Which splits an analysis looks at where the user names none: those that it can use.

use super::data_sets;
use super::report::Specimen;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, TRAIN, VALID, hop_test, hops_of_split};

/// The splits of Kohli et al. 2026, Figure 4.
pub const INSIDE_SPLITS: [&str; 3] = ["train_inferred", "test_inferred_iid", "test_inferred_ood"];

/// Those of them that were not trained on, which say most about how a model generalizes.
pub const HELD_OUT_SPLITS: [&str; 2] = ["test_inferred_iid", "test_inferred_ood"];

/// What an analysis can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Every split of `test.json`.
    Tests,
    /// The held-out chains of every depth; without any, every split of `test.json`.
    Depths,
    /// Chains whose bridges are known: [`INSIDE_SPLITS`], else those of every depth, else every test split with some.
    Chains,
    /// As [`Wants::Chains`], held out: [`HELD_OUT_SPLITS`] first.
    HeldOutChains,
    /// As [`Wants::Chains`], and of chains by depth one depth alone: the most hops that each of the runs learned.
    OneDepth,
    /// As [`Wants::OneDepth`], held out.
    OneHeldOutDepth,
}

impl Wants {
    /// The splits that `named` names, or, where it is empty, those that this analysis can use of the data of all
    /// checkpoints.
    ///
    /// # Errors
    /// When a named split does not exist, or the data sets have no split in common that the analysis can use.
    pub fn splits(self, named: &[String], specimens: &[Specimen]) -> Result<Vec<String>> {
        let sets = data_sets(specimens);
        if !named.is_empty() {
            let named: Vec<String> = named.iter().map(|name| name.trim().to_owned()).collect();
            for (data, name) in sets.iter().flat_map(|data| named.iter().map(move |name| (data, name))) {
                data.split(name)?;
            }
            return Ok(named);
        }
        let learned = specimens.iter().filter_map(|specimen| specimen.info.learned_hops).min();
        let mut chosen = sets.iter().map(|data| self.of_data(data, learned.unwrap_or(2).max(2)));
        let mut common = chosen.next().unwrap_or_default();
        for others in chosen {
            common.retain(|name| others.contains(name));
        }
        if common.is_empty() {
            let there: Vec<&str> = sets.iter().flat_map(|data| data.split_names()).collect();
            return Err(Error::input(format!(
                "the data has no split that this analysis can use{}; name some with --split (there are: {})",
                if sets.len() > 1 { " and all runs share" } else { "" },
                there.join(", ")
            )));
        }
        Ok(common)
    }

    fn of_data(self, data: &Dataset, learned: usize) -> Vec<String> {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let tests = test_splits(data);
        let by_depth: Vec<&str> = tests
            .iter()
            .copied()
            .filter(|name| hops_of_split(name).is_some())
            .collect();
        match self {
            Self::Tests => return owned(tests),
            Self::Depths if by_depth.is_empty() => return owned(tests),
            Self::Depths => return owned(by_depth),
            _ => {}
        }
        let preferred: &[&str] = match self {
            Self::Chains | Self::OneDepth => &INSIDE_SPLITS,
            _ => &HELD_OUT_SPLITS,
        };
        let has_chains = |name: &&str| data.split(name).is_ok_and(|rows| rows.iter().any(is_chain));
        let found: Vec<&str> = preferred.iter().copied().filter(has_chains).collect();
        if !found.is_empty() {
            return owned(found);
        }
        if by_depth.is_empty() {
            return owned(tests.into_iter().filter(has_chains).collect());
        }
        if matches!(self, Self::OneDepth | Self::OneHeldOutDepth) {
            let deepest = by_depth
                .iter()
                .filter_map(|name| hops_of_split(name))
                .filter(|&hops| hops <= learned)
                .max();
            return deepest.map(hop_test).into_iter().collect();
        }
        owned(by_depth)
    }
}

// Whether a row is a chain of two hops or more whose first bridge is known.
fn is_chain(query: &Query) -> bool {
    query.hops() >= 2 && query.entity_after(1).is_some()
}

/// All of `test.json`.
pub fn test_splits(data: &Dataset) -> Vec<&str> {
    data.split_names()
        .filter(|name| *name != TRAIN && *name != VALID)
        .collect()
}
