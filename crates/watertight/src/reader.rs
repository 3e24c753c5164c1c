//! `PipeReader`: reads into the caller's memory, and never loses what it read ahead.

use crate::driver::Driver;
use crate::handle::{self, AdoptError, HandleError, Native, Origin, OsHandle};
use crate::lines::Lines;
use crate::options::ReaderOptions;
use crate::pump_read::{MayBlock, ReaderCell};
use crate::receipt::ReadReceipt;
use crate::tokio_reactor;
use crate::wait::{Operation, Sealed, Wait};
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Ledger, Moment, Verb};
use watertight_os::{Direction, Handle};

/// How many bytes one step of [`PipeReader::receive_to_end`] asks for: a Linux pipe's capacity.
const RECEIVE_BYTES_MAX: usize = 64 * 1024;

/// The reading end of a pipe.
///
/// On Unix bytes go straight into the caller's buffer. Where the system reads only into memory of its own choosing
/// (Windows, and handles that need a helper thread) there is read-ahead, bounded by
/// [`ReaderOptions::read_ahead_bytes_max`] and never started before somebody asks. Data that arrived comes before an
/// error; the end of the stream is told once and then always.
///
/// All methods take `&self`. Of several threads that read at once each gets whole, separate pieces of the stream.
///
/// **Dropping** it neither blocks nor fails. Receive-ahead that nobody took is discarded and counted in
/// [`census`](crate::census); [`abort`](Self::abort) hands it over.
pub struct PipeReader<B: Backend = Native> {
    cell: Arc<ReaderCell<B>>,
    /// The standard traits' place among those that wait.
    pub(crate) trait_id: u64,
}

impl PipeReader {
    /// Takes over a handle somebody opened: the reading end of a pipe, a FIFO, a connected local stream socket, a
    /// terminal, a file; on Windows a pipe, overlapped or not, a console or a file.
    ///
    /// The handle's own state is left alone: on Unix `O_NONBLOCK` is never set on it, since others may share it.
    ///
    /// # Errors
    /// A handle that cannot be read, a directory, a Windows handle that another completion port owns already, or a system
    /// limit. The error names the step and gives the handle back, still usable.
    pub fn adopt(handle: impl Into<OsHandle>) -> Result<Self, AdoptError> {
        Self::adopt_with(handle, ReaderOptions::new())
    }

    /// As [`PipeReader::adopt`], with options.
    ///
    /// # Errors
    /// As [`PipeReader::adopt`].
    pub fn adopt_with(
        handle: impl Into<OsHandle>,
        options: ReaderOptions,
    ) -> Result<Self, AdoptError> {
        let (driver, handle) = handle::adopt(handle.into(), Direction::Read, Origin::Unknown)?;
        Ok(Self::made(&driver, handle, options))
    }

    /// As [`PipeReader::adopt_with`], for a pipe whose open file description nobody else has. A child's standard output is such
    /// a pipe, and `PipeReader::try_from(child.stdout.take()…)` does this.
    ///
    /// What differs: a pipe that no flag of a call keeps from waiting (every pipe on macOS and the BSDs, a FIFO on Linux) is
    /// switched to `O_NONBLOCK` until it is given back, which spares the helper thread. If somebody shares it after all, that
    /// somebody sees it.
    ///
    /// # Errors
    /// As [`PipeReader::adopt`].
    pub fn adopt_unshared(
        handle: impl Into<OsHandle>,
        options: ReaderOptions,
    ) -> Result<Self, AdoptError> {
        let (driver, handle) = handle::adopt(handle.into(), Direction::Read, Origin::Unshared)?;
        Ok(Self::made(&driver, handle, options))
    }

    /// A reader on a handle of the process's driver.
    pub(crate) fn made(
        driver: &Arc<Driver<Native>>,
        handle: Handle,
        options: ReaderOptions,
    ) -> Self {
        let reactor = tokio_reactor::register(&handle, &options);
        Self {
            cell: ReaderCell::new(driver.clone(), handle, options, reactor),
            trait_id: 0,
        }
    }

