//! Destinations that are slow, on a kernel whose clock stands still until the test says otherwise.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::tee_stage::{BOUND, QUEUE, Stage};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use watertight::{ErrorKind, SlowDestination, TeeDestination, TeeEnd, WriterOptions};
use watertight_core::{Backend, ReadNow};

/// How far one destination may be ahead of another.
const WINDOW: u64 = 64 * 1024;

#[test]
fn one_destination_goes_on_until_it_is_a_window_ahead_and_no_further() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::Wait);
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    let bytes: Vec<u64> = tee.destinations().iter().map(|one| one.bytes).collect();
    assert_eq!(bytes, [WINDOW, QUEUE]);
    assert_eq!(
        (tee.bytes(), stage.from.ledger().transferred()),
        (QUEUE, QUEUE)
    );
    assert_eq!(
        stage.driver.backend().source.lock().unwrap().len(),
        200_000 - 65_536
    );
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (200_000, true));
    assert!(stage.came().iter().all(|came| *came == stage.data));
}

#[test]
fn all_wait_for_a_slow_one_unless_something_else_is_said() {
    let stage = Stage::new(100_000);
    let mut tee = stage.tee(SlowDestination::default());
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    let woken = stage.woken();
    stage.pass(Duration::from_secs(1_000_000));
    assert!(stage.poll(&mut waiting).is_pending());
    // No timer of ours: only the room that is there after a millisecond has one, and there is none.
    assert_eq!(stage.woken(), woken);
}

#[test]
fn a_slow_destination_is_dropped_after_its_time_and_the_others_go_on() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::DropAfter(BOUND));
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND - Duration::from_nanos(1));
    assert!(stage.poll(&mut waiting).is_pending());
    let woken = stage.woken();
    stage.pass(Duration::from_nanos(1));
    assert!(stage.woken() > woken, "nobody else calls the waiting value");
    let done = stage.done(&mut waiting).unwrap();
    assert_eq!((done.bytes, done.has_ended), (200_000, true));
    assert_eq!(
        (done.destinations[0].bytes, done.destinations[0].error),
        (200_000, None)
    );
    let error = done.destinations[1].error.unwrap();
    assert_eq!(
        (error.kind, done.destinations[1].bytes),
        (ErrorKind::Busy, QUEUE)
    );
    assert!(stage.came()[0] == stage.data);
    // Its writer is the caller's: what it accepted still goes out.
    stage.take(usize::MAX);
    assert!(stage.came()[1] == stage.data[..1000]);
}

#[test]
fn a_slow_destination_ends_the_transfer_after_its_time_and_each_wait_counts_anew() {
    let stage = Stage::new(100_000);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    for _ in 0..2 {
        let mut waiting = tee.transfer();
        assert!(stage.poll(&mut waiting).is_pending());
        stage.pass(BOUND);
        let failed = stage.done(&mut waiting).unwrap_err();
        assert_eq!(failed.end, TeeEnd::Destination(1));
        assert_eq!((failed.error.kind, failed.bytes), (ErrorKind::Busy, QUEUE));
        drop(waiting);
        assert!(tee.destinations().iter().all(|one| one.error.is_none()));
    }
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (100_000, true));
    assert!(stage.came().iter().all(|came| *came == stage.data));
}

#[test]
fn progress_gives_a_slow_destination_its_time_again() {
    let stage = Stage::new(100_000);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    let mut waiting = tee.transfer();
    for _ in 0..10 {
        assert!(stage.poll(&mut waiting).is_pending());
        stage.pass(BOUND - Duration::from_nanos(1));
        // A byte: too little room for anybody to be told of it at once.
        stage.take(1);
    }
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND);
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind),
        (TeeEnd::Destination(1), ErrorKind::Busy)
    );
}

/// All is accepted, and the kernel of one takes nothing.
#[test]
fn a_destination_may_be_slow_at_the_end_too() {
    let stage = Stage::new(500);
    let mut tee = stage.tee(SlowDestination::DropAfter(BOUND));
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.slow.ledger().accepted(), 500);
    stage.pass(BOUND);
    let done = stage.done(&mut waiting).unwrap();
    assert_eq!((done.bytes, done.has_ended), (500, true));
    let error = done.destinations[1].error.unwrap();
    assert_eq!(
        (error.kind, error.ledger.unsettled()),
        (ErrorKind::Busy, 500)
    );
}

#[test]
fn what_a_destination_transfers_at_the_end_is_progress() {
    let stage = Stage::new(500);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.take(100);
    stage.pass(BOUND);
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND);
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(failed.error.kind, ErrorKind::Busy);
    assert_eq!(failed.error.ledger.transferred(), 100);
}

