//! Edits of one direction of the residual stream: what of a state carries an entity on to the answer.
//!
//! A query (h, r1, r2) has the bridge b. Another bridge b′ is drawn, and at one place the state is changed in one direction, from b
//! to b′; where that direction is what later layers read, the answer becomes the counterfactual r2(b′). Beside it stands the swap
//! of the whole state, from a query (h′, r1′, r2) whose bridge is b′: the most that any edit there can do. The effective layers at
//! which it redirects at least half of the answers are the *read window*: what the answer depends on is there and has not been read
//! yet. (Where the answer is read that is, in the end, the answer itself.) A random direction, along which the state moves as far
//! as by the furthest of the other edits, is the placebo.
//!
//! Coordinates are counted from the mean state at that place, along unit vectors. A write into a loop can be overwritten by the
//! next iteration; a clamped one is held at the same layer of all later iterations.

mod counterfactual;
mod directions;
mod move_to;
mod sweep;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::counterfactual::Counterfactual;
use self::directions::FitSet;
pub use self::sweep::EditForm;
use self::sweep::Sweep;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::largest::Largest;
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::row::columns;
use super::sampling::Sampling;
use super::splits::Wants;
use super::statistics::Clustering;
use crate::error::{Error, Result};
use crate::graph::{Position, Query, Split, Target};
use crate::model::Point;
use crate::random::Stream;

/// What to edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Edit {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: Sampling,
    /// The entity that is edited: bridge, bridge1, …, target [default: that after half of the hops]
    #[arg(long)]
    pub label: Option<Target>,
    /// The point of the residual stream: resid_pre, resid_mid or resid_post
    #[arg(long, value_enum, default_value = "resid_post")]
    pub hook: Point,
    /// What is done along the direction, separated by commas
    #[arg(long = "kind", value_enum, value_delimiter = ',', default_value = "swap")]
    pub kinds: Vec<EditKind>,
    /// Whose directions, separated by commas; the swap of the whole state comes with them
    #[arg(
        long = "direction",
        value_enum,
        value_delimiter = ',',
        default_value = "output,probe,mean,random"
    )]
    pub directions: Vec<Changed>,
    /// Positions, separated by commas [default: those at which the entity can be known]
    #[arg(long = "position", value_delimiter = ',')]
    pub positions: Vec<Position>,
    /// Measure each edit clamped too: held at the same layer of all later iterations
    #[arg(long)]
    pub clamp: bool,
    /// Only queries that the model answers right, whose counterparts it answers right too
    #[arg(long)]
    pub correct_only: bool,
}

/// What is done along a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EditKind {
    /// The coordinates along the directions of the bridge and the other one are exchanged.
    Swap,
    /// The bridge's direction is projected out: its coordinate becomes that of the mean state.
    Remove,
    /// A multiple of the difference of both directions is added, so that the other bridge gets the coordinate that the bridge has
    /// on average.
    Push,
}

/// What of a state is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// All of it: it becomes the state of a query that has the other bridge.
    #[value(skip)]
    Whole,
    /// The direction that the output matrix reads, through the weight of the final norm.
    Output,
    /// The weights of a logistic probe.
    Probe,
    /// The difference of the mean state with the bridge from that of all.
    Mean,
    /// A random direction, as far as the furthest of the other edits.
    Random,
}

/// What one edit at one place makes of the answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// The entity that is edited.
    pub label: Target,
    /// The point of the residual stream.
    pub hook: Point,
    /// The position of the edited state.
    pub position: Position,
    /// The effective layer of the edited state.
    #[serde(flatten)]
    pub place: Place,
    /// The edit.
    #[serde(flatten)]
    pub form: EditForm,
    /// Queries.
    pub n: usize,
    /// Share of queries whose most likely token becomes the counterfactual answer.
    pub counterfactual: f64,
    /// 95 % interval of `counterfactual`.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// Of `counterfactual` over effective layers.
    #[serde(flatten)]
    pub largest: Largest,
    /// Share of queries whose most likely token is still the answer of the query.
    pub original: f64,
    /// 95 % interval of `original`.
    pub original_low: f64,
    /// The upper end of that interval.
    pub original_high: f64,
    /// Mean change of the logit of the counterfactual answer.
    pub counterfactual_logit: f64,
    /// 95 % interval of that; absent where no two queries differ in their facts.
    pub counterfactual_logit_low: Option<f64>,
    /// The upper end of that interval.
    pub counterfactual_logit_high: Option<f64>,
    /// Mean change of the logit of the query's answer.
    pub original_logit: f64,
    /// 95 % interval of that.
    pub original_logit_low: Option<f64>,
    /// The upper end of that interval.
    pub original_logit_high: Option<f64>,
    /// `counterfactual` of the clamped edit less that of the single write, where it is clamped.
    pub clamp_gain: Option<f64>,
    /// 95 % interval of that paired difference.
    pub clamp_gain_low: Option<f64>,
    /// The upper end of that interval.
    pub clamp_gain_high: Option<f64>,
    /// Mean distance that a single write moves the state by.
    pub distance: f64,
    /// Whether the swap of the whole state here, written once, redirects at least half of the answers.
    pub in_read_window: bool,
    /// Accuracy on the queries without an edit.
    pub base_accuracy: f64,
    /// Accuracy on the queries that have the other bridge.
    pub source_accuracy: f64,
    /// What the intervals count for.
    pub interval: Clustering,
}

