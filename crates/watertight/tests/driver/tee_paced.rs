//! From one source to two destinations with a rate, an idle deadline or a function that sees what passes, on a kernel whose clock stands still
//! until the test says otherwise.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::noise;
use crate::still::{Ends, Still};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;
use watertight::{DeadDestination, ErrorKind, SlowDestination, Tee, TeeEnd, WriterOptions};
use watertight_core::{Backend, Moment};

/// At 1000 bytes a second.
const PORTION: u64 = 50;
const HALF_PORTION: u64 = 25;
const HALF_TIME: Duration = Duration::from_millis(25);

fn rate(bytes_per_second: u64) -> NonZeroU64 {
    NonZeroU64::new(bytes_per_second).unwrap()
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn both(ends: &Ends) -> Tee<'_, Still> {
    Tee::new(&ends.from, [&ends.to, &ends.also_to]).unwrap()
}

/// So many bytes have passed to each, and the others are in the source, untouched.
fn assert_passed(ends: &Ends, bytes: u64, of: usize) {
    ends.assert_passed(bytes, of);
    assert_eq!(ends.also_to.ledger().accepted(), bytes);
}

#[test]
fn a_rate_lets_a_portion_pass_to_each_and_then_half_a_portion_at_each_wake() {
    for still in [Still::default(), Still::by_operations(), Still::moving()] {
        let in_kernel = if still.has_moves { 1100 } else { 0 };
        let ends = Ends::on(still, WriterOptions::new());
        let data = noise(1100, 61);
        ends.kernel().feed(&data);
        ends.kernel().end();
        let mut tee = both(&ends);
        tee.rate(rate(1000));
        let mut moving = tee.transfer();
        ends.assert_pending(&mut moving);
        assert_passed(&ends, PORTION, 1100);
        for half in 1..=42 {
            let early = HALF_TIME - Duration::from_nanos(1);
            assert_eq!(ends.turn_after(early), 0, "it is not time yet");
            ends.assert_pending(&mut moving);
            assert_passed(&ends, PORTION + (half - 1) * HALF_PORTION, 1100);
            assert_eq!(ends.turn_after(Duration::from_nanos(1)), 1, "once");
            ends.assert_pending(&mut moving);
            assert_passed(&ends, PORTION + half * HALF_PORTION, 1100);
        }
        // All have passed; the end is seen when the next bytes might.
        assert_eq!(ends.turn_after(HALF_TIME), 1);
        let done = ends.done(&mut moving);
        assert_eq!((done.bytes, done.has_ended), (1100, true));
        for one in &done.destinations {
            assert_eq!((one.bytes, one.in_kernel), (1100, in_kernel));
        }
        drop(moving);
        assert!(
            ends.kernel()
                .arrived_at_both()
                .iter()
                .all(|one| *one == data)
        );
    }
}

/// What counts is what all have, and who is ahead gets no more than might pass to all.
#[test]
fn a_destination_is_ahead_of_another_one_by_a_portion_at_most() {
    let ends = Ends::full(&noise(1000, 62), 30);
    let mut tee = both(&ends);
    tee.rate(rate(1000));
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    for _ in 0..2 {
        assert_eq!(ends.from.ledger().transferred(), 30);
        assert_eq!(ends.to.ledger().accepted(), 30);
        assert_eq!(ends.also_to.ledger().accepted(), PORTION);
        assert_eq!(ends.kernel().left(), 950);
        ends.turn_after(millis(5_000));
        ends.assert_pending(&mut moving);
    }
    // The rest of the portion, and what has grown since up to a portion in all.
    ends.kernel().make_room(1000);
    ends.turn();
    ends.assert_pending(&mut moving);
    assert_passed(&ends, 30 + PORTION, 1000);
}

