//! The lock of a run folder among processes: whichever is killed, the run is the undisturbed one.

mod common;

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{ENDLESS, Running, assert_same_run, command, metrics, prepared, run, saved_step};
use loopscope::checkpoint::RunLock;
use loopscope::random::Stream;

/// Processes that all train the same run.
struct Crowd<'a> {
    at: &'a Path,
    steps: String,
    children: Vec<Running>,
    kills: usize,
    refusals: usize,
    ends: usize,
}

impl Crowd<'_> {
    const SIZE: usize = 4;

    /// Starts processes until there are `SIZE`, and collects those that have ended.
    fn fill(&mut self) {
        for index in (0..self.children.len()).rev() {
            if self.children[index].0.try_wait().expect("waitable").is_some() {
                let child = self.children.swap_remove(index);
                self.hear(child);
            }
        }
        while self.children.len() < Self::SIZE {
            let arguments = ["train", "run.toml", "--out", "r", "--resume", "--threads", "1", "--set"];
            let mut child = command(self.at, &[&arguments, &[&*self.steps][..]].concat());
            let child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            self.children.push(Running(child.expect("the binary starts")));
        }
    }

    /// Hears a process that ends: it was killed, has finished the run, or was refused because another one trains it.
    fn hear(&mut self, mut child: Running) {
        let mut said = String::new();
        let mut stderr = child.0.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("readable");
        match child.0.wait().expect("waitable").code() {
            None => self.kills += 1,
            Some(0) => self.ends += 1,
            Some(2) if said.contains("works in it since") => self.refusals += 1,
            Some(code) => panic!("{code}: {said}"),
        }
    }

    /// Kills one of the processes, every second time the one that holds the lock, where there is one.
    fn kill_one(&mut self, random: &mut Stream) {
        let holder = RunLock::holder(&self.at.join("r")).map(|holder| holder.process);
        let of_holder = self.children.iter().position(|child| Some(child.0.id()) == holder);
        let any = random.below(self.children.len());
        let index = of_holder.filter(|_| random.below(2) == 0).unwrap_or(any);
        let mut child = self.children.swap_remove(index);
        // It may have ended by itself at the last moment.
        let _ = child.0.kill();
        self.hear(child);
    }

    /// Kills processes at random moments until this number of them were killed.
    fn kill_until(&mut self, kills: usize, random: &mut Stream) {
        while self.kills < kills {
            self.fill();
            std::thread::sleep(Duration::from_micros(random.below(40_000) as u64));
            self.kill_one(random);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_four_processes_at_a_time_train_and_die_in_is_bit_for_bit_the_undisturbed_one() {
    let folder = prepared();
    let at = folder.path();
    let mut random = Stream::new(17, "kills", 0);
    let mut crowd = Crowd {
        at,
        steps: ENDLESS.to_owned(),
        children: Vec::new(),
        kills: 0,
        refusals: 0,
        ends: 0,
    };
    crowd.kill_until(40, &mut random);
    // The holder never ends by itself, so another one is refused.
    while crowd.refusals == 0 {
        crowd.fill();
        std::thread::sleep(Duration::from_millis(2));
    }
    // Killed from here on to the end of the run, which some of the killed ones may have reached.
    crowd.children.clear();
    let saved = if at.join("r/stages.json").exists() {
        saved_step(&at.join("r"))
    } else {
        0
    };
    crowd.steps = format!("train.steps={}", saved + 205);
    crowd.kill_until(60, &mut random);
    while crowd.ends == 0 {
        crowd.fill();
        std::thread::sleep(Duration::from_millis(2));
    }
    let steps = crowd.steps.clone();
    drop(crowd);
    // A last one cleans up after those that were killed just now.
    run(at, &["train", "run.toml", "--out", "r", "--resume", "--set", &steps]).expect(0);
    run(at, &["train", "run.toml", "--out", "whole", "--set", &steps]).expect(0);
    assert_same_run(&at.join("whole"), &at.join("r"));
    // Each evaluation once, in order.
    let evaluated: Vec<u64> = metrics(&at.join("r"))
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert!(evaluated.is_sorted_by(|a, b| a < b), "{evaluated:?}");
    let names = |run: &str| {
        let entries = std::fs::read_dir(at.join(run)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("whole"), names("r"), "nothing half-written is left, nor a lock");
}
