//! One output of a child: what is kept of it, what is past the bound, and how it ended.

use super::outcome::{AtBound, Captured, Limits};
use crate::pump_read::MayBlock;
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use bytes::{Buf, Bytes};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Error, Moment, Verb};
use watertight_os::{Found, OsHandle, OsHandleRef, holders_of};

/// How many bytes one read asks for: a Linux pipe's capacity.
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

/// Where a stream goes on to.
#[derive(Debug)]
struct Onward {
    writer: Arc<PipeWriter>,
    id: u64,
    /// What came and is not accepted there yet.
    pending: Bytes,
    passed_on: u64,
}

impl Onward {
    fn new(writer: Arc<PipeWriter>) -> Self {
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
pub(super) struct Capture {
    reader: Option<PipeReader>,
    id: u64,
    bytes: Vec<u8>,
    bytes_max: usize,
    at_bound: AtBound,
    discarded: u64,
    is_past_bound: bool,
    /// The end of the stream was read, or there is no stream.
    has_ended: bool,
    failure: Option<Error>,
    heard_at: Moment,
    is_closing: bool,
    is_aborted: bool,
    onward: Option<Onward>,
}

impl Capture {
    pub(super) fn new(
        reader: Option<PipeReader>,
        onward: Option<Arc<PipeWriter>>,
        limits: &Limits,
    ) -> Self {
        Self {
            has_ended: reader.is_none(),
            reader,
            id: 0,
            bytes: Vec::new(),
            bytes_max: usize::try_from(limits.output_bytes_max).unwrap_or(usize::MAX),
            at_bound: limits.at_bound,
            discarded: 0,
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

    /// Whether there was more than is kept.
    pub(super) const fn is_past_bound(&self) -> bool {
        self.is_past_bound
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

    /// Reads what is there; the waker is called when there is more. Nobody is kept waiting at a bound when the child is over.
    pub(super) fn poll(&mut self, waker: &Waker, now: Moment, is_over: bool) {
        let stops = self.at_bound == AtBound::Stop && !is_over;
        for _ in 0..READS_MAX {
            let was_held_up = self.is_held_up();
            if !self.pass_on(waker) {
                return;
            }
            if was_held_up {
                self.heard_at = now;
            }
            if self.has_ended() || (self.is_past_bound && stops) {
                return;
            }
            if !self.poll_once(waker, now) {
                return;
            }
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
    fn poll_once(&mut self, waker: &Waker, now: Moment) -> bool {
        let Some(reader) = &self.reader else {
            return false;
        };
        let kept = self.bytes.len();
        let answer = reader.poll_append(
            &mut self.id,
            &mut self.bytes,
            READ_BYTES_MAX,
            waker,
            MayBlock::No,
        );
        match answer {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.has_ended = true,
            Poll::Ready(Ok(_)) => {
                self.heard_at = now;
                self.cut(kept);
                self.hand_on();
            }
            Poll::Ready(Err(error)) => self.failure = Some(error),
        }
        true
    }

    /// Counts what came past the bound, and forgets it.
    fn cut(&mut self, kept: usize) {
        if self.bytes.len() > self.bytes_max {
            let past = self.bytes.len() - self.bytes_max.max(kept);
            self.discarded += past as u64;
            self.is_past_bound = true;
            self.bytes.truncate(self.bytes_max);
        }
    }

    /// What came goes on, if there is somebody it goes on to; of the bound so much less is left.
    fn hand_on(&mut self) {
        if let Some(onward) = &mut self.onward {
            let bytes = std::mem::take(&mut self.bytes);
            self.bytes_max -= bytes.len();
            onward.pending = bytes.into();
        }
    }

    /// Who else has the pipe, if its end has not come.
    pub(super) fn holders(&self) -> Vec<Found> {
        let open = self.reader.as_ref().filter(|_| !self.has_ended());
        let copy = open.and_then(|reader| reader.try_clone_handle().ok());
        copy.map_or_else(Vec::new, |copy| holders_of(borrowed(&copy)))
    }

    /// Takes what is in the pipe still, as far as that needs no waiting. What would be passed on is discarded: whoever it would go to
    /// takes nothing any more, or has what came before it.
    pub(super) fn drain(&mut self) {
        if self.is_held_up() {
            // Nothing may come between what waits and what is behind it.
            self.bytes_max = 0;
        }
        for _ in 0..READS_MAX {
            let held = self.onward.take();
            let kept = self.bytes.len();
            let came = !self.has_ended && self.poll_once(Waker::noop(), self.heard_at);
            self.onward = held;
            if self.onward.is_some() {
                self.discarded += (self.bytes.len() - kept) as u64;
                self.bytes.truncate(kept);
            }
            if !came {
                return;
            }
        }
    }

    /// Closes the stream. Whether that is done.
    pub(super) fn poll_closed(&mut self, waker: &Waker) -> bool {
        if self.reader.is_none() {
            return true;
        }
        if !self.is_closing {
            self.is_closing = true;
            self.drain();
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
            let kept = self.bytes.len();
            self.bytes.extend_from_slice(chunk);
            self.cut(kept);
        }
        if self.onward.is_some() {
            self.discarded += std::mem::take(&mut self.bytes).len() as u64;
        }
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
        Captured {
            passed_on,
            bytes: std::mem::take(&mut self.bytes),
            discarded: self.discarded + lost,
            has_ended: self.has_ended,
            failure: self.failure,
        }
    }
}
