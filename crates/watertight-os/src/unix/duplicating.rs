//! Copies of the first bytes in a source, which stay there, made inside the kernel for a transfer to several destinations: where that is
//! offered, and what each answer means.
//!
//! Never here: when the bytes themselves leave the source, and how they are counted.

use super::classify::{Call, Next, next};
use super::handle::{Handle, Kind};
use super::holes::Position;
use super::kernel;
use super::moving::{copy_now, failed, goes_on, nothing_moved};
use super::poller::Native;
use watertight_core::{MoveNow, MoveScope};

/// pipe2, F_SETPIPE_SZ: a pipe for copies out of `from`, as large as that one if the kernel allows. A smaller one carries less at once.
pub(super) fn private_pipe(
    native: &Native,
    from: &Handle,
    everywhere: bool,
) -> Option<(Handle, Handle)> {
    if !is_offered(from, everywhere) {
        return None;
    }
    let (out, into) = native.pipe().ok()?;
    let (wanted, has) = (from.capacity(), into.capacity());
    if let Some(wanted) = wanted.filter(|wanted| has.is_none_or(|has| has < *wanted)) {
        into.set_capacity(wanted);
    }
    Some((out, into))
}

/// copy_file_range from one file into another, whose position alone goes on; or tee, from one pipe into another.
pub(super) fn duplicate_now(
    from: &Handle,
    into: &Handle,
    bytes_max: usize,
    scope: MoveScope,
) -> MoveNow {
    // O10: between files it waits for their disk.
    let are_files = from.kind() == Kind::File && into.kind() == Kind::File;
    if are_files && scope == MoveScope::Everywhere {
        return copy_now(from, into, bytes_max, Position::Stays);
    }
    tee_now(from, into, bytes_max, scope)
}

/// tee: copies what is at the front of one pipe into another one. Its EAGAIN does not say which one it is about, and a full destination
/// hides the source's end (fs/splice.c, `ipipe_prep`, `opipe_prep`).
fn tee_now(from: &Handle, into: &Handle, bytes_max: usize, scope: MoveScope) -> MoveNow {
    if !is_offered(from, scope != MoveScope::Alike) || into.kind() != Kind::Pipe {
        return MoveNow::Unavailable;
    }
    loop {
        return match kernel::tee(from.original(), into.original(), bytes_max) {
            // Somebody else has filled the destination, or emptied the source, behind the kernel's first look (`link_pipe`).
            Ok(0) if goes_on(from) => MoveNow::Wait,
            Ok(0) => nothing_moved(from),
            Ok(n) => MoveNow::Moved(n),
            Err(code) => match next(Call::Write, code) {
                Next::Again => continue,
                Next::Wait => MoveNow::Wait,
                Next::Fail(class, os) => failed(from, into, class, os),
            },
        };
    }
}

/// O9: for tee, of a pipe that nobody else reads, unless it was asked for everywhere. Between a copy and the moment at which the bytes leave the
/// pipe, somebody else would take them, and whatever came behind them would leave it instead. Nothing tells whether a pipe that somebody
/// else made has other readers. What only a helper reads cannot be waited for without being read.
fn is_offered(from: &Handle, everywhere: bool) -> bool {
    let is_offered = everywhere || from.is_ours_alone();
    kernel::HAS_TEE && is_offered && from.kind() == Kind::Pipe && from.helped().is_none()
}

#[cfg(all(test, any(target_os = "android", target_os = "linux")))]
mod tests {
    use super::*;
    use crate::Direction;
    use rustix::fs::{MemfdFlags, SeekFrom};
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::sync::Arc;
    use watertight_core::{Backend, ReadNow, WriteNow};

    fn read(native: &Native, from: &Handle) -> Vec<u8> {
        let mut buf = [0; 16];
        let ReadNow::Data(n) = native.read_now(from, &mut buf) else {
            panic!("there is something to read");
        };
        buf[..n].to_vec()
    }

