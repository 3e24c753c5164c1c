//! The writing half: a bounded queue, one operation in flight, and the first failure latched.
//!
//! It must never wait and never know what a handle is. The driver asks [`WriteHalf::poll_action`] what to do next.

use crate::closing::Closing;
use crate::error::{Cause, ErrorKind};
use crate::ledger::Ledger;
use crate::messages::{MessageReport, Messages};
use crate::op::{Action, Chunks, Moved, Op, OpKind, Outcome};
use crate::phase::{WriteEvent, WritePhase};
use alloc::boxed::Box;
use alloc::sync::Arc;
use backlog::Backlog;
use bytes::Bytes;
use direct::Direct;

mod backlog;
mod direct;
mod limits;
mod offers;

pub use limits::WriteLimits;

/// The writing half of a pipe.
#[derive(Debug)]
pub struct WriteHalf {
    /// Shared by those whose bounds are the same.
    limits: Arc<WriteLimits>,
    /// S1: the first failure wins, and no phase is left to use.
    state: Result<WritePhase, Cause>,
    ledger: Ledger,
    messages: Messages,
    /// Made with the first byte that is queued, or the first question.
    backlog: Option<Box<Backlog>>,
    /// So many bytes are being written straight out of a caller's memory, outside the lock, by a call that does not wait. 0: a
    /// call moves bytes here from another handle, and its answer says how many.
    direct: Option<Direct>,
    cancel_asked: bool,
    closing: Closing,
    /// The stop bound passed with the operation unanswered: it stays the backend's.
    quarantined: bool,
    /// What failed after the account was final: an operation of each kind and the closing at most.
    late_failures: u8,
    /// Why a stop began that no failure caused.
    stopped_by: Option<ErrorKind>,
    released: bool,
    /// Where the message begins whose call is still running: the last one that was accepted. Or [`offers::NONE`].
    offered: u64,
    /// All is transferred, and the closing waits for the peer to read it, or did.
    is_read_out: bool,
}

impl WriteHalf {
    /// An open half. Allocates nothing if its limits are shared already.
    #[must_use]
    pub fn new(limits: impl Into<Arc<WriteLimits>>) -> Self {
        Self {
            limits: limits.into(),
            state: Ok(WritePhase::Open),
            ledger: Ledger::default(),
            messages: Messages::default(),
            backlog: None,
            direct: None,
            cancel_asked: false,
            closing: Closing::Not,
            quarantined: false,
            late_failures: 0,
            stopped_by: None,
            released: false,
            offered: offers::NONE,
            is_read_out: false,
        }
    }

    /// The account at this moment.
    #[must_use]
    pub const fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Where it is in its life, or the failure that ended it.
    pub const fn phase(&self) -> Result<WritePhase, Cause> {
        self.state
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &WriteLimits {
        &self.limits
    }

    /// How many bytes may be accepted now.
    #[inline]
    #[must_use]
    pub fn room(&self) -> u64 {
        // What a move brings comes before whatever is accepted after it began, and how much that is its answer says.
        if !self.messages.has_room() || self.is_moving() {
            return 0;
        }
        self.limits
            .queue_bytes_max
            .saturating_sub(self.ledger.unsettled())
    }

    /// Whether there is so much room that waking somebody for it pays: half of the queue, or all of it.
    #[must_use]
    pub fn has_ample_room(&self) -> bool {
        let is_half_free = self.ledger.unsettled() <= self.limits.queue_bytes_max / 2;
        self.messages.has_room() && is_half_free
    }

    /// From now on others may write into the same pipe (see [`WriteLimits::atomic_bytes_max`]).
    pub fn share(&mut self, atomic_bytes_max: Option<u64>) {
        Arc::make_mut(&mut self.limits).atomic_bytes_max = atomic_bytes_max;
    }

    /// What became of the messages.
    #[must_use]
    pub fn messages(&self) -> MessageReport {
        self.messages.report(self.ledger.in_doubt())
    }

    /// Why no more bytes are accepted, if so.
    #[inline]
    #[must_use]
    pub fn refusal(&self) -> Option<Cause> {
        match self.state {
            Ok(WritePhase::Open) => None,
            Ok(WritePhase::Closed | WritePhase::Stopping) => {
                Some(Cause::of(self.stopped_by.unwrap_or(ErrorKind::Closed)))
            }
            Ok(WritePhase::Finishing | WritePhase::Lingering) => Some(Cause::of(ErrorKind::Closed)),
            Err(cause) => Some(cause),
        }
    }

    /// The failure that ended this half, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<Cause> {
        self.state.err()
    }

