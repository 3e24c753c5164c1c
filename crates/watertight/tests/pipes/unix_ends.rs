//! How Unix pipes, FIFOs and sockets begin and end.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::{Folder, fifo_ends};
use crate::common::{Accounted, PATIENCE, read_exactly, read_to_end};
use rustix::fs::{Mode, OFlags};
#[cfg(feature = "fault")]
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;
use watertight::{ErrorKind, PipeReader, PipeWriter};

#[test]
fn a_socket_ends_in_one_direction_and_goes_on_in_the_other() {
    let _accounted = Accounted::start();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = PipeReader::adopt(ours.try_clone().unwrap()).unwrap();
    let writer = PipeWriter::adopt(ours).unwrap();
    writer.send(b"question").wait().unwrap();
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    let mut question = String::new();
    theirs.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    theirs.write_all(b"answer").unwrap();
    theirs.shutdown(Shutdown::Both).unwrap();
    assert_eq!(read_to_end(&reader), b"answer");
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_tells_whether_its_peer_read_or_threw_away() {
    let _accounted = Accounted::start();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writer = PipeWriter::adopt(ours).unwrap();
    writer.send(b"read me").wait().unwrap();
    assert!(
        writer
            .until_read()
            .within(Duration::from_millis(10))
            .wait()
            .is_err()
    );
    theirs.read_exact(&mut [0; 7]).unwrap();
    writer.until_read().within(PATIENCE).wait().unwrap();
    writer.send(b"or not").wait().unwrap();
    writer.until_transferred().wait().unwrap();
    drop(theirs);
    let error = writer.until_read().within(PATIENCE).wait().unwrap_err();
    assert_eq!(error.kind, ErrorKind::BrokenPipe);
}

#[test]
fn a_peer_that_read_everything_and_left_is_no_failure() {
    let _accounted = Accounted::start();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (from, into) = std::io::pipe().unwrap();
    let ends: [(OwnedFd, OwnedFd); 2] = [(theirs.into(), ours.into()), (from.into(), into.into())];
    for (theirs, ours) in ends {
        let writer = PipeWriter::adopt(ours).unwrap();
        writer.send(b"read me").wait().unwrap();
        let mut peer = File::from(theirs);
        peer.read_exact(&mut [0; 7]).unwrap();
        drop(peer);
        writer.until_read().within(PATIENCE).wait().unwrap();
        drop(writer);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_writer_knows_how_many_bytes_its_peer_has_not_read() {
    let _accounted = Accounted::start();
    let folder = Folder::new("unread");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (from, into) = std::io::pipe().unwrap();
    let (fifo_from, fifo_into) = fifo_ends(&folder.fifo());
    let ends: [(OwnedFd, OwnedFd); 3] = [
        (theirs.into(), ours.into()),
        (from.into(), into.into()),
        (fifo_from.into(), fifo_into.into()),
    ];
    for (theirs, ours) in ends {
        let writer = PipeWriter::adopt(ours).unwrap();
        assert_eq!(writer.unread_bytes(), Some(0));
        writer.send(b"read ").wait().unwrap();
        writer.send(b"me").wait().unwrap();
        writer.until_transferred().within(PATIENCE).wait().unwrap();
        assert_eq!(writer.unread_bytes(), Some(7));
        let mut peer = File::from(theirs);
        // Byte by byte, also where the system keeps what was sent in one piece.
        for unread in (0..7).rev() {
            peer.read_exact(&mut [0]).unwrap();
            assert_eq!(writer.unread_bytes(), Some(unread));
        }
        assert_eq!(writer.ledger().transferred(), 7);
        let _ = writer.finish().within(PATIENCE).wait().unwrap();
        assert_eq!(writer.unread_bytes(), None);
    }
    let file = PipeWriter::adopt(File::create(folder.0.join("file")).unwrap()).unwrap();
    file.send(b"nobody reads").wait().unwrap();
    assert_eq!(file.unread_bytes(), None);
    let _ = file.finish().within(PATIENCE).wait().unwrap();
}

/// Waits until this thread waits for something, or is over.
#[cfg(target_os = "linux")]
fn await_sleep(task: &std::path::Path) {
    let is_running = || {
        let stat = std::fs::read_to_string(std::path::Path::new("/proc").join(task).join("stat"));
        stat.is_ok_and(|stat| stat.contains(") R "))
    };
    while is_running() {
        std::thread::yield_now();
    }
}

/// A socket without room, and its peer.
#[cfg(target_os = "linux")]
fn full_socket() -> (UnixStream, UnixStream) {
    let (mut full, peer) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 65536]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    (full, peer)
}

/// A reader that splices out of the pipe into a socket without room keeps the kernel's lock of the pipe for as long.
#[cfg(target_os = "linux")]
#[test]
fn a_question_that_is_held_up_holds_up_nobody() {
    use rustix::pipe::{SpliceFlags, splice};
    use std::sync::mpsc::channel;
    let _accounted = Accounted::start();
    let (from, into) = std::io::pipe().unwrap();
    let writer = PipeWriter::adopt(into).unwrap();
    writer.send(b"unread").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let (full, peer) = full_socket();
    let task = || std::fs::read_link("/proc/thread-self").unwrap();
    let (tell, told) = channel();
    let asking = tell.clone();
    let (know, known) = channel();
    let asked = std::thread::scope(|scope| {
        scope.spawn(move || {
            tell.send(task()).unwrap();
            // It fails when the peer goes.
            let _ = splice(&from, None, &full, None, 6, SpliceFlags::empty());
        });
        await_sleep(&told.recv().unwrap());
        let writer = &writer;
        scope.spawn(move || {
            asking.send(task()).unwrap();
            let _ = writer.unread_bytes();
        });
        await_sleep(&told.recv().unwrap());
        scope.spawn(move || know.send(writer.ledger().transferred()));
        let asked = known.recv_timeout(PATIENCE);
        drop(peer);
        asked
    });
    assert_eq!(asked, Ok(6));
    let _ = writer.abort().within(PATIENCE).wait().unwrap();
}

/// Whether the library's thread is inside a call that no signal ends.
#[cfg(target_os = "linux")]
fn is_driver_inside() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path().join("stat"));
    tasks.any(|stat| {
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        stat.contains(" (watertight) D ")
    })
}

