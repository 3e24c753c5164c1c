//! Bytes from one pipe to another: inside the kernel where that is the same to everybody, else through one buffer.
//!
//! The accounts of both ends are exact at every moment at which a wait can be given up: a byte is in the source's pipe, in the
//! source's read-ahead, or accepted by the destination. How each end does its part is in `pump_read/source.rs` and
//! `pump_write/destination.rs`.

use crate::driver::Driver;
use crate::handle::Native;
use crate::passage::{Allowance, Lull, Passage, sooner};
use crate::pump_read::{Filled, MayBlock, MoveHow, MovesIn, ReaderCell, SourceWait};
use crate::pump_write::{Blocked, DestinationWait, MoveBegun, WriterCell};
use crate::reader::PipeReader;
use crate::wait::{Operation, Sealed, Wait};
use crate::writer::PipeWriter;
use crate::yielding::Yielding;
use bytes::{Bytes, BytesMut};
use rhythm::{Next, Rhythm};
use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Class, ErrorKind, Lent, Moment, MoveNow, OsCode, Verb};

mod outcome;
mod rhythm;
mod settings;

pub use outcome::{TransferEnd, TransferError, Transferred};

/// The most that is moved inside the kernel at once: of a hole, for which nothing is carried. The backend has a bound of its own for what is.
const MOVE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How many bytes one read asks for where they go through the buffer: a Linux pipe's capacity.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// One half of the buffer where the source reads by operations (Windows, helper threads): it is read into while the destination writes
/// the other half. There is no third one: a pipe has one operation of a kind in flight (O1), so it would only keep more bytes from
/// both ends. As large as a read, and as what a write carries unless its options say otherwise.
const HALF_BYTES_MAX: u64 = READ_BYTES_MAX;

/// How many bytes go through the buffer when the destination takes nothing more inside the kernel and nobody can block until it
/// does: their write is the wait for it, and what comes behind them is moved again. One page, which is what a pipe takes once it says
/// that it takes something.
const WAITING_BYTES: u64 = 4096;

/// How many steps are made before others have their turn, or the deadline is looked at.
const STEPS_MAX: u32 = 16;

/// Moves bytes from `from` to `to`, until the stream of `from` ends.
///
/// Neither end is closed. What is read ahead of `from` goes first, and goes behind what is queued for `to`.
///
/// On Linux bytes from a pipe that is ours alone (made by this library, or adopted as unshared, as a child's streams are) to another pipe, to
/// /dev/null, or to a socket that is ours alone too (a child's [armed](crate::Input::armed) input) are moved inside the kernel (splice), and
/// never copied to this process.
/// A thread that waits with `.wait()` blocks on either pipe by itself, without the library's own thread, and blocks SIGPIPE and SIGXFSZ
/// meanwhile, also for observers that it calls.
/// Everything else goes through one buffer; where the system itself has the read (Windows), the next bytes are read while the last are written.
/// [`in_kernel_everywhere`](Wait::in_kernel_everywhere) has the kernel do more of it.
/// How far it is, the ledgers of both ends tell meanwhile, and the destination's [`Observer`](crate::Observer) hears.
/// It can be bounded ([`bytes_max`](Wait::bytes_max)), slowed down ([`rate`](Wait::rate)), given up when nothing moves
/// ([`idle_within`](Wait::idle_within)), shown what passes ([`inspect`](Wait::inspect)), and over sooner
/// ([`until_accepted`](Wait::until_accepted)).
///
/// **Bytes.** `Ok`: the kernel has all of them ([`Transferred`]). An error says which end it is about, and how many bytes the
/// destination had accepted ([`TransferError`]). What is not accepted there is still in the source: to be read, or handed over by
/// its [`abort`](PipeReader::abort). Each piece that was moved inside the kernel counts as one message
/// ([`Receipt::messages`](crate::Receipt::messages)). Others may read `from` and write to `to` meanwhile and get and put whole
/// pieces between; while the kernel moves bytes, [`try_send`](PipeWriter::try_send) may find no room.
///
/// **Cancel safety.** Dropped before it is done, nothing is lost and nothing is doubled: another transfer goes on where this one
/// stopped. A deadline that passed is the same.
///
/// # Errors
/// The first failure of either end; a deadline that passed, an idle one too.
///
/// # Examples
///
/// ```
/// let (from, source) = watertight::pipe()?;
/// let (sink, to) = watertight::pipe()?;
/// source.send(b"passed on").wait()?;
/// source.finish().wait()?.into_result()?;
/// let done = watertight::transfer(&from, &to).wait()?;
/// assert_eq!((done.bytes, done.has_ended), (9, true));
/// let mut buf = [0; 16];
/// assert_eq!(sink.receive(&mut buf).wait()?, 9);
/// # Ok::<(), watertight::Error>(())
/// ```
pub fn transfer<'a, B: Backend>(
    from: &'a PipeReader<B>,
    to: &'a PipeWriter<B>,
) -> Wait<Transfer<'a, B>> {
    Wait::new(Transfer::between(from.cell().clone(), to.cell().clone()))
}

