//! A transfer by a thread that blocks: it waits for either end by itself, and whatever happens ends the waiting.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise, read_exactly};
use crate::ends::{destination, full, source, took};
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use watertight::{
    ErrorKind, PipeReader, PipeWriter, TransferEnd, TransferError, Transferred, transfer,
};

/// Soon: for a deadline that passes while nothing can happen.
const SOON: Duration = Duration::from_millis(20);

fn pass_on(from: &PipeReader, to: &PipeWriter) -> Result<Transferred, TransferError> {
    transfer(from, to).within(PATIENCE).wait()
}

/// Not a page of it goes through the buffer, although both ends are waited for.
#[test]
fn a_long_stream_never_leaves_the_kernel() {
    let _accounted = Accounted::start();
    let (from, mut feed) = source();
    let (mut sink, to) = destination();
    let data = noise(3_000_000, 31);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in data.chunks(50_001) {
                feed.write_all(piece).unwrap();
            }
            drop(feed);
        });
        let collector = scope.spawn(|| {
            let mut all = Vec::new();
            sink.read_to_end(&mut all).unwrap();
            all
        });
        let done = pass_on(&from, &to).unwrap();
        assert_eq!((done.bytes, done.in_kernel), (3_000_000, 3_000_000));
        assert!(done.has_ended);
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert_eq!(receipt.ledger().transferred(), 3_000_000);
        assert!(collector.join().unwrap() == data);
    });
    assert_eq!(from.ledger().transferred(), 3_000_000);
}

/// No other thread of the library's has a part in it.
#[cfg(feature = "fault")]
#[test]
fn a_full_destination_is_waited_for_by_the_thread_itself() {
    use watertight::OsCode;
    use watertight::fault::{self, Fault};
    const OWN: &[&str] = &["eventfd", "poll (now)", "ppoll", "splice"];
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let (from, mut feed) = source();
    let (mut sink, to, before) = full();
    let data = noise(20_000, 32);
    feed.write_all(&data).unwrap();
    drop(feed);
    // The first wait is for the source, which is the guess. That the second one was begun shows in its failure.
    fault::plan(&[Fault {
        at: 2,
        only: Some("ppoll"),
        code: OsCode(rustix::io::Errno::INTR.raw_os_error()),
        times: 1,
    }]);
    let done = std::thread::scope(|scope| {
        let moving = scope.spawn(|| pass_on(&from, &to));
        let patience = Instant::now() + PATIENCE;
        while fault::begun().is_empty() {
            assert!(Instant::now() < patience, "it never waits for it");
            std::thread::yield_now();
        }
        assert_eq!(to.ledger().accepted(), 0);
        took(&mut sink, before);
        let done = moving.join().unwrap();
        assert!(took(&mut sink, data.len()) == data);
        done.unwrap()
    });
    let calls = fault::stop().calls;
    assert_eq!((done.bytes, done.in_kernel), (20_000, 20_000));
    let mut names = calls.iter().map(|made| made.name);
    // The driver's thread may just have begun to wait.
    let is_own = |name: &str| OWN.contains(&name) || name == "epoll_wait";
    assert!(names.all(is_own), "{calls:?}");
}

/// How a wait for a full destination is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    AbortOfDestination,
    AbortOfSource,
    Deadline,
    FinishOfDestination,
    LeavingReader,
}

