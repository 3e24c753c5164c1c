//! One thread that waits for all children, on an epoll of their pidfds. It is started when it is first needed and never ends.

use super::reaping::Waiting;
use crate::fault::fallible;
use crate::process::{ExitCallback, call_back, wrong_process};
use crate::unix::calls::lock;
use crate::unix::classify::Call;
use crate::unix::fork::Birth;
use crate::unix::readiness::{Events, Interest, Poller};
use crate::unix::sigpipe::quiet_thread;
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// How long the thread rests when the system cannot wait for it (which an epoll that is open does not do): so that it does
/// not spin.
const REST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// From here on the keys are those of members of trees. A child's key is the number of its pidfd, which is far below.
const MEMBER_KEYS: usize = 1 << (usize::BITS - 1);

struct Watch {
    poller: Poller,
    /// By the key in the epoll.
    watched: Waiting<OwnedFd>,
    birth: Birth,
}

static WATCH: OnceLock<Arc<Watch>> = OnceLock::new();

/// Has `callback` called on the thread when the process behind the pidfd is over, at once if it is over already.
pub(super) fn add(pidfd: &Arc<OwnedFd>, callback: ExitCallback) -> io::Result<()> {
    the_watch()?.add(pidfd, callback)
}

/// Has `callback` called on the thread when the process behind the pidfd is over, unless what this returns is dropped before. Nobody
/// else may have this very descriptor in here.
pub(super) fn add_member(pidfd: OwnedFd, callback: ExitCallback) -> io::Result<WatchedMember> {
    // No key comes twice, for whoever is waited for no longer is taken out here while the thread may already have its key in its hands.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % (MEMBER_KEYS - 1);
    let key = MEMBER_KEYS + number;
    let name = "EPOLL_CTL_ADD (tree)";
    the_watch()?.add_as(name, key, &Arc::new(pidfd), callback)?;
    Ok(WatchedMember(key))
}

/// A wait for a member of a tree. Dropped, it takes the callback back, unless that is being called.
#[derive(Debug)]
pub(super) struct WatchedMember(usize);

impl Drop for WatchedMember {
    fn drop(&mut self) {
        // A forked child has the epoll in common with its parent, and leaves it alone.
        if let Ok(watch) = the_watch() {
            drop(watch.take(self.0));
        }
    }
}

/// The one there is, made at the first need. A failure to make it is told, and the next one tries again.
///
/// A forked child has the epoll and not the thread, and what it did to the epoll the parent would feel.
fn the_watch() -> io::Result<&'static Arc<Watch>> {
    static MAKING: Mutex<()> = Mutex::new(());
    let ours = |watch: &'static Arc<Watch>| {
        if watch.birth.is_elsewhere() {
            Err(wrong_process())
        } else {
            Ok(watch)
        }
    };
    if let Some(watch) = WATCH.get() {
        return ours(watch);
    }
    let _one_at_a_time = lock(&MAKING);
    if let Some(watch) = WATCH.get() {
        return ours(watch);
    }
    let watch = Watch::start()?;
    Ok(WATCH.get_or_init(|| watch))
}

impl Watch {
    fn start() -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self {
            poller: fallible("epoll_create (children)", Call::Make, Poller::new)?,
            watched: Waiting::default(),
            birth: Birth::here(),
        });
        let inner = watch.clone();
        fallible("clone (children)", Call::Make, || {
            std::thread::Builder::new()
                .name("watertight-children".into())
                .spawn(move || inner.serve())
        })?;
        Ok(watch)
    }

    fn add(&self, pidfd: &Arc<OwnedFd>, callback: ExitCallback) -> io::Result<()> {
        let key =
            usize::try_from(pidfd.as_raw_fd()).expect("a descriptor that is open is not negative");
        self.add_as("EPOLL_CTL_ADD (children)", key, pidfd, callback)
    }

    /// EPOLL_CTL_ADD, under this name among the planned failures.
    fn add_as(
        &self,
        name: &'static str,
        key: usize,
        pidfd: &Arc<OwnedFd>,
        callback: ExitCallback,
    ) -> io::Result<()> {
        let register = || {
            fallible(name, Call::Wait, || {
                // SAFETY: it is taken out in `take` before its entry, and with it the last reference to it here, goes.
                unsafe { self.poller.add(pidfd.as_fd(), key, Interest::Read) }
            })
        };
        Ok(self.watched.add(key, pidfd, callback, register)?)
    }

    fn serve(&self) {
        quiet_thread();
        let mut events = Events::new();
        loop {
            let waited = fallible("epoll_wait (children)", Call::Wait, || {
                self.poller.wait(&mut events, None)
            });
            match waited {
                Ok(()) => events.keys().for_each(|key| self.tell_of(key)),
                Err(Errno::INTR) => {}
                Err(_) => {
                    let _ = poll(&mut [], Some(&REST));
                }
            }
        }
    }

    /// Takes one out that is over and calls those who wait for it, with no lock held.
    fn tell_of(&self, key: usize) {
        self.take(key).into_iter().for_each(call_back);
    }

    /// Takes one out: those who wait for it.
    fn take(&self, key: usize) -> Vec<ExitCallback> {
        self.watched.take(key, |pidfd| {
            // It is in there: whoever takes an entry out takes its descriptor out with it, under the table's lock.
            let _ = fallible("EPOLL_CTL_DEL (children)", Call::Wait, || {
                self.poller.delete(pidfd.as_fd())
            });
        })
    }
}
