//! A thread for what can only block: handles that are not overlapped, and waiting until the peer has read.
//!
//! It does one operation after the other. A cancel ends the call it is in (CancelSynchronousIo). That misses a thread that
//! is about to enter the call, so the port asks again until the operation is answered. Nobody ever joins this thread.

use super::answer::{self, Kind, joined};
use super::classify::{Call, classified};
use super::lock::lock;
use super::sys;
use bytes::Bytes;
use std::collections::VecDeque;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use watertight_core::{Class, Completion, Moved, Op, OpId, OsCode, Outcome};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_PIPE_CONNECTED_STATE, FILE_PIPE_LOCAL_INFORMATION,
};
use windows_sys::Win32::Foundation::{ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_SUCCESS};

/// It runs a few functions of ours and system calls; a megabyte of address space for each would be waste.
const STACK_BYTES: usize = 128 * 1024;

/// Where answers go. Nothing of an operation may be left to do when its answer goes there.
pub(super) type Post = Arc<dyn Fn(Completion) + Send + Sync>;

/// One operation to do. While it exists the handle stays open.
pub(super) struct Job {
    pub(super) id: OpId,
    pub(super) handle: Arc<OwnedHandle>,
    pub(super) kind: Kind,
    pub(super) op: Op,
}

struct Running {
    id: OpId,
    cancel_asked: bool,
}

#[derive(Default)]
struct State {
    /// At most one operation of each kind (O1), the one that runs included.
    queue: VecDeque<Job>,
    running: Option<Running>,
    quit: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The way to reach the thread. When the last of these goes, the thread ends by itself.
pub(super) struct Helper {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What a cancel found.
pub(super) enum Found {
    /// The operation had not begun. It is taken out and will not be answered.
    Queued(Job),
    /// It runs, and was asked to stop.
    Running,
    /// It is answered.
    Nothing,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Helper").finish_non_exhaustive()
    }
}

impl Helper {
    /// Starts the thread.
    pub(super) fn start(post: Post) -> Result<Arc<Self>, (Class, Option<OsCode>)> {
        let shared = Arc::new(Shared::default());
        let inner = shared.clone();
        let thread = std::thread::Builder::new()
            .name("watertight-helper".into())
            .stack_size(STACK_BYTES)
            .spawn(move || inner.serve(&post))
            .map_err(|error| match error.raw_os_error() {
                Some(code) => classified(Call::Start, code.cast_unsigned()),
                None => (Class::Limit, None),
            })?;
        Ok(Arc::new(Self { shared, thread }))
    }

    /// Leaves an operation to the thread.
    pub(super) fn submit(&self, job: Job) {
        lock(&self.shared.state).queue.push_back(job);
        self.shared.changed.notify_one();
    }

    /// CancelSynchronousIo, if the operation is the one that runs. Does not wait for what comes of it.
    pub(super) fn cancel(&self, id: OpId) -> Found {
        let mut state = lock(&self.shared.state);
        if let Some(running) = state.running.as_mut().filter(|running| running.id == id) {
            running.cancel_asked = true;
            // Under the lock, so that it cannot hit the next operation. What it says does not matter: the port asks again
            // while there is no answer.
            sys::cancel_thread(&self.thread);
            return Found::Running;
        }
        let place = state.queue.iter().position(|job| job.id == id);
        match place.and_then(|place| state.queue.remove(place)) {
            Some(job) => Found::Queued(job),
            None => Found::Nothing,
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The handle that had us is closed or given back, and no operation of ours is left: until it is answered, each of
        // them has us too, in the port's list.
        lock(&self.shared.state).quit = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn serve(&self, post: &Post) {
        while let Some(job) = self.next() {
            let Job {
                id,
                handle,
                kind,
                op,
            } = job;
            let outcome = self.run(handle.as_handle(), kind, op);
            lock(&self.state).running = None;
            // O4: when the answer is out, the handle may be closed, so our reference goes first.
            drop(handle);
            post(Completion { id, outcome });
        }
    }

    /// Waits for the next operation. `None`: the thread is to end.
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.running = Some(Running {
                    id: job.id,
                    cancel_asked: false,
                });
                return Some(job);
            }
            if state.quit {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_cancelled(&self) -> bool {
        let state = lock(&self.state);
        state
            .running
            .as_ref()
            .is_some_and(|running| running.cancel_asked)
    }

    fn run(&self, handle: BorrowedHandle<'_>, kind: Kind, op: Op) -> Outcome {
        if self.is_cancelled() {
            return Outcome::cancelled();
        }
        match op {
            Op::Read { bytes_max } => self.read(handle, kind, bytes_max),
            Op::WaitReadable => Outcome::failed(Class::Unsupported, None),
            Op::UntilRead => until_read(handle),
            Op::Write(chunks) => write(handle, &joined(chunks)),
        }
    }

    /// ReadFile. On a console, Ctrl-C ends the call though nobody cancelled it: then it is called again.
    fn read(&self, handle: BorrowedHandle<'_>, kind: Kind, bytes_max: usize) -> Outcome {
        let mut buf = Vec::with_capacity(bytes_max);
        loop {
            let code = sys::read(handle, &mut buf, bytes_max);
            let interrupted = code == ERROR_OPERATION_ABORTED && kind == Kind::Device;
            if !interrupted || self.is_cancelled() {
                return answer::read(code, buf.into(), kind.empty_ends());
            }
        }
    }
}

/// WriteFile.
fn write(handle: BorrowedHandle<'_>, bytes: &Bytes) -> Outcome {
    let (code, count) = sys::write(handle, bytes);
    // 232: the peer was gone before the call. Whatever else ends a blocking write may have let some of it through.
    let moved = if code == ERROR_NO_DATA {
        Moved::Exactly(0)
    } else {
        Moved::Unknown
    };
    answer::write(code, u64::from(count), bytes.len() as u64, moved)
}

/// FlushFileBuffers, and then the question whether anybody was there to read: begun after the peer closed it says
/// "success" although the peer threw the bytes away (windows-facts 10).
fn until_read(handle: BorrowedHandle<'_>) -> Outcome {
    let code = sys::flush(handle);
    if code != ERROR_SUCCESS {
        let (class, os) = classified(Call::Flush, code);
        return Outcome::failed(class, os);
    }
    match sys::query::<FILE_PIPE_LOCAL_INFORMATION>(handle) {
        Ok(pipe) if pipe.NamedPipeState == FILE_PIPE_CONNECTED_STATE => Outcome::Ready,
        Ok(_) => Outcome::failed(Class::Gone, None),
        Err(code) => {
            let (class, os) = classified(Call::Query, code);
            Outcome::failed(class, os)
        }
    }
}
