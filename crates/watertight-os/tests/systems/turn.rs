//! One test at a time, where tests look at what the whole process holds: descriptors, threads, children, memory, planned failures.
//!
//! Whoever counts takes the turn, and so does every test of the same binary that opens or starts something. Never here: what is counted.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the end of the thread before may take. Never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the system shows the thread that has the turn, or had it last. None: it does not show threads.
type Place = Option<PathBuf>;

static TURN: Mutex<Place> = Mutex::new(None);

thread_local! {
    static MINE: RefCell<Option<MutexGuard<'static, Place>>> = const { RefCell::new(None) };
}

/// Waits until it is this test's turn, which lasts as long as the test's thread does. Whoever has it already goes on at once.
///
/// A thread that the test has started must not ask: the test has the turn, and may wait for that thread.
pub(crate) fn take_turn() {
    MINE.with_borrow_mut(|mine| {
        if mine.is_none() {
            let mut last = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            // The turn is given up while a thread ends, and the thread may close what it had (the library's bell) after that.
            let by = Instant::now() + PATIENCE;
            while last.as_deref().is_some_and(Path::exists) && Instant::now() < by {
                std::thread::yield_now();
            }
            *last = this_thread();
            *mine = Some(last);
        }
    });
}

#[cfg(target_os = "linux")]
fn this_thread() -> Place {
    let place = std::fs::read_link("/proc/thread-self").ok()?;
    Some(Path::new("/proc").join(place))
}

#[cfg(not(target_os = "linux"))]
fn this_thread() -> Place {
    None
}
