//! What the loop does with single queries: the logit lens at every position and effective layer, where heads look, and the answer
//! iteration by iteration. For looking at; no statistics.

use candle_core::Tensor;

use super::attention::patterns_of;
use super::checkpoint::LoadedCheckpoint;
use super::halt::{Rule, halting_iterations};
use super::margin::margin;
use super::{BATCH, rows_of};
use crate::error::Result;
use crate::graph::{Position, Query};
use crate::model::{Hooks, Pass, Point, Sharing, Site, log_softmax};
use crate::train::rank;

/// What to keep of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// Inference iterations that the lens and attention are traced through, at least 1.
    pub iterations: usize,
    /// Inference iterations after which the answer is read, at least `iterations`.
    pub answers: usize,
    /// Tokens that the lens keeps of each position and effective layer: the most likely ones.
    pub top: usize,
    /// Halting rules.
    pub rules: Vec<Rule>,
}

/// A token with its probability.
pub type Reading = (u32, f64);

/// One query in one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Where the query is read.
    pub positions: Vec<Position>,
    /// The most likely tokens by the lens, the most likely first: `[position][effective layer][top]`, the embedding first.
    pub lens: Vec<Vec<Vec<Reading>>>,
    /// The rank among all tokens of each entity that the chain passes, the target last, from 1: `[position][effective layer][hop]`;
    /// without entities where they are not known.
    pub ranks: Vec<Vec<Vec<usize>>>,
    /// Attention probabilities over the position itself and those before it: `[effective layer][head][position][ancestor]`.
    pub attention: Vec<Vec<Vec<Vec<f64>>>>,
    /// The target's probability after each iteration.
    pub probability: Vec<f64>,
    /// The logit of the target minus the largest of the others, after each iteration.
    pub margin: Vec<f64>,
    /// The iteration at which each rule halts; absent where it is never met.
    pub halts: Vec<Option<usize>>,
}

/// Traces queries through a model. They have the same number of hops.
///
/// # Errors
/// When a query does not fit the model, or the device fails.
pub fn traces(checkpoint: &LoadedCheckpoint, queries: &[&Query], settings: &TraceSettings) -> Result<Vec<Trace>> {
    let mut traced = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(BATCH) {
        traced.extend(inside(checkpoint, chunk, settings)?);
    }
    for rule in &settings.rules {
        let halts = halting_iterations(checkpoint, queries, rule, settings.answers)?;
        for (trace, halt) in traced.iter_mut().zip(halts) {
            trace.halts.push(halt);
        }
    }
    Ok(traced)
}

// The states of a chunk, read.
fn inside(checkpoint: &LoadedCheckpoint, queries: &[&Query], settings: &TraceSettings) -> Result<Vec<Trace>> {
    let (model, layers) = (&checkpoint.model, checkpoint.info.layers);
    let rows = model.pack(queries.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
    let mut streams = vec![Site::embed()];
    streams.extend(Site::all(Point::ResidPost, settings.iterations, layers));
    let patterns = Site::all(Point::AttnPattern, settings.iterations, layers);
    let outputs = Site::all(Point::Logits, settings.answers, 1);
    let sites = streams.iter().chain(&patterns).chain(&outputs).copied();
    let mut pass = Pass {
        hooks: sites.fold(Hooks::none(), Hooks::record),
        ..Pass::default()
    };
    model.forward(&rows, settings.answers, &mut pass)?;

    let hops = queries.first().map_or(0, |query| query.hops());
    let positions = Position::of_chain(hops, model.config().reads_apart(hops));
    let mut traced = vec![empty(positions); queries.len()];
    for &site in &streams {
        let logits = model.unembed(&pass.hooks.recorded(site)?)?;
        let (log_p, logits) = (rows_of(&log_softmax(&logits)?)?, rows_of(&logits)?);
        for (query, trace) in traced.iter_mut().enumerate() {
            for (column, &row) in rows.of_query(query).iter().enumerate() {
                let row = row as usize;
                trace.lens[column].push(most_likely(&log_p[row], settings.top));
                trace.ranks[column].push(entity_ranks(&logits[row], queries[query])?);
            }
        }
    }
    for &site in &patterns {
        let found = patterns_of(&rows, queries.len(), &pass.hooks.recorded(site)?)?;
        for (trace, patterns) in traced.iter_mut().zip(found) {
            trace.attention.push(patterns);
        }
    }
    for &site in &outputs {
        let logits: Tensor = pass.hooks.recorded(site)?;
        let (log_p, logits) = (rows_of(&log_softmax(&logits)?)?, rows_of(&logits)?);
        for (query, trace) in traced.iter_mut().enumerate() {
            let target = queries[query].target as usize;
            trace.probability.push(f64::from(log_p[query][target]).exp());
            trace.margin.push(margin(&logits[query], target));
        }
    }
    Ok(traced)
}

fn empty(positions: Vec<Position>) -> Trace {
    Trace {
        lens: vec![Vec::new(); positions.len()],
        ranks: vec![Vec::new(); positions.len()],
        positions,
        attention: Vec::new(),
        probability: Vec::new(),
        margin: Vec::new(),
        halts: Vec::new(),
    }
}

// Of equal probabilities the first token.
fn most_likely(log_p: &[f32], top: usize) -> Vec<Reading> {
    let mut tokens: Vec<u32> = (0..log_p.len() as u32).collect();
    tokens.sort_by(|&a, &b| log_p[b as usize].total_cmp(&log_p[a as usize]));
    tokens.truncate(top);
    let read = |token: u32| (token, f64::from(log_p[token as usize]).exp());
    tokens.into_iter().map(read).collect()
}

fn entity_ranks(logits: &[f32], query: &Query) -> Result<Vec<usize>> {
    let entities: Option<Vec<u32>> = (1..=query.hops()).map(|hop| query.entity_after(hop)).collect();
    let entities = entities.unwrap_or_default();
    entities.into_iter().map(|entity| rank(logits, entity)).collect()
}
