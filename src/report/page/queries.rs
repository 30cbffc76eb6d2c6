//! The queries of a page: a sample that has every kind, with what each model does with them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axis::Axis;
use super::views::{TOP, View, shown_iterations, views_of};
use super::{PageRun, PageSettings};
use crate::error::{Error, Result};
use crate::figure::{Ticks, cycled_colour_hex, ordered_colour_hex};
use crate::graph::{Dataset, Query, Split};
use crate::measure::Wants;
use crate::random::Stream;
use crate::train::answers;
use crate::wording::{counted, did_you_mean};

/// Hops of a chain whose bridges have colours of their own; those of longer ones are in order.
const MAX_CYCLED_HOPS: usize = 6;
/// The colour of the target.
const TARGET: &str = "#0072b2";
/// Bytes of all traces of a page, about, where the user does not say how many queries there are.
const BYTES: usize = 500_000;
/// Queries that a page has, at least, where the user does not say how many.
const MIN_QUERIES: usize = 8;

/// The checkpoints that single queries are shown at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Every one.
    All,
    /// The last one of each run.
    Last,
}

impl Shown {
    /// Those of a run.
    pub(super) fn of<T>(self, checkpoints: &[T]) -> std::ops::Range<usize> {
        match self {
            Self::All => 0..checkpoints.len(),
            Self::Last => checkpoints.len().saturating_sub(1)..checkpoints.len(),
        }
    }
}

/// The queries of a page.
#[derive(Serialize)]
pub(super) struct Queries<'a> {
    vocab: Vec<&'a str>,
    // Behind the iteration that is chosen: how many all looped runs were trained with.
    #[serde(rename = "trained")]
    trained_note: String,
    /// What is said at a checkpoint that single queries are not shown at.
    missing: &'static str,
    /// The iterations of training of the first looped run.
    #[serde(skip)]
    pub(super) trained: usize,
    mark_rows: usize,
    axes: QueryAxes,
    list: Vec<QueryData>,
    views: Vec<View>,
    /// The queries for the list to choose from.
    #[serde(skip)]
    pub(super) choices: Vec<Choice>,
    #[serde(skip)]
    pub(super) max_iterations: usize,
}

#[derive(Serialize)]
struct QueryAxes {
    iteration: Axis,
    answer: Axis,
    margin: Axis,
}

/// A query in the list to choose from.
pub(super) struct Choice {
    pub(super) words: String,
    pub(super) text: String,
    pub(super) group: String,
}

#[derive(Serialize)]
struct QueryData {
    words: String,
    about: String,
    entities: Vec<EntityData>,
}

#[derive(Serialize)]
struct EntityData {
    token: u32,
    name: String,
    colour: String,
    stroke: &'static str,
}

// A query with its split, and whether each run answers it right at its last checkpoint.
struct Candidate<'a> {
    split: Split,
    query: &'a Query,
    right: Vec<Option<bool>>,
}

