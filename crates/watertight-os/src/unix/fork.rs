//! Whether this process was forked from the one that made a thing: for free, so that every call can ask.
//!
//! A child has the parent's descriptors, and none of its threads. What it does to the epoll instance, the parent feels.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many forks lie between this process and the one that first asked.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The system could not keep our handler (out of memory): then every question asks for the process's number.
static IS_UNWATCHED: AtomicBool = AtomicBool::new(false);

/// Where something was made. A process that was made by `vfork`, `_Fork` or a raw `clone` runs no handlers and is not told
/// apart; such a process may only call `exec` or `_exit` anyway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Birth {
    generation: u32,
    /// Which process that is, where forks are not watched; elsewhere the question is spared.
    process: u32,
}

impl Birth {
    /// Here and now.
    pub(super) fn here() -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| {
            // SAFETY: `born` may run in any child at any moment: it only adds to an atomic. It is never unregistered, and
            // a library that could be unloaded would have to be kept, which Rust's are.
            let code = unsafe { libc::pthread_atfork(None, None, Some(born)) };
            IS_UNWATCHED.store(code != 0, Ordering::Relaxed);
        });
        Self {
            generation: GENERATION.load(Ordering::Relaxed),
            process: if IS_UNWATCHED.load(Ordering::Relaxed) {
                std::process::id()
            } else {
                0
            },
        }
    }

    /// Whether this is another process, forked since.
    pub(super) fn is_elsewhere(self) -> bool {
        let is_forked = self.generation != GENERATION.load(Ordering::Relaxed);
        is_forked || (IS_UNWATCHED.load(Ordering::Relaxed) && self.process != std::process::id())
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
