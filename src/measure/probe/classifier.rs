//! Linear classifiers over states, each with a check that its solver came to its end.

use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate, s};

use super::closed_form::{ClosedForm, discriminant, inverse_root, ridge};
use super::logistic::Logistic;
use super::samples::Samples;
use super::spec::ClassifierKind;
use crate::error::{Error, Result};
use crate::measure::statistics::share;

/// The relative residual of linear equations that counts as solved.
const RESIDUAL_TOLERANCE: f64 = 1e-6;
/// The penalties, per sample, among which a classifier chooses, the largest first: each logistic fit starts where the one
/// before it ended.
const CLOSED_FORM_PENALTIES: [f64; 5] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4];
const LOGISTIC_PENALTIES: [f64; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];
/// Penalties in a row that do no better than the best before them, after which weaker ones are not tried.
const PATIENCE: usize = 2;
/// What whitening adds to the variance of each direction, as a share of the mean variance, and what the closed forms add to the
/// mean variance, as a share of the mean square: far above the rounding of f32 states, so that a direction in which they do not
/// differ is not blown up.
const WHITENING_FLOOR: f64 = 1e-8;

/// How a fit came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    pub(super) penalty: f64,
    pub(super) converged: bool,
    /// Relative residual of the linear equations (closed forms); gradient norm relative to that of the best classifier
    /// without weights (logistic).
    pub(super) residual: f64,
}

/// The affine map that states go through before a classifier: x ↦ (x − mean) · map.
struct Standard {
    mean: Array1<f64>,
    map: Array2<f64>, // [features, features]
}

impl Standard {
    /// Whitening for the logistic classifier: an invertible linear map does not change what is linearly decodable, so it
    /// must not change what the penalty costs, and in white states the search needs a tenth of the iterations. The closed
    /// forms account for covariances themselves; their features are scaled to a mean variance of 1 by one factor. A factor for
    /// each feature would depend on the basis, and would bring a feature that differs by rounding alone to the size of the others.
    fn of(kind: ClassifierKind, x: &Array2<f64>) -> Result<Self> {
        let mean = x.mean_axis(Axis(0)).unwrap_or_default();
        let map = match kind {
            ClassifierKind::Logistic => {
                let centred = x - &mean;
                let mut covariance = centred.t().dot(&centred) / x.nrows() as f64;
                let floor = WHITENING_FLOOR * covariance.diag().mean().unwrap_or(0.0);
                covariance.diag_mut().mapv_inplace(|x| x + floor.max(f64::MIN_POSITIVE));
                inverse_root(&covariance)?
            }
            ClassifierKind::Discriminant | ClassifierKind::Ridge => {
                let variance = x.var_axis(Axis(0), 0.0).mean().unwrap_or(0.0);
                // States that differ by rounding alone are not blown up either.
                let floor = WHITENING_FLOOR * x.mapv(|x| x * x).mean().unwrap_or(0.0);
                Array2::eye(x.ncols()) / (variance + floor.max(f64::MIN_POSITIVE)).sqrt()
            }
        };
        Ok(Self { mean, map })
    }

    fn apply(&self, samples: &Samples) -> Samples {
        Samples {
            x: (&samples.x - &self.mean).dot(&self.map),
            y: samples.y.clone(),
        }
    }
}

/// A fitted linear classifier with the standardisation of its inputs.
pub(super) struct Classifier {
    standard: Standard,
    parameters: Array2<f64>, // weights over intercept, [features + 1, classes]
    pub(super) fit: Fit,
}

impl Classifier {
    /// Fits `samples` with this penalty.
    ///
    /// # Errors
    /// When the equations have no solution.
    pub(super) fn fit(kind: ClassifierKind, penalty: f64, samples: &Samples, classes: usize) -> Result<Self> {
        let standard = Standard::of(kind, &samples.x)?;
        let (parameters, fit) = Solver::new(kind, &standard.apply(samples), classes).solve(penalty, None)?;
        Ok(Self {
            standard,
            parameters,
            fit,
        })
    }

