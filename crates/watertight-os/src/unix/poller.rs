//! The backend: try first, wait for readiness only after EAGAIN, and turn readiness into completions.
//!
//! An operation in flight is an entry in our own table, so a cancel is exact: whoever takes the entry out answers for it.
//! Readiness comes through `epoll.rs` or `kqueue.rs`, one-shot, by a number of our own and never by the descriptor's.

use super::OsHandle;
use super::calls::{close, end_stream, lock, nothing_read, notify, write_now, write_slices};
use super::classify::{Call, Next, classified, next};
use super::duplicating;
use super::fork::Birth;
use super::handle::{self, Handle};
use super::helper::{Helper, Post};
use super::kernel::{self, Features};
use super::moving;
use super::passing::{Passing, is_passing, is_short_of_memory};
use super::readiness::{Events, Poller};
use super::until_read::{self, Questions};
use crate::fault::fallible;
use crate::step::{Direction, Refused, Step, StepError, step};
use rustix::event::PollFlags;
use rustix::io::{Errno, IoSlice};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use table::{Armed, Table};
use watertight_core::{
    Backend, Cancelled, Chunks, Class, Completion, Moment, MoveNow, MoveScope, Op, OpId, OpKind,
    OsCode, Outcome, ReadNow, Submitted, WriteNow,
};

mod again;
mod forked;
mod table;

/// So many small messages go by themselves after a pause: what comes in a handful is with its reader as soon as ever.
const JOINS_AFTER: u16 = 16;

/// To how much a pipe is enlarged: `cat` and its like write so much at once, and measured, more does not pay.
const ENLARGED_BYTES: u64 = 128 * 1024;

/// What helper threads have answered.
#[derive(Default)]
struct Posted(Mutex<Vec<Completion>>);

/// The kernel.
pub struct Native {
    poller: Arc<Poller>,
    armed: Mutex<Table>,
    asking: Questions,
    passing: Mutex<Vec<Passing>>,
    events: Mutex<Events>,
    posted: Arc<Posted>,
    post: Post,
    pub(super) features: Features,
    next_key: AtomicUsize,
    start: Instant,
    birth: Birth,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

impl Native {
    /// epoll_create or kqueue, and a look at what this kernel can.
    ///
    /// # Errors
    /// Out of descriptors. Nothing is left behind.
    pub fn new() -> Result<Self, StepError> {
        let (poller, features) = step(Step::CreatePoller, || {
            let poller = fallible("epoll_create", Call::Make, Poller::new)
                .map_err(|code| classified(Call::Make, code))?;
            let features = kernel::probe().map_err(|code| classified(Call::Make, code))?;
            Ok((Arc::new(poller), features))
        })?;
        let posted = Arc::new(Posted::default());
        let (to, waker) = (posted.clone(), poller.clone());
        let post: Post = Arc::new(move |completion| {
            lock(&to.0).push(completion);
            notify(&waker);
        });
        Ok(Self {
            poller,
            armed: Mutex::default(),
            asking: Questions::default(),
            passing: Mutex::default(),
            events: Mutex::new(Events::new()),
            posted,
            post,
            features,
            next_key: AtomicUsize::new(0),
            start: Instant::now(),
            birth: Birth::here(),
        })
    }

    /// As on a kernel that can do no more than this.
    #[cfg(test)]
    pub(super) fn with_features(features: Features) -> Result<Self, StepError> {
        let mut native = Self::new()?;
        native.features = features;
        Ok(native)
    }

    /// As while the driver's thread performs the operation that waits on this handle.
    #[cfg(test)]
    pub(super) fn mark_running(&self, handle: &Handle) {
        let table = lock(&self.armed);
        let armed = table.armed(handle.poll_key).expect("in flight");
        armed.is_running.set(true);
    }

    #[cfg(test)]
    pub(super) fn post(&self) -> Post {
        self.post.clone()
    }

    /// Takes over a descriptor.
    ///
    /// # Errors
    /// The failing step, and the descriptor, untouched.
    pub fn adopt(&self, fd: OsHandle, direction: Direction) -> Result<Handle, Refused> {
        self.adopt_one(fd, direction, false)
    }

