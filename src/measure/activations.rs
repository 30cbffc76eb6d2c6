//! Raw activations of a rectangle of tokens, at any hook points, and the labels of the queries that they are of.

use candle_core::{DType, Device, Tensor};

use super::BATCH;
use crate::error::{Error, Result};
use crate::graph::{Dataset, PAD, Query, Split};
use crate::model::{Hooks, Model, Pass, Point, Rows, Site};
use crate::train::answers;

/// One label of every query.
pub struct Label {
    /// What it is.
    pub name: &'static str,
    /// What the axes of its values are.
    pub axes: &'static [&'static str],
    /// Of int64.
    pub values: Tensor,
}

/// The queries of splits as a rectangle of tokens, with what a notebook needs to know of each.
pub struct LabelledTokens {
    /// `[batch][position]`, padded right with 0 to the column at which the last answer is read.
    pub tokens: Vec<Vec<u32>>,
    /// Tensors of int64 by name, a row a query; −1 where a query has no such thing, or it is not known.
    ///
    /// | name | shape | what |
    /// |---|---|---|
    /// | `split` | `[batch]` | index of its split |
    /// | `row` | `[batch]` | its place in the split, from 0 |
    /// | `hops` | `[batch]` | number of relations |
    /// | `head` | `[batch]` | head entity |
    /// | `relations` | `[batch, hop]` | relations |
    /// | `entities` | `[batch, hop]` | the entity after each hop: bridges, then the target |
    /// | `target` | `[batch]` | right answer |
    /// | `answer` | `[batch]` | the model's answer |
    /// | `readout` | `[batch]` | position at which the answer is read |
    pub labels: Vec<Label>,
}

impl LabelledTokens {
    /// Of all rows of `splits`, as `model` answers them after `iterations`.
    ///
    /// # Errors
    /// When a split does not exist, there are no rows, or a query does not fit the model.
    pub fn of_splits(data: &Dataset, splits: &[Split], model: &Model, iterations: usize) -> Result<Self> {
        let mut queries: Vec<(i64, i64, &Query)> = Vec::new();
        for (split, index) in splits.iter().zip(0..) {
            let rows = data.split(split)?;
            if rows.is_empty() {
                return Err(Error::input(format!("split {split} has no rows")));
            }
            queries.extend(rows.iter().zip(0..).map(|(query, row)| (index, row, query)));
        }
        let longest = queries.iter().map(|(.., query)| query.hops()).max();
        let longest = longest.ok_or_else(|| Error::input("no split named; --split names one or more"))?;
        let readout = |query: &Query| model.config().readout_column(query.hops());
        let columns = queries.iter().map(|(.., query)| readout(query) + 1).max().unwrap_or(0);
        let columns = columns.max(longest + 1);
        let answers = answers(model, queries.iter().map(|(.., query)| &*query.tokens), iterations)?;
        let batch = queries.len();
        let of_each = |of: &dyn Fn(usize) -> i64| Tensor::from_vec((0..batch).map(of).collect(), batch, &Device::Cpu);
        let of_hops = |of: &dyn Fn(&Query, usize) -> Option<u32>| {
            let one = |query: &Query, hop| of(query, hop).filter(|_| hop <= query.hops()).map_or(-1, i64::from);
            let all = queries
                .iter()
                .flat_map(|(.., query)| (1..=longest).map(move |hop| one(query, hop)));
            Tensor::from_vec(all.collect::<Vec<i64>>(), (batch, longest), &Device::Cpu)
        };
        let one = |name, values| Label {
            name,
            axes: &["batch"],
            values,
        };
        let by_hop = |name, values| Label {
            name,
            axes: &["batch", "hop, from 1"],
            values,
        };
        let labels = vec![
            one("split", of_each(&|i| queries[i].0)?),
            one("row", of_each(&|i| queries[i].1)?),
            one("hops", of_each(&|i| queries[i].2.hops() as i64)?),
            one("head", of_each(&|i| i64::from(queries[i].2.tokens[0]))?),
            by_hop("relations", of_hops(&|query, hop| query.tokens.get(hop).copied())?),
            by_hop("entities", of_hops(&|query, hop| query.entity_after(hop))?),
            one("target", of_each(&|i| i64::from(queries[i].2.target))?),
            one("answer", of_each(&|i| i64::from(answers[i]))?),
            one("readout", of_each(&|i| readout(queries[i].2) as i64)?),
        ];
        let padded = queries.iter().map(|(.., query)| {
            let mut tokens = query.tokens.to_vec();
            tokens.resize(columns, PAD);
            tokens
        });
        Ok(Self {
            tokens: padded.collect(),
            labels,
        })
    }
}

/// What the axes of a tensor of [`activations`] are.
pub fn axes(point: Point) -> Vec<&'static str> {
    const LAYER: &str = "effective layer, from 1";
    const ITERATION: &str = "iteration, from 1";
    match point {
        Point::Embed => vec!["batch", "position", "d_model"],
        Point::ResidPost => vec!["effective layer, 0 the embedding", "batch", "position", "d_model"],
        Point::AttnPattern => vec![LAYER, "batch", "head", "query position", "key position"],
        Point::Z => vec![LAYER, "batch", "position", "head", "d_head"],
        Point::MlpPost => vec![LAYER, "batch", "position", "MLP unit"],
        Point::ResidPre | Point::AttnOut | Point::ResidMid | Point::MlpOut => {
            vec![LAYER, "batch", "position", "d_model"]
        }
        Point::Final => vec![ITERATION, "batch", "position", "d_model"],
        Point::Logits => vec![ITERATION, "batch", "position", "token"],
    }
}

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
/// When the queries have different lengths or do not fit the model.
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
    let (count, heads, max) = pattern.dims3()?;
    let batch = count / columns;
    let values = pattern.flatten_all()?.to_vec1::<f32>()?;
    let mut dense = vec![0.0_f32; batch * heads * columns * columns];
    for row in 0..count {
        let (query, position) = (row / columns, row % columns);
        for head in 0..heads {
            for (i, &ancestor) in rows.ancestors(row).iter().enumerate() {
                let key = ancestor as usize % columns;
                dense[((query * heads + head) * columns + position) * columns + key] =
                    values[(row * heads + head) * max + i];
            }
        }
    }
    Ok(Tensor::from_vec(
        dense,
        (batch, heads, columns, columns),
        pattern.device(),
    )?)
}
