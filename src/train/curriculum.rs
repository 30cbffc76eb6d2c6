//! The curriculum of rising depth, and dynamic recurrence.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::stages::Stage;
use crate::error::{Error, Result, allow};
use crate::graph::{Dataset, Query, Split, TRAIN};
use crate::random::Stream;

/// Dynamic recurrence: a batch runs clip(Poisson(λ), min, max) iterations (Kohli et al. 2026, Section 4).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dynamic {
    /// λ, the mean before clipping.
    pub lambda: f64,
    /// The smallest number of iterations.
    pub min: usize,
    /// The largest number of iterations.
    pub max: usize,
}

impl Dynamic {
    pub(super) fn check(&self, iterations: usize) -> Result<()> {
        let &Self { lambda, min, max } = self;
        let allowed = format!("1 to train.dynamic.max = {max}");
        allow((1..=max).contains(&min), "train.dynamic.min", &min, &allowed)?;
        allow(max <= 4096, "train.dynamic.max", &max, "1 to 4096")?;
        let mean = lambda > 0.0 && lambda <= 500.0;
        allow(mean, "train.dynamic.lambda", &lambda, "above 0, up to 500")?;
        let drawn = format!("those that training draws, {min} to {max}");
        allow(
            (min..=max).contains(&iterations),
            "model.iterations",
            &iterations,
            &drawn,
        )
    }

    /// The number of iterations of a step, a function of (seed, step) alone.
    pub fn iterations(&self, seed: u64, step: u64) -> usize {
        let drawn = Stream::new(seed, "iterations", step).poisson(self.lambda);
        usize::try_from(drawn).unwrap_or(self.max).clamp(self.min, self.max)
    }

    /// The expected number of iterations of a step.
    pub fn mean_iterations(&self) -> f64 {
        let (mut probability, mut below, mut mean) = ((-self.lambda).exp(), 0.0, 0.0);
        for drawn in 0..self.max {
            mean += probability * drawn.max(self.min) as f64;
            below += probability;
            probability *= self.lambda / (drawn + 1) as f64;
        }
        mean + (1.0 - below) * self.max as f64
    }
}

/// A curriculum of rising depth (Kohli et al. 2026, Section 3). It starts with facts and 2-hop chains; whenever accuracy on
/// the longest held-out chains so far passes the threshold, chains of one hop more are added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curriculum {
    /// The accuracy on held-out chains, at `model.iterations`, that ends a stage.
    #[serde(default = "default_accuracy")]
    pub accuracy: f64,
    /// The largest number of steps of a stage; a stage that needs more ends the run.
    pub stage_steps: u64,
    /// The largest number of steps of a stage after the first, which takes the most; `stage_steps` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later_stage_steps: Option<u64>,
    /// The number of hops of the last stage; that of the longest chains in the data where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deepest: Option<usize>,
    /// Whether every stage begins with moments of 0 and a new warm-up, as in the published code.
    #[serde(default = "default_reset_optimizer")]
    pub reset_optimizer: bool,
    /// The factor by which the learning rate is multiplied at each new stage.
    #[serde(default = "default_lr_factor")]
    pub lr_factor: f64,
    /// The number of evaluations in a row that must reach the accuracy. It is 1 in the paper, which trains a stage "until
    /// the held-out accuracy passes 95 %".
    #[serde(default = "default_hold")]
    pub hold: u32,
}

impl Curriculum {
    /// The number of hops of the longest chains in the first stage.
    pub const FIRST: usize = 2;

    /// The learnable recursion depth after this number of stages: the longest chains, in hops, that it has passed (1: facts alone).
    pub fn learned_hops(n_reached: usize) -> usize {
        Self::FIRST - 1 + n_reached
    }

    pub(super) fn check(&self) -> Result<()> {
        let share = (0.0..=1.0).contains(&self.accuracy);
        allow(share, "curriculum.accuracy", &self.accuracy, "0 to 1")?;
        let steps = self.stage_steps;
        allow(steps > 0, "curriculum.stage_steps", &steps, "1 or more")?;
        let later = self.later_stage_steps.unwrap_or(steps);
        allow(later > 0, "curriculum.later_stage_steps", &later, "1 or more")?;
        let factor = self.lr_factor.is_finite() && self.lr_factor > 0.0;
        allow(factor, "curriculum.lr_factor", &self.lr_factor, "above 0")?;
        allow(self.hold > 0, "curriculum.hold", &self.hold, "1 or more")
    }

