//! The systematic-generalization data (Kohli et al. 2026, Section 3; Wang et al. 2024): 2-hop chains over a random
//! graph whose facts are split into in-distribution (ID) and out-of-distribution (OOD) ones.

use serde::{Deserialize, Serialize};

use super::{Dataset, Graph, Query, Split, Vocab};
use crate::error::{Error, Result};
use crate::random::Stream;

/// The settings of a systematic-generalization data set. The defaults of the command line are the scale of the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Systematic {
    /// Number of entities
    #[arg(long, default_value_t = 2000)]
    pub entities: usize,
    /// Number of relations
    #[arg(long, default_value_t = 200)]
    pub relations: usize,
    /// Relations that each entity has, drawn without replacement
    #[arg(long, default_value_t = 20)]
    pub out_degree: usize,
    /// Share of the atomic facts that are OOD: trained on alone, never inside a chain
    #[arg(long, default_value_t = 0.05)]
    pub ood_share: f64,
    /// Probability that an ID chain is held out for the ID test
    #[arg(long, default_value_t = 0.005)]
    pub held_out: f64,
    /// φ: training chains for each ID atomic fact; beyond what the graph has, all are taken, with a warning
    #[arg(long, default_value_t = 7.2)]
    pub phi: f64,
    /// Rows of each test split, at most
    #[arg(long, default_value_t = 3000)]
    pub test_rows: usize,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

// A 2-hop chain: the indices of its two facts in the list of facts.
type Chain = (u32, u32);

impl Systematic {
    fn check(&self) -> Result<()> {
        let share = |name: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                Ok(())
            } else {
                Err(Error::input(format!("{name} is {value}; allowed: 0 to 1")))
            }
        };
        share("ood-share", self.ood_share)?;
        share("held-out", self.held_out)?;
        if !(self.phi.is_finite() && self.phi >= 0.0) {
            return Err(Error::input(format!("phi is {}; allowed: 0 or more", self.phi)));
        }
        let at_least_one = |name: &str, value: usize| {
            if (1..=1_000_000).contains(&value) {
                Ok(())
            } else {
                Err(Error::input(format!("{name} is {value}; allowed: 1 to 1000000")))
            }
        };
        at_least_one("entities", self.entities)?;
        at_least_one("relations", self.relations)?;
        at_least_one("test-rows", self.test_rows)?;
        if !(1..=self.relations).contains(&self.out_degree) {
            return Err(Error::input(format!(
                "out-degree is {}; allowed: 1 to the number of relations, {}",
                self.out_degree, self.relations
            )));
        }
        // 2^27 chains are 1 GiB as pairs of indices; far beyond the paper's 800,000.
        let chains = self.entities as u128 * (self.out_degree as u128).pow(2);
        if chains > 1 << 27 {
            return Err(Error::input(format!(
                "entities × out-degree² is {chains} chains; allowed: up to {}",
                1 << 27
            )));
        }
        Ok(())
    }

    /// Generates the data set: the splits `train` (all facts, then the training chains), `id_atomic`, `ood_atomic`,
    /// `train_inferred`, `test_inferred_iid`, `test_inferred_ood` and `valid`, which equals the OOD test.
    ///
    /// # Errors
    /// When a setting is impossible.
    pub fn generate(&self) -> Result<Dataset> {
        self.check()?;
        let vocab = Vocab::of_graph(self.entities, self.relations);
        let facts = self.facts();
        let is_ood = self.ood_marks(facts.len());
        let (mut candidates, held_out, ood) = self.chains(&facts, &is_ood);

        let id_count = is_ood.iter().filter(|&&ood| !ood).count();
        let requested = (self.phi * id_count as f64).round() as usize;
        if requested > candidates.len() {
            tracing::warn!(
                "phi = {} asks for {requested} training chains, but the graph has {}: the data holds all of them",
                self.phi,
                candidates.len()
            );
        }
        Stream::new(self.seed, "downsampling", 0).partial_shuffle(&mut candidates, requested);
        candidates.truncate(requested);
        candidates.sort_unstable();

        let mut graph = Graph::default();
        for &[head, relation, tail] in &facts {
            graph.insert(head, relation, tail);
        }
        let atomic = |i: &u32| {
            let [head, relation, tail] = facts[*i as usize];
            Query::new(&[head, relation], tail, &graph)
        };
        let chain = |&(first, second): &Chain| {
            let ([head, r1, _], [_, r2, target]) = (facts[first as usize], facts[second as usize]);
            Query::new(&[head, r1, r2], target, &graph)
        };
        let indices =
            |ood: bool| -> Vec<u32> { (0..facts.len() as u32).filter(|&i| is_ood[i as usize] == ood).collect() };
        let (id_facts, ood_facts) = (indices(false), indices(true));
        let sampled = |name: &str| Stream::new(self.seed, name, 0);
        let atomic_sample = |name: &str, facts: &[u32]| -> (Split, Vec<Query>) {
            let rows = sampled(name).sample(facts, self.test_rows);
            (name.into(), rows.iter().map(atomic).collect())
        };
        let chain_sample = |name: &str, chains: &[Chain]| -> (Split, Vec<Query>) {
            let rows = sampled(name).sample(chains, self.test_rows);
            (name.into(), rows.iter().map(chain).collect())
        };
        let train = id_facts.iter().chain(&ood_facts).map(atomic);
        let ood_test = chain_sample("test_inferred_ood", &ood);
        let splits = vec![
            (Split::train(), train.chain(candidates.iter().map(chain)).collect()),
            atomic_sample("id_atomic", &id_facts),
            atomic_sample("ood_atomic", &ood_facts),
            chain_sample("train_inferred", &candidates),
            chain_sample("test_inferred_iid", &held_out),
            ood_test.clone(),
            // In the published layout the OOD test is the validation split too.
            (Split::valid(), ood_test.1),
        ];
        let mut data = Dataset {
            vocab,
            graph,
            splits,
            hash: String::new(),
        };
        data.hash = data.content_hash();
        Ok(data)
    }

    // Every atomic fact as vocabulary ids [head, relation, tail], ordered by head.
    fn facts(&self) -> Vec<[u32; 3]> {
        let mut stream = Stream::new(self.seed, "facts", 0);
        let mut relations: Vec<u32> = (0..self.relations as u32).collect();
        let mut facts = Vec::with_capacity(self.entities * self.out_degree);
        for head in 0..self.entities as u32 {
            stream.partial_shuffle(&mut relations, self.out_degree);
            let mut drawn = relations[..self.out_degree].to_vec();
            drawn.sort_unstable();
            for relation in drawn {
                let tail = stream.below(self.entities) as u32;
                facts.push([1 + head, 1 + self.entities as u32 + relation, 1 + tail]);
            }
        }
        facts
    }

    // For each fact whether it is OOD.
    fn ood_marks(&self, facts: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..facts).collect();
        let count = (self.ood_share * facts as f64).round() as usize;
        Stream::new(self.seed, "ood facts", 0).partial_shuffle(&mut order, count);
        let mut is_ood = vec![false; facts];
        for &i in &order[..count] {
            is_ood[i] = true;
        }
        is_ood
    }

    // All chains by kind: training candidates, ID test, OOD test. Chains with exactly one OOD fact are dropped.
    fn chains(&self, facts: &[[u32; 3]], is_ood: &[bool]) -> (Vec<Chain>, Vec<Chain>, Vec<Chain>) {
        let mut stream = Stream::new(self.seed, "held-out chains", 0);
        let (mut candidates, mut held_out, mut ood) = (Vec::new(), Vec::new(), Vec::new());
        for (first, &[_, _, bridge]) in facts.iter().enumerate() {
            // Facts are ordered by head and every entity has `out_degree` of them.
            let start = (bridge as usize - 1) * self.out_degree;
            for second in start..start + self.out_degree {
                let chain = (first as u32, second as u32);
                match (is_ood[first], is_ood[second]) {
                    (false, false) if stream.uniform() < self.held_out => held_out.push(chain),
                    (false, false) => candidates.push(chain),
                    (true, true) => ood.push(chain),
                    _ => {}
                }
            }
        }
        (candidates, held_out, ood)
    }
}

