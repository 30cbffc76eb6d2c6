//! The measured fields of rows. A field that is none of them, nor of the checkpoint, tells what was measured.

/// A field of a row that holds what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// The field.
    pub(super) field: &'static str,
    /// The fields of its 95 % interval.
    pub(super) interval: Option<[&'static str; 2]>,
    pub(super) kind: QuantityKind,
}

/// What there is to know of a measured field to put several runs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuantityKind {
    /// Measured anew in every row.
    OfRow,
    /// As that, from 0 to 1.
    Share,
    /// Measured once for a line of rows, in one of them: as the largest number is.
    OfLine,
    /// The number of things that the interval is over.
    Sample,
}

impl Quantity {
    /// A number, flag or text that is measured anew in every row.
    pub const fn of(field: &'static str) -> Self {
        Self {
            field,
            interval: None,
            kind: QuantityKind::OfRow,
        }
    }

    /// A number from 0 to 1.
    pub const fn share(field: &'static str) -> Self {
        let kind = QuantityKind::Share;
        Self {
            kind,
            ..Self::of(field)
        }
    }

    /// What is measured once for a line of rows, and stands in one of them.
    pub const fn of_line(field: &'static str) -> Self {
        let kind = QuantityKind::OfLine;
        Self {
            kind,
            ..Self::of(field)
        }
    }

    /// The number of things that the row's interval is over.
    pub const fn sample(field: &'static str) -> Self {
        let kind = QuantityKind::Sample;
        Self {
            kind,
            ..Self::of(field)
        }
    }

    /// With its 95 % interval in these fields.
    #[must_use]
    pub const fn within(mut self, low: &'static str, high: &'static str) -> Self {
        self.interval = Some([low, high]);
        self
    }

    /// The fields that it is in.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.field).chain(self.interval.into_iter().flatten())
    }
}

/// A list of quantities: `sample n, share accuracy within low high, of kl within kl_low kl_high`.
macro_rules! quantities {
    ($($kind:ident $field:ident $(within $low:ident $high:ident)?),+ $(,)?) => {
        &[$($crate::measure::Quantity::$kind(stringify!($field))$(.within(stringify!($low), stringify!($high)))?),+]
    };
}

pub(super) use quantities;
