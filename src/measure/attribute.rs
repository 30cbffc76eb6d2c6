//! Direct logit attribution: what every component (the embedding, each head, each MLP, at every iteration and layer) adds to a
//! logit through the final layer norm (Elhage et al. 2021; Wang et al. 2022, 2211.00593).
//!
//! The residual stream at the readout is the sum of what the components wrote, and the final layer norm is linear at the
//! scale that it had: the parts add up to the logit. A part that a later component reads and passes on counts for that one:
//! attribution is of direct effects alone.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::component::{Component, ComponentAt};
use super::judged::{Claim, SiteScore};
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
use crate::graph::{Position, Query, Split, Target};
use crate::model::{DirectLogits, Hooks, Pass, Point, Sharing, Site};
use crate::random::Stream;
use crate::train::top1;

/// What to attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Attribute {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: Sampling,
}

/// Whose logit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogitOf {
    /// An entity of the chain.
    Entity,
    /// The most likely token but the target.
    BestOther,
    /// The target's logit minus that of the best other token.
    LogitDifference,
}

/// A logit, or a difference of logits, that contributions add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logit {
    /// Which logit, or difference of logits.
    pub logit_of: LogitOf,
    /// Which entity, where it is one.
    pub label: Option<Target>,
}

/// What one component adds to one logit, a mean over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// The logit that is contributed to.
    #[serde(flatten)]
    pub of: Logit,
    /// The component.
    #[serde(flatten)]
    pub component: ComponentAt,
    /// Queries.
    pub n: usize,
    /// Mean contribution to the logit.
    pub contribution: f64,
    /// 95 % interval of `contribution`; absent where no two queries differ in their facts.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// What the interval counts for.
    pub interval: Clustering,
    /// Mean logit, which the contributions of all components add up to.
    pub logit: f64,
    /// The largest difference of any query between its logit and the sum of contributions.
    pub sum_error: f64,
}

columns! {
    AttributeRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("logit_of").titled("logit of"),
    Column::of("label"),
    Column::of("component"),
    Column::of("attention_head").titled("head"),
    Column::of("iteration"),
    Column::of("layer"),
    Column::of("n"),
    Column::of("contribution")
        .titled("contribution (95 %)")
        .within("low", "high"),
    Column::of("logit").titled("sum of all");
    measured
    quantities![sample n, of contribution within low high, of logit, of sum_error]
}

// A per-query row.
#[derive(Serialize)]
struct QueryAttribute {
    #[serde(flatten)]
    of: Logit,
    #[serde(flatten)]
    component: ComponentAt,
    contribution: f64,
    logit: f64,
}

impl Method for Attribute {
    const NAME: &'static str = "attribute";
    const ABOUT: &'static str = "Direct logit attribution: what every head and MLP adds to a logit, at every iteration";
    const MISLEADS: &'static str = "Direct attribution counts what is written, not what later layers do with it: what one head writes another may take away again.";
    const FORMAT: u32 = 1;
    type Row = AttributeRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.sampling.resolve(Wants::OneDepth, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<AttributeRow>) -> Result<()> {
        group.each(&self.sampling.splits, Per::Hops, out, |population, checkpoint, out| {
            let purpose = format!("attribute queries {}", population.split);
            let sample = population.sample(&mut Stream::new(self.sampling.seed, &purpose, 0), self.sampling.queries);
            let iterations = self.sampling.iterations(checkpoint);
            let found = Attribution::of(checkpoint, &sample, iterations)?;
            for of in 0..found.of.len() {
                found.write(of, checkpoint, &sample, out)?;
            }
            Ok(())
        })
    }

    // The components that add a hundredth of the logit difference or more, either way.
    fn shown(report: &Report<Self>) -> Vec<&AttributeRow> {
        let is_difference = |row: &&AttributeRow| row.of.logit_of == LogitOf::LogitDifference;
        let is_large = |row: &&AttributeRow| row.contribution.abs() >= 0.01 * row.logit.abs();
        report.rows.iter().filter(is_difference).filter(is_large).collect()
    }

    // What writes the answer: what adds a tenth or more to its lead over the best other token, where it has one. A logit alone
    // says less: what adds the same to those of all entities adds nothing to the answer.
    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        const CALLED: f64 = 0.1;
        let of_lead = report
            .rows
            .iter()
            .filter(|row| row.of.logit_of == LogitOf::LogitDifference);
        let score = |row: &AttributeRow| {
            Some(SiteScore {
                claim: Claim::Visible,
                targets: vec![Target::Answer],
                hops: row.hops,
                point: row.component.component.point()?,
                position: Position::Readout,
                place: row.component.place,
                head: row.component.attention_head,
                score: row.contribution,
                is_called: row.logit > 0.0 && row.low.is_some_and(|low| low > CALLED * row.logit),
            })
        };
        of_lead.filter_map(score).collect()
    }
}

