//! The tutorial is true: every command of `docs/tutorial.md` is run, and what it prints is held against the page.
//!
//! A `console` block has commands after `$ `, and what each prints to standard output behind it. A `toml` block with the name of a file
//! is that file. The rules of the comparison:
//!
//! - A line `…` stands for any lines, a word `…` for any words of its line. Spaces between words do not count.
//! - Words and whole numbers must be the same: counts, steps, hashes of data and of files that are in the repository.
//! - Numbers with decimals may differ by 0.01, or by a hundredth of the number if that is more. All of them are of checkpoints that
//!   are given, so that machines differ by rounding alone: less than one unit of the third decimal, unless a query whose two best
//!   tokens are all but equal is answered in another way. One of 211 moves a share by 0.005, and the ends of its interval by a
//!   little more.
//! - A dot behind a number, `0.00·`, says that 0 is in its interval. It may be missing, or be there: where an effect is 0 but for
//!   rounding, so are the ends of its interval.
//! - What depends on the machine beyond that (a model that is trained here, the size of a page) has a `…`.

#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::shipped;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use walkdir::WalkDir;

/// What stands for anything.
const GAP: &str = "…";

/// What says behind a number that 0 is in its interval.
const DOT: char = '·';

/// How far numbers with decimals may be apart, and by which part of the number.
const TOLERANCE: f64 = 0.01;

/// A block of the page, in its order.
#[derive(Debug, PartialEq)]
enum Block {
    /// A command with what it prints.
    Command { command: String, prints: String },
    /// A file with what it holds.
    File { name: String, holds: String },
}

// The blocks of a page; of each kind of code block that is not run, none.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut of_code: Option<(String, String)> = None;
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => {
                of_code = Some((kind.into_string(), String::new()));
            }
            Event::Text(text) => {
                if let Some((_, code)) = &mut of_code {
                    code.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let (kind, code) = of_code.take().unwrap_or_default();
                match kind.split_once(' ') {
                    None if kind == "console" => blocks.extend(commands(&code)),
                    Some(("toml", name)) => blocks.push(Block::File {
                        name: name.to_owned(),
                        holds: code,
                    }),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    blocks
}

fn commands(code: &str) -> Vec<Block> {
    let of = |part: &str| {
        let (command, prints) = part.split_once('\n').unwrap_or((part, ""));
        Block::Command {
            command: command.to_owned(),
            prints: prints.to_owned(),
        }
    };
    let parts = code.strip_prefix("$ ").expect("a console block begins with a command");
    parts.split("\n$ ").map(of).collect()
}

// Whether `found` is as `expected` says, of which each gap stands for any number of items.
fn fits(expected: &[&str], found: &[&str], is_same: fn(&str, &str) -> bool) -> bool {
    match (expected, found) {
        ([], []) => true,
        ([GAP, rest @ ..], _) => (0..=found.len()).any(|gap| fits(rest, &found[gap..], is_same)),
        ([expected, expected_rest @ ..], [found, found_rest @ ..]) => {
            is_same(expected, found) && fits(expected_rest, found_rest, is_same)
        }
        _ => false,
    }
}

fn is_same_output(expected: &str, found: &str) -> bool {
    fits(
        &expected.lines().collect::<Vec<_>>(),
        &found.lines().collect::<Vec<_>>(),
        is_same_line,
    )
}

fn is_same_line(expected: &str, found: &str) -> bool {
    fits(
        &expected.split_whitespace().collect::<Vec<_>>(),
        &found.split_whitespace().collect::<Vec<_>>(),
        is_same_word,
    )
}

// The parts of a word: decimal numbers by themselves, and what stands between them.
fn parts(word: &str) -> Vec<&str> {
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let signed = rest
            .strip_prefix('-')
            .filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()));
        let is_number = is_of_number(first) || signed.is_some();
        let body = signed.unwrap_or(rest);
        let length = body
            .find(|c: char| {
                if is_number {
                    !is_of_number(c)
                } else {
                    is_of_number(c) || c == '-'
                }
            })
            .unwrap_or(body.len())
            .max(1);
        let (part, behind) = rest.split_at(rest.len() - body.len() + length);
        parts.push(part);
        rest = behind;
    }
    parts
}

fn is_same_word(expected: &str, found: &str) -> bool {
    let [expected, found] = [expected, found].map(|word| parts(word.trim_end_matches(DOT)));
    let is_same = |(expected, found): (&&str, &&str)| {
        let decimal = |text: &str| text.contains('.').then(|| text.parse::<f64>().ok()).flatten();
        match (decimal(expected), decimal(found)) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(1.0),
            _ => expected == found,
        }
    };
    expected.len() == found.len() && expected.iter().zip(&found).all(is_same)
}

