//! What a pipe promises, on the system this runs on.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

#[path = "conformance/body.rs"]
mod body;
mod common;

use common::{Accounted, PATIENCE, noise, read_to_end};
use std::time::{Duration, Instant};
use watertight::{ErrorKind, Verb, pipe};

/// What a pipe is here.
mod ground {
    pub(super) use crate::common::{
        Accounted, PATIENCE, fill_up, joined, noise, read_exactly, read_to_end,
    };
    pub(super) use watertight::{pipe, pipe_with};

    /// On Windows nobody knows what a cancelled write moved.
    pub(super) const KNOWS_WHAT_WAS_TAKEN: bool = cfg!(unix);
}

#[test]
fn a_drop_neither_blocks_nor_loses_what_was_accepted() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let data = noise(250_000, 8);
    writer.send(&data).wait().unwrap();
    let begun = Instant::now();
    drop(writer);
    assert!(begun.elapsed() < PATIENCE, "the drop waited");
    assert_eq!(watertight::census().lingering, 1);
    let unsettled = watertight::settle().within(Duration::from_millis(1)).wait();
    // That deadline gives the bytes up; before it, a reader could have had them all.
    let ledgers = unsettled.unwrap_err().ledgers;
    assert_eq!(ledgers[0].accepted(), 250_000);
    watertight::settle().within(PATIENCE).wait().unwrap();
    let seen = read_to_end(&reader);
    assert!(data.starts_with(&seen));

    let (reader, writer) = pipe().unwrap();
    writer.send(&data).wait().unwrap();
    drop(writer);
    assert!(read_to_end(&reader) == data);
}

#[test]
fn an_idle_pipe_is_given_back_usable_and_a_busy_one_is_not() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    writer
        .send(&[1; 500_000])
        .within(Duration::from_millis(20))
        .wait()
        .unwrap_err();
    let kept = writer.into_handle().unwrap_err();
    let (writer, error) = (kept.handle, kept.error);
    assert_eq!((error.verb, error.kind), (Verb::Release, ErrorKind::Busy));
    let _ = writer.abort().wait().unwrap();
    drop((reader, writer));

    let (reader, writer) = pipe().unwrap();
    writer.send(b"through").wait().unwrap();
    writer.until_transferred().wait().unwrap();
    let handle = writer.into_handle().unwrap();
    drop(handle);
    assert_eq!(read_to_end(&reader), b"through");
    drop(reader.into_handle().unwrap());
}

#[test]
fn reading_to_the_end_within_a_bound_loses_nothing() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let data = noise(100_000, 12);
    let sent = data.clone();
    let sending = std::thread::spawn(move || {
        writer.send(&sent).wait().unwrap();
        writer.finish().wait().unwrap()
    });
    let mut all = Vec::new();
    let is_whole = reader.receive_to_end(&mut all, 30_000).wait().unwrap();
    assert!(!is_whole && all.len() == 30_000);
    let late = reader.receive_to_end(&mut all, 1 << 20);
    assert!(late.within(PATIENCE).wait().unwrap());
    assert!(all == data);
    assert!(sending.join().unwrap().is_complete());
}