    /// Gives the handle back, open, if no read is in flight and no read-ahead is left.
    ///
    /// # Errors
    /// The reader itself comes back, with the reason.
    #[allow(
        clippy::result_large_err,
        reason = "the end itself comes back, on a path taken once at most"
    )]
    pub fn into_handle(self) -> Result<OsHandle, HandleError<Self>> {
        match self.cell.release() {
            Ok(handle) => Ok(handle::into_os(&self.cell.driver, handle)),
            Err(cause) => {
                let error = cause.during(Verb::Release, self.ledger());
                Err(HandleError::kept(error, self))
            }
        }
    }

    /// A second handle of the same thing, for a child or another program. This end stays as it is.
    ///
    /// Of several that read one pipe each gets separate pieces. There is no `AsFd` and no `AsHandle`: the handle is closed behind
    /// a shared reference, and read-ahead would be nobody's.
    ///
    /// # Errors
    /// The end is over, or the system is out of descriptors.
    pub fn try_clone_handle(&self) -> io::Result<OsHandle> {
        let copy = self.cell.look(Handle::try_clone);
        copy.map_err(|cause| self.release_error(cause))?
    }

    /// This end as a child's standard stream, if no read is in flight and no read-ahead is left.
    ///
    /// # Errors
    /// The reader itself comes back: a read is in flight, read-ahead is left, the pipe has ended, or, on Windows, the handle is an
    /// overlapped one, which programs do not expect ([`Unsupported`](ErrorKind::Unsupported)).
    #[allow(
        clippy::result_large_err,
        reason = "the end itself comes back, on a path taken once at most"
    )]
    pub fn into_stdio(self) -> Result<Stdio, HandleError<Self>> {
        match self.cell.look(Handle::fits_a_child).and_then(|fits| fits) {
            Ok(()) => self.into_handle().map(Stdio::from),
            Err(cause) => {
                let error = self.release_error(cause);
                Err(HandleError::kept(error, self))
            }
        }
    }

    fn release_error(&self, cause: Cause) -> Error {
        cause.during(Verb::Release, self.ledger())
    }
}

impl<B: Backend> PipeReader<B> {
    /// A reader on a handle of `driver`'s backend. For simulations and tests of the library itself.
    #[doc(hidden)]
    pub fn on(driver: &Arc<Driver<B>>, handle: B::Handle, options: ReaderOptions) -> Self {
        Self {
            cell: ReaderCell::new(driver.clone(), handle, options, None),
            trait_id: 0,
        }
    }

    pub(crate) fn cell(&self) -> &Arc<ReaderCell<B>> {
        &self.cell
    }

    /// Appends what is there to `into`, at most `bytes_max` bytes of it; 0 at the end of the stream.
    pub(crate) fn poll_append(
        &self,
        id: &mut u64,
        into: &mut Vec<u8>,
        bytes_max: usize,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Poll<Result<usize, Error>> {
        let filled = into.len();
        into.resize(filled + bytes_max, 0);
        let answer = self
            .cell
            .poll_read(id, &mut into[filled..], waker, may_block);
        let n = match &answer {
            Poll::Ready(Ok(n)) => *n,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        into.truncate(filled + n);
        answer.map_err(|cause| cause.during(Verb::Read, self.ledger()))
    }

    /// The account: accepted from the kernel, queued as read-ahead, transferred to callers. Never waits.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.cell.ledger()
    }

    /// Reads what is there into `buf`, waiting until there is something.
    ///
    /// **Bytes.** `Ok(n)`: the first `n` bytes of `buf` are the stream's next ones; 0 only at the end of the stream, or
    /// for an empty `buf`. An error: nothing was taken.
    ///
    /// **Cancel safety.** Dropped before it is done, nothing is lost: what arrives later goes to the next read.
    ///
    /// # Errors
    /// The pipe's first failure, after everything that arrived before it; a deadline that passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let (reader, writer) = watertight::pipe()?;
    /// let mut buf = [0; 8];
    /// let late = reader.receive(&mut buf).within(Duration::from_millis(1)).wait();
    /// assert_eq!(late.unwrap_err().kind, watertight::ErrorKind::TimedOut);
    /// drop(writer);
    /// assert_eq!(reader.receive(&mut buf).wait()?, 0);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn receive<'a>(&'a self, buf: &'a mut [u8]) -> Wait<Receive<'a, B>> {
        Wait::new(Receive {
            reader: self,
            buf,
            id: 0,
        })
    }

    /// Reads to the end of the stream, and appends what comes to `into`: at most `bytes_max` bytes.
    ///
    /// **Bytes.** `Ok(true)`: the stream ended, and `into` has all of it. `Ok(false)`: the bound was met; what is behind it is
    /// still in the pipe. An error: what had arrived before it is in `into`. Nothing is lost in any case.
    ///
    /// **Cancel safety.** Dropped before it is done, what had arrived is in `into`.
    ///
    /// # Errors
    /// The pipe's first failure, after everything that arrived before it; a deadline that passed.
    ///
    /// # Examples
    ///
    /// ```
    /// let (reader, writer) = watertight::pipe()?;
    /// writer.send(b"all of it").wait()?;
    /// writer.finish().wait()?.into_result()?;
    /// let mut all = Vec::new();
    /// let is_whole = reader.receive_to_end(&mut all, 1 << 20).wait()?;
    /// assert!(is_whole && all == b"all of it");
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn receive_to_end<'a>(
        &'a self,
        into: &'a mut Vec<u8>,
        bytes_max: usize,
    ) -> Wait<ReceiveToEnd<'a, B>> {
        Wait::new(ReceiveToEnd {
            reader: self,
            left: bytes_max,
            into,
            id: 0,
        })
    }

    /// The stream line by line. A line longer than `line_bytes_max` bytes comes in pieces, and nothing of it is lost.
    ///
    /// What is read ahead of the current line is in [`Lines`]; [`Lines::into_rest`] hands it over.
    ///
    /// # Examples
    ///
    /// ```
    /// let (reader, writer) = watertight::pipe()?;
    /// writer.send(b"first\nsecond\n").wait()?;
    /// writer.finish().wait()?.into_result()?;
    /// let mut lines = reader.lines(64 * 1024);
    /// let mut texts = Vec::new();
    /// while let Some(line) = lines.receive().wait()? {
    ///     texts.push(String::from_utf8_lossy(line.content()).into_owned());
    /// }
    /// assert_eq!(texts, ["first", "second"]);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn lines(&self, line_bytes_max: usize) -> Lines<'_, B> {
        Lines::new(self, line_bytes_max)
    }

    /// Stops now, closes, and hands over what was read ahead and not taken.
    ///
    /// **Bytes.** `Ok`: the final account and the untaken bytes. `Err`: only the waiting ended.
    ///
    /// **Cancel safety.** Once polled, it goes on stopping.
    ///
    /// # Errors
    /// The deadline passed.
    pub fn abort(&self) -> Wait<Abort<'_, B>> {
        Wait::new(Abort {
            reader: self,
            begun: false,
            id: 0,
        })
    }
}

