//! What a writer can do in a forked child whose parent had other threads.

use super::{State, WriterCell};
use crate::sync::MutexGuard;
use std::sync::Arc;
use watertight_core::Backend;

impl<B: Backend> WriterCell<B> {
    /// Whether nothing can be done with it, in a forked child.
    pub(crate) fn is_locked_for_ever(&self) -> bool {
        self.driver.is_locked_for_ever(&self.state)
    }

    /// The lock, unless a thread has it that is not in this forked child.
    pub(super) fn lock_here(&self) -> Option<MutexGuard<'_, State<B>>> {
        self.state
            .lock_unless(|| self.driver.backend.is_elsewhere())
    }

    /// Its lock, for a test that stands for a thread.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn locked(&self) -> impl Sized {
        self.lock()
    }

    pub(crate) fn abort(self: &Arc<Self>) {
        if self.is_locked_for_ever() {
            return;
        }
        let is_elsewhere = self.driver.refuse_elsewhere().is_err();
        self.change(|state| {
            state.forget_threads(is_elsewhere);
            state.half.abort();
        });
    }
}
