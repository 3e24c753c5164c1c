//! A control group of a child's own (cgroups(7), version 2). Whoever the child starts is in it, whatever session that one goes to and whoever
//! its parent is, until somebody who may do so moves it out; and all of them are killed at once.
//!
//! It is a folder beneath this process's own group, made before the child and removed when nobody lives in it any more. Where none can be
//! had (no second version, no right to make one, a kernel before 5.14) the child starts without.

use super::cgroup_place::{self, CgroupPlace};
use crate::fault::fallible;
use crate::unix::calls::lock;
use crate::unix::classify::Call;
use crate::unix::fork::Birth;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// How many names are tried. One is taken only if a process of the same number has left a group in which somebody lives.
const NAMES_MAX: usize = 16;

/// How many groups below one are looked at. Whoever is in the others has no name here, and is killed all the same.
const FOLDERS_MAX: usize = 1000;

/// As much as cgroup.events has in it, and more.
const EVENTS_BYTES: usize = 256;

/// The number of the next group of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The numbers of this process's groups that somebody still has in hands. The others are left over: the next start removes them.
static IN_USE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// The control group of one child.
#[derive(Debug)]
pub struct Cgroup {
    number: u64,
    place: CgroupPlace,
    /// cgroup.kill, open: at the kill no descriptor may be to be had.
    kill: OwnedFd,
    is_removed: AtomicBool,
    birth: Birth,
}

impl Cgroup {
    /// A new one beneath this process's own, in which nobody is. None, and no word: there cannot be one.
    #[must_use]
    pub fn make() -> Option<Self> {
        let names = CgroupNames::here()?;
        let places = cgroup_place::own().ok()?;
        places.iter().find_map(|own| Self::make_in(own, &names))
    }

    fn make_in(own: &CgroupPlace, names: &CgroupNames) -> Option<Self> {
        names.remove_left_over(&own.folder);
        for _ in 0..NAMES_MAX {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            lock(&IN_USE).insert(number);
            let made = Self::make_as(number, place_below(own, &names.of(number)));
            if made.is_err() {
                lock(&IN_USE).remove(&number);
            }
            match made {
                Err(Errno::EXIST) => {}
                made => return made.ok(),
            }
        }
        None
    }

    /// mkdir, and the question whether the kernel can kill what will be in there.
    fn make_as(number: u64, place: CgroupPlace) -> Result<Self, Errno> {
        fallible("mkdir (cgroup)", Call::Open, || {
            rustix::fs::mkdir(&place.folder, Mode::from_raw_mode(0o755))
        })?;
        match open_to_write("open (cgroup.kill)", &place, "cgroup.kill") {
            Ok(kill) => Ok(Self {
                number,
                place,
                kill,
                is_removed: AtomicBool::new(false),
                birth: Birth::here(),
            }),
            Err(code) => {
                remove(&place.folder);
                Err(code)
            }
        }
    }