    /// As [`adopt`](Self::adopt), for a pipe or a socket whose open file description nobody else has: a pipe may get O_NONBLOCK.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_unshared(&self, fd: OsHandle, direction: Direction) -> Result<Handle, Refused> {
        self.adopt_one(fd, direction, true)
    }

    fn adopt_one(
        &self,
        fd: OsHandle,
        direction: Direction,
        is_unshared: bool,
    ) -> Result<Handle, Refused> {
        let helper = || Helper::new(self.post.clone());
        match self.key() {
            Ok(key) => handle::adopt(fd, direction, is_unshared, self.features, key, helper),
            Err(error) => Err(Refused { error, handle: fd }),
        }
    }

    /// Gives a descriptor back, out of the poller and in the state it came in. Nothing is in flight.
    #[must_use]
    pub fn release(&self, handle: Handle) -> OsHandle {
        self.deregister(&handle);
        handle.into_os()
    }

    /// The next number for the poller. None comes twice, so that no late readiness reaches another handle: on 32 bits they are
    /// used up after 2^32 adoptions.
    pub(super) fn key(&self) -> Result<usize, StepError> {
        // The largest number is the poller's own.
        let next = |key: usize| (key < usize::MAX - 1).then_some(key + 1);
        step(Step::TakeNumber, || {
            self.next_key
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
                .map_err(|_| (Class::Limit, None))
        })
    }

    /// pwritev2 or sendmsg at once; the poller only after EAGAIN.
    fn submit_write(&self, handle: &Arc<Handle>, id: OpId, chunks: Chunks) -> Submitted {
        match write_now(handle, &chunks) {
            Some(outcome) if is_passing(handle, &outcome) => {
                lock(&self.passing).push(Passing::new(id, handle.clone(), chunks));
                self.wake();
                Submitted::InFlight
            }
            Some(outcome) => Submitted::Done(outcome),
            None => self.arm(id, handle, Some(chunks)),
        }
    }

    fn submit_until_read(&self, handle: &Arc<Handle>, id: OpId) -> Submitted {
        if let Some(outcome) = until_read::ask(handle) {
            return Submitted::Done(outcome);
        }
        self.asking.add(id, handle.clone());
        self.wake();
        Submitted::InFlight
    }

    /// epoll_ctl: waits for readiness, once. The table keeps the only reference to the handle that an operation has, and
    /// its lock is held, so that nobody closes the handle while it is being registered.
    fn arm(&self, id: OpId, handle: &Arc<Handle>, chunks: Option<Chunks>) -> Submitted {
        self.arm_in(&mut lock(&self.armed), id, handle, chunks)
    }

    fn arm_in(
        &self,
        table: &mut Table,
        id: OpId,
        handle: &Arc<Handle>,
        chunks: Option<Chunks>,
    ) -> Submitted {
        match self.register(table.add(id, handle, chunks)) {
            Ok(()) => Submitted::InFlight,
            Err(code) => {
                drop(table.remove(handle.poll_key));
                let (class, os) = classified(Call::Wait, code);
                Submitted::Done(Outcome::failed(class, os))
            }
        }
    }

    /// epoll_ctl; called again if it was interrupted (rule E1).
    fn register(&self, armed: &Armed) -> Result<(), Errno> {
        loop {
            match self.register_once(armed) {
                Err(Errno::INTR) => {}
                answer => return answer,
            }
        }
    }

