//! Somebody of a child's tree, as those hold it who wait for the tree: its end is waited for, and nothing else is done to it.

use super::pidfd::wait_for_end;
use super::watch;
use crate::fault::fallible;
use crate::process::{ExitCallback, MemberWatch};
use crate::unix::classify::Call;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Somebody of a child's tree beside the child itself.
#[derive(Debug)]
pub struct TreeMember(Arc<OwnedFd>);

impl TreeMember {
    pub(super) const fn new(pidfd: Arc<OwnedFd>) -> Self {
        Self(pidfd)
    }

    /// Whether it is held by this very descriptor.
    pub(super) fn is_held_by(&self, pidfd: &Arc<OwnedFd>) -> bool {
        Arc::ptr_eq(&self.0, pidfd)
    }

    /// ppoll: blocks this thread until it is over or the time is. Whether it is over.
    ///
    /// # Errors
    /// The system cannot wait.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        Ok(wait_for_end(self.0.as_fd(), timeout)?)
    }

    /// Has `callback` called once when it is over, by the thread that hears of children's ends, unless what this returns is dropped
    /// before. So the callback may not block for long.
    ///
    /// # Errors
    /// There is no thread or no descriptor to be had. Then `callback` is not called.
    pub fn on_exit(&self, callback: ExitCallback) -> io::Result<MemberWatch> {
        // A descriptor is once in an epoll, and others may wait for the same process: each has one of its own.
        let own = fallible("F_DUPFD_CLOEXEC (tree)", Call::Make, || self.0.try_clone())?;
        Ok(Box::new(watch::add_member(own, callback)?))
    }
}
