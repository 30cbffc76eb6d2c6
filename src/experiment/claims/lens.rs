//! Claims 3a to 3d and what others found at r2: what the logit lens and probes read.

use super::words::max_interval;
use super::{Criterion, Judgement};
use crate::checkpoint::CheckpointRole;
use crate::experiment::RunView;
use crate::graph::{Position, Split, Target};
use crate::measure::{Lens, LensRow, Probe, ProbeRow, SplitBy};

pub(super) const R1: Position = Position::Relation(1);
pub(super) const R2: Position = Position::Relation(2);

/// What the lens reads of an entity at a position, by effective layer.
pub(super) struct LensLine<'a>(Vec<&'a LensRow>);

impl<'a> LensLine<'a> {
    pub(super) fn of(
        run: RunView<'a>,
        checkpoint: CheckpointRole,
        split: &Split,
        label: Target,
        position: Position,
    ) -> Self {
        let rows = run.rows_at::<Lens>(checkpoint);
        Self(
            rows.filter(|row| row.split == *split && row.label == label && row.position == position)
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The row with the largest share over effective layers.
    pub(super) fn max(&self) -> Option<&'a LensRow> {
        self.0.iter().copied().find(|row| row.largest.is_max)
    }

    /// The first row with at least this share.
    pub(super) fn first_at_least(&self, min: f64) -> Option<&'a LensRow> {
        self.0.iter().copied().find(|row| row.top1 >= min)
    }

    fn max_text(&self) -> String {
        self.max().map_or("not measured".to_owned(), |row| {
            let interval =
                max_interval(&row.largest).map_or(String::new(), |(low, high)| format!(" ({low:.3}–{high:.3})"));
            format!(
                "at most {:.3}{interval}, at effective layer {}, n = {}",
                row.top1, row.place.effective_layer, row.n
            )
        })
    }
}

/// At a stage the lens reads the target of training chains, and not the bridge.
pub struct TargetBeforeBridge {
    /// The stage, from 1.
    pub stage: usize,
    /// Least share of chains whose target is read at r2.
    pub min_target: f64,
    /// The bridge is read at r1 for less than this share.
    pub max_bridge: f64,
}

impl Criterion<RunView<'_>> for TargetBeforeBridge {
    fn text(&self) -> String {
        format!(
            "on training chains at stage {} the target is read at r2 for at least {:.2} of them, the bridge at r1 for less than \
             {:.2}",
            self.stage, self.min_target, self.max_bridge
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let stage = CheckpointRole::Stage(self.stage);
        let Some(checkpoint) = run.checkpoint(stage) else {
            return Judgement {
                met: None,
                numbers: vec![format!("{stage}: not reached")],
            };
        };
        let line = |label, position| LensLine::of(run, stage, &Split::train_chains(), label, position);
        let (bridge, target) = (line(Target::Bridge, R1), line(Target::Answer, R2));
        let shares = bridge.max().zip(target.max());
        let name = &checkpoint.origin.checkpoint;
        Judgement {
            met: shares.map(|(bridge, target)| target.top1 >= self.min_target && bridge.top1 < self.max_bridge),
            numbers: vec![
                format!("{name}: bridge at r1 {}", bridge.max_text()),
                format!("{name}: target at r2 {}", target.max_text()),
            ],
        }
    }
}

/// At the end of training the bridge is read at r1 and the target at r2.
pub struct ReadAtOwnRelation {
    /// Least share of ID chains.
    pub min_id: f64,
    /// Least share of OOD chains.
    pub min_ood: f64,
}

impl Criterion<RunView<'_>> for ReadAtOwnRelation {
    fn text(&self) -> String {
        format!(
            "at the end of training both are top-1 for at least {:.2} of ID and {:.2} of OOD test chains at some effective layer",
            self.min_id, self.min_ood
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let end = CheckpointRole::End;
        let mut numbers = Vec::new();
        let mut met = Some(true);
        for (split, name, min) in [
            (Split::in_distribution(), "ID", self.min_id),
            (Split::ood(), "OOD", self.min_ood),
        ] {
            for (label, position) in [(Target::Bridge, R1), (Target::Answer, R2)] {
                let line = LensLine::of(run, end, &split, label, position);
                let read = line.max().map(|row| row.top1 >= min);
                met = met.zip(read).map(|(met, read)| met && read);
                numbers.push(format!("{end}, {name}: {label} at {position} {}", line.max_text()));
            }
        }
        Judgement { met, numbers }
    }
}

/// The OOD target appears with one iteration.
pub struct AppearsInIteration {
    /// The iteration, from 1.
    pub iteration: usize,
    /// It appears where it is read for this share of the chains for which it is read at its best,
    pub min_share_of_max: f64,
    /// and for this share of all.
    pub min_top1: f64,
}

