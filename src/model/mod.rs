//! The looped transformer: config, weights, packed rows, the forward pass, and hook points.

mod config;
pub(crate) mod forward;
pub(crate) mod hooks;
mod loss;
pub(crate) mod rows;
mod taps;
mod unroll;
mod weights;

pub use crate::kernels::{Backend, Products, be_portable, products};
pub use config::{Init, ModelConfig, Positions, Readout, Role, Slot};
pub use forward::{Model, Pass};
pub use hooks::{Hooks, Point, Site};
pub use loss::log_softmax;
pub use rows::{Rows, Sharing};
pub use unroll::Unrolled;
pub use weights::{Leaf, Weights};

#[cfg(test)]
mod tests;
