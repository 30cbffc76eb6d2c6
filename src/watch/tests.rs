//! The dashboard: its screen as text, and what it reads of folders.

mod reading;

use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::{Dashboard, Pressed, View, WatchedRun, WatchedState, draw};
use crate::train::{Evaluation, Reached, StageOutcome, grokking_stages};

// 100 evaluations, 10 seconds and 200 steps apart: the first stage is reached at step 2,000, and the second is not.
fn run(name: &str, state: WatchedState) -> WatchedRun {
    let line = |n: u64| Evaluation {
        step: 200 * n,
        epoch: n as f64,
        seconds: 10.0 * n as f64,
        loss: (n > 0).then(|| 4.0 / n as f64),
        lr: 1e-3,
        gradient_norm: None,
        accuracy: [
            ("train".into(), (n as f64 / 10.0).min(1.0)),
            ("test_inferred_iid".into(), n as f64 / 250.0),
            ("test_inferred_ood".into(), 0.05),
        ]
        .into(),
    };
    let metrics: Vec<Evaluation> = (0..=100).map(line).collect();
    let reached = Reached {
        step: 2000,
        since_step: None,
        epoch: 10.0,
        seconds: 100.0,
        accuracy: metrics[10].accuracy.clone(),
        rows: None,
    };
    let stages = grokking_stages()
        .into_iter()
        .enumerate()
        .map(|(index, stage)| StageOutcome {
            stage,
            reached: (index == 0).then(|| reached.clone()),
        });
    WatchedRun {
        name: name.to_owned(),
        folder: PathBuf::from(name),
        state,
        detail: String::new(),
        step: 20_000,
        steps: Some(50_000),
        metrics,
        stages: stages.collect(),
    }
}

fn dashboard(runs: Vec<WatchedRun>) -> Dashboard {
    Dashboard {
        headlines: Vec::new(),
        runs,
    }
}

fn buffer(dashboard: &Dashboard, view: &View, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, dashboard, view)).unwrap();
    terminal.backend().buffer().clone()
}

