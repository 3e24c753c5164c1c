//! The simulated kernel: pipes, handles, operations in flight, and time. One lock; it decides nothing for the driver.

use crate::chance::Chance;
use crate::codes::{Call, Code};
use crate::faults::Faults;
use crate::manner::Manner;
use crate::pipe::Pipe;
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::time::Duration;
use watertight_core::{Class, Completion, Key, Moment, Moved, OpId, OpKind, OsCode, Outcome};
use watertight_os::classify as unix;
use watertight_os::windows::classify as windows;

/// So many calls no run makes; a run of the seeds makes some hundred.
const EVENTS_MAX: u64 = 1_000_000;

/// How one end is served, as the real backends serve theirs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Overlapped operations and packets (Windows).
    Overlapped,
    /// Calls that do not wait, and readiness (Unix).
    Readiness,
    /// A thread that blocks in our place.
    Thread,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Read(usize),
    Readable,
    /// `upto`: a flush waits for what stands before this place of the log.
    UntilRead {
        next: Moment,
        pause: Duration,
        upto: usize,
    },
    Write(Bytes),
}

/// How far an operation is.
#[derive(Clone, Debug)]
pub(crate) enum Stand {
    /// Its answer is there and comes out at this time.
    Answered(Outcome, Moment),
    /// The backend is performing it right now.
    Running,
    /// The thread has moved so many of its bytes.
    Threaded(usize),
    /// It waits.
    Waiting,
}

/// How late an answer comes at most while a run is to end: past every stop bound of the programs.
const LATE_CALM: Duration = Duration::from_secs(6);

/// One operation in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) handle: usize,
    pub(crate) job: Job,
    pub(crate) stand: Stand,
    pub(crate) cancelled: bool,
    /// The driver asked for its cancel, whatever became of that.
    pub(crate) cancel_asked: bool,
}

/// One end that the driver was given.
#[derive(Debug)]
pub struct End {
    /// Which pipe.
    pub pipe: usize,
    /// It writes.
    pub writes: bool,
    /// How it is served.
    pub way: Way,
    /// It is closed.
    pub closed: bool,
    /// The step in which its last answer came out.
    pub(crate) landed: u64,
    /// Calls on it that have not returned.
    pub(crate) running: u32,
    /// Bytes that answers said were taken.
    pub transferred: u64,
    /// Bytes of these that were moved here from another pipe.
    pub(crate) moved: u64,
    /// The first failure that was told of it and is not benign, and in which step of the run.
    pub failed: Option<(Class, Option<OsCode>, u64)>,
    /// What its closing said.
    pub close_failed: Option<OsCode>,
    /// The peer was to see an end of the stream at its closing.
    pub end_of_stream: bool,
    /// The most bytes of one operation.
    pub(crate) op_bytes_max: usize,
    /// When its last user dropped it.
    pub(crate) dropped_at: Option<Moment>,
    /// By when a dropped end is closed, or its operations are cancelled.
    pub(crate) gone_by: Option<Moment>,
}

/// The kernel.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) now: Moment,
    /// Windows' codes for what is not asked of one end.
    pub(crate) is_windows: bool,
    pub(crate) pipes: Vec<Pipe>,
    /// Which of them are for copies that are moved on.
    pub(crate) private_pipes: Vec<usize>,
    pub(crate) ends: Vec<End>,
    pub(crate) flights: BTreeMap<OpId, Flight>,
    pub(crate) woken: bool,
    /// When the driver wants to be woken, if it waits.
    pub(crate) asleep_until: Option<Moment>,
    pub(crate) faults: Faults,
    pub(crate) manner: Manner,
    pub(crate) chance: Chance,
    /// Rules that the driver broke.
    pub(crate) wrongs: Vec<String>,
    /// Calls, answers and peers' doings so far.
    pub events: u64,
    /// The step of the run.
    pub(crate) step: u64,
    /// Every end that ever had an operation: a packet of the past may name it.
    pub(crate) past: Vec<OpId>,
    /// Which end each key means.
    keys: BTreeMap<Key, usize>,
    /// How often the waiting failed.
    pub(crate) wait_failures: u64,
    /// Somebody stopped what lingered.
    pub(crate) is_settled_by_force: bool,
    /// Everything that happens is printed.
    pub(crate) is_told: bool,
    /// The latest answer that was made late on purpose has to come by then.
    pub(crate) latest: Moment,
}