/// Whoever begins to wait for a reader, or gives that up, makes no question wait for another pipe's lock.
#[cfg(target_os = "linux")]
#[test]
fn whoever_asks_is_not_held_up_by_a_question_about_another_pipe() {
    use rustix::pipe::{SpliceFlags, splice};
    use std::pin::Pin;
    use std::sync::mpsc::channel;
    use std::task::{Context, Waker};
    use std::time::Instant;
    let _accounted = Accounted::start();
    let (from, into) = std::io::pipe().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let ends: [OwnedFd; 2] = [into.into(), ours.into()];
    let writers = ends.map(|end| PipeWriter::adopt(end).unwrap());
    for writer in &writers {
        writer.send(b"unread").wait().unwrap();
        writer.until_transferred().within(PATIENCE).wait().unwrap();
    }
    let [first, second] = &writers;
    // From now on the library's thread asks about the first one.
    let mut reading = first.until_read();
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut reading).poll(&mut context).is_pending());
    let (full, peer) = full_socket();
    let (know, known) = channel();
    let answers = std::thread::scope(|scope| {
        scope.spawn(move || {
            // It fails when the peer goes.
            let _ = splice(&from, None, &full, None, 6, SpliceFlags::empty());
        });
        let begun = Instant::now();
        while !is_driver_inside() {
            assert!(begun.elapsed() < PATIENCE, "nobody keeps the lock");
            std::thread::yield_now();
        }
        let told = know.clone();
        scope.spawn(move || {
            let asked = second.until_read().within(Duration::ZERO).wait();
            told.send(asked.is_err())
        });
        let asked = known.recv_timeout(PATIENCE);
        scope.spawn(move || {
            drop(reading);
            know.send(true)
        });
        let given_up = known.recv_timeout(PATIENCE);
        drop(peer);
        [asked, given_up]
    });
    assert_eq!(answers, [Ok(true), Ok(true)]);
    for writer in &writers {
        let _ = writer.abort().within(PATIENCE).wait().unwrap();
    }
}

