//! Hook points: what one forward pass can record or replace. Every analysis goes through this one mechanism.
//!
//! The names are those of TransformerLens. A recurrent block runs once an iteration, so a site always names its
//! iteration too: a cache keyed by layer alone would silently keep the last iteration.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A kind of place in the forward pass; shapes are those of the recorded tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Point {
    /// Token plus position embedding, `[rows, d_model]`.
    Embed,
    /// The residual stream before a layer, `[rows, d_model]`.
    ResidPre,
    /// Attention probabilities over each row's ancestors, oldest first, `[rows, heads, ancestors]`.
    AttnPattern,
    /// What each head gathers, before the output projection, `[rows, heads, d_head]`.
    Z,
    /// What attention adds to the stream, `[rows, d_model]`.
    AttnOut,
    /// The residual stream between attention and MLP, `[rows, d_model]`.
    ResidMid,
    /// MLP activations after the non-linearity, `[rows, 4 × d_model]`.
    MlpPost,
    /// What the MLP adds to the stream, `[rows, d_model]`.
    MlpOut,
    /// The residual stream after a layer, `[rows, d_model]`.
    ResidPost,
    /// After the final layer norm, at the readout rows, `[readouts, d_model]`.
    Final,
    /// The logits, at the readout rows, `[readouts, vocab]`.
    Logits,
}

impl Point {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::ResidPre => "resid_pre",
            Self::AttnPattern => "attn_pattern",
            Self::Z => "z",
            Self::AttnOut => "attn_out",
            Self::ResidMid => "resid_mid",
            Self::MlpPost => "mlp_post",
            Self::MlpOut => "mlp_out",
            Self::ResidPost => "resid_post",
            Self::Final => "final",
            Self::Logits => "logits",
        }
    }

    /// Whether the point is inside a layer, and so has an iteration and a layer.
    pub fn in_block(self) -> bool {
        !matches!(self, Self::Embed | Self::Final | Self::Logits)
    }
}

/// One place in one forward pass. Iterations and layers count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    point: Point,
    iteration: usize,
    layer: usize,
}

impl Site {
    /// The embedding.
    pub fn embed() -> Self {
        Self {
            point: Point::Embed,
            iteration: 0,
            layer: 0,
        }
    }

    /// `point` in `layer` at `iteration`. For `embed`, `final` and `logits` the layer has no meaning and is dropped.
    pub fn new(point: Point, iteration: usize, layer: usize) -> Self {
        match point {
            Point::Embed => Self::embed(),
            _ => Self {
                point,
                iteration,
                layer: if point.in_block() { layer } else { 0 },
            },
        }
    }

    /// Every site of `point` in a pass of `iterations` iterations of `layers` layers, in the order of the pass.
    pub fn all(point: Point, iterations: usize, layers: usize) -> Vec<Self> {
        match point {
            Point::Embed => vec![Self::embed()],
            Point::Final | Point::Logits => (0..iterations).map(|i| Self::new(point, i, 0)).collect(),
            _ => (0..iterations)
                .flat_map(|i| (0..layers).map(move |l| Self::new(point, i, l)))
                .collect(),
        }
    }

    /// The kind of place.
    pub fn point(self) -> Point {
        self.point
    }

    /// The iteration, from 0.
    pub fn iteration(self) -> usize {
        self.iteration
    }

    /// The layer, from 0.
    pub fn layer(self) -> usize {
        self.layer
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.point {
            Point::Embed => write!(f, "embed"),
            Point::Final | Point::Logits => write!(f, "{} at iteration {}", self.point.name(), self.iteration),
            _ => write!(
                f,
                "{} at iteration {}, layer {}",
                self.point.name(),
                self.iteration,
                self.layer
            ),
        }
    }
}

/// What a forward pass is to record and replace, and afterwards what it recorded.
///
/// Replacement comes before recording: the recorded state is the one that the pass continues with.
#[derive(Default)]
pub struct Hooks {
    records: BTreeMap<Site, Option<Vec<u32>>>,
    replacements: BTreeMap<Site, Vec<(Vec<u32>, Tensor)>>,
    recorded: BTreeMap<Site, Tensor>,
}

impl Hooks {
    /// No hooks, which cost nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Records all rows at `site` (all readouts, for `final` and `logits`).
    #[must_use]
    pub fn record(mut self, site: Site) -> Self {
        self.records.insert(site, None);
        self
    }

    /// Records only these rows at `site`, in this order; nothing else is kept.
    #[must_use]
    pub fn record_rows(mut self, site: Site, rows: Vec<u32>) -> Self {
        self.records.insert(site, Some(rows));
        self
    }

    /// Puts `values` (`[rows.len(), …]` as the point is shaped) in place of these rows at `site`.
    #[must_use]
    pub fn replace(mut self, site: Site, rows: Vec<u32>, values: Tensor) -> Self {
        self.replacements.entry(site).or_default().push((rows, values));
        self
    }

