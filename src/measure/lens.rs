//! The logit lens (Kohli et al. 2026, Figure 4): what the final layer norm and the output matrix read off the residual
//! stream after every effective layer.

use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::Iterations;
use super::judged::{Claim, SiteScore};
use super::largest::Largest;
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, mean, share};
use super::{BATCH, rows_of};
use crate::error::Result;
use crate::graph::{Position, Split, Target};
use crate::model::{Hooks, Pass, Point, Sharing, Site, log_softmax};
use crate::train::rank;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Lens {
    /// Splits, separated by commas [default: train_inferred, test_inferred_iid and test_inferred_ood, or the held-out chains
    /// of every depth]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::parse_one, default_value = "trained", hide_default_value = true)]
    pub iterations: Iterations,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What the lens reads at one effective layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LensRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// The entity looked for.
    pub label: Target,
    /// Where it is read.
    pub position: Position,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// Queries.
    pub n: usize,
    /// Share of queries whose entity is the most likely token.
    pub top1: f64,
    /// 95 % interval of `top1`.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// What the intervals count for.
    pub interval: Clustering,
    /// Of `top1` over effective layers.
    #[serde(flatten)]
    pub largest: Largest,
    /// Mean reciprocal rank among all tokens.
    pub mrr: f64,
    /// Mean probability.
    pub probability: f64,
}

columns! {
    LensRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("label"),
    Column::of("position"),
    Column::of("n"),
    Column::of("top1")
        .titled("max top-1 (95 % of the max)")
        .within("max_low", "max_high"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("mrr"),
    Column::of("probability");
    measured
    quantities![sample n, share top1 within low high, share mrr, share probability],
    Largest::QUANTITIES;
    along "effective_layer", "iteration", "layer"
}

// What the lens reads of one query at one effective layer.
#[derive(Debug, Clone, Copy, Serialize)]
struct Read {
    rank: usize,
    probability: f64,
}

// A per-query row.
#[derive(Serialize)]
struct QueryRead {
    label: Target,
    position: Position,
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    read: Read,
}

/// The readings of a chain of `hops` hops, an entity and a position each: every entity at the relation that leads to it,
/// then every bridge at all later positions; at the last it is decodable but invisible to the lens in the published models.
/// Where the answer is read at a position of its own (`reads_apart`), every entity there too, the target first.
fn readings(hops: usize, reads_apart: bool) -> Vec<(Target, Position)> {
    let at_own = (1..=hops).map(|hop| (hop, Position::Relation(hop)));
    let later = (1..hops).flat_map(|hop| (hop + 1..=hops).map(move |n| (hop, Position::Relation(n))));
    let at_readout = (1..=hops).rev().map(|hop| (hop, Position::Readout));
    at_own
        .chain(later)
        .chain(at_readout.filter(|_| reads_apart))
        .map(|(hop, position)| (Target::entity(hop, hops), position))
        .collect()
}

impl Method for Lens {
    const NAME: &'static str = "lens";
    const ABOUT: &'static str = "Logit lens at every effective layer";
    const MISLEADS: &'static str = "What the lens reads need not be used, and what is used need not be readable: a decoy passes for a mechanism, and a bridge in directions that all embeddings share is missed.";
    const FORMAT: u32 = 3;
    type Row = LensRow;

    fn seed(&self) -> u64 {
        self.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.splits = Wants::Chains.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    fn measure(&self, group: &Group, out: &mut Output<LensRow>) -> Result<()> {
        group.each(&self.splits, Per::Hops, out, |population, checkpoint, out| {
            let known = known_bridges(population, out);
            self.read(known.as_ref().unwrap_or(population), checkpoint, out)
        })
    }

    // The maximum over effective layers of each line of the figure, the lines in the order in which the rows begin them.
    fn shown(report: &Report<Self>) -> Vec<&LensRow> {
        let line = |row: &LensRow| (row.origin.clone(), row.split.clone(), row.hops, row.label, row.position);
        let begins = report
            .rows
            .iter()
            .filter(|row| row.place.effective_layer == 0)
            .map(line);
        begins
            .filter_map(|begun| report.rows.iter().find(|row| row.largest.is_max && line(row) == begun))
            .collect()
    }

    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        report.rows.iter().flat_map(site_scores).collect()
    }
}

// What the lens reads is often taken for what is used.
fn site_scores(row: &LensRow) -> [SiteScore; 2] {
    // A token is on top in all queries or in few: where others than the one in question are written, they agree by chance.
    const CALLED: f64 = 0.5;
    [Claim::Visible, Claim::Used].map(|claim| SiteScore {
        claim,
        targets: vec![row.label],
        hops: row.hops,
        point: if row.place == Place::EMBEDDING {
            Point::Embed
        } else {
            Point::ResidPost
        },
        position: row.position,
        place: row.place,
        head: None,
        score: row.top1,
        is_called: row.low > CALLED,
    })
}

// The queries of a population whose bridges are all known, where some are not; how many are left out is noted.
fn known_bridges<'a>(population: &Population<'a>, out: &mut Output<LensRow>) -> Option<Population<'a>> {
    let known = population.only(|query| (1..=query.hops()).all(|hop| query.entity_after(hop).is_some()));
    let left_out = population.queries.len() - known.queries.len();
    if left_out == 0 {
        return None;
    }
    let (split, hops) = (population.split, population.hops.unwrap_or_default());
    out.notes.push(format!(
        "split {split}: {left_out} rows of {hops} hops left out, their bridge is not known"
    ));
    Some(known)
}

