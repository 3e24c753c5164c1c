//! The tree of a child, found through /proc and held by pidfds.
//!
//! To the tree belong the child's descendants as long as the chain of parents lives, and everybody in the group or the session
//! that has the child's number, for only the child can have made these. Whoever leaves both (a daemon that forks twice in a
//! session of its own) is seen no more, unless an earlier look has seen it, or the child was started in a control group of its own: to
//! the tree belongs everybody who is in there, too.
//!
//! A child that is in our group has made none. An orphan there (`group_orphans.rs`) is of its tree if it has an end of a pipe open that the
//! child was given. Else it may be another command's: it is named, and not signalled. A control group tells them apart.
//!
//! Nobody is signalled by number but the child's own group, and that only while the child is not reaped, which keeps the number.

use super::cgroup::Cgroup;
use super::ended::{found, note, refuse};
use super::group_orphans;
use super::holders::GivenEnd;
use super::life::Life;
use super::listing::{self, Seen};
use super::member::TreeMember;
use super::pidfd::{Hold, has_ended, send, wait_for_end};
use crate::fault::fallible;
use crate::process::{Found, StdStreams, TreeEnd, TreeLook};
use crate::unix::classify::Call;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the tree is looked at until nobody new is in it. Those that were seen are stopped before the next look (to kill), so
/// that each look but the last has found a process that was started during the one before it.
const LOOKS_MAX: usize = 32;

/// How often the tree is looked at until nobody is taken to be in it. One look does if nobody ends during it; on a busy system somebody
/// ends during every one.
const EMPTY_LOOKS_MAX: usize = 4;

/// How long the deaths of the killed are waited for, all together. They come within a millisecond unless a process hangs in
/// the kernel.
const DEATHS_WITHIN: Duration = Duration::from_millis(200);

/// A process of the tree beside the child itself.
struct Member {
    seen: Seen,
    pidfd: Arc<OwnedFd>,
}

impl Member {
    fn is_alive(&self) -> bool {
        !has_ended(self.pidfd.as_fd())
    }

    /// One that was seen before may be in another group by now, where a signal to the child's group does not reach it.
    fn note_move(&mut self, table: &[Seen]) {
        let is_same = |seen: &&Seen| (seen.pid, seen.started) == (self.seen.pid, self.seen.started);
        if let Some(now) = table.iter().find(is_same) {
            self.seen = now.clone();
        }
    }
}

/// The members that were seen and not known to be over.
#[derive(Default)]
pub(super) struct Tree {
    members: Vec<Member>,
    /// All processes were looked at once for whoever waits for the tree.
    was_noted: bool,
    /// The ends of pipes that a child in our group was given. Nobody else had them before it.
    given: Vec<GivenEnd>,
}

/// One look at the tree, and what comes of it.
struct Look<'a> {
    tree: &'a mut Tree,
    leader: &'a Hold,
    /// The child's number, while it is its own.
    root: Option<i32>,
    /// Members of the child's group that could not be held: the signal to the group reaches them.
    unheld: Vec<Found>,
    /// Somebody who lives cannot be held, in the group or not.
    is_anybody_unheld: bool,
    /// Somebody ended during the last look. Whom that one has started meanwhile, the look may have passed by.
    has_anybody_ended: bool,
    /// Orphans in our group, and their descendants, of whom the last look could not tell whether they are of the tree.
    doubtful: Vec<Found>,
    /// The child's own, if it has one.
    cgroup: Option<&'a Cgroup>,
    /// Who was in there at the last look.
    in_cgroup: HashSet<i32>,
    /// Not everybody could be looked at.
    is_incomplete: bool,
    end: TreeEnd,
}

impl Tree {
    /// Of a child in our group, which was given the other ends of these.
    pub(super) fn in_our_group(streams: &StdStreams) -> Self {
        let ours = [
            streams.stdin.as_ref().map(AsFd::as_fd),
            streams.stdout.as_ref().map(AsFd::as_fd),
            streams.stderr.as_ref().map(AsFd::as_fd),
        ];
        Self {
            given: ours
                .into_iter()
                .flatten()
                .filter_map(GivenEnd::of)
                .collect(),
            ..Self::default()
        }
    }

    /// The child was given the other end of this pipe, too.
    pub(super) fn note_given(&mut self, ours: BorrowedFd<'_>) {
        self.given.extend(GivenEnd::of(ours));
    }

