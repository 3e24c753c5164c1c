//! What an answered operation is to the core: code and count made into an outcome.
//!
//! Both ways of doing an operation, overlapped and by a helper thread, answer through these. What else they share is here
//! too: the kinds of handles, and the bytes of a write in one piece.

use super::classify::{Call, classify, os};
use bytes::Bytes;
use watertight_core::{Chunks, Class, Moved, Outcome};
use windows_sys::Win32::Foundation::ERROR_SUCCESS;

/// What kind of thing a handle is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A console, the null device, a serial line.
    Device,
    /// A regular file.
    File,
    /// A pipe.
    Pipe,
}

impl Kind {
    /// Whether a read of no bytes is the end of the stream. On a pipe it is an empty message.
    pub(super) fn empty_ends(self) -> bool {
        self != Self::Pipe
    }
}

/// The answer to a read. `empty_ends`: no bytes mean the end, as they do in a file.
///
/// On a pipe they do not: the peer wrote an empty message. The core has no such thing, so it is told to read again.
#[must_use]
pub fn read(code: u32, data: Bytes, empty_ends: bool) -> Outcome {
    if code == ERROR_SUCCESS {
        return match (data.is_empty(), empty_ends) {
            (true, true) => Outcome::EndOfStream,
            (true, false) => Outcome::Ready,
            (false, _) => Outcome::Data(data),
        };
    }
    match (classify(Call::Read, code), data.is_empty()) {
        (Class::EndOfStream, _) => Outcome::EndOfStream,
        // 234: the rest of the message comes with the next read.
        (Class::Partial, true) => Outcome::Ready,
        (Class::Partial, false) => Outcome::Data(data),
        (class, _) => Outcome::failed(class, Some(os(code))),
    }
}

/// The answer to a write of `bytes` bytes. `moved`: what is known of them if it failed.
#[must_use]
pub fn write(code: u32, count: u64, bytes: u64, moved: Moved) -> Outcome {
    if code != ERROR_SUCCESS {
        return Outcome::Failed {
            class: classify(Call::Write, code),
            os: Some(os(code)),
            moved,
        };
    }
    if count == 0 && bytes > 0 {
        // A pipe in the non-blocking mode: "success" without progress must not become an endless loop.
        return Outcome::failed(Class::Wait, None);
    }
    Outcome::Transferred(count.min(bytes))
}

/// The bytes of a write in one piece.
pub(super) fn joined(chunks: Chunks) -> Bytes {
    if chunks.count() == 1 {
        let only = chunks.into_vec().pop();
        return only.expect("there is one");
    }
    let mut whole = Vec::with_capacity(usize::try_from(chunks.bytes()).unwrap_or(0));
    for chunk in chunks.iter() {
        whole.extend_from_slice(chunk);
    }
    whole.into()
}
