//! The backend: one completion port, waited on by the driver's thread.
//!
//! One submission, one packet, one release: no event in OVERLAPPED and no FILE_SKIP_COMPLETION_PORT_ON_SUCCESS. Helper
//! threads put their answers into a list and wake the port.

use super::answer::Kind;
use super::classify::{Call, classified, os};
use super::handle::{self, Handle};
use super::helper::{Found, Helper, Job, Post};
use super::lock::lock;
use super::operation::{self, Operations};
use super::retry::Retry;
use super::{census, pipe, sys};
use crate::step::{Direction, Refused, Step, StepError, step};
use std::collections::HashMap;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use watertight_core::{
    Backend, Cancelled, Class, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow, Submitted,
};
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

/// How many packets one system call fetches.
const BATCH: usize = 64;

/// The packet's key that says "wake up"; those of operations have the other.
const KEY_WAKE: usize = 0;
const KEY_OPERATION: usize = 1;

/// How often a wake is tried if the kernel has no memory for its packet.
const POST_ATTEMPTS_MAX: usize = 3;

/// No wait is longer: should all those attempts fail, this is how late the wake is heard.
const WAIT_LONGEST: Duration = Duration::from_secs(10);

/// How long it rests meanwhile when it could not wait.
const WAIT_FAILED_PAUSE: Duration = Duration::from_millis(10);

/// How long the end of a backend waits for what is in flight. What outlives it stays the kernel's, and is never freed.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// An operation that a helper thread has.
struct Helped {
    /// Keeps the thread for as long as the operation is not answered.
    helper: Arc<Helper>,
    cancel_asked: bool,
}

/// What the backend shares with its helper threads.
struct Port {
    os: OwnedHandle,
    start: Instant,
    /// A wake's packet is in the port: another would say nothing new.
    wake_posted: AtomicBool,
    answered: Mutex<Vec<Completion>>,
    /// What the kernel has.
    operations: Operations,
    /// What helper threads have.
    helped: Mutex<HashMap<OpId, Helped>>,
    retry: Mutex<Option<Retry>>,
}

/// The backend for Windows.
pub struct Native {
    port: Arc<Port>,
    post: Post,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

impl Native {
    /// Makes the completion port. Starts no thread.
    ///
    /// # Errors
    /// The port could not be made.
    pub fn new() -> Result<Self, StepError> {
        let os = step(Step::CreatePoller, || {
            sys::create_port().map_err(|code| classified(Call::Port, code))
        })?;
        let port = Arc::new(Port {
            os,
            start: Instant::now(),
            wake_posted: AtomicBool::new(false),
            answered: Mutex::default(),
            operations: Operations::default(),
            helped: Mutex::default(),
            retry: Mutex::default(),
        });
        let to = port.clone();
        let post: Post = Arc::new(move |completion| to.answer(completion));
        Ok(Self { port, post })
    }

    /// Takes over a handle that somebody else opened: a pipe, overlapped or not, a file, a console or a device.
    ///
    /// # Errors
    /// The step that failed and the handle, untouched and still usable.
    pub fn adopt(&self, handle: OwnedHandle, direction: Direction) -> Result<Handle, Refused> {
        let bind = |os: BorrowedHandle<'_>| self.port.associate(os);
        handle::adopt(handle, direction, bind, || self.start_helper())
    }

    /// As [`adopt`](Self::adopt): Windows has no mode that others who share a handle would notice.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_unshared(
        &self,
        handle: OwnedHandle,
        direction: Direction,
    ) -> Result<Handle, Refused> {
        self.adopt(handle, direction)
    }

