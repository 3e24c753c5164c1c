//! The Windows backend on handles that can only block: the system's anonymous pipes, files and devices.
//!
//! Under Wine a synchronous handle does not serialise its calls (windows-facts 24); no test here depends on either.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::windows_lab::*;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::OwnedHandle;
use std::path::PathBuf;
use watertight_core::{Backend, Cancelled, Class, Moved, Op, OpKind, Outcome};
use watertight_os::{Direction, Native, Step};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OVERLAPPED};

/// Enough rounds for a cancel to come before, in and after the blocking call.
const ROUNDS: usize = 200;

/// A file that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("watertight-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that failed before it made the file has nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ends(lab: &mut Lab) -> (End, End) {
    let (reading, writing) = blocking_pipe();
    let reading = lab.native.adopt(reading, Direction::Read).unwrap();
    let writing = lab.native.adopt(writing, Direction::Write).unwrap();
    (lab.end(reading), lab.end(writing))
}

#[test]
fn bytes_go_through_a_blocking_pipe_and_it_ends() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    assert!(writing.handle.capacity().is_some());
    assert_transferred(&lab.write(&writing, "first"), 5);
    assert_data(&lab.read(&reading), b"first");

    let early = lab.submit_read(&reading);
    assert_in_flight(&early);
    assert_transferred(&lab.write(&writing, "second"), 6);
    assert_data(&lab.settle(&reading, OpKind::Read, early), b"second");

    lab.close(writing);
    assert_end(&lab.read(&reading));
    lab.assert_quiet();
    assert_eq!(Native::operations_alive(), 0);
}

#[test]
fn a_blocked_read_can_be_cancelled_and_loses_nothing() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    for _ in 0..ROUNDS {
        assert_in_flight(&lab.submit_read(&reading));
        let outcome = lab.cancel(&reading, OpKind::Read);
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
    assert_transferred(&lab.write(&writing, "still here"), 10);
    assert_data(&lab.read(&reading), b"still here");
    lab.assert_quiet();
}

#[test]
fn a_cancelled_blocking_write_is_in_doubt() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    // Ten bytes of it were read: the thread is in the call.
    let submitted = lab.submit(&reading, Op::Read { bytes_max: 10 });
    assert_data(&lab.settle(&reading, OpKind::Read, submitted), &[1; 10]);
    let outcome = lab.cancel(&writing, OpKind::Write);
    assert_failed(&outcome, Class::Aborted, Some(995), Moved::Unknown);
    lab.assert_quiet();
}

#[test]
fn a_peer_that_closes_breaks_a_blocking_write() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    let submitted = lab.submit(&reading, Op::Read { bytes_max: 10 });
    assert_data(&lab.settle(&reading, OpKind::Read, submitted), &[1; 10]);
    lab.close(reading);
    let outcome = lab.answer(writing.id(OpKind::Write));
    assert_failed(&outcome, Class::Gone, Some(109), Moved::Unknown);
    let outcome = lab.write(&writing, "more");
    assert_failed(&outcome, Class::Gone, Some(232), Moved::Exactly(0));
}

#[test]
fn what_waits_behind_a_blocked_call_is_cancelled_at_once() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    let submitted = lab.submit(&reading, Op::Read { bytes_max: 10 });
    assert_data(&lab.settle(&reading, OpKind::Read, submitted), &[1; 10]);

    assert_in_flight(&lab.submit(&writing, Op::UntilRead));
    let id = writing.id(OpKind::UntilRead);
    match lab.native.cancel(&writing.handle, id) {
        Cancelled::Done(outcome) => {
            assert_failed(&outcome, Class::Aborted, None, Moved::Exactly(0));
        }
        Cancelled::Requested => panic!("the thread is in the write"),
    }
    let outcome = lab.cancel(&writing, OpKind::Write);
    assert_failed(&outcome, Class::Aborted, Some(995), Moved::Unknown);
    lab.assert_quiet();
    lab.close(writing);
    lab.close(reading);
}

#[test]
fn until_read_works_on_a_blocking_pipe() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    assert_transferred(&lab.write(&writing, "read me"), 7);
    assert_in_flight(&lab.submit(&writing, Op::UntilRead));
    assert_data(&lab.read(&reading), b"read me");
    assert_ready(&lab.answer(writing.id(OpKind::UntilRead)));
    lab.close(reading);
    assert_failed(
        &lab.until_read(&writing),
        Class::Gone,
        None,
        Moved::Exactly(0),
    );
}

