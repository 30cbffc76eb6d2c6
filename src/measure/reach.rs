//! How far back a chain the answer reaches (Kohli et al. 2026, Appendix K): each token interchanged alone, and everything
//! before a suffix interchanged, beside what the same interchanges do to the true answer. Many-to-one relations forget where
//! a chain began, so that a model may answer from a suffix; permutations never do.

use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Check, Claim, Design, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::sampling::Sampling;
use super::splits::Wants;
use super::statistics::{Clustering, share};
use super::unit_interval;
use crate::error::{Error, Result};
use crate::graph::{Graph, Position, Query, Split, Target};
use crate::model::Point;
use crate::random::Stream;
use crate::train::answers;

/// What to interchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Reach {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Largest share of answers that may change where a suffix is said to keep them
    #[arg(long, default_value_t = 0.1, value_parser = unit_interval)]
    pub tolerance: f64,
}

/// Which tokens of a query others take the places of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interchange {
    /// The one at the position.
    One,
    /// All before the position; from there on the suffix is kept.
    Before,
}

/// One interchange, over the queries of one number of hops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReachRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// What was interchanged.
    pub interchange: Interchange,
    /// The token interchanged alone, or the first that is kept; absent where everything was interchanged.
    pub position: Option<Position>,
    /// Relations from the position to the end, that one included.
    pub from_end: usize,
    /// Queries.
    pub n: usize,
    /// Share of queries whose answer by the model changes.
    pub changed: f64,
    /// 95 % interval of `changed`.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// What the interval counts for.
    pub interval: Clustering,
    /// Share of queries whose true answer changes: 1 minus the rate at which such chains collide.
    pub truth_changed: f64,
    /// Share of right answers before and after the interchange.
    pub accuracy: f64,
    /// Share of right answers after the interchange.
    pub accuracy_after: f64,
    /// Whether this is the shortest suffix that keeps the model's answer.
    pub shortest: bool,
}

columns! {
    ReachRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("interchange"),
    Column::of("position").titled("at"),
    Column::of("from_end").titled("relations kept"),
    Column::of("n"),
    Column::of("accuracy"),
    Column::of("changed")
        .titled("answers that change (95 %)")
        .within("low", "high"),
    Column::of("truth_changed").titled("the truth"),
    Column::of("shortest").titled("shortest suffix that keeps the answer");
    measured
    quantities![
        sample n, share changed within low high, share truth_changed, share accuracy, share accuracy_after,
        of_line shortest,
    ];
    along "position", "from_end"
}

// A per-query row.
#[derive(Serialize)]
struct QueryReach {
    interchange: Interchange,
    position: Option<Position>,
    answer_after: String,
    target_after: String,
}

impl Method for Reach {
    const NAME: &'static str = "reach";
    const ABOUT: &'static str =
        "Token and suffix interchange: which tokens the answer depends on, and the shortest suffix that keeps it";
    const MISLEADS: &'static str = "What two tokens carry twice, the interchange of one does not show; and an answer can be kept by chance where few answers are possible.";
    const FORMAT: u32 = 3;
    type Row = ReachRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.sampling.resolve(Wants::Depths, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<ReachRow>) -> Result<()> {
        group.each(&self.sampling.splits, Per::Hops, out, |population, checkpoint, out| {
            let (split, hops) = (population.split, population.hops.unwrap_or_default());
            let mut stream = Stream::new(self.sampling.seed, &format!("reach queries {split}"), hops as u64);
            let sample = population.sample(&mut stream, self.sampling.queries);
            let interchanges = self.interchanges(&sample, &group.data.graph);
            let is_whole = |query: &usize| interchanges.iter().all(|of| of.queries[*query].is_some());
            let whole: Vec<usize> = (0..sample.queries.len()).filter(is_whole).collect();
            expect_interchangeable(&sample, &interchanges, &whole, out)?;
            self.rows(
                checkpoint,
                &sample.at(whole.iter().copied()),
                &at(interchanges, &whole),
                out,
            )
        })
    }

