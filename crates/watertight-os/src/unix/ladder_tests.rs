//! Every rung of the ladder carries bytes, cancels exactly and reports the peer's end, also on kernels that lack the
//! flags of this one.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects"
)]

use super::handle::{Handle, Kind};
use super::helper::Helper;
use super::kernel::{self, Features};
use super::poller::Native;
use crate::Direction;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use watertight_core::{
    Backend, Cancelled, Chunks, Class, Completion, Key, Moved, Op, OpId, OpKind, Outcome, ReadNow,
    Submitted,
};

/// How an end is to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Forced {
    AsFound,
    Helper,
}

fn id(kind: OpKind) -> OpId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pipe = Key {
        slot: NEXT.fetch_add(1, Relaxed),
        generation: 0,
    };
    OpId { pipe, kind }
}

fn end(native: &Native, fd: OwnedFd, direction: Direction, forced: Forced) -> Arc<Handle> {
    let handle = match forced {
        Forced::AsFound => native.adopt(fd, direction).unwrap(),
        Forced::Helper => {
            let helper = Helper::new(native.post()).unwrap();
            Handle::with_helper(fd, direction, Kind::Pipe, helper)
        }
    };
    Arc::new(handle)
}

fn chunks(bytes: usize) -> Chunks {
    let mut chunks = Chunks::default();
    chunks.push(vec![1; bytes / 2].into());
    chunks.push(vec![2; bytes - bytes / 2].into());
    chunks
}

/// The answer to one operation, waited for if need be.
fn answer(native: &Native, handle: &Arc<Handle>, op: Op) -> Outcome {
    let id = id(op.kind());
    match native.submit(handle, id, op) {
        Submitted::Done(outcome) => outcome,
        Submitted::InFlight => wait_for(native, id),
    }
}

fn wait_for(native: &Native, id: OpId) -> Outcome {
    let mut completions: Vec<Completion> = Vec::new();
    loop {
        native.wait(&mut completions, None).unwrap();
        if let Some(index) = completions.iter().position(|one| one.id == id) {
            return completions.swap_remove(index).outcome;
        }
    }
}

fn read_some(native: &Native, handle: &Arc<Handle>) -> Option<Vec<u8>> {
    let mut buf = vec![0; 100_000];
    loop {
        match native.read_now(handle, &mut buf) {
            ReadNow::Data(n) => return Some(buf[..n].to_vec()),
            ReadNow::EndOfStream => return None,
            ReadNow::Wait => {
                assert!(matches!(
                    answer(native, handle, Op::WaitReadable),
                    Outcome::Ready
                ));
            }
            ReadNow::Unavailable => match answer(native, handle, Op::Read { bytes_max: 100_000 }) {
                Outcome::Data(data) => return Some(data.to_vec()),
                Outcome::EndOfStream => return None,
                other => panic!("{other:?}"),
            },
            ReadNow::Failed(class, os) => panic!("{class:?} {os:?}"),
        }
    }
}

/// All that can be told apart on this machine: this kernel, kernels without its flags, and the helper.
fn variants() -> Vec<(Native, Forced)> {
    let here = kernel::probe().unwrap();
    let mut all: Vec<_> = Features::all_below(here)
        .into_iter()
        .map(|features| (Native::with_features(features).unwrap(), Forced::AsFound))
        .collect();
    all.push((Native::new().unwrap(), Forced::Helper));
    all
}

#[test]
fn every_rung_carries_bytes_and_sees_the_end() {
    for (native, forced) in variants() {
        let (from, into) = kernel::pipe().unwrap();
        let from = end(&native, from, Direction::Read, forced);
        let into = end(&native, into, Direction::Write, forced);
        let mut sent = 0;
        let mut seen = Vec::new();
        while sent < 50_000 {
            match answer(&native, &into, Op::Write(chunks(10_000))) {
                Outcome::Transferred(n) => sent += n,
                other => panic!("{forced:?}: {other:?}"),
            }
        }
        native.close(into, true).unwrap();
        while let Some(data) = read_some(&native, &from) {
            seen.extend(data);
        }
        assert_eq!(seen.len() as u64, sent, "{forced:?}");
        native.close(from, false).unwrap();
    }
}

#[test]
fn a_cancelled_write_on_every_rung_is_exact() {
    for (native, forced) in variants() {
        let (from, into) = kernel::pipe().unwrap();
        let from = end(&native, from, Direction::Read, forced);
        let into = end(&native, into, Direction::Write, forced);
        let mut moved = 0;
        let stuck = id(OpKind::Write);
        while let Submitted::Done(outcome) = native.submit(&into, stuck, Op::Write(chunks(200_000)))
        {
            match outcome {
                Outcome::Transferred(n) => moved += n,
                other => panic!("{forced:?}: {other:?}"),
            }
        }
        let outcome = match native.cancel(&into, stuck) {
            Cancelled::Done(outcome) => outcome,
            Cancelled::Requested => wait_for(&native, stuck),
        };
        match outcome {
            Outcome::Failed {
                class: Class::Aborted,
                moved: Moved::Exactly(n),
                ..
            } => moved += n,
            other => panic!("{forced:?}: {other:?}"),
        }
        native.close(into, false).unwrap();
        let mut seen = 0;
        while let Some(data) = read_some(&native, &from) {
            seen += data.len() as u64;
        }
        assert_eq!(seen, moved, "{forced:?}");
        native.close(from, false).unwrap();
    }
}

