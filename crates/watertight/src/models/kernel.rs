//! The models' kernel: it answers as each pipe's manner says, keeps its own books, and complains.
//!
//! Everything sits under one lock of the checker's, so that the order of any two calls is one the checker chooses.

use super::harness::complain;
use super::harness::primitives::{Condvar, Mutex, MutexGuard};
use super::manner::{Answers, Cancels, Manner};
use super::state::{Book, DATA, Held, Later, State, moved};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use watertight_core::{
    Backend, Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, OpKind, OsCode, Outcome,
    ReadNow, Submitted, WriteNow,
};

/// The most bytes that one copy takes: a private pipe has room for no more.
const COPY_BYTES_MAX: usize = 2;

/// A handle of this kernel.
#[derive(Debug)]
pub(super) struct Pipe {
    number: usize,
    manner: Manner,
}

/// The kernel.
pub(super) struct Kernel {
    state: Mutex<State>,
    changed: Condvar,
    bell: Condvar,
    /// A wait that has nothing else to do lets the time pass instead, up to here.
    ends_at: Moment,
    /// Small messages are joined.
    joins: bool,
    over: AtomicBool,
}

impl Kernel {
    /// A kernel whose clock stands still.
    pub(super) fn new() -> Self {
        Self::until(Moment::default())
    }

