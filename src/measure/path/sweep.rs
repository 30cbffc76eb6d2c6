//! Runs paths: two passes that record, the receivers recomputed, and their outputs put into the base's run.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::nodes::{HeadAt, Input, Receiver, Sender};
use crate::error::Result;
use crate::measure::pairs::Sides;
use crate::measure::rows_of;
use crate::measure::states::States;
use crate::model::{Branch, Budget, Edit, HeadInputs, Model, Point, Site, Write};

/// A path from a sender to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectPath {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// The column at which the sender writes and the receiver reads.
    pub(super) column: usize,
    /// The column at which the receiver's output changes.
    pub(super) reader: usize,
}

/// The logits of the source, the base, and the base with each path, `[pairs, vocab]` each.
pub(super) struct PathRuns {
    pub(super) source: Tensor,
    pub(super) base: Tensor,
    pub(super) patched: Vec<Tensor>,
}

/// The columns at which a receiver reads, each with the column that its output changes at, in queries of `columns` columns;
/// `reads_apart`: whether the last of these is a `<pad>`, which no row attends to.
pub(super) fn columns_read(receiver: Receiver, columns: usize, reads_apart: bool) -> Vec<(usize, usize)> {
    match receiver {
        Receiver::Logits => vec![(columns - 1, columns - 1)],
        Receiver::Mlp(_) | Receiver::Head(_, Input::Query) => (0..columns).map(|column| (column, column)).collect(),
        Receiver::Head(_, Input::Key | Input::Value) => (0..columns - usize::from(reads_apart))
            .flat_map(|column| (column..columns).map(move |reader| (column, reader)))
            .collect(),
    }
}

/// The logits of pairs of queries, and of each base with the source's part of each path.
pub(super) fn run(model: &Model, sides: &[Sides], paths: &[DirectPath], budget: Budget) -> Result<PathRuns> {
    let pass = Recorded::of(model, sides, paths, budget.iterations)?;
    let base: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
    let mut patched = Vec::new();
    let of_path = sides.len() * (model.config().d_model + model.vocab()) * size_of::<f32>();
    for paths in paths.chunks(budget.at_once(of_path)) {
        let outputs = paths.iter().map(|path| pass.output(path)).collect::<Result<Vec<_>>>()?;
        let mut branches = Vec::new();
        for output in &outputs {
            if let Output::Edit { edit, states } = output {
                branches.extend(states.iter().enumerate().map(|(query, state)| Branch {
                    query,
                    edits: vec![Edit {
                        write: Write::Set(state.clone()),
                        ..edit.clone()
                    }],
                }));
            }
        }
        let edited = model.intervene(&base, &branches, budget)?.edited; // [edits × pairs, vocab]
        let mut begin = 0;
        for output in outputs {
            patched.push(match output {
                Output::Logits(logits) => logits,
                Output::Edit { .. } => {
                    begin += sides.len();
                    edited.narrow(0, begin - sides.len(), sides.len())?
                }
            });
        }
    }
    Ok(PathRuns {
        source: pass.source.logits,
        base: pass.base.logits,
        patched,
    })
}

// What a receiver makes of the stream with the path's part in it.
enum Output {
    // [pairs, vocab]
    Logits(Tensor),
    // The state of every pair at the place of the edit, whose own write is empty.
    Edit { edit: Edit, states: Vec<Vec<f32>> },
}

// The states of both sides that paths need.
struct Recorded<'a> {
    model: &'a Model,
    iterations: usize,
    source: States,
    base: States,
    // The columns of a query that are attended to; the last may be a `<pad>`, which is not.
    key_columns: usize,
}

impl<'a> Recorded<'a> {
    fn of(model: &'a Model, sides: &[Sides], paths: &[DirectPath], iterations: usize) -> Result<Self> {
        let layers = model.config().layers;
        let written: BTreeSet<Site> = paths.iter().map(|path| path.sender.site()).collect();
        let read = paths.iter().map(|path| path.receiver.site(iterations, layers));
        let both = written.iter().copied().chain(read).collect();
        Ok(Self {
            model,
            iterations,
            source: States::of(model, sides.iter().map(|sides| &*sides.source), &written, iterations)?,
            base: States::of(model, sides.iter().map(|sides| &*sides.base), &both, iterations)?,
            key_columns: sides.first().map_or(0, |sides| sides.base.len()),
        })
    }

    // What the sender wrote in the source's run less what it wrote in the base's, [pairs, d_model].
    fn difference(&self, path: &DirectPath) -> Result<Tensor> {
        let written = |states: &States| self.state(states, path.sender.site(), path.column);
        let written = (written(&self.source)? - written(&self.base)?)?;
        match path.sender {
            Sender::Head(head) => {
                // The bias of the output projection, which is no head's, cancels.
                let heads = self.model.config().heads;
                let z = written.reshape((written.dim(0)?, heads, written.dim(1)? / heads))?;
                let outputs = self.model.head_outputs(head.at.layer - 1, &z)?; // [pairs, heads, d_model]
                Ok(outputs.narrow(1, head.head - 1, 1)?.squeeze(1)?)
            }
            _ => Ok(written),
        }
    }

    // The base's stream where the receiver reads it, [pairs, d_model].
    fn stream(&self, receiver: Receiver, column: usize) -> Result<Tensor> {
        let site = receiver.site(self.iterations, self.model.config().layers);
        self.state(&self.base, site, column)
    }

    // The states of one side at a site and column, the heads side by side: [pairs, d_model].
    fn state(&self, states: &States, site: Site, column: usize) -> Result<Tensor> {
        Ok(Tensor::new(
            states.states(site, column, None)?,
            self.base.logits.device(),
        )?)
    }

    // What the receiver makes of the base's stream with the path's part in it.
    fn output(&self, path: &DirectPath) -> Result<Output> {
        let changed = (self.stream(path.receiver, path.column)? + self.difference(path)?)?;
        let edit = |site| Edit::new(site, path.reader, Write::Set(Vec::new()));
        let (edit, state) = match path.receiver {
            Receiver::Logits => return Ok(Output::Logits(self.model.unembed(&changed)?)),
            Receiver::Mlp(at) => (edit(at.site(Point::MlpOut)), self.model.mlp_of(at.layer - 1, &changed)?),
            Receiver::Head(head, input) => {
                let of_head = Edit {
                    head: Some(head.head - 1),
                    ..edit(head.at.site(Point::Z))
                };
                (of_head, self.head(head, input, path, changed)?)
            }
        };
        Ok(Output::Edit {
            edit,
            states: rows_of(&state)?,
        })
    }

    // The receiving head's z at the reader, with one of its inputs changed: [pairs, d_head].
    fn head(&self, head: HeadAt, input: Input, path: &DirectPath, changed: Tensor) -> Result<Tensor> {
        let columns = (0..self.key_columns.min(path.reader + 1)).map(|column| self.stream(path.receiver, column));
        let mut streams = columns.collect::<Result<Vec<_>>>()?;
        let base = Tensor::stack(&streams, 1)?; // [pairs, columns, d_model]
        let query = self.stream(path.receiver, path.reader)?;
        let of_streams = |query, keys, values| {
            let inputs = HeadInputs { query, keys, values };
            self.model.head_of(head.at.layer - 1, head.head - 1, &inputs)
        };
        if input == Input::Query {
            return of_streams(&changed, &base, &base);
        }
        streams[path.column] = changed;
        let edited = Tensor::stack(&streams, 1)?;
        match input {
            Input::Key => of_streams(&query, &edited, &base),
            _ => of_streams(&query, &base, &edited),
        }
    }
}
