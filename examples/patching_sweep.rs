//! A patching sweep: where, and in which iteration, is the answer to a 2-hop query?
//!
//! A clean query and a corrupt one differ in their head. The state of the clean run at one (iteration, position) is put into
//! the corrupt run, and the recovery says how much of the clean answer returns: 0 for nothing, 1 for all of it
//! (Kohli et al. 2026, Appendix E). `loopscope patch` does this for whole splits, with intervals; here it is by hand.
//!
//! `cargo run --release --example patching_sweep`
#![allow(clippy::print_stdout, reason = "an example prints")]

mod tiny;

use loopscope::graph::{Position, Query};
use loopscope::measure::LoadedCheckpoint;
use loopscope::model::{Hooks, Pass, Point, Rows, Sharing, Site};
use loopscope::{Error, Result, Tensor};

pub fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::failed)?;
    let checkpoint = tiny::train(folder.path())?;
    let sweep = Sweep::new(&checkpoint)?;
    println!("{} pairs; recovery by iteration and position", sweep.clean.len());
    let positions = [Position::Head, Position::Relation(1), Position::Relation(2)];
    let names = positions.map(|position| format!("{:>6}", position.to_string()));
    println!("iteration  {}", names.concat());
    for iteration in 0..checkpoint.info.iterations {
        let site = Site::new(Point::ResidPost, iteration, 0);
        print!("{:>9}  ", iteration + 1);
        for position in positions {
            print!("{:6.2}", sweep.recovery(site, &[position])?);
        }
        println!();
    }
    Ok(())
}

/// Pairs of a clean and a corrupt query, and what both runs give unpatched.
pub struct Sweep<'a> {
    checkpoint: &'a LoadedCheckpoint,
    /// The clean queries; their corrupt partners have the same index.
    pub clean: Vec<Query>,
    corrupt: Vec<Query>,
    // Mean logit difference of the unpatched runs.
    clean_difference: f64,
    corrupt_difference: f64,
}

impl<'a> Sweep<'a> {
    /// Pairs each 2-hop chain of training with the first that has the same relations, another head and another answer.
    ///
    /// # Errors
    /// When a query does not fit the model, or the device fails.
    pub fn new(checkpoint: &'a LoadedCheckpoint) -> Result<Self> {
        let chains: Vec<&Query> = checkpoint
            .data
            .split("train")?
            .iter()
            .filter(|q| q.hops() == 2)
            .collect();
        let partner = |clean: &Query| {
            let fits = |q: &&&Query| q.tokens[1..] == clean.tokens[1..] && q.target != clean.target;
            chains.iter().find(fits).map(|&q| q.clone())
        };
        let pairs = chains
            .iter()
            .filter_map(|&clean| Some((clean.clone(), partner(clean)?)));
        let (clean, corrupt) = pairs.unzip();
        let mut sweep = Self {
            checkpoint,
            clean,
            corrupt,
            clean_difference: 0.0,
            corrupt_difference: 0.0,
        };
        sweep.clean_difference = sweep.difference(&sweep.clean, Hooks::none())?;
        sweep.corrupt_difference = sweep.difference(&sweep.corrupt, Hooks::none())?;
        Ok(sweep)
    }

    /// The recovery with the clean state at `site` restored at these positions of the corrupt queries.
    ///
    /// # Errors
    /// When a query does not fit the model, or the device fails.
    pub fn recovery(&self, site: Site, positions: &[Position]) -> Result<f64> {
        // Record the state of the clean run.
        let rows = self.pack(&self.clean)?;
        let mut pass = Pass {
            hooks: Hooks::none().record(site),
            ..Pass::default()
        };
        self.checkpoint
            .model
            .forward(&rows, self.checkpoint.info.iterations, &mut pass)?;
        let states = pass.hooks.recorded(site)?; // [rows, d_model]
        // Replace it in the corrupt run. Clean and corrupt queries have as many tokens, so their rows have the same indices.
        let at = |&position: &Position| {
            (0..rows.queries())
                .map(|query| rows.row_at(query, position))
                .collect::<Vec<u32>>()
        };
        let restored: Vec<u32> = positions.iter().flat_map(at).collect();
        let values = states.index_select(&Tensor::new(restored.as_slice(), states.device())?, 0)?;
        let patched = self.difference(&self.corrupt, Hooks::none().replace(site, restored, values))?;
        Ok((patched - self.corrupt_difference) / (self.clean_difference - self.corrupt_difference))
    }

    // The mean difference of two logits, the clean answer's and the corrupt answer's, in a run on `queries`.
    fn difference(&self, queries: &[Query], hooks: Hooks) -> Result<f64> {
        let mut pass = Pass {
            hooks,
            ..Pass::default()
        };
        let logits = self
            .checkpoint
            .model
            .forward(&self.pack(queries)?, self.checkpoint.info.iterations, &mut pass)?;
        let logits = logits.to_vec2::<f32>()?; // [queries, vocab]
        let answers = self.clean.iter().zip(&self.corrupt);
        let differences = logits.iter().zip(answers).map(|(logits, (clean, corrupt))| {
            f64::from(logits[clean.target as usize] - logits[corrupt.target as usize])
        });
        Ok(differences.sum::<f64>() / queries.len() as f64)
    }

    fn pack(&self, queries: &[Query]) -> Result<Rows> {
        let tokens = queries.iter().map(|query| &*query.tokens);
        self.checkpoint.model.pack(tokens, Sharing::Nothing)
    }
}
