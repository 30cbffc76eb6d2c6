//! Colours that survive greyscale and colour blindness. How that was checked: tests simulate protanopia and deuteranopia with the
//! matrices of Machado, Oliveira & Fernandes (2009, severity 1), measure distances as ΔE of CIE Lab (1976), and greyscale as its lightness
//! L*. Colour maps have a lightness that only rises or only falls; of a diverging map, whose two ends are equally dark, the cells below 0
//! have a diagonal too. Lines of a figure are never told apart by colour alone: each split has a marker and a stroke of its own.

/// A colour; named ones are of the palette of Okabe & Ito (2008), which colour-blind readers can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

impl Colour {
    pub(crate) const BLUE: Self = Self(0, 114, 178);
    pub(crate) const GREEN: Self = Self(0, 158, 115);
    pub(crate) const VERMILION: Self = Self(213, 94, 0);
    pub(crate) const SKY: Self = Self(86, 180, 233);
    pub(crate) const ORANGE: Self = Self(230, 159, 0);
    pub(crate) const PURPLE: Self = Self(204, 121, 167);
    pub(crate) const BLACK: Self = Self(40, 40, 40);
    pub(crate) const GREY: Self = Self(120, 120, 120);
    pub(super) const WHITE: Self = Self(255, 255, 255);
    pub(super) const INK: Self = Self(30, 30, 30);
    pub(super) const FAINT_INK: Self = Self(95, 95, 95);
    pub(super) const GRID: Self = Self(232, 232, 232);
    pub(super) const FRAME: Self = Self(140, 140, 140);
    /// Between iterations: apart from the grid, fainter than data, at the least contrast with white that graphics need (3 : 1, WCAG 2.2).
    pub(super) const BOUNDARY: Self = Self(145, 145, 145);
    /// A cell without a value.
    pub(super) const MISSING: Self = Self(214, 214, 214);

    /// How many colours [`Colour::cycle`] has.
    pub(crate) const CYCLE: usize = 7;

    /// The n-th colour for things without one of their own.
    pub(crate) fn cycle(n: usize) -> Self {
        [
            Self::PURPLE,
            Self::ORANGE,
            Self::SKY,
            Self::BLACK,
            Self::GREEN,
            Self::VERMILION,
            // Last, because training rows are blue wherever they are drawn.
            Self::BLUE,
        ][n % Self::CYCLE]
    }

    /// The n-th of `of` steps of an ordered quantity, dark to light (after viridis, van der Walt & Smith 2015).
    pub(crate) fn ordered(n: usize, of: usize) -> Self {
        const STOPS: [Colour; 5] = [
            Colour(68, 1, 84),
            Colour(59, 82, 139),
            Colour(33, 145, 140),
            Colour(94, 190, 90),
            Colour(215, 190, 30),
        ];
        let at = n as f64 / of.saturating_sub(1).max(1) as f64 * (STOPS.len() - 1) as f64;
        let low = (at as usize).min(STOPS.len() - 2);
        STOPS[low].mixed(STOPS[low + 1], at - low as f64)
    }

    /// The colour of a cell: white at 0, dark blue at 1, vermilion at −1; what is beyond is shown as 1 and −1.
    pub(super) fn of_cell(value: f64) -> Self {
        const PALE: Colour = Colour(247, 250, 253);
        const MIDDLE: Colour = Colour(106, 163, 208);
        const DARK: Colour = Colour(8, 48, 107);
        let size = value.abs().min(1.0);
        if value < 0.0 {
            PALE.mixed(Self::VERMILION, size)
        } else if size < 0.5 {
            PALE.mixed(MIDDLE, 2.0 * size)
        } else {
            MIDDLE.mixed(DARK, 2.0 * size - 1.0)
        }
    }

    /// Black or white, whichever can be read better on it: at this luminance both have a contrast of 4.58 to 1 (WCAG 2.2).
    pub(super) fn ink(self) -> Self {
        if self.luminance() > 0.179 {
            Self(0, 0, 0)
        } else {
            Self::WHITE
        }
    }