#[cfg(all(target_os = "linux", feature = "fault"))]
#[test]
fn what_is_unread_is_not_known_if_a_question_fails() {
    use watertight::fault::{self, Fault};
    let _accounted = Accounted::start();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let writer = PipeWriter::adopt(ours).unwrap();
    writer.send(b"unread").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    for only in [
        "SIOCOUTQ",
        "socket (sock_diag)",
        "send (sock_diag)",
        "recv (sock_diag)",
    ] {
        fault::plan(&[Fault {
            at: 1,
            only: Some(only),
            code: watertight::OsCode(Errno::NOMEM.raw_os_error()),
            times: 1,
        }]);
        assert_eq!(writer.unread_bytes(), None, "{only}");
        let trace = fault::stop();
        let has_failed = trace.begun.iter().any(|made| made.failed.is_some());
        assert!(has_failed, "{only}");
        assert_eq!(writer.unread_bytes(), Some(6));
    }
    let _ = writer.abort().within(PATIENCE).wait().unwrap();
}

/// A kernel that is short of memory for a moment: the bytes wait, at once and from the library's thread.
#[cfg(feature = "fault")]
#[test]
fn a_passing_lack_of_memory_is_waited_out() {
    use watertight::fault::{self, Fault};
    let _accounted = Accounted::start();
    for at in [1, 4] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // One owned chunk: every call is a `send`.
        let options = watertight::WriterOptions::new().queue_bytes_max(1 << 20);
        let writer = PipeWriter::adopt_with(ours, options).unwrap();
        fault::plan(&[Fault {
            at,
            only: Some("send"),
            code: watertight::OsCode(Errno::NOBUFS.raw_os_error()),
            times: 3,
        }]);
        let data = watertight::Bytes::from(vec![7; 1_000_000]);
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all.len()
        });
        let sending = writer.send_bytes(data.clone());
        sending.within(PATIENCE).wait().unwrap();
        let receipt = writer.finish().within(PATIENCE).wait().unwrap();
        let trace = fault::stop();
        assert!(receipt.is_complete(), "{receipt:?}");
        assert_eq!(reading.join().unwrap(), data.len());
        let failed = trace
            .begun
            .iter()
            .filter(|made| made.failed.is_some())
            .count();
        assert!(failed >= 1, "no call was short of memory");
    }
}

#[test]
fn data_comes_before_the_reset_of_a_socket() {
    let _accounted = Accounted::start();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = PipeReader::adopt(ours.try_clone().unwrap()).unwrap();
    (&ours).write_all(b"never read by the peer").unwrap();
    theirs.write_all(b"data first").unwrap();
    drop(theirs);
    assert_eq!(read_exactly(&reader, 10), b"data first");
    let error = reader
        .receive(&mut [0; 8])
        .within(PATIENCE)
        .wait()
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Reset);
    // Latched: the same again, though the kernel would say "end of stream" by now.
    let again = reader
        .receive(&mut [0; 8])
        .within(PATIENCE)
        .wait()
        .unwrap_err();
    assert_eq!(again.os, error.os);
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_that_somebody_opened_again_is_used_too() {
    use std::os::fd::AsRawFd;
    let _accounted = Accounted::start();
    // What a shell does for `>(command)` and /dev/stdout: the same pipe, and it refuses RWF_NOWAIT.
    let (from, into) = std::io::pipe().unwrap();
    let path = |fd: i32| format!("/proc/self/fd/{fd}");
    let again_into = File::options()
        .write(true)
        .open(path(into.as_raw_fd()))
        .unwrap();
    let again_from = File::open(path(from.as_raw_fd())).unwrap();
    drop((from, into));
    let reader = PipeReader::adopt(again_from).unwrap();
    let writer = PipeWriter::adopt(again_into).unwrap();
    let data = crate::common::noise(1 << 20, 4);
    let collector = std::thread::spawn(move || read_to_end(&reader));
    writer.send(&data).within(PATIENCE).wait().unwrap();
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    assert!(collector.join().unwrap() == data);
}

#[test]
fn a_fifo_has_no_end_before_its_first_writer() {
    let _accounted = Accounted::start();
    let folder = Folder::new("early");
    let path = folder.fifo();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let early = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    let reader = PipeReader::adopt(early).unwrap();
    let mut buf = [0; 8];
    let nobody = reader
        .receive(&mut buf)
        .within(Duration::from_millis(5))
        .wait();
    assert_eq!(nobody.unwrap_err().kind, ErrorKind::TimedOut);
    let mut writer = File::options().write(true).open(&path).unwrap();
    writer.write_all(b"first").unwrap();
    assert_eq!(read_exactly(&reader, 5), b"first");
    drop(writer);
    assert_eq!(read_to_end(&reader), b"");
}

