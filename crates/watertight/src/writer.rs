//! `PipeWriter`: accepts bytes, sends them in the background, and knows where each of them is.

use crate::driver::Driver;
use crate::handle::{self, AdoptError, HandleError, Native, Origin, OsHandle};
use crate::line::Turn;
use crate::message::Returned;
use crate::options::WriterOptions;
use crate::pump_write::{UntilReadWait, WriterCell};
use crate::reader::PipeReader;
use crate::receipt::Receipt;
use crate::refused::Refused;
use crate::wait::{Operation, Sealed, Wait};
use bytes::Bytes;
use std::io::{self, IoSlice};
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Ledger, Verb};
use watertight_os::{Direction, Handle};

/// The writing end of a pipe.
///
/// Bytes are *accepted* into a bounded queue and written by whoever is at hand: the calling thread as long as the kernel
/// takes them at once, the library's own thread otherwise; dense small messages are joined ([`WriterOptions::join`]). All methods
/// take `&self`; share it between threads by reference or `Arc`. The bytes of one call are never interleaved with another's.
///
/// **Dropping** it neither blocks nor fails, and loses nothing silently: what was accepted is still sent in the background,
/// for as long as the process lives and the peer is there ([`WriterOptions::linger`] sets a bound). The end of the process
/// waits for it, within [`exit_within`](crate::exit_within()). The account goes to the observer and into
/// [`census`](crate::census); a loss of which nobody was told goes to [`on_loss`](crate::on_loss), by default one line on
/// standard error. Use [`finish`](Self::finish) to know.
///
/// A plain pipe has no sign for a stream that was cut: if bytes are lost at the end, the peer reads a normal end of stream.
///
/// # Examples
///
/// ```
/// let (reader, writer) = watertight::pipe()?;
/// writer.send(b"every byte has its place").wait()?;
/// let receipt = writer.finish().wait()?;
/// assert!(receipt.is_complete());
/// assert_eq!(receipt.ledger().transferred(), 24);
/// # drop(reader);
/// # Ok::<(), watertight::Error>(())
/// ```
pub struct PipeWriter<B: Backend = Native> {
    cell: Arc<WriterCell<B>>,
    /// The standard traits' place among those that wait (they wait one at a time, through `&mut self`), once one is used.
    pub(crate) trait_turn: Option<Box<Turns>>,
}

/// The ids under which the standard traits wait.
#[cfg_attr(
    not(any(feature = "futures", feature = "tokio")),
    allow(
        dead_code,
        reason = "only the asynchronous traits keep a flush between two calls"
    )
)]
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) room: u64,
    pub(crate) flush: u64,
    pub(crate) flush_target: Option<u64>,
    pub(crate) over: u64,
}

impl PipeWriter {
    /// Takes over a handle somebody opened: the writing end of a pipe, a FIFO, a connected local stream socket, a
    /// terminal, a file; on Windows a pipe, overlapped or not, a console or a file.
    ///
    /// The handle's own state is left alone: on Unix `O_NONBLOCK` is never set on it, since others may share it.
    ///
    /// # Errors
    /// A handle that cannot be written, a directory, a Windows handle that another completion port owns already, or a
    /// system limit. The error names the step and gives the handle back, still usable.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// let (mut theirs, ours) = std::io::pipe()?;
    /// let writer = watertight::PipeWriter::adopt(ours)?;
    /// writer.send(b"hi").wait()?;
    /// drop(writer);
    /// # use std::io::Read;
    /// # let mut text = String::new();
    /// # theirs.read_to_string(&mut text)?;
    /// # assert_eq!(text, "hi");
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn adopt(handle: impl Into<OsHandle>) -> Result<Self, AdoptError> {
        Self::adopt_with(handle, WriterOptions::new())
    }

    /// As [`PipeWriter::adopt`], with options.
    ///
    /// # Errors
    /// As [`PipeWriter::adopt`].
    pub fn adopt_with(
        handle: impl Into<OsHandle>,
        options: WriterOptions,
    ) -> Result<Self, AdoptError> {
        Self::adopt_as(handle.into(), Origin::Unknown, options)
    }

