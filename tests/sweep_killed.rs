//! The points of a plan among processes that are killed at random moments, clocks that are wrong and folders that are read-only
//! for a while: every point is trained once, to the bits of an undisturbed run.
#![cfg(unix)]

mod common;

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use common::{Running, assert_same_run, command, metrics, prepared, run};
use loopscope::checkpoint::RunLock;
use loopscope::random::Stream;

const PROCESSES: usize = 4;
const KILLS: usize = 200;

const SWEEP: &str = r#"
config = "run.toml"
[seeds]
init = [1, 2, 3, 4]
[grid]
"model.iterations" = [1, 2]
"train.steps" = [600]
"#;

/// The run folders of the sweep in `folder`.
fn points(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.join("points").read_dir() else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// Processes that train whatever is left of the plan.
struct Crowd<'a> {
    at: &'a Path,
    // Each with the file of what it says.
    children: Vec<(Running, PathBuf)>,
    started: usize,
    killed: usize,
}

impl Crowd<'_> {
    fn start(&mut self) {
        self.started += 1;
        let said = self.at.join(format!("said-{}", self.started));
        let mut child = command(self.at, &["sweep", "run", "s", "--jobs", "2"]);
        let child = child.stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        self.children
            .push((Running(child.spawn().expect("the binary starts")), said));
    }

    /// Kills one of the processes, which has ended well if it has ended by itself: nothing was left to do, all that was left was in
    /// the hands of others, or a folder was read-only.
    fn kill(&mut self, index: usize) {
        let (mut child, said) = self.children.swap_remove(index);
        let _ = child.0.kill();
        let status = child.0.wait().expect("waitable");
        let said = std::fs::read_to_string(said).expect("readable");
        match (status.signal(), status.code()) {
            (Some(9), _) => self.killed += 1,
            (_, Some(0)) => {}
            (_, Some(1)) if REFUSALS.iter().any(|refusal| said.contains(refusal)) => {}
            _ => panic!("{status}: {said}"),
        }
        assert!(!said.contains("panicked"), "{said}");
    }

    fn are_ended(&mut self) -> bool {
        let mut children = self.children.iter_mut();
        children.all(|(child, _)| child.0.try_wait().expect("waitable").is_some())
    }
}

/// What is told of a folder that is immutable or has no permission to write.
const REFUSALS: [&str; 2] = ["Operation not permitted", "Permission denied"];

/// Gives the files of a run times that are up to ten years off, as a host with another clock would.
fn skew(folder: &Path, random: &mut Stream) {
    const TEN_YEARS: usize = 315_000_000;
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let now = SystemTime::now();
        let off = Duration::from_secs(random.below(TEN_YEARS) as u64);
        let time = if random.below(2) == 0 { now + off } else { now - off };
        // A file that is gone by now needs no time.
        if let Ok(file) = std::fs::File::open(entry.path()) {
            let _ = file.set_modified(time);
        }
    }
}

/// The lock of a run that says since another time, and of another machine until this is dropped, as if its holder had another
/// clock and another name. It is written into the file that is there, as heartbeats are.
struct SkewedLock {
    file: File,
    machine: (u64, u8),
}

