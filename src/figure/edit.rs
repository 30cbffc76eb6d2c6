//! Edits of one direction of the bridge, by effective layer.

use super::kit::{Axis, Colour, Content, Figure, Panel, Series, Stroke, Title, UNIT};
use super::{Draw, Populations, bands, column_title, conditions, distinct, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{Changed, CheckpointSummary, Edit, EditForm, EditKind, EditRow, Report};

// What a panel of a checkpoint shows: a population, a position, and what is done along directions (absent where nothing is but
// the whole state or a random direction).
type Shown = (Split, usize, Position, Option<EditKind>);

impl Draw for Edit {
    /// A column a checkpoint, or of a single one a column a kind of edit; a row a split and position. The share of counterfactual
    /// answers by effective layer, where a direction is removed that of true ones; a line for the whole state and for each
    /// direction, dashed where it is clamped, dotted the placebo of that direction, written once. The read window is shaded.
    fn draw(report: &Report<Self>) -> Figure {
        let rows: Vec<&EditRow> = report.rows.iter().collect();
        let shown = shown(&rows, &report.settings.kinds);
        let several = several_runs(&report.checkpoints);
        let panel = |checkpoint: &CheckpointSummary, key: &Shown| Panel {
            title: title(&rows, checkpoint, key, &report.settings.kinds, several),
            content: panel(&rows, checkpoint, key),
        };
        let panels: Vec<Vec<Panel>> = match &*report.checkpoints {
            [alone] => {
                let by_place = shown.chunk_by(|a, b| (&a.0, a.1, a.2) == (&b.0, b.1, b.2));
                by_place
                    .map(|kinds| kinds.iter().map(|key| panel(alone, key)).collect())
                    .collect()
            }
            several => (shown.iter())
                .map(|key| several.iter().map(|checkpoint| panel(checkpoint, key)).collect())
                .collect(),
        };
        let labels = distinct(&rows, |row| row.label.to_string()).join(", ");
        let fitted = distinct(&rows, |row| row.form.matched_to.unwrap_or(row.form.direction));
        let mut legend: Vec<(String, Series)> = (fitted.iter())
            .map(|&of| (name(of).to_owned(), Series::new(colour(of))))
            .collect();
        let has_placebo = rows.iter().any(|row| row.form.matched_to.is_some());
        if has_placebo {
            let dotted = Series::new(Colour::BLACK).stroke(Stroke::Dotted);
            legend.push(("dotted: random, as far".to_owned(), dotted));
        }
        if report.settings.clamp {
            let dashed = Series::new(Colour::BLACK).stroke(Stroke::Dashed);
            legend.push(("dashed: clamped".to_owned(), dashed));
        }
        legend.push(("shaded: read window".to_owned(), window_series()));
        let clamped = if report.settings.clamp {
            "; clamped: made again at the same layer of every later iteration, of the whole state the source's trajectory (left out \
             where it sets the state that the answer is read from)"
        } else {
            ""
        };
        let answers = format!(
            "share of queries whose answer equals that of the other {labels} (removed: the true answer); in brackets: accuracy of the \
             queries without an edit, of the sources; {}",
            bands(report, |row| (&row.split, row.hops, row.n))
        );
        let window = format!(
            "read window: the whole state, written once, makes at least half of the answers the counterfactual one; at the last layer \
             where the answer is read, that state is the answer itself{clamped}"
        );
        let hook = report.settings.hook.name();
        Figure {
            title: format!("Edits of {hook}: another {labels} in its place"),
            conditions: vec![conditions(&report.checkpoints), answers, window],
            legend,
            panels,
        }
    }
}

fn shown(rows: &[&EditRow], kinds: &[EditKind]) -> Vec<Shown> {
    let populations = Populations::of(rows, |row| (&row.split, row.hops));
    let mut shown = Vec::new();
    for (split, hops) in populations.iter() {
        let of_population: Vec<&&EditRow> = rows
            .iter()
            .filter(|row| (&row.split, row.hops) == (split, hops))
            .collect();
        for position in distinct(&of_population, |row| row.position) {
            let mut found: Vec<Option<EditKind>> = kinds.iter().copied().map(Some).collect();
            found.retain(|kind| of_population.iter().any(|row| row.form.kind == *kind));
            if found.is_empty() {
                found.push(None);
            }
            shown.extend(found.into_iter().map(|kind| (split.clone(), hops, position, kind)));
        }
    }
    shown
}

fn title(
    rows: &[&EditRow],
    checkpoint: &CheckpointSummary,
    key: &Shown,
    kinds: &[EditKind],
    several_runs: bool,
) -> Title {
    let (split, _, position, kind) = key;
    let kind = match kind {
        Some(EditKind::Swap) if kinds.len() > 1 => ", swap",
        Some(EditKind::Remove) => ", remove",
        Some(EditKind::Push) if kinds.len() > 1 => ", push",
        _ => "",
    };
    let accuracies = of_panel(rows, checkpoint, key).first().map_or_else(String::new, |row| {
        format!("{:.2}, {:.2}", row.base_accuracy, row.source_accuracy)
    });
    Title::new(
        format!("{} at {position}{kind}", split.title()),
        column_title(checkpoint, several_runs),
    )
    .note(accuracies)
}

fn of_panel<'a>(
    rows: &[&'a EditRow],
    checkpoint: &CheckpointSummary,
    (split, hops, position, kind): &Shown,
) -> Vec<&'a EditRow> {
    let is_shown = |row: &&&EditRow| {
        checkpoint.owns(&row.origin)
            && (&row.split, &row.hops, &row.position) == (split, hops, position)
            && (row.form.kind.is_none() || row.form.kind == *kind)
    };
    rows.iter().filter(is_shown).copied().collect()
}