    /// A way in for the next child. None: there is none.
    pub(super) fn entrance(&self) -> Option<Entrance> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let told = fallible("eventfd (cgroup)", Call::Make, || eventfd(0, flags));
        Some(Entrance {
            procs: open_to_write("open (cgroup.procs)", &self.place, "cgroup.procs").ok()?,
            told: told.ok()?,
        })
    }

    /// cgroup.kill: SIGKILL to everybody in there and below, those included that are being forked and those that we may not signal.
    pub(super) fn kill(&self) -> Result<(), Errno> {
        let killed = fallible("write (cgroup.kill)", Call::Spawn, || {
            rustix::io::write(&self.kill, b"1")
        });
        match killed {
            // It is removed, so that nobody is in there.
            Ok(_) | Err(Errno::NODEV) => Ok(()),
            Err(code) => Err(code),
        }
    }

    /// cgroup.procs: the numbers of those who are alive in there and below.
    pub(super) fn members(&self) -> io::Result<HashSet<i32>> {
        let mut members = HashSet::new();
        for folder in folders(&self.place.folder)? {
            let read = fallible("read (cgroup.procs)", Call::Open, || {
                std::fs::read_to_string(folder.join("cgroup.procs"))
            });
            match read {
                // One who is outside of our namespace of processes has the number 0.
                Ok(text) => members.extend(numbers(&text).filter(|pid| *pid > 0)),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(members)
    }

    /// Whether the process of this number is in there or below. A question that fails is answered with no.
    pub(super) fn has(&self, pid: i32) -> bool {
        let path = cgroup_place::path_of(pid).unwrap_or_default();
        let below = path.strip_prefix(self.place.path.as_slice());
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    }

    /// ppoll on cgroup.events: waits until nobody is alive in there and below, or until then. Whether nobody is; a question that fails is
    /// answered with no.
    pub(super) fn wait_until_empty(&self, until: Instant) -> bool {
        let events = match open_events(&self.place.folder) {
            Ok(events) => events,
            Err(error) => return is_gone(&error),
        };
        loop {
            // Before the wait: what is told is a change since the last read.
            match is_populated(&events) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => return is_gone(&error),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = Timespec::try_from(left).ok();
            let mut polled = [PollFd::new(&events, PollFlags::PRI)];
            let waited = fallible("ppoll (cgroup)", Call::Wait, || {
                poll(&mut polled, left.as_ref())
            });
            if !matches!(waited, Ok(_) | Err(Errno::INTR)) {
                return false;
            }
        }
    }

    /// Removes it, unless somebody is alive in there.
    pub(super) fn remove(&self) {
        if !self.is_removed.load(Ordering::Relaxed) && remove(&self.place.folder) {
            self.is_removed.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A forked child has a copy of this, and the folder is its parent's.
        if !self.birth.is_elsewhere() {
            self.remove();
            lock(&IN_USE).remove(&self.number);
        }
    }
}

/// The way into a control group for one child, and what the child says when it has taken it.
#[derive(Debug)]
pub(super) struct Entrance {
    procs: OwnedFd,
    told: OwnedFd,
}

impl Entrance {
    /// For [`enter`]. They are the child's as long as this is not dropped before it is forked.
    pub(super) fn numbers(&self) -> [RawFd; 2] {
        [self.procs.as_raw_fd(), self.told.as_raw_fd()]
    }

    /// Whether the child is in the group. Once it was started.
    pub(super) fn was_taken(&self) -> bool {
        let told = fallible("read (eventfd cgroup)", Call::Read, || {
            rustix::io::read(&self.told, &mut [0; 8])
        });
        told.is_ok()
    }
}

/// write to cgroup.procs, in the child, and, if it is in the group then, to the eventfd. A child that is refused goes on without: the kernel
/// may have reasons that nobody sees before (a group for threads only, a scheduling class that the group has no share for).
pub(super) fn enter([procs, told]: [RawFd; 2]) {
    // SAFETY: it is this child's copy of a descriptor that an `Entrance` keeps open until the start is over; in this child, which has
    // one thread, nobody closes it before it is used here.
    let procs = unsafe { BorrowedFd::borrow_raw(procs) };
    // SAFETY: as above.
    let told = unsafe { BorrowedFd::borrow_raw(told) };
    if rustix::io::retry_on_intr(|| rustix::io::write(procs, b"0")).is_ok() {
        // Its counter is 0, so that there is room.
        let _ = rustix::io::write(told, &1_u64.to_ne_bytes());
    }
}

/// What the groups of this process are called: no other process that lives has one of the same name, in whatever namespace it is.
struct CgroupNames {
    /// Of every process in this one's namespace of processes.
    common: String,
    pid: i32,
}

impl CgroupNames {
    /// stat of the namespace, whose inode is its number.
    fn here() -> Option<Self> {
        let namespace = fallible("stat (pid namespace)", Call::Open, || {
            std::fs::metadata("/proc/self/ns/pid")
        });
        Some(Self {
            common: format!("watertight-{}-", namespace.ok()?.ino()),
            pid: i32::try_from(std::process::id()).ok()?,
        })
    }

    fn of(&self, number: u64) -> String {
        format!("{}{}-{number}", self.common, self.pid)
    }

    /// Whose group has this name, and which of that process's it is.
    fn owner(&self, name: &OsStr) -> Option<(i32, u64)> {
        let (pid, number) = name.to_str()?.strip_prefix(&self.common)?.split_once('-')?;
        Some((pid.parse().ok()?, number.parse().ok()?))
    }

    /// Removes what processes that are over have left, and what this one could not remove when it was done with it.
    fn remove_left_over(&self, own: &Path) {
        let is_left_over = |folder: &PathBuf| {
            let owner = folder.file_name().and_then(|name| self.owner(name));
            owner.is_some_and(|(pid, number)| {
                if pid == self.pid {
                    !lock(&IN_USE).contains(&number)
                } else {
                    is_over(pid)
                }
            })
        };
        // What is not found now is found by the next one.
        let all = below(own).unwrap_or_default();
        for folder in all.iter().filter(|folder| is_left_over(folder)) {
            remove(folder);
        }
    }
}

/// kill with signal 0: whether nobody has this number.
fn is_over(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else {
        return false;
    };
    let asked = fallible("kill (left cgroup)", Call::Spawn, || test_kill_process(pid));
    asked == Err(Errno::SRCH)
}

/// The group of this name in that one.
fn place_below(own: &CgroupPlace, name: &str) -> CgroupPlace {
    let mut path = own.path.clone();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    CgroupPlace {
        folder: own.folder.join(name),
        path,
    }
}

fn open_to_write(call: &'static str, place: &CgroupPlace, file: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    fallible(call, Call::Open, || {
        rustix::fs::open(place.folder.join(file), flags, Mode::empty())
    })
}

