//! The seam: the simulated kernel as the driver sees it. Between any two moments of a call another thread may run.

use crate::kernel::{Flight, Job, Kernel, Stand, Way};
use crate::world::preempt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watertight_core::{
    Backend, Cancelled, Class, Completion, Moment, MoveNow, MoveScope, Op, OpId, OpKind, OsCode,
    Outcome, ReadNow, Submitted, WriteNow,
};

/// A simulated kernel behind the driver's seam.
#[derive(Debug)]
pub struct Sim(Mutex<Kernel>);

/// One end of a simulated pipe.
#[derive(Debug)]
pub struct SimHandle(pub usize);

impl Sim {
    /// That kernel.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self(Mutex::new(kernel))
    }

    /// Looks into the kernel.
    pub fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call on a handle begins; it must be open.
    fn enter(&self, handle: usize, what: &str) {
        let mut kernel = self.lock();
        kernel.tick();
        if kernel.ends[handle].closed {
            kernel.wrong(format!("{what} on a closed handle"));
        }
        kernel.ends[handle].running += 1;
    }

    fn leave(&self, handle: usize) {
        self.lock().ends[handle].running -= 1;
    }

    /// Performs what is ready, one after the other, with the lock released in between: a cancel may meet it running.
    fn perform_ready(&self) {
        let ready: Vec<OpId> = {
            let mut kernel = self.lock();
            let ids: Vec<OpId> = kernel.flights.keys().copied().collect();
            let spurious = kernel.manner.spurious_one_in;
            ids.into_iter()
                .filter(|id| {
                    let waits = matches!(kernel.flights[id].stand, Stand::Waiting)
                        && kernel.ends[kernel.flights[id].handle].way != Way::Overlapped;
                    waits && (kernel.is_ready(*id) || kernel.chance.one_in(spurious))
                })
                .collect()
        };
        for id in ready {
            let marked = mark_running(&mut self.lock(), id);
            if marked {
                preempt();
                self.lock().perform(id);
            }
        }
    }
}

fn mark_running(kernel: &mut Kernel, id: OpId) -> bool {
    match kernel.flights.get_mut(&id) {
        Some(Flight {
            stand: stand @ Stand::Waiting,
            ..
        }) => {
            *stand = Stand::Running;
            true
        }
        _ => false,
    }
}

impl Backend for Sim {
    type Handle = SimHandle;

    fn now(&self) -> Moment {
        let mut kernel = self.lock();
        kernel.tick();
        kernel.now
    }

    fn submit(&self, handle: &Arc<SimHandle>, id: OpId, op: Op) -> Submitted {
        self.enter(handle.0, "submit");
        preempt();
        let submitted = {
            let mut kernel = self.lock();
            check_bounds(&mut kernel, handle.0, &op);
            match kernel.ends[handle.0].way {
                Way::Overlapped => kernel.submit_overlapped(handle.0, id, op),
                Way::Readiness => kernel.submit_readiness(handle.0, id, op),
                Way::Thread => submit_threaded(&mut kernel, handle.0, id, op),
            }
        };
        self.lock()
            .tell(|| format!("  submit {id:?}: {submitted:?}"));
        // The answer can overtake the return of this call.
        preempt();
        self.leave(handle.0);
        submitted
    }

    fn read_now(&self, handle: &SimHandle, buf: &mut [u8]) -> ReadNow {
        self.enter(handle.0, "read");
        preempt();
        let now = {
            let mut kernel = self.lock();
            match kernel.ends[handle.0].way {
                Way::Overlapped | Way::Thread => ReadNow::Unavailable,
                Way::Readiness => {
                    let now = kernel.read_now_ready(handle.0, buf);
                    if let ReadNow::Failed(class, os) = now {
                        let outcome = Outcome::failed(class, os);
                        kernel.note(handle.0, OpKind::Read, &outcome, false);
                    }
                    now
                }
            }
        };
        self.lock()
            .tell(|| format!("  read of end {}: {now:?}", handle.0));
        preempt();
        self.leave(handle.0);
        now
    }

    fn write_now(&self, handle: &SimHandle, data: &[u8]) -> WriteNow {
        self.enter(handle.0, "write");
        preempt();
        let now = {
            let mut kernel = self.lock();
            match kernel.ends[handle.0].way {
                Way::Overlapped | Way::Thread => WriteNow::Unavailable,
                Way::Readiness => match kernel.write_now(handle.0, data) {
                    None => WriteNow::Wait,
                    Some(outcome) => {
                        kernel.note(handle.0, OpKind::Write, &outcome, false);
                        match outcome {
                            Outcome::Transferred(bytes) => WriteNow::Transferred(bytes),
                            Outcome::Failed { class, os, .. } => WriteNow::Failed(class, os),
                            Outcome::Data(_) | Outcome::EndOfStream | Outcome::Ready => {
                                panic!("a write is answered as a write")
                            }
                        }
                    }
                },
            }
        };
        self.lock()
            .tell(|| format!("  write of end {}: {now:?}", handle.0));
        preempt();
        self.leave(handle.0);
        now
    }

