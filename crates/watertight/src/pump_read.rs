//! The reading half in the driver's hands: the lock, the wakers, and the read that goes straight into the caller's memory.
//!
//! It mirrors `pump_write.rs` and decides nothing about bytes (`watertight_core::ReadHalf` does).

use crate::driver::{
    Answer, BackendCall, Driver, Ended, Held, PUMP_STEPS_MAX, PipeStatus, Pump, Waiting, Wakes,
};
use crate::enlarging::Enlarging;
use crate::handle_state::{After, HandleState};
use crate::options::ReaderOptions;
use crate::receipt::{Ending, ReadReceipt};
use crate::sync::{Mutex, MutexGuard};
use attempting::{Attempt, Attempting};
use bytes::Bytes;
use reactor::InReactor;
use spinning::Spinning;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{
    Backend, Cause, ErrorKind, Key, Ledger, Moment, Op, OpKind, Outcome, ReadHalf, ReadNow,
};

mod attempting;
mod forked;
mod moves_in;
mod reactor;
mod source;
mod spinning;

pub(crate) use attempting::MayRead;
pub(crate) use moves_in::MovesIn;
#[cfg(any(all(feature = "tokio", unix), loom))]
pub(crate) use reactor::Gone;
pub(crate) use reactor::Reactor;
pub(crate) use source::{Filled, MoveHow, SourceWait};

/// The smallest buffer of a read-ahead: a caller that reads byte by byte must not cost a system call each.
const READ_AHEAD_BYTES_MIN: usize = 4096;

/// What somebody waits for.
enum Wanted {
    /// Something to read.
    Bytes,
    /// A stop: a thread blocks between two direct reads, and this calls it back.
    GivenUp,
    /// The pipe is over.
    Over,
}

struct State<B: Backend> {
    half: ReadHalf,
    handle: HandleState<B>,
    /// The handle reads straight into the caller's memory, as far as is known.
    direct: bool,
    read_ahead_bytes_max: u32,
    /// An operation asks for no more than the caller's buffer has room for.
    exact: bool,
    /// The pipe may be one of packets: every read has room for a whole one.
    packets: bool,
    /// A reader at rest has somebody who waits for something to read.
    watchers: Waiting<Wanted>,
    /// The wait for something to read that is in flight is in the caller's reactor.
    is_in_reactor: bool,
    /// How long the next blocking wait spins first.
    spinning: Spinning,
    /// When the pipe gets more room.
    enlarging: Enlarging,
}

/// Whether a reading caller's thread may block until there is something to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MayBlock {
    /// A task's: it is woken.
    No,
    /// Until then, if there is a bound.
    Until(Option<Moment>),
}

/// What a reading caller does next.
enum Next<B: Backend> {
    Answer(Result<usize, Cause>),
    /// Straight into the caller's memory.
    Direct(Attempting<B>),
    /// At once too, with room for a whole packet, which the caller's memory has not.
    Packet(Attempting<B>),
    Pump,
    /// With the waker of before, to be dropped without the lock.
    Wait(Option<Waker>),
}

/// One reading half: what `PipeReader` and the driver share.
pub(crate) struct ReaderCell<B: Backend> {
    pub(crate) driver: Arc<Driver<B>>,
    key: Key,
    state: Mutex<State<B>>,
    /// Where its tasks wait, if not in the library's own reactor.
    reactor: Option<Box<InReactor>>,
}

// As the driver: no panic leaves it half changed.
impl<B: Backend> UnwindSafe for ReaderCell<B> {}
impl<B: Backend> RefUnwindSafe for ReaderCell<B> {}

impl<B: Backend> ReaderCell<B> {
    pub(crate) fn new(
        driver: Arc<Driver<B>>,
        handle: B::Handle,
        options: ReaderOptions,
        reactor: Option<Arc<dyn Reactor>>,
    ) -> Arc<Self> {
        let read_ahead_bytes_max = if options.packets {
            options
                .read_ahead_bytes_max
                .max(ReaderOptions::PACKET_BYTES_MAX)
        } else {
            options.read_ahead_bytes_max
        };
        let state = State {
            half: ReadHalf::new(),
            handle: HandleState::new(handle, options.stop_within),
            direct: true,
            // The option is at most `i32::MAX`.
            read_ahead_bytes_max: u32::try_from(read_ahead_bytes_max).unwrap_or(u32::MAX),
            exact: options.exact && !options.packets,
            packets: options.packets,
            watchers: Waiting::default(),
            is_in_reactor: false,
            spinning: Spinning::new(options.spin),
            enlarging: Enlarging::new(options.enlarge == Some(true)),
        };
        let inner = driver.clone();
        driver.register(|key| {
            Arc::new_cyclic(|cell| Self {
                driver: inner,
                key,
                state: Mutex::new(state),
                reactor: reactor.map(|reactor| Box::new(InReactor::new(reactor, cell))),
            })
        })
    }

