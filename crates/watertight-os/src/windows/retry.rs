//! When a cancel is repeated that a helper thread has not heard.
//!
//! CancelSynchronousIo misses a thread that is about to enter its call, and nothing says when it has. So the cancel is
//! repeated until the operation is answered: soon at first, then ever more seldom, never in a busy loop.

use std::time::Duration;
use watertight_core::Moment;

/// The first pause, and the longest: each is twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// When cancels are repeated next.
pub(super) struct Retry {
    due: Moment,
    pause: Duration,
}

impl Retry {
    pub(super) fn soon(now: Moment) -> Self {
        Self {
            due: now.after(PAUSE_FIRST),
            pause: PAUSE_FIRST,
        }
    }

    pub(super) const fn due(&self) -> Moment {
        self.due
    }

    /// The time after this one.
    pub(super) fn later(&self, now: Moment) -> Self {
        let pause = self.pause.saturating_mul(2).min(PAUSE_LONGEST);
        Self {
            due: now.after(pause),
            pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut retry = Retry::soon(Moment(0));
        assert_eq!(retry.due(), Moment(1_000_000));
        retry = retry.later(Moment(5));
        assert_eq!(retry.due(), Moment(2_000_005));
        for _ in 0..20 {
            retry = retry.later(Moment(0));
        }
        assert_eq!(retry.due(), Moment(500_000_000));
    }
}
