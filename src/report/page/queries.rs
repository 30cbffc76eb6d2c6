//! The queries of a page: a sample that has every kind, with what each model does with them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{PageRun, PageSettings};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Position, Query, Split};
use crate::measure::{Halt, Method, Trace, TraceSettings, Wants, traces};
use crate::model::ModelConfig;
use crate::random::Stream;
use crate::train::answers;

/// Tokens that the lens shows of each position and effective layer.
const TOP: usize = 4;
/// Effective layers that the lens and attention show, at most; beyond them the answer alone.
const MAX_EFFECTIVE_LAYERS: usize = 32;
/// Bytes of all traces of a page, about, where the user does not say how many queries there are.
const BYTES: usize = 500_000;

/// The queries of a page.
#[derive(Serialize, Default)]
pub(super) struct Queries<'a> {
    vocab: Vec<&'a str>,
    list: Vec<QueryData>,
    views: Vec<View>,
}

#[derive(Serialize)]
struct QueryData {
    tokens: Vec<u32>,
    split: Split,
    hops: usize,
    entities: Vec<u32>,
    right: Vec<Option<bool>>,
}

// What a view is of: places in the lists of queries, runs, and checkpoints of the run.
#[derive(Serialize)]
struct ViewOf {
    query: usize,
    run: usize,
    checkpoint: usize,
}

/// One query in one checkpoint. Probabilities are in thousandths and margins in hundredths of a logit.
#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    of: ViewOf,
    layers: usize,
    iterations: usize,
    trained: usize,
    heads: usize,
    positions: Vec<Position>,
    lens: Vec<Vec<Vec<u32>>>,
    ranks: Vec<Vec<Vec<usize>>>,
    attention: Vec<Vec<Vec<u32>>>,
    answer: Vec<u32>,
    margin: Vec<i64>,
    halts: Vec<HaltData>,
}

#[derive(Serialize)]
struct HaltData {
    rule: String,
    iteration: Option<usize>,
}

// A query with its split, and whether each run answers it right at the end of training.
struct Candidate<'a> {
    split: Split,
    query: &'a Query,
    right: Vec<Option<bool>>,
}

