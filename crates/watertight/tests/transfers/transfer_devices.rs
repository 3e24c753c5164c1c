//! Transfers to what is neither pipe nor file, inside the kernel: memory, and sockets that are ours alone.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise};
use crate::ends::socket;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use watertight::{
    ErrorKind, PipeReader, PipeWriter, ReaderOptions, TransferEnd, TransferError, Transferred,
    transfer,
};

/// More than a pipe holds.
const LARGE: usize = 300_000;

fn device(path: &str) -> PipeWriter {
    let opened = File::options().write(true).open(path).unwrap();
    PipeWriter::adopt(opened).unwrap()
}

fn file(path: &Path) -> PipeReader {
    PipeReader::adopt(File::open(path).unwrap()).unwrap()
}

fn pass_on(
    from: &PipeReader,
    to: &PipeWriter,
    is_everywhere: bool,
) -> Result<Transferred, TransferError> {
    let moving = transfer(from, to).within(PATIENCE);
    if is_everywhere {
        moving.in_kernel_everywhere().wait()
    } else {
        moving.wait()
    }
}

#[test]
fn a_pipe_goes_into_memory_inside_the_kernel() {
    let _accounted = Accounted::start();
    for path in ["/dev/null", "/dev/zero"] {
        for (is_ours, is_everywhere) in [(true, false), (false, false), (false, true)] {
            let (from, mut feed) = std::io::pipe().unwrap();
            let from = if is_ours {
                PipeReader::adopt_unshared(from, ReaderOptions::new()).unwrap()
            } else {
                PipeReader::adopt(from).unwrap()
            };
            let to = device(path);
            let done = std::thread::scope(|scope| {
                scope.spawn(|| {
                    feed.write_all(&noise(LARGE, 41)).unwrap();
                    drop(feed);
                });
                pass_on(&from, &to, is_everywhere).unwrap()
            });
            // A pipe that others made may be one of packets.
            let in_kernel = if is_ours || is_everywhere { LARGE } else { 0 };
            assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
            assert_eq!(done.in_kernel, in_kernel as u64, "{path} {is_ours}");
            assert_eq!(from.ledger().transferred(), LARGE as u64);
            let receipt = to.finish().within(PATIENCE).wait().unwrap();
            assert_eq!(receipt.ledger().transferred(), LARGE as u64);
        }
    }
}

#[test]
fn a_file_goes_into_memory_inside_the_kernel_where_that_is_asked_for() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-memory");
    let path = folder.0.join("file");
    std::fs::write(&path, noise(LARGE, 42)).unwrap();
    for is_everywhere in [false, true] {
        let (from, to) = (file(&path), device("/dev/null"));
        let done = pass_on(&from, &to, is_everywhere).unwrap();
        let in_kernel = if is_everywhere { LARGE } else { 0 };
        assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
        assert_eq!(done.in_kernel, in_kernel as u64);
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert_eq!(receipt.ledger().transferred(), LARGE as u64);
    }
    // The bound is kept to the byte, and what is behind it is not skipped.
    let (from, to) = (file(&path), device("/dev/null"));
    for bytes in [1_000, LARGE as u64 - 1_000] {
        let moving = transfer(&from, &to).in_kernel_everywhere();
        let done = moving.bytes_max(bytes).within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.in_kernel), (bytes, bytes));
    }
    let rest = pass_on(&from, &to, true).unwrap();
    assert_eq!((rest.bytes, rest.has_ended), (0, true));
}

/// Neither call does it, and a write says why.
#[test]
fn a_full_device_is_named() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-full");
    let path = folder.0.join("file");
    std::fs::write(&path, b"no room for this").unwrap();
    let (pipe_end, mut feed) = std::io::pipe().unwrap();
    feed.write_all(b"no room for this").unwrap();
    drop(feed);
    for from in [PipeReader::adopt(pipe_end).unwrap(), file(&path)] {
        let to = device("/dev/full");
        let failed = pass_on(&from, &to, true).unwrap_err();
        assert_eq!(failed.end, TransferEnd::Destination);
        assert_eq!(failed.error.kind, ErrorKind::Limit);
        let told = failed.error.os.map(|code| code.0);
        assert_eq!(told, Some(rustix::io::Errno::NOSPC.raw_os_error()));
        assert_eq!(to.ledger().transferred(), 0);
        assert_eq!(from.ledger().transferred(), failed.bytes);
    }
}

