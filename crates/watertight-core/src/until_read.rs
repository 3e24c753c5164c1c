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
    /// Nobody has asked.
    pub(crate) const UNASKED: Self = Self {
        wanted: false,
        in_flight: false,
        unwanted: false,
        cancel_asked: false,
        covers: 0,
        read: 0,
        attempts: 0,
        failed: None,
    };

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

/// How far the question is, as one word, and what changes it: the table in `docs/phases.txt`.
#[cfg(test)]
pub(crate) mod table {
    use super::PeerReading;
    use crate::op::{Class, Outcome};
    use crate::phase::Illegal;

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub(crate) enum Asking {
        Again,
        Cancelled,
        Idle,
        Repeated,
        Running,
        Unwanted,
        Wanted,
    }

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub(crate) enum AskingEvent {
        Ask,
        Cancel,
        End,
        Fail,
        Forget,
        Read,
        Submit,
    }

    impl Asking {
        pub(crate) const ALL: [Self; 7] = [
            Self::Again,
            Self::Cancelled,
            Self::Idle,
            Self::Repeated,
            Self::Running,
            Self::Unwanted,
            Self::Wanted,
        ];

        /// In flight, to be cancelled or asked to, and another one wanted.
        fn flags(self) -> (bool, bool, bool, bool) {
            match self {
                Self::Idle => (false, false, false, false),
                Self::Wanted => (false, false, false, true),
                Self::Running => (true, false, false, false),
                // Another is wanted while one runs.
                Self::Repeated => (true, false, false, true),
                // Nobody waits for the one that runs.
                Self::Unwanted => (true, true, false, false),
                Self::Cancelled => (true, true, true, false),
                // Another is wanted, and the one that runs has been asked to stop.
                Self::Again => (true, false, true, true),
            }
        }

        fn of(reading: PeerReading) -> Self {
            match (
                reading.in_flight,
                reading.cancel_asked,
                reading.wanted,
                reading.unwanted,
            ) {
                (false, _, false, _) => Self::Idle,
                (false, _, true, _) => Self::Wanted,
                (true, false, false, false) => Self::Running,
                (true, false, true, _) => Self::Repeated,
                (true, false, false, true) => Self::Unwanted,
                (true, true, false, _) => Self::Cancelled,
                (true, true, true, _) => Self::Again,
            }
        }

        pub(crate) fn after(self, event: AskingEvent) -> Result<Self, Illegal> {
            let (in_flight, unwanted, cancel_asked, wanted) = self.flags();
            let mut reading = PeerReading {
                wanted,
                in_flight,
                unwanted,
                cancel_asked,
                ..PeerReading::default()
            };
            let is_answer = matches!(event, AskingEvent::Fail | AskingEvent::Read);
            if is_answer && !in_flight {
                return Err(Illegal);
            }
            match event {
                AskingEvent::Ask => reading.ask(),
                AskingEvent::Cancel => drop(reading.cancel(false)),
                AskingEvent::End => drop(reading.cancel(true)),
                AskingEvent::Fail => reading.handle(&Outcome::failed(Class::Gone, None)),
                AskingEvent::Forget => reading.drop_question(),
                AskingEvent::Read => reading.handle(&Outcome::Ready),
                AskingEvent::Submit => drop(reading.submit(0)),
            }
            Ok(Self::of(reading))
        }
    }

    impl AskingEvent {
        pub(crate) const ALL: [Self; 7] = [
            Self::Ask,
            Self::Cancel,
            Self::End,
            Self::Fail,
            Self::Forget,
            Self::Read,
            Self::Submit,
        ];
    }
}