impl<'a> Queries<'a> {
    /// A sample of the chains of the first run's data, the same for all runs, and what every checkpoint does with them.
    pub(super) fn of(runs: &'a [PageRun], settings: &PageSettings, notes: &mut Vec<String>) -> Result<Self> {
        let Some(data) = runs.first().map(PageRun::data) else {
            return Ok(Self::default());
        };
        let candidates = candidates(runs, data, notes)?;
        let asked = settings.asked.iter().map(|text| asked(text, data, runs));
        let mut chosen = asked.collect::<Result<Vec<_>>>()?;
        let count = settings.queries.unwrap_or_else(|| affordable(runs, &candidates));
        for candidate in sampled(candidates, count, settings.seed) {
            if chosen.iter().all(|known| known.query.tokens != candidate.query.tokens) {
                chosen.push(candidate);
            }
        }
        let mut views = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            if run.data().hash == data.hash {
                views.extend(views_of(run, index, &chosen)?);
            }
        }
        let vocab = data.vocab.tokens().iter();
        let vocab = vocab.map(|token| token.trim_start_matches('<').trim_end_matches('>'));
        Ok(Self {
            vocab: vocab.collect(),
            list: chosen.into_iter().map(QueryData::of).collect(),
            views,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

impl QueryData {
    fn of(candidate: Candidate) -> Self {
        let query = candidate.query;
        let entities: Option<Vec<u32>> = (1..=query.hops()).map(|hop| query.entity_after(hop)).collect();
        Self {
            tokens: query.tokens.to_vec(),
            split: candidate.split,
            hops: query.hops(),
            entities: entities.unwrap_or_else(|| vec![query.target]),
            right: candidate.right,
        }
    }
}

// Every chain of the test splits, and of the training chains, that the first run's data has.
fn candidates<'a>(runs: &[PageRun], data: &'a Dataset, notes: &mut Vec<String>) -> Result<Vec<Candidate<'a>>> {
    let Some(first) = runs.first() else {
        return Ok(Vec::new());
    };
    let splits = Wants::Chains.splits(&[], &first.checkpoints)?;
    let mut found = Vec::new();
    for split in splits {
        let queries: Vec<&Query> = data.split(&split)?.iter().filter(|query| query.hops() > 1).collect();
        // [run][query]
        let right = runs.iter().map(|run| {
            let is_there = run.data().hash == data.hash;
            let checkpoint = run.last().filter(|_| is_there);
            checkpoint.map_or(Ok(vec![None; queries.len()]), |checkpoint| {
                let tokens = queries.iter().map(|query| &*query.tokens);
                let given = answers(&checkpoint.model, tokens, checkpoint.info.iterations)?;
                Ok(given
                    .iter()
                    .zip(&queries)
                    .map(|(&answer, query)| Some(answer == query.target))
                    .collect())
            })
        });
        let right = right.collect::<Result<Vec<Vec<Option<bool>>>>>()?;
        found.extend(queries.into_iter().enumerate().map(|(i, query)| Candidate {
            split: split.clone(),
            query,
            right: right.iter().map(|of_run| of_run[i]).collect(),
        }));
    }
    for run in runs.iter().filter(|run| run.data().hash != data.hash) {
        notes.push(format!(
            "{} was trained on other data ({}) than {} ({}): its numbers are of other chains, and single queries are not shown for it",
            run.name,
            run.data().hash,
            first.name,
            data.hash
        ));
    }
    Ok(found)
}

// A query of the command line, as `e_5 r_1 r_9`: of a split, or any chain of known facts.
fn asked<'a>(text: &str, data: &'a Dataset, runs: &[PageRun]) -> Result<Candidate<'a>> {
    let refuse = |why: &str| Error::input(format!("--query {text:?}: {why}"));
    let tokens: Option<Vec<u32>> = text
        .split_whitespace()
        .map(|token| data.vocab.id(token).or_else(|| data.vocab.id(&format!("<{token}>"))))
        .collect();
    let tokens = tokens.ok_or_else(|| refuse("allowed: tokens of the data's vocabulary, as in \"e_5 r_1 r_9\""))?;
    let splits = data.splits.iter();
    let known = splits
        .flat_map(|(split, queries)| queries.iter().map(move |query| (split, query)))
        .find(|(_, query)| *query.tokens == *tokens);
    let (split, query) = known.ok_or_else(|| refuse("allowed: a chain of one of the data's splits"))?;
    let right = |run: &PageRun| -> Result<Option<bool>> {
        let Some(checkpoint) = run.last().filter(|_| run.data().hash == data.hash) else {
            return Ok(None);
        };
        let given = answers(&checkpoint.model, [&*query.tokens], checkpoint.info.iterations)?;
        Ok(given.first().map(|&answer| answer == query.target))
    };
    Ok(Candidate {
        split: split.clone(),
        query,
        right: runs.iter().map(right).collect::<Result<_>>()?,
    })
}

// A split, hops, and whether each run answers right.
type Kind = (String, usize, Vec<Option<bool>>);

// Candidates in turn from each kind (split, hops, and which runs answer it right), in a random order within a kind.
fn sampled(candidates: Vec<Candidate>, count: usize, seed: u64) -> Vec<Candidate> {
    let mut kinds: BTreeMap<Kind, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let kind = (
            candidate.split.to_string(),
            candidate.query.hops(),
            candidate.right.clone(),
        );
        kinds.entry(kind).or_default().push(candidate);
    }
    let mut kinds: Vec<Vec<Candidate>> = kinds.into_values().collect();
    for (kind, index) in kinds.iter_mut().zip(0..) {
        Stream::new(seed, "queries of a page", index).shuffle(kind);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count && kinds.iter().any(|kind| !kind.is_empty()) {
        let left = count - chosen.len();
        chosen.extend(kinds.iter_mut().filter_map(Vec::pop).take(left));
    }
    let order = |candidate: &Candidate| {
        (
            candidate.split.to_string(),
            candidate.query.hops(),
            candidate.query.tokens.to_vec(),
        )
    };
    chosen.sort_by_cached_key(order);
    chosen
}