// The logits of the target, of every bridge that all queries know, of the best other token, and their difference.
fn logits_of(population: &Population) -> Vec<Logit> {
    let hops = population.hops.unwrap_or_default();
    let is_known = |hop: &usize| {
        population
            .queries
            .iter()
            .all(|query| query.entity_after(*hop).is_some())
    };
    let entities = std::iter::once(hops).chain((1..hops).rev().filter(is_known));
    let of_entity = |hop| Logit {
        logit_of: LogitOf::Entity,
        label: Some(Target::entity(hop, hops)),
    };
    let others = [LogitOf::BestOther, LogitOf::LogitDifference].map(|logit_of| Logit { logit_of, label: None });
    entities.map(of_entity).chain(others).collect()
}

impl Logit {
    // The tokens whose logits are meant, each with its sign.
    fn tokens(self, query: &Query, logits: &[f32]) -> Vec<(u32, f64)> {
        let others = logits.iter().zip(0_u32..).filter(|(_, token)| *token != query.target);
        let best_other = others.max_by(|a, b| a.0.total_cmp(b.0)).map(|(_, token)| token);
        let hop = self.label.and_then(|label| label.hop(query.hops()));
        let entity = hop.and_then(|hop| query.entity_after(hop));
        let target = Some((query.target, 1.0));
        match self.logit_of {
            LogitOf::Entity => entity.map(|id| (id, 1.0)).into_iter().collect(),
            LogitOf::BestOther => best_other.map(|id| (id, 1.0)).into_iter().collect(),
            LogitOf::LogitDifference => target.into_iter().chain(best_other.map(|id| (id, -1.0))).collect(),
        }
    }
}

// What the components add to the logits of a population.
struct Attribution {
    of: Vec<Logit>,
    // In the order in which they write.
    components: Vec<ComponentAt>,
    answers: Vec<u32>,
    logits: Vec<Vec<f64>>,             // [of][query]
    contributions: Vec<Vec<Vec<f64>>>, // [of][component][query]
}

impl Attribution {
    fn of(checkpoint: &LoadedCheckpoint, population: &Population, iterations: usize) -> Result<Self> {
        let model = &checkpoint.model;
        let components = components(checkpoint, iterations);
        let of = logits_of(population);
        let mut found = Self {
            answers: Vec::new(),
            logits: vec![Vec::new(); of.len()],
            contributions: vec![vec![Vec::new(); components.len()]; of.len()],
            of,
            components,
        };
        let direct = model.direct_logits()?;
        for chunk in population.queries.chunks(BATCH) {
            let written = written(checkpoint, chunk, iterations)?;
            found.answers.extend(top1(&written.logits)?);
            let logits = rows_of(&written.logits)?;
            for (query, (asked, logits)) in chunk.iter().zip(&logits).enumerate() {
                let scale = DirectLogits::scale(&written.states[query]);
                for (i, of) in found.of.iter().enumerate() {
                    let tokens = of.tokens(asked, logits);
                    let sum = |x: &dyn Fn(u32) -> f64| tokens.iter().map(|&(id, sign)| sign * x(id)).sum::<f64>();
                    found.logits[i].push(sum(&|id| f64::from(logits[id as usize])));
                    // The last component is the bias of the final norm, which the stream does not hold.
                    for (part, values) in written.parts[query].iter().zip(&mut found.contributions[i]) {
                        values.push(sum(&|id| direct.of(part, scale, id)));
                    }
                    if let Some(values) = found.contributions[i].last_mut() {
                        values.push(sum(&|id| direct.bias(id)));
                    }
                }
            }
        }
        Ok(found)
    }

