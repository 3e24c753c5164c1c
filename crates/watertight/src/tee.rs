//! Bytes from one pipe to several others: inside the kernel where that is the same to everybody (`tee/moving.rs`), else through one buffer, the
//! source's read-ahead.
//!
//! A byte leaves the source's account when every destination that counts has accepted it, so a wait can be given up between any two
//! steps. How far each destination is, is a position in the source's stream: who reads the source besides moves the stream on, and no
//! destination gets a byte twice.

use crate::driver::Driver;
use crate::handle::Native;
use crate::passage::Passage;
use crate::pump_read::SourceWait;
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use branches::{Branches, LostDestination};
use bytes::BytesMut;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use watertight_core::{Backend, Cause, Error, ErrorKind, Moment, Verb};

mod account;
mod between;
mod blocking;
mod branch;
mod branches;
mod moving;
mod policy;
mod private;
mod settings;
mod transferring;

pub use account::{TeeDestination, TeeEnd, TeeError, TeeOutcome};
pub use policy::{DeadDestination, SlowDestination};
pub use transferring::TeeTransfer;

/// A transfer from one source to several destinations: each of them gets the same bytes, in order.
///
/// It is made once and waited for as often as it takes ([`transfer`](Tee::transfer)); between the waits it knows how far each
/// destination is. Neither end is closed. To one destination, [`transfer`](crate::transfer()) is the faster way.
///
/// On Linux bytes from a pipe that is ours alone (made by this library, or adopted as unshared) to other pipes, to /dev/null, or to sockets
/// that are ours alone (children's armed inputs) stay in the kernel (tee and splice), with a pipe of our own only for a destination that is no pipe;
/// [`in_kernel_everywhere`](Tee::in_kernel_everywhere) has the kernel do it with other pipes, and with files, too. Everything else goes
/// through one buffer of 64 KiB, the source's read-ahead: a byte stays there until the last destination that counts has accepted it.
/// Where the system itself has the read (Windows), the next 64 KiB are read while the last are written.
///
/// A destination is ahead of the slowest one by what one read, or one copy inside the kernel, has brought at most: what was in the source's pipe
/// at that moment and, of a copy, what it had room for; of a file 1 MiB, or 64 MiB of a hole; through the buffer 64 KiB. It gets more when the
/// slowest one has accepted all of that too. So it can be far ahead if the source's pipe was full, and only by a byte if the source had written
/// only a byte. With [`fill_queues`](Tee::fill_queues) it goes on until the slowest one's queue is full, too.
///
/// What a destination has accepted and not transferred is queued there as a reference to the same memory, or as a copy if it is a piece of
/// a few hundred bytes (with [`fill_queues`](Tee::fill_queues), of less than 16 KiB: many may wait there), within the destination's own
/// [`queue_bytes_max`](crate::WriterOptions::queue_bytes_max). Where the system itself has the read, the next one begins once the fastest
/// destination has at most 64 KiB left to write; what a slower one has not written by then is in its queue.
///
/// No thread waits for an end of its own: one that waits with `.wait()` blocks by itself on the source, or on all full destinations at once
/// (Linux), and blocks SIGPIPE and SIGXFSZ meanwhile, also for observers that it calls.
///
/// It can be bounded ([`bytes_max`](Tee::bytes_max)), slowed down ([`rate`](Tee::rate)), given up when nothing moves
/// ([`idle_within`](Tee::idle_within)), shown what passes ([`inspect`](Tee::inspect)), and over sooner
/// ([`until_accepted`](Tee::until_accepted)).
/// What a [dead](DeadDestination) or a [slow](SlowDestination) destination means for the others can be said. A destination that is dropped
/// by such a rule gets no more bytes from here, and that is all: its writer is the caller's, to finish or to abort. So does one that the caller
/// [leaves out](Tee::leave_out), and one that is [paused](Tee::pause) gets none for a while.
///
/// **Bytes.** At every moment a byte is in the source (its pipe, its file, or its read-ahead), or every destination that counts has accepted it. A
/// destination that is ahead has a copy of bytes that are in the source still. When the `Tee` is gone, those are whoever's who reads the
/// source next: [`destinations`](Tee::destinations) tells before that how many bytes each one accepted. Others may read the source
/// meanwhile: what they take, no destination gets, but for those that had it before. That holds for this reader's own calls; a handle of the
/// source that is copied while a transfer is waited for ([`try_clone_handle`](PipeReader::try_clone_handle)) is not to be read from before
/// that wait is over. Others may write to the destinations, and put whole pieces between; while the kernel moves bytes,
/// [`try_send`](PipeWriter::try_send) may find no room. Each piece that was moved inside the kernel counts as one message.
///
/// # Examples
///
/// ```
/// let (from, source) = watertight::pipe()?;
/// let (sink, to) = watertight::pipe()?;
/// let (copy, also_to) = watertight::pipe()?;
/// source.send(b"to both").wait()?;
/// source.finish().wait()?.into_result()?;
/// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
/// let done = tee.transfer().wait()?;
/// assert_eq!((done.bytes, done.has_ended), (7, true));
/// for reader in [&sink, &copy] {
///     let mut buf = [0; 16];
///     let n = reader.receive(&mut buf).wait()?;
///     assert_eq!(&buf[..n], b"to both");
/// }
/// # Ok::<(), watertight::Error>(())
/// ```
pub struct Tee<'a, B: Backend = Native> {
    from: &'a PipeReader<B>,
    branches: Branches<'a, B>,
    /// So many bytes are taken from the source in all waits, and at most so many.
    bytes: u64,
    bytes_max: u64,
    /// Bytes are moved inside the kernel also where that differs from a read and a write.
    is_everywhere: bool,
    /// Bytes that somebody does not take at once are queued there, so that the others go on.
    fills_queues: bool,
    /// It is not waited for until the kernel has what is accepted.
    is_done_once_accepted: bool,
    /// What the next read reads into.
    buffer: BytesMut,
    source: SourceWait,
    passage: Passage<'a>,
}

