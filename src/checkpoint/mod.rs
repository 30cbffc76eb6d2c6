//! Checkpoints as safetensors, run folders, and the import of other people's weights.

mod file;
mod import;
mod lock;
mod paths;
mod pickle;
mod record;
mod role;
mod run;
mod size;
mod tensors;

pub use file::{Checkpoint, CheckpointInfo};
pub use import::{ImportSettings, import};
pub use lock::{HeartbeatWatch, Holder, Pulse, RunLock};
pub use paths::{CheckpointPath, RunPath, find_checkpoints, find_checkpoints_over_steps};
pub(crate) use record::read_metrics_so_far;
pub use record::{RunRecord, StagesFile, initial_checkpoint};
pub use role::CheckpointRole;
pub use run::RunFolder;
pub(crate) use run::relative_to;
pub(crate) use size::{checkpoint_bytes, state_bytes};
pub use tensors::{read_tensors, write_tensors};