#[test]
fn whatever_ends_the_wait_for_a_full_destination_loses_nothing() {
    let _accounted = Accounted::start();
    let endings = [
        (Ending::AbortOfDestination, ErrorKind::Aborted),
        (Ending::AbortOfSource, ErrorKind::Aborted),
        (Ending::Deadline, ErrorKind::TimedOut),
        (Ending::FinishOfDestination, ErrorKind::Closed),
        (Ending::LeavingReader, ErrorKind::BrokenPipe),
    ];
    for (ending, kind) in endings.into_iter().cycle().take(50) {
        let (from, mut feed) = source();
        let (sink, to, _) = full();
        feed.write_all(b"nobody's").unwrap();
        let mut sink = Some(sink);
        let within = match ending {
            Ending::Deadline => SOON,
            Ending::AbortOfDestination
            | Ending::AbortOfSource
            | Ending::FinishOfDestination
            | Ending::LeavingReader => PATIENCE,
        };
        let failed = std::thread::scope(|scope| {
            let moving = transfer(&from, &to).within(within);
            let waiting = scope.spawn(|| moving.wait().unwrap_err());
            match ending {
                Ending::AbortOfDestination => {
                    let receipt = to.abort().within(PATIENCE).wait().unwrap();
                    assert_eq!(receipt.ledger().accepted(), 0);
                }
                Ending::AbortOfSource => {
                    let receipt = from.abort().within(PATIENCE).wait().unwrap();
                    assert_eq!(receipt.ledger().transferred(), 0);
                }
                Ending::Deadline => {}
                Ending::FinishOfDestination => {
                    let receipt = to.finish().within(PATIENCE).wait().unwrap();
                    assert!(receipt.is_complete());
                }
                Ending::LeavingReader => drop(sink.take()),
            }
            waiting.join().unwrap()
        });
        assert_eq!((failed.error.kind, failed.bytes), (kind, 0), "{ending:?}");
        match ending {
            Ending::AbortOfSource => assert_eq!(failed.end, TransferEnd::Source),
            Ending::AbortOfDestination | Ending::FinishOfDestination | Ending::LeavingReader => {
                assert_eq!(failed.end, TransferEnd::Destination, "{ending:?}");
            }
            // Whichever was looked at last.
            Ending::Deadline => {}
        }
        assert_eq!(to.ledger().accepted(), 0);
        if ending != Ending::AbortOfSource {
            assert_eq!(read_exactly(&from, 8), b"nobody's");
        }
    }
}

#[test]
fn others_read_and_send_while_a_full_destination_is_waited_for() {
    let _accounted = Accounted::start();
    let (from, mut feed) = source();
    let (mut sink, to, before) = full();
    feed.write_all(b"theirs, and ours").unwrap();
    let done = std::thread::scope(|scope| {
        let moving = transfer(&from, &to).bytes_max(9).within(PATIENCE);
        let moving = scope.spawn(|| moving.wait());
        assert_eq!(read_exactly(&from, 7), b"theirs,");
        let patience = Instant::now() + PATIENCE;
        // There is no room only while a move runs, which does not wait.
        while to.try_send(b" between").is_err() {
            assert!(Instant::now() < patience, "there is never room");
            std::thread::yield_now();
        }
        took(&mut sink, before);
        moving.join().unwrap().unwrap()
    });
    assert_eq!((done.bytes, done.has_ended), (9, false));
    // A transfer that meets somebody else's read goes on with a read of its own, which may be sent first.
    let orders = [" between and ours", " and ours between"];
    let got = String::from_utf8(took(&mut sink, 17)).unwrap();
    assert!(orders.contains(&&*got), "{got:?}");
    assert_eq!(to.ledger().transferred(), 17);
    assert_eq!(from.ledger().transferred(), 16);
}

/// The kernel says the same of a full destination whatever is in the source, and nobody reads here.
#[test]
fn a_source_at_its_end_waits_for_no_destination() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-ended");
    let path = folder.0.join("empty");
    std::fs::write(&path, b"").unwrap();
    let file = PipeReader::adopt(File::open(&path).unwrap()).unwrap();
    let (pipe_end, feed) = source();
    drop(feed);
    for from in [pipe_end, file] {
        let (_sink, to, _) = full();
        let moving = transfer(&from, &to).in_kernel_everywhere();
        let done = moving.within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (0, true));
    }
}

/// A file is never waited for, and its destination by the thread that blocks.
#[test]
fn a_file_goes_into_a_pipe_that_is_often_full() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-file");
    let path = folder.0.join("file");
    let data = noise(1_000_000, 33);
    std::fs::write(&path, &data).unwrap();
    let from = PipeReader::adopt(File::open(&path).unwrap()).unwrap();
    let (mut sink, to, before) = full();
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            took(&mut sink, before);
            took(&mut sink, 1_000_000)
        });
        let moving = transfer(&from, &to).in_kernel_everywhere();
        let done = moving.within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (1_000_000, true));
        assert_eq!(done.in_kernel, 1_000_000);
        assert!(collector.join().unwrap() == data);
    });
}
