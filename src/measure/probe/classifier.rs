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
/// The relative residual of linear equations that counts as solved.
const RESIDUAL_TOLERANCE: f64 = 1e-6;
/// The score of a class that was never seen: it never wins.
const NEVER: f64 = -1e9;
/// The penalties, per sample, among which the closed forms choose.
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
    /// Relative residual of the linear equations (closed forms), largest gradient component per sample (logistic).
    pub(super) residual: f64,
}

impl Fit {
    fn solved(penalty: f64, residual: f64) -> Self {
        Self {
            penalty,
            converged: residual < RESIDUAL_TOLERANCE,
            residual,
        }
    }
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
    /// Fits `samples`; where no penalty is given, the closed forms choose it on the last fifth of them.
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
        let penalty = match (kind, penalty) {
            (_, Some(penalty)) => penalty,
            (ClassifierKind::Logistic, None) => 1.0,
            (_, None) => choose_penalty(kind, &standard, classes)?,
        };
        let (weights, intercept, fit) = solve(kind, &standard, classes, penalty)?;
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

fn solve(kind: ClassifierKind, samples: &Samples, classes: usize, penalty: f64) -> Result<Solution> {
    match kind {
        ClassifierKind::Discriminant => discriminant(samples, classes, penalty),
        ClassifierKind::Ridge => ridge(samples, classes, penalty),
        ClassifierKind::Logistic => logistic(samples, classes, penalty),
    }
}

// Linear discriminant analysis (Hastie et al. 2009, Section 4.3): with class means μ, shares π and the covariance Σ
// within classes, the score of class k is x · Σ⁻¹μ_k − ½ μ_k · Σ⁻¹μ_k + ln π_k. Σ gets λ on its diagonal.
fn discriminant(samples: &Samples, classes: usize, penalty: f64) -> Result<Solution> {
    let n = samples.y.len() as f64;
    let mut counts = vec![0.0; classes];
    let mut means = Array2::<f64>::zeros((samples.x.ncols(), classes));
    for (row, &label) in samples.x.rows().into_iter().zip(&samples.y) {
        counts[label] += 1.0;
        let mut mean = means.column_mut(label);
        mean += &row;
    }
    for (mut mean, &count) in means.columns_mut().into_iter().zip(&counts) {
        mean /= f64::max(count, 1.0);
    }
    let mut residuals = samples.x.clone();
    for (mut row, &label) in residuals.rows_mut().into_iter().zip(&samples.y) {
        row -= &means.column(label);
    }
    let mut covariance = residuals.t().dot(&residuals) / n;
    covariance.diag_mut().mapv_inplace(|x| x + penalty);
    let (weights, residual) = solve_symmetric(&covariance, &means)?;
    let mut intercept = (&means * &weights).sum_axis(Axis(0)) * -0.5;
    for (intercept, &count) in intercept.iter_mut().zip(&counts) {
        *intercept += if count > 0.0 { (count / n).ln() } else { NEVER };
    }
    Ok((weights, intercept, Fit::solved(penalty, residual)))
}

// Ridge regression of centred one-hot labels on standardised states: (XᵀX + λnI) W = XᵀY.
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
    let (weights, residual) = solve_symmetric(&gram, &samples.x.t().dot(&centred))?;
    Ok((weights, intercept, Fit::solved(penalty, residual)))
}

// The solution of A X = B for a positive definite A, by Cholesky, with its relative residual.
fn solve_symmetric(a: &Array2<f64>, b: &Array2<f64>) -> Result<(Array2<f64>, f64)> {
    let solved = || -> linfa_linalg::Result<Array2<f64>> {
        let mut factor = a.clone();
        factor.cholesky_inplace()?;
        let mut x = b.clone();
        factor.solve_triangular_inplace(&mut x, UPLO::Lower)?;
        factor.t().to_owned().solve_triangular_inplace(&mut x, UPLO::Upper)?;
        Ok(x)
    };
    let x = solved().map_err(|e| Error::failed(format!("the probe's equations have no solution: {e}")))?;
    let residual = norm(&(a.dot(&x) - b)) / norm(b).max(f64::MIN_POSITIVE);
    Ok((x, residual))
}

fn norm(x: &Array2<f64>) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

// The penalty with the best accuracy on the last fifth; the larger of two equals.
fn choose_penalty(kind: ClassifierKind, samples: &Samples, classes: usize) -> Result<f64> {
    let n = samples.y.len();
    let cut = (n - n / 5).clamp(1, n);
    let part = |range: std::ops::Range<usize>| Samples {
        x: samples.x.slice(ndarray::s![range.clone(), ..]).to_owned(),
        y: samples.y[range].to_vec(),
    };
    let (fit, check) = (part(0..cut), part(cut..n));
    let mut best = (0, PENALTIES[PENALTIES.len() - 1]);
    for &penalty in PENALTIES.iter().rev() {
        let (weights, intercept, _) = solve(kind, &fit, classes, penalty)?;
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
        .map_err(|e| Error::failed(format!("the logistic probe cannot be fitted: {e}")))?;
    // A class without a sample has no column; it gets one that never wins.
    let mut weights = Array2::zeros((samples.x.ncols(), classes));
    let mut intercept = Array1::from_elem(classes, NEVER);
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
            let classifier = Classifier::fit(kind, None, &clusters(5, 30, 1), 5).unwrap();
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
            let classifier = Classifier::fit(kind, Some(1e-4), &line, 3).unwrap();
            classifier.right(&line).into_iter().filter(|&r| r).count()
        };
        assert!(right(ClassifierKind::Ridge) < 120);
        assert_eq!(right(ClassifierKind::Discriminant), 150);
    }

    #[test]
    fn a_class_without_samples_is_never_predicted() {
        for kind in KINDS {
            let classifier = Classifier::fit(kind, Some(0.1), &clusters(3, 20, 3), 4).unwrap();
            let mut test = clusters(3, 20, 4);
            test.y.fill(3);
            assert!(classifier.right(&test).iter().all(|r| !r), "{kind:?}");
        }
    }
}
