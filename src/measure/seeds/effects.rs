//! What each key changes: the difference from its first value, with seeds as the unit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::metrics::{MetricValue, metrics};
use super::{RunGroup, SeededRun};
use crate::graph::Split;
use crate::measure::statistics::seeds::{OverSeeds, method, unpaired_difference};
use crate::measure::statistics::{Clustering, mean};

/// The numbers whose differences are of interest: how well a run answers, how deep, how soon and at which price.
const COMPARED: [&str; 4] = ["accuracy", "learned_hops", "stage_step", "seconds"];

/// The effect of one value of one key on one number of finished runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectRow {
    /// The experiment of a study whose runs are compared; absent where they are of a sweep.
    pub experiment: Option<String>,
    /// The key that varies.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The value that it is compared with: the first of the plan.
    pub reference: String,
    /// What is compared, as in [`MetricValue`].
    pub metric: String,
    /// The split, of an accuracy.
    pub split: Option<Split>,
    /// The stage, of its step.
    pub stage: Option<String>,
    /// The unit of the number.
    pub unit: String,
    /// Sets of values of the other keys over which a seed's difference is averaged.
    pub contexts: usize,
    /// Whether both values have the same seeds, whose differences are taken one by one.
    pub paired: bool,
    /// Seeds with the value.
    pub n: usize,
    /// Seeds with the reference.
    pub n_reference: usize,
    /// The mean over seeds with the value.
    pub mean: f64,
    /// The mean over seeds with the reference.
    pub reference_mean: f64,
    /// `mean` minus `reference_mean`.
    pub difference: f64,
    /// The 95 % interval of the difference; absent with fewer than two seeds.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// What the interval is over.
    pub interval: Clustering,
    /// How it was estimated.
    pub method: String,
}

// What two rows of the table must share to be compared.
type MetricKey = (String, Option<Split>, Option<String>);

/// The effects of all keys on finished runs, and what could not be compared. Runs of different experiments are not compared: runs of
/// one name in two of them are trained on different tasks. The bootstrap of many seeds is drawn under `seed`.
pub fn effects(groups: &[RunGroup], seed: u64) -> (Vec<EffectRow>, Vec<String>) {
    let mut experiments: Vec<(&Option<String>, Vec<&RunGroup>)> = Vec::new();
    for group in groups {
        match experiments.iter_mut().find(|(known, _)| **known == group.experiment) {
            Some((_, of_experiment)) => of_experiment.push(group),
            None => experiments.push((&group.experiment, vec![group])),
        }
    }
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (experiment, groups) in experiments {
        let (of_experiment, told) = within_experiment(&groups, seed);
        rows.extend(of_experiment.into_iter().map(|row| EffectRow {
            experiment: experiment.clone(),
            ..row
        }));
        notes.extend(told.into_iter().map(|note| match experiment {
            Some(experiment) => format!("{experiment}: {note}"),
            None => note,
        }));
    }
    (rows, notes)
}

fn within_experiment(groups: &[&RunGroup], seed: u64) -> (Vec<EffectRow>, Vec<String>) {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let keys: BTreeSet<&String> = groups.iter().flat_map(|group| group.values.keys()).collect();
    for key in keys {
        let mut values: Vec<Option<&String>> = Vec::new();
        for group in groups {
            if !values.contains(&group.values.get(key)) {
                values.push(group.values.get(key));
            }
        }
        for &value in values.iter().skip(1) {
            let contrast = Contrast::new(groups, key, value, values[0]);
            if contrast.pairs.is_empty() {
                notes.push(format!(
                    "{key}: {} and {} are never together with the same values of the other keys, so that their difference is not \
                     that of {key}",
                    text(values[0]),
                    text(value)
                ));
                continue;
            }
            rows.extend(contrast.rows(seed, &mut notes));
        }
    }
    (rows, notes)
}

fn text(value: Option<&String>) -> String {
    value.map_or_else(|| "–".to_owned(), String::clone)
}

// A value of a key against another, in every set of values of the other keys that has both.
struct Contrast<'a> {
    key: &'a str,
    value: String,
    reference: String,
    pairs: Vec<[&'a RunGroup; 2]>,
}

// The numbers of finished runs of one seed in one group.
type OfSeeds = BTreeMap<usize, f64>;

impl<'a> Contrast<'a> {
    fn new(groups: &[&'a RunGroup], key: &'a str, value: Option<&String>, reference: Option<&String>) -> Self {
        let others = |group: &RunGroup| {
            let mut values = group.values.clone();
            values.remove(key);
            values
        };
        let with = |wanted: Option<&String>| -> Vec<&'a RunGroup> {
            let with = groups.iter().filter(|group| group.values.get(key) == wanted);
            with.copied().collect()
        };
        let references = with(reference);
        let partner = |group: &RunGroup| references.iter().find(|other| others(other) == others(group)).copied();
        Self {
            key,
            value: text(value),
            reference: text(reference),
            pairs: with(value)
                .into_iter()
                .filter_map(|group| Some([group, partner(group)?]))
                .collect(),
        }
    }

