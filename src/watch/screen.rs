//! The screen: a function of what was read and of how a person looks at it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, LineGauge, List, ListItem, ListState, Paragraph, Wrap};

use super::curves::{self, Mark};
use super::{Dashboard, View, WatchedRun, WatchedState};
use crate::graph::Split;
use crate::train::StageOutcome;
use crate::wording::{counted, duration, thousands};

/// The smallest screen with curves; a smaller one has text alone.
const MIN_WIDTH: u16 = 56;
const MIN_HEIGHT: u16 = 16;
/// From this height on, the loss has a curve too.
const LOSS_HEIGHT: u16 = 30;
/// Columns of the accuracies beside their curves.
const VALUES_WIDTH: u16 = 26;
const KEYS: &str = "q quit  ↑↓ run  l log/linear steps  ? help";
/// The keys of a screen without curves, of 20 columns.
const SMALL_KEYS: &str = "q quit ↑↓ run ? help";
/// The share of the height below the headlines that stages take, at most: a curriculum has many. There are always lines for three.
const STAGES_SHARE: u16 = 4;
const MIN_STAGE_LINES: usize = 3;

/// Draws the dashboard.
pub(crate) fn draw(frame: &mut Frame, dashboard: &Dashboard, view: &View) {
    let area = frame.area();
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        small(frame, dashboard, view);
    } else {
        large(frame, dashboard, view);
    }
    if view.help {
        help(frame);
    }
}

fn large(frame: &mut Frame, dashboard: &Dashboard, view: &View) {
    let top = head(dashboard, view);
    let rows = [
        Constraint::Length(top.len() as u16),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [above, body, below] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(top), above);
    frame.render_widget(Paragraph::new(KEYS), below);
    let index = view.index(dashboard);
    let mut of_run = body;
    if dashboard.runs.len() > 1 {
        let width = (body.width / 3).min(44);
        let [of_list, rest] = Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(body);
        list(frame, of_list, dashboard, index);
        of_run = rest;
    }
    if let Some(run) = dashboard.runs.get(index) {
        detail(frame, of_run, run, view);
    }
}

// The lines over everything.
fn head<'a>(dashboard: &'a Dashboard, view: &'a View) -> Vec<Line<'a>> {
    let mut lines: Vec<Line> = dashboard
        .headlines
        .iter()
        .map(|line| Line::from(line.as_str()))
        .collect();
    lines.truncate(4);
    lines.extend(view.problem.as_ref().map(|problem| warning(problem, view)));
    lines
}

fn warning<'a>(text: &'a str, view: &View) -> Line<'a> {
    let color = if view.colors {
        Style::new().fg(Color::Red)
    } else {
        Style::new()
    };
    Line::styled(text, color.add_modifier(Modifier::BOLD))
}

fn symbol(state: WatchedState) -> char {
    match state {
        WatchedState::Training => '▶',
        WatchedState::Silent => '?',
        WatchedState::Failed => '✗',
        WatchedState::Stopped => '‖',
        WatchedState::Finished => '✓',
        WatchedState::Waiting => '·',
    }
}

fn percent(run: &WatchedRun) -> String {
    format!("{:.0} %", (100.0 * run.share()).floor())
}

fn list(frame: &mut Frame, area: Rect, dashboard: &Dashboard, index: usize) {
    let inside = usize::from(area.width.saturating_sub(2));
    let item = |run: &WatchedRun| {
        let right = match run.state {
            WatchedState::Training | WatchedState::Silent | WatchedState::Stopped => percent(run),
            WatchedState::Failed => run.state.word().to_owned(),
            // The symbol says it, and names are long.
            WatchedState::Finished | WatchedState::Waiting => String::new(),
        };
        let left = format!("{} {}", symbol(run.state), run.name);
        let taken = right.chars().count() + usize::from(!right.is_empty());
        let place = inside.saturating_sub(taken);
        ListItem::new(format!("{:<place$}{right:>taken$}", shortened(&left, place)))
    };
    let list = List::new(dashboard.runs.iter().map(item))
        .block(Block::bordered().title(" runs "))
        .highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = ListState::default().with_selected(Some(index));
    frame.render_stateful_widget(list, area, &mut state);
}