impl Kernel {
    /// A kernel without pipes.
    #[must_use]
    pub fn new(is_windows: bool, faults: Faults, manner: Manner, chance: Chance) -> Self {
        Self {
            now: Moment(1),
            is_windows,
            pipes: Vec::new(),
            private_pipes: Vec::new(),
            ends: Vec::new(),
            flights: BTreeMap::new(),
            woken: false,
            asleep_until: None,
            faults,
            manner,
            chance,
            wrongs: Vec::new(),
            events: 0,
            step: 0,
            past: Vec::new(),
            keys: BTreeMap::new(),
            wait_failures: 0,
            is_settled_by_force: false,
            is_told: false,
            latest: Moment(0),
        }
    }

    /// Gives the driver an end.
    pub fn open(&mut self, pipe: usize, writes: bool, way: Way) -> usize {
        self.ends.push(End {
            pipe,
            writes,
            way,
            closed: false,
            landed: 0,
            running: 0,
            transferred: 0,
            moved: 0,
            failed: None,
            close_failed: None,
            end_of_stream: false,
            op_bytes_max: usize::MAX,
            dropped_at: None,
            gone_by: None,
        });
        self.ends.len() - 1
    }

    /// Prints what happens, if somebody wants to read it.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>16} {}", self.now.0, what());
        }
    }

    /// The driver broke a rule.
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrongs.push(what.into());
    }

    /// A little time passes with everything that is done; now and then a lot.
    ///
    /// # Panics
    /// After far more calls than any run makes: somebody calls for ever, within one step.
    pub(crate) fn tick(&mut self) {
        self.events += 1;
        if self.events > EVENTS_MAX && !std::thread::panicking() {
            self.events = 0;
            panic!("a livelock: {EVENTS_MAX} calls in one run");
        }
        self.now.0 += self.chance.between(1, 2_000);
        if self.chance.one_in(self.manner.leap_one_in) {
            self.now = self.now.after(self.manner.leap);
        }
    }

    /// Adds an operation. O1: a pipe has one of a kind in flight.
    pub(crate) fn take_off(&mut self, id: OpId, handle: usize, job: Job, stand: Stand) {
        let end = &self.ends[handle];
        if end.closed {
            self.wrong(format!("an operation on a closed handle: {id:?}"));
        }
        let fits = match id.kind {
            OpKind::Write | OpKind::UntilRead => self.ends[handle].writes,
            OpKind::Read | OpKind::WaitReadable => !self.ends[handle].writes,
        };
        if !fits {
            self.wrong(format!("{id:?} on an end of the other direction"));
        }
        let flight = Flight {
            handle,
            job,
            stand,
            cancelled: false,
            cancel_asked: false,
        };
        if self.flights.insert(id, flight).is_some() {
            self.wrong(format!("O1: two operations in flight: {id:?}"));
        }
        if *self.keys.entry(id.pipe).or_insert(handle) != handle {
            self.wrong(format!("O6: two ends under one key: {id:?}"));
        }
        if self.past.len() < 64 && !self.past.contains(&id) {
            self.past.push(id);
        }
    }

    /// Decides when an answer comes out.
    pub(crate) fn answer(&mut self, id: OpId, outcome: Outcome) {
        let mut at = self.now;
        if self.manner.delay > Duration::ZERO {
            let most = u64::try_from(self.manner.delay.as_nanos()).unwrap_or(u64::MAX);
            at.0 += self.chance.between(0, most);
        }
        if self.chance.one_in(self.manner.late_one_in) {
            at = at.after(self.manner.late);
        }
        self.latest = self.latest.max(at);
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.stand = Stand::Answered(outcome, at);
        }
    }

    /// Answers that were to come very late come a little late, while a run is to end: questions that are asked again and again
    /// meanwhile would be taken for a livelock.
    pub(crate) fn hasten(&mut self) {
        let soon = self.now.after(LATE_CALM);
        for flight in self.flights.values_mut() {
            if let Stand::Answered(_, at) = &mut flight.stand {
                *at = soon.min(*at);
            }
        }
    }

    /// The operation is over: what the driver is told, noted for the checker.
    pub(crate) fn land(&mut self, id: OpId, outcome: &Outcome) {
        self.events += 1;
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        self.ends[flight.handle].landed = self.step;
        self.note(flight.handle, id.kind, outcome, flight.cancelled);
    }

    /// Notes what was told: the bytes, and a failure that somebody has to hear of.
    pub(crate) fn note(&mut self, handle: usize, kind: OpKind, outcome: &Outcome, cancelled: bool) {
        if let Outcome::Transferred(n)
        | Outcome::Failed {
            moved: Moved::Exactly(n),
            ..
        } = outcome
        {
            self.ends[handle].transferred += n;
        }
        let Outcome::Failed { class, os, .. } = outcome else {
            return;
        };
        let benign = cancelled && *class == Class::Aborted;
        if kind == OpKind::UntilRead || benign {
            return;
        }
        let step = self.step;
        self.ends[handle].failed.get_or_insert((*class, *os, step));
    }

    /// A fault of a Unix call.
    pub(crate) fn unix_fault(&mut self, call: unix::Call) -> Option<Errno> {
        let code = self.faults.ask(Call::Unix(call))?;
        self.tell(|| format!("  fault {call:?} {:?}", crate::codes::UNIX[code.0]));
        Some(crate::codes::UNIX[code.0])
    }

    /// A fault of a Windows call.
    pub(crate) fn windows_fault(&mut self, call: windows::Call) -> Option<u32> {
        let code: Code = self.faults.ask(Call::Windows(call))?;
        self.tell(|| format!("  fault {call:?} {}", crate::codes::WINDOWS[code.0]));
        Some(crate::codes::WINDOWS[code.0])
    }

    /// How many of `len` bytes a pipe takes at once: what fits, and what a waiting reader wants (windows-facts 2.1).
    pub(crate) fn room(&self, pipe: usize, len: usize) -> usize {
        let this = &self.pipes[pipe];
        if !this.has_quota() {
            return this.room(len);
        }
        let wants = |flight: &Flight| match (&flight.job, &flight.stand) {
            (Job::Read(most), Stand::Waiting) if self.ends[flight.handle].pipe == pipe => *most,
            _ => 0,
        };
        let wanted: usize = self.flights.values().map(wants).sum();
        (this.room(len) + wanted.saturating_sub(this.unread())).min(len)
    }

    /// What was dropped is gone by its bound: closed, or everything in flight is asked to stop.
    pub(crate) fn check_gone(&mut self) {
        for at in 0..self.ends.len() {
            let end = &self.ends[at];
            if end.closed || end.gone_by.is_none_or(|by| self.now <= by) {
                continue;
            }
            let mut held = self.flights.values().filter(|flight| flight.handle == at);
            let waits = held.clone().next().is_some();
            if !waits || held.any(|flight| !flight.cancel_asked) {
                self.wrong(format!(
                    "S7: end {at} was dropped, and is not gone by its bound"
                ));
            }
        }
    }

    /// Whether a question whether the peer has read runs on that the driver has not asked to cancel.
    pub(crate) fn asks_unheard(&self, end: usize) -> bool {
        self.flights.iter().any(|(id, flight)| {
            let waits = matches!(flight.stand, Stand::Waiting);
            let asks = id.kind == OpKind::UntilRead && flight.handle == end;
            asks && waits && !flight.cancelled
        })
    }

    /// Whether an operation of this end is in flight.
    pub(crate) fn holds(&self, end: usize) -> bool {
        self.flights.values().any(|flight| flight.handle == end)
    }

    /// The operations of one pipe, in the order of their ids.
    pub(crate) fn flights_of(&self, pipe: usize) -> Vec<OpId> {
        let of_it = |flight: &Flight| self.ends[flight.handle].pipe == pipe;
        let all = self.flights.iter().filter(|(_, flight)| of_it(flight));
        all.map(|(id, _)| *id).collect()
    }

    /// What follows from a change of a pipe, for operations that the kernel completes by itself.
    pub(crate) fn settle(&mut self, pipe: usize) {
        for id in self.pipes[pipe].answer_waiting() {
            self.complete_write(id);
        }
        for id in self.flights_of(pipe) {
            let flight = &self.flights[&id];
            if self.ends[flight.handle].way == Way::Overlapped {
                self.settle_overlapped(id);
            }
        }
        // A read may have made room.
        for id in self.pipes[pipe].answer_waiting() {
            self.complete_write(id);
        }
    }

    /// Whether the driver's thread has a reason to run.
    pub(crate) fn wants_turn(&self) -> bool {
        self.woken
            || self.asleep_until.is_some_and(|until| until <= self.now)
            || self.flights.iter().any(|(id, flight)| match &flight.stand {
                Stand::Answered(_, at) => *at <= self.now,
                Stand::Running | Stand::Threaded(_) => false,
                Stand::Waiting => self.is_ready(*id),
            })
    }

    /// When something happens by itself.
    pub(crate) fn next_event(&self) -> Option<Moment> {
        let flights = self
            .flights
            .values()
            .filter_map(|flight| match &flight.stand {
                Stand::Answered(_, at) => Some(*at),
                Stand::Waiting | Stand::Running | Stand::Threaded(_) => match flight.job {
                    Job::UntilRead { next, .. } => Some(next),
                    Job::Read(_) | Job::Readable | Job::Write(_) => None,
                },
            });
        flights.chain(self.asleep_until).min()
    }

    pub(crate) fn shut(&mut self, pipe: usize, reading_end: bool) {
        let this = &mut self.pipes[pipe];
        if reading_end {
            this.reading = false;
            this.reset = this.unread() > 0;
            this.clear();
        } else {
            this.writing = false;
        }
        self.settle(pipe);
    }

    /// Answers that are due, in any order.
    pub(crate) fn deliver(&mut self, completions: &mut Vec<Completion>) {
        let now = self.now;
        let due: Vec<OpId> = self
            .flights
            .iter()
            .filter(|(_, flight)| matches!(&flight.stand, Stand::Answered(_, at) if *at <= now))
            .map(|(id, _)| *id)
            .collect();
        let mut due = due;
        while !due.is_empty() {
            let id = due.swap_remove(self.chance.index(due.len()));
            if self.chance.one_in(self.manner.hold_back_one_in) {
                continue;
            }
            let Stand::Answered(outcome, _) = self.flights[&id].stand.clone() else {
                continue;
            };
            self.tell(|| format!("  answer {id:?}: {outcome:?}"));
            self.land(id, &outcome);
            completions.push(Completion { id, outcome });
        }
        if self.chance.one_in(self.manner.stale_one_in) {
            self.deliver_stale(completions);
        }
    }

    /// A packet that names a pipe of the past: another process, or an operation begun before an adoption, can do that.
    fn deliver_stale(&mut self, completions: &mut Vec<Completion>) {
        let Some(mut id) = (!self.past.is_empty()).then(|| self.chance.pick(&self.past)) else {
            return;
        };
        let is_reused = self
            .keys
            .keys()
            .any(|key| key.slot == id.pipe.slot && key.generation > id.pipe.generation);
        if !is_reused {
            id.pipe.generation = id.pipe.generation.wrapping_sub(1);
        }
        completions.push(Completion {
            id,
            outcome: Outcome::Failed {
                class: Class::Io,
                os: Some(OsCode(31)),
                moved: Moved::Exactly(0),
            },
        });
    }
}