/// The call would wait for any other, and nobody could call it back.
#[test]
fn a_file_goes_to_a_socket_inside_the_kernel_only_if_it_is_ours_and_does_not_wait() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-socket");
    let path = folder.0.join("file");
    let data = noise(3_000_000, 43);
    std::fs::write(&path, &data).unwrap();
    for (is_unshared, is_nonblocking) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let from = file(&path);
        let (to, mut theirs) = socket(is_unshared, is_nonblocking);
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| {
                let mut all = Vec::new();
                theirs.read_to_end(&mut all).unwrap();
                all
            });
            let done = pass_on(&from, &to, true).unwrap();
            let is_moved = is_unshared && is_nonblocking;
            let in_kernel = if is_moved { 3_000_000 } else { 0 };
            assert_eq!((done.bytes, done.in_kernel), (3_000_000, in_kernel));
            let receipt = to.finish().within(PATIENCE).wait().unwrap();
            assert!(receipt.is_complete());
            assert!(collector.join().unwrap() == data);
        });
    }
}

#[test]
fn a_socket_whose_peer_has_left_is_named() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-left");
    let path = folder.0.join("file");
    std::fs::write(&path, b"nobody's").unwrap();
    let (from, (to, theirs)) = (file(&path), socket(true, true));
    drop(theirs);
    let failed = pass_on(&from, &to, true).unwrap_err();
    assert_eq!(failed.end, TransferEnd::Destination);
    assert_eq!(failed.error.kind, ErrorKind::BrokenPipe);
    assert_eq!(to.ledger().transferred(), 0);
}

/// Whatever the call says, a read and a write do it then.
#[cfg(feature = "fault")]
#[test]
fn a_sendfile_that_fails_loses_nothing() {
    use watertight::OsCode;
    use watertight::fault::{self, Fault};
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let folder = Folder::new("transfer-sent");
    let path = folder.0.join("file");
    std::fs::write(&path, b"every byte").unwrap();
    for code in fault::allowed(watertight_os::classify::Call::Write) {
        let from = file(&path);
        let (to, mut theirs) = socket(true, true);
        fault::plan(&[Fault {
            at: 1,
            only: Some("sendfile"),
            code: OsCode(code.raw_os_error()),
            times: 1,
        }]);
        let done = pass_on(&from, &to, true);
        assert_eq!(fault::stop().begun.len(), 1, "{code:?}");
        let done = done.unwrap();
        let is_called_again = [rustix::io::Errno::AGAIN, rustix::io::Errno::INTR].contains(code);
        let in_kernel = if is_called_again { 10 } else { 0 };
        assert_eq!((done.bytes, done.in_kernel), (10, in_kernel), "{code:?}");
        assert!(done.has_ended, "{code:?}");
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"every byte");
    }
}

/// No flag of the call keeps its SIGPIPE away. In a process of its own, which the signal would kill.
#[cfg(feature = "fault")]
#[test]
fn a_sendfile_raises_no_signal() {
    if std::env::var_os("WATERTIGHT_SIGPIPE").is_some() {
        return send_to_nobody();
    }
    let _accounted = Accounted::start();
    let test = "a_sendfile_raises_no_signal";
    crate::common::run_again(module_path!(), test, "WATERTIGHT_SIGPIPE");
}

/// A thread that waits sees to it once for all calls. A task makes none, for the file's disk: the bytes are sent, and that call sees to it.
#[cfg(feature = "fault")]
fn send_to_nobody() {
    use watertight::fault;
    let was_default = watertight_os::sigpipe_to_default();
    assert!(!was_default, "Rust's runtime ignores it");
    let folder = Folder::new("transfer-signal");
    let path = folder.0.join("file");
    std::fs::write(&path, b"nobody's").unwrap();
    for as_a_task in [true, false] {
        let (from, (to, theirs)) = (file(&path), socket(true, true));
        drop(theirs);
        fault::plan(&[]);
        let moving = transfer(&from, &to).in_kernel_everywhere();
        let moving = moving.within(PATIENCE);
        let moved = if as_a_task {
            futures_lite::future::block_on(moving)
        } else {
            moving.wait()
        };
        let calls = fault::stop().calls;
        let is_moved = calls.iter().any(|one| one.name == "sendfile");
        assert_eq!(is_moved, !as_a_task, "{calls:?}");
        assert_eq!(moved.unwrap_err().error.kind, ErrorKind::BrokenPipe);
    }
    let still_default = watertight_os::sigpipe_to_default();
    assert!(still_default, "the disposition was changed");
}
