//! Which descriptors a child has beside its standard streams: some of ours at numbers of its own, and, if asked, no others. And
//! which terminal and which control group are its own.

#[cfg(any(target_os = "android", target_os = "linux"))]
use super::cgroup::{Cgroup, Entrance, enter};
#[cfg(not(any(target_os = "android", target_os = "linux")))]
use super::other::{Cgroup, Entrance, enter};
use crate::fault::fallible;
use crate::process::EarlierStarts;
use crate::unix::calls::lock;
use crate::unix::classify::Call;
use crate::unix::kernel::last_errno;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The first number that is not a standard stream's.
const FIRST: RawFd = 3;

/// What the child of the next start gets.
#[derive(Debug, Default)]
struct Plan {
    /// The way into a control group of the child's own.
    entrance: Option<[RawFd; 2]>,
    /// The child leads a session of its own, whose controlling terminal this is.
    terminal: Option<RawFd>,
    /// Where a descriptor of ours is in the child.
    placed: Vec<(RawFd, RawFd)>,
    /// The numbers that the child has, in order, if it is to have no others beside its standard streams.
    only: Option<Vec<RawFd>>,
}

/// Descriptors for the children of one `Command`.
#[derive(Debug, Default)]
pub struct Descriptors {
    plan: Arc<Mutex<Plan>>,
    is_in_place: bool,
}

/// What holds the numbers free until the child is started.
#[derive(Debug)]
#[must_use = "the numbers are held as long as this lives"]
pub struct Prepared {
    _ours: Vec<OwnedFd>,
    cgroup: Option<(Cgroup, Entrance)>,
    plan: Arc<Mutex<Plan>>,
}

impl Prepared {
    /// Has the child be in this control group before it runs its program. One that is refused there runs it all the same.
    pub fn join(mut self, cgroup: Option<Cgroup>) -> Self {
        self.cgroup = cgroup.and_then(|cgroup| {
            let entrance = cgroup.entrance()?;
            Some((cgroup, entrance))
        });
        let entrance = self.cgroup.as_ref().map(|(_, entrance)| entrance.numbers());
        lock(&self.plan).entrance = entrance;
        self
    }

    /// The control group that the child is in, once it was started. None: it is in ours.
    pub fn joined(&mut self) -> Option<Cgroup> {
        let (cgroup, entrance) = self.cgroup.take()?;
        entrance.was_taken().then_some(cgroup)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        *lock(&self.plan) = Plan::default();
    }
}

