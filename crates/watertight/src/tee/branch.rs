//! One destination of a transfer to several: how far it is in the source's stream, how bytes get to it, and since when they wait for it.
//!
//! Never here: what its failure or its slowness means for the others.

use super::account::TeeDestination;
use super::private::{PrivatePipe, Round};
use crate::driver::Driver;
use crate::pump_write::{DestinationWait, MoveBegun};
use crate::writer::PipeWriter;
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use watertight_core::{Backend, Cause, Error, Moment, MoveNow, Verb};

mod straight;

pub(super) use straight::Straight;

/// How many bytes go the ordinary way when the destination takes nothing more inside the kernel: their write is the wait for it. One page,
/// which is what a pipe takes once it says that it takes something.
const PAGE_BYTES_MAX: u64 = 4096;

/// What came of moving what is in a private pipe.
pub(super) enum BranchStep {
    /// There may be more to do at once.
    Again,
    /// There is nothing to move.
    Idle,
    /// Inside the kernel nothing goes there.
    Unavailable,
    /// The waker is left with the destination.
    Waits,
}

/// One destination.
pub(super) struct Branch<'a, B: Backend> {
    to: &'a PipeWriter<B>,
    wait: DestinationWait,
    /// The next byte it is to get, counted from the beginning of the source's stream. Smaller than what has left the source by now if others
    /// read there, or if it is new.
    position: u64,
    /// How many bytes it accepted, and how many of them never left the kernel.
    bytes: u64,
    in_kernel: u64,
    /// Copies of bytes that it has not accepted yet, from `position` on.
    private: Option<PrivatePipe<B>>,
    /// The kernel does not copy from the source straight to it: copies go through a private pipe.
    needs_private: bool,
    /// It took nothing straight from the source, and nobody has waited since: so many bytes were to go the ordinary way.
    full: Option<u64>,
    /// Why it no longer counts.
    error: Option<Error>,
    /// A call for it failed, and nobody has been told.
    failed: Option<Cause>,
    /// Its observer is told nothing before the source is given back.
    is_held_back: bool,
    /// Nothing is written to it for now.
    is_paused: bool,
    /// All that it accepted is transferred.
    has_settled: bool,
    /// It has no room, or too much to write for the next read, or not everything is transferred.
    is_waited_for: bool,
    /// Since when. Kept only where somebody looks at the time.
    stall: Option<Stall>,
}

/// Since when it makes no progress, and how many bytes it had transferred then.
#[derive(Clone, Copy)]
struct Stall {
    since: Moment,
    transferred: u64,
}

impl<'a, B: Backend> Branch<'a, B> {
    pub(super) fn new(to: &'a PipeWriter<B>) -> Self {
        Self {
            to,
            wait: DestinationWait::default(),
            position: 0,
            bytes: 0,
            in_kernel: 0,
            private: None,
            needs_private: false,
            full: None,
            error: None,
            failed: None,
            is_held_back: false,
            is_paused: false,
            has_settled: false,
            is_waited_for: false,
            stall: None,
        }
    }

    pub(super) fn is_of(&self, to: &PipeWriter<B>) -> bool {
        Arc::ptr_eq(self.to.cell(), to.cell())
    }

    pub(super) fn is_on(&self, driver: &Arc<Driver<B>>) -> bool {
        Arc::ptr_eq(&self.to.cell().driver, driver)
    }

    pub(super) fn is_file_or_closed(&self) -> bool {
        self.to.cell().is_file_or_closed()
    }

    /// Whether the others wait for it.
    pub(super) const fn counts(&self) -> bool {
        self.error.is_none()
    }

    /// Whether nothing is written to it for now.
    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Nothing is written to it for now, or something again.
    pub(super) const fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether some of what it accepted, from whoever, is not transferred.
    pub(super) fn is_behind(&self) -> bool {
        self.to.ledger().unsettled() > 0
    }

    pub(super) const fn account(&self) -> TeeDestination {
        TeeDestination {
            bytes: self.bytes,
            in_kernel: self.in_kernel,
            error: self.error,
        }
    }

    pub(super) fn error_of(&self, cause: Cause) -> Error {
        cause.during(Verb::Write, self.to.ledger())
    }

    /// It no longer counts.
    pub(super) fn lose(&mut self, error: Error) {
        self.error = Some(error);
        self.forget();
    }

    /// Why it accepts nothing any more, if so. Whoever asks tells it.
    pub(super) fn refusal(&mut self) -> Option<Cause> {
        self.failed.take().or_else(|| self.to.cell().refusal())
    }