    /// SIGSTOP to all that are found, until nobody new is; then SIGKILL to all of them, to the child's group and to all in its control group.
    pub(super) fn kill(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        cgroup: Option<&Cgroup>,
    ) -> TreeEnd {
        let mut look = Look::new(self, leader, is_reaped, cgroup);
        look.stop_all();
        look.signal_leader(libc::SIGKILL);
        look.signal_group(Signal::KILL);
        look.signal_members(libc::SIGKILL, |_| true);
        look.kill_cgroup();
        look.ended()
    }

    /// SIGTERM to the child's group, and to all that are found outside it, and then SIGCONT to the same. Nobody is stopped, and nobody
    /// gets either twice.
    pub(super) fn terminate(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        cgroup: Option<&Cgroup>,
    ) -> TreeEnd {
        let mut look = Look::new(self, leader, is_reaped, cgroup);
        look.find_new();
        // By the system call: also where no /proc shows it, it is told once.
        let child = look.root.filter(|_| leader.life() == Ok(Life::Running));
        let child = child.map(|root| (found(root), group_of(leader.pid())));
        let group = look.signal_group(Signal::TERM);
        let is_told = |seen: &Seen| group == Some(seen.group);
        let own_group = child.as_ref().and_then(|(_, own)| *own);
        match child {
            Some((child, own)) if own.is_some() && own == group => {
                look.end.signalled.insert(0, child);
            }
            _ => look.signal_leader(libc::SIGTERM),
        }
        look.signal_members(libc::SIGTERM, |seen| !is_told(seen));
        look.continue_asked(own_group, group);
        look.ended()
    }

    /// Whether all that were seen are over.
    pub(super) fn is_over(&self, _leader: &Hold, _is_reaped: bool) -> bool {
        !self.members.iter().any(Member::is_alive)
    }

    /// The next [`note`](Self::note) looks, whoever has noted before.
    pub(super) const fn look_again(&mut self) {
        self.was_noted = false;
    }

    /// Remembers who is in the tree, unless that was done before: whoever leaves the group and loses its parent later is still known.
    pub(super) fn note(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        cgroup: Option<&Cgroup>,
    ) -> io::Result<()> {
        if self.was_noted {
            return Ok(());
        }
        let mut look = Look::new(self, leader, is_reaped, cgroup);
        look.find_new();
        // Who cannot be held now is looked for again.
        match look.end.error {
            Some(error) if !look.is_anybody_unheld => Err(error),
            Some(_) | None => {
                self.was_noted = true;
                Ok(())
            }
        }
    }

    /// Somebody who is alive, the child aside. Only when those are over that were seen, all processes are looked at.
    pub(super) fn look(
        &mut self,
        leader: &Hold,
        is_reaped: bool,
        cgroup: Option<&Cgroup>,
    ) -> io::Result<TreeLook> {
        let mut look = Look::new(self, leader, is_reaped, cgroup);
        // Without the child's number, a control group and a member nothing leads to anybody.
        let is_led = look.root.is_some() || look.cgroup.is_some();
        if look.tree.members.is_empty() && is_led {
            look.find_anybody();
        }
        if let Some(member) = look.tree.members.first() {
            return Ok(TreeLook::Held(TreeMember::new(member.pidfd.clone())));
        }
        if look.is_anybody_unheld {
            return Ok(TreeLook::Unheld);
        }
        look.end.error.map_or(Ok(TreeLook::Over), Err)
    }

    /// The end of this one was told. A question about it that fails would say that it lives.
    pub(super) fn forget(&mut self, over: &TreeMember) {
        self.members
            .retain(|member| !over.is_held_by(&member.pidfd));
    }

