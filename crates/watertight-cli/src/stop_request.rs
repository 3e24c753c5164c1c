//! What a copy's own thread asks of the source's: to stop, at once or when that leaves no destination with less than another.
//!
//! Never here: who is stopped then, and by when (`copy.rs`, `copy/early_end.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

/// A request that can be made at any time. It is not taken back.
#[derive(Debug, Default)]
pub(crate) struct StopRequest {
    is_to_even_out: AtomicBool,
    is_to_stop: AtomicBool,
}

impl StopRequest {
    /// Takes no more from the source than what one of several destinations has had: the others get that too, and then it stops.
    pub(crate) fn even_out(&self) {
        self.is_to_even_out.store(true, Ordering::Release);
    }

    /// Stops at once.
    pub(crate) fn stop(&self) {
        self.is_to_stop.store(true, Ordering::Release);
    }

    /// Whether it is to stop at once.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.is_to_stop.load(Ordering::Acquire)
    }

    /// Whether it is to stop, in one way or the other.
    pub(crate) fn is_made(&self) -> bool {
        self.is_to_stop() || self.is_to_even_out.load(Ordering::Acquire)
    }
}