    /// As [`adopt`](Self::adopt), for our end of a pipe that std or this crate has made for a child.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_piped(
        &self,
        handle: OwnedHandle,
        direction: Direction,
    ) -> Result<Handle, Refused> {
        self.adopt(handle, direction)
    }

    /// Makes a pipe: its reading and its writing end.
    ///
    /// # Errors
    /// The step that failed. Nothing is left behind.
    pub fn pipe(&self) -> Result<(Handle, Handle), StepError> {
        let (reading, writing) = pipe::pipe()?;
        self.port.associate(reading.as_handle())?;
        self.port.associate(writing.as_handle())?;
        let capacity = u64::from(pipe::CAPACITY_BYTES);
        Ok((
            Handle::own(reading, Direction::Read, capacity),
            Handle::own(writing, Direction::Write, capacity),
        ))
    }

    /// Gives a handle back, open. Nothing is in flight. It stays bound to this port: no other runtime can bind it.
    #[must_use]
    pub fn release(&self, handle: Handle) -> OwnedHandle {
        handle.into_os()
    }

    /// How many operations of this process have their memory with the kernel, or on the way there or back.
    #[doc(hidden)]
    #[must_use]
    pub fn operations_alive() -> u64 {
        operation::alive()
    }

    /// How many handles this process has open, if the system says.
    #[doc(hidden)]
    #[must_use]
    pub fn open_handles() -> Option<usize> {
        census::open_handles()
    }

    /// How many threads this process has, if the system says.
    #[doc(hidden)]
    #[must_use]
    pub fn threads() -> Option<usize> {
        census::threads()
    }

    fn start_helper(&self) -> Result<Arc<Helper>, (Class, Option<OsCode>)> {
        Helper::start(self.post.clone())
    }

    fn submit_to_helper(&self, handle: &Handle, id: OpId, op: Op) -> Submitted {
        let helper = match handle.helper(|| self.start_helper()) {
            Ok(helper) => helper,
            Err((class, os)) => return Submitted::Done(Outcome::failed(class, os)),
        };
        self.port.note_helped(id, helper.clone());
        helper.submit(Job {
            id,
            handle: handle.shared_os().clone(),
            kind: handle.kind(),
            op,
        });
        Submitted::InFlight
    }
}

impl Backend for Native {
    type Handle = Handle;

    fn now(&self) -> Moment {
        self.port.now()
    }

    /// ReadFile or WriteFile, by us if the handle is overlapped, by its thread if not; FlushFileBuffers by a thread.
    fn submit(&self, handle: &Arc<Handle>, id: OpId, op: Op) -> Submitted {
        let (os, kind) = (handle.shared_os(), handle.kind());
        match op {
            // Rule O5: what the kernel reads, the block keeps alive.
            Op::Write(chunks) if chunks.bytes() == 0 => Submitted::Done(Outcome::Transferred(0)),
            Op::Read { .. } | Op::Write(_) if handle.is_blocking() => {
                self.submit_to_helper(handle, id, op)
            }
            Op::Read { bytes_max } => self.port.operations.submit_read(os, kind, id, bytes_max),
            Op::Write(chunks) => self.port.operations.submit_write(os, kind, id, chunks),
            Op::UntilRead if kind == Kind::Pipe => self.submit_to_helper(handle, id, Op::UntilRead),
            // Whether a file's or console's bytes were read cannot be known; readiness is asked for by reading.
            Op::WaitReadable | Op::UntilRead => {
                Submitted::Done(Outcome::failed(Class::Unsupported, None))
            }
        }
    }

    /// Windows takes memory for a read before there is anything to read.
    fn read_now(&self, _: &Handle, _: &mut [u8]) -> ReadNow {
        ReadNow::Unavailable
    }

    /// CancelIoEx, or CancelSynchronousIo on the handle's thread.
    fn cancel(&self, _: &Arc<Handle>, id: OpId) -> Cancelled {
        if self.port.operations.cancel(id) {
            return Cancelled::Requested;
        }
        let mut helped = lock(&self.port.helped);
        let found = match helped.get_mut(&id) {
            Some(one) => one.cancel(id),
            // Answered; the completion is on its way.
            None => Found::Nothing,
        };
        match found {
            Found::Nothing => Cancelled::Requested,
            Found::Queued(job) => {
                let one = helped.remove(&id);
                drop(helped);
                drop((one, job));
                Cancelled::Done(Outcome::cancelled())
            }
            Found::Running => {
                drop(helped);
                self.port.expect_retry();
                Cancelled::Requested
            }
        }
    }

