//! What Linux's /proc says of processes. A process of another user shows up here too, unless /proc is mounted to hide it.

use crate::fault::fallible;
use crate::process::Found;
use crate::unix::classify::Call;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::ReadDir;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Why nobody is looked for.
const NOT_OURS: &str =
    "/proc does not show this process: it is not mounted, or it is another pid namespace's";

/// One process, as it was when it was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it was started, in ticks since the system was: with the number it means one process.
    pub(super) started: u64,
    /// It is over with all of its threads, and its parent has not reaped it.
    pub(super) is_over: bool,
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

/// What one look at all processes has found.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Every process that can be seen.
    pub(super) seen: Vec<Seen>,
    /// One that was there when the look began was gone when it was its turn. Whom it has started meanwhile the look may have passed by.
    pub(super) has_anybody_ended: bool,
    /// What first kept us from seeing one that is there.
    pub(super) failure: Option<io::Error>,
}

/// Looks at every process.
pub(super) fn all() -> io::Result<Table> {
    let mut table = Table::default();
    for pid in numbers()? {
        let pid = pid?;
        match stat("read (stat)", pid) {
            Ok(line) => table.seen.extend(parsed(pid, &line)),
            Err(error) if is_gone(&error) => table.has_anybody_ended = true,
            Err(error) if is_hidden(&error) => {}
            Err(error) => {
                table.failure.get_or_insert(error);
            }
        }
    }
    Ok(table)
}

/// The number of every process that can be seen.
pub(super) fn numbers() -> io::Result<impl Iterator<Item = io::Result<i32>>> {
    let entries = fallible("open (/proc)", Call::Open, opened)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().to_str()?.parse().ok().map(Ok),
        Err(error) => Some(Err(error)),
    }))
}

/// open of /proc, where it is ours.
fn opened() -> io::Result<ReadDir> {
    is_ours()?;
    std::fs::read_dir("/proc")
}

/// readlink of /proc/self, which has to have our number. A folder where nothing is mounted has nobody in it, and in the /proc of another pid
/// namespace our numbers are other processes': neither is taken for an answer.
fn is_ours() -> io::Result<()> {
    let number = std::process::id().to_string();
    match std::fs::read_link("/proc/self") {
        Ok(this) if this == Path::new(&number) => Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Err(io::Error::new(ErrorKind::NotFound, NOT_OURS)),
    }
}

/// The numbers of this process's children, over or not, by the thread that has started them or was given them. `None`: the kernel lists none
/// (`CONFIG_PROC_CHILDREN`).
pub(super) fn children() -> io::Result<Option<Vec<i32>>> {
    fallible("open (children)", Call::Open, listed_children)
}

fn listed_children() -> io::Result<Option<Vec<i32>>> {
    is_ours()?;
    let mut all = Vec::new();
    let mut is_listed = false;
    for thread in std::fs::read_dir("/proc/self/task")? {
        match std::fs::read_to_string(thread?.path().join("children")) {
            Ok(line) => {
                is_listed = true;
                all.extend(line.split_ascii_whitespace().flat_map(str::parse::<i32>));
            }
            // The thread has ended, or there is no such file.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(is_listed.then_some(all))
}

/// The process of this number, if one is known.
pub(super) fn one(pid: i32) -> Option<Seen> {
    asked(pid).ok().flatten()
}

/// The process of this number, if there is one that we may see.
pub(super) fn asked(pid: i32) -> io::Result<Option<Seen>> {
    is_ours()?;
    match stat("read (stat again)", pid) {
        Ok(line) => Ok(parsed(pid, &line)),
        Err(error) if is_gone(&error) || is_hidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What /proc says of one process. Among the planned failures the look at all of them has another name than the question about one.
fn stat(name: &'static str, pid: i32) -> io::Result<Vec<u8>> {
    fallible(name, Call::Open, || {
        std::fs::read(format!("/proc/{pid}/stat"))
    })
}

/// Whether it says that the process is over and reaped: no failure of the look.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH)
    )
}

/// Whether it says that the process is hidden from us: no failure of the look either.
pub(super) fn is_hidden(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ACCESS | Errno::PERM)
    )
}

/// proc_pid_stat(5): the name stands in parentheses and may have any bytes in it, parentheses too.
pub(super) fn parsed(pid: i32, line: &[u8]) -> Option<Seen> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = OsStr::from_bytes(line.get(open + 1..close)?).to_owned();
    let behind = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // From the third field on: state, parent, group, session; how many threads is the 20th, and the start the 22nd.
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let number = |at: usize| -> Option<i32> { fields.get(at)?.parse().ok() };
    // One whose first thread has ended says so of the whole process, although other threads of it run.
    let is_dead = matches!(*fields.first()?, "X" | "Z");
    Some(Seen {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
        is_over: is_dead && number(17)? <= 1,
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
        assert!(!seen.is_over);
        assert_eq!(parsed(7, b"7 (cut"), None);
        assert_eq!(parsed(7, b"7 (cut) S 1 2"), None);
    }

    #[test]
    fn a_process_is_over_when_its_last_thread_is() {
        let is_over = |state: &str, threads: u32| {
            let line = format!("7 (a) {state} 1 2 3 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0");
            parsed(7, line.as_bytes()).unwrap().is_over
        };
        assert!(is_over("Z", 1) && is_over("X", 0));
        assert!(!is_over("Z", 2), "its first thread has ended");
        assert!(!is_over("T", 1), "it is stopped");
    }

    #[test]
    fn this_process_is_seen_and_its_parent_too() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let this = one(pid).unwrap();
        let table = all().unwrap();
        assert!(table.failure.is_none(), "{:?}", table.failure);
        assert!(table.seen.contains(&this));
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(this.parent, parent);
        assert_eq!(one(i32::MAX), None);
    }
}
