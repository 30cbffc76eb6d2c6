//! Activation patching on the recurrent block (Kohli et al. 2026, Appendix E): corrupt a query, restore the clean state
//! at one (iteration, layer, position), and see how much of the answer returns.

mod pairs;
mod runs;

use serde::{Deserialize, Serialize};

use self::pairs::Pair;
use self::runs::{Outcome, outcome, plain, self_checks};
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::Iterations;
use super::method::Method;
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, differences, mean};
use super::{BATCH, positive};
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::{Cut, Point, Site};

pub use pairs::Corrupt;

/// What to patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Patch {
    /// Splits, separated by commas [default: test_inferred_iid and test_inferred_ood, or the held-out chains of every depth]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// What the corrupt query has in place of the clean one's
    #[arg(long, value_enum, default_value = "prefix")]
    pub corrupt: Corrupt,
    /// The hook point whose clean state is restored
    #[arg(long, value_enum, default_value = "resid_post")]
    pub hook: Point,
    /// Pairs a split, at most
    #[arg(long, default_value_t = 500, value_parser = positive)]
    pub pairs: usize,
    /// Only pairs that the model answers right, clean and corrupt
    #[arg(long)]
    pub correct_only: bool,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::parse_one, default_value = "trained", hide_default_value = true)]
    pub iterations: Iterations,
    /// Seed of the pairs and the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How much of a hook point is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// The state at one position.
    One,
    /// Those at all positions.
    All,
    /// None.
    Nothing,
}

/// The effect of one restored state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// What the corrupt query has in place of the clean one's.
    pub corrupt: Corrupt,
    /// How much is restored: one state, or, in the self-checks, all or nothing.
    pub restored: Extent,
    /// The hook point; absent in the self-check that restores nothing.
    pub hook: Option<Point>,
    /// Absent in the self-checks, which restore all positions or none.
    pub position: Option<Position>,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// Pairs.
    pub n: usize,
    /// (patched − corrupt) / (clean − corrupt) of the mean logit difference between the clean and the corrupt answer;
    /// absent where the gap is not above 0 (its 95 % interval does not lie above 0, or cannot be told).
    pub recovery: Option<f64>,
    /// 95 % interval of `recovery`.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// What the interval counts for, of the clean queries.
    pub interval: Clustering,
    /// Share of pairs whose most likely token becomes the clean answer and was not before.
    pub flips: f64,
    /// Mean logit-difference gap between the clean and the corrupt run.
    pub gap: f64,
    /// Accuracy on the clean and on the corrupt queries, unpatched.
    pub clean_accuracy: f64,
    /// Accuracy on the corrupt queries, unpatched.
    pub corrupt_accuracy: f64,
}

