//! `loopscope import`: someone else's weights.

use std::path::PathBuf;

use clap::Args;

use crate::checkpoint::{Checkpoint, ImportSettings, import};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Vocab;
use crate::measure::Iterations;
use crate::model::Readout;

#[derive(Args)]
pub(super) struct ImportArgs {
    /// A .pt (zip) or .safetensors file in the layout of the published checkpoints
    file: PathBuf,
    /// Attention heads; the file does not tell
    #[arg(long)]
    heads: usize,
    /// Iterations of training; the file does not tell
    #[arg(long, default_value_t = 1, value_parser = Iterations::number)]
    iterations: usize,
    /// Where answers are read
    #[arg(long, value_enum, default_value = "last-token")]
    readout: Readout,
    /// Columns after padding, for --readout last-column
    #[arg(long)]
    columns: Option<usize>,
    /// Positions are sinusoidal [default: learned where the file has a table, else none]
    #[arg(long)]
    sinusoidal: bool,
    /// vocab.json of the weights, so that data can be checked against it
    #[arg(long)]
    vocab: Option<PathBuf>,
    /// Checkpoint to write
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(args: &ImportArgs) -> Result<()> {
    let vocab = match &args.vocab {
        None => None,
        Some(path) => Some(Vocab::from_tokens(files::read_json(path)?).map_err(|e| Error::file(path, e))?),
    };
    let settings = ImportSettings {
        heads: args.heads,
        iterations: args.iterations,
        readout: args.readout,
        columns: args.columns,
        sinusoidal: args.sinusoidal,
        vocab,
    };
    let (info, weights) = import(&args.file, &settings)?;
    let hash = Checkpoint::write(&args.out, &info, &weights)?;
    out!(
        "{} (checkpoint {hash}): {} layers, d_model {}, {} heads, {} tokens, {} parameters",
        args.out.display(),
        info.model.layers,
        info.model.d_model,
        info.model.heads,
        info.vocab_size,
        info.model.parameters(info.vocab_size)
    );
    Ok(())
}
