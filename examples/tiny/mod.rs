//! What the examples share: a looped transformer that is trained in a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loopscope::checkpoint::{RunFolder, find_checkpoints};
use loopscope::graph::Systematic;
use loopscope::measure::LoadedCheckpoint;
use loopscope::model::ModelConfig;
use loopscope::train::{LoopConfig, OptimizerConfig, RunConfig, Trainer};
use loopscope::{Device, Error, Result};

/// Trains one layer, applied twice, on 2-hop chains over 12 entities and 5 relations. The run is written to `folder/tiny`;
/// gives its final checkpoint with the data.
///
/// # Errors
/// When the device fails, or files cannot be written.
pub fn train(folder: &Path) -> Result<LoadedCheckpoint> {
    let graph = Systematic {
        entities: 12,
        relations: 5,
        out_degree: 5,
        ood_share: 0.1,
        held_out: 0.1,
        phi: 6.0,
        test_rows: 200,
        seed: 1,
    };
    let data = Arc::new(graph.generate()?);

    let steps = LoopConfig {
        batch: 128,
        ..LoopConfig::of_steps(500)
    };
    let config = RunConfig {
        optimizer: OptimizerConfig {
            lr: 5e-3,
            warmup: 20,
            weight_decay: 0.1,
            ..OptimizerConfig::default()
        },
        ..RunConfig::new("data", ModelConfig::new(1, 2, 32, 2), steps)
    };

    let path = folder.join("tiny");
    let mut trainer = Trainer::new(config.clone(), data.clone(), &Device::Cpu)?;
    let mut run = RunFolder::create(&path, &config)?;
    trainer.run(&AtomicBool::new(false), &mut run)?;

    // A run folder stands for its checkpoints: one for each stage, and the end of training. This run has no stages.
    let named = path
        .display()
        .to_string()
        .parse()
        .unwrap_or_else(|never| match never {});
    let checkpoints = find_checkpoints(&[named])?;
    let end = checkpoints
        .last()
        .ok_or_else(|| Error::failed("the run has no checkpoint"))?;
    LoadedCheckpoint::load(end, &data, &Device::Cpu)
}
