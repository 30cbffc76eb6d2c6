//! In which settings two runs differ.

use std::collections::{BTreeMap, BTreeSet};

use super::RunConfig;

impl RunConfig {
    /// The settings that differ from those of `other`: key, value here, value there. Seeds are compared as what they are, however
    /// they are written: `seed = 3` is `init_seed = 3` with `order_seed = 3`.
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let have_one_seed = [self, other].iter().all(|config| {
            let seeds = config.seeds();
            seeds.init == seeds.order
        });
        let [ours, theirs] = [self, other].map(|config| config.values(have_one_seed));
        let absent = || "absent".to_owned();
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| {
                let of = |values: &BTreeMap<String, String>| values.get(key).cloned().unwrap_or_else(absent);
                (key.clone(), of(&ours), of(&theirs))
            })
            .collect()
    }

    // Every value by its full key; the seeds in their short form or in their long one.
    fn values(&self, short_seed: bool) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        // A config holds nothing that TOML cannot write.
        if let Ok(value) = toml::Value::try_from(self) {
            flatten("", &value, &mut values);
        }
        for key in ["seed", "init_seed", "order_seed"] {
            values.remove(key);
        }
        let seeds = self.seeds();
        if short_seed {
            values.insert("seed".to_owned(), seeds.init.to_string());
        } else {
            values.insert("init_seed".to_owned(), seeds.init.to_string());
            values.insert("order_seed".to_owned(), seeds.order.to_string());
        }
        values
    }
}

// Every value under its full key, as in `stages.0.hold`.
fn flatten(prefix: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let key = |part: &str| {
        if prefix.is_empty() {
            part.to_owned()
        } else {
            format!("{prefix}.{part}")
        }
    };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(part, inner)| flatten(&key(part), inner, into)),
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (i, inner) in items.iter().enumerate() {
                flatten(&key(&i.to_string()), inner, into);
            }
        }
        other => {
            into.insert(prefix.to_owned(), other.to_string());
        }
    }
}
