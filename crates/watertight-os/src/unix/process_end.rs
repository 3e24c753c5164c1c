//! The end of the process: being called then, and one line on standard error without waiting for anybody.

use super::kernel::was_closed;
use super::sigpipe::without_sigpipe;
use rustix::event::Timespec;
use rustix::event::{PollFd, PollFlags, poll};

/// In flight means waiting for room: the kernel has nothing of it.
pub const IN_FLIGHT_IS_IN_DOUBT: bool = false;

/// Has the system call `run` when the process ends in order: on return from `main` and in `exit`, of C or of std, on the
/// thread that ends it, with all other threads alive. The second handler is for a system where they are not.
///
/// Whether the system keeps it.
#[must_use]
pub fn at_exit(run: extern "C" fn(), _: extern "C" fn()) -> bool {
    // SAFETY: atexit keeps the pointer of a function that lives as long as the process: Rust code that started a thread is
    // never unloaded. It touches no memory of ours.
    let first = unsafe { libc::atexit(run) };
    // Once more: while one thread is in the handler, a second one in C's exit skips it and ends the process (glibc 2.36). It
    // meets the second registration, which waits for the first.
    // SAFETY: as above.
    let second = unsafe { libc::atexit(run) };
    first == 0 && second == 0
}

/// A thread of the caller's may end the process: Unix needs to know of none.
pub fn note_thread() {}

/// write of a line to standard error, if it takes one now. `false`: not now.
///
/// Never waits (poll says whether there is room), never through `std`, whose lock may be held for ever, and never into a
/// descriptor 2 that was closed when the process started: whatever has the number now is something else.
#[must_use]
pub fn say(line: &str) -> bool {
    if was_closed(2) {
        return true;
    }
    let stderr = rustix::stdio::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut ready, Some(&now)) {
        Ok(_) if ready[0].revents().contains(PollFlags::OUT) => {}
        // Nobody will ever read it there.
        Ok(_)
            if ready[0]
                .revents()
                .intersects(PollFlags::ERR | PollFlags::NVAL) =>
        {
            return true;
        }
        Ok(_) | Err(_) => return false,
    }
    // What fails here fails for good; a short count leaves a short line.
    let _ = without_sigpipe(|| rustix::io::write(stderr, line.as_bytes()));
    true
}
