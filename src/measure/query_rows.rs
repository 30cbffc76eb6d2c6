//! The per-query rows of a measurement (`--rows`): each query with what was measured on it, so that a question about
//! single queries ("is the bridge visible where the answer is wrong?") is one filter in a notebook.

use serde::Serialize;
use serde_json::Value;

use super::checkpoint::{LoadedCheckpoint, data_sets};
use super::columns::{csv_cell, fields};
use super::population::Population;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, Split, Vocab};

/// A CSV table with a row for each query and place, begun empty.
pub struct QueryRows {
    table: csv::Writer<Vec<u8>>,
    // The most hops of any query: each hop's entity has a column.
    hops: usize,
    columns: usize,
}

/// A query of a split and what the model makes of it.
pub struct Asked<'a> {
    /// The split of the query.
    pub split: &'a Split,
    /// Its place in the split, from 0.
    pub row: usize,
    /// The query.
    pub query: &'a Query,
    /// The model's answer.
    pub answer: u32,
}

impl<'a> Asked<'a> {
    /// The query at `place` of a population.
    pub fn of(population: &'a Population, place: usize, answer: u32) -> Self {
        Self {
            split: population.split,
            row: population.rows[place],
            query: population.queries[place],
            answer,
        }
    }
}

impl QueryRows {
    pub(super) fn new(checkpoints: &[LoadedCheckpoint]) -> Self {
        let longest = data_sets(checkpoints).into_iter().map(Dataset::longest_row).max();
        Self {
            table: csv::Writer::from_writer(Vec::new()),
            hops: longest.unwrap_or(1).saturating_sub(1),
            columns: 0,
        }
    }

    /// Adds a row: whose it is, the query (its text, hops, every entity on the way), the answer and whether it is right,
    /// then the fields of `values`.
    ///
    /// # Errors
    /// When `values` has no named fields, or other ones than the rows before.
    pub(super) fn push(&mut self, checkpoint: &LoadedCheckpoint, asked: &Asked, values: &impl Serialize) -> Result<()> {
        let origin = fields(&checkpoint.info.origin)?;
        let values = fields(values)?;
        if self.columns == 0 {
            let entities = (1..=self.hops).map(|hop| format!("entity{hop}"));
            let of_query = ["split", "row", "hops", "query", "head"].map(str::to_owned);
            let of_answer = ["target", "answer", "right"].map(str::to_owned);
            let header: Vec<String> = origin
                .keys()
                .cloned()
                .chain(of_query)
                .chain(entities)
                .chain(of_answer)
                .chain(values.keys().cloned())
                .collect();
            let mut names: Vec<&String> = header.iter().collect();
            names.sort_unstable();
            let repeated = names.windows(2).find_map(|pair| match pair {
                [a, b] if a == b => Some(*a),
                _ => None,
            });
            if let Some(name) = repeated {
                return Err(Error::failed(format!("the rows of queries have two columns {name}")));
            }
            self.columns = header.len();
            self.write(header)?;
        }
        let Asked {
            split,
            row,
            query,
            answer,
        } = asked;
        let vocab = &checkpoint.data.vocab;
        let hops = query.hops();
        let entity = |hop| {
            query
                .entity_after(hop)
                .filter(|_| hop <= hops)
                .map_or_else(String::new, |id| name(vocab, id))
        };
        let text: String = query.tokens.iter().map(|&id| name(vocab, id)).collect();
        let of_query = [
            split.to_string(),
            row.to_string(),
            hops.to_string(),
            text,
            name(vocab, query.tokens[0]),
        ];
        let of_answer = [
            name(vocab, query.target),
            name(vocab, *answer),
            (*answer == query.target).to_string(),
        ];
        let cells: Vec<String> = origin
            .values()
            .map(csv_cell)
            .chain(of_query)
            .chain((1..=self.hops).map(entity))
            .chain(of_answer)
            .chain(values.values().map(|value: &Value| csv_cell(value)))
            .collect();
        self.write(cells)
    }

    fn write(&mut self, cells: Vec<String>) -> Result<()> {
        self.table
            .write_record(cells)
            .map_err(|e| Error::failed(format!("the rows of queries cannot be written: {e}")))
    }

    /// The table's text.
    ///
    /// # Errors
    /// When memory for it is refused.
    pub fn into_csv(self) -> Result<Vec<u8>> {
        self.table
            .into_inner()
            .map_err(|e| Error::failed(format!("the rows of queries cannot be written: {}", e.error())))
    }
}

fn name(vocab: &Vocab, id: u32) -> String {
    vocab.tokens().get(id as usize).cloned().unwrap_or_default()
}