// The beginning and the end of a text that has too many characters: names differ at their ends.
fn shortened(text: &str, max: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= max || max < 3 {
        return letters.into_iter().take(max).collect();
    }
    let begin = (max - 1) / 3;
    let end = letters.len() - (max - 1 - begin);
    let parts = [&letters[..begin], &['…'], &letters[end..]].concat();
    parts.into_iter().collect()
}

fn detail(frame: &mut Frame, area: Rect, run: &WatchedRun, view: &View) {
    let splits = run.splits();
    let of_stages = stages(run, usize::from(area.height / STAGES_SHARE).max(MIN_STAGE_LINES));
    let with_loss = frame.area().height >= LOSS_HEIGHT;
    // What went wrong is said in full, where the pace is otherwise.
    let went_wrong = matches!(run.state, WatchedState::Failed | WatchedState::Silent);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(if went_wrong { 3 } else { 1 }),
        Constraint::Length(1),
        Constraint::Min(6),
        Constraint::Max(if with_loss { 9 } else { 0 }),
        Constraint::Max(of_stages.len() as u16),
    ];
    let [title, notes, gauge, of_accuracy, of_loss, of_run] = Layout::vertical(rows).areas(area);
    let name = Line::from(vec![
        Span::styled(run.name.as_str(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {} {}", symbol(run.state), run.state.word())),
        Span::raw(if run.detail.is_empty() || went_wrong {
            String::new()
        } else {
            format!(": {}", run.detail)
        }),
    ]);
    frame.render_widget(name, title);
    let text = if went_wrong { run.detail.clone() } else { pace(run) };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), notes);
    let bar = LineGauge::default()
        .ratio(run.share())
        .label(progress(run))
        .filled_symbol("█")
        .unfilled_symbol("░");
    frame.render_widget(bar, gauge);
    let columns = [Constraint::Min(0), Constraint::Length(VALUES_WIDTH)];
    let [curve, values] = Layout::horizontal(columns).areas(of_accuracy);
    curves::accuracy(frame, curve, run, &splits, view);
    frame.render_widget(accuracies(run, &splits, view, values.height), values);
    if with_loss {
        // On the same axis as the accuracy above it.
        let below = Rect {
            width: curve.width,
            ..of_loss
        };
        curves::loss(frame, below, run, view);
    }
    frame.render_widget(Paragraph::new(of_stages), of_run);
}

// `step 12,500 of 20,000, 62 %`.
fn progress(run: &WatchedRun) -> String {
    let of = run
        .steps
        .map_or_else(String::new, |steps| format!(" of {}", thousands(steps)));
    format!("step {}{of}, {}", thousands(run.step), percent(run))
}

// Speed, loss and time left in one line.
fn pace(run: &WatchedRun) -> String {
    let mut parts = Vec::new();
    if let Some(speed) = run.steps_per_second() {
        parts.push(format!("{speed:.1} steps/s"));
    }
    if let Some(left) = run.seconds_left() {
        parts.push(format!("{} left at most", duration(left)));
    }
    if let Some(loss) = run.loss() {
        parts.push(format!("loss {loss:.4} nats"));
    }
    if let Some(last) = run.metrics.last() {
        parts.push(format!("learning rate {:.1e}", last.lr));
    }
    parts.join(" · ")
}

// A line for each stage; of more than `max`, the latest ones reached and the next ones, with the number of the others.
fn stages(run: &WatchedRun, max: usize) -> Vec<Line<'static>> {
    let all = run.stages.len();
    let shown = if all <= max { all } else { max.saturating_sub(2) };
    let before = run.stages_reached().saturating_sub(shown.div_ceil(2)).min(all - shown);
    let after = all - shown - before;
    let others = |n: usize, word: &str| (n > 0).then(|| Line::from(format!("… {} {word}", counted(n, "stage"))));
    let inside = run.stages[before..before + shown].iter();
    others(before, "before")
        .into_iter()
        .chain(inside.map(|outcome| stage(run, outcome)))
        .chain(others(after, "after"))
        .collect()
}

