//! Files of a run: checkpoints as safetensors, run folders, other people's weights.

mod file;
mod import;
mod lock;
mod paths;
mod pickle;
mod role;
mod run;

pub use file::{Checkpoint, CheckpointInfo, read_tensors, write_tensors};
pub use import::{ImportSettings, import};
pub use lock::RunLock;
pub use paths::{CheckpointPath, RunPath, find_checkpoints};
pub use role::CheckpointRole;
pub use run::{RunFolder, RunRecord, StagesFile, initial_checkpoint};
