//! A reader as the source of a transfer: what it has, bytes that leave it without passing through the caller's hands, and waiting
//! for more without reading it.
//!
//! No byte is ever in a waiting value's hands alone: it is in the pipe, in read-ahead, or accepted by the destination.

use super::{MayBlock, ReaderCell, State, Wanted};
use crate::joined;
use crate::options::ReaderOptions;
use bytes::BytesMut;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use watertight_core::{Backend, Lent, Moment, MoveNow, MoveScope, Op, ReadNow, ReadPhase};

/// Where a transfer's wait for its source stands. Belongs to the caller's waiting value.
#[derive(Debug, Default)]
pub(crate) struct SourceWait {
    id: u64,
    /// Its place among those that wait for the end.
    end_id: u64,
    /// This thread cannot block until then.
    cannot_block: bool,
}

impl SourceWait {
    /// Whether this thread waits by an operation, which may not see what is there already.
    pub(crate) const fn cannot_block(&self) -> bool {
        self.cannot_block
    }
}

/// How bytes are to be moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoveHow {
    pub(crate) bytes_max: usize,
    pub(crate) scope: MoveScope,
    /// If nothing is moved, it is asked which of the two ends is waited for.
    pub(crate) asks: bool,
}

/// The most of what somebody has had already that one read brings: as much as the largest pipe of a user's holds.
const HAD_BYTES_MAX: u64 = 1024 * 1024;

/// What came of an attempt to read ahead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Filled {
    /// An operation reads, or somebody else; the waker is called.
    Pending,
    /// Something is read ahead, or nothing more will come.
    Ready,
    /// Nothing is in the pipe now.
    Wait,
}

/// What to do next for a wait without a read.
enum NextWait<B: Backend> {
    /// At most for so long, with the id under which a stop calls this thread back.
    Block(Arc<B::Handle>, Option<Duration>, u64),
    Late,
    Pump,
    Ready,
    /// With the waker of before, to be dropped without the lock.
    Wait(Option<Waker>),
}

/// What to do next to read ahead.
enum NextFill<B: Backend> {
    /// With how many bytes to ask for, and whether the pipe gets more room first.
    Direct(Arc<B::Handle>, usize, bool),
    Pump,
    Ready,
    /// With the waker of before, to be dropped without the lock.
    Wait(Option<Waker>),
}

impl<B: Backend> ReaderCell<B> {
    /// Lends the first of what is read ahead, at most `bytes_max` bytes. Until [`take_back`](Self::take_back) nobody else reads,
    /// and the handle stays open. While somebody else reads, the waker is kept.
    pub(crate) fn lend(&self, wait: &mut SourceWait, bytes_max: u64, waker: &Waker) -> Lent {
        let mut state = self.lock();
        let lent = state.half.lend(bytes_max);
        let replaced = (lent == Lent::Busy)
            .then(|| state.watchers.watch(&mut wait.id, Wanted::Bytes, waker))
            .flatten();
        drop(state);
        drop(replaced);
        lent
    }

    /// Whether nothing more comes out of it, which can be told at once: it was stopped, it failed, or the end was seen, and nothing
    /// is read ahead.
    pub(crate) fn is_at_end(&self) -> bool {
        let state = self.lock();
        state.half.ledger().queued() == 0 && !state.half.is_dry()
    }

    /// Whether it is a regular file; not any more once it is closed.
    pub(crate) fn is_file(&self) -> bool {
        let state = self.lock();
        let handle = state.handle.handle_ref();
        handle.is_some_and(|handle| self.driver.backend.is_file(handle))
    }

    /// What was lent comes back; the first `taken` bytes of it are accepted elsewhere.
    pub(crate) fn take_back(self: &Arc<Self>, taken: u64) {
        let is_given_up = self.change(|state| {
            state.half.take_back(taken);
            state.half.is_given_up()
        });
        if is_given_up {
            self.pump();
        }
    }

