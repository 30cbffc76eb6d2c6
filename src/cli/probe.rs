//! `loopscope probe`: linear probes, as specs say.

use clap::Args;

use super::analyses::{Inputs, best_of, fixed, print_table, say_intervals, say_where, write};
use crate::checkpoint::Target;
use crate::error::{Error, Result};
use crate::figure;
use crate::measure::{Method, Probe, ProbeRow, ProbeSpec};

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// Probe specs (files ending in .toml), and checkpoint files or run folders (all their stages)
    #[arg(required = true, value_name = "SPEC.toml or TARGET")]
    inputs_named: Vec<Target>,
    /// Seed of the splits, the control labels and the untrained baseline
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = super::iterations)]
    iterations: Option<usize>,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &ProbeArgs) -> Result<()> {
    let is_spec = |named: &&Target| named.path.extension().is_some_and(|extension| extension == "toml");
    let specs = args
        .inputs_named
        .iter()
        .filter(is_spec)
        .map(|named| ProbeSpec::read(&named.path))
        .collect::<Result<Vec<_>>>()?;
    let targets: Vec<Target> = args
        .inputs_named
        .iter()
        .filter(|named| !is_spec(named))
        .cloned()
        .collect();
    if specs.is_empty() {
        return Err(Error::input(
            "no probe spec named; add one or more, as in probes/bridge-at-r1.toml",
        ));
    }
    if targets.is_empty() {
        return Err(Error::input(
            "no checkpoint named; add a checkpoint file or a run folder",
        ));
    }
    for (i, spec) in specs.iter().enumerate() {
        if specs[..i].iter().any(|other| other.name == spec.name) {
            return Err(Error::input(format!(
                "two of the specs are called {}; each needs its own name",
                spec.name
            )));
        }
    }
    let loaded = args.inputs.load(&targets)?;
    let probe = Probe {
        specs,
        seed: args.seed,
        iterations: args.iterations,
    };
    let report = probe.run(&loaded.specimens)?;
    write(&report, &figure::probe(&report), &loaded.out)?;
    print_table(
        &[
            "run",
            "checkpoint",
            "probe",
            "at",
            "split",
            "n",
            "classifier",
            "layer",
            "validation",
            "accuracy",
            "95 % interval",
            "control",
            "shuffled",
            "embeddings",
            "untrained",
            "step 0",
            "converged",
        ],
        &best(&report.rows),
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    out!("layer and penalty chosen on held-out fit rows; validation: the accuracy there");
    say_where(&loaded.out, "probe");
    Ok(())
}

// Of each line of the figure the effective layer with the best accuracy on held-out fit rows.
fn best(rows: &[ProbeRow]) -> Vec<Vec<String>> {
    let line = |row: &ProbeRow| -> Vec<String> {
        [
            &row.origin.run,
            &row.origin.checkpoint,
            &row.probe,
            &row.position.to_string(),
            &row.split,
        ]
        .map(Clone::clone)
        .into()
    };
    best_of(rows, line, |row| row.validation)
        .iter()
        .map(|row| {
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.probe.clone(),
                row.position.to_string(),
                row.split.clone(),
                row.n.to_string(),
                row.classifier.name().to_owned(),
                row.effective_layer.to_string(),
                fixed(row.validation),
                fixed(row.accuracy),
                format!("{:.3}–{:.3}", row.low, row.high),
                fixed(row.control),
                fixed(row.shuffled),
                fixed(row.embeddings),
                fixed(row.untrained),
                row.step_0.map_or("-".to_owned(), fixed),
                if row.converged { "yes" } else { "NO" }.to_owned(),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // A row that a JSON report could hold.
    fn row(effective_layer: usize, validation: f64, accuracy: f64) -> ProbeRow {
        let row = serde_json::json!({
            "run": "a", "checkpoint": "final", "step": 1, "checkpoint_hash": "0", "data_hash": "0",
            "probe": "bridge-at-r2", "label": "bridge", "site": "resid_post", "position": "r2",
            "effective_layer": effective_layer, "iteration": effective_layer, "layer": 1,
            "split": "train", "split_by": "facts", "classifier": "logistic", "penalty": 1e-3,
            "n_fit": 10, "n": 10, "n_facts": 5, "classes": 5, "validation": validation, "accuracy": accuracy,
            "low": 0.0, "high": 1.0, "interval": "facts", "control": 0.2, "selectivity": accuracy - 0.2,
            "shuffled": 0.2, "embeddings": 0.2, "untrained": 0.2, "step_0": null, "converged": true, "residual": 0.0,
        });
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn the_layer_is_chosen_on_held_out_fit_rows_and_the_first_of_equals() {
        let rows = [row(1, 0.5, 0.9), row(2, 0.8, 0.7), row(3, 0.8, 0.8)];
        let table = best(&rows);
        assert_eq!(table.len(), 1);
        assert_eq!(table[0][7..10], ["2", "0.800", "0.700"]);
        assert_eq!(table[0][6], "logistic");
    }
}
