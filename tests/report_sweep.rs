//! `report` on a sweep: a page with seeds as the unit.

mod common;

use std::path::Path;

use common::pages::{assert_says, data, page};
use common::{SMALL_RUN, SWEEP, json, planned, prepared, run};
use serde_json::{Value, json};

// A sweep of four points in `s`, three of which are trained.
fn swept() -> tempfile::TempDir {
    let folder = prepared();
    let at = folder.path();
    let stage = "[[stages]]\nname = \"half\"\nsplit = \"train\"\naccuracy = 0.2\nhold = 1\n";
    std::fs::write(at.join("run.toml"), format!("{SMALL_RUN}{stage}")).unwrap();
    std::fs::write(at.join("sweep.toml"), SWEEP).unwrap();
    run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    run(at, &["sweep", "run", "s", "--points", "1-3"]).expect(0);
    folder
}

// The rows of a table of a page, without a picture.
fn table(shown: &Value, name: &str) -> Vec<Value> {
    let panel = &shown["results"][name]["figures"][0]["panels"][0];
    let stops = panel["stops"].as_array().unwrap().iter();
    stops.map(|stop| stop["rows"][0][2].clone()).collect()
}

#[test]
fn a_sweep_has_a_page_with_seeds_as_the_unit_and_a_way_to_each_point() {
    let folder = swept();
    let at = folder.path();
    run(at, &["sweep", "gather", "s", "--method", "lens"]).expect(0);
    let text = page(at, &["s"]);
    assert_says(
        &text,
        &[
            "NOT FINISHED: 1 of 4 points is not trained to the end",
            "3 done, 0 running, 0 failed, 1 waiting",
            "model.iterations (1, 2)",
            "Every interval on this page is 95 % over seeds",
        ],
    );
    let shown = data(&at.join("page.html"));
    let points = table(&shown, "points");
    assert_eq!(points.len(), 4);
    let plan: Value = json(&at.join("s/plan-1.json"));
    for (row, point) in points.iter().zip(plan["points"].as_array().unwrap()) {
        let command = format!("loopscope report s/{}", point["folder"].as_str().unwrap());
        assert_eq!(
            (&row[1], row.as_array().unwrap().last().unwrap()),
            (&point["name"], &json!(command))
        );
    }
    assert_eq!((&points[0][2], &points[3][2]), (&json!("done"), &json!("waiting")));
    // A line a run and one a set of values, then the threshold.
    let train = &shown["results"]["training"]["figures"][0]["panels"][0]["series"];
    let strokes: Vec<&str> = train
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line["stroke"].as_str())
        .collect();
    assert_eq!(strokes, ["thin", "thin", "thin", "bold", "bold", "dotted"]);
    for section in ["stage-times", "effects"] {
        assert!(shown["results"][section]["figures"][0]["run"].is_null(), "{section}");
    }
    // The lens over the seeds of the first set: the rows of the result.
    let lens: Value = json(&at.join("s/gathered/lens-over-seeds.json"));
    let figure = &shown["results"]["lens"]["figures"][0];
    let point = &figure["panels"][0]["series"][0]["points"][0];
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() <= 5.1e-5;
    let rows = lens["rows"].as_array().unwrap();
    assert!(
        rows.iter()
            .any(|row| near(&row["top1"], &point[1]) && row["interval"] == "over-seeds")
    );
    assert!(
        figure["conditions"].as_str().unwrap().contains("over seeds"),
        "{figure}"
    );
    run(at, &["report", "s", "s", "--out", "no.html"])
        .expect(2)
        .says(&["one sweep alone"]);
}

#[test]
fn a_sweep_that_was_not_begun_has_a_page_and_a_damaged_point_is_said_loudly() {
    let folder = planned();
    let at = folder.path();
    assert_says(
        &page(at, &["s"]),
        &[
            "NOT FINISHED: 4 of 4 points are",
            "0 done, 0 running, 0 failed, 4 waiting",
            "No evaluation has been recorded yet",
        ],
    );
    assert_eq!(table(&data(&at.join("page.html")), "points").len(), 4);
    run(at, &["sweep", "run", "s", "--point", "1"]).expect(0);
    let plan: Value = json(&at.join("s/plan-1.json"));
    let point = at.join("s").join(plan["points"][0]["folder"].as_str().unwrap());
    std::fs::write(point.join("stages.json"), "{").unwrap();
    assert_says(&page(at, &["s"]), &["FAILED: 1 point", "1 failed, 3 waiting"]);
    let points = table(&data(&at.join("page.html")), "points");
    assert!(points[0][2].as_str().unwrap().starts_with("failed: "), "{}", points[0]);
    run(at, &["report", "s", "--query", "e_5 r_1 r_9"])
        .expect(2)
        .says(&["no single queries"]);
}

