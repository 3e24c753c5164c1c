//! What a writing call gives back when it did not accept everything.

use bytes::Bytes;
use std::fmt;
use watertight_core::Error;

/// A message that was not accepted whole: why, how much of it was, and the message if it was an owned one.
///
/// A borrowed message is the caller's anyway, so `M` is `()` for it, and the error borrows nothing.
#[derive(Clone, Copy)]
pub struct Refused<M = ()> {
    /// Why, and the pipe's account.
    pub error: Error,
    /// How many of the message's first bytes are accepted. 0 unless the message is larger than the queue.
    pub accepted: u64,
    /// The whole message, if it was an owned one.
    pub message: M,
}

impl Refused {
    /// The part of `message`, the one that was refused, that is not accepted.
    #[must_use]
    pub fn rest_of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let accepted = usize::try_from(self.accepted).unwrap_or(usize::MAX);
        message.get(accepted..).unwrap_or_default()
    }
}

impl Refused<Bytes> {
    /// The part of the message that is not accepted.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        let accepted = usize::try_from(self.accepted).unwrap_or(usize::MAX);
        self.message.slice(accepted.min(self.message.len())..)
    }
}

/// The message itself may be megabytes: it is not shown.
impl<M> fmt::Debug for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("error", &self.error)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (of this message: {} bytes)",
            self.error, self.accepted
        )
    }
}

impl<M> std::error::Error for Refused<M> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<M> From<Refused<M>> for Error {
    fn from(refused: Refused<M>) -> Self {
        refused.error
    }
}

impl<M> From<Refused<M>> for std::io::Error {
    fn from(refused: Refused<M>) -> Self {
        refused.error.into()
    }
}
