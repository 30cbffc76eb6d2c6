//! The hidden states that a probe is fitted and tested on.

use candle_core::Tensor;
use ndarray::{Array2, Axis};

use super::split::{Partition, Sample};
use crate::error::Result;
use crate::graph::Position;
use crate::measure::{BATCH, rows_of};
use crate::model::{Hooks, Model, Pass, Sharing, Site};

/// The states of a split's samples at one place of a model, a row each: of the fit set and of each test set.
pub(super) struct States {
    pub(super) fit: Array2<f64>,
    pub(super) test: Vec<Array2<f64>>,
}

/// The states of a split's samples at `sites`, and last the embeddings of their causal prefixes' tokens, side by side.
///
/// # Errors
/// When the samples do not fit the model, or the device fails.
pub(super) fn record(
    model: &Model,
    sites: &[Site],
    iterations: usize,
    position: Position,
    partition: &Partition,
) -> Result<Vec<States>> {
    let of = |samples: &[Sample]| of_samples(model, sites, iterations, position, samples);
    let mut places: Vec<States> = of(&partition.fit)?
        .into_iter()
        .map(|fit| States { fit, test: Vec::new() })
        .collect();
    for (_, samples) in &partition.test {
        let mut tests = of(samples)?.into_iter();
        for place in &mut places {
            // Without samples the width is not known.
            let test = tests.next().filter(|test| test.nrows() > 0);
            place
                .test
                .push(test.unwrap_or_else(|| Array2::zeros((0, place.fit.ncols()))));
        }
    }
    Ok(places)
}

// The states at every site, the embeddings last, each [samples, width].
fn of_samples(
    model: &Model,
    sites: &[Site],
    iterations: usize,
    position: Position,
    samples: &[Sample],
) -> Result<Vec<Array2<f64>>> {
    let mut states: Vec<Vec<Vec<f32>>> = vec![Vec::new(); sites.len() + 1];
    for chunk in samples.chunks(BATCH) {
        let rows = model.pack(chunk.iter().map(|s| &*s.query.tokens), Sharing::Prefixes)?;
        let queries = || 0..rows.queries();
        let probed: Vec<u32> = queries().map(|query| rows.row_at(query, position)).collect();
        // The tokens of the causal prefix; a `<pad>` at which the answer is read holds nothing of its own.
        let last = |query: usize| position.index(chunk[query].query.hops());
        let prefix = queries().flat_map(|query| rows.of_query(query)[..=last(query)].iter().copied());
        let prefix: Vec<u32> = prefix.collect();
        let record = |hooks: Hooks, &site: &Site| hooks.record_rows(site, probed.clone());
        let mut pass = Pass {
            hooks: sites
                .iter()
                .fold(Hooks::none(), record)
                .record_rows(Site::embed(), prefix),
            ..Pass::default()
        };
        model.forward(&rows, iterations, &mut pass)?;
        let side_by_side = |x: Tensor| -> Result<Vec<Vec<f32>>> { rows_of(&x.reshape((chunk.len(), ()))?) };
        for (site, states) in sites.iter().chain([&Site::embed()]).zip(&mut states) {
            states.extend(side_by_side(pass.hooks.recorded(*site)?)?);
        }
    }
    Ok(states.iter().map(|rows| matrix(rows)).collect())
}

fn matrix(rows: &[Vec<f32>]) -> Array2<f64> {
    let mut x = Array2::zeros((rows.len(), rows.first().map_or(0, Vec::len)));
    for (mut to, from) in x.axis_iter_mut(Axis(0)).zip(rows) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = f64::from(from);
        }
    }
    x
}