    /// Chooses the penalty (`penalty` where it is given) by the accuracy on the rows from `inner` on of classifiers fitted
    /// on the rows before them, the larger of two equals; and fits all rows with it. Gives that accuracy too.
    ///
    /// # Errors
    /// When the equations have no solution.
    pub(super) fn choose(
        kind: ClassifierKind,
        penalty: Option<f64>,
        samples: &Samples,
        inner: usize,
        classes: usize,
    ) -> Result<(Self, f64)> {
        let penalties = match (&penalty, kind) {
            (Some(penalty), _) => std::slice::from_ref(penalty),
            (None, ClassifierKind::Logistic) => &LOGISTIC_PENALTIES,
            (None, _) => &CLOSED_FORM_PENALTIES,
        };
        let standard = Standard::of(kind, &samples.x)?;
        let samples = standard.apply(samples);
        let (fitted, held_out) = (samples.rows(0..inner), samples.rows(inner..samples.y.len()));
        let solver = Solver::new(kind, &fitted, classes);
        let mut best: Option<(Array2<f64>, f64, f64)> = None;
        let mut last: Option<Array2<f64>> = None;
        let mut worse = 0;
        for &penalty in penalties {
            let (parameters, _) = solver.solve(penalty, last.as_ref())?;
            let accuracy = share(&right(&parameters, &held_out));
            if best.as_ref().is_none_or(|(.., max)| accuracy > *max) {
                best = Some((parameters.clone(), penalty, accuracy));
                worse = 0;
            } else {
                worse += 1;
            }
            if worse == PATIENCE {
                break;
            }
            last = Some(parameters);
        }
        let (start, penalty, accuracy) = best.ok_or_else(|| Error::failed("no penalty to choose from"))?;
        let (parameters, fit) = Solver::new(kind, &samples, classes).solve(penalty, Some(&start))?;
        let classifier = Self {
            standard,
            parameters,
            fit,
        };
        Ok((classifier, accuracy))
    }

    /// Its scores as an affine map of the states themselves: weights `[features, classes]` and intercept `[classes]`.
    pub(super) fn affine(&self) -> (Array2<f64>, Array1<f64>) {
        let features = self.parameters.nrows() - 1;
        let weights = self.standard.map.dot(&self.parameters.slice(s![..features, ..]));
        let intercept = &self.parameters.row(features) - &self.standard.mean.dot(&weights);
        (weights, intercept)
    }

    /// The label that each sample is classified as.
    pub(super) fn labels(&self, samples: &Samples) -> Vec<usize> {
        labels(&self.parameters, &self.standard.apply(samples))
    }
}

fn labels(parameters: &Array2<f64>, samples: &Samples) -> Vec<usize> {
    let scores = samples.x.dot(&parameters.slice(s![..-1, ..])) + parameters.row(parameters.nrows() - 1);
    let best = |row: ArrayView1<f64>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
    // There is a class at least.
    scores.rows().into_iter().filter_map(best).collect()
}

fn right(parameters: &Array2<f64>, samples: &Samples) -> Vec<bool> {
    let decoded = labels(parameters, samples);
    decoded
        .iter()
        .zip(&samples.y)
        .map(|(decoded, label)| decoded == label)
        .collect()
}

