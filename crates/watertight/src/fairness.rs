//! Giving the runtime back: a task whose pipe is always ready must not keep all others waiting.
//!
//! A runtime's own resources do this by a budget (tokio's: 128 ready answers). Ours works on any runtime: after so many
//! ready answers in a row on one thread one poll is pending, with its waker woken.

use std::cell::Cell;
use std::task::{Poll, Waker};

/// How many ready answers a thread gives in a row. As many as tokio gives a task. A model has too few of them, and the same
/// system's thread for all of its runs: there it never comes to that.
const READY_MAX: u32 = if cfg!(any(loom, shuttle)) {
    u32::MAX
} else {
    128
};

thread_local! {
    static READY: Cell<u32> = const { Cell::new(0) };
}

/// Polls, unless it is time to let others run.
pub(crate) fn poll_fairly<T>(waker: &Waker, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    // A thread whose locals are gone is ending: it starves nobody.
    let ready = READY.try_with(Cell::get).unwrap_or(0);
    if ready >= READY_MAX {
        let _ = READY.try_with(|ready| ready.set(0));
        waker.wake_by_ref();
        return Poll::Pending;
    }
    let answer = poll();
    let ready = if answer.is_ready() { ready + 1 } else { 0 };
    let _ = READY.try_with(|kept| kept.set(ready));
    answer
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    struct Counts(AtomicU32);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn after_so_many_ready_answers_one_is_pending_and_woken() {
        let counts = Arc::new(Counts(AtomicU32::new(0)));
        let waker = Waker::from(counts.clone());
        for _ in 0..3 {
            for _ in 0..READY_MAX {
                assert!(poll_fairly(&waker, || Poll::Ready(())).is_ready());
            }
            let kept = poll_fairly(&waker, || -> Poll<()> { panic!("it is not polled") });
            assert!(kept.is_pending());
        }
        assert_eq!(counts.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn who_waits_begins_anew() {
        let waker = Waker::noop();
        for _ in 0..10 {
            for _ in 0..READY_MAX - 1 {
                assert!(poll_fairly(waker, || Poll::Ready(())).is_ready());
            }
            assert!(poll_fairly(waker, || Poll::<()>::Pending).is_pending());
        }
    }
}
