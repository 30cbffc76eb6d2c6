use std::fs::{File, OpenOptions};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::*;

// A dead holder of another machine is soon taken for one.
const SHORT: Timing = Timing {
    heartbeat: Duration::from_millis(2),
    silence: Duration::from_millis(30),
};

// No heartbeat of a test is as late as that.
const LONG: Timing = Timing {
    heartbeat: Duration::from_millis(2),
    silence: Duration::from_hours(1),
};

// The content of a lock that a process of another machine wrote. Its clock is years off.
fn elsewhere(token: &str, since: &str) -> String {
    let count = content::counter(7);
    format!(
        "{{\"process\":1,\"host\":\"far\",\"since\":\"{since}\",\"machine\":\"another\",\"token\":\"{token}\",\
         \"heartbeat\":{count}}}\n"
    )
}

fn lock_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join(LOCK)
}

// Takes the lock without waiting: any wait is an interruption.
fn at_once(folder: &tempfile::TempDir) -> Result<RunLock> {
    RunLock::acquire_with(folder.path(), &LONG, &AtomicBool::new(true))
}

// Takes the lock in several threads at once, which all keep what they got until all have tried.
fn at_the_same_time(folder: &Path, timing: &Timing) -> Vec<Result<RunLock>> {
    const THREADS: usize = 8;
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let take = || {
            start.wait();
            RunLock::acquire_with(folder, timing, &AtomicBool::new(false))
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[track_caller]
fn expect_one(taken: &[Result<RunLock>]) {
    for error in taken.iter().filter_map(|taken| taken.as_ref().err()) {
        assert!(matches!(error, Error::Locked { .. }), "{error}");
    }
    let locks: Vec<&RunLock> = taken.iter().filter_map(|taken| taken.as_ref().ok()).collect();
    assert_eq!(locks.len(), 1);
    locks[0].check().unwrap();
}

#[test]
fn the_second_is_told_who_holds_the_lock_and_gets_it_when_that_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let lock = RunLock::acquire(folder.path()).unwrap();
    let refused = RunLock::acquire(folder.path()).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    let Error::Locked { folder: named, holder } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(named, folder.path());
    let process = format!("process {} on ", std::process::id());
    assert!(
        holder.starts_with(&process) && holder.contains(" works in it since 2"),
        "{holder}"
    );
    assert!(refused.to_string().contains("nothing was changed"), "{refused}");
    drop(lock);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    RunLock::acquire(folder.path()).unwrap();
}

#[test]
fn a_lock_whose_file_was_removed_is_lost_and_leaves_that_of_the_next_holder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lost = RunLock::acquire(folder.path()).unwrap();
    lost.check().unwrap();
    fs::remove_file(lock_file(&folder)).unwrap();
    lost.check().unwrap_err();
    let next = RunLock::acquire(folder.path()).unwrap();
    let text = lost.check().unwrap_err().to_string();
    assert!(text.contains("another process may train"), "{text}");
    drop(lost);
    next.check().unwrap();
    RunLock::acquire(folder.path()).unwrap_err();
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_no_lock_and_what_it_leads_to_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("precious");
    fs::write(&other, "mine").unwrap();
    std::os::unix::fs::symlink(&other, lock_file(&folder)).unwrap();
    let text = RunLock::acquire(folder.path()).unwrap_err().to_string();
    assert!(text.contains(LOCK) && text.contains("symbolic link"), "{text}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
}

#[test]
fn a_folder_that_cannot_be_locked_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let text = RunLock::acquire(&gone).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("cannot write {}: ", gone.display())),
        "{text}"
    );
    assert!(!text.contains(".writing"), "{text}");
    assert!(!gone.exists());
    // A folder in the lock's place.
    fs::create_dir(lock_file(&folder)).unwrap();
    let text = RunLock::acquire(folder.path()).unwrap_err().to_string();
    assert!(text.contains("cannot write") && text.contains(LOCK), "{text}");
    // A holder whose folder vanishes stops, and does not make it anew.
    fs::create_dir(&gone).unwrap();
    let lock = RunLock::acquire(&gone).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    lock.check().unwrap_err();
    drop(lock);
    assert!(!gone.exists());
}

#[test]
fn of_many_threads_that_take_turns_one_holds_the_lock_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while taken.load(Ordering::SeqCst) < 100 {
                    let Ok(lock) = RunLock::acquire(folder.path()) else {
                        continue;
                    };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    // Lets the others try while this one holds it.
                    std::thread::yield_now();
                    taken.fetch_add(1, Ordering::SeqCst);
                    lock.check().unwrap();
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
}

#[test]
fn of_many_that_take_a_free_lock_at_once_one_gets_it() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        expect_one(&at_the_same_time(folder.path(), &LONG));
    }
}

