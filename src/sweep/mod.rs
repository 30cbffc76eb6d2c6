//! Sweeps: many runs from one file, each an ordinary run folder, trained here or by whatever starts processes.
//!
//! A sweep is a folder. Its plans are immutable and numbered (`plan-1.json`, `plan-2.json`, …): a changed sweep file makes the
//! next plan. A [`Point`] is known by the hash of its settings and data, so that a point that a later plan has too is the same
//! run, and a changed plan never writes over results. Nothing here schedules: a point is one command that says so when there is
//! nothing left to do, and the lock of its run folder keeps it from being trained twice at a time.

mod data;
mod estimate;
mod file;
pub mod gather;
mod log;
mod plan;
mod point;
mod run;
pub mod slurm;
mod status;

pub use data::{DataSettings, SweepData};
pub use estimate::{default_jobs, estimate, estimate_file};
pub use plan::Plan;
pub use point::{Point, PointData, PointSeeds};
pub use run::{PointOutcome, Runner};
pub use status::{PointState, Saved, Status};
