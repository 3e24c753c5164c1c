//! Waiting in simulated time: with a promise of when the answer comes, and for time to pass.

use crate::world::current;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use watertight::{Refused, Settle, TransferError, Transferred};
use watertight_core::{Error, ErrorKind};

/// An answer under a deadline.
pub(crate) trait Late {
    fn is_late(&self) -> bool;
}

impl<T> Late for Result<T, Error> {
    fn is_late(&self) -> bool {
        matches!(self, Err(error) if error.kind == ErrorKind::TimedOut)
    }
}

impl Late for Result<(), Refused> {
    fn is_late(&self) -> bool {
        matches!(self, Err(refused) if refused.error.kind == ErrorKind::TimedOut)
    }
}

impl Late for Result<Transferred, TransferError> {
    fn is_late(&self) -> bool {
        matches!(self, Err(failed) if failed.error.kind == ErrorKind::TimedOut)
    }
}

/// It is answered by its bound, counted from when it began to wait.
pub(crate) async fn bounded<F: Future + Unpin>(
    within: Duration,
    what: &str,
    mut work: F,
) -> F::Output {
    if let Some(answer) = poll_once(&mut work).await {
        return answer;
    }
    let world = current();
    let until = world.now().after(within);
    let promised = world.promise(until, what.into());
    let answer = work.await;
    world.keep(promised);
    answer
}

/// Passes a wake on, and remembers that there was one.
struct Remembers {
    waker: Waker,
    is_woken: AtomicBool,
}

impl Wake for Remembers {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }
}

/// Polls, and says whether the work now waits: it is not done, and was not woken before the poll returned. Work that was
/// woken so early may only have been told to let others run, without having begun.
pub(crate) fn poll_and_see<F: Future + Unpin>(
    work: &mut F,
    cx: &Context<'_>,
) -> (Poll<F::Output>, bool) {
    let remembers = Arc::new(Remembers {
        waker: cx.waker().clone(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(remembers.clone());
    let polled = Pin::new(work).poll(&mut Context::from_waker(&waker));
    let waits = polled.is_pending() && !remembers.is_woken.load(Ordering::Relaxed);
    (polled, waits)
}

/// Polls once; `None` if it is not done.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Waits for everything that lingers, as the end of a program does.
pub(crate) async fn settle(after: Duration, within: Duration) {
    sleep(after).await;
    let waiting = Settle::on(&current().driver).within(within);
    let answer = bounded(within, "a settle", waiting).await;
    let world = current();
    let mut kernel = world.driver.backend().lock();
    let now = kernel.now;
    kernel.is_settled_by_force |= answer.is_err();
    for at in 0..kernel.ends.len() {
        if kernel.ends[at].gone_by.is_none() {
            continue;
        }
        if answer.is_err() {
            // It is stopped now.
            kernel.ends[at].gone_by = Some(now);
        } else if !kernel.ends[at].closed
            && !kernel.holds(at)
            // What was in quarantine is just being released.
            && kernel.ends[at].landed != kernel.step
        {
            kernel.wrong(format!("S7: settled, and end {at} lingers"));
        }
    }
}

/// Lets simulated time pass.
pub(crate) async fn sleep(duration: Duration) {
    let until = current().driver.backend().lock().now.after(duration);
    poll_fn(|cx| {
        let world = current();
        if world.driver.backend().lock().now >= until {
            return Poll::Ready(());
        }
        world.sleep(until, cx.waker());
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_lets_others_run_does_not_wait_yet() {
        let context = Context::from_waker(Waker::noop());
        let mut lets_others_run = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(
            poll_and_see(&mut lets_others_run, &context),
            (Poll::Pending, false)
        );
        let mut waits = poll_fn(|_| Poll::<()>::Pending);
        assert_eq!(poll_and_see(&mut waits, &context), (Poll::Pending, true));
        let mut is_done = poll_fn(|_| Poll::Ready(7));
        assert_eq!(
            poll_and_see(&mut is_done, &context),
            (Poll::Ready(7), false)
        );
    }
}
