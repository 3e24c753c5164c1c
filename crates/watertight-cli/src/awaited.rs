//! A wait of the library's that takes no thread: the copy's own thread polls it, and its mailbox says when to poll it again.
//!
//! So only what never blocks is polled like that: a question about a pipe, for one, may be held up (`asking.rs`).

use crate::event::{Event, Mailbox};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// What is waited for. Dropped, the wait is given up.
pub(crate) struct Awaited<T> {
    wait: Pin<Box<dyn Future<Output = T>>>,
    waker: Waker,
}

/// Posts that the wait is to be polled again. A poll leaves one of these behind, which is called a few times at most: so nobody fills the
/// mailbox.
struct Caller<F> {
    mailbox: Mailbox,
    event: F,
}

impl<F: Fn() -> Event> Wake for Caller<F> {
    fn wake(self: Arc<Self>) {
        self.mailbox.post((self.event)());
    }
}

impl<T> Awaited<T> {
    /// Nothing is waited for before the first poll. `event` says that it is to be polled again.
    pub(crate) fn new(
        wait: impl Future<Output = T> + 'static,
        mailbox: &Mailbox,
        event: impl Fn() -> Event + Send + Sync + 'static,
    ) -> Self {
        let mailbox = mailbox.clone();
        Self {
            wait: Box::pin(wait),
            waker: Waker::from(Arc::new(Caller { mailbox, event })),
        }
    }

    /// Polls the wait that is there, if there is one. Once it has told what it came to, there is none any more.
    pub(crate) fn poll(slot: &mut Option<Self>) -> Option<T> {
        let awaited = slot.as_mut()?;
        let mut context = Context::from_waker(&awaited.waker);
        let polled = awaited.wait.as_mut().poll(&mut context);
        let Poll::Ready(answer) = polled else {
            return None;
        };
        *slot = None;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::mailbox;

    #[test]
    fn whoever_wakes_it_has_it_polled_again_until_it_is_told_once() {
        let (mailbox, inbox) = mailbox();
        let (reader, writer) = watertight::pipe().unwrap();
        let receiving = async move { reader.receive(&mut [0; 4]).await };
        let awaited = Awaited::new(receiving, &mailbox, || Event::LimitReached);
        let mut slot = Some(awaited);
        assert!(Awaited::poll(&mut slot).is_none(), "nothing was sent");
        writer.send(b"abc").wait().unwrap();
        let event = inbox.next(None);
        assert!(matches!(event, Some(Event::LimitReached)));
        assert_eq!(Awaited::poll(&mut slot), Some(Ok(3)));
        assert!(slot.is_none());
        assert_eq!(Awaited::poll(&mut slot), None);
    }
}
