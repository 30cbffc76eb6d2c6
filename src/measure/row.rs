//! The rows of results, and the columns that tables show of them.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::Origin;
use super::columns::Column;
use super::quantity::Quantity;
use super::statistics::Clustering;
use crate::graph::Split;

/// A row of a result; its fields name the columns of CSV, JSON and the printed table.
pub trait Row: Debug + Clone + PartialEq + Serialize + DeserializeOwned {
    /// What the printed table shows of it, after the run and the checkpoint.
    const COLUMNS: &'static [Column];

    /// What of it was measured; every other field, those of the checkpoint and `interval` apart, tells what of. In lists, since
    /// rows share some.
    const QUANTITIES: &'static [&'static [Quantity]];

    /// Of rows that differ in these fields alone, each [`Quantity::of_line`] stands in one.
    const ALONG: &'static [&'static str] = &[];

    /// The checkpoint that it is of.
    fn origin(&self) -> &Origin;

    /// What its interval counts for, and the split that it is over; `None` where it has no interval.
    fn clustering(&self) -> Option<(&Split, Clustering)>;
}

/// Implements [`Row`] for a type that has `origin`, `split` and `interval`, with these columns, the measured fields, and the fields
/// along which its lines go where it has any.
macro_rules! columns {
    ($Row:ty: $($column:expr),+ $(,)?; measured $($quantities:expr),+ $(,)? $(; along $($along:expr),+)?) => {
        impl $crate::measure::Row for $Row {
            const COLUMNS: &'static [$crate::measure::Column] = &[$($column),+];

            const QUANTITIES: &'static [&'static [$crate::measure::Quantity]] = &[$($quantities),+];

            $(const ALONG: &'static [&'static str] = &[$($along),+];)?

            fn origin(&self) -> &$crate::measure::Origin {
                &self.origin
            }

            fn clustering(&self) -> Option<(&$crate::graph::Split, $crate::measure::statistics::Clustering)> {
                Some((&self.split, self.interval))
            }
        }
    };
}

pub(super) use columns;
