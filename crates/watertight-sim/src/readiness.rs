//! Calls that do not wait, and readiness, as Unix does them; and the thread for ends that can only block.
//! What an errno means and what a failed call wants next is decided by the real backend's own table.

use crate::kernel::{Flight, Job, Kernel, Stand, Way};
use crate::overlapped::joined;
use crate::pipe::Got;
use rustix::io::Errno;
use std::time::Duration;
use watertight_core::{
    Cancelled, Class, Moved, Op, OpId, OpKind, OsCode, Outcome, ReadNow, Submitted,
};
use watertight_os::classify::{Call, Next, classified, next};

/// The pauses between two questions whether the peer has read everything.
const PAUSE_FIRST: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// A storm of EINTR ends some time.
const INTERRUPTIONS_MAX: u32 = 30;

impl Kernel {
    /// write, or epoll_ctl.
    pub(crate) fn submit_readiness(&mut self, handle: usize, id: OpId, op: Op) -> Submitted {
        let job = match op {
            Op::Write(chunks) => {
                let data = joined(&chunks.into_vec());
                if let Some(outcome) = self.write_now(handle, &data) {
                    self.note(handle, id.kind, &outcome, false);
                    return Submitted::Done(outcome);
                }
                Job::Write(data)
            }
            Op::WaitReadable => Job::Readable,
            Op::UntilRead => return self.submit_until_read(handle, id),
            Op::Read { .. } => {
                let refused = Outcome::failed(Class::Unsupported, None);
                return Submitted::Done(refused);
            }
        };
        if let Some(code) = self.unix_fault(Call::Wait) {
            let (class, os) = classified(Call::Wait, code);
            let outcome = Outcome::failed(class, os);
            self.note(handle, id.kind, &outcome, false);
            return Submitted::Done(outcome);
        }
        self.take_off(id, handle, job, Stand::Waiting);
        Submitted::InFlight
    }

    /// write: what is taken at once; `None` if it would have to wait.
    pub(crate) fn write_now(&mut self, handle: usize, data: &[u8]) -> Option<Outcome> {
        let mut interruptions = 0;
        while let Some(code) = self.unix_fault(Call::Write) {
            match next(Call::Write, code) {
                Next::Again if interruptions < INTERRUPTIONS_MAX => interruptions += 1,
                Next::Again => break,
                Next::Wait => return None,
                Next::Fail(class, os) => return Some(Outcome::failed(class, os)),
            }
        }
        let at = self.ends[handle].pipe;
        if !self.pipes[at].reading {
            let (class, os) = classified(Call::Write, Errno::PIPE);
            return Some(Outcome::failed(class, os));
        }
        let mut room = self.pipes[at].room(data.len());
        if room > 0 && self.chance.one_in(self.manner.short_one_in) {
            room = self.pipes[at].shortened(room, &mut self.chance);
        }
        if room == 0 {
            return None;
        }
        self.pipes[at].push(&data[..room]);
        self.settle(at);
        Some(Outcome::Transferred(room as u64))
    }

    /// read: what is there.
    pub(crate) fn read_now_ready(&mut self, handle: usize, buf: &mut [u8]) -> ReadNow {
        let mut interruptions = 0;
        while let Some(code) = self.unix_fault(Call::Read) {
            match next(Call::Read, code) {
                Next::Again if interruptions < INTERRUPTIONS_MAX => interruptions += 1,
                Next::Again => break,
                Next::Wait => return ReadNow::Wait,
                Next::Fail(class, os) => return ReadNow::Failed(class, os),
            }
        }
        let at = self.ends[handle].pipe;
        let max = if buf.len() > 1 && self.chance.one_in(self.manner.short_one_in) {
            self.chance.length(1, buf.len())
        } else {
            buf.len()
        };
        match self.pipes[at].pull(max) {
            Got::Bytes(data, _) => {
                buf[..data.len()].copy_from_slice(&data);
                self.settle(at);
                ReadNow::Data(data.len())
            }
            Got::Empty | Got::Nothing if self.pipes[at].writing => ReadNow::Wait,
            Got::Empty | Got::Nothing if std::mem::take(&mut self.pipes[at].was_reset) => {
                let (class, os) = classified(Call::Read, Errno::CONNRESET);
                ReadNow::Failed(class, os)
            }
            Got::Empty | Got::Nothing => ReadNow::EndOfStream,
        }
    }

