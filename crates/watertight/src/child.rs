//! `Child`: a process that was started, its end and its tree.

use crate::communicate::{Communicate, Limits};
use crate::driver::Driver;
use crate::handle::Native;
use crate::joined;
use crate::reader::PipeReader;
use crate::terminal::Terminal;
use crate::wait::{Operation, Sealed, Wait};
use crate::writer::PipeWriter;
use bytes::Bytes;
use exit::ExitWatch;
use exit_wait::ExitWait;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Class, Error, ErrorKind, Moment, OsCode, Verb};
use watertight_os::{Process, Reaped, TreeEnd, Usage};

pub(crate) mod exit;
pub(crate) mod exit_wait;
mod terminate;
mod terminate_rule;
mod wait_tree;

pub use terminate::Terminate;
pub use wait_tree::WaitTree;

/// How a child ended, as far as its parent can know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// With this status.
    Status(ExitStatus),
    /// Its status is not to be had: somebody else took it (other code in this process waits for every child, or `SIGCHLD` is ignored),
    /// or the system refuses to tell.
    Unknown,
}

impl Exit {
    /// Whether it is known to have ended well.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Status(status) if status.success())
    }

    /// The status, if it is known.
    #[must_use]
    pub const fn status(self) -> Option<ExitStatus> {
        match self {
            Self::Status(status) => Some(status),
            Self::Unknown => None,
        }
    }
}

/// The ends of a new child's streams that are ours.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<PipeWriter>,
    pub(crate) stdout: Option<PipeReader>,
    pub(crate) stderr: Option<PipeReader>,
    pub(crate) terminal: Option<Terminal>,
    #[cfg(unix)]
    pub(crate) further: FurtherPipes,
}

/// Our ends of a child's further pipes, by their number in the child.
#[cfg(unix)]
#[derive(Debug, Default)]
pub(crate) struct FurtherPipes {
    pub(crate) writers: Vec<(u32, PipeWriter)>,
    pub(crate) readers: Vec<(u32, PipeReader)>,
}

/// The one with this number, out of the list.
#[cfg(unix)]
fn take_at<T>(list: &mut Vec<(u32, T)>, number: u32) -> Option<T> {
    let index = list.iter().position(|(at, _)| *at == number)?;
    Some(list.swap_remove(index).1)
}

/// A process that was started by a [`Command`](crate::Command).
///
/// Its exit and the end of its output are two facts: a grandchild may hold the pipe longer, and a child may close its output and go
/// on. [`wait`](Self::wait) tells the one, the readers tell the other, [`communicate`](Self::communicate) has rules for both.
///
/// **Dropping** it neither blocks nor fails. Its streams are dropped with it, so what was accepted for its input is still sent. The
/// child goes on, and is reaped when it ends: no zombie stays. With
/// [`kill_on_drop`](crate::Command::kill_on_drop) its tree is killed instead.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use watertight::{Command, Input, Output};
/// let mut child = Command::new("cat").stdin(Input::piped()).stdout(Output::piped()).spawn()?;
/// let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
/// input.send(b"there and back").wait()?;
/// input.finish().wait()?.into_result()?;
/// let mut back = Vec::new();
/// output.receive_to_end(&mut back, 1024).wait()?;
/// assert_eq!(back, b"there and back");
/// assert!(child.wait().wait()?.is_success());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// The writing end of its standard input, if that is a pipe.
    pub stdin: Option<PipeWriter>,
    /// The reading end of its standard output, if that is a pipe.
    pub stdout: Option<PipeReader>,
    /// The reading end of its standard error, if that is a pipe of its own.
    pub stderr: Option<PipeReader>,
    /// The leading end of its terminal, if it was started with one: see [`Command::terminal`](crate::Command::terminal).
    pub terminal: Option<Terminal>,
    pub(crate) driver: Arc<Driver<Native>>,
    pub(crate) process: Process,
    pub(crate) exit: Arc<ExitWatch>,
    #[cfg(unix)]
    further: FurtherPipes,
    kill_on_drop: AtomicBool,
    /// Tasks wait for its end in their runtime's reactor.
    is_in_reactor: bool,
}

/// What the command says of a child that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) kill_on_drop: bool,
    /// Tasks wait for its end in their runtime's reactor.
    pub(crate) is_in_reactor: bool,
}

impl Child {
    pub(crate) fn new(
        driver: Arc<Driver<Native>>,
        process: Process,
        ends: Ends,
        fed: Option<Bytes>,
        kept: Kept,
    ) -> Self {
        if let (Some(writer), Some(bytes)) = (&ends.stdin, fed) {
            // What is refused is told by the writer's receipt: the child has left already.
            let _ = writer.try_send_bytes(bytes);
            writer.cell().finish();
        }
        Self {
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
            terminal: ends.terminal,
            driver,
            process,
            exit: Arc::default(),
            #[cfg(unix)]
            further: ends.further,
            kill_on_drop: AtomicBool::new(kept.kill_on_drop),
            is_in_reactor: kept.is_in_reactor,
        }
    }

