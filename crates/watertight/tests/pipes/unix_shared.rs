//! What others have too: handles that are handed on or inherited, pipes with several writers, forked children.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

#[cfg(feature = "fault")]
use crate::common::read_exactly;
use crate::common::{Accounted, read_to_end};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
#[cfg(feature = "fault")]
use std::time::Duration;
use watertight::{ErrorKind, PipeReader, PipeWriter, ReaderOptions};

/// A copy of the handle goes to a child; the records of both stay whole. An end with nothing under way becomes a child's own.
#[test]
fn ends_are_handed_on_to_children() {
    let _accounted = Accounted::start();
    let (reader, writer) = watertight::pipe().unwrap();
    let copy = writer.try_clone_handle().unwrap();
    let child = Command::new("printf")
        .arg("from the child")
        .stdout(copy)
        .status();
    assert!(child.unwrap().success());
    writer.send(b" and from us").wait().unwrap();
    let _ = writer.finish().wait().unwrap();
    assert_eq!(read_to_end(&reader), b"from the child and from us");
    drop(reader);

    let (reader, writer) = watertight::pipe().unwrap();
    let full = vec![7; 200_000];
    writer.send(&full).wait().unwrap();
    let kept = writer.into_stdio().unwrap_err();
    assert_eq!(kept.error.kind, ErrorKind::Busy);
    let _ = kept.handle.abort().wait().unwrap();
    drop(reader);

    let (reader, writer) = watertight::pipe().unwrap();
    let stdin = reader.into_stdio().unwrap();
    let child = Command::new("cat")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writer.send(b"through cat").wait().unwrap();
    let _ = writer.finish().wait().unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through cat");
}

/// C1: what is given back is as it came, for children too.
#[test]
fn a_descriptor_that_children_got_is_given_back_so() {
    let _accounted = Accounted::start();
    let (from, _into) = rustix::pipe::pipe().unwrap();
    rustix::io::fcntl_setfd(&from, rustix::io::FdFlags::empty()).unwrap();
    let reader = PipeReader::adopt(from).unwrap();
    let back = reader.into_handle().unwrap();
    let flags = rustix::io::fcntl_getfd(&back).unwrap();
    assert!(flags.is_empty(), "{flags:?}");
}

/// In packet mode each write is a packet: joined messages would be one, so that end is refused.
#[cfg(target_os = "linux")]
#[test]
fn a_packet_pipe_is_not_written() {
    let _accounted = Accounted::start();
    let (_from, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::DIRECT).unwrap();
    let refused = PipeWriter::adopt(into).unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::Unsupported);
    rustix::io::write(&refused.handle, b"still usable").unwrap();
}

/// A packet is taken out of the pipe whole, however small the caller's buffer is: the tail comes with the next reads, and no read
/// joins two packets. By a thread that blocks, and by one that reads what is there.
#[cfg(target_os = "linux")]
#[test]
fn a_packet_read_with_a_small_buffer_loses_nothing() {
    let _accounted = Accounted::start();
    let (from, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::DIRECT).unwrap();
    let options = ReaderOptions::new().packets(true);
    let reader = PipeReader::adopt_with(from, options).unwrap();
    // The first packet comes when the reader waits already, or before: both are right.
    let writing = std::thread::spawn(move || {
        let packets: [&[u8]; 4] = [&[1; 4096], &[2; 100], &[3; 11], &[4; 1]];
        for packet in packets {
            rustix::io::write(&into, packet).unwrap();
        }
    });
    let mut read = Vec::new();
    let mut buf = [0; 139];
    loop {
        let n = reader.receive(&mut buf).wait().unwrap();
        if n == 0 {
            break;
        }
        assert!(buf[..n].iter().all(|byte| *byte == buf[0]), "two packets");
        read.extend_from_slice(&buf[..n]);
    }
    writing.join().unwrap();
    let of = |value: u8| read.iter().filter(|byte| **byte == value).count();
    assert_eq!([of(1), of(2), of(3), of(4)], [4096, 100, 11, 1]);
    let ledger = reader.ledger();
    assert_eq!((ledger.accepted(), ledger.transferred()), (4208, 4208));
}

/// What was read ahead of a packet is in the account, and in the receipt of a reader that stops there.
#[cfg(target_os = "linux")]
#[test]
fn the_tail_of_a_packet_is_in_the_receipt() {
    let _accounted = Accounted::start();
    let (from, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::DIRECT).unwrap();
    let options = ReaderOptions::new().packets(true);
    let reader = PipeReader::adopt_with(from, options).unwrap();
    rustix::io::write(&into, b"head and tail").unwrap();
    assert_eq!(reader.receive(&mut [0; 4]).wait().unwrap(), 4);
    let refused = reader.into_handle().unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::Busy);
    let reader = refused.handle;
    let receipt = reader.abort().wait().unwrap();
    assert_eq!(receipt.untaken().concat(), b" and tail");
    assert_eq!(receipt.ledger().discarded(), 9);
}

/// Eight writers share one pipe, each with records of a thousand bytes: what the kernel keeps whole stays whole.
#[test]
fn records_of_several_writers_are_not_torn() {
    const RECORD: usize = 1_000;
    const RECORDS: usize = 1_000;
    let _accounted = Accounted::start();
    let (mut from, into) = std::io::pipe().unwrap();
    let writers: Vec<_> = (0..8u8)
        .map(|name| {
            let writer = PipeWriter::adopt(into.try_clone().unwrap()).unwrap();
            std::thread::spawn(move || {
                for _ in 0..RECORDS {
                    writer.send(&[name; RECORD]).wait().unwrap();
                }
                assert!(writer.finish().wait().unwrap().is_complete());
            })
        })
        .collect();
    drop(into);
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    for writer in writers {
        writer.join().unwrap();
    }
    let is_whole = |record: &[u8]| record.iter().all(|byte| *byte == record[0]);
    let torn = all
        .chunks(RECORD)
        .filter(|record| !is_whole(record))
        .count();
    assert_eq!((all.len(), torn), (8 * RECORD * RECORDS, 0));
}

