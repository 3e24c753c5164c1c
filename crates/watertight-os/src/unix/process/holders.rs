//! Who has the other end of a pipe or of a pseudo-terminal open, found through /proc.

use super::listing;
use crate::process::Found;
use rustix::fs::{FileType, OFlags};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The two ways a descriptor may be used.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Access {
    pub(super) reads: bool,
    writes: bool,
}

impl Access {
    pub(super) fn of(flags: OFlags) -> Self {
        let mode = flags & OFlags::RWMODE;
        Self {
            reads: mode == OFlags::RDONLY || mode == OFlags::RDWR,
            writes: mode == OFlags::WRONLY || mode == OFlags::RDWR,
        }
    }

    /// Whether the one reads what the other writes.
    const fn is_other_end_of(self, other: Self) -> bool {
        (self.reads && other.writes) || (self.writes && other.reads)
    }
}

/// Who, besides this process, has the other end of this pipe, FIFO or pseudo-terminal open. Empty: nobody is known.
///
/// Processes of other users do not show what they hold, and the ends of a socket do not show that they belong together: about
/// these nothing is known.
#[must_use]
pub fn holders_of(handle: BorrowedFd<'_>) -> Vec<Found> {
    // A pseudo-terminal's leading end knows what the other one is called.
    if let Ok(name) = rustix::pty::ptsname(handle, Vec::new()) {
        let name = OsString::from_vec(name.into_bytes());
        return who(|pid| has_open(pid, |target, _| target == name));
    }
    let Some((pipe, ours)) = pipe(handle) else {
        return Vec::new();
    };
    let is_other_end =
        |pid, number: &OsStr| access(pid, number).is_none_or(|theirs| theirs.is_other_end_of(ours));
    who(|pid| {
        has_open(pid, |target, number| {
            target == pipe && is_other_end(pid, number)
        })
    })
}

/// The end of a pipe that a child was given, known by the one that is ours.
pub(super) struct GivenEnd {
    pipe: OsString,
    access: Access,
}

impl GivenEnd {
    /// The other end of this pipe. `None`: it is no pipe's, or cannot be told.
    pub(super) fn of(ours: BorrowedFd<'_>) -> Option<Self> {
        let (pipe, ours) = pipe(ours)?;
        let access = Access {
            reads: ours.writes,
            writes: ours.reads,
        };
        Some(Self { pipe, access })
    }

    /// Whether this process is known to have it open.
    pub(super) fn is_open_in(&self, pid: i32) -> bool {
        has_open(pid, |target, number| {
            target == self.pipe && access(pid, number) == Some(self.access)
        })
    }
}

/// What the descriptor of a pipe or a FIFO is of, and which way it may be used.
fn pipe(handle: BorrowedFd<'_>) -> Option<(OsString, Access)> {
    let stat = rustix::fs::fstat(handle).ok()?;
    let is_fifo = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    let flags = rustix::fs::fcntl_getfl(handle).ok()?;
    let name = target(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    is_fifo.then(|| (name, Access::of(flags)))
}

/// The other processes of which this is so.
fn who(holds: impl Fn(i32) -> bool) -> Vec<Found> {
    let this = i32::try_from(std::process::id()).unwrap_or_default();
    let numbers = listing::numbers().into_iter().flatten().flatten();
    numbers
        .filter(|pid| *pid != this && holds(*pid))
        .filter_map(|pid| Some(listing::one(pid)?.found()))
        .collect()
}

/// Whether a process has a descriptor that is looked for, by what it is of and by its number.
fn has_open(pid: i32, is_looked_for: impl Fn(&OsStr, &OsStr) -> bool) -> bool {
    // Forbidden, or over: then nothing is known of it.
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    entries.into_iter().flatten().flatten().any(|entry| {
        target(entry.path()).is_some_and(|target| is_looked_for(&target, &entry.file_name()))
    })
}

/// readlink: what a descriptor is of. The names of pipes have their inode in them, those of FIFOs are their paths.
fn target(link: impl AsRef<Path>) -> Option<OsString> {
    Some(std::fs::read_link(link).ok()?.into_os_string())
}

/// Which way a descriptor of another process may be used: proc_pid_fdinfo(5).
pub(super) fn access(pid: i32, number: &OsStr) -> Option<Access> {
    let number = number.to_str()?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    Some(Access::of(OFlags::from_bits_retain(flags)))
}
