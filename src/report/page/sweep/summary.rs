//! The summary box of a sweep's page, in plain words with numbers and intervals over seeds.

use super::super::summary::Paragraph;
use super::tables::OfSeeds;
use super::{PageSweep, facts};
use crate::graph::Split;
use crate::measure::seeds::RunGroup;
use crate::sweep::PointState;
use crate::wording::counted;

/// Sets of values that a sentence tells, at most; of more the table of sets does.
const MAX_TOLD: usize = 16;

/// What there is to say of a sweep.
pub(super) fn summary(sweep: &PageSweep) -> Vec<Paragraph> {
    let paragraphs = [
        ("Points", points(sweep)),
        ("Varied", format!("{}. Seeds: {}.", facts::varies(&sweep.plan.points), facts::seeds(&sweep.plan.points))),
        ("Accuracy", accuracy(sweep)),
        ("Stages", stages(sweep)),
        (
            "Intervals",
            "Every interval on this page is 95 % over seeds: how much other seeds would differ. Intervals over the test rows of one run are on \
             the page of each point, and the two are never mixed."
                .to_owned(),
        ),
    ];
    let said = paragraphs.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(about, text)| Paragraph { about, text }).collect()
}

fn points(sweep: &PageSweep) -> String {
    let count = |is: fn(&PointState) -> bool| sweep.status.points.iter().filter(|(_, state)| is(state)).count();
    let parts = [
        (count(|state| matches!(state, PointState::Done { .. })), "done"),
        (count(|state| matches!(state, PointState::Running { .. })), "running"),
        (count(|state| matches!(state, PointState::Silent { .. })), "silent"),
        (count(|state| matches!(state, PointState::Failed { .. })), "failed"),
        (count(|state| matches!(state, PointState::Waiting { .. })), "waiting"),
    ];
    let told = parts.into_iter().filter(|(n, state)| *n > 0 || *state != "silent");
    let told: Vec<String> = told.map(|(n, state)| format!("{n} {state}")).collect();
    format!(
        "Plan {} has {}, runs of {}: {}.",
        sweep.plan.number,
        counted(sweep.plan.points.len(), "point"),
        match sweep.gathered.groups.len() {
            1 => "one set of values".to_owned(),
            n => format!("{n} sets of values"),
        },
        told.join(", ")
    )
}

// Values alone where all are words, which need no key.
fn short(group: &RunGroup) -> String {
    let values: Vec<&str> = group.values.values().map(String::as_str).collect();
    let is_word =
        |value: &&str| value.starts_with(|c: char| c.is_ascii_alphabetic()) && *value != "true" && *value != "false";
    if values.is_empty() || !values.iter().all(is_word) {
        return format!("{}:", group.title);
    }
    values.join(" ")
}

// Of finished runs, by split.
fn accuracy(sweep: &PageSweep) -> String {
    let of_split = |split: Split| {
        let told: Vec<String> = sweep
            .gathered
            .groups
            .iter()
            .filter_map(|group| {
                let accuracy = OfSeeds::of(group, sweep.gathered.seed, |run| run.accuracy.get(&split).copied())?;
                Some(format!("{} {}, n = {}", short(group), accuracy.words(), accuracy.n))
            })
            .collect();
        let few = (1..=MAX_TOLD).contains(&told.len());
        few.then(|| {
            format!(
                "On {} finished runs end at a mean of: {}.",
                split.title(),
                told.join("; ")
            )
        })
    };
    let said: Vec<String> = [Split::ood(), Split::in_distribution()]
        .into_iter()
        .filter_map(of_split)
        .collect();
    if said.is_empty() {
        return "The table of sets of values has the accuracy of finished runs, with intervals over seeds.".to_owned();
    }
    format!("{} n: seeds; intervals over seeds.", said.join(" "))
}

// Where they are few enough to be told.
fn stages(sweep: &PageSweep) -> String {
    let told: usize = sweep.gathered.stages.iter().map(|times| times.curves.len()).sum();
    if told > MAX_TOLD {
        return "When each stage was reached: see the survival curves, and the table of sets of values.".to_owned();
    }
    let of_stage = |times: &crate::measure::seeds::StageTimes| {
        let curves = times.curves.iter().map(|curve| {
            let median = curve
                .median
                .map_or(String::new(), |median| format!(", median step {median:.0}"));
            format!(
                "{}: {} of {}{median}",
                curve.group,
                curve.reached,
                counted(curve.runs, "run")
            )
        });
        format!(
            "{} was reached by {}.",
            times.stage.name,
            curves.collect::<Vec<_>>().join("; ")
        )
    };
    sweep.gathered.stages.iter().map(of_stage).collect::<Vec<_>>().join(" ")
}
