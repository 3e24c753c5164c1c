//! Bounds and foreign code: a pump that has enough to do hands over to the library's thread, and what panics in a waker is
//! counted and takes nobody with it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use watertight::{ReaderOptions, WriterOptions, census, pipe, pipe_with};

/// A waker that panics instead of waking.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        // Past the hook: what a backtrace keeps in memory would count as left behind.
        std::panic::resume_unwind(Box::new("this waker panics"));
    }
}

/// Waits for a count that another thread makes, and gives up after some patience.
fn until(reached: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_waker_that_panics_is_counted_and_the_pipe_goes_on() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let waker = Waker::from(Arc::new(Bomb));
    let before = census().foreign_panics;
    let mut buf = [0; 8];
    {
        let mut read = pin!(reader.receive(&mut buf));
        let polled = read.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Pending));
        writer.send(b"one").within(PATIENCE).wait().unwrap();
        until(|| census().foreign_panics > before, "it was not called");
        assert_eq!(census().foreign_panics, before + 1);
        // The waiting itself is as good as before.
        let polled = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(3))));
    }
    assert_eq!(&buf[..3], b"one");
    writer.send(b"two").within(PATIENCE).wait().unwrap();
    let n = reader.receive(&mut buf).within(PATIENCE).wait().unwrap();
    assert_eq!(&buf[..n], b"two");
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
}

#[test]
fn two_wakers_that_panic_are_both_counted_and_the_third_is_called() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let _ = crate::common::fill_up(&writer, &[7; 5_000]);
    let bomb = Waker::from(Arc::new(Bomb));
    let before = census().foreign_panics;
    let mut first = pin!(writer.until_transferred());
    let mut second = pin!(writer.until_transferred());
    for flush in [first.as_mut(), second.as_mut()] {
        assert!(flush.poll(&mut Context::from_waker(&bomb)).is_pending());
    }
    std::thread::scope(|scope| {
        let third = scope.spawn(|| writer.until_transferred().within(PATIENCE).wait());
        let mut buf = [0; 4096];
        while !third.is_finished() {
            let _ = reader
                .receive(&mut buf)
                .within(Duration::from_millis(20))
                .wait();
        }
        third.join().unwrap().unwrap();
    });
    until(
        || census().foreign_panics >= before + 2,
        "one was not called",
    );
    assert_eq!(census().foreign_panics, before + 2);
}

#[test]
fn more_operations_than_one_pump_may_do_all_get_done() {
    let _accounted = Accounted::start();
    // Every byte is an operation of its own, and the pipe has room for all of them.
    let options = WriterOptions::new().op_bytes_max(1);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    let message: Vec<u8> = (0..1_000_u32).map(|n| (n % 251) as u8).collect();
    writer.send(&message).within(PATIENCE).wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    assert_eq!(writer.ledger().transferred(), 1_000);
    let mut got = Vec::new();
    let mut buf = [0; 300];
    while got.len() < message.len() {
        let n = reader.receive(&mut buf).within(PATIENCE).wait().unwrap();
        got.extend_from_slice(&buf[..n]);
    }
    assert_eq!(got, message);
}
