//! Which splits an analysis looks at where the user names none: those that it can use.

use super::checkpoint::{LoadedCheckpoint, data_sets};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, Role, Split};

// The splits of Kohli et al. 2026, Figure 4.
const CHAINS: [Role; 3] = [Role::TrainChains, Role::InDistribution, Role::Ood];

// Those of them that were not trained on, which say most about how a model generalizes.
const HELD_OUT_CHAINS: [Role; 2] = [Role::InDistribution, Role::Ood];

/// What an analysis can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Every split of `test.json`.
    Tests,
    /// The held-out chains of every depth; without any, every split of `test.json`.
    Depths,
    /// Chains whose bridges are known: trained, ID and OOD ones (Kohli et al. 2026, Figure 4), else those of every depth,
    /// else every test split with some.
    Chains,
    /// As [`Wants::Chains`], held out: ID and OOD ones first.
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
    /// When a name is empty, a named split does not exist, or the data sets have no split in common that the analysis can
    /// use.
    pub fn splits(self, named: &[Split], checkpoints: &[LoadedCheckpoint]) -> Result<Vec<Split>> {
        let sets = data_sets(checkpoints);
        if !named.is_empty() {
            return named_splits(named, checkpoints);
        }
        let learned = checkpoints
            .iter()
            .filter_map(|checkpoint| checkpoint.info.learned_hops)
            .min();
        let mut chosen = sets.iter().map(|data| self.of_data(data, learned.unwrap_or(2).max(2)));
        let mut common = chosen.next().unwrap_or_default();
        for others in chosen {
            common.retain(|name| others.contains(name));
        }
        if common.is_empty() {
            return Err(self.none_usable(checkpoints));
        }
        Ok(common)
    }

    // What the splits of each data set are, and which the user could name.
    fn none_usable(self, checkpoints: &[LoadedCheckpoint]) -> Error {
        let sets = data_sets(checkpoints);
        let usable = |data: &Dataset, name: &str| {
            let rows = data.split(name).unwrap_or_default();
            match self {
                Self::Tests | Self::Depths => !rows.is_empty(),
                _ => rows.iter().any(is_chain),
            }
        };
        let first = sets.first().map(|data| data.split_names()).into_iter().flatten();
        let to_name: Vec<&str> = first
            .filter(|name| sets.iter().all(|data| usable(data, name)))
            .collect();
        let there: Vec<String> = sets
            .iter()
            .map(|data| {
                let names: Vec<&str> = data.split_names().collect();
                format!("{}: {}", whose(data, checkpoints), names.join(", "))
            })
            .collect();
        let shared = if sets.len() > 1 { " and all runs share" } else { "" };
        let there = there.join("; ");
        Error::input(if to_name.is_empty() {
            format!("the data has no split that this analysis can use{shared} ({there})")
        } else {
            format!(
                "the data has no split that this analysis takes by default{shared}; --split could name: {} ({there})",
                to_name.join(", ")
            )
        })
    }

    fn of_data(self, data: &Dataset, learned: usize) -> Vec<Split> {
        let tests = test_splits(data);
        let by_depth: Vec<Split> = tests.iter().filter(|split| split.depth().is_some()).cloned().collect();
        match self {
            Self::Tests => return tests,
            Self::Depths if by_depth.is_empty() => return tests,
            Self::Depths => return by_depth,
            _ => {}
        }
        let preferred: &[Role] = match self {
            Self::Chains | Self::OneDepth => &CHAINS,
            _ => &HELD_OUT_CHAINS,
        };
        let has_chains = |split: &&Split| data.split(split).is_ok_and(|rows| rows.iter().any(is_chain));
        let of_role = |role: &Role| tests.iter().find(|split| split.role() == *role).filter(has_chains);
        let found: Vec<Split> = preferred.iter().filter_map(of_role).cloned().collect();
        if !found.is_empty() {
            return found;
        }
        if by_depth.is_empty() {
            return tests.iter().filter(has_chains).cloned().collect();
        }
        if matches!(self, Self::OneDepth | Self::OneHeldOutDepth) {
            let depths = by_depth.iter().filter_map(Split::depth).filter(|&hops| hops <= learned);
            return depths.max().map(Split::depth_test).into_iter().collect();
        }
        by_depth
    }
}

// The splits that the user names, each once.
fn named_splits(named: &[Split], checkpoints: &[LoadedCheckpoint]) -> Result<Vec<Split>> {
    let mut found: Vec<Split> = Vec::new();
    for name in named.iter().map(|split| split.name().trim()) {
        if name.is_empty() {
            return Err(Error::input(
                "--split has an empty name; allowed: names of splits with one comma between two",
            ));
        }
        for data in data_sets(checkpoints) {
            data.split(name)
                .map_err(|error| Error::input(format!("{}: {error}", whose(data, checkpoints))))?;
        }
        let split = Split::from(name);
        if !found.contains(&split) {
            found.push(split);
        }
    }
    Ok(found)
}

