//! What a reader can do in a forked child whose parent had other threads.

use super::ReaderCell;
use watertight_core::Backend;

impl<B: Backend> ReaderCell<B> {
    /// In a forked child: whether this pipe's lock, or one of the driver's, was held by another thread when the process was forked. Then nothing
    /// can be done with the pipe here (rule C4): our copy of its handle stays open until the child ends or executes a program.
    pub(crate) fn is_locked_for_ever(&self) -> bool {
        let is_elsewhere = self.driver.backend.is_elsewhere();
        is_elsewhere && (self.state.is_held() || self.driver.is_locked_for_ever())
    }

    /// This pipe's lock, held.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn held(&self) -> impl Sized {
        self.state.lock()
    }
}
