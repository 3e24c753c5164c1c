//! One thread that waits for all children, on an epoll of their pidfds. It is started when it is first needed and never ends.

use crate::process::{ExitCallback, call_back, wrong_process};
use crate::unix::calls::lock;
use crate::unix::fork::Birth;
use crate::unix::readiness::{Events, Interest, Poller};
use crate::unix::sigpipe::quiet_thread;
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};

/// How long the thread rests when the system cannot wait for it (which an epoll that is open does not do): so that it does
/// not spin.
const REST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// A child that is waited for. While this exists its pidfd stays open, so that its number cannot become another's.
struct Watched {
    pidfd: Arc<OwnedFd>,
    callbacks: Vec<ExitCallback>,
}

struct Watch {
    poller: Poller,
    /// By the number of the pidfd, which is also its key in the epoll.
    watched: Mutex<HashMap<usize, Watched>>,
    birth: Birth,
}

static WATCH: OnceLock<Arc<Watch>> = OnceLock::new();

/// Has `callback` called on the thread when the process behind the pidfd is over, at once if it is over already.
pub(super) fn add(pidfd: &Arc<OwnedFd>, callback: ExitCallback) -> io::Result<()> {
    the_watch()?.add(pidfd, callback)
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
            poller: Poller::new()?,
            watched: Mutex::default(),
            birth: Birth::here(),
        });
        let inner = watch.clone();
        std::thread::Builder::new()
            .name("watertight-children".into())
            .spawn(move || inner.serve())?;
        Ok(watch)
    }

    fn add(&self, pidfd: &Arc<OwnedFd>, callback: ExitCallback) -> io::Result<()> {
        let key =
            usize::try_from(pidfd.as_raw_fd()).expect("a descriptor that is open is not negative");
        let mut watched = lock(&self.watched);
        if let Some(known) = watched.get_mut(&key) {
            known.callbacks.push(callback);
            return Ok(());
        }
        // SAFETY: it is taken out in `tell_of` before this entry, and with it the last reference to it here, goes.
        unsafe { self.poller.add(pidfd.as_fd(), key, Interest::Read) }?;
        // The thread may have been told already; it finds the entry, for it needs the lock to look.
        let pidfd = pidfd.clone();
        let callbacks = vec![callback];
        watched.insert(key, Watched { pidfd, callbacks });
        Ok(())
    }

    fn serve(&self) {
        quiet_thread();
        let mut events = Events::new();
        loop {
            match self.poller.wait(&mut events, None) {
                Ok(()) | Err(Errno::INTR) => {}
                Err(_) => {
                    let _ = poll(&mut [], Some(&REST));
                }
            }
            events.keys().for_each(|key| self.tell_of(key));
        }
    }

    /// Takes a child out and calls those who wait for it, with no lock held.
    fn tell_of(&self, key: usize) {
        let over = {
            let mut watched = lock(&self.watched);
            let over = watched.remove(&key);
            if let Some(over) = &over {
                // It is in there: this thread alone takes descriptors out, and under this lock.
                let _ = self.poller.delete(over.pidfd.as_fd());
            }
            over
        };
        if let Some(Watched { pidfd, callbacks }) = over {
            // Closed, if it was the last, before anybody hears of it.
            drop(pidfd);
            callbacks.into_iter().for_each(call_back);
        }
    }
}
