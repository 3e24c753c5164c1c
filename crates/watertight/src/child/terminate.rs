//! A child that is ended, alone or with its tree: asked, given its grace, killed. `terminate_rule.rs` decides what comes next.

use super::exit_wait::ExitWait;
use super::terminate_rule::{self, Known, Next, Phase};
use super::{Child, Exit, cause, exit_told, timed_out};
use crate::driver::Driver;
use crate::handle::Native;
use crate::timers::TimerId;
use crate::wait::{Operation, Sealed, Wait};
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use watertight_core::{Backend, Error, Moment, Verb};
use watertight_os::TreeEnd;

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
    /// As [`terminate`](Self::terminate). Of a child that is over the status is told, whatever the last look at its tree comes to.
    pub fn terminate_tree(&self, grace: Duration) -> Wait<Terminate<'_>> {
        self.end(grace, Whom::Tree)
    }

    fn end(&self, grace: Duration, whom: Whom) -> Wait<Terminate<'_>> {
        Wait::new(Terminate {
            child: self,
            whom,
            grace,
            phase: None,
            wait: ExitWait::default(),
            timer: None,
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Whom {
    Child,
    Tree,
}

/// See [`Child::terminate`].
#[derive(Debug)]
pub struct Terminate<'a> {
    child: &'a Child,
    whom: Whom,
    grace: Duration,
    /// Nothing: nobody was asked yet.
    phase: Option<Phase>,
    wait: ExitWait,
    timer: Option<TimerId>,
}

impl Terminate<'_> {
    /// Asks whoever is meant to end.
    fn begin(&self) -> Phase {
        let now = self.now();
        let asked = match self.whom {
            Whom::Child => self.child.process.terminate(),
            Whom::Tree => all_told(self.child.process.terminate_tree()),
        };
        terminate_rule::begun(asked.is_ok(), now, self.grace)
    }

    fn is_tree_over(&self) -> Option<bool> {
        match self.whom {
            Whom::Child => None,
            Whom::Tree => Some(self.child.process.is_tree_over()),
        }
    }

    fn kill(&self) -> io::Result<bool> {
        match self.whom {
            Whom::Child => self.child.process.kill(),
            Whom::Tree => all_told(self.child.process.kill_tree()),
        }
    }

    fn now(&self) -> Moment {
        self.child.driver.backend.now()
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
        let failed = |cause| Error::without_bytes(Verb::Terminate, cause);
        let mut phase = self.phase.unwrap_or_else(|| self.begin());
        loop {
            self.phase = Some(phase);
            let exited = self.child.poll_exited(&mut self.wait, waker);
            let is_over = exited.map_err(failed)?.is_ready();
            let known = Known {
                now: self.now(),
                is_over,
                is_tree_over: self.is_tree_over(),
            };
            match terminate_rule::next(phase, known) {
                Next::Kill => {
                    let killed = self.kill();
                    // Of one that is over the status is told, whatever the last look at its tree came to.
                    if !is_over {
                        killed.map_err(|error| failed(cause(&error)))?;
                    }
                    phase = Phase::Killed;
                }
                Next::Reap => {
                    return Poll::Ready(exit_told(self.child.process.reap(), Verb::Terminate));
                }
                Next::Stay(look) => {
                    if let Some(look) = look {
                        self.keep_time(look, waker);
                    }
                    return Poll::Pending;
                }
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
