//! An idle deadline: whether nothing has moved for too long.
//!
//! Pure: the time and what has moved are arguments. Never here: what moves, and who waits.

use std::time::Duration;
use watertight_core::Moment;

/// How long nothing may move, and since when nothing has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    within: Duration,
    /// How much had moved at the last look; nothing before the first one.
    seen: Option<u64>,
    /// It counts from then.
    since: Moment,
}

impl Idle {
    /// Counts from the first look.
    pub(crate) const fn new(within: Duration) -> Self {
        Self {
            within,
            seen: None,
            since: Moment(0),
        }
    }

    /// The same deadline; it counts from the next look.
    pub(crate) const fn anew(self) -> Self {
        Self::new(self.within)
    }

    /// So much has moved by now, all in all. If that is news it counts from now on.
    pub(crate) fn handle_look(&mut self, moved: u64, now: Moment) {
        if self.seen != Some(moved) {
            self.seen = Some(moved);
            self.since = self.since.max(now);
        }
    }

    /// Until then nothing may move, which is no idleness.
    pub(crate) fn handle_hold(&mut self, until: Moment) {
        self.since = self.since.max(until);
    }

    /// When nothing will have moved for too long. The end of time: never.
    pub(crate) fn due(&self) -> Moment {
        self.since.after(self.within)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    enum Event {
        Hold(u64),
        Look(u64, u64),
    }
    use Event::{Hold, Look};

    #[test]
    fn it_counts_from_the_last_movement_and_the_last_hold() {
        let table: [(&str, &[Event], u64); 8] = [
            ("from the first look", &[Look(0, 5)], 15),
            ("a look is no movement", &[Look(3, 5), Look(3, 9)], 15),
            ("a movement is", &[Look(3, 5), Look(4, 9)], 19),
            (
                "one after another",
                &[Look(3, 5), Look(4, 14), Look(5, 23)],
                33,
            ),
            ("a hold is no idleness", &[Look(3, 5), Hold(50)], 60),
            ("nor is it made shorter", &[Look(3, 5), Hold(2)], 15),
            ("by a movement neither", &[Hold(50), Look(1, 20)], 60),
            (
                "it goes on behind a hold",
                &[Look(3, 5), Hold(50), Look(3, 55)],
                60,
            ),
        ];
        for (name, events, due) in table {
            let mut idle = Idle::new(Duration::from_nanos(10));
            for event in events {
                match event {
                    Hold(until) => idle.handle_hold(Moment(*until)),
                    Look(moved, now) => idle.handle_look(*moved, Moment(*now)),
                }
            }
            assert_eq!(idle.due(), Moment(due), "{name}");
        }
    }

    #[test]
    fn anew_it_counts_from_the_next_look_whatever_was_before() {
        let mut idle = Idle::new(Duration::from_nanos(10));
        idle.handle_look(3, Moment(5));
        idle.handle_hold(Moment(50));
        let mut idle = idle.anew();
        idle.handle_look(3, Moment(7));
        assert_eq!(idle.due(), Moment(17));
    }

    #[test]
    fn no_time_is_due_at_once_and_a_time_past_the_end_of_time_never() {
        let mut none = Idle::new(Duration::ZERO);
        none.handle_look(0, Moment(7));
        assert_eq!(none.due(), Moment(7));
        let mut all = Idle::new(Duration::MAX);
        all.handle_look(0, Moment(7));
        assert_eq!(all.due(), Moment::NEVER);
    }
}
