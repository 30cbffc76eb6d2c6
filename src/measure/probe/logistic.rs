//! Multinomial logistic regression with an L2 penalty, fitted by L-BFGS.
//!
//! The objective is scikit-learn's (`LogisticRegression` with C = 1 / (n λ)): the mean loss in nats and a penalty that
//! spares the intercept,
//!
//! f(W, b) = 1/n Σᵢ [ln Σₖ exp(xᵢ·wₖ + bₖ) − xᵢ·w_yᵢ − b_yᵢ] + λ/2 ‖W‖².
//!
//! It is convex: wherever the gradient vanishes is the minimum, so the gradient norm says whether a fit has converged.

use std::collections::VecDeque;

use ndarray::{Array1, Array2, Axis, Zip, concatenate, s};

use super::samples::{NEVER, counts, log_share};

/// The gradient norm, relative to that of the best classifier without weights, that counts as converged.
const GRADIENT_TOLERANCE: f64 = 1e-3;
/// L-BFGS iterations, at most.
const MAX_ITERATIONS: usize = 2000;
/// Pairs of steps and gradient changes that L-BFGS keeps (Nocedal & Wright 2006, Section 7.2).
const MEMORY: usize = 20;
/// The share of the decrease that the slope promises which a step must bring (Nocedal & Wright 2006, eq. 3.4).
const SUFFICIENT_DECREASE: f64 = 1e-4;
/// Halvings of one step, at most: beyond them the objective's rounding error hides any decrease.
const MAX_HALVINGS: usize = 30;

/// A minimum, as far as it was reached.
pub(super) struct Minimum {
    /// Weights over intercept, `[features + 1, classes]`.
    pub(super) parameters: Array2<f64>,
    /// The gradient norm relative to that of the best classifier without weights.
    pub(super) residual: f64,
    pub(super) converged: bool,
}

/// States and labels, prepared for fits with several penalties.
pub(super) struct Logistic<'a> {
    x: Array2<f64>, // [n, features + 1], the last column 1 for the intercept
    labels: &'a [usize],
    log_shares: Array1<f64>, // [classes], NEVER for a class without samples
}

impl<'a> Logistic<'a> {
    /// Prepares standardised states `x` `[n, features]` with labels `0..classes`.
    pub(super) fn new(x: &Array2<f64>, labels: &'a [usize], classes: usize) -> Self {
        let n = labels.len() as f64;
        let ones = Array2::ones((labels.len(), 1));
        let x = concatenate![Axis(1), x.view(), ones.view()];
        Self {
            x,
            labels,
            log_shares: counts(labels, classes).mapv(|count| log_share(count, n)),
        }
    }

    /// The best classifier without weights: the shares of the classes.
    fn shares_alone(&self) -> Array2<f64> {
        let mut parameters = Array2::zeros((self.x.ncols(), self.log_shares.len()));
        parameters.row_mut(self.x.ncols() - 1).assign(&self.log_shares);
        parameters
    }

    // The objective and its gradient [features + 1, classes].
    fn evaluate(&self, parameters: &Array2<f64>, penalty: f64) -> (f64, Array2<f64>) {
        let n = self.labels.len() as f64;
        let mut scores = self.x.dot(parameters); // [n, classes]
        let mut loss = 0.0;
        for (mut row, &label) in scores.rows_mut().into_iter().zip(self.labels) {
            let largest = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let of_label = row[label] - largest;
            row.mapv_inplace(|score| (score - largest).exp());
            let total = row.sum();
            loss += total.ln() - of_label;
            row.mapv_inplace(|share| share / total);
            row[label] -= 1.0;
        }
        let mut gradient = self.x.t().dot(&scores) / n;
        let weights = parameters.slice(s![..-1, ..]);
        gradient.slice_mut(s![..-1, ..]).scaled_add(penalty, &weights);
        let squares: f64 = weights.iter().map(|w| w * w).sum();
        (loss / n + 0.5 * penalty * squares, gradient)
    }

