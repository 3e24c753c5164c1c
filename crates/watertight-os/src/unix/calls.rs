//! What the poller asks of the kernel, one question each: what is taken or read at once, the end of a stream, a close, a wake.
//!
//! Nothing here waits, and nothing is decided but what an answer means.

use super::classify::{Call, Next, classified, classify, next};
use super::handle::Handle;
use super::kernel::last_errno;
use super::readiness::Poller;
use crate::fault::{fallible, fallible_all_the_same};
use rustix::io::{Errno, IoSlice};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use watertight_core::{Chunks, Class, OsCode, Outcome, ReadNow, WriteNow};

/// The most chunks of one gather write that this backend passes on; the rest goes with the next one.
const CHUNKS_MAX: usize = 64;

/// How often a wake is tried. Linux's, a write to an eventfd, does not fail at all; kqueue's may be short of memory.
const WAKE_ATTEMPTS_MAX: usize = 3;

/// What the kernel takes at once; `None` if it would have to wait.
pub(super) fn write_now(handle: &Handle, chunks: &Chunks) -> Option<Outcome> {
    let answer = if let (1, Some(only)) = (chunks.count(), chunks.iter().next()) {
        write_slices(handle, &[IoSlice::new(only)])
    } else {
        let mut slices = [IoSlice::new(&[]); CHUNKS_MAX];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks.iter()) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        write_slices(handle, &slices[..count])
    };
    match answer {
        WriteNow::Failed(class, os) => Some(Outcome::failed(class, os)),
        WriteNow::Transferred(bytes) => Some(Outcome::Transferred(bytes)),
        WriteNow::Unavailable | WriteNow::Wait => None,
    }
}

/// What the kernel takes at once of what lies in these places.
pub(super) fn write_slices(handle: &Handle, slices: &[IoSlice<'_>]) -> WriteNow {
    loop {
        match handle.write_now(slices) {
            Ok(n) => return WriteNow::Transferred(n as u64),
            Err(code) => match next(Call::Write, code) {
                Next::Again => {}
                Next::Wait => return WriteNow::Wait,
                Next::Fail(class, os) => return WriteNow::Failed(class, os),
            },
        }
    }
}

/// A read of nothing: the end of the stream, or a FIFO before its first writer. An end that cannot be made sure of is not told.
pub(super) fn nothing_read(handle: &Handle) -> ReadNow {
    match handle.awaits_a_writer() {
        Ok(true) => ReadNow::Wait,
        Ok(false) => ReadNow::EndOfStream,
        Err(code) => {
            let (class, os) = classified(Call::Wait, code);
            ReadNow::Failed(class, os)
        }
    }
}

/// shutdown: the peer sees the end although others may have the same socket. That is told if it fails, for then it does not.
pub(super) fn end_stream(handle: &Handle) -> Result<(), OsCode> {
    let ended = fallible("shutdown", Call::Close, || {
        rustix::net::shutdown(handle.original(), rustix::net::Shutdown::Write)
    });
    match ended.map_err(|code| (classify(Call::Close, code), code)) {
        // A peer that is gone already needs no end.
        Ok(()) | Err((Class::Gone | Class::NotConnected, _)) => Ok(()),
        Err((_, code)) => Err(OsCode(code.raw_os_error())),
    }
}

/// close, once: on Linux the descriptor is gone even after EINTR (close(2)), so it is never called again.
pub(super) fn close(fd: OwnedFd) -> Result<(), OsCode> {
    let closed = fallible_all_the_same("close", Call::Close, || {
        // SAFETY: the descriptor was owned by `fd`, which gave it up with `into_raw_fd`; nobody else knows the number.
        let status = unsafe { libc::close(fd.into_raw_fd()) };
        if status == 0 {
            Ok(())
        } else {
            Err(last_errno())
        }
    });
    match closed {
        Ok(()) | Err(Errno::INTR) => Ok(()),
        Err(code) => Err(OsCode(code.raw_os_error())),
    }
}

/// eventfd, or what the poller has in its place: makes a running or the next wait return.
pub(super) fn notify(poller: &Poller) {
    for _ in 0..WAKE_ATTEMPTS_MAX {
        let woken = fallible("notify", Call::Wait, || poller.notify());
        if woken.is_ok() {
            return;
        }
        std::thread::yield_now();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