columns! {
    EditRow:
    Column::of("split"),
    Column::of("label"),
    Column::of("hook"),
    Column::of("position"),
    Column::of("direction"),
    Column::of("kind"),
    Column::of("clamped"),
    Column::of("n"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("counterfactual")
        .titled("max counterfactual (95 % of the max)")
        .within("max_low", "max_high"),
    Column::of("original")
        .titled("original (95 %)")
        .within("original_low", "original_high"),
    Column::of("distance").decimals(2),
    Column::of("in_read_window").titled("read window"),
}

impl Method for Edit {
    const NAME: &'static str = "edit";
    const ABOUT: &'static str =
        "Edits of one direction of the bridge, beside the swap of the whole state, and its read window";
    const FORMAT: u32 = 1;
    type Row = EditRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        if !matches!(self.hook, Point::ResidPre | Point::ResidMid | Point::ResidPost) {
            return Err(Error::input(format!(
                "hook {}; allowed: resid_pre, resid_mid, resid_post",
                self.hook.name()
            )));
        }
        self.sampling.resolve(Wants::OneHeldOutDepth, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<EditRow>) -> Result<()> {
        group.each(&self.sampling.splits, Per::Hops, out, |population, checkpoint, out| {
            // A population by hops that has queries has one number of them.
            let hops = population.hops.unwrap_or_default();
            let label = self.label.unwrap_or(Target::entity((hops / 2).max(1), hops));
            let hop = hop_of(label, hops)?;
            let positions = self.positions(hop, hops, checkpoint)?;
            let iterations = self.sampling.iterations(checkpoint);
            let (population, fit, drawn) = self.draw(population, group, hop, checkpoint, out)?;
            let drawn = if self.correct_only {
                counterfactual::answered_right(checkpoint, &population, drawn, iterations)?
            } else {
                drawn
            };
            if drawn.is_empty() {
                out.notes.push(format!(
                    "{}, split {}: no query is left to edit",
                    checkpoint.info.name(),
                    population.split
                ));
                return Ok(());
            }
            // Answers depend on the facts of the queries that other bridges are of, too.
            let sources = drawn
                .iter()
                .map(|drawn| Query::new(&drawn.source, drawn.answer, &group.data.graph));
            let edited = population.at(drawn.iter().map(|drawn| drawn.place));
            let sweep = Sweep {
                population: edited.paired_with(sources.collect()),
                drawn,
                checkpoint,
                hook: self.hook,
                label,
                positions,
                budget: out.budget(iterations),
                forms: self.forms(),
                seed: self.sampling.seed,
            };
            sweep.run(&fit, out)
        })
    }

    // Of each line of the figure the effective layer with the most counterfactual answers.
    fn shown(report: &Report<Self>) -> Vec<&EditRow> {
        report.rows.iter().filter(|row| row.largest.is_max).collect()
    }

    fn to_verify(_setting: &Setting) -> Result<Vec<Self>> {
        Ok(Vec::new())
    }

    // One direction, which is fitted on other queries.
    fn to_edit(setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self {
            directions: vec![Changed::Mean],
            correct_only: setting.answers_right,
            ..Self::defaults()?
        }])
    }

    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        // Most queries.
        const MOST: f64 = 0.5;
        let edited = report.rows.iter().filter(|row| row.form.direction == Changed::Mean);
        let score = |row: &EditRow| SiteScore {
            claim: Claim::Counterfactual,
            targets: vec![row.label],
            hops: row.hops,
            point: row.hook,
            position: row.position,
            place: row.place,
            head: None,
            score: row.counterfactual,
            is_called: row.low > MOST,
        };
        edited.map(score).collect()
    }
}

