//! How a message gets in: at once or not at all, in line for room, or as much as there is room for.
//!
//! A failure that is known while the call runs is the call's answer (rule L2). Never here: what happens to bytes that are in.

use super::joining::Joined;
use super::{State, Wanted, WriterCell};
use crate::driver::Wakes;
use crate::line::Turn;
use crate::message::Message;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, ErrorKind, Moment, WriteNow};

/// What becomes of bytes that were just accepted.
enum Accepted<B: Backend> {
    /// The caller writes them out of its own memory.
    Direct(Arc<B::Handle>),
    /// They are queued for others to send.
    Joined(Joined),
    /// They are queued, and the caller sends what it can.
    Queued,
}

impl<B: Backend> WriterCell<B> {
    /// Accepts a whole message at once, or nothing of it; says how much of it is accepted all the same if the pipe fails
    /// meanwhile.
    pub(crate) fn try_accept(
        self: &Arc<Self>,
        message: &mut (impl Message + ?Sized),
    ) -> Result<(), (Cause, u64)> {
        let len = message.len();
        self.driver.refuse_elsewhere().map_err(|cause| (cause, 0))?;
        let mut state = self.lock();
        let mut refusal = state.refusal_of(len);
        if refusal.is_err() && state.has_joined() {
            // What is joined may make place.
            drop(state);
            self.pump();
            state = self.lock();
            refusal = state.refusal_of(len);
        }
        if let Err(cause) = refusal {
            state.tell(cause);
            return Err((cause, 0));
        }
        let start = state.half.begin_offer(Some(len));
        let accepted = state.take_in(message, start, 0, len, || self.driver.backend.now());
        drop(state);
        self.send(accepted, message, 0, (start, len))
    }

    /// Goes on with a piece that was just accepted.
    #[inline]
    fn send(
        self: &Arc<Self>,
        accepted: Accepted<B>,
        message: &(impl Message + ?Sized),
        from: u64,
        (start, len): (u64, u64),
    ) -> Result<(), (Cause, u64)> {
        match accepted {
            Accepted::Direct(handle) => self.send_directly(handle, message, from, (start, len)),
            Accepted::Joined(joined) => {
                self.handle_joined(joined);
                Ok(())
            }
            Accepted::Queued => self.send_offered(start, len),
        }
    }

    /// Writes bytes that were just accepted straight out of the caller's memory: nothing is before them, and nobody else makes
    /// calls meanwhile. Then as [`send_offered`](Self::send_offered), unless nothing follows from it.
    fn send_directly(
        self: &Arc<Self>,
        handle: Arc<B::Handle>,
        message: &(impl Message + ?Sized),
        from: u64,
        (start, len): (u64, u64),
    ) -> Result<(), (Cause, u64)> {
        let data = message.in_place(from, len).expect("asked before");
        watertight_os::note_thread();
        let answer = self.driver.backend.write_now(&handle, data);
        // O4: whoever comes next may close it.
        drop(handle);
        let is_whole = answer == WriteNow::Transferred(len);
        let mut state = self.lock();
        state.handle.leave();
        state.is_direct &= answer != WriteNow::Unavailable;
        state
            .half
            .handle_direct(answer, |moved| message.keep(from + moved, len - moved));
        if is_whole && state.is_quiet() {
            state.half.end_offer(start);
            return Ok(());
        }
        let after = state.after(|| self.driver.backend.now());
        drop(state);
        after.carry_out(&self.driver, self.key);
        self.send_offered(start, len)
    }