#[test]
fn what_no_holder_wrote_is_a_lock_until_it_has_been_silent() {
    let folder = tempfile::tempdir().unwrap();
    for left in [String::new(), "what was left ".repeat(100), "{}".to_owned()] {
        fs::write(lock_file(&folder), &left).unwrap();
        assert!(matches!(at_once(&folder).unwrap_err(), Error::Interrupted), "{left}");
        let lock = RunLock::acquire_with(folder.path(), &SHORT, &AtomicBool::new(false)).unwrap();
        lock.check().unwrap();
    }
}

#[test]
fn a_silent_holder_of_another_machine_is_replaced_whatever_its_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    for since in ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        fs::write(lock_file(&folder), elsewhere("a", since)).unwrap();
        // It is not before it was silent: neither at once nor when the wait is interrupted.
        assert!(matches!(at_once(&folder).unwrap_err(), Error::Interrupted));
        assert_eq!(fs::read_to_string(lock_file(&folder)).unwrap(), elsewhere("a", since));
        let lock = RunLock::acquire_with(folder.path(), &SHORT, &AtomicBool::new(false)).unwrap();
        lock.check().unwrap();
        drop(lock);
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}

#[test]
fn a_holder_of_another_machine_keeps_the_lock_while_its_heartbeat_advances() {
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = (lock_file(&folder), elsewhere("a", "1970-01-01T00:00:00Z"));
    fs::write(&path, &text).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut heartbeat = Heartbeat::start(file, counter_offset(text.len()), LONG.heartbeat).unwrap();
    let refused = RunLock::acquire_with(folder.path(), &LONG, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert!(
        refused.to_string().contains("process 1 on far works in it since 1970"),
        "{refused}"
    );
    heartbeat.end();
    // Nothing but the counter has changed.
    let content = fs::read_to_string(&path).unwrap();
    assert_eq!(content.len(), text.len());
    let now = Content::parse(content.as_bytes()).unwrap();
    assert!(now.heartbeat != 7 && now.token.as_deref() == Some("a"), "{content}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_lock_that_another_one_replaces_during_the_wait_is_judged_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = lock_file(&folder);
    fs::write(&path, elsewhere("a", "1970-01-01T00:00:00Z")).unwrap();
    let found = Found::open(&path).unwrap().unwrap();
    // As a process of another machine does, which took the place of the first.
    files::write(&path, elsewhere("b", "1970-01-01T00:00:00Z").as_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    assert!(!found.is_silent(folder.path(), &LONG, &stop).unwrap());
    fs::remove_file(&path).unwrap();
    assert!(!found.is_silent(folder.path(), &LONG, &stop).unwrap());
}

// Where there are no advisory locks, a dead holder is silent, as one of another machine is.
#[cfg(unix)]
mod with_advisory_locks {
    use super::*;

    // A lock as a process of this machine leaves it that was killed.
    fn leave_dead_lock(folder: &tempfile::TempDir) {
        let lock = RunLock::acquire(folder.path()).unwrap();
        let content = fs::read(lock_file(folder)).unwrap();
        drop(lock);
        fs::write(lock_file(folder), content).unwrap();
    }

    #[test]
    fn a_dead_holder_of_this_machine_is_replaced_at_once() {
        let folder = tempfile::tempdir().unwrap();
        leave_dead_lock(&folder);
        let lock = at_once(&folder).unwrap();
        lock.check().unwrap();
        drop(lock);
        // An earlier version wrote less, and its holder always had the file locked.
        let (host, far) = (hostname::get().unwrap(), "far".into());
        for (host, is_replaced) in [(host, true), (far, false)] {
            let old = format!(
                "{{\"process\":1,\"host\":{:?},\"since\":\"2026-01-01T00:00:00Z\"}}\n",
                host.to_str().unwrap()
            );
            fs::write(lock_file(&folder), &old).unwrap();
            assert_eq!(at_once(&folder).is_ok(), is_replaced, "{old}");
        }
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = || fs::read_dir(folder.path()).unwrap().count();
        leave_dead_lock(&folder);
        RunLock::remove_left(folder.path());
        assert_eq!(files(), 0);
        fs::write(folder.path().join(".writing-locked-a"), "half").unwrap();
        RunLock::remove_left(folder.path());
        assert_eq!(files(), 0);
        fs::write(lock_file(&folder), elsewhere("a", "1970-01-01T00:00:00Z")).unwrap();
        RunLock::remove_left(folder.path());
        assert_eq!(files(), 1);
        fs::remove_file(lock_file(&folder)).unwrap();
        let lock = RunLock::acquire(folder.path()).unwrap();
        RunLock::remove_left(folder.path());
        lock.check().unwrap();
    }

    #[test]
    fn a_holder_without_an_advisory_lock_is_known_by_its_heartbeat_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("x")).unwrap();
        for advisory in [true, false] {
            let content = Content::new("a", &file, advisory);
            assert_eq!(content.is_of_this_machine(&file), advisory);
            fs::write(lock_file(&folder), content.text().unwrap()).unwrap();
            assert_eq!(at_once(&folder).is_ok(), advisory);
        }
        RunLock::acquire_with(folder.path(), &SHORT, &AtomicBool::new(false)).unwrap();
    }

    #[test]
    fn of_many_that_replace_a_dead_or_silent_holder_at_once_one_does() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            leave_dead_lock(&folder);
            expect_one(&at_the_same_time(folder.path(), &LONG));
            let folder = tempfile::tempdir().unwrap();
            fs::write(lock_file(&folder), elsewhere("a", "2999-01-01T00:00:00Z")).unwrap();
            expect_one(&at_the_same_time(folder.path(), &SHORT));
        }
    }

    #[test]
    fn a_lock_is_no_longer_held_by_any_thread_once_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(folder.path()).unwrap();
        // Another name of the same file, which is there when the lock's own is not.
        let link = folder.path().join("link");
        fs::hard_link(lock_file(&folder), &link).unwrap();
        let file = File::open(&link).unwrap();
        file.try_lock_shared().unwrap_err();
        drop(lock);
        // The thread had the file open.
        file.try_lock_shared().unwrap();
    }

    #[test]
    fn who_holds_a_lock_can_be_read_without_taking_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunLock::holder(folder.path()), None);
        let lock = RunLock::acquire(folder.path()).unwrap();
        let holder = RunLock::holder(folder.path()).unwrap();
        assert_eq!((holder.process, holder.alive), (std::process::id(), Some(true)));
        assert!(!holder.host.is_empty() && holder.since.starts_with('2'), "{holder:?}");
        lock.check().unwrap();
        drop(lock);
        leave_dead_lock(&folder);
        assert_eq!(RunLock::holder(folder.path()).unwrap().alive, Some(false));
        // A process that only looks is not taken for a holder.
        let found = File::open(lock_file(&folder)).unwrap();
        found.try_lock_shared().unwrap();
        let looked_at = Found::open(&lock_file(&folder)).unwrap().unwrap();
        assert!(matches!(looked_at.life(), Life::Busy));
        drop((found, looked_at));
        fs::write(lock_file(&folder), elsewhere("a", "1970-01-01T00:00:00Z")).unwrap();
        let holder = RunLock::holder(folder.path()).unwrap();
        assert_eq!((holder.process, holder.heartbeat, holder.alive), (1, 7, None));
        assert_eq!((&*holder.host, &*holder.since), ("far", "1970-01-01T00:00:00Z"));
        fs::write(lock_file(&folder), "nonsense").unwrap();
        assert_eq!(RunLock::holder(folder.path()), None);
    }

    #[test]
    fn a_lock_that_was_moved_by_mistake_is_put_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(folder.path()).unwrap();
        move_away(&lock_file(&folder), |_| false).unwrap();
        lock.check().unwrap();
        // With its advisory lock.
        let refused = at_once(&folder).unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_lock_that_was_moved_by_mistake_does_not_replace_that_of_the_next_holder() {
    let folder = tempfile::tempdir().unwrap();
    let lost = RunLock::acquire(folder.path()).unwrap();
    let next = elsewhere("next", "2999-01-01T00:00:00Z");
    move_away(&lock_file(&folder), |_| {
        fs::write(lock_file(&folder), &next).unwrap();
        false
    })
    .unwrap();
    lost.check().unwrap_err();
    drop(lost);
    assert_eq!(fs::read_to_string(lock_file(&folder)).unwrap(), next);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_holder_that_lost_the_lock_fails_its_next_write_even_between_check_and_rename() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let lost = RunLock::acquire(folder.path()).unwrap();
    let mut next = None;
    files::write_locked(&path, b"old", || {
        lost.check()?;
        // The pause in which another process takes its place and writes.
        fs::remove_file(lock_file(&folder)).unwrap();
        let lock = RunLock::acquire(folder.path()).unwrap();
        files::write_locked(&path, b"new", || lock.check()).unwrap();
        next = Some(lock);
        Ok(())
    })
    .unwrap_err();
    files::write_locked(&path, b"old", || lost.check()).unwrap_err();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    next.unwrap().check().unwrap();
    // What a killed process had begun to write is gone; that of another writer is not.
    fs::write(folder.path().join(".writing-locked-a"), "half").unwrap();
    fs::write(folder.path().join(".writing-b"), "half").unwrap();
    drop(RunLock::acquire(folder.path()).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
