//! Whether somebody else may move the position of a file: who has its description, as the kernel and /proc tell.
//!
//! Never here: what is done about it.

use super::holders::{Access, access};
use super::listing;
use crate::unix::kernel::last_errno;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// So often it is asked who is there, as long as somebody new was over before it was looked at.
const ROUNDS_MAX: u32 = 8;

/// The parent of whoever has lost its own.
const FIRST_PROCESS: i32 = 1;

/// Where a descriptor is put between a fork and an exec.
const STANDARD_NUMBERS: [&str; 3] = ["0", "1", "2"];

/// Whether this is a regular file whose position says where it is read or written next. One that is only appended to has none that counts.
#[must_use]
pub fn has_position(handle: BorrowedFd<'_>) -> bool {
    let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let counts = |flags: OFlags| !flags.contains(OFlags::APPEND) || Access::of(flags).reads;
    // What cannot be asked may have one.
    rustix::fs::fstat(handle).map_or(true, is_file)
        && rustix::fs::fcntl_getfl(handle).map_or(true, counts)
}

/// Whether another process may share the description of this regular file, and with it the position. True if that cannot be known.
///
/// Nothing is known of processes that do not show what they have (another user's, or with more rights than ours), nor of those that /proc
/// does not show (outside our pid namespace, `hidepid`): of these our parent, and who is seen to be in our process group, count as sharing
/// it, and others as not. Nor is anything known of a descriptor on its way through a socket, or of one that is passed on after this.
#[must_use]
pub fn may_share_position(handle: BorrowedFd<'_>) -> bool {
    has_position(handle)
        && Ours::of(handle)
            .and_then(|ours| ours.is_shared())
            .unwrap_or(true)
}

/// A descriptor of ours, whose description others may have.
struct Ours<'a> {
    handle: BorrowedFd<'a>,
    this: i32,
    parent: i32,
    /// Where the kernel compares no descriptions: the file's name, and how it is used.
    named: Option<(PathBuf, Access)>,
}

/// What a look at another process came to.
enum Look {
    /// It was over, or about to change what it has: whoever was started by it may be on no list yet.
    Changing,
    /// It has the description, or may have it.
    Has,
    HasNot,
}

impl<'a> Ours<'a> {
    /// kcmp of the descriptor with itself. `None`: nothing can be known of it.
    fn of(handle: BorrowedFd<'a>) -> Option<Self> {
        let this = i32::try_from(std::process::id()).ok()?;
        let number = libc::c_ulong::try_from(handle.as_raw_fd()).ok()?;
        let mut ours = Self {
            handle,
            this,
            parent: i32::try_from(std::os::unix::process::parent_id()).ok()?,
            named: None,
        };
        // A kernel may be built without it, and a filter may forbid it.
        if ours.is_one_with(this, number) != Ok(true) {
            let flags = rustix::fs::fcntl_getfl(handle).ok()?;
            ours.named = Some((ours.name().ok()?, Access::of(flags)));
        }
        Some(ours)
    }

    /// Looks at every process, and then at those that came meanwhile. `None`: it cannot be known.
    fn is_shared(&self) -> Option<bool> {
        let mut seen = HashSet::from([self.this]);
        for round in 0..ROUNDS_MAX {
            let mut is_anybody_changing = false;
            for pid in listing::numbers().ok()? {
                let pid = pid.ok()?;
                if !seen.insert(pid) {
                    continue;
                }
                match self.look_at(pid).ok()? {
                    Look::Changing => is_anybody_changing = true,
                    Look::Has => return Some(true),
                    Look::HasNot => {}
                }
            }
            // Whom /proc does not show at all.
            if !seen.contains(&self.parent) && self.is_near(self.parent) {
                return Some(true);
            }
            // The first list is old by now. One that brings nobody new, or only such as stay what they are, has passed nobody by.
            if round > 0 && !is_anybody_changing {
                return self.is_renamed();
            }
        }
        None
    }

    /// Whether the name by which it was looked for is another one by now, so that nobody was found by it.
    fn is_renamed(&self) -> Option<bool> {
        match &self.named {
            None => Some(false),
            Some((name, _)) => Some(self.name().ok()? != *name),
        }
    }

    /// Whether this process may have the description. A failure: it cannot be known.
    fn look_at(&self, pid: i32) -> io::Result<Look> {
        match self.look_at_thread(pid, pid)? {
            Look::Changing => self.look_at_other_threads(pid),
            look @ (Look::Has | Look::HasNot) => Ok(look),
        }
    }

