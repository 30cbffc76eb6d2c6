//! `loopscope activations`: any hook points of a checkpoint, as safetensors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use clap::{ArgGroup, Args};
use serde::Serialize;

use crate::checkpoint::{RunPath, find_checkpoints, read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Split};
use crate::measure::{Iterations, LabelledTokens, activations, axes};
use crate::model::Point;

#[derive(Args)]
#[command(group(ArgGroup::new("input").required(true).args(["tokens", "split"])))]
pub(super) struct ActivationsArgs {
    /// Checkpoint file, or run folder (its last checkpoint)
    target: RunPath,
    /// Safetensors file whose `tokens` [batch, position] (int64, padded right with 0) are read
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Splits whose rows are read, separated by commas, padded right to the longest; labels of each row come with them
    #[arg(long, value_delimiter = ',')]
    split: Vec<Split>,
    /// Data folder [default: the run's own]
    #[arg(long, requires = "split")]
    data: Option<PathBuf>,
    /// Hook points, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "resid_post,logits")]
    hooks: Vec<Point>,
    /// Iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::number)]
    iterations: Option<usize>,
    /// Safetensors file to write: a tensor a hook point, `tokens`, and with --split the labels of every row
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
    // In the order of the numbers in the tensor `split`.
    splits: Vec<String>,
    // The names of tokens by id, where they are known.
    vocab: Option<Vec<String>>,
    // The axes of every tensor.
    axes: BTreeMap<String, Vec<&'static str>>,
}

pub(super) fn run(args: &ActivationsArgs) -> Result<()> {
    let device = args.device.device.open()?;
    // `find_checkpoints` never gives an empty list.
    let path = find_checkpoints(std::slice::from_ref(&args.target))?.pop();
    let path = path.ok_or_else(|| Error::file(&args.target.path, "the run has no checkpoint yet"))?;
    let checkpoint = path.load(&device)?;
    let model = checkpoint.model()?;
    let iterations = args.iterations.unwrap_or(checkpoint.info.model.iterations);
    let (tokens, labels, data) = if let Some(path) = &args.tokens {
        (read_tokens(path)?, Vec::new(), None)
    } else {
        let data = Dataset::read(path.data_folder(args.data.as_deref())?)?;
        checkpoint.check_vocab(&path.path, &data.vocab)?;
        let labelled = LabelledTokens::of_splits(&data, &args.split, &model, iterations)?;
        (labelled.tokens, labelled.labels, Some(data))
    };
    let mut points = args.hooks.clone();
    points.sort_unstable();
    points.dedup();
    let taken = activations(&model, &tokens, &points, iterations)?;
    let (batch, columns) = (tokens.len(), tokens[0].len());
    let flat: Vec<i64> = tokens.into_iter().flatten().map(i64::from).collect();
    let tokens = Tensor::from_vec(flat, (batch, columns), &Device::Cpu)?;
    let labels = labels
        .into_iter()
        .map(|label| (label.name, label.axes.to_vec(), label.values));
    let states = taken
        .into_iter()
        .map(|(point, state)| (point.name(), axes(point), state));
    let tokens = ("tokens", vec!["batch", "position"], tokens);
    let named: Vec<(&str, Vec<&str>, Tensor)> = std::iter::once(tokens).chain(labels).chain(states).collect();
    let of_data = data.as_ref().map(|data| data.vocab.tokens().to_vec());
    let made = Made {
        checkpoint: &checkpoint.hash,
        step: checkpoint.info.step,
        iterations,
        layers: model.config().layers,
        vocab: of_data.or_else(|| checkpoint.info.vocab.clone()),
        data_hash: data.map(|data| data.hash),
        splits: args.split.iter().map(ToString::to_string).collect(),
        axes: named
            .iter()
            .map(|(name, axes, _)| ((*name).to_owned(), axes.clone()))
            .collect(),
    };
    for (name, _, tensor) in &named {
        out!("{name:<13} {:?}", tensor.dims());
    }
    let tensors = named.into_iter().map(|(name, _, tensor)| (name.to_owned(), tensor));
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
