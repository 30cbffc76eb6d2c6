//! Paths of a model whose circuit is known, and paths that are refused.

use candle_core::{Device, Tensor};

use super::super::tests::loaded;
use super::*;
use crate::graph::{Dataset, Graph, Query, Vocab};
use crate::measure::Iterations;
use crate::model::{Model, ModelConfig, Weights};

// Entities and relations of a world in which every relation leads from an entity to the next: the answer of two hops is the one
// after the next.
const ENTITIES: usize = 6;
const RELATIONS: usize = 2;

fn world() -> Dataset {
    let entity = |i: usize| 1 + (i % ENTITIES) as u32;
    let relation = |j: usize| 1 + (ENTITIES + j) as u32;
    let mut graph = Graph::default();
    for (i, j) in (0..ENTITIES).flat_map(|i| (0..RELATIONS).map(move |j| (i, j))) {
        graph.insert(entity(i), relation(j), entity(i + 1));
    }
    let query = |n: usize| {
        let (i, j, k) = (n / 4, n / 2 % 2, n % 2);
        Query::new(&[entity(i), relation(j), relation(k)], entity(i + 2), &graph)
    };
    let rows = (0..4 * ENTITIES).map(query).collect();
    Dataset {
        vocab: Vocab::of_graph(ENTITIES, RELATIONS),
        graph,
        splits: vec![("chains".into(), rows)],
        hash: String::new(),
    }
}

// Both heads attend to all positions alike. Head 1 moves the entity from a subspace in which it is embedded to a second one, head 2 from
// there to a third, which the output matrix reads: the answer takes head 1 in iteration 1, then head 2 in iteration 2.
fn two_hops() -> LoadedCheckpoint {
    let data = world();
    let text = r#"{"layers":1,"iterations":2,"d_model":18,"heads":2,"positions":"none","init":"zero","tied":false}"#;
    let config: ModelConfig = serde_json::from_str(text).unwrap();
    let (vocab, d, d_head) = (data.vocab.len(), config.d_model, config.d_model / 2);
    let init = Weights::init(&config, vocab, 1, &Device::Cpu).unwrap();
    let weights = Weights::gather(&config, vocab, |name| {
        let initial = init.get(name)?;
        let ones: Vec<(usize, usize)> = match name {
            "token_embedding.weight" => (0..ENTITIES).map(|i| (1 + i, i)).collect(),
            "lm_head.weight" => (0..ENTITIES)
                .map(|i| (1 + (i + 2) % ENTITIES, 2 * ENTITIES + i))
                .collect(),
            "blocks.0.attn.c_attn.weight" => (0..ENTITIES)
                .flat_map(|i| [(i, 2 * d + i), (ENTITIES + i, 2 * d + d_head + i)])
                .collect(),
            "blocks.0.attn.c_proj.weight" => (0..ENTITIES)
                .flat_map(|i| [(i, ENTITIES + i), (d_head + i, 2 * ENTITIES + i)])
                .collect(),
            _ => return Ok(Some(initial)),
        };
        let (rows, columns) = initial.dims2()?;
        let mut matrix = vec![0.0_f32; rows * columns];
        for (row, column) in ones {
            matrix[row * columns + column] = 1.0;
        }
        Ok(Some(Tensor::from_vec(matrix, (rows, columns), &Device::Cpu)?))
    })
    .unwrap();
    loaded(Model::new(config, vocab, &weights).unwrap(), data)
}

fn settings(from: &[&str], to: &str) -> PathPatching {
    PathPatching {
        pairing: Pairing {
            splits: vec!["chains".into()],
            corrupt: Corrupt::Head,
            direction: Direction::Denoise,
            pairs: 100,
            correct_only: true,
            iterations: Iterations::Trained,
            seed: 1,
        },
        from: from.iter().map(|sender| sender.parse().unwrap()).collect(),
        to: vec![to.parse().unwrap()],
        positions: Vec::new(),
        each_destination: false,
    }
}

#[test]
fn the_one_path_that_carries_the_answer_is_found() {
    let checkpoints = [two_hops()];
    let name = |row: &PathRow| {
        let senders = Sender::all(checkpoints[0].model.config(), 2).into_iter();
        let is_of_row = |sender: &Sender| sender.component(1) == row.path.sender;
        senders
            .filter(is_of_row)
            .map(|sender| sender.to_string())
            .collect::<String>()
    };
    for (to, carries) in [("logits", "2.1.2"), ("2.1.2.v", "1.1.1"), ("1.1.1.v", "embedding")] {
        let report = settings(&[], to).run(&checkpoints).unwrap();
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        let mut found = 0.0;
        for row in &report.rows {
            let recovery = row.effect.recovery.unwrap();
            // What heads read at a reader before the readout is written there, and is read from there an iteration later.
            let is_on_path = name(row) == carries;
            if is_on_path {
                found += recovery;
            } else {
                // What is read by nothing can change the scale of the final layer norm.
                assert!(recovery.abs() < 0.02, "{} → {to}: {recovery}", name(row));
            }
        }
        // By several positions, each by itself: their sum is a little less than all. From the embedding by one, and a little more: head
        // 1 writes the base's entity in iteration 2 beside the source's of iteration 1, not one entity twice, which makes the scale of
        // the final layer norm smaller.
        assert!(found > 0.7 && found < 1.05, "{to}: {found}");
    }
    let logits = settings(&["2.1.2"], "logits").run(&checkpoints).unwrap();
    assert!((logits.rows[0].effect.recovery.unwrap() - 1.0).abs() < 1e-5);
    // Patterns are always the same, so that no query or key carries anything.
    for to in ["2.1.2.q", "2.1.2.k"] {
        let report = settings(&[], to).run(&checkpoints).unwrap();
        assert!(
            report.rows.iter().all(|row| row.effect.recovery.unwrap().abs() < 1e-5),
            "{to}"
        );
    }
}

