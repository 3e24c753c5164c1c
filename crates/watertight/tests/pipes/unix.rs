//! What Unix handles do: the ladder, shared flags, SIGPIPE, wrong handles.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::{Folder, fifo_ends};
use crate::common::{Accounted, PATIENCE, noise, read_exactly, read_to_end, run_again};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
#[cfg(target_os = "linux")]
use std::time::Duration;
#[cfg(target_os = "linux")]
use watertight::WriterOptions;
use watertight::{ErrorKind, PipeReader, PipeWriter, Step};

fn flags(fd: impl AsFd) -> OFlags {
    rustix::fs::fcntl_getfl(fd).unwrap()
}

fn through(from: impl Into<OwnedFd>, into: impl Into<OwnedFd>, bytes: usize) {
    let reader = PipeReader::adopt(from).unwrap();
    let writer = PipeWriter::adopt(into).unwrap();
    let data = noise(bytes, 9);
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
fn fifos_sockets_and_pipes_carry_bytes_and_keep_their_flags() {
    let _accounted = Accounted::start();
    let folder = Folder::new("kinds");
    let (from, into) = fifo_ends(&folder.fifo());
    through(from, into, 1 << 20);
    let (from, into) = UnixStream::pair().unwrap();
    through(from, into, 1 << 20);
    let (from, into) = std::io::pipe().unwrap();
    through(from, into, 1 << 20);
}

#[cfg(target_os = "linux")]
#[test]
fn o_nonblock_is_never_set_on_what_came_from_outside() {
    let _accounted = Accounted::start();
    let folder = Folder::new("flags");
    let (fifo_from, fifo_into) = fifo_ends(&folder.fifo());
    let (pipe_from, pipe_into) = std::io::pipe().unwrap();
    let (socket_from, socket_into) = UnixStream::pair().unwrap();
    let pairs: [(OwnedFd, OwnedFd); 3] = [
        (fifo_from.into(), fifo_into.into()),
        (pipe_from.into(), pipe_into.into()),
        (socket_from.into(), socket_into.into()),
    ];
    for (from, into) in pairs {
        // The same descriptions, held by another process as its standard input and output.
        let mut witness = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::from(from.try_clone().unwrap()))
            .stdout(Stdio::from(into.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let seen = |pid: u32| {
            [0, 1].map(|number| {
                let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
                let line = info.lines().find_map(|line| line.strip_prefix("flags:"));
                u32::from_str_radix(line.unwrap().trim(), 8).unwrap()
            })
        };
        let nonblock = OFlags::NONBLOCK.bits();
        let before = seen(witness.id());
        assert!(before.iter().all(|flags| flags & nonblock == 0));
        let reader = PipeReader::adopt(from).unwrap();
        let options = WriterOptions::new()
            .half_close(false)
            .queue_bytes_max(1 << 20);
        let writer = PipeWriter::adopt_with(into, options).unwrap();
        // Full, so that it has to wait; empty, so that the reader has to; in between, and at the end.
        let mut buf = [0; 100];
        assert!(
            reader
                .receive(&mut buf)
                .within(Duration::from_millis(1))
                .wait()
                .is_err()
        );
        writer.send(&[1; 1 << 20]).wait().unwrap();
        assert!(
            writer
                .until_transferred()
                .within(Duration::from_millis(1))
                .wait()
                .is_err()
        );
        assert_eq!(seen(witness.id()), before);
        let _ = read_exactly(&reader, 1 << 20);
        let _ = writer.finish().within(PATIENCE).wait().unwrap();
        assert_eq!(seen(witness.id()), before);
        drop(reader);
        assert_eq!(seen(witness.id()), before);
        witness.kill().unwrap();
        witness.wait().unwrap();
    }
}

#[test]
fn files_and_devices_go_through_a_helper() {
    let _accounted = Accounted::start();
    let folder = Folder::new("files");
    let path = folder.0.join("file");
    let data = noise(777_777, 5);
    let writer = PipeWriter::adopt(File::create(&path).unwrap()).unwrap();
    writer.send(&data).within(PATIENCE).wait().unwrap();
    assert_eq!(
        writer
            .until_read()
            .within(PATIENCE)
            .wait()
            .unwrap_err()
            .kind,
        ErrorKind::Unsupported
    );
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    assert!(std::fs::read(&path).unwrap() == data);
    let reader = PipeReader::adopt(File::open(&path).unwrap()).unwrap();
    assert!(read_to_end(&reader) == data);
    let zero = PipeReader::adopt(File::open("/dev/zero").unwrap()).unwrap();
    assert_eq!(read_exactly(&zero, 100_000), vec![0; 100_000]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_every_byte_handed_back() {
    let _accounted = Accounted::start();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let writer = PipeWriter::adopt(full).unwrap();
    writer
        .send(b"no room for this")
        .within(PATIENCE)
        .wait()
        .unwrap();
    let error = writer
        .until_transferred()
        .within(PATIENCE)
        .wait()
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
    assert_eq!(error.os.unwrap().0, rustix::io::Errno::NOSPC.raw_os_error());
    let receipt = writer.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(crate::common::joined(receipt.unsent()), b"no room for this");
    assert_eq!(receipt.ledger().transferred(), 0);
}

#[test]
fn a_terminal_is_read_and_written_without_its_flags_changing() {
    let _accounted = Accounted::start();
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)
            .unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let open = || {
        rustix::fs::open(
            &name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap()
    };
    let held = open();
    let reader = PipeReader::adopt(held.try_clone().unwrap()).unwrap();
    let writer = PipeWriter::adopt(held.try_clone().unwrap()).unwrap();
    rustix::io::write(&master, b"typed\n").unwrap();
    assert_eq!(read_exactly(&reader, 6), b"typed\n");
    writer.send(b"shown").wait().unwrap();
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    // The master sees the echo of what was typed, then what was shown.
    let mut shown = Vec::new();
    while !shown.ends_with(b"shown") {
        let mut buf = [0; 64];
        let n = rustix::io::read(&master, &mut buf).unwrap();
        shown.extend_from_slice(&buf[..n]);
    }
    assert!(!flags(&held).contains(OFlags::NONBLOCK));
}

#[cfg(target_os = "linux")]
#[test]
fn a_capacity_is_asked_for_and_read_back() {
    let _accounted = Accounted::start();
    let options = WriterOptions::new().capacity_bytes(1 << 17);
    let (reader, writer) =
        watertight::pipe_with(watertight::ReaderOptions::new(), options).unwrap();
    let capacity = writer.capacity().unwrap();
    // The kernel may refuse (pipe-user-pages-soft); then the truth is told.
    writer.send(&vec![1; 1 << 17]).wait().unwrap();
    if capacity >= 1 << 17 {
        writer.until_transferred().within(PATIENCE).wait().unwrap();
    }
    let _ = writer.abort().wait().unwrap();
    drop(reader);
}

#[test]
fn the_leading_end_of_a_terminal_reaches_its_own_terminal() {
    let _accounted = Accounted::start();
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    let writer = PipeWriter::adopt(master.try_clone().unwrap()).unwrap();
    writer.send(b"typed\n").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let mut buf = [0; 64];
    let n = rustix::io::read(&terminal, &mut buf).unwrap();
    assert_eq!(&buf[..n], b"typed\n");
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
}

#[test]
fn wrong_handles_are_refused_and_given_back() {
    let _accounted = Accounted::start();
    let (from, into) = std::io::pipe().unwrap();
    let refused = PipeWriter::adopt(from).unwrap_err();
    assert_eq!(
        (refused.step, refused.error.kind),
        (Step::InspectAccess, ErrorKind::InvalidInput)
    );
    assert_eq!(
        refused.error.os.unwrap().0,
        rustix::io::Errno::BADF.raw_os_error()
    );
    let from = refused.handle;
    let refused = PipeReader::adopt(into).unwrap_err();
    assert_eq!(refused.step, Step::InspectAccess);
    through(from, refused.handle, 1_000);

    let folder = File::open(std::env::temp_dir()).unwrap();
    let refused = PipeReader::adopt(folder).unwrap_err();
    assert_eq!(
        (refused.step, refused.error.kind),
        (Step::Inspect, ErrorKind::InvalidInput)
    );
    assert_eq!(
        refused.error.os.unwrap().0,
        rustix::io::Errno::ISDIR.raw_os_error()
    );
    assert!(
        refused.to_string().contains("asking what kind of thing"),
        "{refused}"
    );

    let datagram = UnixDatagram::unbound().unwrap();
    assert_eq!(
        PipeReader::adopt(datagram).unwrap_err().error.kind,
        ErrorKind::InvalidInput
    );
    let lonely = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    assert_eq!(
        PipeReader::adopt(lonely).unwrap_err().error.kind,
        ErrorKind::NotConnected
    );
    assert!(watertight::inherited(9_999, watertight::Direction::Read).is_err());
}

#[cfg(feature = "fault")]
/// A process that leaves SIGPIPE at its default, as C programs do, must live through a broken pipe of every kind.
#[test]
fn sigpipe_never_escapes() {
    if std::env::var_os("WATERTIGHT_SIGPIPE").is_some() {
        return break_every_pipe();
    }
    let _accounted = Accounted::start();
    run_again(
        module_path!(),
        "sigpipe_never_escapes",
        "WATERTIGHT_SIGPIPE",
    );
}

#[cfg(feature = "fault")]
fn break_every_pipe() {
    let was_default = watertight_os::sigpipe_to_default();
    assert!(!was_default, "Rust's runtime ignores it");
    let folder = Folder::new("sigpipe");
    let (fifo_from, fifo_into) = fifo_ends(&folder.fifo());
    let (pipe_from, pipe_into) = std::io::pipe().unwrap();
    let (socket_from, socket_into) = UnixStream::pair().unwrap();
    let pairs: [(OwnedFd, OwnedFd); 3] = [
        (fifo_from.into(), fifo_into.into()),
        (pipe_from.into(), pipe_into.into()),
        (socket_from.into(), socket_into.into()),
    ];
    for (from, into) in pairs {
        let writer = PipeWriter::adopt(into).unwrap();
        writer.send(&[0; 250_000]).wait().unwrap();
        drop(from);
        // The library's thread meets the broken pipe here, and the calling thread below.
        let error = writer
            .until_transferred()
            .within(PATIENCE)
            .wait()
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::BrokenPipe);
    }
    let (reader, writer) = watertight::pipe().unwrap();
    drop(reader);
    let refused = writer.send(b"x").wait().unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::BrokenPipe);
    let still_default = watertight_os::sigpipe_to_default();
    assert!(still_default, "the disposition was changed");
}

#[test]
fn a_childs_streams_are_adopted_from_std() {
    let _accounted = Accounted::start();
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let writer = PipeWriter::adopt(child.stdin.take().unwrap()).unwrap();
    let reader = PipeReader::adopt(child.stdout.take().unwrap()).unwrap();
    let data = noise(1 << 20, 6);
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
    assert!(child.wait().unwrap().success());
}

/// What a child finds open.
#[cfg(target_os = "linux")]
fn listing() -> Vec<String> {
    let output = Command::new("ls").arg("-l").arg("/proc/self/fd").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let targets = text.lines().filter_map(|line| line.split_once(" -> "));
    // Its own streams and its look at itself have new numbers every time.
    targets
        .map(|(_, target)| target.split([':', '/']).next().unwrap().to_string())
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn no_descriptor_of_ours_reaches_a_child() {
    let _accounted = Accounted::start();
    let before = listing();
    let ends = watertight::pipe().unwrap();
    let folder = Folder::new("cloexec");
    let (from, into) = fifo_ends(&folder.fifo());
    let fifo = (
        PipeReader::adopt(from).unwrap(),
        PipeWriter::adopt(into).unwrap(),
    );
    let file = PipeReader::adopt(File::open("/dev/zero").unwrap()).unwrap();
    assert_eq!(listing(), before);
    drop((ends, fifo, file));
}

#[test]
fn exhausted_descriptors_are_a_clear_error_and_pass() {
    if std::env::var_os("WATERTIGHT_EXHAUST").is_none() {
        let _accounted = Accounted::start();
        let test = "exhausted_descriptors_are_a_clear_error_and_pass";
        return run_again(module_path!(), test, "WATERTIGHT_EXHAUST");
    }
    let (reader, writer) = watertight::pipe().unwrap();
    let mut hoard = Vec::new();
    let limit = rustix::process::Rlimit {
        current: Some(64),
        maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let failed = watertight::pipe().unwrap_err();
    assert_eq!(
        (failed.step, failed.error.kind),
        (Step::CreatePipe, ErrorKind::Limit)
    );
    // What exists goes on working.
    writer.send(b"still here").wait().unwrap();
    assert_eq!(read_exactly(&reader, 10), b"still here");
    // A file needs a helper with descriptors of its own: refused whole, and the handle comes back.
    let raw = hoard[0].as_raw_fd();
    let refused = PipeReader::adopt(hoard.swap_remove(0)).unwrap_err();
    assert_eq!(
        (refused.step, refused.error.kind),
        (Step::CreatePipe, ErrorKind::Limit)
    );
    assert_eq!(refused.handle.as_raw_fd(), raw);
    drop(hoard);
    drop(refused.handle);
    drop(watertight::pipe().unwrap());
}

/// O_PATH opens nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_not_opened_is_refused() {
    let _accounted = Accounted::start();
    let path = rustix::fs::open("/dev/null", rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    assert_eq!(
        PipeReader::adopt(path).unwrap_err().error.kind,
        ErrorKind::InvalidInput
    );
}
