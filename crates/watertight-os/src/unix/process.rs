//! Children of this process: starting one, hearing of its end, reaping it, ending it and its tree.
//!
//! There is no handler for SIGCHLD and no wait for just any child, so that other code in this process keeps its own children.
//! A signal goes only to a child that is not reaped: a lock is held over both, and where there are pidfds not even somebody
//! else's reaping can turn a signal on a stranger.

mod by_number;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod cgroup;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod cgroup_place;
mod descriptors;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod ended;
mod failure;
mod life;
mod reaping;
mod refusal;
mod run_as;
mod terminal;
mod usage;

#[cfg(any(target_os = "android", target_os = "linux"))]
mod group_orphans;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod holders;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod listing;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod mask;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod member;
#[cfg(any(target_os = "android", target_os = "linux"))]
pub mod orphans;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod other;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod pidfd;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod positions;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod tree;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod watch;

#[cfg(any(target_os = "android", target_os = "linux"))]
pub use self::cgroup::Cgroup;
pub use self::descriptors::{Descriptors, Prepared};
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use self::holders::holders_of;
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use self::mask::block_signals;
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use self::member::TreeMember;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub use self::other::{Cgroup, holders_of};
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use self::positions::{has_position, may_share_position};
pub use self::reaping::{Reaping, Waiting};
pub use self::terminal::{is_in_terminals_foreground, own_group};

#[cfg(any(target_os = "android", target_os = "linux"))]
use self::mask::{pass_on, with_all_blocked};
#[cfg(not(any(target_os = "android", target_os = "linux")))]
use self::other::{Hold, Tree, pass_on, with_all_blocked};
#[cfg(any(target_os = "android", target_os = "linux"))]
use self::{pidfd::Hold, tree::Tree};

use self::life::Life;
use super::calls::lock;
use super::classify::Call;
use super::fork::Birth;
use super::handle::Handle;
use crate::fault::fallible;
use crate::process::{
    EarlierStarts, ExitCallback, Found, Grouping, Reaped, RunAs, StartError, StartOptions,
    StartStep, StdStreams, TreeEnd, TreeLook, Usage, call_back, wrong_process,
};
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

/// How often a program's file is tried that somebody has open for writing. It happens to everybody who writes a program and
/// starts it while another thread starts something else: that other child has the open file until it runs its own program.
const BUSY_ATTEMPTS_MAX: u32 = 8;

/// How long the first pause between these attempts is; each is twice the one before, up to the longest: 113 ms in all.
const BUSY_PAUSE_FIRST: Duration = Duration::from_millis(1);
const BUSY_PAUSE_LONGEST: Duration = Duration::from_millis(50);

/// Children that nobody has any more and that could not be waited for, or not be reaped. The next start looks after them.
static LEFT_OVER: Mutex<Vec<Arc<Hold>>> = Mutex::new(Vec::new());