    /// As [`PipeWriter::adopt_with`], for a pipe whose open file description nobody else has: its other end only. A child's
    /// standard input is such a pipe, and `PipeWriter::try_from(child.stdin.take()…)` does this.
    ///
    /// What differs: messages may be joined into writes of more than `PIPE_BUF` bytes, since there are no other writers; and
    /// a pipe that no flag of a call keeps from waiting (every pipe on macOS and the BSDs, a FIFO on Linux) is switched to
    /// `O_NONBLOCK` until it is given back, which spares the helper thread. If somebody shares it after all, that somebody
    /// sees both. To a socket that comes in non-blocking mode bytes are moved inside the kernel (`transfer`), as long as no second handle is
    /// made of it.
    ///
    /// # Errors
    /// As [`PipeWriter::adopt`].
    pub fn adopt_unshared(
        handle: impl Into<OsHandle>,
        options: WriterOptions,
    ) -> Result<Self, AdoptError> {
        Self::adopt_as(handle.into(), Origin::Unshared, options)
    }

    pub(crate) fn adopt_as(
        handle: OsHandle,
        origin: Origin,
        options: WriterOptions,
    ) -> Result<Self, AdoptError> {
        let (driver, handle) = handle::adopt(handle, Direction::Write, origin)?;
        match handle::prepare(&handle, &options) {
            Ok(()) => Ok(Self::on(&driver, handle, options)),
            Err(failed) => {
                let handle = driver.backend.release(handle);
                Err(HandleError::new(Verb::Adopt, failed, handle))
            }
        }
    }

    /// Gives the handle back, open, if nothing is queued or in flight (after a [`until_transferred`](Self::until_transferred), for instance).
    ///
    /// On Windows the handle stays bound to this library's completion port: it can be adopted by no other runtime, but it
    /// can be handed to another process.
    ///
    /// # Errors
    /// The writer itself comes back, with the reason: bytes are still queued or in flight, or the pipe has ended.
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
    /// From now on others may write too: what the system keeps whole among several writers (`PIPE_BUF`, 4,096 bytes on a Linux
    /// pipe) stays whole, and no message is joined past it. A child's armed input is in blocking mode from then on, or
    /// once a move inside the kernel is over that is under way. There is no `AsFd` and no `AsHandle`: the handle is closed
    /// behind a shared reference, and bytes that are written past the account would be nobody's.
    ///
    /// # Errors
    /// The end is over, or the system is out of descriptors.
    pub fn try_clone_handle(&self) -> io::Result<OsHandle> {
        self.cell.send_all_joined();
        let look = |handle: &Handle| (handle.try_clone(), handle.atomic_bytes_if_shared());
        let looked = self.cell.look(look);
        let (copy, atomic) = looked.map_err(|cause| self.release_error(cause))?;
        self.cell.share(atomic);
        copy
    }

    /// How many bytes the kernel's pipe holds, where that can be asked (Linux, Windows) and the pipe is not over.
    #[must_use]
    pub fn capacity(&self) -> Option<u64> {
        self.cell.look(Handle::capacity).ok()?
    }

    /// This end as a child's standard stream, if nothing is queued or in flight.
    ///
    /// # Errors
    /// The writer itself comes back: bytes are still queued or in flight, the pipe has ended, or, on Windows, the handle is an
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

impl<B: Backend> PipeWriter<B> {
    /// A writer on a handle of `driver`'s backend. For simulations and tests of the library itself.
    #[doc(hidden)]
    pub fn on(driver: &Arc<Driver<B>>, handle: B::Handle, options: WriterOptions) -> Self {
        Self {
            cell: WriterCell::new(driver.clone(), handle, options),
            trait_turn: None,
        }
    }

    /// Both ends of a pipe are this process's own.
    pub(crate) fn pair_with(&self, reader: &PipeReader<B>) {
        self.cell.pair_with(reader.cell());
    }

