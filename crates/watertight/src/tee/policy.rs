//! What becomes of a transfer to several destinations when one of them is dead or slow.

use std::time::Duration;

/// What a destination that accepts nothing any more (it failed, its peer has left, it was finished or aborted) means for the others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeadDestination {
    /// It no longer counts, and the others go on.
    Drop,
    /// The transfer ends with its error.
    #[default]
    Fail,
}

/// What a destination that makes no progress means for the others: bytes wait for it, and for so long it neither accepted nor
/// transferred a single one. It is given at least that long, and at most twice as long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SlowDestination {
    /// After that long it no longer counts, and the others go on. Its error is of the kind [`Busy`](crate::ErrorKind::Busy).
    DropAfter(Duration),
    /// After that long the transfer ends with an error of the kind [`Busy`](crate::ErrorKind::Busy).
    FailAfter(Duration),
    /// All wait for it.
    #[default]
    Wait,
}

impl SlowDestination {
    /// How long it may make no progress; `None`: for ever.
    pub(super) const fn bound(self) -> Option<Duration> {
        match self {
            Self::DropAfter(bound) | Self::FailAfter(bound) => Some(bound),
            Self::Wait => None,
        }
    }
}
