//! How accurate GEMM typically is on each backend.

use rayon::prelude::*;
use serde::Serialize;

use crate::kernels::matmul::relative_error;
use crate::model::Backend;
use crate::random::Stream;

const ROWS: usize = 256;
const COLUMNS: usize = 192;
/// The depths (terms of each sum) that are measured.
pub const DEPTHS: [usize; 5] = [64, 128, 384, 768, 3072];

/// The typical error of GEMM on one backend.
#[derive(Debug, Clone, Serialize)]
pub struct Accuracy {
    pub backend: String,
    /// The distribution of the operands' numbers.
    pub operands: &'static str,
    /// Root mean square error against f64, relative to the root mean square of the product, for each of [`DEPTHS`].
    pub errors: Vec<f64>,
}

/// Measures every backend that this machine has, on products of 256 × depth by depth × 192 random numbers.
pub fn accuracy() -> Vec<Accuracy> {
    let kinds: [(&str, Make); 3] = [
        ("normal", |stream, depth| Operands::normal(stream, depth)),
        ("left: exp(2 × normal) × normal", |stream, depth| {
            let mut operands = Operands::normal(stream, depth);
            for x in &mut operands.left {
                *x *= (2.0 * stream.normal()).exp() as f32;
            }
            operands
        }),
        ("terms: exp(2 × normal) × normal", |stream, depth| {
            let mut operands = Operands::normal(stream, depth);
            for row in operands.right.chunks_exact_mut(COLUMNS) {
                let size = (2.0 * stream.normal()).exp() as f32;
                for x in row {
                    *x *= size;
                }
            }
            operands
        }),
    ];
    let mut all = Vec::new();
    for (name, make) in kinds {
        for backend in Backend::available() {
            let error = |&depth: &usize| {
                let Operands { left, right } = make(&mut Stream::new(1, "accuracy", depth as u64), depth);
                relative_error(backend, &left, &right, depth)
            };
            all.push(Accuracy {
                backend: backend.to_string(),
                operands: name,
                errors: DEPTHS.par_iter().map(error).collect(),
            });
        }
    }
    all
}

// Makes operands of this depth.
type Make = fn(&mut Stream, usize) -> Operands;

struct Operands {
    left: Vec<f32>,  // [ROWS, depth]
    right: Vec<f32>, // [depth, COLUMNS]
}

impl Operands {
    fn normal(stream: &mut Stream, depth: usize) -> Self {
        let mut numbers = |count| (0..count).map(|_| stream.normal() as f32).collect();
        Self {
            left: numbers(ROWS * depth),
            right: numbers(depth * COLUMNS),
        }
    }
}
