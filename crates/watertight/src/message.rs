//! What can be written: bytes that are accepted as one message.
#![allow(
    unreachable_pub,
    reason = "named by public signatures, and sealed by being in a private module"
)]

use bytes::Bytes;
use std::io::IoSlice;
use watertight_core::WriteHalf;

/// Bytes that want to be accepted as one message.
pub trait Message {
    /// How many bytes.
    fn len(&self) -> u64;
    /// Puts `bytes` of them, from `from` on, into the half.
    fn accept(&mut self, from: u64, bytes: u64, half: &mut WriteHalf);
    /// Whether all of them lie in one place.
    fn is_in_one_place(&self) -> bool {
        true
    }
    /// `bytes` of them, from `from` on, if they lie in one place.
    fn in_place(&self, from: u64, bytes: u64) -> Option<&[u8]>;
    /// The same, to be kept.
    fn keep(&self, from: u64, bytes: u64) -> Bytes;
}

/// A message that can be waited with.
pub trait Returned: Message + Unpin {
    /// What a refusal hands back: an owned message itself.
    type Back;
    /// The message, to be handed back.
    fn back(&self) -> Self::Back;
}

impl Returned for &[u8] {
    type Back = ();

    fn back(&self) {}
}

impl Returned for Bytes {
    type Back = Self;

    fn back(&self) -> Self {
        self.clone()
    }
}

impl Returned for &[IoSlice<'_>] {
    type Back = ();

    fn back(&self) {}
}

impl Message for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn accept(&mut self, from: u64, bytes: u64, half: &mut WriteHalf) {
        let (from, bytes) = (index(from), index(bytes));
        half.accept_copy(&self[from..from + bytes]);
    }

    fn in_place(&self, from: u64, bytes: u64) -> Option<&[u8]> {
        let (from, bytes) = (index(from), index(bytes));
        Some(&self[from..from + bytes])
    }

    fn keep(&self, from: u64, bytes: u64) -> Bytes {
        let (from, bytes) = (index(from), index(bytes));
        Bytes::copy_from_slice(&self[from..from + bytes])
    }
}

impl Message for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn accept(&mut self, from: u64, bytes: u64, half: &mut WriteHalf) {
        let (from, bytes) = (index(from), index(bytes));
        half.accept_owned(self.slice(from..from + bytes));
    }

    fn in_place(&self, from: u64, bytes: u64) -> Option<&[u8]> {
        let (from, bytes) = (index(from), index(bytes));
        Some(&self[from..from + bytes])
    }

    fn keep(&self, from: u64, bytes: u64) -> Bytes {
        let (from, bytes) = (index(from), index(bytes));
        self.slice(from..from + bytes)
    }
}

impl Message for &[IoSlice<'_>] {
    fn len(&self) -> u64 {
        self.iter().map(|slice| slice.len() as u64).sum()
    }

    fn accept(&mut self, from: u64, bytes: u64, half: &mut WriteHalf) {
        let (mut skip, mut rest) = (index(from), index(bytes));
        for slice in self.iter() {
            let start = skip.min(slice.len());
            skip -= start;
            let now = (slice.len() - start).min(rest);
            rest -= now;
            half.accept_copy(&slice[start..start + now]);
        }
    }

    fn is_in_one_place(&self) -> bool {
        <[IoSlice<'_>]>::len(self) == 1
    }

    fn in_place(&self, from: u64, bytes: u64) -> Option<&[u8]> {
        let [only] = self else { return None };
        let (from, bytes) = (index(from), index(bytes));
        Some(&only[from..from + bytes])
    }

    fn keep(&self, from: u64, bytes: u64) -> Bytes {
        let in_place = self.in_place(from, bytes);
        Bytes::copy_from_slice(in_place.expect("only what lies in one place is kept"))
    }
}

/// An offset into memory that exists.
fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset into a message in memory fits a usize")
}
