use candle_core::Device;

use super::*;
use crate::graph::{Chains, Position, Split, Tails, Target};
use crate::measure::statistics::Clustering;
use crate::measure::tests::loaded;
use crate::measure::{self, Largest, Lens, LensRow, LoadedCheckpoint, Place, Probe};
use crate::model::{Model, ModelConfig, Weights};
use crate::registry::with_every_method;

// Models of two seeds, not trained, on the same chains.
fn two_seeds() -> [LoadedCheckpoint; 2] {
    let data = Chains {
        entities: 9,
        relations: 4,
        hops: 3,
        train_rows: 60,
        test_rows: 25,
        seed: 2,
        tails: Tails::Permutation,
    };
    let data = data.generate().unwrap();
    let text =
        r#"{"layers":1,"iterations":3,"d_model":16,"heads":2,"positions":"none","init":12.0,"embedding_std":1.0}"#;
    let config: ModelConfig = serde_json::from_str(text).unwrap();
    [5, 6].map(|seed| {
        let weights = Weights::init(&config, data.vocab.len(), seed, &Device::Cpu).unwrap();
        let mut loaded = loaded(
            Model::new(config.clone(), data.vocab.len(), &weights).unwrap(),
            data.clone(),
        );
        loaded.info.origin.checkpoint_hash = seed.to_string();
        loaded.info.learned_hops = Some(2);
        loaded
    })
}

fn group<M: Method>(reports: Vec<Report<M>>) -> SeedGroup<M> {
    let run = |(seed, report): (usize, Report<M>)| SeedRun {
        seed,
        checkpoint: report.checkpoints[0].clone(),
        report,
    };
    SeedGroup {
        name: "iterations = 3".to_owned(),
        runs: reports.into_iter().enumerate().map(run).collect(),
    }
}

// Every field of every row is known for what it is, and every number is the mean of those of both seeds.
fn put_together<M: Method>(settings: &M) {
    let [first, second] = two_seeds();
    let reports: Vec<Report<M>> = [first, second]
        .into_iter()
        .map(|checkpoint| settings.run(&[checkpoint]).unwrap())
        .collect();
    let measured: Vec<&str> = quantities::<M::Row>()
        .flat_map(|q| q.fields().collect::<Vec<_>>())
        .collect();
    let of_origin = fields(&reports[0].checkpoints[0].origin).unwrap();
    let first = fields(&reports[0].rows[0]).unwrap();
    for field in &measured {
        assert!(first.contains_key(*field), "{}: no field {field}", M::NAME);
    }
    for field in M::Row::ALONG {
        assert!(first.contains_key(*field), "{}: no field {field}", M::NAME);
    }
    for row in reports.iter().flat_map(|report| &report.rows) {
        for (field, value) in fields(row).unwrap() {
            let known = measured.contains(&field.as_str()) || of_origin.contains_key(&field);
            assert!(
                known || !value.is_f64(),
                "{}: {field} is a number and no quantity",
                M::NAME
            );
        }
    }
    let group = group(reports);
    let summary = group.summary();
    let table = Table::new(&group, &summary.origin).unwrap();
    let repeated = table.keys.iter().find(|key| !key.ends_with("#1"));
    assert_eq!(repeated, None, "{}: no field tells these rows apart", M::NAME);

    let found = over_seeds(std::slice::from_ref(&group), 1).unwrap();
    let whole = (0..table.keys.len()).filter(|&index| distinct_seeds(&table.cells(index)) == 2);
    assert_eq!(found.rows.len(), whole.count(), "{}", M::NAME);
    assert!(
        found.intervals().contains("over seeds"),
        "{}: {}",
        M::NAME,
        found.intervals()
    );
    let places: HashMap<&str, usize> = table
        .keys
        .iter()
        .enumerate()
        .map(|(i, key)| (key.as_str(), i))
        .collect();
    let only = Table::new(
        &self::group(vec![Report {
            checkpoints: vec![summary.clone()],
            ..found.clone()
        }]),
        &summary.origin,
    )
    .unwrap();
    for (index, key) in only.keys.iter().enumerate() {
        let row = only.cells(index)[0].1;
        let cells = table.cells(places[key.as_str()]);
        assert_eq!(row["interval"], "over-seeds");
        for quantity in quantities::<M::Row>() {
            let value = &row[quantity.field];
            let of_runs: Vec<f64> = cells
                .iter()
                .filter_map(|(_, row)| row[quantity.field].as_f64())
                .collect();
            match quantity.kind {
                QuantityKind::Sample => assert_eq!(*value, 2, "{}", M::NAME),
                QuantityKind::OfRow | QuantityKind::Share if value.is_f64() => {
                    let expected = f64::midpoint(of_runs[0], of_runs[1]);
                    let value = value.as_f64().unwrap();
                    assert!(
                        (value - expected).abs() < 1e-9 * expected.abs().max(1.0),
                        "{} {}",
                        M::NAME,
                        quantity.field
                    );
                }
                _ => {}
            }
        }
    }
}

