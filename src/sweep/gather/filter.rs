//! The points of a plan that have certain values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::values_of;
use crate::error::{Error, Result};
use crate::sweep::plan::Plan;
use crate::wording::choices;

/// A key that varies in a plan, with one of its values: `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    key: String,
    value: String,
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err("allowed: KEY=VALUE, as in model.iterations=4".to_owned()),
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// The plan with those of its points alone that have one of the values named for each key that is named. Points keep their numbers.
///
/// # Errors
/// When a key does not vary in the plan, it has no point with a value, or none with all of them.
pub fn select(plan: &Plan, wanted: &[Where]) -> Result<Plan> {
    let all: Vec<_> = plan.points.iter().map(values_of).collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(|values| values.keys()).collect();
    let keys: Vec<&String> = keys.into_iter().collect();
    for Where { key, value } in wanted {
        if keys.is_empty() {
            return Err(Error::input(format!(
                "--where {key}={value}: no key varies in plan {}",
                plan.number
            )));
        }
        if !keys.contains(&key) {
            return Err(Error::input(format!(
                "--where {key}={value}: the keys that vary in plan {} are {}",
                plan.number,
                choices(key, &keys)
            )));
        }
        let known: BTreeSet<&String> = all.iter().filter_map(|values| values.get(key)).collect();
        if !known.contains(value) {
            let known: Vec<&String> = known.into_iter().collect();
            return Err(Error::input(format!(
                "--where {key}={value}: the values of {key} in plan {} are {}",
                plan.number,
                choices(value, &known)
            )));
        }
    }
    let is_named = |key: &str, found: Option<&String>| {
        let mut of_key = wanted.iter().filter(|wanted| wanted.key == key);
        of_key.any(|wanted| Some(&wanted.value) == found)
    };
    let is_wanted = |values: &BTreeMap<String, String>| {
        let mut keys = wanted.iter().map(|wanted| &wanted.key);
        keys.all(|key| is_named(key, values.get(key)))
    };
    let points = plan.points.iter().zip(&all).filter(|(_, values)| is_wanted(values));
    let selected = Plan {
        points: points.map(|(point, _)| point.clone()).collect(),
        ..plan.clone()
    };
    if selected.points.is_empty() {
        let wanted: Vec<String> = wanted.iter().map(|wanted| format!("--where {wanted}")).collect();
        return Err(Error::input(format!(
            "{}: no point of plan {} has all of these values",
            wanted.join(" "),
            plan.number
        )));
    }
    Ok(selected)
}
