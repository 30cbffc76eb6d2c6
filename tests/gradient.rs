//! The gradient of the whole looped model against finite differences, in f64.

use candle_core::{DType, Device, Tensor, Var};
use loopscope::model::{Init, Model, ModelConfig, Pass, Positions, Readout, Sharing, Weights, cross_entropy};

const VOCAB: usize = 9;
const STEP: f64 = 1e-5;

fn config() -> ModelConfig {
    ModelConfig {
        layers: 2,
        iterations: 3,
        d_model: 8,
        heads: 2,
        positions: Positions::Learned,
        max_positions: 4,
        init: Init::GAUSSIAN,
        injection: false,
        embedding_std: 0.7,
        dropout: 0.0,
        tied: true,
        readout: Readout::LastToken,
        columns: None,
    }
}

fn loss(weights: &Weights) -> Tensor {
    let model = Model::new(config(), VOCAB, weights).unwrap();
    // Chains of different length, with a common prefix whose rows are shared.
    let queries: [&[u32]; 4] = [&[1, 5], &[1, 5, 6], &[1, 5, 7, 6], &[2, 8, 6]];
    let rows = model.pack(queries, Sharing::Prefixes).unwrap();
    let mut pass = Pass {
        gradients: true,
        ..Pass::default()
    };
    let logits = model.forward(&rows, 3, &mut pass).unwrap();
    cross_entropy(&logits, &[3, 4, 1, 2], 0.1).unwrap()
}

#[test]
fn every_weight_s_gradient_is_that_of_finite_differences() {
    let initial = Weights::init(&config(), VOCAB, 11, &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();
    let mut vars = Vec::new();
    let weights = initial
        .map(|leaf| {
            let tensor = &leaf.tensor;
            // Off the symmetric start, where some gradients vanish.
            let wave: Vec<f64> = (0..tensor.elem_count())
                .map(|i| 0.3 * (i as f64 * 0.7 + leaf.name.len() as f64).sin())
                .collect();
            let var = Var::from_tensor(&(tensor + Tensor::from_vec(wave, tensor.shape(), &Device::Cpu)?)?)?;
            vars.push((leaf.clone(), var.clone()));
            Ok(var.as_tensor().clone())
        })
        .unwrap();
    let gradients = loss(&weights).backward().unwrap();
    let value = || loss(&weights).to_scalar::<f64>().unwrap();
    let mut checked = 0;
    for (leaf, var) in &vars {
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (gradient, at) = (flat(gradients.get(var).unwrap()), flat(var));
        for (slot, place) in leaf.places() {
            // Every weight of the small tensors, an even sample of the large ones.
            for i in place.clone().step_by(place.len().div_ceil(24)) {
                let moved = |by: f64| {
                    let mut numbers = at.clone();
                    numbers[i] += by;
                    var.set(&Tensor::from_vec(numbers, var.shape(), &Device::Cpu).unwrap())
                        .unwrap();
                    value()
                };
                let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                moved(0.0);
                assert!(
                    (difference - gradient[i]).abs() < 1e-7 + 1e-5 * difference.abs(),
                    "{}[{}]: gradient {}, finite difference {difference}",
                    slot.name,
                    i - place.start,
                    gradient[i]
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 400, "{checked}");
}