    /// The handle, for a move out of it; nothing if something is read ahead, somebody reads, or it is not open. Nor if it may be
    /// a pipe of packets, unless it is to be moved from `everywhere`: packets are moved as packets. Until
    /// [`end_move`](Self::end_move) nobody else reads, and the handle stays open.
    pub(crate) fn begin_move(&self, everywhere: bool) -> Option<Arc<B::Handle>> {
        let mut state = self.lock();
        if !state.half.is_dry() || state.half.is_busy() || state.handle.is_inside() {
            return None;
        }
        if state.packets && !everywhere {
            return None;
        }
        state.half.begin_direct();
        let handle = state.handle.handle();
        let enlarges = state.is_to_enlarge();
        drop(state);
        if enlarges {
            self.driver.backend.enlarge(&handle);
        }
        Some(handle)
    }

    /// Moves bytes, with the reactor's knowledge if a task does it.
    pub(crate) fn move_to(
        &self,
        may_block: MayBlock,
        (from, to): (&B::Handle, &B::Handle),
        how: MoveHow,
    ) -> MoveNow {
        let mut moved = MoveNow::Unavailable;
        self.read_seen(may_block, || {
            let backend = &self.driver.backend;
            moved = backend.move_now(from, to, how.bytes_max, how.scope);
            if moved == MoveNow::Wait && how.asks {
                moved = backend.who_waits(from, to);
            }
            as_read(moved)
        });
        moved
    }

    /// Asks which of two ends is waited for, as a move that moved nothing. `None`: somebody else has this one.
    pub(crate) fn who_waits(self: &Arc<Self>, to: &B::Handle) -> Option<MoveNow> {
        let from = self.begin_move(false)?;
        let answer = self.driver.backend.who_waits(&from, to);
        // O4: whoever comes next may close it.
        drop(from);
        self.end_move(answer);
        Some(answer)
    }

    /// The answer to that move. The caller has let go of the handle.
    pub(crate) fn end_move(self: &Arc<Self>, answer: MoveNow) {
        self.end_direct(as_read(answer));
    }

    /// Copies bytes into another pipe, perhaps an empty one of our own, with the reactor's knowledge if a task does it. They stay where they are. The handle is from
    /// [`begin_move`](Self::begin_move).
    pub(crate) fn duplicate_to(
        &self,
        may_block: MayBlock,
        (from, into): (&B::Handle, &B::Handle),
        how: MoveHow,
        is_empty: bool,
    ) -> MoveNow {
        let mut copied = MoveNow::Unavailable;
        self.read_seen(may_block, || {
            let backend = &self.driver.backend;
            copied = backend.duplicate_now(from, into, how.bytes_max, how.scope);
            // Into an empty pipe of our own: only the source can have to be waited for, and the reactor has to hear that.
            if is_empty && copied == MoveNow::Wait {
                copied = MoveNow::SourceWait;
            }
            as_read(copied)
        });
        copied
    }

    /// The last answer to such copies. The caller has let go of the handle.
    pub(crate) fn end_duplicates(self: &Arc<Self>, answer: MoveNow) {
        self.end_direct(match answer {
            // Nothing has left the pipe.
            MoveNow::Moved(_) => ReadNow::Unavailable,
            MoveNow::DestinationWait
            | MoveNow::EndOfStream
            | MoveNow::ReadFailed(..)
            | MoveNow::SourceWait
            | MoveNow::Unavailable
            | MoveNow::Wait
            | MoveNow::WriteFailed(..) => as_read(answer),
        });
    }

    /// Takes bytes out of the pipe that others have accepted already: so many as `bytes` says of the position of the first one, when nobody
    /// else takes any. `None`: somebody else has the pipe, or it is none.
    pub(crate) fn drop_front(
        self: &Arc<Self>,
        buffer: &mut BytesMut,
        may_block: MayBlock,
        bytes: impl FnOnce(u64) -> usize,
    ) -> Option<ReadNow> {
        let handle = self.begin_move(false)?;
        let bytes = bytes(self.ledger().transferred());
        if bytes == 0 {
            drop(handle);
            self.end_direct(ReadNow::Unavailable);
            return None;
        }
        buffer.resize(bytes, 0);
        let now = self.read_directly(&handle, buffer, may_block);
        // O4: whoever comes next may close it.
        drop(handle);
        self.end_direct(now);
        Some(now)
    }

    pub(super) fn end_direct(self: &Arc<Self>, answer: ReadNow) {
        let is_given_up = self.change(|state| {
            state.half.handle_now(answer);
            state.half.is_given_up()
        });
        if is_given_up {
            self.pump();
        }
    }

