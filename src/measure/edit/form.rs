//! The edits that are made at every place.

use serde::{Deserialize, Serialize};

/// How a state is changed along a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EditKind {
    /// The coordinates along the directions of the bridge and the other one are swapped.
    Swap,
    /// The bridge's direction is projected out: its coordinate becomes that of the mean state.
    Remove,
    /// A multiple of the difference of both directions is added, so that the coordinate along the other bridge's direction becomes
    /// the one that states with the bridge have along the bridge's, on average.
    Push,
}

/// The part of a state that an edit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// All of it: it becomes the state of a query that has the other bridge.
    #[value(skip)]
    Whole,
    /// The direction that the output matrix reads, through the weight of the final norm.
    Output,
    /// The weights of a logistic probe.
    Probe,
    /// The difference of the mean state with the bridge from that of all.
    Mean,
    /// A random direction: the placebo of an edit along another one.
    Random,
}

/// An edit, wherever it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditForm {
    /// The part of the state that is changed.
    pub direction: Changed,
    /// How it is changed; absent where the whole state is.
    pub kind: Option<EditKind>,
    /// Of a random direction: the direction whose edit of the same kind moves the state as far.
    pub matched_to: Option<Changed>,
    /// Whether it is made again at every later iteration.
    pub clamped: bool,
}

impl EditForm {
    /// Whether the bridge is taken out and no other one put in its place; of a random direction, whether its edit does.
    pub fn is_removal(self) -> bool {
        self.kind == Some(EditKind::Remove)
    }
}

/// The edits at each place: of the whole state first, then along each direction, then the placebo of each; a clamped one behind the
/// same edit written once.
pub(super) fn forms(directions: &[Changed], kinds: &[EditKind], clamp: bool) -> Vec<EditForm> {
    let mut fitted: Vec<Changed> = directions.to_vec();
    fitted.retain(|of| !matches!(of, Changed::Whole | Changed::Random));
    let mut changes = vec![(Changed::Whole, None, None)];
    for &of in &fitted {
        changes.extend(kinds.iter().map(|&kind| (of, Some(kind), None)));
    }
    if directions.contains(&Changed::Random) {
        // The placebo is as long as something.
        if fitted.is_empty() {
            fitted.push(Changed::Mean);
        }
        for of in fitted {
            changes.extend(kinds.iter().map(|&kind| (Changed::Random, Some(kind), Some(of))));
        }
    }
    let clamps: &[bool] = if clamp { &[false, true] } else { &[false] };
    let form = |(direction, kind, matched_to)| {
        clamps.iter().map(move |&clamped| EditForm {
            direction,
            kind,
            matched_to,
            clamped,
        })
    };
    let mut forms: Vec<EditForm> = Vec::new();
    for form in changes.into_iter().flat_map(form) {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}
