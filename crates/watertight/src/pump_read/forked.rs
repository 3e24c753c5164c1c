//! What a reader can do in a forked child whose parent had other threads.

use super::ReaderCell;
use super::reactor::InReactor;
use watertight_core::Backend;

impl<B: Backend> ReaderCell<B> {
    /// Whether nothing can be done with it, in a forked child.
    pub(crate) fn is_locked_for_ever(&self) -> bool {
        let is_registration_held = || self.reactor.as_deref().is_some_and(InReactor::is_held);
        self.driver.is_locked_for_ever(&self.state)
            || (self.driver.backend.is_elsewhere() && is_registration_held())
    }

    /// Its lock, for a test that stands for a thread.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn locked(&self) -> impl Sized {
        self.lock()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::reactor::{Gone, Reactor};
    use super::*;
    use crate::ReaderOptions;
    use crate::driver::{Driver, Forked};
    use std::sync::Arc;
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::{Poll, Waker};
    use watertight_core::ReadNow;

    /// A reactor that never has anything to tell.
    struct Still;

    impl Reactor for Still {
        fn poll_ready(&self, _: &Waker) -> Poll<Result<(), Gone>> {
            Poll::Pending
        }

        fn poll_read(
            &self,
            _: &Waker,
            _: &mut dyn FnMut() -> ReadNow,
        ) -> Poll<Result<ReadNow, Gone>> {
            Poll::Pending
        }

        fn is_here(&self) -> bool {
            true
        }
    }

    /// A thread of the parent's was about to ask the reactor, and is not in the child.
    #[test]
    fn a_readers_drop_in_a_forked_child_waits_for_no_registration() {
        let driver = Arc::new(Driver::new(Forked::default()));
        let options = ReaderOptions::new();
        let cell = ReaderCell::new(driver.clone(), (), options, Some(Arc::new(Still)));
        let place = cell.reactor.as_deref().expect("it has a reactor");
        driver.backend.is_elsewhere.store(true, SeqCst);
        let held = place.held();
        cell.handle_drop();
        drop(held);
        assert_eq!(driver.backend.closed.load(SeqCst), 0);
        // Only a test comes back.
        driver.backend.is_elsewhere.store(false, SeqCst);
        cell.handle_drop();
        assert_eq!(driver.backend.closed.load(SeqCst), 1);
    }
}