    pub(crate) fn cell(&self) -> &Arc<WriterCell<B>> {
        &self.cell
    }

    /// Where every byte is, at this moment. Never waits.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.cell.ledger()
    }

    /// How many bytes may be queued and in flight together.
    #[must_use]
    pub fn queue_bytes_max(&self) -> u64 {
        self.cell.queue_bytes_max()
    }

    /// Accepts `message` now, whole, or not at all.
    ///
    /// **Bytes.** `Ok`: all of it is accepted (and perhaps transferred already). An error: the first [`Refused::accepted`] bytes of
    /// it are, which is 0 unless the pipe failed in the middle of this message.
    ///
    /// # Errors
    /// [`QueueFull`](ErrorKind::QueueFull) without room, or while others wait in line;
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it can never fit (use [`send`](Self::send), or raise
    /// [`WriterOptions::queue_bytes_max`]); the pipe's ending otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_reader, writer) = watertight::pipe()?;
    /// let message = vec![7; 100_000];
    /// while writer.try_send(&message).is_ok() {}
    /// let refused = writer.try_send(&message).unwrap_err();
    /// assert_eq!(refused.error.kind, watertight::ErrorKind::QueueFull);
    /// assert_eq!(refused.rest_of(&message), &message[..]);
    /// # let _ = writer.abort().wait()?;
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn try_send(&self, message: &[u8]) -> Result<(), Refused> {
        let mut source = message;
        self.cell
            .try_accept(&mut source)
            .map_err(|(cause, accepted)| self.refuse(cause, accepted, ()))
    }

    /// As [`try_send`](Self::try_send), for an owned chunk, which is not copied.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send); the chunk comes back.
    pub fn try_send_bytes(&self, message: Bytes) -> Result<(), Refused<Bytes>> {
        let mut source = message.clone();
        self.cell
            .try_accept(&mut source)
            .map_err(|(cause, accepted)| self.refuse(cause, accepted, message))
    }

    /// Accepts all of `message`, waiting for room.
    ///
    /// **Bytes.** `Ok`: all of it is accepted. An error: [`Refused::accepted`] bytes of it are accepted, the others are
    /// not; a message that fits the queue is accepted whole or not at all.
    ///
    /// **Cancel safety.** A message of at most [`queue_bytes_max`](Self::queue_bytes_max) bytes: dropped before it is
    /// done, nothing of it is accepted. A larger one goes in pieces: those accepted stay accepted. Those who wait are
    /// served in order, and nothing gets between the pieces of a message.
    ///
    /// # Errors
    /// The pipe's ending, or a deadline that passed.
    pub fn send<'w, 'm>(&'w self, message: &'m [u8]) -> Wait<SendMessage<'w, &'m [u8], B>> {
        self.accept(message)
    }

    /// As [`send`](Self::send), for an owned chunk, which is not copied.
    ///
    /// **Cancel safety.** As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send); the chunk comes back.
    pub fn send_bytes(&self, message: Bytes) -> Wait<SendMessage<'_, Bytes, B>> {
        self.accept(message)
    }