    /// Why it stopped before everything was transferred, if no failure did it: aborted, or the linger bound passed.
    #[must_use]
    pub const fn stopped_by(&self) -> Option<ErrorKind> {
        self.stopped_by
    }

    /// Whether it is over: nothing changes any more, and the account is final (rule S6).
    ///
    /// The handle is closed by then, unless the operation never answered and sits in quarantine with it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closing == Closing::Done || self.quarantined
    }

    /// Whether the handle is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::Done
    }

    /// Whether the operation in flight outlived the stop bound and is not answered yet.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.quarantined && self.closing != Closing::Done
    }

    /// Whether it waits for an answer under the stop bound.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        // A direct write does not wait, so it needs no bound, and what is its caller's never goes into quarantine.
        let is_waiting = self.anything_in_flight() && self.direct.is_none();
        !self.is_sending() && is_waiting && !self.quarantined
    }

    /// Whether the kernel has been asked to stop all that is in flight and has not answered: from then on the stop bound counts.
    #[must_use]
    pub fn is_cancelling(&self) -> bool {
        let is_asked = !self.is_writing() || self.cancel_asked;
        self.is_stopping() && is_asked && !self.peer_reading().is_uncancelled()
    }

    /// Whether it sends its rest after a drop, under the linger bound.
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        matches!(self.state, Ok(WritePhase::Lingering))
    }

    /// Accepts a copy of `data`. The caller has checked [`WriteHalf::refusal`] and [`WriteHalf::room`].
    pub fn accept_copy(&mut self, data: &[u8]) {
        self.assert_open();
        self.ledger.accept(data.len() as u64);
        self.messages.accept(data.len() as u64);
        self.backlog().queue.push_copy(data);
    }

    /// Accepts `chunk` itself. The caller has checked [`WriteHalf::refusal`] and [`WriteHalf::room`].
    pub fn accept_owned(&mut self, chunk: Bytes) {
        self.assert_open();
        self.ledger.accept(chunk.len() as u64);
        self.messages.accept(chunk.len() as u64);
        self.backlog().queue.push_owned(chunk);
    }

    /// No more bytes; send the rest, then close.
    pub fn finish(&mut self) {
        self.step(WriteEvent::Finish);
        self.close_if_drained();
    }

    /// Stop now. Bytes in flight wait for their answer; queued ones are discarded.
    pub fn abort(&mut self) {
        self.stop(WriteEvent::Abort, ErrorKind::Aborted);
    }

    /// The last handle was dropped: as [`WriteHalf::finish`], with nobody waiting.
    pub fn handle_drop(&mut self) {
        self.step(WriteEvent::Drop);
        self.close_if_drained();
    }

    /// The linger bound passed.
    pub fn handle_linger_expired(&mut self) {
        if self.is_lingering() {
            self.stop(WriteEvent::Expired, ErrorKind::TimedOut);
        }
    }

    /// The stop bound passed: what is in flight goes into quarantine (rule S5).
    pub fn handle_stop_expired(&mut self) {
        if !self.is_stopping() {
            return;
        }
        self.step(WriteEvent::Expired);
        self.quarantined = true;
        if let Some(backlog) = &mut self.backlog
            && let Some(chunks) = &backlog.in_flight
        {
            // The account is final now, so a late answer only releases: it changes no count (rule S6).
            self.ledger.doubt(chunks.bytes());
            backlog.in_doubt = chunks.iter().cloned().collect();
        }
    }

    /// Gives the handle up without closing it, if nothing is queued or in flight. Says whether it did.
    pub fn release(&mut self) -> bool {
        let idle = self.ledger.unsettled() == 0 && !self.anything_in_flight();
        if idle && matches!(self.state, Ok(WritePhase::Open)) {
            self.step(WriteEvent::Finish);
            self.step(WriteEvent::Drained);
            self.closing = Closing::Done;
            self.released = true;
            return true;
        }
        false
    }

    /// Whether the handle was given back instead of closed.
    #[must_use]
    pub const fn is_released(&self) -> bool {
        self.released
    }

    /// Operations the kernel has not answered.
    #[must_use]
    pub fn operations(&self) -> u64 {
        u64::from(self.is_writing()) + u64::from(self.peer_reading().is_in_flight())
    }

    /// How much failed after the account was final (rule S6): too late for the receipt, so it is only counted.
    #[must_use]
    pub const fn late_failures(&self) -> u64 {
        self.late_failures as u64
    }

    /// Something outside the kernel makes the pipe unusable (an observer panicked).
    pub fn handle_failure(&mut self, cause: Cause) {
        self.fail(cause);
    }

    /// Asks whether the peer has read everything, once nothing is queued or in flight.
    pub fn ask_until_read(&mut self) {
        self.backlog().until_read.get_or_insert_default().ask();
    }

    /// Whether such an attempt is coming, or running and good for the first `target` bytes: another would only take the
    /// place of its answer.
    #[must_use]
    pub fn is_until_read_asked(&self, target: u64) -> bool {
        self.peer_reading().is_asked(target)
    }

    /// Nobody waits for that any more: a running attempt is cancelled, and a finish no longer waits for it.
    pub fn drop_until_read(&mut self) {
        if self.is_read_out {
            // The closing still waits.
            return;
        }
        if let Some(until_read) = self.peer_reading_mut() {
            until_read.drop_question();
        }
        self.close_if_drained();
    }

    /// How many attempts at it have ended; pass it to [`WriteHalf::until_read`].
    #[must_use]
    pub fn until_read_attempts(&self) -> u64 {
        self.peer_reading().attempts()
    }

    /// Whether the peer is known to have read the first `target` bytes; `None` while it is not known.
    ///
    /// # Errors
    /// An attempt that ended after `attempts` failed, or the pipe ended before it could be known.
    pub fn until_read(&self, target: u64, attempts: u64) -> Option<Result<(), Cause>> {
        if let Some(answer) = self.peer_reading().answer(target, attempts) {
            return Some(answer);
        }
        match self.state {
            Err(cause) => Some(Err(cause)),
            // The handle is going or gone: nothing can tell any more.
            Ok(WritePhase::Closed | WritePhase::Stopping) => {
                Some(Err(Cause::of(self.stopped_by.unwrap_or(ErrorKind::Closed))))
            }
            Ok(WritePhase::Finishing | WritePhase::Lingering | WritePhase::Open) => None,
        }
    }

    /// What to do next. Each answer is given once; call again until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(kind) = self.poll_cancel() {
            return Some(Action::Cancel(kind));
        }
        if self.wants_closing() {
            self.closing = Closing::Asked;
            return Some(Action::Close);
        }
        if !self.is_sending() || self.is_writing() || self.direct.is_some() {
            return None;
        }
        if self.has_queued() {
            return Some(Action::Submit(self.submit_write()));
        }
        let transferred = self.ledger.transferred();
        let until_read = self.peer_reading_mut()?;
        let is_due = until_read.submit(transferred);
        is_due.then_some(Action::Submit(Op::UntilRead))
    }

    /// The answer to the write in flight (rules L3, S3).
    ///
    /// # Panics
    /// No write is in flight, or the backend claims more bytes than it was given: an invariant of the seam.
    pub fn handle_write(&mut self, outcome: Outcome) {
        let in_flight = self.backlog.as_mut().map(|backlog| &mut backlog.in_flight);
        let chunks = in_flight
            .and_then(Option::take)
            .expect("O2: an answer has its operation");
        if self.quarantined {
            // S6: the account was final when the bound passed; this only releases.
            self.backlog().carried = Some(chunks);
            self.count_late(outcome.cause());
            return;
        }
        match outcome {
            Outcome::Transferred(moved)
            | Outcome::Failed {
                moved: Moved::Exactly(moved),
                ..
            } => self.settle_exactly(&chunks, moved),
            Outcome::Failed {
                moved: Moved::Unknown,
                ..
            } => {
                self.ledger.doubt(chunks.bytes());
                self.backlog().in_doubt = chunks.iter().cloned().collect();
            }
            Outcome::Data(_) | Outcome::EndOfStream | Outcome::Ready => {
                panic!("O2: a write is answered as a write")
            }
        }
        self.backlog().carried = Some(chunks);
        self.after_write(outcome.cause());
    }

    /// The answer to "wait until the peer has read everything".
    pub fn handle_until_read(&mut self, outcome: &Outcome) {
        if let Some(until_read) = self.peer_reading_mut() {
            until_read.handle(outcome);
        }
        // A close that discards, and no word that all was read. Where nobody can be asked it is closed all the same.
        let is_unread = outcome
            .cause()
            .filter(|cause| !matches!(cause.kind, ErrorKind::Cancelled | ErrorKind::Unsupported));
        if let (true, Ok(WritePhase::Finishing | WritePhase::Lingering), Some(cause)) =
            (self.is_read_out, self.state, is_unread)
        {
            self.fail(cause);
        }
        let is_last = !self.is_writing() && self.direct.is_none();
        if matches!(self.state, Ok(WritePhase::Stopping)) && is_last {
            self.step(WriteEvent::Settled);
        }
        self.close_if_drained();
    }

    /// The handle is closed. A failure of the closing itself is the pipe's, if nothing failed before (rule E4).
    pub fn handle_closed(&mut self, failure: Option<Cause>) {
        self.closing = Closing::Done;
        if self.quarantined {
            // S6: the ending was told when the bound passed.
            self.count_late(failure);
        } else if let (Ok(_), Some(cause)) = (self.state, failure) {
            self.state = Err(cause);
        }
    }

    fn count_late(&mut self, failure: Option<Cause>) {
        // A cancel that was asked for is no failure.
        let failed = failure.is_some_and(|cause| cause.kind != ErrorKind::Cancelled);
        self.late_failures += u8::from(failed);
    }

    fn assert_open(&self) {
        assert!(
            matches!(self.state, Ok(WritePhase::Open)),
            "the driver accepts bytes only while the half is open"
        );
    }

    fn is_sending(&self) -> bool {
        matches!(
            self.state,
            Ok(WritePhase::Finishing | WritePhase::Lingering | WritePhase::Open)
        )
    }

    fn anything_in_flight(&self) -> bool {
        self.is_writing() || self.direct.is_some() || self.peer_reading().is_in_flight()
    }

    fn submit_write(&mut self) -> Op {
        let bytes_max = self.next_write_bytes();
        let chunks_max = self.limits.op_chunks_max;
        let backlog = self.backlog();
        let chunks = backlog.queue.take(bytes_max, chunks_max);
        // O5: the backend owns its copy of the references until it answers; ours are for the account.
        backlog.in_flight = Some(chunks.clone());
        self.ledger.submit(chunks.bytes());
        Op::Write(chunks)
    }

    /// How much one operation carries now.
    fn next_write_bytes(&self) -> usize {
        let bytes_max = self.limits.op_bytes_max;
        match self.limits.atomic_bytes_max {
            None => bytes_max,
            Some(atomic) => self.messages.next_write(atomic, bytes_max),
        }
    }

    /// Counts what the kernel took. What it did not take goes back to the front, in order.
    fn settle_exactly(&mut self, chunks: &Chunks, moved: u64) {
        let bytes = chunks.bytes();
        assert!(
            moved <= bytes,
            "O2: a kernel takes no more than it was given"
        );
        self.ledger.transfer(moved);
        self.messages.transfer(moved);
        if moved < bytes {
            self.ledger.put_back(bytes - moved);
            self.backlog().queue.put_back(chunks.behind(moved));
        }
    }

    /// The one place that decides what a write's answer does to the state.
    fn after_write(&mut self, cause: Option<Cause>) {
        match (self.state, cause) {
            // S3: only the completion settles bytes; now that it has, the stop is over.
            (Ok(WritePhase::Stopping), cause) => {
                self.give_up_queue();
                // E2: a cancel that was answered is no failure; anything else that came instead is told.
                if let Some(cause) = cause.filter(|cause| cause.kind != ErrorKind::Cancelled) {
                    self.state = Err(cause);
                    return;
                }
                if !self.peer_reading().is_in_flight() {
                    self.step(WriteEvent::Settled);
                }
            }
            (Ok(_), Some(cause)) => self.fail(cause),
            (Ok(_), None) => {
                self.step(WriteEvent::Settled);
                self.close_if_drained();
            }
            (Err(_), _) => self.give_up_queue(),
        }
    }

    fn stop(&mut self, event: WriteEvent, why: ErrorKind) {
        let Ok(before) = self.state else { return };
        self.step(event);
        if before == WritePhase::Closed || before == WritePhase::Stopping {
            return;
        }
        self.stopped_by = Some(why);
        self.give_up_queue();
        if !self.anything_in_flight() {
            self.step(WriteEvent::Settled);
        }
    }

    fn fail(&mut self, cause: Cause) {
        if let Ok(phase) = self.state
            && phase != WritePhase::Closed
        {
            // S1: the first failure wins.
            self.state = Err(cause);
            self.give_up_queue();
            self.refuse_offered();
        }
    }

    fn give_up_queue(&mut self) {
        self.ledger.discard_queued();
        if let Some(backlog) = &mut self.backlog {
            backlog.give_up_queue();
        }
    }

    fn close_if_drained(&mut self) {
        // A move's bytes are not known before its answer.
        let is_moving = self.is_moving();
        let drained = self.ledger.unsettled() == 0 && !self.is_writing() && !is_moving;
        let ending = matches!(
            self.state,
            Ok(WritePhase::Finishing | WritePhase::Lingering)
        );
        if !drained || !ending {
            return;
        }
        if self.limits.close_discards && !self.is_read_out {
            // Whatever the answer is, the handle is closed then.
            self.is_read_out = true;
            self.ask_until_read();
        }
        // A waiting "until read" holds a finish open, not a drop: after a drop nobody is left to tell.
        let is_finishing = matches!(self.state, Ok(WritePhase::Finishing));
        let waits = is_finishing || self.is_read_out;
        if !(waits && self.peer_reading().is_waited_for()) {
            self.step(WriteEvent::Drained);
        }
    }

    fn wants_closing(&self) -> bool {
        let over = matches!(self.state, Ok(WritePhase::Closed) | Err(_));
        over && self.closing == Closing::Not && !self.anything_in_flight()
    }

    fn poll_cancel(&mut self) -> Option<OpKind> {
        let over = matches!(
            self.state,
            Ok(WritePhase::Closed | WritePhase::Stopping) | Err(_)
        );
        if over && self.is_writing() && !self.cancel_asked {
            self.cancel_asked = true;
            return Some(OpKind::Write);
        }
        let until_read = self.peer_reading_mut()?;
        until_read.cancel(over).then_some(OpKind::UntilRead)
    }

    fn step(&mut self, event: WriteEvent) {
        if let Ok(phase) = self.state {
            let next = phase.after(event);
            self.state = Ok(next.expect("the driver lets only events happen that the table has"));
        }
    }
}
