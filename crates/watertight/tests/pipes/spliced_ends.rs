//! Pipes whose ends were spliced: since Linux 6.5 the kernel takes RWF_NOWAIT of them no more. They are opened again, and where that
//! is refused too (somebody else's pipe, no /proc) bytes go by way of a pipe of the call's own.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use watertight::fault::{self, Fault};
use watertight::{ErrorKind, OsCode, PipeReader, PipeWriter, pipe};

/// Several times what a pipe holds.
const LARGE: usize = 300 * 1024;

/// A byte is spliced through both ends, by descriptors that share their file descriptions.
fn spliced() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let (before, feed) = std::io::pipe().unwrap();
    rustix::io::write(&feed, b"x").unwrap();
    let into = writer.try_clone_handle().unwrap();
    assert_eq!(
        splice(&before, None, &into, None, 1, SpliceFlags::NONBLOCK),
        Ok(1)
    );
    let from = reader.try_clone_handle().unwrap();
    assert_eq!(
        splice(&from, None, &feed, None, 1, SpliceFlags::NONBLOCK),
        Ok(1)
    );
    (reader, writer)
}

/// From now on the pipe is not opened again.
fn refuse(code: Errno) {
    fault::plan(&[Fault {
        at: 1,
        only: Some("open (again)"),
        code: OsCode(code.raw_os_error()),
        times: Fault::FOR_EVER,
    }]);
}

/// Whether this kernel takes the flag of a spliced end all the same: then there is nothing to see here.
fn takes_the_flag() -> bool {
    let (from, into) = std::io::pipe().unwrap();
    let (_rest, feed) = std::io::pipe().unwrap();
    rustix::io::write(&into, b"x").unwrap();
    assert_eq!(
        splice(&from, None, &feed, None, 1, SpliceFlags::NONBLOCK),
        Ok(1)
    );
    let mut buf = [0];
    let mut slices = [std::io::IoSliceMut::new(&mut buf)];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    let takes = rustix::io::preadv2(&from, &mut slices, u64::MAX, flags) != Err(Errno::OPNOTSUPP);
    if takes {
        println!("skipped: this kernel takes RWF_NOWAIT of a spliced pipe");
    }
    takes
}

#[test]
fn bytes_go_through_although_the_pipe_cannot_be_opened_again() {
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    if takes_the_flag() {
        return;
    }
    for code in [Errno::ACCESS, Errno::NOENT, Errno::PERM] {
        let (reader, writer) = spliced();
        refuse(code);
        let data = noise(LARGE, 7);
        let mut back = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.send(&data).wait().unwrap();
                let receipt = writer.finish().within(PATIENCE).wait().unwrap();
                assert!(receipt.is_complete(), "{receipt:?}");
            });
            reader
                .receive_to_end(&mut back, LARGE)
                .within(PATIENCE)
                .wait()
                .unwrap();
        });
        assert!(back == data, "{code:?}");
        assert!(!fault::stop().begun.is_empty(), "{code:?}");
    }
}

/// What the pipe has no room for stays with the writer, and no part of a short message goes before the rest.
#[test]
fn a_full_pipe_takes_nothing_of_a_short_message() {
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    if takes_the_flag() {
        return;
    }
    let (reader, writer) = spliced();
    refuse(Errno::ACCESS);
    let pages = usize::try_from(writer.capacity().unwrap()).unwrap() / 4096;
    for page in 0..=pages {
        writer.try_send(&[page as u8; 4096]).unwrap();
    }
    let ledger = writer.ledger();
    assert_eq!(ledger.transferred(), (pages * 4096) as u64);
    assert_eq!(ledger.unsettled(), 4096);
    let mut buf = vec![0; 4096];
    for page in 0..=pages {
        let mut filled = 0;
        while filled < buf.len() {
            filled += reader
                .receive(&mut buf[filled..])
                .within(PATIENCE)
                .wait()
                .unwrap();
        }
        assert!(buf.iter().all(|byte| *byte == page as u8), "{page}");
    }
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert!(!fault::stop().begun.is_empty());
}

/// A lack of descriptors is told: a pipe of one's own would need some too.
#[test]
fn a_lack_of_descriptors_is_told() {
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    if takes_the_flag() {
        return;
    }
    let (reader, writer) = spliced();
    writer
        .send(b"there")
        .wait()
        .unwrap_or_else(|failed| panic!("{failed}"));
    refuse(Errno::MFILE);
    let failed = reader.receive(&mut [0; 8]).wait().unwrap_err();
    assert_eq!(failed.os, Some(OsCode(Errno::MFILE.raw_os_error())));
    assert_ne!(failed.kind, ErrorKind::BrokenPipe);
    drop(fault::stop());
}
