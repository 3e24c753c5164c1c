//! Receipts: what every ending returns.

use bytes::Bytes;
use watertight_core::{Cause, Error, ErrorKind, Ledger, MessageReport, Verb};

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
    messages: MessageReport,
    in_doubt: Vec<Bytes>,
    unsent: Vec<Bytes>,
}

impl Receipt {
    pub(crate) fn new(
        ending: Ending,
        (ledger, messages): (Ledger, MessageReport),
        in_doubt: Vec<Bytes>,
        unsent: Vec<Bytes>,
    ) -> Self {
        Self {
            ending,
            ledger,
            messages,
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

    /// What became of the messages: which went whole, which one was cut and where, which never began. A message is what one
    /// call accepted (`send` and its kin; through the traits, one `write`).
    ///
    /// Boundaries are kept for what is not settled only, equal ones after each other as one, in at most 128 KiB.
    ///
    /// # Examples
    ///
    /// Whoever reconnects resends from the start of the first message that did not go whole:
    ///
    /// ```
    /// let (reader, writer) = watertight::pipe()?;
    /// let messages: Vec<Vec<u8>> = (0..40).map(|n| vec![n; 5_000]).collect();
    /// for message in &messages {
    ///     writer.send(message).wait()?;
    /// }
    /// drop(reader);
    /// let receipt = writer.finish().wait()?;
    /// let again = &messages[receipt.messages().whole as usize..];
    /// assert!(!again.is_empty());
    /// # Ok::<(), watertight::Error>(())
    /// ```
    #[must_use]
    pub fn messages(&self) -> MessageReport {
        self.messages
    }

    /// Whether every accepted byte was transferred, and the stream was ended or the handle given back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_ordered = matches!(self.ending, Ending::Finished | Ending::Released);
        is_ordered && self.ledger.transferred() == self.ledger.accepted()
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

    /// The receipt itself if the ending is [complete](Receipt::is_complete), else why it is not.
    ///
    /// # Errors
    /// The failure, or [`Aborted`](ErrorKind::Aborted), or [`TimedOut`](ErrorKind::TimedOut) for a linger bound that
    /// passed, with the final account. The unsent bytes go with the receipt: ask for them before.
    ///
    /// # Examples
    ///
    /// ```
    /// fn send(bytes: &[u8]) -> Result<(), watertight::Error> {
    ///     let (reader, writer) = watertight::pipe()?;
    ///     writer.send(bytes).wait()?;
    ///     writer.finish().wait()?.into_result()?;
    /// #   drop(reader);
    ///     Ok(())
    /// }
    /// # send(b"all of it").unwrap();
    /// ```
    pub fn into_result(self) -> Result<Self, Error> {
        match self.error() {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// Why the ending is not complete, with the final account: the failure, or the stop.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let cause = match self.ending {
            Ending::Aborted => Cause::of(ErrorKind::Aborted),
            // What the system said to the bytes, hardly ever to the closing.
            Ending::Failed(cause) => return Some(cause.during(Verb::Write, self.ledger)),
            Ending::LingerExpired => Cause::of(ErrorKind::TimedOut),
            Ending::Finished | Ending::Released => return None,
        };
        Some(cause.during(Verb::Finish, self.ledger))
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

    /// Whether the stream was read to its end (or the handle given back), and everything that arrived was taken.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_ordered = matches!(self.ending, Ending::Finished | Ending::Released);
        is_ordered && self.ledger.transferred() == self.ledger.accepted()
    }

    /// Why the stream was not read to its end, with the final account: the failure, or the stop.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let cause = match self.ending {
            Ending::Failed(cause) => cause,
            Ending::Aborted | Ending::LingerExpired => Cause::of(ErrorKind::Aborted),
            Ending::Finished | Ending::Released => return None,
        };
        Some(cause.during(Verb::Read, self.ledger))
    }

    /// The receipt itself if the ending is [complete](ReadReceipt::is_complete), else why it is not.
    ///
    /// # Errors
    /// As [`ReadReceipt::error`].
    pub fn into_result(self) -> Result<Self, Error> {
        match self.error() {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }
}
