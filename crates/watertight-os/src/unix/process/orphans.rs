//! Descendants that have lost their parent and come to this process, if it asks for them (a child subreaper, prctl(2)).
//!
//! A process that asks for them is the parent of processes that it has not started, and has to reap them. For a program that may
//! say so of its whole process, never for a library. Only processes that were just seen as children of ours are reaped, one by
//! one: no wait for just any child takes a status that somebody else is waiting for. The one child that the program has started
//! itself is left to whoever holds it.
//!
//! A process may have children that it has not started either: a shell that puts a program in its own place by `exec` leaves it those that
//! it had. They are reaped, and else left alone: whoever was there before the adoption comes from nobody that is started behind it.

use super::life::Life;
use super::listing::{self, Seen, Table};
use super::pidfd::Hold;
use super::tree::Tree;
use crate::fault::fallible;
use crate::process::{Found, Reaped, TreeEnd};
use crate::unix::calls::lock;
use crate::unix::classify::Call;
use rustix::process::{Pid, getpid, set_child_subreaper};
use std::io;
use std::sync::Mutex;

/// Who was there before the adoption. An orphan keeps its number until it is reaped, so nobody reaps one while another thread signals it: who
/// does either has this lock.
static EARLIER: Mutex<Earlier> = Mutex::new(Earlier(Vec::new()));

/// Processes by number and start, which together mean one each.
struct Earlier(Vec<(i32, u64)>);

impl Earlier {
    fn of(table: &Table) -> Self {
        Self(table.seen.iter().map(identity).collect())
    }

    fn has(&self, seen: &Seen) -> bool {
        self.0.contains(&identity(seen))
    }
}

const fn identity(seen: &Seen) -> (i32, u64) {
    (seen.pid, seen.started)
}

/// From now on whoever of this process's descendants loses its parent comes to this process, for the rest of its life. Who is there already
/// is none of the orphans that [`reap`], [`terminate`] and [`kill`] mean. (Whom one of those starts later, and leaves behind, looks like
/// everybody else.)
///
/// # Errors
/// The system refuses, or the processes cannot be listed or not all of them be looked at. Then nobody is adopted.
pub fn adopt() -> io::Result<()> {
    let mut earlier = lock(&EARLIER);
    let mut table = listing::all()?;
    if let Some(failure) = table.failure.take() {
        return Err(failure);
    }
    fallible("prctl (subreaper)", Call::Make, || {
        set_child_subreaper(Some(getpid()))
    })?;
    *earlier = Earlier::of(&table);
    Ok(())
}

/// Reaps the orphans that have ended, and names those that live. `own` is the number of the child that this process has started
/// itself, or 0 once that is reaped. A child that was there before the adoption is reaped too when it has ended, and else not named.
///
/// # Errors
/// The processes cannot be listed or not all of them be looked at, there is no descriptor to hold one by, or the system refuses to
/// tell of one. Those that were seen before that are reaped.
pub fn reap(own: u32) -> io::Result<Vec<Found>> {
    let earlier = lock(&EARLIER);
    let mut living = Vec::new();
    let (children, failure) = seen(own)?;
    for child in children {
        if let Some((hold, _)) = hold(&child)?
            && let (Reaped::Running, _) = hold.reap()?
            && !earlier.has(&child)
        {
            living.push(child.found());
        }
    }
    failure.map_or(Ok(living), Err)
}

/// SIGTERM to the orphans and their descendants, and SIGCONT behind it.
pub fn terminate(own: u32) -> TreeEnd {
    end(own, |tree, hold| tree.terminate(hold, false, None))
}

/// SIGKILL to the orphans and their descendants, which are stopped first. Waits a moment for their deaths; whoever a death has made
/// an orphan meanwhile is there at the next call.
pub fn kill(own: u32) -> TreeEnd {
    end(own, |tree, hold| {
        let mut end = tree.kill(hold, false, None);
        tree.await_deaths(hold, &mut end, None);
        end
    })
}

fn end(own: u32, end_one: impl Fn(&mut Tree, &Hold) -> TreeEnd) -> TreeEnd {
    let earlier = lock(&EARLIER);
    let mut all = TreeEnd::default();
    let mut orphans = match seen(own) {
        Ok((children, failure)) => {
            all.error = failure;
            children
        }
        Err(error) => {
            all.error = Some(error);
            return all;
        }
    };
    orphans.retain(|seen| !earlier.has(seen));
    for orphan in orphans {
        match hold(&orphan) {
            Ok(Some((hold, Life::Running))) => {
                let one = end_one(&mut Tree::default(), &hold);
                all.signalled.extend(one.signalled);
                all.left.extend(one.left);
                all.error = all.error.or(one.error);
            }
            Ok(_) => {}
            Err(error) => {
                all.left.push(orphan.found());
                all.error.get_or_insert(error);
            }
        }
    }
    all
}

/// The children of this process, but its own, and what first kept us from seeing a process that may be one.
fn seen(own: u32) -> io::Result<(Vec<Seen>, Option<io::Error>)> {
    let this = getpid().as_raw_pid();
    let Table {
        mut seen, failure, ..
    } = listing::all()?;
    seen.retain(|seen| seen.parent == this && seen.pid.unsigned_abs() != own);
    Ok((seen, failure))
}

/// Takes hold of an orphan, if nobody has reaped it.
fn hold(seen: &Seen) -> io::Result<Option<(Hold, Life)>> {
    let Some(pid) = Pid::from_raw(seen.pid) else {
        return Ok(None);
    };
    let (hold, life) = Hold::take(pid)?;
    Ok((life != Life::Gone).then_some((hold, life)))
}
