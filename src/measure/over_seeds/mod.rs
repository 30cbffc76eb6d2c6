//! The result of a method with seeds as the unit: runs that differ in nothing but their seeds are one group, each measured value is
//! its mean over the seeds of a group, and its interval is one over seeds.
//!
//! Which rows of several runs are the same is read off their fields: what is no [`Quantity`] and not of the
//! checkpoint is the key. What becomes of a quantity depends on what it holds: a number its mean; an integer, a place or a count, the
//! lower median, where an absent one is larger than all (what never arrives arrives last); a flag whether it holds for every seed; a
//! text all that there are. What is measured once for a line of rows stands in the row where most runs have it.

#[cfg(test)]
mod tests;
mod together;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use self::together::Together;

use crate::error::{Error, Result};
use crate::files;
use crate::measure::checkpoint::{CheckpointSummary, Origin};
use crate::measure::columns::fields;
use crate::measure::method::{Method, Report};
use crate::measure::quantity::{Quantity, QuantityKind};
use crate::measure::row::Row;
use crate::wording::counted;

/// One run of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedRun<M: Method> {
    /// Its seed; runs of one seed count as one, by their mean.
    pub seed: usize,
    /// The checkpoint whose rows count.
    pub checkpoint: CheckpointSummary,
    /// Its result.
    pub report: Report<M>,
}

/// Runs that differ in their seeds alone.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedGroup<M: Method> {
    /// What the group is called: the values that its runs share.
    pub name: String,
    /// The runs.
    pub runs: Vec<SeedRun<M>>,
}

type Fields = Map<String, Value>;

/// The result over seeds: a checkpoint a group, the settings of the first run, and notes on how many seeds the rows are of. Rows of
/// fewer than two seeds are left out, since one run has no interval over seeds. The bootstrap of many seeds is drawn under `seed`.
///
/// # Errors
/// When no group has a run, or a row cannot be put together.
pub fn over_seeds<M: Method>(groups: &[SeedGroup<M>], seed: u64) -> Result<Report<M>> {
    let Some(first) = groups.iter().find_map(|group| group.runs.first()) else {
        return Err(Error::input(format!("no run has a result of {}", M::NAME)));
    };
    let mut report = Report::new(first.report.settings.clone(), &[])?;
    for group in groups.iter().filter(|group| !group.runs.is_empty()) {
        let summary = group.summary();
        report
            .rows
            .extend(group.rows(&summary.origin, seed, &mut report.notes)?);
        report.checkpoints.push(summary);
        let hashes = group.runs.iter().map(|run| &run.report.settings_hash);
        if hashes.collect::<BTreeSet<_>>().len() > 1 {
            report.notes.push(format!(
                "{}: its runs were not measured with the same settings; those of the first run of all are told",
                group.name
            ));
        }
    }
    let of_runs = groups.iter().flat_map(|group| &group.runs);
    for note in of_runs.flat_map(|run| &run.report.notes) {
        if !report.notes.contains(note) {
            report.notes.push(note.clone());
        }
    }
    Ok(report)
}

impl<M: Method> SeedGroup<M> {
    // What results name the group by.
    fn summary(&self) -> CheckpointSummary {
        let members: Vec<CheckpointSummary> = self.runs.iter().map(|run| run.checkpoint.clone()).collect();
        let first = &members[0];
        let together = |of: &dyn Fn(&Origin) -> &str| {
            let mut hashes: Vec<&str> = members.iter().map(|member| of(&member.origin)).collect();
            hashes.sort_unstable();
            hashes.dedup();
            match hashes.as_slice() {
                [one] => (*one).to_owned(),
                several => files::short_hash(several.join(" ").as_bytes()),
            }
        };
        let mut steps: Vec<u64> = members.iter().map(|member| member.origin.step).collect();
        steps.sort_unstable();
        let learned = first.learned_hops;
        CheckpointSummary {
            origin: Origin {
                run: self.name.clone(),
                checkpoint: first.origin.checkpoint.clone(),
                step: steps[(steps.len() - 1) / 2],
                checkpoint_hash: together(&|origin| &origin.checkpoint_hash),
                data_hash: together(&|origin| &origin.data_hash),
            },
            role: first.role,
            seed: None,
            seeds: None,
            layers: first.layers,
            iterations: first.iterations,
            learned_hops: learned.filter(|_| members.iter().all(|member| member.learned_hops == learned)),
            trained_on: None,
            members,
        }
    }

    fn rows(&self, origin: &Origin, seed: u64, notes: &mut Vec<String>) -> Result<Vec<M::Row>> {
        let table = Table::new::<M>(self, origin)?;
        let seeds: BTreeSet<usize> = self.runs.iter().map(|run| run.seed).collect();
        let mut together = Together::new(seed);
        let mut rows: Vec<(usize, Fields)> = Vec::new();
        // The number of rows by their number of seeds.
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        for index in 0..table.keys.len() {
            let cells = table.cells(index);
            let n = distinct_seeds(&cells);
            *sizes.entry(n).or_default() += 1;
            if n > 1 {
                rows.push((index, together.row(&table, &cells)?));
            }
        }
        for quantity in quantities::<M::Row>().filter(|quantity| quantity.kind == QuantityKind::OfLine) {
            together.line(&table, quantity, &mut rows);
        }
        notes.push(format!("{}: {}", self.name, seeds_in_words(&seeds, &sizes)));
        for (field, count) in together.fewer {
            notes.push(format!(
                "{}: {field} is of fewer seeds than its row in {count} of {}",
                self.name,
                counted(rows.len(), "row")
            ));
        }
        let typed = |(_, row): (usize, Fields)| {
            serde_json::from_value(Value::Object(row))
                .map_err(|e| Error::failed(format!("{}: a row over seeds does not fit: {e}", M::NAME)))
        };
        rows.into_iter().map(typed).collect()
    }
}

