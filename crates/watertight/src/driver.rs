//! The driver: all pipes of one backend, their timers, and the loop that hands out completions.
//!
//! With `pump_write.rs` and `pump_read.rs` it holds all concurrency of the library. Two rules keep it small: decide under
//! the lock, act after it; and one thread at a time makes backend calls for one half of a pipe ("is inside"); whoever
//! finds somebody inside leaves, because that thread looks again before it goes. Locks are never nested, and none is held
//! while calling the backend, a waker or an observer.

use crate::lingering::{Lingering, LingeringBounds};
use crate::loss::{self, Loss};
use crate::sync::{Mutex, StaticMutex};
use crate::timers::{Timer, TimerId, Timers};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use watertight_core::{
    Backend, Cancelled, Cause, Completion, ErrorKind, Key, Ledger, Moment, OpId, OpKind, OsCode,
    Outcome, Submitted, WriteLimits,
};

/// How many steps one thread makes for one pipe before it leaves the rest to the driver's thread, so that a caller cannot
/// be kept at work for others for ever. So few in the models, where every step counts, that they see it happen.
pub(crate) const PUMP_STEPS_MAX: usize = if cfg!(any(loom, shuttle)) { 3 } else { 64 };

/// How long the driver waits after the backend failed to wait, before it tries again.
const WAIT_FAILED_PAUSE: Duration = Duration::from_millis(10);

mod at_exit;
mod forked;
mod watchers;

pub(crate) use at_exit::{AtExit, Held};
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) use forked::Forked;
pub(crate) use watchers::{Waiting, Watchers};

/// What a pipe's half is to the driver.
pub(crate) trait Pump: Send + Sync {
    /// Its place, and the how-manieth it is there.
    fn key(&self) -> Key;
    /// An operation of it that was in flight is answered.
    fn handle_completion(self: Arc<Self>, kind: OpKind, outcome: Outcome);
    /// A timer it asked for came due; it may be stale.
    fn handle_timer(self: Arc<Self>);
    /// Somebody left work for the driver's thread.
    fn handle_nudge(self: Arc<Self>);
    /// The thread that joins messages here is about to wait: they are sent.
    fn stop_joining(self: Arc<Self>);
    /// The process ends: what is joined is given to the kernel, as far as it takes it at once.
    fn send_joined_at_exit(self: Arc<Self>);
    /// How it stands.
    fn status(&self) -> PipeStatus;
    /// Stop now, if it lingers; its account then.
    fn abort_lingering(self: Arc<Self>) -> Option<Ledger>;
    /// The process's bound on what lingers is passed, and this is the oldest.
    fn give_up_lingering(self: Arc<Self>);
    /// What it still has to settle; nothing for a reader. `None` if its lock is taken.
    fn held(&self) -> Option<Held>;
    /// Whether the first `target` bytes are settled, one way or the other; if not, the waker is kept under the id.
    fn poll_settled(self: Arc<Self>, id: &mut u64, target: u64, waker: &Waker) -> bool;
    /// Nobody waits under that id any more.
    fn forget_settled(&self, id: u64);
    /// The process ends: stop, if somebody is to hear of it and the lock is free.
    fn give_up_at_exit(self: Arc<Self>);
}

/// How one half of a pipe stands, for the census.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PipeStatus {
    /// Operations the kernel has not answered.
    pub(crate) operations: u64,
    /// No handle is left, and it is not over.
    pub(crate) lingering: bool,
    /// Its handle is closed; only its observer is still to be told.
    pub(crate) closed: bool,
    /// An operation outlived its stop bound.
    pub(crate) quarantined: bool,
    /// Its account.
    pub(crate) ledger: Ledger,
    /// A writer that somebody has and that is not stopped: how much of it is accepted, if that is not settled yet.
    pub(crate) to_settle: Option<u64>,
}

/// Bytes of pipes that ended, by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) pipes_ended: u64,
    pub(crate) transferred: u64,
    pub(crate) discarded: u64,
    pub(crate) in_doubt: u64,
    pub(crate) observer_panics: u64,
    pub(crate) wait_failures: u64,
    pub(crate) pipes_incomplete: u64,
    pub(crate) late: u64,
    pub(crate) late_failures: u64,
    pub(crate) foreign_panics: u64,
}

/// A half whose handle is closed: its account, and what came too late for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) ledger: Ledger,
    pub(crate) late_bytes: u64,
    pub(crate) late_failures: u64,
}

/// What one step for a pipe does to the backend.
pub(crate) enum BackendCall<B: Backend> {
    Cancel(Arc<B::Handle>, OpId),
    Close(Arc<B::Handle>, bool),
    Submit(Arc<B::Handle>, OpId, watertight_core::Op),
}

/// What the backend said to a step.
pub(crate) enum Answer {
    Closed(Option<Cause>),
    InFlight,
    Settled(OpKind, Outcome),
}

