//! Activation patching on the recurrent block (Kohli et al. 2026, Appendix E): corrupt a query, restore the clean state
//! at one (iteration, layer, position), and see how much of the answer returns.

mod pairs;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::pairs::Pair;
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{Clustering, Clusters, Resamples, differences, mean};
use super::{BATCH, effective_layer, rows_of};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Position};
use crate::model::{Hooks, Model, Pass, Point, Rows, Sharing, Site};

pub use pairs::Corrupt;

/// What to patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    pub splits: Vec<String>,
    pub corrupt: Corrupt,
    /// The hook point whose clean state is restored.
    pub hook: Point,
    /// Pairs a split, at most.
    pub pairs: usize,
    /// Only pairs that the model answers right, clean and corrupt.
    pub correct_only: bool,
    /// Inference iterations; `None` for each model's own.
    pub iterations: Option<usize>,
    /// Seed of the pairs and of the bootstrap.
    pub seed: u64,
}

/// The effect of one restored state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub split: String,
    pub corrupt: Corrupt,
    /// The hook point, or `none` where nothing was restored.
    pub hook: String,
    /// `all` in the self-checks.
    pub position: String,
    pub effective_layer: usize,
    /// From 1, as the layer; 0 at the embedding.
    pub iteration: usize,
    pub layer: usize,
    /// Pairs.
    pub n: usize,
    /// (patched − corrupt) / (clean − corrupt) of the mean logit difference between the clean and the corrupt answer;
    /// absent where the gap is not above 0 (its 95 % interval does not lie above 0, or cannot be told).
    pub recovery: Option<f64>,
    /// 95 % interval of `recovery`.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What the interval counts for, of the clean queries.
    pub interval: Clustering,
    /// Share of pairs whose most likely token becomes the clean answer and was not before.
    pub flips: f64,
    /// Mean logit-difference gap between the clean and the corrupt run.
    pub gap: f64,
    /// Accuracy on the clean and on the corrupt queries, unpatched.
    pub clean_accuracy: f64,
    pub corrupt_accuracy: f64,
}

// One run's outcome for each pair.
struct Outcome {
    difference: Vec<f64>,
    top1: Vec<u32>,
}

impl Method for Patch {
    const NAME: &'static str = "patch";
    const FORMAT: u32 = 2;
    type Row = PatchRow;

    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, PatchRow>) -> Result<()> {
        if !(self.hook.in_block() || self.hook == Point::Embed) {
            return Err(Error::input(format!(
                "hook {}; allowed: embed and the points of a layer",
                self.hook.name()
            )));
        }
        for split in &self.splits {
            let (pairs, notes) = pairs::pairs(split, data, self.corrupt, self.pairs, self.seed)?;
            report.notes.extend(notes);
            for specimen in specimens {
                let kept = if self.correct_only {
                    self.answered_right(specimen, &pairs)?
                } else {
                    pairs.clone()
                };
                if kept.is_empty() {
                    report.notes.push(format!(
                        "{}, split {split}: no pair is answered right clean and corrupt; nothing to patch",
                        specimen.info.name()
                    ));
                    continue;
                }
                let (rows, note) = self.patch(specimen, split, &kept)?;
                report.rows.extend(rows);
                report.notes.extend(note);
            }
        }
        Ok(())
    }
}

impl Patch {
    fn iterations(&self, specimen: &Specimen) -> usize {
        self.iterations.unwrap_or(specimen.info.iterations)
    }

    fn answered_right(&self, specimen: &Specimen, pairs: &[Pair]) -> Result<Vec<Pair>> {
        let mut kept = Vec::new();
        for chunk in pairs.chunks(BATCH) {
            let right = |corrupt: bool| -> Result<Vec<bool>> {
                let outcome = self.plain(specimen, chunk, corrupt)?;
                let answers = chunk.iter().map(|pair| {
                    if corrupt {
                        pair.corrupt_answer
                    } else {
                        pair.clean.target
                    }
                });
                Ok(outcome
                    .top1
                    .iter()
                    .zip(answers)
                    .map(|(&top1, answer)| top1 == answer)
                    .collect())
            };
            let (clean, corrupt) = (right(false)?, right(true)?);
            let both = chunk
                .iter()
                .zip(clean.iter().zip(&corrupt))
                .filter(|(_, (a, b))| **a && **b);
            kept.extend(both.map(|(pair, _)| pair.clone()));
        }
        Ok(kept)
    }

