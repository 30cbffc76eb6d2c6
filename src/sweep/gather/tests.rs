use std::collections::BTreeMap;
use std::path::PathBuf;

use super::seeds::SeedNumbers;
use super::*;
use crate::model::ModelConfig;
use crate::sweep::point::{PointData, PointSeeds};
use crate::train::{LoopConfig, RunConfig};

// A plan of points with these values of `model.iterations` and seeds (data, init, order).
fn plan(points: &[(&str, [u64; 3])]) -> Plan {
    let point = |(i, (value, [data, init, order])): (usize, &(&str, [u64; 3]))| Point {
        number: i + 1,
        name: format!("point-{}", i + 1),
        folder: PathBuf::from(format!("points/point-{}", i + 1)),
        hash: format!("{i:016}"),
        values: BTreeMap::from([("model.iterations".to_owned(), toml::Value::String((*value).to_owned()))]),
        seeds: PointSeeds {
            data: Some(*data),
            init: *init,
            order: *order,
        },
        data: PointData {
            folder: PathBuf::from("data"),
            hash: "0".to_owned(),
        },
        config: RunConfig::new("data", ModelConfig::new(1, 2, 16, 2), LoopConfig::of_steps(10)),
    };
    Plan {
        number: 1,
        hash: "0123456789abcdef".to_owned(),
        loopscope: "0".to_owned(),
        points: points.iter().enumerate().map(point).collect(),
    }
}

#[test]
fn seeds_that_move_together_are_one_seed_and_the_same_under_every_value() {
    let plan = plan(&[("1", [1, 1, 1]), ("1", [2, 2, 2]), ("2", [1, 1, 1]), ("2", [2, 2, 2])]);
    let (seeds, notes) = SeedNumbers::of(&plan);
    assert_eq!((seeds.of_each, notes.len()), (vec![0, 1, 0, 1], 0));
    // One kind alone.
    let plan = self::plan(&[("1", [1, 1, 7]), ("1", [1, 2, 7]), ("1", [1, 3, 7])]);
    assert_eq!(SeedNumbers::of(&plan).0.of_each, [0, 1, 2]);
}

#[test]
fn of_crossed_seeds_the_kind_with_the_fewest_is_the_unit() {
    let seeds: Vec<(&str, [u64; 3])> = (1..=2)
        .flat_map(|data| (1..=3).map(move |init| ("1", [data, init, 1])))
        .collect();
    let (numbers, notes) = SeedNumbers::of(&plan(&seeds));
    assert_eq!(numbers.of_each, [0, 0, 0, 1, 1, 1]);
    assert!(notes[0].contains("the unit is the data seed (2)"), "{notes:?}");
}

#[test]
fn points_that_were_not_begun_are_in_the_table_and_counted() {
    let plan = plan(&[("1", [1, 1, 1]), ("2", [1, 1, 1])]);
    let folder = tempfile::tempdir().unwrap();
    let gathered = Gathered::read(&SweepData::new(folder.path()), &plan, 1);
    assert_eq!(gathered.rows.len(), 2);
    let row = &gathered.rows[1];
    assert_eq!(
        (row.key.state, row.number.metric.as_str(), row.number.value),
        (PointState::NotBegun, "steps", Some(0.0))
    );
    assert_eq!(row.key.values["model.iterations"], "2");
    assert!(
        gathered.notes[0].starts_with("2 points are not begun"),
        "{:?}",
        gathered.notes
    );
    assert!(gathered.figures(true).is_empty());
}

#[test]
fn points_are_picked_by_the_values_of_the_keys_that_vary() {
    let mut plan = plan(&[("1", [1, 1, 1]), ("2", [1, 1, 1]), ("4", [1, 1, 1])]);
    for (point, batch) in plan.points.iter_mut().zip([8, 8, 16]) {
        point
            .values
            .insert("train.batch".to_owned(), toml::Value::Integer(batch));
    }
    let picked = |wanted: &[&str]| {
        let wanted: Vec<Where> = wanted.iter().map(|text| text.parse().unwrap()).collect();
        let picked = select(&plan, &wanted);
        picked.map(|plan| plan.points.iter().map(|point| point.number).collect::<Vec<_>>())
    };
    assert_eq!(picked(&[]).unwrap(), [1, 2, 3]);
    assert_eq!(picked(&["train.batch=8"]).unwrap(), [1, 2]);
    assert_eq!(picked(&["train.batch=8", " model.iterations = 2"]).unwrap(), [2]);
    assert_eq!(picked(&["model.iterations=1", "model.iterations=4"]).unwrap(), [1, 3]);
    for (wanted, says) in [
        (
            &["train.bach=8"][..],
            "--where train.bach=8: the keys that vary in plan 1 are model.iterations, train.batch; did you mean train.batch?",
        ),
        (&["train.batch=32"], "the values of train.batch in plan 1 are 16, 8"),
        (
            &["train.batch=16", "model.iterations=1"],
            "--where train.batch=16 --where model.iterations=1: no point of plan 1 has all of these values",
        ),
    ] {
        let error = picked(wanted).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    for wrong in ["train.batch", "=8", ""] {
        assert!(wrong.parse::<Where>().is_err(), "{wrong}");
    }
    plan.points.iter_mut().for_each(|point| point.values.clear());
    let error = select(&plan, &["a=1".parse().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("no key varies in plan 1"), "{error}");
}

#[test]
fn a_set_of_values_is_named_by_the_last_parts_of_its_keys_where_these_tell_them_apart() {
    let mut plan = plan(&[("1", [1, 1, 1])]);
    assert_eq!(title(&plan, &plan.points[0]), "iterations = 1");
    plan.points[0]
        .values
        .insert("train.iterations".to_owned(), toml::Value::Integer(4));
    assert_eq!(
        title(&plan, &plan.points[0]),
        "model.iterations = 1, train.iterations = 4"
    );
    plan.points[0].values.clear();
    assert_eq!(title(&plan, &plan.points[0]), "all runs");
}
