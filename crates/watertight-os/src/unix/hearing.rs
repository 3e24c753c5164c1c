//! What a program has to hear, so that it is not ended alone, and that a thread of it can. What is done about a signal is the program's.

use super::facts::disposition;
use super::sigpipe::{OF_THE_THREAD, OF_WRITES, block, restore, set_of};
#[cfg(any(target_os = "android", target_os = "linux"))]
use super::start::SIGNALS;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

// Where the C library keeps the errno of the thread that asks.
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
use libc::___errno as errno_place;
#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
use libc::__errno as errno_place;
#[cfg(any(target_os = "dragonfly", target_os = "linux"))]
use libc::__errno_location as errno_place;
#[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
use libc::__error as errno_place;

/// The signals that all of these systems have. (FreeBSD and NetBSD have more of them, which nobody here has tried.)
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const SIGNALS: std::ops::RangeInclusive<libc::c_int> = 1..=31;

/// At their default these end nobody: they are ignored, stop a process, or let it go on.
const ENDING_NOBODY: [libc::c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// What ends nobody on some systems only, and a fault that only those tell (SIGEMT). On Linux every other signal ends a process.
#[cfg(any(target_os = "android", target_os = "linux"))]
const NOT_HERE: [libc::c_int; 0] = [];
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const NOT_HERE: [libc::c_int; 3] = [libc::SIGEMT, libc::SIGINFO, libc::SIGIO];

/// sigaction: the signals that others send, or the system on somebody's behalf, and that would end this process. Those that are ignored
/// would not, nor those that have a handler, which a library may have set before `main`. Left out are SIGKILL, and what comes of this
/// process's own doing: faults, and writes that fail.
#[must_use]
pub fn ending_signals() -> Vec<i32> {
    let mut all: Vec<i32> = SIGNALS.collect();
    all.retain(|signal| is_ending(*signal));
    all
}

fn is_ending(signal: libc::c_int) -> bool {
    let left_out: [&[libc::c_int]; 5] = [
        &[libc::SIGKILL],
        &ENDING_NOBODY,
        &NOT_HERE,
        &OF_THE_THREAD,
        &OF_WRITES,
    ];
    let is_left_out = left_out.iter().any(|some| some.contains(&signal));
    // Of what the C library keeps for itself it tells nothing, and it can be set by nobody.
    !is_left_out && disposition(signal) == Some(libc::SIG_DFL)
}

/// The signals that have come and were not taken since: a bit for each, the first signal's the lowest.
static COME: AtomicU64 = AtomicU64::new(0);

/// Gets a byte for each signal that is noted. Nobody closes it: a handler may run at any time.
static WAKE: OnceLock<UnixStream> = OnceLock::new();

/// sigaction: from now on these signals end nobody. Each is noted when it comes ([`take_noted_signals`]), and `wake` gets a byte, if it has room.
/// A signal that the system lets nobody set (valgrind keeps one for itself) stays as it is. This is for the whole process, and once: it cannot be
/// taken back. A program that closes the other side of `wake` has to ignore SIGPIPE, as Rust's programs do.
///
/// # Errors
///
/// [`ErrorKind::AlreadyExists`]: it was called before.
pub fn note_signals(signals: &[i32], wake: UnixStream) -> io::Result<()> {
    if WAKE.set(wake).is_err() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // SAFETY: it is a record of integers and of an address that may be missing: zeros are a value of it.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = note as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    action.sa_mask = set_of(&[]);
    for signal in signals {
        // SAFETY: `action` is ours and only read until the call returns. Its handler takes a number, as one does without SA_SIGINFO, is there for
        // good, and does nothing that is not async-signal-safe.
        unsafe { libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) };
    }
    Ok(())
}

