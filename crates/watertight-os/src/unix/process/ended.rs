//! Who is told to be left of a tree that was asked to end, or killed.

use super::listing;
use crate::process::{Found, TreeEnd};
use rustix::io::Errno;

/// Notes one that refuses a signal.
pub(super) fn refuse(end: &mut TreeEnd, found: Found, code: Errno) {
    end.error.get_or_insert(code.into());
    note(&mut end.left, found);
}

/// A process and its name.
pub(super) fn found(pid: i32) -> Found {
    let nameless = Found {
        pid: pid.unsigned_abs(),
        name: None,
    };
    listing::one(pid).map_or(nameless, |seen| seen.found())
}

/// Adds a process once.
pub(super) fn note(list: &mut Vec<Found>, found: Found) {
    if list.iter().all(|known| known.pid != found.pid) {
        list.push(found);
    }
}
