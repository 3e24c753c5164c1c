//! The reading half: read-ahead where a system needs it, one operation in flight, data before errors.
//!
//! It mirrors `write.rs`. Its ledger is the mirror image too: bytes are accepted from the kernel and transferred to the
//! caller (rule L5).

use crate::closing::Closing;
use crate::error::{Cause, ErrorKind};
use crate::ledger::Ledger;
use crate::op::{Action, Op, OpKind, Outcome, ReadNow};
use crate::phase::{ReadEvent, ReadPhase};
use ahead::Ahead;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

mod ahead;

pub use ahead::Lent;

/// The reading half of a pipe.
#[derive(Debug)]
pub struct ReadHalf {
    /// S1: the first failure wins, and no phase is left to use.
    state: Result<ReadPhase, Cause>,
    ledger: Ledger,
    /// Made with the first byte that is read ahead.
    ahead: Option<Box<Ahead>>,
    wanted: Option<Wanted>,
    wanted_bytes_max: u32,
    in_flight: Option<OpKind>,
    /// A caller is reading straight into its own memory, outside the lock.
    direct: bool,
    /// Read-ahead is lent to somebody who passes it on, outside the lock: nobody else takes any.
    is_lent: bool,
    cancel_asked: bool,
    closing: Closing,
    quarantined: bool,
    aborted: bool,
    /// The end of the stream was seen.
    ended: bool,
    /// Bytes that a quarantined read brought after the account was final.
    late_bytes: u32,
    /// What failed after the account was final: the operation and the closing at most.
    late_failures: u8,
    released: bool,
}

/// What is asked for: an operation, in less room than one with a write's bytes takes.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Read at most `wanted_bytes_max` bytes.
    Read,
    /// Wait until a read would not wait.
    Wait,
}

