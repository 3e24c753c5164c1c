//! Spinning before blocking (`ReaderOptions::spin`) on the real kernel, where it may spin or block and nobody sees a difference.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, read_exactly};
use std::sync::Arc;
use std::time::Duration;
use watertight::{ErrorKind, ReaderOptions, WriterOptions, pipe_with};

#[test]
fn round_trips_between_two_that_spin_lose_nothing() {
    const ROUNDS: u32 = 2_000;
    let _accounted = Accounted::start();
    let spin = || ReaderOptions::new().spin(ReaderOptions::SPIN_MAX);
    let (questions, asking) = pipe_with(spin(), WriterOptions::new()).unwrap();
    let (answers, answering) = pipe_with(spin(), WriterOptions::new()).unwrap();
    let other = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            let question = read_exactly(&questions, 4);
            answering.send(&question).within(PATIENCE).wait().unwrap();
        }
        answering.finish().within(PATIENCE).wait().unwrap()
    });
    for round in 0..ROUNDS {
        let question = round.to_le_bytes();
        asking.send(&question).within(PATIENCE).wait().unwrap();
        assert_eq!(read_exactly(&answers, 4), question);
    }
    assert!(other.join().unwrap().is_complete());
    let end = answers.receive(&mut [0; 8]).within(PATIENCE).wait();
    assert_eq!(end.unwrap(), 0);
}

/// A reader that has learnt to spin, and is stopped while it waits, wherever it is then.
#[test]
fn a_stop_and_a_deadline_end_a_wait_that_may_spin() {
    let _accounted = Accounted::start();
    let options = ReaderOptions::new().spin(ReaderOptions::SPIN_MAX);
    for _ in 0..20 {
        let (reader, writer) = pipe_with(options.clone(), WriterOptions::new()).unwrap();
        let (reader, writer) = (Arc::new(reader), Arc::new(writer));
        for _ in 0..20 {
            let sending = writer.clone();
            let other = std::thread::spawn(move || sending.send(b"x").wait().unwrap());
            assert_eq!(read_exactly(&reader, 1), b"x");
            other.join().unwrap();
        }
        let soon = Duration::from_micros(50);
        let late = reader.receive(&mut [0; 8]).within(soon).wait();
        assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
        let (begun, wait_begun) = std::sync::mpsc::channel();
        let reading = reader.clone();
        let other = std::thread::spawn(move || {
            begun.send(()).unwrap();
            reading.receive(&mut [0; 8]).within(PATIENCE).wait()
        });
        wait_begun.recv().unwrap();
        let receipt = reader.abort().within(PATIENCE).wait().unwrap();
        assert_eq!(receipt.ledger().transferred(), 20);
        let stopped = other.join().unwrap();
        assert_eq!(stopped.unwrap_err().kind, ErrorKind::Aborted);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_real_kernel_offers_it_where_there_are_several_processors() {
    let _accounted = Accounted::start();
    let number = std::thread::available_parallelism().unwrap();
    let native = watertight::Native::new().unwrap();
    assert_eq!(watertight::Backend::may_spin(&native), number.get() > 1);
}