    /// Goes on with what was just accepted. A failure that is known by the end of it is the caller's answer (rule L2), with
    /// how many of the `len` bytes stay accepted.
    fn send_offered(self: &Arc<Self>, start: u64, len: u64) -> Result<(), (Cause, u64)> {
        watertight_os::note_thread();
        let answer = self.pump_for(Some(start));
        match answer {
            // Bytes leave in order: what is transferred is the front.
            Some((cause, refused)) if self.ledger().transferred() < start + len => {
                Err((cause, len - refused))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Accepts a message, waiting in line for room.
    pub(crate) fn poll_accept(
        self: &Arc<Self>,
        turn: &mut Turn,
        message: &mut (impl Message + ?Sized),
        waker: &Waker,
    ) -> Poll<Result<(), Cause>> {
        self.driver.refuse_elsewhere()?;
        loop {
            let mut state = self.lock();
            if let Some(cause) = state.half.refusal() {
                state.tell(cause);
                drop(state);
                self.leave_line(turn);
                return Poll::Ready(Err(cause));
            }
            let piece = state.line.next_piece(turn, message.len(), &state.half);
            if piece == 0 && turn.accepted < message.len() {
                if state.has_joined() {
                    // What is joined may make place.
                    drop(state);
                    self.pump();
                    continue;
                }
                let State { half, line, .. } = &mut *state;
                let replaced = line.wait(turn, message.len(), half, waker);
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            let new = (turn.accepted == 0).then(|| message.len());
            let start = state.half.begin_offer(new);
            let from = turn.accepted;
            let accepted = state.take_in(message, start, from, piece, || self.driver.backend.now());
            let done = from + piece == message.len();
            if !done {
                state.line.hold(turn);
            }
            drop(state);
            if done && turn.is_in_line() {
                self.leave_line(turn);
            }
            match self.send(accepted, message, from, (start, piece)) {
                Ok(()) => turn.accepted += piece,
                Err((cause, accepted)) => {
                    turn.accepted += accepted;
                    self.leave_line(turn);
                    return Poll::Ready(Err(cause));
                }
            }
            if done {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Gives up a place in the line; the next one's turn comes.
    pub(crate) fn leave_line(&self, turn: &mut Turn) {
        if !turn.is_in_line() || self.is_locked_for_ever() {
            return;
        }
        let mut state = self.lock();
        let left = state.line.leave(turn);
        let mut wakes = Wakes::default();
        // Whoever comes first now was held up by the line alone.
        state.wake_line(true, &mut wakes);
        drop(state);
        // A waker's destructor is the executor's code: not under our lock.
        drop(left);
        self.driver.wake(wakes);
    }

    /// Accepts as much of a message as there is room for, at least one byte; for callers that may never come back and must not
    /// keep a place in the line (the asynchronous traits, what a child's output is passed on to).
    pub(crate) fn poll_accept_some(
        self: &Arc<Self>,
        id: &mut u64,
        message: &mut (impl Message + ?Sized),
        waker: &Waker,
    ) -> Poll<Result<u64, Cause>> {
        self.driver.refuse_elsewhere()?;
        let mut state = self.lock();
        if state.half.room() == 0 && state.has_joined() {
            // What is joined may make place.
            drop(state);
            self.pump();
            state = self.lock();
        }
        if let Some(cause) = state.half.refusal() {
            state.tell(cause);
            return Poll::Ready(Err(cause));
        }
        let room = if state.line.is_empty() {
            state.half.room()
        } else {
            0
        };
        let piece = room.min(message.len());
        if piece == 0 && message.len() > 0 {
            let replaced = state.watchers.watch(id, Wanted::Room, waker);
            drop(state);
            drop(replaced);
            return Poll::Pending;
        }
        let start = state.half.begin_offer(Some(piece));
        let accepted = state.take_in(message, start, 0, piece, || self.driver.backend.now());
        drop(state);
        Poll::Ready(match self.send(accepted, message, 0, (start, piece)) {
            Err((cause, 0)) => Err(cause),
            // What is accepted is not offered again; the next call hears of the failure.
            Err((_, accepted)) => Ok(accepted),
            Ok(()) => Ok(piece),
        })
    }
}

impl<B: Backend> State<B> {
    /// Accepts a piece of a message that is offered from `start` on: into the queue, or, where the caller can write it straight
    /// out of its own memory, as in flight. Then the caller is inside, with the handle.
    fn take_in(
        &mut self,
        message: &mut (impl Message + ?Sized),
        start: u64,
        from: u64,
        bytes: u64,
        now: impl FnOnce() -> Moment,
    ) -> Accepted<B> {
        let is_whole = bytes == message.len();
        if is_whole && let Some(joined) = self.joins(bytes, now) {
            message.accept(from, bytes, &mut self.half);
            if joined == Joined::default() && self.is_much_queued() {
                return Accepted::Queued;
            }
            // Its call returns, and no failure is its answer any more.
            self.half.end_offer(start);
            return Accepted::Joined(joined);
        }
        let is_direct = self.is_direct
            && !self.handle.is_inside()
            && self.half.may_be_direct(bytes)
            && message.is_in_one_place();
        if !is_direct {
            message.accept(from, bytes, &mut self.half);
            return Accepted::Queued;
        }
        self.half.begin_direct(bytes);
        Accepted::Direct(self.handle.enter_directly())
    }

    /// Whether nobody has anything to hear or to do because bytes were transferred.
    fn is_quiet(&self) -> bool {
        let is_alone = self.line.is_empty() && self.watchers.is_empty() && self.watched.is_silent();
        is_alone && self.half.is_idle() && !self.handle.dropped
    }

    /// Why a message of `len` bytes is not accepted now, if so.
    fn refusal_of(&self, len: u64) -> Result<(), Cause> {
        if let Some(cause) = self.half.refusal() {
            return Err(cause);
        }
        if len > self.half.limits().queue_bytes_max {
            return Err(Cause::of(ErrorKind::InvalidInput));
        }
        // Those in the line were first; and nothing may get between the pieces of a message.
        if !self.line.is_empty() || len > self.half.room() {
            return Err(Cause::of(ErrorKind::QueueFull));
        }
        Ok(())
    }
}
