//! Bytes from one pipe to several others: inside the kernel where that is the same to everybody (`tee/moving.rs`), else through one buffer, the
//! source's read-ahead.
//!
//! A byte leaves the source's account when every destination that counts has accepted it, so a wait can be given up between any two
//! steps. How far each destination is, is a position in the source's stream: who reads the source besides moves the stream on, and no
//! destination gets a byte twice.

use crate::driver::Driver;
use crate::handle::Native;
use crate::pump_read::{Filled, MayBlock, SourceWait};
use crate::reader::PipeReader;
use crate::wait::{Operation, Sealed, Wait};
use crate::writer::PipeWriter;
use branches::{Branches, LostDestination};
use bytes::{Bytes, BytesMut};
use moving::RoundAnswer;
use private::Round;
use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Lent, Moment, Verb};

mod account;
mod branch;
mod branches;
mod moving;
mod policy;
mod private;
mod settings;

pub use account::{TeeDestination, TeeEnd, TeeError, TeeOutcome};
pub use policy::{DeadDestination, SlowDestination};

/// How many bytes one read asks for, and so how far one destination may be ahead of another at most: a Linux pipe's capacity.
const WINDOW_BYTES_MAX: u64 = 64 * 1024;

/// How many steps are made before others have their turn, or the deadline is looked at.
const STEPS_MAX: u32 = 16;

