//! The limits of a `communicate`, and what comes of it.

use super::request::EndRequest;
use super::told::OutputStream;
use crate::child::Exit;
use crate::receipt::{Ending, Receipt};
use crate::writer::PipeWriter;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{Error, ErrorKind};
use watertight_os::{Found, TreeEnd, Usage};

/// What to do with output past its bound.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum AtBound {
    /// Read it, count it, and forget it: the child goes on as if all of it were kept.
    #[default]
    Discard,
    /// End the child's tree, as at the deadline.
    End,
    /// Read no further: the child waits as soon as its pipe is full, for ever if there is no deadline.
    Stop,
}

/// How long to go on after the child's exit, when somebody holds its output still: a process that it started and that outlives it.
///
/// With [`ToEnd`](Self::ToEnd) such a process is a part of the run, and a deadline, a bound or a request ends it as it would have ended the
/// child. With the others it is not: once the child has ended by itself nobody is signalled, whatever ends the reading, and whoever
/// writes on then has a broken pipe.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum AfterExit {
    /// Until nothing has come for so long, or to the deadline.
    Quiet(Duration),
    /// To the deadline ([`Limits::within`]); without one, to the end of both streams.
    ToDeadline,
    /// To the end of both streams: nothing is lost, and a daemon that keeps them open keeps us waiting until the deadline, which ends it.
    #[default]
    ToEnd,
}

/// The bound of one output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) bytes_max: u64,
    pub(super) at_bound: AtBound,
}

/// The limits of a [`Communicate`](super::Communicate).
#[derive(Clone, Debug)]
#[must_use = "limits do nothing until they are passed on"]
pub struct Limits {
    stdout_bound: Bound,
    stderr_bound: Bound,
    pub(super) within: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) after_exit: AfterExit,
    pub(super) is_broken_stdin_ignored: bool,
    pub(super) stdout_to: Option<Arc<PipeWriter>>,
    pub(super) stderr_to: Option<Arc<PipeWriter>>,
    pub(super) end_request: Option<EndRequest>,
    pub(super) line_bytes_max: usize,
}

impl Limits {
    /// The default of [`Limits::output_bytes_max`]: more than people read, less than a machine has.
    pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
    /// The default of [`Limits::line_bytes_max`]: more than a line that is meant for people, little enough to be kept for every child,
    /// and as much as one read brings, so that who writes no newline is heard all the same.
    pub const LINE_BYTES_MAX: usize = 64 * 1024;
    /// The default of [`Limits::grace`]: time to remove a lock file.
    pub const GRACE: Duration = Duration::from_secs(2);

    /// The defaults: no deadline, 64 MiB of each output kept and the rest counted, to the end of both streams.
    pub fn new() -> Self {
        let bound = Bound {
            bytes_max: Self::OUTPUT_BYTES_MAX,
            at_bound: AtBound::Discard,
        };
        Self {
            stdout_bound: bound,
            stderr_bound: bound,
            within: None,
            grace: Self::GRACE,
            after_exit: AfterExit::ToEnd,
            is_broken_stdin_ignored: false,
            stdout_to: None,
            stderr_to: None,
            end_request: None,
            line_bytes_max: Self::LINE_BYTES_MAX,
        }
    }

    /// How many bytes of each output are kept. What comes behind them is still told to a function that is told of the output
    /// ([`Wait::on_output`](crate::Wait::on_output), [`Wait::on_lines`](crate::Wait::on_lines)), and then it does not count as discarded.
    /// Zero keeps nothing: for a function that needs no copy beside it.
    pub fn output_bytes_max(self, bytes: u64) -> Self {
        self.stdout_bytes_max(bytes).stderr_bytes_max(bytes)
    }

    /// As [`output_bytes_max`](Self::output_bytes_max), for the standard output alone ([`Outcome::stdout`]). Of calls for one output the last
    /// counts.
    pub fn stdout_bytes_max(mut self, bytes: u64) -> Self {
        self.stdout_bound.bytes_max = bytes;
        self
    }