    /// CloseHandle. On Windows every close is the end of the stream, unless somebody else has the same end.
    fn close(&self, handle: Arc<Handle>, _: bool) -> Result<(), OsCode> {
        let handle = Arc::into_inner(handle).expect(
            "O4: nothing is in flight and no call is running, so nobody else has the handle",
        );
        match sys::close(handle.into_os()) {
            ERROR_SUCCESS => Ok(()),
            code => Err(os(code)),
        }
    }

    /// GetQueuedCompletionStatusEx.
    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        let before = completions.len();
        loop {
            let retry = self.port.repeat_cancels();
            let waited = self
                .port
                .dequeue(completions, self.port.timeout_ms(until, retry));
            self.port.collect(completions);
            let woken = waited?;
            let expired = until.is_some_and(|until| until <= self.port.now());
            if woken || expired || completions.len() > before {
                return Ok(());
            }
        }
    }

    fn rest(&self, duration: Duration) {
        std::thread::park_timeout(duration);
    }

    /// PostQueuedCompletionStatus.
    fn wake(&self) {
        self.port.wake();
    }
}

impl Drop for Native {
    /// Cancels what is still in flight and waits for the answers, within a bound: only they release its memory.
    ///
    /// A driver ends its pipes first; then nothing is in flight and this does not wait.
    fn drop(&mut self) {
        self.port.operations.cancel_all();
        let (mut queued, mut removed) = (Vec::new(), Vec::new());
        {
            let mut helped = lock(&self.port.helped);
            for (id, one) in helped.iter_mut() {
                queued.push((*id, one.cancel(*id)));
            }
            let never_begun = |found: &Found| matches!(found, Found::Queued(_));
            for (id, _) in queued.iter().filter(|(_, found)| never_begun(found)) {
                removed.push(helped.remove(id));
            }
        }
        drop((queued, removed));
        self.port.expect_retry();
        let until = self.now().after(LAST_ANSWERS_WITHIN);
        let mut completions = Vec::new();
        while self.port.has_in_flight() && self.now() < until {
            if self.wait(&mut completions, Some(until)).is_err() {
                // What cannot be asked for now may be there in a moment, and only its packet releases it.
                self.rest(WAIT_FAILED_PAUSE);
            }
        }
    }
}

impl Helped {
    /// CancelSynchronousIo, now and until the operation is answered.
    fn cancel(&mut self, id: OpId) -> Found {
        self.cancel_asked = true;
        self.helper.cancel(id)
    }
}

impl Port {
    /// CreateIoCompletionPort: binds a handle to this port. 0, or the code.
    fn bind(&self, handle: BorrowedHandle<'_>) -> u32 {
        sys::bind(self.os.as_handle(), handle, KEY_OPERATION)
    }

    /// CreateIoCompletionPort. 87 says that the file is bound to a port already: it cannot be ours.
    fn associate(&self, os: BorrowedHandle<'_>) -> Result<(), StepError> {
        step(Step::AssociatePort, || match self.bind(os) {
            ERROR_SUCCESS => Ok(()),
            code => Err(classified(Call::Port, code)),
        })
    }

    /// Adds an operation of a helper thread's, before it can possibly be answered.
    fn note_helped(&self, id: OpId, helper: Arc<Helper>) {
        let one = Helped {
            helper,
            cancel_asked: false,
        };
        let before = lock(&self.helped).insert(id, one);
        assert!(
            before.is_none(),
            "O1: a pipe has one operation of a kind in flight"
        );
    }

