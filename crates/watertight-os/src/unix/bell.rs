//! A thread that blocks on a pipe by itself, to read it or to write to it, and what calls it back: an eventfd of its own, made when
//! it first blocks.

use super::classify::Call;
use crate::fault::fallible;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The thread does not block here.
const AWAY: u8 = 0;
/// The thread blocks, or is about to, or has just come back.
const BLOCKED: u8 = 1;
/// It was rung, and the thread has not looked since.
const RUNG: u8 = 2;

/// Wakes one thread out of [`block_until_readable`](watertight_core::Backend::block_until_readable) and
/// [`block_until_writable`](watertight_core::Backend::block_until_writable).
#[derive(Debug)]
pub struct Bell {
    state: AtomicU8,
    /// `None` if none could be made: then this thread never blocks here.
    eventfd: OnceLock<Option<OwnedFd>>,
}

thread_local! {
    static MINE: OnceCell<Arc<Bell>> = const { OnceCell::new() };
}

impl Bell {
    /// The calling thread's. While the thread ends, one that nobody waits at.
    #[must_use]
    pub fn of_this_thread() -> Arc<Self> {
        MINE.try_with(|mine| mine.get_or_init(|| Arc::new(Self::new())).clone())
            .unwrap_or_else(|_| Arc::new(Self::new()))
    }

    fn new() -> Self {
        Self {
            state: AtomicU8::new(AWAY),
            eventfd: OnceLock::new(),
        }
    }

    /// Calls the thread back. Says whether it was blocked: if not, it comes back at once from the next time it blocks, and
    /// whoever waits elsewhere has to be woken there.
    pub fn ring(&self) -> bool {
        if self.state.swap(RUNG, Ordering::SeqCst) != BLOCKED {
            return false;
        }
        if let Some(Some(eventfd)) = self.eventfd.get() {
            // A counter that is full is a bell that rings; nothing else can fail.
            let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
        }
        true
    }

    fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        let make = || {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            fallible("eventfd", Call::Make, || eventfd(0, flags)).ok()
        };
        self.eventfd.get_or_init(make).as_ref().map(AsFd::as_fd)
    }

    /// ppoll: until `fd` is ready for `what` or hung up, the bell rings, or the time is over. Whether it waited, or came back for
    /// good reason; if not, another way has to be taken.
    fn block(&self, fd: BorrowedFd<'_>, what: PollFlags, timeout: Option<Duration>) -> bool {
        let Some(eventfd) = self.eventfd() else {
            return false;
        };
        let polled = &mut [PollFd::new(&fd, what), PollFd::new(&eventfd, PollFlags::IN)];
        self.wait(eventfd, polled, timeout)
    }

    /// As `block`, for any of these, or for `end`, which is to be read. Whether that one is ready; `None` where `block` says false.
    fn block_for_any(
        &self,
        (fds, what): (&[BorrowedFd<'_>], PollFlags),
        end: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> Option<bool> {
        let eventfd = self.eventfd()?;
        let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, what)).collect();
        let read = end.iter().chain(std::iter::once(&eventfd));
        polled.extend(read.map(|fd| PollFd::new(fd, PollFlags::IN)));
        if !self.wait(eventfd, &mut polled, timeout) {
            return None;
        }
        Some(end.is_some() && !polled[fds.len()].revents().is_empty())
    }

    /// ppoll, of which the last one is the eventfd.
    fn wait(
        &self,
        eventfd: BorrowedFd<'_>,
        polled: &mut [PollFd<'_>],
        timeout: Option<Duration>,
    ) -> bool {
        let entered =
            self.state
                .compare_exchange(AWAY, BLOCKED, Ordering::SeqCst, Ordering::SeqCst);
        if entered.is_err() {
            self.state.store(AWAY, Ordering::SeqCst);
            return true;
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let waited = fallible("ppoll", Call::Wait, || {
            rustix::event::poll(polled, timeout.as_ref())
        });
        let bell = polled.last().expect("the eventfd is there");
        if bell.revents().contains(PollFlags::IN) {
            // Only this thread reads it. A ring that comes after this makes the next block return at once, which does no harm.
            let _ = rustix::io::read(eventfd, &mut [0; 8]);
        }
        self.state.store(AWAY, Ordering::SeqCst);
        matches!(waited, Ok(_) | Err(Errno::INTR))
    }
}

/// Blocks the calling thread until `fd` may be ready for `what`, its bell rings, or the time is over. Not while the thread ends:
/// then its waker has another bell.
pub(super) fn block_until(fd: BorrowedFd<'_>, what: PollFlags, timeout: Option<Duration>) -> bool {
    let block =
        |mine: &OnceCell<Arc<Bell>>| mine.get().is_some_and(|bell| bell.block(fd, what, timeout));
    MINE.try_with(block).unwrap_or(false)
}

/// As `block_until`, for any of these, or for `end`, which is to be read. Whether that one is ready.
pub(super) fn block_until_any(
    fds: (&[BorrowedFd<'_>], PollFlags),
    end: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> Option<bool> {
    let block = |mine: &OnceCell<Arc<Bell>>| mine.get()?.block_for_any(fds, end, timeout);
    MINE.try_with(block).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const READ: PollFlags = PollFlags::IN;
    const WRITE: PollFlags = PollFlags::OUT;

    #[test]
    fn bytes_end_the_blocking_and_so_does_the_end() {
        let (from, into) = rustix::pipe::pipe().unwrap();
        let bell = Bell::new();
        rustix::io::write(&into, b"x").unwrap();
        assert!(bell.block(from.as_fd(), READ, LONG));
        rustix::io::read(&from, &mut [0; 8]).unwrap();
        drop(into);
        assert!(bell.block(from.as_fd(), READ, LONG));
    }

    #[test]
    fn room_ends_the_blocking_of_a_writer_and_so_does_a_reader_that_leaves() {
        let (from, into) = rustix::pipe::pipe().unwrap();
        let bell = Bell::new();
        assert!(bell.block(into.as_fd(), WRITE, LONG));
        rustix::io::ioctl_fionbio(&into, true).unwrap();
        while rustix::io::write(&into, &[0; 4096]).is_ok() {}
        let nothing = Some(Duration::from_millis(1));
        assert!(bell.block(into.as_fd(), WRITE, nothing));
        assert_eq!(rustix::io::write(&into, b"x"), Err(Errno::AGAIN));
        drop(from);
        assert!(bell.block(into.as_fd(), WRITE, LONG));
    }

    #[test]
    fn a_ring_before_and_one_meanwhile_end_it_once_each() {
        let (from, _into) = rustix::pipe::pipe().unwrap();
        let bell = Bell::new();
        assert!(!bell.ring());
        assert!(bell.block(from.as_fd(), READ, LONG));
        let (is_heard, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    is_heard.fetch_or(bell.ring(), Ordering::SeqCst);
                }
            });
            // Some rings come while the thread is away; one finds it blocked in the end.
            while !is_heard.load(Ordering::SeqCst) {
                assert!(bell.block(from.as_fd(), READ, LONG));
            }
            is_over.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn any_of_several_ends_the_blocking_and_one_is_told_apart() {
        let ends: Vec<_> = (0..3).map(|_| rustix::pipe::pipe().unwrap()).collect();
        let fds: Vec<_> = ends.iter().map(|(from, _)| from.as_fd()).collect();
        let (bell, end) = (Bell::new(), Some(fds[2]));
        for (number, is_end) in [(0, false), (1, false), (2, true)] {
            rustix::io::write(&ends[number].1, b"x").unwrap();
            assert_eq!(
                bell.block_for_any((&fds[..2], READ), end, LONG),
                Some(is_end)
            );
            rustix::io::read(&ends[number].0, &mut [0; 8]).unwrap();
        }
        assert!(!bell.ring());
        assert_eq!(
            bell.block_for_any((&fds[..2], READ), end, LONG),
            Some(false),
            "rung"
        );
        rustix::io::write(&ends[2].1, b"x").unwrap();
        let nothing = Some(Duration::ZERO);
        assert_eq!(
            bell.block_for_any((&fds[..2], READ), None, nothing),
            Some(false)
        );
    }

    #[test]
    fn room_in_any_of_several_ends_the_blocking() {
        let ends: Vec<_> = (0..2).map(|_| rustix::pipe::pipe().unwrap()).collect();
        for (_, into) in &ends {
            rustix::io::ioctl_fionbio(into, true).unwrap();
            while rustix::io::write(into, &[0; 4096]).is_ok() {}
        }
        let fds: Vec<_> = ends.iter().map(|(_, into)| into.as_fd()).collect();
        let bell = Bell::new();
        rustix::io::read(&ends[1].0, &mut [0; 4096]).unwrap();
        assert_eq!(bell.block_for_any((&fds, WRITE), None, LONG), Some(false));
        assert!(rustix::io::write(&ends[1].1, b"x").is_ok());
    }

    #[test]
    fn it_ends_when_the_time_is_over() {
        let (from, _into) = rustix::pipe::pipe().unwrap();
        let bell = Bell::new();
        assert!(bell.block(from.as_fd(), READ, Some(Duration::from_millis(1))));
        assert!(bell.block(from.as_fd(), READ, Some(Duration::ZERO)));
    }
}
