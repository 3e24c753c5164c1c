//! Waiting until the peer has read: who asks, and who takes the question back.
//!
//! Never here: whether the peer has (the core's `until_read.rs`, and the backend).

use super::{Wanted, WriterCell};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause};

/// Where a wait for the peer's reading stands. Belongs to the caller's waiting value.
#[derive(Debug, Default)]
pub(crate) struct UntilReadWait {
    id: u64,
    target: u64,
    attempts: u64,
    asked: bool,
}

impl UntilReadWait {
    /// For the first `target` bytes.
    pub(crate) fn upto(target: u64) -> Self {
        Self {
            target,
            ..Self::default()
        }
    }
}

impl<B: Backend> WriterCell<B> {
    /// Waits until the peer has read what is accepted now.
    pub(crate) fn poll_until_read(
        self: &Arc<Self>,
        wait: &mut UntilReadWait,
        waker: &Waker,
    ) -> Poll<Result<(), Cause>> {
        self.driver.refuse_elsewhere()?;
        let mut state = self.lock();
        if !wait.asked {
            wait.asked = true;
            wait.attempts = state.half.until_read_attempts();
        }
        if let Some(answer) = state.half.until_read(wait.target, wait.attempts) {
            if let Err(cause) = answer {
                state.tell(cause);
            }
            return Poll::Ready(answer);
        }
        if !state.half.is_until_read_asked(wait.target) {
            state.half.ask_until_read();
        }
        let wanted = Wanted::Read(wait.target, wait.attempts);
        let replaced = state.watchers.watch(&mut wait.id, wanted, waker);
        drop(state);
        drop(replaced);
        self.pump();
        // The backend may have answered within the call; then the waker was called already.
        let state = self.lock();
        match state.half.until_read(wait.target, wait.attempts) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }

    /// Waits no longer for the peer's reading. The last one to leave takes the question back.
    pub(crate) fn forget_until_read(self: &Arc<Self>, wait: &UntilReadWait) {
        if wait.id == 0 || self.is_locked_for_ever() {
            return;
        }
        // In one step: somebody who asks in between must not have the question taken back.
        let mut forgotten = None;
        self.change(|state| {
            forgotten = state.watchers.forget(wait.id);
            let is_asked = |wanted: &Wanted| matches!(wanted, Wanted::Read(..));
            if !state.watchers.any(is_asked) {
                state.half.drop_until_read();
            }
        });
        drop(forgotten);
    }
}