impl Lens {
    fn read(&self, population: &Population, checkpoint: &LoadedCheckpoint, out: &mut Output<LensRow>) -> Result<()> {
        let queries = &population.queries;
        // A population by hops that has queries has one number of them.
        let Some(hops) = population.hops else {
            return Ok(());
        };
        let model = &checkpoint.model;
        let iterations = self.iterations.max(checkpoint.info.iterations);
        let readings = readings(hops, model.config().reads_apart(hops));
        let mut sites = vec![Site::embed()];
        sites.extend(Site::all(Point::ResidPost, iterations, checkpoint.info.layers));
        // [site][reading][query]
        let mut found = vec![vec![Vec::with_capacity(queries.len()); readings.len()]; sites.len()];
        for chunk in queries.chunks(BATCH) {
            let rows = model.pack(chunk.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
            // [reading][query], flat
            let wanted = readings
                .iter()
                .flat_map(|&(_, position)| (0..chunk.len()).map(move |query| (query, position)));
            let wanted: Vec<u32> = wanted.map(|(query, position)| rows.row_at(query, position)).collect();
            let record = |hooks: Hooks, &site: &Site| hooks.record_rows(site, wanted.clone());
            let mut pass = Pass {
                hooks: sites.iter().fold(Hooks::none(), record),
                ..Pass::default()
            };
            model.forward(&rows, iterations, &mut pass)?;
            for (site, found) in sites.iter().zip(&mut found) {
                let logits = model.unembed(&pass.hooks.recorded(*site)?)?;
                let (log_p, logits) = (rows_of(&log_softmax(&logits)?)?, rows_of(&logits)?);
                for (i, (&(label, _), found)) in readings.iter().zip(found).enumerate() {
                    for (row, query) in (i * chunk.len()..).zip(chunk) {
                        // Known for every query of the population.
                        let entity = label.hop(hops).and_then(|hop| query.entity_after(hop));
                        if let Some(entity) = entity {
                            found.push(Read {
                                rank: rank(&logits[row], entity)?,
                                probability: f64::from(log_p[row][entity as usize]).exp(),
                            });
                        }
                    }
                }
            }
        }
        let answers = out.answers(checkpoint, population, iterations)?;
        let resamples = population.resamples();
        // [reading][site]
        let first = |reads: &Vec<Read>| -> Vec<bool> { reads.iter().map(|read| read.rank == 1).collect() };
        let largest: Vec<Vec<Largest>> = (0..readings.len())
            .map(|reading| {
                let line: Vec<Vec<bool>> = found.iter().map(|site| first(&site[reading])).collect();
                Largest::of_shares(&line, resamples)
            })
            .collect();
        for (i, (&site, found)) in sites.iter().zip(&found).enumerate() {
            let place = Place::of(site, checkpoint.info.layers);
            for (reading, (&(label, position), reads)) in readings.iter().zip(found).enumerate() {
                for (query, (&answer, &read)) in answers.iter().zip(reads).enumerate() {
                    let values = QueryRead {
                        label,
                        position,
                        place,
                        read,
                    };
                    out.query_row(checkpoint, &Asked::of(population, query, answer), &values)?;
                }
                let first = first(reads);
                let (low, high) = resamples.share(&first);
                out.rows.push(LensRow {
                    origin: checkpoint.info.origin.clone(),
                    split: population.split.clone(),
                    hops,
                    label,
                    position,
                    place,
                    n: first.len(),
                    top1: share(&first),
                    low,
                    high,
                    interval: resamples.clustering(),
                    largest: largest[reading][i],
                    mrr: mean(reads.iter().map(|read| 1.0 / read.rank as f64)),
                    probability: mean(reads.iter().map(|read| read.probability)),
                });
            }
        }
        Ok(())
    }
}
