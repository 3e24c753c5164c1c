//! Which standard streams were closed when the process started. Rust's runtime opens the null device in their place before
//! `main`, and from then on nobody can tell a closed stream from one that was sent there on purpose; bytes would vanish.

use std::sync::atomic::{AtomicU8, Ordering};

/// A bit for each of 0, 1 and 2.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Runs before the runtime: the loader calls what stands in this section before it calls `main` (System V ABI, gABI 5).
#[used]
// SAFETY: the section holds pointers to functions that take nothing we use and return nothing; `look` is one, and it only
// asks the kernel about three numbers and writes an atomic, which needs no runtime.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for number in 0..3 {
        // SAFETY: F_GETFD takes no argument, changes nothing, and says EBADF for a number that is not open.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags < 0 {
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

/// Whether this standard stream was closed at the start.
pub(super) fn was_closed(number: u32) -> bool {
    number < 3 && CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}
