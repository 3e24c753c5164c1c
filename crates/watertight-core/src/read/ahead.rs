//! Read-ahead that is passed on to another pipe: it stays in this half's account until the other one has accepted it.

use super::ReadHalf;
use crate::error::Cause;
use crate::op::ReadNow;
use crate::queue::Queue;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// Bytes that are read ahead, and those that nobody took in the end. Made with the first of them: a reader that reads straight
/// into its callers' memory has none.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) queue: Queue,
    pub(super) untaken: Vec<Bytes>,
}

/// What a half has for somebody who passes its bytes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lent {
    /// Bytes, but somebody else has them, or reads.
    Busy,
    /// These bytes, until [`ReadHalf::take_back`].
    Bytes(Bytes),
    /// Nothing, and nothing will come: the end of the stream, or why it failed or stopped.
    Ended(Result<(), Cause>),
    /// Nothing is read ahead.
    Nothing,
}

impl ReadHalf {
    /// The queue of what is read ahead, for bytes that have arrived.
    pub(super) fn ahead(&mut self) -> &mut Queue {
        let ahead = self.ahead.get_or_insert_with(|| {
            Box::new(Ahead {
                queue: Queue::new(1),
                untaken: Vec::new(),
            })
        });
        &mut ahead.queue
    }

    pub(super) fn has_ahead(&self) -> bool {
        let ahead = self.ahead.as_ref();
        ahead.is_some_and(|ahead| !ahead.queue.is_empty())
    }

    /// Whether only the kernel can say what comes next: it is open, and nothing is read ahead.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        !self.has_ahead() && self.ending().is_none()
    }

    /// Lends the first of what is read ahead, at most `bytes_max` bytes. Until [`ReadHalf::take_back`] nobody else takes any,
    /// and the bytes stay queued here.
    pub fn lend(&mut self, bytes_max: u64) -> Lent {
        if self.is_lent || (self.is_busy() && self.has_ahead()) {
            return Lent::Busy;
        }
        // A size past the address space is no bound.
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        if !self.has_ahead() {
            return self.ending().map_or(Lent::Nothing, Lent::Ended);
        }
        let first = self.ahead().take(bytes_max, 1);
        let Some(lent) = first.iter().next().cloned() else {
            return self.ending().map_or(Lent::Nothing, Lent::Ended);
        };
        self.ahead().put_back(first);
        self.direct = true;
        self.is_lent = true;
        Lent::Bytes(lent)
    }

    /// What was lent comes back: the first `taken` bytes of it are another pipe's now.
    ///
    /// # Panics
    /// Nothing is lent, or more is taken than there was: an invariant of the driver.
    pub fn take_back(&mut self, taken: u64) {
        assert!(self.is_lent, "only what was lent comes back");
        self.is_lent = false;
        let bytes = usize::try_from(taken).expect("no more than is in memory");
        self.ahead().take(bytes, usize::MAX);
        self.ledger.hand_over(taken);
        if self.aborted {
            // It stopped meanwhile, and nobody will take the rest.
            self.give_up_ahead();
        }
        self.handle_now(ReadNow::Wait);
    }

    /// The answer to a direct read whose bytes are read ahead, for nobody in particular yet.
    pub fn handle_ahead(&mut self, data: Bytes) {
        self.ledger.accept(data.len() as u64);
        self.ahead().push_whole(data);
        if self.aborted {
            self.give_up_ahead();
        }
        self.handle_now(ReadNow::Wait);
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_half_that_never_read_ahead_is_small() {
        assert!(size_of::<ReadHalf>() <= 88);
    }
}
