//! The driver's timers: what comes due when. Used under the driver's lock for them; nothing here calls out.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::task::Waker;
use watertight_core::{Key, Moment};

/// What a timer is for.
pub(crate) enum Timer {
    /// Have a pipe looked after.
    Pipe(Key),
    /// Wake a task.
    Wake(Waker),
}

/// Names a timer, to take it back.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct TimerId(Moment, NonZeroU64);

/// All timers, the earliest first.
#[derive(Default)]
pub(crate) struct Timers {
    due: BTreeMap<TimerId, Timer>,
    next_id: u64,
    /// Those of each pipe, so that they leave with it: a bound of seconds must not outlive a pipe of microseconds.
    of_pipes: HashMap<Key, Vec<TimerId>>,
}

impl Timers {
    /// When the first one comes due.
    pub(crate) fn first(&self) -> Option<Moment> {
        self.due.first_key_value().map(|(id, _)| id.0)
    }

    /// Adds one.
    pub(crate) fn add(&mut self, moment: Moment, timer: Timer) -> TimerId {
        let id = TimerId(moment, NonZeroU64::MIN.saturating_add(self.next_id));
        self.next_id += 1;
        if let Timer::Pipe(key) = timer {
            self.of_pipes.entry(key).or_default().push(id);
        }
        self.due.insert(id, timer);
        id
    }

    /// Takes one back; it is handed out, for a waker's destructor is the executor's code.
    #[must_use = "a waker's destructor is the executor's code: drop it without the lock"]
    pub(crate) fn forget(&mut self, id: TimerId) -> Option<Timer> {
        let timer = self.due.remove(&id)?;
        self.unlist(id, &timer);
        Some(timer)
    }

    /// Takes back those of a pipe that has left.
    pub(crate) fn forget_pipe(&mut self, key: Key) {
        for id in self.of_pipes.remove(&key).unwrap_or_default() {
            self.due.remove(&id);
        }
    }

    /// Takes out the first one if its time has come.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let entry = self
            .due
            .first_entry()
            .filter(|entry| entry.key().0 <= now)?;
        let (id, timer) = entry.remove_entry();
        self.unlist(id, &timer);
        Some(timer)
    }

    fn unlist(&mut self, id: TimerId, timer: &Timer) {
        let Timer::Pipe(key) = timer else { return };
        if let Some(ids) = self.of_pipes.get_mut(key) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.of_pipes.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        slot: 3,
        generation: 1,
    };

    #[test]
    fn timers_come_due_in_order_and_leave_with_their_pipe() {
        let mut timers = Timers::default();
        timers.add(Moment(30), Timer::Pipe(KEY));
        let woken = timers.add(Moment(20), Timer::Wake(Waker::noop().clone()));
        timers.add(Moment(10), Timer::Pipe(KEY));
        assert_eq!(timers.first(), Some(Moment(10)));
        assert!(timers.pop_due(Moment(9)).is_none());
        assert!(matches!(timers.pop_due(Moment(10)), Some(Timer::Pipe(KEY))));
        assert_eq!(timers.of_pipes[&KEY].len(), 1);
        timers.forget_pipe(KEY);
        assert!(timers.of_pipes.is_empty());
        assert_eq!(timers.first(), Some(Moment(20)));
        assert!(timers.forget(woken).is_some() && timers.forget(woken).is_none());
        assert_eq!(timers.first(), None);
    }
}