impl Descriptors {
    /// Has the next child of `command` find these descriptors at these numbers (from 3 on), and, if `only` is given, no others but
    /// its standard streams, these, and those of `only`. As long as the answer lives.
    ///
    /// With a `terminal` the child leads a session of its own, and that is its controlling terminal. Then `command` may not be one
    /// with a process group of its own: the leader of a group can begin no session (`EPERM`).
    ///
    /// With the first call `command` has a step between fork and exec, for good, which std's faster way of starting has not; `earlier`,
    /// which belongs to it, says so to the start.
    ///
    /// # Errors
    /// A number below 3, or named twice; out of descriptors. Where the system cannot keep the others from a child, the start says so.
    pub fn prepare(
        &mut self,
        command: &mut Command,
        earlier: &mut EarlierStarts,
        placed: Vec<(OwnedFd, u32)>,
        only: Option<&[u32]>,
        terminal: Option<BorrowedFd<'_>>,
    ) -> io::Result<Prepared> {
        let mut numbers = Vec::new();
        for (_, number) in &placed {
            let number = RawFd::try_from(*number).unwrap_or(-1);
            if number < FIRST || numbers.contains(&number) {
                let text = "a child's further descriptors have numbers from 3 on, each once";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            numbers.push(number);
        }
        let above = numbers.iter().max().map_or(FIRST, |number| number + 1);
        let mut ours = Vec::new();
        let mut plan = Plan::default();
        for ((fd, _), number) in placed.into_iter().zip(&numbers) {
            // None of them is where another one goes.
            let moved = duplicate_above(&fd, above)?;
            plan.placed.push((moved.as_raw_fd(), *number));
            // What std opens for itself until the child runs must not be at this number: somebody has it, or this.
            ours.push(duplicate_above(&moved, *number)?);
            ours.push(moved);
        }
        if let Some(terminal) = terminal {
            let moved = duplicate_above(&terminal, above)?;
            plan.terminal = Some(moved.as_raw_fd());
            ours.push(moved);
        }
        plan.only = only.map(|only| {
            let others = only
                .iter()
                .filter_map(|number| RawFd::try_from(*number).ok());
            let mut all: Vec<RawFd> = others.chain(numbers.iter().copied()).collect();
            all.retain(|number| *number >= FIRST);
            all.sort_unstable();
            all.dedup();
            all
        });
        *lock(&self.plan) = plan;
        self.put_in_place(command);
        earlier.has_step = true;
        earlier.keeps_only = only.is_some();
        Ok(Prepared {
            _ours: ours,
            cgroup: None,
            plan: self.plan.clone(),
        })
    }

    fn put_in_place(&mut self, command: &mut Command) {
        if std::mem::replace(&mut self.is_in_place, true) {
            return;
        }
        let plan = self.plan.clone();
        // SAFETY: between fork and exec only what is async-signal-safe may run. The closure makes system calls (write, setsid, ioctl, dup2,
        // close_range) and allocates nothing. Its lock is this command's own, which nobody else holds: the thread that forked has the command.
        unsafe {
            command.pre_exec(move || {
                let plan = lock(&plan);
                // First: what is placed may take their numbers.
                if let Some(numbers) = plan.entrance {
                    enter(numbers);
                }
                plan.terminal.map_or(Ok(()), lead_session)?;
                plan.placed
                    .iter()
                    .try_for_each(|(from, to)| place(*from, *to))?;
                plan.only.as_deref().map_or(Ok(()), keep_only)
            });
        }
    }
}

/// fcntl F_DUPFD_CLOEXEC: the lowest number that is free, from there on.
fn duplicate_above(fd: &impl AsRawFd, least: RawFd) -> io::Result<OwnedFd> {
    let made = fallible("F_DUPFD_CLOEXEC (child)", Call::Make, || {
        // SAFETY: the descriptor is open, for its owner is borrowed; a new number is made and nothing else changed.
        let raw = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
        if raw < 0 { Err(last_errno()) } else { Ok(raw) }
    });
    let raw = made?;
    // SAFETY: the kernel made it for us just now; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// setsid and ioctl TIOCSCTTY, in the child: a session of its own, with this terminal.
fn lead_session(terminal: RawFd) -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: it is this child's copy of a descriptor that `Prepared` keeps open until the start is over; in this child, which has
    // one thread, nobody closes it before it is used here.
    let terminal = unsafe { BorrowedFd::borrow_raw(terminal) };
    rustix::process::ioctl_tiocsctty(terminal)?;
    Ok(())
}

/// dup2, in the child: the copy is not close-on-exec.
fn place(from: RawFd, to: RawFd) -> io::Result<()> {
    loop {
        // SAFETY: both are numbers; what was at `to` in this child is nobody's any more, for it is about to run another program.
        if unsafe { libc::dup2(from, to) } >= 0 {
            return Ok(());
        }
        match last_errno() {
            Errno::INTR => {}
            code => return Err(code.into()),
        }
    }
}

/// close_range with CLOSE_RANGE_CLOEXEC, in the child: all but these go at the exec.
#[cfg(target_os = "linux")]
fn keep_only(numbers: &[RawFd]) -> io::Result<()> {
    let mut first = FIRST;
    for number in numbers {
        if *number > first {
            hide(first, *number - 1)?;
        }
        first = number + 1;
    }
    hide(first, RawFd::MAX)
}

#[cfg(target_os = "linux")]
fn hide(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: numbers alone go in; descriptors of this child get a flag. Linux 5.11.
    let status = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(last_errno().into())
    }
}

/// Whether this process may make that call. A start tells a code and no call; of a number that no descriptor has the call says the same here
/// as in the child, and changes nothing.
#[cfg(target_os = "linux")]
pub(super) fn can_keep_only() -> bool {
    fallible("close_range", Call::Spawn, || hide(RawFd::MAX, RawFd::MAX)).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) const fn can_keep_only() -> bool {
    false
}

/// No call here closes all others, and closing numbers one by one may close what the system needs.
#[cfg(not(target_os = "linux"))]
fn keep_only(_: &[RawFd]) -> io::Result<()> {
    Err(Errno::NOSYS.into())
}
