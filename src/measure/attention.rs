//! Attention patterns: what every head attends to, by iteration and layer, from each position of a query.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::sampling::Sampling;
use super::splits::Wants;
use super::statistics::{Clustering, mean};
use super::{BATCH, rows_of};
use crate::error::Result;
use crate::graph::{Position, Split};
use crate::model::{Hooks, Pass, Point, Rows, Sharing, Site};
use crate::random::Stream;

/// Whose attention to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Attention {
    /// Which queries; a single one has its own patterns, without intervals.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: Sampling,
}

/// The attention that one head pays from one position to another, a mean over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// The head, from 1.
    pub attention_head: usize,
    /// The position that attends: that of the attention query.
    pub position: Position,
    /// The position that is attended to: that of the key.
    pub key_position: Position,
    /// Queries.
    pub n: usize,
    /// Mean attention probability; those of all keys add up to 1.
    pub attention: f64,
    /// 95 % interval of `attention`; absent where no two queries differ in their facts.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// What the interval counts for.
    pub interval: Clustering,
}

columns! {
    AttentionRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("attention_head").titled("head"),
    Column::of("position"),
    Column::of("key_position").titled("attends most to"),
    Column::of("n"),
    Column::of("attention").titled("attention (95 %)").within("low", "high");
    measured
    quantities![sample n, share attention within low high]
}

// A per-query row.
#[derive(Serialize)]
struct QueryAttention {
    #[serde(flatten)]
    place: Place,
    attention_head: usize,
    position: Position,
    key_position: Position,
    attention: f64,
}

impl Method for Attention {
    const NAME: &'static str = "attention";
    const ABOUT: &'static str = "Attention patterns: what every head attends to, at every iteration";
    const MISLEADS: &'static str = "What a head attends to is not what it moves, and what it moves need not be used: a pattern shows a route, and patching whether anything goes there. A mean over queries can be the pattern of none of them.";
    const FORMAT: u32 = 1;
    type Row = AttentionRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.sampling.resolve(Wants::OneDepth, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<AttentionRow>) -> Result<()> {
        group.each(&self.sampling.splits, Per::Hops, out, |population, checkpoint, out| {
            let purpose = format!("attention queries {}", population.split);
            let sample = population.sample(&mut Stream::new(self.sampling.seed, &purpose, 0), self.sampling.queries);
            patterns(checkpoint, &sample, self.sampling.iterations(checkpoint), out)
        })
    }

    // What each head attends to most, from each position that has a choice.
    fn shown(report: &Report<Self>) -> Vec<&AttentionRow> {
        let is_of_pattern = |a: &&AttentionRow, b: &&AttentionRow| {
            let of = |row: &AttentionRow| (row.hops, row.place, row.attention_head, row.position);
            of(a) == of(b) && a.origin == b.origin && a.split == b.split
        };
        let rows: Vec<&AttentionRow> = report.rows.iter().collect();
        let patterns = rows.chunk_by(is_of_pattern).filter(|keys| keys.len() > 1);
        patterns
            .filter_map(|keys| {
                let most = |a: &&&AttentionRow, b: &&&AttentionRow| a.attention.total_cmp(&b.attention);
                keys.iter().rev().max_by(most).copied()
            })
            .collect()
    }
}

fn patterns(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    iterations: usize,
    out: &mut Output<AttentionRow>,
) -> Result<()> {
    let (model, layers) = (&checkpoint.model, checkpoint.info.layers);
    let sites = Site::all(Point::AttnPattern, iterations, layers);
    let hops = population.hops.unwrap_or_default();
    let positions = Position::of_chain(hops, model.config().reads_apart(hops));
    // [site][query][head][position][key]
    let mut found: Vec<Vec<QueryPatterns>> = vec![Vec::new(); sites.len()];
    for chunk in population.queries.chunks(BATCH) {
        let rows = model.pack(chunk.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
        let mut pass = Pass {
            hooks: sites.iter().copied().fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        model.forward(&rows, iterations, &mut pass)?;
        for (&site, found) in sites.iter().zip(&mut found) {
            found.extend(patterns_of(&rows, chunk.len(), &pass.hooks.recorded(site)?)?);
        }
    }
    let answers = out.answers(checkpoint, population, iterations)?;
    for (&site, found) in sites.iter().zip(&found) {
        let place = Place::of(site, layers);
        for attention_head in 1..=model.config().heads {
            for (i, &position) in positions.iter().enumerate() {
                // No position attends to a readout `<pad>`, itself included.
                for (j, &key_position) in positions[..=i.min(hops)].iter().enumerate() {
                    let values: Vec<f64> = found.iter().map(|query| query[attention_head - 1][i][j]).collect();
                    for (query, (&answer, &attention)) in answers.iter().zip(&values).enumerate() {
                        let row = QueryAttention {
                            place,
                            attention_head,
                            position,
                            key_position,
                            attention,
                        };
                        out.query_row(checkpoint, &Asked::of(population, query, answer), &row)?;
                    }
                    let interval = population.resamples().mean(&values);
                    out.rows.push(AttentionRow {
                        origin: checkpoint.info.origin.clone(),
                        split: population.split.clone(),
                        hops,
                        place,
                        attention_head,
                        position,
                        key_position,
                        n: values.len(),
                        attention: mean(values.iter().copied()),
                        low: interval.map(|(low, _)| low),
                        high: interval.map(|(_, high)| high),
                        interval: population.resamples().clustering(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// The attention probabilities of one query at one layer over each position itself and those before it: `[head][position][ancestor]`.
pub(super) type QueryPatterns = Vec<Vec<Vec<f64>>>;

/// Those of each of the first `queries` queries of `rows`, from a recorded pattern.
pub(super) fn patterns_of(rows: &Rows, queries: usize, recorded: &Tensor) -> Result<Vec<QueryPatterns>> {
    let (count, heads, width) = recorded.dims3()?;
    let flat = rows_of(&recorded.reshape((count, heads * width))?)?;
    let of_row = |row: u32, head: usize| -> Vec<f64> {
        let ancestors = rows.ancestors(row as usize).len();
        let pattern = &flat[row as usize][head * width..head * width + ancestors];
        pattern.iter().map(|&p| f64::from(p)).collect()
    };
    let of_head = |query: usize, head: usize| rows.of_query(query).iter().map(|&row| of_row(row, head)).collect();
    Ok((0..queries)
        .map(|query| (0..heads).map(|head| of_head(query, head)).collect())
        .collect())
}
