//! The deadlines of a copy: when each of them passes, and what is done then.
//!
//! Never here: whether a reader has taken something by then (`readers.rs`).

use super::{Copy, LOOK_EVERY};
use crate::child::ChildOfEnd;
use crate::copy_ending::{CopyEnding, GivenUp};
use crate::destination::Destination;
use crate::flags::SlowPolicy;
use crate::rate::{Pace, held_back_max};
use std::time::{Duration, Instant};

impl Copy<'_> {
    /// Acts on every deadline that has passed.
    pub(super) fn keep_deadlines(&mut self, now: Instant) {
        self.look_at_readers(now);
        if self.is_idle(now) {
            self.stop_all(CopyEnding::IdleDeadline, GivenUp::IdleDeadline);
        }
        if self.drain_at().is_some_and(|at| at <= now) {
            self.stop_all(CopyEnding::DrainDeadline, GivenUp::DrainDeadline);
        }
        for index in 0..self.destinations.len() {
            if self.is_slow(index, now) {
                self.destinations[index].leave_out();
                self.give_up(&[index], GivenUp::SlowDeadline, now);
                if self.flags.slow == SlowPolicy::Fail {
                    self.stop_evenly(CopyEnding::SlowDeadline, now);
                }
                self.stop_if_nobody_is_left(now);
            }
        }
        self.give_up_silent(now);
        if self.early_stop_at().is_some_and(|at| at <= now) {
            self.stop_source(CopyEnding::DestinationEnded, now);
        }
        for child in &mut self.children {
            child.keep_deadline(now);
        }
        self.close_condemned(now);
    }

    /// Gives up destinations that take no more and do not say how they ended. Their children are left alone, as those of others that
    /// ended early.
    fn give_up_silent(&mut self, now: Instant) {
        for index in 0..self.destinations.len() {
            let destination = &mut self.destinations[index];
            if destination.ending_due().is_some_and(|due| due <= now) {
                destination.give_up(GivenUp::NoEnding, now);
                self.handle_early_ending(now);
                self.stop_if_nobody_is_left(now);
            }
        }
    }

    /// The next moment at which there is something to do without an event. Those up to `now` are done.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let held_back =
            self.drain_since.is_none() && self.outstanding == 0 && self.ahead.is_empty();
        let pace = self.pace.as_ref().filter(|_| held_back).map(Pace::due);
        let slow = (0..self.destinations.len()).filter_map(|index| self.slow_at(index));
        let abandoned = self
            .destinations
            .iter()
            .filter_map(Destination::abandoned_at);
        let silent = self.destinations.iter().filter_map(Destination::ending_due);
        let children = self.children.iter().filter_map(ChildOfEnd::due);
        let is_watched = self.is_movement_watched();
        // While bytes are moved nobody is woken for them.
        let is_unheard = self.is_moving && self.drain_since.is_none();
        let is_looked_for = is_unheard && (is_watched || self.ended_early_at.is_some());
        let look = is_looked_for.then(|| now + LOOK_EVERY);
        let watched = self.destinations.iter().filter(|_| is_watched);
        let readers = watched.filter_map(|destination| destination.look_at(LOOK_EVERY));
        let source = self
            .source_abandoned_at
            .filter(|_| self.source_ending.is_none());
        [
            self.meter.due(),
            pace,
            self.idle_at(),
            self.drain_at(),
            source,
            self.early_stop_at(),
            look,
        ]
        .into_iter()
        .flatten()
        .chain(slow)
        .chain(readers)
        .chain(abandoned)
        .chain(silent)
        .chain(children)
        .filter(|at| *at > now)
        .min()
    }

    /// When the copy has been idle for too long. It is idle only while there are bytes to come or to go, or an end that is held up.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        let idle = self.flags.idle.filter(|_| !self.stopping)?;
        let to_come = self.drain_since.is_none();
        // Whoever moves the bytes holds them back for that long, and tells nobody: that is no idleness.
        let rate = self.flags.rate.filter(|_| to_come);
        let held_back = rate.map_or(Duration::ZERO, held_back_max);
        let at = self.moved_at.checked_add(held_back)?.checked_add(idle)?;
        if to_come || self.destinations.iter().any(Destination::has_bytes_to_go) {
            return Some(at);
        }
        let ends = self.destinations.iter();
        let held_up = ends.filter_map(|one| one.end_held_up_at(idle));
        held_up.min().map(|held_up| held_up.max(at))
    }

    fn drain_at(&self) -> Option<Instant> {
        let within = self.flags.drain_within.filter(|_| !self.stopping)?;
        let ending = self.source_ending.as_ref();
        let is_enough = ending.is_some_and(|ending| ending.limit_reached);
        let is_rest_over = self.destinations.iter().all(|one| one.ending().is_some())
            && self.children[1..].iter().all(ChildOfEnd::is_over);
        // The source's command has given enough and has a grace of its own: how it ends, and when, is nothing against the copy.
        if is_enough && is_rest_over {
            return None;
        }
        self.drain_since?.checked_add(within)
    }

    pub(super) fn slow_at(&self, index: usize) -> Option<Instant> {
        if self.flags.slow == SlowPolicy::Wait || self.stopping {
            return None;
        }
        self.destinations[index].slow_at(self.flags.slow_after)
    }
}
