//! A request to end a child, from anywhere.

use crate::sync::StaticMutex;
use std::sync::Arc;
use std::task::Waker;

#[derive(Debug, Default)]
struct State {
    is_sent: bool,
    waker: Option<Waker>,
}

/// Ends what it was given to with [`Limits::end_on`](crate::Limits::end_on), as its deadline would. It can be cloned, and sent from any
/// thread.
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
#[derive(Clone, Debug)]
pub struct EndRequest(Arc<StaticMutex<State>>);

impl EndRequest {
    /// One that is not sent yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(StaticMutex::new(State::default())))
    }

    /// Sends it. Once is enough.
    pub fn send(&self) {
        let mut state = self.0.lock();
        state.is_sent = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it was sent; if not, the waker is called when it is.
    pub(super) fn poll(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        let is_sent = state.is_sent;
        let replaced = if is_sent {
            None
        } else {
            state.waker.replace(waker.clone())
        };
        drop(state);
        drop(replaced);
        is_sent
    }
}

impl Default for EndRequest {
    fn default() -> Self {
        Self::new()
    }
}