    /// Waits within a bound for those that were killed, and names those that are still there. Who refused the signal is not waited for.
    pub(super) fn await_deaths(
        &mut self,
        leader: &Hold,
        end: &mut TreeEnd,
        cgroup: Option<&Cgroup>,
    ) {
        let by = Instant::now() + DEATHS_WITHIN;
        let refused: HashSet<u32> = end.left.iter().map(|one| one.pid).collect();
        let left = |pid: i32| {
            if refused.contains(&pid.unsigned_abs()) {
                return Duration::ZERO;
            }
            by.saturating_duration_since(Instant::now())
        };
        // A question that fails is answered with "not over".
        let is_over =
            |pid: i32, pidfd: BorrowedFd<'_>| wait_for_end(pidfd, Some(left(pid))).unwrap_or(false);
        // A number may be somebody else's by now: nothing is asked of it.
        if let Hold::Pidfd(pid, pidfd) = leader
            && !is_over(pid.as_raw_pid(), pidfd.as_fd())
        {
            note(&mut end.left, found(pid.as_raw_pid()));
        }
        self.members.retain(|member| {
            let is_left = !is_over(member.seen.pid, member.pidfd.as_fd());
            if is_left {
                note(&mut end.left, member.seen.found());
            }
            is_left
        });
        if let Some(cgroup) = cgroup
            && !cgroup.wait_until_empty(by)
        {
            // A question that fails names nobody more.
            for pid in cgroup.members().unwrap_or_default() {
                note(&mut end.left, found(pid));
            }
        }
    }

    /// What a kill has seen is remembered too. Who waits looks anew behind it: whom it has not ended may have started others.
    pub(super) fn join(&mut self, other: Self) {
        self.given.extend(other.given);
        self.members.extend(other.members);
    }
}

impl<'a> Look<'a> {
    fn new(
        tree: &'a mut Tree,
        leader: &'a Hold,
        is_reaped: bool,
        cgroup: Option<&'a Cgroup>,
    ) -> Self {
        tree.members.retain(Member::is_alive);
        Self {
            tree,
            leader,
            root: (!is_reaped).then(|| leader.pid().as_raw_pid()),
            unheld: Vec::new(),
            is_anybody_unheld: false,
            has_anybody_ended: false,
            doubtful: Vec::new(),
            cgroup,
            in_cgroup: HashSet::new(),
            is_incomplete: false,
            end: TreeEnd::default(),
        }
    }

    /// What came of it. Who may be of the tree is left, too.
    fn ended(mut self) -> TreeEnd {
        for one in self.doubtful {
            note(&mut self.end.left, one);
        }
        self.end
    }

    fn stop_all(&mut self) {
        if self.root.is_some() {
            // What is refused here is refused when it is killed, and told then.
            let _ = self.leader.signal(libc::SIGSTOP);
        }
        for member in &self.tree.members {
            let _ = send(member.pidfd.as_fd(), libc::SIGSTOP);
        }
        for _ in 0..LOOKS_MAX {
            let known = self.tree.members.len();
            self.find_new();
            for member in &self.tree.members[known..] {
                let _ = send(member.pidfd.as_fd(), libc::SIGSTOP);
            }
            if self.tree.members.len() == known {
                return;
            }
        }
        let error = || io::Error::other("the tree grows faster than it can be stopped");
        self.end.error.get_or_insert_with(error);
    }

    /// Looks until somebody is found, or a look has found nobody that has passed nobody by.
    fn find_anybody(&mut self) {
        for _ in 0..EMPTY_LOOKS_MAX {
            self.find_new();
            let is_found = !self.tree.members.is_empty() || self.is_anybody_unheld;
            if is_found || self.end.error.is_some() || !self.has_anybody_ended {
                return;
            }
        }
    }

    /// Looks once, and holds whoever is in the tree and not held yet, parents before their children.
    fn find_new(&mut self) {
        let mut table = match listing::all() {
            Ok(table) => table,
            Err(error) => return self.note_incomplete(error),
        };
        self.has_anybody_ended = table.has_anybody_ended;
        if let Some(error) = table.failure {
            self.note_incomplete(error);
        }
        self.look_into_cgroup(&mut table.seen);
        for member in &mut self.tree.members {
            member.note_move(&table.seen);
        }
        let this = i32::try_from(std::process::id()).unwrap_or_default();
        // With a control group of its own nobody has to be taken for the child's: who is, is in there.
        let root = self.root.filter(|_| self.cgroup.is_none());
        let orphans = root.map_or_else(Vec::new, |root| group_orphans::of(&table.seen, this, root));
        let (proven, doubtful): (Vec<&Seen>, Vec<&Seen>) = orphans
            .into_iter()
            .partition(|seen| self.has_given_end(seen.pid));
        let members = self.tree.members.iter().map(|member| member.seen.pid);
        let mut known: HashSet<i32> = members.chain(self.root).collect();
        loop {
            let before = known.len();
            for seen in &table.seen {
                let belongs = known.contains(&seen.parent)
                    || self.is_in_group(seen)
                    || proven.contains(&seen)
                    || self.in_cgroup.contains(&seen.pid);
                if belongs && seen.pid != this && known.insert(seen.pid) {
                    self.hold(seen);
                }
            }
            if known.len() == before {
                break;
            }
        }
        let doubtful = group_orphans::with_descendants(&table.seen, doubtful);
        let unknown = doubtful.iter().filter(|seen| !known.contains(&seen.pid));
        self.doubtful = unknown.map(|seen| seen.found()).collect();
    }