    /// Minimises the objective from `start`, or from the shares of the classes.
    pub(super) fn minimise(&self, penalty: f64, start: Option<&Array2<f64>>) -> Minimum {
        let shares = self.shares_alone();
        let whole = norm(&self.evaluate(&shares, penalty).1).max(f64::MIN_POSITIVE);
        let mut parameters = start.map_or_else(|| shares.clone(), |start| self.with_every_class(start));
        let (mut value, mut gradient) = self.evaluate(&parameters, penalty);
        // At even odds over C classes and white states the curvature is 1 / C.
        let mut history = History::new(self.log_shares.len() as f64);
        for _ in 0..MAX_ITERATIONS {
            if norm(&gradient) <= GRADIENT_TOLERANCE * whole {
                break;
            }
            let direction = history.direction(&gradient);
            let slope = inner(&direction, &gradient);
            // Where the step is 1 as a rule, a halving line search is enough: the objective is convex, so every step has
            // a positive curvature and the history stays positive definite.
            let mut step = 1.0;
            let taken = (0..MAX_HALVINGS).find_map(|_| {
                let next = &parameters + &(&direction * step);
                let (next_value, next_gradient) = self.evaluate(&next, penalty);
                let enough = next_value <= value + SUFFICIENT_DECREASE * step * slope;
                step *= 0.5;
                enough.then_some((next, next_value, next_gradient))
            });
            let Some((next, next_value, next_gradient)) = taken else {
                break;
            };
            history.push(&next - &parameters, &next_gradient - &gradient);
            (parameters, value, gradient) = (next, next_value, next_gradient);
        }
        let residual = norm(&gradient) / whole;
        Minimum {
            parameters,
            residual,
            converged: residual <= GRADIENT_TOLERANCE,
        }
    }

    // A warm start, in which a class that the start had no samples of begins at its share.
    fn with_every_class(&self, start: &Array2<f64>) -> Array2<f64> {
        let mut parameters = start.clone();
        Zip::from(parameters.row_mut(self.x.ncols() - 1))
            .and(&self.log_shares)
            .for_each(|intercept, &share| {
                if *intercept == NEVER || share == NEVER {
                    *intercept = share;
                }
            });
        parameters
    }
}

fn inner(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    Zip::from(a).and(b).fold(0.0, |sum, x, y| sum + x * y)
}

fn norm(x: &Array2<f64>) -> f64 {
    inner(x, x).sqrt()
}

/// What L-BFGS knows of the curvature: its last steps with the changes of the gradient along them.
struct History {
    // Step s, gradient change y, s · y; the newest last.
    pairs: VecDeque<(Array2<f64>, Array2<f64>, f64)>,
    // The inverse curvature that is taken for all other directions.
    scale: f64,
}

impl History {
    fn new(scale: f64) -> Self {
        Self {
            pairs: VecDeque::new(),
            scale,
        }
    }

    fn push(&mut self, step: Array2<f64>, change: Array2<f64>) {
        let curvature = inner(&step, &change);
        // Zero or less by rounding alone.
        if curvature <= 0.0 {
            return;
        }
        self.scale = curvature / inner(&change, &change);
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        self.pairs.push_back((step, change, curvature));
    }

    // The two-loop recursion (Nocedal & Wright 2006, Algorithm 7.4).
    fn direction(&self, gradient: &Array2<f64>) -> Array2<f64> {
        let mut direction = gradient.clone();
        let mut factors = Vec::with_capacity(self.pairs.len());
        for (step, change, curvature) in self.pairs.iter().rev() {
            let factor = inner(step, &direction) / curvature;
            direction.scaled_add(-factor, change);
            factors.push(factor);
        }
        direction *= self.scale;
        for ((step, change, curvature), factor) in self.pairs.iter().zip(factors.into_iter().rev()) {
            direction.scaled_add(factor - inner(change, &direction) / curvature, step);
        }
        -direction
    }
}