    fn rows(&self, seed: u64, notes: &mut Vec<String>) -> Vec<EffectRow> {
        let mut found: Vec<MetricValue> = Vec::new();
        for value in self
            .pairs
            .iter()
            .flatten()
            .flat_map(|group| &group.runs)
            .flat_map(|run| metrics(&run.run))
        {
            let is_new = found.iter().all(|other| metric_key(other) != metric_key(&value));
            if is_new && COMPARED.contains(&value.metric.as_str()) {
                found.push(value);
            }
        }
        found
            .iter()
            .filter_map(|metric| self.row(metric, seed, notes))
            .collect()
    }

    fn row(&self, metric: &MetricValue, seed: u64, notes: &mut Vec<String>) -> Option<EffectRow> {
        let name = metric.stage.clone().or(metric.split.as_ref().map(ToString::to_string));
        let what = format!(
            "{} = {}, {} {}",
            self.key,
            self.value,
            metric.metric,
            name.unwrap_or_default()
        );
        let mut tables: Vec<[OfSeeds; 2]> = Vec::new();
        for pair in &self.pairs {
            let [value, reference] = pair.map(|group| of_seeds(&group.runs, metric));
            let (Ok(value), Ok(reference)) = (value, reference) else {
                notes.push(format!(
                    "{}: some runs have not reached the stage; the survival curves count them, differences cannot",
                    what.trim_end()
                ));
                return None;
            };
            tables.push([value, reference]);
        }
        // The seeds that a side has in every context.
        let common = |sides: &[usize]| -> Vec<usize> {
            let mut tables = tables.iter().flat_map(|table| sides.iter().map(|&side| &table[side]));
            let Some(first) = tables.next() else {
                return Vec::new();
            };
            let rest: Vec<&OfSeeds> = tables.collect();
            let everywhere = |seed: &usize| rest.iter().all(|table| table.contains_key(seed));
            first.keys().copied().filter(everywhere).collect()
        };
        let over_contexts = |side: usize, seeds: &[usize]| -> Vec<f64> {
            let of_seed = |seed: &usize| mean(tables.iter().map(|table| table[side][seed]));
            seeds.iter().map(of_seed).collect()
        };
        let both = common(&[0, 1]);
        let paired = both.len() > 1;
        let [value, reference] = if paired {
            [0, 1].map(|side| over_contexts(side, &both))
        } else {
            [0, 1].map(|side| over_contexts(side, &common(&[side])))
        };
        if value.is_empty() || reference.is_empty() {
            notes.push(format!("{}: no finished runs to compare", what.trim_end()));
            return None;
        }
        let interval = if paired {
            let differences: Vec<f64> = value.iter().zip(&reference).map(|(a, b)| a - b).collect();
            OverSeeds::new(differences.len(), seed).mean(&differences)
        } else {
            unpaired_difference(&value, &reference)
        };
        let means = [&value, &reference].map(|values| mean(values.iter().copied()));
        let how = if paired { method(value.len()) } else { "Welch's t" };
        Some(EffectRow {
            experiment: None,
            key: self.key.to_owned(),
            value: self.value.clone(),
            reference: self.reference.clone(),
            metric: metric.metric.clone(),
            split: metric.split.clone(),
            stage: metric.stage.clone(),
            unit: metric.unit.clone(),
            contexts: tables.len(),
            paired,
            n: value.len(),
            n_reference: reference.len(),
            mean: means[0],
            reference_mean: means[1],
            difference: means[0] - means[1],
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            interval: Clustering::OverSeeds,
            method: how.to_owned(),
        })
    }
}

fn metric_key(value: &MetricValue) -> MetricKey {
    (value.metric.clone(), value.split.clone(), value.stage.clone())
}