#[test]
fn the_rate_goes_on_in_the_next_wait_and_the_timer_goes_with_a_wait() {
    let data = noise(80, 63);
    let ends = Ends::with(&data);
    ends.kernel().end();
    let mut tee = both(&ends);
    tee.rate(rate(1000));
    let mut moving = tee.transfer().within(millis(10));
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(millis(10)), 1);
    let late = ends.failed(&mut moving);
    assert_eq!(late.error.kind, ErrorKind::TimedOut);
    assert_eq!((late.end, late.bytes), (TeeEnd::Source, PORTION));
    assert!(!late.is_idle);
    drop(moving);
    let mut given_up = tee.transfer();
    ends.assert_pending(&mut given_up);
    assert_passed(&ends, PORTION, 80);
    drop(given_up);
    assert_eq!(ends.turn_after(millis(100)), 0);
    let done = ends.done(&mut tee.transfer());
    assert_eq!((done.bytes, done.has_ended), (80, true));
    assert!(
        ends.kernel()
            .arrived_at_both()
            .iter()
            .all(|one| *one == data)
    );
}

#[test]
fn a_stop_of_any_end_is_heard_while_a_rate_holds_back() {
    for place in 0..3 {
        let ends = Ends::with(&noise(100, 64));
        let mut tee = both(&ends);
        tee.rate(rate(1000));
        let mut moving = tee.transfer();
        ends.assert_pending(&mut moving);
        assert!(!ends.has_woken());
        let stopped = match place {
            0 => {
                let _ = ends.from.abort().wait().unwrap();
                TeeEnd::Source
            }
            1 => {
                let _ = ends.to.abort().wait().unwrap();
                TeeEnd::Destination(0)
            }
            _ => {
                let _ = ends.also_to.abort().wait().unwrap();
                TeeEnd::Destination(1)
            }
        };
        assert!(ends.has_woken(), "{stopped:?}");
        let failed = ends.failed(&mut moving);
        assert_eq!((failed.end, failed.bytes), (stopped, PORTION));
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
    }
}

#[test]
fn a_thread_that_waits_is_held_back_too() {
    let data = noise(500, 65);
    let ends = Ends::with(&data);
    ends.kernel().end();
    let mut tee = both(&ends);
    tee.rate(rate(1000));
    let moving = tee.transfer();
    let done = ends.while_time_passes(|| moving.wait()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (500, true));
    // What is past the first portion took its time.
    assert!(ends.kernel().now() >= Moment(450_000_000));
    assert!(
        ends.kernel()
            .arrived_at_both()
            .iter()
            .all(|one| *one == data)
    );
}

#[test]
fn a_silent_source_is_idle_and_bytes_that_trickle_are_not() {
    let ends = Ends::with(b"");
    let mut tee = both(&ends);
    tee.idle_within(millis(1000));
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    for _ in 0..5 {
        ends.turn_after(millis(900));
        ends.assert_pending(&mut moving);
        ends.kernel().feed(b".");
        ends.turn();
        ends.assert_pending(&mut moving);
    }
    assert_eq!(ends.also_to.ledger().transferred(), 5);
    ends.turn_after(Duration::from_nanos(999_999_999));
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(Duration::from_nanos(1)), 1);
    let failed = ends.failed(&mut moving);
    assert!(failed.is_idle);
    assert_eq!(failed.error.kind, ErrorKind::TimedOut);
    assert_eq!((failed.end, failed.bytes), (TeeEnd::Source, 5));
    let told = failed.to_string();
    assert!(told.contains("where nothing moved"), "{told}");
}

#[test]
fn a_destination_that_takes_nothing_is_idle_and_is_named_whatever_another_one_has() {
    // Its queue is full; and all is in its queue.
    for (queue_bytes_max, bytes) in [(4, 4), (64, 10)] {
        let ends = Ends::full(b"0123456789", queue_bytes_max);
        let mut tee = both(&ends);
        tee.bytes_max(10).idle_within(millis(1000));
        let mut moving = tee.transfer();
        ends.assert_pending(&mut moving);
        assert_eq!(ends.turn_after(millis(1000)), 1);
        let failed = ends.failed(&mut moving);
        assert!(failed.is_idle);
        assert_eq!((failed.end, failed.bytes), (TeeEnd::Destination(0), bytes));
        let accepted: Vec<u64> = failed.destinations.iter().map(|one| one.bytes).collect();
        assert_eq!(accepted, [bytes, 10]);
        let told = failed.to_string();
        assert!(told.contains("where nothing moved"), "{told}");
    }
}

