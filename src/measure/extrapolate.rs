//! How far beyond its curriculum a model answers when it may think longer (Kohli et al. 2026, Section 6, Figure 19).

use serde::{Deserialize, Serialize};

use super::eval::{Eval, EvalRow};
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::Clustering;
use crate::error::{Error, Result};
use crate::graph::{Dataset, hop_test, hops_of_split};

/// How to measure it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extrapolate {
    /// Inference iterations that are tried: 1 to this.
    pub most: usize,
    /// Least accuracy at which a depth counts as reached (0.6 in the paper).
    pub accuracy: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// One checkpoint of a curriculum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtrapolateRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub layers: usize,
    /// Iterations at which training was judged.
    pub iterations: usize,
    /// The most hops that the curriculum had passed.
    pub learned: usize,
    /// The most hops such that every depth up to it is answered with the least accuracy at some number of iterations.
    pub extrapolated: usize,
    /// extrapolated / learned.
    pub ratio: f64,
    /// The largest accuracy over iterations at the extrapolated depth, with the 95 % interval of that maximum (its
    /// selection included), queries, and iterations; absent where not even the shallowest chains are answered.
    pub best: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub n: Option<usize>,
    pub best_iterations: Option<usize>,
    /// The largest accuracy over iterations one hop further, with the interval of that maximum; absent where the data has
    /// no such chains.
    pub next: Option<f64>,
    pub next_low: Option<f64>,
    pub next_high: Option<f64>,
    /// What the intervals count for; absent where there are none.
    pub interval: Option<Clustering>,
}

impl ExtrapolateRow {
    /// The largest accuracy at the extrapolated depth in words, where there is one.
    pub fn max_there(&self) -> Option<String> {
        let (best, low, high, n) = (self.best?, self.low?, self.high?, self.n?);
        Some(format!("{best:.3} ({low:.3}–{high:.3}, n = {n})"))
    }
}

impl Method for Extrapolate {
    const NAME: &'static str = "extrapolate";
    const FORMAT: u32 = 2;
    type Row = ExtrapolateRow;

    fn measure(
        &self,
        specimens: &[&Specimen],
        data: &Dataset,
        report: &mut Report<Self, ExtrapolateRow>,
    ) -> Result<()> {
        let mut hops: Vec<usize> = data.split_names().filter_map(hops_of_split).collect();
        hops.sort_unstable();
        if hops.is_empty() {
            return Err(Error::input(format!(
                "the data has no held-out chains by depth; it needs splits such as {}",
                hop_test(2)
            )));
        }
        let eval = Eval {
            splits: hops.iter().map(|&hops| hop_test(hops)).collect(),
            iterations: (1..=self.most).collect(),
            seed: self.seed,
        };
        for specimen in specimens {
            let Some(learned) = specimen.info.learned_hops else {
                report
                    .notes
                    .push(format!("{}: left out, it is of no curriculum", specimen.info.name()));
                continue;
            };
            let rows = eval.rows(specimen, data, &mut report.notes)?;
            report.rows.push(self.row(specimen, learned, &hops, &rows));
        }
        if report.rows.is_empty() {
            return Err(Error::input(
                "none of these checkpoints is of a curriculum; train with a [curriculum] section",
            ));
        }
        Ok(())
    }
}

impl Extrapolate {
    fn row(&self, specimen: &Specimen, learned: usize, hops: &[usize], rows: &[EvalRow]) -> ExtrapolateRow {
        // The fewest iterations of equals.
        let best = |hops: usize| {
            rows.iter()
                .find(|row| row.split == hop_test(hops) && row.largest.is_max)
        };
        let reached: Vec<&EvalRow> = hops
            .iter()
            .map_while(|&hops| best(hops).filter(|row| row.accuracy >= self.accuracy))
            .collect();
        let extrapolated = reached.len().checked_sub(1).map_or(1, |last| hops[last]);
        let at = reached.last();
        let next = hops.get(reached.len()).and_then(|&hops| best(hops));
        ExtrapolateRow {
            origin: specimen.info.origin.clone(),
            layers: specimen.info.layers,
            iterations: specimen.info.iterations,
            learned,
            extrapolated,
            ratio: extrapolated as f64 / learned as f64,
            best: at.map(|row| row.accuracy),
            low: at.and_then(|row| row.largest.max_low),
            high: at.and_then(|row| row.largest.max_high),
            n: at.map(|row| row.n),
            best_iterations: at.map(|row| row.iterations),
            next: next.map(|row| row.accuracy),
            next_low: next.and_then(|row| row.largest.max_low),
            next_high: next.and_then(|row| row.largest.max_high),
            interval: at.copied().or(next).map(|row| row.interval),
        }
    }
}
