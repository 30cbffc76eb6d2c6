//! The door of all methods: from targets and flags to loaded checkpoints, and from a result to its files.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::print::{print_table, printing};
use super::progress::counted_work;
use crate::checkpoint::{CheckpointPath, RunPath, find_checkpoints, find_checkpoints_over_steps};
use crate::error::{Error, Result};
use crate::figure::{Draw, Look, over_steps};
use crate::files;
use crate::graph::Dataset;
use crate::measure::{self, CheckpointSummary, Extras, LoadedCheckpoint, Measured, Method, Report};
use crate::registry::with_every_method;

macro_rules! subcommands {
    ($($module:ident::$Method:ident,)*) => {
        /// A subcommand for each method of the registry.
        #[derive(Subcommand)]
        pub(super) enum Analyses {
            $(
                #[command(
                    name = <measure::$Method as Method>::NAME,
                    about = <measure::$Method as Method>::ABOUT,
                    after_help = <measure::$Method as Method>::MISLEADS
                )]
                $Method(Analysis<measure::$Method>),
            )*
        }

        impl Analyses {
            pub(super) fn run(&self) -> Result<()> {
                match self {
                    $(Self::$Method(analysis) => analysis.run(),)*
                }
            }
        }
    };
}

with_every_method!(subcommands);

/// What every method is asked with.
#[derive(Args)]
pub(super) struct Analysis<M: Method> {
    /// Checkpoint files or run folders (all their stages), each perhaps under a name of your own: NAME=PATH
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<RunPath>,
    #[command(flatten)]
    settings: M,
    /// Write NAME-rows.csv too: what was measured on every single query
    #[arg(long)]
    rows: bool,
    /// Measure every checkpoint of the run folders, the log-spaced ones too, and draw the result against training steps
    #[arg(long)]
    over_steps: bool,
    /// Keep what was fitted (directions of probes), in fitted/ beside each checkpoint
    #[arg(long)]
    keep_fitted: bool,
    /// Memory that a sweep of interventions may take, as in 512MiB
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = memory)]
    memory: ByteSize,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    look: Look,
}

// Reads a size of memory from the command line.
fn memory(text: &str) -> std::result::Result<ByteSize, String> {
    let size = text.parse().ok().filter(|size: &ByteSize| *size >= ByteSize::mib(1));
    size.ok_or_else(|| "allowed: 1MiB or more, as in 512MiB or 2GiB".to_owned())
}

impl<M: Method + Draw> Analysis<M> {
    fn run(&self) -> Result<()> {
        let mut settings = self.settings.clone();
        let targets = settings.take_files(self.targets.clone())?;
        if targets.is_empty() {
            return Err(Error::input(
                "no checkpoint named; add a checkpoint file or a run folder",
            ));
        }
        let find = if self.over_steps {
            find_checkpoints_over_steps
        } else {
            find_checkpoints
        };
        let (loaded, out) = self.inputs.load(&find(&targets)?)?;
        let extras = Extras {
            queries: self.rows,
            fitted: self.keep_fitted,
            max_bytes: usize::try_from(self.memory.as_u64()).unwrap_or(usize::MAX),
            progress: Some(counted_work),
        };
        let Measured {
            report,
            queries,
            fitted,
        } = settings.run_with(extras, &loaded)?;
        if self.keep_fitted && fitted.is_empty() {
            tracing::warn!("--keep-fitted: {} fits nothing", M::NAME);
        }
        say_notes(&report.checkpoints, &report.notes);
        let name = if self.over_steps {
            format!("{}-over-steps", M::NAME)
        } else {
            M::NAME.to_owned()
        };
        report.write_as(&out, &name)?;
        let figure = if self.over_steps {
            over_steps(&report)?
        } else {
            M::draw(&report)
        };
        let pages = figure.write(&out, &name, &self.look)?;
        print_result(&report)?;
        say_files(&out, &name, &self.look, pages);
        if let Some(queries) = queries {
            let path = out.join(format!("{name}-rows.csv"));
            files::write(&path, &queries)?;
            out!("{}", path.display());
        }
        for fitted in fitted {
            out!("{}", fitted.write()?.display());
        }
        Ok(())
    }
}

/// Says where the tables of a result are, and its figure of this number of pages.
pub(super) fn say_files(out: &Path, name: &str, look: &Look, pages: usize) {
    let out = out.display();
    if pages > 1 {
        out!("{out}/{name}.{{csv,json}}");
        out!("{out}/{}", look.files(name, pages));
    } else {
        out!("{out}/{name}.{{csv,json,{}}}", look.endings());
    }
}

// The rows of a result, or what stands for them on a terminal; with `--json` always the rows.
fn print_result<M: Method>(report: &Report<M>) -> Result<()> {
    let matrices = M::matrices(report);
    if printing().json || matrices.is_empty() {
        print_table(&report.table()?)?;
    } else {
        for matrix in matrices {
            out!("{}", matrix.title);
            print_table(&matrix.table)?;
        }
        out!("·: 0 is in the 95 % interval; –: not defined");
    }
    out!("{}", report.intervals());
    Ok(())
}

#[derive(Args)]
pub(super) struct Inputs {
    /// Data folder [default: each run's own]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder for tables and figures [default: figures/ and the path of what is measured]
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: super::DeviceArg,
}

impl Inputs {
    /// Every run on its own data, results where they go by default.
    pub(super) fn own_data(device: super::DeviceChoice) -> Self {
        Self {
            data: None,
            out: None,
            device: super::DeviceArg { device },
        }
    }

