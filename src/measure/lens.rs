//! The logit lens (Kohli et al. 2026, Figure 4): what the final layer norm and the output matrix read off the residual
//! stream after every effective layer.

use serde::{Deserialize, Serialize};

use super::largest::Largest;
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{Clustering, Clusters, Resamples, mean, share};
use super::{BATCH, by_hops, effective_layer, queries_of, rows_of};
use crate::error::Result;
use crate::graph::{Dataset, Position, Query};
use crate::model::{Hooks, Pass, Point, Sharing, Site, log_softmax};
use crate::train::rank;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lens {
    pub splits: Vec<String>,
    /// Inference iterations; `None` for each model's own.
    pub iterations: Option<usize>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Which entity is looked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `bridge` or `target`; `bridge1`, `bridge2`, … on longer chains.
    pub label: String,
    /// The position it is read at.
    pub position: Position,
    // The entity after so many hops.
    hop: usize,
}

impl Reading {
    /// The readings of a chain of so many hops: every entity at the relation that leads to it, then every bridge at all
    /// later positions; at the last it is decodable but invisible to the lens in the published models. Where the answer is
    /// read at a position of its own (`reads_apart`), every entity there too, the target first.
    pub fn of_chain(hops: usize, reads_apart: bool) -> Vec<Self> {
        let label = |hop: usize| match (hop == hops, hops) {
            (true, _) => "target".to_owned(),
            (false, 2) => "bridge".to_owned(),
            (false, _) => format!("bridge{hop}"),
        };
        let at_own = (1..=hops).map(|hop| (hop, Position::Relation(hop)));
        let later = (1..hops).flat_map(|hop| (hop + 1..=hops).map(move |n| (hop, Position::Relation(n))));
        let at_readout = (1..=hops).rev().map(|hop| (hop, Position::Readout));
        at_own
            .chain(later)
            .chain(at_readout.filter(|_| reads_apart))
            .map(|(hop, position)| Self {
                label: label(hop),
                position,
                hop,
            })
            .collect()
    }
}

/// What the lens reads at one effective layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LensRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub split: String,
    pub hops: usize,
    /// The entity looked for.
    pub label: String,
    /// Where it is read.
    pub position: Position,
    /// 0 is the embedding.
    pub effective_layer: usize,
    /// From 1; 0 at the embedding, as the layer.
    pub iteration: usize,
    pub layer: usize,
    /// Queries.
    pub n: usize,
    /// Share of queries whose entity is the most likely token.
    pub top1: f64,
    /// 95 % interval of `top1`.
    pub low: f64,
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

impl Method for Lens {
    const NAME: &'static str = "lens";
    const FORMAT: u32 = 2;
    type Row = LensRow;

    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, LensRow>) -> Result<()> {
        for split in &self.splits {
            for (hops, of_length) in by_hops(queries_of(data, split, &mut report.notes)?) {
                let known: Vec<&Query> = of_length
                    .iter()
                    .copied()
                    .filter(|query| (1..=hops).all(|hop| query.entity_after(hop).is_some()))
                    .collect();
                let left_out = of_length.len() - known.len();
                if left_out > 0 {
                    report.notes.push(format!(
                        "split {split}: {left_out} rows of {hops} hops left out, their bridge is not known"
                    ));
                }
                if known.is_empty() {
                    continue;
                }
                let resamples = Resamples::new(Clusters::of_queries(known.iter().copied()), self.seed);
                let chains = Chains {
                    split,
                    hops,
                    queries: &known,
                    resamples: &resamples,
                };
                for specimen in specimens {
                    self.read(specimen, &chains, &mut report.rows)?;
                }
            }
        }
        Ok(())
    }
}

// The chains of a split with so many hops.
struct Chains<'a> {
    split: &'a str,
    hops: usize,
    queries: &'a [&'a Query],
    resamples: &'a Resamples,
}