#[cfg(test)]
impl Systematic {
    /// The data of the preset `laptop`.
    pub(crate) fn laptop() -> Self {
        Self {
            entities: 50,
            relations: 20,
            out_degree: 20,
            ood_share: 0.1,
            held_out: 0.03,
            phi: 9.0,
            test_rows: 3000,
            seed: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn counts_are_those_of_the_protocol() {
        let data = Systematic::laptop().generate().unwrap();
        let len = |split| data.split(split).unwrap().len();
        assert_eq!(len("id_atomic"), 900);
        assert_eq!(len("ood_atomic"), 100);
        assert_eq!(len("train"), 1000 + 8100);
        assert_eq!(len("train_inferred"), 3000);
        assert!(data.unexplained().is_empty());
    }

    #[test]
    fn no_trained_chain_holds_an_ood_fact_and_every_ood_test_chain_holds_two() {
        let data = Systematic::laptop().generate().unwrap();
        let ood: HashSet<&[u32]> = data.split("ood_atomic").unwrap().iter().map(|q| &*q.tokens).collect();
        let ood_facts = |q: &Query| {
            let bridge = q.entity_after(1).unwrap();
            usize::from(ood.contains(&q.tokens[..2])) + usize::from(ood.contains(&[bridge, q.tokens[2]][..]))
        };
        let trained = data.split("train").unwrap().iter().filter(|q| q.hops() == 2);
        assert!(trained.clone().all(|q| ood_facts(q) == 0));
        let trained: HashSet<&Query> = trained.collect();
        for query in data.split("test_inferred_iid").unwrap() {
            assert!(ood_facts(query) == 0 && !trained.contains(query));
        }
        assert!(
            data.split("test_inferred_ood")
                .unwrap()
                .iter()
                .all(|q| ood_facts(q) == 2)
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_files_and_another_seed_others() {
        let hash = |seed| {
            Systematic {
                seed,
                ..Systematic::laptop()
            }
            .generate()
            .unwrap()
            .hash
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
        // A promise across machines and versions.
        assert_eq!(hash(1), "0bb4241402303911");
    }

    #[test]
    fn impossible_settings_are_refused_by_name() {
        let refused = |settings: Systematic| settings.generate().unwrap_err().to_string();
        assert!(
            refused(Systematic {
                out_degree: 21,
                ..Systematic::laptop()
            })
            .contains("out-degree is 21")
        );
        assert!(
            refused(Systematic {
                ood_share: 1.5,
                ..Systematic::laptop()
            })
            .contains("ood-share is 1.5")
        );
        assert!(
            refused(Systematic {
                phi: f64::NAN,
                ..Systematic::laptop()
            })
            .contains("phi is NaN")
        );
        assert!(
            refused(Systematic {
                entities: 0,
                ..Systematic::laptop()
            })
            .contains("entities is 0")
        );
    }
}
