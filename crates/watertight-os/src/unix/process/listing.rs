//! What Linux's /proc says of processes. A process of another user shows up here too, unless /proc is mounted to hide it.

use crate::fault::fallible;
use crate::process::Found;
use crate::unix::classify::Call;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// One process, as it was when it was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it was started, in ticks since the system was: with the number it means one process.
    pub(super) started: u64,
    name: OsString,
}

impl Seen {
    /// For those who are told of it.
    pub(super) fn found(&self) -> Found {
        Found {
            pid: self.pid.unsigned_abs(),
            name: Some(self.name.clone()),
        }
    }
}

/// Every process that can be seen, and what first kept us from seeing one that is there.
pub(super) fn all() -> io::Result<(Vec<Seen>, Option<io::Error>)> {
    let mut seen = Vec::new();
    let mut failure = None;
    for pid in numbers()? {
        match asked(pid?) {
            // One that has ended meanwhile is not there any more.
            Ok(one) => seen.extend(one),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    Ok((seen, failure))
}

/// The number of every process that can be seen.
pub(super) fn numbers() -> io::Result<impl Iterator<Item = io::Result<i32>>> {
    let entries = fallible("open (/proc)", Call::Open, || std::fs::read_dir("/proc"))?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().to_str()?.parse().ok().map(Ok),
        Err(error) => Some(Err(error)),
    }))
}

/// The process of this number, if one is known.
pub(super) fn one(pid: i32) -> Option<Seen> {
    asked(pid).ok().flatten()
}

/// The process of this number, if there is one that we may see.
pub(super) fn asked(pid: i32) -> io::Result<Option<Seen>> {
    let read = fallible("read (stat)", Call::Open, || {
        std::fs::read(format!("/proc/{pid}/stat"))
    });
    match read {
        Ok(line) => Ok(parsed(pid, &line)),
        Err(error) if is_out_of_sight(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it says that the process is over, or hidden from us: no failure of the look.
fn is_out_of_sight(error: &io::Error) -> bool {
    let codes = [Errno::NOENT, Errno::SRCH, Errno::ACCESS, Errno::PERM];
    Errno::from_io_error(error).is_some_and(|code| codes.contains(&code))
}

/// proc_pid_stat(5): the name stands in parentheses and may have any bytes in it, parentheses too.
fn parsed(pid: i32, line: &[u8]) -> Option<Seen> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = OsStr::from_bytes(line.get(open + 1..close)?).to_owned();
    let behind = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // From the third field on: state, parent, group, session; the start is the 22nd.
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let number = |at: usize| -> Option<i32> { fields.get(at)?.parse().ok() };
    Some(Seen {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_kind_is_read_past() {
        let line = b"7 (a) b (c\xff) S 1 2 3 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0";
        let seen = parsed(7, line).unwrap();
        assert_eq!(
            (seen.pid, seen.parent, seen.group, seen.session),
            (7, 1, 2, 3)
        );
        assert_eq!(seen.started, 99);
        assert_eq!(seen.found().name.unwrap().as_bytes(), b"a) b (c\xff");
        assert_eq!(parsed(7, b"7 (cut"), None);
        assert_eq!(parsed(7, b"7 (cut) S 1 2"), None);
    }

    #[test]
    fn this_process_is_seen_and_its_parent_too() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let this = one(pid).unwrap();
        let (all, failure) = all().unwrap();
        assert!(failure.is_none(), "{failure:?}");
        assert!(all.contains(&this));
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(this.parent, parent);
        assert_eq!(one(i32::MAX), None);
    }
}