    fn has_in_flight(&self) -> bool {
        !self.operations.is_empty() || !lock(&self.helped).is_empty()
    }

    /// A helper thread's answer. Nothing of it may be left to do.
    fn answer(&self, completion: Completion) {
        lock(&self.answered).push(completion);
        self.wake();
    }

    fn now(&self) -> Moment {
        Moment::default().after(self.start.elapsed())
    }

    fn wake(&self) {
        if self.wake_posted.swap(true, Ordering::AcqRel) {
            return;
        }
        for _ in 0..POST_ATTEMPTS_MAX {
            if sys::post(self.os.as_handle(), KEY_WAKE) == ERROR_SUCCESS {
                return;
            }
            std::thread::yield_now();
        }
        // Nothing was posted, so nothing may keep the next one from trying. `WAIT_LONGEST` bounds the harm.
        self.wake_posted.store(false, Ordering::Release);
    }

    /// A cancel went to a thread that may not have entered its call yet: it is repeated until the answer is there.
    fn expect_retry(&self) {
        *lock(&self.retry) = Some(Retry::soon(self.now()));
        self.wake();
    }

    /// Repeats the cancels that are due. Says when the next are.
    fn repeat_cancels(&self) -> Option<Moment> {
        let mut retry = lock(&self.retry);
        let now = self.now();
        let due = retry.as_ref()?.due();
        if now < due {
            return Some(due);
        }
        let mut any = false;
        // The cancel may have come before the call did.
        let helped = lock(&self.helped);
        for (id, one) in helped.iter().filter(|(_, one)| one.cancel_asked) {
            any = true;
            // Never `Queued`: a thread does its operations in order, and a queued one is taken out by the first cancel.
            one.helper.cancel(*id);
        }
        drop(helped);
        *retry = retry.take().filter(|_| any).map(|retry| retry.later(now));
        retry.as_ref().map(Retry::due)
    }

    /// How long to wait: rounded up, so that nobody is woken just before the time and has to wait again.
    fn timeout_ms(&self, until: Option<Moment>, retry: Option<Moment>) -> u32 {
        let now = self.now();
        let longest = now.after(WAIT_LONGEST);
        let until = until
            .unwrap_or(longest)
            .min(retry.unwrap_or(longest))
            .min(longest);
        let nanos = now.until(until).as_nanos();
        u32::try_from(nanos.div_ceil(1_000_000)).expect("at most WAIT_LONGEST")
    }

    /// GetQueuedCompletionStatusEx, once: adds the answers of overlapped operations. Says whether a wake was among them.
    fn dequeue(&self, completions: &mut Vec<Completion>, timeout_ms: u32) -> Result<bool, OsCode> {
        let mut entries = [OVERLAPPED_ENTRY::default(); BATCH];
        let count = match sys::dequeue(self.os.as_handle(), &mut entries, timeout_ms) {
            Ok(count) => count,
            Err(WAIT_TIMEOUT) => 0,
            Err(code) => return Err(os(code)),
        };
        let mut woken = false;
        for entry in &entries[..count] {
            if entry.lpCompletionKey == KEY_WAKE {
                // Before `collect`: an answer that comes after it posts a wake of its own.
                self.wake_posted.store(false, Ordering::Release);
                woken = true;
                continue;
            }
            completions.extend(self.operations.redeem(entry));
        }
        Ok(woken)
    }

    /// Adds the answers of helper threads.
    fn collect(&self, completions: &mut Vec<Completion>) {
        let answered = std::mem::take(&mut *lock(&self.answered));
        if answered.is_empty() {
            return;
        }
        let mut removed: Vec<Option<Helped>> = Vec::new();
        let mut helped = lock(&self.helped);
        for completion in answered {
            removed.push(helped.remove(&completion.id));
            completions.push(completion);
        }
        drop(helped);
        // The last reference to a helper may end its thread: not under the lock.
        drop(removed);
    }
}