    // What another head does, and the suffix that keeps the answer.
    fn shown(report: &Report<Self>) -> Vec<&ReachRow> {
        let is_of_head = |row: &ReachRow| row.interchange == Interchange::One && row.position == Some(Position::Head);
        let is_shown = |row: &&ReachRow| row.shortest || is_of_head(row);
        report.rows.iter().filter(is_shown).collect()
    }

    // A token that is interchanged alone is one in the embedding.
    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        let alone = report.rows.iter().filter(|row| row.interchange == Interchange::One);
        let score = |row: &ReachRow| {
            let position = row.position?;
            let token = match position.index(row.hops) {
                0 => Target::Head,
                place => Target::Relation(place),
            };
            Some(SiteScore {
                claim: Claim::Used,
                targets: vec![token],
                hops: row.hops,
                point: Point::Embed,
                position,
                place: Place::EMBEDDING,
                head: None,
                score: row.changed,
                is_called: row.low > report.settings.tolerance,
            })
        };
        alone.filter_map(score).collect()
    }

    // The shortest suffix that keeps the answer; the whole query where none does.
    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let wholes = report
            .rows
            .iter()
            .filter(|row| row.interchange == Interchange::One && row.position == Some(Position::Head));
        let check = |whole: &ReachRow| {
            let mut of_split = report
                .rows
                .iter()
                .filter(|row| (&row.split, row.hops) == (&whole.split, whole.hops));
            let kept = of_split
                .find(|row| row.shortest)
                .map_or(whole.from_end, |row| row.from_end);
            Some(Check {
                what: format!(
                    "{}, {} hops: tokens of the shortest suffix that keeps the answer",
                    whole.split, whole.hops
                ),
                expected: design.suffix(whole.hops)? as f64,
                found: kept as f64,
            })
        };
        wholes.filter_map(check).collect()
    }
}

// The queries after an interchange, with their true answers, as they are found or all of them.
struct Interchanged<Q> {
    interchange: Interchange,
    position: usize,
    queries: Vec<Q>,
}

// The tokens of a query, with its true answer.
type Answered = (Vec<u32>, u32);

// Notes the queries that are not among the `whole` ones, which have every interchange.
fn expect_interchangeable<R>(
    population: &Population,
    interchanges: &[Interchanged<Option<Answered>>],
    whole: &[usize],
    out: &mut Output<R>,
) -> Result<()> {
    let (split, hops) = (population.split, population.hops.unwrap_or_default());
    let lacking = interchanges.iter().find(|of| of.queries.iter().any(Option::is_none));
    let Some(lacking) = lacking else {
        return Ok(());
    };
    let position = Position::of_index(lacking.position);
    if whole.is_empty() {
        return Err(Error::input(format!(
            "split {split}: the graph has no other chain of {hops} hops that differs at {position} alone"
        )));
    }
    out.notes.push(format!(
        "split {split}: {} queries of {hops} hops left out, the graph has no other chain that differs from them at {position} \
         alone or at another position",
        population.queries.len() - whole.len()
    ));
    Ok(())
}

// The interchanges of these queries.
fn at(interchanges: Vec<Interchanged<Option<Answered>>>, places: &[usize]) -> Vec<Interchanged<Answered>> {
    let of = |of: Interchanged<Option<Answered>>| Interchanged {
        interchange: of.interchange,
        position: of.position,
        queries: places.iter().filter_map(|&place| of.queries[place].clone()).collect(),
    };
    interchanges.into_iter().map(of).collect()
}

impl Reach {
    fn interchanges(&self, population: &Population, graph: &Graph) -> Vec<Interchanged<Option<Answered>>> {
        let (split, hops) = (population.split, population.hops.unwrap_or_default());
        let one = (0..=hops).map(|position| (Interchange::One, position));
        let before = (1..=hops + 1).map(|position| (Interchange::Before, position));
        let all = one.chain(before).map(|(interchange, position)| {
            let purpose = format!("reach {split} {hops} {interchange:?}");
            let mut stream = Stream::new(self.sampling.seed, &purpose, position as u64);
            let interchanged = population.queries.iter().map(|query| {
                let places = match interchange {
                    Interchange::One => position..position + 1,
                    Interchange::Before => 0..position,
                };
                another(query, places, graph, &mut stream)
            });
            Interchanged {
                interchange,
                position,
                queries: interchanged.collect(),
            }
        });
        all.collect()
    }

