//! A page in a real browser: headless Chromium, driven by `tests/browser/drive.py`. Where there is no Chromium or no Playwright the
//! test says so and passes, unless `LOOPSCOPE_TEST_BROWSER=required` is set.

mod common;

use std::path::Path;
use std::process::Command;

use common::{SMALL_RUN, planned, prepared, run, shipped, text};

#[test]
fn a_page_works_by_mouse_and_keyboard_at_every_width() {
    let folder = prepared();
    let at = folder.path();
    // Three checkpoints: two stages that any model reaches, and the end.
    let stages = "[[stages]]\nname = \"first\"\nsplit = \"train\"\naccuracy = 0.0\nhold = 1\n\
                  [[stages]]\nname = \"second\"\nsplit = \"train\"\naccuracy = 0.0\nhold = 2\n";
    for (name, iterations) in [("looped", "iterations = 2"), ("vanilla", "iterations = 1")] {
        let config = SMALL_RUN
            .replace("iterations = 2", iterations)
            .replace("[model]", &format!("{stages}[model]"));
        std::fs::write(at.join("run.toml"), config).unwrap();
        run(at, &["train", "run.toml", "--out", name]).expect(0);
    }
    run(
        at,
        &[
            "report",
            "looped",
            "vanilla",
            "--measure",
            "--out",
            "page.html",
            "--queries",
            "8",
        ],
    )
    .expect(0);
    eprint!("{}", drive(at));
}

#[test]
fn the_page_of_a_sweep_works_by_mouse_and_keyboard_at_every_width() {
    let folder = planned();
    let at = folder.path();
    run(at, &["sweep", "run", "s"]).expect(0);
    run(at, &["report", "s", "--measure=lens,eval", "--out", "page.html"]).expect(0);
    eprint!("{}", drive(at));
}

#[test]
fn the_page_of_chains_by_depth_works_by_mouse_and_keyboard_at_every_width() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let depth = shipped("checkpoints/showcase/depth");
    let arguments = [text(&depth), "--measure", "--queries", "8", "--out", "page.html"];
    run(at, &[&["report"], &arguments[..]].concat()).expect(0);
    eprint!("{}", drive(at));
}

// Drives `page.html` in this folder; gives what was checked.
fn drive(at: &Path) -> String {
    let shots = at.join("shots");
    std::fs::create_dir(&shots).unwrap();
    let driven = Command::new("python3")
        .arg(shipped("tests/browser/drive.py"))
        .args([at.join("page.html"), shots])
        .output();
    let required = std::env::var("LOOPSCOPE_TEST_BROWSER").is_ok_and(|value| value == "required");
    match driven {
        Ok(driven) => {
            let said = String::from_utf8_lossy(&driven.stdout);
            let errors = String::from_utf8_lossy(&driven.stderr);
            let skipped = said.starts_with("skipped");
            assert!(driven.status.success() && !(skipped && required), "{said}\n{errors}");
            said.into_owned()
        }
        Err(error) => {
            assert!(!required, "python3 ({error}) drives the browser in {}", text(at));
            format!("skipped: there is no python3 ({error})\n")
        }
    }
}
