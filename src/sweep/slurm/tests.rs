use super::*;

fn plan(points: usize) -> Plan {
    Plan {
        number: 3,
        hash: "abc".to_owned(),
        loopscope: String::new(),
        points: (1..=points)
            .map(|number| Point::made_up(number, &format!("p{number}")))
            .collect(),
    }
}

fn options() -> SlurmOptions {
    SlurmOptions::new(Some("short"), Some("1:00:00"), &["comment=it's #1 \"\\".to_owned()]).unwrap()
}

// The jobs of all points of a plan, each task with `points_per_task`, in a new folder with a name that shells and Slurm give a
// meaning.
fn with_jobs(points: usize, points_per_task: usize, test: impl FnOnce(&Jobs, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let sweep = folder.path().join("it's 100%");
    std::fs::create_dir(&sweep).unwrap();
    let (plan, options) = (plan(points), options());
    let points: Vec<&Point> = plan.points.iter().collect();
    let tasks: Vec<Vec<&Point>> = points.chunks(points_per_task).map(<[_]>::to_vec).collect();
    let jobs = Jobs::new(&sweep, &plan, &tasks, &options).unwrap();
    test(&jobs, &sweep.canonicalize().unwrap());
}

#[test]
fn every_task_is_in_one_array_and_no_index_reaches_the_cap() {
    with_jobs(30, 1, |jobs, _| {
        for max_tasks in [1, 7, 10, 11, 29, 30, 31, 1000] {
            let arrays = jobs.arrays(max_tasks);
            assert!(arrays.iter().all(|array| (1..=max_tasks).contains(&array.tasks)));
            let tasks: Vec<usize> = arrays.iter().flat_map(|a| a.offset..a.offset + a.tasks).collect();
            assert_eq!(tasks, (0..30).collect::<Vec<_>>(), "{max_tasks}");
        }
    });
}

#[test]
fn points_are_divided_among_tasks_in_ranges() {
    with_jobs(7, 3, |jobs, _| assert_eq!(jobs.tasks, ["1-3", "4-6", "7"]));
    let plan = plan(10);
    let some: Vec<&Point> = [3, 7, 8, 10]
        .iter()
        .map(|&number| plan.point(number).unwrap())
        .collect();
    assert_eq!(ranges(&some), "3,7-8,10");
}

#[test]
fn short_points_share_a_task_and_a_long_one_has_its_own() {
    let plan = plan(6);
    let points: Vec<&Point> = plan.points.iter().collect();
    let tasks = divided(&points, &[250.0, 250.0, 250.0, 5000.0, 1.0, 599.0], 600.0);
    assert_eq!(
        tasks.iter().map(|task| ranges(task)).collect::<Vec<_>>(),
        ["1-2", "3", "4", "5-6"]
    );
    assert!(divided(&[], &[], 600.0).is_empty());
}

#[test]
fn the_first_error_of_sbatch_ends_the_submission_and_names_what_is_submitted() {
    let refuse_from = |jobs: &Jobs, first: u64| {
        let mut id = 40;
        let error = jobs.submit(11, |_| {
            id += 1;
            if id < first {
                Ok(id)
            } else {
                Err(Error::failed("sbatch: error: QOSMaxSubmitJobPerUserLimit"))
            }
        });
        (error.unwrap_err().to_string(), id)
    };
    with_jobs(30, 1, |jobs, _| {
        let (text, last) = refuse_from(jobs, 41);
        assert!(
            text.contains("QOSMaxSubmitJob") && text.contains("nothing was submitted"),
            "{text}"
        );
        assert_eq!(last, 41);
        let (text, last) = refuse_from(jobs, 43);
        assert!(
            text.contains("QOSMaxSubmitJob") && text.contains("scancel 41 42 "),
            "{text}"
        );
        assert_eq!(last, 43);
        let (text, _) = refuse_from(jobs, 44);
        assert!(
            text.contains("scancel 41 42 43 ") && text.contains("no job gathers"),
            "{text}"
        );
    });
}

#[test]
fn each_submission_has_scripts_of_its_own_and_the_gathering_job_waits_for_all_arrays() {
    with_jobs(30, 1, |jobs, sweep| {
        let mut calls = Vec::new();
        let mut submit = || {
            jobs.submit(11, |arguments| {
                calls.push(arguments.join(" "));
                Ok(calls.len() as u64)
            })
            .unwrap()
        };
        let first = submit();
        assert_eq!(first.arrays, [(1, 11), (2, 11), (3, 8)]);
        assert_eq!(first.gather, 4);
        submit();
        let script = |name: &str| sweep.join("slurm/plan-3").join(name).display().to_string();
        assert_eq!(calls[1], format!("--parsable --array=0-10 {} 11", script("run-1.sh")));
        assert_eq!(calls[2], format!("--parsable --array=0-7 {} 22", script("run-1.sh")));
        assert_eq!(
            calls[3],
            format!("--parsable --dependency=afterany:1:2:3 {}", script("gather-1.sh"))
        );
        assert_eq!(calls[4], format!("--parsable --array=0-10 {} 0", script("run-2.sh")));
    });
}

#[test]
fn what_the_preview_shows_is_what_is_written() {
    with_jobs(30, 4, |jobs, sweep| {
        let preview = jobs.preview(5);
        assert!(!sweep.join("slurm").exists());
        jobs.submit(5, |_| Ok(1)).unwrap();
        for name in ["run-1.sh", "gather-1.sh"] {
            let script = std::fs::read_to_string(sweep.join("slurm/plan-3").join(name)).unwrap();
            assert!(preview.contains(&script), "{preview}");
        }
        assert!(preview.contains("--array=0-2 '") && preview.ends_with("it'\\''s 100%/slurm/plan-3/gather-1.sh'"));
        for line in [
            "#SBATCH \"--partition=short\"\n",
            "#SBATCH \"--time=1:00:00\"\n",
            "#SBATCH \"--comment=it's #1 \\\"\\\\\"\n",
            "#SBATCH \"--requeue\"\n",
            "#SBATCH \"--signal=B:USR1@120\"\n",
            "it's 100%%/slurm/plan-3/%A_%a.out\"\n",
            // Whatever is planned later.
            " --plan 3 --points \"$points\"",
            "100%' --plan 3\n",
        ] {
            assert!(preview.contains(line), "{line} in\n{preview}");
        }
    });
}