    pub(crate) fn submit_until_read(&mut self, handle: usize, id: OpId) -> Submitted {
        if let Some(outcome) = self.ask_until_read(handle) {
            return Submitted::Done(outcome);
        }
        let job = Job::UntilRead {
            next: self.now.after(PAUSE_FIRST),
            pause: PAUSE_FIRST,
            upto: 0,
        };
        self.take_off(id, handle, job, Stand::Waiting);
        Submitted::InFlight
    }

    /// FIONREAD and poll: read, thrown away, or not yet.
    fn ask_until_read(&mut self, handle: usize) -> Option<Outcome> {
        if let Some(code) = self.unix_fault(Call::Query) {
            let (class, os) = classified(Call::Query, code);
            return Some(Outcome::failed(class, os));
        }
        let pipe = &self.pipes[self.ends[handle].pipe];
        if pipe.unread() == 0 && !pipe.reset {
            Some(Outcome::Ready)
        } else if !pipe.reading {
            Some(Outcome::failed(Class::Gone, None))
        } else {
            None
        }
    }

    /// Whether the poller would report it.
    pub(crate) fn is_ready(&self, id: OpId) -> bool {
        let flight = &self.flights[&id];
        let end = &self.ends[flight.handle];
        if end.way == Way::Overlapped {
            return false;
        }
        let pipe = &self.pipes[end.pipe];
        match &flight.job {
            Job::Write(data) => !pipe.reading || pipe.room(data.len()) > 0,
            Job::Readable => pipe.holds_any() || !pipe.writing,
            Job::UntilRead { next, .. } => *next <= self.now,
            Job::Read(_) => false,
        }
    }