#[test]
fn a_fifo_whose_writer_left_before_the_adoption_ends() {
    let _accounted = Accounted::start();
    let folder = Folder::new("left");
    let (from, mut into) = fifo_ends(&folder.fifo());
    into.write_all(b"all there was").unwrap();
    drop(into);
    let reader = PipeReader::adopt(from).unwrap();
    assert_eq!(read_to_end(&reader), b"all there was");
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_whose_reset_was_told_to_a_reader_is_not_called_read() {
    let _accounted = Accounted::start();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let reader = PipeReader::adopt(ours.try_clone().unwrap()).unwrap();
    let writer = PipeWriter::adopt(ours).unwrap();
    writer.send(&[1; 1000]).wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    drop(theirs);
    // The reader hears of the reset, and so nobody else does.
    let reset = reader.receive(&mut [0; 8]).within(PATIENCE).wait();
    assert_eq!(reset.unwrap_err().kind, ErrorKind::Reset);
    let error = writer.until_read().within(PATIENCE).wait().unwrap_err();
    assert_eq!(error.kind, ErrorKind::BrokenPipe);
}

#[test]
fn a_handle_given_back_can_be_adopted_again() {
    let _accounted = Accounted::start();
    let (from, into) = std::io::pipe().unwrap();
    let keeps_it_open = into.try_clone().unwrap();
    let mut reader = PipeReader::adopt(from).unwrap();
    let mut writer = PipeWriter::adopt(into).unwrap();
    for round in 0..3 {
        // Both have to wait, so both get into the poller.
        let mut buf = [0; 8];
        assert!(
            reader
                .receive(&mut buf)
                .within(Duration::from_millis(2))
                .wait()
                .is_err()
        );
        writer.send(&[round; 200_000]).wait().unwrap();
        assert_eq!(read_exactly(&reader, 200_000), [round; 200_000]);
        writer.until_transferred().within(PATIENCE).wait().unwrap();
        assert!(
            reader
                .receive(&mut buf)
                .within(Duration::from_millis(2))
                .wait()
                .is_err()
        );
        let back = reader.into_handle().unwrap();
        reader = PipeReader::adopt(back).unwrap();
        let back = writer.into_handle().unwrap();
        writer = PipeWriter::adopt(back).unwrap();
    }
    drop(keeps_it_open);
}

#[test]
fn an_adopted_descriptor_is_not_inherited() {
    let _accounted = Accounted::start();
    let (from, into) = rustix::pipe::pipe().unwrap();
    let reader = PipeReader::adopt(from).unwrap();
    let writer = PipeWriter::adopt(into).unwrap();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    // A child with the writing end would keep this one waiting.
    assert_eq!(read_to_end(&reader), b"");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The driver's thread is woken for room that another writer of the same pipe takes first: an abort at that moment must
/// find the operation, or it would wait for the stop bound and leave bytes in doubt.
#[test]
fn an_abort_that_meets_a_running_write_is_exact() {
    let _accounted = Accounted::start();
    for round in 0..300 {
        let (mut from, into) = std::io::pipe().unwrap();
        let rival = PipeWriter::adopt(into.try_clone().unwrap()).unwrap();
        let writer = PipeWriter::adopt(into).unwrap();
        let draining = std::thread::spawn(move || {
            let mut buf = [0; 5_000];
            while from.read(&mut buf).unwrap() > 0 {}
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = rival.send(&[1; 1 << 20]).within(PATIENCE).wait();
                let _ = rival.abort().within(PATIENCE).wait();
            });
            writer.send(&[2; 200_000 + 97 * 31]).wait().unwrap();
            for _ in 0..round % 50 {
                std::thread::yield_now();
            }
            let receipt = writer.abort().within(PATIENCE).wait().unwrap();
            assert_eq!(receipt.ledger().in_doubt(), 0, "round {round}");
        });
        drop((writer, rival));
        draining.join().unwrap();
    }
}
