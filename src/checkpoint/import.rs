//! Other people's weights in the layout of the published checkpoints.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Tensor};

use super::file::CheckpointInfo;
use super::pickle;
use super::tensors::read_tensors;
use crate::error::{Error, Result};
use crate::graph::Vocab;
use crate::model::{Activation, Init, ModelConfig, Positions, Readout, Weights};
use crate::wording::listed;

/// The properties of a model that a file of weights does not contain.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportSettings {
    /// Attention heads.
    pub heads: usize,
    /// Iterations of training, R.
    pub iterations: usize,
    /// The position at which the answer is read.
    pub readout: Readout,
    /// Columns after padding, for [`Readout::LastColumn`].
    pub columns: Option<usize>,
    /// Whether positions are sinusoidal where no table of learned ones is found.
    pub sinusoidal: bool,
    /// The tokens by id, where they are known.
    pub vocab: Option<Vocab>,
}

/// Reads weights in the layout of the published checkpoints: a `.pt` file (a zip with a dictionary `model_state_dict`) or a
/// safetensors file. Keys may have the prefix `_orig_mod.`. Nothing in a pickle is executed.
///
/// # Errors
/// When the file cannot be read, is in another layout, or does not fit the settings.
pub fn import(path: &Path, settings: &ImportSettings) -> Result<(CheckpointInfo, Weights)> {
    let tensors = match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => read_tensors(path)?.0,
        _ if is_pickle(path) => pickle::read(path)?,
        _ => {
            return Err(Error::file(
                path,
                "unknown kind of file; allowed: .pt, .pth, .bin, .safetensors",
            ));
        }
    };
    let tensors: HashMap<String, Tensor> = tensors
        .into_iter()
        .map(|(name, tensor)| (name.strip_prefix("_orig_mod.").unwrap_or(&name).to_owned(), tensor))
        .collect();
    let wrong = |e: Error| Error::file(path, e);
    if !["token_embedding.weight", "blocks.0.ln_1.weight"]
        .iter()
        .all(|&name| tensors.contains_key(name))
    {
        return Err(other_layout(path, settings, &tensors));
    }
    let (config, vocab_size) = deduce(&tensors, settings).map_err(wrong)?;
    config.check().map_err(wrong)?;
    if let Some(vocab) = &settings.vocab
        && vocab.len() != vocab_size
    {
        return Err(Error::file(
            path,
            format!(
                "embeds {vocab_size} tokens; the vocabulary given has {}, <pad> included",
                vocab.len()
            ),
        ));
    }
    expect_orientation(&config, vocab_size, &tensors).map_err(wrong)?;
    let weights = Weights::gather(&config, vocab_size, |name| {
        tensors
            .get(name)
            .map(|tensor| Ok(tensor.to_dtype(DType::F32)?.contiguous()?))
            .transpose()
    })
    .map_err(wrong)?;
    let used: BTreeSet<&str> = weights.iter().map(|(name, _)| name).chain(["lm_head.weight"]).collect();
    let mut unknown: Vec<&str> = tensors
        .keys()
        .map(String::as_str)
        .filter(|name| !used.contains(name))
        .collect();
    if !unknown.is_empty() {
        unknown.sort_unstable();
        return Err(Error::file(
            path,
            format!(
                "holds tensors that the looped GPT-2 does not have: {}",
                unknown.join(", ")
            ),
        ));
    }
    let vocab = settings.vocab.as_ref().map(|vocab| vocab.tokens().to_vec());
    Ok((CheckpointInfo::of_model(config, vocab_size, vocab), weights))
}

// The error for a file in another layout: the keys that were expected and those that were found.
fn other_layout(path: &Path, settings: &ImportSettings, tensors: &HashMap<String, Tensor>) -> Error {
    let expected = config(settings, 1, 1, Positions::None, true);
    let expected: Vec<String> = expected.slots(1).into_iter().map(|slot| slot.name).collect();
    let mut names: Vec<String> = tensors.keys().cloned().collect();
    names.sort_unstable();
    let (location, found) = match is_pickle(path).then(|| pickle::outline(path)) {
        Some(Ok(outline)) => (format!(" at the top or under `{}`", pickle::KEY), outline),
        _ => (String::new(), listed(&names, 20)),
    };
    Error::file(
        path,
        format!(
            "is not in the published layout. Tensors expected{location}: {}, and so on for each block. Keys found: {found}",
            expected.join(", ")
        ),
    )
}

// The weights of nn.Linear are the transposes of those of the published layout (GPT-2's Conv1D).
fn expect_orientation(config: &ModelConfig, vocab_size: usize, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let transposed = config.slots(vocab_size).into_iter().find_map(|slot| {
        let found = tensors.get(&slot.name)?.dims();
        let reversed: Vec<usize> = slot.shape.iter().rev().copied().collect();
        (slot.in_block() && found == reversed && found != slot.shape).then(|| (slot, found.to_vec()))
    });
    match transposed {
        None => Ok(()),
        Some((slot, found)) => Err(Error::input(format!(
            "the tensor {} has shape {found:?}, expected {:?}: is it transposed? The published layout has the weights of a \
             block as [in, out], nn.Linear as [out, in]; transpose every matrix of the blocks, the square ones too",
            slot.name, slot.shape
        ))),
    }
}

// The config that follows from the shapes and the settings, and the number of tokens.
fn deduce(tensors: &HashMap<String, Tensor>, settings: &ImportSettings) -> Result<(ModelConfig, usize)> {
    let dims2 = |name: &str| -> Result<(usize, usize)> {
        tensors
            .get(name)
            .ok_or_else(|| Error::input(format!("the tensor {name} is missing")))?
            .dims2()
            .map_err(|_| Error::input(format!("the tensor {name} is not a matrix")))
    };
    let (vocab_size, d_model) = dims2("token_embedding.weight")?;
    let layers = (0..tensors.len())
        .take_while(|i| tensors.contains_key(&format!("blocks.{i}.ln_1.weight")))
        .count();
    let learned = tensors.contains_key("position_embedding.weight");
    let tied = match (tensors.get("lm_head.weight"), tensors.get("token_embedding.weight")) {
        (Some(head), Some(embedding)) => {
            head.dims() == embedding.dims()
                && (head - embedding)?
                    .abs()?
                    .max_all()?
                    .to_dtype(DType::F32)?
                    .to_scalar::<f32>()?
                    == 0.0
        }
        _ => true,
    };
    let positions = match (learned, settings.sinusoidal) {
        (true, true) => {
            return Err(Error::input(
                "sinusoidal positions were asked for, but there is a table of learned ones",
            ));
        }
        (true, false) => Positions::Learned,
        (false, true) => Positions::Sinusoidal,
        (false, false) => Positions::None,
    };
    let mut config = config(settings, layers, d_model, positions, tied);
    if learned {
        config.max_positions = dims2("position_embedding.weight")?.0;
    }
    Ok((config, vocab_size))
}

fn config(settings: &ImportSettings, layers: usize, d_model: usize, positions: Positions, tied: bool) -> ModelConfig {
    ModelConfig {
        layers,
        iterations: settings.iterations,
        d_model,
        heads: settings.heads,
        positions,
        max_positions: 5,
        init: Init::GAUSSIAN,
        injection: false,
        activation: Activation::GeluTanh,
        embedding_std: 1.0,
        dropout: 0.0,
        tied,
        readout: settings.readout,
        columns: settings.columns,
    }
}

fn is_pickle(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["pt", "pth", "bin"].iter().any(|known| extension == *known))
}
