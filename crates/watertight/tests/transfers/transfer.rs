//! Bytes from one pipe to another: exact accounts at both ends, whatever ends it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise, read_exactly, read_to_end};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use watertight::{ErrorKind, PipeReader, PipeWriter, TransferEnd, pipe, transfer};

/// Soon: for a deadline that passes while nothing can happen.
const SOON: Duration = Duration::from_millis(20);

fn finish(writer: &PipeWriter) {
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

/// What left the source is what the destination accepted.
fn assert_same_account(from: &PipeReader, to: &PipeWriter, bytes: u64) {
    assert_eq!(from.ledger().transferred(), bytes);
    assert_eq!(to.ledger().accepted(), bytes);
}

#[test]
fn every_byte_goes_on_in_order() {
    let _accounted = Accounted::start();
    for as_a_task in [false, true] {
        let (from, feed) = pipe().unwrap();
        let (sink, to) = pipe().unwrap();
        let data = noise(3_000_000, 21);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in data.chunks(70_001) {
                    feed.send(piece).within(PATIENCE).wait().unwrap();
                }
                finish(&feed);
            });
            let collector = scope.spawn(|| read_to_end(&sink));
            let moving = transfer(&from, &to).within(PATIENCE);
            let done = if as_a_task {
                futures_lite::future::block_on(moving).unwrap()
            } else {
                moving.wait().unwrap()
            };
            assert_eq!((done.bytes, done.has_ended), (3_000_000, true));
            assert!(done.in_kernel <= done.bytes);
            assert_eq!(done.in_kernel > 0, cfg!(target_os = "linux"));
            assert_same_account(&from, &to, 3_000_000);
            finish(&to);
            assert!(collector.join().unwrap() == data);
        });
    }
}

#[test]
fn what_is_past_the_bound_stays_in_the_source() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    feed.send(b"header and body").wait().unwrap();
    for (bytes_max, text) in [(0, &b""[..]), (6, &b"header"[..]), (1, &b" "[..])] {
        let done = transfer(&from, &to).bytes_max(bytes_max).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (bytes_max, false));
        assert_eq!(read_exactly(&sink, text.len()), text);
    }
    assert_eq!(read_exactly(&from, 8), b"and body");
}

#[test]
fn what_is_queued_goes_first() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    let before = noise(200_000, 22);
    to.send(&before).wait().unwrap();
    feed.send(b" and then").wait().unwrap();
    finish(&feed);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| read_to_end(&sink));
        let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (9, true));
        finish(&to);
        assert!(collector.join().unwrap() == [&before[..], b" and then"].concat());
    });
}

#[test]
fn a_deadline_loses_nothing_and_the_next_transfer_goes_on() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    feed.send(b"before").wait().unwrap();
    let late = transfer(&from, &to).within(SOON).wait().unwrap_err();
    assert_eq!(late.error.kind, ErrorKind::TimedOut);
    assert!(late.bytes <= 6);
    assert_same_account(&from, &to, late.bytes);
    feed.send(b" and after").wait().unwrap();
    finish(&feed);
    let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
    assert_eq!((late.bytes + done.bytes, done.has_ended), (16, true));
    finish(&to);
    assert_eq!(read_to_end(&sink), b"before and after");
}

#[test]
fn a_destination_that_takes_nothing_more_keeps_the_rest_in_the_source() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    let data = noise(250_000, 23);
    feed.send(&data).wait().unwrap();
    let mut bytes = 0;
    for _ in 0..3 {
        let late = transfer(&from, &to).within(SOON).wait().unwrap_err();
        assert_eq!(late.error.kind, ErrorKind::TimedOut);
        bytes += late.bytes;
        assert_same_account(&from, &to, bytes);
    }
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| read_to_end(&sink));
        scope.spawn(|| finish(&feed));
        let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
        assert_eq!(bytes + done.bytes, 250_000);
        finish(&to);
        assert!(collector.join().unwrap() == data);
    });
}

#[test]
fn a_transfer_dropped_anywhere_loses_and_doubles_nothing() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    let data = noise(2_000_000, 24);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            finish(&feed);
        });
        let collector = scope.spawn(|| read_to_end(&sink));
        let mut nobody = Context::from_waker(Waker::noop());
        for bytes_max in 1..200 {
            let moving = pin!(transfer(&from, &to).bytes_max(bytes_max * 97));
            let _ = moving.poll(&mut nobody);
            assert_eq!(from.ledger().transferred(), to.ledger().accepted());
        }
        let rest = transfer(&from, &to).within(PATIENCE).wait().unwrap();
        assert!(rest.has_ended);
        assert_same_account(&from, &to, 2_000_000);
        finish(&to);
        assert!(collector.join().unwrap() == data);
    });
}

