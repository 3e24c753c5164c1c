//! Joining small messages while calls are dense: one system call for many of them.
//!
//! After a pause some messages go by themselves, each in a call of its caller's. Then they are only queued, and a tick of the
//! driver's sends them; so does a caller that finds a lot of them queued, and a thread that is about to wait
//! (`joined.rs`). The driver is not woken for a message: on a CPU that both share that would cost more than the call it saves.

use super::{State, WriterCell};
use crate::joined;
use std::sync::{Arc, Weak};
use std::time::Duration;
use watertight_core::{Backend, Ledger, Moment};

/// A longer message goes by itself: copying it costs as much as the call.
const MESSAGE_BYTES_MAX: u64 = 2048;

/// Messages are dense if those that went by themselves took less time than this, each: several times what a call for one takes.
const DENSE_WITHIN: Duration = Duration::from_micros(5);

/// What a caller finds queued when it writes by itself: a write that the kernel takes quickly and a reader is woken for with gain.
const QUEUED_BYTES_MAX: u64 = 16 * 1024;

/// How long a message waits for others: less than a round through a scheduler costs.
const TICK_FIRST: Duration = Duration::from_micros(50);

/// The longest tick, while the caller writes by itself and there is only the last of it to send.
const TICK_LONGEST: Duration = Duration::from_micros(400);

/// Whether and how messages are joined.
pub(super) struct Joining {
    /// When the messages that go by themselves were counted anew.
    since: Moment,
    /// So many more of them go by themselves.
    free: u16,
    /// So many do after a pause. `None`: all do.
    free_max: Option<u16>,
    burst: Option<Box<Burst>>,
}

/// Messages that are joined.
struct Burst {
    due: Moment,
    tick: Duration,
    /// What was accepted at the last tick, and what is transferred if nobody but the ticks sends.
    expected: Counts,
}

/// What of an account says who sends.
#[derive(Clone, Copy)]
struct Counts {
    accepted: u64,
    transferred: u64,
}

impl From<Ledger> for Counts {
    fn from(ledger: Ledger) -> Self {
        Self {
            accepted: ledger.accepted(),
            transferred: ledger.transferred(),
        }
    }
}

/// How a message goes.
#[derive(Debug, Eq, PartialEq)]
enum Way {
    Alone,
    /// With those that come after it. The first has a tick set, for then.
    Joined(Option<Moment>),
}

/// What a tick finds to do.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Tick {
    /// It was none, or the last one and nothing is left.
    Nothing,
    /// The caller sends by itself: another tick looks after the rest.
    Again(Moment),
    /// Send what is there. Another tick follows, unless the burst is over.
    Send(Option<Moment>),
}

impl Joining {
    pub(super) fn new(free_max: Option<u16>) -> Self {
        Self {
            since: Moment::default(),
            free: free_max.unwrap_or_default(),
            free_max,
            burst: None,
        }
    }

    /// Whether messages are being joined.
    pub(super) const fn is_dense(&self) -> bool {
        self.burst.is_some()
    }

    /// How the next small message goes. The clock is read once for so many messages as are free, or not at all.
    fn admit(&mut self, counts: Counts, now: impl FnOnce() -> Moment) -> Way {
        if self.burst.is_some() {
            return Way::Joined(None);
        }
        let Some(free_max) = self.free_max else {
            return Way::Alone;
        };
        if self.free > 0 {
            self.free -= 1;
            return Way::Alone;
        }
        let now = now();
        if self.since.until(now) >= DENSE_WITHIN * u32::from(free_max) && free_max > 0 {
            self.since = now;
            self.free = free_max - 1;
            return Way::Alone;
        }
        let due = now.after(TICK_FIRST);
        self.burst = Some(Box::new(Burst {
            due,
            tick: TICK_FIRST,
            expected: counts,
        }));
        Way::Joined(Some(due))
    }

    /// A tick, or another timer of the pipe's.
    fn tick(&mut self, counts: Counts, now: Moment) -> Tick {
        let Some(burst) = self.burst.as_mut().filter(|burst| burst.due <= now) else {
            return Tick::Nothing;
        };
        if counts.accepted == burst.expected.accepted {
            self.end(now);
            return Tick::Send(None);
        }
        let sends_itself = counts.transferred != burst.expected.transferred;
        burst.expected = counts;
        if sends_itself {
            burst.tick = TICK_LONGEST.min(burst.tick * 2);
            burst.due = now.after(burst.tick);
            return Tick::Again(burst.due);
        }
        // This tick sends all.
        burst.expected.transferred = counts.accepted;
        burst.tick = TICK_FIRST;
        burst.due = now.after(burst.tick);
        Tick::Send(Some(burst.due))
    }

    /// The next messages go by themselves.
    fn end(&mut self, now: Moment) {
        self.burst = None;
        self.free = self.free_max.unwrap_or_default();
        self.since = now;
    }
}

