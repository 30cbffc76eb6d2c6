//! `loopscope activations`: any hook points of a checkpoint, as safetensors.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use clap::{ArgGroup, Args};
use serde::Serialize;

use crate::checkpoint::{RunPath, find_checkpoints, read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::graph::{Dataset, PAD};
use crate::measure::{Iterations, activations};
use crate::model::Point;

#[derive(Args)]
#[command(group(ArgGroup::new("input").required(true).args(["tokens", "split"])))]
pub(super) struct ActivationsArgs {
    /// Checkpoint file, or run folder (its last checkpoint)
    target: RunPath,
    /// Safetensors file whose `tokens` [batch, position] (int64, padded right with 0) are read
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Split whose rows are read, padded right to the longest
    #[arg(long)]
    split: Option<String>,
    /// Data folder [default: the run's own]
    #[arg(long, requires = "split")]
    data: Option<PathBuf>,
    /// Hook points
    #[arg(long, value_enum, value_delimiter = ',', default_value = "resid_post,logits")]
    hooks: Vec<Point>,
    /// Iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::number)]
    iterations: Option<usize>,
    /// Safetensors file to write: a tensor a hook point, and `tokens`
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    device: super::DeviceArg,
}

// What the written file says of itself.
#[derive(Serialize)]
struct Made<'a> {
    checkpoint: &'a str,
    step: u64,
    iterations: usize,
    layers: usize,
    data_hash: Option<String>,
    split: Option<&'a str>,
}

pub(super) fn run(args: &ActivationsArgs) -> Result<()> {
    let device = args.device.device.open()?;
    // `find_checkpoints` never gives an empty list.
    let path = find_checkpoints(std::slice::from_ref(&args.target))?.pop();
    let path = path.ok_or_else(|| Error::file(&args.target.path, "the run has no checkpoint yet"))?;
    let checkpoint = path.load(&device)?;
    let (tokens, data_hash) = match (&args.tokens, &args.split) {
        (Some(path), _) => (read_tokens(path)?, None),
        (None, Some(split)) => {
            let data = Dataset::read(path.data_folder(args.data.as_deref())?)?;
            checkpoint.check_vocab(&path.path, &data.vocab)?;
            (padded(&data, split)?, Some(data.hash))
        }
        _ => return Err(Error::input("name --tokens FILE, or --split NAME")),
    };
    let model = checkpoint.model()?;
    let iterations = args.iterations.unwrap_or(checkpoint.info.model.iterations);
    let mut points = args.hooks.clone();
    points.sort_unstable();
    points.dedup();
    let taken = activations(&model, &tokens, &points, iterations)?;
    let (batch, columns) = (tokens.len(), tokens[0].len());
    let flat: Vec<i64> = tokens.into_iter().flatten().map(i64::from).collect();
    let tokens = Tensor::from_vec(flat, (batch, columns), &Device::Cpu)?;
    let mut tensors = vec![("tokens".to_owned(), tokens)];
    tensors.extend(
        taken
            .into_iter()
            .map(|(point, tensor)| (point.name().to_owned(), tensor)),
    );
    let made = Made {
        checkpoint: &checkpoint.hash,
        step: checkpoint.info.step,
        iterations,
        layers: model.config().layers,
        data_hash,
        split: args.split.as_deref(),
    };
    for (name, tensor) in &tensors {
        out!("{name:<13} {:?}", tensor.dims());
    }
    write_tensors(&args.out, tensors, &made)?;
    out!("{}", args.out.display());
    Ok(())
}

fn read_tokens(path: &std::path::Path) -> Result<Vec<Vec<u32>>> {
    let (tensors, _) = read_tensors(path)?;
    let tokens = tensors
        .get("tokens")
        .ok_or_else(|| Error::file(path, "has no tensor named tokens"))?;
    if tokens.rank() != 2 || tokens.elem_count() == 0 || !matches!(tokens.dtype(), DType::I64 | DType::U32 | DType::U8)
    {
        return Err(Error::file(
            path,
            format!(
                "tokens is {:?} {:?}; expected integers [batch, position], one row and column at least",
                tokens.dtype(),
                tokens.dims()
            ),
        ));
    }
    let rows = tokens.to_dtype(DType::I64)?.to_vec2::<i64>()?;
    rows.into_iter()
        .map(|row| {
            row.into_iter()
                .map(|token| {
                    u32::try_from(token)
                        .map_err(|_| Error::file(path, format!("the token {token} is negative or too large")))
                })
                .collect()
        })
        .collect()
}

fn padded(data: &Dataset, split: &str) -> Result<Vec<Vec<u32>>> {
    let queries = data.split(split)?;
    let columns = queries.iter().map(|query| query.tokens.len()).max().unwrap_or(0);
    if columns == 0 {
        return Err(Error::input(format!("split {split} has no rows")));
    }
    Ok(queries
        .iter()
        .map(|query| {
            let mut tokens = query.tokens.to_vec();
            tokens.resize(columns, PAD);
            tokens
        })
        .collect())
}