/// What a forked child may do with the parent's pipes: nothing, in words, and without a panic.
#[cfg(feature = "fault")]
#[test]
fn every_call_in_a_forked_child_is_refused_and_every_drop_is_quiet() {
    let _accounted = Accounted::start();
    let (idle_reader, idle) = watertight::pipe().unwrap();
    let (full_reader, full) = watertight::pipe().unwrap();
    full.send(&[7; 200_000]).wait().unwrap();
    // A read that waits is in the poller's table, in the child's copy too.
    let mut pending = [0; 8];
    let late = idle_reader
        .receive(&mut pending)
        .within(Duration::from_millis(1));
    assert_eq!(late.wait().unwrap_err().kind, ErrorKind::TimedOut);
    let served = PipeReader::adopt(std::fs::File::open("/dev/zero").unwrap()).unwrap();

    let child = watertight_os::fork_for_a_test();
    if child == 0 {
        let refused = std::panic::catch_unwind(move || {
            let elsewhere = |kind| kind == ErrorKind::WrongProcess;
            let mut all = vec![
                elsewhere(idle.try_send(b"first").unwrap_err().error.kind),
                elsewhere(full.try_send(b"x").unwrap_err().error.kind),
                elsewhere(full.send(b"x").wait().unwrap_err().error.kind),
                elsewhere(full.until_transferred().wait().unwrap_err().kind),
                elsewhere(idle.until_read().wait().unwrap_err().kind),
                elsewhere(idle.finish().wait().unwrap_err().kind),
                elsewhere(idle_reader.receive(&mut [0; 8]).wait().unwrap_err().kind),
                elsewhere(served.into_handle().unwrap_err().error.kind),
                elsewhere(full_reader.into_handle().unwrap_err().error.kind),
                elsewhere(watertight::pipe().unwrap_err().error.kind),
            ];
            let receipt = full.abort().wait().unwrap();
            all.push(elsewhere(receipt.error().unwrap().kind));
            drop((idle_reader, idle, full));
            all.iter().position(|refused| !refused)
        });
        let code = match refused {
            Ok(None) => 0,
            Ok(Some(at)) => 10 + i32::try_from(at).unwrap(),
            Err(_) => 1,
        };
        watertight_os::end_of_a_test(code);
    }
    let child = rustix::process::Pid::from_raw(child);
    let (_, status) = rustix::process::waitpid(child, rustix::process::WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(status.exit_status(), Some(0));
    // The parent's pipes go on as if nothing had been.
    idle.send(b"question").wait().unwrap();
    assert_eq!(read_exactly(&idle_reader, 8), b"question");
    let _ = full.abort().wait().unwrap();
}

/// `inherited` is a safe call: whatever number it is given, a private file of somebody else's stays as it is.
#[test]
fn a_number_that_somebody_else_has_is_duplicated_and_left_alone() {
    let _account = Accounted::start();
    let (theirs, _other) = rustix::pipe::pipe().unwrap();
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
    let number = u32::try_from(theirs.as_raw_fd()).unwrap();
    let ours = watertight::inherited(number, watertight::Direction::Read).unwrap();
    let flags = rustix::io::fcntl_getfd(&theirs).unwrap();
    assert!(flags.is_empty(), "{flags:?}");
    let flags = rustix::io::fcntl_getfd(&ours).unwrap();
    assert_eq!(flags, rustix::io::FdFlags::CLOEXEC);
    assert_ne!(ours.as_raw_fd(), theirs.as_raw_fd());
}

/// A thread that blocks in a read at the fork is not in the child: a stop there does not wait for it.
#[cfg(all(feature = "fault", target_os = "linux"))]
#[test]
fn a_stop_in_a_forked_child_waits_for_no_thread_of_the_parents() {
    let _accounted = Accounted::start();
    let (reader, writer) = watertight::pipe().unwrap();
    std::thread::scope(|scope| {
        let name = "blocked-reader";
        let read = || reader.receive(&mut [0; 8]).wait();
        let blocked = std::thread::Builder::new()
            .name(name.into())
            .spawn_scoped(scope, read)
            .unwrap();
        // A system that does not say so has the fork come at some other moment, which is as good.
        let end = std::time::Instant::now() + crate::common::PATIENCE;
        while !waits_in_poll(name) && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        let child = watertight_os::fork_for_a_test();
        if child == 0 {
            let stopped = reader.abort().within(crate::common::PATIENCE).wait();
            watertight_os::end_of_a_test(i32::from(stopped.is_err()));
        }
        let pid = rustix::process::Pid::from_raw(child);
        let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(status.exit_status(), Some(0));
        // The parent's thread was not disturbed.
        writer.send(b"x").wait().unwrap();
        assert_eq!(blocked.join().unwrap().unwrap(), 1);
    });
}

/// Whether the thread of this name sleeps in the kernel's poll.
#[cfg(all(feature = "fault", target_os = "linux"))]
fn waits_in_poll(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        read("comm").trim_end() == name && read("wchan").contains("poll")
    })
}
