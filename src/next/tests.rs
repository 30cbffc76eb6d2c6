use super::*;

fn found(path: &str, state: RunState, looped: bool) -> FoundRun {
    FoundRun {
        path: path.into(),
        state,
        step: 100,
        steps: Some(400),
        seconds: 10.0,
        saved: None,
        looped,
        curriculum: false,
        sweep: None,
    }
}

fn commands(runs: &[FoundRun]) -> Vec<String> {
    let steps = steps(Path::new("/nowhere"), runs);
    steps.into_iter().map(|step| step.command).collect()
}

#[test]
fn a_stopped_run_goes_on_by_the_command_that_began_it() {
    let of = |path: &str| commands(&[found(path, RunState::Stopped, true)])[0].clone();
    assert_eq!(of("checkpoints/laptop/looped"), "loopscope reproduce --preset laptop");
    assert_eq!(of("checkpoints/mine"), "loopscope train checkpoints/mine --resume");
    // Of another seed, or below another folder: not what the preset would go on with.
    for path in [
        "checkpoints/laptop-seed-3/looped",
        "checkpoints/a/laptop/looped",
        "laptop/looped",
    ] {
        assert_eq!(of(path), format!("loopscope train {path} --resume"));
    }
    let point = FoundRun {
        sweep: Some("checkpoints/width".into()),
        ..found("checkpoints/width/points/a-1", RunState::Stopped, true)
    };
    assert_eq!(commands(&[point])[0], "loopscope sweep run checkpoints/width");
    assert_eq!(of("checkpoints/a b"), "loopscope train 'checkpoints/a b' --resume");
}

#[test]
fn of_finished_runs_the_looped_one_is_looked_into_and_all_are_compared() {
    let runs = ["vanilla", "looped", "other"]
        .map(|name| found(&format!("checkpoints/x/{name}"), RunState::Finished, name == "looped"));
    let commands = commands(&runs);
    assert_eq!(commands[0], "loopscope lens checkpoints/x/looped");
    let all = "checkpoints/x/looped checkpoints/x/vanilla checkpoints/x/other";
    for command in ["compare", "report"] {
        let expected = format!("loopscope {command} {all}");
        assert!(commands.contains(&expected), "{command}: {commands:?}");
    }
}

#[test]
fn of_a_finished_sweep_its_page_is_first() {
    let point = FoundRun {
        sweep: Some("checkpoints/width".into()),
        ..found("checkpoints/width/points/a-1", RunState::Finished, true)
    };
    let commands = commands(&[point]);
    assert_eq!(
        commands[..2],
        [
            "loopscope report checkpoints/width",
            "loopscope sweep gather checkpoints/width"
        ]
    );
}

#[test]
fn beside_the_showcase_a_newcomer_is_told_how_to_train() {
    let mut depth = found("checkpoints/showcase/depth", RunState::Finished, true);
    depth.curriculum = true;
    let looped = found("checkpoints/showcase/looped", RunState::Finished, true);
    let vanilla = found("checkpoints/showcase/vanilla", RunState::Finished, false);
    // The one with a vanilla run of the same task beside it, whichever was written last.
    let commands = commands(&[depth, looped, vanilla]);
    assert_eq!(commands[0], "loopscope lens checkpoints/showcase/looped");
    for command in [
        "loopscope report checkpoints/showcase/looped checkpoints/showcase/vanilla",
        "loopscope reproduce",
        "loopscope doctor",
    ] {
        assert!(commands.iter().any(|it| it == command), "{command}: {commands:?}");
    }
}

#[test]
fn an_experiment_that_measures_finished_runs_is_at_work() {
    let here = tempfile::tempdir().unwrap();
    let experiment = here.path().join("checkpoints/laptop");
    fs::create_dir_all(experiment.join("data")).unwrap();
    let lock = RunLock::acquire(&experiment).unwrap();
    let at_work = || Next::of(here.path()).at_work;
    let [(folder, holder)] = &at_work()[..] else {
        panic!("{:?}", at_work());
    };
    assert_eq!(folder, Path::new("checkpoints/laptop"));
    assert_eq!(holder.process, std::process::id());
    drop(lock);
    assert!(at_work().is_empty());
}

#[test]
fn the_time_left_follows_from_the_pace_so_far() {
    assert_eq!(found("x", RunState::Stopped, true).seconds_left(), Some(30.0));
    let begun = FoundRun {
        step: 0,
        ..found("x", RunState::Stopped, true)
    };
    assert_eq!(begun.seconds_left(), None);
}
