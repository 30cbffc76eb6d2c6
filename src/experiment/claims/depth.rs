//! Claims 5 to 7: how deep the runs of the depth experiment learn and answer.

use super::words::or_dash;
use super::{Criterion, Judgement};
use crate::experiment::{Evidence, Recurrence, RunView, effective_layers};
use crate::measure::{Eval, EvalRow, Extrapolate, ExtrapolateRow};

impl<'a> RunView<'a> {
    /// The learnable recursion depth: the most hops that the curriculum has passed.
    pub(crate) fn learned(self) -> usize {
        let checkpoint = self.last_reached();
        checkpoint.and_then(|checkpoint| checkpoint.learned_hops).unwrap_or(1)
    }

    /// The depth that the analyses look at: the learned one, or 2 hops where none was.
    pub(crate) fn depth(self) -> usize {
        self.learned().max(2)
    }

    /// How far it answers at the last stage that it passed.
    pub(crate) fn answered(self) -> Option<&'a ExtrapolateRow> {
        self.rows_of::<Extrapolate>(self.last_reached()?).next()
    }

    /// The deepest chains that it answers there.
    pub(crate) fn answered_hops(self) -> usize {
        self.answered().map_or(1, |row| row.extrapolated)
    }

    /// The largest accuracy at this depth over all iterations, the fewest iterations of equals, and that after the most.
    pub(crate) fn max_and_last(self, hops: usize) -> Option<(&'a EvalRow, &'a EvalRow)> {
        let of_depth = || self.rows::<Eval>().filter(|row| row.split.depth() == Some(hops));
        let max = of_depth().find(|row| row.largest.is_max)?;
        Some((max, of_depth().max_by_key(|row| row.iterations)?))
    }

    fn depths_text(self) -> String {
        let (name, learned) = (self.name(), self.learned());
        format!("{name}: learned {learned}, answered {}", self.answered_hops())
    }
}

/// The plain runs (no injection, no shortcut) with this recurrence; those with a fixed R by rising R.
pub(crate) fn plain(evidence: &Evidence, recurrence: Recurrence) -> Vec<RunView<'_>> {
    let runs = evidence.runs();
    let mut found: Vec<RunView> = runs
        .filter(|run| run.role().is_plain() && run.role().recurrence == recurrence)
        .collect();
    if recurrence == Recurrence::Fixed {
        found.sort_by_key(|run| run.model().iterations);
    }
    found
}

/// The plain looped runs, those with a fixed R first.
pub(super) fn plain_looped(evidence: &Evidence) -> Vec<RunView<'_>> {
    [Recurrence::Fixed, Recurrence::Dynamic]
        .into_iter()
        .flat_map(|recurrence| plain(evidence, recurrence))
        .collect()
}

/// The run with the largest fixed R, and the dynamic one that draws at most that many iterations.
pub(super) fn rivals(evidence: &Evidence) -> Option<[RunView<'_>; 2]> {
    let fixed = *plain(evidence, Recurrence::Fixed).last()?;
    let mut dynamic = plain(evidence, Recurrence::Dynamic).into_iter();
    let rival = dynamic.find(|run| run.model().iterations == fixed.model().iterations)?;
    Some([fixed, rival])
}

/// The run with the largest fixed R and all dynamic ones: those that a comparison of rivals shows.
pub(super) fn largest_and_dynamic(evidence: &Evidence) -> Vec<RunView<'_>> {
    let largest = plain(evidence, Recurrence::Fixed).pop();
    largest
        .into_iter()
        .chain(plain(evidence, Recurrence::Dynamic))
        .collect()
}

/// Each larger fixed R learns more hops.
pub struct DepthGrows;

impl Criterion<&Evidence> for DepthGrows {
    fn text(&self) -> String {
        "among models with a fixed R above 1, each larger R has learned more hops".to_owned()
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let fixed = plain(evidence, Recurrence::Fixed);
        let iterations = |run: &RunView| run.model().iterations;
        let mut pairs = fixed
            .iter()
            .flat_map(|a| fixed.iter().map(move |b| (a, b)))
            .filter(|(a, b)| iterations(a) < iterations(b))
            .peekable();
        let is_there = pairs.peek().is_some();
        let rises = pairs.all(|(a, b)| a.learned() < b.learned());
        Judgement {
            met: is_there.then_some(rises),
            numbers: fixed.iter().map(|run| run.depths_text()).collect(),
        }
    }
}

/// A dynamic run learns as deep as the largest fixed R.
pub struct DynamicLearnsAsDeep;

impl Criterion<&Evidence> for DynamicLearnsAsDeep {
    fn text(&self) -> String {
        "the dynamic model that draws as many iterations at most has learned as many hops as the model with the largest fixed \
         R, or more"
            .to_owned()
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let shown = largest_and_dynamic(evidence);
        Judgement {
            met: rivals(evidence).map(|[fixed, dynamic]| dynamic.learned() >= fixed.learned()),
            numbers: shown.iter().map(|run| run.depths_text()).collect(),
        }
    }
}

/// Vanilla runs learn less deep than the looped run of the same effective layers.
pub struct VanillaLearnsLessDeep;

