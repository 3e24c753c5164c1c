//! "The peer has read everything", where a kernel can be asked for it: by asking again, ever less often.
//!
//! No Unix tells when a pipe becomes empty for its writer, so this is the library's one polling loop: from 50 µs up to
//! 10 ms between questions, and only while somebody waits for the answer.

use super::calls::lock;
use super::classify::{Call, classified};
use super::handle::{Handle, Kind, polled};
use super::kernel;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use watertight_core::{Cancelled, Class, Completion, OpId, Outcome};

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

/// Those that wait for an answer. A question may be held up in the kernel, by whoever keeps the pipe's lock, so the table's own lock is
/// released meanwhile: nobody who asks about another pipe, or takes a question back, waits for that.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Vec<Asking>>);

/// One that waits.
#[derive(Debug)]
struct Asking {
    id: OpId,
    next: Instant,
    handle: Arc<Handle>,
    pause: Duration,
    /// It is being asked right now.
    is_running: bool,
    /// A cancel came meanwhile: it must not wait again.
    is_cancelled: bool,
}

impl Questions {
    /// Adds one that was not answered at once.
    pub(super) fn add(&self, id: OpId, handle: Arc<Handle>) {
        lock(&self.0).push(Asking {
            id,
            next: Instant::now() + PAUSE_FIRST,
            handle,
            pause: PAUSE_FIRST,
            is_running: false,
            is_cancelled: false,
        });
    }

    /// When one is to be asked again.
    pub(super) fn next(&self) -> Option<Instant> {
        let all = lock(&self.0);
        let waiting = all.iter().filter(|asking| !asking.is_running);
        waiting.map(|asking| asking.next).min()
    }

    /// Asks those again whose time has come.
    pub(super) fn ask_again(&self, completions: &mut Vec<Completion>) {
        // Whoever waits on is due later than now, so each is asked once.
        let now = Instant::now();
        while let Some((id, handle)) = self.run(now) {
            let answer = ask(&handle);
            // O4: the handle may be closed as soon as the answer is seen, so let go of it first.
            drop(handle);
            if let Some(outcome) = self.settle(id, answer, now) {
                completions.push(Completion { id, outcome });
            }
        }
    }

    /// One whose time has come begins to run: what it is about.
    fn run(&self, now: Instant) -> Option<(OpId, Arc<Handle>)> {
        let mut all = lock(&self.0);
        let due = all
            .iter_mut()
            .find(|asking| asking.next <= now && !asking.is_running)?;
        due.is_running = true;
        Some((due.id, due.handle.clone()))
    }

    /// One that ran is answered, or waits again. Either way a cancel that came meanwhile has its answer.
    fn settle(&self, id: OpId, answer: Option<Outcome>, now: Instant) -> Option<Outcome> {
        let mut all = lock(&self.0);
        let place = all.iter().position(|asking| asking.id == id);
        let place = place.expect("one that runs is taken out only here");
        let asking = &mut all[place];
        asking.is_running = false;
        let cancelled = asking.is_cancelled.then(Outcome::cancelled);
        let Some(outcome) = answer.or(cancelled) else {
            asking.pause = (asking.pause * 2).min(PAUSE_MAX);
            asking.next = now + asking.pause;
            return None;
        };
        let removed = all.remove(place);
        drop(all);
        drop(removed);
        Some(outcome)
    }

    /// Takes one back, unless it is answered; one that is being asked has its answer behind that.
    pub(super) fn cancel(&self, id: OpId) -> Cancelled {
        let mut all = lock(&self.0);
        let Some(place) = all.iter().position(|asking| asking.id == id) else {
            return Cancelled::Requested;
        };
        if all[place].is_running {
            all[place].is_cancelled = true;
            return Cancelled::Requested;
        }
        let removed = all.remove(place);
        drop(all);
        drop(removed);
        Cancelled::Done(Outcome::cancelled())
    }

    /// A forked child lets go of one. If another thread had the table at the fork, it stays as it is.
    pub(super) fn forget_elsewhere(&self, id: OpId) {
        if let Ok(mut all) = self.0.try_lock() {
            all.retain(|asking| asking.id != id);
        }
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

#[cfg(test)]
mod tests {
    use super::super::poller::Native;
    use super::*;
    use watertight_core::{Backend, Key, OpKind};

    fn id(slot: u32) -> OpId {
        let pipe = Key {
            slot,
            generation: 0,
        };
        let kind = OpKind::UntilRead;
        OpId { pipe, kind }
    }

    /// The question may be held up.
    #[test]
    fn a_question_that_is_taken_back_while_it_is_asked_is_answered_behind_that() {
        let native = Native::new().unwrap();
        let (from, into) = native.pipe().unwrap();
        let (questions, into) = (Questions::default(), Arc::new(into));
        let (first, second) = (id(1), id(2));
        for answer in [None, Some(Outcome::Ready)] {
            questions.add(first, into.clone());
            let due = questions.next().unwrap();
            let (running, asked) = questions.run(due).unwrap();
            assert_eq!(running, first);
            drop(asked);
            assert!(questions.run(due).is_none(), "it is being asked");
            assert!(matches!(questions.cancel(first), Cancelled::Requested));
            // Another one does not wait for that.
            questions.add(second, into.clone());
            assert!(matches!(questions.cancel(second), Cancelled::Done(_)));
            let is_answered = answer.is_some();
            let told = questions.settle(first, answer, due);
            let told = told.expect("it waits on");
            assert_eq!(matches!(told, Outcome::Ready), is_answered, "{told:?}");
            assert!(questions.next().is_none());
            assert!(matches!(questions.cancel(first), Cancelled::Requested));
        }
        native.close(into, false).unwrap();
        native.close(Arc::new(from), false).unwrap();
    }

    #[test]
    fn a_question_is_asked_again_ever_less_often() {
        let native = Native::new().unwrap();
        let (from, into) = native.pipe().unwrap();
        let (questions, into) = (Questions::default(), Arc::new(into));
        questions.add(id(1), into.clone());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let due = questions.next().unwrap();
            drop(questions.run(due).unwrap());
            assert!(questions.settle(id(1), None, due).is_none());
            assert!(questions.run(due).is_none(), "it is asked later");
            pauses.push(questions.next().unwrap() - due);
        }
        assert_eq!(pauses[0], 2 * PAUSE_FIRST);
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&PAUSE_MAX));
        assert!(matches!(questions.cancel(id(1)), Cancelled::Done(_)));
        native.close(into, false).unwrap();
        native.close(Arc::new(from), false).unwrap();
    }
}
