//! The logit margin by iteration (Kohli et al. 2026, Figure 8): how far the target is ahead, and when it first is.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::largest::{Fall, Largest};
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{Clustering, Clusters, Resamples, mean};
use super::{BATCH, by_hops, queries_of, rows_of};
use crate::error::Result;
use crate::graph::{Dataset, Query};
use crate::model::{Hooks, Pass, Point, Sharing, Site};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Margin {
    pub splits: Vec<String>,
    /// Inference iterations.
    pub most: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// One iteration on one split at one number of hops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarginRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub split: String,
    pub hops: usize,
    /// From 1.
    pub iteration: usize,
    /// Queries.
    pub n: usize,
    /// Mean of the target's logit minus the best other.
    pub margin: f64,
    /// 95 % interval of `margin`; absent where no two queries differ in their facts.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What the intervals count for.
    pub interval: Clustering,
    /// Of `margin` over iterations.
    #[serde(flatten)]
    pub largest: Largest,
    #[serde(flatten)]
    pub fall: Fall,
    /// Share of queries whose margin is above 0 here.
    pub ahead: f64,
    /// Share of queries whose margin is above 0 here for the first time.
    pub first: f64,
}

impl Method for Margin {
    const NAME: &'static str = "margin";
    const FORMAT: u32 = 2;
    type Row = MarginRow;

    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, MarginRow>) -> Result<()> {
        for specimen in specimens {
            for split in &self.splits {
                for (hops, of_length) in by_hops(queries_of(data, split, &mut report.notes)?) {
                    let margins = margins(specimen, &of_length, self.most)?;
                    let resamples = Resamples::new(Clusters::of_queries(of_length), self.seed);
                    report
                        .rows
                        .extend(self.rows(specimen, split, hops, &margins, &resamples));
                }
            }
        }
        Ok(())
    }
}

impl Margin {
    // From the margins of every query by iteration.
    fn rows(
        &self,
        specimen: &Specimen,
        split: &str,
        hops: usize,
        margins: &[Vec<f64>],
        resamples: &Resamples,
    ) -> Vec<MarginRow> {
        let n = margins.len();
        let firsts: Vec<Option<usize>> = margins
            .iter()
            .map(|of_query| of_query.iter().position(|&m| m > 0.0))
            .collect();
        let share = |is: &dyn Fn(usize) -> bool| mean((0..n).map(|query| f64::from(u8::from(is(query)))));
        let at = |i: usize| margins.iter().map(|of_query| of_query[i]).collect();
        let line: Vec<Vec<f64>> = (0..self.most).map(at).collect();
        let largest = Largest::of_means(&line, resamples);
        let falls = Fall::of_means(&line, resamples);
        let row = |i: usize| {
            let at = &line[i];
            let interval = resamples.mean(at);
            MarginRow {
                origin: specimen.info.origin.clone(),
                split: split.to_owned(),
                hops,
                iteration: i + 1,
                n,
                margin: mean(at.iter().copied()),
                low: interval.map(|(low, _)| low),
                high: interval.map(|(_, high)| high),
                interval: resamples.clustering(),
                largest: largest[i],
                fall: falls[i],
                ahead: share(&|query| at[query] > 0.0),
                first: share(&|query| firsts[query] == Some(i)),
            }
        };
        (0..self.most).map(row).collect()
    }
}

// [query][iteration], all read off one pass.
fn margins(specimen: &Specimen, queries: &[&Query], most: usize) -> Result<Vec<Vec<f64>>> {
    let sites = Site::all(Point::Logits, most, 1);
    let mut margins = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(BATCH) {
        let rows = specimen
            .model
            .pack(chunk.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
        let mut pass = Pass {
            hooks: sites.iter().copied().fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        specimen.model.forward(&rows, most, &mut pass)?;
        let mut of_chunk = vec![Vec::with_capacity(most); chunk.len()];
        for &site in &sites {
            let logits: Tensor = pass.hooks.recorded(site)?;
            for ((logits, query), of_query) in rows_of(&logits)?.iter().zip(chunk).zip(&mut of_chunk) {
                of_query.push(margin(logits, query.target as usize));
            }
        }
        margins.extend(of_chunk);
    }
    Ok(margins)
}

fn margin(logits: &[f32], target: usize) -> f64 {
    let others = logits.iter().enumerate().filter(|(token, _)| *token != target);
    let best = others.map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max);
    f64::from(logits[target]) - f64::from(best)
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn the_margin_is_the_lead_over_the_best_other() {
        assert_eq!(margin(&[1.0, 4.0, 2.5], 1), 1.5);
        assert_eq!(margin(&[1.0, 4.0, 2.5], 0), -3.0);
    }
}