impl Lens {
    fn read(&self, specimen: &Specimen, chains: &Chains, out: &mut Vec<LensRow>) -> Result<()> {
        let &Chains { hops, queries, .. } = chains;
        let model = &specimen.model;
        let layers = specimen.info.layers;
        let iterations = self.iterations.unwrap_or(specimen.info.iterations);
        let readings = Reading::of_chain(hops, model.config().reads_apart(hops));
        let mut positions: Vec<Position> = readings.iter().map(|reading| reading.position).collect();
        positions.sort_unstable();
        positions.dedup();
        let mut sites = vec![Site::embed()];
        sites.extend(Site::all(Point::ResidPost, iterations, layers));
        // [site][reading] → (reciprocal rank, probability) of every query
        let mut seen = vec![vec![Vec::with_capacity(queries.len()); readings.len()]; sites.len()];
        for chunk in queries.chunks(BATCH) {
            let rows = model.pack(chunk.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
            let at = |&position: &Position| (0..chunk.len()).map(move |query| (query, position));
            let wanted = positions.iter().flat_map(at);
            let wanted: Vec<u32> = wanted.map(|(query, position)| rows.row_at(query, position)).collect();
            let record = |hooks: Hooks, &site: &Site| hooks.record_rows(site, wanted.clone());
            let mut pass = Pass {
                hooks: sites.iter().fold(Hooks::none(), record),
                ..Pass::default()
            };
            model.forward(&rows, iterations, &mut pass)?;
            for (site, seen) in sites.iter().zip(&mut seen) {
                let logits = model.unembed(&pass.hooks.recorded(*site)?)?;
                let (log_p, logits) = (rows_of(&log_softmax(&logits)?)?, rows_of(&logits)?);
                for (reading, seen) in readings.iter().zip(seen) {
                    // The readings' own positions are among them.
                    let place = positions.iter().position(|position| *position == reading.position);
                    let first = place.unwrap_or_default() * chunk.len();
                    for (row, query) in (first..).zip(chunk) {
                        // Queries without the entity were left out above.
                        if let Some(entity) = query.entity_after(reading.hop) {
                            let rank = rank(&logits[row], entity)?;
                            seen.push((1.0 / rank as f64, f64::from(log_p[row][entity as usize]).exp()));
                        }
                    }
                }
            }
        }
        // [reading][site]
        let first_at = |reading: usize, site: &Vec<Vec<(f64, f64)>>| -> Vec<bool> {
            site[reading].iter().map(|&(reciprocal, _)| reciprocal == 1.0).collect()
        };
        let lines = (0..readings.len()).map(|reading| {
            let line: Vec<Vec<bool>> = seen.iter().map(|site| first_at(reading, site)).collect();
            Largest::of_shares(&line, chains.resamples)
        });
        let largest: Vec<Vec<Largest>> = lines.collect();
        for (place, (site, seen)) in sites.iter().zip(&seen).enumerate() {
            for (reading_place, (reading, of_reading)) in readings.iter().zip(seen).enumerate() {
                let first = first_at(reading_place, seen);
                let (low, high) = chains.resamples.share(&first);
                let embedding = site.point() == Point::Embed;
                out.push(LensRow {
                    origin: specimen.info.origin.clone(),
                    split: chains.split.to_owned(),
                    hops,
                    label: reading.label.clone(),
                    position: reading.position,
                    effective_layer: if embedding {
                        0
                    } else {
                        effective_layer(site.iteration(), site.layer(), layers)
                    },
                    iteration: if embedding { 0 } else { site.iteration() + 1 },
                    layer: if embedding { 0 } else { site.layer() + 1 },
                    n: first.len(),
                    top1: share(&first),
                    low,
                    high,
                    interval: chains.resamples.clustering(),
                    largest: largest[reading_place][place],
                    mrr: mean(of_reading.iter().map(|&(reciprocal, _)| reciprocal)),
                    probability: mean(of_reading.iter().map(|&(_, p)| p)),
                });
            }
        }
        Ok(())
    }
}
