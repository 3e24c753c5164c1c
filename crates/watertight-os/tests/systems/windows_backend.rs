//! The Windows backend on overlapped pipes, driven by hand.
//!
//! What Wine answers differently from Windows (windows-facts 3) is noted where it matters and not asserted.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::windows_lab::*;
use bytes::Bytes;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::time::Duration;
use watertight_core::{Backend, Class, Moment, Moved, Op, OpKind, Outcome, ReadNow, Submitted};
use watertight_os::{Direction, Native};
use windows_sys::Win32::Storage::FileSystem::WriteFile;
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Pipes::{PIPE_READMODE_MESSAGE, PIPE_TYPE_MESSAGE, PIPE_WAIT};

/// Writes past the backend, as a process does that has the same end: with an OVERLAPPED that is not ours.
fn write_as_a_stranger(handle: &OwnedHandle, bytes: &[u8]) {
    let mut overlapped = Box::new(OVERLAPPED::default());
    let length = u32::try_from(bytes.len()).unwrap();
    // SAFETY: the write fits the pipe, so that it is over when the call returns; block and bytes outlive it.
    let succeeded = unsafe {
        let block = &raw mut *overlapped;
        WriteFile(
            handle.as_raw_handle(),
            bytes.as_ptr(),
            length,
            null_mut(),
            block,
        )
    };
    assert_ne!(succeeded, 0);
}

#[test]
fn bytes_go_through_whichever_end_comes_first() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_eq!(reading.handle.direction(), Direction::Read);
    assert_eq!(writing.handle.direction(), Direction::Write);
    assert_eq!(writing.handle.capacity(), Some(65_536));
    assert_eq!(writing.handle.set_capacity(1 << 20), None);
    assert!(!writing.handle.is_regular_file());

    assert_transferred(&lab.write(&writing, "first"), 5);
    assert_data(&lab.read(&reading), b"first");

    let early = lab.submit_read(&reading);
    assert_in_flight(&early);
    assert_transferred(&lab.write(&writing, "second"), 6);
    assert_data(&lab.settle(&reading, OpKind::Read, early), b"second");

    lab.assert_quiet();
    lab.close(writing);
    assert_end(&lab.read(&reading));
    lab.close(reading);
    assert_eq!(Native::operations_alive(), 0);
}

#[test]
fn several_chunks_arrive_in_order_as_one_write() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    let parts = [
        Bytes::from("one "),
        Bytes::from("two "),
        Bytes::from("three"),
    ];
    let submitted = lab.submit(&writing, Op::Write(chunks(parts)));
    assert_transferred(&lab.settle(&writing, OpKind::Write, submitted), 13);
    assert_data(&lab.read(&reading), b"one two three");
    // Nothing to write is nothing to ask the system for.
    assert_transferred(&lab.write(&writing, ""), 0);
    lab.assert_quiet();
}

#[test]
fn a_pending_write_is_transferred_when_the_reader_took_it() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    let bytes: Vec<u8> = (0..TOO_MANY).map(|i| i.to_le_bytes()[0]).collect();
    let submitted = lab.submit_write(&writing, bytes.clone());
    assert_in_flight(&submitted);
    assert_eq!(lab.read_all(&reading, TOO_MANY), bytes);
    assert_transferred(&lab.answer(writing.id(OpKind::Write)), TOO_MANY as u64);
    lab.assert_quiet();
}

#[test]
fn a_cancelled_pending_write_is_in_doubt() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    let submitted = lab.submit_write(&writing, vec![1; TOO_MANY]);
    assert_in_flight(&submitted);
    lab.assert_quiet();
    assert_eq!(Native::operations_alive(), 1);
    let outcome = lab.cancel(&writing, OpKind::Write);
    assert_failed(&outcome, Class::Aborted, Some(995), Moved::Unknown);
    assert_eq!(Native::operations_alive(), 0);

    // The pipe is as it was: what comes next goes through.
    assert_transferred(&lab.write(&writing, "after"), 5);
    assert_data(&lab.read(&reading), b"after");
}

