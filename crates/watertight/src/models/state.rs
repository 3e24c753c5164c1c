//! What the models' kernel holds: the operations in flight, and its books.

use super::harness::complain;
use bytes::Bytes;
use watertight_core::{
    Class, Completion, Moment, MoveNow, Moved, Op, OpId, OpKind, OsCode, Outcome,
};

/// What a read brings.
pub(super) const DATA: &[u8] = b"data";

/// The code of every failure.
pub(super) const GONE: OsCode = OsCode(32);

/// An operation in flight.
pub(super) struct Held {
    pub(super) id: OpId,
    pub(super) pipe: usize,
    pub(super) op: Op,
    pub(super) write_bytes_max: u64,
    /// How whoever waits answers it.
    pub(super) later: Option<Later>,
}

#[derive(Clone, Copy)]
pub(super) enum Later {
    Cancelled,
    Failed,
    Whole,
}

/// What the kernel knows of a pipe.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    /// Bytes it gave.
    pub(super) given: u64,
    pub(super) closed: u32,
    /// The handle was given back.
    pub(super) released: bool,
    pub(super) calls: u32,
    pub(super) direct_reads: usize,
    pub(super) direct_writes: usize,
    /// How often a thread blocked here.
    pub(super) blocked: usize,
    /// The moves from here.
    pub(super) moves: usize,
    /// The copies straight into it.
    pub(super) copies: usize,
    /// Bytes are just being moved here.
    pub(super) is_moved_to: bool,
    pub(super) cancels: u32,
    pub(super) writes: usize,
    /// The operation that was submitted last.
    pub(super) last: Option<OpId>,
    /// Every byte it took, in order.
    pub(super) stream: Vec<u8>,
    /// What is in the pipe whose reading end this is, if that is known.
    pub(super) inside: Option<Vec<u8>>,
    /// Somebody has its writing end.
    pub(super) is_held: bool,
    /// A thread blocks until there is something to read here, or room.
    pub(super) is_blocked_on: bool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) now: Moment,
    pub(super) ops: Vec<Held>,
    pub(super) books: Vec<Book>,
    pub(super) strays: Vec<Completion>,
    pub(super) woken: bool,
    /// The thread that blocks is called back.
    pub(super) rung: bool,
    pub(super) waiting: bool,
    pub(super) over: bool,
}

/// What became of so many bytes that were there: none is the end of the stream.
pub(super) fn moved(bytes: usize) -> MoveNow {
    match bytes {
        0 => MoveNow::EndOfStream,
        _ => MoveNow::Moved(bytes),
    }
}

impl Book {
    /// Whether the handle is closed or given back.
    pub(super) fn is_gone(&self) -> bool {
        self.closed > 0 || self.released
    }

    /// How many bytes it took.
    pub(super) fn taken(&self) -> u64 {
        self.stream.len() as u64
    }

    /// The first bytes that are in it. They stay there.
    pub(super) fn front(&self, bytes_max: usize) -> Vec<u8> {
        let inside = self.inside.as_deref().unwrap_or_default();
        inside[..inside.len().min(bytes_max)].to_vec()
    }

    /// Whether there is something in it, or the end of the stream, as far as that is known.
    pub(super) fn is_readable(&self) -> bool {
        let inside = self.inside.as_ref();
        inside.is_some_and(|inside| !inside.is_empty() || !self.is_held)
    }

    /// Gives the first bytes that are in it.
    pub(super) fn give(&mut self, bytes_max: usize) -> Vec<u8> {
        let given = self.front(bytes_max);
        if let Some(inside) = &mut self.inside {
            inside.drain(..given.len());
        }
        self.given += given.len() as u64;
        given
    }
}

impl State {
    /// Copies what is at the front of one pipe into another one, as its manner says.
    pub(super) fn copy_straight(
        &mut self,
        from: usize,
        (into, script): (usize, &[MoveNow]),
        bytes_max: usize,
    ) -> MoveNow {
        let book = &mut self.books[into];
        let answer = script[book.copies.min(script.len() - 1)];
        book.copies += 1;
        let MoveNow::Moved(most) = answer else {
            return answer;
        };
        let copies = self.books[from].front(bytes_max.min(most));
        let answer = moved(copies.len());
        self.books[into].stream.extend(copies);
        answer
    }

    pub(super) fn enter(&mut self, pipe: usize, is_slow: bool, what: &str) {
        let book = &mut self.books[pipe];
        if book.closed > 0 {
            complain(format!("{what} on the closed pipe {pipe}"));
        }
        if book.is_moved_to {
            complain(format!("{what} on pipe {pipe} while bytes are moved to it"));
        }
        book.calls += u32::from(is_slow);
    }

    /// There is something to read in `pipe` now: whoever waits for that is answered.
    pub(super) fn handle_readable(&mut self, pipe: usize) {
        for held in &mut self.ops {
            let is_wait = held.pipe == pipe && held.id.kind == OpKind::WaitReadable;
            if is_wait && held.later.is_none() {
                held.later = Some(Later::Whole);
            }
        }
    }

    /// How an operation on `pipe` ends, and the books with it.
    pub(super) fn outcome(
        &mut self,
        pipe: usize,
        op: &Op,
        how: Later,
        write_bytes_max: u64,
    ) -> Outcome {
        match (how, op) {
            (Later::Cancelled, _) => Outcome::cancelled(),
            (Later::Failed, _) => Outcome::Failed {
                class: Class::Gone,
                os: Some(GONE),
                moved: Moved::Exactly(0),
            },
            (Later::Whole, Op::Write(chunks)) => {
                let bytes = chunks.bytes().min(write_bytes_max);
                let taken = chunks.iter().flatten().take(bytes as usize);
                self.books[pipe].stream.extend(taken);
                Outcome::Transferred(bytes)
            }
            (Later::Whole, Op::Read { .. }) => {
                self.books[pipe].given += DATA.len() as u64;
                Outcome::Data(Bytes::from_static(DATA))
            }
            (Later::Whole, Op::WaitReadable | Op::UntilRead) => Outcome::Ready,
        }
    }

    /// Hands out every answer that is due.
    pub(super) fn hand_out(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.strays);
        let (due, held) = std::mem::take(&mut self.ops)
            .into_iter()
            .partition(|held: &Held| held.later.is_some());
        self.ops = held;
        for held in due {
            let how = held.later.expect("it is due");
            let outcome = self.outcome(held.pipe, &held.op, how, held.write_bytes_max);
            let id = held.id;
            completions.push(Completion { id, outcome });
        }
    }

    pub(super) fn is_anything_due(&self) -> bool {
        !self.strays.is_empty() || self.ops.iter().any(|held| held.later.is_some())
    }
}
