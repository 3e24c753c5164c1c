//! Whether this process was forked from the one that made a thing: for free, so that every call can ask.
//!
//! A child has the parent's descriptors, and none of its threads. What it does to the epoll instance, the parent feels.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between this process and the one that first asked.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Where something was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Birth(u32);

impl Birth {
    /// Here and now.
    pub(super) fn here() -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| {
            // SAFETY: `born` may run in any child at any moment: it only adds to an atomic. It is never unregistered, and
            // a library that could be unloaded would have to be kept, which Rust's are.
            unsafe { libc::pthread_atfork(None, None, Some(born)) };
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this is another process, forked since.
    pub(super) fn is_elsewhere(self) -> bool {
        self.0 != GENERATION.load(Ordering::Relaxed)
    }
}

extern "C" fn born() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// fork, for a test of what a child may do: it has this thread and no other. 0 in the child.
#[cfg(feature = "fault")]
#[must_use]
pub fn fork_for_a_test() -> i32 {
    // SAFETY: the child has a copy of all memory; a lock that another thread holds stays held there, and the test answers for
    // not needing one.
    unsafe { libc::fork() }
}

/// _exit: ends a test's child without its parent's handlers and buffers.
#[cfg(feature = "fault")]
pub fn end_of_a_test(code: i32) -> ! {
    // SAFETY: it ends the process and touches no memory.
    unsafe { libc::_exit(code) }
}
