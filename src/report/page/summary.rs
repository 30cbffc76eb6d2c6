//! The summary box of a page: what came of the runs, in plain words with numbers and intervals.

use std::ops::Range;

use super::PageRun;
use crate::checkpoint::CheckpointRole;
use crate::figure::FoundMethod;
use crate::graph::{Position, Split, Target};
use crate::measure::statistics::{Clustering, intervals_in_words};
use crate::measure::{Eval, EvalRow, Extrapolate, ExtrapolateRow, Lens, LensRow, Method, Probe, ProbeRow, Report};
use crate::wording::{counted, listed, thousands};

/// An entity is read where the lower end of the interval of its top-1 share lies above this.
const READ: f64 = 0.5;

/// Stages of a run that are told one by one, at most.
const MAX_STAGES: usize = 4;

/// A paragraph of the box.
pub(super) struct Paragraph {
    /// What it is about, in a word or two.
    pub(super) about: &'static str,
    /// What it says.
    pub(super) text: String,
}

/// What there is to say of the ends of these runs; `ranges`: the checkpoints of each run among those of all results.
pub(super) fn summary(runs: &[PageRun], found: &[FoundMethod], ranges: &[Range<usize>]) -> Vec<Paragraph> {
    let ends: Vec<End> = runs
        .iter()
        .zip(ranges)
        .map(|(run, range)| End {
            run,
            last: range.end - 1,
            found,
        })
        .collect();
    let paragraphs = [
        ("Accuracy", accuracy(&ends)),
        ("Depth", depth(&ends)),
        ("Training", training(runs)),
        ("Lens", lens(&ends)),
        ("Probe", probe(&ends)),
    ];
    let said = paragraphs.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(about, text)| Paragraph { about, text }).collect()
}

/// `0.848 (0.746–0.914)`.
pub(super) fn within(value: f64, (low, high): (f64, f64)) -> String {
    let to = if low < 0.0 { " to " } else { "–" };
    format!("{value:.3} ({low:.3}{to}{high:.3})")
}

// The last checkpoint of a run, with the results of all.
struct End<'a> {
    run: &'a PageRun,
    // Its place among the checkpoints of all results.
    last: usize,
    found: &'a [FoundMethod],
}

impl<'a> End<'a> {
    // The result of a method on it, of some methods with the others of its run.
    fn report<M: Method + 'static>(&self) -> Option<&'a Report<M>> {
        let method = self.found.iter().find(|method| method.name == M::NAME)?;
        let figure = method
            .figures
            .iter()
            .find(|figure| figure.checkpoints.contains(&self.last));
        figure?.report()
    }

    fn rows<M: Method + 'static>(&self) -> &'a [M::Row] {
        self.report::<M>().map_or(&[], |report| &report.rows)
    }

    // The row of a split at the iterations of training.
    fn eval(&self, split: &Split) -> Option<&'a EvalRow> {
        let trained = self.run.summary.model.iterations;
        let rows = self.rows::<Eval>();
        rows.iter().find(|row| row.split == *split && row.iterations == trained)
    }

    // How deep it answers, with the least accuracy that counts.
    fn extrapolate(&self) -> Option<(f64, &'a ExtrapolateRow)> {
        let report = self.report::<Extrapolate>()?;
        let hash = &self.run.last()?.info.origin.checkpoint_hash;
        let row = report.rows.iter().find(|row| row.origin.checkpoint_hash == *hash)?;
        Some((report.settings.accuracy, row))
    }

    // Whether it is that of the end of training.
    fn is_end(&self) -> bool {
        self.run.last().is_none_or(|last| last.info.role == CheckpointRole::End)
    }

    // "ends" of the end of training, of another checkpoint at which step it is.
    fn verb(&self) -> String {
        match self.run.last() {
            Some(last) if !self.is_end() => format!("is, at step {},", thousands(last.info.origin.step)),
            _ => "ends".to_owned(),
        }
    }

    // `effective layer 3 (iteration 2)`.
    fn layer(&self, effective_layer: usize, iteration: usize) -> String {
        match (effective_layer, self.run.summary.model.iterations) {
            (0, _) => "the embedding".to_owned(),
            (layer, 1) => format!("layer {layer}"),
            (layer, _) => format!("effective layer {layer} (iteration {iteration})"),
        }
    }
}