#[test]
fn a_cancelled_read_on_every_rung_takes_nothing() {
    for (native, forced) in variants() {
        let (from, into) = kernel::pipe().unwrap();
        let from = end(&native, from, Direction::Read, forced);
        let (op, kind) = match forced {
            Forced::AsFound => (Op::WaitReadable, OpKind::WaitReadable),
            Forced::Helper => (Op::Read { bytes_max: 64 }, OpKind::Read),
        };
        for _ in 0..100 {
            let waiting = id(kind);
            assert!(matches!(
                native.submit(&from, waiting, op.clone()),
                Submitted::InFlight
            ));
            let outcome = match native.cancel(&from, waiting) {
                Cancelled::Done(outcome) => outcome,
                Cancelled::Requested => wait_for(&native, waiting),
            };
            assert!(
                matches!(
                    outcome,
                    Outcome::Failed {
                        class: Class::Aborted,
                        ..
                    }
                ),
                "{outcome:?}"
            );
        }
        rustix::io::write(&into, b"whole").unwrap();
        assert_eq!(read_some(&native, &from).unwrap(), b"whole");
        native.close(from, false).unwrap();
    }
}

#[test]
fn a_broken_pipe_on_every_rung_is_gone_and_raises_nothing() {
    for (native, forced) in variants() {
        let (from, into) = kernel::pipe().unwrap();
        let into = end(&native, into, Direction::Write, forced);
        drop(from);
        match answer(&native, &into, Op::Write(chunks(10))) {
            Outcome::Failed {
                class: Class::Gone,
                os: Some(code),
                moved: Moved::Exactly(0),
            } => {
                assert_eq!(code.0, libc::EPIPE);
            }
            other => panic!("{forced:?}: {other:?}"),
        }
        native.close(into, true).unwrap();
    }
}

#[test]
fn capacity_is_asked_for_and_read_back() {
    let native = Native::new().unwrap();
    let (from, into) = native.pipe().unwrap();
    if let Some(before) = into.capacity() {
        let after = into.set_capacity(before * 4).unwrap();
        assert!(after >= before, "{before} {after}");
        assert_eq!(from.capacity(), Some(after));
        // More than the kernel gives an ordinary user, or at all: refused, and told as it is.
        let refused = into.set_capacity(1 << 40).unwrap();
        assert_eq!(refused, after);
    }
    drop((from.into_os(), into.into_os()));
}

#[test]
fn a_cancel_that_meets_a_running_operation_is_answered() {
    let native = Native::new().unwrap();
    let (from, into) = native.pipe().unwrap();
    let (from, into) = (Arc::new(from), Arc::new(into));
    let waiting = id(OpKind::WaitReadable);
    assert!(matches!(
        native.submit(&from, waiting, Op::WaitReadable),
        Submitted::InFlight
    ));
    // The driver's thread has taken it up, is cancelled meanwhile, and finds that it would have to wait again.
    native.mark_running(&from);
    assert!(matches!(
        native.cancel(&from, waiting),
        Cancelled::Requested
    ));
    let outcome = native.settle_ready(from.poll_key, None).unwrap();
    assert!(matches!(
        outcome,
        Outcome::Failed {
            class: Class::Aborted,
            ..
        }
    ));
    native.close(from, false).unwrap();
    native.close(into, false).unwrap();
}

/// A cancel that comes when the helper has answered already must not end what it does next.
#[test]
fn a_late_cancel_does_not_end_the_next_operation() {
    let native = Native::new().unwrap();
    let (from, into) = kernel::pipe().unwrap();
    let from = end(&native, from, Direction::Read, Forced::Helper);
    let read = Op::Read { bytes_max: 8 };
    rustix::io::write(&into, b"first").unwrap();
    let first = id(OpKind::Read);
    let submitted = native.submit(&from, first, read.clone());
    assert!(matches!(submitted, Submitted::InFlight));
    assert!(matches!(wait_for(&native, first), Outcome::Data(_)));
    assert!(matches!(native.cancel(&from, first), Cancelled::Requested));
    let second = id(OpKind::Read);
    let submitted = native.submit(&from, second, read);
    assert!(matches!(submitted, Submitted::InFlight));
    rustix::io::write(&into, b"second").unwrap();
    match wait_for(&native, second) {
        Outcome::Data(data) => assert_eq!(&data[..], b"second"),
        other => panic!("{other:?}"),
    }
    native.close(from, false).unwrap();
}

/// Others may write into an adopted pipe, and what the kernel keeps whole among theirs is not exceeded; nobody writes into an
/// unshared one.
#[test]
fn only_a_pipe_that_others_may_write_has_a_bound_for_one_write() {
    let native = Native::new().unwrap();
    let (_from, into) = rustix::pipe::pipe().unwrap();
    let shared = native
        .adopt(into.try_clone().unwrap(), Direction::Write)
        .unwrap();
    let unshared = native.adopt_unshared(into, Direction::Write).unwrap();
    assert_eq!(shared.atomic_bytes_max(), Some(libc::PIPE_BUF as u64));
    assert_eq!(unshared.atomic_bytes_max(), None);
}
