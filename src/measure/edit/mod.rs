//! Edits of one direction of the residual stream: through which direction an entity is used, and at which layers.
//!
//! A query (h, r1, r2) has the bridge b. Another bridge b′ is drawn, and at one place the state is changed in one direction, from b
//! to b′; where that direction is what later layers read, the answer becomes the counterfactual r2(b′). Beside it stands the swap
//! of the whole state, from a source query (h′, r1′, r2) whose bridge is b′: the most that any edit there can do. The facts of the
//! source are of the same kind as the query's, ID or OOD, so that both are of the same split.
//!
//! The *read window* of a position: the effective layers at which the whole swap, written once, makes at least half of the answers
//! the counterfactual one. What the answer depends on is there and has not been read yet. Where the answer is read, that is in the
//! end the answer itself: the whole swap after the last layer sets the state that the output matrix reads, which each row says.
//!
//! The placebo of an edit is a random direction, the same at every place, along which the state moves as far as by that edit.
//! Coordinates are counted from the mean state at that place, along unit vectors.
//!
//! A single write into a loop can be overwritten by the next iteration. A clamped edit is made again at the same layer of every
//! later iteration. Along a direction, the coordinate is set anew each time, from the state of the run without edits at that
//! iteration. A clamped whole swap writes, at every later iteration, the state that the source has *at that iteration*: it is the
//! source's trajectory from there on, not the one state written first.

mod counterfactual;
mod directions;
mod form;
mod move_to;
mod row;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use self::counterfactual::Counterfactual;
use self::directions::FitSet;
use self::form::forms;
pub use self::form::{Changed, EditForm, EditKind};
pub use self::row::EditRow;
use self::sweep::Sweep;
use super::checkpoint::LoadedCheckpoint;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::population::{Group, Per, Population};
use super::sampling::Sampling;
use super::splits::Wants;
use crate::error::{Error, Result};
use crate::graph::{Position, Query, Target};
use crate::model::Point;
use crate::random::Stream;
use crate::wording::{choices, counted};

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
    #[arg(long, value_enum, default_value = "resid_post", hide_possible_values = true)]
    pub hook: Point,
    /// Edits along each direction, separated by commas
    #[arg(long = "kind", value_enum, value_delimiter = ',', default_value = "swap")]
    pub kinds: Vec<EditKind>,
    /// Directions, separated by commas; random: along a random one, as far as by each of the others. The swap of the whole state is
    /// always made
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
    /// Measure each edit clamped too: made again at the same layer of every later iteration (of the whole state: the source's
    /// state of that iteration)
    #[arg(long)]
    pub clamp: bool,
    /// Only queries that the model answers right, whose counterparts it answers right too
    #[arg(long)]
    pub correct_only: bool,
}

impl Method for Edit {
    const NAME: &'static str = "edit";
    const ABOUT: &'static str =
        "Edits of one direction of the bridge, beside the swap of the whole state, and its read window";
    const MISLEADS: &'static str = "A direction fitted on few queries also pushes along what goes with the bridge by chance; the placebo says how much of the effect any push of this size has.";
    const FORMAT: u32 = 1;
    type Row = EditRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        if !matches!(self.hook, Point::ResidPre | Point::ResidMid | Point::ResidPost) {
            return Err(Error::input(format!(
                "--hook {}; allowed: resid_pre, resid_mid, resid_post",
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
                forms: forms(&self.directions, &self.kinds, self.clamp),
                seed: self.sampling.seed,
            };
            sweep.write(&sweep.run(&fit)?, out)
        })
    }

    // Of each line of the figure the effective layer where the edit does most.
    fn shown(report: &Report<Self>) -> Vec<&EditRow> {
        report.rows.iter().filter(|row| row.largest.is_max).collect()
    }

    fn to_verify(_setting: &Setting) -> Result<Vec<Self>> {
        Ok(Vec::new())
    }

    // One direction, which is fitted on other queries, and its placebo. Pushed, the other bridge gets its whole coordinate: what few
    // chains are fitted to has other tokens in it, and of a swap they take a part.
    fn to_edit(setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self {
            kinds: vec![EditKind::Push],
            directions: vec![Changed::Mean, Changed::Random],
            correct_only: setting.answers_right,
            ..Self::defaults()?
        }])
    }

    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        // Most queries.
        const MOST: f64 = 0.5;
        let score = |row: &EditRow| {
            Some(SiteScore {
                claim: Claim::Counterfactual,
                targets: match row.form.direction {
                    Changed::Mean => vec![row.label],
                    // It is about no token.
                    Changed::Random => Vec::new(),
                    Changed::Whole | Changed::Output | Changed::Probe => return None,
                },
                hops: row.hops,
                point: row.hook,
                position: row.position,
                place: row.place,
                head: None,
                score: row.counterfactual?,
                is_called: row.low? > MOST,
            })
        };
        report.rows.iter().filter_map(score).collect()
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
            // Each column once: the readout may be the last relation.
            None => {
                let mut columns = HashSet::new();
                let is_new = |position: &&Position| columns.insert(position.column(hops, reads_apart));
                Ok(self.positions.iter().filter(is_new).copied().collect())
            }
            Some(position) => {
                let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                Err(Error::input(format!(
                    "position {position}: there no state knows the entity after hop {hop} of {hops}; allowed: {}, readout",
                    names.join(", ")
                )))
            }
        }
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
        let drawn = counterfactual::draw(&usable, group.data, hop, &fit.entities, &mut stream("other bridges"))?;
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
            "no other entity leads to another answer by facts of the same kind",
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
        let hops = counted(hops, "hop");
        Error::input(format!(
            "label {label} cannot be edited in chains of {hops}; allowed: {}",
            choices(&label.to_string(), &names)
        ))
    })
}
