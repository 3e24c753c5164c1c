//! What users are told: in one line, with the account, and as the standard library's own errors.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE};
use bytes::Bytes;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight::{
    Ending, Error, ErrorKind, Observer, PipeWriter, ReaderOptions, Refused, Verb, WriterOptions,
    pipe, pipe_with, settle,
};

/// An observer that wants to hear of nothing.
struct Deaf;

impl Observer for Deaf {}

#[test]
fn a_refused_message_says_how_much_of_it_is_accepted_and_keeps_the_error() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let _ = writer.finish().within(PATIENCE).wait().unwrap();
    let refused: Refused<Bytes> = writer
        .try_send_bytes(Bytes::from_static(b"more"))
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with("cannot write: the pipe was finished or closed "),
        "{text}"
    );
    assert!(text.ends_with("(of this message: 0 bytes)"), "{text}");
    assert_eq!(refused.rest(), "more");
    let source = refused.source().unwrap().downcast_ref::<Error>();
    assert_eq!(source, Some(&refused.error));
    let ours = Error::from(refused.clone());
    assert_eq!((ours.verb, ours.kind), (Verb::Write, ErrorKind::Closed));
    let theirs = io::Error::from(refused);
    assert_eq!(theirs.kind(), io::ErrorKind::NotConnected);
    assert_eq!(theirs.downcast::<Error>().unwrap(), ours);
    drop(reader);
}

#[test]
fn a_handle_that_does_not_fit_is_refused_with_the_step_and_the_way_out() {
    let _accounted = Accounted::start();
    let (reading, _writing) = io::pipe().unwrap();
    let refused = PipeWriter::adopt(reading).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with(
            "cannot take over the handle: checking which way the handle may be used failed: "
        ),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
    let error = refused.error;
    let (kept, converted) = (refused.handle, io::Error::from(error));
    assert_eq!(converted.downcast::<Error>().unwrap(), error);
    // Both conversions are the same error; the handle goes with the refusal.
    let again = PipeWriter::adopt(kept).unwrap_err();
    assert_eq!(Error::from(again), error);
}

#[test]
fn options_begin_with_the_defaults_and_show_themselves() {
    let shown = format!("{:?}", WriterOptions::default());
    assert_eq!(shown, format!("{:?}", WriterOptions::new()));
    let changed = WriterOptions::new()
        .queue_bytes_max(7)
        .op_bytes_max(5)
        .linger(Duration::from_millis(3))
        .stop_within(Duration::from_millis(2))
        .half_close(false)
        .capacity_bytes(4096)
        .observer(Arc::new(Deaf));
    let text = format!("{changed:?}");
    for part in [
        "queue_bytes_max: 7",
        "op_bytes_max: 5",
        "linger: Some(3ms)",
        "stop_within: 2ms",
        "half_close: false",
        "4096",
        "observer: true",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let reading = format!("{:?}", ReaderOptions::default());
    assert_eq!(reading, format!("{:?}", ReaderOptions::new()));
}

#[test]
fn both_ends_show_their_account() {
    let _accounted = Accounted::start();
    let options = WriterOptions::new().observer(Arc::new(Deaf));
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    writer.send(b"abc").within(PATIENCE).wait().unwrap();
    writer
        .until_transferred()
        .by(Instant::now() + PATIENCE)
        .wait()
        .unwrap();
    assert!(format!("{writer:?}").contains("transferred: 3"));
    let mut buf = [0; 8];
    let n = reader.receive(&mut buf).within(PATIENCE).wait().unwrap();
    assert_eq!(&buf[..n], b"abc");
    assert!(format!("{reader:?}").contains("transferred: 3"));
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete() && receipt.error().is_none());
    assert_eq!(receipt.into_bytes(), (Vec::new(), Vec::new()));
}

#[test]
fn settle_says_how_much_is_given_up() {
    let _accounted = Accounted::start();
    let options = WriterOptions::new().linger(PATIENCE);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    let _ = crate::common::fill_up(&writer, &[7; 5_000]);
    let held = writer.ledger().unsettled();
    drop(writer);
    let told = settle()
        .within(Duration::from_millis(1))
        .wait()
        .unwrap_err();
    assert_eq!(
        told.to_string(),
        format!(
            "the deadline passed, and 1 writer still held {held} bytes; the dropped ones give theirs up"
        )
    );
    drop(reader);
}

