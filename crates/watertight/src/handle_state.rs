//! What a half of either kind has in the driver's hands: its handle, who is inside, its bounds, its place in the registry.
//!
//! It is used under the half's lock; what follows from a change leaves as an [`After`], to be carried out without it.

use crate::driver::{BackendCall, Driver, Ended, Wakes};
use crate::loss::Loss;
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{Action, Backend, Chunks, Key, Moment, OpId, OpKind};

/// A half's place.
pub(crate) struct HandleState<B: Backend> {
    handle: Option<Arc<B::Handle>>,
    /// A thread is making backend calls (rule D2).
    inside: bool,
    /// No caller has this half any more.
    pub(crate) dropped: bool,
    stop: Bound,
    unregistered: bool,
}

/// How long something may take, counted from the moment at which it begins.
///
/// Each pipe has some, so it has the room of one number: below `NOT_BEGUN` it has begun, and this is when it has taken too long;
/// from there on it has not, and the rest is how many nanoseconds it may take; the last one is no bound.
pub(crate) struct Bound(u64);

/// No moment comes so late: it is 292 years after the first. A longer time is no bound.
const NOT_BEGUN: u64 = 1 << 63;

/// What is left to do once the lock is gone.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) wakes: Wakes,
    pub(crate) remind: Option<Moment>,
    pub(crate) remind_of_room: Option<Moment>,
    /// The final account, and what came too late for it.
    pub(crate) unregister: Option<Ended>,
    pub(crate) tell_settling: bool,
    /// Bytes are lost, and nobody was told.
    pub(crate) lost: Option<Loss>,
    /// Its place among those that linger is free.
    pub(crate) lingered: u64,
    /// A chunk's destructor is its owner's code.
    pub(crate) carried: Option<Chunks>,
}

impl<B: Backend> HandleState<B> {
    pub(crate) fn new(handle: B::Handle, stop_within: Duration) -> Self {
        Self {
            handle: Some(Arc::new(handle)),
            inside: false,
            dropped: false,
            stop: Bound::new(Some(stop_within)),
            unregistered: false,
        }
    }

    /// Whether a thread is making backend calls.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside
    }

    /// The handle, for a call that the caller answers for.
    pub(crate) fn handle(&self) -> Arc<B::Handle> {
        self.handle
            .clone()
            .expect("nothing is submitted after the close")
    }

    /// The handle, for a look under the half's lock; nothing once it is closed.
    pub(crate) fn handle_ref(&self) -> Option<&B::Handle> {
        self.handle.as_deref()
    }

    /// The handle, for good.
    pub(crate) fn take_handle(&mut self) -> Arc<B::Handle> {
        self.handle.take().expect("a handle leaves once")
    }

    /// Goes inside to carry out an action. `end_of_stream`: a close is one that the peer is to see.
    pub(crate) fn enter(
        &mut self,
        key: Key,
        action: Action,
        end_of_stream: bool,
    ) -> BackendCall<B> {
        self.inside = true;
        let id = |kind| OpId { pipe: key, kind };
        match action {
            Action::Cancel(kind) => BackendCall::Cancel(self.handle(), id(kind)),
            Action::Close => BackendCall::Close(self.take_handle(), end_of_stream),
            Action::Submit(op) => BackendCall::Submit(self.handle(), id(op.kind()), op),
        }
    }

    /// Goes inside for a call that does not wait.
    pub(crate) fn enter_directly(&mut self) -> Arc<B::Handle> {
        self.inside = true;
        self.handle()
    }

    /// Goes inside to cancel an operation.
    pub(crate) fn enter_cancel(&mut self, key: Key, kind: OpKind) -> BackendCall<B> {
        self.enter(key, Action::Cancel(kind), false)
    }

    /// The backend has answered.
    pub(crate) fn leave(&mut self) {
        self.inside = false;
    }

    /// When to look whether a stop has taken too long; asked once. The bound counts from the moment at which the kernel was
    /// asked to cancel (most answer at once, and then there is nothing to remind of), or the stop found a thread inside.
    pub(crate) fn stop_reminder(
        &mut self,
        is_stopping: bool,
        is_cancelling: bool,
        now: impl FnOnce() -> Moment,
    ) -> Option<Moment> {
        let is_waiting = is_cancelling || (is_stopping && self.inside);
        is_waiting.then(|| self.stop.begin(now)).flatten()
    }

    /// Whether a stop has taken too long.
    pub(crate) fn is_stop_due(&self, now: Moment) -> bool {
        self.stop.has_passed(now)
    }

    /// Whether it leaves the registry now: it may, and has not yet.
    pub(crate) fn leaves(&mut self, may: bool) -> bool {
        may && !std::mem::replace(&mut self.unregistered, true)
    }
}

