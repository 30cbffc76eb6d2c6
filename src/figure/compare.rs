//! Runs side by side (Kohli et al. 2026, Figures 3 and 4 in one picture).

use super::kit::{Axis, Colour, Content, Figure, Marker, Panel, Series, Stroke, Title, UNIT};
use super::lens::{self, ReadingKey};
use super::{bound_entry, conditions, distinct, intervals, ordered_line, patch, split_legend, split_line};
use crate::graph::{Position, Role, Split, Target};
use crate::measure::{CheckpointSummary, Comparison, LensRow, RunSummary};
use crate::wording::counted;

/// A column a run: accuracy over training, the lens at its last checkpoint, patching there.
pub fn compare(comparison: &Comparison) -> Figure {
    let splits = distinct(&comparison.lens.rows, |row| row.split.clone());
    let curves = curves(comparison, &splits);
    let columns: Vec<_> = comparison.runs.iter().zip(&comparison.checkpoints).collect();
    let has_maps = comparison.lens.rows.iter().any(|row| row.hops > 2);
    let mut panels: Vec<Vec<Panel>> = vec![columns.iter().map(|(run, _)| training(run, &curves)).collect()];
    for kind in LensPanel::all(&comparison.lens.rows) {
        let panel = |(run, checkpoint): &(&RunSummary, &CheckpointSummary)| Panel {
            title: Title::new(kind.title(), column(run)),
            content: kind.content(&comparison.lens.rows, checkpoint, &lens_lines(&curves, &splits)),
        };
        panels.push(columns.iter().map(panel).collect());
    }
    for split in distinct(&comparison.patch.rows, |row| row.split.clone()) {
        let panel = |(run, checkpoint): &(&RunSummary, &CheckpointSummary)| Panel {
            title: Title::new(format!("Activation patching, {}", split.title()), column(run)),
            content: patch::cells(&comparison.patch.rows, checkpoint, &split, None),
        };
        panels.push(columns.iter().map(panel).collect());
    }
    Figure {
        title: "Runs side by side: training, logit lens and patching at the last checkpoint".to_owned(),
        conditions: vec![
            conditions(&comparison.checkpoints),
            format!(
                "curves: accuracy over training; dashed: stages reached; lens: {}",
                lens::sample_sizes(&comparison.lens.rows)
            ),
            format!(
                "bands: {}; cells of patching: recovery of the clean answer, at most {} pairs, – where clean and corrupt are not told \
                 apart (the interval of their gap is not above 0){}",
                intervals(&comparison.lens.rows, |row| (&row.split, row.interval)),
                comparison.patch.settings.pairing.pairs,
                if has_maps {
                    "; of the lens: top-1, dashed: effective layers of training"
                } else {
                    ""
                }
            ),
        ],
        legend: (legend(&curves, &splits).into_iter())
            .chain(has_maps.then(|| bound_entry("effective layers of training end")))
            .collect(),
        panels,
    }
}

// The curves of training with their lines: the training rows, and every split that is looked into or that a stage watches; of
// chains by depth, all.
fn curves(comparison: &Comparison, splits: &[Split]) -> Vec<(Split, Series)> {
    let stages = comparison.runs.iter().flat_map(|run| run.stages.iter());
    let watched: Vec<&Split> = stages.map(|outcome| &outcome.stage.split).collect();
    curve_lines(splits, &watched)
}

fn curve_lines(splits: &[Split], watched: &[&Split]) -> Vec<(Split, Series)> {
    let mut found: Vec<Split> = vec![Split::train()];
    for split in splits.iter().chain(watched.iter().copied()) {
        if split.role() != Role::TrainChains && !found.contains(split) {
            found.push(split.clone());
        }
    }
    found.sort_by_key(Split::depth);
    let depths = found.iter().filter(|split| split.depth().is_some()).count();
    let mut depth = 0;
    let mut unseen = splits.len();
    let line = |split: &Split| {
        let series = if split.depth().is_some() {
            depth += 1;
            ordered_line(depth - 1, depths)
        } else {
            // The colour that the split has where it is looked into; those that only a stage watches have the next ones.
            let index = splits.iter().position(|other| other == split).unwrap_or_else(|| {
                unseen += usize::from(split.role() != Role::Train);
                unseen - 1
            });
            split_line(split, index)
        };
        (split.clone(), series)
    };
    found.iter().map(line).collect()
}

// The lens's lines: each split as its curve, with markers.
fn lens_lines(curves: &[(Split, Series)], splits: &[Split]) -> Vec<(Split, Series)> {
    let line = |(index, split): (usize, &Split)| {
        let curve = curves.iter().find(|(name, _)| name == split);
        let line = curve.map_or_else(|| split_line(split, index), |(_, series)| series.clone());
        let marker = line.marker.unwrap_or(Marker::Circle);
        (split.clone(), line.marker(marker))
    };
    splits.iter().enumerate().map(line).collect()
}

