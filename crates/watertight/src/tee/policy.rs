//! What becomes of a transfer to several destinations when one of them is dead or slow, and the timer that a slow one needs.

use crate::driver::Driver;
use crate::timers::TimerId;
use std::task::Waker;
use std::time::Duration;
use watertight_core::{Backend, Moment};

/// What a destination that accepts nothing any more (it failed, its peer has left, it was finished or aborted) means for the others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeadDestination {
    /// It no longer counts, and the others go on.
    Drop,
    /// The transfer ends with its error.
    #[default]
    Fail,
}

/// What a destination that makes no progress means for the others: bytes wait for it, and for so long it neither accepted nor
/// transferred a single one. It is given at least that long, and at most twice as long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SlowDestination {
    /// After that long it no longer counts, and the others go on. Its error is of the kind [`Busy`](crate::ErrorKind::Busy).
    DropAfter(Duration),
    /// After that long the transfer ends with an error of the kind [`Busy`](crate::ErrorKind::Busy).
    FailAfter(Duration),
    /// All wait for it.
    #[default]
    Wait,
}

impl SlowDestination {
    /// How long it may make no progress; `None`: for ever.
    pub(super) const fn bound(self) -> Option<Duration> {
        match self {
            Self::DropAfter(bound) | Self::FailAfter(bound) => Some(bound),
            Self::Wait => None,
        }
    }
}

/// Wakes whoever waits when a destination may have become slow.
#[derive(Default)]
pub(super) struct Alarm(Option<SetAlarm>);

struct SetAlarm {
    timer: TimerId,
    due: Moment,
    waker: Waker,
}

impl Alarm {
    /// Wakes at `due`. One that is set for earlier stays: whoever it wakes looks, and sets it anew.
    pub(super) fn set<B: Backend>(
        &mut self,
        driver: &Driver<B>,
        due: Moment,
        now: Moment,
        waker: &Waker,
    ) {
        let is_set = |set: &SetAlarm| now < set.due && set.due <= due && set.waker.will_wake(waker);
        if self.0.as_ref().is_some_and(is_set) {
            return;
        }
        self.clear(driver);
        self.0 = Some(SetAlarm {
            timer: driver.wake_at(due, waker.clone()),
            due,
            waker: waker.clone(),
        });
    }

    pub(super) fn clear<B: Backend>(&mut self, driver: &Driver<B>) {
        if let Some(set) = self.0.take() {
            driver.forget_timer(set.timer);
        }
    }
}