// Placebos are drawn written once, and a clamped edit where it says something of the model.
fn is_drawn(row: &EditRow) -> bool {
    !row.form.clamped || (row.form.matched_to.is_none() && !row.by_construction)
}

fn panel(rows: &[&EditRow], checkpoint: &CheckpointSummary, key: &Shown) -> Content {
    let of_panel = of_panel(rows, checkpoint, key);
    let deepest = of_panel.iter().map(|row| row.place.effective_layer).max().unwrap_or(1);
    let is_removal = key.3 == Some(EditKind::Remove);
    let drawn: Vec<&EditRow> = of_panel.iter().filter(|row| is_drawn(row)).copied().collect();
    let series = distinct(&drawn, |row| row.form).into_iter().map(|form| {
        let of_line = drawn.iter().filter(|row| row.form == form);
        let point = |row: &&EditRow| {
            let (share, interval) = match row.counterfactual {
                Some(counterfactual) if !is_removal => (counterfactual, row.low.zip(row.high)),
                _ => (row.original, Some((row.original_low, row.original_high))),
            };
            // The bands of placebos would hide each other.
            let interval = interval.filter(|_| form.matched_to.is_none());
            (row.place.effective_layer as f64, share, interval)
        };
        line(form).points(of_line.map(point))
    });
    Content::Lines {
        x: Axis {
            label: "effective layer".to_owned(),
            range: (0.5, deepest as f64 + 0.5),
            log: false,
            layers: Some(checkpoint.layers),
        },
        y_label: if is_removal {
            "true answers"
        } else {
            "counterfactual answers"
        }
        .to_owned(),
        y_range: UNIT,
        series: windows(&of_panel).into_iter().chain(series).collect(),
        marks: Vec::new(),
    }
}

// A band over all shares for each run of layers in the read window.
fn windows(rows: &[&EditRow]) -> Vec<Series> {
    let whole = rows
        .iter()
        .filter(|row| row.form.direction == Changed::Whole && !row.form.clamped && row.in_read_window);
    let layers: Vec<usize> = whole.map(|row| row.place.effective_layer).collect();
    let runs = layers.chunk_by(|a, b| a + 1 == *b);
    let band = |run: &[usize]| {
        let ends = [run[0] as f64 - 0.5, run[run.len() - 1] as f64 + 0.5];
        window_series().points(ends.map(|x| (x, UNIT.0, Some(UNIT))))
    };
    runs.map(band).collect()
}

fn window_series() -> Series {
    Series::new(Colour::SKY).stroke(Stroke::Solid)
}

fn name(of: Changed) -> &'static str {
    match of {
        Changed::Whole => "whole state",
        Changed::Output => "output matrix",
        Changed::Probe => "probe",
        Changed::Mean => "difference of means",
        Changed::Random => "random",
    }
}

fn colour(of: Changed) -> Colour {
    match of {
        Changed::Whole => Colour::BLACK,
        Changed::Output => Colour::VERMILION,
        Changed::Probe => Colour::BLUE,
        Changed::Mean => Colour::GREEN,
        Changed::Random => Colour::GREY,
    }
}

// A placebo has the colour of the edit that it is of.
fn line(form: EditForm) -> Series {
    let stroke = match (form.matched_to, form.clamped) {
        (Some(_), _) => Stroke::Dotted,
        (None, true) => Stroke::Dashed,
        (None, false) => return Series::new(colour(form.direction)),
    };
    Series::new(colour(form.matched_to.unwrap_or(form.direction))).stroke(stroke)
}
