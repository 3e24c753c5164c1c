//! Queues in which bytes wait for a slow destination while others go on, and destinations of which the caller knows better: on a kernel whose
//! clock stands still until the test says otherwise.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::tee_stage::{BOUND, QUEUE, Stage};
use watertight::{ErrorKind, SlowDestination, Tee, TeeEnd};
use watertight_core::Backend;

/// How many bytes each destination has accepted.
fn accepted<B: Backend>(tee: &Tee<'_, B>) -> Vec<u64> {
    tee.destinations().iter().map(|one| one.bytes).collect()
}

/// How many of them never left the kernel.
fn in_kernel<B: Backend>(tee: &Tee<'_, B>) -> Vec<u64> {
    tee.destinations().iter().map(|one| one.in_kernel).collect()
}

#[test]
fn what_one_does_not_take_inside_the_kernel_is_queued_there() {
    let stage = Stage::with_queue(50_000, 60_000, true, [usize::MAX, 0]);
    let mut tee = stage.tee(SlowDestination::Wait);
    tee.fill_queues();
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    assert_eq!(accepted(&tee), [60_000, 50_000]);
    assert_eq!(tee.bytes(), 50_000);
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (60_000, true));
    assert!(stage.came().iter().all(|came| *came == stage.data));
}

/// The source is read on until a queue is full, so that its end is seen.
#[test]
fn where_nobody_takes_anything_both_queues_are_filled() {
    let stage = Stage::with_queue(50_000, 40_000, true, [0, 0]);
    let mut tee = stage.tee(SlowDestination::Wait);
    tee.fill_queues().until_accepted();
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (40_000, true));
    assert!(stage.came().iter().all(Vec::is_empty));
}

#[test]
fn behind_a_queue_all_goes_through_the_buffer_until_it_is_empty() {
    let stage = Stage::with(60_000, true, [usize::MAX, 0]);
    let before = [7; 100];
    stage.slow.try_send(&before).unwrap();
    let mut tee = stage.tee(SlowDestination::Wait);
    tee.fill_queues().until_accepted().bytes_max(500);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, in_kernel(&tee)), (500, vec![0, 0]));
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.bytes_max(60_000).transfer()).unwrap();
    assert_eq!((done.bytes, in_kernel(&tee)), (60_000, vec![59_500; 2]));
    let [fast, slow] = stage.came();
    assert!(fast == stage.data);
    assert!(slow == [&before[..], &stage.data].concat());
}

/// It has room, and so has its pipe.
#[test]
fn nothing_is_written_to_one_that_is_paused() {
    for copies in [false, true] {
        let stage = Stage::with(60_000, copies, [usize::MAX; 2]);
        let mut tee = stage.tee(SlowDestination::Wait);
        tee.pause(1);
        for _ in 0..2 {
            assert!(stage.poll(&mut tee.transfer()).is_pending());
            assert_eq!((accepted(&tee), tee.bytes()), (vec![60_000, 0], 0));
            assert_eq!(in_kernel(&tee), [0, 0]);
        }
        let done = stage.done(&mut tee.resume(1).transfer()).unwrap();
        assert_eq!((done.bytes, done.has_ended), (60_000, true));
        assert!(stage.came().iter().all(|came| *came == stage.data));
    }
}

#[test]
fn one_that_is_paused_is_slow_after_its_time() {
    let stage = Stage::with(60_000, true, [usize::MAX; 2]);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    let mut waiting = tee.pause(1).transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND);
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(failed.end, TeeEnd::Destination(1));
    assert_eq!(failed.error.kind, ErrorKind::Busy);
}

#[test]
fn one_that_is_left_out_gets_no_more_and_the_others_do_not_wait_for_it() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::Wait);
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    // There is no such one.
    tee.leave_out(2).pause(2);
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    let done = stage.done(&mut tee.leave_out(1).transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (200_000, true));
    assert_eq!(accepted(&tee), [200_000, QUEUE]);
    let errors = done.destinations.iter().map(|one| one.error);
    let kinds: Vec<_> = errors.map(|error| error.map(|error| error.kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Cancelled)]);
    // Its writer is the caller's: what it accepted still goes out.
    stage.take(usize::MAX);
    let [fast, slow] = stage.came();
    assert!(fast == stage.data);
    assert!(slow == stage.data[..1000]);
    let failed = stage.done(&mut tee.leave_out(0).transfer()).unwrap_err();
    assert_eq!(failed.end, TeeEnd::Destination(0));
    assert_eq!(failed.error.kind, ErrorKind::Cancelled);
}
