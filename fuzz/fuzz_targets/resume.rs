//! The state that a run is resumed from: loopscope's metadata in `resume.safetensors` over tensors that fit. What is
//! accepted trains on.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use candle_core::{Device, Tensor};
use libfuzzer_sys::fuzz_target;
use loopscope::checkpoint::{RunFolder, write_tensors};
use loopscope::graph::{Dataset, Systematic};
use loopscope::train::{RunConfig, Trainer};
use loopscope_fuzz::{Scratch, expect_named};

const CONFIG: &str = r#"
data = "data"
[model]
layers = 1
iterations = 1
d_model = 2
heads = 1
positions = "none"
[train]
steps = 20
batch = 4
[[stages]]
name = "memorization"
split = "train"
accuracy = 0.9
"#;

// An evaluation after every step, so that the last one of any saved state is there.
static METRICS: LazyLock<String> = LazyLock::new(|| {
    let line = |step| format!("{{\"step\":{step},\"epoch\":0,\"seconds\":0,\"lr\":0,\"accuracy\":{{}}}}\n");
    (0..=20).map(line).collect()
});

// A run of three steps that the inputs are the saved states of.
struct Run {
    scratch: Scratch,
    config: RunConfig,
    data: Arc<Dataset>,
    tensors: BTreeMap<String, Tensor>,
}

impl Run {
    fn new() -> Self {
        let scratch = Scratch::new();
        let settings = Systematic {
            entities: 6,
            relations: 3,
            out_degree: 3,
            ood_share: 0.2,
            held_out: 0.1,
            phi: 2.0,
            test_rows: 4,
            seed: 1,
        };
        let data = Arc::new(settings.generate().expect("a small data set"));
        let path = scratch.write("run.toml", CONFIG.as_bytes());
        let config = RunConfig::read(&path, &[]).expect("a good config");
        let trainer = Trainer::new(config.clone(), Arc::clone(&data), &Device::Cpu).expect("a good config");
        let mut tensors = BTreeMap::new();
        for parameter in trainer.parameters().expect("parameters of a new trainer") {
            tensors.insert(format!("value.{}", parameter.name), parameter.value);
            tensors.insert(format!("first_moment.{}", parameter.name), parameter.first_moment);
            tensors.insert(format!("second_moment.{}", parameter.name), parameter.second_moment);
        }
        Self {
            scratch,
            config,
            data,
            tensors,
        }
    }
}

static RUN: LazyLock<Run> = LazyLock::new(Run::new);

fuzz_target!(|text: &str| {
    let run = &*RUN;
    // The data has one hash, which no fuzzer guesses.
    let text = text.replace("DATA_HASH", &run.data.hash);
    // The metadata of a checkpoint is an object, written here with the digest that fits it.
    let Ok(info) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) else {
        return;
    };
    let folder = run.scratch.path("run");
    run.scratch.remove("run");
    let mut trainer =
        Trainer::new(run.config.clone(), Arc::clone(&run.data), &Device::Cpu).expect("it was made before");
    RunFolder::create(&folder, &run.config).expect("the folder is new");
    run.scratch.write("run/metrics.jsonl", METRICS.as_bytes());
    write_tensors(
        &folder.join("resume.safetensors"),
        run.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())),
        &info,
    )
    .expect("tensors can be written");
    match RunFolder::resume(&folder, &mut trainer) {
        Ok(mut opened) => {
            trainer.epoch();
            // To the end, which evaluates, writes checkpoints of stages, and saves the state anew.
            let stop = std::sync::atomic::AtomicBool::new(false);
            trainer
                .run(&stop, &mut opened)
                .expect("a run that is resumed trains on");
            for entry in std::fs::read_dir(run.scratch.path("")).expect("the scratch folder is there") {
                let name = entry.expect("the scratch folder is there").file_name();
                assert!(name == "run" || name == "run.toml", "{name:?} outside the run folder");
            }
        }
        Err(error) => expect_named(&error, &folder),
    }
});