/// Wakers to call once the lock is gone.
#[derive(Default)]
pub(crate) struct Wakes(Vec<Waker>);

/// A place for a pipe, in the room of a pipe that is known.
enum Slot {
    /// With the generation of the next one.
    Free(u32),
    /// It knows its own generation.
    Taken(Arc<dyn Pump>),
}

#[derive(Default)]
struct Registry {
    slots: Vec<Slot>,
    free: Vec<u32>,
    totals: Totals,
}

/// All pipes of one backend.
pub struct Driver<B: Backend> {
    pub(crate) backend: B,
    registry: Mutex<Registry>,
    timers: Mutex<Timers>,
    nudged: Mutex<Vec<Key>>,
    settling: Mutex<Watchers<()>>,
    lingering: Mutex<Lingering>,
    /// Those of the writer that was made last. Not a lock of the models: nothing waits for what is in it.
    limits: StaticMutex<Option<Arc<WriteLimits>>>,
    /// Answers on their way to their pipes. They are here and not in [`Driver::turn`]'s hands, so that a turn within a turn
    /// (an observer that ends the process) finds them.
    answers: StaticMutex<VecDeque<Completion>>,
}

// A panic of a waker's or an observer's finds no lock held and nothing half done (F1), so it leaves nothing broken behind.
impl<B: Backend> UnwindSafe for Driver<B> {}
impl<B: Backend> RefUnwindSafe for Driver<B> {}