#[test]
fn a_queue_that_the_kernel_takes_little_by_little_is_not_idle() {
    let ends = Ends::full(b"01234", 64);
    let mut tee = both(&ends);
    tee.bytes_max(5).idle_within(millis(1000));
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    for taken in 1..=3 {
        // Nobody is told of that, and the clock calls a little later.
        ends.kernel().make_room(1);
        assert_eq!(ends.turn_after(millis(900)), 0);
        assert_eq!(ends.to.ledger().transferred(), taken);
        assert_eq!(ends.turn_after(millis(100)), 1);
        ends.assert_pending(&mut moving);
    }
    assert_eq!(ends.turn_after(millis(1000)), 1);
    let failed = ends.failed(&mut moving);
    assert!(failed.is_idle);
    assert_eq!((failed.end, failed.bytes), (TeeEnd::Destination(0), 5));
}

/// Neither its being dropped nor what becomes of its queue puts the idle deadline off.
#[test]
fn a_destination_that_was_dropped_moves_nothing() {
    let ends = Ends::full(b"0123456789", 4);
    let mut tee = both(&ends);
    tee.slow_destination(SlowDestination::DropAfter(millis(500)));
    tee.idle_within(millis(1000));
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    // One clock for both.
    assert_eq!(ends.turn_after(millis(500)), 1);
    ends.assert_pending(&mut moving);
    assert_eq!(ends.from.ledger().transferred(), 10);
    ends.kernel().make_room(1);
    assert_eq!(ends.turn_after(millis(499)), 0);
    assert_eq!(ends.to.ledger().transferred(), 1);
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(millis(1)), 1);
    let failed = ends.failed(&mut moving);
    assert!(failed.is_idle);
    assert_eq!((failed.end, failed.bytes), (TeeEnd::Source, 10));
    let dropped = failed.destinations[0].error.unwrap();
    assert_eq!(dropped.kind, ErrorKind::Busy);
}

#[test]
fn each_wait_counts_its_idle_time_anew() {
    let ends = Ends::with(b"");
    let mut tee = both(&ends);
    tee.idle_within(millis(1000));
    let mut given_up = tee.transfer();
    ends.assert_pending(&mut given_up);
    ends.turn_after(millis(900));
    drop(given_up);
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    // The timer of the first wait has gone with it.
    assert_eq!(ends.turn_after(millis(999)), 0);
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(millis(1)), 1);
    assert!(ends.failed(&mut moving).is_idle);
}

#[test]
fn what_a_rate_holds_back_is_not_idle() {
    let ends = Ends::with(b"ab");
    let mut tee = both(&ends);
    tee.rate(rate(1)).idle_within(millis(100));
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    for bytes in 1..=2 {
        assert_passed(&ends, bytes, 2);
        assert_eq!(ends.turn_after(millis(999)), 0);
        ends.assert_pending(&mut moving);
        assert_eq!(ends.turn_after(millis(1)), 1);
        ends.assert_pending(&mut moving);
    }
    // Now the source is silent, which counts from the end of the hold on.
    assert_eq!(ends.turn_after(millis(99)), 0);
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(millis(1)), 1);
    let failed = ends.failed(&mut moving);
    assert!(failed.is_idle);
    assert_eq!((failed.end, failed.bytes), (TeeEnd::Source, 2));
}