    /// A file in memory.
    fn file() -> File {
        File::from(
            rustix::fs::memfd_create("copy", MemfdFlags::CLOEXEC).expect("memory for a file"),
        )
    }

    fn close(native: &Native, handles: impl IntoIterator<Item = Handle>) {
        for handle in handles {
            native.close(Arc::new(handle), false).expect("it closes");
        }
    }

    #[test]
    fn what_is_copied_stays_and_each_copy_begins_at_the_front() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        assert_eq!(native.write_now(&feed, b"front"), WriteNow::Transferred(5));
        for bytes_max in [3, 9] {
            let (out, into) = native.private_pipe(&from, false).unwrap();
            let copied = native.duplicate_now(&from, &into, bytes_max, MoveScope::Alike);
            assert_eq!(copied, MoveNow::Moved(bytes_max.min(5)));
            assert_eq!(read(&native, &out), b"front"[..bytes_max.min(5)]);
            close(&native, [out, into]);
        }
        assert_eq!(read(&native, &from), b"front");
        close(&native, [from, feed]);
    }

    #[test]
    fn an_empty_pipe_is_waited_for_until_its_writer_has_left() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        let (out, into) = native.private_pipe(&from, false).unwrap();
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Alike);
        assert_eq!(copied, MoveNow::Wait);
        close(&native, [feed]);
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Alike);
        assert_eq!(copied, MoveNow::EndOfStream);
        close(&native, [from, out, into]);
    }

    /// splice and tee say EAGAIN of it, a tee behind its reader EPIPE.
    #[test]
    fn a_destination_gets_copies_as_long_as_it_has_room_and_a_reader() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        let (sink, to) = native.pipe().unwrap();
        assert_eq!(native.write_now(&feed, b"front"), WriteNow::Transferred(5));
        let copy = || native.duplicate_now(&from, &to, 3, MoveScope::Alike);
        while copy() == MoveNow::Moved(3) {}
        assert_eq!(copy(), MoveNow::Wait);
        assert_eq!(native.who_waits(&from, &to), MoveNow::DestinationWait);
        assert_eq!(read(&native, &sink), b"frofrofrofrofrof");
        close(&native, [sink]);
        assert!(matches!(copy(), MoveNow::WriteFailed(..)));
        assert_eq!(read(&native, &from), b"front");
        close(&native, [feed]);
        // O12: nothing will come any more.
        assert_eq!(copy(), MoveNow::EndOfStream);
        close(&native, [from, to]);
    }

    #[test]
    fn nothing_is_copied_into_what_is_no_pipe() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        assert_eq!(native.write_now(&feed, b"front"), WriteNow::Transferred(5));
        let null = std::fs::File::create("/dev/null").unwrap();
        let null = native.adopt(null.into(), Direction::Write).unwrap();
        let copied = native.duplicate_now(&from, &null, 5, MoveScope::Alike);
        assert_eq!(copied, MoveNow::Unavailable);
        close(&native, [from, feed, null]);
    }

    #[test]
    fn a_private_pipe_is_as_large_as_the_source() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        let Some(capacity) = from.set_capacity(256 * 1024) else {
            panic!("a capacity can be asked for");
        };
        let (out, into) = native.private_pipe(&from, false).unwrap();
        assert!(out.capacity().unwrap() >= capacity);
        close(&native, [from, feed, out, into]);
    }

    #[test]
    fn nothing_is_copied_out_of_a_pipe_that_others_may_read() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        let (out, into) = native.private_pipe(&from, false).unwrap();
        assert_eq!(native.write_now(&feed, b"front"), WriteNow::Transferred(5));
        let waited_on = from.try_clone_to_wait().unwrap();
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Alike);
        assert_eq!(copied, MoveNow::Moved(5));
        assert_eq!(read(&native, &out), b"front");
        drop(waited_on);
        let copy = from.try_clone().unwrap();
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Alike);
        assert_eq!(copied, MoveNow::Unavailable);
        assert!(native.private_pipe(&from, false).is_none());
        drop(copy);
        let (theirs, _feed) = std::io::pipe().unwrap();
        let adopted = native.adopt(theirs.into(), Direction::Read).unwrap();
        assert!(native.private_pipe(&adopted, false).is_none());
        close(&native, [from, feed, out, into, adopted]);
    }

    #[test]
    fn where_it_is_asked_for_copies_are_made_out_of_any_pipe() {
        let native = Native::new().unwrap();
        let (theirs, mut feed) = std::io::pipe().unwrap();
        let from = native.adopt(theirs.into(), Direction::Read).unwrap();
        feed.write_all(b"front").unwrap();
        let (out, into) = native.private_pipe(&from, true).unwrap();
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Everywhere);
        assert_eq!(copied, MoveNow::Moved(5));
        assert_eq!(read(&native, &out), b"front");
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Alike);
        assert_eq!(copied, MoveNow::Unavailable);
        assert_eq!(read(&native, &from), b"front");
        drop(feed);
        let copied = native.duplicate_now(&from, &into, 9, MoveScope::Everywhere);
        assert_eq!(copied, MoveNow::EndOfStream);
        close(&native, [from, out, into]);
    }

    /// O9, O10: the source's position stays, which others may share, and the copy begins there. Nobody who may not wait for a disk makes one.
    #[test]
    fn what_is_copied_out_of_a_file_stays_before_its_position() {
        let native = Native::new().unwrap();
        let mut source = file();
        source.write_all(b"head, front and back").unwrap();
        rustix::fs::seek(&source, SeekFrom::Start(6)).unwrap();
        let adopted = |file: File, direction| native.adopt(file.into(), direction).unwrap();
        let from = adopted(source, Direction::Read);
        for scope in [MoveScope::Alike, MoveScope::WithoutDisk] {
            let to = adopted(file(), Direction::Write);
            let copied = native.duplicate_now(&from, &to, 5, scope);
            assert_eq!(copied, MoveNow::Unavailable, "{scope:?}");
            close(&native, [to]);
        }
        for _ in 0..2 {
            let copy = file();
            let again = copy.try_clone().unwrap();
            let to = adopted(copy, Direction::Write);
            let copied = native.duplicate_now(&from, &to, 5, MoveScope::Everywhere);
            assert_eq!(copied, MoveNow::Moved(5));
            assert_eq!(rustix::fs::tell(from.original()), Ok(6));
            assert_eq!(rustix::fs::tell(&again), Ok(5));
            let mut came = [0; 8];
            assert_eq!(again.read_at(&mut came, 0).unwrap(), 5);
            assert_eq!(&came[..5], b"front");
            close(&native, [to]);
        }
        close(&native, [from]);
    }

    /// A hole is left out of the copy, and the source's position stays before it.
    #[test]
    fn a_hole_is_left_out_of_a_copy_and_stays_before_the_position() {
        const HOLE: usize = 1 << 20;
        let native = Native::new().unwrap();
        let source = file();
        source.write_all_at(b"behind", HOLE as u64).unwrap();
        let asked = rustix::fs::seek(&source, SeekFrom::Data(0));
        if asked != Ok(HOLE as u64) {
            println!("skipped: the file system knows of no holes");
            return;
        }
        rustix::fs::seek(&source, SeekFrom::Start(0)).unwrap();
        let from = native.adopt(source.into(), Direction::Read).unwrap();
        for _ in 0..2 {
            let copy = file();
            let again = copy.try_clone().unwrap();
            let to = native.adopt(copy.into(), Direction::Write).unwrap();
            let copied = native.duplicate_now(&from, &to, 2 * HOLE, MoveScope::Everywhere);
            assert_eq!(copied, MoveNow::Moved(HOLE));
            assert_eq!(rustix::fs::tell(from.original()), Ok(0));
            assert_eq!(rustix::fs::tell(&again), Ok(HOLE as u64));
            let made = again.metadata().unwrap();
            assert_eq!((made.len(), made.blocks()), (HOLE as u64, 0));
            close(&native, [to]);
        }
        close(&native, [from]);
    }
}
