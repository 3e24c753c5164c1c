//! When those who wait for room are woken.

use super::{State, Wanted};
use crate::driver::Wakes;
use std::time::Duration;
use watertight_core::{Backend, Moment};

/// How long a caller for whom there is room sleeps on until half of the queue is free: long for a peer that reads, and little
/// for one that waits.
const ROOM_WITHIN: Duration = Duration::from_millis(1);

impl<B: Backend> State<B> {
    /// Wakes the first in the line; without a line, those who wait for any room. Woken for every bit of room, a caller and its
    /// peer would take turns at each: it is when half of the queue is free, or `at_once`.
    pub(super) fn wake_line(&mut self, at_once: bool, wakes: &mut Wakes) {
        let is_enough = at_once || self.half.has_ample_room();
        self.line.wake(&self.half, is_enough, wakes);
        if self.line.is_empty() && self.half.room() > 0 && is_enough {
            self.watchers
                .take_ready(wakes, |wanted| matches!(wanted, Wanted::Room));
        }
    }

    /// When to wake whoever sleeps although there is room, whatever else happens: a peer that reads no further may wait for
    /// what that caller does next.
    pub(super) fn room_reminder(&mut self, now: impl Fn() -> Moment) -> Option<Moment> {
        let waits_for_any = |wanted: &Wanted| matches!(wanted, Wanted::Room);
        let is_held_back = match self.line.is_empty() {
            false => self.line.has_somebody_for(&self.half),
            true => self.half.room() > 0 && self.watchers.any(waits_for_any),
        };
        if !is_held_back || self.room_due != Moment::NEVER {
            return None;
        }
        self.room_due = now().after(ROOM_WITHIN);
        Some(self.room_due)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use watertight_os::Native;

    #[test]
    fn a_writer_at_rest_is_small() {
        assert!(size_of::<State<Native>>() <= 232);
    }
}
