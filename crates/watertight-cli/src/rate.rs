//! The rate of a copy whose bytes go through this program's own queues: when the next ones may be read, and how many at once. Where the library
//! moves them on, the rate is its own. What deadlines have to know of either is here.

use std::time::{Duration, Instant};

/// The flow is cut into portions of this time, so that it is even.
const PORTION: Duration = Duration::from_millis(100);

/// How long such a rate may hold everything back at most: for a portion, or for a byte if that takes longer. The library's portions are shorter.
pub(crate) fn held_back_max(bytes_per_second: u64) -> Duration {
    PORTION.max(cost(1, bytes_per_second))
}

/// How long so many bytes take.
fn cost(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// A pace. Time not used is not saved up: after a pause there is no burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    due: Instant,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            due: now,
        }
    }

    /// When bytes may be read again.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// How many bytes to ask for at most.
    pub(crate) fn portion(&self) -> usize {
        let bytes = u128::from(self.bytes_per_second) * PORTION.as_millis() / 1000;
        usize::try_from(bytes.max(1)).unwrap_or(usize::MAX)
    }

    /// So many bytes were read.
    pub(crate) fn spend(&mut self, bytes: u64, now: Instant) {
        let cost = cost(bytes, self.bytes_per_second);
        // Being a portion late is the thread's scheduling, and is caught up; a longer pause was the source's.
        let earliest = now.checked_sub(PORTION).unwrap_or(now);
        let from = self.due.max(earliest);
        self.due = from.checked_add(cost).unwrap_or(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_over_many_portions() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        assert_eq!(pace.portion(), 100);
        for _ in 0..10 {
            let now = pace.due();
            pace.spend(100, now);
        }
        assert_eq!(pace.due() - start, Duration::from_secs(1));
    }

    #[test]
    fn a_pause_is_not_followed_by_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        let later = start + Duration::from_secs(60);
        pace.spend(100, later);
        assert_eq!(pace.due(), later);
        pace.spend(100, later);
        assert_eq!(pace.due(), later + PORTION);
    }

    #[test]
    fn nothing_is_held_back_for_longer_than_a_portion_or_a_byte_takes() {
        for (rate, held_back) in [
            (1, Duration::from_secs(1)),
            (3, Duration::from_nanos(333_333_333)),
            (10, PORTION),
            (u64::MAX, PORTION),
        ] {
            assert_eq!(held_back_max(rate), held_back, "{rate}");
            let start = Instant::now();
            let mut pace = Pace::new(rate, start);
            pace.spend(pace.portion() as u64, start);
            assert!(pace.due() <= start + held_back, "{rate}");
        }
    }

    #[test]
    fn a_byte_a_second_still_moves_and_any_rate_is_finite() {
        let start = Instant::now();
        assert_eq!(Pace::new(1, start).portion(), 1);
        let mut pace = Pace::new(u64::MAX, start);
        pace.spend(u64::MAX, start);
        assert_eq!(
            pace.due(),
            start.checked_sub(PORTION).unwrap().max(start) + Duration::from_secs(1)
        );
    }
}
