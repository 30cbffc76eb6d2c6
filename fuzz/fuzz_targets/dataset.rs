//! Data folders: `train.json`, `test.json`, `vocab.json` and perhaps `valid.json`, with lines of `====` between them.
//! What is accepted is written and read back the same.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use loopscope::graph::{Dataset, Position};
use loopscope_fuzz::{Scratch, expect_named, parts};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("data")).expect("the temporary folder is writable");
    scratch
});

fuzz_target!(|data: &[u8]| {
    let parts = parts(data);
    let [train, test, vocab, valid @ ..] = &parts[..] else {
        return;
    };
    SCRATCH.write("data/train.json", train);
    SCRATCH.write("data/test.json", test);
    SCRATCH.write("data/vocab.json", vocab);
    SCRATCH.remove("data/valid.json");
    if let Some(valid) = valid.first() {
        SCRATCH.write("data/valid.json", valid);
    }
    let folder = SCRATCH.path("data");
    let data = match Dataset::read(&folder) {
        Ok(data) => data,
        Err(error) => return expect_named(&error, &folder),
    };
    data.unexplained();
    for (name, rows) in &data.splits {
        assert_eq!(data.split(name).expect("a split that is there"), rows);
        for query in rows {
            assert!(query.hops() >= 1 && (query.target as usize) < data.vocab.len());
            assert_eq!(query.entity_after(query.hops()), Some(query.target));
            for position in Position::of_chain(query.hops(), true) {
                assert!(position.index(query.hops()) < query.tokens.len());
            }
        }
    }
    let written = SCRATCH.path("written");
    SCRATCH.remove("written");
    data.write(&written, &"fuzzed").expect("data can be written");
    let back = Dataset::read(&written).expect("what is written is read");
    assert_eq!(back.splits, data.splits);
    assert_eq!(back.vocab, data.vocab);
    assert_eq!(back.graph.facts(), data.graph.facts());
});
