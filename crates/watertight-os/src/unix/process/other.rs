//! What Linux has and the other systems have not: a child is known by its number, a tree by its group, and nobody tells who holds
//! a pipe.

use super::by_number::Numbered;
use super::life::Life;
use crate::TreeMember;
use crate::fault::fallible;
use crate::process::{Found, StdStreams, TreeEnd, TreeLook};
use crate::unix::classify::Call;
use crate::unix::handle::Handle;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::Duration;

/// How a child is held.
pub(super) type Hold = Numbered;

impl Numbered {
    /// Nothing calls a blocked thread back here.
    pub(super) const fn block_with_outputs(
        &self,
        _outputs: &[&Handle],
        _is_end_waited_for: bool,
        _timeout: Option<Duration>,
    ) -> Option<bool> {
        None
    }

    /// There is none here.
    pub(super) const fn try_clone_descriptor(&self) -> Option<OwnedFd> {
        None
    }

    /// Takes hold of a new child.
    pub(super) fn take(pid: Pid) -> Result<(Self, Life), Errno> {
        let numbered = Self::new(pid);
        let life = numbered.life()?;
        Ok((numbered, life))
    }
}

/// Whether killpg passes over those of a group that are over and not reaped, as XNU's does (`killpg1_pgrpfilt`). FreeBSD's counts them, and
/// of the others it is not known: there a group has somebody in it as long as the child is not reaped.
const IS_GROUPS_END_SEEN: bool = cfg!(target_vendor = "apple");

/// There are no control groups here.
#[derive(Debug)]
pub enum Cgroup {}

impl Cgroup {
    /// None.
    #[must_use]
    pub const fn make() -> Option<Self> {
        None
    }

    pub(super) const fn entrance(&self) -> Option<Entrance> {
        None
    }

    pub(super) const fn remove(&self) {}
}

/// The way into one.
#[derive(Debug)]
pub(super) enum Entrance {}

impl Entrance {
    pub(super) const fn numbers(&self) -> [RawFd; 2] {
        match *self {}
    }

    pub(super) const fn was_taken(&self) -> bool {
        match *self {}
    }
}

/// There is nothing to be entered.
pub(super) const fn enter(_: [RawFd; 2]) {}

/// Nobody but the child and its group.
#[derive(Default)]
pub(super) struct Tree;

impl Tree {
    /// What the child was given leads to nobody here.
    pub(super) const fn in_our_group(_streams: &StdStreams) -> Self {
        Self
    }

    /// Likewise.
    pub(super) const fn note_given(&mut self, _ours: BorrowedFd<'_>) {}

    /// killpg and kill, with SIGKILL.
    pub(super) fn kill(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        _cgroup: Option<&Cgroup>,
    ) -> TreeEnd {
        signal(leader, is_reaped, Signal::KILL)
    }

    /// killpg, or kill where there is no such group, with SIGTERM, and then with SIGCONT: whoever is stopped hears it when it goes on.
    pub(super) fn terminate(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        _cgroup: Option<&Cgroup>,
    ) -> TreeEnd {
        let mut end = signal(leader, is_reaped, Signal::TERM);
        if !end.signalled.is_empty() {
            let continued = signal(leader, is_reaped, Signal::CONT);
            end.left.extend(continued.left);
            end.error = end.error.or(continued.error);
        }
        end
    }

    /// Whether nobody is left in the child's group. Not before the child is reaped, where a group's end is not seen.
    pub(super) fn is_over(&self, leader: &Hold, is_reaped: bool) -> bool {
        is_reaped || test_kill_process_group(leader.pid()).is_err()
    }

    /// Nothing: nobody is remembered.
    pub(super) const fn look_again(&mut self) {}

    /// Nobody is known who could be remembered. Refused where a wait for the group would not end.
    pub(super) fn note(
        &mut self,
        _leader: &Hold,
        _is_reaped: bool,
        _cgroup: Option<&Cgroup>,
    ) -> io::Result<()> {
        if IS_GROUPS_END_SEEN {
            return Ok(());
        }
        let text = "this system does not show when the last process of a group is over";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// killpg with signal 0: whether anybody is left in the child's group. Who may not be signalled is not seen.
    pub(super) fn look(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        cgroup: Option<&Cgroup>,
    ) -> io::Result<TreeLook> {
        self.note(leader, is_reaped, cgroup)?;
        if self.is_over(leader, is_reaped) {
            return Ok(TreeLook::Over);
        }
        Ok(TreeLook::Unheld)
    }

    /// Nobody is known who could be forgotten.
    pub(super) fn forget(&mut self, _over: &TreeMember) {}

    /// Nobody is known whose death could be waited for.
    pub(super) fn await_deaths(
        &mut self,
        _leader: &Hold,
        _end: &mut TreeEnd,
        _cgroup: Option<&Cgroup>,
    ) {
    }

    /// There is nothing to remember.
    pub(super) fn join(&mut self, _other: Self) {}
}

/// While the child is not reaped a group of its number is one that it has made.
fn signal(leader: &Hold, is_reaped: bool, signal: Signal) -> TreeEnd {
    let mut end = TreeEnd::default();
    if is_reaped {
        return end;
    }
    let child = Found {
        pid: leader.pid().as_raw_pid().unsigned_abs(),
        name: None,
    };
    let sent = fallible("killpg", Call::Spawn, || {
        kill_process_group(leader.pid(), signal)
    });
    if sent.is_ok() {
        end.signalled.push(child);
        return end;
    }
    // There is no such group, or nobody in it is alive or ours.
    match leader.signal(signal.as_raw()) {
        Ok(true) => end.signalled.push(child),
        Ok(false) => {}
        Err(code) => {
            end.error = Some(code.into());
            end.left.push(child);
        }
    }
    end
}

/// Not to be asked for on these systems.
#[must_use]
pub fn holders_of(_handle: BorrowedFd<'_>) -> Vec<Found> {
    Vec::new()
}

/// The child has the mask of the thread that starts it, as std does it: these systems do not tell what the process's first one was.
pub(super) const fn pass_on(_command: &mut Command, _forks: bool) -> bool {
    false
}

/// Nothing is to be waited for.
pub(super) fn with_all_blocked<T>(start: impl FnOnce() -> T) -> T {
    start()
}
