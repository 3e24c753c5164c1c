//! Bytes that go from one handle to another without leaving the kernel: where that is offered, and what each answer means.
//!
//! Never here: how the bytes are counted, and what is done where it is not offered.

use super::calls::nothing_read;
use super::classify::{Call, Next, next};
use super::handle::{Handle, Kind, polled, polled_for};
use super::holes::{self, Position, Stretch};
use super::kernel;
use crate::fault::fallible;
use rustix::event::PollFlags;
use rustix::io::Errno;
use watertight_core::{Class, MoveNow, MoveScope, OsCode, ReadNow};

/// The most that one call carries: while it does, no deadline is looked at and no stop is heard. A hole that is left out may be larger,
/// for nothing is carried there.
const CALL_BYTES_MAX: usize = 1024 * 1024;

/// Which call moves bytes.
enum Way {
    /// copy_file_range.
    Copy,
    /// sendfile.
    Send,
    /// splice.
    Splice,
}

/// splice, copy_file_range between two files, or sendfile from a file to what is neither file nor pipe: moves what it can at once.
pub(super) fn move_now(from: &Handle, to: &Handle, bytes_max: usize, scope: MoveScope) -> MoveNow {
    let Some(way) = way(from, to, scope) else {
        return MoveNow::Unavailable;
    };
    let moved = || match way {
        Way::Copy => copy_now(from, to, bytes_max, Position::GoesOn),
        Way::Send => send_now(from, to, bytes_max.min(CALL_BYTES_MAX)),
        Way::Splice => splice_now(from, to, bytes_max.min(CALL_BYTES_MAX)),
    };
    if to.is_socket_kind() {
        // O10: its mode alone keeps the call from waiting.
        to.while_ours_alone(moved).unwrap_or(MoveNow::Unavailable)
    } else {
        moved()
    }
}

/// splice: what one of two ends allows, of which one is a pipe.
fn splice_now(from: &Handle, to: &Handle, bytes_max: usize) -> MoveNow {
    let (out, into) = ((from.original(), from.kind()), (to.original(), to.kind()));
    loop {
        return match kernel::splice(out, into, bytes_max) {
            Ok(0) => nothing_moved(from),
            Ok(n) => MoveNow::Moved(n),
            Err(code) => match next(Call::Write, code) {
                Next::Again => continue,
                // These take what comes.
                Next::Wait if matches!(to.kind(), Kind::File | Kind::Memory) => MoveNow::SourceWait,
                Next::Wait => MoveNow::Wait,
                Next::Fail(class, os) => failed(from, to, class, os),
            },
        };
    }
}

/// copy_file_range: moves what the file system copies by itself, and leaves holes out before that. Whatever else it says, a read and a
/// write tell what is so. That it copied nothing is no end: some kernels say so of every file of /proc.
pub(super) fn copy_now(
    from: &Handle,
    to: &Handle,
    bytes_max: usize,
    position: Position,
) -> MoveNow {
    let bytes_max = match holes::next_stretch(from, to, bytes_max, position) {
        Stretch::Answered(answer) => return answer,
        Stretch::Data(bytes) => bytes.min(CALL_BYTES_MAX),
    };
    let source = from.original();
    // The call moves the position unless it is told where to begin.
    let at = match position {
        Position::GoesOn => None,
        Position::Stays => match holes::told_position(source) {
            Ok(at) => Some(at),
            Err(_) => return MoveNow::Unavailable,
        },
    };
    loop {
        return match kernel::copy_file_range((source, at), to.original(), bytes_max) {
            Err(Errno::INTR) => continue,
            Err(_) | Ok(0) => MoveNow::Unavailable,
            Ok(n) => MoveNow::Moved(n),
        };
    }
}

/// sendfile: as with copy_file_range, only what it moved is believed. A socket may take nothing now.
fn send_now(from: &Handle, to: &Handle, bytes_max: usize) -> MoveNow {
    loop {
        return match kernel::sendfile(from.original(), to.original(), bytes_max) {
            Ok(0) => MoveNow::Unavailable,
            Ok(n) => MoveNow::Moved(n),
            Err(code) => match next(Call::Write, code) {
                Next::Again => continue,
                Next::Wait => MoveNow::Wait,
                Next::Fail(..) => MoveNow::Unavailable,
            },
        };
    }
}