#[test]
fn a_stop_of_either_end_ends_the_waiting() {
    let _accounted = Accounted::start();
    for round in 0..40 {
        let (from, _feed) = pipe().unwrap();
        let (_sink, to) = pipe().unwrap();
        let failed = std::thread::scope(|scope| {
            let moving = transfer(&from, &to).within(PATIENCE);
            let waiting = scope.spawn(|| moving.wait().unwrap_err());
            if round % 2 == 0 {
                let _ = from.abort().within(PATIENCE).wait().unwrap();
            } else {
                let _ = to.abort().within(PATIENCE).wait().unwrap();
            }
            waiting.join().unwrap()
        });
        let end = if round % 2 == 0 {
            TransferEnd::Source
        } else {
            TransferEnd::Destination
        };
        assert_eq!((failed.end, failed.bytes), (end, 0), "round {round}");
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
        let told = failed.to_string();
        assert!(told.contains("of a transfer, after 0 bytes"), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn a_destination_nobody_reads_is_named_and_the_source_keeps_its_bytes() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    drop(sink);
    feed.send(b"nobody's").wait().unwrap();
    let failed = transfer(&from, &to).within(PATIENCE).wait().unwrap_err();
    assert_eq!((failed.end, failed.bytes), (TransferEnd::Destination, 0));
    assert_eq!(failed.error.kind, ErrorKind::BrokenPipe);
    assert_eq!(to.ledger().accepted(), 0);
    assert_eq!(read_exactly(&from, 8), b"nobody's");
}

#[cfg(unix)]
#[test]
fn a_socket_goes_through_the_buffer() {
    let _accounted = Accounted::start();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let from = PipeReader::adopt(ours).unwrap();
    let feed = PipeWriter::adopt(theirs).unwrap();
    let (sink, to) = pipe().unwrap();
    let data = noise(500_000, 25);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            finish(&feed);
        });
        let collector = scope.spawn(|| read_to_end(&sink));
        let moving = transfer(&from, &to).in_kernel_everywhere();
        let done = moving.within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.in_kernel), (500_000, 0));
        finish(&to);
        assert!(collector.join().unwrap() == data);
    });
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::common::files::Folder;
    use crate::common::run_again;
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom};
    use watertight::ReaderOptions;

    #[test]
    fn between_our_own_pipes_bytes_stay_in_the_kernel() {
        let _accounted = Accounted::start();
        let (from, feed) = pipe().unwrap();
        let (sink, to) = pipe().unwrap();
        let data = noise(40_000, 26);
        feed.send(&data).wait().unwrap();
        finish(&feed);
        let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.in_kernel), (40_000, 40_000));
        assert_same_account(&from, &to, 40_000);
        let receipt = to.finish().wait().unwrap();
        assert!(receipt.is_complete() && receipt.messages().whole > 0);
        assert!(read_to_end(&sink) == data);
    }

    /// The kernel says EPIPE before it says that nothing is left.
    #[test]
    fn a_peer_that_read_everything_and_left_is_no_failure() {
        let _accounted = Accounted::start();
        let (from, feed) = pipe().unwrap();
        let (sink, to) = pipe().unwrap();
        feed.send(b"all").wait().unwrap();
        let _ = transfer(&from, &to).bytes_max(3).wait().unwrap();
        assert_eq!(read_exactly(&sink, 3), b"all");
        drop(sink);
        finish(&feed);
        let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (0, true));
    }

    /// Its packets would go on as packets, and who reads one in pieces would lose the rest.
    #[test]
    fn a_packet_pipe_goes_through_the_buffer() {
        let _accounted = Accounted::start();
        let (packets, feed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::DIRECT).unwrap();
        rustix::io::write(&feed, b"one packet").unwrap();
        rustix::io::write(&feed, b" and another").unwrap();
        drop(feed);
        let from = PipeReader::adopt(packets).unwrap();
        let (sink, to) = pipe().unwrap();
        let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.in_kernel), (22, 0));
        assert_eq!(read_exactly(&sink, 3), b"one");
        assert_eq!(read_exactly(&sink, 19), b" packet and another");
    }

    /// The kernel throws away what a read has no room for, and a move hands packets on to whoever reads in pieces.
    #[test]
    fn a_reader_of_packets_loses_nothing_at_a_bound() {
        let _accounted = Accounted::start();
        for is_unshared in [false, true] {
            let (packets, feed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::DIRECT).unwrap();
            rustix::io::write(&feed, b"one packet").unwrap();
            rustix::io::write(&feed, b" and another").unwrap();
            drop(feed);
            let options = ReaderOptions::new().packets(true);
            let from = if is_unshared {
                PipeReader::adopt_unshared(packets, options).unwrap()
            } else {
                PipeReader::adopt_with(packets, options).unwrap()
            };
            let (sink, to) = pipe().unwrap();
            let part = transfer(&from, &to).bytes_max(3).within(PATIENCE);
            let part = part.wait().unwrap();
            assert_eq!((part.bytes, part.has_ended), (3, false));
            let rest = transfer(&from, &to).within(PATIENCE).wait().unwrap();
            assert_eq!((rest.bytes, rest.has_ended), (19, true));
            assert_same_account(&from, &to, 22);
            assert_eq!(read_exactly(&sink, 1), b"o");
            assert_eq!(read_exactly(&sink, 21), b"ne packet and another");
        }
    }

    /// It waited before for what was queued then; that this is in the kernel says nothing of what was queued since.
    #[test]
    fn all_is_in_the_kernel_once_it_is_done() {
        const PAGE: usize = 4096;
        let _accounted = Accounted::start();
        let (mut sink, into) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&into, true).unwrap();
        while rustix::io::write(&into, &[0; PAGE]).is_ok() {}
        let to = PipeWriter::adopt(into).unwrap();
        let (from, feed) = pipe().unwrap();
        feed.send(&[1; 2 * PAGE]).wait().unwrap();
        finish(&feed);
        let bytes = 2 * PAGE as u64;
        let mut moving = pin!(transfer(&from, &to).bytes_max(bytes).within(PATIENCE));
        let mut nobody = Context::from_waker(Waker::noop());
        let mut page = [0; PAGE];
        for passed in [PAGE, 2 * PAGE] {
            // The destination is full: what it accepts waits in its queue.
            assert!(moving.as_mut().poll(&mut nobody).is_pending());
            let ledger = to.ledger();
            assert_eq!(ledger.accepted(), passed as u64);
            assert_eq!(ledger.unsettled(), PAGE as u64);
            sink.read_exact(&mut page).unwrap();
            to.until_transferred().within(PATIENCE).wait().unwrap();
        }
        let done = futures_lite::future::block_on(moving).unwrap();
        assert_eq!((done.bytes, done.has_ended), (bytes, false));
        assert_eq!(to.ledger().unsettled(), 0);
        finish(&to);
    }

    #[test]
    fn files_go_through_the_kernel_where_that_is_asked_for() {
        let _accounted = Accounted::start();
        let folder = Folder::new("transfer");
        let path = folder.0.join("file");
        let data = noise(40_000, 27);
        for is_everywhere in [false, true] {
            for is_appended in [false, true] {
                let (from, feed) = pipe().unwrap();
                feed.send(&data).wait().unwrap();
                finish(&feed);
                let _ = std::fs::remove_file(&path);
                let opened = File::options()
                    .create(true)
                    .write(true)
                    .append(is_appended)
                    .truncate(!is_appended)
                    .open(&path);
                let to = PipeWriter::adopt(opened.unwrap()).unwrap();
                let moving = transfer(&from, &to).within(PATIENCE);
                let done = if is_everywhere {
                    moving.in_kernel_everywhere().wait().unwrap()
                } else {
                    moving.wait().unwrap()
                };
                // splice refuses a file in append mode.
                let in_kernel = is_everywhere && !is_appended;
                assert_eq!(done.bytes, 40_000);
                assert_eq!(done.in_kernel, if in_kernel { 40_000 } else { 0 });
                finish(&to);
                assert!(std::fs::read(&path).unwrap() == data);
            }
            let from = PipeReader::adopt(File::open(&path).unwrap()).unwrap();
            let (sink, to) = pipe().unwrap();
            let moving = transfer(&from, &to).within(PATIENCE);
            let done = if is_everywhere {
                moving.in_kernel_everywhere().wait().unwrap()
            } else {
                moving.wait().unwrap()
            };
            let in_kernel = if is_everywhere { 40_000 } else { 0 };
            assert_eq!((done.bytes, done.in_kernel), (40_000, in_kernel));
            finish(&to);
            assert!(read_to_end(&sink) == data);
        }
    }

    /// From where the one file is to where the other is; whoever shares a description sees how far it went.
    #[test]
    fn between_two_files_the_file_system_copies() {
        let _accounted = Accounted::start();
        let folder = Folder::new("transfer-files");
        let (source, copy) = (folder.0.join("source"), folder.0.join("copy"));
        let data = noise(3_000_000, 28);
        std::fs::write(&source, &data).unwrap();
        std::fs::write(&copy, b"head, and what is written over").unwrap();
        let mut opened = File::open(&source).unwrap();
        opened.seek(SeekFrom::Start(1_000)).unwrap();
        let mut again = opened.try_clone().unwrap();
        let mut into = File::options().write(true).open(&copy).unwrap();
        into.seek(SeekFrom::Start(4)).unwrap();
        let from = PipeReader::adopt(opened).unwrap();
        let to = PipeWriter::adopt(into).unwrap();
        let part = transfer(&from, &to)
            .in_kernel_everywhere()
            .bytes_max(2_000_000)
            .within(PATIENCE)
            .wait()
            .unwrap();
        assert_eq!((part.bytes, part.in_kernel), (2_000_000, 2_000_000));
        assert!(!part.has_ended);
        assert_eq!(again.stream_position().unwrap(), 2_001_000);
        let rest = transfer(&from, &to).in_kernel_everywhere();
        let rest = rest.within(PATIENCE).wait().unwrap();
        assert_eq!((rest.bytes, rest.in_kernel), (999_000, 999_000));
        assert!(rest.has_ended);
        assert_same_account(&from, &to, 2_999_000);
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        // Between two steps a deadline is looked at: none has more than 1 MiB, and the first part is more than that.
        let steps = receipt.messages().whole;
        assert!(steps >= 3, "{steps} steps");
        let copied = std::fs::read(&copy).unwrap();
        assert!(copied == [&b"head"[..], &data[1_000..]].concat());
    }

    /// Nothing copied is no end: of files like these some kernels say so whatever is in them.
    #[test]
    fn a_file_without_a_size_is_read_to_its_end() {
        let _accounted = Accounted::start();
        let folder = Folder::new("transfer-proc");
        let copy = folder.0.join("copy");
        let from = PipeReader::adopt(File::open("/proc/self/cmdline").unwrap()).unwrap();
        let to = PipeWriter::adopt(File::create(&copy).unwrap()).unwrap();
        let moving = transfer(&from, &to).in_kernel_everywhere();
        assert!(moving.within(PATIENCE).wait().unwrap().has_ended);
        finish(&to);
        let said = std::fs::read("/proc/self/cmdline").unwrap();
        assert!(!said.is_empty() && std::fs::read(&copy).unwrap() == said);
    }

    /// Whatever the call says, a read and a write do it then.
    #[cfg(feature = "fault")]
    #[test]
    fn a_copy_between_files_that_fails_loses_nothing() {
        use watertight::fault::{self, Fault};
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let folder = Folder::new("transfer-copies");
        let (source, copy) = (folder.0.join("source"), folder.0.join("copy"));
        std::fs::write(&source, b"every byte").unwrap();
        let table = watertight_os::classify::Call::Write;
        for code in fault::allowed(table) {
            let from = PipeReader::adopt(File::open(&source).unwrap()).unwrap();
            let to = PipeWriter::adopt(File::create(&copy).unwrap()).unwrap();
            fault::plan(&[Fault {
                at: 1,
                only: Some("copy_file_range"),
                code: watertight::OsCode(code.raw_os_error()),
                times: 1,
            }]);
            let moving = transfer(&from, &to).in_kernel_everywhere();
            let done = moving.within(PATIENCE).wait();
            assert_eq!(fault::stop().begun.len(), 1, "{code:?}");
            let done = done.unwrap();
            let is_called_again = *code == rustix::io::Errno::INTR;
            let in_kernel = if is_called_again { 10 } else { 0 };
            assert_eq!((done.bytes, done.in_kernel), (10, in_kernel), "{code:?}");
            assert!(done.has_ended, "{code:?}");
            finish(&to);
            assert_eq!(std::fs::read(&copy).unwrap(), b"every byte");
        }
    }

    /// The kernel raises SIGXFSZ besides. In a process of its own, which the signal would kill.
    #[test]
    fn a_bound_on_the_size_of_files_is_an_error_and_no_signal() {
        if std::env::var_os("WATERTIGHT_SIGXFSZ").is_some() {
            return move_past_the_bound();
        }
        let _accounted = Accounted::start();
        let test = "a_bound_on_the_size_of_files_is_an_error_and_no_signal";
        run_again(module_path!(), test, "WATERTIGHT_SIGXFSZ");
    }

    fn move_past_the_bound() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        const BOUND: u64 = 10_000;
        let folder = Folder::new("transfer-bound");
        let (source, full) = (folder.0.join("source"), folder.0.join("full"));
        std::fs::write(&source, b"too much").unwrap();
        std::fs::write(&full, noise(10_000, 29)).unwrap();
        let bound = Rlimit {
            current: Some(BOUND),
            ..getrlimit(Resource::Fsize)
        };
        setrlimit(Resource::Fsize, bound).unwrap();
        let (pipe_end, feed) = pipe().unwrap();
        feed.send(b"too much").wait().unwrap();
        let file = PipeReader::adopt(File::open(&source).unwrap()).unwrap();
        for from in [pipe_end, file] {
            let mut into = File::options().write(true).open(&full).unwrap();
            into.seek(SeekFrom::Start(BOUND)).unwrap();
            let to = PipeWriter::adopt(into).unwrap();
            let moving = transfer(&from, &to).in_kernel_everywhere();
            let failed = moving.within(PATIENCE).wait().unwrap_err();
            let told = failed.error.os.map(|code| code.0);
            assert_eq!(failed.end, TransferEnd::Destination);
            assert_eq!(told, Some(rustix::io::Errno::FBIG.raw_os_error()));
            assert_same_account(&from, &to, failed.bytes);
        }
    }

    /// Whatever the call says: the bytes get there, or the error names the end and they are in the source still.
    #[cfg(feature = "fault")]
    #[test]
    fn a_splice_that_fails_loses_nothing() {
        use watertight::fault::{self, Fault};
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let table = watertight_os::classify::Call::Write;
        for code in fault::allowed(table) {
            let (from, feed) = pipe().unwrap();
            let (sink, to) = pipe().unwrap();
            feed.send(b"every byte").wait().unwrap();
            finish(&feed);
            fault::plan(&[Fault {
                at: 1,
                only: Some("splice"),
                code: watertight::OsCode(code.raw_os_error()),
                times: 1,
            }]);
            let moved = transfer(&from, &to).within(PATIENCE).wait();
            assert_eq!(fault::stop().begun.len(), 1, "{code:?}");
            match moved {
                Ok(done) => {
                    assert_eq!((done.bytes, done.has_ended), (10, true), "{code:?}");
                    assert_eq!(read_exactly(&sink, 10), b"every byte");
                }
                Err(failed) => {
                    assert_eq!((failed.end, failed.bytes), (TransferEnd::Destination, 0));
                    assert_eq!(failed.error.kind, ErrorKind::BrokenPipe, "{code:?}");
                    assert_eq!(read_exactly(&from, 10), b"every byte");
                }
            }
        }
    }

    /// No flag of the call keeps its SIGPIPE away. In a process of its own, which the signal would kill.
    #[cfg(feature = "fault")]
    #[test]
    fn a_splice_raises_no_signal() {
        if std::env::var_os("WATERTIGHT_SIGPIPE").is_some() {
            return move_to_nobody();
        }
        let _accounted = Accounted::start();
        let test = "a_splice_raises_no_signal";
        run_again(module_path!(), test, "WATERTIGHT_SIGPIPE");
    }

    /// As a task each call sees to it, and a thread that waits does so once for all calls.
    #[cfg(feature = "fault")]
    fn move_to_nobody() {
        use watertight::fault;
        let was_default = watertight_os::sigpipe_to_default();
        assert!(!was_default, "Rust's runtime ignores it");
        for as_a_task in [true, false] {
            let (from, feed) = pipe().unwrap();
            let (sink, to) = pipe().unwrap();
            drop(sink);
            feed.send(b"nobody's").wait().unwrap();
            fault::plan(&[]);
            let moving = transfer(&from, &to).within(PATIENCE);
            let moved = if as_a_task {
                futures_lite::future::block_on(moving)
            } else {
                moving.wait()
            };
            let calls = fault::stop().calls;
            assert!(calls.iter().any(|one| one.name == "splice"), "{calls:?}");
            assert_eq!(moved.unwrap_err().error.kind, ErrorKind::BrokenPipe);
        }
        let still_default = watertight_os::sigpipe_to_default();
        assert!(still_default, "the disposition was changed");
    }
}
