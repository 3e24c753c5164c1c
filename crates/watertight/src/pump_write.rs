//! The writing half in the driver's hands: the lock, the line of those who wait for room, the wakers, the observer.
//!
//! It decides nothing about bytes (`watertight_core::WriteHalf` does); it carries decisions to the backend and news to
//! whoever waits.

use crate::driver::{
    Answer, BackendCall, Driver, Ended, Held, PUMP_STEPS_MAX, PipeStatus, Pump, Wakes, Watchers,
    panics,
};
use crate::enlarging::Enlarging;
use crate::handle_state::{After, Bound, HandleState};
use crate::line::Line;
use crate::observer::Watched;
use crate::options::{OnDrop, WriterOptions};
use crate::pump_read::ReaderCell;
use crate::receipt::Receipt;
use crate::sync::{Mutex, MutexGuard};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use watertight_core::{
    Backend, Cause, ErrorKind, Key, Ledger, Moment, Op, OpKind, Outcome, WriteHalf, WriteLimits,
};

mod accept;
mod debug;
mod destination;
mod ending;
mod forked;
mod joining;
mod room;
mod until_read;

use joining::Joining;

pub(crate) use destination::{Blocked, DestinationWait, MoveBegun};
pub(crate) use until_read::UntilReadWait;

/// What somebody waits for.
enum Wanted {
    /// The first so many bytes are settled.
    Transferred(u64),
    /// The pipe is over.
    Over,
    /// The peer has read the first so many bytes; attempts before this one do not count.
    Read(u64, u64),
    /// No more bytes are accepted.
    Refusal,
    /// There is room for a byte.
    Room,
    /// Half of a transfer's buffer is free: the first so many bytes are transferred, or no more are accepted.
    Half(u64),
}

struct State<B: Backend> {
    half: WriteHalf,
    handle: HandleState<B>,
    /// The handle writes straight out of a caller's memory, as far as is known.
    is_direct: bool,
    end_of_stream: bool,
    enlarging: Enlarging,
    /// A write had to be waited for.
    was_full: bool,
    joining: Joining,
    line: Line,
    watchers: Watchers<Wanted>,
    linger: Bound,
    /// When to wake somebody for room that is there, although half of the queue is not free; or never.
    room_due: Moment,
    on_drop: OnDrop,
    /// Its place among the process's writers that linger; 0 without one.
    lingering_id: u64,
    /// Somebody heard how it ended or why it failed, or has an observer, or asked for the loss.
    is_told: bool,
    /// The other end, if this process made and has it.
    reader: Weak<ReaderCell<B>>,
    watched: Watched,
}

/// One writing half: what `PipeWriter` and the driver share.
pub(crate) struct WriterCell<B: Backend> {
    pub(crate) driver: Arc<Driver<B>>,
    key: Key,
    state: Mutex<State<B>>,
}

// As the driver: no panic leaves it half changed.
impl<B: Backend> UnwindSafe for WriterCell<B> {}
impl<B: Backend> RefUnwindSafe for WriterCell<B> {}

impl<B: Backend> WriterCell<B> {
    pub(crate) fn new(
        driver: Arc<Driver<B>>,
        handle: B::Handle,
        options: WriterOptions,
    ) -> Arc<Self> {
        let limits = driver.share_limits(WriteLimits {
            queue_bytes_max: options.queue_bytes_max,
            op_bytes_max: options.op_bytes_max,
            op_chunks_max: crate::options::OP_CHUNKS_MAX,
            segment_bytes_max: crate::options::SEGMENT_BYTES_MAX,
            atomic_bytes_max: driver.backend.atomic_bytes_max(&handle),
            close_discards: driver.backend.close_discards(&handle),
        });
        let state = State {
            half: WriteHalf::new(limits),
            handle: HandleState::new(handle, options.stop_within),
            is_direct: true,
            // An armed one has to be disarmed.
            end_of_stream: options.half_close || options.armed,
            enlarging: Enlarging::new(options.enlarge == Some(true)),
            was_full: false,
            joining: Joining::new(driver.backend.joins_after().filter(|_| options.join)),
            line: Line::default(),
            watchers: Watchers::default(),
            linger: Bound::new(options.linger),
            room_due: Moment::NEVER,
            on_drop: options.on_drop,
            lingering_id: 0,
            is_told: options.observer.is_some(),
            reader: Weak::new(),
            watched: Watched::new(options.observer),
        };
        let inner = driver.clone();
        driver.register(|key| {
            Arc::new(Self {
                driver: inner,
                key,
                state: Mutex::new(state),
            })
        })
    }

