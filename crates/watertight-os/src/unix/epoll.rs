//! Linux: readiness by epoll. Descriptors are one-shot; the wake is an edge-triggered eventfd that is never read; the deadline is
//! the wait's own. So a wait for one descriptor costs one epoll_ctl and one epoll_pwait2.

use super::kernel::last_errno;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many descriptors one wait tells of; the others come with the next one.
const EVENTS_MAX: usize = 256;

/// The eventfd's number. A handle never has it.
const WAKE: usize = usize::MAX;

/// What a descriptor is to be ready for. Errors and hang-ups are told in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn flags(self) -> EventFlags {
        let what = match self {
            Interest::Read => EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI,
            Interest::Write => EventFlags::OUT,
        };
        what | EventFlags::ONESHOT
    }
}

/// What a wait found.
pub(super) struct Events(Vec<libc::epoll_event>);

impl Events {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_MAX))
    }

    /// Has a call write records into the room there is, and say how many, or fail.
    fn fill(
        &mut self,
        call: impl FnOnce(*mut libc::epoll_event, libc::c_int) -> libc::c_long,
    ) -> Result<(), Errno> {
        self.0.clear();
        let room = libc::c_int::try_from(self.0.capacity()).unwrap_or(libc::c_int::MAX);
        let Ok(count) = usize::try_from(call(self.0.as_mut_ptr(), room)) else {
            return Err(last_errno());
        };
        assert!(
            count <= self.0.capacity(),
            "more events than there was room for"
        );
        // SAFETY: the kernel says that it filled so many, and there was room for them.
        unsafe { self.0.set_len(count) };
        Ok(())
    }

    /// The keys of the descriptors that are ready.
    pub(super) fn keys(&self) -> impl Iterator<Item = usize> + '_ {
        // Each went in as a usize.
        let keys = self.0.iter().map(|event| event.u64 as usize);
        keys.filter(|key| *key != WAKE)
    }
}

/// A key as the kernel keeps it.
fn data_of(key: usize) -> EventData {
    EventData::new_u64(key as u64)
}

/// The kernel's `__kernel_timespec`: 64 bits on every machine.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanos: i64,
}

/// epoll and its eventfd.
pub(super) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
    /// A wake was written that no wait has returned for: the next ones need no call.
    is_woken: AtomicBool,
    /// This kernel has no epoll_pwait2 (before 5.11, or a filter that does not know it).
    is_old: AtomicBool,
}