#[cfg(test)]
mod tests {
    use linfa::Dataset;
    use linfa::traits::Fit as _;
    use linfa_logistic::MultiLogisticRegression;

    use super::*;
    use crate::random::Stream;

    // Overlapping clusters: no classifier is right everywhere, so every weight is finite.
    fn overlapping(n: usize, features: usize, classes: usize) -> (Array2<f64>, Vec<usize>) {
        let mut stream = Stream::new(7, "overlapping", 0);
        let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
        let x = Array2::from_shape_fn((n, features), |(i, j)| {
            stream.normal() + if labels[i] == j { 1.5 } else { 0.0 }
        });
        (x, labels)
    }

    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let (x, labels) = overlapping(40, 3, 4);
        let problem = Logistic::new(&x, &labels, 4);
        let mut stream = Stream::new(8, "parameters", 0);
        let parameters = Array2::from_shape_fn((4, 4), |_| stream.normal());
        let (_, gradient) = problem.evaluate(&parameters, 0.1);
        let step = 1e-5;
        for at in [(0, 0), (1, 2), (2, 3), (3, 1)] {
            let moved = |by: f64| {
                let mut moved = parameters.clone();
                moved[at] += by;
                problem.evaluate(&moved, 0.1).0
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!(
                (slope - gradient[at]).abs() < 1e-7,
                "{at:?}: {slope}, not {}",
                gradient[at]
            );
        }
    }

    #[test]
    fn the_minimum_is_that_of_another_solver() {
        let (n, classes, penalty) = (300, 5, 0.05);
        let (x, labels) = overlapping(n, 6, classes);
        let problem = Logistic::new(&x, &labels, classes);
        let ours = problem.minimise(penalty, None);
        assert!(ours.converged, "{}", ours.residual);
        let theirs = MultiLogisticRegression::default()
            .alpha(penalty * n as f64)
            .max_iterations(1000)
            .gradient_tolerance(1e-6)
            .fit(&Dataset::new(x.clone(), Array1::from(labels.clone())))
            .unwrap();
        let row = theirs.intercept().clone().insert_axis(Axis(0));
        let theirs = concatenate![Axis(0), theirs.params().view(), row];
        let weights = |parameters: &Array2<f64>| parameters.slice(s![..-1, ..]).to_owned();
        let apart = norm(&(weights(&ours.parameters) - weights(&theirs)));
        // The objective is λ-strongly convex in the weights, so each solution is within ‖gradient‖ / λ of the minimum (Boyd
        // & Vandenberghe 2004, eq. 9.11).
        let bound = [&ours.parameters, &theirs].map(|p| norm(&problem.evaluate(p, penalty).1) / penalty);
        assert!(apart <= bound[0] + bound[1], "{apart} > {bound:?}");
        assert!(bound[0] + bound[1] < 0.1 * norm(&weights(&theirs)), "{bound:?}");
    }

    #[test]
    fn a_warm_start_ends_at_the_same_minimum() {
        let (x, labels) = overlapping(200, 6, 5);
        let problem = Logistic::new(&x, &labels, 5);
        let value = |minimum: &Minimum| problem.evaluate(&minimum.parameters, 1e-3).0;
        let cold = problem.minimise(1e-3, None);
        let warm = problem.minimise(1e-3, Some(&problem.minimise(1e-1, None).parameters));
        assert!(cold.converged && warm.converged);
        assert!((value(&cold) - value(&warm)).abs() < 1e-4);
    }

    #[test]
    fn a_search_that_does_not_end_at_a_minimum_says_so() {
        let (mut x, labels) = overlapping(50, 3, 4);
        x[[0, 0]] = f64::NAN;
        assert!(!Logistic::new(&x, &labels, 4).minimise(1e-2, None).converged);
    }
}