macro_rules! test_every_method {
    ($($module:ident::$Method:ident,)*) => {
        #[test]
        fn rows_of_every_method_are_put_together_by_what_their_fields_are() {
            $(put_together(&measure::$Method::defaults_for_test());)*
        }
    };
}

trait ForTest {
    fn defaults_for_test() -> Self;
}

impl<M: Method> ForTest for M {
    // Those of the command line; a probe needs a spec.
    fn defaults_for_test() -> Self {
        let mut settings = serde_json::to_value(Self::defaults().unwrap()).unwrap();
        if Self::NAME == Probe::NAME {
            let spec = r#"{"name":"bridge","title":"bridge","label":"bridge","positions":["r1"],"test":["2hop_test"]}"#;
            settings["specs"] = serde_json::from_str(&format!("[{spec}]")).unwrap();
        }
        serde_json::from_value(settings).unwrap()
    }
}

with_every_method!(test_every_method);

fn origin() -> Origin {
    two_seeds()[0].info.origin.clone()
}

fn row(layer: usize, top1: f64, is_max: bool) -> LensRow {
    LensRow {
        origin: origin(),
        split: Split::ood(),
        hops: 2,
        label: Target::Bridge,
        position: Position::Relation(1),
        place: Place::after(layer, 1),
        n: 100,
        top1,
        low: top1 - 0.1,
        high: top1 + 0.1,
        interval: Clustering::Facts,
        largest: Largest {
            is_max,
            max_low: None,
            max_high: None,
        },
        mrr: top1,
        probability: top1,
    }
}

fn lens(rows: Vec<LensRow>) -> Report<Lens> {
    let [checkpoint, _] = two_seeds();
    let summary = checkpoint.info;
    let settings = Lens {
        splits: Vec::new(),
        iterations: measure::Iterations::Trained,
        seed: 1,
    };
    Report::made_up(settings, vec![summary], rows)
}

fn together(runs: Vec<Vec<LensRow>>) -> Report<Lens> {
    over_seeds(&[group(runs.into_iter().map(lens).collect())], 1).unwrap()
}

#[test]
fn the_interval_is_student_s_over_seeds_whatever_those_over_facts_were_and_a_share_stays_one() {
    let found = together(vec![
        vec![row(0, 0.2, true)],
        vec![row(0, 0.4, true)],
        vec![row(0, 0.6, true)],
    ]);
    let [row] = found.rows.as_slice() else {
        panic!("{:?}", found.rows);
    };
    // 0.4 ± 4.302653 × 0.2 / √3, cut at 0.
    assert!(
        (row.top1 - 0.4).abs() < 1e-12 && row.low == 0.0 && (row.high - 0.896_83).abs() < 1e-5,
        "{row:?}"
    );
    assert_eq!((row.n, row.interval), (3, Clustering::OverSeeds));
    assert_eq!(row.origin.run, "iterations = 3");
    assert_eq!(found.checkpoints[0].members.len(), 3);
}

#[test]
fn rows_that_some_seeds_lack_are_of_fewer_seeds_and_the_notes_say_so() {
    let found = together(vec![
        vec![row(0, 0.2, false), row(1, 0.3, true)],
        vec![row(0, 0.4, false), row(1, 0.5, false), row(2, 0.6, true)],
        vec![row(0, 0.6, true), row(2, 0.8, false), row(3, 0.1, false)],
    ]);
    let told: Vec<(usize, usize)> = found
        .rows
        .iter()
        .map(|row| (row.place.effective_layer, row.n))
        .collect();
    assert_eq!(told, [(0, 3), (1, 2), (2, 2)]);
    let note = "iterations = 3: 3 seeds; 2 rows of 2 seeds; 1 row of 1 seed, left out";
    assert!(found.notes.iter().any(|other| other == note), "{:?}", found.notes);
}

#[test]
fn the_largest_of_a_line_is_where_most_seeds_have_it() {
    let line = |max: usize| (0..3).map(|layer| row(layer, 0.1, layer == max)).collect::<Vec<_>>();
    let found = together(vec![line(2), line(1), line(2)]);
    let largest: Vec<bool> = found.rows.iter().map(|row| row.largest.is_max).collect();
    assert_eq!(largest, [false, false, true]);
    // Of equals the first.
    let found = together(vec![line(2), line(1)]);
    assert!(found.rows[1].largest.is_max && !found.rows[2].largest.is_max);
}

#[test]
fn several_runs_of_one_seed_count_as_one() {
    let mut group = group([0.2, 0.4, 0.9].map(|top1| lens(vec![row(0, top1, true)])).into());
    group.runs[1].seed = 0;
    let found = over_seeds(&[group], 1).unwrap();
    assert_eq!(found.rows[0].n, 2);
    assert!((found.rows[0].top1 - 0.6).abs() < 1e-12);
}

#[test]
fn the_order_of_rows_is_kept_where_seeds_have_different_ones() {
    let text = |order: &[&str]| order.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
    let keys = merged(&[
        text(&["a", "c", "e"]),
        text(&["a", "b", "c", "f"]),
        text(&["z", "e", "g"]),
    ]);
    assert_eq!(keys, ["z", "a", "b", "c", "f", "e", "g"]);
}
