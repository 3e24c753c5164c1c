//! A transfer with a rate, an idle deadline or a function that sees what passes, on a kernel whose clock stands still until the test
//! says otherwise.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::noise;
use crate::still::{Ends, Still};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;
use watertight::{ErrorKind, TransferEnd, WriterOptions, transfer};
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

#[test]
fn a_rate_lets_a_portion_pass_and_then_half_a_portion_at_each_wake() {
    for still in [Still::default(), Still::by_operations(), Still::moving()] {
        let has_moves = still.has_moves;
        let ends = Ends::on(still, WriterOptions::new());
        let data = noise(1100, 41);
        ends.kernel().feed(&data);
        ends.kernel().end();
        let mut moving = transfer(&ends.from, &ends.to).rate(rate(1000));
        ends.assert_pending(&mut moving);
        ends.assert_passed(PORTION, 1100);
        for half in 1..=40 {
            let early = HALF_TIME - Duration::from_nanos(1);
            assert_eq!(ends.turn_after(early), 0, "it is not time yet");
            assert_eq!(ends.turn_after(Duration::from_nanos(1)), 1, "once");
            ends.assert_pending(&mut moving);
            ends.assert_passed(PORTION + half * HALF_PORTION, 1100);
        }
        // A second has passed.
        assert_eq!(ends.kernel().now(), Moment(1_000_000_000));
        ends.assert_passed(1050, 1100);
        for _ in 0..2 {
            assert_eq!(ends.turn_after(HALF_TIME), 1);
            ends.assert_pending(&mut moving);
        }
        ends.assert_passed(1100, 1100);
        assert_eq!(ends.turn_after(HALF_TIME), 1);
        let done = ends.done(&mut moving);
        assert_eq!((done.bytes, done.has_ended), (1100, true));
        assert_eq!(done.in_kernel, if has_moves { 1100 } else { 0 });
        drop(moving);
        assert!(ends.kernel().arrived() == data);
    }
}

#[test]
fn while_a_rate_holds_back_no_poll_takes_anything_or_is_woken_for_it() {
    let data = noise(1000, 42);
    let ends = Ends::with(&data);
    let mut moving = transfer(&ends.from, &ends.to).rate(rate(1000));
    ends.assert_pending(&mut moving);
    for _ in 0..24 {
        assert_eq!(ends.turn_after(millis(1)), 0);
        ends.assert_pending(&mut moving);
        ends.assert_passed(PORTION, 1000);
    }
    assert_eq!(ends.turn_after(millis(1)), 1);
    // Somebody else takes what was left where it is.
    let mut buf = [0; 100];
    let n = ends.from.receive(&mut buf).wait().unwrap();
    assert_eq!(buf[..n], data[50..150]);
}

#[test]
fn who_is_late_for_a_portion_catches_up_and_a_pause_is_no_burst() {
    let data = noise(1000, 43);
    let ends = Ends::with(&data);
    let mut moving = transfer(&ends.from, &ends.to).rate(rate(1000));
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(millis(40)), 1);
    ends.assert_pending(&mut moving);
    ends.assert_passed(90, 1000);
    assert_eq!(ends.turn_after(millis(24)), 0);
    assert_eq!(ends.turn_after(millis(10_000)), 1);
    ends.assert_pending(&mut moving);
    ends.assert_passed(140, 1000);
}

#[test]
fn what_was_read_ahead_before_is_held_back_too() {
    let ends = Ends::on(Still::by_operations(), WriterOptions::new());
    ends.kernel().feed(&noise(1000, 51));
    assert_eq!(ends.from.receive(&mut [0]).wait().unwrap(), 1);
    assert_eq!(ends.from.ledger().queued(), 999);
    let mut moving = transfer(&ends.from, &ends.to).rate(rate(1000));
    for bytes in [PORTION, PORTION + HALF_PORTION] {
        ends.assert_pending(&mut moving);
        assert_eq!(ends.to.ledger().accepted(), bytes);
        assert_eq!(ends.turn_after(HALF_TIME), 1);
    }
}

#[test]
fn a_bound_that_is_met_is_not_held_back() {
    let ends = Ends::with(&noise(100, 44));
    let mut moving = transfer(&ends.from, &ends.to)
        .bytes_max(PORTION)
        .rate(rate(1000));
    let done = ends.done(&mut moving);
    assert_eq!((done.bytes, done.has_ended), (PORTION, false));
}

