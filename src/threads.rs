//! The threads of candle's element-wise operations.
//!
//! candle splits an element-wise operation on 65,536 elements or more over a pool of threads, which spin while they wait.
//! For models of this size they cost more than they save, and they occupy the cores of models that train side by side. The
//! pool is created once, with as many threads as the environment variable `CANDLE_NUM_THREADS` says at that time; candle
//! has no function for it.
#![allow(unsafe_code, reason = "setting an environment variable is unsafe")]

const VARIABLE: &str = "CANDLE_NUM_THREADS";

/// Sets `CANDLE_NUM_THREADS` to 1 where it is not set, so that candle's element-wise operations stay on the thread that
/// calls them.
///
/// # Safety
/// No other thread may read or write the environment meanwhile. At the start of `main` there is none.
pub unsafe fn keep_candle_on_one_thread() {
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: this function's caller guarantees what `set_var` asks for.
        unsafe { std::env::set_var(VARIABLE, "1") }
    }
}

/// As [`keep_candle_on_one_thread`], where it is certain that no other thread can read the environment; otherwise nothing
/// happens.
pub(crate) fn keep_candle_on_one_thread_if_sound() {
    if std::env::var_os(VARIABLE).is_none() && is_sound_to_set_a_variable() {
        // SAFETY: there is no other thread, and only this one could start one; or the system has a lock of its own.
        unsafe { keep_candle_on_one_thread() }
    }
}

// Whether this is the only thread of the process.
#[cfg(target_os = "linux")]
fn is_sound_to_set_a_variable() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

// Windows guards the environment by a lock. Other systems do not tell how many threads there are.
#[cfg(not(target_os = "linux"))]
fn is_sound_to_set_a_variable() -> bool {
    cfg!(windows)
}
