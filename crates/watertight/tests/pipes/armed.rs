//! A TCP stream that looks cut to its peer unless it is ended in order.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, test_name};
use rustix::net::sockopt::socket_linger;
use std::io::{ErrorKind as StdKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use watertight::{ErrorKind, OnDrop, PipeWriter, WriterOptions, pipe_with};

const MESSAGE: &[u8] = &[7; 10_000];
/// Makes this test binary the child of [`a_kill_is_a_reset`].
const CONNECT_TO: &str = "WATERTIGHT_CONNECT_TO";

fn armed() -> WriterOptions {
    WriterOptions::new().armed(true)
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// What the peer reads, and whether its stream was cut.
fn read_all(mut theirs: TcpStream) -> (usize, bool) {
    let mut all = Vec::new();
    match theirs.read_to_end(&mut all) {
        Ok(_) => (all.len(), false),
        Err(error) => {
            assert_eq!(error.kind(), StdKind::ConnectionReset, "{error}");
            (all.len(), true)
        }
    }
}

#[test]
fn an_orderly_end_is_a_normal_end() {
    let _accounted = Accounted::start();
    for finishes in [true, false] {
        let (ours, theirs) = connection();
        let writer = PipeWriter::adopt_with(ours, armed()).unwrap();
        writer.send(MESSAGE).within(PATIENCE).wait().unwrap();
        if finishes {
            let receipt = writer.finish().within(PATIENCE).wait().unwrap();
            assert!(receipt.is_complete());
        } else {
            drop(writer);
        }
        assert_eq!(read_all(theirs), (MESSAGE.len(), false));
    }
}

/// What this system still holds for the peer when the stream ends in order is not thrown away.
#[test]
fn an_orderly_end_delivers_what_the_kernel_holds() {
    let _accounted = Accounted::start();
    let (ours, theirs) = connection();
    let writer = PipeWriter::adopt_with(ours, armed()).unwrap();
    let much = vec![7; 1_000_000];
    writer.send(&much).within(PATIENCE).wait().unwrap();
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(read_all(theirs), (much.len(), false));
}

#[test]
fn every_other_end_is_a_reset() {
    let _accounted = Accounted::start();
    for is_dropped in [true, false] {
        let (ours, mut theirs) = connection();
        let options = armed().on_drop(OnDrop::Abort);
        let writer = PipeWriter::adopt_with(ours, options).unwrap();
        writer.send(MESSAGE).within(PATIENCE).wait().unwrap();
        // What the peer's system has by then arrives.
        let mut all = vec![0; MESSAGE.len()];
        theirs.read_exact(&mut all).unwrap();
        if is_dropped {
            drop(writer);
        } else {
            let _ = writer.abort().within(PATIENCE).wait().unwrap();
        }
        assert_eq!(read_all(theirs), (0, true));
    }
}

#[test]
fn a_kill_is_a_reset() {
    if let Some(address) = std::env::var_os(CONNECT_TO) {
        let ours = TcpStream::connect(address.to_str().unwrap()).unwrap();
        let writer = PipeWriter::adopt_with(ours, armed()).unwrap();
        writer.send(MESSAGE).wait().unwrap();
        loop {
            std::thread::park();
        }
    }
    let _accounted = Accounted::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), "a_kill_is_a_reset")])
        .env(CONNECT_TO, listener.local_addr().unwrap().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = vec![0; MESSAGE.len()];
    theirs.read_exact(&mut all).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(read_all(theirs), (0, true));
}

#[test]
fn a_socket_that_is_given_back_is_as_it_came() {
    let _accounted = Accounted::start();
    let (ours, theirs) = connection();
    let writer = PipeWriter::adopt_with(ours, armed()).unwrap();
    let copy = writer.try_clone_handle().unwrap();
    assert!(socket_linger(&copy).unwrap().is_some());
    let back = writer.into_handle().unwrap();
    assert_eq!(socket_linger(&back).unwrap(), None);
    drop((copy, back));
    assert_eq!(read_all(theirs), (0, false));
}

#[test]
fn what_has_no_such_sign_says_so() {
    let _accounted = Accounted::start();
    let (local, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = PipeWriter::adopt_with(local, armed()).unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::Unsupported);
    assert!(
        refused.to_string().contains("arming the stream"),
        "{refused}"
    );
    drop(PipeWriter::adopt(refused.handle).unwrap());
    let failed = pipe_with(watertight::ReaderOptions::new(), armed()).unwrap_err();
    assert_eq!(failed.error.kind, ErrorKind::Unsupported);
}

/// A request, a half-close, and an answer: by the time it is adopted the system calls it unconnected.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_both_sides_have_ended_is_read_to_its_end() {
    let _accounted = Accounted::start();
    let (ours, mut theirs) = connection();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    theirs.write_all(b"the whole answer").unwrap();
    drop(theirs);
    let patience = std::time::Instant::now() + PATIENCE;
    while ours.peer_addr().is_ok() {
        assert!(std::time::Instant::now() < patience, "it stays connected");
        std::thread::yield_now();
    }
    let reader = watertight::PipeReader::adopt(ours).unwrap();
    assert_eq!(crate::common::read_to_end(&reader), b"the whole answer");
}

/// It has no end to read.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_was_never_connected_is_refused() {
    let _accounted = Accounted::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = std::os::fd::OwnedFd::from(listener);
    let new = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    for socket in [listener, new.unwrap()] {
        let refused = watertight::PipeReader::adopt(socket).unwrap_err();
        assert_eq!(refused.step, watertight::Step::Inspect);
    }
}
