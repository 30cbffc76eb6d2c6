//! What a checkpoint does with a query, as the page shows it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::PageRun;
use super::data::rounded;
use super::queries::Shown;
use crate::error::Result;
use crate::graph::Query;
use crate::measure::{Halt, Method, Trace, TraceSettings, traces};
use crate::model::ModelConfig;

/// Tokens that the lens shows of each position and effective layer.
pub(super) const TOP: usize = 4;
/// Effective layers that the lens and attention show, at most; beyond them the answer alone.
const MAX_EFFECTIVE_LAYERS: usize = 16;

// What a view is of: places in the lists of queries, runs, and checkpoints of the run.
#[derive(Serialize)]
struct ViewOf {
    query: usize,
    run: usize,
    checkpoint: usize,
}

/// One query in one checkpoint. Probabilities of the lens and attention are in thousandths.
#[derive(Serialize)]
pub(super) struct View {
    #[serde(flatten)]
    of: ViewOf,
    layers: usize,
    pub(super) iterations: usize,
    trained: usize,
    heads: usize,
    behind: Vec<usize>,
    lens: Vec<Vec<Vec<(u32, u32)>>>,
    ranks: Vec<Vec<Vec<usize>>>,
    // [effective layer][query position][head × key position]
    attention: Vec<Vec<Vec<Option<u32>>>>,
    pub(super) answer: Vec<f64>,
    pub(super) margin: Vec<f64>,
    pub(super) marks: Vec<(usize, String)>,
}

/// The iterations that the lens and attention of a run show: twice those of training where that is not too much to look at.
pub(super) fn shown_iterations(run: &PageRun) -> usize {
    let model = &run.summary.model;
    if model.iterations == 1 {
        return 1;
    }
    (2 * model.iterations).min((MAX_EFFECTIVE_LAYERS / model.layers).max(model.iterations))
}

/// What the checkpoints of a run that are shown do with these queries; `index`: the place of the run.
pub(super) fn views_of(run: &PageRun, index: usize, shown_at: Shown, chosen: &[&Query]) -> Result<Vec<View>> {
    let model = &run.summary.model;
    let shown = shown_iterations(run);
    let settings = TraceSettings {
        iterations: shown,
        // One iteration of a vanilla model is all that it has.
        answers: if model.iterations > 1 {
            (2 * model.iterations).max(shown)
        } else {
            shown
        },
        top: TOP,
        rules: if model.iterations > 1 {
            Halt::defaults()?.rules
        } else {
            Vec::new()
        },
    };
    let mut views = Vec::new();
    for place in shown_at.of(&run.checkpoints) {
        let checkpoint = &run.checkpoints[place];
        // Queries of one length at a time share a pass.
        let mut by_hops: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, query) in chosen.iter().enumerate() {
            by_hops.entry(query.hops()).or_default().push(index);
        }
        for of_hops in by_hops.values() {
            let queries: Vec<&Query> = of_hops.iter().map(|&query| chosen[query]).collect();
            let traced = traces(checkpoint, &queries, &settings)?;
            for (&query, trace) in of_hops.iter().zip(traced) {
                let of = ViewOf {
                    query,
                    run: index,
                    checkpoint: place,
                };
                views.push(View::new(of, model, &trace, &settings, queries[0].tokens.len()));
            }
        }
    }
    Ok(views)
}

impl View {
    fn new(of: ViewOf, model: &ModelConfig, trace: &Trace, settings: &TraceSettings, words: usize) -> Self {
        let reading = |&(token, p): &(u32, f64)| (token, thousandths(p));
        let layer = |readings: &Vec<(u32, f64)>| readings.iter().map(reading).collect();
        // A position of its own where the answer is read has no word of the query.
        let lens = trace
            .lens
            .iter()
            .take(words)
            .map(|layers| layers.iter().map(layer).collect());
        let marks = (model.iterations > 1).then(|| (model.iterations, "trained".to_owned()));
        let halts = settings.rules.iter().zip(&trace.halts).map(|(rule, halt)| match halt {
            Some(iteration) => (*iteration, format!("halts: {rule}")),
            None => (settings.answers, format!("never halts: {rule}")),
        });
        Self {
            of,
            layers: model.layers,
            iterations: settings.iterations,
            trained: model.iterations,
            heads: model.heads,
            behind: (settings.iterations > model.iterations)
                .then_some(model.iterations * model.layers + 1)
                .into_iter()
                .collect(),
            lens: lens.collect(),
            ranks: trace.ranks.iter().take(words).cloned().collect(),
            attention: trace.attention.iter().map(|heads| attention(heads, words)).collect(),
            answer: trace.probability.iter().map(|&p| rounded(p)).collect(),
            margin: trace
                .margin
                .iter()
                .map(|&margin| (margin * 100.0).round() / 100.0)
                .collect(),
            marks: marks.into_iter().chain(halts).collect(),
        }
    }
}

// A row a query position, the key positions of every head beside each other; none above the diagonal.
fn attention(heads: &[Vec<Vec<f64>>], words: usize) -> Vec<Vec<Option<u32>>> {
    let row = |position: usize| {
        let of_head = |head: &Vec<Vec<f64>>| -> Vec<Option<u32>> {
            (0..words)
                .map(|key| head[position].get(key).map(|&p| thousandths(p)))
                .collect()
        };
        heads.iter().flat_map(of_head).collect()
    };
    (0..words).map(row).collect()
}

fn thousandths(p: f64) -> u32 {
    (p * 1000.0).round() as u32
}
