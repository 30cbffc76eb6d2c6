//! AdamW over named weights, with gradient clipping.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::config::{Decay, OptimizerConfig};
use crate::error::Result;
use crate::model::{Role, Slot};

/// One weight with its moments.
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) var: Var,
    pub(super) first_moment: Tensor,
    pub(super) second_moment: Tensor,
    decays: bool,
}

impl Parameter {
    /// A parameter at the start of training.
    pub(super) fn new(slot: &Slot, value: &Tensor, decay: Decay) -> Result<Self> {
        Ok(Self {
            name: slot.name.clone(),
            var: Var::from_tensor(value)?,
            first_moment: value.zeros_like()?,
            second_moment: value.zeros_like()?,
            decays: match decay {
                Decay::All => true,
                Decay::Matrices => !matches!(slot.role, Role::Bias | Role::NormWeight),
            },
        })
    }
}

/// What a gradient looks like before it is used.
pub(super) enum Gradients {
    /// The L2 norm over all weights.
    Finite { norm: f64 },
    /// The first weight whose gradient is not finite.
    NotFinite { name: String },
}

/// Measures the gradients of all parameters.
pub(super) fn inspect(parameters: &[Parameter], gradients: &GradStore) -> Result<Gradients> {
    let mut total = 0.0;
    for parameter in parameters {
        if let Some(gradient) = gradients.get(&parameter.var) {
            let squares = f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
            if !squares.is_finite() {
                return Ok(Gradients::NotFinite {
                    name: parameter.name.clone(),
                });
            }
            total += squares;
        }
    }
    Ok(Gradients::Finite { norm: total.sqrt() })
}

/// The learning rate of a step (from 0) of a run of `steps`: linear warm-up, constant, linear cooldown.
pub(super) fn learning_rate(config: &OptimizerConfig, step: u64, steps: u64) -> f64 {
    let warm = ((step + 1) as f64 / config.warmup.max(1) as f64).min(1.0);
    let into_cooldown = (step + 1).saturating_sub(steps.saturating_sub(config.cooldown));
    let cooled = (into_cooldown as f64 / config.cooldown.max(1) as f64).min(1.0);
    let share = if config.cooldown == 0 {
        1.0
    } else {
        1.0 - cooled * (1.0 - config.final_lr)
    };
    config.lr * warm * share
}

/// Updates all parameters by one AdamW step (Loshchilov & Hutter 2019, Algorithm 2) at rate `lr`; `step` counts from 0.
pub(super) fn update(
    config: &OptimizerConfig,
    parameters: &mut [Parameter],
    gradients: &GradStore,
    norm: f64,
    lr: f64,
    step: u64,
) -> Result<()> {
    let scale = if config.clip > 0.0 && norm > config.clip {
        config.clip / norm
    } else {
        1.0
    };
    let [beta1, beta2] = config.betas;
    let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
    let (correction1, correction2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
    for parameter in parameters {
        let Some(gradient) = gradients.get(&parameter.var) else {
            continue;
        };
        let gradient = (gradient * scale)?;
        let first = ((&parameter.first_moment * beta1)? + (&gradient * (1.0 - beta1))?)?;
        let second = ((&parameter.second_moment * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let spread = ((&second / correction2)?.sqrt()? + config.epsilon)?;
        let change = ((&first * (lr / correction1))? / spread)?;
        let kept = if parameter.decays {
            1.0 - lr * config.weight_decay
        } else {
            1.0
        };
        let value = ((parameter.var.as_tensor() * kept)? - change)?;
        parameter.var.set(&value.detach())?;
        parameter.first_moment = first.detach();
        parameter.second_moment = second.detach();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn the_rate_warms_up_holds_and_cools_down() {
        let config = OptimizerConfig {
            lr: 1.0,
            warmup: 4,
            cooldown: 10,
            final_lr: 0.1,
            ..OptimizerConfig::default()
        };
        let rate = |step| learning_rate(&config, step, 100);
        assert_eq!([rate(0), rate(3), rate(50), rate(89)], [0.25, 1.0, 1.0, 1.0]);
        assert!((rate(94) - 0.55).abs() < 1e-12 && (rate(99) - 0.1).abs() < 1e-12);
        let constant = OptimizerConfig { cooldown: 0, ..config };
        assert_eq!(learning_rate(&constant, 99, 100), 1.0);
    }

    #[test]
    fn one_step_is_that_of_the_algorithm() {
        // By hand: g = 2, clipped to norm 1; m = 0.1, v = 0.001; corrected both 1; x = 3 (1 − 0.1 × 0.5) − 0.1 × 1.
        let config = OptimizerConfig {
            lr: 0.1,
            betas: [0.9, 0.999],
            epsilon: 0.0,
            weight_decay: 0.5,
            clip: 1.0,
            ..OptimizerConfig::default()
        };
        let step = |role| {
            let slot = Slot {
                name: "x".to_owned(),
                shape: vec![1],
                role,
            };
            let start = Tensor::new(&[3.0_f32], &Device::Cpu).unwrap();
            let mut parameters = [Parameter::new(&slot, &start, Decay::Matrices).unwrap()];
            let loss = (parameters[0].var.as_tensor() * 2.0).unwrap().sum_all().unwrap();
            let gradients = loss.to_dtype(DType::F32).unwrap().backward().unwrap();
            update(&config, &mut parameters, &gradients, 2.0, 0.1, 0).unwrap();
            parameters[0].var.to_vec1::<f32>().unwrap()[0]
        };
        assert!((step(Role::Matrix) - 2.75).abs() < 1e-6);
        assert!((step(Role::Bias) - 2.9).abs() < 1e-6);
    }
}
