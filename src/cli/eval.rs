//! `loopscope eval`: accuracy by split at any list of inference iterations, or where halting rules let go.

use clap::Args;

use super::analyses::{Inputs, Loaded, ends, print_table, say_intervals, say_where, signed_ends, write};
use crate::checkpoint::Target;
use crate::error::{Error, Result};
use crate::figure;
use crate::measure::{Eval, EvalRow, Halt, Method, Rule, Wants};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Checkpoint files or run folders (all their stages), each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Splits, separated by commas [default: all of test.json]
    #[arg(long, value_delimiter = ',')]
    split: Vec<String>,
    /// Inference iterations: a list of numbers and ranges, as in 1,2,4 or 1..8 [default: the model's own]
    #[arg(long, value_delimiter = ',')]
    iterations: Vec<String>,
    /// Halt each query by these rules instead, at the latest after the most of --iterations [default 40]: criteria
    /// joined by +, each perhaps with =THRESHOLD, as in kl+entropy,kl=0.001,argmax=5,oracle
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    halting: Vec<Rule>,
    /// Measure every rule of one criterion at many thresholds too
    #[arg(long, requires = "halting")]
    sweep: bool,
    /// Seed of the bootstrap, which tells the largest accuracy over iterations and its gain
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

/// The most iterations of analyses that look beyond training, where none are named (Kohli et al. 2026, Section 6).
pub(super) const MOST: usize = 40;

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let iterations = parse_iterations(&args.iterations)?;
    let loaded = args.inputs.load(&args.targets)?;
    if !args.halting.is_empty() {
        return halt(args, &iterations, &loaded);
    }
    let eval = Eval {
        splits: Wants::Tests.splits(&args.split, &loaded.specimens)?,
        iterations,
        seed: args.seed,
    };
    let report = eval.run(&loaded.specimens)?;
    write(&report, &figure::eval(&report), &loaded.out)?;
    // What several numbers of iterations are compared by.
    let several = report.rows.iter().any(|row| row.fall.fall.is_some());
    let rows: Vec<Vec<String>> = report.rows.iter().map(|row| cells(row, several)).collect();
    let mut header = vec![
        "run",
        "checkpoint",
        "step",
        "split",
        "iterations",
        "n",
        "accuracy",
        "95 % interval",
    ];
    if several {
        header.extend(["95 % of the max", "gain over training (95 %)"]);
    }
    print_table(&header, &rows);
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "eval");
    Ok(())
}

fn cells(row: &EvalRow, several: bool) -> Vec<String> {
    let mut cells = vec![
        row.origin.run.clone(),
        row.origin.checkpoint.clone(),
        row.origin.step.to_string(),
        row.split.clone(),
        row.iterations.to_string(),
        row.n.to_string(),
        format!("{:.3}", row.accuracy),
        ends(Some(row.low), Some(row.high)),
    ];
    if several {
        let max = &row.largest;
        cells.push(if max.is_max {
            ends(max.max_low, max.max_high)
        } else {
            String::new()
        });
        let gain = |gain: f64| format!("{gain:+.3} ({})", signed_ends(row.gain_low, row.gain_high));
        cells.push(row.gain.map_or_else(String::new, gain));
    }
    cells
}

fn halt(args: &EvalArgs, iterations: &[usize], loaded: &Loaded) -> Result<()> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in &args.halting {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    let halt = Halt {
        splits: Wants::Depths.splits(&args.split, &loaded.specimens)?,
        rules,
        most: iterations.iter().copied().max().unwrap_or(MOST),
        sweep: args.sweep,
    };
    let report = halt.run(&loaded.specimens)?;
    write(&report, &figure::halt(&report), &loaded.out)?;
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .filter(|row| !row.swept)
        .map(|row| {
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.split.clone(),
                row.hops.to_string(),
                row.rule.clone(),
                row.n.to_string(),
                format!("{:.3}", row.accuracy),
                ends(Some(row.low), Some(row.high)),
                format!("{:.1} ({:.0} ± {:.1})", row.mean, row.median, row.std),
                row.work.map_or_else(|| "–".to_owned(), |work| format!("{work:.2}")),
                row.decided.clone(),
            ]
        })
        .collect();
    print_table(
        &[
            "run",
            "checkpoint",
            "split",
            "hops",
            "rule",
            "n",
            "accuracy",
            "95 % interval",
            "iterations (median ± std)",
            "work",
            "decided by",
        ],
        &rows,
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "halt");
    Ok(())
}

fn parse_iterations(items: &[String]) -> Result<Vec<usize>> {
    let bad = |item: &str, reason: &str| Error::input(format!("--iterations {item}; {reason}, or ranges such as 1..8"));
    let number = |text: &str, item: &str| super::iterations(text).map_err(|reason| bad(item, &reason));
    let mut iterations = Vec::new();
    for item in items {
        match item.split_once("..") {
            None => iterations.push(number(item, item)?),
            Some((first, last)) => {
                let range = number(first, item)?..=number(last, item)?;
                if range.is_empty() {
                    return Err(bad(item, "allowed: a first number up to the last"));
                }
                iterations.extend(range);
            }
        }
    }
    Ok(iterations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_are_numbers_and_ranges() {
        let parse = |text: &str| parse_iterations(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("1,2..4,8").unwrap(), [1, 2, 3, 4, 8]);
        for bad in ["0", "x", "4..2", "1..x", "5000", ""] {
            assert!(parse(bad).unwrap_err().to_string().contains("allowed"), "{bad}");
        }
    }
}
