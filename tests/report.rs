//! `report`: one page of runs, whose numbers are those of the results that it is made of; and methods over training.

mod common;

use std::path::Path;

use common::pages::{assert_says, data, page};
use common::{ENDLESS, Running, SMALL_DATA, SMALL_RUN, json, prepared, run, saved_step};
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
        .says(&["--query \"nonsense\": \"nonsense\" is no token", "e_5 r_1 r_9"]);
    run(at, &["report", "looped", "--out", "page.html", "--query", "e_0 e_0"])
        .expect(2)
        .says(&["--query \"e_0 e_0\": is no chain"]);
    run(at, &["report", "looped", "--out", "page.html", "--measure=eval,nope"])
        .expect(2)
        .says(&["--measure=nope; allowed: eval, "]);
    assert!(
        !at.join("figures").exists(),
        "nothing is measured before names are known"
    );
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
    // Numbers of several iterations at one step are not points of one line.
    run(at, &["settle", "looped", "--over-steps", "--out", "figures/settle"]).expect(0);
    let settle = std::fs::read_to_string(at.join("figures/settle/settle-over-steps.svg")).unwrap();
    for iteration in ["iteration 1", "iteration 2"] {
        assert!(settle.contains(iteration), "{settle}");
    }
    // What an ablation costs, and not the accuracy without one.
    run(at, &["ablate", "looped", "--over-steps", "--out", "figures/ablate"]).expect(0);
    let ablate = std::fs::read_to_string(at.join("figures/ablate/ablate-over-steps.svg")).unwrap();
    assert!(ablate.contains("lost") && !ablate.contains("base accuracy"), "{ablate}");
}

#[test]
fn the_summary_has_the_numbers_of_results_with_their_intervals() {
    let folder = trained();
    let at = folder.path();
    let before = page(at, &["looped", "vanilla"]);
    assert_says(
        &before,
        &["looped ends at", "(no interval)", "there is no result of eval"],
    );
    run(at, &["eval", "looped", "vanilla", "--out", "figures/eval"]).expect(0);
    run(at, &["lens", "looped", "--out", "figures/lens"]).expect(0);
    let text = page(at, &["looped", "vanilla"]);
    let eval: Value = json(&at.join("figures/eval/eval.json"));
    let rows = eval["rows"].as_array().unwrap();
    for row in rows.iter().filter(|row| row["split"] == "test_inferred_ood") {
        let number = |field: &str| row[field].as_f64().unwrap();
        let (accuracy, low, high) = (number("accuracy"), number("low"), number("high"));
        let name = row["run"].as_str().unwrap();
        assert_says(&text, &[&format!("{name} ends at {accuracy:.3} ({low:.3}–{high:.3})")]);
    }
    assert_says(
        &text,
        &[
            "over the test chains of each run and not over seeds",
            "In looped it is",
            "nothing here says how much seeds differ",
        ],
    );
}

#[test]
fn a_run_in_training_has_a_page_that_says_so() {
    let folder = prepared();
    let at = folder.path();
    let train = ["train", "run.toml", "--out", "looped", "--set", ENDLESS];
    let mut training = Running::start(at, &train);
    training.wait_until("a saved state", || {
        at.join("looped/stages.json").is_file() && saved_step(&at.join("looped")) > 10
    });
    let text = page(at, &["looped"]);
    assert_says(
        &text,
        &[
            "STILL IN TRAINING: looped was last saved at step",
            "reached none of its 3 stages so far",
        ],
    );
    let shown = data(&at.join("page.html"));
    assert!(
        shown["moments"][0]["label"]
            .as_str()
            .unwrap()
            .ends_with("newest checkpoint so far")
    );
    assert!(shown["results"]["training"]["figures"][0]["panels"][0]["series"].is_array());
    drop(training);
    assert_says(
        &page(at, &["looped"]),
        &[
            "NOT FINISHED: looped stopped at step",
            "loopscope train",
            "--resume continues it",
        ],
    );
}

