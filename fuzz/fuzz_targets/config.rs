//! Run configs: a TOML text, and after a line of `====` one override a line. What is accepted is written and read back
//! the same, and its sizes can be counted.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use loopscope::train::RunConfig;
use loopscope_fuzz::{Scratch, parts};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let parts = parts(data);
    let path = SCRATCH.write("run.toml", parts[0]);
    let overrides: Vec<String> = match parts.get(1).map(|bytes| std::str::from_utf8(bytes)) {
        Some(Ok(text)) => text.lines().map(str::to_owned).collect(),
        Some(Err(_)) => return,
        None => Vec::new(),
    };
    match RunConfig::read(&path, &overrides) {
        Ok(config) => {
            config.check().expect("what is read is checked");
            assert!(config.model.effective_layers() > 0);
            assert!(config.model.parameters(1 << 20) > 0);
            // In a file the data folder is relative to it.
            let relative = RunConfig {
                data: PathBuf::from("data"),
                ..config
            };
            let written = toml::to_string(&relative).expect("a config can be written");
            let path = SCRATCH.write("written.toml", written.as_bytes());
            let mut back = RunConfig::read(&path, &[]).expect("what is written is read");
            back.data = PathBuf::from("data");
            assert_eq!(back, relative);
        }
        Err(error) => {
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2, "{text}");
            let named = text.contains("run.toml") || overrides.iter().any(|setting| text.contains(setting));
            assert!(named, "{text} names neither the file nor the override");
        }
    }
});
