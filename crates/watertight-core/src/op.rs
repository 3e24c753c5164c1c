//! The nouns that cross the seam between the driver and a backend (rules O1 to O6).
//!
//! They speak of bytes and outcomes, never of descriptors or handles: what a file descriptor is, only a backend knows.
//! Change this file and `backend.rs` only in commits of their own.

use crate::error::{Cause, ErrorKind, OsCode};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// A point in time: nanoseconds since some start of the backend's choosing. The simulator makes its own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// The end of time.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `duration` later; the end of time if that is past it.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long it is from `self` until `later`; nothing if that has passed.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// A pipe within one driver. A generation number keeps a late completion from reaching a newer pipe (CVE-2024-27308).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Which place in the registry.
    pub slot: u32,
    /// The how-manieth pipe in that place.
    pub generation: u32,
}

/// What kind of operation. One pipe has at most one of each in flight (rule O1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum OpKind {
    /// Read into a buffer of the backend's.
    Read,
    /// Wait until the peer has read everything.
    UntilRead,
    /// Wait until a read would not wait.
    WaitReadable,
    /// Write.
    Write,
}

/// Names one operation in flight.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OpId {
    /// The pipe.
    pub pipe: Key,
    /// Which of its operations.
    pub kind: OpKind,
}

/// The bytes of one write: at least one chunk, in order. One chunk costs no allocation.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    first: Bytes,
    rest: Vec<Bytes>,
}

impl Chunks {
    /// Adds a chunk behind the others.
    pub fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() {
            self.first = chunk;
        } else {
            self.rest.push(chunk);
        }
    }

    /// The chunks in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        core::iter::once(&self.first)
            .filter(|chunk| !chunk.is_empty())
            .chain(&self.rest)
    }

    /// How many chunks.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(!self.first.is_empty()) + self.rest.len()
    }

    /// How many bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// What is behind the first `bytes` bytes: further references, and no copy.
    #[must_use]
    pub fn behind(&self, mut bytes: u64) -> Self {
        let mut rest = Self::default();
        for chunk in self.iter() {
            let len = chunk.len() as u64;
            if bytes >= len {
                bytes -= len;
                continue;
            }
            let skip = usize::try_from(bytes).expect("less than a chunk's length");
            bytes = 0;
            rest.push(chunk.slice(skip..));
        }
        rest
    }

    /// The chunks, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<Bytes> {
        let mut all = self.rest;
        if !self.first.is_empty() {
            all.insert(0, self.first);
        }
        all
    }
}

/// An operation for the kernel.
#[derive(Clone, Debug)]
pub enum Op {
    /// Read at most so many bytes into a buffer of the backend's.
    Read {
        /// The size of that buffer.
        bytes_max: usize,
    },
    /// Wait until the peer has read everything.
    UntilRead,
    /// Wait until a read would not wait (data, end of stream or an error).
    WaitReadable,
    /// Write these bytes; a short count is a success.
    Write(Chunks),
}

impl Op {
    /// The kind of this operation.
    #[must_use]
    pub const fn kind(&self) -> OpKind {
        match self {
            Self::Read { .. } => OpKind::Read,
            Self::WaitReadable => OpKind::WaitReadable,
            Self::UntilRead => OpKind::UntilRead,
            Self::Write(_) => OpKind::Write,
        }
    }
}

/// What a system call's code means. The tables in the backends are total functions into this (rule E1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Cancelled.
    Aborted,
    /// The caller's argument does not fit.
    Argument,
    /// An invariant of ours is broken, or the handle was closed under us.
    Bug,
    /// Try again on a timer.
    Busy,
    /// No permission.
    Denied,
    /// End of stream.
    EndOfStream,
    /// The peer broke the connection.
    Gone,
    /// Interrupted before anything happened: call again.
    Interrupted,
    /// Fatal for this device or network; every unknown code.
    Io,
    /// A resource is exhausted.
    Limit,
    /// Wrong state: nobody is connected.
    NotConnected,
    /// No such thing.
    NotFound,
    /// Data is valid and there is more of the message.
    Partial,
    /// The answer will come later.
    Pending,
    /// The peer broke the connection, and threw away what it had not read.
    Reset,
    /// The name is taken.
    Taken,
    /// This way is not supported here: take the next one.
    Unsupported,
    /// It would wait.
    Wait,
    /// This process was forked from the one that the thing belongs to.
    WrongProcess,
}