/// A child that this process has started: never signalled after it was reaped, never reaped twice.
///
/// Dropping it leaves the child running, and no zombie: it is reaped when it ends.
pub struct Process {
    hold: Arc<Hold>,
    /// Beside its end and what it has used, those of its tree that were seen when it was last signalled.
    state: Reaping<Tree>,
    /// The control group that it was started in, if that is its own.
    cgroup: Option<Cgroup>,
    birth: Birth,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Starts what `command` says with std's own spawn, and takes hold of the child.
    ///
    /// [`Grouping::Own`] makes `command` one with a process group of its own; [`Grouping::Ours`] leaves it as it is, unless an
    /// earlier start made it one. (Then it stays one where our group has no number: [`own_group`].) `earlier` belongs to `command`, and
    /// begins empty.
    /// The child has SIGPIPE at its default, as std has it, and the signal mask that this process had when it started (Linux). No handler
    /// of this process's runs in it: what is sent to it before it runs its program meets the default (Linux; unless std forks for nothing but
    /// a `pre_exec` of the caller's).
    ///
    /// # Errors
    /// Which step failed. No child is left behind.
    pub fn start(
        command: &mut Command,
        options: StartOptions,
        earlier: &mut EarlierStarts,
    ) -> Result<(Self, StdStreams), StartError> {
        reap_left_over();
        match options.grouping {
            Grouping::Own => {
                command.process_group(0);
                earlier.has_own_group = true;
            }
            Grouping::Ours if earlier.has_own_group => {
                // std has no way to take that back but to name our group. One that has no number here cannot be named.
                if let Some(group) = own_group() {
                    command.process_group(group.as_raw_pid());
                }
            }
            Grouping::Ours => {}
        }
        run_as::pass_on(command, options.run_as);
        // Else std starts it by posix_spawn, in which no handler of ours can run.
        let forks = earlier.has_step
            || options.run_as != RunAs::default()
            || earlier.looks_in_another_path(command)
            || cfg!(target_os = "android");
        earlier.has_mask |= !earlier.has_mask && pass_on(command, forks);
        let mut child = spawn(command, earlier.has_mask).map_err(|error| {
            failure::explained(command, options.run_as, earlier.keeps_only, error)
        })?;
        let (hold, life) = match Hold::take(Pid::from_child(&child)) {
            Ok(held) => held,
            Err(code) => {
                end(&mut child);
                return Err(StartError {
                    step: StartStep::Hold,
                    program: command.get_program().to_owned(),
                    path: None,
                    run_as: None,
                    error: code.into(),
                });
            }
        };
        let streams = StdStreams {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        let end = (life == Life::Gone).then_some(Reaped::Unknown);
        let tree = match options.grouping {
            Grouping::Ours => Tree::in_our_group(&streams),
            Grouping::Own => Tree::default(),
        };
        // std's own record of the child goes here, and does nothing by that.
        let process = Self {
            hold: Arc::new(hold),
            state: Reaping::new(end, tree),
            cgroup: None,
            birth: Birth::here(),
        };
        Ok((process, streams))
    }

    /// The child was started in this control group ([`Prepared::joined`]): from now on everybody in there belongs to its tree. The group is
    /// removed when the child is reaped or this is dropped, once nobody lives in it.
    #[must_use]
    pub fn in_cgroup(mut self, cgroup: Option<Cgroup>) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// Whether the child was started in a control group of its own.
    #[must_use]
    pub const fn has_cgroup(&self) -> bool {
        self.cgroup.is_some()
    }

    /// The child's number. Once it is reaped it may be somebody else's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.hold.pid().as_raw_pid().unsigned_abs()
    }

    /// A child in our group was given the other end of this pipe, beside its standard streams: an orphan in our group that has it open is
    /// of its tree (Linux).
    pub fn note_given(&self, ours: BorrowedFd<'_>) {
        self.state.with(|_, tree| tree.note_given(ours));
    }

    /// Has `callback` called once when the child has ended, on a thread of the library's own that everybody's calls share: it may
    /// not block for long. At once, on this thread, if the child has ended already. The child is not reaped by this.
    ///
    /// The call comes although the `Process` was dropped.
    ///
    /// # Errors
    /// There is no thread or no descriptor to be had, or this process was forked from the one that started the child. Then
    /// `callback` is not called.
    pub fn on_exit(&self, callback: ExitCallback) -> io::Result<()> {
        if self.is_over()? {
            call_back(callback);
            return Ok(());
        }
        self.hold.watch(callback)
    }

    /// A descriptor of the caller's own that is readable once the child has ended. `None`: the system has none, or none left.
    #[must_use]
    pub fn try_clone_descriptor(&self) -> Option<OwnedFd> {
        self.hold.try_clone_descriptor()
    }

    /// Blocks this thread until the child has ended or the time is over, and reaps nothing. Whether it has ended.
    ///
    /// # Errors
    /// The system cannot wait, or this process was forked from the one that started the child.
    pub fn wait_for_exit(&self, timeout: Option<Duration>) -> io::Result<bool> {
        Ok(self.is_reaped()? || self.hold.wait(timeout)?)
    }

