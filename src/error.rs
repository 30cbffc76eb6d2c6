//! The error type of the library: every variant is a sentence that a user can act on.

use std::path::{Path, PathBuf};

use crate::wording::{choices, with_suggestion};

/// The errors of the library. Each is displayed as one sentence that names the file, key or value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read, or whose content is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A value, key or name that is not allowed; the text says what is.
    #[error("{0}")]
    Input(String),

    /// A file or folder that cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why it cannot be written.
        reason: String,
    },

    /// A folder that another process works in.
    #[error(
        "{}: {holder}; nothing was changed. Wait for that process or stop it, or choose another --out",
        folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who works in it: process, host, and since when.
        holder: String,
    },

    /// A lock that another process has taken or removed while this one worked in the folder.
    #[error("{0}")]
    LockLost(String),

    /// Training met a value that is not finite.
    #[error(
        "step {step}: {tensor} is not finite; the run stops here. Last good checkpoint: {checkpoint}. \
         A lower learning rate (optimizer.lr) or tighter clipping (optimizer.clip) usually helps"
    )]
    Diverged {
        /// The step, from 0.
        step: u64,
        /// What is not finite: the loss, or the gradient of a weight.
        tensor: String,
        /// The last good checkpoint, or `none yet`.
        checkpoint: String,
    },

    /// The user asked to stop; everything is saved.
    #[error(
        "interrupted; everything up to here is saved, and the same command continues from it (train: with --resume)"
    )]
    Interrupted,

    /// The tensor library failed.
    #[error("tensor computation failed: {}", sentence(.0))]
    Tensor(#[from] candle_core::Error),

    /// A failure that no input has caused.
    #[error("{0}")]
    Failed(String),

    /// A figure could not be drawn.
    #[error("cannot draw {}: {reason}", path.display())]
    Figure {
        /// The file of the figure.
        path: PathBuf,
        /// Why it cannot be drawn.
        reason: String,
    },
}

/// The message of a candle error in one line, without the stack trace that candle adds where `RUST_BACKTRACE` is set.
pub(crate) fn sentence(error: &candle_core::Error) -> String {
    use candle_core::Error as E;
    let message = match error {
        E::WithBacktrace { inner, .. } => sentence(inner),
        E::WithPath { inner, path } => format!("{}: {}", path.display(), sentence(inner)),
        E::Context { inner, context } => format!("{context}: {}", sentence(inner)),
        E::WrappedContext { wrapped, context } => match wrapped.downcast_ref::<E>() {
            Some(inner) => format!("{context}: {}", sentence(inner)),
            None => format!("{context}: {wrapped}"),
        },
        other => other.to_string(),
    };
    // An error that candle has wrapped as text brings its stack trace along: numbered lines, from 0 on.
    let lines = message
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("0: "));
    lines.collect::<Vec<_>>().join("; ")
}

/// The result type of the library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// [`Error::File`]: the content of `path` is wrong. A reason of serde about an unknown key names the nearest one.
    pub fn file(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: with_suggestion(reason.to_string()),
        }
    }

    /// [`Error::Write`]: `path` cannot be written.
    pub fn write(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// [`Error::Input`]: a value that the user gave is wrong. A reason of serde about an unknown key names the nearest one.
    pub fn input(reason: impl std::fmt::Display) -> Self {
        Self::Input(with_suggestion(reason.to_string()))
    }

    /// [`Error::Input`]: `key` has the name `given`, which is not one of `names`.
    pub(crate) fn unknown<N: AsRef<str>>(key: &str, given: &str, names: &[N]) -> Self {
        Self::input(format!("{key} = {given:?}; allowed: {}", choices(given, names)))
    }

    /// [`Error::Failed`]: a failure that no input has caused.
    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// The exit code of the binary: 2 for bad input, 1 for a failure, 130 for an interruption (128 + SIGINT).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Input(_) | Self::Locked { .. } => 2,
            Self::Interrupted => 130,
            Self::Failed(_)
            | Self::LockLost(_)
            | Self::Write { .. }
            | Self::Diverged { .. }
            | Self::Tensor(_)
            | Self::Figure { .. } => 1,
        }
    }
}

/// Refuses the value of a key unless `condition` holds.
///
/// # Errors
/// With the key, the value, and what is allowed.
pub(crate) fn allow(condition: bool, key: &str, value: &dyn std::fmt::Display, allowed: &str) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(Error::input(format!("{key} = {value}; allowed: {allowed}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_exit_with_1_and_bad_input_with_2() {
        assert_eq!(Error::failed("a thread stopped").exit_code(), 1);
        assert_eq!(Error::write(Path::new("x"), "full").exit_code(), 1);
        assert_eq!(Error::input("a = 3").exit_code(), 2);
        assert_eq!(Error::file(Path::new("x"), "is damaged").exit_code(), 2);
    }

    #[test]
    fn an_error_of_candle_is_one_line() {
        use candle_core::Error as E;
        let trace = "shape mismatch\n   0: candle_core::error::Error::bt\n             at error.rs:3\n   1: main";
        let wrapped = E::WithPath {
            inner: Box::new(E::Wrapped(Box::new(trace))),
            path: "a.pt".into(),
        };
        assert_eq!(sentence(&wrapped), "a.pt: shape mismatch");
        let context = E::Msg("end of file".to_owned()).context("tensor 3");
        assert_eq!(sentence(&context), "tensor 3: end of file");
        assert_eq!(
            Error::from(E::Msg("a\nb".to_owned())).to_string(),
            "tensor computation failed: a; b"
        );
    }
}
