//! Fault switches: places where a test kills the real process, in pairs around each persist.
//!
//! Without the cargo feature `faults` (every release) [`point`] is empty. With it, a process started with
//! `CHANCERY_FAULT=name` or `name:n` (the n-th time it passes) ends itself there by SIGKILL, after writing the name to
//! the file that `CHANCERY_FAULT_MARK` names, so that a test can prove that its switch really hit.
//! Names are `<room>.<step>.before` and `<room>.<step>.after`.

/// A place where a crash test may end the process.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// A place where a crash test may end the process.
#[cfg(feature = "faults")]
#[expect(clippy::disallowed_methods, reason = "test switch, absent from a release")]
pub fn point(name: &'static str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    static HITS: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("CHANCERY_FAULT") else {
        return;
    };
    let (wanted, nth) = match wanted.split_once(':') {
        Some((wanted, nth)) => (wanted.to_owned(), nth.parse().unwrap_or(1)),
        None => (wanted, 1),
    };
    if wanted != name || HITS.fetch_add(1, Ordering::SeqCst) + 1 != nth {
        return;
    }
    if let Ok(mark) = std::env::var("CHANCERY_FAULT_MARK") {
        // A mark that cannot be written fails the test, which looks for it.
        let _ = std::fs::write(mark, name);
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
