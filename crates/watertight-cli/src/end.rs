//! Which end of a copy something is about, and why not every end is open.

/// Which end of the copy something is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Destination(usize),
    Source,
}

/// The end that an error is about, with its text.
pub(crate) type Failure = (End, String);

/// Why not everything is open.
pub(crate) enum NotOpened {
    Failed(End, String),
    /// Nothing happened for so long as `--idle` says.
    Idle,
    Interrupted(i32),
    /// The report's file is this end, or standard error: nothing may be written there.
    ReportRefused(End, String),
}

impl From<Failure> for NotOpened {
    fn from((end, text): Failure) -> Self {
        Self::Failed(end, text)
    }
}
