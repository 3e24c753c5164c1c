//! The Unix backend by itself: what it says of a handle, and what it answers to operations that are not for it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::turn::take_turn;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{
    Backend, Chunks, Class, Completion, Key, Moment, Op, OpId, OpKind, Outcome, ReadNow, Submitted,
};
use watertight_os::{Direction, Handle, Native};

const PATIENCE: Duration = Duration::from_secs(60);

fn id(kind: OpKind) -> OpId {
    id_of(0, kind)
}

fn id_of(slot: u32, kind: OpKind) -> OpId {
    let pipe = Key {
        slot,
        generation: 1,
    };
    OpId { pipe, kind }
}

/// What the operation in flight is answered with.
fn answer(native: &Native) -> Outcome {
    let mut completions: Vec<Completion> = Vec::new();
    let end = native.now().after(PATIENCE);
    while completions.is_empty() {
        assert!(native.now() < end, "no answer");
        native.wait(&mut completions, Some(end)).unwrap();
    }
    assert_eq!(completions.len(), 1);
    completions.remove(0).outcome
}

fn file(native: &Native) -> Arc<Handle> {
    let file = std::fs::File::open(env!("CARGO_MANIFEST_PATH")).unwrap();
    Arc::new(native.adopt(OwnedFd::from(file), Direction::Read).unwrap())
}

#[test]
fn a_handle_knows_what_it_is_and_which_way_it_goes() {
    take_turn();
    let native = Native::new().unwrap();
    let (reading, writing) = std::io::pipe().unwrap();
    let reading = native.adopt(reading.into(), Direction::Read).unwrap();
    let writing = native.adopt(writing.into(), Direction::Write).unwrap();
    assert_eq!(reading.direction(), Direction::Read);
    assert_eq!(writing.direction(), Direction::Write);
    assert!(!reading.is_regular_file());
    let file = file(&native);
    assert!(file.is_regular_file() && file.capacity().is_none());
    for shown in [format!("{native:?}"), format!("{file:?}")] {
        assert!(!shown.is_empty() && !shown.contains('\n'));
    }
    native.close(file, false).unwrap();
    // What was adopted goes back as it came.
    let mut back = std::fs::File::from(native.release(reading));
    native.close(Arc::new(writing), false).unwrap();
    assert_eq!(back.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn an_operation_that_a_handle_does_not_have_is_an_error_and_no_wait() {
    take_turn();
    let native = Native::new().unwrap();
    let (reading, writing) = std::io::pipe().unwrap();
    let reading = Arc::new(native.adopt(reading.into(), Direction::Read).unwrap());
    // A pipe is read straight into the caller's memory; there is no operation for it.
    let read = Op::Read { bytes_max: 1 };
    let told = native.submit(&reading, id(OpKind::Read), read);
    let Submitted::Done(Outcome::Failed { class, .. }) = told else {
        panic!("{told:?}");
    };
    assert_eq!(class, Class::Unsupported);
    // And a helper's thread reads, but does not wait to read.
    let file = file(&native);
    let told = native.submit(&file, id(OpKind::WaitReadable), Op::WaitReadable);
    assert!(matches!(told, Submitted::InFlight));
    let Outcome::Failed { class, .. } = answer(&native) else {
        panic!("a file has nothing to wait for");
    };
    assert_eq!(class, Class::Unsupported);
    native.close(file, false).unwrap();
    native.close(reading, false).unwrap();
    drop(writing);
}

#[test]
fn a_wake_ends_a_wait_and_a_rest_ends_by_itself() {
    take_turn();
    let native = Native::new().unwrap();
    let mut completions = Vec::new();
    native.wake();
    native.wait(&mut completions, None).unwrap();
    assert!(completions.is_empty());
    let before = native.now();
    native
        .wait(&mut completions, Some(Moment::default()))
        .unwrap();
    native.rest(Duration::from_millis(1));
    assert!(native.now() >= before);
}

/// What the child may do, its answer, and that the parent's registration survives it. Not beside other tests: while the child lives it has
/// the ends of all their pipes.
#[test]
fn a_forked_child_is_refused_and_disturbs_nothing() {
    take_turn();
    let native = Native::new().unwrap();
    let (from, into) = native.pipe().unwrap();
    let (from, into) = (Arc::new(from), Arc::new(into));
    let told = native.submit(&from, id_of(1, OpKind::WaitReadable), Op::WaitReadable);
    assert!(matches!(told, Submitted::InFlight));
    let (_, other) = native.pipe().unwrap();
    let other = Arc::new(other);
    let write = || {
        let mut chunks = Chunks::default();
        chunks.push(vec![1; 10].into());
        Op::Write(chunks)
    };
    // SAFETY: the child only makes system calls and takes locks that no other thread of this test's process holds, and
    // leaves by `_exit` without running anything of the parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let waits = native.submit(&from, id_of(2, OpKind::WaitReadable), Op::WaitReadable);
        let written = native.submit(&other, id_of(3, OpKind::Write), write());
        let is_refused = !matches!(waits, Submitted::InFlight)
            && matches!(
                written,
                Submitted::Done(Outcome::Failed {
                    class: Class::WrongProcess,
                    ..
                })
            )
            && native.read_now(&from, &mut [0; 8]) == ReadNow::Failed(Class::WrongProcess, None);
        let is_closed = native.close(other, true).is_ok();
        // SAFETY: ends the child at once; nothing of it is used afterwards.
        unsafe { libc::_exit(i32::from(!(is_refused && is_closed))) };
    }
    let mut status = -1;
    // SAFETY: `status` is ours and outlives the call, which keeps no reference.
    let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((reaped, status), (child, 0));
    let told = native.submit(&into, id_of(4, OpKind::Write), write());
    assert!(matches!(told, Submitted::Done(Outcome::Transferred(10))));
    assert!(matches!(answer(&native), Outcome::Ready));
    native.close(into, false).unwrap();
    native.close(from, false).unwrap();
    native.close(other, false).unwrap();
}