#[test]
fn a_deadline_passes_while_a_rate_holds_back_and_the_next_transfer_goes_on() {
    let data = noise(80, 45);
    let ends = Ends::with(&data);
    ends.kernel().end();
    let mut moving = transfer(&ends.from, &ends.to)
        .rate(rate(1000))
        .within(millis(10));
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(millis(10)), 1);
    let late = ends.failed(&mut moving);
    assert_eq!(late.error.kind, ErrorKind::TimedOut);
    assert_eq!((late.end, late.bytes), (TransferEnd::Source, PORTION));
    assert!(!late.is_idle);
    drop(moving);
    // Its timer has gone with it.
    assert_eq!(ends.turn_after(millis(100)), 0);
    let rest = ends.done(&mut transfer(&ends.from, &ends.to));
    assert_eq!((rest.bytes, rest.has_ended), (30, true));
    assert_eq!(ends.kernel().arrived(), data);
}

#[test]
fn a_stop_of_either_end_is_heard_while_a_rate_holds_back() {
    for stopped in [TransferEnd::Destination, TransferEnd::Source] {
        let ends = Ends::with(&noise(100, 46));
        let mut moving = transfer(&ends.from, &ends.to).rate(rate(1000));
        ends.assert_pending(&mut moving);
        if stopped == TransferEnd::Source {
            let _ = ends.from.abort().wait().unwrap();
        } else {
            let _ = ends.to.abort().wait().unwrap();
        }
        assert!(ends.has_woken(), "{stopped:?}");
        let failed = ends.failed(&mut moving);
        assert_eq!((failed.end, failed.bytes), (stopped, PORTION));
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
    }
}

#[test]
fn a_thread_that_waits_is_held_back_too() {
    let data = noise(500, 47);
    let ends = Ends::with(&data);
    ends.kernel().end();
    let moving = transfer(&ends.from, &ends.to).rate(rate(1000));
    let done = ends.while_time_passes(|| moving.wait()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (500, true));
    // What is past the first portion took its time.
    assert!(ends.kernel().now() >= Moment(450_000_000));
    assert_eq!(ends.kernel().arrived(), data);
}

#[test]
fn a_silent_source_is_idle_and_bytes_that_trickle_are_not() {
    let ends = Ends::with(b"");
    let mut moving = transfer(&ends.from, &ends.to).idle_within(millis(1000));
    ends.assert_pending(&mut moving);
    for _ in 0..5 {
        ends.turn_after(millis(900));
        ends.assert_pending(&mut moving);
        ends.kernel().feed(b".");
        ends.turn();
        ends.assert_pending(&mut moving);
    }
    assert_eq!(ends.to.ledger().transferred(), 5);
    ends.turn_after(Duration::from_nanos(999_999_999));
    ends.assert_pending(&mut moving);
    assert_eq!(ends.turn_after(Duration::from_nanos(1)), 1);
    let failed = ends.failed(&mut moving);
    assert!(failed.is_idle);
    assert_eq!(failed.error.kind, ErrorKind::TimedOut);
    assert_eq!((failed.end, failed.bytes), (TransferEnd::Source, 5));
    let told = failed.to_string();
    assert!(told.contains("where nothing moved"), "{told}");
}

#[test]
fn a_byte_that_comes_at_the_idle_deadline_comes_in_time() {
    let ends = Ends::with(b"");
    let mut moving = transfer(&ends.from, &ends.to).idle_within(millis(1000));
    ends.assert_pending(&mut moving);
    ends.kernel().feed(b".");
    assert_eq!(ends.turn_after(millis(1000)), 2);
    ends.assert_pending(&mut moving);
    ends.assert_passed(1, 1);
}

/// What the ends could not use, for nobody read or wrote meanwhile, is not counted against them.
#[test]
fn the_time_of_who_is_shown_the_bytes_is_not_idle() {
    let ends = Ends::with(b"first");
    let mut moving = transfer(&ends.from, &ends.to)
        .inspect(|_| ends.kernel().pass(millis(1200)))
        .idle_within(millis(1000));
    ends.assert_pending(&mut moving);
    ends.assert_passed(5, 5);
    ends.turn_after(millis(999));
    ends.assert_pending(&mut moving);
    ends.turn_after(millis(1));
    assert!(ends.failed(&mut moving).is_idle);
}