#[test]
fn receivers_joined_and_destinations_together_are_what_they_are_alone_where_one_matters() {
    let checkpoints = [two_hops()];
    let recoveries = |to: &str, each_destination: bool| -> Vec<(Position, Option<Position>, f64)> {
        let settings = PathPatching {
            each_destination,
            ..settings(&["1.1.1"], to)
        };
        let rows = settings.run(&checkpoints).unwrap().rows;
        rows.iter()
            .map(|row| {
                let path = &row.path;
                (
                    path.source_position,
                    path.destination_position,
                    row.effect.recovery.unwrap(),
                )
            })
            .collect()
    };
    let value = recoveries("2.1.2.v", false);
    // Of three positions that are attended to, all destinations together but where there is one.
    let last = Position::Relation(2);
    let destinations: Vec<_> = value
        .iter()
        .map(|(source, destination, _)| (*source, *destination))
        .collect();
    assert_eq!(
        destinations,
        [
            (Position::Head, None),
            (Position::Relation(1), None),
            (last, Some(last))
        ]
    );
    let each = recoveries("2.1.2.v", true);
    assert_eq!(each.len(), (1 + 3) + (1 + 2) + 1);
    for (source, destination, recovery) in &each {
        // After the last iteration, the readout alone is read.
        let (_, _, together) = value.iter().find(|(of, _, _)| of == source).unwrap();
        let expected = match destination {
            Some(destination) if *destination != last => 0.0,
            _ => *together,
        };
        assert!(
            (recovery - expected).abs() < 1e-5,
            "{source} {destination:?}: {recovery}"
        );
    }
    // Patterns are always the same and the MLP does nothing, so that what is joined adds nothing.
    for joined in ["2.1.2.v+2.1.2.q", "2.1.2.k+2.1.2.v", "2.1.mlp+2.1.2.v"] {
        for ((_, _, alone), (_, _, joined_recovery)) in value.iter().zip(recoveries(joined, false)) {
            assert!((alone - joined_recovery).abs() < 1e-5, "{joined}: {joined_recovery}");
        }
    }
}

#[test]
fn what_is_named_twice_counts_once_and_receivers_that_read_nowhere_are_noted() {
    let checkpoints = [two_hops()];
    let run = |to: &[&str], positions: &[Position]| {
        let settings = PathPatching {
            to: to.iter().map(|to| to.parse().unwrap()).collect(),
            positions: positions.to_vec(),
            ..settings(&["1.1.1"], "logits")
        };
        settings.run(&checkpoints).unwrap()
    };
    let (last, readout) = (Position::Relation(2), Position::Readout);
    let once = run(&["logits", "2.1.mlp"], &[last]);
    assert_eq!(once.rows.len(), 2);
    assert_eq!(
        run(&["logits", "2.1.mlp", "logits"], &[last, readout, last]).rows,
        once.rows
    );
    let noted = run(&["logits", "2.1.mlp"], &[Position::Head]);
    assert_eq!(noted.rows.len(), 1);
    assert_eq!(
        noted.notes,
        ["split chains: logits of --to reads at no position of --position; left out"]
    );
}

#[test]
fn a_table_without_a_large_effect_shows_the_largest() {
    let report = settings(&["2.1.1"], "logits").run(&[two_hops()]).unwrap();
    assert!(report.rows.iter().all(|row| row.effect.recovery.unwrap().abs() < 0.02));
    assert_eq!(report.table().unwrap().rows.len(), 1);
}

#[test]
fn a_path_that_goes_back_is_refused() {
    let checkpoints = [two_hops()];
    let refused = |from: &[&str], to: &str| settings(from, to).run(&checkpoints).unwrap_err().to_string();
    let back = refused(&["1.1.1", "2.1.1"], "2.1.1.q");
    assert!(
        back.contains("--from 2.1.1 --to 2.1.1.q: the receiver reads before"),
        "{back}"
    );
    assert!(refused(&["1.1.mlp"], "2.1.1.v+1.1.1.v").contains("--to 1.1.1.v+2.1.1.v: the receiver reads before"));
    assert!(refused(&[], "3.1.mlp").contains("iteration 3; allowed: 1 to 2"));
    assert!(refused(&["1.1.3"], "logits").contains("head 3; allowed: 1 to 2"));
    assert!(refused(&["2.injection"], "logits").contains("no input injection"));
    let unread = PathPatching {
        positions: vec![Position::Head],
        ..settings(&[], "logits")
    };
    assert!(
        unread
            .run(&checkpoints)
            .unwrap_err()
            .to_string()
            .contains("no receiver of --to")
    );
}