/// How bytes go between these two, if at all. To a socket they go only as long as nobody else has it and it is in non-blocking mode: the
/// call would wait for one in blocking mode, whatever its flag says. A file's go only where it was asked for, and its disk may be waited for:
/// the call does so, and a pipe or a socket gets the file's own pages, which whoever writes the file changes. Those of a pipe that somebody
/// else made go only where it was asked for, too: if it is written in packet mode, its packets go on as packets, and whoever reads one in
/// pieces loses the rest. Nothing tells that mode at the reading end.
fn way(from: &Handle, to: &Handle, scope: MoveScope) -> Option<Way> {
    // What only a helper reads cannot be waited for without being read.
    let can_wait = from.helped().is_none();
    let everywhere = scope != MoveScope::Alike;
    // O10: SPLICE_F_NONBLOCK keeps no call from waiting for a disk.
    let with_disk = scope == MoveScope::Everywhere;
    let (is_offered, way) = match (from.kind(), to.kind()) {
        (Kind::Pipe, Kind::Memory | Kind::Pipe) => {
            ((everywhere || from.is_ours()) && can_wait, Way::Splice)
        }
        (Kind::Pipe, Kind::File) => (with_disk && can_wait, Way::Splice),
        (Kind::File, Kind::Pipe) => (with_disk, Way::Splice),
        (Kind::File, Kind::File) => (with_disk, Way::Copy),
        (Kind::File, Kind::Memory) => (with_disk, Way::Send),
        (Kind::File, Kind::LocalSocket | Kind::Socket) => {
            (with_disk && to.is_ours_alone(), Way::Send)
        }
        (Kind::Pipe, Kind::LocalSocket | Kind::Socket) => {
            let is_offered = (everywhere || from.is_ours()) && can_wait;
            (is_offered && to.is_ours_alone(), Way::Splice)
        }
        (
            Kind::Device
            | Kind::File
            | Kind::LocalSocket
            | Kind::Memory
            | Kind::Pipe
            | Kind::Socket
            | Kind::Terminal,
            _,
        ) => return None,
    };
    is_offered.then_some(way)
}

/// Nothing, and no failure: the end, or a FIFO that nobody has opened for writing yet.
pub(super) fn nothing_moved(from: &Handle) -> MoveNow {
    match nothing_read(from) {
        ReadNow::EndOfStream => MoveNow::EndOfStream,
        ReadNow::Failed(class, os) => MoveNow::ReadFailed(class, os),
        ReadNow::Data(_) | ReadNow::Unavailable | ReadNow::Wait => MoveNow::SourceWait,
    }
}

/// poll: EAGAIN does not say which end it is about, so the source is asked. It is waited for only if nothing is in it now: whoever
/// waits for it forgets that it was readable (an edge-triggered reactor), so that what is in it already would be waited for in
/// vain. The destination is waited for only if something is in the source: splice says EAGAIN of a full pipe also when nothing will
/// come any more (O12).
pub(super) fn who_waits(from: &Handle) -> MoveNow {
    if from.kind() == Kind::File {
        return held_up(from);
    }
    let Ok(seen) = polled_for(from.original(), PollFlags::IN) else {
        return MoveNow::Wait;
    };
    if seen.is_empty() {
        return MoveNow::SourceWait;
    }
    if seen.contains(PollFlags::IN) {
        return MoveNow::DestinationWait;
    }
    // poll looks for bytes first, and the last ones may have come just before their writer left.
    match unread(from) {
        Some(0) if seen.contains(PollFlags::HUP) => MoveNow::EndOfStream,
        Some(1..) => MoveNow::DestinationWait,
        Some(0) | None => MoveNow::Wait,
    }
}

/// A file of which there is more waits for the destination. Of any other a read tells whether it is the end.
fn held_up(from: &Handle) -> MoveNow {
    match bytes_ahead(from) {
        Some(1..) => MoveNow::DestinationWait,
        Some(0) | None => MoveNow::Wait,
    }
}

