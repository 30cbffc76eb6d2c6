//! The page of a sweep: what varies, how far its points are, and what they gave, with seeds as the unit.

mod facts;
mod figures;
mod summary;
mod tables;
mod verdicts;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::PageSettings;
use super::data::{PageData, RunData, split_data};
use super::moments::Moment;
use super::pictures::{Drawn, Pictures};
use super::places::MethodText;
use super::text::{SweepParts, Text};
use crate::error::Result;
use crate::figure::{FoundMethod, found_over_seeds};
use crate::graph::Split;
use crate::measure::seeds::RunGroup;
use crate::sweep::gather::Gathered;
use crate::sweep::{Plan, PointState, Status};
use crate::wording::counted;

/// A sweep, or the runs of a study.
pub struct PageSweep {
    /// Its folder, as the user named it.
    pub folder: PathBuf,
    /// The plan that the page is of.
    pub plan: Plan,
    /// How far its points are.
    pub status: Status,
    /// What they gave.
    pub gathered: Gathered,
}

impl PageSweep {
    // The hashes of the checkpoints at the end of training.
    fn ends(&self) -> BTreeSet<&str> {
        let rows = self.gathered.rows.iter();
        rows.filter_map(|row| row.key.checkpoint_hash.as_deref()).collect()
    }

    // The splits that runs were evaluated on.
    fn splits(&self) -> Vec<&Split> {
        let mut found: Vec<&Split> = Vec::new();
        let runs = self.gathered.groups.iter().flat_map(|group| &group.runs);
        for split in runs.flat_map(|run| run.run.accuracy.keys()) {
            if !found.contains(&split) {
                found.push(split);
            }
        }
        found.sort_by_key(|split| split.order_in_comparisons());
        found
    }
}

/// The page of a sweep.
///
/// # Errors
/// When the template cannot be filled in.
pub fn sweep_page(sweep: &PageSweep, settings: &PageSettings) -> Result<String> {
    let groups: Vec<&str> = sweep.gathered.groups.iter().map(|group| group.title.as_str()).collect();
    let finished = |group: &RunGroup| group.runs.iter().filter(|run| run.run.finished).count();
    let sets = sweep.gathered.groups.iter();
    let sets: Vec<(&str, usize)> = sets.map(|group| (group.title.as_str(), finished(group))).collect();
    let found = found_over_seeds(&settings.files, &sweep.ends(), &sets);
    let mut warnings = unfinished(sweep);
    warnings.extend(found.iter().flat_map(|method| method.left_out.clone()));
    let verdicts = verdicts::held_verdicts(sweep, &settings.files, &mut warnings);
    let drawn = sweep.gathered.figures(true);
    let (training, stages, effects) = (
        figures::curves(sweep, &drawn),
        figures::stage_times(sweep, &drawn),
        figures::effects(&drawn),
    );
    let (sets, points) = (tables::sets(sweep), tables::points(sweep));
    let shown = found.iter().filter(|method| !method.figures.is_empty());
    let shown: Vec<(&FoundMethod, Pictures)> = shown.map(|method| (method, of_groups(method))).collect();
    let of_seeds = [(figures::STAGE_TIMES, &stages), (figures::EFFECTS, &effects)];
    let there = of_seeds.iter().filter(|(_, pictures)| !pictures.places.is_empty());
    let mut methods: Vec<MethodText> = there.map(|(section, pictures)| section.text(pictures)).collect();
    methods.extend(
        shown
            .iter()
            .map(|(method, pictures)| MethodText::of(method, pictures, &groups)),
    );
    let moments = [Moment::of_ends(groups.len())];
    let text = Text::of_sweep(SweepParts {
        folder: &sweep.folder,
        settings,
        facts: facts::facts(sweep, settings),
        summary: summary::summary(sweep),
        claims_note: verdicts::note(&verdicts),
        claims: verdicts
            .iter()
            .flat_map(|held| held.findings.iter().map(verdicts::claim_text))
            .collect(),
        training: &training,
        sets: &sets,
        points: &points,
        moments: &moments,
        groups: &groups,
        has_over_seeds: !shown.is_empty(),
        methods,
        notes: &sweep.gathered.notes,
        warnings,
    });
    let named = [
        ("training", &training),
        (figures::STAGE_TIMES.name, &stages),
        (figures::EFFECTS.name, &effects),
        ("sets", &sets),
        ("points", &points),
    ];
    let results = named
        .into_iter()
        .chain(shown.iter().map(|(method, pictures)| (method.name, pictures)));
    let splits = sweep.splits();
    text.render(&PageData {
        splits: split_data(&splits),
        runs: groups.iter().map(|&name| RunData::of_group(name)).collect(),
        moments: &moments,
        results: results
            .map(|(name, pictures)| (name.to_owned(), pictures.json()))
            .collect(),
        queries: None,
    })
}

// A method's figures, each under the set of values that it is of.
fn of_groups(method: &FoundMethod) -> Pictures {
    let drawn = method.figures.iter().map(|found| Drawn {
        run: found.checkpoints.first().copied(),
        checkpoint: None,
        scene: found.figure.scene(),
        column_title: found.column_title.clone(),
        log_from: None,
    });
    Pictures::of(&drawn.collect::<Vec<_>>())
}

// What is to be known before any number: points that failed or are not trained to their end.
fn unfinished(sweep: &PageSweep) -> Vec<String> {
    let states = sweep.status.points.iter().map(|(_, state)| state);
    let count = |is: fn(&PointState) -> bool| states.clone().filter(|state| is(state)).count();
    let failed = count(|state| matches!(state, PointState::Failed { .. }));
    let open = count(|state| !matches!(state, PointState::Failed { .. } | PointState::Done { .. }));
    let mut said = Vec::new();
    if failed > 0 {
        said.push(format!(
            "FAILED: {}; the table of points says why",
            counted(failed, "point")
        ));
    }
    if open > 0 {
        said.push(format!(
            "NOT FINISHED: {} of {} {} not trained to the end. Curves are those so far; effects, verdicts and methods are of finished points alone",
            open,
            counted(sweep.plan.points.len(), "point"),
            if open == 1 { "is" } else { "are" }
        ));
    }
    said.extend(sweep.gathered.failed.iter().cloned());
    said
}
