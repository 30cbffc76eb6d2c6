//! Linear classifiers over states, each with a check that its solver came to its end.

use linfa::Dataset;
use linfa::traits::Fit as _;
use linfa_linalg::cholesky::CholeskyInplace;
use linfa_linalg::triangular::{SolveTriangularInplace, UPLO};
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2, Axis, Zip};

use super::spec::ClassifierKind;
use crate::error::{Error, Result};

/// L-BFGS iterations, at most.
const MOST_ITERATIONS: u64 = 500;
/// The largest component of the loss gradient, per sample, that counts as converged for L-BFGS.
const GRADIENT_TOLERANCE: f64 = 1e-4;
/// The relative residual of the normal equations that counts as solved.
const RESIDUAL_TOLERANCE: f64 = 1e-6;
/// The penalties, per sample, among which ridge chooses.
const PENALTIES: [f64; 5] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// States with their labels `0..classes`; x `[n, features]`.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub(super) x: Array2<f64>,
    pub(super) y: Vec<usize>,
}

/// How a fit came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    pub(super) penalty: f64,
    pub(super) converged: bool,
    /// Relative residual of the normal equations (ridge), largest gradient component per sample (logistic).
    pub(super) residual: f64,
}

/// A fitted linear classifier with the standardisation of its inputs.
pub(super) struct Classifier {
    mean: Array1<f64>,
    scale: Array1<f64>,
    weights: Array2<f64>,   // [features, classes]
    intercept: Array1<f64>, // [classes]
    pub(super) fit: Fit,
}

impl Classifier {
    /// Fits `samples`; where no penalty is given, ridge chooses it on the last fifth of them.
    pub(super) fn fit(kind: ClassifierKind, penalty: Option<f64>, samples: &Samples, classes: usize) -> Result<Self> {
        let mean = samples.x.mean_axis(Axis(0)).unwrap_or_default();
        // A feature that never changes says nothing; dividing by 1 keeps it at 0.
        let scale = samples
            .x
            .std_axis(Axis(0), 0.0)
            .mapv(|s| if s > 1e-12 { s } else { 1.0 });
        let standard = Samples {
            x: (&samples.x - &mean) / &scale,
            y: samples.y.clone(),
        };
        let (weights, intercept, fit) = match kind {
            ClassifierKind::Ridge => {
                let penalty = match penalty {
                    Some(penalty) => penalty,
                    None => choose_penalty(&standard, classes)?,
                };
                ridge(&standard, classes, penalty)?
            }
            ClassifierKind::Logistic => logistic(&standard, classes, penalty.unwrap_or(1.0))?,
        };
        Ok(Self {
            mean,
            scale,
            weights,
            intercept,
            fit,
        })
    }

    /// Whether each sample is classified right.
    pub(super) fn right(&self, samples: &Samples) -> Vec<bool> {
        let standard = (&samples.x - &self.mean) / &self.scale;
        right(&(standard.dot(&self.weights) + &self.intercept), &samples.y)
    }
}

fn right(scores: &Array2<f64>, labels: &[usize]) -> Vec<bool> {
    let best = |row: ndarray::ArrayView1<f64>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
    scores
        .rows()
        .into_iter()
        .zip(labels)
        .map(|(row, &label)| best(row) == Some(label))
        .collect()
}

type Solution = (Array2<f64>, Array1<f64>, Fit);

// Ridge regression of centred one-hot labels on standardised states: (XᵀX + λnI) W = XᵀY, by Cholesky.
fn ridge(samples: &Samples, classes: usize, penalty: f64) -> Result<Solution> {
    let n = samples.y.len() as f64;
    let mut labels = Array2::<f64>::zeros((samples.y.len(), classes));
    for (mut row, &label) in labels.rows_mut().into_iter().zip(&samples.y) {
        row[label] = 1.0;
    }
    let intercept = labels.mean_axis(Axis(0)).unwrap_or_default();
    let centred = labels - &intercept;
    let mut gram = samples.x.t().dot(&samples.x);
    gram.diag_mut().mapv_inplace(|x| x + penalty * n);
    let right_side = samples.x.t().dot(&centred);
    let failed = |e: &dyn std::fmt::Display| Error::input(format!("the ridge probe has no solution: {e}"));
    let mut weights = right_side.clone();
    let mut factor = gram.clone();
    factor.cholesky_inplace().map_err(|e| failed(&e))?;
    forward_and_back(&factor, &mut weights).map_err(|e| failed(&e))?;
    let residual = norm(&(gram.dot(&weights) - &right_side)) / norm(&right_side).max(f64::MIN_POSITIVE);
    let fit = Fit {
        penalty,
        converged: residual < RESIDUAL_TOLERANCE,
        residual,
    };
    Ok((weights, intercept, fit))
}