// An entry for every line of the figure. Training rows and a sample of their chains share a colour, and so an entry.
fn legend(curves: &[(Split, Series)], splits: &[Split]) -> Vec<(String, Series)> {
    let known = |split: &Split| curves.iter().any(|(curve, _)| curve == split);
    let is_chains = |split: &Split| split.role() == Role::TrainChains;
    let entry = |(split, series): &(Split, Series)| {
        let both = split.role() == Role::Train && splits.iter().any(is_chains);
        let text = if both { "train (rows, chains)" } else { split.title() };
        (text.to_owned(), series.clone())
    };
    let others = split_legend(splits).into_iter().zip(splits);
    let others = others.filter(|(_, split)| !known(split) && !is_chains(split));
    let stages = (
        "stage reached".to_owned(),
        Series::new(Colour::GREY).stroke(Stroke::Dashed),
    );
    let entries = curves.iter().map(entry).chain(others.map(|(entry, _)| entry));
    entries.chain([stages]).collect()
}

// What a row of lens panels shows.
enum LensPanel {
    // An entity at a position, a line a split.
    Reading(ReadingKey),
    // All entities of the chains of a split with this number of hops, each at the relation that leads to it.
    Map(Split, usize),
}

impl LensPanel {
    // Of chains of two hops every entity at the relation that leads to it, and the target where the answer is read (what the
    // lens sees elsewhere is the lens figure's matter); of longer chains a map of them all.
    fn all(rows: &[LensRow]) -> Vec<Self> {
        let own = |(_, label, position): &ReadingKey| *label == Target::Answer || *position == Position::Relation(1);
        let readings = distinct(rows, lens::reading).into_iter();
        let readings = readings.filter(|key| key.0 == 2 && own(key)).map(Self::Reading);
        let chains = distinct(rows, |row| (row.split.clone(), row.hops)).into_iter();
        let maps = chains
            .filter(|(_, hops)| *hops > 2)
            .map(|(split, hops)| Self::Map(split, hops));
        readings.chain(maps).collect()
    }

    fn content(&self, rows: &[LensRow], checkpoint: &CheckpointSummary, lines: &[(Split, Series)]) -> Content {
        match self {
            Self::Reading(key) => lens::panel(rows, checkpoint, key, lines),
            Self::Map(split, hops) => {
                let of_panel =
                    |row: &&LensRow| checkpoint.owns(&row.origin) && row.split == *split && row.hops == *hops;
                let of_panel: Vec<&LensRow> = rows.iter().filter(of_panel).collect();
                lens::cells(&of_panel, *hops, None, checkpoint)
            }
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Reading(key) => format!("Logit lens, {}", lens::name_of(key)),
            Self::Map(split, _) => format!("Logit lens, {}", split.title()),
        }
    }
}

// What a column is of.
fn column(run: &RunSummary) -> String {
    format!(
        "{} ({} × {})",
        run.name,
        counted(run.model.layers, "layer"),
        counted(run.model.iterations, "iteration")
    )
}

fn training(run: &RunSummary, curves: &[(Split, Series)]) -> Panel {
    let first = run
        .metrics
        .iter()
        .map(|line| line.step)
        .find(|&step| step > 0)
        .unwrap_or(1);
    let log = |step: u64| (step.max(1) as f64).log10();
    let line = |(split, series): &(Split, Series)| {
        let points = run
            .metrics
            .iter()
            .filter(|line| line.step > 0)
            .filter_map(|line| Some((log(line.step), *line.accuracy.get(split)?, None)));
        // Of hundreds of evaluations markers would be a band.
        series.clone().stroke(series.stroke).points(points)
    };
    let marks = run
        .stages
        .iter()
        .enumerate()
        .filter_map(|(place, outcome)| Some((log(outcome.reached.as_ref()?.step), (place + 1).to_string())));
    Panel {
        title: Title::new("Training", column(run)),
        content: Content::Lines {
            x: Axis {
                label: "training steps".to_owned(),
                range: (log(first), log(run.steps) + 0.02),
                log: true,
                layers: None,
            },
            y_label: "accuracy".to_owned(),
            y_range: UNIT,
            series: curves.iter().map(line).collect(),
            marks: marks.collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::Colour;
    use super::*;

    #[test]
    fn every_split_has_one_colour_in_all_panels_and_no_two_share_one() {
        let owned = |names: &[&str]| -> Vec<Split> { names.iter().map(|&name| name.into()).collect() };
        for (splits, watched) in [
            (owned(&["gamma", "alpha", "beta"]), owned(&["alpha", "delta"])),
            (owned(&["2hop_test"]), owned(&["2hop_test", "3hop_test", "4hop_test"])),
            (
                owned(&["train_inferred", "test_inferred_iid", "test_inferred_ood"]),
                owned(&["train", "test_inferred_iid", "test_inferred_ood"]),
            ),
        ] {
            let curves = curve_lines(&splits, &watched.iter().collect::<Vec<_>>());
            let colours: Vec<Colour> = curves.iter().map(|(_, series)| series.colour).collect();
            for (i, colour) in colours.iter().enumerate() {
                assert!(!colours[..i].contains(colour), "{:?}", curves[i].0);
            }
            let legend = legend(&curves, &splits);
            for (split, line) in lens_lines(&curves, &splits) {
                let explained = legend.iter().filter(|(_, entry)| entry.colour == line.colour).count();
                assert_eq!(explained, 1, "{split}");
            }
        }
    }
}
