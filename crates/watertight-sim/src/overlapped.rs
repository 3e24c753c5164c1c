//! Overlapped operations as Windows does them: a packet for everything that was submitted, none for what was refused.
//! What a code means, and what an answer is to the core, is decided by the real backend's own tables.

use crate::kernel::{Job, Kernel, Stand};
use crate::pipe::Got;
use bytes::Bytes;
use watertight_core::{Cancelled, Class, Moved, Op, OpId, Outcome, Submitted};
use watertight_os::windows::answer;
use watertight_os::windows::classify::{Call, classified};

const SUCCESS: u32 = 0;
const BROKEN_PIPE: u32 = 109;
const NO_DATA: u32 = 232;
const NOT_CONNECTED: u32 = 233;
const MORE_DATA: u32 = 234;
const LISTENING: u32 = 536;
const ABORTED: u32 = 995;
const PENDING: u32 = 997;

impl Kernel {
    /// ReadFile, WriteFile or FlushFileBuffers.
    pub(crate) fn submit_overlapped(&mut self, handle: usize, id: OpId, op: Op) -> Submitted {
        let (call, job) = match op {
            Op::Read { bytes_max } => (Call::Read, Job::Read(bytes_max)),
            Op::Write(chunks) => (Call::Write, Job::Write(joined(&chunks.into_vec()))),
            Op::UntilRead => {
                let next = watertight_core::Moment::NEVER;
                let pause = std::time::Duration::ZERO;
                let upto = self.pipes[self.ends[handle].pipe].log().len();
                (Call::Flush, Job::UntilRead { next, pause, upto })
            }
            Op::WaitReadable => {
                let refused = Outcome::failed(Class::Unsupported, None);
                return Submitted::Done(refused);
            }
        };
        let refusal = match self.windows_fault(call) {
            Some(PENDING | MORE_DATA) => None,
            Some(code) => Some(code),
            None => self.refusal(handle, call),
        };
        if let Some(code) = refusal {
            let outcome = refused(call, code, &job);
            self.note(handle, id.kind, &outcome, false);
            return Submitted::Done(outcome);
        }
        let pipe = self.ends[handle].pipe;
        if let Job::Write(data) = &job {
            if self.room(pipe, data.len()) == data.len() {
                self.pipes[pipe].push(data);
                self.take_off(id, handle, job, Stand::Waiting);
                self.complete_write(id);
            } else {
                self.pipes[pipe].push_waiting(data, id);
                self.take_off(id, handle, job, Stand::Waiting);
            }
        } else {
            self.take_off(id, handle, job, Stand::Waiting);
        }
        self.settle(pipe);
        Submitted::InFlight
    }

    /// The code with which the call itself fails, by how the pipe stands.
    fn refusal(&self, handle: usize, call: Call) -> Option<u32> {
        let pipe = &self.pipes[self.ends[handle].pipe];
        if pipe.disconnected {
            return Some(NOT_CONNECTED);
        }
        if pipe.listening {
            return Some(LISTENING);
        }
        let ended = !pipe.writing && !pipe.holds_any();
        if call == Call::Write && !pipe.reading {
            Some(NO_DATA)
        } else if (call == Call::Flush && !pipe.reading) || (call == Call::Read && ended) {
            Some(BROKEN_PIPE)
        } else {
            None
        }
    }

    /// The kernel has taken a write whole, and says so, or says something else.
    pub(crate) fn complete_write(&mut self, id: OpId) {
        let Some(Job::Write(data)) = self.flights.get(&id).map(|flight| flight.job.clone()) else {
            return;
        };
        let len = data.len() as u64;
        let code = self.windows_fault(Call::Write).unwrap_or(SUCCESS);
        let outcome = answer::write(code, len, len, Moved::Unknown);
        self.answer(id, outcome);
    }