// A number by seed, runs of one seed by their mean; an error where it is censored in a finished run.
fn of_seeds(runs: &[SeededRun], metric: &MetricValue) -> Result<OfSeeds, ()> {
    let mut found: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.run.finished) {
        let values = metrics(&run.run);
        let Some(value) = values.iter().find(|value| metric_key(value) == metric_key(metric)) else {
            continue;
        };
        if value.censored {
            return Err(());
        }
        if let Some(number) = value.value {
            found.entry(run.seed).or_default().push(number);
        }
    }
    Ok(found.into_iter().map(|(seed, values)| (seed, mean(values))).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::metrics::tests::run;
    use super::*;
    use crate::measure::RunSummary;

    /// A group with this value of the key `r`.
    pub fn group(value: &str, runs: &[(usize, RunSummary)]) -> RunGroup {
        let seeded = |(seed, run): &(usize, RunSummary)| SeededRun {
            seed: *seed,
            run: run.clone(),
        };
        RunGroup {
            title: format!("r = {value}"),
            experiment: None,
            values: BTreeMap::from([("r".to_owned(), value.to_owned())]),
            runs: runs.iter().map(seeded).collect(),
        }
    }

    fn of_accuracies(value: &str, accuracies: &[(usize, f64)]) -> RunGroup {
        let runs: Vec<(usize, RunSummary)> = accuracies.iter().map(|&(seed, ood)| (seed, run(&[], ood))).collect();
        group(value, &runs)
    }

    fn accuracy(groups: &[RunGroup]) -> EffectRow {
        let (rows, _) = effects(groups, 1);
        rows.into_iter().find(|row| row.metric == "accuracy").unwrap()
    }

    #[test]
    fn seeds_that_both_values_have_are_paired_and_others_are_not() {
        let first = of_accuracies("1", &[(1, 0.1), (2, 0.5), (3, 0.9)]);
        let same = of_accuracies("2", &[(3, 1.0), (1, 0.2), (2, 0.6)]);
        let row = accuracy(&[first.clone(), same]);
        assert!(row.paired && (row.n, row.n_reference, row.contexts) == (3, 3, 1));
        assert!((row.difference - 0.1).abs() < 1e-12);
        // All differences are 0.1.
        assert!((row.low.unwrap() - 0.1).abs() < 1e-9 && (row.high.unwrap() - 0.1).abs() < 1e-9);
        assert_eq!((row.reference.as_str(), row.interval), ("1", Clustering::OverSeeds));

        let other = of_accuracies("2", &[(4, 0.2), (5, 0.6), (6, 1.0)]);
        let row = accuracy(&[first, other]);
        assert!(!row.paired && row.method == "Welch's t");
        // 0.1 ± 2.776 × 0.4 × √(2/3), 4 degrees of freedom.
        assert!((row.high.unwrap() - row.low.unwrap() - 2.0 * 2.776 * 0.4 * (2.0_f64 / 3.0).sqrt()).abs() < 5e-3);
    }

    #[test]
    fn a_seed_counts_once_whatever_the_number_of_other_values() {
        let with = |depth: &str, mut group: RunGroup| {
            group.values.insert("depth".to_owned(), depth.to_owned());
            group
        };
        let groups = [
            with("a", of_accuracies("1", &[(1, 0.1), (2, 0.2)])),
            with("a", of_accuracies("2", &[(1, 0.3), (2, 0.6)])),
            with("b", of_accuracies("1", &[(1, 0.1), (2, 0.4)])),
            with("b", of_accuracies("2", &[(1, 0.5), (2, 0.4)])),
            // Without a partner.
            with("c", of_accuracies("2", &[(1, 0.9), (2, 0.9)])),
        ];
        let (rows, _) = effects(&groups, 1);
        let row = rows
            .iter()
            .find(|row| row.key == "r" && row.metric == "accuracy")
            .unwrap();
        // Seed 1: (0.2 + 0.4) / 2, seed 2: (0.4 + 0) / 2.
        assert_eq!((row.n, row.contexts, row.paired), (2, 2, true));
        assert!((row.difference - 0.25).abs() < 1e-12);
        assert!(
            rows.iter()
                .any(|row| row.key == "depth" && row.value == "c" && row.contexts == 1)
        );
    }

    #[test]
    fn runs_of_one_name_in_two_experiments_are_not_compared_or_averaged() {
        let of = |experiment: &str, mut group: RunGroup| {
            group.experiment = Some(experiment.to_owned());
            group.values.insert("experiment".to_owned(), experiment.to_owned());
            group
        };
        let groups = [
            of("depth", of_accuracies("1", &[(1, 0.1), (2, 0.2)])),
            of("depth", of_accuracies("2", &[(1, 0.3), (2, 0.6)])),
            of("facts", of_accuracies("1", &[(1, 0.5), (2, 0.5)])),
            of("facts", of_accuracies("2", &[(1, 0.5), (2, 0.5)])),
        ];
        let (rows, _) = effects(&groups, 1);
        assert!(rows.iter().all(|row| row.key == "r" && row.contexts == 1), "{rows:?}");
        let differences: Vec<(&str, f64)> = (rows.iter().filter(|row| row.metric == "accuracy"))
            .map(|row| (row.experiment.as_deref().unwrap(), (1e6 * row.difference).round() / 1e6))
            .collect();
        assert_eq!(differences, [("depth", 0.3), ("facts", 0.0)]);
    }

    #[test]
    fn times_of_stages_that_some_runs_have_not_reached_are_left_to_the_survival_curves() {
        let groups = [
            group("1", &[(1, run(&[30], 0.1)), (2, run(&[40], 0.1))]),
            group("2", &[(1, run(&[10, 20], 0.1)), (2, run(&[20], 0.1))]),
        ];
        let (rows, notes) = effects(&groups, 1);
        let stages: Vec<&str> = rows.iter().filter_map(|row| row.stage.as_deref()).collect();
        assert_eq!(stages, ["memorization"]);
        assert!(
            notes
                .iter()
                .any(|note| note.starts_with("r = 2, stage_step id: some runs have not")),
            "{notes:?}"
        );
    }

    #[test]
    fn runs_that_are_not_finished_are_not_compared() {
        let mut unfinished = run(&[], 0.9);
        unfinished.finished = false;
        let groups = [
            of_accuracies("1", &[(1, 0.1), (2, 0.2), (3, 0.3)]),
            group("2", &[(1, run(&[], 0.1)), (2, run(&[], 0.2)), (3, unfinished)]),
        ];
        assert_eq!(accuracy(&groups).n, 2);
    }
}