impl Bound {
    /// As long as it likes.
    const NEVER: Self = Self(u64::MAX);

    pub(crate) fn new(within: Option<Duration>) -> Self {
        let nanos = within.and_then(|within| u64::try_from(within.as_nanos()).ok());
        let short = nanos.filter(|nanos| *nanos < NOT_BEGUN);
        short.map_or(Self::NEVER, |nanos| Self(NOT_BEGUN | nanos))
    }

    /// Whether it leaves no time at all.
    pub(crate) fn is_zero(&self) -> bool {
        self.0 == NOT_BEGUN
    }

    /// It begins, if it has not: when it will have taken too long. Said once.
    pub(crate) fn begin(&mut self, now: impl FnOnce() -> Moment) -> Option<Moment> {
        if self.0 < NOT_BEGUN || self.0 == Self::NEVER.0 {
            return None;
        }
        let due = now().after(Duration::from_nanos(self.0 - NOT_BEGUN));
        self.0 = due.0.min(NOT_BEGUN - 1);
        Some(due)
    }

    /// Whether it has taken too long.
    pub(crate) fn has_passed(&self, now: Moment) -> bool {
        self.0 < NOT_BEGUN && self.0 <= now.0
    }
}

impl After {
    /// Timers, the registry, wakes: what follows from a change, with no lock held.
    pub(crate) fn carry_out<B: Backend>(self, driver: &Driver<B>, key: Key) {
        for moment in [self.remind, self.remind_of_room].into_iter().flatten() {
            driver.remind(key, moment);
        }
        if let Some(ended) = self.unregister {
            driver.unregister(key, ended);
        }
        // D3: everything is booked by now; only then is anybody woken.
        driver.wake(self.wakes);
        driver.contain(|| drop(self.carried));
        if self.lingered != 0 {
            driver.end_lingering(self.lingered);
        }
        if let Some(loss) = self.lost {
            driver.tell_loss(&loss);
        }
        if self.tell_settling {
            driver.tell_settling();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_counts_from_its_beginning_which_is_said_once() {
        let mut bound = Bound::new(Some(Duration::from_nanos(5)));
        assert!(!bound.is_zero() && !bound.has_passed(Moment::NEVER));
        assert_eq!(bound.begin(|| Moment(10)), Some(Moment(15)));
        assert_eq!(bound.begin(|| Moment(20)), None);
        assert!(!bound.has_passed(Moment(14)) && bound.has_passed(Moment(15)));
        let mut none = Bound::new(Some(Duration::ZERO));
        assert!(none.is_zero() && !none.has_passed(Moment::NEVER));
        assert_eq!(none.begin(|| Moment(0)), Some(Moment(0)));
        assert!(!none.is_zero() && none.has_passed(Moment(0)));
    }

    #[test]
    fn what_is_too_long_to_be_counted_is_no_bound() {
        let last = Duration::from_nanos(NOT_BEGUN - 2);
        let longer = Duration::from_nanos(NOT_BEGUN - 1);
        for within in [None, Some(longer), Some(Duration::MAX)] {
            let mut never = Bound::new(within);
            assert_eq!(never.begin(|| Moment(0)), None, "{within:?}");
            assert!(!never.is_zero() && !never.has_passed(Moment(NOT_BEGUN - 1)));
        }
        let mut long = Bound::new(Some(last));
        assert_eq!(long.begin(|| Moment(7)), Some(Moment(NOT_BEGUN + 5)));
        assert!(!long.has_passed(Moment(NOT_BEGUN - 2)));
    }
}
