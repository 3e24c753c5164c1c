//! What both halves know of the closing of their handle. Nothing is decided here.

/// How far the closing of the handle is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closing {
    /// The driver is told to close it.
    Asked,
    /// It is closed.
    Done,
    /// The handle is needed.
    Not,
}