    fn move_now(
        &self,
        from: &SimHandle,
        to: &SimHandle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        self.enter(from.0, "move out");
        self.enter(to.0, "move in");
        preempt();
        let moved = {
            let mut kernel = self.lock();
            check_alone(&mut kernel, from.0, to.0);
            kernel.move_now(from.0, to.0, bytes_max, scope)
        };
        self.lock()
            .tell(|| format!("  move from end {} to end {}: {moved:?}", from.0, to.0));
        preempt();
        self.leave(to.0);
        self.leave(from.0);
        moved
    }

    fn private_pipe(&self, from: &SimHandle, _everywhere: bool) -> Option<(SimHandle, SimHandle)> {
        self.enter(from.0, "a question");
        preempt();
        let made = self.lock().private_pipe(from.0);
        preempt();
        self.leave(from.0);
        made.map(|(out, into)| (SimHandle(out), SimHandle(into)))
    }

    fn duplicate_now(
        &self,
        from: &SimHandle,
        into: &SimHandle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        self.enter(from.0, "a copy out");
        self.enter(into.0, "a copy in");
        preempt();
        let copied = {
            let mut kernel = self.lock();
            check_alone(&mut kernel, from.0, into.0);
            kernel.duplicate_now(from.0, into.0, bytes_max, scope)
        };
        self.lock()
            .tell(|| format!("  copy from end {} to end {}: {copied:?}", from.0, into.0));
        preempt();
        self.leave(into.0);
        self.leave(from.0);
        copied
    }

    fn who_waits(&self, from: &SimHandle, to: &SimHandle) -> MoveNow {
        self.enter(from.0, "a question");
        self.enter(to.0, "a question");
        // Its peers may have been faster than the question.
        preempt();
        let answer = {
            let mut kernel = self.lock();
            check_alone(&mut kernel, from.0, to.0);
            kernel.who_waits(from.0)
        };
        self.lock()
            .tell(|| format!("  who waits, end {} or {}: {answer:?}", from.0, to.0));
        preempt();
        self.leave(to.0);
        self.leave(from.0);
        answer
    }

    /// Whatever a thread serves passes for one.
    fn is_file(&self, handle: &SimHandle) -> bool {
        self.lock().ends[handle.0].way == Way::Thread
    }

    fn cancel(&self, handle: &Arc<SimHandle>, id: OpId) -> Cancelled {
        self.enter(handle.0, "cancel");
        preempt();
        let cancelled = {
            let mut kernel = self.lock();
            if let Some(flight) = kernel.flights.get_mut(&id) {
                flight.cancel_asked = true;
            }
            match kernel.ends[handle.0].way {
                Way::Overlapped => kernel.cancel_overlapped(id),
                Way::Readiness => kernel.cancel_readiness(id),
                Way::Thread => cancel_threaded(&mut kernel, id),
            }
        };
        self.lock()
            .tell(|| format!("  cancel {id:?}: {cancelled:?}"));
        preempt();
        self.leave(handle.0);
        cancelled
    }

    fn close(&self, handle: Arc<SimHandle>, end_of_stream: bool) -> Result<(), OsCode> {
        let Some(SimHandle(handle)) = Arc::into_inner(handle) else {
            self.lock()
                .wrong("O4: a handle is closed that somebody still uses");
            return Ok(());
        };
        preempt();
        let mut kernel = self.lock();
        kernel.tick();
        let end = &kernel.ends[handle];
        let (pipe, writes) = (end.pipe, end.writes);
        if end.closed {
            kernel.wrong("a handle is closed twice");
        }
        if kernel.ends[handle].running > 0 {
            kernel.wrong("O4: a handle is closed under a running call");
        }
        if kernel
            .flights
            .values()
            .any(|flight| flight.handle == handle)
        {
            kernel.wrong("O4: a handle is closed with an operation in flight");
        }
        kernel.ends[handle].closed = true;
        kernel.ends[handle].end_of_stream = end_of_stream;
        kernel.shut(pipe, !writes);
        let said = kernel.close_says();
        kernel.ends[handle].close_failed = said.err();
        kernel.tell(|| format!("  close end {handle}: {said:?}"));
        drop(kernel);
        preempt();
        said
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        {
            let mut kernel = self.lock();
            kernel.asleep_until = until;
            // Whoever wakes it from here on, also before it sleeps, has it look again.
            kernel.woken = false;
        }
        preempt();
        {
            let mut kernel = self.lock();
            kernel.tick();
            if let Some(code) = wait_fails(&mut kernel) {
                kernel.wait_failures += 1;
                // Whoever woke it is not forgotten by a wait that failed.
                return Err(code);
            }
        }
        self.perform_ready();
        self.lock().deliver(completions);
        preempt();
        Ok(())
    }

