//! `loopscope bench`: how fast training steps are here, and how accurate GEMM is.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Threads;
use super::print::{print_table, printing, record};
use crate::bench::{Batches, Case, DEPTHS, Shape, Sweep, accuracy, export, measure};
use crate::error::{Error, Result};
use crate::files;
use crate::measure::{Iterations, Table, positive};
use crate::model::Backend;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// What to train, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    shape: Vec<Shape>,
    /// On which batches, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "real,random")]
    batches: Vec<Batches>,
    /// Iterations in place of the shape's, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = Iterations::number)]
    iterations: Vec<usize>,
    /// Batch sizes in place of the shape's, separated by commas
    #[arg(long, value_delimiter = ',')]
    batch: Vec<usize>,
    /// Entities of the graph in place of the shape's, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = entities)]
    entities: Vec<usize>,
    /// Seconds of steps for each
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time forward passes too: as training does them, alone, and recording every layer's input
    #[arg(long)]
    forward: bool,
    /// Time nothing: write each case's weights and first batch, with loss and gradient norm, to this folder
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// Time nothing: print the relative error of GEMM against f64, on every instruction set that this machine has
    #[arg(long, conflicts_with_all = ["export", "forward"])]
    accuracy: bool,
    /// Time sweeps of activation patching instead, of these models, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["accuracy", "forward"])]
    sweep: Vec<Sweep>,
    /// Pairs of a sweep
    #[arg(long, default_value_t = 500, requires = "sweep", value_parser = positive)]
    pairs: usize,
    /// Runs of each sweep
    #[arg(long, default_value_t = 3, requires = "sweep", value_parser = positive)]
    runs: usize,
    #[command(flatten)]
    threads: Threads,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    if !(args.seconds >= 0.0 && args.seconds <= 3600.0) {
        return Err(Error::input(format!("--seconds {}; allowed: 0 to 3600", args.seconds)));
    }
    if args.accuracy {
        return args.threads.install(print_accuracy);
    }
    if !args.sweep.is_empty() {
        return args.threads.install(|| sweeps(args));
    }
    args.threads.install(|| {
        let mut rows = Vec::new();
        for case in cases(args) {
            if let Some(folder) = &args.export {
                files::create_folder(folder)?;
                let path = folder.join(format!("{}-{}.safetensors", name(&case.shape), name(&case.batches)));
                export(&case, &path)?;
                out!("{}", path.display());
                continue;
            }
            let found = measure(&case, Duration::from_secs_f64(args.seconds), args.forward)?;
            if printing().json {
                // A line as soon as a case is measured, which takes long.
                record(&found)?;
                continue;
            }
            let mut row = vec![
                name(&case.shape),
                name(&case.batches),
                case.config().model.iterations.to_string(),
                found.queries.to_string(),
                format!("{:.0}", found.rows),
                format!("{:.2}", found.median_ms),
                format!("{:.2} to {:.2}", found.fastest_ms, found.slowest_ms),
                found.steps.to_string(),
                format!("{:.0}", found.examples_per_second),
                format!("{:.0}", found.gflops),
                format!("{:.0} %", 100.0 * found.share_of_peak),
                found
                    .peak_memory_mib
                    .map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}")),
            ];
            if let Some(forward) = &found.forward {
                let times = [forward.training_ms, forward.alone_ms, forward.recording_ms];
                row.extend(times.map(|ms| format!("{ms:.2}")));
            }
            rows.push((found, row));
        }
        if !rows.is_empty() {
            let mut columns = vec![
                "shape",
                "batches",
                "R",
                "queries",
                "rows",
                "ms/step",
                "range",
                "steps",
                "queries/s",
                "GFLOP/s",
                "of peak",
                "MiB",
            ];
            if args.forward {
                columns.extend(["forward ms", "alone", "recording"]);
            }
            print_table(&Table::of_cells(&columns, rows)?)?;
            out!(
                "{} threads; matrix products by {}, only they count in GFLOP/s; peak: that of f32 instructions; MiB: \
                 peak of the process",
                rayon::current_num_threads(),
                Backend::default().matmul()
            );
        }
        Ok(())
    })
}

fn sweeps(args: &BenchArgs) -> Result<()> {
    let mut rows = Vec::new();
    let iterations: Vec<Option<usize>> = match &args.iterations[..] {
        [] => vec![None],
        given => given.iter().copied().map(Some).collect(),
    };
    let cases = args.sweep.iter();
    let cases = cases.flat_map(|sweep| iterations.iter().map(move |&iterations| (*sweep, iterations)));
    for (sweep, iterations) in cases {
        let case = sweep.with(iterations);
        if let Some(folder) = &args.export {
            files::create_folder(folder)?;
            let path = folder.join(format!("sweep-{}.safetensors", name(&sweep)));
            case.export(args.pairs, &path)?;
            out!("{}", path.display());
            continue;
        }
        let found = case.measure(args.pairs, args.runs)?;
        if printing().json {
            record(&found)?;
            continue;
        }
        let cells = vec![
            name(&sweep),
            found.iterations.to_string(),
            found.pairs.to_string(),
            found.sites.to_string(),
            format!("{:.3}", found.median_seconds),
            format!("{:.1} %", 100.0 * found.computed),
        ];
        rows.push((found, cells));
    }
    if !rows.is_empty() {
        let headings = ["sweep", "R", "pairs", "sites", "seconds", "computed of whole passes"];
        print_table(&Table::of_cells(&headings, rows)?)?;
    }
    Ok(())
}

fn print_accuracy() -> Result<()> {
    let measured = accuracy();
    let rows = measured.iter().map(|accuracy| {
        let names = [accuracy.operands.to_owned(), accuracy.backend.clone()];
        let errors = accuracy.errors.iter().map(|error| format!("{error:.1e}"));
        (accuracy, names.into_iter().chain(errors).collect())
    });
    let depths = DEPTHS.map(|depth| format!("depth {depth}"));
    let headings: Vec<&str> = ["operands", "GEMM on"]
        .into_iter()
        .chain(depths.iter().map(String::as_str))
        .collect();
    print_table(&Table::of_cells(&headings, rows)?)?;
    out!("root mean square error of a 256 × depth × 192 product against f64, in that of the product");
    Ok(())
}

fn entities(text: &str) -> std::result::Result<usize, String> {
    const MOST: usize = 1_000_000;
    let number = text.trim().parse().ok().filter(|n| (1..=MOST).contains(n));
    number.ok_or_else(|| format!("allowed: 1 to {MOST}"))
}

// What the user types for a value.
fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

// Every combination of what was asked for.
fn cases(args: &BenchArgs) -> Vec<Case> {
    let or_own = |asked: &[usize]| match asked {
        [] => vec![None],
        asked => asked.iter().copied().map(Some).collect(),
    };
    let shapes = if args.shape.is_empty() {
        Shape::value_variants()
    } else {
        &args.shape
    };
    let mut cases = Vec::new();
    for &shape in shapes {
        for &batches in &args.batches {
            for &entities in &or_own(&args.entities) {
                for &batch in &or_own(&args.batch) {
                    for &iterations in &or_own(&args.iterations) {
                        cases.push(Case {
                            shape,
                            batches,
                            iterations,
                            batch,
                            entities,
                        });
                    }
                }
            }
        }
    }
    cases
}