    /// Whether it has made no progress for so long.
    pub(super) fn is_slow(&mut self, bound: Duration, now: Moment) -> bool {
        let transferred = self.to.ledger().transferred();
        let Some(stall) = &mut self.stall else {
            return false;
        };
        if stall.transferred != transferred {
            *stall = Stall {
                since: now,
                transferred,
            };
        }
        stall.since.after(bound) <= now
    }

    /// How much has moved here: what it accepted, and what the kernel took from its queue, whoever sent it; as long as it counted.
    pub(super) fn moved(&self) -> u64 {
        let ledger = self.error.map(|error| error.ledger);
        let ledger = ledger.unwrap_or_else(|| self.to.ledger());
        self.bytes + ledger.transferred()
    }

    /// When it will have made no progress for so long.
    pub(super) fn slow_at(&self, bound: Duration) -> Option<Moment> {
        self.stall.map(|stall| stall.since.after(bound))
    }

    /// Whether it has no room, or too much to write for the next read, or not everything is transferred.
    pub(super) const fn is_waited_for(&self) -> bool {
        self.is_waited_for
    }

    /// Has the waker called when it is over.
    pub(super) fn watch_end(&mut self, waker: &Waker) {
        self.to.cell().watch_end(&mut self.wait, waker);
    }

    /// How far behind `start` in the source's stream it has all bytes.
    pub(super) const fn behind(&self, start: u64) -> u64 {
        self.position.saturating_sub(start)
    }

    /// The next byte it is to get, in the source's stream.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Whether it has everything before `start` in the source's stream, and nothing from there on.
    pub(super) fn is_at(&self, start: u64) -> bool {
        self.behind(start) == 0 && !self.has_copies()
    }

    /// Whether there are copies of bytes that it has not accepted yet.
    pub(super) fn has_copies(&self) -> bool {
        let private = self.private.as_ref();
        private.is_some_and(|private| private.bytes() > 0)
    }

    /// Accepts what it has room for of what is lent from the source, whose first byte is at `start`. [`Branch::let_go`] must follow.
    /// Says whether there may be more to do at once.
    pub(super) fn pass_on(
        &mut self,
        (start, data): (u64, &Bytes),
        now: Option<Moment>,
        waker: &Waker,
    ) -> bool {
        let offset = self.behind(start);
        if offset >= data.len() as u64 {
            // Copies of what is behind these may wait for it.
            if !self.has_copies() {
                self.wait_while(false, now);
            }
            return false;
        }
        if self.is_paused {
            self.wait_while(true, now);
            return false;
        }
        let index = usize::try_from(offset).expect("an offset into bytes in memory");
        let mut rest = data.slice(index..);
        // They would be stale.
        self.drop_copies();
        self.is_held_back = true;
        let cell = self.to.cell();
        let answer = cell.poll_pass_on(&mut self.wait, &mut rest, waker);
        self.wait_while(answer.is_pending(), now);
        match answer {
            Poll::Ready(Ok(accepted)) => {
                self.position = start + offset + accepted;
                self.bytes += accepted;
                true
            }
            Poll::Ready(Err(cause)) => {
                self.failed = Some(cause);
                true
            }
            Poll::Pending => false,
        }
    }

    /// The source is given back: its observer may be told. Whether it was: it may have waited, and have taken a wake.
    pub(super) fn let_go(&mut self) -> bool {
        let is_held_back = std::mem::take(&mut self.is_held_back);
        is_held_back && self.to.cell().end_pass_on()
    }

    /// How much it has room for, at least a byte; `None` if it accepts nothing any more.
    pub(super) fn poll_room(&mut self, now: Option<Moment>, waker: &Waker) -> Poll<Option<u64>> {
        let room = self.to.cell().poll_room(&mut self.wait, waker);
        self.wait_while(room.is_pending(), now);
        room
    }

    /// Whether it has at most one half of a buffer left to write; `None` if it accepts nothing any more. Else the waker is left with it.
    /// [`Branch::handle_halves`] must follow.
    pub(super) fn poll_half(&mut self, half_bytes_max: u64, waker: &Waker) -> Poll<Option<u64>> {
        let cell = self.to.cell();
        cell.poll_half(&mut self.wait, half_bytes_max, waker)
    }

    /// All were asked whether half of the buffer is free. If it is for none, all are waited for. Else only one that has no room is: how much
    /// there is left to write is its own business.
    pub(super) fn handle_halves(&mut self, is_any_free: bool, now: Option<Moment>) {
        let is_waited_for = !is_any_free || !self.to.cell().has_room();
        self.wait_while(is_waited_for, now);
    }