    fn joins_after(&self) -> Option<u16> {
        let kernel = self.lock();
        // On Windows waits are too coarse.
        kernel.manner.joins_after.filter(|_| !kernel.is_windows)
    }

    fn rest(&self, duration: Duration) {
        let mut kernel = self.lock();
        kernel.now = kernel.now.after(duration);
        // It comes back to wait by itself.
        kernel.asleep_until = Some(kernel.now);
    }

    fn wake(&self) {
        self.lock().woken = true;
        preempt();
    }
}

/// epoll_wait or GetQueuedCompletionStatusEx; EINTR and a timeout are no failures.
fn wait_fails(kernel: &mut Kernel) -> Option<OsCode> {
    if kernel.is_windows {
        let call = watertight_os::windows::classify::Call::Wait;
        let code = kernel.windows_fault(call)?;
        return (code != WAIT_TIMEOUT).then_some(OsCode(code.cast_signed()));
    }
    let code = kernel.unix_fault(watertight_os::classify::Call::Wait)?;
    (code != rustix::io::Errno::INTR).then(|| OsCode(code.raw_os_error()))
}

/// No operation is larger than was asked for: that is what a cancelled write leaves in doubt, and what is read ahead.
fn check_bounds(kernel: &mut Kernel, handle: usize, op: &Op) {
    let most = kernel.ends[handle].op_bytes_max as u64;
    match op {
        Op::Write(chunks) if chunks.count() == 0 || chunks.count() > GATHER_MAX => {
            kernel.wrong(format!("a write of {} chunks", chunks.count()));
        }
        Op::Write(chunks) if chunks.bytes() == 0 || chunks.bytes() > most => {
            kernel.wrong(format!("S5: a write of {} bytes", chunks.bytes()));
        }
        Op::Read { bytes_max } if *bytes_max == 0 || *bytes_max as u64 > most => {
            kernel.wrong(format!("a read of {bytes_max} bytes"));
        }
        Op::Read { .. } | Op::WaitReadable | Op::UntilRead | Op::Write(_) => {}
    }
}

/// While bytes are moved, nobody else reads the one end and nobody else writes the other.
fn check_alone(kernel: &mut Kernel, from: usize, to: usize) {
    let ends = [
        (from, [OpKind::Read, OpKind::WaitReadable]),
        (to, [OpKind::Write, OpKind::UntilRead]),
    ];
    let is_in_flight = ends.iter().any(|(end, kinds)| {
        let mut flights = kernel.flights.iter();
        flights.any(|(id, flight)| flight.handle == *end && kinds.contains(&id.kind))
    });
    if is_in_flight || kernel.ends[from].running > 1 || kernel.ends[to].running > 1 {
        kernel.wrong(format!("a move from end {from} to end {to} is not alone"));
    }
}

/// What `writev` takes everywhere.
const GATHER_MAX: usize = 1024;

const WAIT_TIMEOUT: u32 = 258;

fn submit_threaded(kernel: &mut Kernel, handle: usize, id: OpId, op: Op) -> Submitted {
    let job = match op {
        Op::Write(chunks) => Job::Write(crate::overlapped::joined(&chunks.into_vec())),
        Op::Read { bytes_max } => Job::Read(bytes_max),
        // That is asked, not waited for: the thread is not needed.
        Op::UntilRead => return kernel.submit_until_read(handle, id),
        Op::WaitReadable => {
            let refused = Outcome::failed(Class::Unsupported, None);
            return Submitted::Done(refused);
        }
    };
    kernel.take_off(id, handle, job, Stand::Threaded(0));
    Submitted::InFlight
}

/// The thread is called back; a device that blocks does not hear it.
fn cancel_threaded(kernel: &mut Kernel, id: OpId) -> Cancelled {
    if id.kind == OpKind::UntilRead {
        return kernel.cancel_readiness(id);
    }
    let deaf = kernel.chance.one_in(kernel.manner.deaf_one_in);
    if let Some(flight) = kernel.flights.get_mut(&id)
        && !deaf
    {
        flight.cancelled = true;
    }
    Cancelled::Requested
}