    fn rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        population: &Population,
        interchanges: &[Interchanged<Answered>],
        out: &mut Output<ReachRow>,
    ) -> Result<()> {
        let (queries, hops) = (&population.queries, population.hops.unwrap_or_default());
        let iterations = self.sampling.iterations(checkpoint);
        let model = &checkpoint.model;
        let clean = answers(model, queries.iter().map(|query| &*query.tokens), iterations)?;
        let all = |is: &dyn Fn(usize) -> bool| -> Vec<bool> { (0..queries.len()).map(is).collect() };
        let accuracy = share(&all(&|i| clean[i] == queries[i].target));
        // The tokens that are put in are drawn for each query by itself: what queries share is their own facts.
        let clusters = population.clusters();
        let first = out.rows.len();
        for interchanged in interchanges {
            let now = &interchanged.queries;
            let after = answers(model, now.iter().map(|(tokens, _)| tokens.as_slice()), iterations)?;
            let changed = all(&|i| after[i] != clean[i]);
            let (low, high) = clusters.share(&changed);
            let is_there = interchanged.position <= hops;
            let position = is_there.then(|| Position::of_index(interchanged.position));
            if out.wants_queries() {
                let tokens = checkpoint.data.vocab.tokens();
                for (i, &answer) in clean.iter().enumerate() {
                    let values = QueryReach {
                        interchange: interchanged.interchange,
                        position,
                        answer_after: tokens[after[i] as usize].clone(),
                        target_after: tokens[now[i].1 as usize].clone(),
                    };
                    out.query_row(checkpoint, &Asked::of(population, i, answer), &values)?;
                }
            }
            out.rows.push(ReachRow {
                origin: checkpoint.info.origin.clone(),
                split: population.split.clone(),
                hops,
                interchange: interchanged.interchange,
                position,
                from_end: hops + 1 - interchanged.position,
                n: queries.len(),
                changed: share(&changed),
                low,
                high,
                interval: clusters.clustering(),
                truth_changed: share(&all(&|i| now[i].1 != queries[i].target)),
                accuracy,
                accuracy_after: share(&all(&|i| after[i] == now[i].1)),
                shortest: false,
            });
        }
        let keeps = |row: &&mut ReachRow| row.interchange == Interchange::Before && row.changed <= self.tolerance;
        if let Some(row) = out.rows[first..]
            .iter_mut()
            .filter(keeps)
            .min_by_key(|row| row.from_end)
        {
            row.shortest = true;
        }
        Ok(())
    }
}

// The query with other tokens at all of `places`, drawn until the graph has such a chain, and its answer.
fn another(
    query: &Query,
    places: std::ops::Range<usize>,
    graph: &Graph,
    stream: &mut Stream,
) -> Option<(Vec<u32>, u32)> {
    // Facts have every head and relation there is.
    const DRAWS: usize = 10_000;
    let facts = graph.facts();
    for _ in 0..DRAWS {
        let mut tokens = query.tokens.to_vec();
        for place in places.clone() {
            let (head, relation) = facts[stream.below(facts.len())];
            tokens[place] = if place == 0 { head } else { relation };
        }
        let differs = places.clone().all(|place| tokens[place] != query.tokens[place]);
        if !differs && places.len() == 1 {
            continue;
        }
        // Of many tokens some may stay by chance; the first must not.
        if places
            .clone()
            .next()
            .is_some_and(|place| tokens[place] == query.tokens[place])
        {
            continue;
        }
        if let Some(&answer) = graph
            .walk(tokens[0], &tokens[1..])
            .ok()
            .as_deref()
            .and_then(<[u32]>::last)
        {
            return Some((tokens, answer));
        }
    }
    None
}

#[cfg(test)]
mod tests;
