//! Linear classifiers in closed form: quick lower bounds of what is linearly decodable.

use linfa_linalg::LinalgError;
use linfa_linalg::cholesky::Cholesky;
use linfa_linalg::triangular::{SolveTriangular, SolveTriangularInplace, UPLO};
use ndarray::{Array1, Array2, Axis};

use super::samples::{Samples, counts, log_share};
use crate::error::{Error, Result};

/// Weights `[features, classes]`, intercept `[classes]`, and the relative residual of the linear equations.
pub(super) type Solution = (Array2<f64>, Array1<f64>, f64);

/// Fits a classifier in closed form to standardised samples: the samples, the number of classes, the penalty.
pub(super) type ClosedForm = fn(&Samples, usize, f64) -> Result<Solution>;

/// Linear discriminant analysis (Hastie et al. 2009, Section 4.3): with class means μ, shares π and the covariance Σ
/// within classes, the score of class k is x · Σ⁻¹μₖ − ½ μₖ · Σ⁻¹μₖ + ln πₖ. Σ gets the penalty on its diagonal.
///
/// # Errors
/// When the equations have no solution.
pub(super) fn discriminant(samples: &Samples, classes: usize, penalty: f64) -> Result<Solution> {
    let n = samples.y.len() as f64;
    let counts = counts(&samples.y, classes);
    let mut means = Array2::<f64>::zeros((samples.x.ncols(), classes));
    for (row, &label) in samples.x.rows().into_iter().zip(&samples.y) {
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
        *intercept += log_share(count, n);
    }
    Ok((weights, intercept, residual))
}

/// Ridge regression of centred one-hot labels on standardised states: (XᵀX + λnI) W = XᵀY.
///
/// # Errors
/// When the equations have no solution.
pub(super) fn ridge(samples: &Samples, classes: usize, penalty: f64) -> Result<Solution> {
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
    Ok((weights, intercept, residual))
}

// The solution of A X = B for a positive definite A, by Cholesky, with its relative residual.
fn solve_symmetric(a: &Array2<f64>, b: &Array2<f64>) -> Result<(Array2<f64>, f64)> {
    let factor = cholesky(a)?;
    let solved = factor.solve_triangular(b, UPLO::Lower).and_then(|mut x| {
        factor.t().to_owned().solve_triangular_inplace(&mut x, UPLO::Upper)?;
        Ok(x)
    });
    let x = solved.map_err(|e| without_solution(&e))?;
    let residual = norm(&(a.dot(&x) - b)) / norm(b).max(f64::MIN_POSITIVE);
    Ok((x, residual))
}

/// L⁻ᵀ of a positive definite A = L Lᵀ: the map under which vectors with covariance A become white.
///
/// # Errors
/// When A is not positive definite.
pub(super) fn inverse_root(a: &Array2<f64>) -> Result<Array2<f64>> {
    let inverse = cholesky(a)?.solve_triangular(&Array2::eye(a.nrows()), UPLO::Lower);
    Ok(inverse.map_err(|e| without_solution(&e))?.reversed_axes())
}

// L of a positive definite A = L Lᵀ.
fn cholesky(a: &Array2<f64>) -> Result<Array2<f64>> {
    a.cholesky().map_err(|e| without_solution(&e))
}

fn without_solution(e: &LinalgError) -> Error {
    Error::failed(format!("the probe's equations have no solution: {e}"))
}

fn norm(x: &Array2<f64>) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
