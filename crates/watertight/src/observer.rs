//! Observers: how a pipe tells its story to somebody who does not wait for it.

use crate::receipt::Receipt;
use std::sync::Arc;
use watertight_core::Ledger;

/// Is told how a [`PipeWriter`](crate::PipeWriter) gets on and how it ended, even if the handle was dropped.
///
/// The calls run with no lock held, on the thread that learned the news: a caller's, or the library's own. They come one
/// at a time per pipe. They may call anything, drop the last handle to the pipe, and panic: then that pipe fails with
/// [`ErrorKind::ObserverPanicked`](crate::ErrorKind::ObserverPanicked), the observer is dropped, and all other pipes go on.
/// A call that blocks holds up every pipe that the library's thread serves: hand work on instead. That thread has all
/// signals blocked; a child that is started there inherits that, so start children elsewhere.
pub trait Observer: Send + Sync {
    /// More bytes were transferred. Several steps may be told as one.
    fn progress(&self, ledger: Ledger) {
        let _ = ledger;
    }

    /// The pipe is over. Told exactly once, last.
    fn ended(&self, receipt: &Receipt) {
        let _ = receipt;
    }
}

/// One piece of news.
pub(crate) enum News {
    Ended(Receipt),
    Progress(Ledger),
}

impl News {
    pub(crate) fn tell(&self, observer: &dyn Observer) {
        match self {
            Self::Ended(receipt) => observer.ended(receipt),
            Self::Progress(ledger) => observer.progress(*ledger),
        }
    }
}

/// A pipe's observer, if it has one.
pub(crate) struct Watched(Option<Box<Listener>>);

/// An observer, and what it knows.
struct Listener {
    /// Until it has heard the end, or panicked.
    observer: Option<Arc<dyn Observer>>,
    telling: bool,
    /// So many callers hold something that the observer may want, and tell it the news once they have let go.
    held_back: u32,
    transferred: u64,
    ended: bool,
}

impl Watched {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self(observer.map(|observer| {
            Box::new(Listener {
                observer: Some(observer),
                telling: false,
                held_back: 0,
                transferred: 0,
                ended: false,
            })
        }))
    }

    /// Whether somebody listens, is not being told something right now, and may be told now.
    pub(crate) fn listens(&self) -> bool {
        let listener = self.0.as_ref();
        listener.is_some_and(|listener| {
            listener.observer.is_some() && !listener.telling && listener.held_back == 0
        })
    }

    /// Nobody is told anything until [`Watched::let_go`].
    pub(crate) fn hold_back(&mut self) {
        if let Some(listener) = &mut self.0 {
            listener.held_back += 1;
        }
    }

    /// What came meanwhile is to be told now.
    pub(crate) fn let_go(&mut self) {
        if let Some(listener) = &mut self.0 {
            listener.held_back -= 1;
        }
    }

    /// Whether nobody listens any more: there is no observer, or it has heard the end.
    pub(crate) fn is_silent(&self) -> bool {
        let listener = self.0.as_ref();
        listener.is_none_or(|listener| listener.observer.is_none())
    }

    /// The next news, if there is any. [`Watched::told`] must follow.
    pub(crate) fn next(
        &mut self,
        ledger: Ledger,
        over: Option<Receipt>,
    ) -> Option<(Arc<dyn Observer>, News)> {
        let listener = self.0.as_mut()?;
        let observer = listener.observer.clone()?;
        let news = match over {
            // The last step is told as a step too, before the end.
            _ if ledger.transferred() > listener.transferred => News::Progress(ledger),
            Some(receipt) => News::Ended(receipt),
            None => return None,
        };
        listener.telling = true;
        listener.transferred = ledger.transferred();
        listener.ended = matches!(news, News::Ended(_));
        Some((observer, news))
    }

    /// The news is told. An observer that panicked or has heard the end is handed out, to be dropped without the lock.
    pub(crate) fn told(&mut self, panicked: bool) -> Option<Arc<dyn Observer>> {
        let listener = self.0.as_mut()?;
        listener.telling = false;
        (panicked || listener.ended)
            .then(|| listener.observer.take())
            .flatten()
    }
}
