//! The tokens that a truth is about.

use crate::graph::{Target, Token};

/// What is looked for in the states of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought {
    /// An entity or relation of the query.
    Named(Target, Token),
    /// The entity that is answered, where it is not the target.
    WrongAnswer,
}

impl Sought {
    /// Its name in truth files.
    pub(super) fn target(self) -> Option<Target> {
        match self {
            Self::Named(target, _) => Some(target),
            Self::WrongAnswer => None,
        }
    }
}