    fn register_once(&self, armed: &Armed) -> Result<(), Errno> {
        let (handle, interest) = (&armed.handle, armed.interest());
        let (fd, key) = (handle.waited_on(), handle.poll_key);
        if handle.is_registered() {
            return fallible("EPOLL_CTL_MOD", Call::Wait, || {
                self.poller.modify(fd, key, interest)
            });
        }
        fallible("EPOLL_CTL_ADD", Call::Wait, || {
            // SAFETY: the descriptor belongs to `handle`, which leaves the poller before it is closed or given away (`close`,
            // `release`); nobody else registers it.
            unsafe { self.poller.add(fd, key, interest) }
        })?;
        handle.registered.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes a handle out of the poller. Before it is closed or given away: a description that lives on elsewhere would
    /// keep the entry, under a dead number.
    fn deregister(&self, handle: &Handle) {
        if handle.is_registered() && !self.birth.is_elsewhere() {
            let _ = fallible("EPOLL_CTL_DEL", Call::Wait, || {
                self.poller.delete(handle.waited_on())
            });
            handle.registered.store(false, Ordering::Release);
        }
    }

    /// A descriptor is ready: performs the operation that waits for it, with the table's lock released.
    fn handle_ready(&self, key: usize, completions: &mut Vec<Completion>) {
        let Some((id, handle, chunks)) = lock(&self.armed).run(key) else {
            // A cancelled operation's readiness.
            return;
        };
        let done = match &chunks {
            None => Some(Outcome::Ready),
            Some(chunks) => write_now(&handle, chunks),
        };
        let is_passing = done.as_ref().is_some_and(|done| is_passing(&handle, done));
        drop(handle);
        if is_passing && self.put_off(key) {
            return;
        }
        if let Some(outcome) = self.settle_ready(key, done) {
            completions.push(Completion { id, outcome });
        }
    }

    /// The operation is answered, or waits again. Either way a cancel that came meanwhile has its answer.
    pub(super) fn settle_ready(&self, key: usize, done: Option<Outcome>) -> Option<Outcome> {
        let mut table = lock(&self.armed);
        let armed = table
            .armed(key)
            .expect("a running operation is taken out only here");
        armed.is_running.set(false);
        let outcome = match done {
            Some(outcome) => outcome,
            None if armed.is_cancelled.get() => Outcome::cancelled(),
            // Spurious, or somebody else was faster.
            None => match self.register(armed) {
                Ok(()) => return None,
                Err(code) => {
                    let (class, os) = classified(Call::Wait, code);
                    Outcome::failed(class, os)
                }
            },
        };
        // O4: the handle may be closed as soon as the answer is seen, so let go of it first.
        let removed = table.remove(key);
        drop(table);
        drop(removed);
        Some(outcome)
    }

    /// The running operation of this key waits for memory now, unless a cancel came meanwhile.
    fn put_off(&self, key: usize) -> bool {
        let mut table = lock(&self.armed);
        let armed = table.armed(key);
        if armed.is_none_or(|armed| armed.is_cancelled.get()) {
            return false;
        }
        let (armed, chunks) = table.remove(key).expect("it was just there");
        let chunks = chunks.expect("only a write is short of memory");
        // Under the table's lock: a cancel finds it in one place or the other.
        lock(&self.passing).push(Passing::new(armed.id, armed.handle, chunks));
        true
    }

    fn poll(
        &self,
        deadline: Option<Instant>,
        completions: &mut Vec<Completion>,
    ) -> Result<(), OsCode> {
        let mut events = lock(&self.events);
        let timeout = deadline.map(|due| due.saturating_duration_since(Instant::now()));
        let waited = fallible("epoll_wait", Call::Wait, || {
            self.poller.wait(&mut events, timeout)
        });
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(code) => return Err(OsCode(code.raw_os_error())),
        }
        for key in events.keys() {
            self.handle_ready(key, completions);
        }
        Ok(())
    }
}

impl Backend for Native {
    type Handle = Handle;

    fn now(&self) -> Moment {
        Moment::default().after(self.start.elapsed())
    }

    fn submit(&self, handle: &Arc<Handle>, id: OpId, op: Op) -> Submitted {
        if self.birth.is_elsewhere() {
            // A forked child: the pipe is the parent's.
            return Submitted::Done(Outcome::failed(Class::WrongProcess, None));
        }
        match (handle.helped(), op) {
            (_, Op::UntilRead) => self.submit_until_read(handle, id),
            (Some(helped), op) => helped.helper.submit(id, op, &helped.fd, handle.kind()),
            (None, Op::Write(chunks)) => self.submit_write(handle, id, chunks),
            (None, Op::WaitReadable) => self.arm(id, handle, None),
            (None, Op::Read { .. }) => Submitted::Done(Outcome::failed(Class::Unsupported, None)),
        }
    }

