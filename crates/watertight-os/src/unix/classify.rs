//! What each errno means, per call: one total function (rule E1). Unknown codes are errors that keep their number.
//!
//! The meanings are POSIX's and Linux's manual pages', with measurements noted in docs/gotchas.md.

use rustix::io::Errno;
use watertight_core::{Class, OsCode};

/// The calls whose codes are told apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// `accept4`.
    Accept,
    /// `bind`, `listen`.
    Bind,
    /// `close`.
    Close,
    /// `connect` to a local socket.
    Connect,
    /// `pipe`, `dup`, `socket`, `epoll_create`: making descriptors.
    Make,
    /// `open` of a path, also to open an end again.
    Open,
    /// `fstat`, `fcntl`, `getsockopt`: asking about a descriptor.
    Query,
    /// `read`, `readv`, `preadv2`, `recv`.
    Read,
    /// `fork`, `exec`, `posix_spawn`, `waitid`, `kill`.
    Spawn,
    /// `epoll_ctl`, `epoll_wait`, `poll`, `kevent`.
    Wait,
    /// `write`, `writev`, `pwritev2`, `sendmsg`.
    Write,
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 11] = [
        Self::Accept,
        Self::Bind,
        Self::Close,
        Self::Connect,
        Self::Make,
        Self::Open,
        Self::Query,
        Self::Read,
        Self::Spawn,
        Self::Wait,
        Self::Write,
    ];

    /// Whether it moves bytes.
    const fn is_transfer(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// What `code` means when `call` reports it. Total: a code nobody knows is [`Class::Io`].
#[must_use]
pub fn classify(call: Call, code: Errno) -> Class {
    match code {
        // The descriptor is gone all the same: close is never called again (close(2)).
        Errno::INTR if call == Call::Close => Class::Io,
        Errno::INTR => Class::Interrupted,
        // POSIX allows EAGAIN and EWOULDBLOCK to differ; where they do, both stand here.
        code if [Errno::AGAIN, Errno::WOULDBLOCK].contains(&code) => would_wait(call),
        // macOS says EPROTOTYPE to a write that races the peer's close.
        Errno::PROTOTYPE if call == Call::Write => Class::Gone,
        // To a writer it is a peer that has gone; to a reader it says that data was thrown away.
        Errno::CONNRESET if call == Call::Read => Class::Reset,
        Errno::CONNREFUSED => refused(call),
        Errno::PROTO if call == Call::Accept => Class::Gone,
        // A FIFO opened for writing without a reader, or a socket opened by its name.
        Errno::NXIO if call == Call::Open => Class::NotConnected,
        // A closed descriptor among the caller's arguments is the caller's; in the middle of our work it is a bug.
        Errno::BADF if matches!(call, Call::Make | Call::Open | Call::Query) => Class::Argument,
        Errno::BADF | Errno::FAULT | Errno::ISCONN | Errno::DEADLK => Class::Bug,
        code => by_code(code),
    }
}

/// The codes that say the same to every call.
fn by_code(code: Errno) -> Class {
    match code {
        Errno::PIPE | Errno::CONNRESET | Errno::CONNABORTED => Class::Gone,
        Errno::NOTCONN | Errno::DESTADDRREQ => Class::NotConnected,
        Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE => Class::Limit,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::TOOMANYREFS => Class::Limit,
        Errno::MSGSIZE | Errno::INVAL | Errno::ISDIR | Errno::NOTSOCK => Class::Argument,
        Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::SPIPE => Class::Argument,
        Errno::PROTOTYPE | Errno::TOOBIG | Errno::NOEXEC => Class::Argument,
        code if [Errno::OPNOTSUPP, Errno::NOTSUP].contains(&code) => Class::Unsupported,
        Errno::NOSYS => Class::Unsupported,
        Errno::PERM | Errno::ACCESS | Errno::ROFS => Class::Denied,
        Errno::NOENT | Errno::CHILD | Errno::SRCH => Class::NotFound,
        Errno::EXIST | Errno::ADDRINUSE | Errno::ADDRNOTAVAIL => Class::Taken,
        Errno::BUSY | Errno::TXTBSY => Class::Busy,
        Errno::CANCELED => Class::Aborted,
        // EIO, ENODEV, ESTALE, ETIMEDOUT, EHOSTDOWN and whatever nobody knows.
        _ => Class::Io,
    }
}

/// EAGAIN: "wait" to a transfer, "the backlog is full, and cannot be waited for" to a connect, "no more of these" to a fork.
const fn would_wait(call: Call) -> Class {
    match call {
        Call::Accept | Call::Read | Call::Wait | Call::Write => Class::Wait,
        Call::Connect => Class::Busy,
        Call::Bind | Call::Close | Call::Make | Call::Open | Call::Query | Call::Spawn => {
            Class::Limit
        }
    }
}

/// ECONNREFUSED: nobody listens there; to a transfer, the peer has gone.
const fn refused(call: Call) -> Class {
    if call.is_transfer() {
        Class::Gone
    } else {
        Class::NotFound
    }
}

/// The class and the raw code, as the seam wants them.
#[must_use]
pub fn classified(call: Call, code: Errno) -> (Class, Option<OsCode>) {
    (classify(call, code), Some(OsCode(code.raw_os_error())))
}

/// What a call that failed wants next.
pub enum Next {
    /// Call it again at once.
    Again,
    /// It failed.
    Fail(Class, Option<OsCode>),
    /// Wait until it can go on.
    Wait,
}

/// Sorts a failed read or write by what it wants next.
#[must_use]
pub fn next(call: Call, code: Errno) -> Next {
    let (class, os) = classified(call, code);
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

    use Class as C;

    /// Codes that say the same to every call.
    const ROWS: &[(Errno, Class)] = &[
        (Errno::PIPE, C::Gone),
        (Errno::CONNABORTED, C::Gone),
        (Errno::NOTCONN, C::NotConnected),
        (Errno::DESTADDRREQ, C::NotConnected),
        (Errno::ISCONN, C::Bug),
        (Errno::FAULT, C::Bug),
        (Errno::DEADLK, C::Bug),
        (Errno::NODEV, C::Io),
        (Errno::STALE, C::Io),
        (Errno::IO, C::Io),
        (Errno::TIMEDOUT, C::Io),
        (Errno::HOSTDOWN, C::Io),
        (Errno::NOBUFS, C::Limit),
        (Errno::NOMEM, C::Limit),
        (Errno::MFILE, C::Limit),
        (Errno::NFILE, C::Limit),
        (Errno::NOSPC, C::Limit),
        (Errno::DQUOT, C::Limit),
        (Errno::FBIG, C::Limit),
        (Errno::TOOMANYREFS, C::Limit),
        (Errno::MSGSIZE, C::Argument),
        (Errno::INVAL, C::Argument),
        (Errno::ISDIR, C::Argument),
        (Errno::NOTSOCK, C::Argument),
        (Errno::NOTDIR, C::Argument),
        (Errno::LOOP, C::Argument),
        (Errno::NAMETOOLONG, C::Argument),
        (Errno::SPIPE, C::Argument),
        (Errno::TOOBIG, C::Argument),
        (Errno::NOEXEC, C::Argument),
        (Errno::OPNOTSUPP, C::Unsupported),
        (Errno::NOTSUP, C::Unsupported),
        (Errno::NOSYS, C::Unsupported),
        (Errno::PERM, C::Denied),
        (Errno::ACCESS, C::Denied),
        (Errno::ROFS, C::Denied),
        (Errno::NOENT, C::NotFound),
        (Errno::CHILD, C::NotFound),
        (Errno::SRCH, C::NotFound),
        (Errno::EXIST, C::Taken),
        (Errno::ADDRINUSE, C::Taken),
        (Errno::ADDRNOTAVAIL, C::Taken),
        (Errno::BUSY, C::Busy),
        (Errno::TXTBSY, C::Busy),
        (Errno::CANCELED, C::Aborted),
    ];

    /// Codes that say different things, in the order of `Call::ALL`: accept, bind, close, connect, make, open, query, read,
    /// spawn, wait, write.
    const CELLS: &[(Errno, [Class; 11])] = &[
        (
            Errno::INTR,
            [
                C::Interrupted,
                C::Interrupted,
                C::Io,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
                C::Interrupted,
            ],
        ),
        (
            Errno::AGAIN,
            [
                C::Wait,
                C::Limit,
                C::Limit,
                C::Busy,
                C::Limit,
                C::Limit,
                C::Limit,
                C::Wait,
                C::Limit,
                C::Wait,
                C::Wait,
            ],
        ),
        (
            Errno::CONNRESET,
            [
                C::Gone,
                C::Gone,
                C::Gone,
                C::Gone,
                C::Gone,
                C::Gone,
                C::Gone,
                C::Reset,
                C::Gone,
                C::Gone,
                C::Gone,
            ],
        ),
        (
            Errno::PROTOTYPE,
            [
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Gone,
            ],
        ),
        (
            Errno::CONNREFUSED,
            [
                C::NotFound,
                C::NotFound,
                C::NotFound,
                C::NotFound,
                C::NotFound,
                C::NotFound,
                C::NotFound,
                C::Gone,
                C::NotFound,
                C::NotFound,
                C::Gone,
            ],
        ),
        (
            Errno::PROTO,
            [
                C::Gone,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
            ],
        ),
        (
            Errno::NXIO,
            [
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::NotConnected,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
                C::Io,
            ],
        ),
        (
            Errno::BADF,
            [
                C::Bug,
                C::Bug,
                C::Bug,
                C::Bug,
                C::Argument,
                C::Argument,
                C::Argument,
                C::Bug,
                C::Bug,
                C::Bug,
                C::Bug,
            ],
        ),
    ];

    #[test]
    fn every_cell_is_as_the_table_says() {
        for &(code, class) in ROWS {
            for call in Call::ALL {
                assert_eq!(classify(call, code), class, "{call:?} {code:?}");
            }
        }
        for &(code, classes) in CELLS {
            for (call, class) in Call::ALL.into_iter().zip(classes) {
                assert_eq!(classify(call, code), class, "{call:?} {code:?}");
            }
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
    fn a_failed_transfer_is_called_again_waited_for_or_told() {
        for call in [Call::Read, Call::Write] {
            assert!(matches!(next(call, Errno::INTR), Next::Again));
            assert!(matches!(next(call, Errno::AGAIN), Next::Wait));
            let Next::Fail(class, os) = next(call, Errno::PIPE) else {
                panic!("a broken pipe is neither");
            };
            assert_eq!((class, os), (Class::Gone, Some(OsCode(32))));
        }
    }

    #[test]
    fn every_code_has_a_class_and_keeps_its_number() {
        for raw in 1..4096 {
            let code = Errno::from_raw_os_error(raw);
            for call in Call::ALL {
                let (class, os) = classified(call, code);
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