    /// Who is in the child's control group now. Those who have come since all processes were looked at are added to them.
    fn look_into_cgroup(&mut self, seen: &mut Vec<Seen>) {
        let Some(cgroup) = self.cgroup else {
            return;
        };
        match cgroup.members() {
            Ok(members) => self.in_cgroup = members,
            Err(error) => return self.note_incomplete(error),
        }
        let known: HashSet<i32> = seen.iter().map(|one| one.pid).collect();
        let new = self.in_cgroup.difference(&known);
        seen.extend(new.filter_map(|pid| listing::one(*pid)));
    }

    fn note_incomplete(&mut self, error: io::Error) {
        self.is_incomplete = true;
        self.end.error.get_or_insert(error);
    }

    /// In the group or the session that has the child's number.
    fn is_in_group(&self, seen: &Seen) -> bool {
        self.root
            .is_some_and(|root| [seen.group, seen.session].contains(&root))
    }

    /// Whether it has an end of a pipe open that the child was given.
    fn has_given_end(&self, pid: i32) -> bool {
        self.tree.given.iter().any(|given| given.is_open_in(pid))
    }

    /// pidfd_open of a number that was just seen, and a second look at whose it is: the same process, still of the tree.
    fn hold(&mut self, seen: &Seen) {
        let Some(pid) = Pid::from_raw(seen.pid) else {
            return;
        };
        let opened = fallible("pidfd_open (tree)", Call::Spawn, || {
            pidfd_open(pid, PidfdFlags::empty())
        });
        let pidfd = match opened {
            Ok(pidfd) => Arc::new(pidfd),
            Err(Errno::SRCH) => {
                self.has_anybody_ended = true;
                return;
            }
            Err(code) => return self.note_unheld(seen, code.into()),
        };
        let now = match listing::asked(seen.pid) {
            Ok(now) => now.filter(|now| now.started == seen.started),
            Err(error) => return self.note_unheld(seen, error),
        };
        // The second question may fail, and says nothing then.
        let is_alive = |now: &Seen| !now.is_over && !has_ended(pidfd.as_fd());
        let Some(now) = now.filter(is_alive) else {
            self.has_anybody_ended = true;
            return;
        };
        let is_in_cgroup = || self.cgroup.is_some_and(|cgroup| cgroup.has(now.pid));
        let is_proven = || self.has_given_end(now.pid) || is_in_cgroup();
        if self.is_child_of_ours(&now) || self.is_in_group(&now) || is_proven() {
            self.tree.members.push(Member { seen: now, pidfd });
        } else {
            // Its parent ended in between. It was of the tree, most likely; not sure enough for a signal.
            self.has_anybody_ended = true;
            note(&mut self.end.left, now.found());
        }
    }

    /// One that cannot be held. The signal to the child's group reaches it, if it is in there.
    fn note_unheld(&mut self, seen: &Seen, error: io::Error) {
        if seen.is_over {
            self.has_anybody_ended = true;
            return;
        }
        self.end.error.get_or_insert(error);
        self.is_anybody_unheld = true;
        if self.root == Some(seen.group) {
            note(&mut self.unheld, seen.found());
        } else {
            note(&mut self.end.left, seen.found());
        }
    }

    /// Whether the parent is the child or a member that lives: then the parent's number is its own.
    fn is_child_of_ours(&self, seen: &Seen) -> bool {
        let mut members = self.tree.members.iter();
        self.root == Some(seen.parent)
            || members.any(|member| member.seen.pid == seen.parent && member.is_alive())
    }

