//! A writer as the destination of a transfer: bytes that reach it inside the kernel, and waiting until it takes more.

use super::{State, Wanted, WriterCell};
use crate::joined;
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use watertight_core::{Backend, Cause, Moment};

/// Where a transfer's wait for its destination stands. Belongs to the caller's waiting value.
#[derive(Debug, Default)]
pub(crate) struct DestinationWait {
    /// Its place among those that wait for room, or until half of the buffer is written, or for a stop while this thread blocks.
    room_id: u64,
    /// How much of what it has accepted is to be written before the next half is read.
    written: Option<u64>,
    /// Its place among those that wait until the kernel has what is accepted, and how much that is.
    settled_id: u64,
    settled: Option<u64>,
    /// Its place among those that wait for the end.
    end_id: u64,
    /// This thread cannot block until the destination takes more.
    cannot_block: bool,
}

impl DestinationWait {
    /// The next wait until the kernel has everything is about what is accepted by then, not about what an earlier one began with.
    pub(crate) const fn ask_anew(&mut self) {
        self.settled = None;
    }
}

/// Whether bytes may be moved here now.
pub(crate) enum MoveBegun<B: Backend> {
    /// Into this handle.
    Begun(Arc<B::Handle>),
    /// What is accepted goes first.
    Unsettled,
    /// Somebody else is at it: by a write, as any other bytes.
    Unavailable,
}

/// What came of blocking until the destination takes more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Blocked {
    /// Whatever it was: look again.
    Awake,
    /// The bound has passed.
    Late,
    /// Not offered for this handle, or not now.
    Unavailable,
}

impl<B: Backend> WriterCell<B> {
    /// Why no more bytes are accepted, if so. Whoever asks tells it.
    pub(crate) fn refusal(&self) -> Option<Cause> {
        let mut state = self.lock();
        let refusal = state.half.refusal();
        if let Some(cause) = refusal {
            state.tell(cause);
        }
        refusal
    }

    /// Whether it is a regular file, or is closed and gets nothing.
    pub(crate) fn is_file_or_closed(&self) -> bool {
        let state = self.lock();
        let handle = state.handle.handle_ref();
        handle.is_none_or(|handle| self.driver.backend.is_file(handle))
    }

    /// The handle, for a move into it. Until [`end_move`](Self::end_move) nobody else writes, there is no room for anything, and
    /// the handle stays open.
    pub(crate) fn begin_move(&self) -> MoveBegun<B> {
        let mut state = self.lock();
        if state.may_be_moved_to() {
            state.half.begin_move();
            return MoveBegun::Begun(state.handle.enter_directly());
        }
        if state.half.ledger().unsettled() > 0 {
            MoveBegun::Unsettled
        } else {
            MoveBegun::Unavailable
        }
    }

    /// The answer to that move: how many bytes came, or why none did. The caller has let go of the handle.
    pub(crate) fn end_move(self: &Arc<Self>, moved: u64, failure: Option<Cause>) {
        self.change(|state| {
            state.handle.leave();
            state.half.handle_move(moved, failure);
        });
    }

    /// Blocks this thread until the kernel may take more, at most until then. It comes back for whatever its waker is called for, and
    /// a stop calls it. Meanwhile this thread is the one inside (D2): what others send is queued behind, and goes out once it is back.
    pub(crate) fn block_until_writable(
        self: &Arc<Self>,
        wait: &mut DestinationWait,
        waker: &Waker,
        until: Option<Moment>,
    ) -> Blocked {
        if wait.cannot_block {
            return Blocked::Unavailable;
        }
        let left = until.map(|until| self.driver.backend.now().until(until));
        if left == Some(Duration::ZERO) {
            return Blocked::Late;
        }
        if joined::send_all() {
            // Observers may have run, and have taken a wake that was about the source.
            return Blocked::Awake;
        }
        let Some(handle) = self.begin_block(wait, waker) else {
            return Blocked::Awake;
        };
        let is_offered = self.driver.backend.block_until_writable(&[&handle], left);
        self.end_block(handle);
        wait.cannot_block = !is_offered;
        if is_offered {
            Blocked::Awake
        } else {
            Blocked::Unavailable
        }
    }

