//! Sweeps end to end: a plan, its points trained, and what their seeds say together.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{SMALL_RUN, json, prepared, run};
use serde_json::Value;

const SWEEP: &str = r#"
config = "run.toml"
[seeds]
init = [1, 2, 3]
[grid]
"model.iterations" = [1, 2]
"#;

// A sweep of six points in `sweep`, the last of which was not begun.
fn trained() -> tempfile::TempDir {
    let folder = prepared();
    let at = folder.path();
    let run_file = format!("{SMALL_RUN}[[stages]]\nname = \"half\"\nsplit = \"train\"\naccuracy = 0.2\nhold = 1\n");
    std::fs::write(at.join("run.toml"), run_file).unwrap();
    std::fs::write(at.join("sweep.toml"), SWEEP).unwrap();
    run(at, &["sweep", "plan", "sweep.toml", "--out", "sweep"]).expect(0);
    run(at, &["sweep", "run", "sweep", "--points", "1-5"]).expect(0);
    folder
}

fn table(path: &Path) -> Vec<csv::StringRecord> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    reader.records().map(Result::unwrap).collect()
}

// The cells of a column.
fn column<'a>(table: &'a [csv::StringRecord], name: &str) -> Vec<&'a str> {
    let place = table[0].iter().position(|heading| heading == name);
    let place = place.unwrap_or_else(|| panic!("no column {name} in {:?}", table[0]));
    table[1..].iter().map(|row| &row[place]).collect()
}

#[test]
fn a_sweep_is_gathered_into_one_table_with_what_is_missing_and_seeds_are_the_unit() {
    let folder = trained();
    let at = folder.path();
    let ran = run(
        at,
        &[
            "sweep",
            "gather",
            "sweep",
            "--method",
            "lens",
            "--method",
            "patch --pairs 5",
        ],
    )
    .expect(0);
    let ran = ran.says(&["1 point is not begun", "1 point is not finished, and left out"]);
    let gathered = at.join("sweep/gathered");

    let rows = table(&gathered.join("gather.csv"));
    let states = column(&rows, "state");
    assert!(states.contains(&"finished") && states.contains(&"not-begun"));
    let points = column(&rows, "point");
    assert_eq!((points.first(), points.last()), (Some(&"1"), Some(&"6")));
    assert_eq!(column(&rows, "model.iterations").last(), Some(&"2"));
    // Every finished point has the time of its stage, reached or censored at its last step.
    let of_stage = rows[1..]
        .iter()
        .filter(|row| row.iter().any(|cell| cell == "stage_step"));
    assert_eq!(of_stage.count(), 5);
    let summary: Value = json(&gathered.join("gather.json"));
    let curves = summary["stages"][0]["curves"].as_array().unwrap();
    let runs: Vec<u64> = curves.iter().map(|curve| curve["runs"].as_u64().unwrap()).collect();
    assert_eq!(runs, [3, 2]);
    for row in summary["effects"].as_array().unwrap() {
        assert_eq!(
            (&row["interval"], &row["n"], &row["paired"]),
            (&"over-seeds".into(), &2.into(), &true.into())
        );
    }
    // Evaluations at the start, the early ones, and the end.
    let evaluations = table(&gathered.join("curves.csv"));
    assert!(column(&evaluations, "step").contains(&"60"));
    for figure in ["curves", "survival", "effects", "lens-over-seeds", "patch-over-seeds"] {
        for ending in ["svg", "png"] {
            assert!(
                gathered.join(format!("{figure}.{ending}")).is_file(),
                "{figure}.{ending}"
            );
        }
    }

    let lens: Value = json(&gathered.join("lens-over-seeds.json"));
    let groups: Vec<&Value> = lens["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["run"])
        .collect();
    assert_eq!(groups, ["iterations = 1", "iterations = 2"]);
    for row in lens["rows"].as_array().unwrap() {
        let n = if row["run"] == "iterations = 1" { 3 } else { 2 };
        assert_eq!(
            (&row["n"], &row["interval"]),
            (&n.into(), &"over-seeds".into()),
            "{row}"
        );
    }
    // The mean of the runs, whose rows are beside it.
    let of_runs = table(&gathered.join("lens-runs.csv"));
    let of_groups = table(&gathered.join("lens-over-seeds.csv"));
    let of_first: Vec<f64> = column(&of_runs, "name")
        .into_iter()
        .zip(column(&of_runs, "mrr"))
        .scan(String::new(), |before, (name, mrr)| {
            let is_first = *before != name;
            name.clone_into(before);
            Some((is_first, mrr))
        })
        .filter(|(is_first, _)| *is_first)
        .map(|(_, mrr)| mrr.parse().unwrap())
        .collect();
    assert_eq!(of_first.len(), 5);
    let found: f64 = column(&of_groups, "mrr")[0].parse().unwrap();
    assert!(
        (found - (of_first[0] + of_first[1] + of_first[2]) / 3.0).abs() < 1e-12,
        "{found} {of_first:?}"
    );
    for method in ["lens", "patch"] {
        let svg = std::fs::read_to_string(gathered.join(format!("{method}-over-seeds.svg"))).unwrap();
        // The text of a caption, whose lines are broken at the width of the figure in the picture.
        let text = svg.split("desc>").nth(1).unwrap();
        assert!(text.contains("bands: 95 % intervals (over seeds)"), "{method}: {text}");
        assert!(
            text.contains("3 seeds") && !text.contains("by fact"),
            "{method}: {text}"
        );
    }
    assert!(ran.out.contains("95 % intervals (over seeds)"), "{}", ran.out);
}

#[test]
fn results_that_are_there_are_taken_and_arguments_are_asked_for_again() {
    let folder = trained();
    let at = folder.path();
    run(at, &["sweep", "gather", "sweep", "--method", "lens --iterations 3"]).expect(0);
    let results = at.join("sweep/results");
    let first = results
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .join("lens.json");
    let written = std::fs::metadata(&first).unwrap().modified().unwrap();
    let iterations = |path: &Path| json::<Value>(path)["settings"]["iterations"].clone();
    let kept = iterations(&first);
    // Without arguments whatever is there is taken.
    run(at, &["sweep", "gather", "sweep", "--method", "lens"]).expect(0);
    assert_eq!(iterations(&at.join("sweep/gathered/lens-over-seeds.json")), kept);
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), written);
    run(at, &["sweep", "gather", "sweep", "--method", "lens --iterations 2"]).expect(0);
    assert_ne!(iterations(&first), kept);
}