    /// A kernel whose clock goes until then.
    pub(super) fn until(ends_at: Moment) -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            bell: Condvar::new(),
            ends_at,
            joins: false,
            over: AtomicBool::new(false),
        }
    }

    /// One on which small messages are joined, from the first on.
    pub(super) fn joining() -> Self {
        Self {
            joins: true,
            ..Self::until(Moment(10_000_000))
        }
    }

    /// A handle that behaves so.
    pub(super) fn open(&self, manner: Manner) -> Pipe {
        open_in(&mut self.lock(), manner)
    }

    /// What it knows of the pipe that was opened so many pipes before.
    pub(super) fn book(&self, number: usize) -> Book {
        self.lock().books[number].clone()
    }

    /// Has whoever waits answer an operation that nobody answers else; says whether it was there and unanswered.
    pub(super) fn answer(&self, kind: OpKind) -> bool {
        self.tell(kind, Later::Whole)
    }

    /// As [`Kernel::answer`], as a failure.
    pub(super) fn fail(&self, kind: OpKind) -> bool {
        self.tell(kind, Later::Failed)
    }

    fn tell(&self, kind: OpKind, how: Later) -> bool {
        let mut state = self.lock();
        let mut ops = state.ops.iter_mut();
        let found = ops.find(|held| held.id.kind == kind && held.later.is_none());
        let is_there = found.map(|held| held.later = Some(how)).is_some();
        self.rouse(state);
        is_there
    }

    /// Whoever has the writing end of the pipe that was opened so many pipes before writes into it.
    pub(super) fn feed(&self, number: usize, data: &[u8]) {
        let mut state = self.lock();
        let inside = state.books[number].inside.as_mut();
        inside.expect("it is known what is in it").extend(data);
        state.handle_readable(number);
        self.rouse(state);
    }

    /// Nobody has its writing end any more.
    pub(super) fn hang_up(&self, number: usize) {
        let mut state = self.lock();
        state.books[number].is_held = false;
        state.handle_readable(number);
        self.rouse(state);
    }

    /// Calls back the thread that blocks, now or the next time.
    pub(super) fn ring(&self) {
        self.lock().rung = true;
        self.bell.notify_one();
    }

    /// A completion that belongs to nothing.
    pub(super) fn stray(&self, completion: Completion) {
        let mut state = self.lock();
        state.strays.push(completion);
        self.rouse(state);
    }

    /// Answers once more for every pipe whose place another one has, by now.
    pub(super) fn haunt(&self) {
        let mut state = self.lock();
        let last: Vec<OpId> = state.books.iter().filter_map(|book| book.last).collect();
        let is_former = |id: &&OpId| {
            let mut same = last.iter().filter(|other| other.pipe.slot == id.pipe.slot);
            same.any(|other| other.pipe.generation > id.pipe.generation)
        };
        let strays = last.iter().filter(is_former).map(|id| Completion {
            id: *id,
            outcome: Outcome::Transferred(1),
        });
        let strays: Vec<Completion> = strays.collect();
        state.strays.extend(strays);
        self.rouse(state);
    }

    /// Lets everybody who waits go; says so from then on.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        self.over.store(true, SeqCst);
        self.rouse(state);
    }

    /// Asked without the lock, so that it costs the checker nothing: too early, it is asked again.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Once nothing runs any more: every handle is closed once, or given back, and nothing is left in flight.
    pub(super) fn check_books(&self) {
        let state = self.lock();
        for (number, book) in state.books.iter().enumerate() {
            if book.closed + u32::from(book.released) != 1 {
                complain(format!("the handle of pipe {number} at the end: {book:?}"));
            }
        }
        for held in &state.ops {
            complain(format!("still in flight at the end: {:?}", held.id));
        }
    }

    /// The model has the handle back.
    pub(super) fn take_back(&self, pipe: Arc<Pipe>) {
        self.leave(pipe, |book| book.released = true);
    }

    fn leave(&self, pipe: Arc<Pipe>, how: impl FnOnce(&mut Book)) {
        let number = pipe.number;
        if Arc::into_inner(pipe).is_none() {
            complain(format!(
                "the handle of pipe {number} leaves while it is used"
            ));
        }
        let mut state = self.lock();
        if state.ops.iter().any(|held| held.pipe == number) {
            complain(format!(
                "pipe {number} is closed under an operation in flight"
            ));
        }
        let book = &mut state.books[number];
        if book.calls > 0 {
            complain(format!("pipe {number} is closed under a call"));
        }
        how(book);
        if book.closed + u32::from(book.released) != 1 {
            complain(format!("pipe {number} is closed twice"));
        }
    }

    /// Blocks until it is rung, if each of these pipes has threads block.
    pub(super) fn block_on_all(&self, pipes: &[&Pipe]) -> bool {
        if !pipes.iter().all(|pipe| pipe.manner.blocks) {
            return false;
        }
        let mut state = self.lock();
        for pipe in pipes {
            state.enter(pipe.number, true, "a thread that blocks");
            let book = &mut state.books[pipe.number];
            book.blocked += 1;
            book.is_blocked_on = true;
        }
        while !std::mem::take(&mut state.rung) {
            state = self.bell.wait(state).expect("no panic under this lock");
        }
        for pipe in pipes {
            let book = &mut state.books[pipe.number];
            book.calls -= 1;
            book.is_blocked_on = false;
        }
        true
    }

    /// A call that others may overtake on its way back.
    fn come_back(&self, pipe: &Pipe) {
        if pipe.manner.is_slow {
            let mut state = self.lock();
            let book = &mut state.books[pipe.number];
            book.calls -= 1;
            book.is_moved_to = false;
        }
    }

    fn rouse(&self, mut state: MutexGuard<'_, State>) {
        let is_needed = std::mem::take(&mut state.waiting);
        drop(state);
        if is_needed {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }
}

impl Pipe {
    /// The how-manieth it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Backend for Kernel {
    type Handle = Pipe;

    fn now(&self) -> Moment {
        self.lock().now
    }

    fn submit(&self, pipe: &Arc<Pipe>, id: OpId, op: Op) -> Submitted {
        let manner = pipe.manner;
        let mut state = self.lock();
        state.enter(pipe.number, pipe.manner.is_slow, "an operation");
        if state.ops.iter().any(|held| held.id == id) {
            complain(format!("{id:?} is in flight twice"));
        }
        let book = &mut state.books[pipe.number];
        let answers = match id.kind {
            OpKind::Read | OpKind::WaitReadable => manner.reads,
            OpKind::UntilRead => manner.until_read,
            OpKind::Write => {
                book.writes += 1;
                manner.writes[book.writes.min(manner.writes.len()) - 1]
            }
        };
        book.last = Some(id);
        let now = |how, state: &mut State| {
            let bytes_max = manner.write_bytes_max;
            Submitted::Done(state.outcome(pipe.number, &op, how, bytes_max))
        };
        let submitted = match answers {
            Answers::AtOnce => now(Later::Whole, &mut state),
            Answers::FailsAtOnce => now(Later::Failed, &mut state),
            Answers::FailsLater | Answers::Later | Answers::WhenReadable | Answers::WhenTold => {
                let is_readable = state.books[pipe.number].is_readable();
                let later = match answers {
                    Answers::Later => Some(Later::Whole),
                    Answers::FailsLater => Some(Later::Failed),
                    Answers::WhenReadable => is_readable.then_some(Later::Whole),
                    Answers::AtOnce | Answers::FailsAtOnce | Answers::WhenTold => None,
                };
                state.ops.push(Held {
                    id,
                    pipe: pipe.number,
                    op,
                    write_bytes_max: manner.write_bytes_max,
                    later,
                });
                Submitted::InFlight
            }
        };
        self.rouse(state);
        self.come_back(pipe);
        submitted
    }

