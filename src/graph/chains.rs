//! The depth-extrapolation data (Kohli et al. 2026, Section 3 and Appendix K): chains of 2 to K hops over a graph in which
//! every entity has every relation.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::split::ATOMIC_FACTS;
use super::{Dataset, Graph, Ids, Query, Split, Vocab};
use crate::error::{Error, Result};
use crate::random::Stream;

/// The published type of a training row of `hops` hops.
pub(super) fn training_type(hops: usize) -> String {
    match hops {
        1 => ATOMIC_FACTS.to_owned(),
        _ => format!("{hops}hop_train"),
    }
}

/// How the tails of a relation are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tails {
    /// Each relation is a random permutation of the entities.
    #[default]
    Permutation,
    /// Each tail is uniform over the entities. Relations are then many-to-one, and the end of a long chain depends little on
    /// its head ("pre-permutation", Appendix K).
    Random,
}

/// The settings of a depth-extrapolation data set. The defaults of the command line are the scale of the paper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Chains {
    /// Number of entities
    #[arg(long, default_value_t = 200)]
    pub entities: usize,
    /// Number of relations; every entity has them all
    #[arg(long, default_value_t = 10)]
    pub relations: usize,
    /// K: the longest chains
    #[arg(long, default_value_t = 40)]
    pub hops: usize,
    /// Training chains of each number of hops
    #[arg(long, default_value_t = 15_000)]
    pub train_rows: usize,
    /// Held-out chains of each number of hops
    #[arg(long, default_value_t = 750)]
    pub test_rows: usize,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How the tails of relations are drawn.
    #[arg(skip)]
    #[serde(default)]
    pub tails: Tails,
}

