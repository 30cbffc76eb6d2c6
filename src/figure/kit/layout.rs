//! Where the parts of a figure stand: rows of panels, and lines of text that fit the width.

use super::{Content, Figure, LEGEND, LINE, MARGIN, PANEL_HEIGHT, PANEL_WIDTH, Panel, Series, TITLE, TITLE_LINE};

// The width of a character of the conditions, on the wide side.
const CONDITION_CHARACTER: u32 = 6;
// That of a character of the title.
const TITLE_CHARACTER: u32 = 9;

impl Figure {
    // The rows of panels; those of a single long column side by side.
    pub(super) fn rows(&self) -> Vec<Vec<&Panel>> {
        const SIDE_BY_SIDE: usize = 3;
        let rows: Vec<Vec<&Panel>> = self.panels.iter().map(|row| row.iter().collect()).collect();
        let is_long = rows.len() >= SIDE_BY_SIDE && rows.iter().all(|row| row.len() == 1);
        if is_long {
            rows.concat().chunks(SIDE_BY_SIDE).map(<[&Panel]>::to_vec).collect()
        } else {
            rows
        }
    }

    pub(super) fn columns(&self) -> u32 {
        self.rows().iter().map(Vec::len).max().unwrap_or(1).max(1) as u32
    }

    pub(super) fn header(&self) -> u32 {
        let legend = if self.legend.is_empty() {
            0
        } else {
            LEGEND * self.legend_lines().len() as u32
        };
        let colours = self.colours_from().map_or(0, |_| LEGEND);
        self.title_height() + self.condition_lines().len() as u32 * LINE + legend + colours + 8
    }

    // Where the colours of cells begin, 0 or −1, where there are cells.
    pub(super) fn colours_from(&self) -> Option<i32> {
        let cells = self.panels.iter().flatten().filter_map(|panel| match &panel.content {
            Content::Cells { cells, .. } => Some(cells),
            Content::Lines { .. } | Content::Estimates { .. } => None,
        });
        let lowest = cells.map(|cells| cells.iter().flatten().flatten().copied().fold(0.0, f64::min));
        // What is hardly below 0 has no colour.
        lowest.reduce(f64::min).map(|lowest| -i32::from(lowest < -0.05))
    }

    pub(super) fn size(&self) -> (u32, u32) {
        let width = self.columns() * PANEL_WIDTH + 2 * MARGIN;
        let height = self.rows().len() as u32 * PANEL_HEIGHT + self.header() + 2 * MARGIN;
        (width.max(560), height)
    }

    // The conditions, broken into lines that fit the width.
    pub(super) fn condition_lines(&self) -> Vec<String> {
        let conditions = self.conditions.iter();
        conditions
            .flat_map(|condition| self.lines(condition, CONDITION_CHARACTER))
            .collect()
    }

    pub(super) fn title_height(&self) -> u32 {
        TITLE + (self.title_lines().len() as u32 - 1) * TITLE_LINE
    }

    pub(super) fn title_lines(&self) -> Vec<String> {
        self.lines(&self.title, TITLE_CHARACTER)
    }

    // A text, broken into lines that fit the width.
    pub(super) fn lines(&self, text: &str, character: u32) -> Vec<String> {
        let width = (self.size_without_header() / character) as usize;
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let is_full = |line: &String| !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width;
            if lines.last().is_some_and(is_full) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        lines
    }

    // The legend's entries, broken into lines that fit the width.
    pub(super) fn legend_lines(&self) -> Vec<Vec<(u32, &(String, Series))>> {
        let width = self.size_without_header();
        let mut lines = vec![Vec::new()];
        let mut x = 0;
        for entry in &self.legend {
            let needed = 34 + (entry.0.chars().count() as u32 * 72) / 10 + 18;
            if x + needed > width && x > 0 {
                lines.push(Vec::new());
                x = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push((x, entry));
            }
            x += needed;
        }
        lines
    }

    pub(super) fn size_without_header(&self) -> u32 {
        (self.columns() * PANEL_WIDTH).max(560 - 2 * MARGIN)
    }
}
