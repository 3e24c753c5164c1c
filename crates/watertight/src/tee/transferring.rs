//! One wait of a transfer to several destinations: what its steps are, and which end is waited for.
//!
//! Never here: what outlives it, which is [`Tee`]'s.

use super::Tee;
use super::account::{TeeEnd, TeeError, TeeOutcome};
use super::blocking::AllBlocked;
use super::moving::RoundAnswer;
use super::private::Round;
use crate::driver::Driver;
use crate::handle::Native;
use crate::passage::{Allowance, Lull, sooner};
use crate::pump_read::{Filled, MayBlock};
use crate::wait::{Operation, Sealed, Wait};
use crate::yielding::Yielding;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, ErrorKind, Lent, Moment, Verb};

/// How many bytes one read asks for, and so how far one destination may be ahead of another at most: a Linux pipe's capacity.
const WINDOW_BYTES_MAX: u64 = 64 * 1024;

/// One half of the buffer where the source reads by operations (Windows, helper threads): it is read into while the destinations write the
/// other half. A third one would not make the fastest destination faster: a pipe has one operation of a kind in flight (O1). What another one
/// lags behind is in its queue.
const HALF_BYTES_MAX: u64 = WINDOW_BYTES_MAX;

/// Fewer bytes than so many are copied before they are queued: a queue full of references to them would keep the whole memory of each read.
const COPIED_BELOW: usize = 16 * 1024;

/// How many steps are made before others have their turn, or the deadline is looked at.
const STEPS_MAX: u32 = 16;

/// Nor are more made once all destinations together have got so much: a step from file to files gives each of them a MiB, and waits for their disk.
const TURN_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl<'a, B: Backend> Tee<'a, B> {
    /// Moves bytes until the source's stream ends, or the bound is met; and waits until the kernel has all of them, unless
    /// [`until_accepted`](Tee::until_accepted) says otherwise.
    ///
    /// **Bytes.** `Ok`: the kernel has them, of each destination that counts ([`TeeOutcome`]). An error says which end it is about, and how
    /// many bytes each destination has accepted ([`TeeError`]). What not all of those that count have accepted is still in the source.
    ///
    /// **Cancel safety.** Dropped before it is done, nothing is lost and nothing is doubled: the next one goes on where this one stopped,
    /// at each destination. A deadline that passed is the same.
    ///
    /// # Errors
    /// A failure of the source; that of a destination, as [`dead_destination`](Tee::dead_destination) and
    /// [`slow_destination`](Tee::slow_destination) say, or of the last one; a deadline that passed, an idle one too.
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
            yielding: Yielding::default(),
        })
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
    yielding: Yielding,
}

