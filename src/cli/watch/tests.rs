//! The terminal is given back, however the dashboard ends.

use std::process::{Command, Stdio};

use super::Screen;
use crate::wording::shell_word;

const PANICS: &str = "LOOPSCOPE_TEST_PANICS_ON_THE_SCREEN";

// Runs itself in a pseudo-terminal of `script` (util-linux), where that is at hand.
#[test]
fn the_terminal_is_given_back_before_a_panic_is_told() {
    if std::env::var_os(PANICS).is_some() {
        let _screen = Screen::open().unwrap();
        panic!("something went wrong");
    }
    let itself = std::env::current_exe().unwrap();
    let name = "cli::watch::tests::the_terminal_is_given_back_before_a_panic_is_told";
    let inner = format!(
        "{} --exact {name} --nocapture; stty -a",
        shell_word(itself.to_str().unwrap())
    );
    let ran = Command::new("script")
        .args(["-qc", &inner, "/dev/null"])
        .env(PANICS, "1")
        .stdin(Stdio::null())
        .output();
    let Some(ran) = ran.ok().filter(|ran| ran.status.success()) else {
        println!("skipped: there is no script of util-linux here");
        return;
    };
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}"));
    let (entered, left) = (at("\x1b[?1049h"), at("\x1b[?1049l"));
    assert!(entered < left && left < at("something went wrong"), "{text}");
    assert!(text.contains(" icanon") && text.contains(" echo "), "{text}");
}