#[test]
fn a_sweep_without_a_finished_point_is_not_measured_and_has_its_page() {
    let folder = planned();
    let at = folder.path();
    run(at, &["report", "s", "--measure", "--out", "page.html"])
        .expect(0)
        .says(&["no point of plan 1 is finished"]);
    assert!(at.join("page.html").is_file());
    // A name that is none is told before any other is measured.
    run(at, &["report", "s", "--measure=lens,lense"])
        .expect(2)
        .says(&["--measure=lense; allowed: eval, ", "did you mean lens?"]);
    assert!(!at.join("s/gathered").exists());
}

#[test]
fn of_results_over_seeds_that_of_the_most_runs_is_shown_and_one_that_lacks_some_says_so() {
    let folder = swept();
    let at = folder.path();
    let conditions = || {
        let shown = data_of_sweep(at);
        let text = shown["results"]["lens"]["figures"][0]["conditions"].clone();
        text.as_str().unwrap().to_owned()
    };
    run(at, &["sweep", "gather", "s", "--method", "lens"]).expect(0);
    let of_three = conditions();
    assert!(!page(at, &["s"]).contains("NOT ALL SEEDS"));
    run(at, &["sweep", "run", "s"]).expect(0);
    assert_says(
        &page(at, &["s"]),
        &[
            "NOT ALL SEEDS: ",
            "lens-over-seeds.json of lens has 1 of 2 finished runs of iterations = 2",
        ],
    );
    assert_eq!(conditions(), of_three);
    // Behind the other by its path, and of more runs.
    run(
        at,
        &["sweep", "gather", "s", "--method", "lens", "--out", "s/gathered/later"],
    )
    .expect(0);
    assert!(!page(at, &["s"]).contains("NOT ALL SEEDS"));
}

#[test]
fn verdicts_over_the_seeds_of_these_points_are_on_the_page_and_others_are_not() {
    let folder = swept();
    let at = folder.path();
    let points = table(&data_of_sweep(at), "points");
    assert_eq!(points.len(), 4);
    run(at, &["sweep", "gather", "s"]).expect(0);
    let gathered: Value = json(&at.join("s/gathered/gather.json"));
    let hash = &gathered["rows"][0]["checkpoint_hash"];
    let verdicts = |hash: &Value| {
        json!({
            "loopscope": "0.1.0", "study": "claims", "study_hash": "0123",
            "replicates": [{"experiment": "e", "seed": 1, "data": [], "checkpoints": {"looped": hash}}],
            "findings": [{
                "claim": "1a", "statement": "the model generalizes", "source": "Section 4", "experiment": "e", "confirms": "0.5 or more",
                "refutes": "below 0.1", "is_spread": false, "verdict": "confirmed", "reason": "every-seed", "confirming": 3,
                "refuting": 0, "seeds": [{"seed": 1, "values": [{"value": "infinity"}]}], "value": null, "interval": null, "p": null,
            }],
        })
    };
    let put = |verdicts: Value| {
        std::fs::create_dir_all(at.join("figures")).unwrap();
        std::fs::write(at.join("figures/verdicts.json"), verdicts.to_string()).unwrap();
    };
    put(verdicts(hash));
    assert_says(
        &page(at, &["s"]),
        &[
            "1a: the model generalizes",
            "CONFIRMED",
            "Held over seeds, not over test rows",
        ],
    );
    put(verdicts(&"another".into()));
    assert!(!page(at, &["s"]).contains("the model generalizes"));
    put(json!({}));
    assert_says(&page(at, &["s"]), &["verdicts are left out: figures"]);
}

fn data_of_sweep(at: &Path) -> Value {
    page(at, &["s"]);
    data(&at.join("page.html"))
}
