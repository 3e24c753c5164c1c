//! The terms on which bytes pass from a source to one destination or to several: how many now, how long none may move, and who is shown them.
//!
//! Never here: which bytes they are, and how they get from one end to another.

use crate::alarm::Alarm;
use crate::driver::Driver;
use crate::pump_read::{MayBlock, ReaderCell};
use idle::Idle;
use inspector::{Inspect, Inspector};
use pace::Pace;
use std::num::NonZeroU64;
use std::task::Waker;
use std::time::Duration;
use watertight_core::{Backend, Moment};

mod idle;
mod inspector;
mod pace;

pub(crate) use pace::Allowance;

/// What becomes of a wait in which nothing can be done now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lull {
    /// It goes on: something has moved while the thread blocked, and its waker may be known to nobody.
    Again,
    /// It is over: nothing has moved for too long.
    Idle,
    /// It waits; the waker is called at the idle deadline too, if there is one.
    Pending,
}

/// The terms of one transfer. Without any, all bytes pass, whenever they come, and nobody is shown them.
#[derive(Default)]
pub(crate) struct Passage<'a> {
    pace: Option<Pace>,
    idle: Option<Idle>,
    inspector: Inspector<'a>,
    /// For what the clock brings, and no end: the next portion, or that something has not moved for too long.
    alarm: Alarm,
}

impl<'a> Passage<'a> {
    pub(crate) fn set_rate(&mut self, bytes_per_second: NonZeroU64) {
        self.pace = Some(Pace::new(bytes_per_second));
    }

    pub(crate) fn set_idle_within(&mut self, within: Duration) {
        self.idle = Some(Idle::new(within));
    }

    pub(crate) fn set_inspector(&mut self, inspect: Box<Inspect<'a>>) {
        self.inspector.set(inspect);
    }

    /// From now on nobody is shown the bytes.
    pub(crate) fn forget_inspector(&mut self) {
        self.inspector.forget();
    }

    /// Whether somebody is shown the bytes.
    pub(crate) fn has_inspector(&mut self) -> bool {
        self.inspector.is_there()
    }

    /// Shows bytes, if somebody wants to see them. A panic goes through.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        self.inspector.show(bytes);
    }

    /// How many bytes may be taken from the source now, `bytes_max` at most, or from when on some may.
    pub(crate) fn poll_allowance<B: Backend>(
        &mut self,
        source: &ReaderCell<B>,
        bytes_max: u64,
    ) -> Allowance {
        let Some(pace) = &mut self.pace else {
            return Allowance::Bytes(bytes_max);
        };
        match pace.poll_allowance(source.driver.backend.now()) {
            Allowance::Bytes(bytes) => Allowance::Bytes(bytes.min(bytes_max)),
            // No byte passes any more: why is told at once.
            Allowance::HeldUntil(_) if source.is_at_end() => Allowance::Bytes(bytes_max),
            Allowance::HeldUntil(moment) => Allowance::HeldUntil(moment),
        }
    }

    /// Nothing is taken before then, which is no idleness: the clock calls the waker.
    pub(crate) fn hold_back<B: Backend>(
        &mut self,
        driver: &Driver<B>,
        until: Moment,
        waker: &Waker,
    ) {
        if let Some(idle) = &mut self.idle {
            idle.handle_hold(until);
        }
        self.alarm.wake_at(driver, until, waker);
    }

    /// So many bytes were taken.
    pub(crate) fn handle_taken(&mut self, bytes: u64) {
        if let Some(pace) = &mut self.pace {
            pace.handle_passed(bytes);
        }
    }

    /// Looks how much has moved by now, all in all, if there is an idle deadline.
    pub(crate) fn look<B: Backend>(&mut self, driver: &Driver<B>, moved: impl FnOnce() -> u64) {
        if let Some(idle) = &mut self.idle {
            idle.handle_look(moved(), driver.backend.now());
        }
    }

    /// When nothing will have moved for too long, if that is asked for.
    pub(crate) fn idle_due(&self) -> Option<Moment> {
        let due = self.idle.as_ref().map(Idle::due);
        due.filter(|due| *due != Moment::NEVER)
    }

    /// Nothing can be done now, and it was just looked how much has moved. A thread that may block did so until `blocked_until` at most,
    /// which was the idle deadline then.
    pub(crate) fn poll_idle<B: Backend>(
        &mut self,
        driver: &Driver<B>,
        blocked_until: Option<Moment>,
        waker: &Waker,
    ) -> Lull {
        let (Some(blocked_until), Some(due)) = (blocked_until, self.idle_due()) else {
            return Lull::Pending;
        };
        let now = driver.backend.now();
        if due <= now {
            return Lull::Idle;
        }
        if blocked_until <= now {
            return Lull::Again;
        }
        self.alarm.wake_by(driver, (now, due), waker);
        Lull::Pending
    }

    /// Has the waker called by then, whatever else it is called for.
    pub(crate) fn wake_by<B: Backend>(
        &mut self,
        driver: &Driver<B>,
        (now, moment): (Moment, Moment),
        waker: &Waker,
    ) {
        self.alarm.wake_by(driver, (now, moment), waker);
    }

    /// The wait is over: the clock calls nobody, and the idle time of the next wait counts anew.
    pub(crate) fn forget<B: Backend>(&mut self, driver: &Driver<B>) {
        self.alarm.clear(driver);
        self.idle = self.idle.map(Idle::anew);
    }
}

/// Until then at most, if a thread may block at all.
pub(crate) fn sooner(may_block: MayBlock, due: Option<Moment>) -> MayBlock {
    match may_block {
        MayBlock::No => MayBlock::No,
        MayBlock::Until(until) => MayBlock::Until(until.into_iter().chain(due).min()),
    }
}
