//! "The peer has read everything", where a kernel can be asked for it: by asking again, ever less often.
//!
//! No Unix tells when a pipe becomes empty for its writer, so this is the library's one polling loop: from 50 µs up to
//! 10 ms between questions, and only while somebody waits for the answer.

use super::classify::{Call, classified};
use super::handle::{Handle, Kind, polled};
use super::kernel;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use watertight_core::{Class, OpId, Outcome};

const PAUSE_FIRST: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// How many sockets are remembered whose reset was told to a reader.
const RESETS_MAX: usize = 1024;

/// Sockets whose reset was told to a reader of this process's, by device and inode, the latest last.
static RESETS: Mutex<VecDeque<(u64, u64)>> = Mutex::new(VecDeque::new());

/// A reader heard that its peer threw data away: nobody else who has the same socket will.
pub(super) fn note_reset(handle: &Handle) {
    let Some(socket) = identity(handle) else {
        return;
    };
    let mut resets = RESETS.lock().unwrap_or_else(PoisonError::into_inner);
    if resets.len() == RESETS_MAX {
        resets.pop_front();
    }
    resets.push_back(socket);
}

fn was_reset(handle: &Handle) -> bool {
    let resets = RESETS.lock().unwrap_or_else(PoisonError::into_inner);
    !resets.is_empty() && identity(handle).is_some_and(|socket| resets.contains(&socket))
}

/// fstat: device and inode of a local socket. What cannot be asked is not remembered.
#[allow(clippy::unnecessary_cast, reason = "other systems have other widths")]
pub(super) fn identity(handle: &Handle) -> Option<(u64, u64)> {
    if handle.kind() != Kind::LocalSocket {
        return None;
    }
    let stat = rustix::fs::fstat(handle.original()).ok()?;
    Some((stat.st_dev as u64, stat.st_ino as u64))
}

fn failed(call: Call, code: Errno) -> Outcome {
    let (class, os) = classified(call, code);
    Outcome::failed(class, os)
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) id: OpId,
    pub(super) next: Instant,
    handle: Arc<Handle>,
    pause: Duration,
}

impl Asking {
    pub(super) fn new(id: OpId, handle: Arc<Handle>) -> Self {
        Self {
            id,
            next: Instant::now() + PAUSE_FIRST,
            handle,
            pause: PAUSE_FIRST,
        }
    }

    /// Asks again; `None`: not yet, and the next time is set.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Outcome> {
        let answer = ask(&self.handle);
        if answer.is_none() {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.next = now + self.pause;
        }
        answer
    }
}

/// FIONREAD or SIOCOUTQ, then poll: read by the peer, thrown away by it, or not yet.
pub(super) fn ask(handle: &Handle) -> Option<Outcome> {
    if handle.is_leading_end() {
        match polled(handle.original()) {
            // No program has the terminal any more, and with the last of them went what was not read. The question would open
            // it again, and end the hang-up that our own reader is to see.
            Ok(seen) if seen.contains(PollFlags::HUP) => {
                return Some(Outcome::failed(Class::Gone, None));
            }
            Ok(_) => {}
            Err(code) => return Some(failed(Call::Wait, code)),
        }
    }
    let unread = match kernel::unread(handle.original(), handle.kind()) {
        Some(Ok(unread)) => unread,
        Some(Err(code)) => return Some(failed(Call::Query, code)),
        None => return Some(Outcome::failed(Class::Unsupported, None)),
    };
    // A peer that closes with unread bytes leaves an error behind before it throws them away, so the order of these two
    // questions matters: no error after an empty queue means that they were read. What cannot be asked is not promised.
    let seen = match polled(handle.original()) {
        Ok(seen) => seen,
        Err(code) => return Some(failed(Call::Wait, code)),
    };
    match unread {
        // What a socket's peer threw away no longer counts as unread. The error that says so is told only once: it is still
        // there, or a reader of the same socket in this process has heard it.
        0 if handle.is_socket_kind() && (seen.contains(PollFlags::ERR) || was_reset(handle)) => {
            Some(Outcome::failed(Class::Gone, None))
        }
        // An error on an empty pipe only says that its reader has left, having read all there was.
        0 => Some(Outcome::Ready),
        _ if seen.contains(PollFlags::ERR) => Some(Outcome::failed(Class::Gone, None)),
        _ => None,
    }
}