impl<B: Backend> std::fmt::Debug for Driver<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl<B: Backend> Driver<B> {
    /// A driver with no pipes and no thread; somebody has to call [`Driver::turn`] in a loop.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            registry: Mutex::new(Registry::default()),
            timers: Mutex::new(Timers::default()),
            nudged: Mutex::new(Vec::new()),
            settling: Mutex::new(Watchers::default()),
            lingering: Mutex::new(Lingering::default()),
            limits: StaticMutex::new(None),
            answers: StaticMutex::new(VecDeque::new()),
        }
    }

    /// The kernel it drives. For tests.
    #[doc(hidden)]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Waits for completions, timers or a wake, and does everything that follows from them.
    ///
    /// `completions` is scratch space, empty before and after. Call it from one thread.
    pub fn turn(&self, completions: &mut Vec<Completion>) {
        let nudged = !self.nudged.lock().is_empty();
        let until = if nudged {
            Some(Moment::default())
        } else {
            self.timers.lock().first()
        };
        self.turn_until(until, completions);
    }

    /// As [`Driver::turn`], and no longer than `most`.
    pub(crate) fn turn_briefly(&self, most: Duration) {
        let most = self.backend.now().after(most);
        let until = self.timers.lock().first().map_or(most, |due| due.min(most));
        self.turn_until(Some(until), &mut Vec::new());
    }

    fn turn_until(&self, until: Option<Moment>, completions: &mut Vec<Completion>) {
        if self.backend.wait(completions, until).is_err() {
            self.registry.lock().totals.wait_failures += 1;
            self.backend.rest(WAIT_FAILED_PAUSE);
        }
        self.answers.lock().extend(completions.drain(..));
        loop {
            let next = self.answers.lock().pop_front();
            let Some(completion) = next else { break };
            self.contain(|| self.dispatch(completion));
        }
        self.fire_timers();
        let nudged = std::mem::take(&mut *self.nudged.lock());
        for key in nudged {
            if let Some(pipe) = self.pipe(key) {
                self.contain(|| pipe.handle_nudge());
            }
        }
    }

    /// Makes a place for a pipe and fills it.
    pub(crate) fn register<P: Pump + 'static>(&self, make: impl FnOnce(Key) -> Arc<P>) -> Arc<P> {
        let mut registry = self.registry.lock();
        let key = registry.reserve();
        let pipe = make(key);
        registry.slots[key.slot as usize] = Slot::Taken(pipe.clone());
        pipe
    }

    /// Frees a pipe's place: its handle is closed. The generation changes, so that nothing late reaches a successor.
    pub(crate) fn unregister(&self, key: Key, ended: Ended) {
        let mut registry = self.registry.lock();
        registry.totals.count(ended.ledger);
        registry.totals.late += ended.late_bytes;
        registry.totals.late_failures += ended.late_failures;
        let pipe = registry.release(key);
        drop(registry);
        self.timers.lock().forget_pipe(key);
        // The last reference may run a destructor of the caller's (an observer's): not under our lock.
        drop(pipe);
    }

    /// The limits of a new writer, in one place with those of the writer before it if they are the same.
    pub(crate) fn share_limits(&self, limits: WriteLimits) -> Arc<WriteLimits> {
        let mut last = self.limits.lock();
        if let Some(shared) = last.as_ref().filter(|shared| ***shared == limits) {
            return shared.clone();
        }
        last.insert(Arc::new(limits)).clone()
    }

    /// How much may linger.
    pub(crate) fn bound_lingering(&self, bounds: LingeringBounds) {
        let given_up = self.lingering.lock().set_bounds(bounds);
        self.give_up(given_up);
    }

    /// A dropped writer goes on with so many bytes: its id among those that do. The oldest may have to make place.
    pub(crate) fn begin_lingering(&self, key: Key, bytes: u64) -> u64 {
        let (id, given_up) = self.lingering.lock().begin(key, bytes);
        self.give_up(given_up);
        id
    }

    pub(crate) fn end_lingering(&self, id: u64) {
        self.lingering.lock().end(id);
    }

    fn give_up(&self, keys: Vec<Key>) {
        for key in keys {
            if let Some(pipe) = self.pipe(key) {
                pipe.give_up_lingering();
            }
        }
    }

    /// Bytes are lost of which nobody was told.
    pub(crate) fn tell_loss(&self, loss: &Loss) {
        self.contain(|| loss::tell(loss));
    }

    /// Leaves a pipe's next steps to the driver's thread.
    pub(crate) fn nudge(&self, key: Key) {
        self.nudged.lock().push(key);
        self.backend.wake();
    }

    /// Has a pipe looked after at `moment`, or later.
    pub(crate) fn remind(&self, key: Key, moment: Moment) {
        self.add_timer(moment, Timer::Pipe(key));
    }

    /// As [`Driver::remind`], within a turn: its next wait has that bound.
    pub(crate) fn remind_in_turn(&self, key: Key, moment: Moment) {
        self.timers.lock().add(moment, Timer::Pipe(key));
    }

    /// Wakes a task at `moment`, or later.
    pub(crate) fn wake_at(&self, moment: Moment, waker: Waker) -> TimerId {
        self.add_timer(moment, Timer::Wake(waker))
    }

    /// Forgets a timer; it may have fired. One that is out of reach in a forked child wakes nobody there.
    pub(crate) fn forget_timer(&self, id: TimerId) {
        let timers = self.timers.lock_unless(|| self.backend.is_elsewhere());
        let forgotten = timers.and_then(|mut timers| timers.forget(id));
        // A waker's destructor is the executor's code: not under our lock.
        drop(forgotten);
    }

    /// Carries out one step and says what the backend answered.
    pub(crate) fn perform(&self, step: BackendCall<B>) -> Answer {
        match step {
            BackendCall::Cancel(handle, id) => match self.backend.cancel(&handle, id) {
                Cancelled::Done(outcome) => Answer::Settled(id.kind, outcome),
                Cancelled::Requested => Answer::InFlight,
            },
            BackendCall::Close(handle, end_of_stream) => {
                let failure = self.backend.close(handle, end_of_stream).err();
                // C4: in a forked child the descriptors are closed, and the stream is not ended.
                let elsewhere = self.refuse_elsewhere().err();
                Answer::Closed(elsewhere.or(failure.map(close_failed)))
            }
            BackendCall::Submit(handle, id, op) => match self.backend.submit(&handle, id, op) {
                Submitted::Done(outcome) => Answer::Settled(id.kind, outcome),
                Submitted::InFlight => Answer::InFlight,
            },
        }
    }

    /// Why a forked child may not, if this is one (rule C4).
    pub(crate) fn refuse_elsewhere(&self) -> Result<(), Cause> {
        if self.backend.is_elsewhere() {
            return Err(Cause::of(ErrorKind::WrongProcess));
        }
        Ok(())
    }

    /// Wakes those that wait for lingering pipes.
    pub(crate) fn tell_settling(&self) {
        let mut wakes = Wakes::default();
        self.settling.lock().take_all(&mut wakes);
        self.wake(wakes);
    }

    /// Calls wakers, and counts those that panic.
    pub(crate) fn wake(&self, wakes: Wakes) {
        let panicked = wakes.fire();
        if panicked > 0 {
            self.registry.lock().totals.foreign_panics += panicked;
        }
    }

    /// Runs what may run foreign code. A panic in it is counted (F1); it is no reason to stop, and above all none to leave
    /// all other pipes without a driver.
    pub(crate) fn contain(&self, run: impl FnOnce()) {
        if panics(run) {
            self.registry.lock().totals.foreign_panics += 1;
        }
    }

    /// Waits for lingering pipes; the id is from an earlier call, or 0.
    pub(crate) fn watch_settling(&self, id: &mut u64, waker: &Waker) {
        let replaced = self.settling.lock().watch(id, (), waker);
        drop(replaced);
    }

    /// No longer waits for lingering pipes.
    pub(crate) fn forget_settling(&self, id: u64) {
        let settling = self.settling.lock_unless(|| self.backend.is_elsewhere());
        let forgotten = settling.and_then(|mut settling| settling.forget(id));
        drop(forgotten);
    }

    pub(crate) fn count_observer_panic(&self) {
        self.registry.lock().totals.observer_panics += 1;
    }

    /// How every half stands, and what became of those that ended before. Takes each pipe's lock for a moment, one after
    /// the other.
    pub(crate) fn statuses(&self) -> (Vec<PipeStatus>, Totals) {
        let (pipes, totals) = self.pipes();
        (pipes.iter().map(|pipe| pipe.status()).collect(), totals)
    }

    /// Stops every pipe that lingers; their accounts at that moment.
    pub(crate) fn abort_lingering(&self) -> Vec<Ledger> {
        let (pipes, _) = self.pipes();
        pipes
            .into_iter()
            .filter_map(|pipe| pipe.abort_lingering())
            .collect()
    }

    fn pipes(&self) -> (Vec<Arc<dyn Pump>>, Totals) {
        let registry = self.registry.lock();
        let pipes = registry.slots.iter().filter_map(Slot::pipe).cloned();
        (pipes.collect(), registry.totals)
    }

    fn pipe(&self, key: Key) -> Option<Arc<dyn Pump>> {
        let registry = self.registry.lock();
        let pipe = registry.slots.get(key.slot as usize)?.pipe()?;
        // O6: a completion of an earlier generation reaches nobody.
        (pipe.key() == key).then(|| pipe.clone())
    }

    fn dispatch(&self, completion: Completion) {
        if let Some(pipe) = self.pipe(completion.id.pipe) {
            pipe.handle_completion(completion.id.kind, completion.outcome);
        }
    }

    fn add_timer(&self, moment: Moment, timer: Timer) -> TimerId {
        let mut timers = self.timers.lock();
        let id = timers.add(moment, timer);
        let earliest = timers.first() == Some(moment);
        drop(timers);
        if earliest {
            self.backend.wake();
        }
        id
    }

    fn fire_timers(&self) {
        if self.timers.lock().first().is_none() {
            return;
        }
        let now = self.backend.now();
        loop {
            let Some(timer) = self.timers.lock().pop_due(now) else {
                return;
            };
            match timer {
                Timer::Pipe(key) => {
                    if let Some(pipe) = self.pipe(key) {
                        self.contain(|| pipe.handle_timer());
                    }
                }
                Timer::Wake(waker) => self.contain(|| waker.wake()),
            }
        }
    }
}

