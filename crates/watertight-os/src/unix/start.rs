//! How the process was when it started: which standard streams were closed, and which signals were blocked.
//!
//! Rust's runtime opens the null device in the place of closed streams before `main`, and from then on nobody can tell a closed
//! stream from one that was sent there on purpose; bytes would vanish. And what a program blocks later is not for its children.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A bit for each of 0, 1 and 2.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// A bit for each signal that was blocked, the first signal's the lowest.
static BLOCKED: AtomicU64 = AtomicU64::new(0);

/// Runs before the runtime: the loader calls what stands in this section before it calls `main` (System V ABI, gABI 5).
#[used]
// SAFETY: the section holds pointers to functions that take nothing we use and return nothing; `look` is one, and it only
// asks the kernel about three numbers and a mask and writes two atomics, which needs no runtime.
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
    BLOCKED.store(mask_of_this_thread(), Ordering::Relaxed);
}

/// Whether this standard stream was closed at the start.
pub(super) fn was_closed(number: u32) -> bool {
    number < 3 && CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}

/// The signals that were blocked at the start. Of a library that is loaded later: that the thread which loaded it blocked.
pub(super) fn mask_at_start() -> u64 {
    BLOCKED.load(Ordering::Relaxed)
}

/// pthread_sigmask: the signals that the calling thread blocks.
pub(super) fn mask_of_this_thread() -> u64 {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: nothing is changed; the set is ours, lives on this stack, and is filled before the call returns.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr()) };
    // SAFETY: it is a record of integers that was zeroed before the call filled it, so that any bytes are a value of it.
    let set = unsafe { set.assume_init() };
    let mut mask = 0;
    for signal in SIGNALS {
        // SAFETY: the set is ours and initialised, and only read.
        if unsafe { libc::sigismember(&raw const set, signal) } == 1 {
            mask |= bit_of(signal);
        }
    }
    mask
}

/// A mask of these signals.
pub(super) fn mask_of(signals: &[libc::c_int]) -> u64 {
    let known = signals.iter().filter(|signal| SIGNALS.contains(*signal));
    known.fold(0, |mask, signal| mask | bit_of(*signal))
}

/// A mask as the C library has it.
pub(super) fn set_of(mask: u64) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is ours and lives on this stack; the call fills it and keeps no reference.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the call above filled it, and a record of zeroed integers was a value of it before.
    let mut set = unsafe { set.assume_init() };
    for signal in SIGNALS.filter(|signal| mask & bit_of(*signal) != 0) {
        // What the C library keeps for itself it refuses, and nobody blocks that.
        // SAFETY: the set is ours and initialised, and nobody else has it.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Linux's signals. (MIPS has more of them; nobody uses those.)
pub(super) const SIGNALS: std::ops::RangeInclusive<libc::c_int> = 1..=64;

const fn bit_of(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}
