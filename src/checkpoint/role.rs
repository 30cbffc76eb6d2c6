//! What a checkpoint is in its run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a checkpoint is in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointRole {
    /// The initial weights, before the first step.
    Initial,
    /// The weights at which the stage with this number, from 1, was reached.
    Stage(usize),
    /// The weights at the end of training.
    End,
    /// A log-spaced checkpoint, or a file outside a run folder.
    #[default]
    Other,
}

impl fmt::Display for CheckpointRole {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Initial => f.pad("step 0"),
            Self::Stage(number) => f.pad(&format!("stage {number}")),
            Self::End => f.pad("end of training"),
            Self::Other => f.pad("checkpoint"),
        }
    }
}