/// fstat, lseek: how much of a file there is behind its position.
pub(super) fn bytes_ahead(from: &Handle) -> Option<u64> {
    if from.kind() != Kind::File {
        return None;
    }
    let size = fallible("fstat (source)", Call::Query, || {
        rustix::fs::fstat(from.original()).map(|stat| stat.st_size)
    });
    let position = fallible("lseek", Call::Query, || rustix::fs::tell(from.original()));
    let size = u64::try_from(size.ok()?).ok()?;
    Some(size.saturating_sub(position.ok()?))
}

/// Which end a failure is about. Where that is not sure, a read and a write tell.
pub(super) fn failed(from: &Handle, to: &Handle, class: Class, os: Option<OsCode>) -> MoveNow {
    let has_file = from.kind() == Kind::File || to.kind() == Kind::File;
    let is_socket = to.is_socket_kind();
    match class {
        // O12: EPIPE comes before the end of the source. A peer that has read everything and left is no failure. A socket's comes behind it.
        Class::Gone if !has_file && !is_socket && has_ended(from) => MoveNow::EndOfStream,
        Class::Gone if !has_file => MoveNow::WriteFailed(class, os),
        // What became of its connection a socket says once: a write after that knows only that it is gone. A pipe may have been lent a page
        // whose disk fails.
        Class::Io if is_socket && !is_of_a_disk(os) => MoveNow::WriteFailed(class, os),
        // The disk's, for a pipe has none.
        Class::Io | Class::Limit if from.kind() == Kind::File => MoveNow::ReadFailed(class, os),
        Class::Io | Class::Limit if to.kind() == Kind::File => MoveNow::WriteFailed(class, os),
        Class::Aborted
        | Class::Argument
        | Class::Bug
        | Class::Busy
        | Class::Denied
        | Class::EndOfStream
        | Class::Gone
        | Class::Interrupted
        | Class::Io
        | Class::Limit
        | Class::NotConnected
        | Class::NotFound
        | Class::Partial
        | Class::Pending
        | Class::Reset
        | Class::Taken
        | Class::Unsupported
        | Class::Wait
        | Class::WrongProcess => MoveNow::Unavailable,
    }
}

/// What a disk says of a page that it cannot bring.
fn is_of_a_disk(os: Option<OsCode>) -> bool {
    os == Some(OsCode(Errno::IO.raw_os_error()))
}

/// poll, then FIONREAD: somebody writes, or something is left. What cannot be asked is answered with no.
pub(super) fn goes_on(from: &Handle) -> bool {
    let somebody_writes = polled(from.original()).is_ok_and(|seen| !seen.contains(PollFlags::HUP));
    somebody_writes || matches!(unread(from), Some(1..))
}

/// poll, then FIONREAD: nobody writes any more, and nothing is left.
fn has_ended(from: &Handle) -> bool {
    let nobody_writes = polled(from.original()).is_ok_and(|seen| seen.contains(PollFlags::HUP));
    nobody_writes && unread(from) == Some(0)
}

/// FIONREAD: how many bytes are left in the pipe, if that can be told.
fn unread(from: &Handle) -> Option<u64> {
    kernel::unread(from.original(), Kind::Pipe)?.ok()
}

#[cfg(all(test, any(target_os = "android", target_os = "linux")))]
mod tests {
    use super::super::classify::classified;
    use super::super::poller::Native;
    use super::*;
    use crate::Direction;
    use rustix::fs::{MemfdFlags, SeekFrom};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use watertight_core::{Backend, WriteNow};

