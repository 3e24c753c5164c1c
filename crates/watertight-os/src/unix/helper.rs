//! A thread for a handle that can only block: regular files, devices, and pipes or terminals that could not be reopened.
//!
//! It starts with the first operation, for most files never have one: their bytes are moved inside the kernel. It performs one operation at a
//! time. Before it blocks in a read or a write of something that can keep it waiting, it
//! waits in `poll` beside a pipe of its own, through which it can be called back; so a cancelled operation has moved
//! nothing (unless somebody else took the bytes between the two: then it blocks beyond recall, and goes into quarantine). Only a device that says "ready" and then blocks can hold it; that operation goes into quarantine.

use super::classify::{Call, Next, classified, next};
use super::handle::Kind;
use super::kernel;
use super::pseudo_terminal::is_left;
use super::sigpipe::quiet_thread;
use crate::fault::fallible;
use crate::step::{Step, StepError, step};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use watertight_core::{Cancelled, Chunks, Class, Completion, Moved, Op, OpId, Outcome, Submitted};

/// What POSIX lets a pipe take whole once `poll` says that it is writable (PIPE_BUF is at least 512; Linux's is 4096).
const STEP_BYTES_MAX: usize = 512;

/// How long a file is left alone that says "not now".
const FILE_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Where answers go, and how the poller learns of them.
pub(super) type Post = Arc<dyn Fn(Completion) + Send + Sync>;

struct Job {
    id: OpId,
    op: Op,
    fd: Arc<OwnedFd>,
    kind: Kind,
}

#[derive(Default)]
struct Slot {
    job: Option<Job>,
    quit: bool,
    /// How many jobs were begun: the number of the last one.
    begun: u64,
    /// That one is being performed.
    is_running: bool,
    /// The number of the job that is to be given up. A call for it that comes too late must not end the next one.
    called_back: u64,
}

struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
    /// Readable: the running operation is to be given up.
    recall: OwnedFd,
    post: Post,
}

/// A helper thread and the way to reach it.
pub(super) struct Helper {
    shared: Arc<Shared>,
    call: OwnedFd,
    /// None before the first operation.
    thread: OnceLock<JoinHandle<()>>,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Helper").finish_non_exhaustive()
    }
}

impl Helper {
    /// pipe: all that an operation needs besides its thread, so that a lack of descriptors refuses the adoption.
    pub(super) fn new(post: Post) -> Result<Self, StepError> {
        let (recall, call) = step(Step::CreatePipe, || {
            kernel::pipe().map_err(|code| classified(Call::Make, code))
        })?;
        let shared = Arc::new(Shared {
            slot: Mutex::default(),
            changed: Condvar::new(),
            recall,
            post,
        });
        Ok(Self {
            shared,
            call,
            thread: OnceLock::new(),
        })
    }

    /// Hands it an operation. The first one starts the thread: if none is to be had, that is the operation's failure, and nothing was read
    /// or written.
    pub(super) fn submit(&self, id: OpId, op: Op, fd: &Arc<OwnedFd>, kind: Kind) -> Submitted {
        if self.thread.get().is_none() {
            match self.start() {
                // O1: it has no operation, so nobody else starts the thread meanwhile.
                Ok(thread) => self.thread.set(thread).expect("one operation at a time"),
                Err(failed) => return Submitted::Done(Outcome::failed(failed.class, failed.os)),
            }
        }
        let job = Job {
            id,
            op,
            fd: fd.clone(),
            kind,
        };
        self.shared.lock().job = Some(job);
        self.shared.changed.notify_one();
        Submitted::InFlight
    }

    /// clone.
    fn start(&self) -> Result<JoinHandle<()>, StepError> {
        step(Step::StartHelper, || {
            let inner = self.shared.clone();
            let started = fallible("clone (helper)", Call::Make, || {
                std::thread::Builder::new()
                    .name("watertight-helper".into())
                    .spawn(move || inner.serve())
            });
            started.map_err(|error| match error.raw_os_error() {
                Some(code) => classified(Call::Make, Errno::from_raw_os_error(code)),
                None => (Class::Limit, None),
            })
        })
    }