    /// As [`output_bytes_max`](Self::output_bytes_max), for the standard error alone ([`Outcome::stderr`]). Of calls for one output the last
    /// counts.
    pub fn stderr_bytes_max(mut self, bytes: u64) -> Self {
        self.stderr_bound.bytes_max = bytes;
        self
    }

    /// What happens to output past that.
    pub fn at_bound(self, at_bound: AtBound) -> Self {
        self.stdout_at_bound(at_bound).stderr_at_bound(at_bound)
    }

    /// As [`at_bound`](Self::at_bound), for the standard output alone.
    pub fn stdout_at_bound(mut self, at_bound: AtBound) -> Self {
        self.stdout_bound.at_bound = at_bound;
        self
    }

    /// As [`at_bound`](Self::at_bound), for the standard error alone.
    pub fn stderr_at_bound(mut self, at_bound: AtBound) -> Self {
        self.stderr_bound.at_bound = at_bound;
        self
    }

    /// The deadline, counted from the call: then the child's tree is asked to end, and killed after the grace. Of a child that has ended by
    /// itself before that [`AfterExit`] says what becomes of whoever it has left behind.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = Some(duration);
        self
    }

    /// How long a tree that was asked to end has, before it is killed. Zero kills at once.
    ///
    /// **Platform differences.** On Windows only a child that was started with the creation flag `CREATE_NEW_PROCESS_GROUP` and shares our
    /// console can be asked ([`Child::terminate`](crate::Child::terminate)); any other is killed at once, with its tree. The flag is yours to
    /// set, for it has a price: Ctrl-C at the console does not reach such a child any more.
    pub fn grace(mut self, duration: Duration) -> Self {
        self.grace = duration;
        self
    }

    /// How long to go on after the child's exit.
    pub fn after_exit(mut self, after_exit: AfterExit) -> Self {
        self.after_exit = after_exit;
        self
    }

    /// Passes the child's standard output on as it comes, instead of keeping it; [`stdout_bytes_max`](Self::stdout_bytes_max) is then
    /// how much of it is passed on. A writer that takes nothing keeps the child waiting, as in any pipeline; when it fails (its
    /// reader has left), the child's pipe is closed, so that the child sees it. The writer stays the caller's, to be finished.
    pub fn stdout_to(mut self, writer: Arc<PipeWriter>) -> Self {
        self.stdout_to = Some(writer);
        self
    }

    /// As [`stdout_to`](Self::stdout_to), for the standard error.
    pub fn stderr_to(mut self, writer: Arc<PipeWriter>) -> Self {
        self.stderr_to = Some(writer);
        self
    }

    /// Lets somebody else end it, at any time: as at the deadline.
    pub fn end_on(mut self, request: &EndRequest) -> Self {
        self.end_request = Some(request.clone());
        self
    }

    /// How many bytes of a line [`Wait::on_lines`](crate::Wait::on_lines) puts together. A longer line is told in pieces, each of which
    /// says so ([`LineEnd::Bound`](crate::LineEnd::Bound)).
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes;
        self
    }

    /// Whether it is no failure that the child did not read all of its input (`head`, `grep -q`). The receipt says it in any case.
    pub fn ignore_broken_stdin(mut self, yes: bool) -> Self {
        self.is_broken_stdin_ignored = yes;
        self
    }

    pub(super) const fn bound_of(&self, stream: OutputStream) -> Bound {
        match stream {
            OutputStream::Stderr => self.stderr_bound,
            OutputStream::Stdout => self.stdout_bound,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// What ended a [`Communicate`](super::Communicate).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EndedBy {
    /// Output past its bound ([`AtBound::End`]).
    Bound,
    /// The deadline.
    Deadline,
    /// The child ended, somebody held its output still at the deadline, and the rule for what comes after let it be
    /// ([`AfterExit::ToDeadline`], [`AfterExit::Quiet`]).
    DeadlineAfterExit,
    /// The system cannot tell the child's end ([`Outcome::failure`]): its tree was killed.
    Failure,
    /// The child ended, and so did its output.
    Itself,
    /// The child ended, and the rule for what comes after let it be ([`AfterExit::Quiet`]): somebody holds its output still.
    Quiet,
    /// Somebody who asked for it ([`EndRequest`]).
    Request,
}

impl EndedBy {
    /// Whether the child ended by itself, and its output ended too or was left to whoever held it: nobody was ended.
    #[must_use]
    pub const fn is_by_itself(self) -> bool {
        matches!(self, Self::DeadlineAfterExit | Self::Itself | Self::Quiet)
    }
}

/// One output of a child.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Captured {
    /// What was kept: all of it, or its beginning; nothing, if it was passed on.
    pub bytes: Vec<u8>,
    /// How many bytes were passed on ([`Limits::stdout_to`]).
    pub passed_on: u64,
    /// How many bytes came past the bound and were told to nobody, or could not be passed on.
    pub discarded: u64,
    /// How many bytes a function was told of ([`Wait::on_output`](crate::Wait::on_output)), kept or not.
    pub told: u64,
    /// Whether the end of the stream was read.
    pub has_ended: bool,
    /// The failure of the stream, if it had one.
    pub failure: Option<Error>,
}

