//! The interpreter of programs: exact, and without weights. Truth comes from here: what a site holds is read off the states
//! of a run, and what it is used for follows from runs in which it holds something else.

use super::features::State;
use super::program::{Attends, Program};
use crate::graph::PAD;
use crate::model::{Point, Readout};

/// A place in a run of a program. Iterations, layers, rows and heads count from 0; a row is a position of the query, and the
/// last one is the `<pad>` where answers are read there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) iteration: usize,
    pub(super) layer: usize,
    pub(super) row: usize,
    pub(super) point: Point,
    pub(super) head: Option<usize>,
}

/// What a run calls at every location with the state there, which it may change.
pub(super) type Hook<'a> = dyn FnMut(Location, &mut State) + 'a;

impl Program {
    /// The vocabulary id of the most likely token after `iterations` iterations; `None` where several are equally likely.
    pub(super) fn top1(&self, tokens: &[u32], iterations: usize, hook: &mut Hook) -> Option<u32> {
        self.visible(&self.run(tokens, iterations, hook))
    }

    /// The token with the highest logit for a state, as the output matrix reads it; `None` where several have it, or no logit
    /// is above 0.
    pub(super) fn visible(&self, state: &State) -> Option<u32> {
        let logit = |token: &State| -> f64 {
            let terms = token.iter().map(|(feature, count)| {
                let norm = self.features.norm(feature);
                f64::from(count * state.count(feature)) * norm * norm
            });
            terms.sum()
        };
        let (mut best, mut highest) = (None, 0.0);
        for (id, token) in self.embedding.iter().enumerate() {
            let logit = logit(token);
            if logit > highest {
                (best, highest) = (Some(id as u32), logit);
            } else if logit == highest {
                best = None;
            }
        }
        best
    }

    /// The state at the readout after `iterations` iterations.
    pub(super) fn run(&self, tokens: &[u32], iterations: usize, hook: &mut Hook) -> State {
        let positions = self.query_positions(tokens.len());
        let pad = (self.readout == Readout::LastColumn).then_some(PAD);
        let mut states: Vec<State> = tokens
            .iter()
            .copied()
            .chain(pad)
            .zip(&positions)
            .map(|(token, &position)| self.embed(token, position))
            .collect();
        for (row, state) in states.iter_mut().enumerate() {
            let at = Location {
                iteration: 0,
                layer: 0,
                row,
                point: Point::Embed,
                head: None,
            };
            hook(at, state);
        }
        for iteration in 0..iterations {
            for layer in 0..self.layers.len() {
                self.run_layer(iteration, layer, &positions, &mut states, hook);
            }
        }
        states.pop().unwrap_or_default()
    }

    fn embed(&self, token: u32, position: usize) -> State {
        let mut state = self.embedding[token as usize].clone();
        state.add(self.features.of(self.positions).start + position, 1);
        state
    }

    // The position of each row of a query.
    fn query_positions(&self, tokens: usize) -> Vec<usize> {
        let pad = (self.readout == Readout::LastColumn).then_some(self.n_positions - 1);
        (0..tokens).chain(pad).collect()
    }

    fn run_layer(&self, iteration: usize, layer: usize, positions: &[usize], states: &mut [State], hook: &mut Hook) {
        let location = |row, point, head| Location {
            iteration,
            layer,
            row,
            point,
            head,
        };
        for (row, state) in states.iter_mut().enumerate() {
            hook(location(row, Point::ResidPre, None), state);
        }
        let mut after = Vec::with_capacity(states.len());
        for row in 0..states.len() {
            let mut attn_out = State::default();
            for (index, head) in self.layers[layer].heads.iter().enumerate() {
                let from = &states[self.attended(head.attends, row, positions)];
                let mut z = State::default();
                for (feature, count) in from.iter() {
                    for &(source, target) in &head.copies {
                        if self.features.subspace(feature) == source {
                            let offset = feature - self.features.of(source).start;
                            z.add(self.features.of(target).start + offset, count);
                        }
                    }
                }
                hook(location(row, Point::Z, Some(index)), &mut z);
                attn_out.add_state(&z);
            }
            hook(location(row, Point::AttnOut, None), &mut attn_out);
            let mut state = states[row].clone();
            state.add_state(&attn_out);
            hook(location(row, Point::ResidMid, None), &mut state);
            let mut mlp_out = self.layers[layer].written(&state);
            hook(location(row, Point::MlpOut, None), &mut mlp_out);
            state.add_state(&mlp_out);
            hook(location(row, Point::ResidPost, None), &mut state);
            after.push(state);
        }
        states.clone_from_slice(&after);
    }

    // The row that a head attends to: of those before it and itself, but a `<pad>` does not attend to itself.
    fn attended(&self, attends: Attends, row: usize, positions: &[usize]) -> usize {
        let last = self.n_positions - 1;
        let is_pad = self.readout == Readout::LastColumn && row + 1 == positions.len();
        let keys = if is_pad { 0..row } else { 0..row + 1 };
        keys.max_by_key(|&key| attends.preference(positions[row], positions[key], last))
            .unwrap_or(0)
    }
}
