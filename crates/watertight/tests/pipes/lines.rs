//! A stream line by line: nothing is lost, whatever the bound and wherever the reads end.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE};
use std::time::Duration;
use watertight::{ErrorKind, LineEnd, Lines, PipeReader, pipe};

/// A reader of these bytes, and then of the end.
fn reader_of(bytes: &[u8]) -> PipeReader {
    let (reader, writer) = pipe().unwrap();
    writer.send(bytes).wait().unwrap();
    // Dropped: it is sent in the background, however much it is.
    drop(writer);
    reader
}

fn all(mut lines: Lines<'_>) -> Vec<(Vec<u8>, LineEnd)> {
    let mut all = Vec::new();
    while let Some(line) = lines.receive().within(PATIENCE).wait().unwrap() {
        all.push((line.bytes, line.end));
    }
    // The end is told once and then always.
    assert_eq!(lines.receive().within(PATIENCE).wait().unwrap(), None);
    all
}

#[test]
fn the_pieces_are_the_stream_whatever_the_bound() {
    let _accounted = Accounted::start();
    let mut stream = b"a\n\nbc\r\n".repeat(3_000);
    stream.extend([b'x'; 20_000]);
    stream.extend(b"\nlast");
    for line_bytes_max in [
        0,
        1,
        2,
        3,
        100,
        8_191,
        8_192,
        8_193,
        20_000,
        20_001,
        usize::MAX / 2,
    ] {
        let reader = reader_of(&stream);
        let pieces = all(reader.lines(line_bytes_max));
        let bytes: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        assert!(bytes == stream, "{line_bytes_max}");
        for (at, (bytes, end)) in pieces.iter().enumerate() {
            let (last, before) = bytes.split_last().unwrap();
            assert!(!before.contains(&b'\n'), "{line_bytes_max}");
            assert_eq!(*end == LineEnd::Newline, *last == b'\n', "{line_bytes_max}");
            if *end == LineEnd::Bound {
                assert_eq!(bytes.len(), line_bytes_max.max(1));
            }
            let is_last = at + 1 == pieces.len();
            let is_cut = bytes.len() == line_bytes_max.max(1);
            assert_eq!(
                *end == LineEnd::Stream,
                is_last && !is_cut,
                "{line_bytes_max}"
            );
        }
    }
}

#[test]
fn the_content_is_without_the_line_ending() {
    let _accounted = Accounted::start();
    let reader = reader_of(b"unix\nwindows\r\n\rno\r");
    let mut lines = reader.lines(1_000);
    let mut content = || {
        let line = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
        line.content().to_vec()
    };
    assert_eq!(content(), b"unix");
    assert_eq!(content(), b"windows");
    assert_eq!(content(), b"\rno\r");
}

/// Half a line has arrived when the deadline passes: it is the beginning of the next one.
#[test]
fn a_deadline_loses_nothing_and_the_rest_is_handed_over() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let mut lines = reader.lines(1_000);
    writer.send(b"whole\nhalf").wait().unwrap();
    assert_eq!(lines.receive().wait().unwrap().unwrap().content(), b"whole");
    let late = lines.receive().within(Duration::from_millis(1)).wait();
    assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(lines.rest(), b"half");
    writer.send(b" and half\nahead").wait().unwrap();
    let line = lines.receive().wait().unwrap().unwrap();
    assert_eq!(line.content(), b"half and half");
    assert_eq!(lines.into_rest(), b"ahead");
    writer.send(b" and after").wait().unwrap();
    let mut buf = [0; 100];
    let n = reader.receive(&mut buf).wait().unwrap();
    assert_eq!(&buf[..n], b" and after");
}

/// A failure comes after every whole line; what is left of a line stays.
#[cfg(target_os = "linux")]
#[test]
fn a_failure_leaves_the_half_line() {
    use std::io::Write;
    let _accounted = Accounted::start();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let reader = PipeReader::adopt(ours.try_clone().unwrap()).unwrap();
    let mut ours = ours;
    // What the peer leaves unread when it closes makes this end's stream a reset one.
    ours.write_all(b"unread").unwrap();
    theirs.write_all(b"whole\nhalf").unwrap();
    drop(theirs);
    let mut lines = reader.lines(1_000);
    let line = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(line.content(), b"whole");
    let error = lines.receive().within(PATIENCE).wait().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Reset);
    assert_eq!(lines.rest(), b"half");
}
