//! How a person looks at a dashboard: which run, on which axis, and what the keys change.

use std::path::PathBuf;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Dashboard, WatchedRun};

/// The choices of the person who looks.
#[derive(Debug, Clone)]
pub(crate) struct View {
    // The folder of the run that was picked: its place in the list changes.
    picked: Option<PathBuf>,
    /// Whether training steps are on a logarithmic axis.
    pub(crate) log_steps: bool,
    /// Whether the keys are explained.
    pub(crate) help: bool,
    /// Whether there may be colours.
    pub(crate) colors: bool,
    /// Why what is shown is not the present state.
    pub(crate) problem: Option<String>,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressed {
    /// To keep the dashboard open.
    Stay,
    /// To close it.
    Quit,
}

impl View {
    /// The first run, on a logarithmic axis.
    pub(crate) fn new(colors: bool) -> Self {
        Self {
            picked: None,
            log_steps: true,
            help: false,
            colors,
            problem: None,
        }
    }

    /// The place of the run that is shown in the list; the first where none was picked, or it is gone.
    pub(crate) fn index(&self, dashboard: &Dashboard) -> usize {
        let is_picked = |run: &WatchedRun| Some(&run.folder) == self.picked.as_ref();
        dashboard.runs.iter().position(is_picked).unwrap_or(0)
    }

    /// Does what a key stands for.
    pub(crate) fn press(&mut self, key: KeyEvent, dashboard: &Dashboard) -> Pressed {
        if key.kind == KeyEventKind::Release {
            return Pressed::Stay;
        }
        match key.code {
            // The keys of a terminal in raw mode make no signals.
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Pressed::Quit,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Pressed::Quit,
            KeyCode::Down | KeyCode::Right | KeyCode::Tab => self.pick(1, dashboard),
            KeyCode::Up | KeyCode::Left | KeyCode::BackTab => self.pick(-1, dashboard),
            KeyCode::Char('l') => self.log_steps = !self.log_steps,
            KeyCode::Char('?') => self.help = !self.help,
            _ => {}
        }
        Pressed::Stay
    }

    // Moves the choice in the list, from its end to its beginning.
    fn pick(&mut self, by: isize, dashboard: &Dashboard) {
        let count = dashboard.runs.len() as isize;
        if count > 0 {
            let index = (self.index(dashboard) as isize + by).rem_euclid(count);
            self.picked = Some(dashboard.runs[index as usize].folder.clone());
        }
    }
}