/// What one step came to.
enum TeeStep {
    /// There may be more to do at once.
    Again,
    Done(TeeOutcome),
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
        let may_block = MayBlock::Until(deadline);
        loop {
            let answer = self.go_on(waker, may_block);
            if let Some(answer @ Poll::Ready(_)) = answer {
                return answer;
            }
            let backend = &self.tee.driver().backend;
            let is_late = deadline.is_some_and(|deadline| deadline <= backend.now());
            if is_late {
                self.even_out(waker, may_block);
            }
            if is_late || answer.is_some() {
                return Poll::Pending;
            }
        }
    }

    fn expire(&mut self) -> Self::Output {
        Err(self.late())
    }

    fn forget(&mut self) {
        self.tee.keep_front();
        let source = std::mem::take(&mut self.tee.source);
        self.tee.from.cell().forget_source(&source);
        self.tee.branches.forget();
        let driver = self.tee.driver();
        self.tee.passage.forget(driver);
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
        self.tee.look();
        self.tee.branches.try_again();
        let before = self.tee.branches.bytes();
        for _ in 0..STEPS_MAX {
            match self.step_unless_idle(waker, may_block) {
                Ok(TeeStep::Again) => {
                    if self.tee.branches.bytes() - before >= TURN_BYTES_MAX {
                        return None;
                    }
                }
                Ok(TeeStep::Done(done)) => return Some(Poll::Ready(Ok(done))),
                Ok(TeeStep::Pending) => return Some(Poll::Pending),
                Err(error) => return Some(Poll::Ready(Err(error))),
            }
        }
        None
    }

    /// A step. One that comes to waiting waits until the idle deadline at most.
    fn step_unless_idle(
        &mut self,
        waker: &Waker,
        may_block: MayBlock,
    ) -> Result<TeeStep, TeeError> {
        let idle_due = self.tee.passage.idle_due();
        let step = self.step(waker, sooner(may_block, idle_due))?;
        // Each time, for the time at which something moved counts.
        self.tee.look();
        match step {
            TeeStep::Pending => self.poll_idle(idle_due, waker),
            step @ (TeeStep::Again | TeeStep::Done(_)) => Ok(step),
        }
    }

    /// Nothing can be done now: the clock calls the waker when a destination may have become slow, and at the idle deadline. A thread that
    /// may block did so until `blocked_until` at most.
    fn poll_idle(
        &mut self,
        blocked_until: Option<Moment>,
        waker: &Waker,
    ) -> Result<TeeStep, TeeError> {
        self.tee.set_alarm(waker);
        let driver = self.tee.driver();
        match self.tee.passage.poll_idle(driver, blocked_until, waker) {
            Lull::Again => Ok(TeeStep::Again),
            Lull::Idle => Err(TeeError {
                is_idle: true,
                ..self.late()
            }),
            Lull::Pending => Ok(TeeStep::Pending),
        }
    }

    /// The deadline has passed: the kernel moves what some have already on to the others, as far as those take it at once. Only the rest has
    /// to be read ahead, and goes through the buffer.
    fn even_out(&mut self, waker: &Waker, may_block: MayBlock) {
        let from = self.tee.from.cell();
        for _ in 0..STEPS_MAX {
            let lead = self.tee.branches.lead(from.ledger().transferred());
            if lead == 0 || !self.is_to_move(may_block) {
                return;
            }
            let round = Round {
                from,
                left: lead,
                everywhere: self.tee.is_everywhere,
                without_disk: self.tee.fills_queues,
                may_block,
                now: self.tee.now(),
                waker,
            };
            let moved = self.tee.branches.move_on(&round, &mut self.tee.buffer);
            let RoundAnswer::Again(taken) = moved else {
                return;
            };
            self.tee.count(taken);
        }
    }

    fn step(&mut self, waker: &Waker, may_block: MayBlock) -> Result<TeeStep, TeeError> {
        if let Some(has_ended) = self.has_ended {
            return self.settle(has_ended, waker);
        }
        let left = self.tee.bytes_max.saturating_sub(self.tee.bytes);
        if left == 0 {
            self.has_ended = Some(false);
            return Ok(TeeStep::Again);
        }
        self.tee.look_for_dead()?;
        self.tee.look_for_slow()?;
        let cell = self.tee.from.cell();
        // In this step: each read, each move and each copy is bounded by it, so nobody gets ahead of the rate.
        let left = match self.tee.passage.poll_allowance(cell, left) {
            Allowance::Bytes(bytes) => bytes,
            Allowance::HeldUntil(moment) => return Ok(self.hold_back(moment, waker)),
        };
        match cell.lend(&mut self.tee.source, left, waker) {
            Lent::Bytes(data) => Ok(self.pass_on(data, waker, may_block)),
            Lent::Busy => Ok(self.pending(TeeEnd::Source)),
            Lent::Ended(Ok(())) if self.tee.branches.lead(cell.ledger().transferred()) > 0 => {
                // What one has had is gone before the others had it: a file was cut, or somebody else has read it.
                Err(self.source_failed(Cause::of(ErrorKind::Reset)))
            }
            Lent::Ended(Ok(())) => {
                self.has_ended = Some(true);
                Ok(TeeStep::Again)
            }
            Lent::Ended(Err(cause)) => Err(self.source_failed(cause)),
            Lent::Nothing if self.is_to_move(may_block) => Ok(self.move_on(left, waker, may_block)),
            Lent::Nothing => Ok(self.read_ahead(left, waker, may_block)),
        }
    }

    /// Whether the kernel is to move the next bytes. Not if one is paused, for nothing is to be written there; nor while something is queued
    /// that was to hold up nobody, for what comes behind it would.
    fn is_to_move(&self, may_block: MayBlock) -> bool {
        let branches = &self.tee.branches;
        let is_queued = self.tee.fills_queues && branches.is_any_behind();
        branches.moves_in.includes(may_block) && !is_queued && !branches.is_any_paused()
    }

    /// Takes nothing before then: the clock calls the waker.
    fn hold_back(&mut self, until: Moment, waker: &Waker) -> TeeStep {
        let driver = self.tee.driver();
        self.tee.passage.hold_back(driver, until, waker);
        self.pending(TeeEnd::Source)
    }

    /// Hands what is lent to all destinations, each from where it is on.
    fn pass_on(&mut self, data: Bytes, waker: &Waker, may_block: MayBlock) -> TeeStep {
        let from = self.tee.from;
        // Nobody else takes any until it comes back.
        let start = from.ledger().transferred();
        let now = self.tee.now();
        let mut is_news = false;
        let copy = self.copy_of_few(&data);
        let given = copy.as_ref().unwrap_or(&data);
        for branch in self.tee.branches.counting() {
            is_news |= branch.pass_on((start, given), now, waker);
        }
        let taken = self.tee.branches.behind(start).min(data.len() as u64);
        from.cell().take_back(taken);
        self.tee.count(taken);
        for branch in &mut self.tee.branches.all {
            is_news |= branch.let_go();
        }
        // F2: all is booked, and nothing is held. A panic goes through.
        if taken > 0 {
            let taken = usize::try_from(taken).expect("no more than was lent");
            self.tee.passage.show(&data[..taken]);
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
            without_disk: self.tee.fills_queues,
            may_block,
            now,
            waker,
        };
        if is_news || self.tee.branches.move_copies(&round) {
            return TeeStep::Again;
        }
        self.pending_destination()
    }

    /// A copy of what is lent, if it is little for the memory that it was read into and may stay in queues.
    fn copy_of_few(&self, data: &Bytes) -> Option<Bytes> {
        let is_copied = self.tee.fills_queues && data.len() < COPIED_BELOW;
        is_copied.then(|| Bytes::copy_from_slice(data))
    }

    /// All have what was read before. Reads ahead what is there: no more than one of the destinations has room for; by an operation, one half
    /// of the buffer, while they may still write the other one.
    fn read_ahead(&mut self, left: u64, waker: &Waker, may_block: MayBlock) -> TeeStep {
        let now = self.tee.now();
        let tee = &mut *self.tee;
        let room = if tee.fills_queues || tee.from.cell().reads_directly() {
            tee.branches.poll_room(now, waker)
        } else {
            tee.branches.poll_half(HALF_BYTES_MAX, now, waker)
        };
        match room {
            Poll::Pending => self.pending_destination(),
            // The next step tells why.
            Poll::Ready(None) => TeeStep::Again,
            Poll::Ready(Some(room)) => self.fill(room.min(left), waker, may_block),
        }
    }

    /// Has the kernel move what it can. Nothing is read ahead.
    fn move_on(&mut self, left: u64, waker: &Waker, may_block: MayBlock) -> TeeStep {
        let from = self.tee.from;
        let round = Round {
            from: from.cell(),
            left,
            everywhere: self.tee.is_everywhere,
            without_disk: self.tee.fills_queues,
            may_block,
            now: self.tee.now(),
            waker,
        };
        match self.tee.branches.move_on(&round, &mut self.tee.buffer) {
            RoundAnswer::Again(taken) => {
                self.yielding.handle_move();
                self.tee.count(taken);
                TeeStep::Again
            }
            RoundAnswer::Destination | RoundAnswer::Page(_) if self.yields(may_block) => {
                TeeStep::Again
            }
            RoundAnswer::Buffer => self.read_ahead(left, waker, may_block),
            RoundAnswer::Destination if self.tee.fills_queues => {
                self.read_ahead(left, waker, may_block)
            }
            RoundAnswer::Destination => self.pending_destination(),
            RoundAnswer::Page(bytes) => self.wait_writable(bytes, &round),
            RoundAnswer::Source => self.wait_readable(waker, may_block),
            RoundAnswer::Unavailable => {
                self.tee.branches.stop_moving_in(may_block);
                TeeStep::Again
            }
        }
    }

    /// Waits until one of those for which the source has something takes it: by itself, if it is a thread that may block; else at most so many
    /// bytes go the ordinary way, and their write is the wait. Where queues are to be filled a thread only looks whether the source has
    /// something, and reads it for them.
    fn wait_writable(&mut self, bytes: u64, round: &Round<'_, B>) -> TeeStep {
        let fills_queues = self.tee.fills_queues;
        self.tee.branches.try_again();
        self.tee.branches.wait_for_front(true, round);
        // It is before this thread blocks: whatever the waker is called for calls it back.
        self.tee.set_alarm(round.waker);
        let blocked = if fills_queues {
            self.tee.branches.block(&round.at_once())
        } else {
            self.tee.branches.block(round)
        };
        match blocked {
            AllBlocked::Awake => TeeStep::Again,
            AllBlocked::Late if fills_queues => {
                self.read_ahead(round.left, round.waker, round.may_block)
            }
            AllBlocked::Late => self.pending_destination(),
            AllBlocked::Source => {
                self.tee.branches.wait_for_front(false, round);
                self.wait_readable(round.waker, round.may_block)
            }
            AllBlocked::Unavailable => {
                // Whether anything is there for them a read tells.
                self.tee.branches.wait_for_front(false, round);
                self.fill(bytes, round.waker, round.may_block)
            }
        }
    }

    /// Gives the processor away instead of waiting, if that is to be tried now.
    fn yields(&mut self, may_block: MayBlock) -> bool {
        let backend = &self.tee.driver().backend;
        let has_yielded = self.yielding.yields(backend, may_block);
        if has_yielded {
            self.tee.branches.try_again();
        }
        has_yielded
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
            Filled::Ready => {
                self.yielding.handle_move();
                TeeStep::Again
            }
            Filled::Wait => self.wait_readable(waker, may_block),
        }
    }

    fn wait_readable(&mut self, waker: &Waker, may_block: MayBlock) -> TeeStep {
        if self.yields(may_block) {
            return TeeStep::Again;
        }
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

    /// All is accepted: waits until the kernel has it, at each destination, unless that is not asked for.
    fn settle(&mut self, has_ended: bool, waker: &Waker) -> Result<TeeStep, TeeError> {
        if self.tee.is_done_once_accepted {
            return Ok(TeeStep::Done(self.outcome(has_ended)));
        }
        if self.begin_settling() {
            return Ok(TeeStep::Again);
        }
        self.tee.look_for_slow()?;
        let now = self.tee.now();
        let settled = self.tee.branches.poll_settled(now, waker);
        let waited_for = settled.map_err(|lost| self.tee.failed_at(lost))?;
        if let Some(index) = waited_for {
            return Ok(self.pending(TeeEnd::Destination(index)));
        }
        Ok(TeeStep::Done(self.outcome(has_ended)))
    }

    fn outcome(&self, has_ended: bool) -> TeeOutcome {
        TeeOutcome {
            bytes: self.tee.bytes,
            has_ended,
            destinations: self.tee.destinations(),
        }
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

    /// A deadline has passed, while that end was waited for.
    fn late(&self) -> TeeError {
        let late = Cause::of(ErrorKind::TimedOut);
        match self.waits_for {
            TeeEnd::Destination(index) => self.tee.failed_at(self.tee.branches.lost(index, late)),
            TeeEnd::Source => self.source_failed(late),
        }
    }

    fn source_failed(&self, cause: Cause) -> TeeError {
        TeeError {
            end: TeeEnd::Source,
            error: cause.during(Verb::Read, self.tee.from.ledger()),
            bytes: self.tee.bytes,
            destinations: self.tee.destinations(),
            is_idle: false,
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
