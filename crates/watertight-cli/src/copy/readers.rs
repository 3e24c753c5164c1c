//! When readers are looked at, and how a deadline waits for what the look finds.
//!
//! Never here: how it is asked (`asking.rs`), and what an answer means (`unread.rs`).

use super::{Copy, LOOK_EVERY};
use crate::flags::SlowPolicy;
use crate::unread::Answer;
use std::time::Instant;

impl Copy<'_> {
    /// Whether a deadline depends on whether bytes move.
    pub(super) fn is_movement_watched(&self) -> bool {
        let is_wanted = self.flags.idle.is_some() || self.flags.slow != SlowPolicy::Wait;
        is_wanted && !self.stopping
    }

    /// Looks at the readers that were not looked at for a while, and at those for which a deadline is about to count.
    pub(super) fn look_at_readers(&mut self, now: Instant) {
        if !self.is_movement_watched() {
            return;
        }
        let idle_at = self.idle_at();
        for index in 0..self.destinations.len() {
            let deadlines = [idle_at, self.slow_at(index)].into_iter().flatten();
            let mut due = deadlines.filter(|at| *at <= now);
            let destination = &mut self.destinations[index];
            let look_at = destination.look_at(LOOK_EVERY);
            let is_look_due = look_at.is_some_and(|at| at <= now);
            if is_look_due || due.any(|at| !destination.is_known_at(at, now)) {
                destination.look_at_reader(now, &self.mailbox);
            }
        }
    }

    /// It was looked how much of a destination's pipe its reader has not taken.
    pub(super) fn handle_unread(&mut self, index: usize, answer: Answer, now: Instant) {
        if self.destinations[index].handle_unread(answer, now) {
            self.moved_at = self.moved_at.max(now);
        }
    }

    /// Whether the copy has been idle for too long, with all that readers have taken by then.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let mut all = self.destinations.iter();
        let due = self.idle_at().filter(|at| *at <= now);
        due.is_some_and(|at| all.all(|destination| destination.is_known_at(at, now)))
    }

    /// Whether a destination has been slow for too long, with all that its reader has taken by then.
    pub(super) fn is_slow(&self, index: usize, now: Instant) -> bool {
        let due = self.slow_at(index).filter(|at| *at <= now);
        due.is_some_and(|at| self.destinations[index].is_known_at(at, now))
    }
}
