//! Sweep files: the points that they ask for, and mistakes in them.

use super::*;

fn planned(text: &str) -> Result<Vec<Planned>> {
    let file: SweepFile = toml::from_str(text).map_err(Error::input)?;
    points(&file, Path::new(""))
}

const BASE: &str = "preset = 'quick'\nrun = 'looped'\n";

#[test]
fn points_are_lists_times_grids_times_seeds() {
    let text = format!(
        "{BASE}[seeds]\nall = [1, 2]\n[grid]\n'model.iterations' = [1, 4]\n'train.batch' = [64]\n\
         [[list]]\nname = 'zero'\n'model.init' = 'zero'\n[[list]]\nname = 'wide'\n'model.init' = 'gaussian'"
    );
    let points = planned(&text).unwrap();
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "zero-iterations-1-seed-1",
            "zero-iterations-1-seed-2",
            "zero-iterations-4-seed-1",
            "zero-iterations-4-seed-2",
            "wide-iterations-1-seed-1",
            "wide-iterations-1-seed-2",
            "wide-iterations-4-seed-1",
            "wide-iterations-4-seed-2",
        ]
    );
    let last = &points[7];
    assert_eq!((last.config.model.iterations, last.config.train.batch), (4, 64));
    let keys: Vec<&str> = last.values.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["model.init", "model.iterations"],
        "what does not vary is no value"
    );
    assert_eq!((last.seeds.data, last.seeds.init, last.seeds.order), (Some(2), 2, 2));
    assert_eq!(last.data.as_ref().unwrap().seed(), 2);
}

#[test]
fn each_seed_varies_by_itself() {
    let points = planned(&format!("{BASE}[seeds]\ndata = [5]\ninit = [1, 2]\norder = [1, 3]")).unwrap();
    let seeds: Vec<_> = points
        .iter()
        .map(|point| (point.seeds.data, point.seeds.init, point.seeds.order))
        .collect();
    assert_eq!(
        seeds,
        [(Some(5), 1, 1), (Some(5), 1, 3), (Some(5), 2, 1), (Some(5), 2, 3)]
    );
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names[1], "looped-init-1-order-3");
    // In the short form where both are one.
    let short = |point: &Planned| (point.config.seed, point.config.init_seed, point.config.order_seed);
    assert_eq!(short(&points[0]), (1, None, None));
    assert_eq!(short(&points[1]), (1, Some(1), Some(3)));
}

#[test]
fn keys_of_the_data_make_other_data() {
    let points = planned(&format!("{BASE}[grid]\n'data.entities' = [20, 24]")).unwrap();
    let entities = |point: &Planned| match point.data.as_ref().unwrap() {
        DataSettings::Systematic(settings) => settings.entities,
        DataSettings::Depth(settings) => settings.entities,
    };
    assert_eq!((entities(&points[0]), entities(&points[1])), (20, 24));
    assert_eq!(points[1].name, "entities-24");
}

