//! A child that is ended, alone or with its tree: asked, given its grace, killed.

use super::exit_wait::ExitWait;
use super::{Child, Exit, cause, exit_told, timed_out};
use crate::driver::Driver;
use crate::handle::Native;
use crate::timers::TimerId;
use crate::wait::{Operation, Sealed, Wait};
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use watertight_core::{Backend, Cause, Error, Moment, Verb};
use watertight_os::TreeEnd;

/// How often to look whether a tree that was asked to end is over, when its child is: nobody tells that.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Child {
    /// Asks it to end, and kills it if it has not ended within `grace`. It is asked by `SIGTERM`, with `SIGCONT` behind it for one that is
    /// stopped; on Windows by Ctrl-Break, if it was started with the creation flag `CREATE_NEW_PROCESS_GROUP` and shares our console, and
    /// else it is killed at once.
    ///
    /// **Cancel safety.** Once polled, it has been asked; a wait that is given up does not kill it.
    ///
    /// # Errors
    /// As [`wait`](Self::wait); the system refused.
    pub fn terminate(&self, grace: Duration) -> Wait<Terminate<'_>> {
        self.end(grace, Whom::Child)
    }

    /// As [`terminate`](Self::terminate), for its whole tree: whoever of it is left after the grace is killed, the child or not. So is
    /// whoever was started meanwhile, once all that were asked are over.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate). If the tree cannot be looked at once more, the child is over and not reaped:
    /// [`wait`](Self::wait) has its status.
    pub fn terminate_tree(&self, grace: Duration) -> Wait<Terminate<'_>> {
        self.end(grace, Whom::Tree)
    }

    fn end(&self, grace: Duration, whom: Whom) -> Wait<Terminate<'_>> {
        Wait::new(Terminate {
            child: self,
            whom,
            grace,
            phase: Phase::Begin,
            wait: ExitWait::default(),
            timer: None,
        })
    }

    fn poll_exit(&self, wait: &mut ExitWait, waker: &Waker) -> Poll<Result<Exit, Error>> {
        let failed = |cause: Cause| Error::without_bytes(Verb::Terminate, cause);
        match self.poll_exited(wait, waker) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(exited) => exited.map_err(failed)?,
        }
        Poll::Ready(exit_told(self.process.reap(), Verb::Terminate))
    }
}

#[derive(Clone, Copy, Debug)]
enum Whom {
    Child,
    Tree,
}

/// How far an ending is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Begin,
    Asked(Moment),
    Killed,
}

/// See [`Child::terminate`].
#[derive(Debug)]
pub struct Terminate<'a> {
    child: &'a Child,
    whom: Whom,
    grace: Duration,
    phase: Phase,
    wait: ExitWait,
    timer: Option<TimerId>,
}

impl Terminate<'_> {
    fn ask(&self) -> io::Result<bool> {
        match self.whom {
            Whom::Child => self.child.process.terminate(),
            Whom::Tree => all_told(self.child.process.terminate_tree()),
        }
    }

    fn kill(&self) -> io::Result<bool> {
        match self.whom {
            Whom::Child => self.child.process.kill(),
            Whom::Tree => all_told(self.child.process.kill_tree()),
        }
    }

    fn keep_time(&mut self, due: Moment, waker: &Waker) {
        self.forget_timer();
        self.timer = Some(self.child.driver.wake_at(due, waker.clone()));
    }

    fn forget_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.child.driver.forget_timer(timer);
        }
    }
}

impl Sealed for Terminate<'_> {}

impl Operation for Terminate<'_> {
    type Output = Result<Exit, Error>;
    type Backend = Native;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let failed = |error: io::Error| Error::without_bytes(Verb::Terminate, cause(&error));
        if let Phase::Begin = self.phase {
            let now = self.child.driver.backend.now();
            let due = match self.ask() {
                Ok(_) => now.after(self.grace),
                // One that cannot be asked is killed; if that fails too, it is told.
                Err(_) => now,
            };
            self.phase = Phase::Asked(due);
        }
        loop {
            let over = self.child.poll_exited(&mut self.wait, waker);
            if let Poll::Ready(Err(cause)) = over {
                return Poll::Ready(Err(Error::without_bytes(Verb::Terminate, cause)));
            }
            let now = self.child.driver.backend.now();
            let is_left = matches!(self.whom, Whom::Tree) && !self.child.process.is_tree_over();
            match self.phase {
                Phase::Asked(due) if now < due && (over.is_pending() || is_left) => {
                    // Nobody tells when the tree of a child that is over has ended.
                    let look = if over.is_ready() {
                        due.min(now.after(LOOK_EVERY))
                    } else {
                        due
                    };
                    self.keep_time(look, waker);
                    return Poll::Pending;
                }
                // The grace is over, or all are who were asked: whoever was started meanwhile is in reach until the child is reaped.
                Phase::Asked(_) if over.is_pending() || matches!(self.whom, Whom::Tree) => {
                    let killed = self.kill();
                    if over.is_pending() {
                        killed.map_err(failed)?;
                    }
                    // Of one that is over the status is told, whatever the last look at its tree came to.
                    self.phase = Phase::Killed;
                }
                // With this the child is reaped.
                _ if over.is_ready() => {
                    return self.child.poll_exit(&mut self.wait, waker);
                }
                Phase::Begin | Phase::Asked(_) | Phase::Killed => return Poll::Pending,
            }
        }
    }

    fn expire(&mut self) -> Self::Output {
        Err(timed_out(Verb::Terminate))
    }

    fn forget(&mut self) {
        self.child.forget_exit(&mut self.wait);
        self.forget_timer();
    }

    fn driver(&self) -> Option<&Arc<Driver<Native>>> {
        Some(&self.child.driver)
    }
}

/// Whether anybody of a tree was there to be signalled. A failure, if nobody could be.
fn all_told(end: TreeEnd) -> io::Result<bool> {
    match end.error {
        Some(error) if end.signalled.is_empty() => Err(error),
        _ => Ok(!end.signalled.is_empty()),
    }
}