// The data by its hash and the runs that are looked at on it.
fn whose(data: &Dataset, checkpoints: &[LoadedCheckpoint]) -> String {
    let mut runs: Vec<&str> = Vec::new();
    for checkpoint in checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.data.hash == data.hash)
    {
        let run = checkpoint.info.origin.run.as_str();
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    format!("data {} of {}", data.hash, runs.join(", "))
}

// Whether a row is a chain of two hops or more whose first bridge is known.
fn is_chain(query: &Query) -> bool {
    query.hops() >= 2 && query.entity_after(1).is_some()
}

/// All of `test.json`.
pub fn test_splits(data: &Dataset) -> Vec<Split> {
    let splits = data.splits.iter().map(|(split, _)| split);
    let is_test = |split: &&Split| !matches!(split.role(), Role::Train | Role::Validation);
    splits.filter(is_test).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, TRAIN, VALID, Vocab};

    // A data set whose splits have chains of these hops; of 0 hops: one row over a fact that is not known.
    fn data(splits: &[(&str, &[usize])]) -> Dataset {
        let mut graph = Graph::default();
        graph.insert(1, 3, 1);
        let row = |&hops: &usize| match hops {
            0 => Query::new(&[2, 3, 3], 1, &graph),
            _ => Query::new(&[&[1][..], &vec![3; hops]].concat(), 1, &graph),
        };
        let splits = splits
            .iter()
            .map(|(name, rows)| ((*name).into(), rows.iter().map(row).collect()))
            .collect();
        Dataset {
            vocab: Vocab::of_graph(3, 1),
            graph,
            splits,
            hash: String::new(),
        }
    }

    const INSIDE_SPLITS: [&str; 3] = ["train_inferred", "test_inferred_iid", "test_inferred_ood"];
    const HELD_OUT_SPLITS: [&str; 2] = ["test_inferred_iid", "test_inferred_ood"];

    fn chosen(data: &Dataset, learned: usize) -> [Vec<String>; 6] {
        ALL.map(|wants| wants.of_data(data, learned).iter().map(ToString::to_string).collect())
    }

    const ALL: [Wants; 6] = [
        Wants::Tests,
        Wants::Depths,
        Wants::Chains,
        Wants::HeldOutChains,
        Wants::OneDepth,
        Wants::OneHeldOutDepth,
    ];

    #[test]
    fn systematic_data_are_looked_at_on_the_splits_of_the_paper() {
        let data = data(&[
            (TRAIN, &[1, 2]),
            ("id_atomic", &[1]),
            ("train_inferred", &[2]),
            ("test_inferred_iid", &[2]),
            ("test_inferred_ood", &[2]),
            (VALID, &[2]),
        ]);
        let tests: Vec<&str> = [&["id_atomic"][..], &INSIDE_SPLITS].concat();
        let expected: [&[&str]; 6] = [
            &tests,
            &tests,
            &INSIDE_SPLITS,
            &HELD_OUT_SPLITS,
            &INSIDE_SPLITS,
            &HELD_OUT_SPLITS,
        ];
        assert_eq!(chosen(&data, 2), expected);
    }

    #[test]
    fn data_by_depth_are_looked_at_on_chains_and_where_one_depth_is_wanted_on_the_deepest_learned() {
        let data = data(&[
            (TRAIN, &[1, 2]),
            ("atomic_facts", &[1]),
            ("2hop_test", &[2]),
            ("3hop_test", &[3]),
            ("4hop_test", &[4]),
            (VALID, &[2]),
        ]);
        let depths = ["2hop_test", "3hop_test", "4hop_test"];
        let tests: Vec<&str> = [&["atomic_facts"][..], &depths].concat();
        let expected: [&[&str]; 6] = [&tests, &depths, &depths, &depths, &["3hop_test"], &["3hop_test"]];
        assert_eq!(chosen(&data, 3), expected);
    }

    #[test]
    fn splits_without_a_chain_of_known_bridges_are_not_chosen_where_chains_are_wanted() {
        let data = data(&[(TRAIN, &[2]), ("facts", &[1]), ("unknown", &[0]), ("mixed", &[1, 0, 2])]);
        let tests: &[&str] = &["facts", "unknown", "mixed"];
        let chains: &[&str] = &["mixed"];
        let expected = [tests, tests, chains, chains, chains, chains];
        assert_eq!(chosen(&data, 2), expected);
    }
}
