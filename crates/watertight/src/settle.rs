//! The end of a program: what still lingers, and the process-wide counts.

use crate::driver::{Driver, PipeStatus, Pump};
use crate::handle::{self, Native};
use crate::lingering::LingeringBounds;
use crate::wait::{Operation, Sealed, Wait};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Ledger};

/// What this process's pipes are doing, and what became of those that ended. Any test can assert on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Census {
    /// Ends of pipes that are not closed: each reader and each writer counts one.
    pub pipes: u64,
    /// Operations the kernel has not answered.
    pub operations_in_flight: u64,
    /// Dropped ends that are still sending or stopping.
    pub lingering: u64,
    /// Ends whose operation outlived its stop bound.
    pub quarantined: u64,
    /// Ends that were closed since the process started.
    pub pipes_ended: u64,
    /// Bytes those had transferred.
    pub bytes_transferred: u64,
    /// Bytes those had discarded.
    pub bytes_discarded: u64,
    /// Bytes those had left in doubt.
    pub bytes_in_doubt: u64,
    /// Ends that were closed with bytes discarded or in doubt.
    pub pipes_incomplete: u64,
    /// Bytes that reads in quarantine brought after their pipe's account was final. They are lost.
    pub bytes_late: u64,
    /// Failures that the kernel told of operations in quarantine, and of closing their handles, after the pipe's ending
    /// was told. Nobody else hears of them.
    pub failures_late: u64,
    /// Observers that panicked.
    pub observer_panics: u64,
    /// Wakers and destructors of others that panicked in the library's hands.
    pub foreign_panics: u64,
    /// How often the driver's waiting itself failed.
    pub wait_failures: u64,
}

/// Counts this process's pipes. Takes each pipe's lock for a moment; meant for tests and for supervision, not for hot paths.
///
/// # Examples
///
/// ```
/// let before = watertight::census().pipes;
/// let ends = watertight::pipe()?;
/// assert_eq!(watertight::census().pipes, before + 2);
/// drop(ends);
/// # Ok::<(), watertight::Error>(())
/// ```
#[must_use]
pub fn census() -> Census {
    handle::running().map_or_else(Census::default, |driver| driver.census())
}

/// Bounds how much may linger in this process: dropped writers that still send what they accepted. Past the bounds the oldest
/// is given up first, and told as a loss (see [`on_loss`](crate::on_loss)).
///
/// # Errors
/// The library's thread cannot be started.
///
/// # Examples
///
/// ```
/// use watertight::LingeringBounds;
/// watertight::bound_lingering(LingeringBounds::new().bytes_max(64 << 20))?;
/// # Ok::<(), watertight::Error>(())
/// ```
pub fn bound_lingering(bounds: LingeringBounds) -> Result<(), crate::CreateError> {
    handle::started()?.bound_lingering(bounds);
    Ok(())
}

impl<B: Backend> Driver<B> {
    /// Counts this driver's pipes, as [`census`] does for the process's own.
    #[must_use]
    pub fn census(&self) -> Census {
        let (statuses, mut totals) = self.statuses();
        for ended in statuses.iter().filter(|one| one.closed) {
            totals.count(ended.ledger);
        }
        let count = |which: fn(&PipeStatus) -> bool| {
            statuses.iter().filter(|one| which(one)).count() as u64
        };
        Census {
            pipes: count(|one| !one.closed),
            operations_in_flight: statuses.iter().map(|one| one.operations).sum(),
            lingering: count(|one| one.lingering),
            quarantined: count(|one| one.quarantined),
            pipes_ended: totals.pipes_ended,
            bytes_transferred: totals.transferred,
            bytes_discarded: totals.discarded,
            bytes_in_doubt: totals.in_doubt,
            pipes_incomplete: totals.pipes_incomplete,
            bytes_late: totals.late,
            failures_late: totals.late_failures,
            observer_panics: totals.observer_panics,
            foreign_panics: totals.foreign_panics,
            wait_failures: totals.wait_failures,
        }
    }
}

/// Writers that did not get everything through.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// Their accounts at the deadline. The dropped ones are being stopped.
    pub ledgers: Vec<Ledger>,
}

impl std::fmt::Display for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: u64 = self.ledgers.iter().map(Ledger::unsettled).sum();
        let writers = self.ledgers.len();
        let s = if writers == 1 { "" } else { "s" };
        write!(
            f,
            "the deadline passed, and {writers} writer{s} still held {bytes} bytes; the dropped ones give theirs up"
        )
    }
}

