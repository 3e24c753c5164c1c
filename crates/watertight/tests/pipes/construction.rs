//! Construction is whole or not at all: each step made to fail in turn (feature `fault`).
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, is_alone, read_to_end};
#[cfg(target_os = "linux")]
use rustix::net::sockopt::socket_linger;
#[cfg(target_os = "linux")]
use std::io::Read;
use watertight::{ErrorKind, OsCode, OsHandle, PipeReader, PipeWriter, Step, fault, pipe};
#[cfg(target_os = "linux")]
use watertight::{WriterOptions, fault::Fault};

/// A code that no system call here gives by itself.
const CODE: OsCode = OsCode(31_337);

/// A pipe of the standard library, as handles to adopt.
fn handles() -> (OsHandle, OsHandle) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// The steps of adopting such a handle, in their order. On Windows it is not overlapped, so it needs a helper.
#[cfg(unix)]
const ADOPTION: [Step; 3] = [Step::Inspect, Step::InspectAccess, Step::CloseOnExec];
#[cfg(windows)]
const ADOPTION: [Step; 4] = [
    Step::Inspect,
    Step::InspectAccess,
    Step::CloseOnExec,
    Step::StartHelper,
];

/// The steps of making a pipe of our own.
#[cfg(unix)]
const CREATION: [Step; 1] = [Step::CreatePipe];
#[cfg(windows)]
const CREATION: [Step; 4] = [
    Step::OpenRoot,
    Step::CreatePipe,
    Step::OpenEnd,
    Step::AssociatePort,
];

#[test]
fn each_failing_step_of_an_adoption_gives_the_handle_back_usable() {
    let _accounted = Accounted::start();
    for failing in ADOPTION {
        let (mut from, mut into) = handles();
        for _ in 0..3 {
            fault::fail_next(failing, CODE);
            let refused = PipeReader::adopt(from).unwrap_err();
            assert!(!fault::clear(), "{failing:?} was not reached");
            assert_eq!((refused.step, refused.error.os), (failing, Some(CODE)));
            from = refused.handle;

            fault::fail_next(failing, CODE);
            let refused = PipeWriter::adopt(into).unwrap_err();
            assert!(!fault::clear(), "{failing:?} was not reached");
            assert_eq!((refused.step, refused.error.os), (failing, Some(CODE)));
            into = refused.handle;
        }
        let (reader, writer) = (
            PipeReader::adopt(from).unwrap(),
            PipeWriter::adopt(into).unwrap(),
        );
        writer.send(b"usable").wait().unwrap();
        assert!(
            writer
                .finish()
                .within(PATIENCE)
                .wait()
                .unwrap()
                .is_complete()
        );
        assert_eq!(read_to_end(&reader), b"usable");
    }
}

#[test]
fn each_failing_step_of_a_creation_leaves_nothing_behind() {
    let _accounted = Accounted::start();
    for failing in CREATION {
        fault::fail_next(failing, CODE);
        let failed = pipe().unwrap_err();
        assert!(!fault::clear(), "{failing:?} was not reached");
        assert_eq!((failed.step, failed.error.os), (failing, Some(CODE)));
        assert_eq!(failed.error.kind, ErrorKind::Limit);
        let text = failed.to_string();
        // That step is all there is to be done.
        let is_named = failing == Step::CreatePipe || text.contains(failing.explanation());
        assert!(
            is_named && text.starts_with("cannot make a pipe: "),
            "{text}"
        );
    }
}

/// Files need a helper, FIFOs a description of our own: their steps fail whole too.
#[cfg(unix)]
#[test]
fn each_failing_step_of_the_ladder_gives_the_handle_back_usable() {
    let _accounted = Accounted::start();
    let folder = crate::common::files::Folder::new("ladder");
    let path = folder.fifo();
    let mode = rustix::fs::Mode::empty();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let fifo = || OsHandle::from(rustix::fs::open(&path, flags, mode).unwrap());
    let zero = || OsHandle::from(std::fs::File::open("/dev/zero").unwrap());
    let cases: [(Step, &dyn Fn() -> OsHandle); 2] =
        [(Step::Reopen, &fifo), (Step::CreatePipe, &zero)];
    for (failing, open) in cases {
        fault::fail_next(failing, CODE);
        let refused = PipeReader::adopt(open()).unwrap_err();
        assert!(!fault::clear(), "{failing:?} was not reached");
        assert_eq!((refused.step, refused.error.os), (failing, Some(CODE)));
        drop(PipeReader::adopt(refused.handle).unwrap());
    }
}

