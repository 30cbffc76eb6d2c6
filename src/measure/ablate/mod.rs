//! Ablation: what is lost when a head, an MLP or a whole iteration does not do its work.
//!
//! The output of a head or an MLP is replaced by zeros, by its mean over the queries at that position, or by what it was for another
//! query (resampled, as in causal scrubbing; Chan et al. 2022): at one iteration, or at every iteration, each of which has a
//! replacement of its own. The mean and the other query's outputs are those of runs without ablation.
//!
//! A whole iteration is *skipped* or *repeated* at a position: the state at its end becomes that at its start, or that of the run one
//! iteration later. The other positions go on as they do, and read this position's state from then on. At all positions at once, a
//! skipped iteration is a run of one iteration less, a repeated one a run of one more, whichever it is, since the block is always the
//! same: one row says it for all. With input injection, of which there is none before the first iteration, skipping that is another
//! thing than skipping a later one, and each has a row.

mod sweep;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::sweep::{Outcome, Sweep};
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::columns_of;
use super::judged::{Claim, Setting, SiteScore};
use super::largest::large_rows;
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::sampling::Sampling;
use super::splits::Wants;
use super::statistics::{Clustering, differences, mean, share};
use crate::error::{Error, Result};
use crate::graph::{Position, Split, Target};
use crate::model::{Point, Site};
use crate::random::Stream;

/// What to ablate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Ablate {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: Sampling,
    /// What takes the place of the output of a head or an MLP
    #[arg(long, value_enum, default_value = "mean")]
    pub replacement: Replacement,
    /// Ablate at each of these positions by itself, separated by commas [default: at all positions at once]
    #[arg(long = "position", value_delimiter = ',', value_name = "POSITION")]
    pub positions: Vec<Position>,
}

/// What takes the place of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Replacement {
    /// Zeros.
    Zero,
    /// Its mean over the queries, at the same position.
    Mean,
    /// The same output for another query, drawn at random.
    Resample,
}

impl Replacement {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Mean => "mean",
            Self::Resample => "resample",
        }
    }
}

/// What is ablated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ablated {
    /// A head of attention.
    Head,
    /// An MLP.
    Mlp,
    /// A whole iteration, which is skipped: the state at its end is that at its start.
    SkippedIteration,
    /// A whole iteration, which is repeated: the state at its end is that of the run one iteration later. At all positions at once that
    /// is the block run once more; at one position alone, that position is ahead of the others by one iteration.
    RepeatedIteration,
}

/// What is ablated, and where. Iterations, layers and heads count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AblatedAt {
    /// What.
    pub ablated: Ablated,
    /// Which attention head, where it is one.
    pub attention_head: Option<usize>,
    /// The layer inside the block; absent where it is a whole iteration.
    pub layer: Option<usize>,
    /// The iteration; absent where it is every iteration of a head or an MLP, or one whole iteration, whichever it is.
    pub iteration: Option<usize>,
    /// (iteration − 1) × layers + layer, of a whole iteration that of its last layer; absent as the iteration.
    pub effective_layer: Option<usize>,
    /// The position; absent where it is at all positions at once.
    pub position: Option<Position>,
}

/// What one ablation does to the answers of a population; all intervals are of 95 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblateRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// What is ablated.
    #[serde(flatten)]
    pub at: AblatedAt,
    /// Queries.
    pub n: usize,
    /// Accuracy without ablation.
    pub base_accuracy: f64,
    /// The lower end of the interval of `base_accuracy`.
    pub base_accuracy_low: f64,
    /// The upper end of that interval.
    pub base_accuracy_high: f64,
    /// Accuracy with it.
    pub accuracy: f64,
    /// The lower end of the interval of `accuracy`.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// Accuracy lost: `base_accuracy` minus `accuracy`.
    pub lost: f64,
    /// The lower end of the interval of that paired difference; absent where no two queries differ in their facts.
    pub lost_low: Option<f64>,
    /// The upper end of that interval.
    pub lost_high: Option<f64>,
    /// Mean drop of the log-probability of the target, in nats.
    pub drop: f64,
    /// The lower end of the interval of `drop`; absent as that of `lost`.
    pub drop_low: Option<f64>,
    /// The upper end of that interval.
    pub drop_high: Option<f64>,
    /// What the intervals count for.
    pub interval: Clustering,
}

columns! {
    AblateRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("ablated"),
    Column::of("attention_head").titled("head"),
    Column::of("iteration"),
    Column::of("layer"),
    Column::of("position"),
    Column::of("n"),
    Column::of("base_accuracy")
        .titled("base accuracy (95 %)")
        .within("base_accuracy_low", "base_accuracy_high"),
    Column::of("accuracy").titled("ablated (95 %)").within("low", "high"),
    Column::of("lost").titled("lost (95 %)").within("lost_low", "lost_high"),
    Column::of("drop").titled("log-prob. drop (95 %)").within("drop_low", "drop_high");
    measured
    quantities![
        sample n, share base_accuracy within base_accuracy_low base_accuracy_high, share accuracy within low high,
        of lost within lost_low lost_high, of drop within drop_low drop_high,
    ]
}

// A per-query row.
#[derive(Serialize)]
struct QueryAblate {
    #[serde(flatten)]
    at: AblatedAt,
    ablated_answer: String,
    ablated_right: bool,
    drop: f64,
}