impl std::error::Error for Unsettled {}

/// Waits until no dropped pipe lingers, and every writer that is not dropped has transferred what it had accepted when this
/// was first polled: so that nothing accepted is lost with the process. The end of the process does the same by itself, see
/// [`exit_within`](crate::exit_within()).
///
/// **Bytes.** `Ok`: every dropped pipe is over, and its observer has its receipt; whether all of them got everything
/// through is in [`Census::pipes_incomplete`]. `Err`: those named did not make it before the deadline, and the dropped ones
/// among them are stopped.
///
/// **Cancel safety.** Only the waiting is given up.
///
/// # Errors
/// The deadline passed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// let (reader, writer) = watertight::pipe()?;
/// writer.send(b"parting words").wait()?;
/// drop(writer);
/// watertight::settle().within(Duration::from_secs(5)).wait()?;
/// # drop(reader);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn settle() -> Wait<Settle> {
    Wait::new(Settle::new(handle::running()))
}

/// See [`settle`].
pub struct Settle<B: Backend = Native> {
    driver: Option<Arc<Driver<B>>>,
    id: u64,
    /// The writers that are not dropped.
    live: Option<Vec<LiveGoal>>,
}

/// A writer, how many of its bytes are to be settled, and under which id we wait there.
type LiveGoal = (Arc<dyn Pump>, u64, u64);

impl<B: Backend> std::fmt::Debug for Settle<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settle").finish_non_exhaustive()
    }
}

impl<B: Backend> Settle<B> {
    /// As [`settle`], for one driver. For simulations and tests of the library itself.
    #[doc(hidden)]
    pub fn on(driver: &Arc<Driver<B>>) -> Wait<Self> {
        Wait::new(Self::new(Some(driver.clone())))
    }

    fn new(driver: Option<Arc<Driver<B>>>) -> Self {
        Self {
            driver,
            id: 0,
            live: None,
        }
    }

    /// Whether all that are not dropped have transferred what they had.
    fn poll_live(&mut self, waker: &Waker) -> bool {
        let goals = || {
            self.driver
                .as_ref()
                .map_or_else(Vec::new, |driver| driver.live_goals())
        };
        let live = self.live.get_or_insert_with(|| {
            let goals = goals().into_iter();
            goals.map(|(pipe, target)| (pipe, target, 0)).collect()
        });
        live.retain_mut(|(pipe, target, id)| !pipe.clone().poll_settled(id, *target, waker));
        live.is_empty()
    }

    fn forget_live(&mut self) -> Vec<Ledger> {
        let live = self.live.take().unwrap_or_default();
        let forget = |(pipe, _, id): LiveGoal| {
            pipe.forget_settled(id);
            pipe.held().map(|held| held.ledger)
        };
        live.into_iter().filter_map(forget).collect()
    }

    fn lingering(&self) -> Vec<Ledger> {
        let Some(driver) = &self.driver else {
            return Vec::new();
        };
        let (statuses, _) = driver.statuses();
        let lingering = statuses.into_iter().filter(|one| one.lingering);
        lingering.map(|one| one.ledger).collect()
    }
}

impl<B: Backend> Sealed for Settle<B> {}

impl<B: Backend> Operation for Settle<B> {
    type Output = Result<(), Unsettled>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        // C4: one that was begun before a fork has nothing to wait for in the child.
        if let Some(driver) = &self.driver
            && driver.refuse_elsewhere().is_err()
        {
            return Poll::Ready(Ok(()));
        }
        // Watch first, look then: what ends in between wakes us.
        if let Some(driver) = &self.driver {
            driver.watch_settling(&mut self.id, waker);
        }
        let is_live_settled = self.poll_live(waker);
        if is_live_settled && self.lingering().is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn expire(&mut self) -> Self::Output {
        let live = self.forget_live();
        let driver = self.driver.as_ref();
        let mut ledgers = driver.map_or_else(Vec::new, |driver| driver.abort_lingering());
        ledgers.extend(live.iter().filter(|ledger| ledger.unsettled() > 0));
        if ledgers.is_empty() {
            // The last one got through between the look and the deadline.
            return Ok(());
        }
        Err(Unsettled { ledgers })
    }

    fn forget(&mut self) {
        self.forget_live();
        if let Some(driver) = &self.driver {
            driver.forget_settling(self.id);
        }
    }

    fn driver(&self) -> Option<&Arc<Driver<B>>> {
        self.driver.as_ref()
    }
}
