//! The rows of edits: what comes of each at each place.

use serde::{Deserialize, Serialize};

use super::form::EditForm;
use super::sweep::{Outcome, Outcomes, Sweep};
use crate::error::Result;
use crate::graph::{Position, Split, Target};
use crate::measure::checkpoint::Origin;
use crate::measure::columns::Column;
use crate::measure::largest::Largest;
use crate::measure::output::Output;
use crate::measure::place::Place;
use crate::measure::quantity::quantities;
use crate::measure::query_rows::Asked;
use crate::measure::row::columns;
use crate::measure::statistics::{Clustering, Resamples, mean, share};
use crate::model::{Point, Site};

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
    /// Share of queries whose most likely token is the counterfactual answer; absent of a removal, which puts no other bridge in.
    pub counterfactual: Option<f64>,
    /// 95 % interval of `counterfactual`.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// Whether `counterfactual` is the largest over effective layers, of a removal whether `original` is the least, of rows that are
    /// not `by_construction`; and the interval of that maximum.
    #[serde(flatten)]
    pub largest: Largest,
    /// Share of queries whose most likely token is the true answer of the query.
    pub original: f64,
    /// 95 % interval of `original`.
    pub original_low: f64,
    /// The upper end of that interval.
    pub original_high: f64,
    /// In the row of a removal with the least `original`: that minimum.
    pub min_original: Option<f64>,
    /// Its 95 % interval, which counts for its having been selected.
    pub min_original_low: Option<f64>,
    /// The upper end of that interval.
    pub min_original_high: Option<f64>,
    /// Mean change of the logit of the counterfactual answer; absent of a removal.
    pub counterfactual_logit: Option<f64>,
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
    /// `counterfactual` of a clamped edit less that of the same edit written once; of a removal, how much less `original` is. Absent
    /// `by_construction`.
    pub clamp_gain: Option<f64>,
    /// 95 % interval of that paired difference.
    pub clamp_gain_low: Option<f64>,
    /// The upper end of that interval.
    pub clamp_gain_high: Option<f64>,
    /// Mean distance that a single write moves the state by.
    pub distance: f64,
    /// Whether the swap of the whole state here, written once, makes at least half of the answers the counterfactual one.
    pub in_read_window: bool,
    /// The effective layers of the position that are in its read window: `1–2, 4`, or `none`.
    pub read_window: String,
    /// Whether the state that the answer is read from is set to the source's, so that the answers are the source's by construction.
    pub by_construction: bool,
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
    Column::of("matched_to").titled("as far as"),
    Column::of("clamped"),
    Column::of("n"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("counterfactual")
        .titled("max counterfactual (95 % of the max)")
        .within("max_low", "max_high"),
    Column::of("original")
        .titled("original (95 %)")
        .within("original_low", "original_high"),
    Column::of("min_original")
        .titled("min original (95 % of the min)")
        .within("min_original_low", "min_original_high"),
    Column::of("clamp_gain")
        .titled("clamp gain (95 %)")
        .within("clamp_gain_low", "clamp_gain_high"),
    Column::of("distance").decimals(2),
    Column::of("read_window").titled("read window"),
    Column::of("base_accuracy").titled("base accuracy"),
    Column::of("source_accuracy").titled("source accuracy");
    measured
    quantities![
        sample n, share counterfactual within low high, share original within original_low original_high,
        of_line min_original within min_original_low min_original_high,
        of counterfactual_logit within counterfactual_logit_low counterfactual_logit_high,
        of original_logit within original_logit_low original_logit_high,
        of clamp_gain within clamp_gain_low clamp_gain_high, of distance, of in_read_window, of read_window,
        share base_accuracy, share source_accuracy,
    ],
    Largest::QUANTITIES;
    along "effective_layer", "iteration", "layer"
}

// A per-query row.
#[derive(Serialize)]
struct QueryEdit<'a> {
    label: Target,
    hook: Point,
    position: Position,
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    form: EditForm,
    other_bridge: &'a str,
    source_query: String,
    counterfactual_answer: &'a str,
    edited_answer: &'a str,
    // Changes by the edit.
    counterfactual_logit: f64,
    original_logit: f64,
    distance: f64,
}

