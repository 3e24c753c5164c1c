//! One output of a child: what is kept of it, what is past the bound, and how it ended.

use super::outcome::{AtBound, Captured, Limits};
use super::told::{OutputStream, Told};
use crate::handle::Native;
use crate::pump_read::MayBlock;
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use bytes::{Buf, Bytes};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Error, Moment, Verb};
use watertight_os::{Found, OsHandle, OsHandleRef, Process};

/// How many bytes the first read asks for: more than most commands write, less than is dear to clear.
const READ_BYTES_MIN: usize = 8 * 1024;

/// How many bytes one read asks for at most: a Linux pipe's capacity.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How many reads in a row, before the other output and the child have their turn.
const READS_MAX: u32 = 16;

#[cfg(unix)]
fn borrowed(handle: &OsHandle) -> OsHandleRef<'_> {
    std::os::fd::AsFd::as_fd(handle)
}

#[cfg(windows)]
fn borrowed(handle: &OsHandle) -> OsHandleRef<'_> {
    std::os::windows::io::AsHandle::as_handle(handle)
}

/// Who else has the pipe of this reader, into which the child writes; where the system does not show that, who of its tree may have it.
pub(super) fn holders_of_pipe(child: &Process, reader: Option<&PipeReader>) -> Vec<Found> {
    let copy = reader.and_then(|reader| reader.try_clone_handle().ok());
    copy.map_or_else(Vec::new, |copy| child.holders_of(borrowed(&copy)))
}

/// Whether a read would bring something at once: bytes, the end or a failure.
pub(super) fn is_readable<B: Backend>(reader: &PipeReader<B>) -> bool {
    let cell = reader.cell();
    let backend = &cell.driver.backend;
    let looked = cell.look(|handle| backend.is_readable(handle));
    looked.unwrap_or(false)
}

/// Who looks at the outputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Looks {
    /// A task: it is woken when there is something to read.
    Task,
    /// A thread that blocks on the outputs by itself.
    Thread,
}

/// A read that waits for nothing, and after which nobody is woken.
const ONCE: MayBlock = MayBlock::Until(Some(Moment(0)));

/// Where a stream goes on to.
#[derive(Debug)]
struct Onward<B: Backend> {
    writer: Arc<PipeWriter<B>>,
    id: u64,
    /// What came and is not accepted there yet.
    pending: Bytes,
    passed_on: u64,
}