impl<'a, B: Backend> Tee<'a, B> {
    /// Prepares a transfer from `from` to all of `to`. Nothing moves before [`transfer`](Tee::transfer) is waited for.
    ///
    /// # Errors
    /// The kind [`InvalidInput`](crate::ErrorKind::InvalidInput): there is no destination, or one is given twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use watertight::{ErrorKind, Tee};
    /// let (from, _source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// assert_eq!(Tee::new(&from, [&to, &to]).unwrap_err().kind, ErrorKind::InvalidInput);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn new(
        from: &'a PipeReader<B>,
        to: impl IntoIterator<Item = &'a PipeWriter<B>>,
    ) -> Result<Self, Error> {
        let refused = Cause::of(ErrorKind::InvalidInput);
        let branches = Branches::new(from.cell(), to).map_err(|twice| match twice {
            Some(writer) => refused.during(Verb::Write, writer.ledger()),
            None => refused.during(Verb::Read, from.ledger()),
        })?;
        Ok(Self {
            from,
            branches,
            bytes: 0,
            bytes_max: u64::MAX,
            is_everywhere: false,
            fills_queues: false,
            is_done_once_accepted: false,
            buffer: BytesMut::new(),
            source: SourceWait::default(),
            passage: Passage::default(),
        })
    }

    /// How many bytes are taken from the source so far, in all waits.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How each destination stands.
    #[must_use]
    pub fn destinations(&self) -> Vec<TeeDestination> {
        self.branches.accounts()
    }

    fn driver(&self) -> &'a Arc<Driver<B>> {
        let from = self.from;
        &from.cell().driver
    }

    /// The time, if somebody looks at it.
    fn now(&self) -> Option<Moment> {
        self.branches
            .slow
            .bound()
            .map(|_| self.driver().backend.now())
    }

    /// Ends the transfer with the failure of one destination.
    fn failed_at(&self, lost: LostDestination) -> TeeError {
        TeeError {
            end: TeeEnd::Destination(lost.index),
            error: lost.error,
            bytes: self.bytes,
            destinations: self.destinations(),
            is_idle: false,
        }
    }

    fn look_for_dead(&mut self) -> Result<(), TeeError> {
        let looked = self.branches.look_for_dead();
        looked.map_err(|lost| self.failed_at(lost))
    }

    fn look_for_slow(&mut self) -> Result<(), TeeError> {
        let looked = self.branches.look_for_slow(self.now());
        looked.map_err(|lost| self.failed_at(lost))
    }

    /// Looks how much has moved, for the idle deadline.
    fn look(&mut self) {
        let (driver, branches) = (self.driver(), &self.branches);
        self.passage.look(driver, || branches.moved());
    }

    /// So many bytes have left the source.
    fn count(&mut self, taken: u64) {
        self.bytes += taken;
        self.passage.handle_taken(taken);
    }

    /// What some have already and the source has not let go of is read ahead: outside of a wait somebody may copy the source's handle, and
    /// what others took then would be no account's. Of a file it stays there, behind the position.
    fn keep_front(&mut self) {
        let cell = self.from.cell();
        let lead = self.branches.lead(cell.ledger().transferred());
        if lead > 0 && self.driver().refuse_elsewhere().is_ok() {
            cell.read_ahead_to(lead, &mut self.buffer);
        }
    }

    /// Has the waker called when a destination may have become slow.
    fn set_alarm(&mut self, waker: &Waker) {
        let driver = self.driver();
        if let (Some(now), Some(due)) = (self.now(), self.branches.slow_due()) {
            self.passage.wake_by(driver, (now, due), waker);
        }
    }
}

/// Which pipe, and how far it is.
impl<B: Backend> fmt::Debug for Tee<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee")
            .field("from", self.from)
            .field("bytes", &self.bytes)
            .field("destinations", &self.destinations())
            .finish_non_exhaustive()
    }
}
