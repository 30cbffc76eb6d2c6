//! Probe specs: what is accepted is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loopscope::measure::ProbeSpec;

fuzz_target!(|text: &str| {
    match ProbeSpec::parse(text) {
        Ok(spec) => {
            let written = toml::to_string(&spec).expect("a spec can be written");
            assert_eq!(ProbeSpec::parse(&written).expect("what is written is read"), spec);
        }
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().len() < 10_000 + 2 * text.len());
        }
    }
});
