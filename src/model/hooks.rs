//! Hooks: what one forward pass can record or change. Every analysis goes through this one mechanism.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::ancestors::AncestorTable;
use super::site::{Point, Site};
use super::write::{Write, with_slice};
use crate::error::{Error, Result};

/// A change of these rows at one site.
pub(super) struct Change {
    pub(super) rows: Vec<u32>,
    /// The head whose slice of the state changes; `None` means the whole state.
    pub(super) head: Option<usize>,
    pub(super) by: By,
}

/// What a change does.
pub(super) enum By {
    /// The rows become these, `[rows, …]`.
    Values(Tensor),
    /// Each row is written to.
    Write(Write),
}

/// What a forward pass is to record and change, and afterwards what it recorded.
///
/// Changes of one site are made in the order in which they are given, and before recording: the recorded state is the one that
/// the pass continues with.
#[derive(Default)]
pub struct Hooks {
    records: BTreeMap<Site, Option<Vec<u32>>>,
    changes: BTreeMap<Site, Vec<Change>>,
    recorded: BTreeMap<Site, Tensor>,
    differentiated: BTreeSet<Site>,
    // Zeros that are added to the state at a site, whose gradient is that of the state.
    zeros: BTreeMap<Site, Var>,
    gradients: BTreeMap<Site, Tensor>,
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

    /// Records all rows at `site` and keeps their gradient, which [`Model::gradients`](super::Model::gradients) computes.
    #[must_use]
    pub fn record_with_gradient(mut self, site: Site) -> Self {
        self.differentiated.insert(site);
        self.record(site)
    }

    /// Puts `values` (`[rows.len(), …]` as the point is shaped) in place of these rows at `site`.
    #[must_use]
    pub fn replace(self, site: Site, rows: Vec<u32>, values: Tensor) -> Self {
        self.change(site, rows, None, By::Values(values))
    }

    /// Applies `f` to the state of each of these rows at `site`. At `z` it gets the heads one after the other, at `attn_pattern`
    /// `[heads, ancestors of the row]`. No gradient flows through it.
    #[must_use]
    pub fn edit(self, site: Site, rows: Vec<u32>, f: impl Fn(&mut [f32]) + Send + Sync + 'static) -> Self {
        self.change(site, rows, None, By::Write(Write::Apply(Arc::new(f))))
    }

    /// Applies `f` to one head's slice of each of these rows at `site`: `[d_head]` of `z`, `[ancestors of the row]` of
    /// `attn_pattern`.
    #[must_use]
    pub fn edit_head(
        self,
        site: Site,
        rows: Vec<u32>,
        head: usize,
        f: impl Fn(&mut [f32]) + Send + Sync + 'static,
    ) -> Self {
        self.change(site, rows, Some(head), By::Write(Write::Apply(Arc::new(f))))
    }

    /// Adds a change.
    #[must_use]
    pub(super) fn change(mut self, site: Site, rows: Vec<u32>, head: Option<usize>, by: By) -> Self {
        self.changes.entry(site).or_default().push(Change { rows, head, by });
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

    /// The gradient with respect to the state that was recorded at `site`, of the same shape.
    ///
    /// # Errors
    /// When none was asked for there, or none was computed.
    pub fn gradient(&self, site: Site) -> Result<Tensor> {
        self.gradients.get(&site).cloned().ok_or_else(|| {
            Error::input(format!(
                "there is no gradient for {site}; Hooks::record_with_gradient asks for one, and Model::gradients computes it"
            ))
        })
    }

    /// Whether any site is to be changed.
    pub fn replaces(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether `site` is to be recorded or changed.
    pub(super) fn wants(&self, site: Site) -> bool {
        self.records.contains_key(&site) || self.changes.contains_key(&site)
    }

    /// Whether there is nothing to record or change.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.changes.is_empty()
    }

    fn sites(&self) -> impl Iterator<Item = Site> {
        self.records.keys().chain(self.changes.keys()).copied()
    }

    /// Whether any site inside a layer is wanted.
    pub(super) fn wants_block(&self) -> bool {
        self.sites().any(|site| site.point().in_block())
    }

    /// Whether any site inside this layer of this iteration is wanted.
    pub(super) fn wants_layer(&self, iteration: usize, layer: usize) -> bool {
        self.sites()
            .any(|site| site.point().in_block() && (site.iteration(), site.layer()) == (iteration, layer))
    }

    /// Whether a hook visits the state of each row before the first layer reads it, so that rows with the same
    /// embedding may differ.
    pub(super) fn visits_entry(&self) -> bool {
        let entry = Site::new(Point::ResidPre, 0, 0);
        self.wants(Site::embed()) || self.changes.contains_key(&entry)
    }

    /// Whether the states are to be read out after this iteration.
    pub(super) fn wants_readout(&self, iteration: usize) -> bool {
        self.wants(Site::new(Point::Final, iteration, 0)) || self.wants(Site::new(Point::Logits, iteration, 0))
    }

    /// The rows to record at each site; `None` means all.
    pub(super) fn records(&self) -> impl Iterator<Item = (Site, Option<&[u32]>)> {
        self.records.iter().map(|(&site, rows)| (site, rows.as_deref()))
    }

    /// The changes of each site, in the order in which they are made.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Site, &Change)> {
        let of_site = |(&site, changes): (&Site, _)| (site, changes);
        self.changes
            .iter()
            .map(of_site)
            .flat_map(|(site, changes): (_, &Vec<Change>)| changes.iter().map(move |change| (site, change)))
    }

