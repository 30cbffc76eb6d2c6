//! `loopscope report`: one page of everything that there is of some runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::analyses::{Inputs, say_notes};
use super::progress::counted_work;
use crate::checkpoint::{CheckpointPath, CheckpointRole, RunPath, RunRecord, find_checkpoints_over_steps};
use crate::error::{Error, Result};
use crate::figure::{Look, has_results, result_files};
use crate::files;
use crate::measure::{
    self, CheckpointSummary, Eval, Extrapolate, Extras, Iterations, Lens, LoadedCheckpoint, MAX_ITERATIONS, Method,
    Patch, RunSummary, data_sets, positive,
};
use crate::registry::with_every_method;
use crate::report::page::{PageRun, PageSettings, PageSweep, asked_query, page, sweep_page};
use crate::sweep::gather::{Gathered, MethodPlace, MethodRequest};
use crate::sweep::{Plan, PointState, Status, SweepData};
use crate::wording::{choices, shell_word};

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Run folders, side by side, each perhaps under a name of your own: NAME=PATH; or the folder of one sweep or study
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<RunPath>,
    /// The page [default: report.html in the folder where analyses of these runs go]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Folder below which results of these runs are found; may be given several times [default: figures]
    #[arg(long, value_name = "FOLDER")]
    results: Vec<PathBuf>,
    /// Measure these methods with their default settings first, eval up to twice the iterations of training, where results do not
    /// hold them already [default where none is named: eval,lens,patch, and extrapolate for chains by depth]
    #[arg(long, value_delimiter = ',', value_name = "METHODS", num_args = 0..=1, require_equals = true)]
    measure: Option<Vec<String>>,
    /// Single queries to show, at most, drawn in turn from every split, number of hops, and right or wrong [default: the most
    /// that keep the page small]
    #[arg(long, value_parser = positive)]
    queries: Option<usize>,
    /// A query to show in any case, as in "e_5 r_1 r_9"; may be given several times
    #[arg(long = "query", value_name = "QUERY")]
    asked: Vec<String>,
    /// Seed of the sample of queries; of a sweep, of its relabelings and bootstraps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: super::DeviceArg,
}

macro_rules! measure_by_name {
    ($($module:ident::$Method:ident,)*) => {
        // Measures a method with its default settings into `folder`, where `files` do not hold its results on these checkpoints.
        fn measure(name: &str, loaded: &[LoadedCheckpoint], folder: &Path, files: &[PathBuf]) -> Result<Option<PathBuf>> {
            $(if name == <measure::$Method as Method>::NAME {
                if has_results::<measure::$Method>(files, &summaries(loaded), |_, rows| !rows.is_empty()) {
                    return Ok(None);
                }
                return measured(&<measure::$Method as Method>::defaults()?, loaded, folder).map(Some);
            })*
            Err(no_method(name))
        }

        const METHODS: &[&str] = &[$(<measure::$Method as Method>::NAME),*];
    };
}

with_every_method!(measure_by_name);

fn no_method(name: &str) -> Error {
    Error::input(format!("--measure={name}; allowed: {}", choices(name, METHODS)))
}

// Measures accuracy from one iteration up to twice those of training, where `files` do not hold it so far.
fn measure_eval(loaded: &[LoadedCheckpoint], folder: &Path, files: &[PathBuf]) -> Result<Option<PathBuf>> {
    let beyond = |rows: &[measure::EvalRow], trained: usize| rows.iter().any(|row| row.iterations > trained);
    let checkpoints = summaries(loaded);
    if has_results::<Eval>(files, &checkpoints, |it, rows| {
        it.iterations == 1 || beyond(rows, it.iterations)
    }) {
        return Ok(None);
    }
    let trained = checkpoints
        .iter()
        .map(|checkpoint| checkpoint.iterations)
        .max()
        .unwrap_or(1);
    let defaults = Eval::defaults()?;
    let settings = Eval {
        iterations: match trained {
            1 => defaults.iterations,
            looped => Iterations::up_to((2 * looped).min(MAX_ITERATIONS)),
        },
        ..defaults
    };
    measured(&settings, loaded, folder).map(Some)
}

fn measured<M: Method>(settings: &M, loaded: &[LoadedCheckpoint], folder: &Path) -> Result<PathBuf> {
    tracing::info!("measuring {}", M::NAME);
    // Without figures, which the page draws: of many checkpoints they are large.
    let extras = Extras {
        progress: Some(counted_work),
        ..Extras::default()
    };
    settings.run_with(extras, loaded)?.report.write(folder)?;
    Ok(folder.join(format!("{}.json", M::NAME)))
}

