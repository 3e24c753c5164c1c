//! What a copy's own thread tells the source's of one of several destinations, while the library moves bytes there: that it is left out, or that
//! nothing is to be written to it for now.
//!
//! Never here: why (`copy/deadlines.rs`, `copy/readers.rs`), and what comes of it (`moving.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

/// It is looked at now and then.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_left_out: AtomicBool,
    is_shut: AtomicBool,
}

impl Gate {
    /// From now on it gets nothing more, and the others do not wait for it.
    pub(crate) fn leave_out(&self) {
        self.is_left_out.store(true, Ordering::Release);
    }

    pub(crate) fn is_left_out(&self) -> bool {
        self.is_left_out.load(Ordering::Acquire)
    }

    /// Nothing is to be written to it for now, or something again.
    pub(crate) fn shut(&self, is_shut: bool) {
        self.is_shut.store(is_shut, Ordering::Release);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Acquire)
    }

    /// Whether no call on its pipe is to be made now, for one reason or the other.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_left_out() || self.is_shut()
    }
}
