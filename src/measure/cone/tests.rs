use candle_core::Device;

use super::*;
use crate::measure::tests::{sampling, untrained_checkpoint};
use crate::model::{Model, Weights};

fn cone(put: Put) -> Cone {
    Cone {
        sampling: sampling(Split::depth_test(3), 20, Iterations::exactly(4)),
        put,
        before: Iterations::up_to(4),
        positions: Vec::new(),
        threshold: 0.5,
    }
}

// The checkpoint with those of its weights zero whose names `is_zero` picks.
fn without(mut checkpoint: LoadedCheckpoint, is_zero: impl Fn(&str) -> bool) -> LoadedCheckpoint {
    let (config, vocab) = (checkpoint.model.config().clone(), checkpoint.model.vocab());
    let weights = Weights::init(&config, vocab, 5, &Device::Cpu).unwrap();
    let weights = weights.map(|leaf| {
        let views = leaf.views(&leaf.tensor)?.into_iter().zip(&leaf.slots);
        let slots = views.map(|(view, slot)| {
            if is_zero(&slot.name) {
                view.zeros_like()
            } else {
                Ok(view)
            }
        });
        leaf.join(&slots.collect::<candle_core::Result<Vec<_>>>()?)
    });
    checkpoint.model = Model::new(config, vocab, &weights.unwrap()).unwrap();
    checkpoint
}

// The change of each row with where it stands: whether the source can reach it, and whether it is the source.
fn each(rows: &[ConeRow], look: impl Fn(&ConeRow, bool, bool)) {
    for row in rows {
        let put_in = (row.before - 1) * 2;
        let (layer, is_there) = (row.place.effective_layer, row.position == row.put_at);
        // Through attention it takes a layer.
        let is_reached = if is_there {
            layer >= put_in
        } else {
            row.position > row.put_at && layer > put_in
        };
        look(row, is_reached, is_there && layer == put_in);
    }
}

#[test]
fn nothing_changes_before_or_at_an_earlier_position_and_what_is_reached_does() {
    for (put, injection) in [(Put::Noise, false), (Put::Query, false), (Put::Noise, true)] {
        let rows = cone(put).run(&[untrained_checkpoint(injection)]).unwrap().rows;
        // Sources: four iterations, four positions; states: nine effective layers, four positions.
        assert_eq!(rows.len(), 16 * 36);
        each(&rows, |row, is_reached, is_source| {
            if !is_reached {
                assert_eq!(
                    (row.change, row.relative, row.arrived),
                    (Some(0.0), 0.0, 0.0),
                    "{row:?}"
                );
            } else if is_source && put == Put::Noise {
                // As far as two queries are from each other, so that what is put in counts as having arrived.
                assert!((row.change.unwrap() - 1.0).abs() < 0.2 && row.arrived > 0.9, "{row:?}");
            } else {
                assert!(row.relative > 0.0, "{row:?}");
            }
        });
    }
}

#[test]
fn without_attention_a_change_stays_at_its_position() {
    let checkpoint = without(untrained_checkpoint(false), |name| name.contains("attn.c_proj"));
    let rows = cone(Put::Query).run(&[checkpoint]).unwrap().rows;
    each(&rows, |row, is_reached, _| {
        assert_eq!(row.relative > 0.0, is_reached && row.position == row.put_at, "{row:?}");
        assert_eq!((row.speed, row.slope_positions), (None, 0));
        // The answer is read at the last position.
        assert_eq!(
            row.answers_changed > 0.0,
            row.put_at == Position::Relation(3),
            "{row:?}"
        );
    });
}

#[test]
fn where_the_block_does_nothing_the_change_stays_what_was_put_in() {
    let checkpoint = without(untrained_checkpoint(false), |name| name.contains("c_proj"));
    for put in [Put::Noise, Put::Query] {
        let found = cone(put).run(std::slice::from_ref(&checkpoint)).unwrap().rows;
        each(&found, |row, is_reached, _| {
            let is_source = |other: &&ConeRow| {
                (other.before, other.put_at, other.position) == (row.before, row.put_at, row.put_at)
                    && other.place.effective_layer == (row.before - 1) * 2
            };
            let put_in = found.iter().find(is_source).unwrap().relative;
            let expected = if is_reached && row.position == row.put_at {
                put_in
            } else {
                0.0
            };
            assert!((row.relative - expected).abs() < 1e-6, "{row:?}, not {expected}");
        });
    }
}

#[test]
fn the_speed_of_training_is_of_the_curriculum_or_the_data() {
    let mut checkpoint = untrained_checkpoint(false);
    // Chains of up to four hops in training, four iterations.
    assert_eq!(trained_speed(&checkpoint), Some(1.0));
    checkpoint.info.learned_hops = Some(2);
    assert_eq!(trained_speed(&checkpoint), Some(0.5));
    checkpoint.info.learned_hops = None;
    checkpoint.info.trained_on = Some("other".to_owned());
    assert_eq!(trained_speed(&checkpoint), None);
}

#[test]
fn what_is_put_in_where_there_is_nothing_is_refused() {
    let refused = |cone: Cone, parts: [&str; 2]| {
        let error = cone.run(&[untrained_checkpoint(false)]).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let beyond = Cone {
        before: Iterations::exactly(5),
        ..cone(Put::Noise)
    };
    refused(beyond, ["--before 5", "allowed: 1 to 4"]);
    let nowhere = Cone {
        positions: vec![Position::Relation(4)],
        ..cone(Put::Noise)
    };
    refused(nowhere, ["--position r4", "allowed: head, r1, r2, r3"]);
}
