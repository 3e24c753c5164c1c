//! Transfers from a pipe to a socket, and to sockets among several destinations: inside the kernel only if the socket is ours alone.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise, read_exactly};
use crate::ends::{destination, socket};
use futures_lite::future::block_on;
use std::io::Read;
use watertight::{
    ErrorKind, PipeReader, PipeWriter, Tee, TransferEnd, TransferError, Transferred, pipe, transfer,
};

/// Many times what a socket holds.
const LARGE: usize = 3_000_000;

/// A socket that is ours alone, or a pipe.
fn socket_or_pipe(is_socket: bool) -> (PipeWriter, Box<dyn Read + Send>) {
    if is_socket {
        let (to, theirs) = socket(true, true);
        return (to, Box::new(theirs));
    }
    let (sink, to) = destination();
    (to, Box::new(sink))
}

fn pass_on(
    from: &PipeReader,
    to: &PipeWriter,
    as_a_task: bool,
) -> Result<Transferred, TransferError> {
    let moving = transfer(from, to).within(PATIENCE);
    if as_a_task {
        block_on(moving)
    } else {
        moving.wait()
    }
}

fn finish(writer: &PipeWriter) {
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

fn feed_all(feed: &PipeWriter, data: &[u8]) {
    feed.send(data).within(PATIENCE).wait().unwrap();
    finish(feed);
}

fn collect(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

/// The call would wait for any other, whatever its flag says.
#[test]
fn a_pipe_goes_to_a_socket_inside_the_kernel_only_if_it_is_ours_and_does_not_wait() {
    let _accounted = Accounted::start();
    let data = noise(LARGE, 61);
    for (is_unshared, is_nonblocking) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        for as_a_task in [false, true] {
            let (from, feed) = pipe().unwrap();
            let (to, theirs) = socket(is_unshared, is_nonblocking);
            std::thread::scope(|scope| {
                scope.spawn(|| feed_all(&feed, &data));
                let collector = scope.spawn(|| collect(&theirs));
                let done = pass_on(&from, &to, as_a_task).unwrap();
                assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
                let is_ours = is_unshared && is_nonblocking;
                if is_ours && as_a_task {
                    // Whenever the socket is full, a page goes through the buffer.
                    assert!(done.in_kernel > 0);
                } else {
                    let in_kernel = if is_ours { LARGE as u64 } else { 0 };
                    assert_eq!(done.in_kernel, in_kernel, "{is_unshared} {is_nonblocking}");
                }
                assert_eq!(from.ledger().transferred(), LARGE as u64);
                finish(&to);
                assert!(collector.join().unwrap() == data);
            });
        }
    }
}

/// Whoever has it may set the mode that keeps the call from waiting.
#[test]
fn a_socket_whose_handle_was_copied_is_sent_to() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (to, theirs) = socket(true, true);
    feed.send(b"moved").wait().unwrap();
    let moving = transfer(&from, &to).bytes_max(5);
    assert_eq!(moving.within(PATIENCE).wait().unwrap().in_kernel, 5);
    let copy = to.try_clone_handle().unwrap();
    feed_all(&feed, b" and sent");
    let done = pass_on(&from, &to, false).unwrap();
    assert_eq!((done.bytes, done.in_kernel), (9, 0));
    drop(copy);
    finish(&to);
    assert_eq!(collect(theirs), b"moved and sent");
}

#[test]
fn a_pipe_whose_socket_nobody_reads_any_more_keeps_its_bytes() {
    let _accounted = Accounted::start();
    for as_a_task in [false, true] {
        // Its peer leaves in order, or throws away what it was sent.
        for sent in [b"".as_slice(), b"thrown away".as_slice()] {
            let (from, feed) = pipe().unwrap();
            let (to, theirs) = socket(true, true);
            to.send(sent).wait().unwrap();
            drop(theirs);
            feed.send(b"nobody's").wait().unwrap();
            let failed = pass_on(&from, &to, as_a_task).unwrap_err();
            assert_eq!((failed.end, failed.bytes), (TransferEnd::Destination, 0));
            assert_eq!(failed.error.kind, ErrorKind::BrokenPipe);
            assert_eq!(to.ledger().accepted(), sent.len() as u64);
            assert_eq!(read_exactly(&from, 8), b"nobody's");
        }
    }
}