    // As `share` goes from 0 to 1, from this colour to the other.
    fn mixed(self, other: Self, share: f64) -> Self {
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share) as u8;
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }

    // Relative luminance, from 0 to 1 (WCAG 2.2).
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.linear();
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    // Linear light of sRGB.
    fn linear(self) -> [f64; 3] {
        [self.0, self.1, self.2].map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        })
    }

    /// Red, green and blue.
    pub(super) fn channels(self) -> (u8, u8, u8) {
        (self.0, self.1, self.2)
    }

    /// As `#rrggbb`.
    pub(crate) fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of linear light, severity 1 (Machado et al. 2009, Table 1).
    const PROTANOPIA: [[f64; 3]; 3] = [
        [0.152_286, 1.052_583, -0.204_868],
        [0.114_503, 0.786_281, 0.099_216],
        [-0.003_882, -0.048_116, 1.051_998],
    ];
    const DEUTERANOPIA: [[f64; 3]; 3] = [
        [0.367_322, 0.860_646, -0.227_968],
        [0.280_085, 0.672_501, 0.047_413],
        [-0.011_820, 0.042_940, 0.968_881],
    ];
    const NORMAL: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    // CIE Lab (D65) of what a reader with this vision sees.
    fn lab(colour: Colour, vision: [[f64; 3]; 3]) -> [f64; 3] {
        let times =
            |matrix: [[f64; 3]; 3], v: [f64; 3]| matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
        let seen = times(vision, colour.linear()).map(|part| part.clamp(0.0, 1.0));
        let to_xyz = [
            [0.4124, 0.3576, 0.1805],
            [0.2126, 0.7152, 0.0722],
            [0.0193, 0.1192, 0.9505],
        ];
        let [x, y, z] = times(to_xyz, seen);
        let f = |t: f64| {
            if t > 216.0 / 24_389.0 {
                t.cbrt()
            } else {
                (24_389.0 / 27.0 * t + 16.0) / 116.0
            }
        };
        let (x, y, z) = (f(x / 0.9505), f(y), f(z / 1.089));
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn distance(a: Colour, b: Colour, vision: [[f64; 3]; 3]) -> f64 {
        let (a, b) = (lab(a, vision), lab(b, vision));
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    // A difference that is just noticed is about 2.3 (Mahy et al. 1994).
    const NOTICED: f64 = 2.3;

    #[test]
    fn colours_of_lines_are_far_apart_for_every_reader() {
        let cycle: Vec<Colour> = (0..Colour::CYCLE).map(Colour::cycle).collect();
        for vision in [NORMAL, PROTANOPIA, DEUTERANOPIA] {
            for (i, &a) in cycle.iter().enumerate() {
                for &b in &cycle[..i] {
                    let apart = distance(a, b, vision);
                    assert!(apart > 4.0 * NOTICED, "{a:?} {b:?} {vision:?}: {apart}");
                }
            }
        }
    }

    #[test]
    fn maps_change_lightness_in_one_direction_and_can_be_seen_step_by_step() {
        let from_0: Vec<Colour> = (0..=10).map(|n| Colour::of_cell(f64::from(n) / 10.0)).collect();
        let below_0: Vec<Colour> = (0..=10).map(|n| Colour::of_cell(f64::from(-n) / 10.0)).collect();
        let ordered: Vec<Colour> = (0..12).rev().map(|n| Colour::ordered(n, 12)).collect();
        for map in [from_0, below_0, ordered] {
            for pair in map.windows(2) {
                // What greyscale leaves.
                let darker = lab(pair[0], NORMAL)[0] - lab(pair[1], NORMAL)[0];
                assert!(darker > NOTICED, "{pair:?} {darker}");
                for vision in [NORMAL, PROTANOPIA, DEUTERANOPIA] {
                    assert!(distance(pair[0], pair[1], vision) > NOTICED, "{pair:?} {vision:?}");
                }
            }
        }
        // The two sides of a diverging map.
        for vision in [NORMAL, PROTANOPIA, DEUTERANOPIA] {
            assert!(distance(Colour::of_cell(0.5), Colour::of_cell(-0.5), vision) > 10.0 * NOTICED);
        }
    }

    fn contrast(a: Colour, b: Colour) -> f64 {
        let (a, b) = (a.luminance(), b.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn numbers_in_cells_can_be_read() {
        for n in -20..=20 {
            let colour = Colour::of_cell(f64::from(n) / 20.0);
            let contrast = contrast(colour.ink(), colour);
            assert!(contrast >= 4.5, "{n}: {contrast}");
        }
    }

    #[test]
    fn lines_on_cells_stand_out_from_their_casing() {
        for line in [Colour::VERMILION, Colour::BOUNDARY] {
            let contrast = contrast(line, Colour::WHITE);
            assert!(contrast >= 3.0, "{line:?}: {contrast}");
        }
    }
}
