//! Copies of what is in a pipe, made inside the kernel, for a transfer to several destinations: where that is offered, and what each
//! answer means.
//!
//! Never here: when the bytes themselves leave the pipe, and how they are counted.

use super::classify::{Call, Next, next};
use super::handle::{Handle, Kind};
use super::kernel;
use super::moving::{failed, goes_on, nothing_moved};
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

/// tee: copies what is at the front of one pipe into another one. Its EAGAIN does not say which one it is about, and a full destination
/// hides the source's end (fs/splice.c, `ipipe_prep`, `opipe_prep`).
pub(super) fn duplicate_now(
    from: &Handle,
    into: &Handle,
    bytes_max: usize,
    scope: MoveScope,
) -> MoveNow {
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

/// O9: of a pipe that nobody else reads, unless it was asked for everywhere. Between a copy and the moment at which the bytes leave the
/// pipe, somebody else would take them, and whatever came behind them would leave it instead. Nothing tells whether a pipe that somebody
/// else made has other readers. What only a helper reads cannot be waited for without being read.
fn is_offered(from: &Handle, everywhere: bool) -> bool {
    let is_offered = everywhere || from.is_ours_alone();
    kernel::HAS_TEE && is_offered && from.kind() == Kind::Pipe && from.helped().is_none()
}

#[cfg(all(test, any(target_os = "android", target_os = "linux")))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use watertight_core::{Backend, ReadNow, WriteNow};

    fn read(native: &Native, from: &Handle) -> Vec<u8> {
        let mut buf = [0; 16];
        let ReadNow::Data(n) = native.read_now(from, &mut buf) else {
            panic!("there is something to read");
        };
        buf[..n].to_vec()
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
        let null = native.adopt(null.into(), crate::Direction::Write).unwrap();
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
        let adopted = native.adopt(theirs.into(), crate::Direction::Read).unwrap();
        assert!(native.private_pipe(&adopted, false).is_none());
        close(&native, [from, feed, out, into, adopted]);
    }

    #[test]
    fn where_it_is_asked_for_copies_are_made_out_of_any_pipe() {
        let native = Native::new().unwrap();
        let (theirs, mut feed) = std::io::pipe().unwrap();
        let from = native.adopt(theirs.into(), crate::Direction::Read).unwrap();
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
}
