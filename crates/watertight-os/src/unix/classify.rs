//! What each errno means, per call: one total function (rule E1). Unknown codes are errors that keep their number.
//!
//! The meanings are POSIX's and Linux's manual pages', with measurements noted in docs/gotchas.md.

use rustix::io::Errno;
use watertight_core::{Class, OsCode};

/// The calls whose codes are told apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// `close`.
    Close,
    /// `open` of a path, also to open an end again.
    Open,
    /// `pipe`, `dup`, `epoll_create`: making descriptors.
    Make,
    /// `fstat`, `fcntl`, `getsockopt`: asking about a descriptor.
    Query,
    /// `read`, `readv`, `preadv2`, `recv`.
    Read,
    /// `write`, `writev`, `pwritev2`, `sendmsg`.
    Write,
    /// `epoll_ctl`, `epoll_wait`, `poll`, `kevent`.
    Wait,
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 7] = [
        Self::Close,
        Self::Open,
        Self::Make,
        Self::Query,
        Self::Read,
        Self::Write,
        Self::Wait,
    ];
}

/// What `code` means when `call` reports it. Total: a code nobody knows is [`Class::Io`].
#[must_use]
pub fn classify(call: Call, code: Errno) -> Class {
    match code {
        Errno::INTR => interrupted(call),
        // POSIX allows EAGAIN and EWOULDBLOCK to differ; where they do, both stand here.
        code if code == Errno::AGAIN || code == Errno::WOULDBLOCK => would_wait(call),
        Errno::PIPE => Class::Gone,
        Errno::CONNRESET | Errno::CONNABORTED => Class::Gone,
        // macOS: a write racing the peer's close.
        Errno::PROTOTYPE => prototype(call),
        Errno::NOTCONN | Errno::DESTADDRREQ => Class::NotConnected,
        Errno::NXIO => nobody_there(call),
        Errno::NODEV | Errno::STALE | Errno::IO => Class::Io,
        Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOSPC => Class::Limit,
        Errno::DQUOT | Errno::FBIG => Class::Limit,
        Errno::MSGSIZE | Errno::INVAL | Errno::ISDIR | Errno::NOTSOCK => Class::Argument,
        Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::SPIPE => Class::Argument,
        code if code == Errno::OPNOTSUPP || code == Errno::NOTSUP => Class::Unsupported,
        Errno::NOSYS => Class::Unsupported,
        Errno::BADF => bad_descriptor(call),
        Errno::FAULT => Class::Bug,
        Errno::PERM | Errno::ACCESS | Errno::ROFS => Class::Denied,
        Errno::NOENT => Class::NotFound,
        Errno::EXIST | Errno::ADDRINUSE => Class::Taken,
        Errno::BUSY | Errno::TXTBSY => Class::Busy,
        Errno::CANCELED => Class::Aborted,
        _ => Class::Io,
    }
}

/// A closed descriptor among the caller's arguments is the caller's; in the middle of our work it is a broken invariant.
const fn bad_descriptor(call: Call) -> Class {
    match call {
        Call::Make | Call::Open | Call::Query => Class::Argument,
        Call::Close | Call::Read | Call::Wait | Call::Write => Class::Bug,
    }
}

/// `close` is never called again: the descriptor is gone (Linux, close(2)).
const fn interrupted(call: Call) -> Class {
    match call {
        Call::Close => Class::Io,
        Call::Make | Call::Open | Call::Query | Call::Read | Call::Wait | Call::Write => {
            Class::Interrupted
        }
    }
}

/// A FIFO opened for writing without a reader, or a socket opened by its name.
const fn nobody_there(call: Call) -> Class {
    match call {
        Call::Open => Class::NotConnected,
        Call::Close | Call::Make | Call::Query | Call::Read | Call::Wait | Call::Write => Class::Io,
    }
}

const fn prototype(call: Call) -> Class {
    match call {
        Call::Write => Class::Gone,
        Call::Close | Call::Make | Call::Open | Call::Query | Call::Read | Call::Wait => {
            Class::Argument
        }
    }
}

const fn would_wait(call: Call) -> Class {
    match call {
        Call::Read | Call::Wait | Call::Write => Class::Wait,
        // fork, dup and friends say EAGAIN for "no more of these".
        Call::Close | Call::Make | Call::Open | Call::Query => Class::Limit,
    }
}

/// The class and the raw code, as the seam wants them.
pub(crate) fn told(call: Call, code: Errno) -> (Class, Option<OsCode>) {
    (classify(call, code), Some(OsCode(code.raw_os_error())))
}

/// What a call that failed wants next.
pub(crate) enum Next {
    /// Call it again at once.
    Again,
    /// It failed.
    Fail(Class, Option<OsCode>),
    /// Wait until it can go on.
    Wait,
}

