//! All destinations of a transfer to several: who still counts, and what a dead or a slow one means for the others.

use super::account::TeeDestination;
use super::branch::Branch;
use super::policy::{DeadDestination, SlowDestination};
use crate::pump_read::{MayBlock, MovesIn, ReaderCell};
use crate::writer::PipeWriter;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Moment};

/// The destinations, in the order in which they were given.
pub(super) struct Branches<'a, B: Backend> {
    pub(super) all: Vec<Branch<'a, B>>,
    pub(super) dead: DeadDestination,
    pub(super) slow: SlowDestination,
    /// The one that was dropped last, if one was.
    last_dropped: usize,
    /// In which waits the kernel moves bytes from the source to all of them.
    pub(super) moves_in: MovesIn,
    /// In which waits it is asked for that again once one of them no longer counts and it has moved some to all others: perhaps it moves none to that
    /// one alone.
    asked_again_in: MovesIn,
}

/// The failure of one destination that ends the transfer.
pub(super) struct LostDestination {
    pub(super) index: usize,
    pub(super) error: Error,
}

impl<'a, B: Backend> Branches<'a, B> {
    /// At least one, and none twice.
    ///
    /// # Errors
    /// The writer that is given twice; `None`: there is none at all.
    pub(super) fn new(
        from: &ReaderCell<B>,
        to: impl IntoIterator<Item = &'a PipeWriter<B>>,
    ) -> Result<Self, Option<&'a PipeWriter<B>>> {
        let mut all: Vec<Branch<'a, B>> = Vec::new();
        for writer in to {
            if all.iter().any(|known| known.is_of(writer)) {
                return Err(Some(writer));
            }
            all.push(Branch::new(writer));
        }
        if all.is_empty() {
            return Err(None);
        }
        let mut branches = Self {
            all,
            dead: DeadDestination::default(),
            slow: SlowDestination::default(),
            last_dropped: 0,
            moves_in: MovesIn::None,
            asked_again_in: MovesIn::None,
        };
        branches.try_moving(from);
        Ok(branches)
    }

    pub(super) fn accounts(&self) -> Vec<TeeDestination> {
        self.all.iter().map(Branch::account).collect()
    }

    /// Those for which the others wait.
    pub(super) fn counting(&mut self) -> impl Iterator<Item = &mut Branch<'a, B>> {
        self.all.iter_mut().filter(|branch| branch.counts())
    }

    /// How far behind `start` in the source's stream all that count have all bytes.
    pub(super) fn behind(&self, start: u64) -> u64 {
        let counting = self.all.iter().filter(|branch| branch.counts());
        let behind = counting.map(|branch| branch.behind(start));
        behind.min().unwrap_or(0)
    }

    /// How far behind `start` in the source's stream one that counts has all bytes.
    pub(super) fn lead(&self, start: u64) -> u64 {
        let counting = self.all.iter().filter(|branch| branch.counts());
        let behind = counting.map(|branch| branch.behind(start));
        behind.max().unwrap_or(0)
    }

    /// There was a wait: those that were full may take more.
    pub(super) fn try_again(&mut self) {
        for branch in &mut self.all {
            branch.try_again();
        }
    }

    /// Whether one that counts has not transferred all that it accepted.
    pub(super) fn is_any_behind(&self) -> bool {
        let mut counting = self.all.iter().filter(|branch| branch.counts());
        counting.any(Branch::is_behind)
    }

    /// Whether nothing is to be written to one that counts.
    pub(super) fn is_any_paused(&self) -> bool {
        let mut counting = self.all.iter().filter(|branch| branch.counts());
        counting.any(Branch::is_paused)
    }

    /// Nothing is to be written to this one for now, or something again.
    pub(super) fn pause(&mut self, index: usize, is_paused: bool) {
        if let Some(branch) = self.all.get_mut(index) {
            branch.pause(is_paused);
        }
    }

    /// One that counted no longer does, because the caller says so.
    pub(super) fn leave_out(&mut self, index: usize) {
        if self.all.get(index).is_some_and(Branch::counts) {
            let lost = self.lost(index, Cause::of(ErrorKind::Cancelled));
            // If none is left, the next wait tells.
            let _ = self.lose(lost);
        }
    }

    /// From now on the kernel is asked to move bytes, if there is one kernel for all. A file's bytes only if all get copies of them, or there is
    /// one destination: a file takes at once what a pipe may let wait for long, and nobody is to be so far ahead.
    pub(super) fn try_moving(&mut self, from: &ReaderCell<B>) {
        let all = &self.all;
        let is_one_kernel = all.iter().all(|branch| branch.is_on(&from.driver));
        let is_even =
            all.len() == 1 || !from.is_file() || all.iter().all(Branch::is_file_or_closed);
        self.moves_in = MovesIn::all_if(is_one_kernel && is_even);
        self.asked_again_in = self.moves_in;
    }

    /// From now on all bytes go through the buffer.
    pub(super) fn stop_moving(&mut self) {
        self.moves_in = MovesIn::None;
        self.asked_again_in = MovesIn::None;
        self.forget_moves();
    }

    /// From now on all bytes of such waits do.
    pub(super) fn stop_moving_in(&mut self, may_block: MayBlock) {
        self.moves_in.refuse(may_block);
        self.forget_moves();
    }

    fn forget_moves(&mut self) {
        for branch in &mut self.all {
            branch.forget_moves();
        }
    }

    /// The first one that counts and that all wait for.
    pub(super) fn waited_for(&self) -> Option<usize> {
        let is_waited_for = |branch: &Branch<'_, B>| branch.counts() && branch.is_waited_for();
        self.all.iter().position(is_waited_for)
    }

    /// What the failure of one of them is to the caller.
    pub(super) fn lost(&self, index: usize, cause: Cause) -> LostDestination {
        let error = self.all[index].error_of(cause);
        LostDestination { index, error }
    }

    pub(super) fn check_any_left(&self) -> Result<(), LostDestination> {
        let index = self.last_dropped;
        match self.all[index].account().error {
            Some(error) if !self.all.iter().any(Branch::counts) => {
                Err(LostDestination { index, error })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Finds those that accept nothing any more.
    pub(super) fn look_for_dead(&mut self) -> Result<(), LostDestination> {
        for index in 0..self.all.len() {
            let branch = &mut self.all[index];
            if !branch.counts() {
                continue;
            }
            if let Some(cause) = branch.refusal() {
                self.handle_dead(index, cause)?;
            }
        }
        Ok(())
    }

    /// Finds those that have made no progress for too long.
    pub(super) fn look_for_slow(&mut self, now: Option<Moment>) -> Result<(), LostDestination> {
        let (Some(bound), Some(now)) = (self.slow.bound(), now) else {
            return Ok(());
        };
        for index in 0..self.all.len() {
            let branch = &mut self.all[index];
            if !branch.counts() || !branch.is_slow(bound, now) {
                continue;
            }
            let lost = self.lost(index, Cause::of(ErrorKind::Busy));
            match self.slow {
                SlowDestination::DropAfter(_) => self.lose(lost)?,
                SlowDestination::FailAfter(_) | SlowDestination::Wait => return Err(lost),
            }
        }
        Ok(())
    }

    /// How much the one with the most room has room for, at least a byte; `None` if one accepts nothing any more.
    pub(super) fn poll_room(&mut self, now: Option<Moment>, waker: &Waker) -> Poll<Option<u64>> {
        let mut most = 0;
        for branch in self.counting() {
            match branch.poll_room(now, waker) {
                Poll::Pending => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(room)) => most = most.max(room),
            }
        }
        match most {
            0 => Poll::Pending,
            _ => Poll::Ready(Some(most)),
        }
    }

    /// Waits until one of them has at most one half of a buffer left to write, so that it needs the next bytes: how many may be read into the
    /// other half meanwhile, no more than one of them ever has room for. `None` if one accepts nothing any more.
    pub(super) fn poll_half(
        &mut self,
        half_bytes_max: u64,
        now: Option<Moment>,
        waker: &Waker,
    ) -> Poll<Option<u64>> {
        let (mut most, mut is_any_free) = (0, false);
        for branch in self.counting() {
            match branch.poll_half(half_bytes_max, waker) {
                Poll::Pending => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(_)) => is_any_free = true,
            }
            // Also of one that lags: a small queue of the fastest one is no reason for small reads.
            most = most.max(branch.queue_bytes_max());
        }
        for branch in self.counting() {
            branch.handle_halves(is_any_free, now);
        }
        if is_any_free {
            Poll::Ready(Some(half_bytes_max.min(most)))
        } else {
            Poll::Pending
        }
    }

    /// Waits until the kernel has all that is accepted, at each that counts: the first one for which this goes on.
    pub(super) fn poll_settled(
        &mut self,
        now: Option<Moment>,
        waker: &Waker,
    ) -> Result<Option<usize>, LostDestination> {
        let mut waited_for = None;
        for index in 0..self.all.len() {
            let branch = &mut self.all[index];
            if !branch.counts() {
                continue;
            }
            match branch.poll_settled(now, waker) {
                Poll::Pending => waited_for = waited_for.or(Some(index)),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(cause)) => self.handle_dead(index, cause)?,
            }
        }
        Ok(waited_for)
    }

    /// When the first of those for which bytes wait will have become slow.
    pub(super) fn slow_due(&self) -> Option<Moment> {
        let bound = self.slow.bound()?;
        self.all.iter().filter_map(|one| one.slow_at(bound)).min()
    }

    /// How many bytes all of them together have accepted.
    pub(super) fn bytes(&self) -> u64 {
        self.all.iter().map(|branch| branch.account().bytes).sum()
    }

    /// How much has moved at all of them, for an idle deadline: it never falls, whoever is dropped.
    pub(super) fn moved(&self) -> u64 {
        self.all.iter().map(Branch::moved).sum()
    }

    /// Waits no longer for any of them.
    pub(super) fn forget(&mut self) {
        for branch in &mut self.all {
            branch.forget();
        }
    }

    /// One of them accepts nothing any more.
    fn handle_dead(&mut self, index: usize, cause: Cause) -> Result<(), LostDestination> {
        let lost = self.lost(index, cause);
        match self.dead {
            DeadDestination::Drop => self.lose(lost),
            DeadDestination::Fail => Err(lost),
        }
    }

    /// One of them no longer counts. An error if none is left.
    fn lose(&mut self, lost: LostDestination) -> Result<(), LostDestination> {
        self.all[lost.index].lose(lost.error);
        self.last_dropped = lost.index;
        let mut others = self.all.iter().filter(|branch| branch.counts());
        if others.all(|branch| branch.account().in_kernel > 0) {
            self.moves_in = self.asked_again_in;
        }
        self.check_any_left()
    }
}
