//! What a half has besides its account: bytes that are queued, in flight, or left over, and the question whether they are read.
//!
//! It is made with the first byte that is queued, or the first question, and stays. So a pipe at rest is small, and so is one whose messages go straight
//! to the kernel. What a failure leaves over was queued before, so a failure finds it made; only that of a direct write makes
//! it, to keep what was in the caller's memory.

use super::WriteHalf;
use crate::op::Chunks;
use crate::queue::Queue;
use crate::until_read::PeerReading;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) queue: Queue,
    pub(super) in_flight: Option<Chunks>,
    /// What the last answered operation carried, to be dropped by the driver once its lock is gone.
    pub(super) carried: Option<Chunks>,
    pub(super) unsent: Vec<Bytes>,
    pub(super) in_doubt: Vec<Bytes>,
    /// Where a message began, and how many of its last bytes were refused because the half failed during its call.
    pub(super) refused: Option<(u64, u64)>,
    /// Made with the first question.
    pub(super) until_read: Option<Box<PeerReading>>,
}

impl Backlog {
    fn new(segment_bytes_max: usize) -> Self {
        Self {
            queue: Queue::new(segment_bytes_max),
            in_flight: None,
            carried: None,
            unsent: Vec::new(),
            in_doubt: Vec::new(),
            refused: None,
            until_read: None,
        }
    }

    /// What is queued is never sent.
    pub(super) fn give_up_queue(&mut self) {
        // What comes back later was in flight, so it stood before what was given up first.
        let mut unsent = self.queue.take_all();
        unsent.append(&mut self.unsent);
        self.unsent = unsent;
    }
}

impl WriteHalf {
    /// What the last answered operation carried: a chunk's destructor is its owner's code, so drop it without a lock.
    pub fn take_carried(&mut self) -> Option<Chunks> {
        self.backlog.as_mut()?.carried.take()
    }

    /// The bytes that were accepted and not transferred: those that were never given to the kernel or that it gave back,
    /// and before them those that the peer may have seen.
    #[must_use]
    pub fn remains(&self) -> (Vec<Bytes>, Vec<Bytes>) {
        let backlog = self.backlog.as_ref();
        let remains = backlog.map(|backlog| (backlog.in_doubt.clone(), backlog.unsent.clone()));
        remains.unwrap_or_default()
    }

    /// For a question, and for bytes that are about to be queued, or were.
    pub(super) fn backlog(&mut self) -> &mut Backlog {
        let segment_bytes_max = self.limits.segment_bytes_max;
        self.backlog
            .get_or_insert_with(|| Box::new(Backlog::new(segment_bytes_max)))
    }

    pub(super) fn has_queued(&self) -> bool {
        let backlog = self.backlog.as_ref();
        backlog.is_some_and(|backlog| !backlog.queue.is_empty())
    }

    /// Whether a write is in flight that came from the queue.
    pub(super) fn is_writing(&self) -> bool {
        let backlog = self.backlog.as_ref();
        backlog.is_some_and(|backlog| backlog.in_flight.is_some())
    }

    /// The question whether the peer has read everything; unasked until somebody asks.
    pub(super) fn peer_reading(&self) -> &PeerReading {
        let backlog = self.backlog.as_ref();
        let until_read = backlog.and_then(|backlog| backlog.until_read.as_deref());
        until_read.unwrap_or(&PeerReading::UNASKED)
    }

    /// The same, once somebody has asked.
    pub(super) fn peer_reading_mut(&mut self) -> Option<&mut PeerReading> {
        self.backlog.as_mut()?.until_read.as_deref_mut()
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_half_that_never_queued_is_small() {
        assert!(size_of::<WriteHalf>() <= 120);
    }
}
