//! The backend: one completion port, waited on by the driver's thread, and the only place where blocks are taken back.
//!
//! One submission, one packet, one release: no event in OVERLAPPED and no FILE_SKIP_COMPLETION_PORT_ON_SUCCESS. Helper
//! threads put their answers into a list and wake the port.

use super::classify::{Call, classified, os};
use super::handle::{self, Handle, Kind};
use super::helper::{Found, Job};
use super::in_flight::{InFlight, Place};
use super::overlapped::{self, Buffer, Operation};
use super::retry::Retry;
use super::{OsHandle, census, lock, pipe, sys};
use crate::step::{Direction, Refused, Step, StepError, step};
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

/// What the backend shares with its helper threads.
pub(super) struct Port {
    os: OwnedHandle,
    start: Instant,
    /// A wake's packet is in the port: another would say nothing new.
    wake_posted: AtomicBool,
    answered: Mutex<Vec<Completion>>,
    in_flight: Mutex<InFlight>,
    retry: Mutex<Option<Retry>>,
}

/// The backend for Windows.
pub struct Native {
    port: Arc<Port>,
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
        let port = Port {
            os,
            start: Instant::now(),
            wake_posted: AtomicBool::new(false),
            answered: Mutex::default(),
            in_flight: Mutex::default(),
            retry: Mutex::default(),
        };
        Ok(Self {
            port: Arc::new(port),
        })
    }

    /// Takes over a handle that somebody else opened: a pipe, overlapped or not, a file, a console or a device.
    ///
    /// # Errors
    /// The step that failed and the handle, untouched and still usable.
    pub fn adopt(&self, handle: OsHandle, direction: Direction) -> Result<Handle, Refused> {
        handle::adopt(&self.port, handle, direction)
    }

    /// As [`adopt`](Self::adopt): Windows has no mode that others who share a handle would notice.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_unshared(
        &self,
        handle: OsHandle,
        direction: Direction,
    ) -> Result<Handle, Refused> {
        self.adopt(handle, direction)
    }

    /// Makes a pipe: its reading and its writing end.
    ///
    /// # Errors
    /// The step that failed. Nothing is left behind.
    pub fn pipe(&self) -> Result<(Handle, Handle), StepError> {
        pipe::pipe(&self.port)
    }

    /// Gives a handle back, open. Nothing is in flight. It stays bound to this port: no other runtime can bind it.
    #[must_use]
    pub fn release(&self, handle: Handle) -> OsHandle {
        handle.into_os()
    }

    /// How many operations of this process have their memory with the kernel, or on the way there or back.
    #[doc(hidden)]
    #[must_use]
    pub fn operations_alive() -> u64 {
        overlapped::alive()
    }

    /// How many handles this process has open, if the system says.
    #[doc(hidden)]
    #[must_use]
    pub fn open_handles() -> Option<usize> {
        census::open_handles()
    }

    fn submit_overlapped(&self, handle: &Arc<Handle>, id: OpId, buffer: Buffer) -> Submitted {
        let mut given = Operation::new(id, handle.clone(), buffer).give();
        let start = given.starter();
        // Before the call: the packet can be there before it returns.
        lock(&self.port.in_flight).insert(id, Place::Kernel(given));
        // SAFETY: the block was registered just now and never started; `handle` is borrowed until this returns.
        let Err(code) = (unsafe { overlapped::start(&start) }) else {
            return Submitted::InFlight;
        };
        let Some(given) = lock(&self.port.in_flight).remove_unless_warned(id) else {
            return Submitted::InFlight;
        };
        // SAFETY: the call failed with an error, so that no packet will come: the kernel never had the block or is done with
        // it.
        let operation = unsafe { given.take_back() };
        Submitted::Done(operation.into_refusal(code))
    }

    fn submit_to_helper(&self, handle: &Arc<Handle>, id: OpId, op: Op) -> Submitted {
        let helper = match handle.helper(&self.port) {
            Ok(helper) => helper,
            Err((class, os)) => return Submitted::Done(Outcome::failed(class, os)),
        };
        lock(&self.port.in_flight).insert(id, Place::Helper(helper.clone()));
        helper.submit(Job {
            id,
            handle: handle.clone(),
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
        match op {
            // Rule O5: what the kernel reads, the block keeps alive.
            Op::Write(chunks) if chunks.bytes() == 0 => Submitted::Done(Outcome::Transferred(0)),
            Op::Read { .. } | Op::Write(_) if handle.is_blocking() => {
                self.submit_to_helper(handle, id, op)
            }
            Op::Read { bytes_max } => {
                self.submit_overlapped(handle, id, Buffer::for_read(bytes_max))
            }
            Op::Write(chunks) => self.submit_overlapped(handle, id, Buffer::for_write(chunks)),
            Op::UntilRead if handle.kind() == Kind::Pipe => {
                self.submit_to_helper(handle, id, Op::UntilRead)
            }
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
        let mut in_flight = lock(&self.port.in_flight);
        let found = match in_flight.ask_cancel(id) {
            // Under the lock, so that the block is there and is the one that is meant.
            Some(Place::Kernel(given)) => {
                given.cancel();
                Found::Nothing
            }
            Some(Place::Helper(helper)) => helper.cancel(id),
            // Answered; the completion is on its way.
            None => Found::Nothing,
        };
        match found {
            Found::Nothing => Cancelled::Requested,
            Found::Queued(job) => {
                let place = in_flight.remove(id);
                drop(in_flight);
                drop((place, job));
                Cancelled::Done(Outcome::cancelled())
            }
            Found::Running => {
                drop(in_flight);
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
        let mut queued = Vec::new();
        {
            let mut in_flight = lock(&self.port.in_flight);
            for (id, place) in in_flight.ask_all() {
                match place {
                    Place::Helper(helper) => queued.push((id, helper.cancel(id))),
                    Place::Kernel(given) => given.cancel(),
                }
            }
            let never_begun = |found: &Found| matches!(found, Found::Queued(_));
            for (id, _) in queued.iter().filter(|(_, found)| never_begun(found)) {
                in_flight.remove(*id);
            }
        }
        drop(queued);
        self.port.expect_retry();
        let until = self.now().after(LAST_ANSWERS_WITHIN);
        let mut completions = Vec::new();
        while !lock(&self.port.in_flight).is_empty() && self.now() < until {
            if self.wait(&mut completions, Some(until)).is_err() {
                // What cannot be asked for now may be there in a moment, and only its packet releases it.
                self.rest(WAIT_FAILED_PAUSE);
            }
        }
    }
}

impl Port {
    /// CreateIoCompletionPort: binds a handle to this port. 0, or the code.
    pub(super) fn bind(&self, handle: BorrowedHandle<'_>) -> u32 {
        sys::bind(self.os.as_handle(), handle, KEY_OPERATION)
    }

    /// A helper thread's answer. Nothing of it may be left to do.
    pub(super) fn answer(&self, completion: Completion) {
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
        for (id, helper) in lock(&self.in_flight).unheard() {
            any = true;
            // Never `Queued`: a thread does its operations in order, and a queued one is taken out by the first cancel.
            helper.cancel(id);
        }
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
            completions.extend(self.redeem(entry));
        }
        Ok(woken)
    }

    /// Takes the block back that a packet names. `None`: the packet is a stranger's.
    fn redeem(&self, entry: &OVERLAPPED_ENTRY) -> Option<Completion> {
        let given = lock(&self.in_flight).redeem(entry.lpOverlapped.addr())?;
        // SAFETY: it was in the registry, so it was submitted; the kernel has written its answer into it, and with that is
        // done with block and buffer. The registry gave up the only `Given`.
        let operation = unsafe { given.take_back() };
        // Frees the block and its reference to the handle: O4, before anybody hears of the answer.
        Some(operation.into_completion())
    }

    /// Adds the answers of helper threads.
    fn collect(&self, completions: &mut Vec<Completion>) {
        let answered = std::mem::take(&mut *lock(&self.answered));
        if answered.is_empty() {
            return;
        }
        let mut helpers: Vec<Option<Place>> = Vec::new();
        let mut in_flight = lock(&self.in_flight);
        for completion in answered {
            helpers.push(in_flight.remove(completion.id));
            completions.push(completion);
        }
        drop(in_flight);
        // The last reference to a helper may end its thread: not under the lock.
        drop(helpers);
    }
}