/// One classifier's equations for given samples.
enum Solver<'a> {
    Logistic(Logistic<'a>),
    ClosedForm(ClosedForm, &'a Samples, usize),
}

impl<'a> Solver<'a> {
    /// For standardised samples.
    fn new(kind: ClassifierKind, samples: &'a Samples, classes: usize) -> Self {
        match kind {
            ClassifierKind::Logistic => Self::Logistic(Logistic::new(&samples.x, &samples.y, classes)),
            ClassifierKind::Discriminant => Self::ClosedForm(discriminant, samples, classes),
            ClassifierKind::Ridge => Self::ClosedForm(ridge, samples, classes),
        }
    }

    // The parameters [features + 1, classes] with this penalty; a search begins at `start`.
    fn solve(&self, penalty: f64, start: Option<&Array2<f64>>) -> Result<(Array2<f64>, Fit)> {
        match self {
            Self::Logistic(problem) => {
                let minimum = problem.minimise(penalty, start);
                let fit = Fit {
                    penalty,
                    converged: minimum.converged,
                    residual: minimum.residual,
                };
                Ok((minimum.parameters, fit))
            }
            Self::ClosedForm(solve, samples, classes) => {
                let (weights, intercept, residual) = solve(samples, *classes, penalty)?;
                let fit = Fit {
                    penalty,
                    converged: residual < RESIDUAL_TOLERANCE,
                    residual,
                };
                Ok((concatenate![Axis(0), weights, intercept.insert_axis(Axis(0))], fit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    const KINDS: [ClassifierKind; 3] = [
        ClassifierKind::Discriminant,
        ClassifierKind::Ridge,
        ClassifierKind::Logistic,
    ];

    // Points around one centre a class.
    fn clusters(classes: usize, each: usize, seed: u64) -> Samples {
        let mut stream = Stream::new(seed, "clusters", 0);
        let features = 8;
        let mut x = Array2::zeros((classes * each, features));
        let mut y = Vec::new();
        for i in 0..classes * each {
            let class = i % classes;
            for j in 0..features {
                let centre = if j == class { 4.0 } else { 0.0 };
                x[[i, j]] = 10.0 + 3.0 * (centre + 0.5 * stream.normal());
            }
            y.push(class);
        }
        Samples { x, y }
    }

    fn right(classifier: &Classifier, samples: &Samples) -> Vec<bool> {
        let labels = classifier.labels(samples);
        labels
            .iter()
            .zip(&samples.y)
            .map(|(decoded, label)| decoded == label)
            .collect()
    }

    #[test]
    fn every_classifier_separates_what_is_separable_and_says_that_it_converged() {
        for kind in KINDS {
            let classifier = Classifier::fit(kind, 1e-3, &clusters(5, 30, 1), 5).unwrap();
            assert!(classifier.fit.converged, "{:?}", classifier.fit);
            let right = right(&classifier, &clusters(5, 30, 2));
            assert!(right.iter().filter(|&&r| r).count() >= 148, "{kind:?}");
        }
    }

    #[test]
    fn classes_on_a_line_hide_behind_one_another_in_ridge_but_not_in_the_discriminant() {
        let mut stream = Stream::new(5, "line", 0);
        let y: Vec<usize> = (0..150).map(|i| i % 3).collect();
        let x = Array2::from_shape_fn((150, 1), |(i, _)| y[i] as f64 + 0.05 * stream.normal());
        let line = Samples { x, y };
        let count = |kind| {
            let classifier = Classifier::fit(kind, 1e-4, &line, 3).unwrap();
            right(&classifier, &line).into_iter().filter(|&r| r).count()
        };
        assert!(count(ClassifierKind::Ridge) < 120);
        assert_eq!(count(ClassifierKind::Discriminant), 150);
    }

    #[test]
    fn a_class_without_samples_is_never_predicted() {
        for kind in KINDS {
            let classifier = Classifier::fit(kind, 0.1, &clusters(3, 20, 3), 4).unwrap();
            let mut test = clusters(3, 20, 4);
            test.y.fill(3);
            assert!(right(&classifier, &test).iter().all(|r| !r), "{kind:?}");
        }
    }

    #[test]
    fn the_penalty_is_chosen_on_held_out_rows_and_their_accuracy_is_given() {
        for kind in KINDS {
            let (fit, test) = (clusters(5, 30, 1), clusters(5, 30, 2));
            let (classifier, validation) = Classifier::choose(kind, None, &fit, 120, 5).unwrap();
            assert!(classifier.fit.converged, "{kind:?}: {:?}", classifier.fit);
            assert!(validation >= 0.95, "{kind:?}: {validation}");
            assert!(share(&right(&classifier, &test)) >= 0.98, "{kind:?}");
            // Where the held-out rows have labels that nothing fits, their accuracy says so.
            let mut wrong = fit.clone();
            for label in &mut wrong.y[120..] {
                *label = (*label + 1) % 5;
            }
            let (_, validation) = Classifier::choose(kind, None, &wrong, 120, 5).unwrap();
            assert!(validation <= 0.05, "{kind:?}: {validation}");
            let (classifier, _) = Classifier::choose(kind, Some(0.037), &fit, 120, 5).unwrap();
            assert_eq!(classifier.fit.penalty, 0.037);
        }
    }

    #[test]
    fn an_invertible_map_of_the_states_changes_nothing_for_the_logistic_classifier() {
        // Neighbouring directions are mixed, and the scales of features go from 1 to 10⁻³.
        let map = Array2::from_shape_fn((8, 8), |(i, j)| match (i, j) {
            (i, j) if i == j => 10.0_f64.powf(-3.0 * i as f64 / 7.0),
            (i, j) if i + 1 == j => 0.5 * 10.0_f64.powf(-3.0 * j as f64 / 7.0),
            _ => 0.0,
        });
        let mapped = |samples: &Samples| Samples {
            x: samples.x.dot(&map),
            y: samples.y.clone(),
        };
        let (fit, test) = (clusters(5, 30, 1), clusters(5, 30, 2));
        let decoded = |fit: &Samples, test: &Samples| {
            let classifier = Classifier::fit(ClassifierKind::Logistic, 1e-3, fit, 5).unwrap();
            right(&classifier, test)
        };
        assert_eq!(decoded(&fit, &test), decoded(&mapped(&fit), &mapped(&test)));
    }

    #[test]
    fn closed_forms_do_not_read_axes_nor_what_differs_by_rounding_alone() {
        // The ninth feature has the label, at a millionth of the others' size.
        let with_trace = |seed: u64| {
            let y = clusters(5, 30, seed).y;
            let traces = Array2::from_shape_fn((150, 1), |(i, _)| 1e-6 * y[i] as f64);
            let noise = clusters(5, 30, seed + 10).x;
            // In another order: of the labels only the trace tells.
            let shuffled = Array2::from_shape_fn((150, 8), |(i, j)| noise[[(7 * i + i / 5) % 150, j]]);
            Samples {
                x: concatenate![Axis(1), shuffled, traces],
                y,
            }
        };
        // A reflection that mixes all axes.
        let rotated = |samples: &Samples| {
            let v = Array2::from_elem((9, 1), 1.0 / 3.0);
            let map: Array2<f64> = Array2::eye(9) - 2.0 * v.dot(&v.t());
            Samples {
                x: samples.x.dot(&map),
                y: samples.y.clone(),
            }
        };
        // Where only the trace differs, and one label is twice as frequent.
        let constant = |seed: u64| {
            let y: Vec<usize> = with_trace(seed).y.iter().map(|label| label % 4).collect();
            let mut x = Array2::from_elem((150, 9), 10.0);
            let of_label = x.column_mut(8).into_iter().zip(&y);
            of_label.for_each(|(x, &label)| *x += 1e-6 * label as f64);
            Samples { x, y }
        };
        for kind in [ClassifierKind::Discriminant, ClassifierKind::Ridge] {
            let found = right(&Classifier::fit(kind, 1e-3, &constant(1), 5).unwrap(), &constant(2));
            assert!(share(&found) < 0.5, "{kind:?}: {}", share(&found));
            let (fit, test) = (with_trace(1), with_trace(2));
            let decoded = |fit: &Samples, test: &Samples| right(&Classifier::fit(kind, 1e-3, fit, 5).unwrap(), test);
            let plain = decoded(&fit, &test);
            assert_eq!(plain, decoded(&rotated(&fit), &rotated(&test)), "{kind:?}");
            assert!(share(&plain) < 0.4, "{kind:?}: {}", share(&plain));
        }
    }
}
