//! Layer norm with its backward pass.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::Arch;

use super::{slice, values};

/// `weight × (x − mean) / √(variance + ε) + bias` over the last axis; x `[rows, d]`, weight and bias `[d]`.
pub(in super::super) struct LayerNorm {
    pub(in super::super) epsilon: f32,
}

// Mean and reciprocal standard deviation of a row. Eight partial sums let the loop be vectorised.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum(row, |x| x) / row.len() as f32;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (slice(x, x_layout)?, slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let d = weight.len();
        let mut y = vec![0.0; x.len()];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
                    let (mean, scale) = moments(x, self.epsilon);
                    for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                        *y = (x - mean) * scale * w + b;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (xs, ws, dys) = (values(x)?, values(weight)?, values(dy)?);
        let d = ws.len();
        let (mut dx, mut dw, mut db) = (vec![0.0; xs.len()], vec![0.0; d], vec![0.0; d]);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut scaled = vec![0.0; d];
                for ((x, dy), dx) in xs.chunks_exact(d).zip(dys.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
                    let (mean, scale) = moments(x, self.epsilon);
                    for i in 0..d {
                        let normal = (x[i] - mean) * scale;
                        dw[i] += dy[i] * normal;
                        db[i] += dy[i];
                        dx[i] = dy[i] * ws[i];
                        scaled[i] = dx[i] * normal;
                    }
                    let mean_g = sum(dx, |g| g) / d as f32;
                    let mean_gn = sum(&scaled, |g| g) / d as f32;
                    for (dx, &x) in dx.iter_mut().zip(x) {
                        *dx = scale * (*dx - mean_g - (x - mean) * scale * mean_gn);
                    }
                }
            },
        );
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor(dx, x)?), Some(tensor(dw, weight)?), Some(tensor(db, bias)?)))
    }
}