    /// Loads these checkpoints, each with the data that it is looked at on, and gives the folder for results.
    pub(super) fn load(&self, paths: &[CheckpointPath]) -> Result<(Vec<LoadedCheckpoint>, PathBuf)> {
        let device = self.device.device.open()?;
        let mut known: HashMap<PathBuf, Arc<Dataset>> = HashMap::new();
        let mut loaded = Vec::new();
        for path in paths {
            let folder = path.data_folder(self.data.as_deref())?;
            if self.data.is_none() && !folder.is_dir() {
                return Err(Error::file(
                    folder,
                    format!(
                        "is not there; it has the data of {}. Other data are named with --data DIR",
                        path.run
                    ),
                ));
            }
            let key = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            if !known.contains_key(&key) {
                let data = Dataset::read(folder)?;
                for line in data.unexplained() {
                    tracing::warn!("{line}");
                }
                known.insert(key.clone(), Arc::new(data));
            }
            loaded.push(LoadedCheckpoint::load(path, &known[&key], &device)?);
        }
        let out = self.out.clone().unwrap_or_else(|| default_out(paths, &here()));
        Ok((loaded, out))
    }
}

/// The folder for what is made of these checkpoints, below the working folder `here`: `figures/runs/` and the path of the run
/// below `checkpoints/`; `figures/elsewhere/` and the path of one that is not there; `figures/outside/` and that of one outside
/// the working folder. So two runs never write into one folder, nor into one of `reproduce`.
fn default_out(checkpoints: &[CheckpointPath], here: &Path) -> PathBuf {
    let mut named: Vec<Vec<String>> = Vec::new();
    for checkpoint in checkpoints {
        let (top, below) = match checkpoint.folder.strip_prefix(here) {
            Ok(inside) => match inside.strip_prefix("checkpoints") {
                Ok(below) => ("runs", below),
                Err(_) => ("elsewhere", inside),
            },
            Err(_) => ("outside", checkpoint.folder.as_path()),
        };
        let mut path = vec![top.to_owned()];
        path.extend(parts(below));
        // A checkpoint of a run that is named by itself; one that stands alone is its own folder.
        if checkpoint.alone && checkpoint.data.is_some() {
            path.push(checkpoint.label.clone());
        }
        if !named.contains(&path) {
            named.push(path);
        }
    }
    let Some(first) = named.first() else {
        return "figures".into();
    };
    let shared = |&depth: &usize| {
        named
            .iter()
            .all(|path| path.len() > depth + 1 && path[depth] == first[depth])
    };
    let common = (0..first.len()).take_while(shared).count();
    let folder: PathBuf = Path::new("figures").join(first[..common].iter().collect::<PathBuf>());
    let rests: Vec<String> = named.iter().map(|path| path[common..].join(",")).collect();
    let name = rests.join("+");
    // Names of files end at 255 bytes in most file systems.
    if name.len() > 200 {
        let start: String = name.chars().take(60).collect();
        return folder.join(format!("{start}…{}", files::short_hash(name.as_bytes())));
    }
    folder.join(name)
}

fn here() -> PathBuf {
    std::env::current_dir()
        .and_then(|folder| folder.canonicalize())
        .unwrap_or_default()
}

fn parts(path: &Path) -> Vec<String> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    normal.collect()
}

/// Warns of what a result notes; what loading a checkpoint has said is not said again.
pub(super) fn say_notes<'a>(checkpoints: &[CheckpointSummary], notes: impl IntoIterator<Item = &'a String>) {
    let said: Vec<String> = checkpoints.iter().filter_map(CheckpointSummary::other_data).collect();
    for note in notes.into_iter().filter(|note| !said.contains(note)) {
        tracing::warn!("{note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointRole;

    fn run(folder: &str, checkpoint: Option<&str>) -> CheckpointPath {
        CheckpointPath {
            run: "looped".to_owned(),
            label: checkpoint.unwrap_or("end of training").to_owned(),
            role: CheckpointRole::End,
            path: Path::new(folder).join("final.safetensors"),
            folder: folder.into(),
            alone: checkpoint.is_some(),
            data: Some("data".into()),
        }
    }

    #[test]
    fn no_two_runs_have_one_folder_for_their_results() {
        let of = |checkpoints: &[CheckpointPath]| default_out(checkpoints, Path::new("/here")).display().to_string();
        let alone = [
            of(&[run("/here/checkpoints/laptop/looped", None)]),
            of(&[run("/here/checkpoints/laptop/looped", Some("final"))]),
            of(&[run("/here/laptop/looped", None)]),
            of(&[run("/laptop/looped", None)]),
            of(&[run("/here/checkpoints/laptop/vanilla", None)]),
            of(&[
                run("/here/checkpoints/a/looped", None),
                run("/here/checkpoints/b/looped", None),
            ]),
            of(&[run("/here/checkpoints/a/looped", None), run("/here/a/looped", None)]),
        ];
        assert_eq!(alone[0], "figures/runs/laptop/looped");
        assert_eq!(alone[1], "figures/runs/laptop/looped/final");
        assert_eq!(alone[5], "figures/runs/a,looped+b,looped");
        for (i, folder) in alone.iter().enumerate() {
            assert!(!alone[..i].contains(folder), "{folder} twice");
        }
        let many: Vec<CheckpointPath> = (0..40)
            .map(|i| run(&format!("/here/checkpoints/a-long-name-{i}"), None))
            .collect();
        let name = of(&many);
        assert!(name.len() < 255 && name != of(&many[1..]), "{name}");
    }
}