fn summaries(loaded: &[LoadedCheckpoint]) -> Vec<CheckpointSummary> {
    loaded.iter().map(|checkpoint| checkpoint.info.clone()).collect()
}

// What is measured where the user names no method.
fn usual(loaded: &[LoadedCheckpoint]) -> Vec<String> {
    let of_depths = loaded.iter().any(|checkpoint| checkpoint.info.learned_hops.is_some());
    let extrapolate = of_depths.then_some(Extrapolate::NAME);
    let names = [Eval::NAME, Lens::NAME, Patch::NAME].into_iter().chain(extrapolate);
    names.map(str::to_owned).collect()
}

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    // Before anything is measured, which may take long.
    if let Some(unknown) = args
        .measure
        .iter()
        .flatten()
        .find(|name| !METHODS.contains(&name.as_str()))
    {
        return Err(no_method(unknown));
    }
    let is_sweep = |named: &&RunPath| Plan::is_in(&named.path);
    match (args.runs.as_slice(), args.runs.iter().find(is_sweep)) {
        (_, None) => of_runs(args),
        ([sweep], Some(_)) => of_sweep(args, &sweep.path),
        (_, Some(sweep)) => Err(Error::file(
            &sweep.path,
            "is the folder of a sweep; allowed: one sweep alone, or run folders side by side",
        )),
    }
}

// The page of a sweep: of its newest plan.
fn of_sweep(args: &ReportArgs, folder: &Path) -> Result<()> {
    if args.queries.is_some() || !args.asked.is_empty() {
        return Err(Error::input(
            "--queries and --query: the page of a sweep has no single queries; allowed with run folders",
        ));
    }
    let plan = Plan::read(folder, None)?;
    let data = SweepData::new(folder);
    let gathered = folder.join("gathered");
    let status = Status::read(folder, &plan);
    match &args.measure {
        Some(_)
            if !status
                .points
                .iter()
                .any(|(_, state)| matches!(state, PointState::Done { .. })) =>
        {
            tracing::warn!(
                "no point of plan {} is finished, so that nothing is measured",
                plan.number
            );
        }
        Some(named) => measure_sweep(named, args, &data, &plan, &gathered)?,
        None => {}
    }
    let mut results = result_folders(args)?;
    if gathered.is_dir() {
        results.push(gathered.clone());
    }
    let title = title_of(folder);
    let settings = settings(args, title, result_files(&results)?, results);
    let sweep = PageSweep {
        status,
        gathered: Gathered::read(&data, &plan, args.seed),
        folder: folder.to_owned(),
        plan,
    };
    write(args, &gathered, &sweep_page(&sweep, &settings)?)
}

// Measures methods on the end of training of every finished point, and puts them together over seeds in the folder `out`.
fn measure_sweep(named: &[String], args: &ReportArgs, data: &SweepData, plan: &Plan, out: &Path) -> Result<()> {
    let usual = [Eval::NAME, Lens::NAME, Patch::NAME].map(str::to_owned);
    let names = if named.is_empty() { &usual[..] } else { named };
    let device = args.device.device.open()?;
    let place = MethodPlace {
        data,
        plan,
        out,
        device: &device,
        seed: args.seed,
        look: &Look::default(),
        progress: Some(counted_work),
    };
    for name in names {
        let method: MethodRequest = name.parse().map_err(Error::input)?;
        let of_method = method.gather(&place)?;
        say_notes(&[], of_method.notes.iter().chain(&of_method.failed));
    }
    Ok(())
}

// The name of the folder; with that of the one above where it is `checkpoints`, as in the folder of a study.
fn title_of(folder: &Path) -> String {
    let path = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let names = path.iter().rev().map(|name| name.to_string_lossy());
    let mut told: Vec<_> = names.take(2).collect();
    if told.first().is_some_and(|name| name != "checkpoints") {
        told.truncate(1);
    }
    told.reverse();
    told.join("/")
}