    /// The handle, for a thread that blocks until it takes more, and that a stop calls back. Until [`end_block`](Self::end_block) nobody else
    /// writes. `None`: it was stopped, or somebody else was faster.
    pub(crate) fn begin_block(
        &self,
        wait: &mut DestinationWait,
        waker: &Waker,
    ) -> Option<Arc<B::Handle>> {
        let mut state = self.lock();
        if !state.may_be_moved_to() {
            return None;
        }
        // D3: under the lock under which it was not stopped.
        let replaced = state
            .watchers
            .watch(&mut wait.room_id, Wanted::Refusal, waker);
        let handle = state.handle.enter_directly();
        let enlarges = state.is_to_enlarge();
        drop(state);
        drop(replaced);
        if enlarges {
            self.driver.backend.enlarge(&handle);
        }
        Some(handle)
    }

    /// The thread has come back, or has not blocked.
    pub(crate) fn end_block(self: &Arc<Self>, handle: Arc<B::Handle>) {
        // O4: once this thread is no longer inside somebody may close it.
        drop(handle);
        self.change(|state| state.handle.leave());
    }

    /// How much it has room for, at least a byte; `None` if it accepts nothing any more.
    pub(crate) fn poll_room(&self, wait: &mut DestinationWait, waker: &Waker) -> Poll<Option<u64>> {
        let mut state = self.lock();
        if state.half.refusal().is_some() {
            return Poll::Ready(None);
        }
        let room = state.half.room();
        if room > 0 && state.line.is_empty() {
            return Poll::Ready(Some(room));
        }
        let replaced = state.watchers.watch(&mut wait.room_id, Wanted::Room, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Whether it has room for a byte.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        state.half.room() > 0 && state.line.is_empty()
    }

    /// Waits until all that it has accepted is written but for one half of a buffer: how many bytes the other half has, into
    /// which may be read meanwhile. `None` if it accepts nothing any more. A half is no more than it ever has room for; it need not
    /// have that room now, for what is read waits in the source's read-ahead.
    pub(crate) fn poll_half(
        &self,
        wait: &mut DestinationWait,
        half_bytes_max: u64,
        waker: &Waker,
    ) -> Poll<Option<u64>> {
        let mut state = self.lock();
        if state.half.refusal().is_some() {
            return Poll::Ready(None);
        }
        let half = half_bytes_max.min(state.half.limits().queue_bytes_max);
        let ledger = state.half.ledger();
        let behind = ledger.accepted().saturating_sub(half);
        // Kept until then: what others send meanwhile does not put it off.
        let written = *wait.written.get_or_insert(behind);
        if ledger.transferred() >= written {
            wait.written = None;
            return Poll::Ready(Some(half));
        }
        let wanted = Wanted::Half(written);
        let replaced = state.watchers.watch(&mut wait.room_id, wanted, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Accepts as much of these bytes as there is room for, at least one. The observer is told nothing of it before
    /// [`end_pass_on`](Self::end_pass_on): the caller has the source, which the observer may want.
    pub(crate) fn poll_pass_on(
        self: &Arc<Self>,
        wait: &mut DestinationWait,
        data: &mut Bytes,
        waker: &Waker,
    ) -> Poll<Result<u64, Cause>> {
        // A wait for what was accepted before says nothing of these.
        wait.settled = None;
        wait.written = None;
        self.lock().watched.hold_back();
        self.poll_accept_some(&mut wait.room_id, data, waker)
    }

    /// The source is given back: the observer may be told. Whether it was: it may have waited, and have taken a wake of this thread's.
    pub(crate) fn end_pass_on(self: &Arc<Self>) -> bool {
        self.lock().watched.let_go();
        self.tell_observer()
    }

    /// Waits until the kernel has all that was accepted when this wait began.
    pub(crate) fn poll_settled_all(
        self: &Arc<Self>,
        wait: &mut DestinationWait,
        waker: &Waker,
    ) -> Poll<Result<(), Cause>> {
        let settled = self.poll_transferred(&mut wait.settled_id, &mut wait.settled, waker);
        if settled.is_ready() {
            wait.settled = None;
        }
        settled
    }

    /// Has the waker called when the pipe is over.
    pub(crate) fn watch_end(&self, wait: &mut DestinationWait, waker: &Waker) {
        let mut state = self.lock();
        let replaced = state.watchers.watch(&mut wait.end_id, Wanted::Over, waker);
        drop(state);
        drop(replaced);
    }

    /// Waits no longer for anything.
    pub(crate) fn forget_destination(&self, wait: &DestinationWait) {
        self.forget(wait.room_id);
        self.forget(wait.settled_id);
        self.forget(wait.end_id);
    }
}

impl<B: Backend> State<B> {
    /// Whether it is open, with nothing before what comes next, and nobody is at it.
    fn may_be_moved_to(&self) -> bool {
        self.half.is_idle() && !self.handle.is_inside() && self.line.is_empty()
    }
}