impl Method for Ablate {
    const NAME: &'static str = "ablate";
    const ABOUT: &'static str = "Ablation: accuracy without a head or an MLP, or with an iteration skipped or repeated";
    const MISLEADS: &'static str = "Without a head the others may step in, so that what matters looks idle; and an output of another query is not what the model would compute without the head.";
    const FORMAT: u32 = 2;
    type Row = AblateRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.sampling.resolve(Wants::OneDepth, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<AblateRow>) -> Result<()> {
        group.each(&self.sampling.splits, Per::Hops, out, |population, checkpoint, out| {
            let mut stream = Stream::new(self.sampling.seed, &format!("ablate queries {}", population.split), 0);
            let sample = population.sample(&mut stream, self.sampling.queries);
            if self.replacement == Replacement::Resample && sample.queries.len() < 2 {
                return Err(Error::input(format!(
                    "split {}: there is 1 query of its hops, and no other to resample from; allowed: --replacement zero or mean",
                    sample.split
                )));
            }
            let iterations = self.sampling.iterations(checkpoint);
            let places = self.places(checkpoint, &sample)?;
            let sweep = Sweep::of(checkpoint, &places, out.budget(iterations));
            let partners = partners(sample.queries.len(), &mut stream);
            let (base, ablated) = sweep.run(&sample, self.replacement, &partners)?;
            for (at, ablated) in sweep.ablations().zip(&ablated) {
                write_queries(checkpoint, &sample, at, &base, ablated, out)?;
                out.rows.push(row(checkpoint, &sample, at, &base, ablated));
            }
            Ok(())
        })
    }

    // What costs a fiftieth of the accuracy or more, or adds as much; else what changes it most.
    fn shown(report: &Report<Self>) -> Vec<&AblateRow> {
        large_rows(&report.rows, 0.02, |row| row.lost.abs())
    }

    // Another query's output in the place of each head and MLP at each position of the shortest chains.
    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        let mut settings = Self::defaults()?;
        settings.replacement = Replacement::Resample;
        let hops = setting.hops.first().copied().unwrap_or_default();
        settings.positions = Position::of_chain(hops, setting.reads_apart);
        settings.sampling.splits = vec![Split::depth_test(hops)];
        Ok(vec![settings])
    }

    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        // Of the accuracy lost, what small weights pass on of everything.
        const FELT: f64 = 0.1;
        let score = |row: &AblateRow| {
            let at = &row.at;
            let point = match at.ablated {
                Ablated::Head => Point::Z,
                Ablated::Mlp => Point::MlpOut,
                Ablated::SkippedIteration | Ablated::RepeatedIteration => return None,
            };
            let layers = report.checkpoint_of(row)?.layers;
            let site = Site::new(point, at.iteration? - 1, at.layer? - 1);
            Some(SiteScore {
                claim: Claim::Used,
                targets: Target::all(row.hops),
                hops: row.hops,
                point,
                position: at.position?,
                place: Place::of(site, layers),
                head: at.attention_head,
                score: row.lost,
                is_called: row.lost_low.is_some_and(|low| low > FELT),
            })
        };
        report.rows.iter().filter_map(score).collect()
    }
}

impl Ablate {
    // The positions that are ablated by themselves, each with its column; without any, all columns at once.
    fn places(
        &self,
        checkpoint: &LoadedCheckpoint,
        population: &Population,
    ) -> Result<Vec<(Option<Position>, Vec<usize>)>> {
        let hops = population.hops.unwrap_or_default();
        let there = Position::of_chain(hops, checkpoint.model.config().reads_apart(hops));
        if self.positions.is_empty() {
            return Ok(vec![(None, (0..there.len()).collect())]);
        }
        let columns = columns_of(&self.positions, &there, population.split)?;
        let by_itself = |column| (Some(there[column]), vec![column]);
        Ok(columns.into_iter().map(by_itself).collect())
    }
}

// For each of `n` queries another one.
fn partners(n: usize, stream: &mut Stream) -> Vec<usize> {
    let other = |query| (query + 1 + stream.below(n - 1)) % n;
    if n < 2 { vec![0; n] } else { (0..n).map(other).collect() }
}

fn row(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    at: AblatedAt,
    base: &Outcome,
    ablated: &Outcome,
) -> AblateRow {
    let resamples = population.resamples();
    let (base_accuracy_low, base_accuracy_high) = resamples.share(&base.right);
    let (low, high) = resamples.share(&ablated.right);
    let lost = resamples.max_difference(&[ablated.right.clone(), base.right.clone()], 0, 1..2);
    let drops = differences(&base.log_probability, &ablated.log_probability);
    let drop = resamples.mean(&drops);
    AblateRow {
        origin: checkpoint.info.origin.clone(),
        split: population.split.clone(),
        hops: population.hops.unwrap_or_default(),
        at,
        n: ablated.right.len(),
        base_accuracy: share(&base.right),
        base_accuracy_low,
        base_accuracy_high,
        accuracy: share(&ablated.right),
        low,
        high,
        lost: share(&base.right) - share(&ablated.right),
        lost_low: lost.map(|lost| lost.low),
        lost_high: lost.map(|lost| lost.high),
        drop: mean(drops),
        drop_low: drop.map(|(low, _)| low),
        drop_high: drop.map(|(_, high)| high),
        interval: resamples.clustering(),
    }
}

fn write_queries(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    at: AblatedAt,
    base: &Outcome,
    ablated: &Outcome,
    out: &mut Output<AblateRow>,
) -> Result<()> {
    if !out.wants_queries() {
        return Ok(());
    }
    for (query, &answer) in base.answers.iter().enumerate() {
        let values = QueryAblate {
            at,
            ablated_answer: checkpoint.data.vocab.tokens()[ablated.answers[query] as usize].clone(),
            ablated_right: ablated.right[query],
            drop: base.log_probability[query] - ablated.log_probability[query],
        };
        out.query_row(checkpoint, &Asked::of(population, query, answer), &values)?;
    }
    Ok(())
}