#[test]
fn points_are_picked_by_their_values_and_gathered_into_a_folder_of_their_own() {
    let folder = trained();
    let at = folder.path();
    let of_two = ["--where", "model.iterations=2", "--method", "lens"];
    let ran = run(at, &[&["sweep", "gather", "sweep"], &of_two[..]].concat()).expect(0);
    let ran = ran.says(&["3 of 6 points: those with model.iterations=2"]);
    assert!(!ran.out.contains("iterations = 1"), "{}", ran.out);
    assert!(!at.join("sweep/gathered").exists());
    let gathered = at.join("sweep/gathered-model.iterations=2");
    for file in ["gather.csv", "curves.csv", "lens-runs.csv"] {
        let rows = table(&gathered.join(file));
        let of_points: BTreeSet<&str> = column(&rows, "model.iterations").into_iter().collect();
        assert_eq!(of_points, BTreeSet::from(["2"]), "{file}");
    }
    // Points keep their numbers.
    let points: BTreeSet<String> = column(&table(&gathered.join("gather.csv")), "point")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(points, BTreeSet::from(["4", "5", "6"].map(str::to_owned)));
    // Of one key either value: the whole plan.
    let both = ["--where", "model.iterations=2", "--where", "model.iterations=1"];
    run(at, &[&["sweep", "gather", "sweep"], &both[..]].concat())
        .expect(0)
        .says(&["6 of 6 points"]);
}

#[test]
fn what_cannot_be_gathered_is_refused_before_anything_is_written() {
    let folder = trained();
    let at = folder.path();
    let refused = |arguments: &[&str], says: &[&str]| {
        run(at, &[&["sweep", "gather", "sweep", "--out", "g"], arguments].concat())
            .expect(2)
            .says(says);
    };
    refused(&["--method", "lense"], &["lense", "patch", "did you mean lens?"]);
    refused(
        &["--where", "model.iteratons=1"],
        &[
            "the keys that vary in plan 1 are model.iterations",
            "did you mean model.iterations?",
        ],
    );
    refused(
        &["--where", "model.iterations=3"],
        &["the values of model.iterations in plan 1 are 1, 2"],
    );
    refused(&["--where", "model.iterations"], &["KEY=VALUE"]);
    refused(&["--plan", "2"], &["plan-2.json", "no such file"]);
    if !cfg!(feature = "parquet") {
        refused(&["--parquet"], &["--parquet", "--features parquet"]);
    }
    assert!(!at.join("g").exists());
    refused(&["--method", "lens --no-such-flag 1"], &["lens", "--no-such-flag"]);
    refused(&["--method", "probe"], &["no probe spec named"]);
    refused(
        &["--method", "lens other.safetensors"],
        &["other.safetensors", "points"],
    );
    run(at, &["sweep", "gather", "nowhere"])
        .expect(2)
        .says(&["is not the folder of a sweep"]);
    // Another run in the folder of a point.
    let points: Vec<_> = at
        .join("sweep/points")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let config = std::fs::read_to_string(points[0].join("config.toml")).unwrap();
    std::fs::write(
        points[0].join("config.toml"),
        config.replace("batch = 32", "batch = 33"),
    )
    .unwrap();
    run(at, &["sweep", "gather", "sweep"]).expect(1).says(&[
        "1 point failed",
        "holds another run",
        "train.batch is 33 in the run, 32 in the plan",
    ]);
}

#[cfg(feature = "parquet")]
#[test]
fn gather_writes_parquet_where_it_is_built_in() {
    let folder = trained();
    let at = folder.path();
    run(at, &["sweep", "gather", "sweep", "--parquet"]).expect(0);
    let bytes = std::fs::read(at.join("sweep/gathered/gather.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}