#[test]
fn after_an_abort_everything_tells_of_it() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let _ = crate::common::fill_up(&writer, &[7; 5_000]);
    let receipt = writer.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(receipt.ending(), Ending::Aborted);
    assert!(!receipt.is_complete() && !receipt.unsent().is_empty());
    let flushed = writer
        .until_transferred()
        .within(PATIENCE)
        .wait()
        .unwrap_err();
    assert_eq!(
        (flushed.verb, flushed.kind),
        (Verb::UntilTransferred, ErrorKind::Aborted)
    );
    let written = writer.send(b"x").within(PATIENCE).wait().unwrap_err();
    assert_eq!(
        (written.error.kind, written.accepted),
        (ErrorKind::Aborted, 0)
    );
    let kept = writer.into_handle().unwrap_err();
    let (writer, kept) = (kept.handle, kept.error);
    assert_eq!((kept.verb, kept.kind), (Verb::Release, ErrorKind::Aborted));
    drop((reader, writer));
}

#[test]
fn an_end_in_use_is_not_given_up() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let _ = crate::common::fill_up(&writer, &[7; 5_000]);
    let kept = writer.into_handle().unwrap_err();
    let (writer, busy) = (kept.handle, kept.error);
    assert_eq!((busy.verb, busy.kind), (Verb::Release, ErrorKind::Busy));
    drop(writer.abort().within(PATIENCE).wait().unwrap());
    drop(reader.abort().within(PATIENCE).wait().unwrap());
    let over = reader.into_handle().unwrap_err().error;
    assert_eq!((over.verb, over.kind), (Verb::Release, ErrorKind::Busy));
}

/// Where reads are operations that carry bytes (Windows), it does: there the handle is busy until the read is answered.
#[cfg(unix)]
#[test]
fn a_read_that_gave_up_does_not_keep_the_handle() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let late = Duration::from_millis(5);
    let told = reader.receive(&mut [0; 4]).within(late).wait().unwrap_err();
    assert_eq!(told.kind, ErrorKind::TimedOut);
    let handle = reader.into_handle().unwrap();
    writer.send(b"for whoever has it").wait().unwrap();
    let reader = watertight::PipeReader::adopt(handle).unwrap();
    let mut buf = [0; 32];
    let n = reader.receive(&mut buf).within(PATIENCE).wait().unwrap();
    assert_eq!(&buf[..n], b"for whoever has it");
}

#[test]
fn the_standard_traits_read_what_the_standard_traits_wrote() {
    use std::io::{Read, Write};
    let _accounted = Accounted::start();
    let (mut reader, mut writer) = pipe().unwrap();
    Write::write_all(&mut writer, b"by the book").unwrap();
    Write::flush(&mut writer).unwrap();
    let mut buf = [0; 6];
    let n = Read::read(&mut &reader, &mut buf).unwrap();
    assert_eq!(&buf[..n], b"by the");
    let n = Read::read(&mut reader, &mut buf).unwrap();
    assert_eq!(&buf[..n], b" book");
    // What there is not is an error of the standard library's, with ours inside.
    let _ = writer.abort().within(PATIENCE).wait().unwrap();
    let error = Write::write(&mut &writer, b"x").unwrap_err();
    let ours = error.downcast::<Error>().unwrap();
    assert_eq!((ours.verb, ours.kind), (Verb::Write, ErrorKind::Aborted));
}

/// Whoever reconnects begins with the first message that did not go whole.
#[test]
fn a_receipt_says_which_messages_went_and_which_was_cut() {
    const MESSAGES: u64 = 40;
    const BYTES: u64 = 5_000;
    let _accounted = Accounted::start();
    let (reader, writer) = watertight::pipe().unwrap();
    for number in 0..u8::try_from(MESSAGES).unwrap() {
        writer.send(&[number; 5_000]).wait().unwrap();
    }
    let receipt = writer.abort().within(PATIENCE).wait().unwrap();
    let (messages, ledger) = (receipt.messages(), receipt.ledger());
    assert_eq!(messages.whole, ledger.transferred() / BYTES);
    let head = ledger.transferred() % BYTES;
    let cut = messages.cut.map(|cut| (cut.bytes, cut.transferred));
    assert_eq!(cut, (head > 0).then_some((BYTES, head)));
    let begun = messages.whole + u64::from(messages.cut.is_some()) + messages.in_doubt;
    assert_eq!(begun + messages.unsent, MESSAGES);
    assert!(messages.unsent > 0);
    drop(reader);
}

/// A writer that nobody dropped is settled too: what it had accepted when the wait began.
#[test]
fn settle_waits_for_writers_that_are_not_dropped() {
    let _accounted = Accounted::start();
    let (reader, writer) = watertight::pipe().unwrap();
    writer.send(&[7; 200_000]).wait().unwrap();
    let early = settle().within(Duration::from_millis(1)).wait();
    assert_eq!(early.unwrap_err().ledgers.len(), 1);
    let reading = std::thread::spawn(move || crate::common::read_exactly(&reader, 200_000).len());
    settle().within(PATIENCE).wait().unwrap();
    assert_eq!(writer.ledger().transferred(), 200_000);
    assert_eq!(reading.join().unwrap(), 200_000);
}