impl Poller {
    /// epoll_create1 and eventfd2.
    pub(super) fn new() -> Result<Self, Errno> {
        let poller = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            is_woken: AtomicBool::new(false),
            is_old: AtomicBool::new(false),
        };
        // Each write is an edge, so it is never read.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&poller.epoll, &poller.wake, data_of(WAKE), flags)?;
        // Whether there is epoll_pwait2 is known from the start.
        poller.wait_for(&mut Events::new(), Some(Duration::ZERO))?;
        Ok(poller)
    }

    /// Whether a wait ends within microseconds of its timeout.
    pub(super) fn has_fine_clock(&self) -> bool {
        !self.is_old.load(Ordering::Relaxed)
    }

    /// EPOLL_CTL_ADD: tells once that it is ready.
    ///
    /// # Safety
    /// None is needed here; the same function of the other systems asks that the descriptor is taken out before it is closed.
    pub(super) unsafe fn add(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, data_of(key), interest.flags())
    }

    /// EPOLL_CTL_MOD: tells once more.
    pub(super) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, data_of(key), interest.flags())
    }

    /// EPOLL_CTL_DEL.
    pub(super) fn delete(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        epoll::delete(&self.epoll, fd)
    }

    /// epoll_pwait2: until a descriptor is ready, somebody wakes, or the time is over.
    pub(super) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        let waited = self.wait_for(events, timeout);
        // Whoever found this set and made no call has left what is to be done where it is looked for from here on.
        self.is_woken.store(false, Ordering::SeqCst);
        waited
    }

    fn wait_for(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        if !self.is_old.load(Ordering::Relaxed) {
            match self.wait_to_the_nanosecond(events, timeout) {
                Err(Errno::NOSYS | Errno::PERM) => self.is_old.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        self.wait_to_the_millisecond(events, timeout)
    }

    /// epoll_pwait2, which neither rustix nor libc has for every target.
    fn wait_to_the_nanosecond(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        let timeout = timeout.map(|timeout| KernelTimespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanos: i64::from(timeout.subsec_nanos()),
        });
        let until = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        let no_mask = std::ptr::null::<libc::sigset_t>();
        let epoll = self.epoll.as_fd().as_raw_fd();
        events.fill(|into, room| {
            // SAFETY: the descriptor is ours and open; the kernel writes at most `room` records into the memory behind `into`, which
            // has room for them; `timeout` lives until the call returns, and the kernel keeps neither pointer.
            unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    epoll,
                    into,
                    room,
                    until,
                    no_mask,
                    0_usize,
                )
            }
        })
    }

    /// epoll_wait: the timeout is rounded up, so that nobody is woken just before the time and has to wait again.
    fn wait_to_the_millisecond(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        let millis = timeout.map_or(-1, |timeout| {
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
        });
        let epoll = self.epoll.as_fd().as_raw_fd();
        events.fill(|into, room| {
            // SAFETY: as above.
            libc::c_long::from(unsafe { libc::epoll_wait(epoll, into, room, millis) })
        })
    }

    /// write on the eventfd, unless a wake is on its way: makes a running or the next wait return.
    pub(super) fn notify(&self) -> Result<(), Errno> {
        if self.is_woken.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let written = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if written.is_err() {
            // Nothing was written, so nothing may keep the next one from trying.
            self.is_woken.store(false, Ordering::SeqCst);
        }
        written.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn keys(poller: &Poller, timeout: Option<Duration>) -> Vec<usize> {
        let mut events = Events::new();
        poller.wait(&mut events, timeout).unwrap();
        events.keys().collect()
    }

    #[test]
    fn a_descriptor_is_told_once_until_it_is_armed_again() {
        let poller = Poller::new().unwrap();
        let (from, into) = rustix::pipe::pipe().unwrap();
        // SAFETY: the descriptor is ours alone, open, and taken out below.
        unsafe { poller.add(from.as_fd(), 7, Interest::Read) }.unwrap();
        assert_eq!(keys(&poller, NOW), []);
        rustix::io::write(&into, b"x").unwrap();
        assert_eq!(keys(&poller, LONG), [7]);
        assert_eq!(keys(&poller, NOW), []);
        poller.modify(from.as_fd(), 7, Interest::Read).unwrap();
        assert_eq!(keys(&poller, LONG), [7]);
        poller.delete(from.as_fd()).unwrap();
        assert_eq!(poller.delete(from.as_fd()), Err(Errno::NOENT));
    }

    /// Each wake ends a wait, although nobody ever reads it; and it is gone with that.
    #[test]
    fn every_wake_ends_one_wait() {
        let poller = Poller::new().unwrap();
        for _ in 0..3 {
            poller.notify().unwrap();
            poller.notify().unwrap();
            assert_eq!(keys(&poller, None), []);
            assert_eq!(keys(&poller, NOW), []);
        }
    }

    #[test]
    fn a_wake_from_elsewhere_ends_a_wait_that_has_begun() {
        let poller = Poller::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| poller.notify().unwrap());
            assert_eq!(keys(&poller, None), []);
        });
    }

    /// As on a kernel that has no epoll_pwait2.
    #[test]
    fn an_old_kernel_is_waited_on_by_the_old_call() {
        let poller = Poller::new().unwrap();
        poller.is_old.store(true, Ordering::Relaxed);
        let (from, into) = rustix::pipe::pipe().unwrap();
        // SAFETY: the descriptor is ours alone and open; the poller goes first.
        unsafe { poller.add(into.as_fd(), 3, Interest::Write) }.unwrap();
        assert_eq!(keys(&poller, LONG), [3]);
        assert_eq!(keys(&poller, Some(Duration::from_nanos(1))), []);
        drop((poller, from));
    }
}
