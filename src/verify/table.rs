//! The table: a cell for each method, claim and model, over its variants, with a verdict.

use serde::{Deserialize, Serialize};

use super::control::{PERMUTED, UNTRAINED};
use super::marks::MarksFile;
use super::score::{Agreement, Judged};
use crate::measure::{Check, Claim, Column};

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
    Column::of("as_designed").titled("as designed"),
    Column::of("verdict"),
];

impl Cell {
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

fn is_control(model: &str) -> bool {
    [UNTRAINED, PERMUTED].contains(&model)
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
    let limits = &marks.marks;
    let over = |rate: Option<f64>| rate.is_some_and(|rate| rate > limits.false_positives);
    let misses = |of: &Agreement| of.auroc.is_some_and(|auroc| auroc < limits.auroc) || over(of.false_positives());
    let missed: Vec<bool> = if is_control(model) {
        vec![over(together.false_positives())]
    } else {
        agreements.iter().map(misses).collect()
    };
    let limit = marks.limit(method, claim, model);
    let verdict = match (limit, missed.iter().any(|&missed| missed)) {
        (None, false) => Verdict::Holds,
        (None, true) => Verdict::Misses,
        (Some(_), _) if missed.iter().all(|&missed| missed) => Verdict::Limit,
        (Some(_), _) => Verdict::HoldsAgainstLimit,
    };
    let lowest = |of: fn(&Agreement) -> Option<f64>| agreements.iter().filter_map(of).reduce(f64::min);
    let highest = agreements.iter().filter_map(Agreement::false_positives).reduce(f64::max);
    Cell {
        method: method.clone(),
        claim: Some(claim),
        model: model.clone(),
        variants: found.len(),
        n: variants.iter().map(Vec::len).sum(),
        auroc: mean(agreements.iter().filter_map(|of| of.auroc)),
        auroc_min: lowest(|of| of.auroc),
        balanced: mean(agreements.iter().filter_map(Agreement::balanced_accuracy)),
        balanced_min: lowest(Agreement::balanced_accuracy),
        false_positives: together.false_positives(),
        false_positives_max: if is_control(model) {
            together.false_positives()
        } else {
            highest
        },
        as_designed: None,
        limit: limit.map(str::to_owned),
        verdict,
        notes: Vec::new(),
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
        method: found[0].method.clone(),
        claim: None,
        model: found[0].model.clone(),
        variants: found.len(),
        n: checks.len(),
        auroc: None,
        auroc_min: None,
        balanced: None,
        balanced_min: None,
        false_positives: None,
        false_positives_max: None,
        as_designed: mean(right),
        limit: None,
        verdict: if notes.is_empty() {
            Verdict::Holds
        } else {
            Verdict::Misses
        },
        notes,
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| crate::measure::statistics::mean(values))
}
