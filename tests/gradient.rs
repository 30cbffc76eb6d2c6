//! The gradient of the whole looped model: in f64 against finite differences, and by the f32 kernels of every backend that the
//! machine has against that in f64.

use std::io::Write;

use candle_core::{DType, Device, Tensor, Var};
use loopscope::model::{Backend, Init, Leaf, Model, ModelConfig, Pass, Sharing, Weights};

const VOCAB: usize = 9;
const STEP: f64 = 1e-5;

fn config() -> ModelConfig {
    ModelConfig {
        max_positions: 4,
        init: Init::GAUSSIAN,
        embedding_std: 0.7,
        ..ModelConfig::new(2, 3, 8, 2)
    }
}

// Weights as variables, leaf by leaf, that are numbers of f32 whatever their type is.
fn variables(dtype: DType) -> (Weights, Vec<(Leaf, Var)>) {
    let mut vars = Vec::new();
    let weights = Weights::init(&config(), VOCAB, 11, &Device::Cpu)
        .unwrap()
        .map(|leaf| {
            let tensor = &leaf.tensor;
            // Off the symmetric start, where some gradients vanish.
            let wave: Vec<f32> = (0..tensor.elem_count())
                .map(|i| (0.3 * (i as f64 * 0.7 + leaf.name.len() as f64).sin()) as f32)
                .collect();
            let moved = (tensor + Tensor::from_vec(wave, tensor.shape(), &Device::Cpu)?)?;
            let var = Var::from_tensor(&moved.to_dtype(dtype)?)?;
            vars.push((leaf.clone(), var.clone()));
            Ok(var.as_tensor().clone())
        })
        .unwrap();
    (weights, vars)
}

fn loss(weights: &Weights, backend: Backend) -> Tensor {
    let model = Model::new(config(), VOCAB, weights).unwrap().on(backend);
    // Chains of different length, with a common prefix whose rows are shared.
    let queries: [&[u32]; 4] = [&[1, 5], &[1, 5, 6], &[1, 5, 7, 6], &[2, 8, 6]];
    let rows = model.pack(queries, Sharing::Prefixes).unwrap();
    let mut pass = Pass {
        gradients: true,
        ..Pass::default()
    };
    let logits = model.forward(&rows, 3, &mut pass).unwrap();
    model.cross_entropy(&logits, &[3, 4, 1, 2], 0.1).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let x = x.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    x.to_vec1().unwrap()
}

#[test]
fn every_weight_s_gradient_is_that_of_finite_differences() {
    let (weights, vars) = variables(DType::F64);
    // In f64 no kernel runs, whatever the backend.
    let loss = || loss(&weights, Backend::default());
    let gradients = loss().backward().unwrap();
    let value = || loss().to_scalar::<f64>().unwrap();
    let mut checked = 0;
    for (leaf, var) in &vars {
        let (gradient, at) = (numbers(gradients.get(var).unwrap()), numbers(var));
        for (slot, range) in leaf.ranges() {
            // Every weight of the small tensors, an even sample of the large ones.
            for i in range.clone().step_by(range.len().div_ceil(24)) {
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
                    i - range.start,
                    gradient[i]
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 400, "{checked}");
}

#[test]
fn the_kernels_of_every_backend_give_the_gradient_in_f64() {
    let (weights, in_f64) = variables(DType::F64);
    let exact = loss(&weights, Backend::default()).backward().unwrap();
    for backend in Backend::available() {
        let (weights, in_f32) = variables(DType::F32);
        let gradients = loss(&weights, backend).backward().unwrap();
        for ((leaf, f32s), (_, f64s)) in in_f32.iter().zip(&in_f64) {
            let (got, expected) = (numbers(gradients.get(f32s).unwrap()), numbers(exact.get(f64s).unwrap()));
            for (slot, range) in leaf.ranges() {
                // Of the largest number of each weight's gradient: 1,600 units of rounding, where a wrong term makes a
                // hundred times as much.
                let largest = expected[range.clone()]
                    .iter()
                    .fold(0.0_f64, |most, x| most.max(x.abs()));
                for i in range {
                    let off = (got[i] - expected[i]).abs();
                    assert!(
                        off <= 1e-4 * largest,
                        "{backend}, {}: {} for {}",
                        slot.name,
                        got[i],
                        expected[i]
                    );
                }
            }
        }
    }
    // Past the capture of test output, so that it is seen where all is well.
    let here: Vec<String> = Backend::available().iter().map(Backend::to_string).collect();
    let lacking: Vec<&str> = Backend::NAMES
        .into_iter()
        .filter(|name| !here.iter().any(|here| here == name))
        .collect();
    let line = format!(
        "gradients were checked on: {}; this machine lacks: {}\n",
        here.join(", "),
        lacking.join(", ")
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