/// Sorts a failed read or write by what it wants next.
pub(crate) fn next(call: Call, code: Errno) -> Next {
    let (class, os) = told(call, code);
    if class == Class::Interrupted {
        Next::Again
    } else if class == Class::Wait {
        Next::Wait
    } else {
        Next::Fail(class, os)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the outcomes that matter most, cell by cell: (code, class on read, on write, on open, on query).
    const CELLS: &[(Errno, Class, Class, Class, Class)] = {
        use Class as C;
        &[
            (
                Errno::INTR,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
            ),
            (Errno::AGAIN, C::Wait, C::Wait, C::Limit, C::Limit),
            (Errno::PIPE, C::Gone, C::Gone, C::Gone, C::Gone),
            (Errno::CONNRESET, C::Gone, C::Gone, C::Gone, C::Gone),
            (Errno::CONNABORTED, C::Gone, C::Gone, C::Gone, C::Gone),
            (
                Errno::PROTOTYPE,
                C::Argument,
                C::Gone,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::NOTCONN,
                C::NotConnected,
                C::NotConnected,
                C::NotConnected,
                C::NotConnected,
            ),
            (
                Errno::DESTADDRREQ,
                C::NotConnected,
                C::NotConnected,
                C::NotConnected,
                C::NotConnected,
            ),
            (Errno::NXIO, C::Io, C::Io, C::NotConnected, C::Io),
            (Errno::NODEV, C::Io, C::Io, C::Io, C::Io),
            (Errno::STALE, C::Io, C::Io, C::Io, C::Io),
            (Errno::IO, C::Io, C::Io, C::Io, C::Io),
            (Errno::NOBUFS, C::Limit, C::Limit, C::Limit, C::Limit),
            (Errno::NOMEM, C::Limit, C::Limit, C::Limit, C::Limit),
            (Errno::MFILE, C::Limit, C::Limit, C::Limit, C::Limit),
            (Errno::NFILE, C::Limit, C::Limit, C::Limit, C::Limit),
            (Errno::NOSPC, C::Limit, C::Limit, C::Limit, C::Limit),
            (Errno::DQUOT, C::Limit, C::Limit, C::Limit, C::Limit),
            (Errno::FBIG, C::Limit, C::Limit, C::Limit, C::Limit),
            (
                Errno::MSGSIZE,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::INVAL,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::ISDIR,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::NOTSOCK,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::NOTDIR,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::LOOP,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::NAMETOOLONG,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::SPIPE,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
            ),
            (
                Errno::OPNOTSUPP,
                C::Unsupported,
                C::Unsupported,
                C::Unsupported,
                C::Unsupported,
            ),
            (
                Errno::NOTSUP,
                C::Unsupported,
                C::Unsupported,
                C::Unsupported,
                C::Unsupported,
            ),
            (
                Errno::NOSYS,
                C::Unsupported,
                C::Unsupported,
                C::Unsupported,
                C::Unsupported,
            ),
            (Errno::BADF, C::Bug, C::Bug, C::Argument, C::Argument),
            (Errno::FAULT, C::Bug, C::Bug, C::Bug, C::Bug),
            (Errno::PERM, C::Denied, C::Denied, C::Denied, C::Denied),
            (Errno::ACCESS, C::Denied, C::Denied, C::Denied, C::Denied),
            (Errno::ROFS, C::Denied, C::Denied, C::Denied, C::Denied),
            (
                Errno::NOENT,
                C::NotFound,
                C::NotFound,
                C::NotFound,
                C::NotFound,
            ),
            (Errno::EXIST, C::Taken, C::Taken, C::Taken, C::Taken),
            (Errno::ADDRINUSE, C::Taken, C::Taken, C::Taken, C::Taken),
            (Errno::BUSY, C::Busy, C::Busy, C::Busy, C::Busy),
            (Errno::TXTBSY, C::Busy, C::Busy, C::Busy, C::Busy),
            (
                Errno::CANCELED,
                C::Aborted,
                C::Aborted,
                C::Aborted,
                C::Aborted,
            ),
        ]
    };

    #[test]
    fn every_cell_is_as_the_table_says() {
        for &(code, read, write, open, query) in CELLS {
            assert_eq!(classify(Call::Read, code), read, "read {code:?}");
            assert_eq!(classify(Call::Write, code), write, "write {code:?}");
            assert_eq!(classify(Call::Open, code), open, "open {code:?}");
            assert_eq!(classify(Call::Query, code), query, "query {code:?}");
        }
    }

    #[test]
    fn an_interrupted_close_is_not_called_again() {
        assert_eq!(classify(Call::Close, Errno::INTR), Class::Io);
        assert_eq!(classify(Call::Close, Errno::BADF), Class::Bug);
        assert_eq!(classify(Call::Wait, Errno::INTR), Class::Interrupted);
        assert_eq!(classify(Call::Make, Errno::AGAIN), Class::Limit);
    }

    #[test]
    fn every_code_has_a_class_and_keeps_its_number() {
        for raw in 1..4096 {
            let code = Errno::from_raw_os_error(raw);
            for call in Call::ALL {
                let (class, os) = told(call, code);
                assert_eq!(os, Some(OsCode(raw)));
                assert!(
                    !matches!(class, Class::Pending | Class::Partial | Class::EndOfStream),
                    "no errno is good news: {raw} on {call:?}"
                );
            }
        }
        assert_eq!(
            classify(Call::Write, Errno::from_raw_os_error(3999)),
            Class::Io
        );
    }
}