#[test]
fn a_cancelled_write_is_in_doubt_also_when_the_reader_took_a_part() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    let submitted = lab.submit(&reading, Op::Read { bytes_max: 10 });
    assert_data(&lab.settle(&reading, OpKind::Read, submitted), &[1; 10]);
    let outcome = lab.cancel(&writing, OpKind::Write);
    assert_failed(&outcome, Class::Aborted, Some(995), Moved::Unknown);
    lab.assert_quiet();
}

#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_write(&writing, "there already"));
    // The packet is in the port, and nobody took it out yet.
    let outcome = lab.cancel(&writing, OpKind::Write);
    assert_transferred(&outcome, 13);
    assert_data(&lab.read(&reading), b"there already");
    lab.assert_quiet();
}

#[test]
fn a_peer_that_closes_breaks_the_pending_write() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    lab.close(reading);
    let outcome = lab.answer(writing.id(OpKind::Write));
    assert_failed(&outcome, Class::Gone, Some(109), Moved::Unknown);

    // From now on the call itself fails: nothing was pending, so nothing moved, and no packet comes.
    match lab.submit_write(&writing, "more") {
        Submitted::Done(outcome) => {
            assert_failed(&outcome, Class::Gone, Some(232), Moved::Exactly(0));
        }
        Submitted::InFlight => panic!("232 puts no packet into the port"),
    }
    assert_eq!(Native::operations_alive(), 0);
    lab.assert_quiet();
}

#[test]
fn data_comes_before_the_end_and_the_end_stays() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_transferred(&lab.write(&writing, "last words"), 10);
    lab.close(writing);
    assert_data(&lab.read(&reading), b"last words");
    assert_end(&lab.read(&reading));
    assert_end(&lab.read(&reading));
    lab.assert_quiet();
}

#[test]
fn a_pending_read_ends_with_the_peer_or_with_a_cancel() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_read(&reading));
    let outcome = lab.cancel(&reading, OpKind::Read);
    assert_failed(&outcome, Class::Aborted, Some(995), Moved::Exactly(0));
    assert_in_flight(&lab.submit_read(&reading));
    lab.close(writing);
    assert_end(&lab.answer(reading.id(OpKind::Read)));
    lab.assert_quiet();
}

#[test]
fn until_read_is_ready_when_the_peer_has_read_it_all() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_ready(&lab.until_read(&writing));
    assert_transferred(&lab.write(&writing, "read me"), 7);
    assert_in_flight(&lab.submit(&writing, Op::UntilRead));
    assert_data(&lab.read(&reading), b"read me");
    assert_ready(&lab.answer(writing.id(OpKind::UntilRead)));
    lab.assert_quiet();
}

#[test]
fn until_read_can_be_cancelled_at_any_moment() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_transferred(&lab.write(&writing, "nobody reads"), 12);
    for _ in 0..50 {
        assert_in_flight(&lab.submit(&writing, Op::UntilRead));
        let outcome = lab.cancel(&writing, OpKind::UntilRead);
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
    assert_data(&lab.read(&reading), b"nobody reads");
    assert_ready(&lab.until_read(&writing));
    lab.assert_quiet();
}

#[test]
fn cancelling_the_until_read_leaves_the_write_alone() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_write(&writing, vec![7; TOO_MANY]));
    assert_in_flight(&lab.submit(&writing, Op::UntilRead));
    let outcome = lab.cancel(&writing, OpKind::UntilRead);
    assert!(matches!(
        outcome,
        Outcome::Failed {
            class: Class::Aborted,
            ..
        }
    ));
    assert_eq!(lab.read_all(&reading, TOO_MANY), vec![7; TOO_MANY]);
    assert_transferred(&lab.answer(writing.id(OpKind::Write)), TOO_MANY as u64);
    lab.assert_quiet();
}