    fn read_now(&self, handle: &Handle, buf: &mut [u8]) -> ReadNow {
        if self.birth.is_elsewhere() {
            return ReadNow::Failed(Class::WrongProcess, None);
        }
        loop {
            return match handle.read_now(buf) {
                None => ReadNow::Unavailable,
                Some(Ok(0)) => nothing_read(handle),
                Some(Ok(n)) => ReadNow::Data(n),
                Some(Err(code)) => match next(Call::Read, code) {
                    Next::Again => continue,
                    Next::Wait => ReadNow::Wait,
                    Next::Fail(class, os) => {
                        if class == Class::Reset {
                            until_read::note_reset(handle);
                        }
                        ReadNow::Failed(class, os)
                    }
                },
            };
        }
    }

    fn write_now(&self, handle: &Handle, data: &[u8]) -> WriteNow {
        if handle.helped().is_some() || self.birth.is_elsewhere() {
            return WriteNow::Unavailable;
        }
        let answer = write_slices(handle, &[IoSlice::new(data)]);
        if let WriteNow::Failed(_, os) = answer
            && is_short_of_memory(handle, os)
        {
            // A lack of memory is waited out with an operation.
            return WriteNow::Wait;
        }
        answer
    }

    fn move_now(&self, from: &Handle, to: &Handle, bytes_max: usize, scope: MoveScope) -> MoveNow {
        if self.birth.is_elsewhere() {
            return MoveNow::Unavailable;
        }
        moving::move_now(from, to, bytes_max, scope)
    }

    fn private_pipe(&self, from: &Handle, everywhere: bool) -> Option<(Handle, Handle)> {
        if self.birth.is_elsewhere() {
            return None;
        }
        duplicating::private_pipe(self, from, everywhere)
    }

    fn duplicate_now(
        &self,
        from: &Handle,
        into: &Handle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        if self.birth.is_elsewhere() {
            return MoveNow::Unavailable;
        }
        duplicating::duplicate_now(from, into, bytes_max, scope)
    }

    fn joins_after(&self) -> Option<u16> {
        self.poller.has_fine_clock().then_some(JOINS_AFTER)
    }

    fn who_waits(&self, from: &Handle, _to: &Handle) -> MoveNow {
        moving::who_waits(from)
    }

    fn block_until_readable(&self, handle: &Handle, timeout: Option<Duration>) -> bool {
        handle.helped().is_none() && kernel::block_until(handle.waited_on(), PollFlags::IN, timeout)
    }

    fn block_until_writable(&self, handles: &[&Handle], timeout: Option<Duration>) -> bool {
        // A pipe that a helper writes to is idle now, and can be waited for like any other.
        let can_wait =
            |handle: &&Handle| handle.kind() == handle::Kind::Pipe || handle.is_socket_kind();
        if !handles.iter().all(can_wait) {
            return false;
        }
        match handles {
            [] => false,
            [one] => kernel::block_until(one.waited_on(), PollFlags::OUT, timeout),
            several => {
                let fds: Vec<_> = several.iter().map(|handle| handle.waited_on()).collect();
                kernel::block_until_any(&fds, PollFlags::OUT, timeout)
            }
        }
    }

    fn yield_now(&self) -> Option<Duration> {
        let before = self.now();
        std::thread::yield_now();
        Some(before.until(self.now()))
    }

    fn may_spin(&self) -> bool {
        kernel::may_spin()
    }

    fn enlarge(&self, handle: &Handle) {
        // O13: whoever made it larger than that had a reason.
        let is_small = |bytes| bytes < ENLARGED_BYTES;
        if !self.birth.is_elsewhere() && handle.capacity().is_some_and(is_small) {
            handle.set_capacity(ENLARGED_BYTES);
        }
    }