/// See [`transfer`].
pub struct Transfer<'a, B: Backend = Native> {
    from: Arc<ReaderCell<B>>,
    to: Arc<WriterCell<B>>,
    /// How many bytes may still be taken.
    left: u64,
    /// How many of them in this step: as many as may pass now.
    step_bytes_max: u64,
    is_everywhere: bool,
    /// In which waits the kernel moves bytes between these two.
    moves_in: MovesIn,
    bytes: u64,
    in_kernel: u64,
    /// No more bytes are to be taken: whether the stream ended.
    has_ended: Option<bool>,
    /// It is not waited for until the kernel has what is accepted.
    is_done_once_accepted: bool,
    /// All is accepted, and it is waited for until the kernel has it.
    is_settling: bool,
    /// What the next read reads into.
    buffer: BytesMut,
    source: SourceWait,
    destination: DestinationWait,
    waits_for: TransferEnd,
    rhythm: Rhythm,
    yielding: Yielding,
    passage: Passage<'a>,
}

/// What one step came to.
enum StepOutcome {
    /// There may be more to do at once.
    Again,
    Done(Transferred),
    /// The waker is called when there is more to do.
    Pending,
}

impl<B: Backend> Sealed for Transfer<'_, B> {}

impl<B: Backend> Operation for Transfer<'_, B> {
    type Output = Result<Transferred, TransferError>;
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
            if deadline.is_some_and(|deadline| deadline <= self.now()) {
                return Poll::Pending;
            }
        }
    }

    fn expire(&mut self) -> Self::Output {
        Err(self.ended_by(ErrorKind::TimedOut))
    }

    fn forget(&mut self) {
        let source = &self.from;
        source.forget_source(&self.source);
        self.to.forget_destination(&self.destination);
        self.passage.forget(&source.driver);
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        Some(&self.from.driver)
    }
}

