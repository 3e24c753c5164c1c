//! What a call that is still running offers: a failure until its end is that call's answer (rule L2).

use super::WriteHalf;

/// No message begins there: no call is running.
pub(super) const NONE: u64 = u64::MAX;

impl WriteHalf {
    /// A message, or a piece of one, is about to be accepted, and the call that brings it goes on: a failure until
    /// [`WriteHalf::end_offer`] is that call's answer (rule L2). `new`: the length of the message that begins with this
    /// piece. Says where the piece begins.
    #[inline]
    pub fn begin_offer(&mut self, new: Option<u64>) -> u64 {
        if let Some(bytes) = new {
            self.messages.begin(bytes);
        }
        let start = self.ledger.accepted();
        self.offered = start;
        start
    }

    /// The call that began an offer at `start` is about to return: how many of its bytes are refused after all.
    #[inline]
    pub fn end_offer(&mut self, start: u64) -> u64 {
        if self.offered == start {
            self.offered = NONE;
        }
        let backlog = self.backlog.as_mut();
        let refused =
            backlog.and_then(|backlog| backlog.refused.take_if(|(from, _)| *from == start));
        refused.map_or(0, |(_, bytes)| bytes)
    }

    /// L2: bytes whose call is still running, and that were not given to the kernel, go back to the caller.
    pub(super) fn refuse_offered(&mut self) {
        let start = core::mem::replace(&mut self.offered, NONE);
        if start == NONE {
            return;
        }
        // What was never queued is not left over.
        let Some(backlog) = &mut self.backlog else {
            return;
        };
        let mut left = self.ledger.accepted() - start;
        let mut refused = 0;
        while left > 0
            && let Some(mut chunk) = backlog.unsent.pop()
        {
            let now = left.min(chunk.len() as u64);
            chunk.truncate(chunk.len() - usize::try_from(now).expect("no more than the chunk"));
            if !chunk.is_empty() {
                backlog.unsent.push(chunk);
            }
            left -= now;
            refused += now;
        }
        self.ledger.refuse(refused);
        self.messages.refuse(refused);
        backlog.refused = Some((start, refused));
    }
}