columns! {
    PatchRow:
    Column::of("split"),
    Column::of("restored"),
    Column::of("hook"),
    Column::of("position"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips"),
    Column::of("gap").decimals(2),
    Column::of("clean_accuracy").titled("clean"),
    Column::of("corrupt_accuracy").titled("corrupt"),
}

// A per-pair row.
#[derive(Serialize)]
struct PairRow {
    corrupt_query: String,
    corrupt_answer: String,
    hook: Option<Point>,
    position: Option<Position>,
    #[serde(flatten)]
    place: Place,
    clean_difference: f64,
    corrupt_difference: f64,
    patched_difference: f64,
    patched_answer: String,
}

// What is restored: nothing, a whole site, or a site at one position.
type Restored = (Option<Site>, Option<Position>);

// Every run of a set of pairs.
struct Runs {
    clean: Outcome,
    corrupt: Outcome,
    restored: Vec<Restored>,
    // One for each of `restored`.
    patched: Vec<Outcome>,
}

impl Method for Patch {
    const NAME: &'static str = "patch";
    const ABOUT: &'static str = "Activation patching on the recurrent block";
    const FORMAT: u32 = 3;
    type Row = PatchRow;

    fn seed(&self) -> u64 {
        self.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.check()?;
        self.splits = Wants::HeldOutChains.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    fn measure(&self, group: &Group, out: &mut Output<PatchRow>) -> Result<()> {
        group.each(&self.splits, Per::Split, out, |population, checkpoint, out| {
            let (pairs, notes) = pairs::pairs(population, group.data, self.corrupt, self.pairs, self.seed)?;
            out.notes.extend(notes);
            let kept = if self.correct_only {
                self.answered_right(checkpoint, pairs)?
            } else {
                pairs
            };
            if kept.is_empty() {
                out.notes.push(format!(
                    "{}, split {}: no pair is answered right clean and corrupt; nothing to patch",
                    checkpoint.info.name(),
                    population.split
                ));
                return Ok(());
            }
            let clean = population.at(kept.iter().map(|pair| pair.place));
            let runs = self.run_all(checkpoint, &kept)?;
            if out.wants_queries() {
                pair_rows(checkpoint, &clean, &kept, &runs, out)?;
            }
            self.rows(checkpoint, &clean, &kept, &runs, out);
            Ok(())
        })
    }
}

// A per-pair row for each run with something restored.
fn pair_rows(
    checkpoint: &LoadedCheckpoint,
    clean: &Population,
    pairs: &[Pair],
    runs: &Runs,
    out: &mut Output<PatchRow>,
) -> Result<()> {
    let tokens = checkpoint.data.vocab.tokens();
    let name = |&id: &u32| tokens[id as usize].as_str();
    for (&(site, position), patched) in runs.restored.iter().zip(&runs.patched) {
        for (i, pair) in pairs.iter().enumerate() {
            let values = PairRow {
                corrupt_query: pair.corrupt.iter().map(name).collect(),
                corrupt_answer: name(&pair.corrupt_answer).to_owned(),
                hook: site.map(Site::point),
                position,
                place: site.map_or(Place::EMBEDDING, |site| Place::of(site, checkpoint.info.layers)),
                clean_difference: runs.clean.difference[i],
                corrupt_difference: runs.corrupt.difference[i],
                patched_difference: patched.difference[i],
                patched_answer: name(&patched.top1[i]).to_owned(),
            };
            out.query_row(checkpoint, &Asked::of(clean, i, runs.clean.top1[i]), &values)?;
        }
    }
    Ok(())
}

impl Patch {
    /// Refuses a hook point that no state can be restored at.
    pub(crate) fn check(&self) -> Result<()> {
        if self.hook.in_block() || self.hook == Point::Embed {
            return Ok(());
        }
        Err(Error::input(format!(
            "hook {}; allowed: embed and the points of a layer",
            self.hook.name()
        )))
    }

    fn iterations(&self, checkpoint: &LoadedCheckpoint) -> usize {
        self.iterations.max(checkpoint.info.iterations)
    }

    fn answered_right(&self, checkpoint: &LoadedCheckpoint, pairs: Vec<Pair>) -> Result<Vec<Pair>> {
        let mut right = Vec::with_capacity(pairs.len());
        for chunk in pairs.chunks(BATCH) {
            let clean = plain(&checkpoint.model, chunk, false, self.iterations(checkpoint))?.top1;
            let corrupt = plain(&checkpoint.model, chunk, true, self.iterations(checkpoint))?.top1;
            for (pair, (clean, corrupt)) in chunk.iter().zip(clean.into_iter().zip(corrupt)) {
                right.push(clean == pair.clean.target && corrupt == pair.corrupt_answer);
            }
        }
        let all = pairs.into_iter().zip(right);
        Ok(all.filter(|(_, right)| *right).map(|(pair, _)| pair).collect())
    }

    // The clean and the corrupt run, and a run for each site and position with the clean state restored there.
    fn run_all(&self, checkpoint: &LoadedCheckpoint, pairs: &[Pair]) -> Result<Runs> {
        let model = &checkpoint.model;
        let iterations = self.iterations(checkpoint);
        let hops = pairs[0].clean.hops();
        let positions = Position::of_chain(hops, model.config().reads_apart(hops));
        let sites = Site::all(self.hook, iterations, checkpoint.info.layers);
        let at_site = |&site: &Site| (0..positions.len()).map(move |column| Cut { site, column });
        let cuts: Vec<Cut> = sites.iter().flat_map(at_site).collect();
        // The self-checks first: the whole embedding, then nothing.
        let mut restored: Vec<Restored> = vec![(Some(Site::embed()), None), (None, None)];
        restored.extend(cuts.iter().map(|cut| (Some(cut.site), Some(positions[cut.column]))));
        let mut runs = Runs {
            clean: Outcome::default(),
            corrupt: Outcome::default(),
            patched: restored.iter().map(|_| Outcome::default()).collect(),
            restored,
        };
        for chunk in pairs.chunks(BATCH) {
            let tokens: Vec<[&[u32]; 2]> = chunk.iter().map(|pair| [&*pair.clean.tokens, &*pair.corrupt]).collect();
            let found = model.interchange(&tokens, &cuts, iterations)?;
            runs.clean.extend(outcome(&found.source, chunk)?);
            runs.corrupt.extend(outcome(&found.base, chunk)?);
            let checks = self_checks(model, chunk, iterations)?;
            for (all, logits) in runs.patched.iter_mut().zip(checks.iter().chain(&found.patched)) {
                all.extend(outcome(logits, chunk)?);
            }
        }
        Ok(runs)
    }

    // A row for each run; that recovery is not defined is noted. `clean`: the clean queries of the pairs, which draw their
    // corrupt ones each by itself: what pairs share are the facts of their clean queries.
    fn rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        clean: &Population,
        pairs: &[Pair],
        runs: &Runs,
        out: &mut Output<PatchRow>,
    ) {
        let n = pairs.len();
        let accuracy = |outcome: &Outcome, answer: &dyn Fn(&Pair) -> u32| {
            let answers = outcome.top1.iter().zip(pairs);
            answers.filter(|(top1, pair)| **top1 == answer(pair)).count() as f64 / n as f64
        };
        let clean_accuracy = accuracy(&runs.clean, &|pair| pair.clean.target);
        let corrupt_accuracy = accuracy(&runs.corrupt, &|pair| pair.corrupt_answer);
        let gaps = differences(&runs.clean.difference, &runs.corrupt.difference);
        let resamples = clean.resamples();
        let gap = mean(gaps.iter().copied());
        let interval_of_gap = resamples.mean(&gaps);
        let defined = interval_of_gap.is_some_and(|(low, _)| low > 0.0);
        if !defined {
            let interval = interval_of_gap.map_or_else(
                || format!("cannot be told of n = {n}"),
                |(low, high)| format!("{low:.3} to {high:.3}"),
            );
            out.notes.push(format!(
                "{}, split {}: the gap between clean and corrupt is not above 0 (95 % interval {interval}); recovery is \
                 not defined",
                checkpoint.info.name(),
                clean.split
            ));
        }
        let row = |(&(site, position), outcome): (&Restored, &Outcome)| {
            let returned = differences(&outcome.difference, &runs.corrupt.difference);
            let interval = defined.then(|| resamples.ratio(&returned, &gaps)).flatten();
            let flipped = outcome.top1.iter().zip(&runs.corrupt.top1).zip(pairs);
            let flips = flipped
                .filter(|((patched, before), pair)| **patched == pair.clean.target && **before != pair.clean.target)
                .count();
            PatchRow {
                origin: checkpoint.info.origin.clone(),
                split: clean.split.clone(),
                corrupt: self.corrupt,
                restored: match (site, position) {
                    (None, _) => Extent::Nothing,
                    (Some(_), None) => Extent::All,
                    (Some(_), Some(_)) => Extent::One,
                },
                hook: site.map(Site::point),
                position,
                place: site.map_or(Place::EMBEDDING, |site| Place::of(site, checkpoint.info.layers)),
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
        out.rows.extend(runs.restored.iter().zip(&runs.patched).map(row));
    }
}