    /// Nothing, where a thread that is not in this forked child has the lock.
    pub(crate) fn ledger(&self) -> Ledger {
        let state = self
            .state
            .lock_unless(|| self.driver.backend.is_elsewhere());
        state.map_or_else(Ledger::default, |state| state.half.ledger())
    }

    /// Whether a caller has it and it is not over. If its lock is taken, somebody has.
    pub(crate) fn is_held(&self) -> bool {
        let state = self.state.try_lock();
        state.is_none_or(|state| !state.handle.dropped && !state.half.is_over())
    }

    /// Reads into `buf`, or waits for something to read. A thread that may block does so here, without the driver's thread;
    /// once its bound has passed, nobody is told to wake it.
    pub(crate) fn poll_read(
        self: &Arc<Self>,
        id: &mut u64,
        buf: &mut [u8],
        waker: &Waker,
        may_block: MayBlock,
    ) -> Poll<Result<usize, Cause>> {
        self.driver.refuse_elsewhere()?;
        self.leave_reactor_to_others(may_block);
        loop {
            let next = self.lock().next_read(id, buf, waker);
            match next {
                Next::Answer(answer) => return Poll::Ready(answer),
                Next::Direct(begun) => {
                    let attempt = self.attempt(begun, buf, may_block, waker);
                    let is_due = self.change(|state| state.handle_now(attempt));
                    if is_due {
                        self.pump();
                    }
                    if let ReadNow::Data(n) = attempt.now {
                        return Poll::Ready(Ok(n));
                    }
                    if attempt.is_late {
                        return Poll::Pending;
                    }
                }
                Next::Packet(begun) => {
                    let mut packet = vec![0; ReaderOptions::PACKET_BYTES_MAX];
                    let attempt = self.attempt(begun, &mut packet, may_block, waker);
                    let taken = if let ReadNow::Data(n) = attempt.now {
                        packet.truncate(n);
                        let taken = n.min(buf.len());
                        buf[..taken].copy_from_slice(&packet[..taken]);
                        taken
                    } else {
                        packet.clear();
                        0
                    };
                    let tail = Bytes::from(packet).split_off(taken);
                    let is_due = self.change(|state| state.handle_packet(attempt, taken, tail));
                    if is_due {
                        self.pump();
                    }
                    if let ReadNow::Data(_) = attempt.now {
                        return Poll::Ready(Ok(taken));
                    }
                    if attempt.is_late {
                        return Poll::Pending;
                    }
                }
                Next::Pump => self.pump(),
                Next::Wait(replaced) => {
                    drop(replaced);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Waits until the pipe is over.
    pub(crate) fn poll_over(&self, id: &mut u64, waker: &Waker) -> Poll<ReadReceipt> {
        let mut state = self.lock();
        if state.half.is_over() {
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

    pub(crate) fn abort(self: &Arc<Self>) {
        if self.is_locked_for_ever() {
            return;
        }
        let is_elsewhere = self.driver.refuse_elsewhere().is_err();
        self.change(|state| {
            state.forget_threads(is_elsewhere);
            state.half.abort();
        });
        self.pump();
    }

    /// The last handle is gone.
    pub(crate) fn handle_drop(self: &Arc<Self>) {
        if self.is_locked_for_ever() {
            return;
        }
        let is_elsewhere = self.driver.refuse_elsewhere().is_err();
        self.change(|state| {
            state.handle.dropped = true;
            state.forget_threads(is_elsewhere);
            state.half.abort();
        });
        self.pump();
    }

    /// Takes the handle out, if nothing is in flight and no read-ahead is left.
    pub(crate) fn release(self: &Arc<Self>) -> Result<Arc<B::Handle>, Cause> {
        self.driver.refuse_elsewhere()?;
        self.take_back_wait();
        let mut state = self.lock();
        if state.handle.is_inside() || !state.half.release() {
            let cause = state.half.failure();
            return Err(cause.unwrap_or(Cause::of(ErrorKind::Busy)));
        }
        let handle = state.handle.take_handle();
        let after = state.after(|| self.driver.backend.now());
        drop(state);
        self.leave_reactor();
        after.carry_out(&self.driver, self.key);
        Ok(handle)
    }

    /// A wait for something to read that nobody waits for any more (a read that gave up) is taken back: it has no bytes.
    fn take_back_wait(self: &Arc<Self>) {
        let mut state = self.lock();
        let is_waited_for = state.watchers.any(|wanted| matches!(wanted, Wanted::Bytes));
        if is_waited_for || state.handle.is_inside() || !state.half.is_waiting() {
            return;
        }
        let step = state.handle.enter_cancel(self.key, OpKind::WaitReadable);
        drop(state);
        let answer = self.perform(step);
        self.change(|state| state.absorb(answer));
        self.pump();
    }

    /// Changes the half under the lock and tells whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut State<B>) -> T) -> T {
        let mut state = self.lock();
        let answer = change(&mut state);
        let after = state.after(|| self.driver.backend.now());
        drop(state);
        after.carry_out(&self.driver, self.key);
        answer
    }

    /// Does what the half wants done, step by step. Never recurses.
    fn pump(self: &Arc<Self>) {
        for _ in 0..PUMP_STEPS_MAX {
            let step = self.lock().next_step(self.key);
            let Some(step) = step else { return };
            let answer = self.perform(step);
            self.change(|state| state.absorb(answer));
        }
        self.driver.nudge(self.key);
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock()
    }
}

impl<B: Backend> State<B> {
    /// In a forked child no other thread is inside or blocked, whatever it was doing at the fork.
    fn forget_threads(&mut self, is_elsewhere: bool) {
        if is_elsewhere {
            self.handle.leave();
            // Its bell is the parent's too: it is not rung.
            let mut bells = Wakes::default();
            self.watchers
                .take_ready(&mut bells, |wanted| matches!(wanted, Wanted::GivenUp));
            self.half.forget_direct();
        }
    }

    fn next_read(&mut self, id: &mut u64, buf: &mut [u8], waker: &Waker) -> Next<B> {
        if let Some(answer) = self.half.take(buf) {
            return Next::Answer(answer);
        }
        if !self.half.is_busy() && !self.handle.is_inside() {
            if self.direct {
                self.half.begin_direct();
                let begun = Attempting {
                    handle: self.handle.handle(),
                    spinning: self.spinning,
                    enlarges: self.is_to_enlarge(),
                };
                return if self.packets && buf.len() < ReaderOptions::PACKET_BYTES_MAX {
                    Next::Packet(begun)
                } else {
                    Next::Direct(begun)
                };
            }
            let most = self.read_ahead_bytes_max as usize;
            let least = if self.exact {
                1
            } else {
                READ_AHEAD_BYTES_MIN.min(most)
            };
            self.half.ask(Op::Read {
                bytes_max: buf.len().clamp(least, most),
            });
            return Next::Pump;
        }
        Next::Wait(self.watchers.watch(id, Wanted::Bytes, waker))
    }

    /// Whether its pipe gets more room now.
    fn is_to_enlarge(&mut self) -> bool {
        self.enlarging.is_due(self.half.ledger().accepted())
    }

    /// Books a direct read. Says whether there is something to do now: wait for more, unless the caller is late, or close, if
    /// a stop came meanwhile and found the handle in use.
    fn handle_now(&mut self, attempt: Attempt) -> bool {
        self.half.handle_now(attempt.now);
        self.is_due_after(attempt)
    }

    /// The same for a read with room for a whole packet, of which the caller took the first bytes.
    fn handle_packet(&mut self, attempt: Attempt, taken: usize, tail: Bytes) -> bool {
        if !matches!(attempt.now, ReadNow::Data(_)) {
            return self.handle_now(attempt);
        }
        self.half.handle_now_with_tail(taken as u64, tail);
        self.is_due_after(attempt)
    }

    fn is_due_after(&mut self, attempt: Attempt) -> bool {
        self.spinning = attempt.spinning;
        let waits = attempt.now == ReadNow::Wait && !attempt.is_late;
        if waits {
            self.half.ask(Op::WaitReadable);
        }
        if attempt.now == ReadNow::Unavailable {
            self.direct = false;
        }
        waits || self.half.is_given_up()
    }

    fn next_step(&mut self, key: Key) -> Option<BackendCall<B>> {
        if self.handle.is_inside() {
            return None;
        }
        let action = self.half.poll_action()?;
        Some(self.handle.enter(key, action, false))
    }

    fn absorb(&mut self, answer: Answer) {
        self.handle.leave();
        match answer {
            Answer::Closed(failure) => self.half.handle_closed(failure),
            Answer::InFlight => {}
            Answer::Settled(_, outcome) => self.half.handle_completion(outcome),
        }
    }

    fn after(&mut self, now: impl FnOnce() -> Moment) -> After {
        let mut after = After {
            remind: self.stop_reminder(now),
            tell_settling: self.handle.dropped && self.half.is_over(),
            ..After::default()
        };
        if self.handle.leaves(self.half.is_closed()) {
            after.unregister = Some(Ended {
                ledger: self.half.ledger(),
                late_bytes: self.half.late_bytes(),
                late_failures: self.half.late_failures(),
            });
        }
        let over = self.half.is_over();
        let given_up = self.half.is_given_up();
        let idle = !self.half.is_busy() && !self.handle.is_inside();
        self.watchers
            .take_ready(&mut after.wakes, |wanted| match wanted {
                Wanted::Bytes => idle || over,
                Wanted::GivenUp => given_up,
                Wanted::Over => over,
            });
        after
    }

    fn stop_reminder(&mut self, now: impl FnOnce() -> Moment) -> Option<Moment> {
        let half = &self.half;
        self.handle
            .stop_reminder(half.is_stopping(), half.is_cancelling(), now)
    }

    fn receipt(&self) -> ReadReceipt {
        let ending = match self.half.failure() {
            Some(cause) => Ending::Failed(cause),
            None if self.half.is_released() => Ending::Released,
            None if self.half.has_ended() => Ending::Finished,
            None => Ending::Aborted,
        };
        ReadReceipt::new(ending, self.half.ledger(), self.half.untaken())
    }
}

impl<B: Backend> Pump for ReaderCell<B> {
    fn key(&self) -> Key {
        self.key
    }

    fn handle_completion(self: Arc<Self>, _: OpKind, outcome: Outcome) {
        self.change(|state| state.half.handle_completion(outcome));
        self.pump();
    }

    fn handle_timer(self: Arc<Self>) {
        let now = self.driver.backend.now();
        self.change(|state| {
            if state.handle.is_stop_due(now) {
                state.half.handle_stop_expired();
            }
        });
        self.pump();
    }

    fn handle_nudge(self: Arc<Self>) {
        self.pump();
    }

    fn status(&self) -> PipeStatus {
        let state = self.lock();
        PipeStatus {
            operations: state.half.operations(),
            lingering: state.handle.dropped && !state.half.is_over(),
            closed: state.half.is_closed(),
            quarantined: state.half.is_quarantined(),
            ledger: state.half.ledger(),
            to_settle: None,
        }
    }

    /// A dropped reader is stopping already.
    fn abort_lingering(self: Arc<Self>) -> Option<Ledger> {
        let state = self.lock();
        (state.handle.dropped && !state.half.is_over()).then(|| state.half.ledger())
    }

    // A reader has nothing to settle: what it read ahead is nobody's once it is dropped.

    fn give_up_lingering(self: Arc<Self>) {}

    fn held(&self) -> Option<Held> {
        Some(Held::default())
    }

    fn stop_joining(self: Arc<Self>) {}

    fn send_joined_at_exit(self: Arc<Self>) {}

    fn poll_settled(self: Arc<Self>, _: &mut u64, _: u64, _: &Waker) -> bool {
        true
    }

    fn forget_settled(&self, _: u64) {}

    fn give_up_at_exit(self: Arc<Self>) {}
}

impl<B: Backend> ReaderCell<B> {
    /// Shows which pipe it is, where it is in its life, and its account.
    pub(crate) fn fmt_as(&self, name: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct(name);
        let state = self
            .state
            .lock_unless(|| self.driver.backend.is_elsewhere());
        let Some(state) = state else {
            return shown.finish_non_exhaustive();
        };
        let (phase, ledger) = (state.half.phase(), state.half.ledger());
        drop(state);
        match phase {
            Ok(phase) => shown.field("key", &self.key).field("phase", &phase),
            Err(cause) => shown.field("key", &self.key).field("failed", &cause),
        };
        shown.field("ledger", &ledger).finish_non_exhaustive()
    }
}

impl<B: Backend> std::fmt::Debug for ReaderCell<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fmt_as("ReaderCell", f)
    }
}