impl Criterion<&Evidence> for VanillaLearnsLessDeep {
    fn text(&self) -> String {
        "the vanilla model has learned fewer hops than the looped one with the same effective layers".to_owned()
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let fixed = plain(evidence, Recurrence::Fixed);
        let rival = |vanilla: RunView| {
            let layers = effective_layers(vanilla.model());
            fixed
                .iter()
                .copied()
                .find(|run| effective_layers(run.model()) == layers)
        };
        let vanilla = plain(evidence, Recurrence::Vanilla).into_iter();
        let pairs: Vec<[RunView; 2]> = vanilla.filter_map(|run| Some([run, rival(run)?])).collect();
        Judgement {
            met: (!pairs.is_empty()).then(|| {
                let mut pairs = pairs.iter();
                pairs.all(|[vanilla, looped]| vanilla.learned() < looped.learned())
            }),
            numbers: pairs.iter().flatten().map(|run| run.depths_text()).collect(),
        }
    }
}

/// Most depths come in the last updates.
pub struct PhaseTransition {
    /// Of runs that learned at least this many hops,
    pub min_learned: usize,
    /// at least this share of the depths
    pub min_share: f64,
    /// came after this share of the updates.
    pub late: f64,
}

/// The updates after which each depth from 2 hops on was learned.
pub(super) fn steps_of_depths(run: RunView) -> Option<Vec<u64>> {
    let step_of = |depth: usize| {
        let rows = run.rows::<Extrapolate>().filter(|row| row.learned >= depth);
        rows.map(|row| row.origin.step).min()
    };
    (2..=run.learned()).map(step_of).collect()
}

impl PhaseTransition {
    // Depths that came late, all depths, and updates.
    fn count(&self, run: RunView) -> Option<(usize, usize, u64)> {
        let steps = steps_of_depths(run)?;
        let end = run.last_reached()?.origin.step;
        let late = steps.iter().filter(|&&step| step as f64 >= self.late * end as f64);
        Some((late.count(), steps.len(), end))
    }
}

impl Criterion<&Evidence> for PhaseTransition {
    fn text(&self) -> String {
        format!(
            "of every model that learned {} hops or more, at least {:.2} of its depths came in the last {:.2} of the updates",
            self.min_learned,
            self.min_share,
            1.0 - self.late
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let looped = plain_looped(evidence).into_iter();
        let counted: Option<Vec<_>> = looped
            .filter(|run| run.learned() >= self.min_learned)
            .map(|run| Some((run, self.count(run)?)))
            .collect();
        let counted = counted.filter(|runs| !runs.is_empty());
        let is_late =
            |&(_, (late, all, _)): &(RunView, (usize, usize, u64))| late as f64 >= self.min_share * all as f64;
        Judgement {
            met: counted.as_ref().map(|runs| runs.iter().all(is_late)),
            numbers: counted
                .iter()
                .flatten()
                .map(|(run, (late, all, end))| {
                    let last = 1.0 - self.late;
                    format!(
                        "{}: {late} of {all} depths in the last {last:.2} of {end} updates",
                        run.name()
                    )
                })
                .collect(),
        }
    }
}

/// More iterations answer deeper chains than were learned, where and only where R is large.
pub struct UnlocksDepth {
    /// R above this is large.
    pub max_small_r: usize,
    /// The accuracy from which a depth counts as answered.
    pub min_accuracy: f64,
}

impl UnlocksDepth {
    // Whether it answers deeper than it learned; nothing where the data has no deeper chains than were learned.
    fn beyond(run: RunView) -> Option<bool> {
        let row = run.answered()?;
        (row.next.is_some() || row.extrapolated > row.learned).then_some(row.extrapolated > row.learned)
    }

    fn line(run: RunView) -> String {
        let at = run.answered().map(|row| {
            format!(
                "at most {} there, at R {}, one hop more {}",
                or_dash(row.max_there()),
                or_dash(row.best_iterations.map(|n| n.to_string())),
                row.next
                    .map_or("not in the data".to_owned(), |next| format!("at most {next:.3}"))
            )
        });
        format!("{}; {}", run.depths_text(), or_dash(at))
    }
}

impl Criterion<&Evidence> for UnlocksDepth {
    fn text(&self) -> String {
        format!(
            "every looped model with R above {} (or drawn up to there) answers deeper than it learned (accuracy at least {:.2} at \
             some number of iterations), and no other does, of those with deeper chains in the data",
            self.max_small_r, self.min_accuracy
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let looped = plain_looped(evidence);
        let as_here = |run: &RunView| {
            let result = run.get::<Extrapolate>();
            result.is_some_and(|result| result.settings.accuracy == self.min_accuracy)
        };
        let of_kind = |large: bool| -> Vec<bool> {
            let runs = looped
                .iter()
                .filter(|run| (run.model().iterations > self.max_small_r) == large);
            runs.filter_map(|run| Self::beyond(*run)).collect()
        };
        let (large, small) = (of_kind(true), of_kind(false));
        let met = large.iter().all(|&beyond| beyond) && !small.iter().any(|&beyond| beyond);
        let tested = !large.is_empty() && !small.is_empty() && looped.iter().all(as_here);
        Judgement {
            met: tested.then_some(met),
            numbers: looped.iter().map(|run| Self::line(*run)).collect(),
        }
    }
}