/// Copies of what is in the source go to a socket by way of a private pipe, and the last one of all gets the bytes themselves.
#[test]
fn a_socket_of_ours_among_several_destinations_is_moved_to() {
    let _accounted = Accounted::start();
    let data = noise(LARGE, 62);
    for are_sockets in [[true, false], [false, true], [true, true]] {
        for as_a_task in [false, true] {
            let (from, feed) = pipe().unwrap();
            let (to, sinks): (Vec<_>, Vec<_>) = are_sockets.into_iter().map(socket_or_pipe).unzip();
            std::thread::scope(|scope| {
                scope.spawn(|| feed_all(&feed, &data));
                let read = |sink: Box<dyn Read + Send>| scope.spawn(move || collect(sink));
                let collectors: Vec<_> = sinks.into_iter().map(read).collect();
                let mut tee = Tee::new(&from, &to).unwrap();
                let moving = tee.transfer().within(PATIENCE);
                let done = if as_a_task {
                    block_on(moving)
                } else {
                    moving.wait()
                };
                let done = done.unwrap();
                assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
                for one in &done.destinations {
                    assert_eq!(one.bytes, LARGE as u64);
                    assert!(one.in_kernel > 0, "{are_sockets:?}, a task: {as_a_task}");
                }
                to.iter().for_each(finish);
                for collector in collectors {
                    assert!(collector.join().unwrap() == data);
                }
            });
        }
    }
}

/// The bytes get there, or the error is the socket's, with its own code, and they are in the source still.
#[cfg(feature = "fault")]
#[test]
fn a_splice_into_a_socket_that_fails_loses_nothing() {
    use rustix::io::Errno;
    use watertight::OsCode;
    use watertight::fault::{self, Fault};
    use watertight_core::Class;
    use watertight_os::classify::{Call, classify};
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    for code in fault::allowed(Call::Write) {
        let (from, feed) = pipe().unwrap();
        let (to, theirs) = socket(true, true);
        feed_all(&feed, b"every byte");
        let told = OsCode(code.raw_os_error());
        fault::plan(&[Fault {
            at: 1,
            only: Some("splice (socket)"),
            code: told,
            times: 1,
        }]);
        let moved = pass_on(&from, &to, false);
        assert_eq!(fault::stop().begun.len(), 1, "{code:?}");
        let class = classify(Call::Write, *code);
        // A pipe may have a page that its disk does not bring.
        let is_of_socket = class == Class::Gone || (class == Class::Io && *code != Errno::IO);
        match moved {
            Ok(done) => {
                assert!(!is_of_socket, "{code:?}");
                assert_eq!((done.bytes, done.has_ended), (10, true), "{code:?}");
                finish(&to);
                assert_eq!(collect(theirs), b"every byte");
            }
            Err(failed) => {
                assert!(is_of_socket, "{code:?}");
                assert_eq!((failed.end, failed.bytes), (TransferEnd::Destination, 0));
                assert_eq!(failed.error.os, Some(told));
                assert_eq!(read_exactly(&from, 10), b"every byte");
            }
        }
    }
}

/// No flag of the call keeps its SIGPIPE away. In a process of its own, which the signal would kill.
#[cfg(feature = "fault")]
#[test]
fn a_splice_into_a_socket_raises_no_signal() {
    if std::env::var_os("WATERTIGHT_SIGPIPE").is_some() {
        return move_to_nobody();
    }
    let _accounted = Accounted::start();
    let test = "a_splice_into_a_socket_raises_no_signal";
    crate::common::run_again(module_path!(), test, "WATERTIGHT_SIGPIPE");
}

/// As a task each call sees to it, and a thread that waits does so once for all calls.
#[cfg(feature = "fault")]
fn move_to_nobody() {
    use watertight::fault;
    let was_default = watertight_os::sigpipe_to_default();
    assert!(!was_default, "Rust's runtime ignores it");
    for as_a_task in [true, false] {
        let (from, feed) = pipe().unwrap();
        let (to, theirs) = socket(true, true);
        drop(theirs);
        feed.send(b"nobody's").wait().unwrap();
        fault::plan(&[]);
        let moved = pass_on(&from, &to, as_a_task);
        let calls = fault::stop().calls;
        let is_moved = calls.iter().any(|one| one.name == "splice (socket)");
        assert!(is_moved, "{calls:?}");
        assert_eq!(moved.unwrap_err().error.kind, ErrorKind::BrokenPipe);
    }
    let still_default = watertight_os::sigpipe_to_default();
    assert!(still_default, "the disposition was changed");
}