    /// A process whose first thread has ended shows nothing by that one, and its other threads go on with all that it had.
    fn look_at_other_threads(&self, pid: i32) -> io::Result<Look> {
        let threads = match std::fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(threads) => threads,
            Err(error) => return self.unshown(pid, error),
        };
        for thread in threads {
            let name = match thread {
                Ok(thread) => thread.file_name(),
                Err(error) => return self.unshown(pid, error),
            };
            let number = name.to_str().and_then(|name| name.parse::<i32>().ok());
            let thread = number.ok_or(ErrorKind::InvalidData)?;
            if thread == pid {
                continue;
            }
            match self.look_at_thread(pid, thread)? {
                Look::Changing => {}
                look @ (Look::Has | Look::HasNot) => return Ok(look),
            }
        }
        Ok(Look::Changing)
    }

    /// Whether a process may have the description, by what this thread of it shows. /proc has a folder of every thread, though it lists the
    /// first ones alone.
    fn look_at_thread(&self, pid: i32, thread: i32) -> io::Result<Look> {
        let entries = match std::fs::read_dir(format!("/proc/{thread}/fd")) {
            Ok(entries) => entries,
            Err(error) => return self.unshown(pid, error),
        };
        let (mut has_any, mut is_changing) = (false, false);
        for entry in entries {
            match entry.and_then(|entry| self.is_at(thread, &entry.file_name())) {
                Ok(true) => return Ok(Look::Has),
                Ok(false) => has_any = true,
                Err(error) => match self.unshown(pid, error)? {
                    Look::Changing => is_changing = true,
                    look @ (Look::Has | Look::HasNot) => return Ok(look),
                },
            }
        }
        // What was closed meanwhile may have been copied to a number that was looked at before.
        let is_there = |number: &&str| self.is_at(thread, OsStr::new(*number)).unwrap_or(false);
        if is_changing && STANDARD_NUMBERS.iter().any(is_there) {
            return Ok(Look::Has);
        }
        Ok(if has_any && !is_changing {
            Look::HasNot
        } else {
            Look::Changing
        })
    }

    /// What is taken for so of a process that does not show what it has.
    fn unshown(&self, pid: i32, error: io::Error) -> io::Result<Look> {
        if listing::is_gone(&error) {
            return Ok(Look::Changing);
        }
        if !listing::is_hidden(&error) {
            return Err(error);
        }
        Ok(if self.is_near(pid) {
            Look::Has
        } else {
            Look::HasNot
        })
    }

    /// Whether a process has started us, or was started with us: a shell and the commands of its line have the same files.
    fn is_near(&self, pid: i32) -> bool {
        let is_parent = pid == self.parent && pid != FIRST_PROCESS;
        is_parent || is_in_our_group(pid)
    }

    /// Whether a descriptor of another process, by its name in /proc, is of the description.
    fn is_at(&self, pid: i32, number: &OsStr) -> io::Result<bool> {
        let number = number.to_str().ok_or(ErrorKind::InvalidData)?;
        let Some((name, used)) = &self.named else {
            let number: libc::c_ulong = number.parse().map_err(|_| ErrorKind::InvalidData)?;
            return match self.is_one_with(pid, number) {
                // It was closed meanwhile.
                Err(Errno::BADF) => Err(Errno::NOENT.into()),
                answer => Ok(answer?),
            };
        };
        let is_same = std::fs::read_link(format!("/proc/{pid}/fd/{number}"))? == *name;
        Ok(is_same && access(pid, OsStr::new(number)).is_none_or(|theirs| theirs == *used))
    }

    /// kcmp: whether this descriptor of a process is of the description.
    fn is_one_with(&self, pid: i32, number: libc::c_ulong) -> Result<bool, Errno> {
        /// KCMP_FILE (include/uapi/linux/kcmp.h).
        const FILE: libc::c_int = 0;
        let ours = libc::c_long::from(self.handle.as_raw_fd());
        // SAFETY: it takes numbers, and touches no memory of ours; our descriptor is open while it is borrowed (kcmp(2)).
        let order = unsafe { libc::syscall(libc::SYS_kcmp, self.this, pid, FILE, ours, number) };
        if order < 0 {
            Err(last_errno())
        } else {
            Ok(order == 0)
        }
    }

    /// readlink: what /proc says that it is of.
    fn name(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }
}

/// getpgid: whether a process is in our group, or outside our pid namespace with its group as we are.
fn is_in_our_group(pid: i32) -> bool {
    // SAFETY: it takes a number, and touches no memory of ours (getpgid(2)).
    let theirs = unsafe { libc::getpgid(pid) };
    // SAFETY: it takes nothing, touches no memory of ours, and never fails (getpgrp(2)).
    theirs == unsafe { libc::getpgrp() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    /// As it is known where the kernel compares no descriptions.
    fn by_name(file: &File) -> Ours<'_> {
        let mut ours = Ours::of(file.as_fd()).unwrap();
        let flags = rustix::fs::fcntl_getfl(file).unwrap();
        ours.named = Some((ours.name().unwrap(), Access::of(flags)));
        ours
    }

    #[test]
    fn by_its_name_a_file_is_shared_with_whoever_uses_it_in_the_same_way() {
        let memory = rustix::fs::memfd_create("by-its-name", rustix::fs::MemfdFlags::CLOEXEC);
        let path = format!("/proc/self/fd/{}", memory.as_ref().unwrap().as_raw_fd());
        let reads = File::open(&path).unwrap();
        let writes = File::options().write(true).open(&path).unwrap();
        let mut holder = Command::new("sleep");
        holder.arg("1000").stdin(File::open(&path).unwrap());
        let mut holder = holder.stdout(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(holder.id()).unwrap();
        let has = |file: &File, number: &str| by_name(file).is_at(pid, OsStr::new(number));
        let looks = [has(&reads, "0"), has(&writes, "0"), has(&reads, "1")];
        let looks = looks.map(|look| look.ok());
        let is_shared = by_name(&reads).is_shared();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(looks, [Some(true), Some(false), Some(false)]);
        assert_eq!(is_shared, Some(true));
    }

    /// Whoever has it is not found by the name of before.
    #[test]
    fn a_file_that_has_another_name_by_now_may_be_shared() {
        let memory = rustix::fs::memfd_create("renamed", rustix::fs::MemfdFlags::CLOEXEC);
        let file = File::from(memory.unwrap());
        let mut ours = by_name(&file);
        assert_eq!(ours.is_renamed(), Some(false));
        if let Some((name, _)) = &mut ours.named {
            name.set_file_name("another name");
        }
        assert_eq!(ours.is_renamed(), Some(true));
        assert_eq!(ours.is_shared(), Some(true));
    }
}
