//! Planned failures, for tests (feature `fault`): of a construction's next step, and of the n-th system call from now.
//!
//! A call has the system's name, with a word more where its failure means something else: `close`, `EPOLL_CTL_ADD`. Those of
//! children on Unix:
//!
//! | step | names |
//! | --- | --- |
//! | start | `open (standard number)` (where a standard stream is closed), `spawn` (std's own: its pipes, fork and exec are this one call), `pidfd_open (child)`, `waitid (life)`; when it has failed `close_range` |
//! | streams | `pipe2 (child)`, `F_DUPFD_CLOEXEC (stream)`; of an armed input `socketpair`, `FIONBIO (pair)`, `send (byte)`, `shutdown (pair)`, of the first one in a process also `read (trial)`, at its orderly end `recv (byte)` |
//! | further descriptors, a terminal | `F_DUPFD_CLOEXEC (child)`; `openpt`, `unlockpt`, `TIOCGPTPEER (make)` or `open (terminal)`, `TIOCSWINSZ` |
//! | a control group | `stat (pid namespace)`, `read (own cgroup)`, `read (mountinfo)`, `open (cgroup)`, `kill (left cgroup)`, `mkdir (cgroup)`, `open (cgroup.kill)`, `eventfd (cgroup)`, `open (cgroup.procs)`, `read (eventfd cgroup)`; of its tree `read (cgroup.procs)`, `read (cgroup of one)`, `write (cgroup.kill)`, `open (cgroup.events)`, `read (cgroup.events)`, `ppoll (cgroup)`; at its end `rmdir (cgroup)` |
//! | ask, wait | `waitid (life)`, `ppoll (child)`, `epoll_create (children)`, `clone (children)`, `EPOLL_CTL_ADD (children)`, `epoll_wait (children)`, `EPOLL_CTL_DEL (children)`; without a pidfd `clone (child)` |
//! | wait for the tree | besides, `open (/proc)`, `read (stat)` (of everybody), `read (stat again)` (of one), `pidfd_open (tree)`, `F_DUPFD_CLOEXEC (tree)`, `EPOLL_CTL_ADD (tree)` |
//! | reap | `waitid`; without a pidfd `wait4` |
//! | signal | `pidfd_send_signal`, `killpg`, `getpgid`, `pidfd_open (tree)`, `open (/proc)`, `read (stat)`, `read (stat again)`; without a pidfd `kill` |
//!
//! On Windows they are `CreateJobObject`, `spawn`, `CreatePipe`, `DuplicateHandle (stream)` and those of `windows/sys.rs`. What a child
//! does between fork and exec is no call of this process's, and the wait of the thread that knows a child by its number alone can say
//! nothing but that the child is over.
//!
//! A move between two files (Linux) is `copy_file_range`, and what is asked and done about holes before it: `fstat (holes)`,
//! `lseek (SEEK_CUR)`, `lseek (SEEK_DATA)`, `lseek (SEEK_HOLE)`, `lseek (SEEK_SET)`, `F_GETFL (holes)`, `ftruncate`. A splice of which one
//! end is a file is `splice (file)`, and one into a socket `splice (socket)`; `fstat (source)` and `lseek` ask whether there is more of a file when the other end takes nothing.
//!
//! What is read and written around O_DIRECT (Linux): `F_GETFL (direct)`, `open (direct)`, `lseek (direct)`, `lseek (direct claim)`,
//! `lseek (direct end)`, `lseek (direct set)`, `pread (direct)`, `pwrite (direct)`, `write (direct)`.
//!
//! The thread of a handle that can only block starts by `clone (helper)` (Unix), with the first operation.
//!
//! Without the feature nothing can be planned, and `fallible` is the call and nothing else. Steps are planned per thread.
//! Calls are planned for the whole process, because the library's own threads make them too: tests that plan run one at a
//! time.

use crate::classify::Call;
use watertight_core::OsCode;

#[cfg(feature = "fault")]
mod calls;
#[cfg(all(windows, feature = "fault"))]
mod memory;
#[cfg(feature = "fault")]
mod steps;

#[cfg(feature = "fault")]
pub use calls::{Fault, Made, Trace, begun, plan, stop};
#[cfg(feature = "fault")]
pub use steps::{clear, fail_next, planned};

#[cfg(all(windows, feature = "fault"))]
pub(crate) use memory::{give, take_back};
#[cfg(all(windows, feature = "fault"))]
pub use memory::{is_kernels, kernels};

#[cfg(all(unix, feature = "fault"))]
pub use crate::unix::allowed;
#[cfg(all(windows, feature = "fault"))]
pub use crate::windows::allowed;

/// Ends what was planned when it is dropped, so that a test that panics leaves no failure to the next one.
#[cfg(feature = "fault")]
#[derive(Debug)]
#[must_use = "what is planned ends when it is dropped"]
pub struct Guard(());

/// Begins with nothing planned, and ends so.
///
/// # Examples
///
/// ```
/// use watertight_core::OsCode;
/// use watertight_os::{Native, Step, fault};
/// let _guard = fault::guard();
/// fault::fail_next(Step::CreatePipe, OsCode(24));
/// let failed = Native::new().and_then(|native| native.pipe()).unwrap_err();
/// assert_eq!(failed.step, Step::CreatePipe);
/// ```
#[cfg(feature = "fault")]
pub fn guard() -> Guard {
    clear();
    stop();
    Guard(())
}

#[cfg(feature = "fault")]
impl Drop for Guard {
    fn drop(&mut self) {
        clear();
        stop();
    }
}

/// What a system call says when it fails.
pub(crate) trait Code {
    /// Of this number.
    fn of(code: OsCode) -> Self;
}

impl Code for std::io::Error {
    fn of(code: OsCode) -> Self {
        Self::from_raw_os_error(code.0)
    }
}

/// Makes a system call, unless a test has it fail: then it is not made.
///
/// # Errors
/// What the call says, or what the test planned.
#[inline]
pub(crate) fn fallible<T, E: Code>(
    name: &'static str,
    call: Call,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match made(name, call) {
        Some(code) => Err(E::of(code)),
        None => make(),
    }
}

/// Makes a system call that has its effect whatever it says (a close). A test has it say otherwise all the same.
///
/// # Errors
/// What the call says, or what the test planned.
#[inline]
pub(crate) fn fallible_all_the_same<T, E: Code>(
    name: &'static str,
    call: Call,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let planned = made(name, call);
    let said = make();
    match planned {
        Some(code) => Err(E::of(code)),
        None => said,
    }
}

#[cfg(feature = "fault")]
use calls::made;

#[cfg(not(feature = "fault"))]
#[inline]
const fn made(_: &'static str, _: Call) -> Option<OsCode> {
    None
}

#[cfg(all(windows, not(feature = "fault")))]
#[inline]
pub(crate) const fn give(_: usize, _: usize, _: usize, _: usize) {}

#[cfg(all(windows, not(feature = "fault")))]
#[inline]
pub(crate) const fn take_back(_: usize) {}

#[cfg(not(feature = "fault"))]
#[doc(hidden)]
#[must_use]
pub const fn planned(_: crate::step::Step) -> Option<OsCode> {
    None
}
