//! Other people's weights in the layout of the published checkpoints.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Tensor};

use super::file::{CheckpointInfo, read_tensors};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Vocab;
use crate::model::{Init, ModelConfig, Positions, Readout, Weights};

/// What the weights themselves do not tell.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportSettings {
    pub heads: usize,
    pub iterations: usize,
    pub readout: Readout,
    pub columns: Option<usize>,
    /// Whether positions are sinusoidal where no table of learned ones is found.
    pub sinusoidal: bool,
    /// The tokens by id, where they are known.
    pub vocab: Option<Vocab>,
}

/// Reads a `.pt` (zip) dictionary with a `model_state_dict`, or a safetensors file, with keys as in the published
/// checkpoints, each perhaps behind `_orig_mod.`. Nothing in a pickle is executed.
///
/// # Errors
/// When the file cannot be read, is in another layout, or does not fit the settings.
pub fn import(path: &Path, settings: &ImportSettings) -> Result<(CheckpointInfo, Weights)> {
    let tensors = match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => read_tensors(path)?.0,
        Some("pt" | "pth" | "bin") => read_pickle(path)?,
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
    let info = CheckpointInfo {
        model: config,
        vocab_size,
        vocab: settings.vocab.as_ref().map(|vocab| vocab.tokens().to_vec()),
        step: 0,
        epoch: 0.0,
        seed: None,
        data_hash: None,
        learned_hops: None,
        accuracy: std::collections::BTreeMap::new(),
    };
    Ok((info, weights))
}

fn read_pickle(path: &Path) -> Result<HashMap<String, Tensor>> {
    // Says that a missing file is missing before the zip reader says something else.
    files::read(path)?;
    let read = |key| candle_core::pickle::read_all_with_key(path, key);
    let wrong = |e: candle_core::Error| {
        Error::file(
            path,
            format!("is no PyTorch checkpoint that can be read (a zip of a pickle and tensors): {e}"),
        )
    };
    let all = match read(Some("model_state_dict")) {
        Ok(all) if !all.is_empty() => all,
        // A bare state dictionary is as good.
        _ => read(None).map_err(wrong)?,
    };
    if all.is_empty() {
        return Err(Error::file(
            path,
            "holds no tensors, neither at the top nor under model_state_dict",
        ));
    }
    Ok(all.into_iter().collect())
}

// The config that the shapes tell.
fn deduce(tensors: &HashMap<String, Tensor>, settings: &ImportSettings) -> Result<(ModelConfig, usize)> {
    let dims2 = |name: &str| -> Result<(usize, usize)> {
        tensors
            .get(name)
            .ok_or_else(|| {
                Error::input(format!(
                    "the tensor {name} is missing; this is not the published layout"
                ))
            })?
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
    let config = ModelConfig {
        layers,
        iterations: settings.iterations,
        d_model,
        heads: settings.heads,
        positions: match (learned, settings.sinusoidal) {
            (true, true) => {
                return Err(Error::input(
                    "sinusoidal positions were asked for, but there is a table of learned ones",
                ));
            }
            (true, false) => Positions::Learned,
            (false, true) => Positions::Sinusoidal,
            (false, false) => Positions::None,
        },
        max_positions: if learned {
            dims2("position_embedding.weight")?.0
        } else {
            5
        },
        init: Init::GAUSSIAN,
        injection: false,
        embedding_std: 1.0,
        dropout: 0.0,
        tied,
        readout: settings.readout,
        columns: settings.columns,
    };
    Ok((config, vocab_size))
}