// The iterations that the lens and attention of a run show: twice those of training where that is not too much to look at.
fn shown_iterations(run: &PageRun) -> usize {
    let model = &run.summary.model;
    if model.iterations == 1 {
        return 1;
    }
    (2 * model.iterations).min((MAX_EFFECTIVE_LAYERS / model.layers).max(model.iterations))
}

// As many queries as the traces of `BYTES` are of, four at least.
fn affordable(runs: &[PageRun], candidates: &[Candidate]) -> usize {
    let hops = candidates
        .iter()
        .map(|candidate| candidate.query.hops())
        .max()
        .unwrap_or(2);
    let of_run = |run: &PageRun| {
        let (model, positions) = (&run.summary.model, hops + 2);
        let layers = shown_iterations(run) * model.layers;
        let readings = positions * (layers + 1) * (2 * TOP + hops);
        let patterns = layers * model.heads * positions * (positions + 1) / 2;
        // A number and its comma.
        run.checkpoints.len() * (readings + patterns) * 7 / 2
    };
    let bytes: usize = runs.iter().map(of_run).sum();
    (BYTES / bytes.max(1)).clamp(4, 200)
}

fn views_of(run: &PageRun, index: usize, chosen: &[Candidate]) -> Result<Vec<View>> {
    let model = &run.summary.model;
    let shown = shown_iterations(run);
    let settings = TraceSettings {
        iterations: shown,
        answers: (2 * model.iterations).max(shown),
        top: TOP,
        rules: if model.iterations > 1 {
            Halt::defaults()?.rules
        } else {
            Vec::new()
        },
    };
    let mut views = Vec::new();
    for (place, checkpoint) in run.checkpoints.iter().enumerate() {
        // Queries of one length at a time share a pass.
        let mut by_hops: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (query, candidate) in chosen.iter().enumerate() {
            by_hops.entry(candidate.query.hops()).or_default().push(query);
        }
        for of_hops in by_hops.values() {
            let queries: Vec<&Query> = of_hops.iter().map(|&query| chosen[query].query).collect();
            let traced = traces(checkpoint, &queries, &settings)?;
            for (&query, trace) in of_hops.iter().zip(traced) {
                let of = ViewOf {
                    query,
                    run: index,
                    checkpoint: place,
                };
                views.push(View::new(of, model, trace, &settings));
            }
        }
    }
    Ok(views)
}

impl View {
    fn new(of: ViewOf, model: &ModelConfig, trace: Trace, settings: &TraceSettings) -> Self {
        let tokens = |readings: &Vec<(u32, f64)>| {
            readings
                .iter()
                .flat_map(|&(token, p)| [token, thousandths(p)])
                .collect()
        };
        let lens = trace.lens.iter().map(|layers| layers.iter().map(tokens).collect());
        let pattern = |head: &Vec<Vec<f64>>| head.iter().flatten().map(|&p| thousandths(p)).collect();
        let attention = trace.attention.iter().map(|heads| heads.iter().map(pattern).collect());
        let halts = settings.rules.iter().zip(&trace.halts);
        Self {
            of,
            layers: model.layers,
            iterations: settings.iterations,
            trained: model.iterations,
            heads: model.heads,
            lens: lens.collect(),
            attention: attention.collect(),
            answer: trace.probability.iter().map(|&p| thousandths(p)).collect(),
            margin: trace
                .margin
                .iter()
                .map(|&margin| (margin * 100.0).round() as i64)
                .collect(),
            halts: halts
                .map(|(rule, &iteration)| HaltData {
                    rule: rule.to_string(),
                    iteration,
                })
                .collect(),
            ranks: trace.ranks,
            positions: trace.positions,
        }
    }
}

fn thousandths(p: f64) -> u32 {
    (p * 1000.0).round() as u32
}
