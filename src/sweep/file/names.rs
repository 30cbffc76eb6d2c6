//! The names of points: what tells them apart, and their seeds at the end.

use std::collections::HashMap;

use toml::Value;

/// Most characters of a name, but for a number that tells it from another one.
const MAX_LENGTH: usize = 80;
/// Characters that seeds leave to the rest of a name, however long they are.
const MIN_LENGTH: usize = 20;

/// The names of sets of values, each given once.
#[derive(Debug)]
pub(super) struct Names {
    max_length: usize,
    // Each name, with the number of the last one that was made of it.
    given: HashMap<String, usize>,
}

impl Names {
    /// Names that leave place for each of the texts `seeds`.
    pub(super) fn of(seeds: impl Iterator<Item = String>) -> Self {
        let seeds = seeds.map(|seeds| seeds.len() + 1).max().unwrap_or(0);
        Self {
            max_length: MAX_LENGTH.saturating_sub(seeds).max(MIN_LENGTH),
            given: HashMap::new(),
        }
    }

    /// The name of the next set of values: that of the list, or the values that vary; with a number where another set has the same.
    pub(super) fn next<'a>(
        &mut self,
        base: &str,
        title: Option<&str>,
        values: impl Iterator<Item = (&'a String, &'a Value)>,
    ) -> String {
        let mut parts: Vec<String> = title.map(str::to_owned).into_iter().collect();
        parts.extend(values.map(|(key, value)| {
            let last = key.rsplit('.').next().unwrap_or(key);
            format!("{last}-{}", plain(value))
        }));
        if parts.is_empty() {
            parts.push(base.to_owned());
        }
        let wanted = sanitized(&parts.join("-"), self.max_length);
        let mut number = self.given.get(&wanted).copied().unwrap_or(1);
        let mut name = wanted.clone();
        while self.given.contains_key(&name) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        self.given.insert(name.clone(), 1);
        self.given.insert(wanted, number);
        name
    }
}

/// The name of a point of a set of values.
pub(super) fn with_seeds(name: &str, seeds: &str) -> String {
    if seeds.is_empty() {
        name.to_owned()
    } else {
        format!("{name}-{seeds}")
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

// Letters, digits, `-`, `_` and `.` alone: a name is part of a path and of scripts.
fn sanitized(name: &str, max_length: usize) -> String {
    let mut clean: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    while clean.contains("--") {
        clean = clean.replace("--", "-");
    }
    let clean: String = clean.trim_matches(['-', '.']).chars().take(max_length).collect();
    match clean.trim_end_matches(['-', '.']) {
        "" => "values".to_owned(),
        clean => clean.to_owned(),
    }
}
