//! A request to end a child, from anywhere.

use crate::driver::{Wakes, Watchers};
use crate::sync::Mutex;
use std::sync::Arc;
use std::task::Waker;

#[derive(Default)]
struct State {
    /// How often it was sent.
    sent: u32,
    watchers: Watchers<()>,
}

/// Ends all that it was given to with [`Limits::end_on`](crate::Limits::end_on), as their deadline would; sent again, it kills them at
/// once. Whoever a child has left behind that ended by itself is ended only under [`AfterExit::ToEnd`](crate::AfterExit::ToEnd). It can be
/// cloned, and sent from any thread.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use watertight::{Command, EndRequest, EndedBy, Limits};
/// let request = EndRequest::new();
/// let limits = Limits::new().end_on(&request);
/// let run = Command::new("sleep").arg("1000").output(limits)?;
/// std::thread::spawn(move || request.send());
/// assert_eq!(run.wait()?.ended, EndedBy::Request);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct EndRequest(Arc<Mutex<State>>);

impl EndRequest {
    /// One that is not sent yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }

    /// Sends it. The second time leaves no grace.
    pub fn send(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.0.lock();
        state.sent = state.sent.saturating_add(1);
        state.watchers.take_all(&mut wakes);
        drop(state);
        wakes.fire();
    }

    /// How often it was sent; the waker is called when it is sent once more. The id is from an earlier call, or 0.
    pub(crate) fn poll(&self, id: &mut u64, waker: &Waker) -> u32 {
        let mut state = self.0.lock();
        let sent = state.sent;
        let replaced = state.watchers.watch(id, (), waker);
        drop(state);
        drop(replaced);
        sent
    }

    /// Waits no longer. In a forked child it does not wait for a thread of the parent's that is at it.
    pub(crate) fn forget(&self, id: u64, is_elsewhere: bool) {
        let state = self.0.lock_unless(|| is_elsewhere);
        let forgotten = state.and_then(|mut state| state.watchers.forget(id));
        drop(forgotten);
    }
}

impl Default for EndRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for EndRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sent = self.0.lock().sent;
        f.debug_struct("EndRequest").field("sent", &sent).finish()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// A thread of the parent's was sending it, and is not in the child.
    #[test]
    fn who_waits_no_longer_in_a_forked_child_waits_for_no_sender() {
        let request = EndRequest::new();
        let mut id = 0;
        assert_eq!(request.poll(&mut id, Waker::noop()), 0);
        let held = request.0.lock();
        request.forget(id, true);
        drop(held);
        request.forget(id, false);
        assert!(request.0.lock().watchers.is_empty());
    }
}
