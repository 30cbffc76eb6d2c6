//! Rows of several seeds put together.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Number, Value};

use super::{Cell, Fields, Table, distinct_seeds};
use crate::error::{Error, Result};
use crate::measure::columns::csv_cell;
use crate::measure::quantity::{Quantity, QuantityKind};
use crate::measure::statistics::seeds::OverSeeds;
use crate::measure::statistics::{Clustering, mean};

/// Puts rows of several seeds together.
pub(super) struct Together {
    seed: u64,
    intervals: HashMap<usize, OverSeeds>,
    /// How many rows have a field of fewer seeds than they are of.
    pub(super) fewer: BTreeMap<&'static str, usize>,
}

impl Together {
    /// With bootstraps drawn under `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            intervals: HashMap::new(),
            fewer: BTreeMap::new(),
        }
    }

    /// A row of all seeds from one of each run.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn row(&mut self, table: &Table, cells: &[Cell]) -> Result<Fields> {
        let Some((_, first)) = cells.first() else {
            return Err(Error::failed("a row of no run"));
        };
        let mut row = (*first).clone();
        for (field, value) in &table.origin {
            row.insert(field.clone(), value.clone());
        }
        let clustering = serde_json::to_value(Clustering::OverSeeds).map_err(Error::failed)?;
        row.insert("interval".to_owned(), clustering);
        for quantity in &table.quantities {
            let found = match quantity.kind {
                QuantityKind::Sample => (Value::from(distinct_seeds(cells)), [Value::Null, Value::Null]),
                // Filled in when all rows of the line are there.
                QuantityKind::OfLine if first.get(quantity.field).is_some_and(Value::is_boolean) => {
                    (Value::Bool(false), [Value::Null, Value::Null])
                }
                QuantityKind::OfLine => (Value::Null, [Value::Null, Value::Null]),
                QuantityKind::OfRow | QuantityKind::Share => self.together(*quantity, cells),
            };
            put(&mut row, *quantity, found);
        }
        Ok(row)
    }

    // A quantity over the seeds of a row, with its interval.
    fn together(&mut self, quantity: Quantity, cells: &[Cell]) -> (Value, [Value; 2]) {
        let absent = [Value::Null, Value::Null];
        let told: Vec<(usize, &Value)> = cells
            .iter()
            .filter_map(|(seed, row)| Some((*seed, row.get(quantity.field)?)))
            .filter(|(_, value)| !value.is_null())
            .collect();
        let values = || told.iter().map(|(_, value)| *value);
        if !told.is_empty() && told.len() < cells.len() {
            *self.fewer.entry(quantity.field).or_default() += 1;
        }
        if told.is_empty() {
            return (Value::Null, absent);
        }
        if values().all(Value::is_boolean) {
            return (Value::Bool(values().all(|value| *value == Value::Bool(true))), absent);
        }
        if values().all(|value| value.is_u64() || value.is_i64()) {
            let mut integers: Vec<i64> = values().filter_map(Value::as_i64).collect();
            integers.sort_unstable();
            let median = integers.get((cells.len() - 1) / 2).copied();
            return (median.map_or(Value::Null, Value::from), absent);
        }
        let numbers: Vec<(usize, f64)> = told
            .iter()
            .filter_map(|(seed, value)| Some((*seed, value.as_f64()?)))
            .collect();
        if numbers.len() < told.len() {
            let mut texts: Vec<String> = values().map(csv_cell).collect();
            texts.sort_unstable();
            texts.dedup();
            return (Value::String(texts.join(" or ")), absent);
        }
        self.mean(quantity, &numbers)
    }

    fn mean(&mut self, quantity: Quantity, numbers: &[(usize, f64)]) -> (Value, [Value; 2]) {
        let mut of_seeds: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for &(seed, value) in numbers {
            of_seeds.entry(seed).or_default().push(value);
        }
        let values: Vec<f64> = of_seeds.into_values().map(mean).collect();
        if values.len() < 2 {
            return (Value::Null, [Value::Null, Value::Null]);
        }
        let seed = self.seed;
        let intervals = self
            .intervals
            .entry(values.len())
            .or_insert_with(|| OverSeeds::new(values.len(), seed));
        let number = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
        let end = |x: f64| match quantity.kind {
            QuantityKind::Share => number(x.clamp(0.0, 1.0)),
            _ => number(x),
        };
        let interval = intervals.mean(&values).map(|(low, high)| [end(low), end(high)]);
        let centre = number(mean(values.iter().copied()));
        (centre, interval.unwrap_or([Value::Null, Value::Null]))
    }

    /// What is measured once for a line: over all seeds, in the row where most runs have it, of equals the first. The interval of a flag,
    /// which is that of the largest number, is not estimated: few seeds cannot tell what selecting costs.
    pub(super) fn line(&mut self, table: &Table, quantity: Quantity, rows: &mut [(usize, Fields)]) {
        let has = |row: &Fields| match row.get(quantity.field) {
            Some(Value::Bool(holds)) => *holds,
            Some(value) => !value.is_null(),
            None => false,
        };
        let mut of_lines: BTreeMap<&str, LineCells> = BTreeMap::new();
        for (place, (index, _)) in rows.iter().enumerate() {
            let told: Vec<Cell> = table.cells(*index).into_iter().filter(|(_, row)| has(row)).collect();
            let (all, best) = of_lines.entry(&table.lines[*index]).or_default();
            if !told.is_empty() && best.is_none_or(|(most, _)| told.len() > most) {
                *best = Some((told.len(), place));
            }
            all.extend(told);
        }
        for (cells, best) in of_lines.into_values() {
            if let Some((_, place)) = best {
                let found = self.together(quantity, &cells);
                put(&mut rows[place].1, quantity, found);
            }
        }
    }
}

// The rows of a line that have a quantity, and the most that any row of it has, with that row's place.
type LineCells<'a> = (Vec<Cell<'a>>, Option<(usize, usize)>);

fn put(row: &mut Fields, quantity: Quantity, (value, ends): (Value, [Value; 2])) {
    row.insert(quantity.field.to_owned(), value);
    for (field, end) in quantity.interval.into_iter().flatten().zip(ends) {
        row.insert(field.to_owned(), end);
    }
}