    /// How many bytes it ever has room for.
    pub(super) fn queue_bytes_max(&self) -> u64 {
        self.to.cell().queue_bytes_max()
    }

    /// The next wait until the kernel has everything is about what is accepted by then.
    pub(super) fn begin_settling(&mut self) {
        self.wait.ask_anew();
        self.has_settled = false;
    }

    /// Sends what is joined. Whether there was any: its observer may have waited, and have taken a wake.
    pub(super) fn send_joined(&self) -> bool {
        !self.has_settled && self.to.cell().send_joined()
    }

    /// Waits until the kernel has all that it had accepted when that wait began.
    pub(super) fn poll_settled(
        &mut self,
        now: Option<Moment>,
        waker: &Waker,
    ) -> Poll<Result<(), Cause>> {
        if self.has_settled {
            return Poll::Ready(Ok(()));
        }
        let settled = self.to.cell().poll_settled_all(&mut self.wait, waker);
        self.has_settled = settled.is_ready();
        self.wait_while(settled.is_pending(), now);
        settled
    }

    /// There was a wait: it may take more.
    pub(super) const fn try_again(&mut self) {
        self.full = None;
    }

    /// It is waited for until it takes more: the handle, until [`end_block`](Self::end_block). `None`: it has more to do first.
    pub(super) fn begin_block(&mut self, waker: &Waker) -> Option<Arc<B::Handle>> {
        self.to.cell().begin_block(&mut self.wait, waker)
    }

    pub(super) fn end_block(&self, handle: Arc<B::Handle>) {
        self.to.cell().end_block(handle);
    }

    /// Whether it has room in its queue. If it has none, the waker is left with it.
    pub(super) fn may_queue(&mut self, waker: &Waker) -> bool {
        let room = self.to.cell().poll_room(&mut self.wait, waker);
        matches!(room, Poll::Ready(Some(_)))
    }

    /// Whether it counts, and the next copies are for it.
    pub(super) fn wants_copies(&self, start: u64) -> bool {
        self.counts() && self.is_at(start)
    }

    /// Whether its copies go through a private pipe.
    pub(super) const fn needs_private(&self) -> bool {
        self.needs_private
    }

    /// Gets copies of the source's first bytes, the first of which is at `start`, in its private pipe. The caller has the source.
    pub(super) fn copy(&mut self, from: &B::Handle, start: u64, round: &Round<'_, B>) -> MoveNow {
        if self.private.is_none() {
            self.private = PrivatePipe::new(&self.to.cell().driver, from, round.everywhere);
        }
        let Some(private) = &mut self.private else {
            return MoveNow::Unavailable;
        };
        let copied = private.copy(from, round);
        if let MoveNow::Moved(_) = copied {
            self.position = start;
        }
        copied
    }

    /// Copies are of no use any more: what they are of is in the source still, or goes another way.
    pub(super) fn drop_copies(&mut self) {
        if self.has_copies() {
            self.private = None;
        }
    }

    /// Its bytes go through the buffer now. A later wait that moves any asks again how: what this one was refused for the sake of a disk says
    /// nothing of that.
    pub(super) fn forget_moves(&mut self) {
        self.drop_copies();
        self.needs_private = false;
    }

    /// Somebody else has read what was copied.
    pub(super) fn drop_stale_copies(&mut self, start: u64) {
        if self.position < start {
            self.drop_copies();
        }
    }

    /// Moves what is in its private pipe on.
    pub(super) fn move_copies(&mut self, round: &Round<'_, B>) -> BranchStep {
        if !self.has_copies() {
            self.wait_while(false, round.now);
            return BranchStep::Idle;
        }
        let to = match self.begin_move(round) {
            Ok(to) => to,
            Err(BranchStep::Idle) => return self.pass_page(round),
            Err(step) => return step,
        };
        let private = self.private.as_mut().expect("it has copies");
        let answer = private.move_to(&to, round);
        // O4: whoever comes next may close it.
        drop(to);
        let (moved, failure) = booked(answer);
        self.to.cell().end_move(moved, failure);
        match answer {
            MoveNow::Moved(_) => {
                self.count_moved(self.position + moved, moved, round.now);
                BranchStep::Again
            }
            // The next step finds it in its account.
            MoveNow::WriteFailed(..) => BranchStep::Again,
            MoveNow::Unavailable => BranchStep::Unavailable,
            MoveNow::DestinationWait
            | MoveNow::EndOfStream
            | MoveNow::ReadFailed(..)
            | MoveNow::SourceWait
            | MoveNow::Wait => self.pass_page(round),
        }
    }