    /// Nothing, where a thread that is not in this forked child has the lock.
    pub(crate) fn ledger(&self) -> Ledger {
        let state = self.lock_here();
        state.map_or_else(Ledger::default, |state| state.half.ledger())
    }

    /// From now on others may write into the same pipe.
    pub(crate) fn share(&self, atomic_bytes_max: Option<u64>) {
        self.lock().half.share(atomic_bytes_max);
    }

    /// Both ends are this process's own.
    pub(crate) fn pair_with(&self, reader: &Arc<ReaderCell<B>>) {
        self.lock().reader = Arc::downgrade(reader);
    }

    pub(crate) fn queue_bytes_max(&self) -> u64 {
        let state = self.lock_here();
        state.map_or(0, |state| state.half.limits().queue_bytes_max)
    }

    /// Waits until the first `target` bytes are transferred (none: all that are accepted now).
    pub(crate) fn poll_transferred(
        self: &Arc<Self>,
        id: &mut u64,
        target: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<Result<(), Cause>> {
        self.driver.refuse_elsewhere()?;
        self.send_joined();
        let mut state = self.lock();
        let target = *target.get_or_insert(state.half.ledger().accepted());
        // Bytes leave in order: what is transferred is the front.
        if state.half.ledger().transferred() >= target {
            return Poll::Ready(Ok(()));
        }
        if let Some(cause) = state.half.failure() {
            state.tell(cause);
            return Poll::Ready(Err(cause));
        }
        if let Some(why) = state.half.stopped_by() {
            return Poll::Ready(Err(Cause::of(why)));
        }
        let replaced = state.watchers.watch(id, Wanted::Transferred(target), waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Waits until the pipe is over.
    pub(crate) fn poll_over(&self, id: &mut u64, waker: &Waker) -> Poll<Receipt> {
        let mut state = self.lock();
        if state.half.is_over() {
            state.is_told = true;
            return Poll::Ready(state.receipt());
        }
        let replaced = state.watchers.watch(id, Wanted::Over, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Looks at the handle, unless it is closed. Under the lock, so that nobody closes it meanwhile: the look must not wait.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&B::Handle) -> T) -> Result<T, Cause> {
        self.driver.refuse_elsewhere()?;
        let state = self.lock();
        let handle = state
            .handle
            .handle_ref()
            .ok_or(Cause::of(ErrorKind::Closed))?;
        Ok(look(handle))
    }

    /// Waits no longer.
    pub(crate) fn forget(&self, id: u64) {
        if id != 0 && !self.is_locked_for_ever() {
            let forgotten = self.lock().watchers.forget(id);
            drop(forgotten);
        }
    }

    pub(crate) fn finish(self: &Arc<Self>) {
        self.change(|state| state.half.finish());
    }

    /// The last handle is gone.
    pub(crate) fn handle_drop(self: &Arc<Self>) {
        if self.is_locked_for_ever() {
            return;
        }
        watertight_os::note_thread();
        let mut lingers = None;
        let is_elsewhere = self.driver.refuse_elsewhere().is_err();
        self.change(|state| {
            state.handle.dropped = true;
            state.forget_threads(is_elsewhere);
            // C4: in a forked child nobody sends the rest, and nobody is told: the parent does both.
            if is_elsewhere || state.linger.is_zero() || state.on_drop == OnDrop::Abort {
                state.is_told = true;
                state.half.abort();
            } else {
                state.half.handle_drop();
                let bytes = state.half.ledger().unsettled();
                lingers = state.half.is_lingering().then_some(bytes);
            }
        });
        if let Some(bytes) = lingers {
            self.linger(bytes);
        }
    }

    /// Takes a place among the process's writers that linger, unless it is over by now.
    fn linger(self: &Arc<Self>, bytes: u64) {
        let id = self.driver.begin_lingering(self.key, bytes);
        let mut state = self.lock();
        let is_over = state.half.is_over();
        if !is_over {
            state.lingering_id = id;
        }
        drop(state);
        if is_over {
            self.driver.end_lingering(id);
        }
    }

    /// Takes the handle out, if nothing is queued or in flight.
    pub(crate) fn release(self: &Arc<Self>) -> Result<Arc<B::Handle>, Cause> {
        self.driver.refuse_elsewhere()?;
        let mut state = self.lock_behind_ticks();
        if let Some(cause) = state.half.refusal() {
            return Err(cause);
        }
        if state.handle.is_inside() || !state.half.release() {
            return Err(Cause::of(ErrorKind::Busy));
        }
        let handle = state.handle.take_handle();
        let after = state.after(|| self.driver.backend.now());
        drop(state);
        after.carry_out(&self.driver, self.key);
        Ok(handle)
    }

    /// Changes the half under the lock and does what follows from it.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State<B>)) {
        self.change_quietly(change);
        self.pump();
    }

    /// Changes the half under the lock and tells whoever waits.
    fn change_quietly(&self, change: impl FnOnce(&mut State<B>)) {
        let mut state = self.lock();
        change(&mut state);
        let after = state.after(|| self.driver.backend.now());
        drop(state);
        after.carry_out(&self.driver, self.key);
    }

    /// Does what the half wants done, step by step, and tells whoever waits. Never recurses.
    fn pump(self: &Arc<Self>) {
        let _ = self.pump_for(None);
    }

    /// As [`WriterCell::pump`], for a call that offers the bytes from a start on: the failure that is known at the end, and
    /// how many of these bytes are refused.
    fn pump_for(self: &Arc<Self>, offered: Option<u64>) -> Option<(Cause, u64)> {
        for _ in 0..PUMP_STEPS_MAX {
            let mut state = self.lock();
            let Some(step) = state.next_step(self.key) else {
                let answer = state.end_offer(offered);
                drop(state);
                self.tell_observer();
                return answer;
            };
            let is_write = matches!(step, BackendCall::Submit(_, _, Op::Write(_)));
            let enlarged = state.enlarged_before(&step);
            drop(state);
            if let Some(handle) = enlarged {
                self.driver.backend.enlarge(&handle);
                // O4: once the step is answered somebody may close it.
                drop(handle);
            }
            let answer = self.driver.perform(step);
            self.change_quietly(|state| {
                state.was_full |= is_write && matches!(answer, Answer::InFlight);
                state.absorb(answer);
            });
        }
        let answer = self.lock().end_offer(offered);
        self.tell_observer();
        self.driver.nudge(self.key);
        answer
    }

    /// Calls the observer with no lock held: it may call anything, drop the last handle, or panic. Whether there was news.
    fn tell_observer(self: &Arc<Self>) -> bool {
        let mut is_told = false;
        loop {
            let mut state = self.lock();
            // C4: the parent's observer hears it in the parent.
            if !state.watched.listens() || self.driver.backend.is_elsewhere() {
                return is_told;
            }
            let over = state.half.is_over().then(|| state.receipt());
            let ledger = state.half.ledger();
            let Some((observer, news)) = state.watched.next(ledger, over) else {
                return is_told;
            };
            drop(state);
            is_told = true;
            let panicked = panics(|| news.tell(&*observer));
            if panicked {
                // D3: before anybody hears that the pipe has left.
                self.driver.count_observer_panic();
            }
            let silenced = self.lock().watched.told(panicked);
            // The observer's own destructor may panic as well.
            self.driver.contain(|| drop((observer, silenced)));
            // Now that it has heard the end, the pipe may leave.
            self.change_quietly(|_| {});
            if panicked {
                self.change(|state| {
                    state
                        .half
                        .handle_failure(Cause::of(ErrorKind::ObserverPanicked))
                });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock()
    }
}

impl<B: Backend> State<B> {
    /// In a forked child no other thread is inside, whatever it was doing at the fork.
    fn forget_threads(&mut self, is_elsewhere: bool) {
        if is_elsewhere {
            self.handle.leave();
            // Its bell is the parent's too: it is not rung.
            let mut bells = Wakes::default();
            let is_bell = |wanted: &Wanted| matches!(wanted, Wanted::Refusal);
            self.watchers.take_ready(&mut bells, is_bell);
            self.half.forget_direct();
        }
    }

    fn next_step(&mut self, key: Key) -> Option<BackendCall<B>> {
        if self.handle.is_inside() {
            return None;
        }
        let action = self.half.poll_action()?;
        let whole = self.half.failure().is_none() && self.half.stopped_by().is_none();
        let end_of_stream = self.end_of_stream && whole;
        Some(self.handle.enter(key, action, end_of_stream))
    }

    /// The handle that gets more room before this step: the pipe was full before, and more is to go.
    fn enlarged_before(&mut self, step: &BackendCall<B>) -> Option<Arc<B::Handle>> {
        let BackendCall::Submit(handle, _, Op::Write(_)) = step else {
            return None;
        };
        (self.was_full && self.is_to_enlarge()).then(|| handle.clone())
    }

    /// Whether its pipe gets more room now.
    fn is_to_enlarge(&mut self) -> bool {
        self.enlarging.is_due(self.half.ledger().transferred())
    }

    fn end_offer(&mut self, offered: Option<u64>) -> Option<(Cause, u64)> {
        let refused = self.half.end_offer(offered?);
        let cause = self.half.failure()?;
        self.tell(cause);
        Some((cause, refused))
    }

    /// A call answers with this: if it is the pipe's failure, somebody has heard of it.
    fn tell(&mut self, cause: Cause) {
        self.is_told |= self.half.failure() == Some(cause);
    }

    fn absorb(&mut self, answer: Answer) {
        self.handle.leave();
        match answer {
            Answer::Closed(failure) => self.half.handle_closed(failure),
            Answer::InFlight => {}
            Answer::Settled(kind, outcome) => self.settle(kind, outcome),
        }
    }

    fn settle(&mut self, kind: OpKind, outcome: Outcome) {
        match kind {
            OpKind::Write => self.half.handle_write(outcome),
            OpKind::UntilRead => self.half.handle_until_read(&outcome),
            OpKind::Read | OpKind::WaitReadable => {
                panic!("O2: a writer's operations are a writer's")
            }
        }
    }

    fn after(&mut self, now: impl Fn() -> Moment) -> After {
        let mut after = After::default();
        let is_lingering = self.half.is_lingering();
        after.remind = is_lingering.then(|| self.linger.begin(&now)).flatten();
        if after.remind.is_none() {
            let half = &self.half;
            let (is_stopping, is_cancelling) = (half.is_stopping(), half.is_cancelling());
            after.remind = self.handle.stop_reminder(is_stopping, is_cancelling, &now);
        }
        let may_leave = self.half.is_closed() && self.watched.is_silent();
        if self.handle.leaves(may_leave) {
            after.unregister = Some(Ended {
                ledger: self.half.ledger(),
                late_bytes: 0,
                late_failures: self.half.late_failures(),
            });
        }
        after.tell_settling = self.handle.dropped && self.is_settled();
        after.lost = self.loss();
        if self.half.is_over() {
            after.lingered = std::mem::take(&mut self.lingering_id);
        }
        after.carried = self.half.take_carried();
        let is_due = self.room_due != Moment::NEVER && self.room_due <= now();
        if is_due {
            self.room_due = Moment::NEVER;
        }
        self.wake_line(is_due, &mut after.wakes);
        after.remind_of_room = self.room_reminder(now);
        let half = &self.half;
        let refused = half.refusal().is_some();
        let stopped = half.failure().is_some() || half.stopped_by().is_some();
        let is_ready = |wanted: &Wanted| match wanted {
            Wanted::Transferred(target) => stopped || half.ledger().transferred() >= *target,
            Wanted::Half(target) => refused || half.ledger().transferred() >= *target,
            Wanted::Over => half.is_over(),
            Wanted::Read(target, attempts) => half.until_read(*target, *attempts).is_some(),
            // There being room, `wake_line` has told them.
            Wanted::Refusal | Wanted::Room => refused,
        };
        // D3: in the order of the bytes, those last who wait for the end.
        let place = |wanted: &Wanted| match wanted {
            Wanted::Transferred(target) | Wanted::Half(target) | Wanted::Read(target, _) => *target,
            Wanted::Refusal | Wanted::Room => 0,
            Wanted::Over => u64::MAX,
        };
        self.watchers
            .take_ready_by(&mut after.wakes, is_ready, place);
        after
    }

    /// Whether nothing is transferred any more.
    fn is_stopped(&self) -> bool {
        let half = &self.half;
        half.is_over() || half.failure().is_some() || half.stopped_by().is_some()
    }

    /// Whether it is over and everybody who listens has heard so.
    fn is_settled(&self) -> bool {
        self.half.is_over() && self.watched.is_silent()
    }
}

impl<B: Backend> Pump for WriterCell<B> {
    fn key(&self) -> Key {
        self.key
    }

    fn handle_completion(self: Arc<Self>, kind: OpKind, outcome: Outcome) {
        self.change(|state| state.settle(kind, outcome));
    }

    fn handle_timer(self: Arc<Self>) {
        self.look_at_the_time();
    }

    fn stop_joining(self: Arc<Self>) {
        self.end_burst();
    }

    fn send_joined_at_exit(self: Arc<Self>) {
        WriterCell::send_joined_at_exit(&self);
    }

    fn handle_nudge(self: Arc<Self>) {
        self.pump();
    }

    fn status(&self) -> PipeStatus {
        let state = self.lock();
        let is_live = !state.handle.dropped && !state.is_stopped();
        PipeStatus {
            operations: state.half.operations(),
            lingering: state.handle.dropped && !state.is_settled(),
            closed: state.half.is_closed(),
            quarantined: state.half.is_quarantined(),
            ledger: state.half.ledger(),
            to_settle: (is_live && state.half.ledger().unsettled() > 0)
                .then(|| state.half.ledger().accepted()),
        }
    }

    fn abort_lingering(self: Arc<Self>) -> Option<Ledger> {
        let mut account = None;
        self.change(|state| {
            if state.handle.dropped && !state.is_settled() {
                account = Some(state.half.ledger());
                state.half.abort();
            }
        });
        account
    }

    fn give_up_lingering(self: Arc<Self>) {
        self.change(|state| {
            state.lingering_id = 0;
            state.half.handle_linger_expired();
        });
    }

    fn held(&self) -> Option<Held> {
        let state = self.state.try_lock()?;
        let held = Held {
            ledger: state.half.ledger(),
            is_lingering: state.handle.dropped && !state.is_settled(),
            is_stopped: state.is_stopped(),
            is_listening: !state.watched.is_silent(),
            reads_itself: false,
        };
        let reader = state.reader.clone();
        drop(state);
        let reads_itself = reader.upgrade().is_some_and(|reader| reader.is_held());
        Some(Held {
            reads_itself,
            ..held
        })
    }

    fn poll_settled(self: Arc<Self>, id: &mut u64, target: u64, waker: &Waker) -> bool {
        if self.send_joined() {
            // Observers may have run, and have taken a wake that was another pipe's.
            waker.wake_by_ref();
        }
        self.poll_transferred(id, &mut Some(target), waker)
            .is_ready()
    }

    fn forget_settled(&self, id: u64) {
        self.forget(id);
    }

    fn give_up_at_exit(self: Arc<Self>) {
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        if state.watched.is_silent() || state.half.is_over() {
            return;
        }
        state.half.abort();
        drop(state);
        self.driver.nudge(self.key);
    }
}