// When each run reached its stages.
fn training(runs: &[PageRun]) -> String {
    let of_run = |run: &PageRun| {
        let summary = &run.summary;
        let reached = summary.stages.iter().filter_map(|outcome| {
            let reached = outcome.reached.as_ref()?;
            Some(format!("{} at step {}", outcome.stage.name, thousands(reached.step)))
        });
        let reached: Vec<String> = reached.collect();
        let told = match reached.as_slice() {
            [.., last] if reached.len() > MAX_STAGES => format!("the last, {last}"),
            all => all.join(", "),
        };
        let stages = match (reached.len(), summary.stages.len()) {
            (_, 0) => "has no stages".to_owned(),
            (0, count) => format!("reached none of its {}", counted(count, "stage")),
            (some, count) => format!("reached {some} of {} ({told})", counted(count, "stage")),
        };
        let until = if summary.finished { "in" } else { "so far, in" };
        let steps = thousands(summary.steps);
        format!("{} ({}) {stages} {until} {steps} steps.", run.name, run.kind())
    };
    let sentences: Vec<String> = runs.iter().map(of_run).collect();
    format!(
        "{} A stage counts from the last of the evaluations in a row that it asks for. One run each: nothing here says how much seeds \
         differ.",
        sentences.join(" ")
    )
}

// By split, with all runs side by side.
fn accuracy(ends: &[End]) -> String {
    let splits = [Split::ood(), Split::in_distribution()];
    let mut said: Vec<String> = splits.iter().filter_map(|split| accuracy_on(split, ends)).collect();
    let rows = splits
        .iter()
        .flat_map(|split| ends.iter().filter_map(|end| end.eval(split)));
    let intervals: Vec<(String, Clustering)> = rows.map(|row| (row.split.title().to_owned(), row.interval)).collect();
    if splits.iter().any(|split| ends.iter().any(|end| lacks_eval(end, split))) {
        said.push(
            "Without an interval: by the last evaluation while training, since there is no result of eval; --measure makes one."
                .to_owned(),
        );
    }
    if !intervals.is_empty() {
        said.push(format!(
            "{}, over the test chains of each run and not over seeds.",
            intervals_in_words(intervals)
        ));
    }
    said.join(" ")
}

// Whether only the evaluations of training tell the accuracy.
fn lacks_eval(end: &End, split: &Split) -> bool {
    end.eval(split).is_none() && end.run.summary.accuracy.contains_key(split)
}

fn accuracy_on(split: &Split, ends: &[End]) -> Option<String> {
    let sizes: Vec<usize> = ends.iter().filter_map(|end| Some(end.eval(split)?.n)).collect();
    let common = sizes.first().copied().filter(|first| sizes.iter().all(|n| n == first));
    let of_end = |end: &End| {
        let (name, verb) = (&end.run.name, end.verb());
        if let Some(row) = end.eval(split) {
            let n = if common.is_none() {
                format!(" of {}", counted(row.n, "chain"))
            } else {
                String::new()
            };
            return Some(format!(
                "{name} {verb} at {}{n}",
                within(row.accuracy, (row.low, row.high))
            ));
        }
        // What the run knows is of its last evaluation.
        let is_last = end.is_end() || !end.run.summary.finished;
        let known = end.run.summary.accuracy.get(split).filter(|_| is_last)?;
        Some(format!("{name} {verb} at {known:.3} (no interval)"))
    };
    let texts: Vec<String> = ends.iter().filter_map(of_end).collect();
    let chains = common.map_or(String::new(), |n| format!(", {}", counted(n, "chain")));
    (!texts.is_empty()).then(|| format!("On {}{chains}: {}.", split.title(), texts.join("; ")))
}

// How deep each run learned, and how deep it answers.
fn depth(ends: &[End]) -> String {
    let of_end = |end: &End| {
        let learned = end.run.summary.learned_hops?;
        let answered = end.extrapolate().map_or(String::new(), |(_, row)| {
            let at = row.best.zip(row.low.zip(row.high)).zip(row.best_iterations);
            let at = at.map_or(String::new(), |((best, interval), iterations)| {
                format!(", there {} after {iterations} iterations", within(best, interval))
            });
            format!("; answers chains of up to {}{at}", row.extrapolated)
        });
        Some(format!(
            "{} learned chains of up to {}{answered}.",
            end.run.name,
            counted(learned, "hop")
        ))
    };
    let mut said: Vec<String> = ends.iter().filter_map(of_end).collect();
    let not_measured = ends
        .iter()
        .filter(|end| end.run.summary.learned_hops.is_some() && end.extrapolate().is_none());
    let not_measured: Vec<String> = not_measured.map(|end| end.run.name.clone()).collect();
    if !not_measured.is_empty() {
        let names = listed(&not_measured, not_measured.len());
        said.push(format!(
            "How deep {names} can answer has not been measured; extrapolate does."
        ));
    }
    if let Some((least, _)) = ends.iter().find_map(End::extrapolate) {
        said.push(format!(
            "Answered: an accuracy of {least} or more after some number of iterations, at that depth and every one below; intervals: 95 % \
             of that maximum over iterations, over test chains of one run."
        ));
    }
    said.join(" ")
}

