//! "The peer has read everything", where a kernel can be asked for it: by asking again, ever less often.
//!
//! No Unix tells when a pipe becomes empty for its writer, so this is the library's one polling loop: from 50 µs up to
//! 10 ms between questions, and only while somebody waits for the answer.

use super::classify::{Call, told};
use super::handle::{Handle, polled};
use super::kernel;
use rustix::event::PollFlags;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight_core::{Class, OpId, Outcome};

const PAUSE_FIRST: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(10);

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
    let unread = match kernel::unread(handle.original(), handle.kind()) {
        Some(Ok(unread)) => unread,
        Some(Err(code)) => {
            let (class, os) = told(Call::Query, code);
            return Some(Outcome::failed(class, os));
        }
        None => return Some(Outcome::failed(Class::Unsupported, None)),
    };
    // A peer that closes with unread bytes leaves an error behind before it throws them away, so the order of these two
    // questions matters: no error after an empty queue means that they were read. What cannot be asked is not promised.
    let seen = match polled(handle.original()) {
        Ok(seen) => seen,
        Err(code) => {
            let (class, os) = told(Call::Wait, code);
            return Some(Outcome::failed(class, os));
        }
    };
    let has_left = seen.intersects(PollFlags::ERR | PollFlags::HUP);
    match unread {
        // What a socket's peer threw away no longer counts as unread, and the error is told only once, perhaps to a reader
        // of the same socket: after the peer has left, nobody can know.
        0 if handle.is_socket_kind() && has_left => Some(Outcome::failed(Class::Gone, None)),
        0 => Some(Outcome::Ready),
        _ if seen.contains(PollFlags::ERR) => Some(Outcome::failed(Class::Gone, None)),
        _ => None,
    }
}
