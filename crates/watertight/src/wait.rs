//! The one way to wait: a value that is at once a future, a blocking wait, and either of them under a deadline.

use crate::driver::Driver;
use crate::fairness;
use crate::joined;
use crate::timers::TimerId;
use crate::tokio_reactor;
use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use watertight_core::{Backend, Moment};
use watertight_os::Bell;

mod sealed {
    /// What can be waited for; closed, so that it can grow.
    pub trait Sealed {}
}
pub(crate) use sealed::Sealed;

/// Something that may have to wait. Not to be implemented outside this crate.
pub trait Operation: Sealed + Unpin {
    /// What it ends with.
    type Output;
    /// The backend whose clock it uses.
    type Backend: Backend;

    /// Goes as far as it can without waiting.
    #[doc(hidden)]
    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output>;

    /// As [`poll`](Self::poll), by a thread that may block in it, until the deadline at most.
    #[doc(hidden)]
    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        let _ = deadline;
        self.poll(waker)
    }

    /// The deadline passed: gives up and says so.
    #[doc(hidden)]
    fn expire(&mut self) -> Self::Output;

    /// Forgets the waker: nobody waits any more.
    #[doc(hidden)]
    fn forget(&mut self);

    /// Who keeps the time.
    #[doc(hidden)]
    fn driver(&self) -> Option<&Arc<Driver<Self::Backend>>>;
}

/// A call that may have to wait, not begun yet. `.await` it, or [`wait`](Wait::wait) for it; either under a deadline.
///
/// Nothing happens until then. Dropping it gives the waiting up; what that means for the bytes stands at the call that
/// made it, under **Cancel safety**.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// let (reader, writer) = watertight::pipe()?;
/// writer.send(b"hello").wait()?;
/// writer.until_transferred().within(Duration::from_secs(5)).wait()?;
/// let mut buf = [0; 16];
/// assert_eq!(reader.receive(&mut buf).wait()?, 5);
/// # Ok::<(), watertight::Error>(())
/// ```
#[must_use = "nothing happens until it is awaited or `.wait()` is called"]
#[derive(Debug)]
pub struct Wait<O: Operation> {
    operation: O,
    /// By the backend's clock; the end of time is none.
    deadline: Moment,
    timer: Option<TimerId>,
}

impl<O: Operation> Wait<O> {
    pub(crate) fn new(operation: O) -> Self {
        Self {
            operation,
            deadline: Moment::NEVER,
            timer: None,
        }
    }

    /// What is waited for, before it has begun.
    pub(crate) const fn operation_mut(&mut self) -> &mut O {
        &mut self.operation
    }

    /// Gives up at `deadline`: the result then is an error of the kind
    /// [`TimedOut`](crate::ErrorKind::TimedOut). Of two deadlines the earlier one counts. What can be answered at once is
    /// answered even if the deadline has passed: it looks once first.
    pub fn by(self, deadline: Instant) -> Self {
        self.within(deadline.saturating_duration_since(Instant::now()))
    }

    /// Gives up after `duration`, counted from now; zero looks once. A duration past the end of time is no deadline.
    pub fn within(mut self, duration: Duration) -> Self {
        // Without a driver there is no pipe to wait for.
        if let Some(driver) = self.operation.driver() {
            self.deadline = self.deadline.min(driver.backend.now().after(duration));
        }
        self
    }

    /// Blocks this thread until it is done. The same as `.await`, without an executor.
    pub fn wait(mut self) -> O::Output {
        loop {
            if let Poll::Ready(output) = self.poll_in_thread() {
                return output;
            }
            // Observers may have run, and have taken a wake.
            let has_sent = joined::send_all();
            match self.remaining() {
                Some(Duration::ZERO) => return self.operation.expire(),
                _ if has_sent => {}
                Some(rest) => std::thread::park_timeout(rest),
                None => std::thread::park(),
            }
        }
    }

    /// Polls with this thread's waker, which is made once.
    fn poll_in_thread(&mut self) -> Poll<O::Output> {
        let (deadline, operation) = (self.deadline(), &mut self.operation);
        let polled = WAKER.try_with(|kept| {
            let waker = kept.get_or_init(thread_waker);
            tokio_reactor::outside(|| operation.poll_blocking(waker, deadline))
        });
        // The thread is ending and its locals are gone: one that lasts as long as this poll, and what it leaves behind.
        polled.unwrap_or_else(|_| {
            tokio_reactor::outside(|| self.operation.poll_blocking(&thread_waker(), deadline))
        })
    }

    fn deadline(&self) -> Option<Moment> {
        (self.deadline != Moment::NEVER).then_some(self.deadline)
    }

    /// How long until the deadline.
    fn remaining(&self) -> Option<Duration> {
        let deadline = self.deadline()?;
        let now = self.operation.driver()?.backend.now();
        Some(now.until(deadline))
    }

    fn keep_time(&mut self, waker: &Waker) {
        let (Some(deadline), Some(driver)) = (self.deadline(), self.operation.driver().cloned())
        else {
            return;
        };
        if let Some(timer) = self.timer.take() {
            driver.forget_timer(timer);
        }
        self.timer = Some(driver.wake_at(deadline, waker.clone()));
    }
}

impl<O: Operation> Future for Wait<O> {
    type Output = O::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let this = &mut *self;
        fairness::poll_fairly(cx.waker(), || {
            if let Poll::Ready(output) = this.operation.poll(cx.waker()) {
                return Poll::Ready(output);
            }
            if this.remaining() == Some(Duration::ZERO) {
                return Poll::Ready(this.operation.expire());
            }
            this.keep_time(cx.waker());
            joined::send_all_of_task(cx.waker());
            Poll::Pending
        })
    }
}

impl<O: Operation> Drop for Wait<O> {
    fn drop(&mut self) {
        // Done or not, the waker may still be registered (an answer can overtake it): take it back.
        self.operation.forget();
        if let (Some(timer), Some(driver)) = (self.timer.take(), self.operation.driver()) {
            driver.forget_timer(timer);
        }
    }
}

/// Wakes a thread wherever it waits: parked, or blocked in a backend's call.
struct ThreadWaker {
    thread: Thread,
    bell: Arc<Bell>,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.bell.ring() {
            self.thread.unpark();
        }
    }
}

thread_local! {
    static WAKER: OnceCell<Waker> = const { OnceCell::new() };
}

fn thread_waker() -> Waker {
    Waker::from(Arc::new(ThreadWaker {
        thread: std::thread::current(),
        bell: Bell::of_this_thread(),
    }))
}
