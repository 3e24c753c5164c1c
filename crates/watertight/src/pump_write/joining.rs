//! Joining small messages while calls are dense: one system call for many of them.
//!
//! After a pause some messages go by themselves, each in a call of its caller's. Then they are only queued, and a tick of the
//! driver's sends them; so does a caller that finds a lot of them queued, and a thread that is about to wait
//! (`joined.rs`). The driver is not woken for a message: on a CPU that both share that would cost more than the call it saves.

use super::{State, WriterCell};
use crate::joined;
use crate::sync::MutexGuard;
use std::sync::{Arc, Weak};
use std::time::Duration;
use watertight_core::{Backend, Moment};

/// A longer message goes by itself: copying it costs as much as the call.
const MESSAGE_BYTES_MAX: u64 = 2048;

/// Messages are dense if those that went by themselves took less time than this, each: several times what a call for one takes.
const DENSE_WITHIN: Duration = Duration::from_micros(5);

/// What a caller finds queued when it writes by itself: a write that the kernel takes quickly and a reader is woken for with gain.
const QUEUED_BYTES_MAX: u64 = 16 * 1024;

/// So many times as many messages go by themselves where each is waited behind.
const FREE_OF_ROUNDS: u16 = 64;

/// How long a message waits for others: less than a round through a scheduler costs.
const TICK_FIRST: Duration = Duration::from_micros(50);

/// The longest tick, while the caller writes by itself and there is only the last of it to send.
const TICK_LONGEST: Duration = Duration::from_micros(400);

/// How often somebody who takes the handle back, or ends the process, looks whether a tick is over: some milliseconds, for a call
/// that does not wait.
const TICK_LOOKS_MAX: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 10_000 };

/// Whether and how messages are joined.
pub(super) struct Joining {
    /// When the messages that go by themselves were counted anew.
    since: Moment,
    /// So many more of them go by themselves.
    free: u16,
    /// So many did, or do, from then on.
    granted: u16,
    /// So many do after a pause. `None`: all do.
    free_max: Option<u16>,
    burst: Option<Box<Burst>>,
}

/// Messages that are joined.
struct Burst {
    due: Moment,
    tick: Duration,
    /// Some were joined since the last tick.
    has_joined: bool,
    /// Behind the first one others were.
    has_several: bool,
    /// What was transferred after the last tick had sent.
    transferred: u64,
    /// The thread that has joined last: it knows of that.
    thread: u64,
}

/// How a message goes.
#[derive(Debug, Eq, PartialEq)]
enum Way {
    Alone,
    Joined(Joined),
}

/// What is to be done for a message that is joined, apart from queueing it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Joined {
    /// The first one has a tick set, for then.
    pub(super) tick: Option<Moment>,
    /// The thread is to know that it has joined here.
    pub(super) is_news: bool,
}

/// What a tick finds to do.
#[derive(Debug, Eq, PartialEq)]
enum Tick {
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
            // Where none is joined one is always free.
            free: free_max.unwrap_or(1),
            granted: free_max.unwrap_or_default(),
            free_max,
            burst: None,
        }
    }

    /// Whether messages are being joined.
    pub(super) const fn is_dense(&self) -> bool {
        self.burst.is_some()
    }

    /// How the next small message goes. The clock is read once for so many messages as are free, or not at all.
    #[inline]
    fn admit(
        &mut self,
        transferred: u64,
        thread: impl FnOnce() -> u64,
        now: impl FnOnce() -> Moment,
    ) -> Way {
        if self.free > 0 && self.burst.is_none() {
            self.free -= u16::from(self.free_max.is_some());
            return Way::Alone;
        }
        self.admit_densely(transferred, thread, now)
    }

    fn admit_densely(
        &mut self,
        transferred: u64,
        thread: impl FnOnce() -> u64,
        now: impl FnOnce() -> Moment,
    ) -> Way {
        if let Some(burst) = &mut self.burst {
            burst.has_joined = true;
            burst.has_several = true;
            let thread = thread();
            let before = std::mem::replace(&mut burst.thread, thread);
            return Way::Joined(Joined {
                tick: None,
                is_news: before != thread,
            });
        }
        let Some(free_max) = self.free_max else {
            return Way::Alone;
        };
        let now = now();
        if self.since.until(now) >= DENSE_WITHIN * u32::from(self.granted) && free_max > 0 {
            self.grant(free_max, now);
            self.free -= 1;
            return Way::Alone;
        }
        let due = now.after(TICK_FIRST);
        self.burst = Some(Box::new(Burst {
            due,
            tick: TICK_FIRST,
            has_joined: true,
            has_several: false,
            transferred,
            thread: thread(),
        }));
        Way::Joined(Joined {
            tick: Some(due),
            is_news: true,
        })
    }

    /// A tick, or another timer of the pipe's.
    fn tick(&mut self, transferred: u64, now: Moment) -> Tick {
        let Some(burst) = self.burst.as_mut().filter(|burst| burst.due <= now) else {
            return Tick::Nothing;
        };
        if !std::mem::take(&mut burst.has_joined) {
            self.end(now);
            return Tick::Send(None);
        }
        if burst.transferred != transferred {
            burst.transferred = transferred;
            burst.tick = TICK_LONGEST.min(burst.tick * 2);
            burst.due = now.after(burst.tick);
            return Tick::Again(burst.due);
        }
        burst.tick = TICK_FIRST;
        burst.due = now.after(burst.tick);
        Tick::Send(Some(burst.due))
    }

    /// A tick has sent: that is no sending of the caller's.
    fn handle_sent(&mut self, transferred: u64) {
        if let Some(burst) = &mut self.burst {
            burst.transferred = transferred;
        }
    }

    /// The burst is over, and the next messages go by themselves.
    fn end(&mut self, now: Moment) {
        self.burst = None;
        self.grant(self.free_max.unwrap_or(1), now);
    }

    /// The thread that joins waits. If there was but one message it waits after each, and joining only costs it: for long none is.
    fn end_by_waiting(&mut self, now: Moment) {
        let Some(burst) = self.burst.take() else {
            return;
        };
        let free = self.free_max.unwrap_or_default();
        let free = if burst.has_several {
            free
        } else {
            free.saturating_mul(FREE_OF_ROUNDS)
        };
        self.grant(free, now);
    }

    fn grant(&mut self, free: u16, now: Moment) {
        self.free = free;
        self.granted = free;
        self.since = now;
    }
}