impl Class {
    /// The kind a caller sees when an operation ends with this class.
    ///
    /// Classes that are no error by themselves (`Pending`, `Wait`, `Partial`, `Interrupted`) end an operation only if a
    /// backend reports them against rule O2; they are errors then too, so that nothing is ever taken for a success.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Aborted => ErrorKind::Cancelled,
            Self::Argument => ErrorKind::InvalidInput,
            Self::Busy => ErrorKind::Busy,
            Self::Denied => ErrorKind::Denied,
            Self::EndOfStream | Self::Gone => ErrorKind::BrokenPipe,
            Self::Limit => ErrorKind::Limit,
            Self::NotConnected => ErrorKind::NotConnected,
            Self::NotFound => ErrorKind::NotFound,
            Self::Reset => ErrorKind::Reset,
            Self::Taken => ErrorKind::Taken,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::Bug
            | Self::Interrupted
            | Self::Io
            | Self::Partial
            | Self::Pending
            | Self::Wait => ErrorKind::Os,
            Self::WrongProcess => ErrorKind::WrongProcess,
        }
    }
}

/// How many bytes of a failed or cancelled write the kernel took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moved {
    /// Exactly so many.
    Exactly(u64),
    /// Nobody can say: anything from none to all of them (Windows, a cancelled or broken write).
    Unknown,
}

/// The answer to one operation.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A read got these bytes.
    Data(Bytes),
    /// A read found the end of the stream.
    EndOfStream,
    /// It failed or was cancelled.
    Failed {
        /// What the code means.
        class: Class,
        /// The code, if a system call gave one.
        os: Option<OsCode>,
        /// For a write: what the kernel took all the same.
        moved: Moved,
    },
    /// What was waited for is there. To a read: nothing yet, read again (an empty message on a Windows pipe), which is
    /// neither data nor the end of the stream.
    Ready,
    /// A write took this many bytes.
    Transferred(u64),
}

impl Outcome {
    /// A failure that moved nothing.
    #[must_use]
    pub const fn failed(class: Class, os: Option<OsCode>) -> Self {
        Self::Failed {
            class,
            os,
            moved: Moved::Exactly(0),
        }
    }

    /// The answer of an operation that was cancelled before it did anything.
    #[must_use]
    pub const fn cancelled() -> Self {
        Self::failed(Class::Aborted, None)
    }
}

/// The answer to an operation that was in flight.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Which operation.
    pub id: OpId,
    /// Its answer.
    pub outcome: Outcome,
}

/// What became of a submission (rule O2).
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It is answered already; no completion will follow.
    Done(Outcome),
    /// Exactly one completion will follow (it may even be there before this is returned).
    InFlight,
}

/// What became of a cancel request (rule O3).
#[derive(Clone, Debug)]
pub enum Cancelled {
    /// The operation is answered herewith; no completion will follow.
    Done(Outcome),
    /// The completion will follow, whatever it says.
    Requested,
}

/// Which moves of bytes from one handle to another inside the kernel are asked for (O10).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MoveScope {
    /// Those that are the same to everybody as a read and a write. None of them waits.
    Alike,
    /// All that can be made. Where a regular file has a part, its disk is waited for.
    Everywhere,
    /// All that can be made without waiting for a disk: no regular file has a part in them.
    WithoutDisk,
}

/// The answer to a move of bytes from one handle to another that does not wait. Unless it is [`MoveNow::Moved`], no byte left
/// the source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MoveNow {
    /// There is something in the source, and the destination takes nothing now.
    DestinationWait,
    /// The source is at its end.
    EndOfStream,
    /// So many bytes went from the one to the other; never 0.
    Moved(usize),
    /// The source failed.
    ReadFailed(Class, Option<OsCode>),
    /// Nothing is in the source now: submit [`Op::WaitReadable`].
    SourceWait,
    /// Between these two handles bytes go only by a read and a write, as far as moves were asked for. Those also tell what is wrong, if
    /// something is.
    Unavailable,
    /// One of the two has to be waited for: [`Backend::who_waits`](crate::Backend::who_waits) tells which. Said by `who_waits` itself: it
    /// cannot be told, and a read finds out.
    Wait,
    /// The destination failed.
    WriteFailed(Class, Option<OsCode>),
}

/// The answer to a read that does not wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadNow {
    /// So many bytes were read; never 0 for a buffer that holds any.
    Data(usize),
    /// The end of the stream.
    EndOfStream,
    /// It failed.
    Failed(Class, Option<OsCode>),
    /// This handle reads only through [`Op::Read`].
    Unavailable,
    /// Nothing there now: submit [`Op::WaitReadable`].
    Wait,
}