#[test]
fn a_blocking_handle_comes_back_as_it_was() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = ends(&mut lab);
    assert_transferred(&lab.write(&writing, "through us, "), 12);
    let into_os = |end: End| std::sync::Arc::into_inner(end.handle).unwrap().into_os();
    let mut writing = std::io::PipeWriter::from(into_os(writing));
    let mut reading = std::io::PipeReader::from(into_os(reading));
    writing.write_all(b"through std").unwrap();
    drop(writing);
    let mut all = String::new();
    reading.read_to_string(&mut all).unwrap();
    assert_eq!(all, "through us, through std");
}

#[test]
fn a_file_is_written_and_read_to_its_end() {
    take_turn();
    let mut lab = Lab::new();
    let scratch = Scratch::new("file");
    let file = File::create(&scratch.0).unwrap();
    let writing = lab.native.adopt(file.into(), Direction::Write).unwrap();
    assert!(writing.is_regular_file());
    assert_eq!(writing.capacity(), None);
    let writing = lab.end(writing);
    assert_transferred(&lab.write(&writing, "in a file"), 9);
    let outcome = lab.until_read(&writing);
    assert_failed(&outcome, Class::Unsupported, None, Moved::Exactly(0));
    lab.close(writing);

    let appending = OpenOptions::new().append(true).open(&scratch.0).unwrap();
    let writing = lab
        .native
        .adopt(appending.into(), Direction::Write)
        .unwrap();
    let writing = lab.end(writing);
    assert_transferred(&lab.write(&writing, ", twice"), 7);
    lab.close(writing);

    let file = File::open(&scratch.0).unwrap();
    let reading = lab.native.adopt(file.into(), Direction::Read).unwrap();
    let reading = lab.end(reading);
    assert_data(&lab.read(&reading), b"in a file, twice");
    assert_end(&lab.read(&reading));
    lab.close(reading);
}

#[test]
fn the_null_device_takes_everything_and_ends_at_once() {
    take_turn();
    let mut lab = Lab::new();
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("NUL")
        .unwrap();
    let other = duplicate(&null);
    let writing = lab.native.adopt(null.into(), Direction::Write).unwrap();
    let reading = lab.native.adopt(other, Direction::Read).unwrap();
    let (reading, writing) = (lab.end(reading), lab.end(writing));
    assert_transferred(&lab.write(&writing, "away"), 4);
    assert_end(&lab.read(&reading));
}

#[test]
fn files_that_do_not_fit_come_back() {
    take_turn();
    let lab = Lab::new();
    let refused = |handle: OwnedHandle, direction| {
        let refused = lab.native.adopt(handle, direction).unwrap_err();
        // It is open still.
        drop(duplicate(&refused.handle));
        let error = refused.error;
        (error.step, error.class, error.os.map(|os| os.0))
    };
    let mut folder = OpenOptions::new();
    folder.read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    let folder = folder.open(std::env::temp_dir()).unwrap();
    let expected = (Step::Inspect, Class::Argument, Some(336));
    assert_eq!(refused(folder.into(), Direction::Read), expected);

    let scratch = Scratch::new("overlapped");
    let mut file = OpenOptions::new();
    file.write(true)
        .create(true)
        .truncate(true)
        .custom_flags(FILE_FLAG_OVERLAPPED);
    let file = file.open(&scratch.0).unwrap();
    let expected = (Step::Inspect, Class::Unsupported, None);
    assert_eq!(refused(file.into(), Direction::Write), expected);

    let (reading, writing) = blocking_pipe();
    let expected = (Step::InspectAccess, Class::Argument, Some(5));
    assert_eq!(refused(reading, Direction::Write), expected);
    assert_eq!(refused(writing, Direction::Read), expected);
}

#[test]
fn reads_raced_by_cancels_and_writes_keep_every_byte_in_order() {
    take_turn();
    for blocking in [false, true] {
        let mut lab = Lab::new();
        let (reading, writing) = if blocking { ends(&mut lab) } else { lab.pipe() };
        let mut seen = Vec::new();
        for round in 0..ROUNDS {
            let byte = u8::try_from(round).unwrap();
            let submitted = lab.submit_read(&reading);
            assert_transferred(&lab.write(&writing, vec![byte]), 1);
            assert_in_flight(&submitted);
            match lab.cancel(&reading, OpKind::Read) {
                Outcome::Data(data) => seen.extend_from_slice(&data),
                Outcome::Failed {
                    class: Class::Aborted,
                    ..
                } => {}
                other => panic!("{other:?}"),
            }
        }
        lab.close(writing);
        loop {
            match lab.read(&reading) {
                Outcome::Data(data) => seen.extend_from_slice(&data),
                Outcome::EndOfStream => break,
                other => panic!("{other:?}"),
            }
        }
        let all: Vec<u8> = (0..ROUNDS)
            .map(|round| u8::try_from(round).unwrap())
            .collect();
        assert_eq!(seen, all, "blocking: {blocking}");
        lab.assert_quiet();
    }
}
