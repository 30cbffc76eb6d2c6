//! A sweep on a real Slurm of one node, which `tests/slurm/cluster` starts and stops. Where that is not possible the test says
//! why and passes, unless `LOOPSCOPE_TEST_SLURM=required` is set.
#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ran, assert_same_run, prepared, run, run_with, shipped};
use loopscope::sweep::Plan;

/// A Slurm of one node; it is gone when this value is dropped, or when the test process ends in any way.
struct Cluster {
    script: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    conf: String,
}

impl Cluster {
    /// `Err` says why there can be none on this machine.
    fn start() -> Result<Self, String> {
        let mut script = Command::new(shipped("tests/slurm/cluster"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/slurm/cluster starts");
        let (commands, answers) = (script.stdin.take(), script.stdout.take().expect("piped"));
        let mut cluster = Self {
            script,
            commands,
            answers: BufReader::new(answers),
            conf: String::new(),
        };
        let answer = cluster.answer();
        if let Some(why) = answer.strip_prefix("skipped: ") {
            return Err(why.to_owned());
        }
        let conf = answer.strip_prefix("SLURM_CONF=");
        conf.expect("a cluster, or why there is none")
            .clone_into(&mut cluster.conf);
        Ok(cluster)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("readable");
        line.trim().to_owned()
    }

    fn restart_controller(&mut self) {
        let commands = self.commands.as_mut().expect("open until the end");
        writeln!(commands, "restart").expect("the script listens");
        assert_eq!(self.answer(), "restarted");
    }

    /// What a command of Slurm prints.
    #[track_caller]
    fn slurm(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", &self.conf)
            .output();
        let output = output.expect("Slurm's commands are installed");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
        out.trim().to_owned()
    }

    fn loopscope(&self, folder: &Path, arguments: &[&str]) -> Ran {
        run_with(folder, arguments, &[("SLURM_CONF", &self.conf)])
    }

    /// The jobs in a state, as `ID_INDEX`.
    fn tasks(&self, state: &str) -> Vec<String> {
        let jobs = self.slurm(
            "squeue",
            &["--noheader", "--array", "--states", state, "--format", "%F_%K"],
        );
        jobs.lines().map(str::to_owned).collect()
    }

    fn wait_for_all_jobs(&self) {
        wait_until("the end of all jobs", || {
            self.slurm("squeue", &["--noheader"]).is_empty()
        });
    }

    /// A field of `scontrol show job`, as in `Restarts`.
    fn field(&self, job: &str, name: &str) -> String {
        let text = self.slurm("scontrol", &["show", "job", job]);
        let fields = text.split_whitespace().filter_map(|field| field.split_once('='));
        let found = fields
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
            .next();
        found.unwrap_or_else(|| panic!("{name} in {text}"))
    }

    /// The process of loopscope in a task.
    fn process_of(&self, task: &str) -> Option<u32> {
        let id = self.field(task, "JobId");
        let listed = Command::new("scontrol")
            .args(["listpids", &id])
            .env("SLURM_CONF", &self.conf)
            .output();
        // A task that has ended has no processes to list.
        let listed = String::from_utf8_lossy(&listed.expect("Slurm's commands are installed").stdout).into_owned();
        let mut processes = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok());
        let is_loopscope = |process: &u32| {
            std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "loopscope")
        };
        processes.find(is_loopscope)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.script.wait();
    }
}

/// The limit is for a cluster that hangs.
#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_mins(10), "{what} never came");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn signal(process: u32, name: &str) {
    let kill = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(kill.unwrap().success(), "{name}");
}

/// A sweep in a folder, and which task of the arrays trains which point where each trains one.
struct Sweep {
    folder: PathBuf,
    plan: Plan,
    arrays: Vec<(String, usize)>,
}

/// A task whose process was stopped while it trained.
struct Frozen {
    task: String,
    process: u32,
    point: usize,
}