impl<B: Backend> Onward<B> {
    fn new(writer: Arc<PipeWriter<B>>) -> Self {
        Self {
            writer,
            id: 0,
            pending: Bytes::new(),
            passed_on: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Waits until all that came is accepted.
    fn poll(&mut self, waker: &Waker) -> Poll<Result<(), Error>> {
        let cell = self.writer.cell();
        while !self.pending.is_empty() {
            let accepted = cell.poll_accept_some(&mut self.id, &mut self.pending, waker);
            match std::task::ready!(accepted) {
                Ok(accepted) => {
                    let accepted = usize::try_from(accepted).expect("no more than there was");
                    self.pending.advance(accepted);
                    self.passed_on += accepted as u64;
                }
                Err(cause) => return Poll::Ready(Err(cause.during(Verb::Write, cell.ledger()))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
pub(super) struct Capture<B: Backend> {
    stream: OutputStream,
    reader: Option<PipeReader<B>>,
    id: u64,
    /// Up to `filled` it is what is kept. Behind that it is room that is read into; it stays, so that each byte is cleared once.
    bytes: Vec<u8>,
    filled: usize,
    /// How many bytes the next read asks for at most: twice as many after one that brought all it had asked for.
    wanted: usize,
    bytes_max: usize,
    at_bound: AtBound,
    discarded: u64,
    told: u64,
    is_past_bound: bool,
    /// The end of the stream was read, or there is no stream.
    has_ended: bool,
    failure: Option<Error>,
    heard_at: Moment,
    is_closing: bool,
    is_aborted: bool,
    onward: Option<Onward<B>>,
}

impl Capture<Native> {
    /// Who else has the pipe, if its end has not come.
    pub(super) fn holders(&self, child: &Process) -> Vec<Found> {
        holders_of_pipe(child, self.reader.as_ref().filter(|_| !self.has_ended()))
    }
}

impl<B: Backend> Capture<B> {
    pub(super) fn new(
        stream: OutputStream,
        reader: Option<PipeReader<B>>,
        onward: Option<Arc<PipeWriter<B>>>,
        limits: &Limits,
    ) -> Self {
        let bound = limits.bound_of(stream);
        Self {
            has_ended: reader.is_none(),
            stream,
            reader,
            id: 0,
            bytes: Vec::new(),
            filled: 0,
            wanted: READ_BYTES_MIN,
            bytes_max: usize::try_from(bound.bytes_max).unwrap_or(usize::MAX),
            at_bound: bound.at_bound,
            discarded: 0,
            told: 0,
            is_past_bound: false,
            failure: None,
            heard_at: Moment::default(),
            is_closing: false,
            is_aborted: false,
            onward: onward.map(Onward::new),
        }
    }

    /// Whether nothing more will come, and what came is where it is to be.
    pub(super) fn has_ended(&self) -> bool {
        let is_passed_on = self.onward.as_ref().is_none_or(Onward::is_empty);
        (self.has_ended && is_passed_on) || self.failure.is_some()
    }

    /// Whether there was more than is kept, and that ends the child's tree.
    pub(super) fn ends_the_tree(&self) -> bool {
        self.is_past_bound && self.at_bound == AtBound::End
    }

    /// Whether it was closed because it cannot be passed on.
    pub(super) const fn is_left(&self) -> bool {
        self.reader.is_none() && self.failure.is_some()
    }

    /// How much was passed on.
    pub(super) fn passed_on(&self) -> u64 {
        self.onward.as_ref().map_or(0, |onward| onward.passed_on)
    }

    /// When something came last.
    pub(super) const fn heard_at(&self) -> Moment {
        self.heard_at
    }

    /// Whether what came waits for whoever it is passed on to.
    pub(super) fn is_held_up(&self) -> bool {
        self.onward
            .as_ref()
            .is_some_and(|onward| !onward.is_empty())
    }

    /// What a thread is to block on until there is something to read here. Nobody is kept waiting at a bound when the child is over.
    pub(super) fn awaited(&self, is_over: bool) -> Option<&PipeReader<B>> {
        let is_read = !self.is_held_up() && !self.has_ended() && !self.is_stopped(is_over);
        self.reader.as_ref().filter(|_| is_read)
    }

    /// Whether it reads no more, as it was told to at the bound.
    fn is_stopped(&self, is_over: bool) -> bool {
        self.is_past_bound && self.at_bound == AtBound::Stop && !is_over
    }

    /// Reads what is there; a task's waker is called when there is more.
    pub(super) fn poll(
        &mut self,
        waker: &Waker,
        looks: Looks,
        now: Moment,
        is_over: bool,
        told: &mut Told,
    ) {
        for _ in 0..READS_MAX {
            let was_held_up = self.is_held_up();
            if !self.pass_on(waker) {
                return;
            }
            if was_held_up {
                self.heard_at = now;
            }
            if self.has_ended() || self.is_stopped(is_over) {
                return;
            }
            let may_block = match looks {
                Looks::Task => MayBlock::No,
                Looks::Thread => ONCE,
            };
            if !self.poll_once(waker, may_block, now, told) {
                return;
            }
            self.hand_on();
        }
        // It is not at its end: come back.
        waker.wake_by_ref();
    }

    /// Passes on what came before. Whether that is done.
    fn pass_on(&mut self, waker: &Waker) -> bool {
        let Some(onward) = &mut self.onward else {
            return true;
        };
        match onward.poll(waker) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                self.failure.get_or_insert(error);
                // The child is to see it, as in any pipeline.
                self.reader = None;
            }
        }
        true
    }

    /// Whether something came.
    fn poll_once(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
        now: Moment,
        told: &mut Told,
    ) -> bool {
        let Some(reader) = &self.reader else {
            return false;
        };
        let end = self.filled + self.wanted;
        // More room is dear to make: more than half of what is wanted is enough for one read.
        if self.bytes.len() - self.filled <= self.wanted / 2 {
            self.bytes.resize(end, 0);
        }
        let end = end.min(self.bytes.len());
        let room = &mut self.bytes[self.filled..end];
        let room_bytes = room.len();
        let answer = reader
            .cell()
            .poll_read(&mut self.id, room, waker, may_block);
        match answer {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => {
                self.has_ended = true;
                told.tell_end(self.stream);
            }
            Poll::Ready(Ok(n)) => {
                self.heard_at = now;
                if n == room_bytes {
                    self.wanted = READ_BYTES_MAX.min(self.wanted * 2);
                }
                self.book(n, told);
            }
            Poll::Ready(Err(cause)) => {
                self.failure = Some(cause.during(Verb::Read, reader.ledger()));
            }
        }
        true
    }

    /// Tells of the `n` bytes that came behind what is kept, keeps them up to the bound, and forgets the rest. What nobody was
    /// told of is counted, and so is all that should have gone on.
    fn book(&mut self, n: usize, told: &mut Told) {
        let came = &self.bytes[self.filled..self.filled + n];
        let is_told = told.tell(self.stream, came);
        if is_told {
            self.told += n as u64;
        }
        let kept = n.min(self.bytes_max.saturating_sub(self.filled));
        if kept < n {
            self.is_past_bound = true;
            if !is_told || self.onward.is_some() {
                self.discarded += (n - kept) as u64;
            }
        }
        self.filled += kept;
    }

    /// What came goes on, if there is somebody it goes on to; of the bound so much less is left.
    fn hand_on(&mut self) {
        if let Some(onward) = &mut self.onward {
            onward.pending = Bytes::copy_from_slice(&self.bytes[..self.filled]);
            self.bytes_max -= self.filled;
            self.filled = 0;
        }
    }

    /// Whether there is something to read of which whoever waits here is not told yet, and nothing was read since then. (Whoever
    /// writes on has something there at every look.) Nothing is read while what came before waits for its taker.
    pub(super) fn is_about_to_be_told(&self, since: Moment) -> bool {
        let open = self.reader.as_ref().filter(|_| !self.has_ended());
        let open = open.filter(|_| self.heard_at <= since && !self.is_held_up());
        open.is_some_and(is_readable)
    }

    /// Takes what is in the pipe still, as far as that needs no waiting. What would be passed on is discarded: whoever it would go to
    /// takes nothing any more, or has what came before it.
    pub(super) fn drain(&mut self, told: &mut Told) {
        if self.is_held_up() {
            // Nothing may come between what waits and what is behind it.
            self.bytes_max = 0;
        }
        self.wanted = READ_BYTES_MAX;
        self.bytes.truncate(self.filled);
        for _ in 0..READS_MAX {
            let came = !self.has_ended && self.poll_once(Waker::noop(), ONCE, self.heard_at, told);
            self.discard_what_should_go_on();
            if !came {
                return;
            }
        }
    }

    /// For what came and was not handed on.
    fn discard_what_should_go_on(&mut self) {
        if self.onward.is_some() {
            self.discarded += std::mem::take(&mut self.filled) as u64;
        }
    }

    /// Closes the stream. Whether that is done.
    pub(super) fn poll_closed(&mut self, waker: &Waker, told: &mut Told) -> bool {
        if self.reader.is_none() {
            return true;
        }
        if !self.is_closing {
            self.is_closing = true;
            self.drain(told);
        }
        let Some(reader) = &self.reader else {
            return true;
        };
        let cell = reader.cell();
        if !self.is_aborted {
            self.is_aborted = true;
            cell.forget(self.id);
            self.id = 0;
            cell.abort();
        }
        let Poll::Ready(receipt) = cell.poll_over(&mut self.id, waker) else {
            return false;
        };
        // What the system read ahead of us came from the child all the same.
        for chunk in receipt.untaken() {
            self.bytes.truncate(self.filled);
            self.bytes.extend_from_slice(chunk);
            self.book(chunk.len(), told);
        }
        self.discard_what_should_go_on();
        self.reader = None;
        true
    }

    pub(super) fn forget(&self) {
        if let Some(reader) = &self.reader {
            reader.cell().forget(self.id);
        }
        if let Some(onward) = &self.onward {
            onward.writer.cell().forget(onward.id);
        }
    }

    pub(super) fn take(&mut self) -> Captured {
        let (passed_on, lost) = match &self.onward {
            None => (0, 0),
            Some(onward) => (onward.passed_on, onward.pending.len() as u64),
        };
        self.bytes.truncate(self.filled);
        self.filled = 0;
        Captured {
            passed_on,
            bytes: std::mem::take(&mut self.bytes),
            discarded: self.discarded + lost,
            told: self.told,
            has_ended: self.has_ended,
            failure: self.failure,
        }
    }
}

// With pipes of 64 KiB, and reads straight out of them.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Also where nothing of it is kept, so that the buffer never grows by what came before.
    #[test]
    fn a_stream_that_goes_on_is_read_in_pieces_of_a_whole_pipe() {
        let (reader, writer) = crate::pipe().unwrap();
        let limits = Limits::new().output_bytes_max(0);
        let mut capture = Capture::new(OutputStream::Stdout, Some(reader), None, &limits);
        let mut told = Told::new(READ_BYTES_MAX);
        let (to, lengths) = channel();
        told.set_output(Box::new(move |_, bytes| to.send(bytes.len()).unwrap()));
        for _ in 0..2 {
            writer.send(&[7; READ_BYTES_MAX]).wait().unwrap();
            let waker = Waker::noop();
            capture.poll(waker, Looks::Thread, Moment::default(), false, &mut told);
        }
        let whole = [8, 16, 32, 8, 64].map(|kibibytes: usize| kibibytes * 1024);
        assert_eq!(lengths.try_iter().collect::<Vec<_>>(), whole);
        assert_eq!(capture.bytes.len(), READ_BYTES_MAX);
    }
}