    /// Blocks the calling thread until one of these outputs may have something to read, the child may be over (if that is waited for),
    /// somebody wakes the thread, or the time is over. Whether it was the child's end; `None`: not offered here, or not now.
    ///
    /// The caller has a direct read of each output going on, so that nobody closes them meanwhile.
    #[must_use]
    pub fn block_with_outputs(
        &self,
        outputs: &[&Handle],
        is_end_waited_for: bool,
        timeout: Option<Duration>,
    ) -> Option<bool> {
        if self.birth.is_elsewhere() {
            return None;
        }
        self.hold
            .block_with_outputs(outputs, is_end_waited_for, timeout)
    }

    fn is_over(&self) -> io::Result<bool> {
        Ok(self.is_reaped()? || self.hold.life()? != Life::Running)
    }

    fn is_reaped(&self) -> io::Result<bool> {
        if self.birth.is_elsewhere() {
            return Err(wrong_process());
        }
        Ok(self.state.with(|is_reaped, _| is_reaped))
    }

    /// Reaps the child if it has ended, and says what became of it; the same again when it is asked again. Never waits for it.
    ///
    /// In a process that was forked from the one that started the child, and when the system cannot tell: [`Reaped::Unknown`].
    #[must_use]
    pub fn try_reap(&self) -> Reaped {
        self.reap().unwrap_or(Reaped::Unknown)
    }

    /// As [`try_reap`](Self::try_reap), for those who want to hear why the system cannot tell.
    ///
    /// # Errors
    /// The system refuses to tell: a filter forbids the call. The child is not reaped then, and this can be called again.
    pub fn reap(&self) -> io::Result<Reaped> {
        if self.birth.is_elsewhere() {
            return Ok(Reaped::Unknown);
        }
        let reaped = self.state.reap(|| Ok(self.hold.reap()?))?;
        if reaped != Reaped::Running
            && let Some(cgroup) = &self.cgroup
        {
            cgroup.remove();
        }
        Ok(reaped)
    }

    /// What became of the child, as [`reap`](Self::reap) says it, and it is not reaped: its number and its group stay its own.
    ///
    /// # Errors
    /// As [`reap`](Self::reap).
    pub fn peek(&self) -> io::Result<Reaped> {
        if self.birth.is_elsewhere() {
            return Ok(Reaped::Unknown);
        }
        self.state.peek(|| Ok(self.hold.peek()?))
    }

