//! Signals that are noted, in a process that may have a handler for them: it has nothing else to do.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::itself::test_name;
use crate::turn::take_turn;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::process::Command;
use watertight_os::{is_any_signal_noted, note_signals, take_noted_signals, without_signals};

/// Makes this test binary such a process.
const WITH_NOTES: &str = "WATERTIGHT_TEST_WITH_NOTES";
/// More bytes than a socket has room for, each in a piece of its own.
const MANY: usize = 100_000;

fn run_with_notes(test: &str) {
    take_turn();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), test)])
        .env(WITH_NOTES, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// The calling thread takes it before this comes back, unless it blocks it.
fn raise(signal: libc::c_int) {
    // SAFETY: a number goes in and no memory is involved. The signal has a handler of ours.
    let code = unsafe { libc::raise(signal) };
    assert_eq!(code, 0);
}

/// How many bytes there are.
fn heard(woken: &mut UnixStream) -> usize {
    let (mut all, mut buffer) = (0, [0; 4096]);
    loop {
        match woken.read(&mut buffer) {
            Ok(bytes) => all += bytes,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return all;
            }
        }
    }
}

#[test]
fn signals_that_are_noted_wake_who_reads_and_are_told_once() {
    if std::env::var_os(WITH_NOTES).is_none() {
        return run_with_notes("signals_that_are_noted_wake_who_reads_and_are_told_once");
    }
    let (wake, mut woken) = UnixStream::pair().unwrap();
    woken.set_nonblocking(true).unwrap();
    let both = [libc::SIGPROF, libc::SIGRTMIN() + 1];
    note_signals(&both, wake).unwrap();
    assert!(!is_any_signal_noted());
    for signal in [both[1], both[0], both[1]] {
        raise(signal);
    }
    assert!(is_any_signal_noted());
    assert_eq!(heard(&mut woken), 3);
    assert_eq!(take_noted_signals().collect::<Vec<_>>(), both);
    assert!(!is_any_signal_noted());
    // What comes while they are held back comes behind that.
    without_signals(&both, || {
        raise(both[0]);
        assert!(!is_any_signal_noted());
    });
    assert_eq!(take_noted_signals().collect::<Vec<_>>(), both[..1]);
    // It is for the process.
    let (other, _) = UnixStream::pair().unwrap();
    let again = note_signals(&both, other).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
}

/// It may run between a call of its thread and the thread's look at errno.
#[test]
fn a_handler_that_finds_no_room_leaves_errno_as_it_was() {
    if std::env::var_os(WITH_NOTES).is_none() {
        return run_with_notes("a_handler_that_finds_no_room_leaves_errno_as_it_was");
    }
    let (wake, mut woken) = UnixStream::pair().unwrap();
    woken.set_nonblocking(true).unwrap();
    note_signals(&[libc::SIGPROF], wake).unwrap();
    for _ in 0..MANY {
        raise(libc::SIGPROF);
    }
    // SAFETY: it takes nothing, and says where this thread's errno is.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it is this thread's errno, and nobody else has it.
    unsafe { *errno = libc::EDOM };
    raise(libc::SIGPROF);
    assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EDOM));
    assert!(heard(&mut woken) < MANY, "there was room");
}