// The lines of the screen without the spaces at their ends.
fn screen(dashboard: &Dashboard, view: &View, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(dashboard, view, width, height);
    let line = |y| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[track_caller]
fn assert_shows(lines: &[String], parts: &[&str]) {
    let text = lines.join("\n");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

// The curve of a panel: what is between the frames, from the line with its title to its last one.
fn panel(lines: &[String], title: &str) -> Vec<String> {
    let from = lines.iter().position(|line| line.contains(title)).unwrap() + 1;
    let inside = lines[from..].iter().take_while(|line| !line.contains('└'));
    inside.cloned().collect()
}

#[test]
fn a_run_in_training_shows_curves_stages_speed_loss_and_time_left() {
    let dashboard = dashboard(vec![run("checkpoints/mine", WatchedState::Training)]);
    let mut view = View::new(true);
    let lines = screen(&dashboard, &view, 100, 32);
    assert_eq!(lines[0], "checkpoints/mine  ▶ training");
    // 200 steps in 10 seconds, and 30,000 are left.
    assert_eq!(
        lines[1],
        "20.0 steps/s · 25 min left at most · loss 0.0400 nats · learning rate 1.0e-3"
    );
    assert!(
        lines[2].starts_with("step 20,000 of 50,000, 40 % █") && lines[2].ends_with('░'),
        "{}",
        lines[2]
    );
    assert_shows(
        &lines,
        &[
            "━ train            1.000",
            "━ ID test          0.400",
            "━ OOD test         0.050",
            "training loss, nats",
            "✓ memorization: train ≥ 0.99 at step 2,000",
            "· id: ID test ≥ 0.95, 0.400 now",
            "· systematic: OOD test ≥ 0.5, 0.050 now",
        ],
    );
    // Step 2,000 is half of the way from 200 to 20,000 on a logarithmic axis, and at a tenth on a linear one.
    assert_shows(
        &lines,
        &["│ 200                               2,000                          20,000│"],
    );
    let stage_at = |lines: &[String]| {
        // Under the curve of the training split, over the others.
        let line = &panel(lines, "accuracy by")[1];
        line.chars().skip(6).position(|c| c == '│').unwrap()
    };
    let of_log = stage_at(&lines);
    view.press(key(KeyCode::Char('l')), &dashboard);
    let lines = screen(&dashboard, &view, 100, 32);
    assert_shows(&lines, &["accuracy by step ─", "10,000"]);
    assert!(stage_at(&lines) < of_log / 3, "{} {of_log}", stage_at(&lines));
}

#[test]
fn a_finished_run_has_no_time_left_and_one_that_waits_no_curves() {
    let finished = run("a", WatchedState::Finished);
    let lines = screen(&dashboard(vec![finished.clone()]), &View::new(true), 100, 24);
    assert_shows(&lines, &["a  ✓ finished", "step 20,000 of 50,000, 100 %"]);
    assert!(!lines[1].contains("left"), "{}", lines[1]);
    let waiting = WatchedRun {
        metrics: Vec::new(),
        stages: Vec::new(),
        step: 0,
        state: WatchedState::Waiting,
        ..finished
    };
    let lines = screen(&dashboard(vec![waiting]), &View::new(true), 100, 24);
    assert_shows(
        &lines,
        &[
            "a  · waiting",
            "step 0 of 50,000, 0 %",
            "it has curves from the second evaluation on",
        ],
    );
}

#[test]
fn a_sweep_lists_its_points_and_keys_pick_one_of_them() {
    let failed = WatchedRun {
        detail: "cannot write s/points/iterations-8-seed-1/metrics.jsonl: the disk is full".to_owned(),
        ..run("iterations-8-seed-1", WatchedState::Failed)
    };
    let dashboard = Dashboard {
        headlines: vec!["checkpoints/s, plan 1: 1 done, 1 running, 1 failed, 0 waiting".to_owned()],
        runs: vec![
            run("iterations-2-seed-1", WatchedState::Training),
            failed,
            run("iterations-4-seed-1", WatchedState::Finished),
        ],
    };
    let mut view = View::new(true);
    let lines = screen(&dashboard, &view, 100, 24);
    assert_eq!(lines[0], dashboard.headlines[0]);
    assert_shows(
        &lines,
        &[
            "iterations-2-seed-1  ▶ training",
            "│▶ iterations-2-seed-1      40 %│20.0 steps/s",
            "│✗ iterations-8-seed-1    failed│",
            "│✓ iterations-4-seed-1          │",
        ],
    );
    let shown = |view: &View| screen(&dashboard, view, 100, 24)[1].clone();
    for (code, name) in [
        (KeyCode::Down, "iterations-8-seed-1  ✗ failed"),
        (KeyCode::Tab, "iterations-4-seed-1  ✓"),
        (KeyCode::Right, "iterations-2-seed-1  ▶"),
        (KeyCode::Up, "iterations-4-seed-1  ✓"),
        (KeyCode::BackTab, "iterations-8-seed-1  ✗"),
    ] {
        assert_eq!(view.press(key(code), &dashboard), Pressed::Stay);
        assert!(shown(&view).contains(name), "{code}: {}", shown(&view));
    }
    assert_shows(&screen(&dashboard, &view, 100, 24), &["│is full"]);
    // The one that was picked stays so when the list changes.
    let mut later = dashboard.clone();
    later.runs.rotate_left(1);
    assert_eq!(later.runs[view.index(&later)].name, "iterations-8-seed-1");
    later.runs.clear();
    screen(&later, &view, 100, 24);
    view.press(key(KeyCode::Down), &later);
}

#[test]
fn a_tiny_terminal_has_what_matters_most() {
    let dashboard = dashboard(vec![run("checkpoints/laptop/looped", WatchedState::Training)]);
    let lines = screen(&dashboard, &View::new(true), 20, 5);
    let expected = [
        "▶ check…aptop/looped",
        "40 % of 50,000",
        "25 min left at most",
        "1.000 train",
        "q quit ↑↓ run ? help",
    ];
    assert_eq!(lines, expected);
    // Nor does a smaller one, or one that grows, break the screen.
    let mut view = View::new(true);
    view.help = true;
    for (width, height) in [(1, 1), (2, 1), (5, 3), (56, 16), (57, 17), (300, 100)] {
        screen(&dashboard, &view, width, height);
        screen(&Dashboard::default(), &view, width, height);
    }
}

#[test]
fn of_many_stages_those_around_the_present_one_are_shown() {
    let mut deep = run("deep", WatchedState::Training);
    let [reached, open] = [0, 1].map(|index| deep.stages[index].clone());
    deep.stages = [vec![reached; 11], vec![open; 4]].concat();
    for (index, outcome) in deep.stages.iter_mut().enumerate() {
        outcome.stage.name = format!("{}hop", index + 2);
    }
    let lines = screen(&dashboard(vec![deep.clone()]), &View::new(true), 80, 24);
    assert_shows(
        &lines,
        &["… 9 stages before", "✓ 11hop", "✓ 12hop", "· 13hop", "… 3 stages after"],
    );
    assert!(panel(&lines, "accuracy by step").len() >= 8, "{}", lines.join("\n"));
    // Where there is room, all are.
    let lines = screen(&dashboard(vec![deep]), &View::new(true), 80, 64);
    assert_shows(&lines, &["✓ 2hop", "· 16hop"]);
}

#[test]
fn a_small_screen_says_which_run_it_is_of_and_what_went_wrong() {
    let silent = WatchedRun {
        detail: "process 1 on far since 2026-01-01T00:00:00Z; silent: no heartbeat in 20s of watching".to_owned(),
        ..run("b", WatchedState::Silent)
    };
    let dashboard = dashboard(vec![run("a", WatchedState::Training), silent]);
    let mut view = View::new(true);
    assert_shows(&screen(&dashboard, &view, 50, 12), &["▶ a 1/2", "stage 1 of 3"]);
    view.press(key(KeyCode::Down), &dashboard);
    let small = screen(&dashboard, &view, 50, 12);
    assert_shows(&small, &["? b 2/2", "process 1 on far"]);
    assert_eq!(small.iter().filter(|line| line.starts_with("stage 1 of 3")).count(), 1);
    // In full on a large one.
    assert_shows(
        &screen(&dashboard, &view, 80, 24),
        &["b  ? silent", "process 1 on far", "│no heartbeat in 20s of watching"],
    );
}

#[test]
fn without_colours_curves_are_letters() {
    let mut dashboard = dashboard(vec![run("a", WatchedState::Training), run("b", WatchedState::Stopped)]);
    dashboard.headlines.push("runs".to_owned());
    let mut view = View::new(false);
    view.problem = Some("the folder is gone".to_owned());
    let lines = screen(&dashboard, &view, 100, 32);
    assert_shows(
        &lines,
        &["the folder is gone", " a train", " b ID test", " c OOD test", "cccccc"],
    );
    let colored = |buffer: &Buffer| {
        let mut cells = buffer.content.iter();
        cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    for (width, height) in [(100, 32), (20, 5)] {
        assert!(!colored(&buffer(&dashboard, &view, width, height)));
        view.colors = true;
        assert!(colored(&buffer(&dashboard, &view, width, height)));
        view.colors = false;
    }
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

#[test]
fn q_escape_and_control_c_quit() {
    let dashboard = dashboard(vec![run("a", WatchedState::Training)]);
    let mut view = View::new(true);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for quit in [key(KeyCode::Char('q')), key(KeyCode::Esc), control_c] {
        assert_eq!(view.press(quit, &dashboard), Pressed::Quit, "{quit:?}");
    }
    for stay in [
        key(KeyCode::Char('c')),
        key(KeyCode::Char('x')),
        key(KeyCode::Char('?')),
    ] {
        assert_eq!(view.press(stay, &dashboard), Pressed::Stay, "{stay:?}");
    }
    assert_shows(&screen(&dashboard, &view, 100, 24), &["quit; training goes on"]);
    assert_eq!(
        view.press(key(KeyCode::Esc), &dashboard),
        Pressed::Stay,
        "it ends the help"
    );
    assert!(!view.help);
}

#[test]
fn speed_is_that_of_the_last_half_minute() {
    let mut slower = run("a", WatchedState::Training);
    let last = slower.metrics.last().unwrap().clone();
    slower.metrics.extend((1..=4).map(|n| Evaluation {
        step: last.step + 100 * n,
        seconds: last.seconds + 10.0 * n as f64,
        ..last.clone()
    }));
    assert_eq!(slower.steps_per_second(), Some(10.0));
    slower.metrics.truncate(1);
    assert_eq!(slower.steps_per_second(), None);
}