    /// As [`send`](Self::send), for several slices that are one message.
    ///
    /// **Cancel safety.** As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_vectored<'w, 'm>(
        &'w self,
        message: &'m [IoSlice<'m>],
    ) -> Wait<SendMessage<'w, &'m [IoSlice<'m>], B>> {
        self.accept(message)
    }

    /// Waits until everything accepted before this call is transferred: the kernel has it.
    ///
    /// **Bytes.** `Ok`: all of that is transferred. That the peer has *read* it is another matter:
    /// [`until_read`](Self::until_read). An error changes nothing: a deadline only ends the waiting.
    ///
    /// **Cancel safety.** Only the waiting is given up.
    ///
    /// # Errors
    /// The pipe's ending, if it came first; a deadline that passed.
    pub fn until_transferred(&self) -> Wait<UntilTransferred<'_, B>> {
        Wait::new(UntilTransferred {
            writer: self,
            id: 0,
            target: Some(self.ledger().accepted()),
        })
    }

    /// Waits until the peer has read everything accepted before this call.
    ///
    /// Known exactly for Windows pipes (`FlushFileBuffers`), Linux pipes (`FIONREAD`), Linux local sockets (`SIOCOUTQ`) and the
    /// leading end of a Linux pseudo-terminal, but for an unfinished line in line mode. "Read" means taken out of the pipe, not understood.
    ///
    /// **Bytes.** `Ok`: the peer's side has taken all of that. An error changes nothing.
    ///
    /// **Cancel safety.** Only the waiting is given up.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) where it cannot be known (files, other ends of terminals, other systems' sockets);
    /// [`BrokenPipe`](ErrorKind::BrokenPipe) if the peer closed without reading all of it; the pipe's ending; a deadline.
    pub fn until_read(&self) -> Wait<UntilRead<'_, B>> {
        Wait::new(UntilRead {
            writer: self,
            wait: UntilReadWait::upto(self.ledger().accepted()),
        })
    }

    /// Accepts no more, sends the rest, ends the stream, and says how it went.
    ///
    /// The leading end of a pseudo-terminal is closed only when its program has read everything, for a close would throw the rest
    /// away (Linux).
    ///
    /// **Bytes.** `Ok`: the receipt has the final account, also if the pipe failed on the way: look at
    /// [`Receipt::is_complete`]. `Err`: only the waiting ended (the deadline passed); the writer goes on finishing, and
    /// `finish` and [`abort`](Self::abort) may be called again.
    ///
    /// **Cancel safety.** Once polled, it goes on finishing.
    ///
    /// # Errors
    /// The deadline passed; in a forked child, [`WrongProcess`](ErrorKind::WrongProcess): the stream is the parent's.
    pub fn finish(&self) -> Wait<Finish<'_, B>> {
        Wait::new(Finish {
            writer: self,
            how: How::Finish,
            begun: false,
            id: 0,
        })
    }

    /// Stops now: gives up what is queued, asks the kernel to cancel what is in flight, waits for its answer, closes.
    ///
    /// **Bytes.** `Ok`: the receipt has the final account, the bytes that were never transferred, and those in doubt.
    /// `Err`: only the waiting ended.
    ///
    /// **Cancel safety.** Once polled, it goes on stopping. It is bounded by [`WriterOptions::stop_within`] in any case.
    ///
    /// # Errors
    /// The deadline passed.
    pub fn abort(&self) -> Wait<Finish<'_, B>> {
        Wait::new(Finish {
            writer: self,
            how: How::Abort,
            begun: false,
            id: 0,
        })
    }

    fn accept<M: Returned>(&self, message: M) -> Wait<SendMessage<'_, M, B>> {
        Wait::new(SendMessage {
            writer: self,
            message,
            turn: Turn::default(),
        })
    }

    fn refuse<M>(&self, cause: Cause, accepted: u64, message: M) -> Refused<M> {
        Refused {
            error: cause.during(Verb::Write, self.ledger()),
            accepted,
            message,
        }
    }
}

/// Which pipe, where it is in its life, and its account.
impl<B: Backend> std::fmt::Debug for PipeWriter<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cell.fmt_as("PipeWriter", f)
    }
}

impl<B: Backend> Drop for PipeWriter<B> {
    fn drop(&mut self) {
        if let Some(turn) = &self.trait_turn {
            self.cell.forget(turn.room);
            self.cell.forget(turn.flush);
            self.cell.forget(turn.over);
        }
        self.cell.handle_drop();
    }
}

/// Acceptance that waits for room; see [`PipeWriter::send`].
#[derive(Debug)]
pub struct SendMessage<'a, M, B: Backend = Native> {
    writer: &'a PipeWriter<B>,
    message: M,
    turn: Turn,
}

impl<M, B: Backend> Sealed for SendMessage<'_, M, B> {}

