//! How far beyond its curriculum a model answers when it may think longer (Kohli et al. 2026, Section 6, Figure 19).

use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::eval::{self, EvalRow};
use super::iterations::{BEYOND_TRAINING, Iterations};
use super::judged::{Check, Design, Setting, designed_accuracy};
use super::method::{Method, Report};
use super::output::Output;
use super::population::{Group, Per};
use super::quantity::{Quantity, quantities};
use super::row::Row;
use super::statistics::Clustering;
use super::unit_interval;
use crate::error::{Error, Result};
use crate::graph::Split;

/// How to measure it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Extrapolate {
    /// Inference iterations: 1 to this
    #[arg(long, value_parser = Iterations::parse_max, default_value = BEYOND_TRAINING)]
    pub iterations: Iterations,
    /// Least accuracy at which a depth counts as answered (0.6 in the paper)
    #[arg(long, default_value_t = 0.6, value_parser = unit_interval)]
    pub accuracy: f64,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// One checkpoint of a curriculum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtrapolateRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// Layers of the recurrent block.
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
    /// The lower end of the interval of `best`.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// Queries of the extrapolated depth.
    pub n: Option<usize>,
    /// The number of iterations at which `best` is reached.
    pub best_iterations: Option<usize>,
    /// The largest accuracy over iterations one hop further, with the interval of that maximum; absent where the data has
    /// no such chains.
    pub next: Option<f64>,
    /// The lower end of the interval of `next`.
    pub next_low: Option<f64>,
    /// The upper end of that interval.
    pub next_high: Option<f64>,
    /// What the intervals count for; absent where there are none.
    pub interval: Option<Clustering>,
    /// The split that the interval is over.
    pub split: Option<Split>,
}

impl ExtrapolateRow {
    /// The largest accuracy at the extrapolated depth in words, where there is one.
    pub fn max_there(&self) -> Option<String> {
        let (best, low, high, n) = (self.best?, self.low?, self.high?, self.n?);
        Some(format!("{best:.3} ({low:.3}–{high:.3}, n = {n})"))
    }
}

impl Row for ExtrapolateRow {
    const COLUMNS: &'static [Column] = &[
        Column::of("step").titled("updates"),
        Column::of("layers").titled("L"),
        Column::of("iterations").titled("R"),
        Column::of("learned"),
        Column::of("extrapolated").titled("answered"),
        Column::of("ratio").decimals(2),
        Column::of("best")
            .titled("max over R there (95 %)")
            .within("low", "high"),
        Column::of("n"),
        Column::of("best_iterations").titled("at R"),
        Column::of("next")
            .titled("one hop more, max (95 %)")
            .within("next_low", "next_high"),
    ];

    const QUANTITIES: &'static [&'static [Quantity]] = &[quantities![
        of learned, of extrapolated, of ratio, share best within low high, sample n, of best_iterations,
        share next within next_low next_high, of split,
    ]];

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn clustering(&self) -> Option<(&Split, Clustering)> {
        Some((self.split.as_ref()?, self.interval?))
    }
}

impl Method for Extrapolate {
    const NAME: &'static str = "extrapolate";
    const ABOUT: &'static str = "How far beyond its curriculum a model answers with more iterations";
    const MISLEADS: &'static str =
        "A depth counts as answered at the number of iterations that suits it best, which is not known beforehand.";
    const FORMAT: u32 = 3;
    type Row = ExtrapolateRow;

    fn seed(&self) -> u64 {
        self.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    fn measure(&self, group: &Group, out: &mut Output<ExtrapolateRow>) -> Result<()> {
        let depths = group.data.depths();
        if depths.is_empty() {
            return Err(Error::input(format!(
                "the data has no held-out chains by depth; it needs splits such as {}",
                Split::depth_test(2)
            )));
        }
        let splits: Vec<Split> = depths.iter().map(|&hops| Split::depth_test(hops)).collect();
        let mut populations = Vec::new();
        for split in &splits {
            populations.extend(group.populations(split, Per::Split, &mut out.notes)?);
        }
        out.expect(group.checkpoints.len() * populations.len());
        for checkpoint in &group.checkpoints {
            let Some(learned) = checkpoint.info.learned_hops else {
                out.notes
                    .push(format!("{}: left out, it is of no curriculum", checkpoint.info.name()));
                out.parts_done(populations.len());
                continue;
            };
            let iterations = self.iterations.list(checkpoint.info.iterations);
            let mut rows = Vec::new();
            for population in &populations {
                let answers = eval::answers_after(checkpoint, &population.queries, &iterations)?;
                eval::query_rows(checkpoint, population, &iterations, &answers, out)?;
                rows.extend(eval::rows(checkpoint, population, &iterations, &answers));
                out.parts_done(1);
            }
            out.rows.push(self.row(checkpoint, learned, &depths, &rows));
        }
        if out.rows.is_empty() {
            return Err(Error::input(
                "none of these checkpoints is of a curriculum; train with a [curriculum] section",
            ));
        }
        Ok(())
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self {
            iterations: Iterations::up_to(setting.beyond()),
            ..Self::defaults()?
        }])
    }

    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let check = |row: &ExtrapolateRow| {
            Some(Check {
                what: "the most hops that are answered".to_owned(),
                expected: designed_depth(&report.settings, design)? as f64,
                found: row.extrapolated as f64,
            })
        };
        report.rows.iter().filter_map(check).collect()
    }
}

// The most hops that are to be answered at some number of iterations, each depth up to them included.
fn designed_depth(settings: &Extrapolate, design: &dyn Design) -> Option<usize> {
    let mut depth = 1;
    loop {
        let split = Split::depth_test(depth + 1);
        if design.queries(&split, None).is_empty() {
            return Some(depth);
        }
        let accuracies = settings.iterations.list(1).into_iter();
        let accuracies: Option<Vec<f64>> = accuracies
            .map(|iterations| designed_accuracy(design, &split, None, iterations))
            .collect();
        if accuracies?.into_iter().fold(0.0, f64::max) < settings.accuracy {
            return Some(depth);
        }
        depth += 1;
    }
}

impl Extrapolate {
    fn row(&self, checkpoint: &LoadedCheckpoint, learned: usize, hops: &[usize], rows: &[EvalRow]) -> ExtrapolateRow {
        // The fewest iterations of equals.
        let best = |hops: usize| {
            rows.iter()
                .find(|row| row.split.depth() == Some(hops) && row.largest.is_max)
        };
        let reached: Vec<&EvalRow> = hops
            .iter()
            .map_while(|&hops| best(hops).filter(|row| row.accuracy >= self.accuracy))
            .collect();
        let extrapolated = reached.len().checked_sub(1).map_or(1, |last| hops[last]);
        let at = reached.last();
        let next = hops.get(reached.len()).and_then(|&hops| best(hops));
        ExtrapolateRow {
            origin: checkpoint.info.origin.clone(),
            layers: checkpoint.info.layers,
            iterations: checkpoint.info.iterations,
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
            split: at.copied().or(next).map(|row| row.split.clone()),
        }
    }
}
