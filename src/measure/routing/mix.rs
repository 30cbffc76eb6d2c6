//! Attention patterns and values of queries, to be put together anew.

use candle_core::DType;

use crate::error::Result;
use crate::measure::rows_of;
use crate::model::{Hooks, Model, Pass, Point, Sharing, Site};

/// What the heads look at from one column of a query, and what they get there, at every site.
pub(super) struct Gathered {
    layers: usize,
    heads: usize,
    // By site and head.
    patterns: Vec<Vec<f32>>,    // [ancestors]
    values: Vec<Vec<Vec<f32>>>, // [ancestors][d_head]
}

impl Gathered {
    fn index(&self, site: Site, head: usize) -> usize {
        (site.iteration() * self.layers + site.layer()) * self.heads + head
    }

    /// The number of heads.
    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    /// What a head (from 0) looks at: `[ancestors]`.
    pub(super) fn pattern(&self, site: Site, head: usize) -> &[f32] {
        &self.patterns[self.index(site, head)]
    }

    /// What each ancestor gives to a head: `[ancestors][d_head]`.
    pub(super) fn values(&self, site: Site, head: usize) -> &[Vec<f32>] {
        &self.values[self.index(site, head)]
    }

    /// What a head gathers: the values weighted by the pattern, `[d_head]`.
    pub(super) fn z(pattern: &[f32], values: &[Vec<f32>]) -> Vec<f32> {
        let mut z = vec![0.0; values.first().map_or(0, Vec::len)];
        for (weight, value) in pattern.iter().zip(values) {
            for (z, value) in z.iter_mut().zip(value) {
                *z += weight * value;
            }
        }
        z
    }
}

/// Runs queries and records what their heads look at and get at `column`.
///
/// # Errors
/// When the queries do not fit the model, or the device fails.
pub(super) fn gather(model: &Model, queries: &[&[u32]], column: usize, iterations: usize) -> Result<Vec<Gathered>> {
    let (layers, heads) = (model.config().layers, model.config().heads);
    let rows = model.pack(queries.iter().copied(), Sharing::Nothing)?;
    let read: Vec<u32> = (0..queries.len()).map(|query| rows.of_query(query)[column]).collect();
    let sites = Site::all(Point::AttnPattern, iterations, layers);
    let pre = |site: Site| Site::new(Point::ResidPre, site.iteration(), site.layer());
    let record = |hooks: Hooks, &site: &Site| hooks.record_rows(site, read.clone()).record(pre(site));
    let mut pass = Pass {
        hooks: sites.iter().fold(Hooks::none(), record),
        ..Pass::default()
    };
    model.forward(&rows, iterations, &mut pass)?;
    let empty = || Gathered {
        layers,
        heads,
        patterns: Vec::with_capacity(sites.len() * heads),
        values: Vec::with_capacity(sites.len() * heads),
    };
    let mut found: Vec<Gathered> = queries.iter().map(|_| empty()).collect();
    for &site in &sites {
        let values = model.values_of(site.layer(), &pass.hooks.recorded(pre(site))?)?;
        let values = values.to_dtype(DType::F32)?.to_vec3::<f32>()?; // [rows, heads, d_head]
        let patterns = pass.hooks.recorded(site)?.reshape((queries.len() * heads, ()))?;
        let patterns = rows_of(&patterns)?; // [queries × heads, ancestors]
        for ((query, found), &row) in found.iter_mut().enumerate().zip(&read) {
            let ancestors = rows.ancestors(row as usize);
            for head in 0..heads {
                found
                    .patterns
                    .push(patterns[query * heads + head][..ancestors.len()].to_vec());
                let of_ancestor = |&ancestor: &u32| values[ancestor as usize][head].clone();
                found.values.push(ancestors.iter().map(of_ancestor).collect());
            }
        }
    }
    Ok(found)
}