    /// The largest number of steps of the stage after `passed` others.
    pub fn max_steps(&self, passed: usize) -> u64 {
        match self.later_stage_steps {
            Some(steps) if passed > 0 => steps,
            _ => self.stage_steps,
        }
    }

    /// The stages of the curriculum, one for each number of hops from 2 on that the data has held-out chains of.
    ///
    /// # Errors
    /// When there are no held-out chains of 2 hops, or none of `deepest` hops, or no training chains of one of these depths.
    pub fn stages(&self, data: &Dataset) -> Result<Vec<Stage>> {
        let with_tests = (Self::FIRST..).take_while(|&hops| data.split(Split::depth_test(hops)).is_ok());
        let deepest = Self::FIRST + with_tests.count() - 1;
        let wanted = self.deepest.unwrap_or(deepest);
        if wanted < Self::FIRST || wanted > deepest {
            return Err(Error::input(format!(
                "a curriculum to {wanted} hops needs the splits {} to {}; the data has: {}",
                Split::depth_test(Self::FIRST),
                Split::depth_test(wanted),
                data.split_names().collect::<Vec<_>>().join(", ")
            )));
        }
        let trained: BTreeSet<usize> = data.split(TRAIN)?.iter().map(Query::hops).collect();
        if let Some(hops) = (Self::FIRST..=wanted).find(|hops| !trained.contains(hops)) {
            return Err(Error::input(format!(
                "the data has no training chains of {hops} hops, which a curriculum to {wanted} hops trains on; \
                 curriculum.deepest ends it earlier"
            )));
        }
        let stage = |hops| Stage {
            name: format!("{hops}hop"),
            split: Split::depth_test(hops),
            accuracy: self.accuracy,
            hold: self.hold,
        };
        Ok((Self::FIRST..=wanted).map(stage).collect())
    }
}

fn default_reset_optimizer() -> bool {
    true
}
fn default_accuracy() -> f64 {
    0.95
}
fn default_lr_factor() -> f64 {
    1.0
}
fn default_hold() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Chains, Tails};

    #[test]
    fn dynamic_iterations_are_a_clipped_poisson() {
        let dynamic = Dynamic {
            lambda: 4.0,
            min: 2,
            max: 8,
        };
        let n = 20_000;
        let mut counts = [0_u32; 9];
        for step in 0..n {
            counts[dynamic.iterations(7, step)] += 1;
        }
        assert_eq!(counts[..2], [0, 0]);
        let share = |i: usize| f64::from(counts[i]) / n as f64;
        let mean: f64 = (2..=8).map(|i| i as f64 * share(i)).sum();
        // Four standard errors of a mean of 20,000 draws whose standard deviation is 1.7.
        assert!((mean - dynamic.mean_iterations()).abs() < 0.05, "{mean}");
        // P(X ≤ 2), P(X = 4) and P(X ≥ 8) of Poisson(4).
        for (i, expected) in [(2, 0.2381), (4, 0.1954), (8, 0.0511)] {
            assert!((share(i) - expected).abs() < 0.01, "{i}: {}", share(i));
        }
        assert_eq!(dynamic.iterations(7, 3), dynamic.iterations(7, 3));
    }

    #[test]
    fn a_stage_for_every_depth_of_the_data() {
        let data = Chains {
            entities: 10,
            relations: 3,
            hops: 4,
            train_rows: 40,
            test_rows: 10,
            seed: 1,
            tails: Tails::Permutation,
        }
        .generate()
        .unwrap();
        let curriculum = |deepest| Curriculum {
            accuracy: 0.9,
            stage_steps: 10,
            later_stage_steps: None,
            deepest,
            reset_optimizer: true,
            lr_factor: 1.0,
            hold: 1,
        };
        let names = |deepest| -> Vec<String> {
            let stages = curriculum(deepest).stages(&data).unwrap();
            stages.into_iter().map(|stage| stage.split.to_string()).collect()
        };
        assert_eq!(names(None), ["2hop_test", "3hop_test", "4hop_test"]);
        assert_eq!(names(Some(2)), ["2hop_test"]);
        for bad in [1, 5] {
            let text = curriculum(Some(bad)).stages(&data).unwrap_err().to_string();
            assert!(text.contains("the data has: train"), "{text}");
        }
    }
}