// One edit at one position over all sites.
struct Line<'a> {
    form: EditForm,
    outcomes: &'a [Outcome],
    // Of each site and query: whether the answer is the counterfactual one; of a removal, whether it is not the true one.
    redirected: Vec<Vec<bool>>,
    // The rows whose answers say something of the model.
    largest: Vec<Largest>,
}

impl Sweep<'_> {
    /// Writes the rows of all edits.
    ///
    /// # Errors
    /// When a per-query row cannot be written.
    pub(super) fn write(&self, outcomes: &Outcomes, out: &mut Output<EditRow>) -> Result<()> {
        let resamples = self.population.resamples();
        for (&position, by_form) in self.positions.iter().zip(&outcomes.edited) {
            let lines: Vec<Line> = (self.forms.iter().zip(by_form))
                .map(|(&form, outcomes)| self.line(position, form, outcomes, resamples))
                .collect();
            // The swap of the whole state, written once, comes first.
            let window: Vec<bool> = lines[0]
                .redirected
                .iter()
                .map(|answers| share(answers) >= 0.5)
                .collect();
            for (index, line) in lines.iter().enumerate() {
                // The line before a clamped one is the same edit, written once.
                let once = line.form.clamped.then(|| &lines[index - 1]);
                for (site_index, &site) in self.sites().iter().enumerate() {
                    self.query_rows(position, site, line.form, &line.outcomes[site_index], outcomes, out)?;
                    let row = self.row((position, site_index), line, once, &window, outcomes);
                    out.rows.push(row);
                }
            }
        }
        Ok(())
    }

    fn line<'o>(&self, position: Position, form: EditForm, outcomes: &'o [Outcome], resamples: &Resamples) -> Line<'o> {
        let redirected: Vec<Vec<bool>> = (outcomes.iter())
            .map(|outcome| {
                if form.is_removal() {
                    self.is_original(outcome)
                        .iter()
                        .map(|is_original| !is_original)
                        .collect()
                } else {
                    let answers = outcome.top1.iter().zip(&self.drawn);
                    answers.map(|(answer, drawn)| *answer == drawn.answer).collect()
                }
            })
            .collect();
        let sites = self.sites();
        let informative: Vec<usize> = (0..sites.len())
            .filter(|&site| !self.is_by_construction(form, position, sites[site]))
            .collect();
        let shares: Vec<Vec<bool>> = informative.iter().map(|&site| redirected[site].clone()).collect();
        let mut largest = vec![Largest::default(); sites.len()];
        for (site, found) in informative.into_iter().zip(Largest::of_shares(&shares, resamples)) {
            largest[site] = found;
        }
        Line {
            form,
            outcomes,
            redirected,
            largest,
        }
    }

    // Whether each answer is the true one of the query.
    fn is_original(&self, outcome: &Outcome) -> Vec<bool> {
        let answers = outcome.top1.iter().zip(&self.population.queries);
        answers.map(|(answer, query)| *answer == query.target).collect()
    }

    fn row(
        &self,
        (position, site): (Position, usize),
        line: &Line,
        once: Option<&Line>,
        window: &[bool],
        outcomes: &Outcomes,
    ) -> EditRow {
        let resamples = self.population.resamples();
        let (outcome, redirected, mut largest) = (&line.outcomes[site], &line.redirected[site], line.largest[site]);
        let is_removal = line.form.is_removal();
        let counterfactual = (!is_removal).then(|| resamples.share(redirected));
        let original = self.is_original(outcome);
        let (original_low, original_high) = resamples.share(&original);
        let is_min = is_removal && largest.is_max;
        // The largest share of answers that are not the true one is that of the fewest true ones.
        let [min_original_low, min_original_high] =
            [largest.max_high, largest.max_low].map(|end| end.filter(|_| is_min).map(|end| 1.0 - end));
        if is_removal {
            (largest.max_low, largest.max_high) = (None, None);
        }
        let logits = |of: &[f64]| (mean(of.iter().copied()), resamples.mean(of));
        let counterfactual_logit = (!is_removal).then(|| logits(&outcome.counterfactual_logit));
        let original_logit = logits(&outcome.original_logit);
        let by_construction = self.is_by_construction(line.form, position, self.sites()[site]);
        let once = once.filter(|_| !by_construction);
        let gain = once.map(|once| gain(&once.redirected[site], redirected, resamples));
        let true_answers: Vec<bool> = (outcomes.base.iter().zip(&self.population.queries))
            .map(|(answer, query)| *answer == query.target)
            .collect();
        let source_answers: Vec<bool> = (outcomes.source.iter().zip(&self.drawn))
            .map(|(answer, drawn)| *answer == drawn.answer)
            .collect();
        EditRow {
            origin: self.checkpoint.info.origin.clone(),
            split: self.population.split.clone(),
            hops: self.hops(),
            label: self.label,
            hook: self.hook,
            position,
            place: Place::of(self.sites()[site], self.checkpoint.info.layers),
            form: line.form,
            n: outcome.top1.len(),
            counterfactual: counterfactual.map(|_| share(redirected)),
            low: counterfactual.map(|(low, _)| low),
            high: counterfactual.map(|(_, high)| high),
            largest,
            original: share(&original),
            original_low,
            original_high,
            min_original: is_min.then(|| share(&original)),
            min_original_low,
            min_original_high,
            counterfactual_logit: counterfactual_logit.map(|(mean, _)| mean),
            counterfactual_logit_low: counterfactual_logit.and_then(|(_, interval)| Some(interval?.0)),
            counterfactual_logit_high: counterfactual_logit.and_then(|(_, interval)| Some(interval?.1)),
            original_logit: original_logit.0,
            original_logit_low: original_logit.1.map(|(low, _)| low),
            original_logit_high: original_logit.1.map(|(_, high)| high),
            clamp_gain: gain.map(|(gain, _)| gain),
            clamp_gain_low: gain.and_then(|(_, interval)| Some(interval?.0)),
            clamp_gain_high: gain.and_then(|(_, interval)| Some(interval?.1)),
            distance: mean(outcome.distance.iter().copied()),
            in_read_window: window[site],
            read_window: layers(window),
            by_construction,
            base_accuracy: share(&true_answers),
            source_accuracy: share(&source_answers),
            interval: resamples.clustering(),
        }
    }

    fn query_rows(
        &self,
        position: Position,
        site: Site,
        form: EditForm,
        outcome: &Outcome,
        outcomes: &Outcomes,
        out: &mut Output<EditRow>,
    ) -> Result<()> {
        if !out.wants_queries() {
            return Ok(());
        }
        let tokens = self.checkpoint.data.vocab.tokens();
        for (query, drawn) in self.drawn.iter().enumerate() {
            let values = QueryEdit {
                label: self.label,
                hook: self.hook,
                position,
                place: Place::of(site, self.checkpoint.info.layers),
                form,
                other_bridge: &tokens[drawn.other as usize],
                source_query: drawn.source.iter().map(|&id| tokens[id as usize].as_str()).collect(),
                counterfactual_answer: &tokens[drawn.answer as usize],
                edited_answer: &tokens[outcome.top1[query] as usize],
                counterfactual_logit: outcome.counterfactual_logit[query],
                original_logit: outcome.original_logit[query],
                distance: outcome.distance[query],
            };
            let asked = Asked::of(&self.population, query, outcomes.base[query]);
            out.query_row(self.checkpoint, &asked, &values)?;
        }
        Ok(())
    }
}

// The paired difference of two shares, with its interval.
fn gain(before: &[bool], after: &[bool], resamples: &Resamples) -> (f64, Option<(f64, f64)>) {
    let interval = resamples.max_difference(&[before.to_vec(), after.to_vec()], 0, 1..2);
    (
        share(after) - share(before),
        interval.map(|found| (found.low, found.high)),
    )
}

// The runs of effective layers in a window: `1–2, 4`.
fn layers(window: &[bool]) -> String {
    let mut layer = 1;
    let mut runs = Vec::new();
    for run in window.chunk_by(|a, b| a == b) {
        match (run[0], run.len()) {
            (false, _) => {}
            (true, 1) => runs.push(layer.to_string()),
            (true, n) => runs.push(format!("{layer}–{}", layer + n - 1)),
        }
        layer += run.len();
    }
    if runs.is_empty() {
        "none".to_owned()
    } else {
        runs.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::layers;

    #[test]
    fn a_window_is_named_by_its_first_and_last_layers() {
        assert_eq!(layers(&[true, true, false, true]), "1–2, 4");
        assert_eq!(layers(&[false, true, false]), "2");
        assert_eq!(layers(&[false; 3]), "none");
    }
}
