//! What the fuzz targets share: a scratch folder, and inputs that are several texts in one.

use std::path::{Path, PathBuf};

use loopscope::checkpoint::ImportSettings;
use loopscope::model::Readout;

/// A folder of this process alone. Put `TMPDIR` on a file system in memory: every input is written to it.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new, empty one.
    #[expect(clippy::new_without_default, reason = "a folder on disk is no default value")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("the temporary folder is writable"))
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in it; gives its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the temporary folder is writable");
        path
    }

    /// Removes what `name` holds, where it holds anything.
    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        let _ = if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
    }
}

/// How weights without a config are brought in.
pub fn import_settings(iterations: usize) -> ImportSettings {
    ImportSettings {
        heads: 1,
        iterations,
        readout: Readout::LastToken,
        columns: None,
        sinusoidal: false,
        vocab: None,
    }
}

/// The parts of an input of several files or texts: lines of `====` stand between them.
pub fn parts(data: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b"\n====\n";
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// Holds an error to its promise: bad input, exit code 2, and named by its file.
///
/// # Panics
/// When it is not.
pub fn expect_named(error: &loopscope::Error, path: &Path) {
    let text = error.to_string();
    let name = path.display().to_string();
    assert_eq!(error.exit_code(), 2, "{text}");
    assert!(text.contains(&name), "{text} does not name {name}");
}
