//! Runs paths: two passes that record, the receivers recomputed, and their outputs put into the base's run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::Tensor;

use super::nodes::{HeadAt, Receiver, Sender};
use super::receivers::{Part, Receivers};
use crate::error::Result;
use crate::measure::pairs::Sides;
use crate::measure::rows_of;
use crate::measure::states::States;
use crate::model::{Branch, Budget, Edit, HeadInput, HeadInputs, Model, Point, Site, Write};

/// A path from a sender to receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectPath<'a> {
    pub(super) sender: Sender,
    pub(super) receivers: &'a Receivers,
    /// The column at which the sender writes and the receivers read.
    pub(super) source: usize,
    /// The column at which the receivers' outputs change; all that can where absent.
    pub(super) destination: Option<usize>,
}

/// The logits of the source, the base, and the base with each path, `[pairs, vocab]` each.
pub(super) struct PathRuns {
    pub(super) source: Tensor,
    pub(super) base: Tensor,
    pub(super) patched: Vec<Tensor>,
}

/// The logits of pairs of queries, and of each base with the source's part of each path.
pub(super) fn run(model: &Model, sides: &[Sides], paths: &[DirectPath], budget: Budget) -> Result<PathRuns> {
    let pass = Recorded::of(model, sides, paths, budget.iterations)?;
    let base: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
    let edits = paths
        .iter()
        .map(|path| path.receivers.iter().count())
        .max()
        .unwrap_or(1)
        * pass.columns;
    let mut patched = Vec::new();
    let of_path = sides.len() * (edits * model.config().d_model + model.vocab()) * size_of::<f32>();
    for paths in paths.chunks(budget.at_once(of_path)) {
        let outputs = paths.iter().map(|path| pass.output(path)).collect::<Result<Vec<_>>>()?;
        let mut branches = Vec::new();
        for output in &outputs {
            if let Output::Edits(of_pairs) = output {
                branches.extend(of_pairs.iter().enumerate().map(|(query, edits)| Branch {
                    query,
                    edits: edits.clone(),
                }));
            }
        }
        let edited = model.intervene(&base, &branches, budget)?.edited; // [edits × pairs, vocab]
        let mut begin = 0;
        for output in outputs {
            patched.push(match output {
                Output::Logits(logits) => logits,
                Output::Edits(_) => {
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

// What receivers make of the stream with the path's part in it.
enum Output {
    // [pairs, vocab]
    Logits(Tensor),
    // Of every pair.
    Edits(Vec<Vec<Edit>>),
}

// The states of both sides that paths need.
struct Recorded<'a> {
    model: &'a Model,
    iterations: usize,
    source: States,
    base: States,
    // Of a query.
    columns: usize,
    // The inputs of receiving heads in the base's run.
    heads: BTreeMap<HeadAt, BaseInputs>,
}

// At all columns, `[pairs, columns, d_head]` each; keys and values at those that are attended to, which a `<pad>` is not.
struct BaseInputs {
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
}

impl<'a> Recorded<'a> {
    fn of(model: &'a Model, sides: &[Sides], paths: &[DirectPath], iterations: usize) -> Result<Self> {
        let layers = model.config().layers;
        let written: BTreeSet<Site> = paths.iter().map(|path| path.sender.site()).collect();
        let receivers: BTreeSet<Receiver> = paths.iter().flat_map(|path| path.receivers.iter()).collect();
        let read = receivers.iter().map(|receiver| receiver.site(iterations, layers));
        let both = written.iter().copied().chain(read).collect();
        let base = States::of(model, sides.iter().map(|sides| &*sides.base), &both, iterations)?;
        let mut recorded = Self {
            model,
            iterations,
            source: States::of(model, sides.iter().map(|sides| &*sides.source), &written, iterations)?,
            columns: base.columns(),
            base,
            heads: BTreeMap::new(),
        };
        let key_columns = sides.first().map_or(0, |sides| sides.base.len());
        for receiver in receivers {
            if let Receiver::Head(head, _) = receiver
                && !recorded.heads.contains_key(&head)
            {
                let inputs = recorded.base_inputs(head, receiver, key_columns)?;
                recorded.heads.insert(head, inputs);
            }
        }
        Ok(recorded)
    }

    fn base_inputs(&self, head: HeadAt, receiver: Receiver, key_columns: usize) -> Result<BaseInputs> {
        let streams = (0..self.columns).map(|column| self.stream(receiver, column));
        let streams = Tensor::stack(&streams.collect::<Result<Vec<_>>>()?, 1)?; // [pairs, columns, d_model]
        let of_columns = |input, columns: usize| -> Result<Tensor> {
            let streams = streams.narrow(1, 0, columns)?.contiguous()?;
            let inputs = self.head_input(head, input, &streams.flatten(0, 1)?)?;
            Ok(inputs.reshape((streams.dim(0)?, columns, ()))?)
        };
        Ok(BaseInputs {
            queries: of_columns(HeadInput::Query, self.columns)?,
            keys: of_columns(HeadInput::Key, key_columns)?,
            values: of_columns(HeadInput::Value, key_columns)?,
        })
    }

    fn head_input(&self, head: HeadAt, input: HeadInput, stream: &Tensor) -> Result<Tensor> {
        self.model.head_input(head.at.layer - 1, head.head - 1, input, stream)
    }

    // What the sender wrote in the source's run less what it wrote in the base's, [pairs, d_model].
    fn difference(&self, path: &DirectPath) -> Result<Tensor> {
        let written = |states: &States| self.state(states, path.sender.site(), path.source);
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

    // What the receivers make of the base's stream with the path's part in it.
    fn output(&self, path: &DirectPath) -> Result<Output> {
        let difference = self.difference(path)?;
        let changed = |receiver| -> Result<Tensor> { Ok((self.stream(receiver, path.source)? + &difference)?) };
        let mut edits = vec![Vec::new(); difference.dim(0)?];
        let mut write = |site, column, head: Option<usize>, states: &Tensor| -> Result<()> {
            for (edits, state) in edits.iter_mut().zip(rows_of(states)?) {
                edits.push(Edit {
                    head,
                    ..Edit::new(site, column, Write::Set(state))
                });
            }
            Ok(())
        };
        for part in path.receivers.parts() {
            let mut columns = part.destinations(path.source, self.columns);
            if let Some(one) = path.destination {
                columns = columns.start.max(one)..columns.end.min(one + 1);
            }
            if columns.is_empty() {
                continue;
            }
            match part {
                Part::Logits => return Ok(Output::Logits(self.model.unembed(&changed(Receiver::Logits)?)?)),
                Part::Mlp(at) => {
                    let out = self.model.mlp_of(at.layer - 1, &changed(Receiver::Mlp(at))?)?;
                    write(at.site(Point::MlpOut), path.source, None, &out)?;
                }
                Part::Head(head, inputs) => {
                    let stream = changed(Receiver::Head(head, inputs[0]))?;
                    let z = self.head(head, &inputs, path.source, &stream, columns.clone())?;
                    for (index, column) in columns.enumerate() {
                        let z = z.narrow(1, index, 1)?.squeeze(1)?;
                        write(head.at.site(Point::Z), column, Some(head.head - 1), &z)?;
                    }
                }
            }
        }
        Ok(Output::Edits(edits))
    }

    // A head's z at some columns, with these of its inputs from the stream `changed` at the column `source`: [pairs, columns, d_head].
    fn head(
        &self,
        head: HeadAt,
        inputs: &[HeadInput],
        source: usize,
        changed: &Tensor,
        columns: Range<usize>,
    ) -> Result<Tensor> {
        let base = &self.heads[&head];
        let with_changed = |input: HeadInput, of_base: &Tensor| -> Result<Tensor> {
            if !inputs.contains(&input) {
                return Ok(of_base.clone());
            }
            let at_source = self.head_input(head, input, changed)?.unsqueeze(1)?;
            let after = source + 1..of_base.dim(1)?;
            let parts = [
                of_base.narrow(1, 0, source)?,
                at_source,
                of_base.narrow(1, after.start, after.len())?,
            ];
            Ok(Tensor::cat(&parts, 1)?)
        };
        let queries = with_changed(HeadInput::Query, &base.queries)?;
        let inputs = HeadInputs {
            queries: &queries.narrow(1, columns.start, columns.len())?,
            keys: &with_changed(HeadInput::Key, &base.keys)?,
            values: &with_changed(HeadInput::Value, &base.values)?,
        };
        self.model.attend(&inputs, columns.start)
    }
}
