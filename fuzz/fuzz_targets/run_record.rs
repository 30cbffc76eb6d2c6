//! The files that describe a run: `config.toml`, `stages.json` and `metrics.jsonl`, with lines of `====` between them.
//! What is accepted is written and read back the same, and no name in it leads out of the folder.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use loopscope::checkpoint::{RunPath, RunRecord, StagesFile, find_checkpoints};
use loopscope_fuzz::{Scratch, expect_named, parts};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("run")).expect("the temporary folder is writable");
    scratch.write("run/final.safetensors", b"");
    scratch
});

fuzz_target!(|data: &[u8]| {
    let parts = parts(data);
    let [config, stages, metrics, ..] = &parts[..] else {
        return;
    };
    SCRATCH.write("run/config.toml", config);
    SCRATCH.write("run/stages.json", stages);
    SCRATCH.write("run/metrics.jsonl", metrics);
    let folder = SCRATCH.path("run");
    let target = RunPath {
        name: None,
        path: folder.clone(),
    };
    match find_checkpoints(&[target]) {
        Ok(found) => {
            for checkpoint in found {
                assert_eq!(checkpoint.path.parent(), Some(&*folder), "{:?}", checkpoint.path);
            }
        }
        Err(error) => expect_named(&error, &folder),
    }
    let record = match RunRecord::read(&folder) {
        Ok(record) => record,
        Err(error) => return expect_named(&error, &folder),
    };
    let stages = serde_json::to_string(&record.stages).expect("stages can be written");
    let stages: StagesFile = serde_json::from_str(&stages).expect("what is written is read");
    assert_eq!(stages, record.stages);
    for outcome in &record.stages.stages {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(outcome.stage.name.chars().all(plain), "{:?}", outcome.stage.name);
    }
    let lines: Vec<String> = record
        .metrics
        .iter()
        .map(|line| serde_json::to_string(line).expect("a line can be written"))
        .collect();
    SCRATCH.write("run/metrics.jsonl", lines.join("\n").as_bytes());
    let back = RunRecord::read(&folder).expect("what is written is read");
    assert_eq!(back.metrics, record.metrics);
});