impl<B: Backend> State<B> {
    /// How a message of `bytes` bytes goes that is accepted whole: `None` by itself; else it stays queued.
    pub(super) fn joins(&mut self, bytes: u64, now: impl FnOnce() -> Moment) -> Option<Joined> {
        let may_join = self.is_direct && self.line.is_empty();
        if !may_join || bytes == 0 || bytes > MESSAGE_BYTES_MAX {
            return None;
        }
        let transferred = self.half.ledger().transferred();
        match self.joining.admit(transferred, joined::this_thread, now) {
            Way::Alone => None,
            Way::Joined(joined) => Some(joined),
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

    /// Whether something is joined, or somebody is at work with what is not settled.
    fn is_being_sent(&self) -> bool {
        let ledger = self.half.ledger();
        let is_left = self.joining.is_dense() && ledger.queued() > 0;
        let is_at_work = self.handle.is_inside() && ledger.unsettled() > 0;
        is_at_work || (is_left && self.half.operations() == 0)
    }

    /// What a timer of the pipe's means for messages that are joined.
    fn tick(&mut self, now: Moment) -> Tick {
        if self.half.refusal().is_some() {
            // Whoever ended it has seen to what was queued.
            self.joining.end(now);
            return Tick::Nothing;
        }
        self.joining.tick(self.half.ledger().transferred(), now)
    }
}

impl<B: Backend> WriterCell<B> {
    /// A message was joined: the driver's tick is set, and before it comes the thread's waiting sends.
    pub(super) fn handle_joined(self: &Arc<Self>, joined: Joined) {
        if let Some(due) = joined.tick {
            self.driver.remind(self.key, due);
        }
        if joined.is_news {
            let weak: Weak<Self> = Arc::downgrade(self);
            joined::note(weak);
        }
    }

    /// A timer of the pipe's came due; whether it was the burst's, and what else, it has to find out. On the driver's thread.
    pub(super) fn look_at_the_time(self: &Arc<Self>) {
        let now = self.driver.backend.now();
        let mut tick = Tick::Nothing;
        self.change_quietly(|state| {
            tick = state.tick(now);
            if state.handle.is_stop_due(now) {
                state.half.handle_stop_expired();
            } else if state.linger.has_passed(now) {
                state.half.handle_linger_expired();
            }
        });
        if let Tick::Again(due) | Tick::Send(Some(due)) = tick {
            self.driver.remind_in_turn(self.key, due);
        }
        match tick {
            Tick::Again(_) => {}
            Tick::Nothing => self.pump(),
            Tick::Send(_) => {
                self.pump();
                let mut state = self.lock();
                let transferred = state.half.ledger().transferred();
                state.joining.handle_sent(transferred);
            }
        }
    }

    /// The process ends, and what is joined would have been with the kernel: it is given to it, without a wait and with nobody told.
    /// A tick may be at it.
    pub(super) fn send_joined_at_exit(self: &Arc<Self>) {
        let mut has_sent = false;
        for _ in 0..self.tick_looks_max() {
            let state = self.state.try_lock();
            if state.as_ref().is_some_and(|state| !state.is_being_sent()) {
                break;
            }
            let step = state.and_then(|mut state| state.next_step(self.key));
            let Some(step) = step else {
                std::thread::yield_now();
                continue;
            };
            let answer = self.driver.perform(step);
            self.change_quietly(|state| state.absorb(answer));
            has_sent = true;
        }
        if has_sent {
            // D2: whoever came meanwhile found this thread inside and left.
            self.driver.nudge(self.key);
        }
    }

    /// The thread that joins messages waits now: they are sent, and the next ones go by themselves.
    pub(super) fn end_burst(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.joining.is_dense() {
            state.joining.end_by_waiting(self.driver.backend.now());
        }
        drop(state);
        self.pump();
    }

    /// The lock, with nothing joined and no tick at work: such a one makes one call that does not wait, and then this pipe is as idle
    /// as it seems to its caller. Looked for a bounded number of times.
    pub(super) fn lock_behind_ticks(self: &Arc<Self>) -> MutexGuard<'_, State<B>> {
        for _ in 0..self.tick_looks_max() {
            let state = self.lock();
            if state.has_joined() {
                drop(state);
                self.pump();
            } else if state.handle.is_inside() {
                drop(state);
                std::thread::yield_now();
            } else {
                return state;
            }
        }
        self.lock()
    }

    /// What is joined is with the kernel, as far as it takes it: for whoever writes past this end. In a forked child it is the parent's to send.
    pub(crate) fn send_all_joined(self: &Arc<Self>) {
        if self.driver.refuse_elsewhere().is_ok() {
            drop(self.lock_behind_ticks());
        }
    }

    /// None where nothing is joined.
    fn tick_looks_max(&self) -> u32 {
        let joins_after = self.driver.backend.joins_after();
        joins_after.map_or(0, |_| TICK_LOOKS_MAX)
    }

    /// Sends what is joined. Whether there was any.
    pub(crate) fn send_joined(self: &Arc<Self>) -> bool {
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
    const THREAD: u64 = 7;

    const fn joined(tick: Option<Moment>, is_news: bool) -> Way {
        Way::Joined(Joined { tick, is_news })
    }

    /// In a burst whose first tick is due at 50 µs, with 100 bytes transferred.
    fn in_a_burst() -> Joining {
        let mut joining = Joining::new(Some(FREE));
        joining.end(Moment(0));
        for _ in 0..FREE {
            let way = joining.admit(0, || THREAD, || panic!("no look at the clock"));
            assert_eq!(way, Way::Alone);
        }
        let way = joining.admit(100, || THREAD, || Moment(0));
        assert_eq!(way, joined(Some(Moment(50 * US)), true));
        joining
    }

    fn join(joining: &mut Joining) {
        let way = joining.admit(0, || THREAD, || panic!("no look at the clock"));
        assert_eq!(way, joined(None, false));
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
            assert_eq!(joining.admit(0, || THREAD, slow), Way::Alone);
        }
        assert_eq!(looks, 9);
    }

    #[test]
    fn a_thread_hears_of_it_once_and_again_after_another_one() {
        let mut joining = in_a_burst();
        let mut is_news = |thread| match joining.admit(0, || thread, || panic!("no look")) {
            Way::Joined(joined) => joined.is_news,
            Way::Alone => panic!("it is joined"),
        };
        let heard = [THREAD, 8, 8, THREAD, 8].map(&mut is_news);
        assert_eq!(heard, [false, true, false, true, true]);
    }

    /// A round trip is a message and a wait.
    #[test]
    fn who_waits_behind_each_message_is_left_alone_for_long() {
        let mut joining = in_a_burst();
        joining.end_by_waiting(Moment(0));
        for _ in 0..FREE * FREE_OF_ROUNDS {
            let way = joining.admit(0, || THREAD, || panic!("no look at the clock"));
            assert_eq!(way, Way::Alone);
        }
        assert_ne!(
            joining.admit(0, || THREAD, || Moment(5000 * US)),
            Way::Alone
        );
        join(&mut joining);
        joining.end_by_waiting(Moment(0));
        assert_eq!(joining.free, FREE);
    }

    #[test]
    fn a_tick_does_what_the_account_says() {
        // (what is transferred, whether something was joined since; what the tick does)
        for (transferred, is_joined, expected) in [
            (100, true, Tick::Send(Some(Moment(100 * US)))),
            (150, true, Tick::Again(Moment(150 * US))),
            (100, false, Tick::Send(None)),
            (150, false, Tick::Send(None)),
        ] {
            let mut joining = in_a_burst();
            assert_eq!(joining.tick(100, Moment(49 * US)), Tick::Nothing);
            // The first one's message.
            joining.burst.as_mut().unwrap().has_joined = is_joined;
            assert_eq!(joining.tick(transferred, Moment(50 * US)), expected);
            assert_eq!(joining.is_dense(), is_joined);
        }
    }

    #[test]
    fn ticks_grow_while_the_caller_sends_and_are_short_again_after_it() {
        let mut joining = in_a_burst();
        let mut due = 50 * US;
        for (round, tick) in [100, 200, 400, 400].into_iter().enumerate() {
            join(&mut joining);
            let again = joining.tick(1000 * (round as u64 + 1), Moment(due));
            due += tick * US;
            assert_eq!(again, Tick::Again(Moment(due)));
        }
        for transferred in [4128, 4300] {
            join(&mut joining);
            let before = if transferred == 4128 { 4000 } else { 4128 };
            let sent = joining.tick(before, Moment(due));
            due += 50 * US;
            assert_eq!(sent, Tick::Send(Some(Moment(due))));
            // However much it has sent, that is not taken for the caller's work.
            joining.handle_sent(transferred);
        }
    }
}
