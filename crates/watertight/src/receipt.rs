//! Receipts: what every ending returns.

use bytes::Bytes;
#[cfg(any(feature = "futures", feature = "tokio"))]
use watertight_core::ErrorKind;
use watertight_core::{Cause, Error, Ledger, Verb};

/// How a pipe ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Ending {
    /// It was aborted.
    Aborted,
    /// It failed; the cause is the first failure.
    Failed(Cause),
    /// A writer: everything accepted was transferred and the stream was ended. A reader: it had reached the end.
    Finished,
    /// It was dropped, and the linger bound passed before everything was transferred.
    LingerExpired,
    /// The handle was given back, open.
    Released,
}

/// What a writer's ending returns: how, the final account, and the bytes that did not get through.
///
/// The ledger is final: nothing is queued or in flight any more. `unsent` and `in_doubt` are the accepted bytes that are
/// not known to be transferred, in the order they were accepted, `in_doubt` first.
#[derive(Clone, Debug)]
#[must_use = "a receipt says what became of the bytes"]
pub struct Receipt {
    ending: Ending,
    ledger: Ledger,
    in_doubt: Vec<Bytes>,
    unsent: Vec<Bytes>,
}

impl Receipt {
    pub(crate) fn new(
        ending: Ending,
        ledger: Ledger,
        in_doubt: Vec<Bytes>,
        unsent: Vec<Bytes>,
    ) -> Self {
        Self {
            ending,
            ledger,
            in_doubt,
            unsent,
        }
    }

    /// How it ended.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// The final account.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Whether every accepted byte was transferred and the stream was ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ending == Ending::Finished && self.ledger.transferred() == self.ledger.accepted()
    }

    /// The bytes that the peer *may* have seen, any part of them or none: given to the kernel, which never said.
    ///
    /// Always empty on Unix, except for an operation that outlived its stop bound. On Windows at most one operation.
    #[must_use]
    pub fn in_doubt(&self) -> &[Bytes] {
        &self.in_doubt
    }

    /// The bytes that the peer has certainly *not* seen.
    #[must_use]
    pub fn unsent(&self) -> &[Bytes] {
        &self.unsent
    }

    /// [`Receipt::in_doubt`] and [`Receipt::unsent`] to keep, in this order.
    #[must_use]
    pub fn into_bytes(self) -> (Vec<Bytes>, Vec<Bytes>) {
        (self.in_doubt, self.unsent)
    }

    /// Why the stream was not ended, if it was not: the failure, or the stop.
    #[cfg(any(feature = "futures", feature = "tokio"))]
    pub(crate) fn shortfall(&self) -> Option<Error> {
        let cause = match self.ending {
            Ending::Aborted => Cause::of(ErrorKind::Aborted),
            Ending::Failed(cause) => cause,
            Ending::LingerExpired => Cause::of(ErrorKind::TimedOut),
            Ending::Finished | Ending::Released => return None,
        };
        Some(cause.during(Verb::Finish, self.ledger))
    }

    /// The failure, if the pipe failed, as an [`Error`] with the final account.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        match self.ending {
            Ending::Failed(cause) => Some(cause.during(Verb::Write, self.ledger)),
            Ending::Aborted | Ending::Finished | Ending::LingerExpired | Ending::Released => None,
        }
    }
}

/// What a reader's ending returns: how, the final account, and the bytes that arrived and that nobody took.
#[derive(Clone, Debug)]
#[must_use = "a receipt says what became of the bytes"]
pub struct ReadReceipt {
    ending: Ending,
    ledger: Ledger,
    untaken: Vec<Bytes>,
}

impl ReadReceipt {
    pub(crate) fn new(ending: Ending, ledger: Ledger, untaken: Vec<Bytes>) -> Self {
        Self {
            ending,
            ledger,
            untaken,
        }
    }

    /// How it ended: [`Ending::Finished`] if the end of the stream had been reached.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// The final account: accepted from the kernel, transferred to the caller, discarded.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// The read-ahead that nobody took, in order. Always empty where there is no read-ahead (most of Unix).
    #[must_use]
    pub fn untaken(&self) -> &[Bytes] {
        &self.untaken
    }
}
