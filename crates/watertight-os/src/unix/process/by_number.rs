//! A child that is known by its number alone: on systems without pidfds, and on Linux where they are missing or forbidden.
//!
//! The number is the child's as long as nobody has reaped it. We know when we do; of other code in this process that waits
//! for every child we do not, so between its reaping and our signal the number may become somebody else's. A pidfd has no such gap.

use super::life::{self, Life};
use super::usage::{ReapedWith, reap_by_number};
use crate::fault::fallible;
use crate::process::{ExitCallback, Reaped, call_back};
use crate::unix::calls::lock;
use crate::unix::classify::Call;
use crate::unix::kernel::last_errno;
use crate::unix::sigpipe::quiet_thread;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the thread that waits for the child shares with those that ask.
#[derive(Default)]
struct Waiter {
    state: Mutex<Waiting>,
    over: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The thread was started.
    is_watched: bool,
    /// The thread has seen the child's end.
    is_over: bool,
    callbacks: Vec<ExitCallback>,
}

/// A child and its number.
pub(super) struct Numbered {
    pid: Pid,
    waiter: Arc<Waiter>,
}

impl Numbered {
    /// Nothing is asked of the system yet.
    pub(super) fn new(pid: Pid) -> Self {
        Self {
            pid,
            waiter: Arc::default(),
        }
    }

    /// Its number.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// waitid, reaping nothing.
    pub(super) fn life(&self) -> Result<Life, Errno> {
        life::asked(WaitId::Pid(self.pid))
    }

    /// waitid, without waiting and without reaping.
    pub(super) fn peek(&self) -> Result<Reaped, Errno> {
        life::peek(WaitId::Pid(self.pid))
    }

    /// wait4, without waiting.
    pub(super) fn reap(&self) -> Result<ReapedWith, Errno> {
        reap_by_number(self.pid)
    }

    /// kill, unless it is over. The caller keeps the child from being reaped by us meanwhile.
    pub(super) fn signal(&self, signal: libc::c_int) -> Result<bool, Errno> {
        if self.life()? != Life::Running {
            return Ok(false);
        }
        let sent = fallible("kill", Call::Spawn, || {
            // SAFETY: two numbers go in and no memory is involved; the process is a child of ours that nobody of us has reaped.
            let said = unsafe { libc::kill(self.pid.as_raw_pid(), signal) };
            if said == 0 { Ok(()) } else { Err(last_errno()) }
        });
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(code) => Err(code),
        }
    }

    /// Has `callback` called when the child is over, by a thread that waits for this one child.
    ///
    /// The thread enters its wait a moment after it was started. A child that is reaped in that moment is over to it, too.
    pub(super) fn watch(&self, callback: ExitCallback) -> io::Result<()> {
        let mut state = self.watched()?;
        if state.is_over {
            drop(state);
            call_back(callback);
        } else {
            state.callbacks.push(callback);
        }
        Ok(())
    }

    /// Waits until the child is over or the time is. Whether it is over.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        // A thread that waits has not heard of it yet.
        if self.life()? != Life::Running {
            return Ok(true);
        }
        let state = self.watched()?;
        let over = &self.waiter.over;
        let state = match timeout {
            None => over
                .wait_while(state, |state| !state.is_over)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                over.wait_timeout_while(state, timeout, |state| !state.is_over)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        Ok(state.is_over)
    }

    /// What is known, once there is a thread that finds out.
    fn watched(&self) -> io::Result<MutexGuard<'_, Waiting>> {
        let mut state = lock(&self.waiter.state);
        if !state.is_watched {
            let (waiter, pid) = (self.waiter.clone(), self.pid);
            fallible("clone (child)", Call::Make, || {
                std::thread::Builder::new()
                    .name("watertight-child".into())
                    .spawn(move || waiter.serve(pid))
            })?;
            state.is_watched = true;
        }
        Ok(state)
    }
}

impl Waiter {
    /// waitid, reaping nothing: whatever it says but EINTR means that the child is over.
    fn serve(&self, pid: Pid) {
        quiet_thread();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
        let callbacks = {
            let mut state = lock(&self.state);
            state.is_over = true;
            std::mem::take(&mut state.callbacks)
        };
        self.over.notify_all();
        callbacks.into_iter().for_each(call_back);
    }
}
