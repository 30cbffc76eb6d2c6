//! What a sweep is and how it was made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::PageSettings;
use super::super::text::Fact;
use super::PageSweep;
use crate::sweep::Point;
use crate::wording::listed;

/// Names that a list has, at most.
const MAX_LISTED: usize = 12;

/// Terms with their values.
pub(super) fn facts(sweep: &PageSweep, settings: &PageSettings) -> Vec<Fact> {
    let plan = &sweep.plan;
    let data: BTreeSet<&str> = plan.points.iter().map(|point| point.data.hash.as_str()).collect();
    let data: Vec<String> = data.into_iter().map(str::to_owned).collect();
    let fact = |term: &'static str, value: String| Fact { term, value };
    vec![
        fact("Folder", sweep.folder.display().to_string()),
        fact(
            "Plan",
            format!(
                "{}, hash {}, made by loopscope {}",
                plan.number, plan.hash, plan.loopscope
            ),
        ),
        fact("Varies", varies(&plan.points)),
        fact("Seeds", seeds(&plan.points)),
        fact("Data", listed(&data, MAX_LISTED)),
        fact("The same in all points", shared(&plan.points)),
        fact("Seed of relabelings and bootstraps", sweep.gathered.seed.to_string()),
        fact("loopscope", env!("CARGO_PKG_VERSION").to_owned()),
        fact("Command", settings.command.clone()),
    ]
}

/// The keys that vary with their values, in the order of the plan.
pub(super) fn varies(points: &[Point]) -> String {
    let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, value) in points.iter().flat_map(|point| &point.values) {
        let text = match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let values = keys.entry(key).or_default();
        if !values.contains(&text) {
            values.push(text);
        }
    }
    let said: Vec<String> = keys
        .iter()
        .map(|(key, values)| format!("{key} ({})", listed(values, MAX_LISTED)))
        .collect();
    if said.is_empty() {
        return "nothing but the seeds".to_owned();
    }
    said.join("; ")
}

/// The seeds of each kind.
pub(super) fn seeds(points: &[Point]) -> String {
    let kinds: [(&str, Vec<u64>); 3] = [
        ("data", points.iter().filter_map(|point| point.seeds.data).collect()),
        ("weights", points.iter().map(|point| point.seeds.init).collect()),
        ("order", points.iter().map(|point| point.seeds.order).collect()),
    ];
    let said = kinds
        .into_iter()
        .filter(|(_, seeds)| !seeds.is_empty())
        .map(|(kind, seeds)| {
            let distinct: BTreeSet<u64> = seeds.into_iter().collect();
            let texts: Vec<String> = distinct.iter().map(u64::to_string).collect();
            format!("{kind}: {}", listed(&texts, MAX_LISTED))
        });
    said.collect::<Vec<_>>().join("; ")
}

// The settings of the config that all points share; seeds and the folder of the data are told apart from them.
fn shared(points: &[Point]) -> String {
    let apart = ["data", "seed", "init_seed", "order_seed"];
    let mut common: Option<BTreeMap<String, String>> = None;
    for point in points {
        let mut settings = BTreeMap::new();
        flatten(
            "",
            &serde_json::to_value(&point.config).unwrap_or_default(),
            &mut settings,
        );
        match &mut common {
            None => common = Some(settings),
            Some(common) => common.retain(|key, value| settings.get(key) == Some(value)),
        }
    }
    let settings = common.unwrap_or_default();
    let told = settings.iter().filter(|(key, _)| !apart.contains(&key.as_str()));
    told.map(|(key, value)| format!("{key} = {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

// Settings by their full keys.
fn flatten(key: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let full = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                flatten(&full, value, settings);
            }
        }
        Value::Null => {}
        other => {
            settings.insert(key.to_owned(), other.to_string());
        }
    }
}