/// A helper's thread starts with its first operation: if there is none to be had, that operation fails, with nothing read or written.
#[cfg(target_os = "linux")]
#[test]
fn a_helper_that_cannot_start_fails_its_first_operation_and_moves_nothing() {
    /// EAGAIN: as many threads as there may be.
    const REFUSED: OsCode = OsCode(11);
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let fails = || {
        fault::plan(&[Fault {
            at: 1,
            only: Some("clone (helper)"),
            code: REFUSED,
            times: 1,
        }]);
    };
    let folder = crate::common::files::Folder::new("helper");
    let path = folder.0.join("file");
    std::fs::write(&path, b"still there").unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let mut copy = file.try_clone().unwrap();
    let reader = PipeReader::adopt(file).unwrap();
    fails();
    let failed = reader.receive(&mut [0; 8]).wait().unwrap_err();
    assert_eq!(fault::stop().begun.len(), 1);
    assert_eq!(
        (failed.kind, failed.os),
        (ErrorKind::Limit, Some(REFUSED)),
        "{failed}"
    );
    assert_eq!(reader.ledger().accepted(), 0);
    let mut left = String::new();
    copy.read_to_string(&mut left).unwrap();
    assert_eq!(left, "still there");
    drop(reader);

    let writer = PipeWriter::adopt(std::fs::File::create(&path).unwrap()).unwrap();
    fails();
    let refused = writer.send(b"kept").wait().unwrap_err();
    assert_eq!(fault::stop().begun.len(), 1);
    let told = (refused.error.kind, refused.error.os, refused.accepted);
    assert_eq!(told, (ErrorKind::Limit, Some(REFUSED), 0));
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    let ledger = receipt.ledger();
    assert_eq!((ledger.transferred(), ledger.in_doubt()), (0, 0));
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

/// It comes back as it came, also if the call that arms it fails.
#[cfg(target_os = "linux")]
#[test]
fn a_failing_arming_gives_the_stream_back_as_it_came() {
    /// ENOBUFS: a call fails with a number that there is.
    const REFUSED: OsCode = OsCode(105);
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    let armed = || WriterOptions::new().armed(true);
    fault::fail_next(Step::Arm, CODE);
    let refused = PipeWriter::adopt_with(ours, armed()).unwrap_err();
    assert!(!fault::clear(), "it was not reached");
    assert_eq!((refused.step, refused.error.os), (Step::Arm, Some(CODE)));
    let mut handle = refused.handle;
    for call in ["SO_LINGER", "SO_LINGER (set)"] {
        fault::plan(&[Fault {
            at: 1,
            only: Some(call),
            code: REFUSED,
            times: 1,
        }]);
        let refused = PipeWriter::adopt_with(handle, armed()).unwrap_err();
        assert_eq!(fault::stop().begun.len(), 1, "{call}");
        assert_eq!((refused.step, refused.error.os), (Step::Arm, Some(REFUSED)));
        handle = refused.handle;
        assert_eq!(socket_linger(&handle).unwrap(), None, "{call}");
    }
    let writer = PipeWriter::adopt_with(handle, armed()).unwrap();
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "a normal end");
}

/// What a test that panics had planned does not reach the next one.
#[test]
fn a_guard_ends_what_was_planned() {
    let _accounted = Accounted::start();
    let panicked = std::panic::catch_unwind(|| {
        let _guard = fault::guard();
        fault::fail_next(Step::CreatePipe, CODE);
        std::panic::resume_unwind(Box::new("a failing test"));
    });
    assert!(panicked.is_err());
    drop(pipe().unwrap());
}

/// The driver is made once in a process, so its failing start needs a process of its own.
#[test]
fn a_driver_that_cannot_start_leaves_nothing_and_is_tried_again() {
    let test = "a_driver_that_cannot_start_leaves_nothing_and_is_tried_again";
    if !is_alone(module_path!(), test) {
        return;
    }
    for failing in [Step::CreatePoller, Step::StartDriver] {
        let (from, _into) = handles();
        fault::fail_next(failing, CODE);
        let refused = PipeReader::adopt(from).unwrap_err();
        assert!(!fault::clear());
        assert_eq!((refused.step, refused.error.os), (failing, Some(CODE)));
        fault::fail_next(failing, CODE);
        assert_eq!(pipe().unwrap_err().step, failing);
    }
    let (reader, writer) = pipe().unwrap();
    drop(writer);
    assert_eq!(read_to_end(&reader), b"");
}