#[test]
fn a_thread_that_waits_hears_that_it_is_idle() {
    for end in [TransferEnd::Destination, TransferEnd::Source] {
        let ends = if end == TransferEnd::Destination {
            Ends::full(b"0123456789", 4)
        } else {
            Ends::with(b"")
        };
        let moving = transfer(&ends.from, &ends.to).idle_within(millis(100));
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
    let moving = transfer(&ends.from, &ends.to).idle_within(millis(1000));
    let failed = moving.wait().unwrap_err();
    assert!(failed.is_idle);
    assert_eq!((failed.end, failed.bytes), (TransferEnd::Source, 1));
    assert_eq!(ends.kernel().now(), Moment(1_500_000_000));
}

/// Otherwise it would wait for a call that nobody makes.
#[test]
fn a_thread_that_blocked_goes_on_if_the_kernel_has_taken_something_meanwhile() {
    let ends = Ends::full_on(Still::blocking(), 64);
    ends.kernel().feed(b"01");
    ends.while_blocked(|driver| {
        driver.backend().pass(millis(1000));
        driver.backend().make_room(1);
        driver.turn(&mut Vec::new());
    });
    ends.while_blocked(|driver| driver.backend().feed(b"2"));
    ends.while_blocked(|driver| {
        driver.backend().make_room(1000);
        driver.turn(&mut Vec::new());
        driver.backend().end();
    });
    let moving = transfer(&ends.from, &ends.to).idle_within(millis(1000));
    let done = moving.wait().unwrap();
    assert_eq!((done.bytes, done.has_ended), (3, true));
    assert_eq!(ends.kernel().now(), Moment(1_000_000_000));
    assert_eq!(ends.kernel().arrived(), b"012");
}

#[test]
fn a_destination_that_takes_nothing_is_idle_and_is_named() {
    // Its queue is full; and all is in its queue.
    for (queue_bytes_max, bytes) in [(4, 4), (64, 10)] {
        let ends = Ends::full(b"0123456789", queue_bytes_max);
        let mut moving = transfer(&ends.from, &ends.to)
            .bytes_max(10)
            .idle_within(millis(1000));
        ends.assert_pending(&mut moving);
        assert_eq!(ends.turn_after(millis(1000)), 1);
        let failed = ends.failed(&mut moving);
        assert!(failed.is_idle);
        assert_eq!(
            (failed.end, failed.bytes),
            (TransferEnd::Destination, bytes)
        );
    }
}

#[test]
fn a_queue_that_the_kernel_takes_little_by_little_is_not_idle() {
    let ends = Ends::full(b"01234", 64);
    let mut moving = transfer(&ends.from, &ends.to)
        .bytes_max(5)
        .idle_within(millis(1000));
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
    assert_eq!((failed.end, failed.bytes), (TransferEnd::Destination, 5));
    drop(moving);
    assert_eq!(ends.to.ledger().unsettled(), 2);
}

#[test]
fn what_a_rate_holds_back_is_not_idle() {
    let ends = Ends::with(b"ab");
    let mut moving = transfer(&ends.from, &ends.to)
        .rate(rate(1))
        .idle_within(millis(100));
    ends.assert_pending(&mut moving);
    for bytes in 1..=2 {
        ends.assert_passed(bytes, 2);
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
    assert_eq!((failed.end, failed.bytes), (TransferEnd::Source, 2));
}

#[test]
fn an_idle_deadline_is_put_off_by_every_byte_and_sets_no_timer_for_each() {
    let ends = Ends::with(b"");
    let mut moving = transfer(&ends.from, &ends.to).idle_within(millis(1000));
    ends.assert_pending(&mut moving);
    let mut woken = 0;
    for _ in 0..5000 {
        ends.kernel().feed(b".");
        woken += ends.turn_after(millis(1));
        ends.assert_pending(&mut moving);
    }
    // Once for each byte, and once for each second.
    assert_eq!(woken, 5005);
}

#[test]
fn every_accepted_byte_is_shown_once_and_in_order_whatever_room_there_is() {
    let data = noise(100, 48);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let seen = Mutex::new(Vec::new());
    let mut moving = transfer(&ends.from, &ends.to)
        .inspect(|bytes| seen.lock().unwrap().extend_from_slice(bytes));
    let mut rounds = 0;
    let done = loop {
        let polled = ends.poll(&mut moving);
        let accepted = usize::try_from(ends.to.ledger().accepted()).unwrap();
        assert_eq!(*seen.lock().unwrap(), data[..accepted]);
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
    assert_eq!(ends.kernel().arrived(), data);
}

/// Somebody else sends while the read is on its way, so that there is less room than it has brought.
#[test]
fn of_what_is_accepted_in_part_that_part_is_shown() {
    let ends = Ends::full_on(Still::by_operations(), 10);
    let seen = Mutex::new(Vec::new());
    let mut moving = transfer(&ends.from, &ends.to)
        .bytes_max(10)
        .inspect(|bytes| seen.lock().unwrap().extend_from_slice(bytes));
    ends.assert_pending(&mut moving);
    ends.to.try_send(b"theirs ").unwrap();
    ends.kernel().feed(b"and ours..");
    ends.turn();
    ends.assert_pending(&mut moving);
    assert_eq!(*seen.lock().unwrap(), b"and");
    assert_eq!(ends.to.ledger().accepted(), 10);
    ends.kernel().make_room(1000);
    ends.turn();
    assert_eq!(ends.done(&mut moving).bytes, 10);
    assert_eq!(*seen.lock().unwrap(), b"and ours..");
    assert_eq!(ends.kernel().arrived(), b"theirs and ours..");
}

#[test]
fn across_a_bound_and_a_transfer_that_is_given_up_each_byte_is_shown_once() {
    let data = noise(60, 49);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let seen = Mutex::new(Vec::new());
    let show = |bytes: &[u8]| seen.lock().unwrap().extend_from_slice(bytes);
    // The bound is met, and none is shown behind it.
    let mut bounded = transfer(&ends.from, &ends.to).bytes_max(6).inspect(show);
    ends.assert_pending(&mut bounded);
    assert_eq!(*seen.lock().unwrap(), data[..6]);
    drop(bounded);
    // The next one is given up with a full queue.
    let mut given_up = transfer(&ends.from, &ends.to).inspect(show);
    ends.assert_pending(&mut given_up);
    assert_eq!(*seen.lock().unwrap(), data[..10]);
    drop(given_up);
    ends.kernel().make_room(1000);
    ends.turn();
    let done = ends.done(&mut transfer(&ends.from, &ends.to).inspect(show));
    assert_eq!((done.bytes, done.has_ended), (50, true));
    assert_eq!(*seen.lock().unwrap(), data);
    assert_eq!(ends.kernel().arrived(), data);
}

#[test]
fn no_byte_is_moved_past_the_eyes() {
    for is_inspected in [false, true] {
        let ends = Ends::on(Still::moving(), WriterOptions::new());
        ends.kernel().feed(b"seen or not");
        ends.kernel().end();
        let mut seen = Vec::new();
        let mut moving = transfer(&ends.from, &ends.to).in_kernel_everywhere();
        if is_inspected {
            moving = moving.inspect(|bytes| seen.extend_from_slice(bytes));
        }
        let done = ends.done(&mut moving);
        drop(moving);
        assert_eq!(done.bytes, 11);
        assert_eq!(done.in_kernel, if is_inspected { 0 } else { 11 });
        let text: &[u8] = if is_inspected { b"seen or not" } else { b"" };
        assert_eq!(seen, text);
    }
}

/// It may use both ends: what it is shown is in their accounts.
#[test]
fn what_is_shown_is_booked_and_nothing_is_locked() {
    let ends = Ends::with(b"shown");
    ends.kernel().end();
    let (from, to) = (&ends.from, &ends.to);
    let mut calls = 0;
    let mut moving = transfer(from, to).inspect(|bytes| {
        calls += 1;
        assert_eq!(bytes, b"shown");
        assert_eq!(from.ledger().transferred(), 5);
        assert_eq!(to.ledger().transferred(), 5);
        to.try_send(b" and more").unwrap();
    });
    let done = ends.done(&mut moving);
    drop(moving);
    assert_eq!((done.bytes, calls), (5, 1));
    assert_eq!(ends.kernel().arrived(), b"shown and more");
}

#[test]
fn a_panic_of_who_is_shown_goes_through_and_the_next_transfer_goes_on_behind_it() {
    let data = noise(60, 50);
    let ends = Ends::full(&data, 10);
    ends.kernel().end();
    let mut moving =
        transfer(&ends.from, &ends.to).inspect(|bytes| resume_unwind(Box::new(bytes.len())));
    let panicked = catch_unwind(AssertUnwindSafe(|| ends.poll(&mut moving)));
    let shown = panicked.unwrap_err().downcast::<usize>().unwrap();
    assert_eq!(*shown, 10);
    drop(moving);
    ends.assert_passed(10, 60);
    ends.kernel().make_room(1000);
    ends.turn();
    let mut seen = Vec::new();
    let mut rest = transfer(&ends.from, &ends.to).inspect(|bytes| seen.extend_from_slice(bytes));
    let done = ends.done(&mut rest);
    drop(rest);
    assert_eq!((done.bytes, done.has_ended), (50, true));
    assert_eq!(seen, data[10..]);
    assert_eq!(ends.kernel().arrived(), data);
}

#[test]
fn a_transfer_with_all_of_them_can_be_sent_and_shared() {
    fn assert_plain<T: Send + Sync + Unpin>(_: &T) {}
    let ends = Ends::with(b"");
    let moving = transfer(&ends.from, &ends.to)
        .rate(rate(1))
        .idle_within(millis(1))
        .inspect(|_| {});
    assert_plain(&moving);
}
