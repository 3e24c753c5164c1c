//! The question whether the peer has read everything: asked by whoever waits, answered by one operation at a time.
//!
//! It must never decide what an answer means for the pipe: that is `write.rs`. Here is only who asks, what the running
//! operation is good for, and what the last answers were.

use crate::error::Cause;
use crate::op::Outcome;

/// How far the question is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerReading {
    /// Somebody waits for an operation that is not submitted yet.
    wanted: bool,
    in_flight: bool,
    /// Nobody waits for the running operation any more.
    unwanted: bool,
    cancel_asked: bool,
    /// The running operation answers for the bytes up to here.
    covers: u64,
    /// The peer has read the first so many transferred bytes.
    read: u64,
    /// How many operations have ended.
    attempts: u64,
    /// How the last one ended, if it failed.
    failed: Option<Cause>,
}

impl PeerReading {
    /// Somebody asks: an operation is wanted, and a running one is wanted again.
    pub(crate) fn ask(&mut self) {
        self.wanted = true;
        self.unwanted = false;
    }

    /// Whether an operation is coming, or running and good for the first `target` bytes: another would only take the place
    /// of its answer.
    pub(crate) const fn is_asked(&self, target: u64) -> bool {
        let answers =
            self.in_flight && !self.unwanted && !self.cancel_asked && self.covers >= target;
        self.wanted || answers
    }

    /// Nobody waits any more: a running operation is to be cancelled.
    pub(crate) fn drop_question(&mut self) {
        self.wanted = false;
        self.unwanted = self.in_flight;
    }

    /// Whether somebody still waits for an operation, submitted or not.
    pub(crate) const fn is_waited_for(&self) -> bool {
        self.wanted || (self.in_flight && !self.unwanted)
    }

    pub(crate) const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Whether the running operation has not been asked to stop.
    pub(crate) const fn is_uncancelled(&self) -> bool {
        self.in_flight && !self.cancel_asked
    }

    /// How many operations have ended; pass it to [`PeerReading::answer`].
    pub(crate) const fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Whether the first `target` bytes are known to be read, or an operation that ended after `attempts` failed.
    pub(crate) fn answer(&self, target: u64, attempts: u64) -> Option<Result<(), Cause>> {
        if self.read >= target {
            return Some(Ok(()));
        }
        let failed = self.failed.filter(|_| self.attempts > attempts);
        failed.map(Err)
    }

    /// Submits the operation if it is wanted and none is running; it answers for the `transferred` bytes.
    pub(crate) fn submit(&mut self, transferred: u64) -> bool {
        let now = self.wanted && !self.in_flight;
        if now {
            self.wanted = false;
            self.in_flight = true;
            self.covers = transferred;
        }
        now
    }

    /// Whether the running operation is to be cancelled, which is said once. `over`: the pipe no longer wants any answer.
    pub(crate) fn cancel(&mut self, over: bool) -> bool {
        let now = self.in_flight && !self.cancel_asked && (over || self.unwanted);
        self.cancel_asked |= now;
        now
    }

    /// The answer to the running operation. One that was cancelled and failed is no answer.
    pub(crate) fn handle(&mut self, outcome: &Outcome) {
        let given_up = self.cancel_asked && outcome.cause().is_some();
        self.in_flight = false;
        self.unwanted = false;
        self.cancel_asked = false;
        if !given_up {
            self.attempts += 1;
            self.failed = outcome.cause();
        }
        if outcome.cause().is_none() {
            self.read = self.covers;
        }
    }
}
