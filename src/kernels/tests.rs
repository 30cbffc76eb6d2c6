//! Element-wise kernels: the same bits on every backend.

use super::backend::{Backend, on_every_backend};
use super::{adamw, cross_entropy, gelu, norm};
use crate::random::Stream;

// The results of every element-wise kernel on one backend, on rows whose width is not a multiple of a register's.
fn element_wise(backend: Backend) -> Vec<Vec<f32>> {
    const D: usize = 37;
    const ROWS: usize = 5;
    let mut stream = Stream::new(1, "test element-wise kernels", 0);
    let mut numbers = |count| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
    let (x, dy, weight, bias) = (numbers(ROWS * D), numbers(ROWS * D), numbers(D), numbers(D));
    let zeros = || (vec![0.0; ROWS * D], vec![0.0; D], vec![0.0; D]);
    let mut all = Vec::new();

    let (mut y, ..) = zeros();
    backend.run(norm::Forward {
        x: &x,
        weight: &weight,
        bias: &bias,
        y: &mut y,
        epsilon: 1e-5,
    });
    all.push(y);
    let ((mut y, mut dw, mut db), mut dx) = (zeros(), dy.clone());
    backend.run(norm::Backward {
        x: &x,
        weight: &weight,
        bias: &bias,
        y: &mut y,
        dx: &mut dx,
        dw: &mut dw,
        db: &mut db,
        epsilon: 1e-5,
    });
    all.extend([y, dx, dw, db]);

    let (mut y, ..) = zeros();
    backend.run(gelu::Forward {
        x: &x,
        bias: &bias,
        y: &mut y,
    });
    all.push(y);
    let ((mut y, mut db, _), mut dx) = (zeros(), dy.clone());
    backend.run(gelu::Backward {
        x: &x,
        bias: &bias,
        y: &mut y,
        dx: &mut dx,
        db: &mut db,
    });
    all.extend([y, dx, db]);

    let tokens: Vec<u32> = (0..ROWS as u32).collect();
    let targets = cross_entropy::Targets {
        tokens: &tokens,
        smoothing: 0.1,
        vocab: D,
    };
    let loss = backend.run(cross_entropy::Forward { targets, logits: &x });
    let (mut gradient, ..) = zeros();
    backend.run(cross_entropy::Backward {
        targets,
        logits: &x,
        gradient: &mut gradient,
        scale: 0.2,
    });
    all.extend([vec![loss as f32], gradient]);

    let (mut weights, mut first) = (x.clone(), dy.clone());
    let mut second: Vec<f32> = x.iter().map(|x| x * x).collect();
    let step = adamw::Step {
        scale: 0.7,
        betas: [0.9, 0.999],
        rate: 1e-3,
        correction: 1.3,
        epsilon: 1e-8,
    };
    let decays = [(ROWS * D - 7, 0.99), (7, 1.0)];
    adamw::update(backend, step, &decays, &mut weights, &mut first, &mut second, &dy);
    all.extend([weights, first, second]);
    all.push(vec![adamw::sum_of_squares(backend, &x) as f32]);
    all
}

#[test]
fn element_wise_kernels_give_the_same_bits_on_every_backend() {
    let expected = element_wise(Backend::scalar());
    assert!(expected.iter().flatten().all(|x| x.is_finite()));
    on_every_backend(|backend| assert_eq!(element_wise(backend), expected));
}
