//! `loopscope circuit`: models whose mechanism is known.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::print::print_table;
use crate::circuit::{Circuit, Name, Settings, truth_path};
use crate::error::Result;
use crate::graph::Dataset;
use crate::measure::Table;
use crate::wording::counted;

#[derive(Args)]
pub(super) struct CircuitArgs {
    /// The circuit
    #[arg(value_enum, required_unless_present = "list")]
    name: Option<Name>,
    /// Show what each circuit does, and write nothing
    #[arg(long)]
    list: bool,
    /// Data set whose facts the circuit holds
    #[arg(long, required_unless_present = "list")]
    data: Option<PathBuf>,
    /// Checkpoint to write; the truth about it goes to NAME.truth.json beside it
    #[arg(long, required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Rotate the residual stream at random, with this seed, so that no axis means anything
    #[arg(long, value_name = "SEED")]
    rotate: Option<u64>,
    /// Add Gaussian noise to all weights, in root mean squares of each tensor
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0)]
    noise: f64,
    /// Seed of the noise, and of the layers that late-bridge has its facts in
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Width of the residual stream [default: the least one that holds the circuit]
    #[arg(long)]
    d_model: Option<usize>,
    /// Relations that suffix-reader reads
    #[arg(long, default_value_t = 2)]
    suffix: usize,
}

// A circuit as a row of the list.
#[derive(Serialize)]
struct Listed {
    name: String,
    about: String,
}

pub(super) fn run(args: &CircuitArgs) -> Result<()> {
    let (false, Some(name), Some(data), Some(out)) = (args.list, args.name, &args.data, &args.out) else {
        let rows = Name::all().iter().map(|name| {
            let row = Listed {
                name: name.to_string(),
                about: name.about(),
            };
            let cells = vec![row.name.clone(), row.about.clone()];
            (row, cells)
        });
        return print_table(&Table::of_cells(&["circuit", "what it does"], rows)?);
    };
    let settings = Settings {
        name,
        rotate: args.rotate,
        noise: args.noise,
        seed: args.seed,
        d_model: args.d_model,
        suffix: args.suffix,
    };
    let mut circuit = Circuit::build(&settings, &Dataset::read(data)?)?;
    circuit.write(out)?;
    let model = &circuit.info.model;
    out!(
        "{} (checkpoint {}): {name}, {}, {}, d_model {}, {}, {}",
        out.display(),
        circuit.truth.checkpoint_hash,
        counted(model.layers, "layer"),
        counted(model.iterations, "iteration"),
        model.d_model,
        counted(model.heads, "head"),
        counted(model.parameters(circuit.info.vocab_size), "parameter")
    );
    out!("{}", truth_path(out).display());
    for case in &circuit.truth.cases {
        let answered = if case.right { "right" } else { "wrong" };
        let layers = match case.fact_layers.as_slice() {
            [] => String::new(),
            layers => format!(", facts in layers {layers:?}"),
        };
        let (hops, queries) = (counted(case.hops, "hop"), counted(case.queries, "query"));
        out!("  {hops}{layers}: {queries} answered {answered}");
    }
    Ok(())
}
