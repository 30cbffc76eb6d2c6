//! The seeds of a sweep: lists for data, initial weights and order, and every choice from them.

use serde::Deserialize;

use super::Base;
use crate::error::{Error, Result};
use crate::sweep::point::PointSeeds;
use crate::train::RunConfig;

/// The lists of a sweep file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeedLists {
    /// One number for all three.
    #[serde(default)]
    all: Vec<u64>,
    #[serde(default)]
    data: Vec<u64>,
    #[serde(default)]
    init: Vec<u64>,
    #[serde(default)]
    order: Vec<u64>,
}

/// One choice of seeds; what is absent stays as the base has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    all: Option<u64>,
    pub(super) data: Option<u64>,
    init: Option<u64>,
    order: Option<u64>,
}

impl SeedLists {
    pub(super) fn all(&self, base: &Base) -> Result<Vec<Chosen>> {
        let none = Chosen {
            all: None,
            data: None,
            init: None,
            order: None,
        };
        let own = [("data", &self.data), ("init", &self.init), ("order", &self.order)];
        if let Some((key, _)) = own.iter().find(|(_, list)| !list.is_empty())
            && !self.all.is_empty()
        {
            return Err(Error::input(format!("seeds.all and seeds.{key}; allowed: one of them")));
        }
        for (key, list) in [("all", &self.all), own[0], own[1], own[2]] {
            if let Some(&seed) = list
                .iter()
                .enumerate()
                .find(|(i, seed)| list[..*i].contains(seed))
                .map(|(_, seed)| seed)
            {
                return Err(Error::input(format!("seeds.{key} has {seed} twice; allowed: once")));
            }
        }
        let moved = if self.all.is_empty() { &self.data } else { &self.all };
        if base.data.is_none() && !moved.is_empty() {
            return Err(Error::input(
                "the data are a folder that is there, so that no seed makes other data; allowed: seeds.init and seeds.order, or \
                 [data] with how they are made",
            ));
        }
        if !self.all.is_empty() {
            let chosen = |&seed: &u64| Chosen {
                all: Some(seed),
                data: Some(seed),
                ..none
            };
            return Ok(self.all.iter().map(chosen).collect());
        }
        // A list that is left out has one entry: the base's own.
        let choices = |list: &[u64]| -> Vec<Option<u64>> {
            if list.is_empty() {
                vec![None]
            } else {
                list.iter().copied().map(Some).collect()
            }
        };
        let mut all = Vec::new();
        for data in choices(&self.data) {
            for init in choices(&self.init) {
                for order in choices(&self.order) {
                    all.push(Chosen {
                        all: None,
                        data,
                        init,
                        order,
                    });
                }
            }
        }
        Ok(all)
    }
}

impl Chosen {
    /// The seeds of its run; that of the data is filled in by the caller.
    pub(super) fn resolved(self, config: &RunConfig) -> PointSeeds {
        let seeds = self.put_into(config).seeds();
        PointSeeds {
            data: None,
            init: seeds.init,
            order: seeds.order,
        }
    }

    /// In the short form where initial weights and order have one seed: a run is known by how its config is written.
    pub(super) fn put_into(self, config: &RunConfig) -> RunConfig {
        let seeds = config.seeds();
        let init = self.all.or(self.init).unwrap_or(seeds.init);
        let order = self.all.or(self.order).unwrap_or(seeds.order);
        let long = init != order;
        RunConfig {
            seed: if long { config.seed } else { init },
            init_seed: long.then_some(init),
            order_seed: long.then_some(order),
            ..config.clone()
        }
    }

    /// The seeds that vary, for a name.
    pub(super) fn text(self, lists: &SeedLists) -> String {
        if let Some(seed) = self.all {
            return format!("seed-{seed}");
        }
        let parts = [
            ("data", self.data, &lists.data),
            ("init", self.init, &lists.init),
            ("order", self.order, &lists.order),
        ];
        let varied = parts.into_iter().filter(|(_, _, list)| list.len() > 1);
        let named = varied.filter_map(|(key, seed, _)| seed.map(|seed| format!("{key}-{seed}")));
        named.collect::<Vec<_>>().join("-")
    }
}