impl<'a> Queries<'a> {
    /// A sample of the chains of the first run's data, the same for all runs, and what every checkpoint does with them; nothing where
    /// the data has no chains.
    pub(super) fn of(runs: &'a [PageRun], settings: &PageSettings) -> Result<Option<Self>> {
        let Some(data) = runs.first().map(PageRun::data) else {
            return Ok(None);
        };
        let candidates = candidates(runs, data)?;
        let asked = settings.asked.iter().map(|text| asked(text, data, runs));
        let mut chosen = asked.collect::<Result<Vec<_>>>()?;
        // A few queries at every checkpoint, or where these are many, more of them at the last one of each run alone.
        let at_all = settings
            .queries
            .unwrap_or_else(|| affordable(runs, &candidates, Shown::All));
        let shown = if settings.queries.is_some() || at_all >= MIN_QUERIES {
            Shown::All
        } else {
            Shown::Last
        };
        let count = match shown {
            Shown::All => at_all,
            Shown::Last => affordable(runs, &candidates, shown).max(MIN_QUERIES),
        };
        for candidate in sampled(candidates, count, settings.seed) {
            if chosen.iter().all(|known| known.query.tokens != candidate.query.tokens) {
                chosen.push(candidate);
            }
        }
        if chosen.is_empty() {
            return Ok(None);
        }
        let queries: Vec<&Query> = chosen.iter().map(|candidate| candidate.query).collect();
        let mut views = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            if run.data().hash == data.hash {
                views.extend(views_of(run, index, shown, &queries)?);
            }
        }
        let names = Names { data, runs };
        let looped: Vec<usize> = runs
            .iter()
            .map(|run| run.summary.model.iterations)
            .filter(|&iterations| iterations > 1)
            .collect();
        let trained = looped.first().copied().unwrap_or(1);
        let max_iterations = views.iter().map(|view| view.iterations).max().unwrap_or(1);
        Ok(Some(Self {
            vocab: data.vocab.tokens().iter().map(|token| bare(token)).collect(),
            trained_note: if looped.iter().all(|&iterations| iterations == trained) {
                format!(" (trained with {trained})")
            } else {
                String::new()
            },
            trained,
            missing: match shown {
                Shown::All => "No result here.",
                Shown::Last => {
                    "Single queries are shown at the last checkpoint of each run; --queries N shows N at every one."
                }
            },
            mark_rows: views.iter().map(|view| view.marks.len()).max().unwrap_or(0),
            axes: QueryAxes::of(&views),
            choices: chosen.iter().map(|candidate| names.choice(candidate)).collect(),
            list: chosen.iter().map(|candidate| names.query(candidate)).collect(),
            max_iterations,
            views,
        }))
    }
}

impl QueryAxes {
    fn of(views: &[View]) -> Self {
        let max_iterations = views.iter().map(|view| view.answer.len()).max().unwrap_or(1);
        let margins = views.iter().flat_map(|view| &view.margin);
        let ends = margins.fold((0.0_f64, 0.0_f64), |(low, high), &margin| {
            (low.min(margin), high.max(margin))
        });
        let ticks = |whole, max| Ticks { whole, max };
        Self {
            iteration: Axis::linear("iteration", (0.8, max_iterations as f64 + 0.2), ticks(true, 8)),
            answer: Axis::linear("probability of the target", (0.0, 1.0), ticks(false, 4)),
            margin: Axis::linear("margin of the target, logits", ends, ticks(false, 4)),
        }
    }
}

// `e_5` of `<e_5>`.
fn bare(token: &str) -> &str {
    token
        .strip_prefix('<')
        .and_then(|token| token.strip_suffix('>'))
        .unwrap_or(token)
}

// Words for queries and their answers.
struct Names<'a> {
    data: &'a Dataset,
    runs: &'a [PageRun],
}

impl Names<'_> {
    fn token(&self, token: u32) -> &str {
        self.data
            .vocab
            .tokens()
            .get(token as usize)
            .map_or("?", |name| bare(name))
    }

    fn words(&self, query: &Query) -> String {
        let words: Vec<&str> = query.tokens.iter().map(|&token| self.token(token)).collect();
        words.join(" ")
    }

    // Of a run on other data nothing is said.
    fn answers(&self, candidate: &Candidate, said: impl Fn(bool, &str) -> String) -> Vec<String> {
        let named = self.runs.iter().zip(&candidate.right);
        named
            .filter_map(|(run, right)| Some(said((*right)?, &run.name)))
            .collect()
    }

    fn choice(&self, candidate: &Candidate) -> Choice {
        let words = self.words(candidate.query);
        let marks = self.answers(candidate, |right, run| {
            format!("{} {run}", if right { '✓' } else { '✗' })
        });
        let first = match candidate.right.first() {
            Some(Some(true)) => format!(", right by {}", self.runs[0].name),
            Some(Some(false)) => format!(", wrong by {}", self.runs[0].name),
            _ => String::new(),
        };
        Choice {
            text: format!("{words} · {}", marks.join(" ")),
            group: format!("{}{first}", candidate.split.title()),
            words,
        }
    }

    fn query(&self, candidate: &Candidate) -> QueryData {
        let query = candidate.query;
        let words = self.words(query);
        let said = self.answers(candidate, |right, run| {
            format!("{run} {}", if right { "right" } else { "wrong" })
        });
        let hops = query.hops();
        let known: Option<Vec<u32>> = (1..=hops).map(|hop| query.entity_after(hop)).collect();
        let entities = known.unwrap_or_default();
        let entity = |(hop, &token): (usize, &u32)| {
            let is_target = hop + 1 == hops;
            let role = match (is_target, hops) {
                (true, _) => "target".to_owned(),
                (false, 2) => "bridge".to_owned(),
                (false, _) => format!("bridge {}", hop + 1),
            };
            EntityData {
                token,
                name: format!("{role} {}", self.token(token)),
                colour: match (is_target, hops > MAX_CYCLED_HOPS) {
                    (true, _) => TARGET.to_owned(),
                    (false, false) => cycled_colour_hex(hop + 1),
                    (false, true) => ordered_colour_hex(hop, hops),
                },
                stroke: "dot",
            }
        };
        QueryData {
            about: format!(
                "{words} → {}: {}, {}. At the last checkpoint {}.",
                self.token(query.target),
                candidate.split.title(),
                counted(hops, "hop"),
                said.join(", ")
            ),
            entities: entities.iter().enumerate().map(entity).collect(),
            words,
        }
    }
}