    /// killpg: the group that has the child's number, if there is one. Which it is, if the signal was sent.
    fn signal_group(&mut self, signal: Signal) -> Option<i32> {
        let root = self.root?;
        let sent = fallible("killpg", Call::Spawn, || {
            kill_process_group(self.leader.pid(), signal)
        });
        match sent {
            Ok(()) => {
                let unheld = std::mem::take(&mut self.unheld);
                self.end.signalled.extend(unheld);
                Some(root)
            }
            // The child is in our group, and nobody is in one of its own.
            Err(Errno::SRCH) => None,
            // Nobody there may be signalled by us; told of each of them below.
            Err(code) => {
                self.end.error.get_or_insert(code.into());
                let unheld = std::mem::take(&mut self.unheld);
                self.end.left.extend(unheld);
                None
            }
        }
    }

    /// cgroup.kill. It reaches whoever was started since the last look, those who refuse our signals, and those who could not be held.
    fn kill_cgroup(&mut self) {
        let Some(cgroup) = self.cgroup else {
            return;
        };
        if let Err(code) = cgroup.kill() {
            self.end.error.get_or_insert(code.into());
            return;
        }
        let left = std::mem::take(&mut self.end.left);
        for one in left {
            let is_in = self
                .in_cgroup
                .iter()
                .any(|pid| pid.unsigned_abs() == one.pid);
            let list = if is_in {
                &mut self.end.signalled
            } else {
                &mut self.end.left
            };
            note(list, one);
        }
        for pid in &self.in_cgroup {
            let is_known = |one: &Found| one.pid == pid.unsigned_abs();
            if !self.end.signalled.iter().any(is_known) {
                self.end.signalled.push(found(*pid));
            }
        }
        // What failed with single ones has cost nothing.
        if self.end.left.is_empty() && !self.is_incomplete {
            self.end.error = None;
        }
    }

    fn signal_leader(&mut self, signal: libc::c_int) {
        // A pidfd means this one child also while nobody says whose its number is.
        if self.root.is_none() && !self.leader.means_one_process() {
            return;
        }
        let pid = self.leader.pid().as_raw_pid();
        match self.leader.signal(signal) {
            Ok(true) => self.end.signalled.insert(0, found(pid)),
            Ok(false) => {}
            Err(code) => refuse(&mut self.end, found(pid), code),
        }
    }

    /// pidfd_send_signal to each member that `is_to_be_sent` one. The others have had theirs with the group, unless we may not signal
    /// them: killpg says nothing of a single one, so each is asked about, with signal 0.
    fn signal_members(&mut self, signal: libc::c_int, is_to_be_sent: impl Fn(&Seen) -> bool) {
        for member in &self.tree.members {
            let sent = if is_to_be_sent(&member.seen) {
                send(member.pidfd.as_fd(), signal)
            } else {
                // Who is over by now has had it.
                send(member.pidfd.as_fd(), 0).map(|_| true)
            };
            match sent {
                Ok(true) => note(&mut self.end.signalled, member.seen.found()),
                Ok(false) => {}
                // It has ended meanwhile: whose it was is asked first.
                Err(_) if !member.is_alive() => {}
                Err(code) => refuse(&mut self.end, member.seen.found(), code),
            }
        }
    }

    /// SIGCONT to all that were sent SIGTERM, `group` by killpg: one that is stopped hears nothing until it goes on. Who stops, and when, is
    /// not ours to know, so it goes to everybody, as from timeout(1).
    fn continue_asked(&mut self, own_group: Option<i32>, group: Option<i32>) {
        // Where the group is refused, each of them is told by itself.
        let group = group.and_then(|_| self.signal_group(Signal::CONT));
        let is_told = |seen: &Seen| group == Some(seen.group);
        let asked: HashSet<u32> = self.end.signalled.iter().map(|one| one.pid).collect();
        let was_asked = |pid: i32| asked.contains(&pid.unsigned_abs());
        let pid = self.leader.pid().as_raw_pid();
        if was_asked(pid)
            && (group.is_none() || own_group != group)
            && let Err(code) = self.leader.signal(libc::SIGCONT)
        {
            refuse(&mut self.end, found(pid), code);
        }
        for member in &self.tree.members {
            if was_asked(member.seen.pid)
                && !is_told(&member.seen)
                && let Err(code) = send(member.pidfd.as_fd(), libc::SIGCONT)
                && member.is_alive()
            {
                refuse(&mut self.end, member.seen.found(), code);
            }
        }
    }
}

/// getpgid. A question that fails has no answer.
fn group_of(pid: Pid) -> Option<i32> {
    let group = fallible("getpgid", Call::Query, || getpgid(Some(pid)));
    group.ok().map(Pid::as_raw_pid)
}