impl<B: Backend> State<B> {
    /// How a message of `bytes` bytes goes that is accepted whole: `None` by itself; else it stays queued, and the first one
    /// has a tick set.
    pub(super) fn joins(
        &mut self,
        bytes: u64,
        now: impl FnOnce() -> Moment,
    ) -> Option<Option<Moment>> {
        let may_join = self.is_direct && self.line.is_empty();
        if !may_join || bytes == 0 || bytes > MESSAGE_BYTES_MAX {
            return None;
        }
        match self.joining.admit(self.half.ledger().into(), now) {
            Way::Alone => None,
            Way::Joined(tick) => Some(tick),
        }
    }

    /// Whether so much is queued that a caller sends it by itself.
    pub(super) fn is_much_queued(&self) -> bool {
        let bytes_max = QUEUED_BYTES_MAX.min(self.half.limits().queue_bytes_max / 2);
        self.half.ledger().queued() >= bytes_max
    }

    /// Whether joined messages wait for a tick, or for somebody who sends them before that.
    pub(super) fn has_joined(&self) -> bool {
        let waits = self.joining.is_dense() && self.half.ledger().queued() > 0;
        waits && !self.handle.is_inside() && self.half.operations() == 0
    }

    /// What a timer of the pipe's means for messages that are joined.
    pub(super) fn tick(&mut self, now: Moment) -> Tick {
        if self.half.refusal().is_some() {
            // Whoever ended it has seen to what was queued.
            self.joining.end(now);
            return Tick::Nothing;
        }
        self.joining.tick(self.half.ledger().into(), now)
    }
}

impl<B: Backend> WriterCell<B> {
    /// A first message is joined: the driver's tick is set, and the thread's waiting sends it before.
    pub(super) fn begin_burst(self: &Arc<Self>, due: Moment) {
        self.driver.remind(self.key, due);
        let weak: Weak<Self> = Arc::downgrade(self);
        joined::note(weak);
    }

    /// The thread that joins messages waits now: they are sent, and the next ones go by themselves.
    pub(super) fn end_burst(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.joining.is_dense() {
            state.joining.end(self.driver.backend.now());
        }
        drop(state);
        self.pump();
    }

    /// Sends what is joined. Whether there was any.
    pub(super) fn send_joined(self: &Arc<Self>) -> bool {
        let has_joined = self.lock().has_joined();
        if has_joined {
            self.pump();
        }
        has_joined
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const US: u64 = 1000;
    const FREE: u16 = 16;

    const fn counts(accepted: u64, transferred: u64) -> Counts {
        Counts {
            accepted,
            transferred,
        }
    }

    /// In a burst whose first tick is due at 50 µs.
    fn in_a_burst() -> Joining {
        let mut joining = Joining::new(Some(FREE));
        joining.end(Moment(0));
        for _ in 0..FREE {
            assert_eq!(
                joining.admit(counts(0, 0), || panic!("no look at the clock")),
                Way::Alone
            );
        }
        let way = joining.admit(counts(100, 100), || Moment(0));
        assert_eq!(way, Way::Joined(Some(Moment(50 * US))));
        joining
    }

    #[test]
    fn the_clock_is_read_once_for_all_that_are_free() {
        let mut joining = Joining::new(Some(FREE));
        joining.end(Moment(0));
        let mut looks = 0;
        for _ in 0..10 * FREE {
            let slow = || {
                looks += 1;
                Moment(looks * 80 * US)
            };
            assert_eq!(joining.admit(counts(0, 0), slow), Way::Alone);
        }
        assert_eq!(looks, 9);
    }

    #[test]
    fn a_tick_does_what_the_account_says() {
        // (accepted, transferred at the tick; what it does, when the next one is due)
        for (accepted, transferred, expected) in [
            (200, 100, Tick::Send(Some(Moment(100 * US)))),
            (200, 150, Tick::Again(Moment(150 * US))),
            (100, 100, Tick::Send(None)),
        ] {
            let mut joining = in_a_burst();
            let found = counts(accepted, transferred);
            assert_eq!(joining.tick(found, Moment(49 * US)), Tick::Nothing);
            assert_eq!(joining.tick(found, Moment(50 * US)), expected);
            assert_eq!(joining.is_dense(), accepted > 100);
        }
    }

    #[test]
    fn ticks_grow_while_the_caller_sends_and_are_short_again_after_it() {
        let mut joining = in_a_burst();
        let mut due = 50 * US;
        for (round, tick) in [100, 200, 400, 400].into_iter().enumerate() {
            let bytes = 1000 * (round as u64 + 1);
            let again = joining.tick(counts(bytes + 64, bytes), Moment(due));
            due += tick * US;
            assert_eq!(again, Tick::Again(Moment(due)));
        }
        let sent = joining.tick(counts(4128, 4000), Moment(due));
        due += 50 * US;
        assert_eq!(sent, Tick::Send(Some(Moment(due))));
        // What that tick has sent is not taken for the caller's work.
        let sent = joining.tick(counts(4192, 4128), Moment(due));
        assert_eq!(sent, Tick::Send(Some(Moment(due + 50 * US))));
    }
}