/// Which pipe, where it is in its life, and its account.
impl<B: Backend> std::fmt::Debug for PipeReader<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cell.fmt_as("PipeReader", f)
    }
}

impl<B: Backend> Drop for PipeReader<B> {
    fn drop(&mut self) {
        self.cell.forget(self.trait_id);
        self.cell.handle_drop();
    }
}

/// See [`PipeReader::receive`].
#[derive(Debug)]
pub struct Receive<'a, B: Backend = Native> {
    reader: &'a PipeReader<B>,
    buf: &'a mut [u8],
    id: u64,
}

impl<B: Backend> Sealed for Receive<'_, B> {}

impl<B: Backend> Operation for Receive<'_, B> {
    type Output = Result<usize, Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        self.poll_read(waker, MayBlock::No)
    }

    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        self.poll_read(waker, MayBlock::Until(deadline))
    }

    fn expire(&mut self) -> Self::Output {
        Err(Cause::of(ErrorKind::TimedOut).during(Verb::Read, self.reader.ledger()))
    }

    fn forget(&mut self) {
        self.reader.cell.forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.reader.cell.driver)
    }
}

impl<B: Backend> Receive<'_, B> {
    fn poll_read(&mut self, waker: &Waker, may_block: MayBlock) -> Poll<Result<usize, Error>> {
        let cell = &self.reader.cell;
        cell.poll_read(&mut self.id, self.buf, waker, may_block)
            .map_err(|cause| cause.during(Verb::Read, cell.ledger()))
    }
}

/// See [`PipeReader::receive_to_end`].
#[derive(Debug)]
pub struct ReceiveToEnd<'a, B: Backend = Native> {
    reader: &'a PipeReader<B>,
    left: usize,
    into: &'a mut Vec<u8>,
    id: u64,
}

impl<B: Backend> Sealed for ReceiveToEnd<'_, B> {}

impl<B: Backend> Operation for ReceiveToEnd<'_, B> {
    type Output = Result<bool, Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        self.poll_all(waker, MayBlock::No)
    }

    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        self.poll_all(waker, MayBlock::Until(deadline))
    }

    fn expire(&mut self) -> Self::Output {
        Err(Cause::of(ErrorKind::TimedOut).during(Verb::Read, self.reader.ledger()))
    }

    fn forget(&mut self) {
        self.reader.cell.forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.reader.cell.driver)
    }
}

impl<B: Backend> ReceiveToEnd<'_, B> {
    fn poll_all(&mut self, waker: &Waker, may_block: MayBlock) -> Poll<Result<bool, Error>> {
        while self.left > 0 {
            let bytes_max = self.left.min(RECEIVE_BYTES_MAX);
            let answer =
                self.reader
                    .poll_append(&mut self.id, self.into, bytes_max, waker, may_block);
            match answer {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(true)),
                Poll::Ready(Ok(n)) => self.left -= n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(false))
    }
}

/// See [`PipeReader::abort`].
#[derive(Debug)]
pub struct Abort<'a, B: Backend = Native> {
    reader: &'a PipeReader<B>,
    begun: bool,
    id: u64,
}

impl<B: Backend> Sealed for Abort<'_, B> {}

impl<B: Backend> Operation for Abort<'_, B> {
    type Output = Result<ReadReceipt, Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let cell = &self.reader.cell;
        if cell.is_locked_for_ever() {
            let cause = Cause::of(ErrorKind::WrongProcess);
            return Poll::Ready(Err(cause.during(Verb::Abort, cell.ledger())));
        }
        if !self.begun {
            self.begun = true;
            cell.abort();
        }
        cell.poll_over(&mut self.id, waker).map(Ok)
    }

    fn expire(&mut self) -> Self::Output {
        Err(Cause::of(ErrorKind::TimedOut).during(Verb::Abort, self.reader.ledger()))
    }

    fn forget(&mut self) {
        self.reader.cell.forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.reader.cell.driver)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_read_is_small() {
        assert!(size_of::<Wait<Receive<'_>>>() <= 56);
    }
}