fn of_runs(args: &ReportArgs) -> Result<()> {
    let paths = shown(find_checkpoints_over_steps(&args.runs)?);
    let (mut loaded, folder) = Inputs::own_data(args.device.device).load(&paths)?;
    let mut results = result_folders(args)?;
    let mut files = result_files(&results)?;
    // Before anything is measured, which may take long.
    if let Some(first) = loaded.first() {
        for text in &args.asked {
            asked_query(text, &first.data)?;
        }
    }
    if let Some(named) = &args.measure {
        measure_all(named, &mut loaded, &folder, &mut files)?;
        if !results.contains(&folder) {
            results.push(folder.clone());
        }
    }
    let runs = runs_of(loaded)?;
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let settings = settings(args, title_of_runs(&names), files, results);
    write(args, &folder, &page(&runs, &settings)?)
}

// A few side by side are all named first of all; of more the page has a table.
fn title_of_runs(names: &[&str]) -> String {
    match names {
        [_, _, _, _, ..] => format!("{} runs: {}", names.len(), names.join(", ")),
        few => few.join(" beside "),
    }
}

fn result_folders(args: &ReportArgs) -> Result<Vec<PathBuf>> {
    if let Some(missing) = args.results.iter().find(|folder| !folder.is_dir()) {
        return Err(Error::file(
            missing,
            format!("no such folder for --results{}", files::near(missing)),
        ));
    }
    let by_default = Path::new("figures");
    if args.results.is_empty() && by_default.is_dir() {
        return Ok(vec![by_default.to_owned()]);
    }
    Ok(args.results.clone())
}

fn settings(args: &ReportArgs, title: String, files: Vec<PathBuf>, results: Vec<PathBuf>) -> PageSettings {
    PageSettings {
        title,
        // Where the binary lies says nothing to a reader.
        command: std::iter::once("loopscope".to_owned())
            .chain(std::env::args().skip(1))
            .map(|word| shell_word(&word))
            .collect::<Vec<_>>()
            .join(" "),
        results,
        files,
        queries: args.queries,
        asked: args.asked.clone(),
        seed: args.seed,
    }
}

fn write(args: &ReportArgs, folder: &Path, text: &str) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| folder.join("report.html"));
    files::write(&out, text.as_bytes())?;
    out!("{} ({} kB)", out.display(), text.len().div_ceil(1000));
    Ok(())
}

// Every stage and the end of a run; of one that has no end yet, its newest checkpoint too.
fn shown(found: Vec<CheckpointPath>) -> Vec<CheckpointPath> {
    let folders: Vec<PathBuf> = found.iter().map(|checkpoint| checkpoint.folder.clone()).collect();
    let is_shown = |(index, checkpoint): &(usize, CheckpointPath)| {
        let is_newest = folders.get(index + 1) != Some(&checkpoint.folder);
        let is_named = matches!(checkpoint.role, CheckpointRole::Stage(_) | CheckpointRole::End);
        checkpoint.alone || is_named || is_newest
    };
    let kept = found.into_iter().enumerate().filter(is_shown);
    kept.map(|(_, checkpoint)| checkpoint).collect()
}

// Measures what results do not hold yet and adds it to `files`. Data sets need not share any split, so that each has its own folder
// where there are several.
fn measure_all(
    named: &[String],
    loaded: &mut Vec<LoadedCheckpoint>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<()> {
    let hashes: Vec<String> = data_sets(loaded).iter().map(|data| data.hash.clone()).collect();
    let order: Vec<PathBuf> = loaded.iter().map(|checkpoint| checkpoint.path.path.clone()).collect();
    let mut rest = std::mem::take(loaded);
    for hash in &hashes {
        let of_data: Vec<LoadedCheckpoint>;
        (of_data, rest) = rest.into_iter().partition(|checkpoint| checkpoint.data.hash == *hash);
        let folder = if hashes.len() > 1 {
            folder.join(hash)
        } else {
            folder.to_owned()
        };
        let names = if named.is_empty() {
            usual(&of_data)
        } else {
            named.to_vec()
        };
        for name in &names {
            let path = match name.as_str() {
                Eval::NAME => measure_eval(&of_data, &folder, files)?,
                other => measure(other, &of_data, &folder, files)?,
            };
            files.extend(path.filter(|path| !files.contains(path)));
        }
        loaded.extend(of_data);
    }
    loaded.sort_by_key(|checkpoint| order.iter().position(|path| *path == checkpoint.path.path));
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
    for run in &mut runs {
        run.checkpoints.sort_by_key(|checkpoint| checkpoint.info.origin.step);
    }
    Ok(runs)
}