    /// What the child has used, from when [`try_reap`](Self::try_reap) has said how it ended. `None` before that, and where the
    /// system does not tell it or somebody else has reaped the child.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        if self.birth.is_elsewhere() {
            return None;
        }
        self.state.usage()
    }

    /// SIGKILL to the child alone. `false`: it is over.
    ///
    /// # Errors
    /// The system refuses: the child runs as somebody else by now.
    pub fn kill(&self) -> io::Result<bool> {
        self.signal(libc::SIGKILL)
    }

    /// SIGTERM to the child alone, and SIGCONT behind it: one that is stopped hears it when it goes on. `false`: it is over.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn terminate(&self) -> io::Result<bool> {
        let is_asked = self.signal(libc::SIGTERM)?;
        if is_asked {
            // Who was asked has its grace, whatever becomes of this: it may be over by now. One that is stopped and cannot be continued is
            // killed behind the grace.
            let _ = self.signal(libc::SIGCONT);
        }
        Ok(is_asked)
    }

    /// A signal to the child alone. `false`: it is over.
    ///
    /// # Errors
    /// As [`kill`](Self::kill), or there is no such signal.
    pub fn signal(&self, signal: i32) -> io::Result<bool> {
        if self.birth.is_elsewhere() {
            return Err(wrong_process());
        }
        self.state.with(|is_reaped, _| -> io::Result<bool> {
            if is_reaped {
                return Ok(false);
            }
            Ok(self.hold.signal(signal)?)
        })
    }

    /// SIGKILL to the child and its tree: its group, if it has one of its own, and on Linux all its descendants that can be
    /// found, which are stopped first so that they cannot run from it, and everybody in its control group, if it has one. Waits a moment
    /// (200 ms at most) for their deaths.
    ///
    /// Reap the child afterwards: when it is reaped its group is out of reach, and only those descendants are still known
    /// that an earlier call has seen, and those in its control group.
    pub fn kill_tree(&self) -> TreeEnd {
        if self.birth.is_elsewhere() {
            return refused();
        }
        let mut seen = Tree::default();
        let mut end = self.on_tree(|tree, is_reaped| {
            seen = std::mem::take(tree);
            seen.kill(&self.hold, is_reaped, self.cgroup.as_ref())
        });
        // The child may be reaped meanwhile.
        seen.await_deaths(&self.hold, &mut end, self.cgroup.as_ref());
        self.state.with(|_, tree| tree.join(seen));
        end
    }

    /// As [`kill_tree`](Self::kill_tree), and waits for nobody's death: nobody is told to be left. Once the child is reaped its control
    /// group is left alone: whoever lives on there may be meant to.
    pub fn kill_tree_at_once(&self) -> TreeEnd {
        if self.birth.is_elsewhere() {
            return refused();
        }
        let is_told = self.state.with(|is_reaped, _| is_reaped);
        let cgroup = self.cgroup.as_ref().filter(|_| !is_told);
        self.on_tree(|tree, is_reaped| tree.kill(&self.hold, is_reaped, cgroup))
    }

    /// Nothing: a drop, or the end of this process, ends nobody on Unix.
    ///
    /// # Errors
    /// None.
    pub const fn let_go(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether all of the tree that were seen when it was last signalled are over, the child aside. Never waits.
    #[must_use]
    pub fn is_tree_over(&self) -> bool {
        if self.birth.is_elsewhere() {
            return true;
        }
        self.state.with(|is_reaped, tree| {
            let is_gone = is_reaped || !is_its_own(self.hold.life());
            tree.is_over(&self.hold, is_gone)
        })
    }

    /// As [`holders_of`]: whoever it is, of this child's tree or not.
    #[must_use]
    pub fn holders_of(&self, handle: BorrowedFd<'_>) -> Vec<Found> {
        holders_of(handle)
    }

    /// Remembers who is in the tree now, if that was not done before (Linux): so whoever leaves the group, and loses its parent by the
    /// child's end, is still known to [`look_at_tree`](Self::look_at_tree). Never waits.
    ///
    /// # Errors
    /// The tree cannot be looked at, or [`look_at_tree`](Self::look_at_tree) is not offered here.
    pub fn note_tree(&self) -> io::Result<()> {
        self.with_tree(|tree, is_gone| tree.note(&self.hold, is_gone, self.cgroup.as_ref()))
    }

    /// As [`note_tree`](Self::note_tree), also if that was done before: so whoever was started since is known, too.
    ///
    /// # Errors
    /// As `note_tree`.
    pub fn note_tree_anew(&self) -> io::Result<()> {
        self.with_tree(|tree, is_gone| {
            tree.look_again();
            tree.note(&self.hold, is_gone, self.cgroup.as_ref())
        })
    }

    /// Looks whether anybody of the tree is alive when the child is over: those first that were seen before, and then, while the child
    /// is not reaped, whoever can be found now. Never waits.
    ///
    /// One that is over and was not reaped by its parent is not alive; one that is stopped is.
    ///
    /// # Errors
    /// The tree cannot be looked at, or not all of it; or this process was forked from the one that started the child. Where there is no
    /// /proc and a group's end does not show: `Unsupported`.
    pub fn look_at_tree(&self) -> io::Result<TreeLook> {
        self.with_tree(|tree, is_gone| tree.look(&self.hold, is_gone, self.cgroup.as_ref()))
    }

    /// The end of this one, whom [`look_at_tree`](Self::look_at_tree) has named, was told: it is not looked at again.
    pub fn forget_member(&self, over: &crate::TreeMember) {
        if !self.birth.is_elsewhere() {
            self.state.with(|_, tree| tree.forget(over));
        }
    }

    /// As `on_tree`, and what the system cannot tell is a failure.
    fn with_tree<T>(&self, act: impl FnOnce(&mut Tree, bool) -> io::Result<T>) -> io::Result<T> {
        if self.birth.is_elsewhere() {
            return Err(wrong_process());
        }
        self.state.with(|is_reaped, tree| -> io::Result<T> {
            let is_gone = is_reaped || self.hold.life()? == Life::Gone;
            act(tree, is_gone)
        })
    }

    /// SIGTERM to the child and its tree, and SIGCONT to the same behind it: whoever is stopped hears it when it goes on. Nobody's death is
    /// waited for.
    pub fn terminate_tree(&self) -> TreeEnd {
        if self.birth.is_elsewhere() {
            return refused();
        }
        self.on_tree(|tree, is_reaped| tree.terminate(&self.hold, is_reaped, self.cgroup.as_ref()))
    }

    /// Signals the tree while nobody of us can reap the child. `act` is told whether the child's number may be somebody else's: so it
    /// may be as well when the system cannot tell, and then the answer says that.
    fn on_tree(&self, act: impl FnOnce(&mut Tree, bool) -> TreeEnd) -> TreeEnd {
        self.state.with(|is_reaped, tree| {
            let life = if is_reaped {
                Ok(Life::Gone)
            } else {
                self.hold.life()
            };
            let mut end = act(tree, !is_its_own(life));
            if let Err(code) = life {
                end.error.get_or_insert(code.into());
            }
            end
        })
    }
}