    /// Looks whether a waiting operation is over by now.
    pub(crate) fn settle_overlapped(&mut self, id: OpId) {
        let flight = &self.flights[&id];
        if !matches!(flight.stand, Stand::Waiting) {
            return;
        }
        let job = flight.job.clone();
        let at = self.ends[flight.handle].pipe;
        let pipe = &self.pipes[at];
        let (disconnected, reading, writing) = (pipe.disconnected, pipe.reading, pipe.writing);
        match job {
            Job::Write(data) if disconnected || !reading => {
                let code = if disconnected {
                    NOT_CONNECTED
                } else {
                    BROKEN_PIPE
                };
                self.pipes[at].remove_waiting(id);
                let outcome = answer::write(code, 0, data.len() as u64, Moved::Unknown);
                self.answer(id, outcome);
            }
            Job::Read(_) if disconnected => {
                self.answer(id, answer::read(NOT_CONNECTED, Bytes::new(), false));
            }
            Job::Read(bytes_max) if pipe.holds_any() => self.complete_read(id, at, bytes_max),
            Job::Read(_) if !writing => {
                self.answer(id, answer::read(BROKEN_PIPE, Bytes::new(), false));
            }
            Job::UntilRead { upto, .. } => self.settle_flush(id, at, upto),
            Job::Read(_) | Job::Readable | Job::Write(_) => {}
        }
    }

    fn complete_read(&mut self, id: OpId, at: usize, bytes_max: usize) {
        let fault = self.windows_fault(Call::Read);
        if let Some(code) = fault.filter(|code| *code != MORE_DATA) {
            // It failed, and took nothing out.
            self.answer(id, answer::read(code, Bytes::new(), false));
            return;
        }
        let max = if self.chance.one_in(self.manner.short_one_in) {
            self.chance.length(1, bytes_max)
        } else {
            bytes_max
        };
        let (data, goes_on) = match self.pipes[at].pull(max) {
            Got::Bytes(data, goes_on) => (data, goes_on),
            Got::Empty | Got::Nothing => (Vec::new(), false),
        };
        let code = if goes_on {
            MORE_DATA
        } else {
            fault.unwrap_or(SUCCESS)
        };
        self.answer(id, answer::read(code, data.into(), false));
    }

    /// It waits for what was there when it began , not for what came later.
    fn settle_flush(&mut self, id: OpId, at: usize, upto: usize) {
        let pipe = &self.pipes[at];
        let code = if pipe.disconnected {
            NOT_CONNECTED
        } else if !pipe.reading {
            BROKEN_PIPE
        } else if pipe.holds_before(upto) {
            return;
        } else {
            self.windows_fault(Call::Flush).unwrap_or(SUCCESS)
        };
        let outcome = if code == SUCCESS {
            Outcome::Ready
        } else {
            let (class, os) = classified(Call::Flush, code);
            Outcome::failed(class, os)
        };
        self.answer(id, outcome);
    }

    /// CancelIoEx: wins, comes too late, or is not heard.
    pub(crate) fn cancel_overlapped(&mut self, id: OpId) -> Cancelled {
        let fault = self.windows_fault(Call::Cancel);
        let deaf = self.chance.one_in(self.manner.deaf_one_in);
        let Some(flight) = self.flights.get_mut(&id) else {
            return Cancelled::Requested;
        };
        flight.cancelled = true;
        if fault.is_some() || deaf || !matches!(flight.stand, Stand::Waiting) {
            return Cancelled::Requested;
        }
        let at = self.ends[flight.handle].pipe;
        let outcome = match flight.job.clone() {
            Job::Write(data) => {
                // The whole entry goes, also what of it was read: nobody can say how much that is.
                self.pipes[at].remove_waiting(id);
                answer::write(ABORTED, 0, data.len() as u64, Moved::Unknown)
            }
            Job::Read(_) | Job::Readable => answer::read(ABORTED, Bytes::new(), false),
            Job::UntilRead { .. } => {
                let (class, os) = classified(Call::Flush, ABORTED);
                Outcome::failed(class, os)
            }
        };
        self.answer(id, outcome);
        self.settle(at);
        Cancelled::Requested
    }
}

/// The answer of a call that failed by itself: nothing was pending, nothing moved.
fn refused(call: Call, code: u32, job: &Job) -> Outcome {
    match job {
        Job::Write(data) => answer::write(code, 0, data.len() as u64, Moved::Exactly(0)),
        Job::Read(_) | Job::Readable => answer::read(code, Bytes::new(), false),
        Job::UntilRead { .. } => {
            let (class, os) = classified(call, code);
            Outcome::failed(class, os)
        }
    }
}

/// Bytes in one piece.
pub(crate) fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [only] => only.clone(),
        several => several.concat().into(),
    }
}
