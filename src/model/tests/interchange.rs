//! Sweeps of interchange interventions: as one batch of branches, they are what a whole pass for each says.

use clap::ValueEnum;

use super::*;
use crate::model::Cut;

// Chains of one length whose first tokens agree in some pairs and differ in others.
fn pairs(length: usize, seed: u64) -> Vec<[Vec<u32>; 2]> {
    let mut stream = Stream::new(seed, "test pairs", 0);
    let mut query = || -> Vec<u32> { (0..length).map(|_| 1 + stream.below(10) as u32).collect() };
    let mut all: Vec<[Vec<u32>; 2]> = (0..9).map(|_| [query(), query()]).collect();
    for (pair, [source, base]) in all.iter_mut().enumerate() {
        let same = pair % length;
        base[..same].copy_from_slice(&source[..same]);
    }
    // One whose queries are the same.
    all[8][1] = all[8][0].clone();
    all
}

fn cuts(config: &ModelConfig, points: &[Point], columns: usize) -> Vec<Cut> {
    let sites = points
        .iter()
        .flat_map(|&point| Site::all(point, config.iterations, config.layers));
    sites
        .flat_map(|site| (0..columns).map(move |column| Cut { site, column }))
        .collect()
}

#[test]
fn a_sweep_in_one_batch_is_what_a_pass_for_every_cut_says() {
    let in_loop: Vec<Point> = Point::value_variants()
        .iter()
        .copied()
        .filter(|point| point.in_block() || *point == Point::Embed)
        .collect();
    on_every_backend(|backend| {
        for (injection, readout) in [
            (false, Readout::LastToken),
            (true, Readout::LastToken),
            (false, Readout::LastColumn),
        ] {
            let config = ModelConfig {
                injection,
                readout,
                columns: (readout == Readout::LastColumn).then_some(4),
                ..tiny()
            };
            let model = untrained(&config, 7, backend);
            let pairs = pairs(3, 3);
            let pairs: Vec<[&[u32]; 2]> = pairs.iter().map(|[a, b]| [a.as_slice(), b.as_slice()]).collect();
            let columns = model.pack([pairs[0][0]], Sharing::Nothing).unwrap().len();
            // The residual stream alone, then all points in one batch.
            for points in [&[Point::Embed, Point::ResidPost][..], &in_loop] {
                let cuts = cuts(&config, points, columns);
                let found = model.interchange(&pairs, &cuts, config.iterations).unwrap();
                let reference = untrained(&config, 7, backend).composed();
                let expected = reference.interchange(&pairs, &cuts, config.iterations).unwrap();
                assert!(relative_difference(&found.source, &expected.source) < 1e-5);
                assert!(relative_difference(&found.base, &expected.base) < 1e-5);
                for (cut, (found, expected)) in cuts.iter().zip(found.patched.iter().zip(&expected.patched)) {
                    let difference = relative_difference(found, expected);
                    assert!(difference < 1e-5, "{cut:?}, injection {injection}: {difference}");
                }
                // Most cuts change something, and not all to the same.
                let changed = expected
                    .patched
                    .iter()
                    .filter(|logits| relative_difference(logits, &expected.base) > 1e-3);
                assert!(changed.count() > cuts.len() / 3);
            }
        }
    });
}

#[test]
fn what_is_no_state_of_the_loop_is_refused() {
    let config = tiny();
    let model = untrained(&config, 1, Backend::default());
    let pair: [[&[u32]; 2]; 1] = [[&[1, 3], &[2, 4]]];
    for site in [
        Site::new(Point::Logits, 0, 0),
        Site::new(Point::ResidPost, config.iterations, 0),
    ] {
        let cut = Cut { site, column: 0 };
        assert!(model.interchange(&pair, &[cut], config.iterations).is_err(), "{site}");
    }
    let unequal: [[&[u32]; 2]; 1] = [[&[1, 3], &[2]]];
    assert!(model.interchange(&unequal, &[], config.iterations).is_err());
}
