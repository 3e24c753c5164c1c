//! tokio's reactor as a reader's, and for the ends of children (feature `tokio`, Unix): a task's wait then costs what it costs
//! tokio's own pipes and children, and no thread of ours takes part in it.

use crate::options::ReaderOptions;
use crate::pump_read::Reactor;
use std::sync::Arc;
use watertight_os::{Handle, Process};

/// Registers a copy of the handle with the reactor of the runtime that this is called in. `None`: it was not asked for, there is
/// no runtime, its reactor does not take the handle (a file), or the system is out of descriptors. The library's own thread
/// does it then.
pub(crate) fn register(handle: &Handle, options: &ReaderOptions) -> Option<Arc<dyn Reactor>> {
    #[cfg(all(feature = "tokio", unix, not(any(loom, shuttle))))]
    if options.tokio_reactor && handle.reads_directly() {
        return unix::register(handle);
    }
    let _ = (handle, options);
    None
}

/// Registers the end of a child with the reactor of the runtime that this is called in. `None`: there is no runtime, the system
/// has no descriptor for a child's end, or is out of descriptors.
pub(crate) fn register_exit(process: &Process) -> Option<Arc<dyn Reactor>> {
    #[cfg(all(feature = "tokio", unix, not(any(loom, shuttle))))]
    return unix::register_exit(process);
    #[cfg(not(all(feature = "tokio", unix, not(any(loom, shuttle)))))]
    {
        let _ = process;
        None
    }
}

/// Does something in a thread that blocks: it is in no runtime then, for while it blocks it may be the one that runs it.
pub(crate) fn outside<T>(act: impl FnOnce() -> T) -> T {
    #[cfg(all(feature = "tokio", unix, not(any(loom, shuttle))))]
    let _outside = unix::Outside::begin();
    act()
}

#[cfg(all(feature = "tokio", unix, not(any(loom, shuttle))))]
mod unix {
    use crate::pump_read::{Gone, Reactor};
    use std::cell::Cell;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker, ready};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::runtime::Id;
    use watertight_core::ReadNow;
    use watertight_os::{Handle, Process};

    /// A place in the reactor of one runtime.
    struct Registration {
        /// A second descriptor of the reader's pipe, or of the child: it can be in the reactor for as long as it likes.
        fd: AsyncFd<OwnedFd>,
        runtime: Id,
    }

    pub(super) fn register(handle: &Handle) -> Option<Arc<dyn Reactor>> {
        registered(|| handle.try_clone_to_wait().ok())
    }

    pub(super) fn register_exit(process: &Process) -> Option<Arc<dyn Reactor>> {
        registered(|| process.try_clone_descriptor())
    }

    fn registered(copy: impl FnOnce() -> Option<OwnedFd>) -> Option<Arc<dyn Reactor>> {
        let (runtime, copy) = (current_runtime()?, copy()?);
        #[allow(
            deprecated,
            reason = "unsound for a type that closes or changes its descriptor, which OwnedFd does not"
        )]
        let registered = AsyncFd::with_interest(copy, Interest::READABLE);
        let fd = registered.ok()?;
        Some(Arc::new(Registration { fd, runtime }))
    }

    thread_local! {
        static IS_OUTSIDE: Cell<bool> = const { Cell::new(false) };
    }

    /// While it lives the calling thread counts as one without a runtime.
    pub(super) struct Outside {
        was_outside: bool,
    }

    impl Outside {
        pub(super) fn begin() -> Self {
            Self {
                was_outside: IS_OUTSIDE.replace(true),
            }
        }
    }

    impl Drop for Outside {
        fn drop(&mut self) {
            IS_OUTSIDE.set(self.was_outside);
        }
    }

    fn current_runtime() -> Option<Id> {
        if IS_OUTSIDE.get() {
            return None;
        }
        let current = tokio::runtime::Handle::try_current();
        current.ok().map(|current| current.id())
    }

    impl Reactor for Registration {
        fn poll_ready(&self, waker: &Waker) -> Poll<Result<(), Gone>> {
            match ready!(self.fd.poll_read_ready(&mut Context::from_waker(waker))) {
                Ok(mut guard) => {
                    guard.retain_ready();
                    Poll::Ready(Ok(()))
                }
                // The one failure: the reactor has ended.
                Err(_) => Poll::Ready(Err(Gone)),
            }
        }

        fn poll_read(
            &self,
            waker: &Waker,
            read: &mut dyn FnMut() -> ReadNow,
        ) -> Poll<Result<ReadNow, Gone>> {
            loop {
                let cx = &mut Context::from_waker(waker);
                let Ok(mut guard) = ready!(self.fd.poll_read_ready(cx)) else {
                    return Poll::Ready(Err(Gone));
                };
                let now = read();
                if now != ReadNow::Wait {
                    guard.retain_ready();
                    return Poll::Ready(Ok(now));
                }
                // What the reactor knew is past; what came since the read is not cleared by this.
                guard.clear_ready();
            }
        }

        fn is_here(&self) -> bool {
            current_runtime() == Some(self.runtime)
        }
    }
}