impl Sweep {
    /// The number of the point of a task `ID_INDEX`; `None` for another job.
    fn point_of(&self, task: &str) -> Option<usize> {
        let (id, index) = task.split_once('_')?;
        let mut offset = 0;
        for (array, tasks) in &self.arrays {
            if array == id {
                return Some(offset + index.parse::<usize>().ok()? + 1);
            }
            offset += tasks;
        }
        None
    }

    fn run_folder(&self, point: usize) -> PathBuf {
        self.folder.join(&self.plan.points[point - 1].folder)
    }

    fn is_done(&self, point: usize) -> bool {
        self.plan.points[point - 1].is_done(&self.folder).unwrap()
    }

    fn done(&self) -> BTreeSet<usize> {
        (1..=self.plan.points.len())
            .filter(|&point| self.is_done(point))
            .collect()
    }

    /// Stops the process of a task that trains. It stays as it is until it is continued.
    fn freeze(&self, cluster: &Cluster) -> Frozen {
        let mut frozen = None;
        wait_until("a task that trains", || {
            frozen = cluster
                .tasks("RUNNING")
                .into_iter()
                .find_map(|task| self.try_freeze(cluster, task));
            frozen.is_some()
        });
        frozen.unwrap()
    }

    fn try_freeze(&self, cluster: &Cluster, task: String) -> Option<Frozen> {
        let point = self.point_of(&task)?;
        let evaluations = std::fs::read_to_string(self.run_folder(point).join("metrics.jsonl")).ok()?;
        if evaluations.lines().count() < 2 {
            return None;
        }
        let process = cluster.process_of(&task)?;
        // It may have ended meanwhile.
        Command::new("kill")
            .args(["-STOP", &process.to_string()])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).ok();
        wait_until("the stop of a process", || {
            state().is_none_or(|state| state.contains(") T ") || state.contains(") Z "))
        });
        if !state()?.contains(") T ") {
            return None;
        }
        if self.is_done(point) {
            signal(process, "CONT");
            return None;
        }
        Some(Frozen { task, process, point })
    }
}

/// The ids of the arrays that were submitted with their numbers of tasks.
fn arrays(printed: &str) -> Vec<(String, usize)> {
    let array = |line: &str| {
        let (id, rest) = line.strip_prefix("job ")?.split_once(": array of ")?;
        Some((id.to_owned(), rest.split(' ').next()?.parse().ok()?))
    };
    printed.lines().filter_map(array).collect()
}

const SWEEP: &str = r#"
config = "run.toml"
[seeds]
init = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
order = [1, 2, 3]
"#;