impl Chains {
    fn check(&self) -> Result<()> {
        let range = |name: &str, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(Error::input(format!("{name} is {value}; allowed: {min} to {max}")))
            }
        };
        range("entities", self.entities, 1, 1_000_000)?;
        range("relations", self.relations, 1, 1_000_000)?;
        range("hops", self.hops, 2, 1000)?;
        range("train-rows", self.train_rows, 1, 10_000_000)?;
        range("test-rows", self.test_rows, 1, 10_000_000)?;
        let facts = self.entities * self.relations;
        if facts > 1 << 24 {
            return Err(Error::input(format!(
                "entities × relations is {facts} facts; allowed: up to {}",
                1 << 24
            )));
        }
        // There are fewer chains of 2 hops than of any other length.
        let (available, requested) = (facts * self.relations, self.train_rows + self.test_rows);
        if requested > available {
            return Err(Error::input(format!(
                "train-rows + test-rows is {requested}, but there are only {available} chains of 2 hops (entities × relations²)"
            )));
        }
        let tokens = requested.saturating_mul(self.hops * (self.hops + 3) / 2);
        if tokens > 1 << 28 {
            return Err(Error::input(format!(
                "the chains have {tokens} tokens; allowed: up to {} (fewer rows or hops)",
                1 << 28
            )));
        }
        Ok(())
    }

    /// Generates the data set: the splits `train` (all facts, then the training chains by hops), `atomic_facts`, and
    /// `2hop_test` to `{K}hop_test`. No chain is in both training and test.
    ///
    /// # Errors
    /// When a setting is impossible.
    pub fn generate(&self) -> Result<Dataset> {
        self.check()?;
        let graph = self.graph();
        let mut train: Vec<Query> = graph
            .facts()
            .iter()
            .filter_map(|&(head, relation)| {
                let tail = graph.tail(head, relation).ok()?;
                Some(Query::new(&[head, relation], tail, &graph))
            })
            .collect();
        let atomic = Stream::new(self.seed, ATOMIC_FACTS, 0).sample(&train, self.test_rows);
        train.reserve_exact(self.train_rows * (self.hops - 1));
        let mut tests = vec![(Split::from(ATOMIC_FACTS), atomic)];
        for hops in 2..=self.hops {
            let mut chains = self.chains(hops, &graph);
            let test = chains.split_off(self.train_rows);
            train.extend(chains);
            tests.push((Split::depth_test(hops), test));
        }
        let mut splits = vec![(Split::train(), train)];
        splits.extend(tests);
        let mut data = Dataset {
            vocab: Vocab::of_graph(self.entities, self.relations),
            graph,
            splits,
            hash: String::new(),
        };
        data.hash = data.content_hash();
        Ok(data)
    }

    fn graph(&self) -> Graph {
        let entities: Vec<u32> = (1..=self.entities as u32).collect();
        let tails: Vec<Vec<u32>> = (0..self.relations as u64)
            .map(|relation| {
                let mut stream = Stream::new(self.seed, "tails", relation);
                match self.tails {
                    Tails::Permutation => {
                        let mut tails = entities.clone();
                        stream.shuffle(&mut tails);
                        tails
                    }
                    Tails::Random => entities
                        .iter()
                        .map(|_| entities[stream.below(entities.len())])
                        .collect(),
                }
            })
            .collect();
        let mut graph = Graph::default();
        for &head in &entities {
            for (relation, tails) in tails.iter().enumerate() {
                graph.insert(head, self.relation(relation), tails[head as usize - 1]);
            }
        }
        graph
    }

    // The vocabulary id of the relation with this index.
    fn relation(&self, index: usize) -> u32 {
        (1 + self.entities + index) as u32
    }

    // Training and test chains of `hops` hops, uniform without repeats: a chain that was drawn already is rejected.
    fn chains(&self, hops: usize, graph: &Graph) -> Vec<Query> {
        let mut stream = Stream::new(self.seed, "chains", hops as u64);
        let n_chains = self.train_rows + self.test_rows;
        let mut drawn: HashSet<Ids> = HashSet::with_capacity(n_chains);
        let mut chains = Vec::with_capacity(n_chains);
        while chains.len() < n_chains {
            let head = 1 + stream.below(self.entities) as u32;
            let relations = (0..hops).map(|_| self.relation(stream.below(self.relations)));
            let tokens: Ids = std::iter::once(head).chain(relations).collect();
            if !drawn.insert(tokens.clone()) {
                continue;
            }
            // Every entity has every relation, so every chain has a target.
            if let Some(&target) = graph.walk(head, &tokens[1..]).ok().as_deref().and_then(<[u32]>::last) {
                chains.push(Query::new(&tokens, target, graph));
            }
        }
        chains
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bridges;
    use super::*;

    fn small(tails: Tails) -> Chains {
        Chains {
            entities: 12,
            relations: 4,
            hops: 5,
            train_rows: 150,
            test_rows: 40,
            seed: 3,
            tails,
        }
    }

    #[test]
    fn relations_are_permutations_or_many_to_one() {
        let distinct_tails = |tails| {
            let data = small(tails).generate().unwrap();
            let relation = |r: u32| (1..=12).map(move |h| (h, 13 + r));
            (0..4)
                .map(|r| {
                    let ends: HashSet<u32> = relation(r).map(|(h, r)| data.graph.tail(h, r).unwrap()).collect();
                    ends.len()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(distinct_tails(Tails::Permutation), [12; 4]);
        assert!(distinct_tails(Tails::Random).iter().all(|&n| n < 12));
    }

    #[test]
    fn no_chain_occurs_twice_and_each_has_its_bridges() {
        let data = small(Tails::Permutation).generate().unwrap();
        let mut seen = HashSet::new();
        for (split, rows) in data.splits.iter().filter(|(split, _)| split.name() != ATOMIC_FACTS) {
            for query in rows {
                assert!(seen.insert(query.tokens.clone()), "{split}: {:?}", query.tokens);
                assert!(matches!(&query.bridges, Bridges::Known(b) if b.len() == query.hops() - 1));
                assert_eq!(
                    data.graph.walk(query.tokens[0], &query.tokens[1..]).unwrap().last(),
                    Some(&query.target)
                );
            }
        }
        assert_eq!(seen.len(), 48 + 4 * 190);
        let names: Vec<&str> = data.split_names().collect();
        assert_eq!(
            names,
            [
                "train",
                "atomic_facts",
                "2hop_test",
                "3hop_test",
                "4hop_test",
                "5hop_test"
            ]
        );
        assert!(data.splits[2..].iter().all(|(_, rows)| rows.len() == 40));
    }

    #[test]
    fn the_layout_is_read_back_the_same_and_its_training_rows_have_types() {
        let settings = small(Tails::Random);
        let data = settings.generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        data.write(&path, &settings).unwrap();
        let back = Dataset::read(&path).unwrap();
        assert_eq!((&back.splits, &back.hash), (&data.splits, &data.hash));
        let train = std::fs::read_to_string(path.join("train.json")).unwrap();
        assert_eq!(train.matches(r#""type":"atomic_facts""#).count(), 48);
        assert_eq!(train.matches(r#""type":"3hop_train""#).count(), 150);
        assert!(!path.join("valid.json").exists());
        // The small test set is read where there is no other.
        std::fs::remove_file(path.join("test.json")).unwrap();
        let small = Dataset::read(&path).unwrap();
        assert_eq!(
            small.split("5hop_test").unwrap(),
            &data.split("5hop_test").unwrap()[..40]
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_data_for_all_time() {
        let hash = |tails| small(tails).generate().unwrap().hash;
        assert_eq!(hash(Tails::Permutation), hash(Tails::Permutation));
        assert_ne!(hash(Tails::Permutation), hash(Tails::Random));
    }

    #[test]
    fn impossible_settings_are_refused_by_name() {
        let refused = |settings: Chains| settings.generate().unwrap_err().to_string();
        let base = small(Tails::Permutation);
        assert!(
            refused(Chains {
                train_rows: 160,
                ..base.clone()
            })
            .contains("only 192 chains of 2 hops")
        );
        assert!(
            refused(Chains {
                hops: 1,
                ..base.clone()
            })
            .contains("hops is 1; allowed: 2 to 1000")
        );
        assert!(refused(Chains { entities: 0, ..base }).contains("entities is 0"));
    }
}