    /// Has the waker called when the pipe is over, which only a stop can bring about while somebody has it.
    pub(crate) fn watch_end(&self, wait: &mut SourceWait, waker: &Waker) {
        let mut state = self.lock();
        let replaced = state.watchers.watch(&mut wait.end_id, Wanted::Over, waker);
        drop(state);
        drop(replaced);
    }

    /// Waits no longer for anything.
    pub(crate) fn forget_source(&self, wait: &SourceWait) {
        self.forget(wait.id);
        self.forget(wait.end_id);
    }

    /// Whether it reads by calls that do not wait, as far as is known, and not by operations.
    pub(crate) fn reads_directly(&self) -> bool {
        self.lock().direct
    }

    /// Reads ahead at most `bytes_max` bytes, or a whole packet, of what is there now; only where a handle reads by operations it
    /// waits.
    pub(crate) fn poll_fill(
        self: &Arc<Self>,
        wait: &mut SourceWait,
        buffer: &mut BytesMut,
        bytes_max: usize,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Filled {
        self.leave_reactor_to_others(may_block);
        loop {
            let next = self.lock().next_fill(wait, bytes_max, waker);
            match next {
                NextFill::Ready => return Filled::Ready,
                NextFill::Pump => self.pump(),
                NextFill::Wait(replaced) => {
                    drop(replaced);
                    return Filled::Pending;
                }
                NextFill::Direct(handle, bytes, enlarges) => {
                    if enlarges {
                        self.driver.backend.enlarge(&handle);
                    }
                    buffer.resize(bytes, 0);
                    let now = self.read_directly(&handle, buffer, may_block);
                    drop(handle);
                    self.end_fill(now, buffer);
                    if now == ReadNow::Wait {
                        return Filled::Wait;
                    }
                }
            }
        }
    }

    /// Reads behind what is read ahead until that is `bytes` bytes, as far as they are there and nobody else reads. Somebody has had them, so
    /// that they must not stay where others find them.
    pub(crate) fn read_ahead_to(self: &Arc<Self>, bytes: u64, buffer: &mut BytesMut) {
        // D5: each read but the last one brings some of what is missing.
        while self.read_ahead_once_to(bytes, buffer) {}
    }

    /// One read of these. Whether it brought something.
    pub(crate) fn read_ahead_once_to(self: &Arc<Self>, bytes: u64, buffer: &mut BytesMut) -> bool {
        let begun = self.lock().begin_fill_to(bytes);
        let Some((handle, missing)) = begun else {
            return false;
        };
        buffer.resize(missing, 0);
        let now = self.read_directly(&handle, buffer, MayBlock::Until(None));
        // O4: whoever comes next may close it.
        drop(handle);
        self.end_fill(now, buffer);
        matches!(now, ReadNow::Data(_))
    }

    /// The answer to a direct read whose bytes are read ahead. The caller has let go of the handle.
    fn end_fill(self: &Arc<Self>, answer: ReadNow, buffer: &mut BytesMut) {
        let is_given_up = self.change(|state| {
            state.handle_filled(answer, buffer);
            state.half.is_given_up()
        });
        if is_given_up {
            self.pump();
        }
    }

    /// Waits until there may be something to read, and reads nothing: look again. A thread that may block does so here, and comes
    /// back for whatever its waker is called for.
    pub(crate) fn poll_readable(
        self: &Arc<Self>,
        wait: &mut SourceWait,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Poll<()> {
        self.leave_reactor_to_others(may_block);
        if may_block != MayBlock::No && joined::send_all() {
            // Observers may have run, and have taken a wake that was about the destination.
            return Poll::Ready(());
        }
        // The caller has looked before, so an operation that was answered at once is news.
        let mut is_asked = false;
        loop {
            let now = self.driver.backend.now();
            let next = match is_asked {
                false => self.lock().next_wait(wait, waker, may_block, now),
                true => self.lock().next_of_asked(wait, waker),
            };
            match next {
                NextWait::Ready => return Poll::Ready(()),
                NextWait::Late => return Poll::Pending,
                NextWait::Pump => {
                    is_asked = true;
                    self.pump();
                }
                NextWait::Wait(replaced) => {
                    drop(replaced);
                    return Poll::Pending;
                }
                NextWait::Block(handle, left, id) => {
                    let is_offered = self.driver.backend.block_until_readable(&handle, left);
                    drop(handle);
                    self.forget(id);
                    self.end_direct(ReadNow::Wait);
                    wait.cannot_block = !is_offered;
                    // Whatever it says, it may have taken a wake that was about the destination: look there first.
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<B: Backend> State<B> {
    fn next_fill(&mut self, wait: &mut SourceWait, bytes_max: usize, waker: &Waker) -> NextFill<B> {
        if !self.half.is_dry() {
            return NextFill::Ready;
        }
        if self.half.is_busy() || self.handle.is_inside() {
            return NextFill::Wait(self.watchers.watch(&mut wait.id, Wanted::Bytes, waker));
        }
        // No more than was asked for, however little: what is behind it stays in the pipe. Behind a packet's beginning nothing
        // does: the kernel throws away what there is no room for.
        let bytes = if self.packets {
            bytes_max.max(ReaderOptions::PACKET_BYTES_MAX)
        } else {
            bytes_max
        };
        if self.direct {
            self.half.begin_direct();
            return NextFill::Direct(self.handle.handle(), bytes, self.is_to_enlarge());
        }
        self.half.ask(Op::Read {
            bytes_max: bytes.min(self.read_ahead_bytes_max as usize),
        });
        NextFill::Pump
    }

    /// Begins a direct read of what is missing until `bytes` bytes are read ahead. `None`: nothing is, nothing more comes, or somebody else
    /// reads, or only an operation does.
    fn begin_fill_to(&mut self, bytes: u64) -> Option<(Arc<B::Handle>, usize)> {
        let missing = bytes.saturating_sub(self.half.ledger().queued());
        let is_open = self.half.phase() == Ok(ReadPhase::Open);
        let is_idle = !self.half.is_busy() && !self.handle.is_inside();
        if missing == 0 || !is_open || !is_idle || !self.direct {
            return None;
        }
        let missing = usize::try_from(missing.min(HAD_BYTES_MAX));
        let missing = missing.expect("a bound of ours fits a usize");
        self.half.begin_direct();
        Some((self.handle.handle(), missing))
    }

    /// Books a direct read whose bytes are read ahead.
    fn handle_filled(&mut self, now: ReadNow, buffer: &mut BytesMut) {
        if let ReadNow::Data(n) = now {
            let mut data = mem::take(buffer);
            data.truncate(n);
            self.half.handle_ahead(data.freeze());
            return;
        }
        if now == ReadNow::Unavailable {
            self.direct = false;
        }
        self.half.handle_now(now);
    }

    /// Once an operation was asked for that is answered when there is something to read.
    fn next_of_asked(&mut self, wait: &mut SourceWait, waker: &Waker) -> NextWait<B> {
        if self.half.is_busy() || self.handle.is_inside() {
            return NextWait::Wait(self.watchers.watch(&mut wait.id, Wanted::Bytes, waker));
        }
        NextWait::Ready
    }

    fn next_wait(
        &mut self,
        wait: &mut SourceWait,
        waker: &Waker,
        may_block: MayBlock,
        now: Moment,
    ) -> NextWait<B> {
        if !self.half.is_dry() {
            return NextWait::Ready;
        }
        if self.half.is_busy() || self.handle.is_inside() {
            return self.next_of_asked(wait, waker);
        }
        if let (MayBlock::Until(until), false) = (may_block, wait.cannot_block) {
            let left = until.map(|until| now.until(until));
            if left == Some(Duration::ZERO) {
                return NextWait::Late;
            }
            self.half.begin_direct();
            let mut id = 0;
            let before = self.watchers.watch(&mut id, Wanted::GivenUp, waker);
            debug_assert!(before.is_none(), "its place is new");
            return NextWait::Block(self.handle.handle(), left, id);
        }
        self.half.ask(Op::WaitReadable);
        NextWait::Pump
    }
}

/// What a move is to the source.
fn as_read(answer: MoveNow) -> ReadNow {
    match answer {
        MoveNow::Moved(n) => ReadNow::Data(n),
        MoveNow::EndOfStream => ReadNow::EndOfStream,
        MoveNow::ReadFailed(class, os) => ReadNow::Failed(class, os),
        MoveNow::SourceWait => ReadNow::Wait,
        MoveNow::DestinationWait
        | MoveNow::Unavailable
        | MoveNow::Wait
        | MoveNow::WriteFailed(..) => ReadNow::Unavailable,
    }
}
