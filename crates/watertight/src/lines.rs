//! A stream line by line, with a bound on the line.

use crate::driver::Driver;
use crate::handle::Native;
use crate::pump_read::MayBlock;
use crate::reader::PipeReader;
use crate::wait::{Operation, Sealed, Wait};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Moment, Verb};

/// How many bytes one read asks for: more than almost every line, less than is dear to clear.
const READ_BYTES: usize = 8 * 1024;

/// The lines of a stream; see [`PipeReader::lines`].
///
/// Dropping it loses what it has read ahead: take that with [`into_rest`](Self::into_rest) if the stream goes on otherwise.
#[derive(Debug)]
pub struct Lines<'a, B: Backend = Native> {
    reader: &'a PipeReader<B>,
    line_bytes_max: usize,
    /// What was read; up to `start` it has been handed out, and up to `searched` there is no newline.
    read: Vec<u8>,
    start: usize,
    searched: usize,
}

/// A line, or a piece of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its bytes, the newline at its end included: all of them in order are the stream.
    pub bytes: Vec<u8>,
    /// Where it ends.
    pub end: LineEnd,
}

/// What a [`Line`] ends with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LineEnd {
    /// The bound: the same line goes on in what comes next.
    Bound,
    /// Nothing more is read: a [`Communicate`](crate::Communicate) ended before the stream did (a deadline, a failure).
    Cut,
    /// A newline.
    Newline,
    /// The end of the stream, with no newline before it.
    Stream,
}

impl Line {
    /// The bytes without the newline, and without a carriage return before it. A bound that falls between the two leaves the
    /// carriage return at the end of its piece.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        match self.bytes.strip_suffix(b"\n") {
            Some(content) => content.strip_suffix(b"\r").unwrap_or(content),
            None => &self.bytes,
        }
    }
}

impl<'a, B: Backend> Lines<'a, B> {
    pub(crate) fn new(reader: &'a PipeReader<B>, line_bytes_max: usize) -> Self {
        Self {
            reader,
            // A bound of nothing would hand out nothing for ever.
            line_bytes_max: line_bytes_max.max(1),
            read: Vec::new(),
            start: 0,
            searched: 0,
        }
    }

    /// Waits for the next line; `None` at the end of the stream.
    ///
    /// **Bytes.** `Ok(Some(line))`: the stream's next bytes, up to a newline, the bound or the end of the stream:
    /// [`Line::end`] says which. An error: what had arrived before it stays in [`rest`](Self::rest).
    ///
    /// **Cancel safety.** Dropped before it is done, nothing is lost: what had arrived goes to the next call.
    ///
    /// # Errors
    /// The pipe's first failure, after every whole line that arrived before it; a deadline that passed.
    pub fn receive(&mut self) -> Wait<ReceiveLine<'_, 'a, B>> {
        Wait::new(ReceiveLine { lines: self, id: 0 })
    }

    /// What was read and not handed out yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.read[self.start..]
    }

    /// What was read and not handed out. The reader goes on behind it.
    #[must_use]
    pub fn into_rest(mut self) -> Vec<u8> {
        self.read.split_off(self.start)
    }

    /// The next line out of what was read, if it is whole or as long as may be.
    fn take(&mut self) -> Option<Line> {
        let bound = self.start.saturating_add(self.line_bytes_max);
        let window = &self.read[self.searched..self.read.len().min(bound)];
        let newline = window.iter().position(|byte| *byte == b'\n');
        match newline {
            Some(at) => Some(self.take_upto(self.searched + at + 1, LineEnd::Newline)),
            None if self.read.len() >= bound => Some(self.take_upto(bound, LineEnd::Bound)),
            None => {
                self.searched = self.read.len();
                None
            }
        }
    }

    fn take_upto(&mut self, upto: usize, end: LineEnd) -> Line {
        let bytes = self.read[self.start..upto].to_vec();
        self.start = upto;
        self.searched = upto;
        Line { bytes, end }
    }

    /// Makes room: what was handed out goes.
    fn compact(&mut self) {
        self.read.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
    }
}

/// See [`Lines::receive`].
#[derive(Debug)]
pub struct ReceiveLine<'l, 'a, B: Backend = Native> {
    lines: &'l mut Lines<'a, B>,
    id: u64,
}

impl<B: Backend> Sealed for ReceiveLine<'_, '_, B> {}

impl<B: Backend> Operation for ReceiveLine<'_, '_, B> {
    type Output = Result<Option<Line>, Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        self.poll_line(waker, MayBlock::No)
    }

    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        self.poll_line(waker, MayBlock::Until(deadline))
    }

    fn expire(&mut self) -> Self::Output {
        Err(Cause::of(ErrorKind::TimedOut).during(Verb::Read, self.lines.reader.ledger()))
    }

    fn forget(&mut self) {
        self.lines.reader.cell().forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.lines.reader.cell().driver)
    }
}

impl<B: Backend> ReceiveLine<'_, '_, B> {
    fn poll_line(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Poll<Result<Option<Line>, Error>> {
        let lines = &mut *self.lines;
        loop {
            if let Some(line) = lines.take() {
                return Poll::Ready(Ok(Some(line)));
            }
            lines.compact();
            let answer = lines.reader.poll_append(
                &mut self.id,
                &mut lines.read,
                READ_BYTES,
                waker,
                may_block,
            );
            match answer {
                Poll::Ready(Ok(0)) => {
                    let rest = lines.read.len();
                    let last = (rest > 0).then(|| lines.take_upto(rest, LineEnd::Stream));
                    return Poll::Ready(Ok(last));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