    /// What was recorded at `site`.
    ///
    /// # Errors
    /// When nothing was recorded there.
    pub fn recorded(&self, site: Site) -> Result<Tensor> {
        self.recorded
            .get(&site)
            .cloned()
            .ok_or_else(|| Error::input(format!("nothing was recorded for {site}; the pass does not reach it")))
    }

    /// Whether any site is to be replaced.
    pub fn replaces(&self) -> bool {
        !self.replacements.is_empty()
    }

    /// Whether `site` is to be recorded or replaced.
    pub(super) fn wants(&self, site: Site) -> bool {
        self.records.contains_key(&site) || self.replacements.contains_key(&site)
    }

    /// Whether there is nothing to record or replace.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replacements.is_empty()
    }

    fn sites(&self) -> impl Iterator<Item = Site> {
        self.records.keys().chain(self.replacements.keys()).copied()
    }

    /// Whether any site inside a layer is wanted.
    pub(super) fn wants_block(&self) -> bool {
        self.sites().any(|site| site.point.in_block())
    }

    /// Whether any site inside this layer of this iteration is wanted.
    pub(super) fn wants_layer(&self, iteration: usize, layer: usize) -> bool {
        self.sites()
            .any(|site| site.point.in_block() && (site.iteration, site.layer) == (iteration, layer))
    }

    /// Whether a hook visits the state of each row before the first layer reads it, so that rows with the same
    /// embedding may differ.
    pub(super) fn visits_entry(&self) -> bool {
        let entry = Site::new(Point::ResidPre, 0, 0);
        self.wants(Site::embed()) || self.replacements().any(|(site, ..)| site == entry)
    }

    /// Whether the states are to be read out after this iteration.
    pub(super) fn wants_readout(&self, iteration: usize) -> bool {
        self.wants(Site::new(Point::Final, iteration, 0)) || self.wants(Site::new(Point::Logits, iteration, 0))
    }

    /// The rows to record at each site; `None` means all.
    pub(super) fn records(&self) -> impl Iterator<Item = (Site, Option<&[u32]>)> {
        self.records.iter().map(|(&site, rows)| (site, rows.as_deref()))
    }

    /// The rows to replace at each site, and by what.
    pub(super) fn replacements(&self) -> impl Iterator<Item = (Site, &[u32], &Tensor)> {
        self.replacements
            .iter()
            .flat_map(|(&site, parts)| parts.iter().map(move |(rows, values)| (site, rows.as_slice(), values)))
    }

    /// Keeps what was recorded.
    pub(super) fn keep(&mut self, recorded: Vec<(Site, Tensor)>) {
        self.recorded.extend(recorded);
    }

    /// Applies the hooks of `site` to its state `x`, and returns the state that the pass continues with.
    pub(super) fn visit(&mut self, site: Site, mut x: Tensor) -> Result<Tensor> {
        if self.is_empty() {
            return Ok(x);
        }
        for (rows, values) in self.replacements.get(&site).into_iter().flatten() {
            x = replace_rows(&x, rows, values, site)?;
        }
        if let Some(rows) = self.records.get(&site) {
            let kept = match rows {
                None => x.clone(),
                Some(rows) => x.index_select(&Tensor::new(rows.as_slice(), x.device())?, 0)?,
            };
            self.recorded.insert(site, kept.detach());
        }
        Ok(x)
    }
}

// Exact: the rows become `values` bit for bit, the others stay as they are.
fn replace_rows(x: &Tensor, rows: &[u32], values: &Tensor, site: Site) -> Result<Tensor> {
    let wanted = check_replacement(site, x.dims(), rows, values)?;
    if rows.is_empty() {
        return Ok(x.clone());
    }
    let mut index_shape = vec![1; wanted.len()];
    index_shape[0] = rows.len();
    let index = Tensor::new(rows, x.device())?
        .reshape(index_shape)?
        .broadcast_as(wanted)?
        .contiguous()?;
    Ok(x.contiguous()?
        .scatter(&index, &values.to_dtype(x.dtype())?.contiguous()?, 0)?)
}

/// The shape of `values` that replace `rows` in a state of shape `state`.
///
/// # Errors
/// When `values` have another shape, or a row is outside the state.
pub(super) fn check_replacement(site: Site, state: &[usize], rows: &[u32], values: &Tensor) -> Result<Vec<usize>> {
    let mut wanted = state.to_vec();
    wanted[0] = rows.len();
    if values.dims() != wanted {
        return Err(Error::input(format!(
            "a replacement for {site} has shape {:?}; {wanted:?} is needed",
            values.dims()
        )));
    }
    if let Some(row) = rows.iter().find(|&&row| row as usize >= state[0]) {
        return Err(Error::input(format!(
            "a replacement for {site} names row {row} of {}",
            state[0]
        )));
    }
    Ok(wanted)
}