#[test]
fn until_read_says_gone_if_the_peer_threw_bytes_away() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_transferred(&lab.write(&writing, "unread"), 6);
    assert_in_flight(&lab.submit(&writing, Op::UntilRead));
    lab.close(reading);
    let outcome = lab.answer(writing.id(OpKind::UntilRead));
    // 109 if the thread was in the call by then; no code if it entered it later, and the pipe's state told.
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                class: Class::Gone,
                ..
            }
        ),
        "{outcome:?}"
    );
    // Begun after the peer closed, FlushFileBuffers says "success". We do not believe it.
    assert_failed(
        &lab.until_read(&writing),
        Class::Gone,
        None,
        Moved::Exactly(0),
    );
    lab.assert_quiet();
}

#[test]
fn a_message_comes_in_parts_and_an_empty_one_is_not_the_end() {
    take_turn();
    let mut lab = Lab::new();
    let (server, client) = named_pipe(PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT);
    let reading = lab.native.adopt(server, Direction::Read).unwrap();
    assert_eq!(reading.capacity(), Some(4096));
    let reading = lab.end(reading);
    write_as_a_stranger(&client, b"message");
    // 234: the bytes are valid, and a packet comes although ReadFile answers FALSE.
    let submitted = lab.submit(&reading, Op::Read { bytes_max: 4 });
    assert_data(&lab.settle(&reading, OpKind::Read, submitted), b"mess");
    assert_data(&lab.read(&reading), b"age");

    assert_in_flight(&lab.submit_read(&reading));
    write_as_a_stranger(&client, b"");
    assert_ready(&lab.answer(reading.id(OpKind::Read)));
    write_as_a_stranger(&client, b"next");
    assert_data(&lab.read(&reading), b"next");
}

#[test]
fn a_packet_of_a_stranger_is_not_taken_for_an_answer() {
    take_turn();
    let mut lab = Lab::new();
    let (server, client) = named_pipe(PIPE_WAIT);
    let theirs = duplicate(&client);
    let reading = lab.native.adopt(server, Direction::Read).unwrap();
    let writing = lab.native.adopt(client, Direction::Write).unwrap();
    let (reading, writing) = (lab.end(reading), lab.end(writing));

    // Somebody else has the same end and writes with an OVERLAPPED of its own: its packet comes out of our port.
    write_as_a_stranger(&theirs, b"foreign");
    lab.assert_quiet();
    assert_data(&lab.read(&reading), b"foreign");
    assert_transferred(&lab.write(&writing, "ours"), 4);
    assert_data(&lab.read(&reading), b"ours");
    lab.assert_quiet();
}

#[test]
fn a_wake_ends_one_wait_and_is_not_lost() {
    take_turn();
    let lab = Lab::new();
    let mut none = Vec::new();
    lab.native.wake();
    lab.native.wake();
    // Without the wake this would last for ever.
    lab.native.wait(&mut none, None).unwrap();
    let until = lab.native.now().after(Duration::from_millis(5));
    lab.native.wait(&mut none, Some(until)).unwrap();
    assert!(lab.native.now() >= until, "one wake ends one wait");
    // A moment that has passed does not wait.
    lab.native.wait(&mut none, Some(Moment::default())).unwrap();

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.native.wait(&mut Vec::new(), None));
        lab.native.wake();
        waiting.join().unwrap().unwrap();
    });
    assert!(none.is_empty());
}

#[test]
fn what_windows_cannot_do_is_said_at_once() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_eq!(
        lab.native.read_now(&reading.handle, &mut [0; 4]),
        ReadNow::Unavailable
    );
    let submitted = lab.submit(&reading, Op::WaitReadable);
    assert!(matches!(
        submitted,
        Submitted::Done(Outcome::Failed {
            class: Class::Unsupported,
            os: None,
            ..
        })
    ));
    drop(writing);
}