/// The answer to a write that does not wait, out of the caller's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteNow {
    /// It failed, and took nothing.
    Failed(Class, Option<OsCode>),
    /// The first so many bytes were taken.
    Transferred(u64),
    /// This handle writes only through [`Op::Write`].
    Unavailable,
    /// No byte is taken now: submit [`Op::Write`].
    Wait,
}

/// What a state machine wants done. The driver does it and feeds the answer back.
#[derive(Clone, Debug)]
pub enum Action {
    /// Ask the kernel to stop this operation.
    Cancel(OpKind),
    /// Close the handle; nothing is in flight.
    Close,
    /// Give the kernel this operation.
    Submit(Op),
}

impl Outcome {
    /// The cause a caller sees when this outcome is a failure.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Failed { class, os, .. } => Some(Cause {
                kind: class.kind(),
                os: *os,
            }),
            Self::Data(_) | Self::EndOfStream | Self::Ready | Self::Transferred(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn chunks(parts: &[&'static str]) -> Chunks {
        let mut chunks = Chunks::default();
        for part in parts {
            chunks.push(Bytes::from_static(part.as_bytes()));
        }
        chunks
    }

    #[test]
    fn what_is_behind_leaves_whole_chunks_out_and_cuts_one() {
        let all = chunks(&["abc", "de", "fgh"]);
        assert_eq!((all.count(), all.bytes()), (3, 8));
        let some = all.behind(4);
        assert_eq!(
            some.clone().into_vec(),
            vec![Bytes::from("e"), Bytes::from("fgh")]
        );
        assert_eq!(some.behind(0).bytes(), 4);
        let none = some.behind(4);
        assert_eq!((none.count(), none.bytes()), (0, 0));
        assert!(none.into_vec().is_empty());
    }

    #[test]
    fn moments_neither_wrap_nor_go_back() {
        let start = Moment(5);
        assert_eq!(start.after(Duration::from_nanos(7)), Moment(12));
        assert_eq!(start.after(Duration::MAX), Moment(u64::MAX));
        assert_eq!(start.until(Moment(9)), Duration::from_nanos(4));
        assert_eq!(Moment(9).until(start), Duration::ZERO);
    }

    #[test]
    fn every_class_has_its_kind() {
        use ErrorKind as K;
        let kinds = [
            (Class::Aborted, K::Cancelled),
            (Class::Argument, K::InvalidInput),
            (Class::Bug, K::Os),
            (Class::Busy, K::Busy),
            (Class::Denied, K::Denied),
            (Class::EndOfStream, K::BrokenPipe),
            (Class::Gone, K::BrokenPipe),
            (Class::Reset, K::Reset),
            (Class::Interrupted, K::Os),
            (Class::Io, K::Os),
            (Class::Limit, K::Limit),
            (Class::NotConnected, K::NotConnected),
            (Class::NotFound, K::NotFound),
            (Class::Partial, K::Os),
            (Class::Pending, K::Os),
            (Class::Taken, K::Taken),
            (Class::Unsupported, K::Unsupported),
            (Class::Wait, K::Os),
            (Class::WrongProcess, K::WrongProcess),
        ];
        for (class, kind) in kinds {
            assert_eq!(class.kind(), kind, "{class:?}");
        }
    }

    #[test]
    fn every_operation_has_its_kind() {
        let kinds = [
            (Op::Read { bytes_max: 1 }, OpKind::Read),
            (Op::WaitReadable, OpKind::WaitReadable),
            (Op::UntilRead, OpKind::UntilRead),
            (Op::Write(chunks(&["a"])), OpKind::Write),
        ];
        for (op, kind) in kinds {
            assert_eq!(op.kind(), kind);
        }
    }

    #[test]
    fn a_cancelled_operation_moved_nothing_and_has_no_code() {
        assert!(matches!(
            Outcome::cancelled(),
            Outcome::Failed {
                class: Class::Aborted,
                os: None,
                moved: Moved::Exactly(0)
            }
        ));
    }

    #[test]
    fn no_class_is_a_success() {
        let outcome = Outcome::failed(Class::Pending, Some(OsCode(997)));
        assert_eq!(
            outcome.cause(),
            Some(Cause {
                kind: ErrorKind::Os,
                os: Some(OsCode(997))
            })
        );
        assert_eq!(Outcome::Ready.cause(), None);
    }
}
