//! Output that cannot be written: folders, pipes, standard output.

use super::common::{command, prepared, run};
use super::write;

#[cfg(unix)]
#[test]
fn folders_that_cannot_be_written() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    // A file where a folder is needed: this stops even the superuser.
    write(at, "taken", "mine");
    for arguments in [
        &["train", "run.toml", "--out", "taken/r"][..],
        &["lens", "r", "--out", "taken/f"],
        &["data", "systematic", "--out", "taken/d"],
    ] {
        run(at, arguments).expect(1).says(&["cannot write", "taken"]);
    }
    assert_eq!(std::fs::read_to_string(at.join("taken")).unwrap(), "mine");
}

/// A pipe whose reader is closed.
#[cfg(unix)]
fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_a_success_and_files_are_written_whole() {
    let folder = prepared();
    let at = folder.path();
    for (arguments, files) in [
        (&["train", "run.toml", "--out", "r"][..], &["r/final.safetensors"][..]),
        (&["train", "run.toml", "--out", "s", "-vv"], &["s/final.safetensors"]),
        (
            &[
                "data",
                "systematic",
                "--entities",
                "30",
                "--relations",
                "5",
                "--out-degree",
                "2",
                "--out",
                "d",
            ],
            &["d/vocab.json"],
        ),
        (
            &["patch", "r", "--pairs", "20", "--out", "f"],
            &["f/patch.csv", "f/patch.png"],
        ),
        (&["eval", "r", "--out", "f"], &["f/eval.csv", "f/eval.png"]),
        (
            &["compare", "r", "--out", "c", "--format", "pdf", "--style", "paper"],
            &["c/compare.csv", "c/compare.pdf"],
        ),
        (
            &[
                "activations",
                "r/final.safetensors",
                "--data",
                "data",
                "--split",
                "id_atomic",
                "--out",
                "a",
            ],
            &["a"],
        ),
        (&["--help"], &[]),
        (&["train", "--help"], &[]),
        (&["--version"], &[]),
    ] {
        let status = command(at, arguments)
            .stdout(closed_pipe())
            .stderr(closed_pipe())
            .status();
        assert_eq!(status.unwrap().code(), Some(0), "{arguments:?}");
        assert!(files.iter().all(|file| at.join(file).is_file()), "{arguments:?}");
    }
    // An error is one all the same.
    let status = command(at, &["eval", "nowhere"])
        .stdout(closed_pipe())
        .stderr(closed_pipe())
        .status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_strict_umask_is_respected() {
    use std::os::unix::fs::PermissionsExt;
    let folder = prepared();
    let at = folder.path();
    let strict = |umask: &str, out: &str| {
        let script = format!("umask {umask} && exec \"$0\" train run.toml --out {out}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_loopscope")]);
        assert!(shell.current_dir(at).output().unwrap().status.success());
        let file = at.join(out).join("final.safetensors");
        file.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(strict("077", "private"), 0o600);
    assert_eq!(strict("002", "group"), 0o664);
}

#[cfg(target_os = "linux")]
#[test]
fn a_standard_output_that_cannot_be_written_is_a_failure() {
    let folder = prepared();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut train = command(folder.path(), &["train", "run.toml", "--out", "r"]);
    let output = train.stdout(full).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && err.contains("cannot write standard output"),
        "{err}"
    );
    assert!(folder.path().join("r/final.safetensors").exists());
}
