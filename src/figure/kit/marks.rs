//! Vertical marks with their names above the plot, in rows: no name covers another one or stands on the line of another mark.

use super::canvas::{Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::look::Sizes;
use super::panel::Frame;

/// Where the name of a mark stands.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Flag {
    // From 0, directly above the plot.
    row: usize,
    // Left of its line, not right of it.
    is_left: bool,
    // From its left end to its right end, the line among them.
    interval: (f64, f64),
}

/// Draws marks at shares of the width of a plot; names begin at this height above it.
pub(super) fn draw(canvas: &mut Canvas, frame: &Frame, marks: &[(f64, &str)], above: f64) {
    let sizes = frame.sizes;
    let style = Type::of(sizes.text).coloured(Colour::FAINT_INK);
    let leading = Sizes::leading(sizes.text);
    for (&(at, name), flag) in marks.iter().zip(flags(sizes, marks, frame.width)) {
        let (x, bottom) = frame.at(at, 0.0);
        if !frame.shown.marks {
            canvas.polyline(&[(x, bottom), (x, frame.top)], &line(sizes));
            continue;
        }
        let top = frame.top - above - (flag.row + 1) as f64 * leading;
        canvas.polyline(&[(x, bottom), (x, top + 0.15 * leading)], &line(sizes));
        let (side, x) = if flag.is_left {
            (Side::Right, x - space(sizes))
        } else {
            (Side::Left, x + space(sizes))
        };
        canvas.text((x, top + 0.5 * leading), side, style, name);
    }
}

/// The height of the names of marks at shares of a plot of this width.
pub(super) fn height(sizes: &Sizes, marks: &[(f64, &str)], width: f64) -> f64 {
    let rows = flags(sizes, marks, width).iter().map(|flag| flag.row + 1).max();
    rows.unwrap_or(0) as f64 * Sizes::leading(sizes.text)
}

fn line(sizes: &Sizes) -> Ink {
    Ink::stroke(Colour::FAINT_INK, sizes.thin).dashed(&[3.0 * sizes.thin, 3.0 * sizes.thin])
}

// Between a line and its name.
fn space(sizes: &Sizes) -> f64 {
    0.3 * sizes.text
}

fn flags(sizes: &Sizes, marks: &[(f64, &str)], width: f64) -> Vec<Flag> {
    let style = Type::of(sizes.text);
    let marks: Vec<(f64, f64)> = marks
        .iter()
        .map(|(at, name)| (at * width, style.width(name) + 2.0 * space(sizes)))
        .collect();
    placed(&marks, width + sizes.gap)
}

// The flags of marks, each a place with the length of its name, of which none goes beyond `right`.
//
// A name stands right of its line, where another mark's line may only end below it: of these marks the rightmost has the lowest row.
// Near the right end names stand left of their lines, and so do those that would be among them: of these the leftmost is lowest.
fn placed(marks: &[(f64, f64)], right: f64) -> Vec<Flag> {
    let mut order: Vec<usize> = (0..marks.len()).collect();
    order.sort_by(|&a, &b| marks[a].0.total_cmp(&marks[b].0));
    let mut left_flags: Vec<usize> = Vec::new();
    let mut right_flags: Vec<usize> = Vec::new();
    for &n in order.iter().rev() {
        let (at, length) = marks[n];
        let is_under = |&other: &usize| at < marks[other].0 && marks[other].0 - marks[other].1 < at;
        if at + length > right || left_flags.iter().any(is_under) {
            left_flags.push(n);
        } else {
            right_flags.push(n);
        }
    }
    let mut flags: Vec<Option<Flag>> = vec![None; marks.len()];
    for &n in left_flags.iter().rev().chain(&right_flags) {
        let (at, length) = marks[n];
        let is_left = left_flags.contains(&n);
        let interval = if is_left { (at - length, at) } else { (at, at + length) };
        let there = || {
            flags
                .iter()
                .zip(marks)
                .filter_map(|(flag, mark)| Some(((*flag)?, mark.0)))
        };
        let below = there().filter(|(_, line)| interval.0 < *line && *line < interval.1);
        let mut row = below.map(|(flag, _)| flag.row + 1).max().unwrap_or(0);
        let covers = |row: usize| {
            there().any(|(flag, _)| flag.row == row && flag.interval.0 < interval.1 && interval.0 < flag.interval.1)
        };
        while covers(row) {
            row += 1;
        }
        flags[n] = Some(Flag { row, is_left, interval });
    }
    flags.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_name_covers_another_or_stands_on_the_line_of_another_mark(
            places in proptest::collection::vec((0.0..100.0_f64, 5.0..60.0_f64), 1..9),
        ) {
            let flags = placed(&places, 106.0);
            prop_assert_eq!(flags.len(), places.len());
            for (i, (flag, &(at, _))) in flags.iter().zip(&places).enumerate() {
                prop_assert!(flag.interval.1 <= 106.0);
                prop_assert!(flag.interval.0 <= at && at <= flag.interval.1);
                for (other, &(line, _)) in flags.iter().zip(&places).take(i) {
                    let apart = flag.interval.1 <= other.interval.0 || other.interval.1 <= flag.interval.0;
                    prop_assert!(apart || flag.row != other.row, "{flag:?} {other:?}");
                    // A line goes up to the row of its name.
                    for (name, line, row) in [(flag, line, other.row), (other, at, flag.row)] {
                        let crossed = name.interval.0 < line && line < name.interval.1 && row >= name.row;
                        prop_assert!(!crossed, "{flag:?} {other:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_that_have_room_stand_in_one_row() {
        let flags = placed(&[(80.0, 20.0), (10.0, 20.0), (40.0, 20.0)], 100.0);
        assert!(flags.iter().all(|flag| flag.row == 0 && !flag.is_left), "{flags:?}");
        let flags = placed(&[(10.0, 20.0), (12.0, 20.0), (99.0, 20.0)], 100.0);
        let rows: Vec<(usize, bool)> = flags.iter().map(|flag| (flag.row, flag.is_left)).collect();
        assert_eq!(rows, [(1, false), (0, false), (0, true)]);
    }
}
