//! The figures of a sweep on its page: those that `sweep gather` writes, with names for the lines of single runs.

use super::super::pictures::{Drawn, Pictures, Rows};
use super::super::places::MethodText;
use super::PageSweep;
use crate::figure::{Figure, Scene, SceneContent, ScenePanel, ScenePoint};
use crate::wording::thousands;

/// Points of all curves together, at most, about; of a curve with more those that are spread evenly over the logarithm of the step.
const MAX_POINTS: usize = 50_000;

/// A figure with its name.
pub(super) type NamedFigure = (&'static str, Figure);

/// A section of figures over seeds.
#[derive(Clone, Copy)]
pub(super) struct Section {
    pub(super) name: &'static str,
    title: &'static str,
    about: &'static str,
    misleads: &'static str,
}

pub(super) const STAGE_TIMES: Section = Section {
    name: "stage-times",
    title: "Training steps until each stage is reached",
    about: "Kaplan–Meier curves: the share of the runs of each set of values that have not reached the stage yet. A run that ended or stands \
            before it is censored there. Intervals, in the table, are 95 % over seeds, at each step by itself.",
    misleads: "Few runs make high steps, and a run that was stopped early says nothing of what it would have done later.",
};

pub(super) const EFFECTS: Section = Section {
    name: "effects",
    title: "The effect of each key over seeds",
    about: "The difference of finished runs from the first value of the key. Bars are 95 % intervals over seeds, not over test rows.",
    misleads: "A difference over the few values of the other keys that were tried need not be that over others; with few seeds an interval is rough.",
};

impl Section {
    pub(super) fn text<'a>(self, pictures: &Pictures) -> MethodText<'a> {
        MethodText::new(
            self.name,
            self.title.to_owned(),
            (self.about, self.misleads),
            pictures,
            &[],
        )
    }
}

/// Accuracy over training, a line a seed and the median of each set of values.
pub(super) fn curves(sweep: &PageSweep, figures: &[NamedFigure]) -> Pictures {
    let Some(mut scene) = scene(figures, "curves") else {
        return Pictures::default();
    };
    let names: Vec<&str> = sweep
        .gathered
        .groups
        .iter()
        .flat_map(|group| group.runs.iter().map(|run| run.run.name.as_str()))
        .collect();
    let lines: usize = scene.panels.iter().map(n_lines).sum();
    let max = (MAX_POINTS / lines.max(1)).clamp(20, 400);
    let mut longest = 0;
    for panel in &mut scene.panels {
        let SceneContent::Lines { series, .. } = &mut panel.content else {
            continue;
        };
        // A panel begins with the line of every run.
        for ((line, _), name) in series.iter_mut().zip(&names) {
            (*name).clone_into(&mut line.name);
        }
        for (_, points) in series.iter_mut() {
            longest = longest.max(points.len());
            *points = thinned(points, max);
        }
        series.retain(|(_, points)| !points.is_empty());
    }
    if longest > max {
        scene.conditions.push(format!(
            "of up to {} evaluations a run {max} or fewer are drawn, spread over the logarithm of the step; curves.csv of sweep gather has all",
            thousands(longest as u64)
        ));
    }
    Pictures::of(&[drawn_over_steps(scene)])
}

// Lines that have points.
fn n_lines(panel: &ScenePanel) -> usize {
    match &panel.content {
        SceneContent::Lines { series, .. } => series.iter().filter(|(_, points)| !points.is_empty()).count(),
        _ => 0,
    }
}

// The last point is among them.
fn thinned(points: &[ScenePoint], max: usize) -> Vec<ScenePoint> {
    let Some((end, ..)) = points.last().filter(|_| points.len() > max) else {
        return points.to_vec();
    };
    let place = |x: f64| x.max(1.0).ln();
    let begins = points.first().map_or(0.0, |(x, ..)| place(*x));
    let gap = (place(*end) - begins) / max as f64;
    let mut next = f64::NEG_INFINITY;
    let mut kept = Vec::new();
    for &(x, y, interval) in points {
        if place(x) >= next || x == *end {
            kept.push((x, y, interval));
            next = place(x) + gap;
        }
    }
    kept
}

/// When stages are reached, with the steps of the curves as a table.
pub(super) fn stage_times(sweep: &PageSweep, figures: &[NamedFigure]) -> Pictures {
    let Some(scene) = scene(figures, "survival") else {
        return Pictures::default();
    };
    let mut pictures = Pictures::of(&[drawn_over_steps(scene)]);
    let steps = sweep.gathered.stages.iter().flat_map(|times| {
        times.curves.iter().flat_map(move |curve| {
            curve.curve.iter().map(move |step| {
                vec![
                    times.stage.name.as_str().into(),
                    curve.group.as_str().into(),
                    curve.runs.into(),
                    step.time.into(),
                    step.at_risk.into(),
                    step.events.into(),
                    step.censored.into(),
                    step.survival.into(),
                    step.low.into(),
                    step.high.into(),
                ]
            })
        })
    });
    pictures.push_rows(Rows {
        title: "Steps of the curves, intervals over seeds".to_owned(),
        heads: [
            "stage",
            "set of values",
            "runs",
            "step",
            "at risk",
            "reached",
            "censored",
            "share not there yet",
            "low",
            "high",
        ]
        .map(str::to_owned)
        .into(),
        lines: steps.collect(),
        conditions: "Kaplan–Meier; pointwise 95 % intervals over seeds (log-log)".to_owned(),
    });
    pictures
}

/// What each key changes.
pub(super) fn effects(figures: &[NamedFigure]) -> Pictures {
    let Some(mut scene) = scene(figures, "effects") else {
        return Pictures::default();
    };
    for panel in &mut scene.panels {
        // Panels of several keys have one title.
        if let SceneContent::Estimates { x, .. } = &panel.content {
            panel.title = format!("{}, {x}", panel.title);
        }
    }
    Pictures::of(&[Drawn {
        run: None,
        checkpoint: None,
        column_title: String::new(),
        log_from: None,
        scene,
    }])
}

fn scene(figures: &[NamedFigure], wanted: &str) -> Option<Scene> {
    let found = figures.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, figure)| figure.scene())
}

// A figure over logarithmic steps, which the page can show on a linear axis too: so it begins at 0, where no curve has come down.
fn drawn_over_steps(mut scene: Scene) -> Drawn {
    let mut first = f64::INFINITY;
    for panel in &mut scene.panels {
        if let SceneContent::Lines { x, .. } = &mut panel.content
            && x.log
        {
            first = first.min(x.range.0);
            x.range.0 = 0.0;
            x.log = false;
        }
    }
    Drawn {
        run: None,
        checkpoint: None,
        column_title: String::new(),
        log_from: first.is_finite().then_some(first),
        scene,
    }
}
