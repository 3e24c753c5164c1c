//! Who waits for a child's end. The system tells it once; everybody who waits, and whoever asks later, hears of it.

use crate::driver::{Wakes, Watchers};
use crate::sync::Mutex;
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_os::ExitCallback;

/// How far the telling is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Progress {
    /// Nobody has asked yet.
    #[default]
    NotAsked,
    /// The system tells it when it happens.
    Asked,
    /// It has ended.
    Ended,
}

#[derive(Default)]
struct State {
    progress: Progress,
    watchers: Watchers<()>,
}

/// A child's end, and who waits for it.
pub(crate) struct ExitWatch(Mutex<State>);

impl Default for ExitWatch {
    fn default() -> Self {
        Self(Mutex::new(State::default()))
    }
}

impl std::fmt::Debug for ExitWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ExitWatch")
            .field(&self.0.lock().progress)
            .finish()
    }
}

impl ExitWatch {
    /// Waits until the process has ended; the id is from an earlier call, or 0. `on_exit` asks the system to tell the end.
    pub(crate) fn poll(
        self: &Arc<Self>,
        on_exit: impl FnOnce(ExitCallback) -> io::Result<()>,
        id: &mut u64,
        waker: &Waker,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.progress == Progress::Ended {
            return Poll::Ready(Ok(()));
        }
        let replaced = state.watchers.watch(id, (), waker);
        let is_first = state.progress == Progress::NotAsked;
        if is_first {
            state.progress = Progress::Asked;
        }
        drop(state);
        drop(replaced);
        if !is_first {
            return Poll::Pending;
        }
        let told = self.clone();
        if let Err(error) = on_exit(Box::new(move || told.tell())) {
            let mut wakes = Wakes::default();
            let mut state = self.0.lock();
            state.progress = Progress::NotAsked;
            // Whoever relied on this question asks it anew.
            state.watchers.take_all(&mut wakes);
            drop(state);
            wakes.fire();
            return Poll::Ready(Err(error));
        }
        // Perhaps it was told at once.
        if self.has_ended() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Whether the end was told.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.lock().progress == Progress::Ended
    }

    /// Whether a thread is at it. In a forked child one of the parent's is for ever.
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_held()
    }

    /// Waits no longer.
    pub(crate) fn forget(&self, id: u64) {
        if id != 0 {
            let forgotten = self.0.lock().watchers.forget(id);
            drop(forgotten);
        }
    }

    fn tell(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.0.lock();
        state.progress = Progress::Ended;
        state.watchers.take_all(&mut wakes);
        drop(state);
        // A waker that panics is its executor's fault, and counted by nobody here: there is no pipe to count it at.
        wakes.fire();
    }
}