/// A transfer from one source to several destinations: each of them gets the same bytes, in order.
///
/// It is made once and waited for as often as it takes ([`transfer`](Tee::transfer)); between the waits it knows how far each
/// destination is. Neither end is closed. To one destination, [`transfer`](crate::transfer()) is the faster way.
///
/// On Linux bytes from a pipe that is ours alone (made by this library, or adopted as unshared) to other pipes or to /dev/null stay in the
/// kernel (tee and splice), with a pipe of our own for each destination that waits for another;
/// [`in_kernel_everywhere`](Tee::in_kernel_everywhere) has the kernel do it with other pipes, and with files, too. Everything else goes
/// through one buffer of 64 KiB, the source's read-ahead: a byte stays there until the last destination that counts has accepted it.
///
/// A destination goes on by itself until it has all that one read, or one copy inside the kernel, has brought: what was in the source's
/// pipe at that moment, and through the buffer 64 KiB of it at most. It gets more when the slowest one has all of that too. So it can be
/// far ahead if the source's pipe was full, and only by a byte if the source had written only a byte.
///
/// What a destination has accepted and not transferred is queued there as a reference to the same memory, or as a copy if it is a piece of
/// a few hundred bytes, within the destination's own [`queue_bytes_max`](crate::WriterOptions::queue_bytes_max). No thread waits for an end
/// of its own: one that waits with `.wait()` blocks on the source by itself, and blocks SIGPIPE and SIGXFSZ meanwhile, also for observers
/// that it calls.
///
/// What a [dead](DeadDestination) or a [slow](SlowDestination) destination means for the others can be said. A destination that is dropped
/// by such a rule gets no more bytes from here, and that is all: its writer is the caller's, to finish or to abort.
///
/// **Bytes.** At every moment a byte is in the source (its pipe, or its read-ahead), or every destination that counts has accepted it. A
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
    /// What the next read reads into.
    buffer: BytesMut,
    source: SourceWait,
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
        let branches = Branches::new(&from.cell().driver, to).map_err(|twice| match twice {
            Some(writer) => refused.during(Verb::Write, writer.ledger()),
            None => refused.during(Verb::Read, from.ledger()),
        })?;
        Ok(Self {
            from,
            branches,
            bytes: 0,
            bytes_max: u64::MAX,
            is_everywhere: false,
            buffer: BytesMut::new(),
            source: SourceWait::default(),
        })
    }

    /// Moves bytes until the source's stream ends, or the bound is met; and waits until the kernel has all of them.
    ///
    /// **Bytes.** `Ok`: the kernel has them, of each destination that counts ([`TeeOutcome`]). An error says which end it is about, and how
    /// many bytes each destination has accepted ([`TeeError`]). What not all of those that count have accepted is still in the source.
    ///
    /// **Cancel safety.** Dropped before it is done, nothing is lost and nothing is doubled: the next one goes on where this one stopped,
    /// at each destination. A deadline that passed is the same.
    ///
    /// # Errors
    /// A failure of the source; that of a destination, as [`dead_destination`](Tee::dead_destination) and
    /// [`slow_destination`](Tee::slow_destination) say, or of the last one; a deadline that passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use watertight::{ErrorKind, Tee};
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let mut tee = Tee::new(&from, [&to])?;
    /// source.send(b"before").wait()?;
    /// let late = tee.transfer().within(Duration::ZERO).wait().unwrap_err();
    /// assert_eq!(late.error.kind, ErrorKind::TimedOut);
    /// source.send(b" and after").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let done = tee.transfer().wait()?;
    /// assert_eq!((done.bytes, done.destinations[0].bytes), (16, 16));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn transfer(&mut self) -> Wait<TeeTransfer<'_, 'a, B>> {
        Wait::new(TeeTransfer {
            tee: self,
            has_ended: None,
            is_settling: false,
            waits_for: TeeEnd::Source,
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

    /// What some have already and the source has not let go of is read ahead: outside of a wait somebody may copy the source's handle, and
    /// what others took then would be no account's.
    fn keep_front(&mut self) {
        let cell = self.from.cell();
        let lead = self.branches.lead(cell.ledger().transferred());
        if lead > 0 && self.driver().refuse_elsewhere().is_ok() {
            cell.read_ahead_to(lead, &mut self.buffer);
        }
    }

    /// Has the waker called when a destination may have become slow.
    fn set_alarm(&mut self, waker: &Waker) {
        let (driver, now) = (self.driver(), self.now());
        self.branches.set_alarm(driver, now, waker);
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

/// See [`Tee::transfer`].
pub struct TeeTransfer<'t, 'a, B: Backend = Native> {
    tee: &'t mut Tee<'a, B>,
    /// No more bytes are to be taken: whether the stream ended.
    has_ended: Option<bool>,
    /// All is accepted, and it is waited for until the kernel has it.
    is_settling: bool,
    waits_for: TeeEnd,
}

/// What one step came to.
enum TeeStep {
    /// There may be more to do at once.
    Again,
    /// The waker is called when there is more to do.
    Pending,
}

impl<B: Backend> Sealed for TeeTransfer<'_, '_, B> {}

impl<B: Backend> Operation for TeeTransfer<'_, '_, B> {
    type Output = Result<TeeOutcome, TeeError>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        self.go_on(waker, MayBlock::No).unwrap_or_else(|| {
            waker.wake_by_ref();
            Poll::Pending
        })
    }

    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        // Once for all moves: no flag of splice keeps the signal away.
        #[cfg(unix)]
        let _held = watertight_os::WriteSignalsHeld::new();
        loop {
            if let Some(answer) = self.go_on(waker, MayBlock::Until(deadline)) {
                return answer;
            }
            let backend = &self.tee.driver().backend;
            if deadline.is_some_and(|deadline| deadline <= backend.now()) {
                return Poll::Pending;
            }
        }
    }

    fn expire(&mut self) -> Self::Output {
        let late = Cause::of(ErrorKind::TimedOut);
        Err(match self.waits_for {
            TeeEnd::Destination(index) => self.tee.failed_at(self.tee.branches.lost(index, late)),
            TeeEnd::Source => self.source_failed(late),
        })
    }

    fn forget(&mut self) {
        self.tee.keep_front();
        let source = std::mem::take(&mut self.tee.source);
        self.tee.from.cell().forget_source(&source);
        let driver = self.tee.driver();
        self.tee.branches.forget(driver);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(self.tee.driver())
    }
}

impl<B: Backend> TeeTransfer<'_, '_, B> {
    /// Goes as far as it can without waiting elsewhere than in this thread; `None` once it has made its steps and there may be more
    /// to do.
    fn go_on(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Option<Poll<Result<TeeOutcome, TeeError>>> {
        if let Err(cause) = self.tee.driver().refuse_elsewhere() {
            return Some(Poll::Ready(Err(self.source_failed(cause))));
        }
        if let Err(lost) = self.tee.branches.check_any_left() {
            return Some(Poll::Ready(Err(self.tee.failed_at(lost))));
        }
        // Whichever end is waited for, a stop of another one ends the waiting.
        let cell = self.tee.from.cell();
        cell.watch_end(&mut self.tee.source, waker);
        for branch in self.tee.branches.counting() {
            branch.watch_end(waker);
        }
        for _ in 0..STEPS_MAX {
            if let Some(has_ended) = self.has_ended {
                if self.begin_settling() {
                    continue;
                }
                return Some(self.poll_settled(has_ended, waker));
            }
            match self.step(waker, may_block) {
                Ok(TeeStep::Again) => {}
                Ok(TeeStep::Pending) => {
                    self.tee.set_alarm(waker);
                    return Some(Poll::Pending);
                }
                Err(error) => return Some(Poll::Ready(Err(error))),
            }
        }
        None
    }

    fn step(&mut self, waker: &Waker, may_block: MayBlock) -> Result<TeeStep, TeeError> {
        let left = self.tee.bytes_max.saturating_sub(self.tee.bytes);
        if left == 0 {
            self.has_ended = Some(false);
            return Ok(TeeStep::Again);
        }
        self.tee.look_for_dead()?;
        self.tee.look_for_slow()?;
        let cell = self.tee.from.cell();
        match cell.lend(&mut self.tee.source, left, waker) {
            Lent::Bytes(data) => Ok(self.pass_on(data, waker)),
            Lent::Busy => Ok(self.pending(TeeEnd::Source)),
            Lent::Ended(Ok(())) => {
                self.has_ended = Some(true);
                Ok(TeeStep::Again)
            }
            Lent::Ended(Err(cause)) => Err(self.source_failed(cause)),
            Lent::Nothing if self.tee.branches.can_move => Ok(self.move_on(left, waker, may_block)),
            Lent::Nothing => Ok(self.read_ahead(left, waker, may_block)),
        }
    }

    /// Hands what is lent to all destinations, each from where it is on.
    fn pass_on(&mut self, data: Bytes, waker: &Waker) -> TeeStep {
        let from = self.tee.from;
        // Nobody else takes any until it comes back.
        let start = from.ledger().transferred();
        let now = self.tee.now();
        let mut is_news = false;
        for branch in self.tee.branches.counting() {
            is_news |= branch.pass_on((start, &data), now, waker);
        }
        let taken = self.tee.branches.behind(start).min(data.len() as u64);
        from.cell().take_back(taken);
        self.tee.bytes += taken;
        for branch in &mut self.tee.branches.all {
            is_news |= branch.let_go();
        }
        // Nobody else refers to it if all wrote it at once: the next read reads into it.
        if let Ok(buffer) = data.try_into_mut() {
            self.tee.buffer = buffer;
        }
        is_news |= taken > 0;
        let round = Round {
            from: from.cell(),
            // Nothing is taken, and no copy is made.
            left: 0,
            everywhere: self.tee.is_everywhere,
            may_block: MayBlock::No,
            now,
            waker,
        };
        if is_news || self.tee.branches.move_copies(&round) {
            return TeeStep::Again;
        }
        self.pending_destination()
    }

    /// Reads ahead what is there: no more than one of the destinations has room for.
    fn read_ahead(&mut self, left: u64, waker: &Waker, may_block: MayBlock) -> TeeStep {
        let now = self.tee.now();
        let mut room = 0;
        for branch in self.tee.branches.counting() {
            match branch.poll_room(now, waker) {
                Poll::Pending => {}
                // The next step tells why.
                Poll::Ready(None) => return TeeStep::Again,
                Poll::Ready(Some(bytes)) => room = room.max(bytes),
            }
        }
        if room == 0 {
            return self.pending_destination();
        }
        self.fill(room.min(left), waker, may_block)
    }

    /// Has the kernel move what it can. Nothing is read ahead.
    fn move_on(&mut self, left: u64, waker: &Waker, may_block: MayBlock) -> TeeStep {
        let from = self.tee.from;
        let round = Round {
            from: from.cell(),
            left,
            everywhere: self.tee.is_everywhere,
            may_block,
            now: self.tee.now(),
            waker,
        };
        match self.tee.branches.move_on(&round, &mut self.tee.buffer) {
            RoundAnswer::Again(taken) => {
                self.tee.bytes += taken;
                TeeStep::Again
            }
            RoundAnswer::Buffer => self.read_ahead(left, waker, may_block),
            RoundAnswer::Destination => self.pending_destination(),
            RoundAnswer::Page(bytes) => self.fill(bytes, waker, may_block),
            RoundAnswer::Source => self.wait_readable(waker, may_block),
            RoundAnswer::Unavailable => {
                self.tee.branches.stop_moving();
                TeeStep::Again
            }
        }
    }

    /// Reads ahead what is there, at most so many bytes.
    fn fill(&mut self, bytes_max: u64, waker: &Waker, may_block: MayBlock) -> TeeStep {
        let bytes = usize::try_from(WINDOW_BYTES_MAX.min(bytes_max));
        let bytes = bytes.expect("a bound of ours fits a usize");
        let tee = &mut *self.tee;
        let cell = tee.from.cell();
        let filled = cell.poll_fill(&mut tee.source, &mut tee.buffer, bytes, waker, may_block);
        match filled {
            Filled::Pending => self.pending(TeeEnd::Source),
            Filled::Ready => TeeStep::Again,
            Filled::Wait => self.wait_readable(waker, may_block),
        }
    }

    fn wait_readable(&mut self, waker: &Waker, may_block: MayBlock) -> TeeStep {
        // It is before this thread blocks: whatever the waker is called for calls it back.
        self.tee.set_alarm(waker);
        let cell = self.tee.from.cell();
        match cell.poll_readable(&mut self.tee.source, waker, may_block) {
            Poll::Ready(()) => TeeStep::Again,
            Poll::Pending => self.pending(TeeEnd::Source),
        }
    }

    /// All is accepted: what is joined is sent before anybody waits for it. Whether there was any: look again.
    fn begin_settling(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.is_settling, true);
        let mut has_sent = false;
        for branch in self.tee.branches.counting() {
            if is_new {
                branch.begin_settling();
            }
            has_sent |= branch.send_joined();
        }
        has_sent
    }

    /// Waits until the kernel has all that is accepted, at each destination.
    fn poll_settled(
        &mut self,
        has_ended: bool,
        waker: &Waker,
    ) -> Poll<Result<TeeOutcome, TeeError>> {
        self.tee.look_for_slow()?;
        let now = self.tee.now();
        let settled = self.tee.branches.poll_settled(now, waker);
        let waited_for = settled.map_err(|lost| self.tee.failed_at(lost))?;
        if let Some(index) = waited_for {
            self.waits_for = TeeEnd::Destination(index);
            self.tee.set_alarm(waker);
            return Poll::Pending;
        }
        Poll::Ready(Ok(TeeOutcome {
            bytes: self.tee.bytes,
            has_ended,
            destinations: self.tee.destinations(),
        }))
    }

    fn pending(&mut self, end: TeeEnd) -> TeeStep {
        self.waits_for = end;
        TeeStep::Pending
    }

    /// Those that count have no room, or no more of what is read ahead.
    fn pending_destination(&mut self) -> TeeStep {
        let waited_for = self.tee.branches.waited_for();
        self.pending(waited_for.map_or(TeeEnd::Source, TeeEnd::Destination))
    }

    fn source_failed(&self, cause: Cause) -> TeeError {
        TeeError {
            end: TeeEnd::Source,
            error: cause.during(Verb::Read, self.tee.from.ledger()),
            bytes: self.tee.bytes,
            destinations: self.tee.destinations(),
        }
    }
}

/// Which pipe, and how far it is.
impl<B: Backend> fmt::Debug for TeeTransfer<'_, '_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeTransfer")
            .field("tee", &self.tee)
            .finish_non_exhaustive()
    }
}