impl Criterion<RunView<'_>> for AppearsInIteration {
    fn text(&self) -> String {
        format!(
            "the first effective layer at which the lens reads the target at r2 for at least {:.2} as many OOD chains as at its \
             best (and {:.2} of all) is in iteration {}",
            self.min_share_of_max, self.min_top1, self.iteration
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let end = CheckpointRole::End;
        let line = LensLine::of(run, end, &Split::ood(), Target::Answer, R2);
        let max = line.max().map_or(1.0, |row| row.top1);
        let first = line.first_at_least((self.min_share_of_max * max).max(self.min_top1));
        let course = line
            .0
            .iter()
            .map(|row| format!("{}: {:.3}", row.place.effective_layer, row.top1));
        let course: Vec<String> = course.collect();
        Judgement {
            met: (!line.is_empty()).then(|| first.is_some_and(|row| row.place.iteration == self.iteration)),
            numbers: vec![
                first.map_or("it never appears".to_owned(), |row| {
                    let place = row.place;
                    format!(
                        "{end}: it appears in iteration {}, layer {}",
                        place.iteration, place.layer
                    )
                }),
                format!("top-1 by effective layer: {}", course.join(", ")),
            ],
        }
    }
}

/// The lens reads the OOD target at no layer.
pub struct NeverRead {
    /// It is read for less than this share of chains.
    pub max_target: f64,
    /// The share from which a note calls the bridge visible.
    pub min_visible: f64,
}

impl Criterion<RunView<'_>> for NeverRead {
    fn text(&self) -> String {
        format!(
            "at the end of training the lens reads the target at r2 for less than {:.2} of OOD chains at every layer",
            self.max_target
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let line = |label, position| LensLine::of(run, CheckpointRole::End, &Split::ood(), label, position);
        let (bridge, target) = (line(Target::Bridge, R1), line(Target::Answer, R2));
        let visible = match bridge.first_at_least(self.min_visible) {
            Some(row) => format!("from layer {}", row.place.effective_layer),
            None => "at no layer".to_owned(),
        };
        Judgement {
            met: target.max().map(|row| row.top1 < self.max_target),
            numbers: vec![
                format!("OOD target at r2 {}", target.max_text()),
                format!("OOD bridge at r1 {}", bridge.max_text()),
                format!(
                    "the OOD bridge is top-1 for {:.2} of the chains {visible}",
                    self.min_visible
                ),
            ],
        }
    }
}

/// At r2 a probe finds the bridge, and the lens does not.
pub struct DecodableAndInvisible {
    /// The lens reads it for less than this share of chains.
    pub max_lens: f64,
}

/// The probe of the bridge at r2 on chains of other facts than it was fitted on, at the layer chosen on held-out fit rows: so
/// its interval is not one of a maximum over the test. The first of equals.
pub(super) fn bridge_probe<'a>(run: RunView<'a>, split: &Split) -> Option<&'a ProbeRow> {
    let is_of_spec = |row: &&ProbeRow| (row.label, row.position, row.split_by) == (Target::Bridge, R2, SplitBy::Facts);
    let rows: Vec<&ProbeRow> = run
        .rows_at::<Probe>(CheckpointRole::End)
        .filter(|row| row.split == *split)
        .filter(is_of_spec)
        .collect();
    rows.into_iter()
        .rev()
        .max_by(|a, b| a.validation.total_cmp(&b.validation))
}

impl Criterion<RunView<'_>> for DecodableAndInvisible {
    fn text(&self) -> String {
        format!(
            "the lens reads it for less than {:.2} of the chains, the probe's interval lies above lens, control task and \
             baselines (embeddings, untrained, step 0), ID and OOD",
            self.max_lens
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let end = CheckpointRole::End;
        let mut numbers = Vec::new();
        let mut met = Some(true);
        for (split, name) in [(Split::in_distribution(), "ID"), (Split::ood(), "OOD")] {
            let probe = bridge_probe(run, &split);
            let lens = LensLine::of(run, end, &split, Target::Bridge, R2);
            let hidden = lens.max().map(|row| row.top1).zip(probe).map(|(lens, probe)| {
                let baseline = probe.best_baseline().max(probe.control);
                lens < self.max_lens && probe.low > baseline && probe.low > lens
            });
            met = met.zip(hidden).map(|(met, hidden)| met && hidden);
            if let Some(row) = probe {
                numbers.push(format!(
                    "{end}, {name}: {} probe {:.3} ({:.3}–{:.3}) at effective layer {} (chosen on held-out fit rows), control \
                     task {:.3}, best baseline {:.3}, n = {}; lens {}",
                    row.classifier.name(),
                    row.accuracy,
                    row.low,
                    row.high,
                    row.place.effective_layer,
                    row.control,
                    row.best_baseline(),
                    row.n,
                    lens.max_text()
                ));
            }
        }
        Judgement { met, numbers }
    }
}