/// Whether the number of a child of which the system says this is certainly the child's own.
const fn is_its_own(life: Result<Life, Errno>) -> bool {
    matches!(life, Ok(Life::Ended | Life::Running))
}

impl Drop for Process {
    fn drop(&mut self) {
        // In a forked child there is nothing to reap and no thread to leave it to.
        if self.birth.is_elsewhere() {
            return;
        }
        match self.reap() {
            Ok(Reaped::Running) => {}
            Ok(Reaped::Ended(_) | Reaped::Unknown) => return,
            Err(_) => {
                lock(&LEFT_OVER).push(self.hold.clone());
                return;
            }
        }
        let (hold, cgroup) = (self.hold.clone(), self.cgroup.take());
        let reap = move || {
            if hold.reap().is_err() {
                lock(&LEFT_OVER).push(hold);
            }
            // Removes it, if nobody else is in there.
            drop(cgroup);
        };
        if self.hold.watch(Box::new(reap)).is_err() {
            lock(&LEFT_OVER).push(self.hold.clone());
        }
    }
}

/// What a tree comes to in a process that has no child.
fn refused() -> TreeEnd {
    TreeEnd {
        error: Some(wrong_process()),
        ..TreeEnd::default()
    }
}

/// Reaps the children that were left over and have ended meanwhile. If somebody else is at it, not now.
fn reap_left_over() {
    let mut left_over = match LEFT_OVER.try_lock() {
        Ok(left_over) => left_over,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    left_over.retain(|hold| matches!(hold.reap(), Ok((Reaped::Running, _)) | Err(_)));
}

/// std's spawn, a few times more while the program's file is open for writing. Signals wait meanwhile, if the child has the mask of the
/// start from us.
fn spawn(command: &mut Command, has_mask: bool) -> io::Result<Child> {
    let mut once = || {
        fallible("spawn", Call::Spawn, || {
            if has_mask {
                with_all_blocked(|| command.spawn())
            } else {
                command.spawn()
            }
        })
    };
    let mut pause = BUSY_PAUSE_FIRST;
    for _ in 1..BUSY_ATTEMPTS_MAX {
        match once() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TXTBSY) => rest(pause),
            spawned => return spawned,
        }
        pause = BUSY_PAUSE_LONGEST.min(pause * 2);
    }
    once()
}

/// ppoll of nothing. (Parking would take a wake that is meant for the caller.)
fn rest(duration: Duration) {
    if let Ok(duration) = Timespec::try_from(duration) {
        // A signal that cuts it short costs an attempt.
        let _ = poll(&mut [], Some(&duration));
    }
}

/// Kills a child that cannot be held, and reaps it.
fn end(child: &mut Child) {
    let _ = child.kill();
    // It was killed, so this takes as long as the kernel takes to end it. Somebody else may have reaped it.
    let _ = child.wait();
}