impl<M: Returned, B: Backend> Operation for SendMessage<'_, M, B> {
    type Output = Result<(), Refused<M::Back>>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let cell = &self.writer.cell;
        let answer = cell.poll_accept(&mut self.turn, &mut self.message, waker);
        answer.map_err(|cause| {
            let accepted = self.turn.accepted;
            self.writer.refuse(cause, accepted, self.message.back())
        })
    }

    fn expire(&mut self) -> Self::Output {
        self.forget();
        let cause = Cause::of(ErrorKind::TimedOut);
        let accepted = self.turn.accepted;
        Err(self.writer.refuse(cause, accepted, self.message.back()))
    }

    fn forget(&mut self) {
        if self.turn.is_in_line() {
            self.writer.cell.leave_line(&mut self.turn);
        }
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.writer.cell.driver)
    }
}

/// See [`PipeWriter::until_transferred`].
#[derive(Debug)]
pub struct UntilTransferred<'a, B: Backend = Native> {
    writer: &'a PipeWriter<B>,
    id: u64,
    target: Option<u64>,
}

impl<B: Backend> Sealed for UntilTransferred<'_, B> {}

impl<B: Backend> Operation for UntilTransferred<'_, B> {
    type Output = Result<(), Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let cell = &self.writer.cell;
        cell.poll_transferred(&mut self.id, &mut self.target, waker)
            .map_err(|cause| cause.during(Verb::UntilTransferred, cell.ledger()))
    }

    fn expire(&mut self) -> Self::Output {
        let cause = Cause::of(ErrorKind::TimedOut);
        Err(cause.during(Verb::UntilTransferred, self.writer.ledger()))
    }

    fn forget(&mut self) {
        self.writer.cell.forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.writer.cell.driver)
    }
}

/// See [`PipeWriter::until_read`].
#[derive(Debug)]
pub struct UntilRead<'a, B: Backend = Native> {
    writer: &'a PipeWriter<B>,
    wait: UntilReadWait,
}

impl<B: Backend> Sealed for UntilRead<'_, B> {}

impl<B: Backend> Operation for UntilRead<'_, B> {
    type Output = Result<(), Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let cell = &self.writer.cell;
        cell.poll_until_read(&mut self.wait, waker)
            .map_err(|cause| cause.during(Verb::UntilRead, cell.ledger()))
    }

    fn expire(&mut self) -> Self::Output {
        let cause = Cause::of(ErrorKind::TimedOut);
        Err(cause.during(Verb::UntilRead, self.writer.ledger()))
    }

    fn forget(&mut self) {
        self.writer.cell.forget_until_read(&self.wait);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.writer.cell.driver)
    }
}

#[derive(Clone, Copy, Debug)]
enum How {
    Abort,
    Finish,
}

/// See [`PipeWriter::finish`] and [`PipeWriter::abort`].
#[derive(Debug)]
pub struct Finish<'a, B: Backend = Native> {
    writer: &'a PipeWriter<B>,
    how: How,
    begun: bool,
    id: u64,
}

impl<B: Backend> Sealed for Finish<'_, B> {}

impl<B: Backend> Operation for Finish<'_, B> {
    type Output = Result<Receipt, Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let cell = &self.writer.cell;
        let is_finish = matches!(self.how, How::Finish);
        if (is_finish || cell.is_locked_for_ever())
            && let Err(cause) = cell.driver.refuse_elsewhere()
        {
            // C4: the stream is the parent's, and it is not ended here.
            return Poll::Ready(Err(cause.during(Verb::Finish, self.writer.ledger())));
        }
        if !self.begun {
            self.begun = true;
            match self.how {
                How::Abort => cell.abort(),
                How::Finish => cell.finish(),
            }
        }
        cell.poll_over(&mut self.id, waker).map(Ok)
    }

    fn expire(&mut self) -> Self::Output {
        let verb = match self.how {
            How::Abort => Verb::Abort,
            How::Finish => Verb::Finish,
        };
        Err(Cause::of(ErrorKind::TimedOut).during(verb, self.writer.ledger()))
    }

    fn forget(&mut self) {
        self.writer.cell.forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.writer.cell.driver)
    }
}
