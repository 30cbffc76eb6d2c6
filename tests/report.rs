//! `report`: one page of runs, whose numbers are those of the results that it is made of; and methods over training.

mod common;

use std::path::Path;

use common::{SMALL_RUN, json, prepared, run};
use serde_json::Value;

// A looped run and a vanilla one on the same data, trained for some steps.
fn trained() -> tempfile::TempDir {
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("looped.toml"), SMALL_RUN).unwrap();
    std::fs::write(
        at.join("vanilla.toml"),
        SMALL_RUN.replace("iterations = 2", "iterations = 1"),
    )
    .unwrap();
    for name in ["looped", "vanilla"] {
        let config = format!("{name}.toml");
        run(at, &["train", &config, "--out", name]).expect(0);
    }
    folder
}

// The data block of a page.
fn data(page: &Path) -> Value {
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text
        .split_once(r#"<script type="application/json" id="data">"#)
        .unwrap();
    let (block, _) = rest.split_once("</script>").unwrap();
    assert!(!block.contains('<'), "nothing in the data can end its block");
    serde_json::from_str(block).unwrap()
}

#[test]
fn a_page_has_the_numbers_of_the_results_of_both_runs() {
    let folder = trained();
    let at = folder.path();
    run(at, &["lens", "looped", "vanilla", "--out", "figures/lens"]).expect(0);
    run(
        at,
        &["report", "looped", "vanilla", "--out", "page.html", "--queries", "6"],
    )
    .expect(0);
    let data = data(&at.join("page.html"));
    let names: Vec<&str> = data["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|run| run["name"].as_str())
        .collect();
    assert_eq!(names, ["looped", "vanilla"]);
    let lens: Value = json(&at.join("figures/lens/lens.json"));
    // Every number of the first panel is a row of the result.
    for figure in data["results"]["lens"]["figures"].as_array().unwrap() {
        let run = names[figure["run"].as_u64().unwrap() as usize];
        let series = figure["panels"][0]["series"].as_array().unwrap();
        for point in series.iter().flat_map(|line| line["points"].as_array().unwrap()) {
            let is_row = |row: &&Value| {
                let near =
                    |field: &str, i: usize| (row[field].as_f64().unwrap() - point[i].as_f64().unwrap()).abs() <= 5.1e-5;
                row["run"] == run && near("effective_layer", 0) && near("top1", 1) && near("low", 2) && near("high", 3)
            };
            assert!(
                lens["rows"].as_array().unwrap().iter().any(|row| is_row(&row)),
                "{run}: {point}"
            );
        }
    }
    let queries = data["queries"]["list"].as_array().unwrap();
    assert_eq!(queries.len(), 6);
    let views = data["queries"]["views"].as_array().unwrap();
    let checkpoints: usize = data["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["checkpoints"].as_array().unwrap().len())
        .sum();
    assert_eq!(views.len(), 6 * checkpoints);
    let view = views.iter().find(|view| view["run"] == 0).unwrap();
    // [position][effective layer]: head, r1, r2; the embedding, then twice the training iterations.
    assert_eq!(view["lens"].as_array().unwrap().len(), 3);
    let layers = view["layers"].as_u64().unwrap() * view["iterations"].as_u64().unwrap();
    assert_eq!(view["lens"][0].as_array().unwrap().len() as u64, layers + 1);
    let heads = view["heads"].as_u64().unwrap() as usize;
    for row in view["attention"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|layer| layer.as_array().unwrap())
    {
        // Of each head, in thousandths, and nothing above the diagonal.
        let weights: u64 = row.as_array().unwrap().iter().filter_map(Value::as_u64).sum();
        assert!(weights.abs_diff(1000 * heads as u64) <= 2 * heads as u64, "{row}");
    }
}

#[test]
fn a_page_of_the_same_runs_is_the_same_and_says_what_is_missing() {
    let folder = trained();
    let at = folder.path();
    run(at, &["report", "looped", "--out", "a.html"]).expect(0);
    run(at, &["report", "looped", "--out", "b.html"]).expect(0);
    let text = |name: &str| std::fs::read_to_string(at.join(name)).unwrap().replace(name, "");
    assert_eq!(text("a.html"), text("b.html"));
    assert!(
        text("a.html").contains("--measure measures them"),
        "the command that makes what is missing"
    );
    run(at, &["report", "looped", "--measure", "--out", "c.html"]).expect(0);
    assert_eq!(methods(&at.join("c.html")), ["training", "eval", "lens", "patch"]);
}

// The methods that a page has pictures of, and the curves.
fn methods(page: &Path) -> Vec<String> {
    data(page)["results"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_query_that_is_asked_for_is_there_and_bad_ones_are_refused() {
    let folder = trained();
    let at = folder.path();
    run(at, &["report", "looped", "--out", "page.html", "--query", "nonsense"])
        .expect(2)
        .says(&["--query \"nonsense\"", "e_5 r_1 r_9"]);
    run(at, &["report", "looped", "--out", "page.html", "--measure=nope"])
        .expect(2)
        .says(&["--measure nope; allowed: eval, "]);
    run(
        at,
        &["report", "looped/final.safetensors", "nowhere", "--out", "page.html"],
    )
    .expect(2)
    .says(&["nowhere"]);
    assert!(!at.join("page.html").exists());
}

#[test]
fn a_result_of_another_version_is_left_out_and_said_so() {
    let folder = trained();
    let at = folder.path();
    run(at, &["lens", "looped", "--out", "figures/lens"]).expect(0);
    let path = at.join("figures/lens/lens.json");
    let mut old: Value = json(&path);
    old["format"] = 1.into();
    std::fs::write(&path, old.to_string()).unwrap();
    run(at, &["report", "looped", "--out", "page.html"]).expect(0);
    let text = std::fs::read_to_string(at.join("page.html")).unwrap();
    assert!(text.contains("of another version"));
    assert_eq!(methods(&at.join("page.html")), ["training"]);
}

#[test]
fn claims_that_cannot_be_read_are_a_warning_of_the_page() {
    let folder = trained();
    let at = folder.path();
    std::fs::create_dir_all(at.join("figures")).unwrap();
    std::fs::write(at.join("figures/claims.json"), "{}").unwrap();
    run(at, &["report", "looped", "--out", "page.html"]).expect(0);
    let text = std::fs::read_to_string(at.join("page.html")).unwrap();
    assert!(text.contains("claims are left out: figures"));
}

#[test]
fn a_method_over_training_measures_every_checkpoint_of_a_run() {
    let folder = trained();
    let at = folder.path();
    run(at, &["lens", "looped", "--over-steps", "--out", "figures/lens"]).expect(0);
    let report: Value = json(&at.join("figures/lens/lens-over-steps.json"));
    let steps: Vec<u64> = report["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["step"].as_u64())
        .collect();
    let files = std::fs::read_dir(at.join("looped")).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        let name = name.to_str().unwrap();
        name.ends_with(".safetensors") && name != "resume.safetensors"
    });
    assert!(
        steps.is_sorted() && steps.contains(&0) && steps.contains(&60),
        "{steps:?}"
    );
    assert!(steps.len() <= files.count());
    assert!(at.join("figures/lens/lens-over-steps.svg").is_file());
    run(at, &["patch", "looped", "--over-steps", "--out", "figures/patch"]).expect(0);
}
