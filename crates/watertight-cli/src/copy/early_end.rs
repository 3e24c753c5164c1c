//! What a destination that ends early, or a signal, means for the source: it is stopped, or its thread comes to an end by itself, within a bound.
//! And what the account does not have if it does not.

use super::{Copy, SOURCE_STOP_WITHIN};
use crate::copy_ending::CopyEnding;
use crate::destination::Destination;
use crate::end::End;
use crate::flags::DeadPolicy;
use std::time::Instant;

impl Copy<'_> {
    /// A destination failed, or its peer closed. A child that closed its input may have work to do: it is waited for.
    pub(super) fn handle_early_ending(&mut self, now: Instant) {
        if self.flags.dead == DeadPolicy::Fail {
            self.stop_evenly(CopyEnding::DestinationEnded, now);
        }
    }

    /// Reads no more. What was read still goes to the destinations that are left, to each the same.
    pub(super) fn stop_evenly(&mut self, why: CopyEnding, now: Instant) {
        let has_others = self.destinations.len() > 1;
        if self.is_moving && has_others && self.source_ending.is_none() {
            // The source's thread ends when all have what any of them has had. Its pipe stays open until then.
            self.ending.get_or_insert(why);
            self.ended_early_at.get_or_insert(now);
            self.child_of(End::Source).stop(now);
            self.source.even_out();
        } else {
            self.stop_source(why, now);
        }
    }

    pub(super) fn stop_if_nobody_is_left(&mut self, now: Instant) {
        if !self.destinations.iter().any(Destination::is_live) && self.drain_since.is_none() {
            self.stop_source(CopyEnding::DestinationEnded, now);
        }
    }

    /// What there is to say of the source, if its thread was given up.
    pub(crate) fn not_stopped(&self) -> Option<String> {
        let within = SOURCE_STOP_WITHIN.as_secs();
        self.source_ending.is_none().then(|| {
            format!("the source did not stop within {within} s; what a call under way moved is not counted")
        })
    }

    /// What there is to say of this destination, if it was given up while that thread moved bytes to it. One that has ended gets no more.
    pub(crate) fn not_counted(&self, destination: &Destination) -> Option<String> {
        let is_moved_to = self.is_moving && self.source_ending.is_none();
        let may_get_more = is_moved_to && destination.ending().is_none();
        may_get_more.then(|| {
            "the source did not stop; what a call under way moved here is not counted".to_owned()
        })
    }

    /// When the source's thread is stopped because it has not come to an end by itself.
    pub(super) fn early_stop_at(&self) -> Option<Instant> {
        let is_under_way = self.source_ending.is_none() && self.source_abandoned_at.is_none();
        let ended_at = self.ended_early_at.filter(|_| is_under_way)?;
        let is_behind = self.destinations.iter().any(|one| {
            let is_short = one.bytes_accepted() < self.bytes_read;
            // One that has room is not who the thread waits for: it is inside the source.
            one.is_behind() || (one.is_live() && is_short && !one.has_room())
        });
        stop_at(ended_at, self.moved_at, is_behind)
    }
}

/// When a source's thread that should have ended is stopped: it may be inside a read that does not come back. While somebody is behind
/// the thread waits for that one, as long as it takes.
fn stop_at(ended_at: Instant, moved_at: Instant, is_behind: bool) -> Option<Instant> {
    let quiet_since = ended_at.max(moved_at);
    (!is_behind).then(|| quiet_since + SOURCE_STOP_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_source_that_hangs_is_stopped_when_nothing_has_moved_for_so_long() {
        let ended_at = Instant::now();
        let bound = Some(ended_at + SOURCE_STOP_WITHIN);
        assert_eq!(stop_at(ended_at, ended_at, false), bound);
        // What moved before is no reason to stop it sooner.
        let before = ended_at.checked_sub(Duration::from_millis(1));
        assert_eq!(stop_at(ended_at, before.unwrap_or(ended_at), false), bound);
        let later = ended_at + Duration::from_secs(1);
        let bound = Some(later + SOURCE_STOP_WITHIN);
        assert_eq!(stop_at(ended_at, later, false), bound);
    }

    #[test]
    fn a_source_is_not_stopped_while_somebody_is_behind() {
        let now = Instant::now();
        assert_eq!(stop_at(now, now, true), None);
    }
}
