//! A probe of your own: does the state at r2 still know r1?
//!
//! A probe is a specification, in a TOML file or, as here, as a value: which label, from which hook point, at which
//! positions, fitted and tested on which splits. The fit, the split into facts, the controls and the baselines are the
//! library's, so that the numbers of two probes can be compared.
//!
//! `cargo run --release --example probe_of_your_own`
#![allow(clippy::print_stdout, reason = "an example prints")]

mod tiny;

use std::path::Path;

use loopscope::graph::{Position, Split, Target};
use loopscope::measure::{ClassifierKind, Iterations, Method, Probe, ProbeRow, ProbeSpec, SplitBy};
use loopscope::model::Point;
use loopscope::{Error, Result};

pub fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::failed)?;
    println!("layer  accuracy  95 % interval  control task  embeddings  untrained  (of the first relation, at r2)");
    for row in probe(folder.path())? {
        println!(
            "{:>5}  {:.3}     {:.3}–{:.3}    {:.3}         {:.3}       {:.3}",
            row.place.effective_layer, row.accuracy, row.low, row.high, row.control, row.embeddings, row.untrained
        );
    }
    Ok(())
}

/// Fits the probe; gives a row for each effective layer, from 1.
///
/// # Errors
/// When the device fails, or files cannot be written.
pub fn probe(folder: &Path) -> Result<Vec<ProbeRow>> {
    let checkpoint = tiny::train(folder)?;
    let spec = ProbeSpec {
        name: "relation1-at-r2".to_owned(),
        title: "First relation at r2".to_owned(),
        label: Target::Relation(1),
        hops: 2,
        site: Point::ResidPost,
        positions: vec![Position::Relation(2)],
        iterations: None,
        layers: None,
        fit: Split::train(),
        test: vec![Split::train()],
        // Fit and test set share no causal prefix (head, r1, r2). A relation is a token, which no fact yields.
        split: SplitBy::Prefixes,
        held_out: 0.3,
        classifier: ClassifierKind::Logistic,
        penalty: None,
        max_prefixes: 4000,
    };
    let probe = Probe {
        specs: vec![spec],
        seed: 1,
        iterations: Iterations::Trained,
    };
    // The result is what `loopscope probe` writes to CSV and JSON: rows with the checkpoint, the place and the numbers.
    let report = probe.run(&[checkpoint])?;
    Ok(report.rows)
}