    fn cancel(&self, handle: &Arc<Handle>, id: OpId) -> Cancelled {
        if self.birth.is_elsewhere() {
            self.forget_elsewhere(handle, id);
            return Cancelled::Done(Outcome::cancelled());
        }
        if id.kind == OpKind::UntilRead {
            return self.asking.cancel(id);
        }
        if let Some(helped) = handle.helped() {
            return helped.helper.cancel();
        }
        let mut table = lock(&self.armed);
        match table.armed(handle.poll_key) {
            None => {
                let mut passing = lock(&self.passing);
                let at = passing.iter().position(|passing| passing.id == id);
                let removed = at.map(|at| passing.remove(at));
                drop((passing, table));
                match removed {
                    Some(removed) => {
                        drop(removed);
                        Cancelled::Done(Outcome::cancelled())
                    }
                    None => Cancelled::Requested,
                }
            }
            Some(armed) if armed.is_running.get() => {
                armed.is_cancelled.set(true);
                Cancelled::Requested
            }
            Some(_) => {
                let removed = table.remove(handle.poll_key);
                drop(table);
                drop(removed);
                Cancelled::Done(Outcome::cancelled())
            }
        }
    }

    fn close(&self, handle: Arc<Handle>, end_of_stream: bool) -> Result<(), OsCode> {
        if self.birth.is_elsewhere() {
            // Only our copies of the descriptors: the stream, the poller and the threads are the parent's. What a thread that
            // is not here still refers to stays open until this process ends.
            let fd = Arc::into_inner(handle).and_then(Handle::into_fd_elsewhere);
            return fd.map_or(Ok(()), close);
        }
        let handle = Arc::into_inner(handle).expect("O4: nobody else uses a handle that is closed");
        self.deregister(&handle);
        let ended = if end_of_stream && handle.is_socket_kind() {
            let disarmed = handle.disarm();
            let disarmed = disarmed.map_err(|code| OsCode(code.raw_os_error()));
            disarmed.and_then(|()| end_stream(&handle))
        } else {
            Ok(())
        };
        // S1: the first failure wins. E4: the descriptor is closed whatever the end of the stream came to.
        let closed = close(handle.into_fd());
        ended.and(closed)
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        if self.birth.is_elsewhere() {
            // Its events are the parent's to take.
            return Err(OsCode(Errno::CHILD.raw_os_error()));
        }
        let until = until.map(|moment| self.start + Duration::from_nanos(moment.0));
        let deadline = match (until, self.next_question()) {
            (Some(until), Some(question)) => Some(until.min(question)),
            (until, question) => until.or(question),
        };
        let polled = self.poll(deadline, completions);
        self.asking.ask_again(completions);
        self.write_again(completions);
        completions.append(&mut lock(&self.posted.0));
        polled
    }

    fn rest(&self, duration: Duration) {
        std::thread::park_timeout(duration);
    }

    fn wake(&self) {
        if !self.birth.is_elsewhere() {
            notify(&self.poller);
        }
    }

    fn atomic_bytes_max(&self, handle: &Handle) -> Option<u64> {
        handle.atomic_bytes_max()
    }

    fn is_readable(&self, handle: &Handle) -> bool {
        handle.is_readable()
    }

    fn bytes_ahead(&self, from: &Handle) -> Option<u64> {
        moving::bytes_ahead(from)
    }

    fn is_file(&self, handle: &Handle) -> bool {
        handle.is_regular_file()
    }

    fn close_discards(&self, handle: &Handle) -> bool {
        handle.is_leading_end()
    }

    fn is_elsewhere(&self) -> bool {
        self.birth.is_elsewhere()
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        if self.birth.is_elsewhere() {
            // The poller is the parent's: ending it here would take the parent's descriptors out of it.
            let _kept = std::mem::ManuallyDrop::new(self.poller.clone());
        }
    }
}

impl Handle {
    /// Whether it is a socket.
    pub(super) fn is_socket_kind(&self) -> bool {
        matches!(
            self.kind(),
            handle::Kind::LocalSocket | handle::Kind::Socket
        )
    }
}
