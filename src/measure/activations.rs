//! Raw activations of a rectangle of tokens, at any hook points.

use candle_core::{DType, Device, Tensor};

use super::BATCH;
use crate::error::{Error, Result};
use crate::model::{Hooks, Model, Pass, Point, Rows, Site};

/// What a model holds at the given points while it reads `tokens` (`batch` right-padded rows of equal length): every
/// column is a row, pads too.
///
/// | point | shape |
/// |---|---|
/// | `embed` | `[batch, position, d_model]` |
/// | `resid_post` | `[1 + R × layers, batch, position, d_model]`, the embedding first |
/// | `attn_pattern` | `[R × layers, batch, heads, position, key position]` |
/// | `z` | `[R × layers, batch, position, heads, d_head]` |
/// | other points of a layer | `[R × layers, batch, position, width]` |
/// | `final`, `logits` | `[R, batch, position, d_model or vocab]` |
///
/// # Errors
/// When the tokens are no rectangle or do not fit the model.
pub fn activations(
    model: &Model,
    tokens: &[Vec<u32>],
    points: &[Point],
    iterations: usize,
) -> Result<Vec<(Point, Tensor)>> {
    let columns = tokens.first().map_or(0, Vec::len);
    if columns == 0 || tokens.iter().any(|row| row.len() != columns) {
        return Err(Error::input(
            "tokens must be a rectangle [batch, position] with at least one column and row",
        ));
    }
    let layers = model.config().layers;
    let sites_of = |point: Point| {
        let mut sites = Site::all(point, iterations, layers);
        if point == Point::ResidPost {
            sites.insert(0, Site::embed());
        }
        sites
    };
    let mut parts: Vec<Vec<Tensor>> = vec![Vec::new(); points.len()];
    for chunk in tokens.chunks(BATCH) {
        let rows = Rows::rectangle(chunk, model.config(), model.vocab())?;
        let sites = points.iter().flat_map(|&point| sites_of(point));
        let mut pass = Pass {
            hooks: sites.fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        model.forward(&rows, iterations, &mut pass)?;
        for (&point, parts) in points.iter().zip(&mut parts) {
            let mut of_point = Vec::new();
            for site in sites_of(point) {
                let state = pass
                    .hooks
                    .recorded(site)?
                    .to_dtype(DType::F32)?
                    .to_device(&Device::Cpu)?;
                of_point.push(if point == Point::AttnPattern {
                    dense_pattern(&state, &rows, columns)?
                } else {
                    let mut shape = vec![chunk.len(), columns];
                    shape.extend(&state.dims()[1..]);
                    state.reshape(shape)?
                });
            }
            // [sites, batch, position, …]; the embedding alone has no list of sites
            parts.push(if point == Point::Embed {
                of_point.swap_remove(0)
            } else {
                Tensor::stack(&of_point, 0)?
            });
        }
    }
    points
        .iter()
        .zip(parts)
        .map(|(&point, parts)| Ok((point, Tensor::cat(&parts, usize::from(point != Point::Embed))?)))
        .collect()
}

// [rows, heads, ancestors] → [batch, heads, position, key position], 0 where nothing is looked at.
fn dense_pattern(pattern: &Tensor, rows: &Rows, columns: usize) -> Result<Tensor> {
    let (count, heads, most) = pattern.dims3()?;
    let batch = count / columns;
    let values = pattern.flatten_all()?.to_vec1::<f32>()?;
    let mut dense = vec![0.0_f32; batch * heads * columns * columns];
    for row in 0..count {
        let (query, position) = (row / columns, row % columns);
        for head in 0..heads {
            for (i, &ancestor) in rows.ancestors(row).iter().enumerate() {
                let key = ancestor as usize % columns;
                dense[((query * heads + head) * columns + position) * columns + key] =
                    values[(row * heads + head) * most + i];
            }
        }
    }
    Ok(Tensor::from_vec(
        dense,
        (batch, heads, columns, columns),
        pattern.device(),
    )?)
}
