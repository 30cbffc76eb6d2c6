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

/// The learning rate of a step (from 0): linear warm-up, then constant.
pub(super) fn learning_rate(config: &OptimizerConfig, step: u64) -> f64 {
    if step < config.warmup {
        config.lr * (step + 1) as f64 / config.warmup as f64
    } else {
        config.lr
    }
}

/// Updates all parameters by one AdamW step (Loshchilov & Hutter 2019, Algorithm 2); `step` counts from 0.
pub(super) fn update(
    config: &OptimizerConfig,
    parameters: &mut [Parameter],
    gradients: &GradStore,
    norm: f64,
    step: u64,
) -> Result<()> {
    let lr = learning_rate(config, step);
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