impl SkewedLock {
    fn new(folder: &Path, random: &mut Stream) -> Option<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(folder.join("run.lock"))
            .ok()?;
        let mut content = [0; 1000];
        let length = file.read_at(&mut content, 0).ok()?;
        let text = std::str::from_utf8(&content[..length]).ok()?;
        let after = |key: &str| Some(text.find(key)? + key.len());
        let (since, machine) = (after(r#""since":""#)?, after(r#""machine":""#)?);
        let year = format!("{:04}", 1970 + random.below(8000));
        file.write_all_at(year.as_bytes(), since as u64).ok()?;
        file.write_all_at(b"x", machine as u64).ok()?;
        let machine = (machine as u64, content[machine]);
        Some(Self { file, machine })
    }
}

impl Drop for SkewedLock {
    fn drop(&mut self) {
        let (offset, byte) = self.machine;
        self.file.write_all_at(&[byte], offset).unwrap();
    }
}

/// A folder in which nothing can be written, until it is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Permissions do not bind root, so the folder is made immutable where that is possible. `None` where neither is.
    fn make(folder: &Path) -> Option<Self> {
        let chattr = Command::new("chattr").arg("+i").arg(folder).output();
        if !chattr.is_ok_and(|output| output.status.success()) {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o555)).unwrap();
        }
        let read_only = Self(folder.to_owned());
        let probe = folder.join(".probe");
        if std::fs::write(&probe, "").is_ok() {
            std::fs::remove_file(probe).unwrap();
            return None;
        }
        Some(read_only)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).output();
        std::fs::set_permissions(&self.0, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// The lines of the log of a point: its processes and what they say.
fn log(point: &Path) -> Vec<(String, String)> {
    let name = point.file_name().unwrap().to_str().unwrap();
    let path = point
        .parent()
        .unwrap()
        .with_file_name("log")
        .join(format!("{name}.log"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (head, said) = line.split_once(": ").expect(line);
        let process = head.split_once(" process ").expect(line).1;
        (process.to_owned(), said.to_owned())
    };
    text.lines().map(line).collect()
}

/// The first point of the sweep in `folder` that a process trains.
fn point_in_training(folder: &Path) -> Option<PathBuf> {
    let is_trained = |point: &PathBuf| RunLock::holder(point).is_some_and(|holder| holder.alive == Some(true));
    points(folder).into_iter().find(is_trained)
}

/// Makes the folder of a point that is being trained read-only until a process has failed to write in it. `None` where nothing can
/// be made read-only, or nothing is being trained; else whether one has failed.
fn read_only_period(crowd: &mut Crowd) -> Option<bool> {
    let point = point_in_training(&crowd.at.join("s"))?;
    let refusals = || {
        let is_refusal = |said: &str| said.starts_with("failed: ") && REFUSALS.iter().any(|text| said.contains(text));
        log(&point).iter().filter(|(_, said)| is_refusal(said)).count()
    };
    let before = refusals();
    let _read_only = ReadOnly::make(&point)?;
    let began = Instant::now();
    while refusals() == before {
        // It was trained to its end at the last moment, or no process comes to it any more.
        if crowd.are_ended() || began.elapsed() > Duration::from_secs(20) {
            return Some(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(true)
}

/// Panics unless one process at a time trained the point, each from where the one before had saved, and none after its end. A
/// process that is killed right before it would say so leaves the end untold.
fn expect_one_at_a_time(point: &Path) {
    let (mut at, mut step, mut ended) = (None, 0, false);
    for (process, said) in log(point) {
        assert!(!ended, "{said} after the end of {}", point.display());
        if let Some(begins) = said.strip_prefix("begins at step ") {
            let begins: u64 = begins.parse().unwrap();
            assert!(begins >= step, "{begins} after {step}");
            (at, step) = (Some(process), begins);
        } else if !said.starts_with("failed: ") {
            // One that fails may say so when the next one has begun.
            assert_eq!(at.as_ref(), Some(&process), "{said}");
            ended = said == "trained to its end";
        }
    }
}

/// The files in a folder, and in those in it, that a process at work would have left.
fn left(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "run.lock" || name.starts_with(".writing") {
            found.push(entry.path());
        }
        if entry.path().is_dir() {
            found.extend(left(&entry.path()));
        }
    }
    found
}

// The first points to be trained become read-only until a process has met that: later there may be none left to train.
fn first_read_only_period(crowd: &mut Crowd) -> Option<bool> {
    for _ in 0..points(&crowd.at.join("s")).len().max(PROCESSES) {
        while crowd.children.len() < PROCESSES {
            crowd.start();
        }
        let began = Instant::now();
        while point_in_training(&crowd.at.join("s")).is_none() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        match read_only_period(crowd) {
            Some(false) => {}
            found => return found,
        }
    }
    Some(false)
}

/// Kills processes at random moments, under skewed clocks and read-only folders; gives how many folders were read-only with
/// effect, `None` where none can be.
fn disturb(at: &Path) -> Option<usize> {
    let mut random = Stream::new(23, "kills", 0);
    let mut crowd = Crowd {
        at,
        children: Vec::new(),
        started: 0,
        killed: 0,
    };
    let mut periods = first_read_only_period(&mut crowd).map(usize::from);
    for kill in 0..KILLS {
        while crowd.children.len() < PROCESSES {
            crowd.start();
        }
        let folders = points(&at.join("s"));
        let of = (!folders.is_empty()).then(|| &folders[random.below(folders.len())]);
        let skewed = of.and_then(|of| {
            skew(of, &mut random);
            SkewedLock::new(of, &mut random)
        });
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        drop(skewed);
        if kill % 20 == 10
            && let Some(has_failed) = read_only_period(&mut crowd)
        {
            *periods.get_or_insert(0) += usize::from(has_failed);
        }
        crowd.kill(random.below(PROCESSES));
    }
    while !crowd.children.is_empty() {
        crowd.kill(0);
    }
    assert!(crowd.killed > 0);
    periods
}

#[test]
fn points_that_are_killed_two_hundred_times_are_those_of_an_undisturbed_sweep() {
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("sweep.toml"), SWEEP).unwrap();
    for sweep in ["s", "whole"] {
        run(at, &["sweep", "plan", "sweep.toml", "--out", sweep]).expect(0);
    }
    match disturb(at) {
        Some(periods) => assert!(periods > 0, "no process met the read-only folders"),
        None => eprintln!("skipped: nothing can be made read-only here"),
    }
    run(at, &["sweep", "run", "s"]).expect(0);
    run(at, &["sweep", "run", "whole"]).expect(0);
    let (disturbed, whole) = (points(&at.join("s")), points(&at.join("whole")));
    assert_eq!((disturbed.len(), whole.len()), (8, 8));
    for (disturbed, whole) in disturbed.iter().zip(&whole) {
        assert_eq!(disturbed.file_name(), whole.file_name());
        assert_same_run(whole, disturbed);
        let evaluated: Vec<u64> = metrics(disturbed)
            .iter()
            .map(|line| line["step"].as_u64().unwrap())
            .collect();
        assert!(
            evaluated.is_sorted_by(|a, b| a < b),
            "each evaluation once: {evaluated:?}"
        );
        expect_one_at_a_time(disturbed);
        expect_one_at_a_time(whole);
        let told = |text: &str| log(whole).iter().filter(|(_, said)| said == text).count();
        assert_eq!((told("begins at step 0"), told("trained to its end")), (1, 1));
    }
    assert_eq!(left(&at.join("s/points")), Vec::<PathBuf>::new());
    // Nothing is done twice: what is trained stays as it is.
    let finals = || -> Vec<(SystemTime, usize)> {
        let of = |folder: &PathBuf| {
            let written = folder.join("final.safetensors").metadata().unwrap().modified().unwrap();
            (written, log(folder).len())
        };
        disturbed.iter().map(of).collect()
    };
    let before = finals();
    let again = run(at, &["sweep", "run", "s"]).expect(0);
    assert_eq!(again.out.matches("was done").count(), 8, "{}", again.out);
    assert_eq!(finals(), before);
    let status = run(at, &["sweep", "status", "s"]).expect(0);
    assert!(
        status.out.contains("8 done, 0 running, 0 failed, 0 waiting"),
        "failures of the read-only folder are forgotten once a point is trained: {}",
        status.out
    );
}