fn open_events(folder: &Path) -> io::Result<File> {
    fallible("open (cgroup.events)", Call::Open, || {
        File::open(folder.join("cgroup.events"))
    })
}

/// pread: whether anybody is alive in the group or below it. One that is over and not reaped is not.
fn is_populated(events: &File) -> io::Result<bool> {
    let mut text = [0; EVENTS_BYTES];
    let count = fallible("read (cgroup.events)", Call::Read, || {
        events.read_at(&mut text, 0)
    })?;
    let mut lines = text[..count].split(|byte| *byte == b'\n');
    Ok(!lines.any(|line| line == b"populated 0"))
}

/// rmdir, of a group in which nobody lives, with those below it. Whether it is gone.
fn remove(folder: &Path) -> bool {
    let rmdir = |folder: &Path| {
        let removed = fallible("rmdir (cgroup)", Call::Open, || rustix::fs::rmdir(folder));
        match removed {
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            removed => removed,
        }
    };
    match rmdir(folder) {
        // Somebody lives in there, or has made groups of its own.
        Err(Errno::BUSY) => {}
        removed => return removed.is_ok(),
    }
    let is_populated = open_events(folder).and_then(|events| is_populated(&events));
    if is_populated.unwrap_or(true) {
        return false;
    }
    let all = folders(folder).unwrap_or_default();
    // Those below first: the last answer is that of the folder itself.
    all.iter().rev().fold(false, |_, one| rmdir(one).is_ok())
}

/// The folder and those below it, each before those in it: programs in the group may have made some.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = vec![folder.to_owned()];
    let mut looked_at = 0;
    while looked_at < folders.len().min(FOLDERS_MAX) {
        let more = below(&folders[looked_at])?;
        folders.extend(more);
        looked_at += 1;
    }
    Ok(folders)
}

/// The folders in this one. None in one that is gone.
fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let opened = fallible("open (cgroup)", Call::Open, || std::fs::read_dir(folder));
    let entries = match opened {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// A number on each line.
fn numbers(text: &str) -> impl Iterator<Item = i32> {
    text.lines().filter_map(|line| line.parse().ok())
}

/// Whether it says that the group is removed, or, of one below, that it is one of threads, whose processes the group above it shows.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NODEV | Errno::NOENT | Errno::OPNOTSUPP)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Option<Cgroup> {
        let made = Cgroup::make();
        if made.is_none() {
            println!("skipped: no control group can be made here");
        }
        made
    }

    /// Where it leads to is removed in between, so that the kernel refuses; and this process stays where it is.
    #[test]
    fn a_way_in_that_the_kernel_refuses_is_not_taken_for_one() {
        let Some(cgroup) = made() else { return };
        let entrance = cgroup.entrance().unwrap();
        cgroup.remove();
        enter(entrance.numbers());
        assert!(!entrance.was_taken());
    }

    #[test]
    fn a_group_that_is_gone_has_nobody_in_it() {
        let Some(cgroup) = made() else { return };
        assert!(cgroup.members().unwrap().is_empty());
        let this = i32::try_from(std::process::id()).unwrap();
        assert!(!cgroup.has(this));
        cgroup.remove();
        assert!(!cgroup.place.folder.exists());
        assert!(cgroup.members().unwrap().is_empty());
        assert_eq!(cgroup.kill(), Ok(()));
        assert!(cgroup.wait_until_empty(Instant::now()));
    }

    #[test]
    fn what_is_left_over_is_removed_and_what_is_in_use_is_not() {
        let (Some(used), Some(left)) = (made(), made()) else {
            return;
        };
        let names = CgroupNames::here().unwrap();
        let own = used.place.folder.parent().unwrap().to_owned();
        // No process has such a number.
        let of_another = own.join(format!("{}{}-0", names.common, i32::MAX));
        std::fs::create_dir(&of_another).unwrap();
        // As if it could not be removed when this process was done with it.
        lock(&IN_USE).remove(&left.number);
        let next = made();
        assert!(!of_another.exists() && !left.place.folder.exists());
        for one in [Some(used), next].into_iter().flatten() {
            assert!(one.place.folder.exists());
            let folder = one.place.folder.clone();
            drop(one);
            assert!(!folder.exists());
        }
    }

    #[test]
    fn a_name_tells_whose_it_is() {
        let names = CgroupNames {
            common: "watertight-1-".to_owned(),
            pid: 5,
        };
        assert_eq!(names.owner(OsStr::new(&names.of(7))), Some((5, 7)));
        for other in [
            "watertight-1-5",
            "watertight-2-5-7",
            "watertight-1-x-7",
            "user.slice",
        ] {
            assert_eq!(names.owner(OsStr::new(other)), None, "{other}");
        }
    }
}