    fn plain(&self, specimen: &Specimen, pairs: &[Pair], corrupt: bool) -> Result<Outcome> {
        let rows = pack(&specimen.model, pairs, corrupt)?;
        run(&specimen.model, &rows, self.iterations(specimen), pairs, Hooks::none())
    }

    // The rows, and a note where recovery is not defined.
    fn patch(&self, specimen: &Specimen, split: &str, pairs: &[Pair]) -> Result<(Vec<PatchRow>, Option<String>)> {
        let model = &specimen.model;
        let iterations = self.iterations(specimen);
        let hops = pairs[0].clean.hops();
        let positions = Position::of_chain(hops, model.config().reads_apart(hops));
        let sites = Site::all(self.hook, iterations, specimen.info.layers);
        // The self-checks first: the whole embedding, then nothing.
        let mut cells: Vec<(Option<Site>, Option<Position>)> = vec![(Some(Site::embed()), None), (None, None)];
        cells.extend(
            sites
                .iter()
                .flat_map(|&site| positions.iter().map(move |&position| (Some(site), Some(position)))),
        );

        let mut clean = Outcome::empty();
        let mut corrupt = Outcome::empty();
        let mut patched: Vec<Outcome> = cells.iter().map(|_| Outcome::empty()).collect();
        for chunk in pairs.chunks(BATCH) {
            let clean_rows = pack(model, chunk, false)?;
            let corrupt_rows = pack(model, chunk, true)?;
            let all = sites.iter().copied().chain([Site::embed()]);
            let mut pass = Pass {
                hooks: all.fold(Hooks::none(), Hooks::record),
                ..Pass::default()
            };
            let logits = model.forward(&clean_rows, iterations, &mut pass)?;
            clean.extend(outcome(&logits, chunk)?);
            corrupt.extend(run(model, &corrupt_rows, iterations, chunk, Hooks::none())?);
            let restore = |&(site, position): &(Option<Site>, Option<Position>)| -> Result<Outcome> {
                let mut hooks = Hooks::none();
                if let Some(site) = site {
                    let state = pass.hooks.recorded(site)?;
                    // Clean and corrupt queries have the same shape, so a row has the same number in both.
                    let rows: Vec<u32> = match position {
                        Some(position) => (0..chunk.len()).map(|q| corrupt_rows.row_at(q, position)).collect(),
                        None => (0..corrupt_rows.len() as u32).collect(),
                    };
                    let values = state.index_select(&Tensor::new(rows.as_slice(), state.device())?, 0)?;
                    hooks = hooks.replace(site, rows, values);
                }
                run(model, &corrupt_rows, iterations, chunk, hooks)
            };
            let outcomes: Result<Vec<Outcome>> = cells.par_iter().map(restore).collect();
            for (all, outcome) in patched.iter_mut().zip(outcomes?) {
                all.extend(outcome);
            }
        }
        Ok(self.table(specimen, split, pairs, &cells, &clean, &corrupt, &patched))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the three kinds of run and what they were made from"
    )]
    fn table(
        &self,
        specimen: &Specimen,
        split: &str,
        pairs: &[Pair],
        cells: &[(Option<Site>, Option<Position>)],
        clean: &Outcome,
        corrupt: &Outcome,
        patched: &[Outcome],
    ) -> (Vec<PatchRow>, Option<String>) {
        let n = pairs.len();
        let accuracy = |outcome: &Outcome, answer: &dyn Fn(&Pair) -> u32| {
            let right = outcome
                .top1
                .iter()
                .zip(pairs)
                .filter(|(top1, pair)| **top1 == answer(pair))
                .count();
            right as f64 / n as f64
        };
        let clean_accuracy = accuracy(clean, &|pair| pair.clean.target);
        let corrupt_accuracy = accuracy(corrupt, &|pair| pair.corrupt_answer);
        let gaps = differences(&clean.difference, &corrupt.difference);
        // Each pair draws its corrupt query by itself: what pairs share are the facts of their clean ones.
        let resamples = Resamples::new(Clusters::of_queries(pairs.iter().map(|pair| &pair.clean)), self.seed);
        let gap = mean(gaps.iter().copied());
        let interval_of_gap = resamples.mean(&gaps);
        let defined = interval_of_gap.is_some_and(|(low, _)| low > 0.0);
        let note = (!defined).then(|| {
            let interval = interval_of_gap.map_or_else(
                || format!("cannot be told of n = {n}"),
                |(low, high)| format!("{low:.3} to {high:.3}"),
            );
            format!(
                "{}, split {split}: the gap between clean and corrupt is not above 0 (95 % interval {interval}); recovery is \
                 not defined",
                specimen.info.name()
            )
        });
        let row = |(&(site, position), outcome): (&(Option<Site>, Option<Position>), &Outcome)| {
            let returned = differences(&outcome.difference, &corrupt.difference);
            let interval = if defined {
                resamples.ratio(&returned, &gaps)
            } else {
                None
            };
            let flipped = outcome.top1.iter().zip(&corrupt.top1).zip(pairs);
            let flips = flipped
                .filter(|((patched, before), pair)| **patched == pair.clean.target && **before != pair.clean.target)
                .count();
            let in_block = site.filter(|site| site.point().in_block());
            PatchRow {
                origin: specimen.info.origin.clone(),
                split: split.to_owned(),
                corrupt: self.corrupt,
                hook: site.map_or("none", |site| site.point().name()).to_owned(),
                position: position.map_or_else(|| "all".to_owned(), |position| position.to_string()),
                effective_layer: in_block.map_or(0, |site| {
                    effective_layer(site.iteration(), site.layer(), specimen.info.layers)
                }),
                iteration: in_block.map_or(0, |site| site.iteration() + 1),
                layer: in_block.map_or(0, |site| site.layer() + 1),
                n,
                recovery: defined.then(|| mean(returned) / gap),
                low: interval.map(|(low, _)| low),
                high: interval.map(|(_, high)| high),
                interval: resamples.clustering(),
                flips: flips as f64 / n as f64,
                gap,
                clean_accuracy,
                corrupt_accuracy,
            }
        };
        (cells.iter().zip(patched).map(row).collect(), note)
    }
}

