//! Which codes a test has each call say: what POSIX, Linux's manual pages and measurements have it say (docs/gotchas.md),
//! what our own table has an opinion on, and one that nobody knows.

use super::classify::Call;
use rustix::io::Errno;

/// A code of no system's.
const UNKNOWN: Errno = Errno::from_raw_os_error(3999);

/// The codes that a fault loop has `call` say.
#[must_use]
pub const fn allowed(call: Call) -> &'static [Errno] {
    match call {
        Call::Close => CLOSE,
        Call::Make => MAKE,
        Call::Open => OPEN,
        Call::Query => QUERY,
        Call::Read => READ,
        Call::Wait => WAIT,
        Call::Write => WRITE,
        Call::Spawn => SPAWN,
        // Nothing here makes these yet.
        Call::Accept | Call::Bind | Call::Connect => &[],
    }
}

const CLOSE: &[Errno] = &[
    Errno::INTR,
    Errno::IO,
    Errno::NOSPC,
    Errno::DQUOT,
    Errno::NOTCONN,
    Errno::BADF,
    UNKNOWN,
];

const MAKE: &[Errno] = &[
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::INTR,
    Errno::AGAIN,
    Errno::BADF,
    Errno::INVAL,
    Errno::PERM,
    Errno::ACCESS,
    UNKNOWN,
];

const OPEN: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::ACCESS,
    Errno::PERM,
    Errno::NXIO,
    Errno::NODEV,
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::ROFS,
    Errno::NOTSUP,
    Errno::IO,
    UNKNOWN,
];

const QUERY: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::BADF,
    Errno::INVAL,
    Errno::NOMEM,
    Errno::NOBUFS,
    Errno::NOTCONN,
    Errno::NOTSOCK,
    Errno::NOTTY,
    Errno::PERM,
    Errno::BUSY,
    Errno::IO,
    Errno::OVERFLOW,
    UNKNOWN,
];

const READ: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::CONNRESET,
    Errno::NOTCONN,
    Errno::NOMEM,
    Errno::INVAL,
    Errno::NOTSUP,
    Errno::BADF,
    Errno::FAULT,
    Errno::ISDIR,
    Errno::IO,
    Errno::PERM,
    Errno::ACCESS,
    Errno::STALE,
    Errno::TIMEDOUT,
    Errno::CONNREFUSED,
    UNKNOWN,
];

const SPAWN: &[Errno] = &[
    Errno::AGAIN,
    Errno::NOMEM,
    Errno::MFILE,
    Errno::NFILE,
    Errno::TOOBIG,
    Errno::TXTBSY,
    Errno::NOEXEC,
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::ACCESS,
    Errno::PERM,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::NOSYS,
    Errno::SRCH,
    UNKNOWN,
];

const WAIT: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::NOMEM,
    Errno::NOSPC,
    Errno::PERM,
    Errno::INVAL,
    Errno::EXIST,
    Errno::NOENT,
    Errno::BADF,
    Errno::FAULT,
    UNKNOWN,
];

const WRITE: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::PIPE,
    Errno::CONNRESET,
    Errno::NOTCONN,
    Errno::DESTADDRREQ,
    Errno::NOBUFS,
    Errno::MSGSIZE,
    Errno::NOMEM,
    Errno::INVAL,
    Errno::NOTSUP,
    Errno::BADF,
    Errno::FAULT,
    Errno::NOTSOCK,
    Errno::IO,
    Errno::PERM,
    Errno::ACCESS,
    Errno::DQUOT,
    Errno::NOSPC,
    Errno::FBIG,
    Errno::ROFS,
    Errno::STALE,
    Errno::NXIO,
    Errno::NODEV,
    Errno::CONNREFUSED,
    Errno::PROTOTYPE,
    Errno::TIMEDOUT,
    Errno::HOSTDOWN,
    Errno::CANCELED,
    UNKNOWN,
];
