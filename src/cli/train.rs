//! `loopscope train`: train a model from a config file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::estimate::{self, EstimateArg};
use super::progress::Terminal;
use crate::error::{Error, Result};
use crate::experiment::{EstimatedRuns, Estimator, Training, TrainingRun};
use crate::figure::Look;
use crate::graph::Dataset;
use crate::train::RunConfig;
use crate::wording::counted;

#[derive(Args)]
pub(super) struct TrainArgs {
    /// Config file, or the folder of a run to resume
    config: PathBuf,
    /// Run folder [default: checkpoints/ and the config's name]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of initial weights and of training, over the config's
    #[arg(long)]
    seed: Option<u64>,
    /// Settings over the config's, as in optimizer.lr=1e-3
    #[arg(long = "set", value_name = "KEY=VALUE", num_args = 1..)]
    set: Vec<String>,
    /// Continue the run where it stopped, bit for bit
    #[arg(long, conflicts_with = "estimate")]
    resume: bool,
    #[command(flatten)]
    threads: super::Threads,
    #[command(flatten)]
    device: super::DeviceArg,
    #[command(flatten)]
    estimate: EstimateArg,
}

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let (config_path, out) = if args.config.is_dir() {
        if !args.resume {
            return Err(Error::file(
                &args.config,
                "is a folder; name a config file, or add --resume to continue its run",
            ));
        }
        (
            args.config.join("config.toml"),
            args.out.clone().unwrap_or_else(|| args.config.clone()),
        )
    } else {
        let out = args
            .out
            .clone()
            .unwrap_or_else(|| super::default_run_folder(&args.config));
        (args.config.clone(), out)
    };
    let mut config = RunConfig::read(&config_path, &args.set)?;
    config.seed = args.seed.unwrap_or(config.seed);
    let mut keys = args.set.iter().filter_map(|setting| setting.split('=').next());
    if config.ignores_seed() && (args.seed.is_some() || keys.any(|key| key.trim() == "seed")) {
        tracing::warn!(
            "seed = {} has no effect: the config has both init_seed and order_seed",
            config.seed
        );
    }
    let data = Arc::new(Dataset::read(&config.data)?);
    for line in data.unexplained() {
        tracing::warn!("{line}");
    }
    let name = out
        .file_name()
        .map_or_else(|| out.display().to_string(), |name| name.to_string_lossy().into_owned());
    let run = TrainingRun { name, config, data };
    let device = args.device.device.open()?;
    if args.estimate.estimate {
        let threads = args.threads.install(|| Ok(rayon::current_num_threads()))?;
        let estimate = Estimator::new(&device, threads)?.run(&run.config, &run.data)?;
        let runs = vec![(run.name, estimate)];
        return estimate::print(&EstimatedRuns { runs, data_bytes: 0 }, 1);
    }
    let training = Training {
        device: &device,
        stop: &super::stop_flag(),
        observer: &Terminal::new(&Look::default()),
    };
    let trainer = args.threads.install(|| training.run(&run, &out, args.resume))?;
    if let Some(hops) = trainer.learned_hops() {
        out!("learnable recursion depth: {}", counted(hops, "hop"));
    }
    // Of a curriculum, what was not reached begins with one stage that was tried; the others never began.
    let mut tried = trainer.progress().stages.outcomes;
    if run.config.curriculum.is_some() {
        let reached = trainer.progress().stages.n_reached();
        tried.truncate(reached + 1);
    }
    for outcome in &tried {
        match &outcome.reached {
            Some(reached) => out!(
                "stage {}: reached at step {} (epoch {:.0}, {:.0} s): {} {:.3}{}",
                outcome.stage.name,
                reached.step,
                reached.epoch,
                reached.seconds,
                outcome.stage.split,
                reached.accuracy.get(&outcome.stage.split).copied().unwrap_or_default(),
                reached.rows.map_or(String::new(), |n| format!(" (n = {n})")),
            ),
            None => out!(
                "stage {}: not reached in {} steps (it takes {} on {}{})",
                outcome.stage.name,
                trainer.progress().step,
                outcome.stage.accuracy,
                outcome.stage.split,
                match outcome.stage.hold {
                    1 => String::new(),
                    n => format!(" for {n} evaluations in a row"),
                }
            ),
        }
    }
    out!("{}", out.display());
    Ok(())
}