impl Captured {
    /// Whether `bytes`, or what was passed on, or what a function was told of, is all that was written to the stream.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.has_ended && self.discarded == 0
    }

    /// The bytes as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// What became of a child's tree that was ended. Who was asked, and was neither killed nor is left, has ended as it was asked to.
///
/// **Platform differences.** Where there is no /proc only the child is known, and on Windows only the child is asked.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct EndedTree {
    /// Who was asked to end, the child first.
    pub asked: Vec<Found>,
    /// Who was killed, the child first: who had not ended within the grace, and who was not asked, because there was no grace, or
    /// because it was started after the others were asked.
    pub killed: Vec<Found>,
    /// Who is left: the signal was refused, or they are still there after a kill, or they left the tree while it was looked at. Also whoever
    /// may be of the tree and was therefore not signalled: an orphan in our own group ([`Group::Shared`](crate::Group::Shared), Linux).
    pub left: Vec<Found>,
    /// The first thing that kept us from looking at all of it, or from killing all of it.
    pub error: Option<io::Error>,
}

impl EndedTree {
    pub(super) fn note_asked(&mut self, end: TreeEnd) {
        self.asked = end.signalled;
        self.left = end.left;
        self.error = end.error;
    }

    /// It may be killed more than once.
    pub(super) fn note_killed(&mut self, end: TreeEnd) {
        for one in end.signalled {
            if self.killed.iter().all(|known| known.pid != one.pid) {
                self.killed.push(one);
            }
        }
        self.left = end.left;
        self.error = end.error;
    }
}

/// What came of a child: how it ended and all its output, whatever ended it.
#[derive(Debug)]
#[must_use = "it says whether the child ended well"]
#[non_exhaustive]
pub struct Outcome {
    /// How the child ended; nothing if it was not over yet.
    pub exit: Option<Exit>,
    /// What ended the communication.
    pub ended: EndedBy,
    /// Its standard output, if that was a pipe, or what it wrote to its terminal.
    pub stdout: Captured,
    /// Its standard error, if that was a pipe of its own.
    pub stderr: Captured,
    /// How much of its input got through, if that was a pipe and its ending is known.
    pub stdin: Option<Receipt>,
    /// Who held its output still when it was left (Linux). Windows does not show who has a pipe: there it is who of its tree was alive
    /// then, each of whom may hold it. Elsewhere nobody is named.
    pub holders: Vec<Found>,
    /// Whom we asked to end, whom we killed, and who is left; nothing if nobody was signalled.
    pub tree: Option<EndedTree>,
    /// What the child has used; nothing if it was not over yet, or nobody knows.
    pub usage: Option<Usage>,
    /// Why the system cannot tell the child's end, if it cannot. Nobody would hear of it, so its tree was killed, and what was written
    /// until then was read as ever. [`exit`](Self::exit) is what is known when all that is done.
    pub failure: Option<Error>,
    /// A function that was told of the output panicked, and was called no more.
    pub has_observer_panicked: bool,
    pub(super) is_broken_stdin_ignored: bool,
}