    /// The number by which the system names it. Once it is reaped, the system may give the number to another process: signal a
    /// child through this value, which never does that.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it was started in a control group of its own: see [`Command::cgroup`](crate::Command::cgroup).
    #[must_use]
    pub const fn has_cgroup(&self) -> bool {
        self.process.has_cgroup()
    }

    /// The writing end of the further pipe that the child reads at this number, once: see
    /// [`Command::pipe_at`](crate::Command::pipe_at).
    #[cfg(unix)]
    pub fn take_writer(&mut self, number: u32) -> Option<PipeWriter> {
        take_at(&mut self.further.writers, number)
    }

    /// The reading end of the further pipe that the child writes at this number, once: see
    /// [`Command::pipe_at`](crate::Command::pipe_at).
    #[cfg(unix)]
    pub fn take_reader(&mut self, number: u32) -> Option<PipeReader> {
        take_at(&mut self.further.readers, number)
    }

    /// Waits for its end, and reaps it. It does not close its input: a child that reads to the end of it never ends while
    /// [`stdin`](Self::stdin) is open and idle.
    ///
    /// **Cancel safety.** Only the waiting is given up; it can be called again, also after the end.
    ///
    /// # Errors
    /// A deadline that passed, or the system cannot tell the end.
    pub fn wait(&self) -> Wait<WaitExit<'_>> {
        self.wait_as(Reaping::Yes)
    }

    /// Waits for its end as [`wait`](Self::wait) does, and does not reap it: its number and its group stay its own, so that
    /// [`kill_tree`](Self::kill_tree) and [`terminate_tree`](Self::terminate_tree) still reach who of its tree is left.
    /// [`wait`](Self::wait), [`try_wait`](Self::try_wait) or a drop reaps it.
    ///
    /// **Cancel safety.** As [`wait`](Self::wait).
    ///
    /// **Platform differences.** On Windows nothing is reaped in any case: the handle keeps the job in reach.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use watertight::{Command, Group};
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "sleep 1000 & exit 1"]).group(Group::Own);
    /// let child = shell.spawn()?;
    /// if !child.until_exit().wait()?.is_success() {
    ///     assert_eq!(child.kill_tree().signalled.len(), 1, "what it left behind");
    /// }
    /// assert!(child.try_wait().is_some());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn until_exit(&self) -> Wait<WaitExit<'_>> {
        self.wait_as(Reaping::No)
    }

    fn wait_as(&self, reaping: Reaping) -> Wait<WaitExit<'_>> {
        Wait::new(WaitExit {
            child: self,
            reaping,
            wait: ExitWait::default(),
        })
    }

    /// How it ended, if it is over. Never waits.
    ///
    /// In a process that was forked from this one, nobody knows, and nobody does when the system refuses to tell: [`Exit::Unknown`].
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        exit_of(self.process.try_reap())
    }

    /// What it has used, from when [`wait`](Self::wait), [`try_wait`](Self::try_wait) or a [`terminate`](Self::terminate) has told
    /// its end. `None` before that, and where nobody knows: the system does not tell it, or other code took the child's status.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use watertight::Command;
    /// let child = Command::new("true").spawn()?;
    /// assert!(child.wait().wait()?.is_success());
    /// if let Some(usage) = child.usage() {
    ///     println!("{:?} of a processor, {:?} bytes", usage.user + usage.system, usage.memory_bytes_max);
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.process.usage()
    }

    /// Kills it, and nobody else: `SIGKILL`, or `TerminateProcess` with code 1. Whether it was there to be killed.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(&self) -> io::Result<bool> {
        self.process.kill()
    }

    /// Kills it and everybody it started: its group (Unix) or job (Windows), and on Linux all its descendants, also those in groups of
    /// their own. Who escaped (a session of its own whose parent is gone, another user) is named where the system shows it. It waits a
    /// moment for the deaths, 200 ms at most. Of a child in our own group ([`Group::Shared`](crate::Group::Shared)) an orphan is killed only
    /// if it has one of the child's pipes open (Linux); one that has none is named and lives on, for it may be another command's. Of a child
    /// in a [control group](crate::Command::cgroup) of its own nobody escapes who is in there, and no orphan is anybody else's.
    ///
    /// Before [`wait`](Self::wait) has told the child's end: with that the child is reaped, and then its group is out of reach, and
    /// only those are ended that an earlier call has seen, and those in its control group.
    pub fn kill_tree(&self) -> TreeEnd {
        self.process.kill_tree()
    }

    /// Remembers whom it has started by now, as the first [`wait_tree`](Self::wait_tree) does, also if that was done before. For the program,
    /// before it ends something else that may end this one.
    ///
    /// # Errors
    /// The tree cannot be looked at, or the system does not show one.
    #[doc(hidden)]
    pub fn note_tree(&self) -> io::Result<()> {
        self.process.note_tree_anew()
    }

    /// Feeds it, takes all its output, and waits for its end, all at once: see [`Communicate`].
    pub fn communicate(self, limits: Limits) -> Wait<Communicate> {
        Communicate::begin(self, limits)
    }

    /// Waits until it has ended, without reaping it.
    pub(crate) fn poll_exited(
        &self,
        wait: &mut ExitWait,
        waker: &Waker,
    ) -> Poll<Result<(), Cause>> {
        // C4: nobody would tell a forked child.
        self.driver.refuse_elsewhere()?;
        if self.is_in_reactor
            && let Some(polled) = wait.poll_in_reactor(&self.process, waker)
        {
            return polled.map(Ok);
        }
        self.exit
            .poll(|told| self.process.on_exit(told), wait.id_mut(), waker)
            .map_err(|error| cause(&error))
    }

    /// Whoever it has left behind lives on, whatever [`kill_on_drop`](crate::Command::kill_on_drop) said.
    #[doc(hidden)]
    pub fn let_go(&self) -> io::Result<()> {
        if self.kill_on_drop.load(Ordering::Relaxed) {
            self.process.let_go()?;
            self.kill_on_drop.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for its end no longer.
    pub(crate) fn forget_exit(&self, wait: &mut ExitWait) {
        let is_elsewhere = self.driver.refuse_elsewhere().is_err();
        wait.forget(&self.exit, is_elsewhere);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if *self.kill_on_drop.get_mut() {
            // Who is left has no one to be told to.
            let _ = self.process.kill_tree_at_once();
        }
    }
}

/// What the system said, as ours.
pub(crate) fn cause(error: &io::Error) -> Cause {
    let kind = if error.kind() == io::ErrorKind::PermissionDenied {
        ErrorKind::Denied
    } else if error.kind() == io::ErrorKind::Unsupported {
        ErrorKind::Unsupported
    } else {
        Class::Io.kind()
    };
    Cause {
        kind,
        os: error.raw_os_error().map(OsCode),
    }
}

/// How a child ended, if it is over.
const fn exit_of(reaped: Reaped) -> Option<Exit> {
    match reaped {
        Reaped::Ended(status) => Some(Exit::Status(status)),
        Reaped::Running => None,
        Reaped::Unknown => Some(Exit::Unknown),
    }
}

/// How a child ended that was told to be over, so that it is.
fn exit_told(reaped: io::Result<Reaped>, verb: Verb) -> Result<Exit, Error> {
    match reaped {
        Ok(reaped) => Ok(exit_of(reaped).unwrap_or(Exit::Unknown)),
        Err(error) => Err(Error::without_bytes(verb, cause(&error))),
    }
}

/// Whether a child that is over is reaped.
#[derive(Clone, Copy, Debug)]
enum Reaping {
    No,
    Yes,
}

/// See [`Child::wait`] and [`Child::until_exit`].
#[derive(Debug)]
pub struct WaitExit<'a> {
    child: &'a Child,
    reaping: Reaping,
    wait: ExitWait,
}

