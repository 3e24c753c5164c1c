//! Children of `exec:` addresses: started, waited for by a thread of their own, killed and reaped on every path.

use crate::event::{End, Event, Mailbox};
use crate::platform::{self, CommandLine};
use serde::Serialize;
use shared_child::SharedChild;
use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;
use watertight::OsHandle;

/// A running child. Dropping it kills and reaps it, if that has not happened.
pub(crate) struct Child {
    shared: Arc<SharedChild>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct ChildStatus {
    /// Its exit code; none if a signal ended it, or if nothing is known.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// We closed its pipe before its end, or killed it: the status is a consequence, not a cause.
    pub(crate) stopped: bool,
}

impl Child {
    /// Starts a source's child. Its standard output is the pipe; its standard input is empty, so that it cannot take input
    /// meant for somebody else.
    pub(crate) fn start_source(command: &CommandLine) -> io::Result<(Self, OsHandle)> {
        let mut command = command.to_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = Self::start(&mut command)?;
        let stdout = child.shared.take_stdout().ok_or_else(no_pipe)?;
        Ok((child, stdout.into()))
    }

    /// Starts a destination's child. Its standard input is the pipe; its standard output is ours.
    pub(crate) fn start_destination(command: &CommandLine) -> io::Result<(Self, OsHandle)> {
        let mut command = command.to_command();
        command.stdin(Stdio::piped()).stdout(Stdio::inherit());
        let child = Self::start(&mut command)?;
        let stdin = child.shared.take_stdin().ok_or_else(no_pipe)?;
        Ok((child, stdin.into()))
    }

    fn start(command: &mut Command) -> io::Result<Self> {
        SharedChild::spawn(command).map(|shared| Self {
            shared: Arc::new(shared),
        })
    }

    /// Posts the child's ending when it comes.
    pub(crate) fn watch(&self, end: End, mailbox: Mailbox) -> io::Result<()> {
        let shared = self.shared.clone();
        std::thread::Builder::new()
            .name("child".into())
            .spawn(move || {
                let status = shared.wait().map(ChildStatus::of).unwrap_or_default();
                mailbox.post(Event::ChildEnded(end, status));
            })?;
        Ok(())
    }

    /// Ends it now. It is reaped by whoever waits.
    pub(crate) fn kill(&self) {
        // The one failure is that it is over already.
        let _ = self.shared.kill();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.shared.wait();
    }
}

/// One end's child, if it has one, and what is known about its ending.
#[derive(Default)]
pub(crate) struct ChildOfEnd {
    child: Option<Child>,
    status: Option<ChildStatus>,
    stopped: bool,
    kill_at: Option<Instant>,
}

impl ChildOfEnd {
    /// Begins to wait for the child.
    pub(crate) fn of(child: Option<Child>, end: End, mailbox: &Mailbox) -> io::Result<Self> {
        if let Some(child) = &child {
            child.watch(end, mailbox.clone())?;
        }
        Ok(Self {
            child,
            ..Self::default()
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.child.is_none() || self.status.is_some()
    }

    /// How the child ended; a child that is not known to have ended has an empty status.
    pub(crate) fn status(&self) -> Option<ChildStatus> {
        let status = self.status.unwrap_or_default();
        self.child.as_ref().map(|_| ChildStatus {
            stopped: self.stopped,
            ..status
        })
    }

    pub(crate) fn handle_ending(&mut self, status: ChildStatus) {
        self.status = Some(status);
        self.kill_at = None;
    }

    /// We end its pipe before its time: it is killed if it has not ended by then, and its status is a consequence.
    pub(crate) fn stop(&mut self, kill_at: Instant) {
        if !self.is_over() {
            self.stopped = true;
            self.hurry(kill_at);
        }
    }

    /// It ended its pipe itself: it is killed if it has not ended by then.
    pub(crate) fn hurry(&mut self, kill_at: Instant) {
        if !self.is_over() {
            let earlier = self.kill_at.map_or(kill_at, |known| known.min(kill_at));
            self.kill_at = Some(earlier);
        }
    }

    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }

    /// Kills the child if its time is up.
    pub(crate) fn keep_deadline(&mut self, now: Instant) {
        if let Some(child) = self
            .child
            .as_ref()
            .filter(|_| self.kill_at.is_some_and(|at| at <= now))
        {
            child.kill();
            self.kill_at = None;
            self.stopped = true;
        }
    }
}

impl ChildStatus {
    fn of(status: ExitStatus) -> Self {
        Self {
            code: status.code(),
            signal: platform::ending_signal(status),
            stopped: false,
        }
    }

    /// Whether it ended well, or badly as a mere consequence of our stopping.
    pub(crate) fn is_good(&self) -> bool {
        self.stopped || self.code == Some(0)
    }
}

fn no_pipe() -> io::Error {
    io::Error::other("the child was started without its pipe")
}