    fn read_now(&self, pipe: &Pipe, buf: &mut [u8]) -> ReadNow {
        let mut state = self.lock();
        state.enter(pipe.number, pipe.manner.is_slow, "a direct read");
        let book = &mut state.books[pipe.number];
        if book.is_blocked_on {
            let number = pipe.number;
            complain(format!("pipe {number} is read while a thread blocks on it"));
        }
        let answer = if book.inside.is_some() {
            let given = book.give(buf.len());
            buf[..given.len()].copy_from_slice(&given);
            match given.len() {
                0 if book.is_held => ReadNow::Wait,
                0 => ReadNow::EndOfStream,
                bytes => ReadNow::Data(bytes),
            }
        } else {
            let script = pipe.manner.direct;
            let answer = script[book.direct_reads.min(script.len() - 1)];
            if let ReadNow::Data(bytes) = answer {
                buf[..bytes].copy_from_slice(&DATA[..bytes]);
                book.given += bytes as u64;
            }
            answer
        };
        book.direct_reads += 1;
        drop(state);
        self.come_back(pipe);
        answer
    }

    fn write_now(&self, pipe: &Pipe, data: &[u8]) -> WriteNow {
        let mut state = self.lock();
        state.enter(pipe.number, pipe.manner.is_slow, "a direct write");
        if state
            .ops
            .iter()
            .any(|held| held.id.kind == OpKind::Write && held.pipe == pipe.number)
        {
            complain(format!("pipe {} is written twice at once", pipe.number));
        }
        let book = &mut state.books[pipe.number];
        let script = pipe.manner.direct_writes;
        let answer = script[book.direct_writes.min(script.len() - 1)];
        book.direct_writes += 1;
        if let WriteNow::Transferred(bytes) = answer {
            book.stream.extend(&data[..bytes as usize]);
        }
        drop(state);
        self.come_back(pipe);
        answer
    }

    fn move_now(&self, from: &Pipe, to: &Pipe, bytes_max: usize, _: MoveScope) -> MoveNow {
        let mut state = self.lock();
        state.enter(from.number, from.manner.is_slow, "a move");
        state.enter(to.number, to.manner.is_slow, "a move");
        let book = &mut state.books[from.number];
        let (answer, data) = if book.inside.is_some() {
            let given = book.give(bytes_max);
            (moved(given.len()), given)
        } else {
            let script = from.manner.moves;
            let answer = script[book.moves.min(script.len() - 1)];
            let bytes = if let MoveNow::Moved(bytes) = answer {
                bytes
            } else {
                0
            };
            book.given += bytes as u64;
            (answer, DATA[..bytes].to_vec())
        };
        book.moves += 1;
        let book = &mut state.books[to.number];
        book.stream.extend(data);
        book.is_moved_to = to.manner.is_slow;
        drop(state);
        self.come_back(from);
        self.come_back(to);
        answer
    }

    fn private_pipe(&self, from: &Pipe, _: bool) -> Option<(Pipe, Pipe)> {
        from.manner.holds?;
        let mut state = self.lock();
        state.enter(from.number, false, "a question");
        let empty = Manner {
            holds: Some(b""),
            ..Manner::default()
        };
        let out = open_in(&mut state, empty);
        let private = Manner {
            is_private: true,
            ..Manner::default()
        };
        Some((out, open_in(&mut state, private)))
    }

