//! The table: a cell for each method, claim and model, over its variants, with a verdict.

use serde::{Deserialize, Serialize};

use super::control::{PERMUTED, TRAINED_PERMUTED, UNTRAINED};
use super::marks::MarksFile;
use super::score::{Agreement, Judged};
use crate::measure::{Check, Claim, Column, Faithfulness};

/// What one method says of one model, beside the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The method.
    pub method: String,
    /// The circuit, or the kind of control.
    pub model: String,
    /// The graph, the rotation and the noise.
    pub variant: String,
    /// The sites that it speaks of.
    pub sites: Vec<Judged>,
    /// The numbers that the design foretells.
    pub checks: Vec<Check>,
    /// How faithful the circuits are that its scores name.
    pub faithfulness: Vec<Faithfulness>,
    /// Why it gave nothing, where it failed.
    pub failure: Option<String>,
}

/// Whether a cell is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every mark is held in every variant.
    Holds,
    /// A mark is missed.
    Misses,
    /// A mark is missed in every variant, as it should be.
    Limit,
    /// A mark should be missed in every variant, and is held in one.
    HoldsAgainstLimit,
}

/// A method, a claim and a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The method.
    pub method: String,
    /// What it claims of sites; absent where its numbers are held against the design.
    pub claim: Option<Claim>,
    /// The circuit, or the kind of control.
    pub model: String,
    /// Variants of the model.
    pub variants: usize,
    /// Sites, or numbers, in all variants.
    pub n: usize,
    /// Mean AUROC over variants.
    pub auroc: Option<f64>,
    /// The lowest AUROC of a variant.
    pub auroc_min: Option<f64>,
    /// Mean balanced accuracy of the calls.
    pub balanced: Option<f64>,
    /// The lowest balanced accuracy of a variant.
    pub balanced_min: Option<f64>,
    /// Rate of false positives over all variants together.
    pub false_positives: Option<f64>,
    /// The highest rate of a variant; on a control that over all variants, which the mark is for.
    pub false_positives_max: Option<f64>,
    /// Of a claim of counterfactual answers, their mean share over variants where the entity is used.
    pub sufficiency: Option<f64>,
    /// The lowest share of a variant.
    pub sufficiency_min: Option<f64>,
    /// Their mean share over variants where the entity is not used.
    pub selectivity: Option<f64>,
    /// The highest share of a variant.
    pub selectivity_max: Option<f64>,
    /// Mean circuit-model distance over variants, where the scores name circuits.
    pub cmd: Option<f64>,
    /// Mean circuit performance ratio.
    pub cpr: Option<f64>,
    /// Share of the numbers that are as designed.
    pub as_designed: Option<f64>,
    /// Why the method should miss a mark here.
    pub limit: Option<String>,
    /// Whether the cell is as it should be.
    pub verdict: Verdict,
    /// Failures, and numbers that are not as designed.
    pub notes: Vec<String>,
}

/// The columns of the printed table.
pub const COLUMNS: &[Column] = &[
    Column::of("method"),
    Column::of("claim"),
    Column::of("model"),
    Column::of("variants"),
    Column::of("n"),
    Column::of("auroc").titled("AUROC"),
    Column::of("auroc_min").titled("lowest"),
    Column::of("balanced").titled("balanced accuracy"),
    Column::of("balanced_min").titled("lowest"),
    Column::of("false_positives").titled("false positives"),
    Column::of("false_positives_max").titled("highest"),
    Column::of("sufficiency"),
    Column::of("sufficiency_min").titled("lowest"),
    Column::of("selectivity"),
    Column::of("selectivity_max").titled("highest"),
    Column::of("cmd").titled("CMD"),
    Column::of("cpr").titled("CPR"),
    Column::of("as_designed").titled("as designed"),
    Column::of("verdict"),
];

impl Cell {
    // Of a method on all variants of a model, without numbers.
    fn empty(found: &[&Found]) -> Self {
        Self {
            method: found[0].method.clone(),
            claim: None,
            model: found[0].model.clone(),
            variants: found.len(),
            n: 0,
            auroc: None,
            auroc_min: None,
            balanced: None,
            balanced_min: None,
            false_positives: None,
            false_positives_max: None,
            sufficiency: None,
            sufficiency_min: None,
            selectivity: None,
            selectivity_max: None,
            cmd: None,
            cpr: None,
            as_designed: None,
            limit: None,
            verdict: Verdict::Holds,
            notes: Vec::new(),
        }
    }

    /// Whether the cell is as it should be.
    pub fn is_green(&self) -> bool {
        matches!(self.verdict, Verdict::Holds | Verdict::Limit)
    }
}