// The bridge of two hops, or the first of more, at the relation that leads to it.
fn is_first_bridge(label: Target, position: Position) -> bool {
    matches!(label, Target::Bridge | Target::BridgeAfter(1) | Target::EntityHere) && position == Position::Relation(1)
}

// OOD chains where there are such, else those of the most hops that the run learned, else the last.
fn split_of<'a>(end: &End, splits: impl Iterator<Item = &'a Split> + Clone) -> Option<&'a Split> {
    let is_ood = |split: &&Split| **split == Split::ood();
    let is_learned = |split: &&Split| split.depth().is_some() && split.depth() == end.run.summary.learned_hops;
    splits
        .clone()
        .find(is_ood)
        .or_else(|| splits.clone().find(is_learned))
        .or_else(|| splits.last())
}

// Where the lens first reads the bridge.
fn lens(ends: &[End]) -> String {
    let of_end = |end: &End| {
        let is_line = |row: &&LensRow| is_first_bridge(row.label, row.position);
        let bridge: Vec<&LensRow> = end.rows::<Lens>().iter().filter(is_line).collect();
        let split = split_of(end, bridge.iter().map(|row| &row.split))?;
        let line: Vec<&LensRow> = bridge.iter().copied().filter(|row| row.split == *split).collect();
        let on = format!("{}, n = {}", split.title(), line.first()?.n);
        let layer = |row: &LensRow| end.layer(row.place.effective_layer, row.place.iteration);
        if let Some(index) = line.iter().position(|row| row.low > READ) {
            let (row, before) = (line[index], index.checked_sub(1).map(|before| line[before]));
            let before = before.map_or(String::new(), |row| {
                format!(", one layer before {}", within(row.top1, (row.low, row.high)))
            });
            return Some(format!(
                "In {} it is first read at {}: top-1 {}{before} ({on}).",
                end.run.name,
                layer(row),
                within(row.top1, (row.low, row.high))
            ));
        }
        let max = line.iter().find(|row| row.largest.is_max)?;
        let interval = max.largest.max_low.zip(max.largest.max_high)?;
        Some(format!(
            "In {} it is read nowhere: the maximum is {}, at {} ({on}; the interval is that of the maximum).",
            end.run.name,
            within(max.top1, interval),
            layer(max)
        ))
    };
    let said: Vec<String> = ends.iter().filter_map(of_end).collect();
    if said.is_empty() {
        return String::new();
    }
    format!(
        "The logit lens looks for the (first) bridge at r1. {} Read: the lower end of the 95 % interval, over test chains of one run, is \
         above {READ}; it is the interval of that layer, and not of the choice among layers.",
        said.join(" ")
    )
}

// Where a probe of the bridge first beats its control and every baseline.
fn probe(ends: &[End]) -> String {
    let of_end = |end: &End| {
        let is_line = |row: &&ProbeRow| is_first_bridge(row.label, row.position);
        let bridge: Vec<&ProbeRow> = end.rows::<Probe>().iter().filter(is_line).collect();
        let first = *bridge.first()?;
        let split = split_of(end, bridge.iter().map(|row| &row.split))?;
        let is_of_line = |row: &&ProbeRow| (&row.probe, row.site, &row.split) == (&first.probe, first.site, split);
        let line: Vec<&ProbeRow> = bridge.iter().copied().filter(is_of_line).collect();
        let on = format!("probe {}, {}, n = {}", first.probe, split.title(), line.first()?.n);
        let rival = |row: &ProbeRow| row.best_baseline().max(row.control);
        let numbers = |row: &ProbeRow| {
            format!(
                "{} at {}, best baseline {:.3}, control {:.3}",
                within(row.accuracy, (row.low, row.high)),
                end.layer(row.place.effective_layer, row.place.iteration),
                row.best_baseline(),
                row.control
            )
        };
        let name = &end.run.name;
        if let Some(row) = line.iter().find(|row| row.low > rival(row)) {
            return Some(format!("In {name} it first does: {} ({on}).", numbers(row)));
        }
        let most = |a: &&&ProbeRow, b: &&&ProbeRow| a.validation.total_cmp(&b.validation);
        let row = line.iter().max_by(most)?;
        Some(format!(
            "In {name} it does at no layer; where it does best on held-out fit rows: {} ({on}).",
            numbers(row)
        ))
    };
    let said: Vec<String> = ends.iter().filter_map(of_end).collect();
    if said.is_empty() {
        return String::new();
    }
    format!(
        "A linear probe decodes the (first) bridge at r1 where the lower end of its 95 % interval, over test prefixes of one run, is above \
         its control and every baseline (embeddings alone, untrained, step 0). {}",
        said.join(" ")
    )
}