    /// O10: who may not wait for a disk moves between pipes, and from a pipe to memory.
    #[test]
    fn without_a_disk_no_file_has_a_part_in_a_move() {
        let native = Native::new().unwrap();
        let adopted = |fd: OwnedFd, direction| native.adopt(fd, direction).unwrap();
        let (theirs, _feed) = std::io::pipe().unwrap();
        let program = File::open(std::env::current_exe().unwrap()).unwrap();
        let sources = [OwnedFd::from(theirs), program.into()];
        let sources = sources.map(|fd| adopted(fd, Direction::Read));
        let (_sink, pipe) = std::io::pipe().unwrap();
        let file = rustix::fs::memfd_create("copy", MemfdFlags::CLOEXEC).unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let opened = [OwnedFd::from(pipe), file, null.into()];
        let [pipe, file, null] = opened.map(|fd| adopted(fd, Direction::Write));
        let (ours, _peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = native.adopt_unshared(ours.into(), Direction::Write);
        let destinations = [pipe, file, null, socket.unwrap()];
        for from in &sources {
            for to in &destinations {
                let is_offered = |scope| way(from, to, scope).is_some();
                let ends = [from.kind(), to.kind()];
                let has_file = ends.contains(&Kind::File);
                let offered = [
                    MoveScope::Everywhere,
                    MoveScope::WithoutDisk,
                    MoveScope::Alike,
                ];
                let offered = offered.map(is_offered);
                assert_eq!(offered, [true, !has_file, false], "{ends:?}");
            }
        }
    }

    /// The destination has been read between the call and the question: there is something in the source, and it is not waited for.
    #[test]
    fn a_source_that_has_something_is_not_waited_for() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        assert_eq!(who_waits(&from), MoveNow::SourceWait);
        assert_eq!(native.write_now(&feed, b"there"), WriteNow::Transferred(5));
        assert_eq!(who_waits(&from), MoveNow::DestinationWait);
    }

