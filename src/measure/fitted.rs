//! What a method fits to a checkpoint (directions of probes, later translators of lenses), kept beside it: in `fitted/` of the
//! run folder, a folder for each checkpoint, so that an intervention can use what another command has fitted.

use std::path::PathBuf;

use candle_core::Tensor;
use serde::Serialize;
use serde_json::{Map, Value};

use super::checkpoint::LoadedCheckpoint;
use super::columns::fields;
use crate::checkpoint::write_tensors;
use crate::error::Result;
use crate::files;

/// Fitted tensors of one checkpoint.
pub struct Fitted {
    path: PathBuf,
    tensors: Vec<(String, Tensor)>,
    info: Map<String, Value>,
}

impl Fitted {
    /// What `method` fitted under this name; `info` says what the tensors are.
    ///
    /// # Errors
    /// When `info` has no named fields.
    pub(super) fn new(
        method: &str,
        name: &str,
        checkpoint: &LoadedCheckpoint,
        tensors: Vec<(String, Tensor)>,
        info: &impl Serialize,
    ) -> Result<Self> {
        let file = &checkpoint.path.path;
        let folder = file.with_file_name("fitted").join(file.file_stem().unwrap_or_default());
        let mut all = fields(&checkpoint.info.origin)?;
        all.extend(fields(info)?);
        Ok(Self {
            path: folder.join(format!("{method}-{name}.safetensors")),
            tensors,
            info: all,
        })
    }

    /// Writes it to its place, and gives that.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self) -> Result<PathBuf> {
        if let Some(folder) = self.path.parent() {
            files::create_folder(folder)?;
        }
        write_tensors(&self.path, self.tensors, &self.info)?;
        Ok(self.path)
    }
}