#[test]
fn a_thread_that_waits_hears_that_it_is_idle() {
    for end in [TeeEnd::Destination(0), TeeEnd::Source] {
        let ends = if end == TeeEnd::Source {
            Ends::with(b"")
        } else {
            Ends::full(b"0123456789", 4)
        };
        let mut tee = both(&ends);
        tee.idle_within(millis(100));
        let moving = tee.transfer();
        let failed = ends.while_time_passes(|| moving.wait()).unwrap_err();
        assert!(failed.is_idle);
        assert_eq!(failed.end, end);
        assert!(ends.kernel().now() >= Moment(100_000_000));
    }
}

/// The time at which a byte moved counts, and not the one at which the thread is back.
#[test]
fn a_thread_that_blocks_does_so_until_the_idle_deadline_at_most() {
    let ends = Ends::on(Still::blocking(), WriterOptions::new());
    ends.while_blocked(|driver| {
        driver.backend().pass(millis(500));
        driver.backend().feed(b".");
    });
    let mut tee = both(&ends);
    tee.idle_within(millis(1000));
    let failed = tee.transfer().wait().unwrap_err();
    assert!(failed.is_idle);
    assert_eq!((failed.end, failed.bytes), (TeeEnd::Source, 1));
    assert_eq!(ends.kernel().now(), Moment(1_500_000_000));
}

#[test]
fn every_byte_that_all_have_is_shown_once_and_in_order_whatever_room_there_is() {
    let data = noise(100, 66);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let seen = Mutex::new(Vec::new());
    let mut tee = both(&ends);
    tee.inspect(|bytes| seen.lock().unwrap().extend_from_slice(bytes));
    let mut moving = tee.transfer();
    let mut rounds = 0;
    let done = loop {
        let polled = ends.poll(&mut moving);
        let taken = usize::try_from(ends.from.ledger().transferred()).unwrap();
        assert_eq!(*seen.lock().unwrap(), data[..taken]);
        if let Poll::Ready(done) = polled {
            break done.unwrap();
        }
        ends.kernel().make_room(7);
        ends.turn_after(millis(2));
        rounds += 1;
        assert!(rounds < 100, "it comes to no end");
    };
    assert_eq!((done.bytes, done.has_ended), (100, true));
    assert!(rounds > 10, "in pieces: {rounds}");
    assert!(
        ends.kernel()
            .arrived_at_both()
            .iter()
            .all(|one| *one == data)
    );
}

#[test]
fn across_a_bound_and_a_wait_that_is_given_up_each_byte_is_shown_once() {
    let data = noise(60, 67);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let seen = Mutex::new(Vec::new());
    let mut tee = both(&ends);
    tee.inspect(|bytes| seen.lock().unwrap().extend_from_slice(bytes));
    // The bound is met, and none is shown behind it.
    tee.bytes_max(6);
    ends.assert_pending(&mut tee.transfer());
    assert_eq!(*seen.lock().unwrap(), data[..6]);
    // The next wait is given up when one has all and the other one's queue is full.
    tee.bytes_max(u64::MAX);
    ends.assert_pending(&mut tee.transfer());
    assert_eq!(ends.also_to.ledger().accepted(), 60);
    assert_eq!(*seen.lock().unwrap(), data[..10]);
    ends.kernel().make_room(1000);
    ends.turn();
    let done = ends.done(&mut tee.transfer());
    assert_eq!((done.bytes, done.has_ended), (60, true));
    assert_eq!(*seen.lock().unwrap(), data);
    assert!(
        ends.kernel()
            .arrived_at_both()
            .iter()
            .all(|one| *one == data)
    );
}

#[test]
fn what_all_others_have_is_shown_when_one_that_lacks_it_is_dropped() {
    let data = noise(60, 68);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let seen = Mutex::new(Vec::new());
    let mut tee = both(&ends);
    tee.dead_destination(DeadDestination::Drop);
    tee.inspect(|bytes| seen.lock().unwrap().extend_from_slice(bytes));
    let mut moving = tee.transfer();
    ends.assert_pending(&mut moving);
    assert_eq!(*seen.lock().unwrap(), data[..10]);
    let _ = ends.poll(&mut ends.to.abort());
    ends.turn();
    let done = ends.done(&mut moving);
    assert_eq!((done.bytes, done.has_ended), (60, true));
    assert_eq!(*seen.lock().unwrap(), data);
}

