//! Where no thread blocks on a pipe by itself, nobody has to be called back.

use std::sync::Arc;

/// Wakes one thread out of [`block_until_readable`](watertight_core::Backend::block_until_readable) and
/// [`block_until_writable`](watertight_core::Backend::block_until_writable), which this system does not offer.
#[derive(Debug)]
pub struct Bell(());

impl Bell {
    /// The calling thread's.
    #[must_use]
    pub fn of_this_thread() -> Arc<Self> {
        Arc::new(Self(()))
    }

    /// Says that the thread has to be woken elsewhere.
    #[allow(
        clippy::unused_self,
        reason = "the other system's bell is one thread's"
    )]
    #[must_use]
    pub const fn ring(&self) -> bool {
        false
    }
}