// The number of seeds of a group, and of the rows that are of fewer.
fn seeds_in_words(seeds: &BTreeSet<usize>, sizes: &BTreeMap<usize, usize>) -> String {
    let fewer = sizes
        .iter()
        .rev()
        .filter(|(n, _)| **n < seeds.len() || seeds.len() == 1);
    let part = |(&n, &count): (&usize, &usize)| {
        let left_out = if n < 2 { ", left out" } else { "" };
        format!("{} of {}{left_out}", counted(count, "row"), counted(n, "seed"))
    };
    let parts: Vec<String> = std::iter::once(counted(seeds.len(), "seed"))
        .chain(fewer.map(part))
        .collect();
    parts.join("; ")
}

fn quantities<R: Row>() -> impl Iterator<Item = Quantity> {
    R::QUANTITIES.iter().copied().flatten().copied()
}

// A row of one run.
type Cell<'a> = (usize, &'a Fields);

fn distinct_seeds(cells: &[Cell]) -> usize {
    cells.iter().map(|(seed, _)| seed).collect::<BTreeSet<_>>().len()
}

// The rows of all runs by what they are of.
struct Table {
    // What the rows are of, in the order of the longest result; what only others have stands behind what precedes it there.
    keys: Vec<String>,
    // Of each run: its seed, and its rows by key.
    runs: Vec<(usize, HashMap<String, Fields>)>,
    // The line of each key.
    lines: Vec<String>,
    origin: Fields,
    quantities: Vec<Quantity>,
}

impl Table {
    fn new<M: Method>(group: &SeedGroup<M>, origin: &Origin) -> Result<Self> {
        let origin = fields(origin)?;
        let measured: BTreeSet<&str> = quantities::<M::Row>()
            .flat_map(|quantity| quantity.fields().collect::<Vec<_>>())
            .collect();
        let is_key = |field: &str| !measured.contains(field) && !origin.contains_key(field) && field != "interval";
        let text = |row: &Fields, skipped: &[&str]| -> String {
            let of_key = row
                .iter()
                .filter(|(field, _)| is_key(field) && !skipped.contains(&field.as_str()));
            of_key
                .map(|(field, value)| format!("{field}={value}"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let mut lines: HashMap<String, String> = HashMap::new();
        let mut runs = Vec::new();
        let mut orders: Vec<Vec<String>> = Vec::new();
        for run in &group.runs {
            let mut rows: HashMap<String, Fields> = HashMap::new();
            let mut repeated: HashMap<String, usize> = HashMap::new();
            let mut order = Vec::new();
            for row in run.report.rows.iter().filter(|row| run.checkpoint.owns(row.origin())) {
                let row = fields(row)?;
                let base = text(&row, &[]);
                // Rows that no field tells apart are told apart by their order.
                let count = repeated.entry(base.clone()).or_insert(0_usize);
                *count += 1;
                let key = format!("{base}#{count}");
                lines.insert(key.clone(), text(&row, M::Row::ALONG));
                order.push(key.clone());
                rows.insert(key, row);
            }
            runs.push((run.seed, rows));
            orders.push(order);
        }
        orders.sort_by_key(|order| std::cmp::Reverse(order.len()));
        let keys = merged(&orders);
        Ok(Self {
            lines: keys.iter().map(|key| lines[key].clone()).collect(),
            keys,
            runs,
            origin,
            quantities: quantities::<M::Row>().collect(),
        })
    }

    // The rows that the runs have of the key with this index.
    fn cells(&self, index: usize) -> Vec<Cell<'_>> {
        let key = &self.keys[index];
        self.runs
            .iter()
            .filter_map(|(seed, rows)| Some((*seed, rows.get(key)?)))
            .collect()
    }
}

// All keys of several orders in one: those that are new in an order stand behind the one that precedes them there.
fn merged(orders: &[Vec<String>]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for order in orders {
        let places: HashMap<&str, usize> = keys.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect();
        // Behind the first `n` known ones.
        let mut inserted: Vec<(usize, &String)> = Vec::new();
        let mut behind = 0;
        for key in order {
            match places.get(key.as_str()) {
                Some(place) => behind = place + 1,
                None => inserted.push((behind, key)),
            }
        }
        inserted.sort_by_key(|(behind, _)| *behind);
        let mut all = Vec::with_capacity(keys.len() + inserted.len());
        let mut new = inserted.into_iter().peekable();
        for (place, key) in keys.iter().enumerate() {
            while let Some((_, key)) = new.next_if(|(behind, _)| *behind <= place) {
                all.push(key.clone());
            }
            all.push(key.clone());
        }
        all.extend(new.map(|(_, key)| key.clone()));
        keys = all;
    }
    keys
}