    /// Keeps what was recorded.
    pub(super) fn keep(&mut self, recorded: Vec<(Site, Tensor)>) {
        self.recorded.extend(recorded);
    }

    /// Keeps the gradients of a backward pass; a state that the loss does not depend on has zeros.
    pub(super) fn keep_gradients(&mut self, store: &GradStore) -> Result<()> {
        for (site, zeros) in std::mem::take(&mut self.zeros) {
            let gradient = match store.get(&zeros) {
                Some(gradient) => gradient.clone(),
                None => zeros.zeros_like()?,
            };
            self.gradients.insert(site, gradient.detach());
        }
        match self
            .differentiated
            .iter()
            .find(|site| !self.gradients.contains_key(site))
        {
            Some(site) => Err(Error::input(format!(
                "there is no gradient for {site}; the pass does not reach it"
            ))),
            None => Ok(()),
        }
    }

    /// Applies the hooks of `site` to its state `x`, and returns the state that the pass continues with.
    pub(super) fn visit(&mut self, site: Site, x: Tensor) -> Result<Tensor> {
        self.visit_rows(site, x, None)
    }

    /// [`Hooks::visit`] of the attention pattern over `ancestors`, whose padding stays as it is.
    pub(super) fn visit_pattern(&mut self, site: Site, x: Tensor, ancestors: &AncestorTable) -> Result<Tensor> {
        self.visit_rows(site, x, Some(ancestors))
    }

    fn visit_rows(&mut self, site: Site, mut x: Tensor, pattern_of: Option<&AncestorTable>) -> Result<Tensor> {
        if self.is_empty() {
            return Ok(x);
        }
        let mut changes = self.changes.get(&site).map_or(&[][..], Vec::as_slice);
        while let Some(Change { rows, by, .. }) = changes.first() {
            let count = match by {
                By::Values(values) => {
                    x = replace_rows(&x, rows, values, site)?;
                    1
                }
                By::Write(_) => {
                    let is_write = |change: &&Change| matches!(change.by, By::Write(_));
                    let count = changes.iter().take_while(is_write).count();
                    x = write_rows(&x, &changes[..count], site, pattern_of)?;
                    count
                }
            };
            changes = &changes[count..];
        }
        if self.differentiated.contains(&site) {
            let zeros = Var::zeros(x.shape(), x.dtype(), x.device())?;
            let added = match pattern_of {
                None => zeros.as_tensor().clone(),
                // Padding is not a state: it has no gradient.
                Some(ancestors) => zeros.broadcast_mul(&ancestors.is_ancestor()?)?,
            };
            x = (x + added)?;
            self.zeros.insert(site, zeros);
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

// Makes writes one after the other. Exact: whatever they do not write to stays as it is, and keeps its gradient.
fn write_rows(x: &Tensor, changes: &[Change], site: Site, pattern_of: Option<&AncestorTable>) -> Result<Tensor> {
    let mut numbers: Vec<f32> = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let mut is_kept = vec![1_u8; numbers.len()];
    let (count, heads) = (x.dims()[0], x.dims()[1]);
    let width = numbers.len() / count.max(1);
    for Change { rows, head, by } in changes {
        let By::Write(write) = by else { continue };
        check_write(site, count, rows, *head, heads)?;
        for &row in rows {
            let ancestors = pattern_of.map_or(0, |of| of.count(row as usize));
            let state = row as usize * width..(row as usize + 1) * width;
            let shape = (site.point(), heads, ancestors);
            with_slice(&mut numbers[state.clone()], shape, *head, |slice| write.to(slice));
            with_slice(&mut is_kept[state], shape, *head, |slice| slice.fill(0));
        }
    }
    let written = Tensor::from_vec(numbers, x.shape(), &Device::Cpu)?
        .to_dtype(x.dtype())?
        .to_device(x.device())?;
    let is_kept = Tensor::from_vec(is_kept, x.shape(), &Device::Cpu)?.to_device(x.device())?;
    Ok(is_kept.where_cond(&x.contiguous()?, &written)?)
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
    check_rows(site, state[0], rows)?;
    Ok(wanted)
}

/// Checks a write to `rows` of the `count` rows at `site`, and to this one of `heads` heads.
///
/// # Errors
/// When a row or the head is outside the state, or the state has no heads.
pub(super) fn check_write(site: Site, count: usize, rows: &[u32], head: Option<usize>, heads: usize) -> Result<()> {
    check_rows(site, count, rows)?;
    match head {
        None => Ok(()),
        Some(head) => check_head(site, head, heads),
    }
}

fn check_rows(site: Site, count: usize, rows: &[u32]) -> Result<()> {
    match rows.iter().find(|&&row| row as usize >= count) {
        Some(row) => Err(Error::input(format!("a change of {site} names row {row} of {count}"))),
        None => Ok(()),
    }
}

/// Checks that the state at `site` has this head.
///
/// # Errors
/// When it does not.
pub(super) fn check_head(site: Site, head: usize, heads: usize) -> Result<()> {
    if !site.point().has_heads() {
        return Err(Error::input(format!(
            "an edit names head {head} at {site}; only z and attn_pattern have heads"
        )));
    }
    if head >= heads {
        return Err(Error::input(format!(
            "an edit names head {head} at {site}; allowed: 0 to {}",
            heads - 1
        )));
    }
    Ok(())
}