/// The cells of what was found, in the order of methods, claims and models.
pub(super) fn cells(found: &[Found], marks: &MarksFile) -> Vec<Cell> {
    let mut keys: Vec<(&str, Option<Claim>, &str)> = Vec::new();
    for of in found {
        let claims = of.sites.iter().map(|site| Some(site.score.claim));
        let numbers = (!of.checks.is_empty() || of.failure.is_some()).then_some(None);
        for claim in claims.chain(numbers) {
            let key = (of.method.as_str(), claim, of.model.as_str());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    let methods = found.iter().map(|of| of.method.as_str()).collect::<Vec<_>>();
    keys.sort_by_key(|&(method, claim, _)| (methods.iter().position(|&other| other == method), claim));
    let cell = |&(method, claim, model): &(&str, Option<Claim>, &str)| {
        let of: Vec<&Found> = found
            .iter()
            .filter(|of| (of.method.as_str(), of.model.as_str()) == (method, model))
            .collect();
        match claim {
            Some(claim) => of_claim(claim, &of, marks),
            None => of_numbers(&of, marks),
        }
    };
    keys.iter().map(cell).collect()
}

pub(super) fn is_control(model: &str) -> bool {
    [UNTRAINED, PERMUTED, TRAINED_PERMUTED].contains(&model)
}

// One claim of a method on all variants of a model.
fn of_claim(claim: Claim, found: &[&Found], marks: &MarksFile) -> Cell {
    let of_claim = |of: &&&Found| -> Vec<Judged> {
        let sites = of.sites.iter().filter(|site| site.score.claim == claim);
        sites.cloned().collect()
    };
    let variants: Vec<Vec<Judged>> = found.iter().map(|of| of_claim(&of)).collect();
    let agreements: Vec<Agreement> = variants.iter().map(|sites| Agreement::of(sites)).collect();
    let together = Agreement {
        negatives: agreements.iter().map(|of| of.negatives).sum(),
        false_calls: agreements.iter().map(|of| of.false_calls).sum(),
        ..Agreement::default()
    };
    let (method, model) = (&found[0].method, &found[0].model);
    let is_edit = claim == Claim::Counterfactual;
    let missed: Vec<bool> = if is_control(model) {
        let over_edits = agreements
            .iter()
            .map(|of| is_edit && marks.marks.misses_selectivity(of));
        over_edits
            .chain([marks.marks.misses_false_positives(&together)])
            .collect()
    } else {
        let misses = |of: &Agreement| marks.marks.misses(of) || (is_edit && marks.marks.misses_edits(of));
        agreements.iter().map(misses).collect()
    };
    let limit = marks.limit(method, claim, model);
    let over_variants = |of: fn(&Agreement) -> Option<f64>| agreements.iter().filter_map(of);
    let of_edits = |value: Option<f64>| value.filter(|_| is_edit);
    let circuits = || {
        let of_claim = found.iter().filter(|_| claim == Claim::Used);
        of_claim.flat_map(|of| &of.faithfulness)
    };
    Cell {
        claim: Some(claim),
        n: variants.iter().map(Vec::len).sum(),
        auroc: mean(over_variants(|of| of.auroc)),
        auroc_min: over_variants(|of| of.auroc).reduce(f64::min),
        balanced: mean(over_variants(Agreement::balanced_accuracy)),
        balanced_min: over_variants(Agreement::balanced_accuracy).reduce(f64::min),
        false_positives: together.false_positives(),
        false_positives_max: if is_control(model) {
            together.false_positives()
        } else {
            over_variants(Agreement::false_positives).reduce(f64::max)
        },
        sufficiency: of_edits(mean(over_variants(|of| of.score_of_positives))),
        sufficiency_min: of_edits(over_variants(|of| of.score_of_positives).reduce(f64::min)),
        selectivity: of_edits(mean(over_variants(|of| of.score_of_negatives))),
        selectivity_max: of_edits(over_variants(|of| of.score_of_negatives).reduce(f64::max)),
        cmd: mean(circuits().map(|of| of.cmd)),
        cpr: mean(circuits().map(|of| of.cpr)),
        limit: limit.map(str::to_owned),
        verdict: verdict(&missed, limit.is_some()),
        ..Cell::empty(found)
    }
}

fn verdict(missed: &[bool], is_limit: bool) -> Verdict {
    match (is_limit, missed.contains(&true)) {
        (false, false) => Verdict::Holds,
        (false, true) => Verdict::Misses,
        (true, _) if missed.iter().all(|&missed| missed) => Verdict::Limit,
        (true, _) => Verdict::HoldsAgainstLimit,
    }
}

// The numbers of a method on all variants of a model.
fn of_numbers(found: &[&Found], marks: &MarksFile) -> Cell {
    let tolerance = marks.marks.tolerance;
    let mut notes = Vec::new();
    for of in found {
        notes.extend(of.failure.iter().map(|failure| format!("{}: {failure}", of.variant)));
        let wrong = of.checks.iter().filter(|check| !check.passes(tolerance));
        notes.extend(wrong.map(|check| {
            format!(
                "{}: {}: {:.3} as designed, {:.3} found",
                of.variant, check.what, check.expected, check.found
            )
        }));
    }
    let checks: Vec<&Check> = found.iter().flat_map(|of| &of.checks).collect();
    let right = checks.iter().map(|check| f64::from(u8::from(check.passes(tolerance))));
    Cell {
        n: checks.len(),
        as_designed: mean(right),
        verdict: verdict(&[!notes.is_empty()], false),
        notes,
        ..Cell::empty(found)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| crate::measure::statistics::mean(values))
}