fn stage(run: &WatchedRun, outcome: &StageOutcome) -> Line<'static> {
    let asked = &outcome.stage;
    let threshold = format!("{} ≥ {}", asked.split.title(), asked.accuracy);
    if let Some(reached) = &outcome.reached {
        return Line::from(format!(
            "✓ {}: {threshold} at step {}",
            asked.name,
            thousands(reached.step)
        ));
    }
    let now = run.accuracy(&asked.split);
    let now = now.map_or_else(|| "not measured yet".to_owned(), |now| format!("{now:.3} now"));
    Line::from(format!("· {}: {threshold}, {now}", asked.name))
}

// The latest accuracy of each split, with the mark of its curve.
fn accuracies(run: &WatchedRun, splits: &[&Split], view: &View, height: u16) -> Paragraph<'static> {
    let line = |(index, split): (usize, &&Split)| {
        let mark = Mark::of(index, view.colors);
        let value = run.accuracy(split).unwrap_or(f64::NAN);
        Line::from(vec![
            Span::styled(format!(" {} ", mark.symbol), mark.style),
            Span::raw(format!("{:<16} {value:.3}", shortened(split.title(), 16))),
        ])
    };
    let mut lines: Vec<Line> = splits.iter().enumerate().map(line).collect();
    let max = usize::from(height);
    if lines.len() > max {
        lines.truncate(max.saturating_sub(1));
        lines.push(Line::from(format!(" … {} more", splits.len() - lines.len())));
    }
    Paragraph::new(lines)
}

// Text alone, what matters most first.
fn small(frame: &mut Frame, dashboard: &Dashboard, view: &View) {
    let mut lines = Vec::new();
    lines.extend(view.problem.as_ref().map(|problem| warning(problem, view)));
    let (index, count) = (view.index(dashboard), dashboard.runs.len());
    if let Some(run) = dashboard.runs.get(index) {
        let place = if count > 1 {
            format!(" {}/{count}", index + 1)
        } else {
            String::new()
        };
        let width = usize::from(frame.area().width).saturating_sub(2 + place.len());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let name = format!("{} {}{place}", symbol(run.state), shortened(&run.name, width));
        lines.push(Line::styled(name, bold));
        if matches!(run.state, WatchedState::Failed | WatchedState::Silent) {
            lines.push(Line::from(run.detail.as_str()));
        }
        lines.push(Line::from(match run.steps {
            Some(steps) => format!("{} of {}", percent(run), thousands(steps)),
            None => format!("step {}", thousands(run.step)),
        }));
        let left = run
            .seconds_left()
            .map(|left| format!("{} left at most", duration(left)));
        lines.extend(left.map(Line::from));
        lines.extend(run.splits().iter().filter_map(|split| {
            let value = run.accuracy(split)?;
            Some(Line::from(format!("{value:.3} {}", split.title())))
        }));
        lines.push(Line::from(format!(
            "stage {} of {}",
            run.stages_reached(),
            run.stages.len()
        )));
    }
    lines.extend(dashboard.headlines.iter().map(|line| Line::from(line.as_str())));
    let [text, keys] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Paragraph::new(lines), text);
    frame.render_widget(Paragraph::new(SMALL_KEYS), keys);
}

fn help(frame: &mut Frame) {
    let lines = [
        "q, Esc, Ctrl-C  quit; training goes on",
        "arrows, Tab     the next or previous run",
        "l               steps on a log or linear axis",
        "?               this help",
        "│ in a chart: the step at which a stage was reached",
        "▶ training  ✓ finished  ‖ stopped  ✗ failed  · waiting",
        "? silent: no heartbeat of a process on another machine",
    ];
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u16 + 2;
    let area = frame
        .area()
        .centered(Constraint::Max(width), Constraint::Max(lines.len() as u16 + 2));
    let text: Vec<Line> = lines.into_iter().map(Line::from).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" keys ")), area);
}