#[test]
fn no_byte_is_moved_past_the_eyes() {
    // Whether somebody sees them, and whether that is said last.
    for (is_inspected, is_last) in [(false, false), (true, false), (true, true)] {
        let ends = Ends::on(Still::moving(), WriterOptions::new());
        ends.kernel().feed(b"seen or not");
        ends.kernel().end();
        let seen = Mutex::new(Vec::new());
        let show = |bytes: &[u8]| seen.lock().unwrap().extend_from_slice(bytes);
        let mut tee = both(&ends);
        if is_inspected && !is_last {
            tee.inspect(show);
        }
        tee.in_kernel_everywhere();
        if is_inspected && is_last {
            tee.inspect(show);
        }
        let done = ends.done(&mut tee.transfer());
        assert_eq!((done.bytes, done.has_ended), (11, true));
        for one in &done.destinations {
            assert_eq!(one.in_kernel, if is_inspected { 0 } else { 11 });
        }
        let text: &[u8] = if is_inspected { b"seen or not" } else { b"" };
        assert_eq!(*seen.lock().unwrap(), text);
    }
}

/// It may use all ends: what it is shown is in their accounts.
#[test]
fn what_is_shown_is_booked_and_nothing_is_locked() {
    let ends = Ends::with(b"shown");
    ends.kernel().end();
    let mut calls = 0;
    let mut tee = both(&ends);
    tee.inspect(|bytes| {
        calls += 1;
        assert_eq!(bytes, b"shown");
        assert_eq!(ends.from.ledger().transferred(), 5);
        for to in [&ends.to, &ends.also_to] {
            assert_eq!(to.ledger().transferred(), 5);
            to.try_send(b" and more").unwrap();
        }
    });
    let done = ends.done(&mut tee.transfer());
    drop(tee);
    assert_eq!((done.bytes, calls), (5, 1));
    let arrived = ends.kernel().arrived_at_both();
    assert!(arrived.iter().all(|one| *one == b"shown and more"));
}

#[test]
fn a_panic_of_who_is_shown_goes_through_and_the_next_wait_goes_on_behind_it() {
    let data = noise(60, 69);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let seen = Mutex::new(Vec::new());
    let mut tee = both(&ends);
    tee.inspect(|bytes| resume_unwind(Box::new(bytes.len())));
    let mut moving = tee.transfer();
    let panicked = catch_unwind(AssertUnwindSafe(|| ends.poll(&mut moving)));
    let shown = panicked.unwrap_err().downcast::<usize>().unwrap();
    assert_eq!(*shown, 10);
    drop(moving);
    assert_eq!(tee.bytes(), 10);
    assert_eq!(ends.from.ledger().transferred(), 10);
    assert_eq!(ends.to.ledger().accepted(), 10);
    assert_eq!(ends.also_to.ledger().accepted(), 60);
    ends.kernel().make_room(1000);
    ends.turn();
    tee.inspect(|bytes| seen.lock().unwrap().extend_from_slice(bytes));
    let done = ends.done(&mut tee.transfer());
    assert_eq!((done.bytes, done.has_ended), (60, true));
    assert_eq!(*seen.lock().unwrap(), data[10..]);
    assert!(
        ends.kernel()
            .arrived_at_both()
            .iter()
            .all(|one| *one == data)
    );
}

#[test]
fn a_transfer_with_all_of_them_can_be_sent_and_shared() {
    fn assert_plain<T: Send + Sync + Unpin>(_: &T) {}
    let ends = Ends::with(b"");
    let mut tee = both(&ends);
    tee.rate(rate(1)).idle_within(millis(1)).inspect(|_| {});
    assert_plain(&tee);
    assert_plain(&tee.transfer());
}
