//! The looped transformer: config, weights, packed rows, the forward pass, and hook points.

mod ancestors;
mod branches;
mod budget;
mod config;
mod cost;
mod forward;
mod hooks;
mod loss;
pub(crate) mod ops;
mod rows;
mod site;
mod taps;
mod unroll;
mod weights;
mod write;

pub use crate::kernels::{Backend, MatmulBackend, amx_is_disabled, disable_amx};
pub use branches::{Branch, Cut, Edit};
pub use budget::Budget;
pub use config::{Activation, Init, ModelConfig, Positions, Readout, Role, Slot};
pub use forward::{DirectLogits, HeadInput, HeadInputs, Interchanged, Intervened, Model, Pass};
pub use hooks::Hooks;
pub use loss::log_softmax;
pub use rows::{Rows, Sharing};
pub use site::{Point, Site};
pub use unroll::Unrolled;
pub use weights::{Leaf, Weights};
pub use write::{StateFn, Write};

#[cfg(test)]
mod tests;