#[test]
fn mistakes_are_named_with_what_is_allowed() {
    for (text, says) in [
        ("data = 'folder'\nrun = 'looped'", "expected a table [data] with kind"),
        ("[seeds]\nall = [1]", "allowed: either config, or preset and run"),
        (
            "preset = 'quick'\nrun = 'lopped'",
            "run = \"lopped\"; allowed: looped, vanilla-same-flops",
        ),
        ("preset = 'quik'\nrun = 'looped'", "preset = \"quik\"; allowed: laptop"),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'model.iteration' = [1]",
            "model.iteration",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'model.iterations' = [0]",
            "model.iterations = 0",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'model.iterations' = []",
            "grid.model.iterations is empty",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'data.entites' = [3]",
            "grid.data.entites=3",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'train.lr' = [3]",
            "grid.train.lr=3",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'model.iterations' = [0]",
            "grid.model.iterations = 0; allowed",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[[list]]\n'model.init' = 'zero'\n[[list]]\n'optimizer.lr' = -1.0",
            "list.1.optimizer.lr = -1; allowed",
        ),
        (
            // Another key is impossible beside it.
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'model.d_model' = [63]\n'train.batch' = [8]",
            "grid.model.d_model = 63, grid.train.batch = 8: ",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\nmodel.iterations = [1, 2]",
            "grid.model.iterations needs quotes: \"model.iterations\" = [1, 2]",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[[list]]\nmodel.init = 'zero'",
            "list.0.model.init needs quotes: \"model.init\" = \"zero\"",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'train.batch' = 3",
            "grid.train.batch = 3; allowed: a list of values",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[seeds]\nall = [1]\ninit = [2]",
            "seeds.all and seeds.init",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[seeds]\ninit = [2, 2]",
            "seeds.init has 2 twice",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'train.batch' = [1]\n[[list]]\n'train.batch' = 2",
            "train.batch is in the grid and in list.0",
        ),
        ("preset = 'quick'\nrun = 'looped'\nseed = 3", "seed"),
    ] {
        let error = planned(text).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn the_nearest_name_is_suggested_for_a_key_that_does_not_exist() {
    for (text, meant) in [
        ("preset = 'quick'\nrun = 'lopped'", "looped"),
        ("prset = 'quick'\nrun = 'looped'", "preset"),
        ("preset = 'quik'\nrun = 'looped'", "quick"),
        ("preset = 'quick'\nrun = 'looped'\n[seds]\nall = [1]", "seeds"),
        ("preset = 'quick'\nrun = 'looped'\n[seeds]\nordr = [1]", "order"),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'model.iteratons' = [1]",
            "iterations",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'modl.iterations' = [1]",
            "model",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[[list]]\n'optimizer.warmupp' = 1",
            "warmup",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[grid]\n'data.entites' = [3]",
            "entities",
        ),
        (
            "preset = 'quick'\nrun = 'looped'\n[data]\nkind = 'systematc'",
            "systematic",
        ),
    ] {
        let error = planned(text).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(&format!("did you mean {meant}?")), "{text}: {error}");
    }
}

#[test]
fn seeds_and_the_folder_of_the_data_are_no_keys_of_a_grid_or_a_list() {
    for key in ["seed", "init_seed", "order_seed", "data.seed", "data"] {
        for (text, at) in [
            (format!("{BASE}[grid]\n'{key}' = [1]"), format!("grid.{key};")),
            (format!("{BASE}[[list]]\n'{key}' = 1"), format!("list.0.{key};")),
        ] {
            let error = planned(&text).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.starts_with(&at) && error.contains("[seeds]"), "{text}: {error}");
        }
    }
}

#[test]
fn every_point_has_a_name_of_its_own_that_ends_with_its_seeds() {
    let long = "x".repeat(200);
    let text = format!(
        "{BASE}[seeds]\ninit = [1, 2]\norder = [9000000000000000001, 9000000000000000002]\n\
         [[list]]\nname = 'a b'\n'model.init' = 'zero'\n[[list]]\nname = 'a/b'\n'model.init' = 'gaussian'\n\
         [[list]]\nname = 'é'\n'train.batch' = 8\n\
         [[list]]\nname = '{long}1'\n'train.batch' = 16\n[[list]]\nname = '{long}2'\n'train.batch' = 32"
    );
    let points = planned(&text).unwrap();
    let names: std::collections::BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!((points.len(), names.len()), (20, 20), "{names:?}");
    for point in &points {
        let seeds = format!("init-{}-order-{}", point.seeds.init, point.seeds.order);
        assert!(
            point.name.ends_with(&seeds) && point.name.len() <= 100,
            "{}",
            point.name
        );
    }
    assert!(names.contains("a-b-init-1-order-9000000000000000001"), "{names:?}");
    assert!(names.contains("a-b-2-init-1-order-9000000000000000001"), "{names:?}");
}