impl WaitExit<'_> {
    /// How the child ended, which was told to be over.
    fn exit(&self) -> Result<Exit, Error> {
        let process = &self.child.process;
        let told = match self.reaping {
            Reaping::No => process.peek(),
            Reaping::Yes => process.reap(),
        };
        exit_told(told, Verb::WaitExit)
    }
}

impl Sealed for WaitExit<'_> {}

impl Operation for WaitExit<'_> {
    type Output = Result<Exit, Error>;
    type Backend = Native;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let exited = self.child.poll_exited(&mut self.wait, waker);
        exited.map(|exited| match exited {
            Ok(()) => self.exit(),
            Err(cause) => Err(Error::without_bytes(Verb::WaitExit, cause)),
        })
    }

    /// A thread that may block waits for the child by itself: no other thread has a part in it.
    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        let child = self.child;
        if let Err(cause) = child.driver.refuse_elsewhere() {
            return Poll::Ready(Err(Error::without_bytes(Verb::WaitExit, cause)));
        }
        joined::send_all();
        let left = deadline.map(|deadline| child.driver.backend.now().until(deadline));
        match child.process.wait_for_exit(left) {
            Ok(true) => Poll::Ready(self.exit()),
            Ok(false) => Poll::Pending,
            // The other way may be open.
            Err(_) => self.poll(waker),
        }
    }

    fn expire(&mut self) -> Self::Output {
        Err(timed_out(Verb::WaitExit))
    }

    fn forget(&mut self) {
        self.child.forget_exit(&mut self.wait);
    }

    fn driver(&self) -> Option<&Arc<Driver<Native>>> {
        Some(&self.child.driver)
    }
}

fn timed_out(verb: Verb) -> Error {
    Error::without_bytes(verb, Cause::of(ErrorKind::TimedOut))
}
