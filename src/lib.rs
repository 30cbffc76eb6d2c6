//! loopscope: a mechanistic-interpretability workbench for recurrent-depth (looped) transformers.
//!
//! Data flows one way, and the modules stand in that order:
//! [`graph`] → [`model`] (packed rows, hooks) → [`train`] → [`checkpoint`] → [`measure`] → [`figure`] → [`report`], every
//! arrow a
//! call made by [`cli`].
//!
//! The science is that of *Loop, Think, & Generalize* (Kohli et al. 2026, arXiv 2604.07822).
// Only the kernels hold unsafe code, each block with its proof.
#![deny(unsafe_code)]

pub mod bench;
pub mod checkpoint;
pub mod circuit;
pub mod cli;
pub mod error;
pub mod figure;
pub mod files;
pub mod graph;
mod kernels;
pub mod measure;
pub mod model;
pub mod random;
mod registry;
pub mod report;
pub mod train;

pub use error::{Error, Result};