#[test]
fn runs_on_different_data_stand_side_by_side_and_the_page_says_so() {
    let folder = trained();
    let at = folder.path();
    let other = SMALL_DATA.map(|word| if word == "--seed=3" { "--seed=4" } else { word });
    std::fs::create_dir(at.join("other")).unwrap();
    run(&at.join("other"), &other).expect(0);
    std::fs::write(
        at.join("other.toml"),
        SMALL_RUN.replace("data = \"data\"", "data = \"other/data\""),
    )
    .unwrap();
    run(at, &["train", "other.toml", "--out", "elsewhere"]).expect(0);
    let text = page(at, &["looped", "elsewhere", "--measure=lens"]);
    assert_says(&text, &["DIFFERENT DATA: elsewhere was trained on other data"]);
    let shown = data(&at.join("page.html"));
    let views = shown["queries"]["views"].as_array().unwrap();
    assert!(views.iter().all(|view| view["run"] == 0) && !views.is_empty());
    let figures = shown["results"]["lens"]["figures"].as_array().unwrap();
    let runs: Vec<&Value> = figures.iter().map(|figure| &figure["run"]).collect();
    assert_eq!(runs, [0, 1]);
}

#[test]
fn measuring_goes_beyond_the_iterations_of_training_and_takes_what_is_there() {
    let folder = trained();
    let at = folder.path();
    run(at, &["lens", "looped", "--out", "figures/lens"]).expect(0);
    page(at, &["looped", "--measure=eval,lens"]);
    let measured = at.join("figures/elsewhere/looped");
    assert!(!measured.join("lens.json").exists(), "the lens is there already");
    let eval = std::fs::read_to_string(measured.join("eval.json")).unwrap();
    let rows: Value = serde_json::from_str(&eval).unwrap();
    let iterations = rows["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["iterations"].as_u64());
    assert_eq!(iterations.max(), Some(4));
    std::fs::remove_file(measured.join("eval.csv")).unwrap();
    page(at, &["looped", "--measure"]);
    assert!(!measured.join("eval.csv").exists(), "accuracy is not measured again");
}

#[test]
fn a_depth_run_has_a_map_beyond_training_with_learned_hops_and_queries_of_short_and_long_chains() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let data_of = "data depth --entities 10 --relations 3 --hops 6 --train-rows 60 --test-rows 12 --out data";
    run(at, &data_of.split(' ').collect::<Vec<_>>()).expect(0);
    let curriculum =
        "[curriculum]\naccuracy = 0.0\nhold = 1\nstage_steps = 20\nreset_optimizer = true\nlr_factor = 0.8\n";
    let config = SMALL_RUN.replace("max_positions = 3", "max_positions = 7");
    let config = config.replace("label_smoothing = 0.1\n", "");
    std::fs::write(at.join("run.toml"), format!("{config}{curriculum}")).unwrap();
    run(at, &["train", "run.toml", "--out", "deep"]).expect(0);
    let text = page(at, &["deep", "--measure", "--queries", "3"]);
    assert_says(&text, &["deep learned chains of up to 6 hops; answers chains of up to"]);
    let shown = data(&at.join("page.html"));
    let map = &shown["results"]["eval"]["figures"].as_array().unwrap().last().unwrap()["panels"][0];
    assert_eq!(
        map["columns"].as_array().unwrap().len(),
        4,
        "twice the iterations of training"
    );
    assert_eq!((&map["behind"][0], &map["rows"][0]), (&2.into(), &"6 learned".into()));
    let queries = shown["queries"]["list"].as_array().unwrap();
    let hops = queries
        .iter()
        .map(|query| query["words"].as_str().unwrap().split(' ').count() - 1);
    let hops: Vec<usize> = hops.collect();
    assert!(
        hops.len() == 3 && hops.contains(&2) && hops.iter().any(|&hops| hops > 3),
        "{hops:?}"
    );
}

#[test]
fn a_checkpoint_before_the_end_is_not_called_the_end() {
    let folder = trained();
    let at = folder.path();
    let mut names: Vec<String> = std::fs::read_dir(at.join("looped"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-") && !name.contains("00000000"))
        .collect();
    names.sort();
    let step = format!("looped/{}", names[0]);
    run(at, &["report", &step, "--measure=eval", "--out", "page.html"]).expect(0);
    let text = std::fs::read_to_string(at.join("page.html")).unwrap();
    assert!(text.contains("looped is, at step ") && !text.contains("looped ends at"));
    // In the order of training, however they are named.
    let both = ["report", "looped/final.safetensors", &step, "--out", "page.html"];
    run(at, &both).expect(0);
    let data = data(&at.join("page.html"));
    let steps: Vec<u64> = data["runs"][0]["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["step"].as_u64().unwrap())
        .collect();
    assert!(steps.is_sorted() && steps.len() == 2, "{steps:?}");
}
