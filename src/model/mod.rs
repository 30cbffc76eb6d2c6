//! The looped transformer: config, weights, packed rows, the forward pass, and hook points.

mod branches;
mod config;
mod forward;
mod hooks;
mod loss;
pub(crate) mod ops;
mod rows;
mod taps;
mod unroll;
mod weights;

pub use crate::kernels::{Backend, MatmulBackend, disable_amx};
pub use branches::Cut;
pub use config::{Activation, Init, ModelConfig, Positions, Readout, Role, Slot};
pub use forward::{DirectLogits, Interchanged, Model, Pass};
pub use hooks::{Hooks, Point, Site};
pub use loss::log_softmax;
pub use rows::{Rows, Sharing};
pub use unroll::Unrolled;
pub use weights::{Leaf, Weights};

#[cfg(test)]
mod tests;