fn norm(x: &Array2<f64>) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

// The penalty with the best accuracy on the last fifth; the larger of two equals.
fn choose_penalty(samples: &Samples, classes: usize) -> Result<f64> {
    let n = samples.y.len();
    let cut = (n - n / 5).clamp(1, n);
    let part = |range: std::ops::Range<usize>| Samples {
        x: samples.x.slice(ndarray::s![range.clone(), ..]).to_owned(),
        y: samples.y[range].to_vec(),
    };
    let (fit, check) = (part(0..cut), part(cut..n));
    let mut best = (0, PENALTIES[PENALTIES.len() - 1]);
    for &penalty in PENALTIES.iter().rev() {
        let (weights, intercept, _) = ridge(&fit, classes, penalty)?;
        let hits = right(&(check.x.dot(&weights) + &intercept), &check.y)
            .into_iter()
            .filter(|&r| r)
            .count();
        if hits > best.0 {
            best = (hits, penalty);
        }
    }
    Ok(best.1)
}

// Multinomial logistic regression; the penalty is λ/2 ‖W‖² beside the summed loss.
fn logistic(samples: &Samples, classes: usize, penalty: f64) -> Result<Solution> {
    let data = Dataset::new(samples.x.clone(), Array1::from(samples.y.clone()));
    let n = samples.y.len() as f64;
    let model = MultiLogisticRegression::default()
        .alpha(penalty)
        .max_iterations(MOST_ITERATIONS)
        .gradient_tolerance(GRADIENT_TOLERANCE)
        .fit(&data)
        .map_err(|e| Error::input(format!("the logistic probe cannot be fitted: {e}")))?;
    // A class without a sample has no column; it gets one that never wins.
    let mut weights = Array2::zeros((samples.x.ncols(), classes));
    let mut intercept = Array1::from_elem(classes, -1e9);
    for (column, &class) in model.classes().iter().enumerate() {
        weights.column_mut(class).assign(&model.params().column(column));
        intercept[class] = model.intercept()[column];
    }
    // The library does not say whether it converged, so the gradient is taken again here.
    let mut difference = model.predict_probabilities(&samples.x);
    let place_of = |class: usize| model.classes().iter().position(|&c| c == class);
    for (mut row, &label) in difference.rows_mut().into_iter().zip(&samples.y) {
        if let Some(place) = place_of(label) {
            row[place] -= 1.0;
        }
    }
    let mut gradient = samples.x.t().dot(&difference);
    Zip::from(&mut gradient)
        .and(model.params())
        .for_each(|g, &w| *g += penalty * w);
    let residual = gradient.iter().fold(0.0_f64, |most, g| most.max(g.abs())) / n;
    let fit = Fit {
        penalty,
        converged: residual < GRADIENT_TOLERANCE,
        residual,
    };
    Ok((weights, intercept, fit))
}

// Solves L Lᵀ X = B in place.
fn forward_and_back(factor: &Array2<f64>, b: &mut Array2<f64>) -> linfa_linalg::Result<()> {
    factor.solve_triangular_inplace(b, UPLO::Lower)?;
    factor.t().to_owned().solve_triangular_inplace(b, UPLO::Upper)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

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
    fn both_classifiers_separate_what_is_separable_and_say_that_they_converged() {
        for kind in [ClassifierKind::Ridge, ClassifierKind::Logistic] {
            let classifier = Classifier::fit(kind, None, &clusters(5, 30, 1), 5).unwrap();
            assert!(classifier.fit.converged, "{:?}", classifier.fit);
            let right = classifier.right(&clusters(5, 30, 2));
            assert!(right.iter().filter(|&&r| r).count() >= 148, "{kind:?}");
        }
    }

    #[test]
    fn a_class_without_samples_is_never_predicted() {
        for kind in [ClassifierKind::Ridge, ClassifierKind::Logistic] {
            let classifier = Classifier::fit(kind, Some(0.1), &clusters(3, 20, 3), 4).unwrap();
            let mut test = clusters(3, 20, 4);
            test.y.fill(3);
            assert!(classifier.right(&test).iter().all(|r| !r), "{kind:?}");
        }
    }
}
