//! A change of one direction of a state.

use super::EditKind;
use crate::measure::{dot, minus, norm};

/// Read · along below which a move has no length to divide by: the directions are of unit length or of none.
const MIN_LENGTH: f64 = 1e-6;

/// Moves a state along one direction until its coordinate along another one is a given number. Made twice it is the same as made
/// once, so that an edit can be clamped through later iterations: a swap that were made again would undo itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MoveTo {
    read: Vec<f32>,
    along: Vec<f32>,
    target: f64,
}

/// What an edit knows of the place where it is made. All directions are unit vectors `[d_model]`; coordinates are counted from
/// the mean state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry<'a> {
    /// The mean state.
    pub(super) mean: &'a [f32],
    /// The bridge's direction.
    pub(super) bridge: &'a [f32],
    /// The other bridge's direction.
    pub(super) other: &'a [f32],
    /// The coordinate along its own direction that a state with the bridge has on average.
    pub(super) mean_coordinate: f64,
}

impl MoveTo {
    /// The edit that makes of the state of the run without edits, `base`, what `kind` says.
    pub(super) fn new(kind: EditKind, at: Geometry, base: &[f32]) -> Self {
        match kind {
            // To swap the coordinates along two unit vectors is to reflect along their difference (Householder 1958).
            EditKind::Swap => {
                let difference = unit(&minus(at.bridge, at.other));
                let target = 2.0 * dot(at.mean, &difference) - dot(base, &difference);
                Self::along(difference, target)
            }
            EditKind::Remove => Self::along(at.bridge.to_vec(), dot(at.mean, at.bridge)),
            EditKind::Push => Self {
                read: at.other.to_vec(),
                along: minus(at.other, at.bridge),
                target: dot(at.mean, at.other) + at.mean_coordinate,
            },
        }
    }

    /// The placebo: as far as `distance` from `base` along a direction.
    pub(super) fn by(distance: f64, direction: Vec<f32>, base: &[f32]) -> Self {
        let target = dot(base, &direction) + distance;
        Self::along(direction, target)
    }

    fn along(direction: Vec<f32>, target: f64) -> Self {
        Self {
            read: direction.clone(),
            along: direction,
            target,
        }
    }

    // The multiple of `along` that is added to a state; a direction without length changes nothing.
    fn multiple(&self, state: &[f32]) -> f64 {
        let length = dot(&self.read, &self.along);
        if length < MIN_LENGTH {
            return 0.0;
        }
        (self.target - dot(state, &self.read)) / length
    }

    /// Moves a state.
    pub(super) fn apply(&self, state: &mut [f32]) {
        let multiple = self.multiple(state);
        for (x, along) in state.iter_mut().zip(&self.along) {
            *x = (f64::from(*x) + multiple * f64::from(*along)) as f32;
        }
    }

    /// How far it moves a state.
    pub(super) fn distance(&self, state: &[f32]) -> f64 {
        self.multiple(state).abs() * norm(&self.along)
    }
}

/// The vector over its length; zeros where it has none.
pub(super) fn unit(x: &[f32]) -> Vec<f32> {
    let length = norm(x);
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    x.iter().map(|&x| (f64::from(x) * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: [f32; 3] = [1.0, -2.0, 0.5];

    fn centred(state: &[f32], direction: &[f32]) -> f64 {
        dot(state, direction) - dot(&MEAN, direction)
    }

    // Two directions that are not at right angles.
    fn directions() -> [Vec<f32>; 2] {
        [unit(&[3.0, 1.0, 0.0]), unit(&[1.0, 2.0, 2.0])]
    }

    fn moved(kind: EditKind, base: &[f32]) -> Vec<f32> {
        let [bridge, other] = directions();
        let at = Geometry {
            mean: &MEAN,
            bridge: &bridge,
            other: &other,
            mean_coordinate: 0.75,
        };
        let edit = MoveTo::new(kind, at, base);
        let mut state = base.to_vec();
        edit.apply(&mut state);
        let distance = norm(&minus(&state, base));
        assert!((distance - edit.distance(base)).abs() < 1e-5, "{kind:?}");
        // Clamped: made again, it changes nothing.
        let mut again = state.clone();
        edit.apply(&mut again);
        assert!(norm(&minus(&again, &state)) < 1e-5, "{kind:?}");
        state
    }

    #[test]
    fn a_swap_exchanges_two_coordinates_and_leaves_the_rest() {
        let ([bridge, other], base) = (directions(), [2.0, 1.0, -3.0]);
        let state = moved(EditKind::Swap, &base);
        let coordinate = |state: &[f32], direction: &[f32]| centred(state, direction);
        assert!((coordinate(&state, &bridge) - coordinate(&base, &other)).abs() < 1e-5);
        assert!((coordinate(&state, &other) - coordinate(&base, &bridge)).abs() < 1e-5);
        // At right angles to both.
        let across = [
            bridge[1] * other[2] - bridge[2] * other[1],
            bridge[2] * other[0] - bridge[0] * other[2],
            bridge[0] * other[1] - bridge[1] * other[0],
        ];
        assert!((coordinate(&state, &across) - coordinate(&base, &across)).abs() < 1e-5);
        assert!(norm(&minus(&state, &base)) > 0.5);
    }

    #[test]
    fn a_removed_direction_is_where_the_mean_has_it() {
        let ([bridge, _], base) = (directions(), [2.0, 1.0, -3.0]);
        let state = moved(EditKind::Remove, &base);
        assert!(centred(&state, &bridge).abs() < 1e-5 && centred(&base, &bridge).abs() > 1.0);
    }

    #[test]
    fn a_push_gives_the_other_bridge_the_mean_coordinate_along_the_difference_alone() {
        let ([bridge, other], base) = (directions(), [2.0, 1.0, -3.0]);
        let state = moved(EditKind::Push, &base);
        assert!((centred(&state, &other) - 0.75).abs() < 1e-5);
        let step = unit(&minus(&state, &base));
        let difference = unit(&minus(&other, &bridge));
        assert!((dot(&step, &difference).abs() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_placebo_moves_as_far_as_it_is_told_and_not_at_all_without_length() {
        let base = [2.0, 1.0, -3.0];
        let placebo = MoveTo::by(1.5, unit(&[1.0, -1.0, 2.0]), &base);
        assert!((placebo.distance(&base) - 1.5).abs() < 1e-5);
        for still in [
            MoveTo::by(0.0, unit(&[1.0, -1.0, 2.0]), &base),
            MoveTo::by(1.5, unit(&[0.0; 3]), &base),
        ] {
            let mut state = base.to_vec();
            still.apply(&mut state);
            assert_eq!(state, base);
        }
    }
}
