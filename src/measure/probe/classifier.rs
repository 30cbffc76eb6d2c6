//! Linear classifiers over states, each with a check that its solver came to its end.

use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate, s};

use super::closed_form::{discriminant, ridge};
use super::logistic::Logistic;
use super::spec::ClassifierKind;
use crate::error::Result;
use crate::measure::statistics::mean;

/// The score of a class that was never seen: it never wins.
pub(super) const NEVER: f64 = -1e9;
/// The relative residual of linear equations that counts as solved.
const RESIDUAL_TOLERANCE: f64 = 1e-6;
/// The penalties, per sample, among which a classifier chooses, the largest first: each logistic fit starts where the one
/// before it ended, and a weaker penalty makes it slower.
const CLOSED_FORM_PENALTIES: [f64; 5] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4];
const LOGISTIC_PENALTIES: [f64; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];

/// States with their labels `0..classes`; x `[n, features]`.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub(super) x: Array2<f64>,
    pub(super) y: Vec<usize>,
}

impl Samples {
    fn rows(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            x: self.x.slice(s![range.clone(), ..]).to_owned(),
            y: self.y[range].to_vec(),
        }
    }
}

/// How a fit came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    pub(super) penalty: f64,
    pub(super) converged: bool,
    /// Relative residual of the linear equations (closed forms); gradient norm relative to that of the best classifier
    /// without weights (logistic).
    pub(super) residual: f64,
}

/// The penalty that did best on held-out fit rows, with the accuracy there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) penalty: f64,
    pub(super) accuracy: f64,
}

/// The mean and the scale of each feature.
struct Standard {
    mean: Array1<f64>,
    scale: Array1<f64>,
}

impl Standard {
    fn of(x: &Array2<f64>) -> Self {
        Self {
            mean: x.mean_axis(Axis(0)).unwrap_or_default(),
            // A feature that never changes says nothing; dividing by 1 keeps it at 0.
            scale: x.std_axis(Axis(0), 0.0).mapv(|s| if s > 1e-12 { s } else { 1.0 }),
        }
    }

    fn apply(&self, samples: &Samples) -> Samples {
        Samples {
            x: (&samples.x - &self.mean) / &self.scale,
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
        let standard = Standard::of(&samples.x);
        let (parameters, fit) = path(kind, &standard.apply(samples), classes, &[penalty])?.swap_remove(0);
        Ok(Self {
            standard,
            parameters,
            fit,
        })
    }

    /// Whether each sample is classified right.
    pub(super) fn right(&self, samples: &Samples) -> Vec<bool> {
        right(&self.parameters, &self.standard.apply(samples))
    }
}

/// Chooses the penalty (`penalty` where it is given) by the accuracy on the rows from `inner` on of classifiers fitted
/// on the rows before them; the larger of two equals.
///
/// # Errors
/// When the equations have no solution.
pub(super) fn choose(
    kind: ClassifierKind,
    penalty: Option<f64>,
    samples: &Samples,
    inner: usize,
    classes: usize,
) -> Result<Choice> {
    let penalties = match (penalty, kind) {
        (Some(penalty), _) => vec![penalty],
        (None, ClassifierKind::Logistic) => LOGISTIC_PENALTIES.to_vec(),
        (None, _) => CLOSED_FORM_PENALTIES.to_vec(),
    };
    let fitted = samples.rows(0..inner);
    let standard = Standard::of(&fitted.x);
    let held_out = standard.apply(&samples.rows(inner..samples.y.len()));
    let mut best = Choice {
        penalty: penalties[0],
        accuracy: f64::NEG_INFINITY,
    };
    for (parameters, fit) in path(kind, &standard.apply(&fitted), classes, &penalties)? {
        let accuracy = share(&right(&parameters, &held_out));
        if accuracy > best.accuracy {
            best = Choice {
                penalty: fit.penalty,
                accuracy,
            };
        }
    }
    Ok(best)
}

/// The share of `true`.
pub(super) fn share(right: &[bool]) -> f64 {
    mean(right.iter().map(|&right| f64::from(u8::from(right))))
}

fn right(parameters: &Array2<f64>, samples: &Samples) -> Vec<bool> {
    let scores = samples.x.dot(&parameters.slice(s![..-1, ..])) + &parameters.row(parameters.nrows() - 1);
    let best = |row: ArrayView1<f64>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
    scores
        .rows()
        .into_iter()
        .zip(&samples.y)
        .map(|(row, &label)| best(row) == Some(label))
        .collect()
}

// The classifiers of standardised samples with each of the penalties.
fn path(
    kind: ClassifierKind,
    samples: &Samples,
    classes: usize,
    penalties: &[f64],
) -> Result<Vec<(Array2<f64>, Fit)>> {
    let closed_form = match kind {
        ClassifierKind::Discriminant => discriminant,
        ClassifierKind::Ridge => ridge,
        ClassifierKind::Logistic => return logistic(samples, classes, penalties),
    };
    let solve = |&penalty: &f64| {
        let (weights, intercept, residual) = closed_form(samples, classes, penalty)?;
        let fit = Fit {
            penalty,
            converged: residual < RESIDUAL_TOLERANCE,
            residual,
        };
        Ok((concatenate![Axis(0), weights, intercept.insert_axis(Axis(0))], fit))
    };
    penalties.iter().map(solve).collect()
}

fn logistic(samples: &Samples, classes: usize, penalties: &[f64]) -> Result<Vec<(Array2<f64>, Fit)>> {
    let problem = Logistic::new(&samples.x, &samples.y, classes);
    let mut path: Vec<(Array2<f64>, Fit)> = Vec::new();
    for &penalty in penalties {
        let minimum = problem.minimise(penalty, path.last().map(|(parameters, _)| parameters))?;
        let fit = Fit {
            penalty,
            converged: minimum.converged,
            residual: minimum.residual,
        };
        path.push((minimum.parameters, fit));
    }
    Ok(path)
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

    #[test]
    fn every_classifier_separates_what_is_separable_and_says_that_it_converged() {
        for kind in KINDS {
            let classifier = Classifier::fit(kind, 1e-3, &clusters(5, 30, 1), 5).unwrap();
            assert!(classifier.fit.converged, "{:?}", classifier.fit);
            let right = classifier.right(&clusters(5, 30, 2));
            assert!(right.iter().filter(|&&r| r).count() >= 148, "{kind:?}");
        }
    }

    #[test]
    fn classes_on_a_line_hide_behind_one_another_in_ridge_but_not_in_the_discriminant() {
        let mut stream = Stream::new(5, "line", 0);
        let y: Vec<usize> = (0..150).map(|i| i % 3).collect();
        let x = Array2::from_shape_fn((150, 1), |(i, _)| y[i] as f64 + 0.05 * stream.normal());
        let line = Samples { x, y };
        let right = |kind| {
            let classifier = Classifier::fit(kind, 1e-4, &line, 3).unwrap();
            classifier.right(&line).into_iter().filter(|&r| r).count()
        };
        assert!(right(ClassifierKind::Ridge) < 120);
        assert_eq!(right(ClassifierKind::Discriminant), 150);
    }

    #[test]
    fn a_class_without_samples_is_never_predicted() {
        for kind in KINDS {
            let classifier = Classifier::fit(kind, 0.1, &clusters(3, 20, 3), 4).unwrap();
            let mut test = clusters(3, 20, 4);
            test.y.fill(3);
            assert!(classifier.right(&test).iter().all(|r| !r), "{kind:?}");
        }
    }
}