    fn duplicate_now(&self, from: &Pipe, into: &Pipe, bytes_max: usize, _: MoveScope) -> MoveNow {
        let mut state = self.lock();
        state.enter(from.number, from.manner.is_slow, "a copy");
        state.enter(into.number, into.manner.is_slow, "a copy");
        let answer = if into.manner.is_private {
            let copies = state.books[from.number].front(bytes_max.min(COPY_BYTES_MAX));
            let answer = moved(copies.len());
            // Its reading end was opened just before it.
            let inside = &mut state.books[into.number - 1].inside;
            if inside.replace(copies).is_none_or(|known| !known.is_empty()) {
                complain(format!(
                    "copies into pipe {}, which is not empty",
                    into.number
                ));
            }
            answer
        } else {
            let script = (into.number, into.manner.copies);
            let answer = state.copy_straight(from.number, script, bytes_max);
            state.books[into.number].is_moved_to = into.manner.is_slow;
            answer
        };
        drop(state);
        self.come_back(from);
        self.come_back(into);
        answer
    }

    fn who_waits(&self, from: &Pipe, to: &Pipe) -> MoveNow {
        let mut state = self.lock();
        state.enter(from.number, false, "a question");
        state.enter(to.number, false, "a question");
        let book = &state.books[from.number];
        match &book.inside {
            None => MoveNow::Wait,
            Some(inside) if !inside.is_empty() => MoveNow::DestinationWait,
            Some(_) if from.manner.is_held => MoveNow::SourceWait,
            Some(_) => MoveNow::EndOfStream,
        }
    }

    fn block_until_readable(&self, pipe: &Pipe, _timeout: Option<Duration>) -> bool {
        self.block_on_all(&[pipe])
    }

    fn block_until_writable(&self, pipes: &[&Pipe], _timeout: Option<Duration>) -> bool {
        self.block_on_all(pipes)
    }

    fn is_readable(&self, pipe: &Pipe) -> bool {
        let mut state = self.lock();
        state.enter(pipe.number, false, "a look");
        state.books[pipe.number].is_readable()
    }

    fn joins_after(&self) -> Option<u16> {
        self.joins.then_some(0)
    }

    fn cancel(&self, pipe: &Arc<Pipe>, id: OpId) -> Cancelled {
        let mut state = self.lock();
        state.enter(pipe.number, pipe.manner.is_slow, "a cancel");
        state.books[pipe.number].cancels += 1;
        let at = state.ops.iter().position(|held| held.id == id);
        let cancelled = match (at, pipe.manner.cancels) {
            (Some(at), Cancels::Answers) => {
                state.ops.remove(at);
                Cancelled::Done(Outcome::cancelled())
            }
            (Some(at), Cancels::Posts) => {
                state.ops[at].later = Some(Later::Cancelled);
                Cancelled::Requested
            }
            (Some(_), Cancels::SaysNothing) | (None, _) => Cancelled::Requested,
        };
        self.rouse(state);
        self.come_back(pipe);
        cancelled
    }

    fn close(&self, pipe: Arc<Pipe>, _end_of_stream: bool) -> Result<(), OsCode> {
        self.leave(pipe, |book| book.closed += 1);
        Ok(())
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        let mut state = self.lock();
        while !state.is_anything_due() && !std::mem::take(&mut state.woken) && !state.over {
            match until {
                Some(until) if until <= state.now => break,
                Some(until) if until <= self.ends_at => {
                    state.now = until;
                    break;
                }
                Some(_) | None => {}
            }
            state.waiting = true;
            state = self.changed.wait(state).expect("no panic under this lock");
        }
        state.hand_out(completions);
        Ok(())
    }

    fn rest(&self, _duration: Duration) {}

    fn wake(&self) {
        let mut state = self.lock();
        state.woken = true;
        self.rouse(state);
    }
}

/// A new handle that behaves so.
fn open_in(state: &mut State, manner: Manner) -> Pipe {
    state.books.push(Book {
        inside: manner.holds.map(<[u8]>::to_vec),
        is_held: manner.is_held,
        ..Book::default()
    });
    let number = state.books.len() - 1;
    Pipe { number, manner }
}
