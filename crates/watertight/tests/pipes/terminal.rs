//! A pseudo-terminal's leading end: closing it throws away what the program has not read, so its orderly end waits.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use std::os::fd::OwnedFd;
use std::time::Duration;
use watertight::{ErrorKind, PipeWriter};

/// A leading end, and the program's.
fn ends() -> (OwnedFd, OwnedFd) {
    let leading = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&leading).unwrap();
    rustix::pty::unlockpt(&leading).unwrap();
    let name = rustix::pty::ptsname(&leading, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    (leading, program)
}

fn read(program: &OwnedFd) -> Vec<u8> {
    let mut buf = [0; 64];
    let n = rustix::io::read(program, &mut buf).unwrap();
    buf[..n].to_vec()
}

#[test]
fn finish_waits_until_the_program_has_read() {
    let _accounted = Accounted::start();
    let (leading, program) = ends();
    let writer = PipeWriter::adopt(leading).unwrap();
    writer.send(b"typed\n").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let early = writer.finish().within(Duration::ZERO).wait();
    assert_eq!(early.unwrap_err().kind, ErrorKind::TimedOut);
    let early = writer.until_read().within(Duration::ZERO).wait();
    assert_eq!(early.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(read(&program), b"typed\n");
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(receipt.ledger().transferred(), 6);
    // Closed now: the program is hung up on.
    assert_eq!(read(&program), b"");
}

#[test]
fn a_drop_waits_too_and_nothing_is_lost() {
    let _accounted = Accounted::start();
    let (leading, program) = ends();
    let writer = PipeWriter::adopt(leading).unwrap();
    writer.send(b"typed\n").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    drop(writer);
    assert_eq!(watertight::census().lingering, 1);
    assert_eq!(read(&program), b"typed\n");
    watertight::settle().within(PATIENCE).wait().unwrap();
    assert_eq!(read(&program), b"");
}

#[test]
fn a_terminal_that_every_program_has_left_is_closed_at_once() {
    let _accounted = Accounted::start();
    let (leading, program) = ends();
    let writer = PipeWriter::adopt(leading).unwrap();
    writer.send(b"typed\n").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    drop(program);
    let read = writer.until_read().within(PATIENCE).wait();
    assert_eq!(read.unwrap_err().kind, ErrorKind::BrokenPipe);
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    // The terminal had all of it, and nobody read it.
    assert_eq!(receipt.ledger().transferred(), 6);
    let cause = receipt.error().unwrap();
    assert_eq!(cause.kind, ErrorKind::BrokenPipe);
}

#[test]
fn an_abort_does_not_wait() {
    let _accounted = Accounted::start();
    let (leading, program) = ends();
    let writer = PipeWriter::adopt(leading).unwrap();
    writer.send(b"typed\n").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let _ = writer.finish().within(Duration::ZERO).wait();
    let _ = writer.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(read(&program), b"");
}