impl Outcome {
    fn empty() -> Self {
        Self {
            difference: Vec::new(),
            top1: Vec::new(),
        }
    }

    fn extend(&mut self, other: Self) {
        self.difference.extend(other.difference);
        self.top1.extend(other.top1);
    }
}

fn pack(model: &Model, pairs: &[Pair], corrupt: bool) -> Result<Rows> {
    let tokens = |pair: &'_ Pair| -> Vec<u32> {
        if corrupt {
            pair.corrupt.clone()
        } else {
            pair.clean.tokens.to_vec()
        }
    };
    let queries: Vec<Vec<u32>> = pairs.iter().map(tokens).collect();
    model.pack(queries.iter().map(Vec::as_slice), Sharing::Nothing)
}

fn run(model: &Model, rows: &Rows, iterations: usize, pairs: &[Pair], hooks: Hooks) -> Result<Outcome> {
    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    outcome(&model.forward(rows, iterations, &mut pass)?, pairs)
}

fn outcome(logits: &Tensor, pairs: &[Pair]) -> Result<Outcome> {
    let logits_by_pair = rows_of(logits)?;
    let difference = logits_by_pair
        .iter()
        .zip(pairs)
        .map(|(logits, pair)| {
            f64::from(logits[pair.clean.target as usize]) - f64::from(logits[pair.corrupt_answer as usize])
        })
        .collect();
    Ok(Outcome {
        difference,
        top1: crate::train::top1(logits)?,
    })
}
