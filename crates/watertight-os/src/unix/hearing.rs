//! What a program has to hear, so that it is not ended alone, and that a thread of it can. What is done about a signal is the program's.

use super::facts::disposition;
use super::sigpipe::{OF_THE_THREAD, OF_WRITES, set_of};
#[cfg(any(target_os = "android", target_os = "linux"))]
use super::start::SIGNALS;

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
        let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
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
