//! What the systems can say: every code of their tables, and codes that nobody knows.

use rustix::io::Errno;
use watertight_os::classify as unix;
use watertight_os::windows::classify as windows;

/// Codes that no table of Unix knows (an errno is below 4096).
const UNKNOWN: [i32; 2] = [3999, 4077];

/// Every errno of os-rules' table, in its order.
pub const UNIX: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::PIPE,
    Errno::CONNRESET,
    Errno::NOTCONN,
    Errno::DESTADDRREQ,
    Errno::ISCONN,
    Errno::NOBUFS,
    Errno::MSGSIZE,
    Errno::NOMEM,
    Errno::MFILE,
    Errno::NFILE,
    Errno::TOOMANYREFS,
    Errno::INVAL,
    Errno::OPNOTSUPP,
    Errno::NOSYS,
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
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::ISDIR,
    Errno::SPIPE,
    Errno::CONNREFUSED,
    Errno::PROTOTYPE,
    Errno::ADDRINUSE,
    Errno::ADDRNOTAVAIL,
    Errno::EXIST,
    Errno::CONNABORTED,
    Errno::PROTO,
    Errno::TIMEDOUT,
    Errno::HOSTDOWN,
    Errno::BUSY,
    Errno::TXTBSY,
    Errno::TOOBIG,
    Errno::NOEXEC,
    Errno::CHILD,
    Errno::SRCH,
    Errno::DEADLK,
    Errno::CANCELED,
    Errno::from_raw_os_error(UNKNOWN[0]),
    Errno::from_raw_os_error(UNKNOWN[1]),
];

/// Every Win32 code of os-rules' table, in its order, and those of files that pass for pipes.
pub const WINDOWS: &[u32] = &[
    997, 996, 234, 109, 232, 233, 230, 535, 536, 231, 121, 2, 3, 123, 161, 206, 80, 183, 5, 6, 87,
    995, 1168, 258, 735, 998, 8, 14, 1450, 1455, 1816, 1453, 1784, 4, 164, 1, 50, 120, 1314, 1307,
    1305, 1336, 1337, 1338, 1346, 1368, 1008, 53, 54, 59, 64, 65, 67, 1225, 1236, 2250, 31, 1117,
    38, 112, 39, 1295, 3999, 31337,
];

/// A call of either system.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// One of Unix.
    Unix(unix::Call),
    /// One of Windows.
    Windows(windows::Call),
}

/// A code of either system, by its place in the tables above.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Code(pub usize);

impl Call {
    /// How many codes its system has.
    #[must_use]
    pub const fn codes(self) -> usize {
        match self {
            Self::Unix(_) => UNIX.len(),
            Self::Windows(_) => WINDOWS.len(),
        }
    }

    /// The number of `code` on its system.
    #[must_use]
    pub fn raw(self, code: Code) -> i32 {
        match self {
            Self::Unix(_) => UNIX[code.0].raw_os_error(),
            Self::Windows(_) => WINDOWS[code.0].cast_signed(),
        }
    }

    /// The place of a number in its system's table.
    #[must_use]
    pub fn code(self, raw: i32) -> Option<Code> {
        (0..self.codes())
            .map(Code)
            .find(|code| self.raw(*code) == raw)
    }

    /// Whether the code means "call again", so that saying it for ever would be a kernel that does nothing else.
    #[must_use]
    pub fn is_again(self, code: Code) -> bool {
        matches!(self, Self::Unix(_)) && UNIX[code.0] == Errno::INTR
    }

    /// A dense number for this call.
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Self::Unix(call) => place(&unix::Call::ALL, call),
            Self::Windows(call) => unix::Call::ALL.len() + place(&windows::Call::ALL, call),
        }
    }

    /// Every call of both systems.
    pub fn all() -> impl Iterator<Item = Self> {
        let unix = unix::Call::ALL.into_iter().map(Self::Unix);
        unix.chain(windows::Call::ALL.into_iter().map(Self::Windows))
    }
}

fn place<T: PartialEq>(all: &[T], one: T) -> usize {
    let found = all.iter().position(|known| *known == one);
    found.expect("every call is in its list")
}