impl Edit {
    // The positions to edit at: those at which a state of a causal model can depend on the entity after `hop`.
    fn positions(&self, hop: usize, hops: usize, checkpoint: &LoadedCheckpoint) -> Result<Vec<Position>> {
        let reads_apart = checkpoint.model.config().reads_apart(hops);
        let all = Position::of_chain(hops, reads_apart);
        let allowed: Vec<Position> = all.into_iter().filter(|position| position.index(hops) >= hop).collect();
        if self.positions.is_empty() {
            return Ok(allowed);
        }
        let is_allowed = |position: &Position| *position == Position::Readout || allowed.contains(position);
        match self.positions.iter().find(|position| !is_allowed(position)) {
            None => Ok(self.positions.clone()),
            Some(position) => {
                let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                Err(Error::input(format!(
                    "position {position}: there no state knows the entity after hop {hop} of {hops}; allowed: {}, readout",
                    names.join(", ")
                )))
            }
        }
    }

    // The edits at each place: of the whole state first, then along each direction, the placebo once.
    fn forms(&self) -> Vec<EditForm> {
        let mut changes = vec![(Changed::Whole, None)];
        let fitted = |of: &&Changed| !matches!(of, Changed::Whole | Changed::Random);
        for &of in self.directions.iter().filter(fitted) {
            changes.extend(self.kinds.iter().map(|&kind| (of, Some(kind))));
        }
        if self.directions.contains(&Changed::Random) {
            changes.push((Changed::Random, None));
        }
        let clamps: &[bool] = if self.clamp { &[false, true] } else { &[false] };
        let form = |(direction, kind)| {
            clamps.iter().map(move |&clamped| EditForm {
                direction,
                kind,
                clamped,
            })
        };
        let mut forms: Vec<EditForm> = Vec::new();
        for form in changes.into_iter().flat_map(form) {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        forms
    }

    // Queries, the chains that directions are fitted on, and another entity for each of the queries.
    fn draw<'a>(
        &self,
        population: &Population<'a>,
        group: &Group<'a>,
        hop: usize,
        checkpoint: &LoadedCheckpoint,
        out: &mut Output<EditRow>,
    ) -> Result<(Population<'a>, FitSet<'a>, Vec<Counterfactual>)> {
        let (split, hops) = (population.split, population.hops.unwrap_or_default());
        let known = population.only(|query| (1..=hops).all(|hop| query.entity_after(hop).is_some()));
        let stream = |purpose: &str| Stream::new(self.sampling.seed, &format!("edit {purpose} {split} {hops}"), 0);
        let sample = known.sample(&mut stream("queries"), self.sampling.queries);
        let fit = FitSet::new(group.data, &sample.queries, hop, hops, self.sampling.seed)?;
        let usable = sample.only(|query| {
            query
                .entity_after(hop)
                .is_some_and(|entity| fit.index(entity).is_some())
        });
        let drawn = counterfactual::draw(
            &usable,
            &group.data.graph,
            hop,
            &fit.entities,
            &mut stream("other bridges"),
        );
        let mut note = |count: usize, reason: &str| {
            if count > 0 {
                out.notes
                    .push(format!("split {split}: {count} queries left out, {reason}"));
            }
        };
        note(
            population.queries.len() - known.queries.len(),
            "their bridges are not known",
        );
        note(
            sample.queries.len() - usable.queries.len(),
            "no trained chain of other facts has their entity, so it has no direction",
        );
        note(
            usable.queries.len() - drawn.len(),
            "no other entity leads to another answer",
        );
        if !fit.is_apart {
            out.notes.push(format!(
                "{}, split {split}: directions are fitted on chains that share facts with the tested ones, no others are trained",
                checkpoint.info.name()
            ));
        }
        Ok((usable, fit, drawn))
    }
}

// The hop after which a chain has reached `label`.
fn hop_of(label: Target, hops: usize) -> Result<usize> {
    let hop = label.hop(hops).filter(|hop| (1..=hops).contains(hop));
    let of_length = hop.filter(|&hop| Target::entity(hop, hops) == label);
    of_length.ok_or_else(|| {
        let names: Vec<String> = (1..=hops).map(|hop| Target::entity(hop, hops).to_string()).collect();
        let hops = crate::wording::counted(hops, "hop");
        Error::input(format!(
            "label {label} cannot be edited in chains of {hops}; allowed: {}",
            names.join(", ")
        ))
    })
}