    /// splice says EAGAIN of both.
    #[test]
    fn a_source_at_its_end_waits_for_nothing() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        assert_eq!(native.write_now(&feed, b"last"), WriteNow::Transferred(4));
        native.close(Arc::new(feed), true).unwrap();
        assert_eq!(who_waits(&from), MoveNow::DestinationWait);
        assert_eq!(native.read_now(&from, &mut [0; 8]), ReadNow::Data(4));
        assert_eq!(who_waits(&from), MoveNow::EndOfStream);
    }

    #[test]
    fn a_pipe_goes_on_while_somebody_writes_or_something_is_left() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        assert!(goes_on(&from));
        assert_eq!(native.write_now(&feed, b"last"), WriteNow::Transferred(4));
        native.close(Arc::new(feed), true).unwrap();
        assert!(goes_on(&from));
        assert_eq!(native.read_now(&from, &mut [0; 8]), ReadNow::Data(4));
        assert!(!goes_on(&from));
        drop(native.release(from));
    }

    /// Its end is found by a read alone: its size may be wrong, as those in /proc are.
    #[test]
    fn a_file_is_held_up_only_if_there_is_more_of_it() {
        let native = Native::new().unwrap();
        let opened = |path: &std::path::Path| {
            let file = File::open(path).unwrap();
            native.adopt(file.into(), Direction::Read).unwrap()
        };
        let ours = std::env::current_exe().unwrap();
        let program = opened(&ours);
        assert_eq!(who_waits(&program), MoveNow::DestinationWait);
        rustix::fs::seek(program.original(), SeekFrom::End(0)).unwrap();
        assert_eq!(who_waits(&program), MoveNow::Wait);
        let without_size = opened("/proc/self/status".as_ref());
        assert_eq!(who_waits(&without_size), MoveNow::Wait);
        drop((native.release(program), native.release(without_size)));
    }

    #[test]
    fn only_what_never_waits_is_memory() {
        let native = Native::new().unwrap();
        for (path, kind) in [
            ("/dev/full", Kind::Memory),
            ("/dev/null", Kind::Memory),
            ("/dev/urandom", Kind::Device),
            ("/dev/zero", Kind::Memory),
        ] {
            let file = File::open(path).unwrap();
            let handle = native.adopt(file.into(), Direction::Read).unwrap();
            assert_eq!(handle.kind(), kind, "{path}");
            drop(native.release(handle));
        }
    }

    /// sendfile and splice would wait for any other.
    #[test]
    fn a_socket_is_ours_only_if_it_came_so_and_does_not_wait() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        for (is_unshared, is_nonblocking) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(is_nonblocking).unwrap();
            let handle = if is_unshared {
                native.adopt_unshared(ours.into(), Direction::Write)
            } else {
                native.adopt(ours.into(), Direction::Write)
            };
            let handle = handle.unwrap();
            let is_ours = is_unshared && is_nonblocking;
            assert_eq!(handle.is_ours(), is_ours);
            let scopes = [MoveScope::Alike, MoveScope::Everywhere];
            let offered = scopes.map(|scope| way(&from, &handle, scope).is_some());
            assert_eq!(offered, [is_ours; 2], "{is_unshared} {is_nonblocking}");
            // Whoever has it may set its mode.
            let copy = handle.try_clone().unwrap();
            assert!(way(&from, &handle, MoveScope::Everywhere).is_none());
            drop((copy, native.release(handle)));
        }
        drop((native.release(from), native.release(feed)));
    }

    /// O12: what is said of a socket comes behind what is said of the source.
    #[test]
    fn a_socket_takes_what_it_has_room_for_and_says_when_its_peer_has_left() {
        const PAGE: [u8; 4096] = [7; 4096];
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let to = native.adopt_unshared(ours.into(), Direction::Write);
        let to = to.unwrap();
        let move_page = || native.move_now(&from, &to, PAGE.len(), MoveScope::Alike);
        assert_eq!(move_page(), MoveNow::Wait);
        assert_eq!(native.who_waits(&from, &to), MoveNow::SourceWait);
        let mut pages = 0;
        let answer = loop {
            assert_eq!(native.write_now(&feed, &PAGE), WriteNow::Transferred(4096));
            let answer = move_page();
            if answer != MoveNow::Moved(4096) {
                break answer;
            }
            pages += 1;
        };
        assert!(pages > 0);
        assert_eq!(answer, MoveNow::Wait);
        assert_eq!(native.who_waits(&from, &to), MoveNow::DestinationWait);
        let mut taken = vec![0; pages * PAGE.len()];
        theirs.read_exact(&mut taken).unwrap();
        assert!(taken.iter().all(|byte| *byte == 7));
        assert_eq!(move_page(), MoveNow::Moved(4096));
        // It throws away what it has not read, and is gone for whoever writes.
        drop(theirs);
        assert_eq!(
            native.write_now(&feed, b"nobody's"),
            WriteNow::Transferred(8)
        );
        let answer = move_page();
        assert!(
            matches!(answer, MoveNow::WriteFailed(Class::Gone, _)),
            "{answer:?}"
        );
        assert_eq!(native.read_now(&from, &mut [0; 16]), ReadNow::Data(8));
        assert_eq!(move_page(), MoveNow::Wait);
        native.close(Arc::new(feed), false).unwrap();
        assert_eq!(move_page(), MoveNow::EndOfStream);
        drop((native.release(from), native.release(to)));
    }

    /// Of a failure that is not the destination's for sure, a read and a write tell. A socket tells once what became of its connection.
    #[test]
    fn what_a_splice_says_of_a_socket_is_told() {
        let native = Native::new().unwrap();
        let (from, feed) = native.pipe().unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let socket = native.adopt(ours.into(), Direction::Write).unwrap();
        for (code, is_of_socket, is_of_pipe) in [
            (Errno::PIPE, true, true),
            (Errno::CONNRESET, true, true),
            (Errno::TIMEDOUT, true, false),
            (Errno::HOSTUNREACH, true, false),
            (Errno::IO, false, false),
            (Errno::NOBUFS, false, false),
            (Errno::NOMEM, false, false),
            (Errno::INVAL, false, false),
        ] {
            let (class, os) = classified(Call::Write, code);
            for (to, is_its_own) in [(&socket, is_of_socket), (&feed, is_of_pipe)] {
                let expected = if is_its_own {
                    MoveNow::WriteFailed(class, os)
                } else {
                    MoveNow::Unavailable
                };
                assert_eq!(failed(&from, to, class, os), expected, "{code:?}");
            }
        }
        for handle in [from, feed, socket] {
            drop(native.release(handle));
        }
    }
}
