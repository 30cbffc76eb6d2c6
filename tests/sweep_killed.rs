//! The points of a plan among processes that are killed at random moments, clocks that are wrong and folders that are read-only
//! for a while: every point is trained once, to the bits of an undisturbed run.
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{Running, assert_same_run, metrics, prepared, run};
use loopscope::random::Stream;

const PROCESSES: usize = 4;
const KILLS: usize = 200;

const SWEEP: &str = r#"
config = "run.toml"
[seeds]
init = [1, 2, 3, 4]
[grid]
"model.iterations" = [1, 2]
"train.steps" = [400]
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

/// A process that trains whatever is left of the plan.
fn start(at: &Path) -> Running {
    Running::start(at, &["sweep", "run", "s", "--jobs", "2"])
}

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

/// A folder in which nothing can be written, until it is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Permissions do not bind root, so the folder is made immutable where that is possible.
    fn make(folder: &Path) -> Option<Self> {
        let chattr = Command::new("chattr").arg("+i").arg(folder).output();
        if !chattr.is_ok_and(|output| output.status.success()) {
            std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
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
        std::fs::set_permissions(&self.0, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn points_that_are_killed_two_hundred_times_are_those_of_an_undisturbed_sweep() {
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("sweep.toml"), SWEEP).unwrap();
    for sweep in ["s", "whole"] {
        run(at, &["sweep", "plan", "sweep.toml", "--out", sweep]).expect(0);
    }
    let mut random = Stream::new(23, "kills", 0);
    let mut children: Vec<Running> = (0..PROCESSES).map(|_| start(at)).collect();
    for kill in 0..KILLS {
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        let index = random.below(PROCESSES);
        // It may have ended by itself: then there is nothing left to do, or all that is left is in the hands of others.
        let _ = children[index].0.kill();
        let _ = children[index].0.wait();
        let folders = points(&at.join("s"));
        if !folders.is_empty() {
            let of = &folders[random.below(folders.len())];
            skew(of, &mut random);
            if kill % 20 == 0
                && let Some(_read_only) = ReadOnly::make(of)
            {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        children[index] = start(at);
    }
    drop(children);
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
    }
    // Nothing is done twice: what is trained stays as it is.
    let finals = || -> Vec<SystemTime> {
        let of = |folder: &PathBuf| folder.join("final.safetensors").metadata().unwrap().modified().unwrap();
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