// Whether a command of awk takes a column by its number instead of its name.
fn counts_columns(command: &str) -> bool {
    let is_number = |rest: &str| rest.starts_with(|c: char| ('1'..='9').contains(&c));
    command.starts_with("awk ") && command.split('$').skip(1).any(is_number)
}

// Copies a folder of the repository to where it is in `into`.
fn copy(folder: &str, into: &Path) {
    for entry in WalkDir::new(shipped(folder)) {
        let entry = entry.unwrap();
        let to = into.join(entry.path().strip_prefix(shipped("")).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

// Runs a command of the page in `folder`, with the binary by its name; gives what it prints.
fn run(command: &str, folder: &Path) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_loopscope")).parent().unwrap();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(binaries.to_owned()).chain(std::env::split_paths(&others));
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "$ {command}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_the_tutorial_says_that_commands_print_is_what_they_print() {
    let folder = tempfile::tempdir().unwrap();
    copy("checkpoints/showcase", folder.path());
    let page = fs::read_to_string(shipped("docs/tutorial.md")).unwrap();
    let blocks = blocks(&page);
    for name in [
        "eval", "lens", "probe", "patch", "edit", "circuit", "compare", "report", "train",
    ] {
        let begin = format!("loopscope {name} ");
        let is_there = |block: &Block| matches!(block, Block::Command { command, .. } if command.starts_with(&begin));
        assert!(blocks.iter().any(is_there), "no command {name} in the tutorial");
    }
    for block in blocks {
        match block {
            // A column that is added to a table would shift those that are counted.
            Block::Command { command, .. } if counts_columns(&command) => panic!("columns by number: $ {command}"),
            Block::File { name, holds } => fs::write(folder.path().join(name), holds).unwrap(),
            Block::Command { command, prints } => {
                let found = run(&command, folder.path());
                assert!(
                    is_same_output(&prints, &found),
                    "$ {command}\nthe tutorial says:\n{prints}\nit prints:\n{found}"
                );
            }
        }
    }
}

#[test]
fn commands_and_files_are_read_off_a_page() {
    let page =
        "```console\n$ a b\nc\n\nd\n$ e\n```\n```sh\n$ f\n```\n```toml\ng = 1\n```\n```toml h.toml\ni = 1\n```\n";
    let command = |command: &str, prints: &str| Block::Command {
        command: command.to_owned(),
        prints: prints.to_owned(),
    };
    let file = Block::File {
        name: "h.toml".to_owned(),
        holds: "i = 1\n".to_owned(),
    };
    assert_eq!(blocks(page), [command("a b", "c\n\nd"), command("e", ""), file]);
}

#[test]
fn a_column_that_is_taken_by_its_number_is_noticed() {
    for (command, counts) in [
        ("awk -F, '$11 == 2 { print $8 }' lens.csv", true),
        ("awk -F, '{ at[$i] = i; print $at[\"top1\"], $0 }' lens.csv", false),
        ("echo $1", false),
    ] {
        assert_eq!(counts_columns(command), counts, "{command}");
    }
}

#[test]
fn outputs_are_compared_by_the_rules_of_the_page() {
    for (expected, found) in [
        ("a  0.848 (0.746–0.914)", "a 0.853 (0.750–0.909)"),
        ("x 0.00", "x -0.00"),
        ("gap 11.50", "gap 11.55"),
        ("a\n…\nd", "a\nb\nc\nd"),
        ("…\nd", "d"),
        ("report.html …", "report.html (711 kB)"),
        ("n … 3", "n 1 2 3"),
        ("-0.004 to 0.001", "0.000 to 0.001"),
        ("r1 0.00·", "r1 0.00"),
        ("r1 0.00", "r1 -0.00·"),
    ] {
        assert!(is_same_output(expected, found), "{expected}\n{found}");
    }
    for (expected, found) in [
        ("a 0.848", "a 0.86"),
        ("gap 11.50", "gap 11.80"),
        ("n 211", "n 210"),
        ("data 0bb4241402303911", "data 0bb4241402303912"),
        ("a\nb", "a"),
        ("a", "a\nb"),
        ("a b", "a"),
        ("1.000", "1"),
        ("layer 2", "layer 3"),
        ("0.5–0.6", "0.5-0.6"),
    ] {
        assert!(!is_same_output(expected, found), "{expected}\n{found}");
    }
}
