//! Ablations beside whole passes with hooks, and beside runs of more and of fewer iterations.

use candle_core::{IndexOp, Tensor};

use super::super::tests::{sampling, untrained_checkpoint};
use super::*;
use crate::measure::Iterations;
use crate::model::{Hooks, Model, Pass, Point, Rows, Sharing, Site, log_softmax};

const ITERATIONS: usize = 4;

fn pass(model: &Model, rows: &Rows, iterations: usize, hooks: Hooks) -> (Tensor, Hooks) {
    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    let logits = model.forward(rows, iterations, &mut pass).unwrap();
    (logits, pass.hooks)
}

fn of_targets(population: &Population, logits: &Tensor) -> Vec<f64> {
    let of_tokens: Vec<Vec<f32>> = log_softmax(logits).unwrap().to_vec2().unwrap();
    let target = |(query, of_tokens): (&&crate::graph::Query, Vec<f32>)| f64::from(of_tokens[query.target as usize]);
    population.queries.iter().zip(of_tokens).map(target).collect()
}

fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}

// What an ablation of a head or an MLP says by a whole pass of candle's operations over the whole population.
fn reference(
    model: &Model,
    population: &Population,
    at: AblatedAt,
    columns: &[usize],
    replacement: Replacement,
    partners: &[usize],
) -> Vec<f64> {
    let config = model.config();
    let point = if at.ablated == Ablated::Head {
        Point::Z
    } else {
        Point::MlpOut
    };
    let sites: Vec<Site> = Site::all(point, ITERATIONS, config.layers)
        .into_iter()
        .filter(|site| Some(site.layer() + 1) == at.layer && at.iteration.is_none_or(|i| i == site.iteration() + 1))
        .collect();
    let tokens = population.queries.iter().map(|query| &*query.tokens);
    let rows = model.pack(tokens, Sharing::Nothing).unwrap();
    let record = sites.iter().copied().fold(Hooks::none(), Hooks::record);
    let (_, recorded) = pass(model, &rows, ITERATIONS, record);
    let mut hooks = Hooks::none();
    for &site in &sites {
        let state = recorded.recorded(site).unwrap();
        for &column in columns {
            let row = |query: usize| rows.of_query(query)[column];
            let of_query = |query: usize| -> Vec<f32> {
                let state = state.i(row(query) as usize).unwrap();
                let state = at
                    .attention_head
                    .map_or_else(|| state.clone(), |head| state.i(head - 1).unwrap());
                state.to_vec1().unwrap()
            };
            for (query, &partner) in partners.iter().enumerate() {
                let values = match replacement {
                    Replacement::Zero => vec![0.0; of_query(query).len()],
                    Replacement::Resample => of_query(partner),
                    Replacement::Mean => {
                        let all: Vec<Vec<f32>> = (0..rows.queries()).map(of_query).collect();
                        let mean = |i: usize| all.iter().map(|x| x[i]).sum::<f32>() / all.len() as f32;
                        (0..all[0].len()).map(mean).collect()
                    }
                };
                let write = move |state: &mut [f32]| state.copy_from_slice(&values);
                hooks = match at.attention_head {
                    Some(head) => hooks.edit_head(site, vec![row(query)], head - 1, write),
                    None => hooks.edit(site, vec![row(query)], write),
                };
            }
        }
    }
    of_targets(population, &pass(model, &rows, ITERATIONS, hooks).0)
}

// Calls `check` with the queries of three hops.
fn on_chains(checkpoint: &LoadedCheckpoint, check: impl Fn(&Population)) {
    let group = Group {
        data: &checkpoint.data,
        checkpoints: vec![checkpoint],
        seed: 1,
    };
    let split = Split::depth_test(3);
    let populations = group.populations(&split, Per::Hops, &mut Vec::new()).unwrap();
    check(&populations[0]);
}

#[test]
fn an_ablation_is_what_a_whole_pass_with_hooks_says() {
    let checkpoint = untrained_checkpoint(false);
    let composed = untrained_checkpoint(false).model.composed();
    on_chains(&checkpoint, |population| {
        let n = population.queries.len();
        let partners: Vec<usize> = (0..n).map(|query| (query + 3) % n).collect();
        for positions in [
            vec![(None, vec![0, 1, 2, 3])],
            vec![(Some(Position::Head), vec![0]), (Some(Position::Relation(3)), vec![3])],
        ] {
            for replacement in [Replacement::Zero, Replacement::Mean, Replacement::Resample] {
                let sweep = Sweep::of(&checkpoint, &positions, ITERATIONS);
                let (before, after) = sweep.run(population, replacement, &partners).unwrap();
                let mut moved = 0;
                for (at, after) in sweep.ablations().zip(&after).filter(|(at, _)| at.layer.is_some()) {
                    let columns = &positions
                        .iter()
                        .find(|(position, _)| *position == at.position)
                        .unwrap()
                        .1;
                    let expected = reference(&composed, population, at, columns, replacement, &partners);
                    let difference = largest_difference(&after.log_probability, &expected);
                    assert!(difference < 1e-4, "{at:?} {replacement:?}: {difference}");
                    moved += usize::from(largest_difference(&expected, &before.log_probability) > 1e-2);
                }
                // Heads and MLPs of two layers at four iterations and at every one; most of them matter.
                assert!(moved > 15, "{positions:?} {replacement:?}: {moved}");
            }
        }
    });
}

