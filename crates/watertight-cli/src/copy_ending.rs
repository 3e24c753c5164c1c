//! What stops a copy, and what gives up one of its destinations: the reasons, and their words.

use serde::Serialize;

/// How the copy as a whole ended: the first thing that stopped it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CopyEnding {
    DestinationEnded,
    DrainDeadline,
    Finished,
    IdleDeadline,
    /// The source was copied to its end, but not to every destination.
    Incomplete,
    Interrupted,
    NotOpened,
    /// What a partial has is not the beginning of the source.
    NotResumed,
    SlowDeadline,
    SourceFailed,
    /// It had fewer bytes in the end than at the start.
    SourceShrank,
    /// More came than was expected.
    TooManyBytes,
}

/// Why we gave a destination up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GivenUp {
    /// The stream is known to be cut: its child was not given an end.
    CutShort,
    DrainDeadline,
    IdleDeadline,
    Interrupted,
    /// It took no more, and did not say in time how it ended.
    NoEnding,
    /// What its partial has is not the beginning of the source.
    NotResumed,
    SlowDeadline,
}

impl CopyEnding {
    /// In a few words, for the first line of a report.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::DestinationEnded => "stopped because a destination ended early,",
            Self::DrainDeadline => "stopped because --drain-within passed,",
            Self::Finished => "finished",
            Self::IdleDeadline => "stopped because nothing moved for --idle,",
            Self::Incomplete => "finished, but bytes are missing at a destination,",
            Self::Interrupted => "interrupted",
            Self::NotOpened => "not begun, because an address could not be opened,",
            Self::NotResumed => "stopped because a partial is not the beginning of the source,",
            Self::SlowDeadline => "stopped because a destination took nothing for --slow-after,",
            Self::SourceFailed => "stopped because the source failed,",
            Self::SourceShrank => "stopped because the source became shorter,",
            Self::TooManyBytes => "stopped because more bytes came than --expect-bytes says,",
        }
    }
}

impl GivenUp {
    /// In a few words, for a line.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::CutShort => "the stream was cut short",
            Self::DrainDeadline => "--drain-within passed",
            Self::IdleDeadline => "nothing moved for --idle",
            Self::Interrupted => "interrupted",
            Self::NoEnding => "it took no more, and did not say how it ended",
            Self::NotResumed => "what its partial has is not the beginning of the source",
            Self::SlowDeadline => "it took nothing for --slow-after",
        }
    }

    /// Whether time was up.
    pub(crate) fn is_deadline(self) -> bool {
        match self {
            Self::DrainDeadline | Self::IdleDeadline | Self::SlowDeadline => true,
            Self::CutShort | Self::Interrupted | Self::NoEnding | Self::NotResumed => false,
        }
    }
}