impl<B: Backend> Transfer<'_, B> {
    /// One that has not begun, between ends that somebody else keeps.
    pub(crate) fn between(from: Arc<ReaderCell<B>>, to: Arc<WriterCell<B>>) -> Self {
        Self {
            moves_in: MovesIn::all_if(Arc::ptr_eq(&from.driver, &to.driver)),
            from,
            to,
            left: u64::MAX,
            step_bytes_max: 0,
            is_everywhere: false,
            bytes: 0,
            in_kernel: 0,
            has_ended: None,
            is_done_once_accepted: false,
            is_settling: false,
            buffer: BytesMut::new(),
            source: SourceWait::default(),
            destination: DestinationWait::default(),
            waits_for: TransferEnd::Source,
            rhythm: Rhythm::default(),
            yielding: Yielding::default(),
            passage: Passage::default(),
        }
    }

    /// How many bytes the destination has accepted.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The end that was waited for last.
    pub(crate) const fn waits_for(&self) -> TransferEnd {
        self.waits_for
    }

    /// What it came to when somebody ends it, whatever is waited for.
    pub(crate) fn ended_by(&self, why: ErrorKind) -> TransferError {
        self.failed(self.waits_for, Cause::of(why))
    }

    /// Goes as far as it can without waiting elsewhere than in this thread; `None` once it has made its steps and there may be more
    /// to do.
    fn go_on(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Option<Poll<Result<Transferred, TransferError>>> {
        if let Err(cause) = self.from.driver.refuse_elsewhere() {
            return Some(Poll::Ready(Err(self.failed(TransferEnd::Source, cause))));
        }
        // Whichever end is waited for, a stop of the other one ends the waiting.
        self.from.watch_end(&mut self.source, waker);
        self.to.watch_end(&mut self.destination, waker);
        self.look();
        for _ in 0..STEPS_MAX {
            match self.step_unless_idle(waker, may_block) {
                Ok(StepOutcome::Again) => {}
                Ok(StepOutcome::Done(done)) => return Some(Poll::Ready(Ok(done))),
                Ok(StepOutcome::Pending) => return Some(Poll::Pending),
                Err(error) => return Some(Poll::Ready(Err(error))),
            }
        }
        None
    }

    fn now(&self) -> Moment {
        self.from.driver.backend.now()
    }

    /// A step. One that comes to waiting waits until the idle deadline at most.
    fn step_unless_idle(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Result<StepOutcome, TransferError> {
        let idle_due = self.passage.idle_due();
        match self.step(waker, sooner(may_block, idle_due))? {
            StepOutcome::Pending => self.poll_idle(idle_due, waker),
            outcome @ (StepOutcome::Again | StepOutcome::Done(_)) => Ok(outcome),
        }
    }

    fn step(&mut self, waker: &Waker, may_block: MayBlock) -> Result<StepOutcome, TransferError> {
        if let Some(has_ended) = self.has_ended {
            return self.settle(has_ended, waker);
        }
        if self.left == 0 {
            self.has_ended = Some(false);
            return Ok(StepOutcome::Again);
        }
        if let Some(cause) = self.to.refusal() {
            return Err(self.failed(TransferEnd::Destination, cause));
        }
        let source = &self.from;
        self.step_bytes_max = match self.passage.poll_allowance(source, self.left) {
            Allowance::Bytes(bytes) => bytes,
            Allowance::HeldUntil(moment) => return Ok(self.hold_back(moment, waker)),
        };
        let bytes_max = self.step_bytes_max;
        let lent = self.from.lend(&mut self.source, bytes_max, waker);
        match lent {
            Lent::Bytes(data) => return self.pass_on(data, waker),
            Lent::Busy => return Ok(self.pending(TransferEnd::Source)),
            Lent::Ended(Ok(())) => {
                self.has_ended = Some(true);
                return Ok(StepOutcome::Again);
            }
            Lent::Ended(Err(cause)) => return Err(self.failed(TransferEnd::Source, cause)),
            Lent::Nothing => {}
        }
        if self.moves_in.includes(may_block) {
            self.move_on(waker, may_block)
        } else {
            Ok(self.read_ahead(READ_BYTES_MAX, waker, may_block))
        }
    }

    /// All is accepted: waits until the kernel has it, unless that is not asked for.
    fn settle(&mut self, has_ended: bool, waker: &Waker) -> Result<StepOutcome, TransferError> {
        let done = StepOutcome::Done(Transferred {
            bytes: self.bytes,
            in_kernel: self.in_kernel,
            has_ended,
        });
        if self.is_done_once_accepted {
            return Ok(done);
        }
        if !std::mem::replace(&mut self.is_settling, true) {
            self.destination.ask_anew();
        }
        let cell = &self.to;
        match cell.poll_settled_all(&mut self.destination, waker) {
            Poll::Ready(Ok(())) => Ok(done),
            Poll::Ready(Err(cause)) => Err(self.failed(TransferEnd::Destination, cause)),
            Poll::Pending => Ok(self.pending(TransferEnd::Destination)),
        }
    }

    /// Takes nothing before then: the clock calls the waker.
    fn hold_back(&mut self, until: Moment, waker: &Waker) -> StepOutcome {
        let source = &self.from;
        self.passage.hold_back(&source.driver, until, waker);
        self.pending(TransferEnd::Source)
    }

    /// Looks how much has moved, for the idle deadline.
    fn look(&mut self) {
        let (bytes, to) = (self.bytes, &self.to);
        let moved = || bytes + to.ledger().transferred();
        self.passage.look(&self.from.driver, moved);
    }

    /// Nothing can be done now: the waker is called at the idle deadline too. A thread that may block did so until `blocked_until` at
    /// most.
    fn poll_idle(
        &mut self,
        blocked_until: Option<Moment>,
        waker: &Waker,
    ) -> Result<StepOutcome, TransferError> {
        self.look();
        let driver = &self.from.driver;
        match self.passage.poll_idle(driver, blocked_until, waker) {
            Lull::Again => Ok(StepOutcome::Again),
            Lull::Idle => Err(TransferError {
                is_idle: true,
                ..self.failed(self.waits_for, Cause::of(ErrorKind::TimedOut))
            }),
            Lull::Pending => Ok(StepOutcome::Pending),
        }
    }

    /// Hands what is lent to the destination.
    fn pass_on(&mut self, mut data: Bytes, waker: &Waker) -> Result<StepOutcome, TransferError> {
        let cell = &self.to;
        let seen = self.passage.has_inspector().then(|| data.clone());
        let answer = cell.poll_pass_on(&mut self.destination, &mut data, waker);
        let accepted = match &answer {
            Poll::Ready(Ok(accepted)) => *accepted,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.from.take_back(accepted);
        // An observer of the destination's may look at the source, or stop it.
        cell.end_pass_on();
        self.count(accepted);
        // F2: all is booked, and nothing is held. A panic goes through.
        if let Some(mut seen) = seen.filter(|_| accepted > 0) {
            seen.truncate(in_memory(accepted));
            self.passage.show(&seen);
        }
        // The inspector's own time is no silence of the ends.
        self.look();
        // Nobody else refers to it if it was written at once: the next read reads into it.
        if let Ok(buffer) = data.try_into_mut() {
            self.buffer = buffer;
        }
        match answer {
            Poll::Ready(Ok(_)) => Ok(StepOutcome::Again),
            Poll::Ready(Err(cause)) => Err(self.failed(TransferEnd::Destination, cause)),
            Poll::Pending => Ok(self.pending(TransferEnd::Destination)),
        }
    }

    /// Has the kernel move what it can. Nothing is read ahead.
    fn move_on(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Result<StepOutcome, TransferError> {
        let to = match self.to.begin_move() {
            MoveBegun::Begun(to) => {
                self.destination.ask_anew();
                to
            }
            MoveBegun::Unsettled => return self.wait_settled(waker),
            MoveBegun::Unavailable => {
                return Ok(self.read_ahead(WAITING_BYTES, waker, may_block));
            }
        };
        let Some(from) = self.from.begin_move(self.is_everywhere) else {
            drop(to);
            self.to.end_move(0, None);
            return Ok(self.read_ahead(WAITING_BYTES, waker, may_block));
        };
        // A thread that blocks for the wrong end comes back at once: it asks only after that.
        let can_guess = may_block != MayBlock::No && !self.source.cannot_block();
        // Nor before it has given the processor away.
        let asks = !self.rhythm.is_destination()
            && (!can_guess || (self.rhythm.asks() && !self.yielding.is_next()));
        let answer = self.moved((from, to), may_block, asks);
        Ok(match answer {
            // The next step finds an end or a failure in the account of the end that has it.
            MoveNow::EndOfStream | MoveNow::ReadFailed(..) | MoveNow::WriteFailed(..) => {
                StepOutcome::Again
            }
            MoveNow::Moved(n) => match self.rhythm.handle_move(n as u64) {
                Next::WaitForDestination if may_block != MayBlock::No && self.left > 0 => {
                    self.wait_writable(waker, may_block)
                }
                Next::WaitForSource if can_guess && self.left > 0 => {
                    self.wait_readable(waker, may_block)
                }
                Next::Move | Next::WaitForDestination | Next::WaitForSource => StepOutcome::Again,
            },
            MoveNow::DestinationWait => self.wait_writable(waker, may_block),
            MoveNow::Wait if self.rhythm.is_destination() => {
                self.rhythm.handle_full();
                self.wait_writable(waker, may_block)
            }
            // A read tells.
            MoveNow::Wait if asks => self.read_ahead(WAITING_BYTES, waker, may_block),
            MoveNow::SourceWait | MoveNow::Wait => self.wait_readable(waker, may_block),
            MoveNow::Unavailable => {
                self.moves_in.refuse(may_block);
                StepOutcome::Again
            }
        })
    }

    /// Gives the processor away instead of blocking, if that is to be tried now.
    fn yields(&mut self, may_block: MayBlock) -> bool {
        let backend = &self.from.driver.backend;
        self.yielding.yields(backend, may_block)
    }

    /// Moves between these two, and books it at both ends (O11).
    fn moved(
        &mut self,
        (from, to): (Arc<B::Handle>, Arc<B::Handle>),
        may_block: MayBlock,
        asks: bool,
    ) -> MoveNow {
        let how = MoveHow {
            bytes_max: in_memory(self.step_bytes_max.min(MOVE_BYTES_MAX)),
            scope: may_block.move_scope(self.is_everywhere),
            asks,
        };
        let source = &self.from;
        let answer = source.move_to(may_block, (&*from, &*to), how);
        let waits = matches!(answer, MoveNow::DestinationWait | MoveNow::Wait);
        if waits && !self.rhythm.is_destination() {
            let ahead = source.driver.backend.bytes_ahead(&from);
            self.rhythm.handle_ahead(ahead.unwrap_or(0));
        }
        // O4: whoever comes next may close them.
        drop((from, to));
        let (moved, failure) = match answer {
            MoveNow::Moved(n) => (n as u64, None),
            MoveNow::WriteFailed(class, os) => (0, Some(cause_of(class, os))),
            MoveNow::DestinationWait
            | MoveNow::EndOfStream
            | MoveNow::ReadFailed(..)
            | MoveNow::SourceWait
            | MoveNow::Unavailable
            | MoveNow::Wait => (0, None),
        };
        // An observer of the destination's may look at the source.
        source.end_move(answer);
        self.to.end_move(moved, failure);
        self.count(moved);
        // Before this step waits: what moved begins the silence anew.
        self.look();
        self.in_kernel += moved;
        answer
    }

    /// The destination takes nothing now, and there is something in the source: a thread that may block does so until it takes
    /// more; else a page goes the ordinary way, and its write is the wait.
    fn wait_writable(&mut self, waker: &Waker, may_block: MayBlock) -> StepOutcome {
        if self.yields(may_block) {
            return StepOutcome::Again;
        }
        self.rhythm.handle_destination_wait();
        let blocked = match may_block {
            MayBlock::No => Blocked::Unavailable,
            MayBlock::Until(until) => {
                let cell = &self.to;
                cell.block_until_writable(&mut self.destination, waker, until)
            }
        };
        match blocked {
            Blocked::Awake => StepOutcome::Again,
            Blocked::Late => self.pending(TransferEnd::Destination),
            Blocked::Unavailable => self.read_ahead(WAITING_BYTES, waker, may_block),
        }
    }

    /// Waits until the kernel has what the destination had accepted before: it goes first.
    fn wait_settled(&mut self, waker: &Waker) -> Result<StepOutcome, TransferError> {
        let cell = &self.to;
        match cell.poll_settled_all(&mut self.destination, waker) {
            Poll::Ready(Ok(())) => Ok(StepOutcome::Again),
            Poll::Ready(Err(cause)) => Err(self.failed(TransferEnd::Destination, cause)),
            Poll::Pending => Ok(self.pending(TransferEnd::Destination)),
        }
    }

    /// Reads ahead what is there: at most so much, and no more than the destination has room for; by an operation, one half of the
    /// buffer, while the destination may still write the other one.
    fn read_ahead(&mut self, bytes_max: u64, waker: &Waker, may_block: MayBlock) -> StepOutcome {
        let cell = &self.to;
        let room = if self.from.reads_directly() {
            cell.poll_room(&mut self.destination, waker)
        } else {
            cell.poll_half(&mut self.destination, HALF_BYTES_MAX, waker)
        };
        let room = match room {
            Poll::Pending => return self.pending(TransferEnd::Destination),
            // The next step tells why.
            Poll::Ready(None) => return StepOutcome::Again,
            Poll::Ready(Some(room)) => room,
        };
        let bytes = in_memory(bytes_max.min(room).min(self.step_bytes_max));
        let filled =
            self.from
                .poll_fill(&mut self.source, &mut self.buffer, bytes, waker, may_block);
        match filled {
            Filled::Pending => self.pending(TransferEnd::Source),
            Filled::Ready => StepOutcome::Again,
            Filled::Wait => self.wait_readable(waker, may_block),
        }
    }

    fn wait_readable(&mut self, waker: &Waker, may_block: MayBlock) -> StepOutcome {
        if self.yields(may_block) {
            return StepOutcome::Again;
        }
        self.rhythm.handle_source_wait();
        let cell = &self.from;
        match cell.poll_readable(&mut self.source, waker, may_block) {
            Poll::Ready(()) => StepOutcome::Again,
            Poll::Pending => self.pending(TransferEnd::Source),
        }
    }

    fn pending(&mut self, end: TransferEnd) -> StepOutcome {
        self.waits_for = end;
        StepOutcome::Pending
    }

    fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.left -= bytes;
        self.passage.handle_taken(bytes);
        if bytes > 0 {
            self.yielding.handle_move();
        }
    }

    fn failed(&self, end: TransferEnd, cause: Cause) -> TransferError {
        let error = match end {
            TransferEnd::Destination => cause.during(Verb::Write, self.to.ledger()),
            TransferEnd::Source => cause.during(Verb::Read, self.from.ledger()),
        };
        TransferError {
            end,
            error,
            bytes: self.bytes,
            is_idle: false,
        }
    }
}

/// Which pipes, and how far it is.
impl<B: Backend> fmt::Debug for Transfer<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

fn cause_of(class: Class, os: Option<OsCode>) -> Cause {
    Cause {
        kind: class.kind(),
        os,
    }
}

/// A number of bytes that are in memory, or no more than one of the constants above.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a bound of ours fits a usize")
}
