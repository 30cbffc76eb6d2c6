//! A hook of your own: what the loop loses when one iteration forgets.
//!
//! A hook records or replaces the state of any rows at any (iteration, layer). So an intervention that is not built in
//! takes a few lines: record, compute, replace. Here the output of the MLP of one iteration is replaced by its mean over all
//! queries at the same position (mean ablation), and the accuracy of the model is measured again.
//!
//! `cargo run --release --example hook_of_your_own`
#![allow(clippy::print_stdout, reason = "an example prints")]

mod tiny;

use loopscope::graph::{Position, Query};
use loopscope::model::{Hooks, Model, Pass, Point, Rows, Sharing, Site};
use loopscope::train::top1;
use loopscope::{Error, Result, Tensor};

pub fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::failed)?;
    let checkpoint = tiny::train(folder.path())?;
    let (model, iterations) = (&checkpoint.model, checkpoint.info.iterations);
    let queries = chains(checkpoint.data.split("train")?);

    println!("2-hop chains of training: {}", queries.len());
    println!(
        "no ablation               accuracy {:.3}",
        accuracy(model, &queries, iterations, None)?
    );
    for iteration in 0..iterations {
        let site = Site::new(Point::MlpOut, iteration, 0);
        let accuracy = accuracy(model, &queries, iterations, Some(site))?;
        println!("mean of mlp_out, iteration {} accuracy {accuracy:.3}", iteration + 1);
    }
    Ok(())
}

/// The 2-hop chains of a split.
pub fn chains(rows: &[Query]) -> Vec<Query> {
    rows.iter().filter(|query| query.hops() == 2).cloned().collect()
}

/// The accuracy of the model where the state at `ablated` is replaced by its mean at each position.
///
/// # Errors
/// When a query does not fit the model, or the device fails.
pub fn accuracy(model: &Model, queries: &[Query], iterations: usize, ablated: Option<Site>) -> Result<f64> {
    // Every query has rows of its own, because a row that several queries share could not be replaced for one of them.
    let rows = model.pack(queries.iter().map(|query| &*query.tokens), Sharing::Nothing)?;

    let mut hooks = Hooks::none();
    if let Some(site) = ablated {
        // First pass: record.
        let mut pass = Pass {
            hooks: Hooks::none().record(site),
            ..Pass::default()
        };
        model.forward(&rows, iterations, &mut pass)?;
        let states = pass.hooks.recorded(site)?; // [rows, d_model]
        // Second pass: replace, position by position.
        for position in Position::of_chain(2, false) {
            let (places, means) = mean_at(&rows, &states, position)?;
            hooks = hooks.replace(site, places, means);
        }
    }

    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    let logits = model.forward(&rows, iterations, &mut pass)?; // [queries, vocab]
    let answers = top1(&logits)?;
    let correct = answers
        .iter()
        .zip(queries)
        .filter(|(answer, query)| **answer == query.target);
    Ok(correct.count() as f64 / queries.len() as f64)
}

// The rows of all queries at a position, and the mean of their states, once for each row.
fn mean_at(rows: &Rows, states: &Tensor, position: Position) -> Result<(Vec<u32>, Tensor)> {
    let indices: Vec<u32> = (0..rows.queries()).map(|query| rows.row_at(query, position)).collect();
    let here = states.index_select(&Tensor::new(indices.as_slice(), states.device())?, 0)?;
    let mean = here.mean_keepdim(0)?; // [1, d_model]
    Ok((indices, mean.broadcast_as(here.shape())?.contiguous()?))
}