    /// Performs what waits for readiness. It is marked as running by then, and a cancel may have come meanwhile.
    pub(crate) fn perform(&mut self, id: OpId) {
        let Some(flight) = self.flights.get(&id) else {
            return;
        };
        let (handle, cancelled, job) = (flight.handle, flight.cancelled, flight.job.clone());
        let outcome = match job {
            Job::Readable => Some(Outcome::Ready),
            Job::Write(data) => self.write_now(handle, &data),
            Job::UntilRead { pause, upto, .. } => {
                let answer = self.ask_until_read(handle);
                if answer.is_none() {
                    let pause = (pause * 2).min(PAUSE_MAX);
                    let next = self.now.after(pause);
                    if let Some(flight) = self.flights.get_mut(&id) {
                        flight.job = Job::UntilRead { next, pause, upto };
                    }
                }
                answer
            }
            Job::Read(_) => None,
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None if cancelled => Outcome::cancelled(),
            None => match self.rearm(id) {
                None => return,
                Some(failed) => failed,
            },
        };
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.stand = Stand::Answered(outcome, self.now);
        }
    }

    /// epoll_ctl again: it was spurious, or somebody else was faster.
    fn rearm(&mut self, id: OpId) -> Option<Outcome> {
        let is_question = id.kind == OpKind::UntilRead;
        let fault = if is_question {
            None
        } else {
            self.unix_fault(Call::Wait)
        };
        if let Some(code) = fault {
            let (class, os) = classified(Call::Wait, code);
            return Some(Outcome::failed(class, os));
        }
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.stand = Stand::Waiting;
        }
        None
    }

    /// Takes a waiting operation out of the table; one that is just being performed hears of it.
    pub(crate) fn cancel_readiness(&mut self, id: OpId) -> Cancelled {
        let Some(flight) = self.flights.get_mut(&id) else {
            return Cancelled::Requested;
        };
        flight.cancelled = true;
        if !matches!(flight.stand, Stand::Waiting) {
            return Cancelled::Requested;
        }
        let outcome = Outcome::cancelled();
        self.land(id, &outcome);
        Cancelled::Done(outcome)
    }

    /// Whether the thread of an end that can only block has something to do.
    pub(crate) fn thread_may_step(&self) -> bool {
        self.flights
            .values()
            .any(|flight| matches!(flight.stand, Stand::Threaded(_)) && self.thread_can(flight))
    }

    /// The thread of an end that can only block does the next piece of its work. Says whether there was any.
    pub(crate) fn thread_step(&mut self) -> bool {
        let working: Vec<(OpId, usize)> = self
            .flights
            .iter()
            .filter(|(_, flight)| self.thread_can(flight))
            .filter_map(|(id, flight)| match flight.stand {
                Stand::Threaded(moved) => Some((*id, moved)),
                Stand::Answered(..) | Stand::Running | Stand::Waiting => None,
            })
            .collect();
        if working.is_empty() {
            return false;
        }
        let (id, moved) = self.chance.pick(&working);
        self.tick();
        let flight = &self.flights[&id];
        let (handle, cancelled, job) = (flight.handle, flight.cancelled, flight.job.clone());
        match job {
            Job::Write(data) => self.thread_writes(id, handle, &data, moved, cancelled),
            Job::Read(max) => self.thread_reads(id, handle, max, cancelled),
            Job::Readable | Job::UntilRead { .. } => {
                self.answer(id, Outcome::failed(Class::Unsupported, None));
            }
        }
        true
    }

    fn thread_can(&self, flight: &Flight) -> bool {
        let pipe = &self.pipes[self.ends[flight.handle].pipe];
        let moved = match flight.stand {
            Stand::Threaded(moved) => moved,
            Stand::Answered(..) | Stand::Running | Stand::Waiting => 0,
        };
        flight.cancelled
            || match &flight.job {
                Job::Write(data) => !pipe.reading || pipe.room(data.len() - moved) > 0,
                Job::Read(_) => pipe.holds_any() || !pipe.writing,
                Job::Readable | Job::UntilRead { .. } => true,
            }
    }

    fn thread_writes(
        &mut self,
        id: OpId,
        handle: usize,
        data: &[u8],
        moved: usize,
        cancelled: bool,
    ) {
        // It is called back before it blocks, never in the middle of a call.
        let outcome = if cancelled {
            Some(Outcome::cancelled())
        } else {
            self.write_now(handle, &data[moved..])
        };
        let settled = match outcome {
            None => return,
            Some(Outcome::Transferred(n)) => {
                let moved = moved + usize::try_from(n).unwrap_or(0);
                if moved < data.len() {
                    if let Some(flight) = self.flights.get_mut(&id) {
                        flight.stand = Stand::Threaded(moved);
                    }
                    return;
                }
                Outcome::Transferred(moved as u64)
            }
            Some(Outcome::Failed { class, os, .. }) => Outcome::Failed {
                class,
                os,
                moved: Moved::Exactly(moved as u64),
            },
            Some(other @ (Outcome::Data(_) | Outcome::EndOfStream | Outcome::Ready)) => other,
        };
        self.answer(id, settled);
    }

    fn thread_reads(&mut self, id: OpId, handle: usize, max: usize, cancelled: bool) {
        let mut buf = vec![0; max];
        let outcome = if cancelled {
            Outcome::cancelled()
        } else {
            match self.read_now_ready(handle, &mut buf) {
                ReadNow::Data(n) => {
                    buf.truncate(n);
                    Outcome::Data(buf.into())
                }
                ReadNow::EndOfStream => Outcome::EndOfStream,
                ReadNow::Failed(class, os) => Outcome::failed(class, os),
                ReadNow::Unavailable | ReadNow::Wait => return,
            }
        };
        self.answer(id, outcome);
    }

    /// close: the handle is gone, whatever it says.
    pub(crate) fn close_says(&mut self) -> Result<(), OsCode> {
        if self.is_windows {
            let code = self.windows_fault(watertight_os::windows::classify::Call::Close);
            return code.map_or(Ok(()), |code| Err(OsCode(code.cast_signed())));
        }
        match self.unix_fault(Call::Close) {
            None | Some(Errno::INTR) => Ok(()),
            Some(code) => Err(OsCode(code.raw_os_error())),
        }
    }
}
