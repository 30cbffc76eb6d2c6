//! AdamW over leaves of the weights, with gradient clipping.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::config::{Decay, OptimizerConfig};
use crate::error::Result;
use crate::kernels::adamw;
use crate::model::{Backend, Leaf, Role, ops};

/// One leaf with its AdamW moments.
pub(super) struct Parameter {
    pub(super) leaf: Leaf,
    pub(super) var: Var,
    pub(super) first_moment: Tensor,
    pub(super) second_moment: Tensor,
    // For each slot its number of weights, and whether weight decay applies to them.
    decays: Vec<(usize, bool)>,
}

impl Parameter {
    /// A parameter at the start of training.
    pub(super) fn new(leaf: &Leaf, decay: Decay) -> Result<Self> {
        let decays = |role| match decay {
            Decay::All => true,
            Decay::Matrices => !matches!(role, Role::Bias | Role::NormWeight),
        };
        let var = Var::from_tensor(&leaf.tensor)?;
        Ok(Self {
            // Refers to the variable, so that the initial values are freed.
            leaf: Leaf {
                tensor: var.as_tensor().clone(),
                ..leaf.clone()
            },
            var,
            first_moment: leaf.tensor.zeros_like()?,
            second_moment: leaf.tensor.zeros_like()?,
            decays: leaf
                .slots
                .iter()
                .map(|slot| (slot.count(), decays(slot.role)))
                .collect(),
        })
    }
}

/// The gradients of all weights, checked.
pub(super) enum Gradients {
    /// The L2 norm over all weights.
    Finite { norm: f64 },
    /// The first weight whose gradient is not finite.
    NotFinite { name: String },
}

fn sum_of_squares(backend: Backend, x: &Tensor) -> Result<f64> {
    if ops::can_take(x.dtype(), x.device()) {
        return Ok(ops::sum_of_squares(backend, x)?);
    }
    Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?))
}

/// Computes the norm of the gradients of all parameters, and finds the first that is not finite.
pub(super) fn check_gradients(backend: Backend, parameters: &[Parameter], gradients: &GradStore) -> Result<Gradients> {
    let mut total = 0.0;
    for parameter in parameters {
        let Some(gradient) = gradients.get(&parameter.var) else {
            continue;
        };
        let squares = sum_of_squares(backend, gradient)?;
        if !squares.is_finite() {
            for (slot, view) in parameter.leaf.slots.iter().zip(parameter.leaf.views(gradient)?) {
                if !sum_of_squares(backend, &view)?.is_finite() {
                    return Ok(Gradients::NotFinite {
                        name: slot.name.clone(),
                    });
                }
            }
        }
        total += squares;
    }
    if !total.is_finite() {
        return Ok(Gradients::NotFinite {
            name: "all weights together".to_owned(),
        });
    }
    Ok(Gradients::Finite { norm: total.sqrt() })
}

/// The learning rate of `step` (from 0) in a run of `steps` steps: linear warm-up, constant, linear cooldown.
pub(super) fn learning_rate(config: &OptimizerConfig, step: u64, steps: u64) -> f64 {
    let warmup = ((step + 1) as f64 / config.warmup.max(1) as f64).min(1.0);
    let steps_of_cooldown = (step + 1).saturating_sub(steps.saturating_sub(config.cooldown));
    let progress = (steps_of_cooldown as f64 / config.cooldown.max(1) as f64).min(1.0);
    let cooldown = if config.cooldown == 0 {
        1.0
    } else {
        1.0 - progress * (1.0 - config.final_lr)
    };
    config.lr * warmup * cooldown
}

/// Updates all parameters by one AdamW step (Loshchilov & Hutter 2019, Algorithm 2) at learning rate `lr`. `norm` is the
/// L2 norm of all gradients, and `step` counts from 0.
pub(super) fn update(
    backend: Backend,
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
    let adamw = adamw::Step {
        scale: scale as f32,
        betas: [beta1 as f32, beta2 as f32],
        rate: (lr / correction1) as f32,
        correction: (1.0 / correction2) as f32,
        epsilon: config.epsilon as f32,
    };
    let decay_factor = |decays: bool| if decays { 1.0 - lr * config.weight_decay } else { 1.0 };
    for parameter in parameters {
        let Some(gradient) = gradients.get(&parameter.var) else {
            continue;
        };
        if ops::can_take(gradient.dtype(), gradient.device()) {
            let factors = parameter.decays.iter().map(|&(n, d)| (n, decay_factor(d) as f32));
            let factors: Vec<(usize, f32)> = factors.collect();
            let Parameter {
                var,
                first_moment,
                second_moment,
                ..
            } = parameter;
            ops::adamw(backend, adamw, &factors, [var, first_moment, second_moment], gradient)?;
            continue;
        }
        let gradient = (gradient * scale)?;
        let first = ((&parameter.first_moment * beta1)? + (&gradient * (1.0 - beta1))?)?;
        let second = ((&parameter.second_moment * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let denominator = ((&second / correction2)?.sqrt()? + config.epsilon)?;
        let change = ((&first * (lr / correction1))? / denominator)?;
        let old = parameter.leaf.views(parameter.var.as_tensor())?;
        let decayed = old
            .iter()
            .zip(&parameter.decays)
            .map(|(view, &(_, decays))| view * decay_factor(decays));
        let decayed = parameter
            .leaf
            .join(&decayed.collect::<candle_core::Result<Vec<_>>>()?)?;
        parameter.var.set(&(decayed - change)?.detach())?;
        parameter.first_moment = first.detach();
        parameter.second_moment = second.detach();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::Slot;

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
        let step = |role, dtype| {
            let slot = Slot {
                name: "x".to_owned(),
                shape: vec![1],
                role,
            };
            let leaf = Leaf {
                name: slot.name.clone(),
                tensor: Tensor::new(&[3.0_f32], &Device::Cpu).unwrap().to_dtype(dtype).unwrap(),
                slots: vec![slot],
            };
            let mut parameters = [Parameter::new(&leaf, Decay::Matrices).unwrap()];
            let loss = (parameters[0].var.as_tensor() * 2.0).unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            update(Backend::default(), &config, &mut parameters, &gradients, 2.0, 0.1, 0).unwrap();
            parameters[0]
                .var
                .to_dtype(DType::F32)
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()[0]
        };
        // The kernel updates f32, candle's operations every other type.
        for dtype in [DType::F32, DType::F64] {
            assert!((step(Role::Matrix, dtype) - 2.75).abs() < 1e-6);
            assert!((step(Role::Bias, dtype) - 2.9).abs() < 1e-6);
        }
    }
}