impl Default for ReadHalf {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadHalf {
    /// An open half. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Ok(ReadPhase::Open),
            ledger: Ledger::default(),
            ahead: None,
            wanted: None,
            wanted_bytes_max: 0,
            in_flight: None,
            direct: false,
            is_lent: false,
            cancel_asked: false,
            closing: Closing::Not,
            quarantined: false,
            aborted: false,
            ended: false,
            late_bytes: 0,
            late_failures: 0,
            released: false,
        }
    }

    /// The account at this moment.
    #[must_use]
    pub const fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Where it is in its life, or the failure that ended it.
    ///
    /// # Errors
    /// The first failure.
    pub const fn phase(&self) -> Result<ReadPhase, Cause> {
        self.state
    }

    /// The failure that ended this half, if one did.
    #[must_use]
    pub const fn failure(&self) -> Option<Cause> {
        match self.state {
            Ok(_) => None,
            Err(cause) => Some(cause),
        }
    }

    /// Whether the end of the stream was seen.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that a quarantined read brought after the account was final (rule S6); they are nobody's any more.
    #[must_use]
    pub const fn late_bytes(&self) -> u64 {
        self.late_bytes as u64
    }

    /// How much failed after the account was final (rule S6): too late for the receipt, so it is only counted.
    #[must_use]
    pub const fn late_failures(&self) -> u64 {
        self.late_failures as u64
    }

    /// Whether it is over and its account final.
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
        // A direct read needs no bound: it does not wait, and a thread that blocks between two of them is woken.
        self.is_going() && self.in_flight.is_some() && !self.quarantined
    }

    /// Whether the kernel has been asked to stop what is in flight and has not answered: from then on the stop bound counts.
    #[must_use]
    pub fn is_cancelling(&self) -> bool {
        self.is_stopping() && self.cancel_asked
    }

    /// Whether the caller has given it up: it closes as soon as nothing is in flight.
    #[must_use]
    pub const fn is_given_up(&self) -> bool {
        self.aborted
    }

    /// Whether an operation is in flight or a caller reads directly: a new attempt has to wait for it.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.in_flight.is_some() || self.direct
    }

    /// Answers a read from what is known, without the kernel: `None` if only the kernel can answer.
    ///
    /// # Errors
    /// Only after everything that arrived before the failure was taken (rule E5).
    pub fn take(&mut self, buf: &mut [u8]) -> Option<Result<usize, Cause>> {
        if buf.is_empty() {
            return Some(Ok(0));
        }
        if self.is_lent {
            return None;
        }
        if let Some(ahead) = &mut self.ahead
            && !ahead.queue.is_empty()
        {
            let n = ahead.queue.copy_out(buf);
            self.ledger.hand_over(n as u64);
            return Some(Ok(n));
        }
        self.ending().map(|ending| ending.map(|()| 0))
    }

    /// How it stands when nothing read ahead is left: at the end of the stream, failed or stopped. `None` while it is open.
    fn ending(&self) -> Option<Result<(), Cause>> {
        match self.state {
            Err(cause) => Some(Err(cause)),
            // E6: end of stream once, and then always.
            Ok(ReadPhase::Ended) => Some(Ok(())),
            Ok(ReadPhase::Closed | ReadPhase::Stopping) => Some(Err(Cause::of(if self.aborted {
                ErrorKind::Aborted
            } else {
                ErrorKind::Closed
            }))),
            Ok(ReadPhase::Open) => None,
        }
    }

    /// A caller is about to read straight into its own memory. Until [`ReadHalf::handle_now`] nobody else reads and the
    /// handle stays open.
    pub fn begin_direct(&mut self) {
        assert!(!self.is_busy(), "one read at a time");
        self.direct = true;
    }

    /// The answer to that direct read.
    pub fn handle_now(&mut self, answer: ReadNow) {
        self.direct = false;
        match answer {
            ReadNow::Data(n) => {
                self.ledger.accept(n as u64);
                self.ledger.hand_over(n as u64);
            }
            ReadNow::EndOfStream => self.end(),
            ReadNow::Failed(class, os) => self.fail(Cause {
                kind: class.kind(),
                os,
            }),
            ReadNow::Unavailable | ReadNow::Wait => {}
        }
        self.settle();
    }

    /// The answer to a direct read that had more room than the caller: the caller took the first bytes, and the tail is read ahead.
    pub fn handle_now_with_tail(&mut self, taken: u64, tail: Bytes) {
        self.direct = false;
        self.ledger.accept(taken + tail.len() as u64);
        self.ledger.hand_over(taken);
        if !tail.is_empty() {
            self.ahead().push_whole(tail);
        }
        if self.is_going() {
            // A stop came meanwhile: nobody takes the tail any more, so it goes into the receipt.
            self.give_up_ahead();
        }
        self.settle();
    }

    /// The thread that was reading directly is not in this process (a forked child): nobody will bring its answer.
    pub fn forget_direct(&mut self) {
        if self.direct {
            self.is_lent = false;
            self.handle_now(ReadNow::Wait);
        }
    }

    /// Asks for an operation; it is submitted by the next [`ReadHalf::poll_action`] unless one is in flight.
    ///
    /// # Panics
    /// It is a writer's: an invariant of the driver.
    pub fn ask(&mut self, op: Op) {
        self.wanted = Some(match op {
            Op::Read { bytes_max } => {
                // A read past that is no use to anybody, and a shorter one is allowed.
                self.wanted_bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
                Wanted::Read
            }
            Op::WaitReadable => Wanted::Wait,
            Op::UntilRead | Op::Write(_) => panic!("a reader's operations are a reader's"),
        });
    }

    /// Stop now: read-ahead that nobody took is discarded and kept for the receipt. A drop is the same.
    pub fn abort(&mut self) {
        self.wanted = None;
        self.aborted = true;
        self.step(ReadEvent::Abort);
        if !self.is_lent {
            self.give_up_ahead();
        }
        if !self.is_busy() && matches!(self.state, Ok(ReadPhase::Stopping)) {
            self.step(ReadEvent::Settled);
        }
    }

    /// Gives the handle up without closing it, if nothing is in flight and no read-ahead is left. Says whether it did.
    pub fn release(&mut self) -> bool {
        let idle = !self.is_busy() && !self.has_ahead() && !self.aborted;
        if idle && matches!(self.state, Ok(ReadPhase::Ended | ReadPhase::Open)) {
            self.step(ReadEvent::Abort);
            self.step(ReadEvent::Settled);
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

    /// Whether a wait for something to read is in flight: it carries no bytes, so it can be taken back.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.in_flight == Some(OpKind::WaitReadable) && !self.is_going()
    }

    /// Whether an operation is in flight that the kernel has not answered.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.in_flight.is_some() as u64
    }

    /// The stop bound passed: what is in flight goes into quarantine (rule S5).
    pub fn handle_stop_expired(&mut self) {
        if self.is_stopping() {
            self.step(ReadEvent::Expired);
            self.quarantined = true;
        }
    }

    /// What to do next. Each answer is given once; call again until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.is_going() {
            if let Some(kind) = self.in_flight
                && !self.cancel_asked
            {
                self.cancel_asked = true;
                return Some(Action::Cancel(kind));
            }
            let over = match self.state {
                Ok(phase) => phase == ReadPhase::Closed,
                // A failed half keeps its handle until the caller gives it up, as an ended one does.
                Err(_) => self.aborted,
            };
            if over && !self.is_busy() && self.closing == Closing::Not {
                self.closing = Closing::Asked;
                return Some(Action::Close);
            }
            return None;
        }
        if self.is_busy() || !matches!(self.state, Ok(ReadPhase::Open)) {
            return None;
        }
        let op = match self.wanted.take()? {
            Wanted::Read => Op::Read {
                // Exact: it was a usize.
                bytes_max: usize::try_from(self.wanted_bytes_max).unwrap_or(usize::MAX),
            },
            Wanted::Wait => Op::WaitReadable,
        };
        self.in_flight = Some(op.kind());
        Some(Action::Submit(op))
    }

    /// The answer to the operation in flight.
    ///
    /// # Panics
    /// No operation is in flight, or a write was answered: an invariant of the seam.
    pub fn handle_completion(&mut self, outcome: Outcome) {
        self.in_flight
            .take()
            .expect("O2: an answer has its operation");
        if !self.quarantined {
            self.account(outcome);
        } else if let Outcome::Data(late) = outcome {
            // No read is asked for more than that.
            self.late_bytes = u32::try_from(late.len()).unwrap_or(u32::MAX);
        } else {
            self.count_late(outcome.cause());
        }
        self.settle();
    }

    /// The handle is closed.
    pub fn handle_closed(&mut self, failure: Option<Cause>) {
        self.closing = Closing::Done;
        if self.quarantined {
            // S6: the ending was told when the bound passed.
            self.count_late(failure);
        } else if let (Ok(_), Some(cause)) = (self.state, failure) {
            self.state = Err(cause);
        }
    }

    /// The bytes that arrived and that nobody took.
    #[must_use]
    pub fn untaken(&self) -> Vec<Bytes> {
        let ahead = self.ahead.as_ref();
        ahead.map_or_else(Vec::new, |ahead| ahead.untaken.clone())
    }

    fn account(&mut self, outcome: Outcome) {
        let cause = outcome.cause();
        match outcome {
            Outcome::Data(data) => {
                self.ledger.accept(data.len() as u64);
                self.ahead().push_whole(data);
                if self.is_going() {
                    // A cancelled read that succeeded all the same carries bytes: they go into the receipt.
                    self.give_up_ahead();
                }
            }
            Outcome::EndOfStream => self.end(),
            Outcome::Ready => {}
            Outcome::Failed { .. } => {
                // A cancel that was asked for is no failure.
                let cause =
                    cause.filter(|cause| cause.kind != ErrorKind::Cancelled || cause.os.is_some());
                if let (Some(cause), false) = (cause, self.is_going()) {
                    self.fail(cause);
                }
            }
            Outcome::Transferred(_) => panic!("O2: a read is not answered as a write"),
        }
    }

    fn count_late(&mut self, failure: Option<Cause>) {
        // A cancel that was asked for is no failure.
        let failed = failure.is_some_and(|cause| cause.kind != ErrorKind::Cancelled);
        self.late_failures += u8::from(failed);
    }

    fn end(&mut self) {
        self.ended = true;
        self.step(ReadEvent::EndOfStream);
    }

    fn is_going(&self) -> bool {
        matches!(
            self.state,
            Ok(ReadPhase::Closed | ReadPhase::Stopping) | Err(_)
        )
    }

    /// The one read there was is answered.
    fn settle(&mut self) {
        if matches!(self.state, Ok(ReadPhase::Stopping)) {
            self.step(ReadEvent::Settled);
        }
    }

    fn fail(&mut self, cause: Cause) {
        if matches!(self.state, Ok(ReadPhase::Ended | ReadPhase::Open)) {
            // S1: the first failure wins. Read-ahead stays: data before errors (E5).
            self.state = Err(cause);
            self.wanted = None;
        }
    }

    fn give_up_ahead(&mut self) {
        self.ledger.discard_queued();
        if let Some(ahead) = &mut self.ahead {
            ahead.untaken.extend(ahead.queue.take_all());
        }
    }

    fn step(&mut self, event: ReadEvent) {
        if let Ok(phase) = self.state {
            let next = phase.after(event);
            self.state = Ok(next.expect("the driver lets only events happen that the table has"));
        }
    }
}
