//! Names of runs, and what a target is.

use super::*;
use crate::graph::Split;
use crate::train::Stage;

fn run(name: Option<&str>, folder: &str) -> Run {
    Run {
        name: name.map(str::to_owned),
        folder: folder.into(),
    }
}

#[test]
fn runs_are_told_apart_by_as_much_of_their_paths_as_it_takes() {
    let all = [
        run(None, "/x/a/looped"),
        run(None, "/x/b/looped"),
        run(None, "/y/b/looped"),
        run(None, "/y/vanilla"),
        run(Some("mine"), "/y/b/looped"),
    ];
    assert_eq!(
        labels(&all).unwrap(),
        ["a/looped", "x/b/looped", "y/b/looped", "vanilla", "mine"]
    );
    // What the user calls one run, another does not get by itself.
    let taken = [run(Some("looped"), "/x/a/r"), run(None, "/x/b/looped")];
    assert_eq!(labels(&taken).unwrap(), ["looped", "b/looped"]);
    // The end of a path is reached before the other's.
    let nested = [run(None, "/p/looped"), run(None, "/q/p/looped")];
    assert_eq!(labels(&nested).unwrap(), ["p/looped", "q/p/looped"]);
    let twice = [run(Some("a"), "/x"), run(Some("a"), "/y")];
    assert!(labels(&twice).unwrap_err().to_string().contains("NAME=PATH"));
}

#[test]
fn a_target_is_a_path_or_a_name_and_a_path() {
    let parse = |text: &str| -> RunPath {
        let Ok(target) = text.parse();
        target
    };
    assert_eq!(parse("a/b").name, None);
    let named = parse("mine=a/b");
    assert_eq!(
        (named.name.as_deref(), named.path.as_path()),
        (Some("mine"), Path::new("a/b"))
    );
    assert_eq!(parse("a/b=c").name, None);
    assert_eq!(parse("=c").name, None);
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("a=b");
    std::fs::write(&odd, "").unwrap();
    assert_eq!(parse(odd.to_str().unwrap()).path, odd);
}

#[test]
fn a_file_of_a_run_has_the_role_that_its_name_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let stage = |name: &str| StageOutcome {
        stage: Stage {
            name: name.to_owned(),
            split: Split::train(),
            accuracy: 0.5,
            hold: 1,
        },
        reached: None,
    };
    let role = |name: &str| role_of_file(folder.path(), &folder.path().join(name));
    // Without `stages.json` nothing is known of stages.
    assert_eq!(role("stage-2-id.safetensors"), CheckpointRole::Other);
    let file = StagesFile {
        step: 1,
        seconds: 0.0,
        finished: true,
        data_hash: String::new(),
        stages: vec![stage("memorization"), stage("id")],
    };
    crate::files::write_json(&folder.path().join(STAGES), &file).unwrap();
    for (name, expected) in [
        ("final.safetensors", CheckpointRole::End),
        ("step-00000000.safetensors", CheckpointRole::Initial),
        ("stage-2-id.safetensors", CheckpointRole::Stage(2)),
        ("stage-3-id.safetensors", CheckpointRole::Other),
        ("step-00000010.safetensors", CheckpointRole::Other),
    ] {
        assert_eq!(role(name), expected, "{name}");
    }
}