// Every chain of the test splits, and of the training chains, that the first run's data has.
fn candidates<'a>(runs: &[PageRun], data: &'a Dataset) -> Result<Vec<Candidate<'a>>> {
    let Some(first) = runs.first() else {
        return Ok(Vec::new());
    };
    // Data of facts alone has nothing to look at here.
    let Ok(splits) = Wants::Chains.splits(&[], &first.checkpoints) else {
        return Ok(Vec::new());
    };
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
    Ok(found)
}

/// The query of the command line that this text, as `e_5 r_1 r_9`, stands for, with its split.
///
/// # Errors
/// When it is no chain of one of the data's splits.
pub fn asked_query<'a>(text: &str, data: &'a Dataset) -> Result<(&'a Split, &'a Query)> {
    let refuse = |why: String| Error::input(format!("--query {text:?}: {why}"));
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let id = data.vocab.id(word).or_else(|| data.vocab.id(&format!("<{word}>")));
        tokens.push(id.ok_or_else(|| {
            let names = data.vocab.tokens().iter().map(|token| bare(token));
            refuse(format!(
                "{word:?} is no token of data {}{}; allowed: a chain of one of its splits, as \"e_5 r_1 r_9\"",
                data.hash,
                did_you_mean(word, names)
            ))
        })?);
    }
    let splits = data.splits.iter();
    splits
        .flat_map(|(split, queries)| queries.iter().map(move |query| (split, query)))
        .find(|(_, query)| *query.tokens == *tokens)
        .ok_or_else(|| refuse(format!("is no chain of data {}; allowed: one of its splits", data.hash)))
}

fn asked<'a>(text: &str, data: &'a Dataset, runs: &[PageRun]) -> Result<Candidate<'a>> {
    let (split, query) = asked_query(text, data)?;
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

// Hops, a split, and whether each run answers right.
type Kind = (usize, String, Vec<Option<bool>>);

// Candidates in turn from each kind (hops, split, and which runs answer it right), in a random order within a kind. Of more kinds than
// there are places, those that are spread evenly over them, so that a few queries are of short and of long chains.
fn sampled(candidates: Vec<Candidate>, count: usize, seed: u64) -> Vec<Candidate> {
    let mut kinds: BTreeMap<Kind, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let kind = (
            candidate.query.hops(),
            candidate.split.to_string(),
            candidate.right.clone(),
        );
        kinds.entry(kind).or_default().push(candidate);
    }
    let mut kinds: Vec<Vec<Candidate>> = kinds.into_values().collect();
    for (kind, index) in kinds.iter_mut().zip(0..) {
        Stream::new(seed, "queries of a page", index).shuffle(kind);
    }
    if count < kinds.len() {
        let n = kinds.len();
        let spread: Vec<usize> = (0..count).map(|place| place * n / count).collect();
        let mut index = 0..n;
        kinds.retain(|_| index.next().is_some_and(|index| spread.contains(&index)));
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

// As many queries as the traces of `BYTES` are of, two at least.
fn affordable(runs: &[PageRun], candidates: &[Candidate], shown: Shown) -> usize {
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
        shown.of(&run.checkpoints).len() * (readings + patterns) * 7 / 2
    };
    let bytes: usize = runs.iter().map(of_run).sum();
    (BYTES / bytes.max(1)).clamp(2, 200)
}
