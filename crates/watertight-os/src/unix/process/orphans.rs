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
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};
use std::cmp::Reverse;
use std::io;
use std::sync::Mutex;

/// How often it is looked for somebody whom the looks before have passed by. Whoever forks and ends at once, again and again, is another
/// process at each look, and may be seen by none of several.
const LOOKS_MAX: u32 = 128;

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

/// Reaps the orphans that have ended, and names those that live. `own` is the number of the child that this process has started itself, or 0
/// once that is reaped. A child that was there before the adoption is reaped too when it has ended, and else not named. Once `own` is reaped
/// nobody is passed by: if nobody is named, there is nobody. (With a child of before the adoption that takes a kernel that lists a thread's
/// children, `CONFIG_PROC_CHILDREN`, as nearly all do.)
///
/// # Errors
/// The processes cannot be listed or not all of them be looked at, there is no descriptor to hold one by, or the system refuses to
/// tell of one; or somebody is there whom no look finds. Those that were seen before that are reaped.
pub fn reap(own: u32) -> io::Result<Vec<Found>> {
    let earlier = lock(&EARLIER);
    for _ in 0..LOOKS_MAX {
        let looked = look(own, &earlier)?;
        // While our own child is there it is looked again in any case, when that is over.
        let is_enough = !looked.living.is_empty() || own != 0;
        if is_enough || !is_anybody_else_there(&looked.earlier)? {
            return Ok(looked.living);
        }
    }
    let text =
        "somebody is there whom no look finds: hidden from us, or another process at each look";
    Err(io::Error::other(text))
}

/// What one look at this process's children has found.
struct Looked {
    /// The orphans that live.
    living: Vec<Found>,
    /// The numbers of the children that live and were there before the adoption.
    earlier: Vec<i32>,
}

/// Looks once, and reaps who has ended.
fn look(own: u32, earlier: &Earlier) -> io::Result<Looked> {
    let mut looked = Looked {
        living: Vec::new(),
        earlier: Vec::new(),
    };
    let failure = for_each_child(own, |child| {
        if let Some((hold, _)) = hold(child)?
            && let (Reaped::Running, _) = hold.reap()?
        {
            if earlier.has(child) {
                looked.earlier.push(child.pid);
            } else {
                looked.living.push(child.found());
            }
        }
        Ok(())
    })?;
    failure.map_or(Ok(looked), Err)
}

/// Whether a child is there beside these, alive or over. A look may pass by each of several processes that fork and end one after the other, and
/// this does not: at every moment one of them is a child of ours, for one that has ended stays so until we reap it.
fn is_anybody_else_there(earlier: &[i32]) -> io::Result<bool> {
    if earlier.is_empty() {
        return Ok(has_child());
    }
    let children = listing::children()?.unwrap_or_default();
    // Where the system lists none there are these at least, and nobody knows more.
    Ok(children.iter().any(|child| !earlier.contains(child)))
}

/// waitid, without waiting and without reaping: whether this process has any child. Without one it has no descendant either, for whoever
/// loses its parent comes here. A question that fails in another way is no answer.
fn has_child() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let any = fallible("waitid (any)", Call::Spawn, || waitid(WaitId::All, options));
    !matches!(any, Err(Errno::CHILD))
}

/// SIGTERM to the orphans and their descendants, and SIGCONT behind it.
pub fn terminate(own: u32) -> TreeEnd {
    let earlier = lock(&EARLIER);
    let mut all = TreeEnd::default();
    // All of them first: whoever ends by this leaves us its children, who were asked with it.
    let mut children = Vec::new();
    let failure = for_each_child(own, |child| {
        children.push(child.clone());
        Ok(())
    });
    // Whoever leads a session or a group before the others in there: they are told with it, and nobody is told twice.
    children.sort_by_key(|child| (child.session != child.pid, child.group != child.pid));
    for child in &children {
        let is_told = |one: &Found| one.pid == child.pid.unsigned_abs();
        if all.signalled.iter().any(is_told) {
            continue;
        }
        end(child, &earlier, &mut all, |hold| {
            Tree::default().terminate(hold, false, None)
        });
    }
    note(failure, all)
}

/// SIGKILL to the orphans and their descendants, which are stopped first, each orphan as soon as it is seen, before it can be another
/// process. Waits a moment for their deaths; whoever a death has made an orphan meanwhile, or was passed by, is there at the next call.
pub fn kill(own: u32) -> TreeEnd {
    let earlier = lock(&EARLIER);
    let mut all = TreeEnd::default();
    let failure = for_each_child(own, |child| {
        end(child, &earlier, &mut all, |hold| {
            let mut tree = Tree::default();
            let mut end = tree.kill(hold, false, None);
            tree.await_deaths(hold, &mut end, None);
            end
        });
        Ok(())
    });
    note(failure, all)
}

/// Ends one of this process's children, if it is an orphan that lives.
fn end(child: &Seen, earlier: &Earlier, all: &mut TreeEnd, end_one: impl FnOnce(&Hold) -> TreeEnd) {
    if earlier.has(child) {
        return;
    }
    match hold(child) {
        Ok(Some((hold, Life::Running))) => {
            let one = end_one(&hold);
            all.signalled.extend(one.signalled);
            all.left.extend(one.left);
            all.error = all.error.take().or(one.error);
        }
        Ok(_) => {}
        Err(error) => {
            all.left.push(child.found());
            all.error.get_or_insert(error);
        }
    }
}

/// With what kept us from seeing somebody, if something did.
fn note(failure: io::Result<Option<io::Error>>, all: TreeEnd) -> TreeEnd {
    let failure = failure.unwrap_or_else(Some);
    TreeEnd {
        error: all.error.or(failure),
        ..all
    }
}

/// Calls `act` with each child of this process but its own as soon as it is seen, the highest number first: who forks and ends at once
/// has the newest, and not for long. What first kept us from seeing a process that may be one.
fn for_each_child(
    own: u32,
    mut act: impl FnMut(&Seen) -> io::Result<()>,
) -> io::Result<Option<io::Error>> {
    let this = getpid().as_raw_pid();
    let mut numbers = listing::numbers()?.collect::<io::Result<Vec<i32>>>()?;
    numbers.sort_unstable_by_key(|number| Reverse(*number));
    let mut failure = None;
    for number in numbers {
        match listing::asked(number) {
            Ok(Some(seen)) if seen.parent == this && seen.pid.unsigned_abs() != own => act(&seen)?,
            Ok(_) => {}
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    Ok(failure)
}

/// Takes hold of an orphan, if nobody has reaped it.
fn hold(seen: &Seen) -> io::Result<Option<(Hold, Life)>> {
    let Some(pid) = Pid::from_raw(seen.pid) else {
        return Ok(None);
    };
    let (hold, life) = Hold::take(pid)?;
    Ok((life != Life::Gone).then_some((hold, life)))
}
