//! The directions of a logistic probe, for methods that intervene along them.

use ndarray::Array2;

use super::classifier::Classifier;
use super::samples::Samples;
use super::spec::ClassifierKind;
use crate::error::Result;

/// Fits multinomial logistic regression to states `[n, features]` with labels `0..classes`, at the penalty that does best on the
/// rows from `held_out` on; gives the weights of each class's score, `[classes][features]`.
///
/// # Errors
/// When the states have no covariance that can be inverted.
pub(crate) fn directions(
    states: Array2<f64>,
    labels: Vec<usize>,
    held_out: usize,
    classes: usize,
) -> Result<Vec<Vec<f32>>> {
    let samples = Samples { x: states, y: labels };
    let (classifier, _) = Classifier::choose(ClassifierKind::Logistic, None, &samples, held_out, classes)?;
    let (weights, _) = classifier.affine();
    let of_class = |class| weights.column(class).iter().map(|&x: &f64| x as f32).collect();
    Ok((0..classes).map(of_class).collect())
}
