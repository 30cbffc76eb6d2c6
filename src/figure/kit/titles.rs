//! What panels are called: what a whole row or column of them shares is said once.

use super::Panel;

/// What a panel is of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Title {
    /// What it shows, which panels beside it show too: a split, a position.
    row: String,
    /// What it is shown of, which panels below it are of too: a checkpoint.
    column: String,
    /// A number or a warning of its own.
    note: String,
}

impl Title {
    pub(crate) fn new(row: impl Into<String>, column: impl Into<String>) -> Self {
        Self {
            row: row.into(),
            column: column.into(),
            note: String::new(),
        }
    }

    /// With a number or a warning of this panel alone.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Of a checkpoint, and nothing else.
    pub(crate) fn column(column: impl Into<String>) -> Self {
        Self::new("", column)
    }

    /// All of it.
    #[cfg(test)]
    pub(crate) fn whole(&self) -> String {
        joined([&noted(&self.row, &self.note), &self.column])
    }

    /// What panels of other checkpoints may share, and the note of this one alone.
    pub(super) fn parts(&self) -> (String, &str) {
        (joined([&self.row, &self.column]), &self.note)
    }
}

impl From<&str> for Title {
    fn from(row: &str) -> Self {
        Self::new(row, "")
    }
}

impl From<String> for Title {
    fn from(row: String) -> Self {
        Self::new(row, "")
    }
}

// In brackets behind a title.
fn noted(title: &str, note: &str) -> String {
    match (title, note) {
        (title, "") => title.to_owned(),
        ("", note) => note.to_owned(),
        (title, note) => format!("{title} ({note})"),
    }
}

fn joined(parts: [&str; 2]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

/// Who says which part of the titles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    // The figure, once.
    Figure,
    // The head of a row or column.
    Head,
    // Each panel.
    Panel,
}

/// How the titles of a figure are shared out.
pub(super) struct Titles<'a> {
    row: Said,
    column: Said,
    first: Option<&'a Title>,
}

impl<'a> Titles<'a> {
    /// Of these rows of panels; heads are for a grid of them.
    pub(super) fn of(rows: &[Vec<&'a Panel>], is_grid: bool) -> Self {
        let panels: Vec<&&Panel> = rows.iter().flatten().collect();
        let row = |panel: &&Panel| panel.title.row.clone();
        let column = |panel: &&Panel| panel.title.column.clone();
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let by_column = (0..width).map(|j| rows.iter().filter_map(|row| row.get(j)).collect::<Vec<_>>());
        let said = |of: &dyn Fn(&&Panel) -> String, lines: Vec<Vec<&&'a Panel>>| {
            let is_same = |panels: &[&&Panel]| panels.windows(2).all(|pair| of(pair[0]) == of(pair[1]));
            if is_same(&panels) {
                Said::Figure
            } else if is_grid && lines.iter().all(|line| is_same(line)) {
                Said::Head
            } else {
                Said::Panel
            }
        };
        Self {
            row: said(&row, rows.iter().map(|row| row.iter().collect()).collect()),
            column: said(&column, by_column.collect()),
            first: panels.first().map(|panel| &panel.title),
        }
    }

    /// What all panels show.
    pub(super) fn common_row(&self) -> &str {
        self.first
            .filter(|_| self.row == Said::Figure)
            .map_or("", |title| &title.row)
    }

    /// What all panels are of.
    pub(super) fn common_column(&self) -> &str {
        self.first
            .filter(|_| self.column == Said::Figure)
            .map_or("", |title| &title.column)
    }

    /// The head of a row of panels.
    pub(super) fn head(&self, row: &[&Panel]) -> String {
        let head = row.first().filter(|_| self.row == Said::Head);
        head.map_or_else(String::new, |panel| panel.title.row.clone())
    }

    /// What stands above a panel, in the first row of its column or in another.
    pub(super) fn of_panel(&self, panel: &Panel, is_first: bool) -> String {
        let row = if self.row == Said::Panel { &*panel.title.row } else { "" };
        let has_column = match self.column {
            Said::Figure => false,
            Said::Head => is_first,
            Said::Panel => true,
        };
        let column = if has_column { &*panel.title.column } else { "" };
        noted(&joined([row, column]), &panel.title.note)
    }
}

/// The letter of the n-th panel: a, b, …, z, aa, ab, …
pub(super) fn letter(n: usize) -> String {
    let last = char::from(b'a' + (n % 26) as u8);
    match n / 26 {
        0 => last.to_string(),
        before => letter(before - 1) + &last.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Content, UNIT};
    use super::*;

    fn panel(row: &str, column: &str) -> Panel {
        Panel {
            title: Title::new(row, column),
            content: Content::Estimates {
                x_label: String::new(),
                x_range: Some(UNIT),
                rows: Vec::new(),
            },
        }
    }

    #[test]
    fn what_a_row_or_a_column_shares_is_said_once() {
        let panels = [
            [panel("ID test", "step 1"), panel("ID test", "step 2")],
            [panel("OOD test", "step 1"), panel("OOD test", "step 2")],
        ];
        let rows: Vec<Vec<&Panel>> = panels.iter().map(|row| row.iter().collect()).collect();
        let titles = Titles::of(&rows, true);
        assert_eq!((titles.common_row(), titles.common_column()), ("", ""));
        assert_eq!(titles.head(&rows[1]), "OOD test");
        assert_eq!(titles.of_panel(&panels[0][1], true), "step 2");
        assert_eq!(titles.of_panel(&panels[1][1], false), "");
        // One checkpoint is that of the figure, and a sequence has no heads.
        let column: Vec<Vec<&Panel>> = panels.iter().map(|row| vec![&row[0]]).collect();
        let titles = Titles::of(&column, false);
        assert_eq!(titles.common_column(), "step 1");
        assert_eq!(titles.of_panel(&panels[1][0], false), "OOD test");
    }

    #[test]
    fn letters_go_on_after_z() {
        let letters: Vec<String> = [0, 25, 26, 51, 52].map(letter).into();
        assert_eq!(letters, ["a", "z", "aa", "az", "ba"]);
    }
}