/// The handler. It runs in the middle of whatever its thread does: it takes no lock, allocates nothing, makes one call that is async-signal-safe,
/// and leaves errno as it was.
extern "C" fn note(signal: libc::c_int) {
    // First: whoever is woken looks here.
    COME.fetch_or(bit_of(signal), Ordering::SeqCst);
    let Some(wake) = WAKE.get() else { return };
    // SAFETY: it takes no memory. What it says is where the C library has this thread's errno, which is no other thread's and is there until the
    // thread ends.
    let errno = unsafe { errno_place() };
    // SAFETY: it is this thread's, which nobody else reads or writes, and is there as long as the thread.
    let before = unsafe { *errno };
    // SAFETY: the descriptor is open for good, and the byte is a constant; the call reads it and keeps no reference. If there is no room, there are
    // bytes that wake whoever reads.
    unsafe {
        libc::send(
            wake.as_raw_fd(),
            c"x".as_ptr().cast(),
            1,
            libc::MSG_DONTWAIT,
        )
    };
    // SAFETY: as above, for the read of it: it is this thread's own, and the thread is here.
    unsafe { *errno = before };
}

/// Whether a signal was noted that nobody has taken.
#[must_use]
pub fn is_any_signal_noted() -> bool {
    COME.load(Ordering::SeqCst) != 0
}

/// The signals that were noted since they were taken last, each once.
pub fn take_noted_signals() -> impl Iterator<Item = i32> {
    let come = COME.swap(0, Ordering::SeqCst);
    SIGNALS.filter(move |signal| come & bit_of(*signal) != 0)
}

const fn bit_of(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

/// pthread_sigmask: makes the call while this thread takes none of these signals. Those that come meanwhile are taken behind it.
pub fn without_signals<T>(signals: &[i32], call: impl FnOnce() -> T) -> T {
    let _held = Held {
        before: block(signals),
    };
    call()
}

/// The thread's mask is as it was when this is dropped.
struct Held {
    before: libc::sigset_t,
}

impl Drop for Held {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

/// pthread_sigmask: the calling thread can hear these signals from now on, also those that this process was started with blocked. So can the
/// threads that it starts. The children of this process are not concerned (Linux; elsewhere they have the mask of the thread that starts them).
pub fn unblock_signals(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: the set is ours, lives on this stack, and is only read; the call changes this thread's mask and nothing else.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_this_process_is_known() {
        let ending = ending_signals();
        for signal in [
            libc::SIGALRM,
            libc::SIGPROF,
            libc::SIGTERM,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGVTALRM,
            libc::SIGXCPU,
        ] {
            assert!(ending.contains(&signal), "{signal}: {ending:?}");
        }
        let others = ENDING_NOBODY.iter().chain(&OF_THE_THREAD).chain(&OF_WRITES);
        for signal in others.chain(&[libc::SIGKILL]) {
            assert!(!ending.contains(signal), "{signal}: {ending:?}");
        }
    }

    /// Of those that a process may set, on Linux every other one ends it.
    #[cfg(target_os = "linux")]
    #[test]
    fn real_time_signals_end_this_process_too_unless_it_has_set_something_for_them() {
        // Valgrind keeps the very last one for itself.
        let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX() - 1);
        let ending = ending_signals();
        for signal in [libc::SIGIO, libc::SIGPWR, first, last] {
            assert!(ending.contains(&signal), "{signal}: {ending:?}");
        }
        // Nothing here sends it.
        let ours = first + 11;
        assert!(ending.contains(&ours));
        // SAFETY: the disposition is a valid one, and of this signal nobody else in this process knows.
        unsafe { libc::signal(ours, libc::SIG_IGN) };
        assert!(!ending_signals().contains(&ours));
        // SAFETY: as above: nobody else knows of this signal.
        unsafe { libc::signal(ours, libc::SIG_DFL) };
        assert!(ending_signals().contains(&ours));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_hears_what_it_blocks_no_more() {
        use crate::unix::process::block_signals;
        use crate::unix::start::{mask_of, mask_of_this_thread};

        std::thread::spawn(|| {
            let both = [libc::SIGTERM, libc::SIGUSR1];
            block_signals(&both);
            unblock_signals(&both[..1]);
            let blocked = mask_of_this_thread() & mask_of(&both);
            assert_eq!(blocked, mask_of(&both[1..]));
        })
        .join()
        .unwrap();
    }
}
