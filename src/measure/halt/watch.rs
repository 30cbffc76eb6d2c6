//! What every iteration does to every query that is still in the loop.

use candle_core::Tensor;

use super::rule::Change;
use crate::error::Result;
use crate::measure::{dot, minus, norm, rows_of};
use crate::model::log_softmax;

// A query after its last iteration.
#[derive(Debug, Clone)]
struct Last {
    log_p: Vec<f32>,
    min_p: Vec<f32>,
    state: Vec<f32>,
    // The last step, before the first iteration none.
    step: Option<Vec<f32>>,
    change: Change,
}

/// Follows queries through their iterations.
pub(super) struct Watch {
    iteration: usize,
    last: Vec<Option<Last>>,
}

impl Watch {
    /// `queries` queries before their first iteration.
    pub(super) fn new(queries: usize) -> Self {
        Self {
            iteration: 0,
            last: vec![None; queries],
        }
    }

    /// Takes note of one more iteration of the queries `active`: their states `[active, d_model]`, logits
    /// `[active, vocab]`, and right answers. Gives what it did to each, and what the iteration before did.
    pub(super) fn observe(
        &mut self,
        active: &[usize],
        states: &Tensor,
        logits: &Tensor,
        targets: &[u32],
    ) -> Result<Vec<(Option<Change>, Change)>> {
        self.iteration += 1;
        let log_p = rows_of(&log_softmax(logits)?)?;
        let states = rows_of(states)?;
        let all = active.iter().zip(log_p).zip(states).zip(targets);
        Ok(all
            .map(|(((&query, log_p), state), &target)| {
                let before = self.last[query].take();
                let now = after(before.as_ref(), self.iteration, log_p, state, target);
                let changes = (before.map(|last| last.change), now.change);
                self.last[query] = Some(now);
                changes
            })
            .collect())
    }
}

fn after(before: Option<&Last>, iteration: usize, log_p: Vec<f32>, state: Vec<f32>, target: u32) -> Last {
    let min_p = min_p(&log_p);
    let answer = argmax(&log_p);
    let entropy = -log_p.iter().map(|&l| f64::from(l).exp() * f64::from(l)).sum::<f64>();
    let step: Option<Vec<f32>> = before.map(|last| minus(&state, &last.state));
    let size = norm(&state);
    let second = match (&step, before.and_then(|last| last.step.as_ref())) {
        (Some(step), Some(last)) => norm(&minus(step, last)) / size,
        _ => f64::INFINITY,
    };
    let or_infinite = |f: &dyn Fn(&Last) -> f64| before.map_or(f64::INFINITY, f);
    let change = Change {
        iteration,
        kl: or_infinite(&|last| kl(&log_p, &last.log_p)),
        min_p_kl: or_infinite(&|last| kl(&min_p, &last.min_p)),
        entropy,
        entropy_difference: or_infinite(&|last| (entropy - last.change.entropy).abs()),
        latent_difference: step.as_ref().map_or(f64::INFINITY, |step| norm(step) / size),
        second_difference: [second, or_infinite(&|last| last.change.second_difference[0])],
        cosine: or_infinite(&|last| 1.0 - dot(&state, &last.state) / (size * norm(&last.state))),
        stable: match before {
            Some(last) if argmax(&last.log_p) == answer => last.change.stable + 1,
            _ => 1,
        },
        answer: answer as u32,
        right: answer == target as usize,
    };
    Last {
        log_p,
        min_p,
        state,
        step,
        change,
    }
}

fn argmax(x: &[f32]) -> usize {
    // The first of equals, as everywhere.
    (0..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
}

// KL(p ‖ q) in nats; rounding must not make it negative.
fn kl(log_p: &[f32], log_q: &[f32]) -> f64 {
    let terms = log_p.iter().zip(log_q);
    let sum: f64 = terms
        .map(|(&p, &q)| f64::from(p).exp() * (f64::from(p) - f64::from(q)))
        .sum();
    sum.max(0.0)
}

// The log-probabilities after all under a tenth of the largest are put to one over the number of tokens.
fn min_p(log_p: &[f32]) -> Vec<f32> {
    let max = log_p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let floor = 1.0 / log_p.len() as f64;
    let kept = |l: f32| {
        if f64::from(l) < f64::from(max) + 0.1_f64.ln() {
            floor
        } else {
            f64::from(l).exp()
        }
    };
    let sum: f64 = log_p.iter().map(|&l| kept(l)).sum();
    log_p.iter().map(|&l| (kept(l) / sum).ln() as f32).collect()
}