/// A cluster; `None` where there can be none, unless it is required.
#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn cluster() -> Option<Cluster> {
    match Cluster::start() {
        Ok(cluster) => Some(cluster),
        Err(why) => {
            let required = std::env::var("LOOPSCOPE_TEST_SLURM").is_ok_and(|value| value == "required");
            assert!(!required, "Slurm is required: {why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// Submits what is left of the sweep in the folder `name`; gives what is printed.
fn submit(cluster: &Cluster, at: &Path, name: &str, more: &[&str]) -> String {
    let arguments = [&["sweep", "run", name, "--slurm"], more].concat();
    cluster.loopscope(at, &arguments).expect(0).out
}

/// Cancels a task that waits and one that trains, of which the second saves; gives the points of both.
fn cancel_two(cluster: &Cluster, sweep: &Sweep) -> BTreeSet<usize> {
    let tasks = cluster.tasks("PENDING");
    let waiting = tasks
        .iter()
        .rfind(|task| sweep.point_of(task).is_some())
        .expect("four run at once");
    cluster.slurm("scancel", &[waiting]);
    let frozen = sweep.freeze(cluster);
    // Slurm continues what it ends.
    cluster.slurm("scancel", &[&frozen.task]);
    wait_until("the end of a cancelled task", || {
        cluster.field(&frozen.task, "JobState") == "CANCELLED"
    });
    assert!(sweep.run_folder(frozen.point).join("resume.safetensors").exists());
    assert_eq!(cluster.field(&frozen.task, "Restarts"), "0");
    BTreeSet::from([sweep.point_of(waiting).unwrap(), frozen.point])
}

/// One task is queued again by its owner, one by itself because its time is nearly over.
fn requeue_two(cluster: &Cluster, sweep: &Sweep) {
    let requeued = sweep.freeze(cluster);
    cluster.slurm("scontrol", &["requeue", &requeued.task]);
    let late = sweep.freeze(cluster);
    cluster.slurm("scancel", &["--batch", "--signal=USR1", &late.task]);
    signal(late.process, "CONT");
    for task in [&requeued.task, &late.task] {
        wait_until("a task that runs again", || cluster.field(task, "Restarts") == "1");
    }
    assert!(sweep.run_folder(late.point).join("resume.safetensors").exists());
}

fn restart_the_controller_while_one_trains(cluster: &mut Cluster, sweep: &Sweep) {
    let frozen = sweep.freeze(cluster);
    cluster.restart_controller();
    signal(frozen.process, "CONT");
}

#[test]
fn a_sweep_survives_cancelled_and_requeued_jobs_and_a_restart_of_the_controller() {
    let Some(mut cluster) = cluster() else {
        return;
    };
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("sweep.toml"), SWEEP).unwrap();
    let config = std::fs::read_to_string(at.join("run.toml")).unwrap();
    std::fs::write(at.join("run.toml"), config.replace("steps = 60", "steps = 1500")).unwrap();
    // A name that a shell and Slurm give a meaning.
    let name = "it's 100% #1";
    for out in [name, "undisturbed"] {
        run(at, &["sweep", "plan", "sweep.toml", "--out", out]).expect(0);
    }

    // A refusal by Slurm is printed in Slurm's words.
    let refused = cluster.loopscope(at, &["sweep", "run", name, "--slurm", "--partition", "nowhere"]);
    refused
        .expect(1)
        .says(&["invalid partition specified: nowhere", "nothing was submitted"]);

    // The largest index is 10, so that 30 tasks are three arrays.
    let more = [
        "--points-per-task",
        "1",
        "--time",
        "1:00:00",
        "--sbatch",
        "comment=it's \"thirty\" # points",
    ];
    let submitted = submit(&cluster, at, name, &more);
    let sweep = Sweep {
        folder: at.join(name),
        plan: Plan::read(&at.join(name), None).unwrap(),
        arrays: arrays(&submitted),
    };
    let sizes: Vec<usize> = sweep.arrays.iter().map(|(_, tasks)| *tasks).collect();
    assert_eq!(sizes, [11, 11, 8], "{submitted}");

    let cancelled = cancel_two(&cluster, &sweep);
    assert_eq!(cancelled.len(), 2);
    requeue_two(&cluster, &sweep);
    restart_the_controller_while_one_trains(&mut cluster, &sweep);
    cluster.wait_for_all_jobs();
    let all: BTreeSet<usize> = (1..=30).collect();
    assert_eq!(sweep.done(), &all - &cancelled);

    // What is left is submitted alone, in one task because the points are short.
    let again = submit(&cluster, at, name, &[]);
    assert!(again.contains(": array of 1 task\n"), "{again}");
    cluster.wait_for_all_jobs();
    assert_eq!(sweep.done(), all);
    let gather = again.lines().find_map(|line| line.strip_suffix(": gathers after them"));
    let gather = gather
        .and_then(|job| job.strip_prefix("job "))
        .expect("a job that gathers");
    assert_eq!(cluster.field(gather, "JobState"), "COMPLETED");
    let table = std::fs::read_to_string(at.join(name).join("gathered/gather.csv")).unwrap();
    for point in &sweep.plan.points {
        assert!(table.contains(&point.name), "{}", point.name);
    }
    let nothing = submit(&cluster, at, name, &[]);
    assert!(nothing.contains("all 30 points are done"), "{nothing}");

    run(at, &["sweep", "run", "undisturbed"]).expect(0);
    for point in &sweep.plan.points {
        assert_same_run(
            &sweep.folder.join(&point.folder),
            &at.join("undisturbed").join(&point.folder),
        );
    }
}
