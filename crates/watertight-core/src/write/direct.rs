//! Bytes that go from a caller's memory straight to the kernel, because nothing is before them.

use super::WriteHalf;
use crate::error::Cause;
use crate::op::{Chunks, Outcome, WriteNow};
use crate::phase::WritePhase;
use bytes::Bytes;
use core::num::NonZeroU64;

/// How many bytes a call has that is going on, and one more: so that a half at rest has no room for whether there is one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Direct(NonZeroU64);

impl Direct {
    /// By it a call moves bytes from another handle.
    const MOVE: Self = Self::of(0);

    const fn of(bytes: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(bytes))
    }

    const fn bytes(self) -> u64 {
        self.0.get() - 1
    }
}

impl WriteHalf {
    /// Whether bytes may go straight from a caller's memory to the kernel: nothing is before them, and one operation carries
    /// so many.
    #[inline]
    #[must_use]
    pub fn may_be_direct(&self, bytes: u64) -> bool {
        self.is_idle() && bytes > 0 && bytes <= self.limits.op_bytes_max as u64
    }

    /// Whether it is open, with nothing queued or in flight.
    #[inline]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.has_queued()
            && !self.anything_in_flight()
            && matches!(self.state, Ok(WritePhase::Open))
    }

    /// Accepts bytes that the caller is about to write straight out of its own memory. The caller has checked
    /// [`WriteHalf::may_be_direct`]. Until [`WriteHalf::handle_direct`] nobody else writes and the handle stays open.
    #[inline]
    pub fn begin_direct(&mut self, bytes: u64) {
        self.assert_open();
        self.ledger.accept_in_flight(bytes);
        self.messages.accept(bytes);
        self.direct = Some(Direct::of(bytes));
    }

    /// The thread that was writing directly is not in this process (a forked child): nobody will bring its answer, so its bytes
    /// are in doubt here.
    pub fn forget_direct(&mut self) {
        if let Some(direct) = self.direct.take() {
            self.ledger.doubt(direct.bytes());
            self.after_write(None);
        }
    }

    /// The answer to that direct write; what the kernel did not take is asked for, from there on, and queued first.
    ///
    /// # Panics
    /// No direct write is going on, or the backend claims more bytes than it was given: an invariant of the seam.
    pub fn handle_direct(&mut self, answer: WriteNow, rest: impl FnOnce(u64) -> Bytes) {
        let direct = self.direct.take();
        let bytes = direct.expect("O2: an answer has its operation").bytes();
        let (moved, cause) = match answer {
            WriteNow::Transferred(moved) => (moved, None),
            WriteNow::Unavailable | WriteNow::Wait => (0, None),
            WriteNow::Failed(class, os) => (0, Outcome::failed(class, os).cause()),
        };
        assert!(
            moved <= bytes,
            "O2: a kernel takes no more than it was given"
        );
        self.ledger.transfer(moved);
        self.messages.transfer(moved);
        if moved < bytes {
            let mut chunks = Chunks::default();
            chunks.push(rest(moved));
            self.ledger.put_back(bytes - moved);
            self.backlog().queue.put_back(chunks);
        }
        self.after_write(cause);
    }

    /// Bytes are about to be moved here from another handle, inside the kernel. The caller has checked
    /// [`WriteHalf::is_idle`]. Until [`WriteHalf::handle_move`] nobody else writes, there is no room for anything, and the
    /// handle stays open.
    pub fn begin_move(&mut self) {
        assert!(self.is_idle(), "nothing is before a move");
        self.direct = Some(Direct::MOVE);
    }

    /// The answer to that move: so many bytes are accepted and transferred in one. They count as one message.
    ///
    /// # Panics
    /// No move is going on: an invariant of the driver.
    pub fn handle_move(&mut self, moved: u64, cause: Option<Cause>) {
        let began = self.direct.take();
        assert_eq!(began, Some(Direct::MOVE), "an answer has its move");
        if moved > 0 {
            self.ledger.accept_in_flight(moved);
            self.ledger.transfer(moved);
            self.messages.pass();
        }
        self.after_write(cause);
    }

    /// Whether bytes are being moved here inside the kernel.
    pub(super) fn is_moving(&self) -> bool {
        self.direct == Some(Direct::MOVE)
    }
}