impl Totals {
    /// Adds a pipe that has ended.
    pub(crate) fn count(&mut self, ledger: Ledger) {
        self.pipes_ended += 1;
        self.pipes_incomplete += u64::from(ledger.transferred() < ledger.accepted());
        self.transferred += ledger.transferred();
        self.discarded += ledger.discarded();
        self.in_doubt += ledger.in_doubt();
    }
}

impl Registry {
    fn reserve(&mut self) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free(0));
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 pipes at once")
        });
        let Slot::Free(generation) = self.slots[slot as usize] else {
            panic!("a place is taken by one pipe at a time");
        };
        Key { slot, generation }
    }

    fn release(&mut self, key: Key) -> Option<Arc<dyn Pump>> {
        let slot = &mut self.slots[key.slot as usize];
        if slot.pipe().is_none_or(|pipe| pipe.key() != key) {
            return None;
        }
        let next = Slot::Free(key.generation.wrapping_add(1));
        self.free.push(key.slot);
        match std::mem::replace(slot, next) {
            Slot::Free(_) => None,
            Slot::Taken(pipe) => Some(pipe),
        }
    }
}

impl Slot {
    fn pipe(&self) -> Option<&Arc<dyn Pump>> {
        match self {
            Self::Free(_) => None,
            Self::Taken(pipe) => Some(pipe),
        }
    }
}

impl Wakes {
    pub(crate) fn push(&mut self, waker: Waker) {
        self.0.push(waker);
    }

    /// Calls the wakers. No lock is held: they run the executor's code. Says how many of them panicked; each is called
    /// all the same, for whoever waits has nothing to do with another's waker.
    pub(crate) fn fire(self) -> u64 {
        let woken = self.0.into_iter().map(|waker| panics(|| waker.wake()));
        woken.map(u64::from).sum()
    }
}

/// Whether it panics. What it panics with may panic again when it is dropped.
pub(crate) fn panics(run: impl FnOnce()) -> bool {
    let Err(payload) = catch_unwind(AssertUnwindSafe(run)) else {
        return false;
    };
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Whoever does that twice has it kept for ever.
        let _kept = std::mem::ManuallyDrop::new(another);
    }
    true
}

fn close_failed(os: OsCode) -> Cause {
    Cause {
        kind: ErrorKind::Os,
        os: Some(os),
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_small() {
        assert!(size_of::<Slot>() <= 16);
    }
}