    /// Takes an operation back that has not begun, or calls the thread back from it.
    pub(super) fn cancel(&self) -> Cancelled {
        let mut slot = self.shared.lock();
        if slot.job.take().is_some() {
            return Cancelled::Done(Outcome::cancelled());
        }
        if !slot.is_running {
            // Its answer is on its way.
            return Cancelled::Requested;
        }
        slot.called_back = slot.begun;
        drop(slot);
        loop {
            // One byte. If the pipe is full of earlier ones, the thread is being called back already; if it cannot be
            // written at all, the operation outlives its stop bound (rule S5).
            let called = fallible("write (recall)", Call::Write, || {
                rustix::io::write(&self.call, b"!")
            });
            if called != Err(Errno::INTR) {
                return Cancelled::Requested;
            }
        }
    }
}

impl Helper {
    /// In a forked child, where the thread does not exist: forgets it, and does not even detach it.
    pub(super) fn leave(mut self) {
        let _elsewhere = std::mem::ManuallyDrop::new(self.thread.take());
    }
}

impl Drop for Helper {
    /// Nothing is in flight (O4), so the thread is idle and the join is short.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.shared.lock().quit = true;
        self.shared.changed.notify_one();
        let _ = thread.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        quiet_thread();
        while let Some(job) = self.next() {
            let Job { id, op, fd, kind } = job;
            let outcome = self.perform(op, &fd, kind);
            self.lock().is_running = false;
            // The handle may be closed as soon as the answer is seen: let go of the descriptor first.
            drop(fd);
            (self.post)(Completion { id, outcome });
        }
    }

    fn next(&self) -> Option<Job> {
        let mut slot = self.lock();
        loop {
            if let Some(job) = slot.job.take() {
                slot.begun += 1;
                slot.is_running = true;
                return Some(job);
            }
            if slot.quit {
                return None;
            }
            slot = self
                .changed
                .wait(slot)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, op: Op, fd: &OwnedFd, kind: Kind) -> Outcome {
        match op {
            Op::Read { bytes_max } => self.read(fd, kind, bytes_max),
            Op::Write(chunks) => self.write(fd, kind, &chunks),
            Op::WaitReadable | Op::UntilRead => Outcome::failed(Class::Unsupported, None),
        }
    }

    /// read, after poll where it could wait. What O_DIRECT refuses is read around it.
    fn read(&self, fd: &OwnedFd, kind: Kind, bytes_max: usize) -> Outcome {
        let mut data = Vec::with_capacity(bytes_max);
        loop {
            if let Err(given_up) = self.wait_ready(fd, kind, PollFlags::IN) {
                return given_up;
            }
            let spare = rustix::buffer::spare_capacity(&mut data);
            let mut read = fallible("read", Call::Read, || rustix::io::read(fd, spare));
            if read == Err(Errno::INVAL)
                && kind == Kind::File
                && let Some(brought) = kernel::read_refused(fd.as_fd(), bytes_max)
            {
                read = brought.map(|bytes| {
                    data = bytes;
                    data.len()
                });
            }
            match read {
                Ok(0) => return Outcome::EndOfStream,
                Ok(_) => return Outcome::Data(data.into()),
                // P8: the last program has left the terminal, and all that was written to it is read.
                Err(Errno::IO) if is_left(fd, kind) => return Outcome::EndOfStream,
                Err(code) => match next(Call::Read, code) {
                    Next::Again => {}
                    // Somebody else who shares the descriptor was faster.
                    Next::Wait => {
                        if let Err(given_up) = self.pause(kind) {
                            return given_up;
                        }
                    }
                    Next::Fail(class, os) => return Outcome::failed(class, os),
                },
            }
        }
    }

    /// write, after poll where it could wait; then in steps that a ready pipe takes whole. What O_DIRECT refuses is written around it.
    fn write(&self, fd: &OwnedFd, kind: Kind, chunks: &Chunks) -> Outcome {
        // What a pipe keeps whole among several writers goes in one call.
        let is_whole = kind == Kind::Pipe && chunks.bytes() <= libc::PIPE_BUF as u64;
        let one = (is_whole && chunks.count() > 1).then(|| joined(chunks));
        let chunks = one.as_ref().unwrap_or(chunks);
        let mut moved = 0;
        for chunk in chunks.iter() {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let now = match kind {
                    // A device takes what it takes; `poll` can promise no size for it.
                    Kind::Device | Kind::File | Kind::Memory => rest,
                    Kind::Pipe if is_whole => rest,
                    Kind::LocalSocket | Kind::Pipe | Kind::Socket | Kind::Terminal => {
                        &rest[..rest.len().min(STEP_BYTES_MAX)]
                    }
                };
                match self.write_step(fd, kind, now) {
                    Ok(n) => {
                        moved += n as u64;
                        rest = &rest[n..];
                    }
                    Err(outcome) => return with_count(outcome, moved),
                }
            }
        }
        Outcome::Transferred(moved)
    }

    fn write_step(&self, fd: &OwnedFd, kind: Kind, data: &[u8]) -> Result<usize, Outcome> {
        loop {
            self.wait_ready(fd, kind, PollFlags::OUT)?;
            let mut written = fallible("write", Call::Write, || rustix::io::write(fd, data));
            if written == Err(Errno::INVAL) && kind == Kind::File {
                written = kernel::write_refused(fd.as_fd(), data).unwrap_or(written);
            }
            match written {
                // Nothing at all, and no error: a device that would have us ask for ever.
                Ok(0) => return Err(Outcome::failed(Class::Io, None)),
                Ok(n) => return Ok(n),
                Err(code) => match next(Call::Write, code) {
                    Next::Again => {}
                    Next::Wait => self.pause(kind)?,
                    Next::Fail(class, os) => return Err(Outcome::failed(class, os)),
                },
            }
        }
    }

    /// poll: until the descriptor is ready, or the operation is called back.
    fn wait_ready(&self, fd: &OwnedFd, kind: Kind, events: PollFlags) -> Result<(), Outcome> {
        if cannot_be_waited_for(kind) {
            return Ok(());
        }
        let (fd, recall) = (fd.as_fd(), self.recall.as_fd());
        let recall = PollFd::new(&recall, PollFlags::IN);
        self.poll(&mut [recall, PollFd::new(&fd, events)], None)
    }

    /// A file that says "not now" is not to be waited for, and is not asked without a pause either.
    fn pause(&self, kind: Kind) -> Result<(), Outcome> {
        if !cannot_be_waited_for(kind) {
            // `poll` does it.
            return Ok(());
        }
        let recall = self.recall.as_fd();
        self.poll(
            &mut [PollFd::new(&recall, PollFlags::IN)],
            Some(&FILE_PAUSE),
        )
    }

    /// poll, with the recall first.
    fn poll(&self, polled: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> Result<(), Outcome> {
        loop {
            let answer = fallible("poll", Call::Wait, || rustix::event::poll(polled, timeout));
            match answer {
                Ok(_) if !polled[0].revents().is_empty() => {
                    self.drain_recall();
                    let slot = self.lock();
                    if slot.called_back == slot.begun {
                        return Err(Outcome::cancelled());
                    }
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(code) => {
                    let (class, os) = classified(Call::Wait, code);
                    return Err(Outcome::failed(class, os));
                }
            }
        }
    }

    /// Takes the call out. poll said that there is one byte at least.
    fn drain_recall(&self) {
        let _ = fallible("read (recall)", Call::Read, || {
            rustix::io::read(&self.recall, &mut [0; 16])
        });
    }
}

/// `poll` says of it that it is ready, whatever it does then.
fn cannot_be_waited_for(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Memory)
}

/// All of it as one chunk.
fn joined(chunks: &Chunks) -> Chunks {
    let bytes: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| chunk.iter().copied())
        .collect();
    let mut one = Chunks::default();
    one.push(bytes.into());
    one
}

/// What was written before a failure counts (os-rules C.3: "account the count before looking at errno").
fn with_count(outcome: Outcome, moved: u64) -> Outcome {
    match outcome {
        Outcome::Failed { class, os, .. } => Outcome::Failed {
            class,
            os,
            moved: Moved::Exactly(moved),
        },
        other @ (Outcome::Data(_)
        | Outcome::EndOfStream
        | Outcome::Ready
        | Outcome::Transferred(_)) => other,
    }
}
