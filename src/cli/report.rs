//! `loopscope report`: one page of everything that there is of some runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::analyses::Inputs;
use crate::checkpoint::{RunPath, RunRecord, find_checkpoints};
use crate::error::{Error, Result};
use crate::figure::{Draw, Look};
use crate::files;
use crate::measure::{self, LoadedCheckpoint, Method, RunSummary, positive};
use crate::registry::with_every_method;
use crate::report::page::{PageRun, PageSettings, page};
use crate::wording::shell_word;

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Run folders, side by side, each perhaps under a name of your own: NAME=PATH
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<RunPath>,
    /// The page [default: report.html in the folder where analyses of these runs go]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Folders below which results of these runs are found [default: figures]
    #[arg(long, value_name = "FOLDER")]
    results: Vec<PathBuf>,
    /// Measure these methods with their default settings first, where there is no result of them
    #[arg(long, value_delimiter = ',', value_name = "METHODS", num_args = 0..=1, default_missing_value = "eval,lens,patch")]
    measure: Vec<String>,
    /// Queries to look at one by one, in turn from every split, number of hops, and right or wrong [default: the most
    /// that keep the page small]
    #[arg(long, value_parser = positive)]
    queries: Option<usize>,
    /// A query to look at in any case, as in "e_5 r_1 r_9"
    #[arg(long = "query", value_name = "QUERY")]
    asked: Vec<String>,
    /// Seed of the sample of queries
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: super::DeviceArg,
}

macro_rules! measure_by_name {
    ($($module:ident::$Method:ident,)*) => {
        // Measures a method with its default settings, into `out`.
        fn measure(name: &str, loaded: &[LoadedCheckpoint], out: &Path) -> Result<()> {
            $(if name == <measure::$Method as Method>::NAME {
                let report = <measure::$Method as Method>::defaults()?.run(loaded)?;
                report.write(out)?;
                return measure::$Method::draw(&report).write(out, name, &Look::default());
            })*
            let names = [$(<measure::$Method as Method>::NAME),*];
            Err(Error::input(format!("--measure {name}; allowed: {}", names.join(", "))))
        }
    };
}

with_every_method!(measure_by_name);

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let (loaded, folder) = Inputs::own_data(args.device.device).load(&find_checkpoints(&args.runs)?)?;
    let mut results = args.results.clone();
    if results.is_empty() && Path::new("figures").is_dir() {
        results.push("figures".into());
    }
    for name in &args.measure {
        measure(name, &loaded, &folder)?;
        if !results.contains(&folder) {
            results.push(folder.clone());
        }
    }
    let runs = runs_of(loaded)?;
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let settings = PageSettings {
        title: names.join(" beside "),
        command: std::env::args()
            .map(|word| shell_word(&word))
            .collect::<Vec<_>>()
            .join(" "),
        results,
        queries: args.queries,
        asked: args.asked.clone(),
        seed: args.seed,
    };
    let text = page(&runs, &settings)?;
    let out = args.out.clone().unwrap_or_else(|| folder.join("report.html"));
    files::write(&out, text.as_bytes())?;
    out!("{} ({} kB)", out.display(), text.len().div_ceil(1000));
    Ok(())
}

// The checkpoints by the run that they are of.
fn runs_of(loaded: Vec<LoadedCheckpoint>) -> Result<Vec<PageRun>> {
    let mut runs: Vec<PageRun> = Vec::new();
    for checkpoint in loaded {
        let name = &checkpoint.info.origin.run;
        if let Some(run) = runs.iter_mut().find(|run| run.name == *name) {
            run.checkpoints.push(checkpoint);
            continue;
        }
        if checkpoint.path.data.is_none() {
            return Err(Error::file(
                &checkpoint.path.path,
                "stands alone; a report is of run folders, which tell how a model was trained",
            ));
        }
        runs.push(PageRun {
            name: name.clone(),
            config: RunRecord::read(&checkpoint.path.folder)?.config,
            summary: RunSummary::of(&checkpoint)?,
            checkpoints: vec![checkpoint],
        });
    }
    Ok(runs)
}