    /// Waits no longer for anything. How far it is stays.
    pub(super) fn forget(&mut self) {
        // O9: nobody knows what becomes of the source before the next wait.
        self.private = None;
        let wait = std::mem::take(&mut self.wait);
        self.to.cell().forget_destination(&wait);
        self.is_waited_for = false;
        self.stall = None;
    }

    fn count_moved(&mut self, position: u64, moved: u64, now: Option<Moment>) {
        self.position = position;
        self.bytes += moved;
        self.in_kernel += moved;
        self.wait_while(false, now);
    }

    /// Has its handle for a move into it. Otherwise what there is to do first: nothing, if somebody else is at it.
    fn begin_move(&mut self, round: &Round<'_, B>) -> Result<Arc<B::Handle>, BranchStep> {
        let cell = self.to.cell();
        match cell.begin_move() {
            MoveBegun::Begun(to) => {
                self.wait.ask_anew();
                Ok(to)
            }
            MoveBegun::Unavailable => Err(BranchStep::Idle),
            MoveBegun::Unsettled => {
                let settled = cell.poll_settled_all(&mut self.wait, round.waker);
                self.wait_while(settled.is_pending(), round.now);
                Err(match settled {
                    Poll::Pending => BranchStep::Waits,
                    Poll::Ready(Ok(())) => BranchStep::Again,
                    Poll::Ready(Err(cause)) => {
                        self.failed = Some(cause);
                        BranchStep::Again
                    }
                })
            }
        }
    }

    /// Passes a page of what is in its private pipe on the ordinary way.
    fn pass_page(&mut self, round: &Round<'_, B>) -> BranchStep {
        let room = match self.poll_room(round.now, round.waker) {
            Poll::Pending => return BranchStep::Waits,
            // The next step tells why.
            Poll::Ready(None) => return BranchStep::Again,
            Poll::Ready(Some(room)) => room,
        };
        let private = self.private.as_mut();
        // Out of a pipe of packets each read throws away what it has no room for.
        let most = if round.everywhere {
            PAGE_BYTES_MAX
        } else {
            room.min(PAGE_BYTES_MAX)
        };
        let page = private.and_then(|private| private.read(most));
        let Some(mut data) = page else {
            return BranchStep::Unavailable;
        };
        let bytes = data.len() as u64;
        let cell = self.to.cell();
        let answer = cell.poll_pass_on(&mut self.wait, &mut data, round.waker);
        let is_told = cell.end_pass_on();
        self.wait_while(answer.is_pending(), round.now);
        let accepted = match &answer {
            Poll::Ready(Ok(accepted)) => *accepted,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.position += accepted;
        self.bytes += accepted;
        if accepted < bytes {
            // The rest of the page is in the source still, and so is what is behind it.
            self.private = None;
        }
        match answer {
            // Its observer may have waited, and have taken a wake.
            Poll::Pending if is_told => BranchStep::Again,
            Poll::Pending => BranchStep::Waits,
            Poll::Ready(Ok(_)) => BranchStep::Again,
            Poll::Ready(Err(cause)) => {
                self.failed = Some(cause);
                BranchStep::Again
            }
        }
    }

    /// Bytes wait for it or not: since now, if they have not before.
    pub(super) fn wait_while(&mut self, is_waited_for: bool, now: Option<Moment>) {
        self.is_waited_for = is_waited_for;
        self.stall = match (self.stall, now) {
            (Some(stall), _) if is_waited_for => Some(stall),
            (None, Some(since)) if is_waited_for => Some(Stall {
                since,
                transferred: self.to.ledger().transferred(),
            }),
            (Some(_) | None, _) => None,
        };
    }
}

/// What a move is to the destination: how many bytes came, or why none did.
fn booked(answer: MoveNow) -> (u64, Option<Cause>) {
    match answer {
        MoveNow::Moved(n) => (n as u64, None),
        MoveNow::WriteFailed(class, os) => {
            let kind = class.kind();
            (0, Some(Cause { kind, os }))
        }
        MoveNow::DestinationWait
        | MoveNow::EndOfStream
        | MoveNow::ReadFailed(..)
        | MoveNow::SourceWait
        | MoveNow::Unavailable
        | MoveNow::Wait => (0, None),
    }
}
