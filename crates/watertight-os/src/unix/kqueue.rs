//! macOS, the BSDs and illumos: readiness by what the `polling` crate finds there (kqueue, event ports), one-shot.

use polling::Event;
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What a descriptor is to be ready for. Errors and hang-ups are told in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn of(self, key: usize) -> Event {
        match self {
            Interest::Read => Event::readable(key),
            Interest::Write => Event::writable(key),
        }
    }
}

/// What a wait found.
pub(super) struct Events(polling::Events);

impl Events {
    pub(super) fn new() -> Self {
        Self(polling::Events::new())
    }

    /// The keys of the descriptors that are ready.
    pub(super) fn keys(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|event| event.key)
    }
}

/// The system's queue of events, and its wake.
pub(super) struct Poller(polling::Poller);

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        said(polling::Poller::new()).map(Self)
    }

    /// Not measured on any of these systems.
    pub(super) fn has_fine_clock(&self) -> bool {
        false
    }

    /// Tells once that it is ready.
    ///
    /// # Safety
    /// The descriptor is taken out ([`Poller::delete`]) before it is closed.
    pub(super) unsafe fn add(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
    ) -> Result<(), Errno> {
        // SAFETY: the caller promises what this call asks for.
        said(unsafe { self.0.add(&fd, interest.of(key)) })
    }

    /// Tells once more.
    pub(super) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
    ) -> Result<(), Errno> {
        said(self.0.modify(fd, interest.of(key)))
    }

    pub(super) fn delete(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        said(self.0.delete(fd))
    }

    /// Until a descriptor is ready, somebody wakes, or the time is over.
    pub(super) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        events.0.clear();
        said(self.0.wait(&mut events.0, timeout)).map(drop)
    }

    /// Makes a running or the next wait return.
    pub(super) fn notify(&self) -> Result<(), Errno> {
        said(self.0.notify())
    }
}

fn said<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
