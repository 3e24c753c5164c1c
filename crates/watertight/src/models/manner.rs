//! How a pipe of the models' kernel behaves.

use watertight_core::{MoveNow, ReadNow, WriteNow};

/// When and how an operation is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answers {
    /// Within the submission.
    AtOnce,
    /// By whoever waits, perhaps before the submission returns.
    Later,
    /// As a failure, within the submission.
    FailsAtOnce,
    /// As a failure, by whoever waits.
    FailsLater,
    /// By whoever waits, once there is something to read: only a wait for that.
    WhenReadable,
    /// When the model says so, or never.
    WhenTold,
}

/// What a cancel does to an operation that is not answered yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cancels {
    /// Answers it at once.
    Answers,
    /// Has it answered as cancelled.
    Posts,
    /// Nothing.
    SaysNothing,
}

/// How a pipe behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// One write after the other; the last for ever.
    pub(super) writes: &'static [Answers],
    pub(super) until_read: Answers,
    pub(super) reads: Answers,
    pub(super) cancels: Cancels,
    /// What the reads that do not wait say, one after the other; the last for ever.
    pub(super) direct: &'static [ReadNow],
    /// What the writes out of a caller's memory say, one after the other; the last for ever.
    pub(super) direct_writes: &'static [WriteNow],
    /// What the moves from here to another pipe say, one after the other; the last for ever.
    pub(super) moves: &'static [MoveNow],
    /// What is in the pipe, and behind it the end of the stream. Reads and moves take from it, copies leave it there, and no script is asked.
    pub(super) holds: Option<&'static [u8]>,
    /// What copies straight into it say, one after the other; the last for ever. Of a number, what is there of so many bytes is copied.
    pub(super) copies: &'static [MoveNow],
    /// Whether it is for copies that are moved on.
    pub(super) is_private: bool,
    /// Somebody has its writing end: behind what is in the pipe a direct read waits. Until the model says otherwise.
    pub(super) is_held: bool,
    /// A thread may block until there is something to read, or room for more, which is when it is called back, in these models.
    pub(super) blocks: bool,
    /// The most bytes that one write takes.
    pub(super) write_bytes_max: u64,
    /// Others may run while a call is on its way back.
    pub(super) is_slow: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            writes: &[Answers::Later],
            until_read: Answers::Later,
            reads: Answers::Later,
            cancels: Cancels::Posts,
            direct: &[ReadNow::Unavailable],
            direct_writes: &[WriteNow::Unavailable],
            moves: &[MoveNow::Unavailable],
            holds: None,
            copies: &[MoveNow::Unavailable],
            is_private: false,
            is_held: false,
            blocks: false,
            write_bytes_max: u64::MAX,
            is_slow: false,
        }
    }
}