#[test]
fn an_iteration_skipped_everywhere_is_one_less_and_a_repeated_one_is_one_more() {
    for injection in [false, true] {
        let checkpoint = untrained_checkpoint(injection);
        on_chains(&checkpoint, |population| {
            let tokens = population.queries.iter().map(|query| &*query.tokens);
            let rows = checkpoint.model.pack(tokens, Sharing::Nothing).unwrap();
            let of_run = |iterations| {
                let (logits, _) = pass(&checkpoint.model, &rows, iterations, Hooks::none());
                of_targets(population, &logits)
            };
            let sweep = Sweep::of(&checkpoint, &[(None, vec![0, 1, 2, 3])], ITERATIONS);
            let (_, after) = sweep.run(population, Replacement::Zero, &[0; 100]).unwrap();
            let whole: Vec<(AblatedAt, &Outcome)> = sweep
                .ablations()
                .zip(&after)
                .filter(|(at, _)| at.layer.is_none())
                .collect();
            // Nothing is injected before the first iteration, so that it differs which one is skipped.
            let skipped = if injection { ITERATIONS } else { 1 };
            assert_eq!(whole.len(), skipped + 1);
            for (at, after) in whole {
                let is_skipped = at.ablated == Ablated::SkippedIteration;
                assert_eq!(at.iteration.is_none(), !(injection && is_skipped));
                if injection && is_skipped && at.iteration == Some(1) {
                    continue;
                }
                let expected = of_run(if is_skipped { ITERATIONS - 1 } else { ITERATIONS + 1 });
                let difference = largest_difference(&after.log_probability, &expected);
                assert!(difference < 1e-4, "{at:?}, injection {injection}: {difference}");
            }
            assert!(largest_difference(&of_run(ITERATIONS - 1), &of_run(ITERATIONS + 1)) > 1e-2);
        });
    }
}

#[test]
fn an_iteration_skipped_at_one_position_is_for_that_position_alone() {
    let checkpoint = untrained_checkpoint(false);
    on_chains(&checkpoint, |population| {
        let head = (Some(Position::Head), vec![0]);
        let sweep = Sweep::of(&checkpoint, &[head], ITERATIONS);
        let (before, after) = sweep.run(population, Replacement::Zero, &[0; 100]).unwrap();
        let skipped: Vec<&Outcome> = sweep
            .ablations()
            .zip(&after)
            .filter(|(at, _)| at.ablated == Ablated::SkippedIteration)
            .map(|(_, after)| after)
            .collect();
        let moved = |outcome: &Outcome| largest_difference(&outcome.log_probability, &before.log_probability);
        // No later iteration reads the head's state at the end of the last.
        assert!(moved(skipped[ITERATIONS - 1]) < 1e-6);
        assert!(skipped[..ITERATIONS - 1].iter().all(|outcome| moved(outcome) > 1e-3));
    });
}

#[test]
fn a_partner_is_another_query() {
    for n in [2, 3, 50] {
        let partners = partners(n, &mut Stream::new(1, "test", 0));
        assert!(
            partners
                .iter()
                .enumerate()
                .all(|(query, &partner)| partner < n && partner != query)
        );
    }
    assert_eq!(partners(1, &mut Stream::new(1, "test", 0)), [0]);
}

#[test]
fn a_position_that_chains_do_not_have_is_refused() {
    let ablate = Ablate {
        sampling: sampling(Split::depth_test(3), 10, Iterations::Trained),
        replacement: Replacement::Mean,
        positions: vec![Position::Relation(4)],
    };
    let error = ablate.run(&[untrained_checkpoint(false)]).unwrap_err().to_string();
    assert!(
        error.contains("--position r4") && error.contains("head, r1, r2, r3, readout"),
        "{error}"
    );
}

#[test]
fn a_position_that_is_named_twice_or_as_the_readout_counts_once() {
    let ablate = |positions| Ablate {
        sampling: sampling(Split::depth_test(3), 10, Iterations::Trained),
        replacement: Replacement::Mean,
        positions,
    };
    let rows = |positions| ablate(positions).run(&[untrained_checkpoint(false)]).unwrap().rows;
    let last = Position::Relation(3);
    assert_eq!(rows(vec![last, Position::Readout, last]), rows(vec![last]));
}

#[test]
fn a_table_without_a_large_loss_shows_the_largest() {
    let ablate = Ablate {
        sampling: sampling(Split::depth_test(3), 1, Iterations::Trained),
        replacement: Replacement::Mean,
        positions: Vec::new(),
    };
    let report = ablate.run(&[untrained_checkpoint(false)]).unwrap();
    assert!(report.rows.iter().all(|row| row.lost == 0.0));
    assert_eq!(report.table().unwrap().rows.len(), 1);
}