    // The rows of one of the logits.
    fn write(
        &self,
        of: usize,
        checkpoint: &LoadedCheckpoint,
        population: &Population,
        out: &mut Output<AttributeRow>,
    ) -> Result<()> {
        let (logits, contributions) = (&self.logits[of], &self.contributions[of]);
        let sum = |query: usize| contributions.iter().map(|values| values[query]).sum::<f64>();
        let differences = logits
            .iter()
            .enumerate()
            .map(|(query, logit)| (sum(query) - logit).abs());
        let sum_error = differences.fold(0.0, f64::max);
        let resamples = population.resamples();
        for (&component, values) in self.components.iter().zip(contributions) {
            for (query, &contribution) in values.iter().enumerate() {
                let row = QueryAttribute {
                    of: self.of[of],
                    component,
                    contribution,
                    logit: logits[query],
                };
                out.query_row(checkpoint, &Asked::of(population, query, self.answers[query]), &row)?;
            }
            let interval = resamples.mean(values);
            out.rows.push(AttributeRow {
                origin: checkpoint.info.origin.clone(),
                split: population.split.clone(),
                hops: population.hops.unwrap_or_default(),
                of: self.of[of],
                component,
                n: values.len(),
                contribution: mean(values.iter().copied()),
                low: interval.map(|(low, _)| low),
                high: interval.map(|(_, high)| high),
                interval: resamples.clustering(),
                logit: mean(logits.iter().copied()),
                sum_error,
            });
        }
        Ok(())
    }
}

// All components of the loop, in the order in which they write; the bias of the final norm last.
fn components(checkpoint: &LoadedCheckpoint, iterations: usize) -> Vec<ComponentAt> {
    let (config, layers) = (checkpoint.model.config(), checkpoint.info.layers);
    let at = |component, site| ComponentAt {
        component,
        attention_head: None,
        place: Place::of(site, layers),
    };
    let mut found = vec![at(Component::Embedding, Site::embed())];
    for site in Site::all(Point::ResidPost, iterations, layers) {
        if injects(checkpoint, site) {
            found.push(at(Component::Injection, site));
        }
        found.extend((1..=config.heads).map(|head| ComponentAt {
            attention_head: Some(head),
            ..at(Component::Head, site)
        }));
        found.push(at(Component::AttentionBias, site));
        found.push(at(Component::Mlp, site));
    }
    let last = Site::new(Point::ResidPost, iterations - 1, layers - 1);
    found.push(at(Component::FinalBias, last));
    found
}

// Whether the embedding is added anew before this layer.
fn injects(checkpoint: &LoadedCheckpoint, site: Site) -> bool {
    checkpoint.model.config().injection && site.layer() == 0 && site.iteration() > 0
}

// What was written into the stream at the readout of each query.
struct Written {
    parts: Vec<Vec<Vec<f32>>>, // [query][component but the last][d_model]
    states: Vec<Vec<f32>>,     // [query][d_model], before the final norm
    logits: Tensor,            // [query, vocab]
}

fn written(checkpoint: &LoadedCheckpoint, queries: &[&Query], iterations: usize) -> Result<Written> {
    let (model, layers) = (&checkpoint.model, checkpoint.info.layers);
    let rows = model.pack(queries.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
    let readout: Vec<u32> = (0..queries.len())
        .filter_map(|query| rows.of_query(query).last().copied())
        .collect();
    let points = [Point::Z, Point::MlpOut, Point::Embed];
    let last = Site::new(Point::ResidPost, iterations - 1, layers - 1);
    let sites = points
        .into_iter()
        .flat_map(|point| Site::all(point, iterations, layers))
        .chain([last]);
    let record = |hooks: Hooks, site| hooks.record_rows(site, readout.clone());
    let mut pass = Pass {
        hooks: sites.fold(Hooks::none(), record),
        ..Pass::default()
    };
    let logits = model.forward(&rows, iterations, &mut pass)?;
    let embedding = rows_of(&pass.hooks.recorded(Site::embed())?)?;
    let mut parts: Vec<Vec<Vec<f32>>> = embedding.iter().map(|row| vec![row.clone()]).collect();
    for site in Site::all(Point::ResidPost, iterations, layers) {
        let at = |point| Site::new(point, site.iteration(), site.layer());
        let heads = model.head_outputs(site.layer(), &pass.hooks.recorded(at(Point::Z))?)?; // [query, heads, d_model]
        let heads = heads.to_dtype(DType::F32)?.to_vec3::<f32>()?;
        let bias: Vec<f32> = model.attention_bias(site.layer()).to_dtype(DType::F32)?.to_vec1()?;
        let mlp = rows_of(&pass.hooks.recorded(at(Point::MlpOut))?)?;
        for (query, (parts, heads)) in parts.iter_mut().zip(heads).enumerate() {
            if injects(checkpoint, site) {
                parts.push(embedding[query].clone());
            }
            parts.extend(heads);
            parts.push(bias.clone());
            parts.push(mlp[query].clone());
        }
    }
    let states = rows_of(&pass.hooks.recorded(last)?)?;
    Ok(Written { parts, states, logits })
}