impl Outcome {
    /// Whether the child ended by itself and well, and nothing of its input or output is missing.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.shortcoming().is_none()
    }

    /// This outcome, or an error that says in one line what is missing, with the outcome in it.
    ///
    /// # Errors
    /// [`is_success`](Self::is_success) does not hold.
    #[allow(
        clippy::result_large_err,
        reason = "partial output is always kept, in the error too"
    )]
    pub fn into_result(self) -> Result<Self, Incomplete> {
        match self.shortcoming() {
            None => Ok(self),
            Some(why) => Err(Incomplete { outcome: self, why }),
        }
    }

    fn shortcoming(&self) -> Option<String> {
        let is_left = self.tree.is_none();
        match self.ended {
            EndedBy::Bound if is_left => return Some("its output passed the bound".into()),
            EndedBy::Bound => return Some("its output passed the bound, and it was ended".into()),
            EndedBy::Deadline => return Some("its deadline passed, and it was ended".into()),
            EndedBy::Request if is_left => return Some("its output was left on request".into()),
            EndedBy::Request => return Some("it was ended on request".into()),
            EndedBy::DeadlineAfterExit | EndedBy::Failure | EndedBy::Itself | EndedBy::Quiet => {}
        }
        if let Some(error) = self.failure {
            return Some(format!("its end cannot be told, and it was ended: {error}"));
        }
        match self.exit {
            Some(Exit::Status(status)) if status.success() => {}
            Some(Exit::Status(status)) => return Some(status.to_string()),
            Some(Exit::Unknown) => return Some("its status is not to be had".into()),
            None => return Some("it is not over".into()),
        }
        let lacking = self.lacking_output();
        if lacking.is_some() {
            return lacking;
        }
        let stdin = self
            .stdin
            .as_ref()
            .filter(|stdin| !self.is_as_wanted(stdin));
        stdin.map(|stdin| {
            let ledger = stdin.ledger();
            format!("it did not read all of its input: {ledger}")
        })
    }

    /// Whether it came to its end by itself and its output is whole, whatever its status and its input.
    pub(crate) fn is_whole(&self) -> bool {
        let is_by_itself = self.ended.is_by_itself();
        is_by_itself && self.failure.is_none() && self.lacking_output().is_none()
    }

    fn lacking_output(&self) -> Option<String> {
        if self.has_observer_panicked {
            return Some("the function that is told of its output panicked".into());
        }
        for (name, stream) in [("output", &self.stdout), ("standard error", &self.stderr)] {
            if let Some(error) = stream.failure {
                return Some(format!("its {name} failed: {error}"));
            }
            if stream.discarded > 0 {
                let discarded = stream.discarded;
                return Some(format!(
                    "{discarded} bytes of its {name} are past the bound"
                ));
            }
        }
        None
    }

    fn is_as_wanted(&self, stdin: &Receipt) -> bool {
        let is_broken = matches!(stdin.ending(), Ending::Failed(cause) if cause.kind == ErrorKind::BrokenPipe)
            || matches!(stdin.ending(), Ending::Aborted);
        stdin.is_complete() || (is_broken && self.is_broken_stdin_ignored)
    }
}

/// An [`Outcome`] in which something is missing, and what.
#[derive(Debug)]
pub struct Incomplete {
    /// All that there is.
    pub outcome: Outcome,
    why: String,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the child did not end well: {}", self.why)
    }
}

impl std::error::Error for Incomplete {}