/// The time of who has caught up is not counted while another one, which gets a byte in time, is waited for.
#[test]
fn who_has_everything_is_slow_no_more() {
    let stage = Stage::with(500, false, [0, 0]);
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.take(usize::MAX);
    for _ in 0..2 {
        assert!(stage.poll(&mut waiting).is_pending());
        stage.pass(BOUND - Duration::from_nanos(1));
        stage.take_fast(1);
    }
    assert!(stage.poll(&mut waiting).is_pending());
    stage.take_fast(usize::MAX);
    assert_eq!(stage.done(&mut waiting).unwrap().bytes, 500);
}

/// What somebody else takes is gone for whoever had not got it, and nobody gets anything twice.
#[test]
fn others_may_read_the_source_between_two_waits() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::Wait);
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    let mut buf = [0; 500];
    let polled =
        Pin::new(&mut stage.from.receive(&mut buf)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(500))), "{polled:?}");
    assert!(buf == stage.data[1000..1500]);
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (199_500, true));
    let [fast, slow] = stage.came();
    assert!(fast == stage.data);
    assert!(slow == [&stage.data[..1000], &stage.data[1500..]].concat());
}

/// How many bytes each destination has.
fn accepted(tee: &[TeeDestination]) -> Vec<u64> {
    tee.iter().map(|one| one.bytes).collect()
}

/// The copies of bytes that it does not take wait for it, whatever another one gets meanwhile.
#[test]
fn a_page_for_another_one_gives_a_slow_destination_no_time_again() {
    let stage = Stage::copying();
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND - Duration::from_nanos(1));
    stage.take_fast(4096);
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(Duration::from_nanos(1));
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind),
        (TeeEnd::Destination(0), ErrorKind::Busy)
    );
    assert_eq!(accepted(&failed.destinations), [30_000 + QUEUE, 2 * 4096]);
}

/// The last one got copies too, since the slow one had nothing yet: so no move takes the bytes out of the source.
#[test]
fn what_all_have_as_copies_leaves_the_source() {
    let stage = Stage::with(60_000, true, [usize::MAX, 0]);
    let before = [7; 1000];
    stage.slow.try_send(&before).unwrap();
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.fast.ledger().transferred(), 60_000);
    assert_eq!(stage.from.ledger().transferred(), 0);
    stage.take(1000 + 30_000);
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.from.ledger().transferred(), 30_000 + QUEUE);
    stage.take(usize::MAX);
    assert_eq!(stage.done(&mut waiting).unwrap().bytes, 60_000);
    assert!(stage.came() == [stage.data.clone(), [&before[..], &stage.data].concat()]);
}

/// Somebody else fills the queue of the last one just when bytes are read ahead for it.
#[test]
fn copies_are_moved_on_while_bytes_that_are_read_ahead_wait_for_another_one() {
    let stage = Stage::copying();
    let before = vec![7; usize::try_from(WriterOptions::QUEUE_BYTES_MAX).unwrap()];
    let (other, message) = (stage.fast.clone(), before.clone());
    stage.on_read(move |_| other.try_send(&message).unwrap());
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.from.ledger().queued(), 4096);
    stage.pass(BOUND - Duration::from_nanos(1));
    stage.take(usize::MAX);
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.slow.ledger().transferred(), 60_000);
    stage.take_fast(usize::MAX);
    let done = stage.done(&mut waiting).unwrap();
    assert_eq!((done.bytes, done.has_ended), (60_000, true));
    let [fast, slow] = stage.came();
    assert!(slow == stage.data);
    assert!(fast == [&before[..], &stage.data].concat());
}

/// A page is read ahead, and the wait is over before anybody gets it.
#[test]
fn behind_a_page_that_is_read_ahead_nothing_that_somebody_has_stays_in_the_pipe() {
    let stage = Stage::copying();
    let mut tee = stage.tee_with_the_fast_one_last();
    stage.on_read(|ports| ports.pass(BOUND));
    let failed = stage.done(&mut tee.transfer()).unwrap_err();
    assert_eq!(failed.end, TeeEnd::Destination(0));
    assert_eq!(accepted(&failed.destinations), [31_000, 0]);
    assert_eq!(stage.from.ledger().queued(), 31_000);
    // Whoever has a copy of the source's handle takes what nobody has had.
    let mut taken = [0; 1000];
    let ports = stage.driver.backend();
    assert_eq!(ports.read_now(&0, &mut taken), ReadNow::Data(1000));
    assert!(taken == stage.data[31_000..32_000]);
    stage.take(usize::MAX);
    stage.take_fast(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (59_000, true));
    let rest = [&stage.data[..31_000], &stage.data[32_000..]].concat();
    assert!(stage.came().iter().all(|came| *came == rest));
}
