//! One wait for a child's end: in the reactor of the caller's runtime where that was asked for and is to be had, else with the thread
//! that hears of all ends.

use super::exit::ExitWatch;
use crate::pump_read::Reactor;
use crate::tokio_reactor;
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::sync::Arc;
use std::task::{Poll, Waker, ready};
use std::time::Duration;
use watertight_core::ReadNow;
use watertight_os::Process;

/// Where it waits.
#[derive(Default)]
enum Place {
    /// In no reactor yet.
    #[default]
    NotAsked,
    /// A registration of this wait's own: of several waits for one child each has its waker.
    InReactor(Arc<dyn Reactor>),
    /// With the library's thread, from now on.
    InThread,
}

/// A wait for a child's end. Belongs to the caller's waiting value.
#[derive(Default)]
pub(crate) struct ExitWait {
    /// Its place among those that the library's thread tells.
    id: u64,
    place: Place,
}

impl fmt::Debug for ExitWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitWait")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl ExitWait {
    /// Its place among those that the library's thread tells.
    pub(super) const fn id_mut(&mut self) -> &mut u64 {
        &mut self.id
    }

    /// Waits in the reactor of the runtime that this is called in. `None`: there is none, or it is not the one of before.
    pub(super) fn poll_in_reactor(&mut self, process: &Process, waker: &Waker) -> Option<Poll<()>> {
        if let Place::NotAsked = self.place {
            let registered = tokio_reactor::register_exit(process);
            self.place = registered.map_or(Place::InThread, Place::InReactor);
        }
        let Place::InReactor(registration) = &self.place else {
            return None;
        };
        // Another runtime's task, or a thread, knows nothing about whether this one still runs.
        let polled = registration
            .is_here()
            .then(|| poll_over(&**registration, process, waker));
        match polled {
            Some(Poll::Ready(true)) => Some(Poll::Ready(())),
            Some(Poll::Pending) => Some(Poll::Pending),
            Some(Poll::Ready(false)) | None => {
                self.place = Place::InThread;
                None
            }
        }
    }

    /// Waits no longer. In a forked child a registration stays: ending it would take it out of the parent's reactor, which both share.
    pub(super) fn forget(&mut self, exit: &ExitWatch, is_elsewhere: bool) {
        if !is_elsewhere || !exit.is_held() {
            exit.forget(self.id);
        }
        let place = mem::replace(&mut self.place, Place::InThread);
        if is_elsewhere {
            let _kept = ManuallyDrop::new(place);
        }
    }
}

/// Whether the child is over; false: the reactor has ended. A reactor may call too early, so the system is asked.
fn poll_over(registration: &dyn Reactor, process: &Process, waker: &Waker) -> Poll<bool> {
    let answer = registration.poll_read(waker, &mut || match process
        .wait_for_exit(Some(Duration::ZERO))
    {
        Ok(false) => ReadNow::Wait,
        // What the system refuses to tell now, it tells who asks how the child ended.
        Ok(true) | Err(_) => ReadNow::EndOfStream,
    });
    Poll::Ready(ready!(answer).is_ok())
}
