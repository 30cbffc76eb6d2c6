//! Files of a run: checkpoints as safetensors, run folders, other people's weights.

mod file;
mod import;
mod lock;
mod pickle;
mod run;
mod subject;

pub use file::{Checkpoint, CheckpointInfo, read_tensors, write_tensors};
pub use import::{ImportSettings, import};
pub use lock::RunLock;
pub use run::{RunFolder, RunRecord, StagesFile, initial_checkpoint};
pub use subject::{Subject, Target, subjects};
