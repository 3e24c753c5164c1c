//! A direct read by a caller, which may block until it brings something.

use super::spinning::Spinning;
use super::{MayBlock, ReaderCell, Wanted};
use crate::joined;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use watertight_core::{Backend, Moment, ReadNow};

/// A direct read that was begun.
pub(super) struct Attempting<B: Backend> {
    pub(super) handle: Arc<B::Handle>,
    pub(super) spinning: Spinning,
    /// The pipe gets more room first.
    pub(super) enlarges: bool,
}

/// What came of a direct read, and of the wait behind it.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    pub(super) now: ReadNow,
    /// The caller's bound has passed.
    pub(super) is_late: bool,
    /// As the wait leaves it.
    pub(super) spinning: Spinning,
}

/// The right of a thread to block until there may be something to read.
pub(crate) struct MayRead<B: Backend> {
    pub(crate) handle: Arc<B::Handle>,
    /// Under which a stop calls the thread back.
    id: u64,
}

impl<B: Backend> ReaderCell<B> {
    /// Reads at once, or blocks this thread where it may.
    pub(super) fn attempt(
        &self,
        begun: Attempting<B>,
        buf: &mut [u8],
        may_block: MayBlock,
        waker: &Waker,
    ) -> Attempt {
        let Attempting {
            handle,
            mut spinning,
            enlarges,
        } = begun;
        if enlarges {
            self.driver.backend.enlarge(&handle);
        }
        let now = self.read_directly(&handle, buf, may_block);
        // O4: once the answer is booked somebody may close the handle; it is given up by the end of this call, before that.
        let (now, is_late) = match (now, may_block) {
            // The caller sends it and comes back: observers may not run while this thread has the handle.
            (ReadNow::Wait, MayBlock::Until(_)) if joined::is_any() => (now, true),
            (ReadNow::Wait, MayBlock::Until(until)) => {
                self.spin_or_block(&handle, buf, until, waker, &mut spinning)
            }
            _ => (now, false),
        };
        Attempt {
            now,
            is_late,
            spinning,
        }
    }

    /// Blocks this thread until a direct read brings something, a stop calls it back, or the bound has passed; which the second
    /// answer says. Nobody else reads meanwhile, and the handle stays open.
    pub(super) fn block(
        &self,
        handle: &B::Handle,
        buf: &mut [u8],
        until: Option<Moment>,
        waker: &Waker,
    ) -> (ReadNow, bool) {
        let mut id = 0;
        loop {
            let left = until.map(|until| self.driver.backend.now().until(until));
            if left == Some(Duration::ZERO) {
                return (ReadNow::Wait, true);
            }
            let mut state = self.lock();
            if state.half.is_given_up() {
                return (ReadNow::Wait, false);
            }
            let replaced = state.watchers.watch(&mut id, Wanted::GivenUp, waker);
            drop(state);
            drop(replaced);
            let is_offered = self.driver.backend.block_until_readable(handle, left);
            self.forget(id);
            if !is_offered {
                return (ReadNow::Wait, false);
            }
            let now = self.driver.backend.read_now(handle, buf);
            if now != ReadNow::Wait {
                return (now, false);
            }
        }
    }

    /// Before this thread blocks in a call of its own, on several pipes perhaps: until [`end_block`](Self::end_block) nobody else
    /// reads, the handle stays open, and a stop calls the thread back. `None`: something is read ahead, or nothing more comes, or
    /// somebody else reads, or an operation does.
    pub(crate) fn begin_block(&self, waker: &Waker) -> Option<MayRead<B>> {
        let mut state = self.lock();
        let is_idle = !state.half.is_busy() && !state.handle.is_inside();
        if !state.half.is_dry() || !is_idle || !state.direct {
            return None;
        }
        state.half.begin_direct();
        let mut id = 0;
        let before = state.watchers.watch(&mut id, Wanted::GivenUp, waker);
        debug_assert!(before.is_none(), "its place is new");
        Some(MayRead {
            handle: state.handle.handle(),
            id,
        })
    }

    /// It blocks no more, and has read nothing.
    pub(crate) fn end_block(self: &Arc<Self>, may_read: MayRead<B>) {
        let MayRead { handle, id } = may_read;
        // O4: whoever comes next may close it.
        drop(handle);
        self.forget(id);
        self.end_direct(ReadNow::Wait);
    }
}
