//! A rate: how many bytes may pass now, or from when on some may.
//!
//! Pure: the time is an argument, and who waits for it is not known here. Never here: whose bytes they are.

use std::num::NonZeroU64;
use std::time::Duration;
use watertight_core::Moment;

/// What the rate lets pass in this time is a portion: the most that passes at once.
const PORTION: Duration = Duration::from_millis(50);

const SECOND_NANOS: u128 = Duration::from_secs(1).as_nanos();

/// What a pace says to somebody who wants to pass bytes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Allowance {
    /// So many may pass now, at least one.
    Bytes(u64),
    /// None may pass before then.
    HeldUntil(Moment),
}

/// A pace. Credit grows with the time, up to one portion, and each byte that passes costs some: so no time has more than the rate
/// lets pass, and one portion.
///
/// What is credited is given out as a whole, and then nothing until there is half a portion of it again. So nobody is woken for
/// every byte that time brings, and whoever comes late, by half a portion's time at most, has lost nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    bytes_per_second: NonZeroU64,
    /// In bytes, at least one.
    portion: u64,
    /// In bytes times the nanoseconds of a second: fractions of a byte count.
    credit: u128,
    /// When the credit was so much.
    at: Moment,
    /// So many bytes of the credit are given out and have not passed yet.
    given_out: u64,
}

impl Pace {
    /// The first portion may pass at once.
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        let bytes = u128::from(bytes_per_second.get()) * PORTION.as_nanos() / SECOND_NANOS;
        let bytes = u64::try_from(bytes).expect("less than what a second lets pass");
        let portion = bytes.max(1);
        Self {
            bytes_per_second,
            portion,
            credit: u128::from(portion) * SECOND_NANOS,
            at: Moment::default(),
            given_out: 0,
        }
    }

    /// How many bytes may pass now, or from when on some may.
    pub(crate) fn poll_allowance(&mut self, now: Moment) -> Allowance {
        self.grow(now);
        if self.given_out == 0 {
            let wanted = u128::from(self.portion.div_ceil(2)) * SECOND_NANOS;
            if self.credit < wanted {
                return Allowance::HeldUntil(self.due(wanted));
            }
            let bytes = self.credit / SECOND_NANOS;
            self.given_out = u64::try_from(bytes).expect("at most a portion");
        }
        Allowance::Bytes(self.given_out)
    }

    /// So many bytes have passed: no more than were allowed.
    pub(crate) fn handle_passed(&mut self, bytes: u64) {
        self.given_out = self.given_out.saturating_sub(bytes);
        let cost = u128::from(bytes) * SECOND_NANOS;
        self.credit = self.credit.saturating_sub(cost);
    }

    fn grow(&mut self, now: Moment) {
        let passed = self.at.until(now).as_nanos();
        self.at = self.at.max(now);
        let earned = passed.saturating_mul(u128::from(self.bytes_per_second.get()));
        let most = u128::from(self.portion) * SECOND_NANOS;
        self.credit = self.credit.saturating_add(earned).min(most);
    }

    /// When there will be so much credit.
    fn due(&self, wanted: u128) -> Moment {
        let missing = wanted.saturating_sub(self.credit);
        let nanos = missing.div_ceil(u128::from(self.bytes_per_second.get()));
        // At most the time of one byte, or of half a portion.
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.at.after(Duration::from_nanos(nanos))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use Allowance::{Bytes, HeldUntil};

    const MILLI: u64 = 1_000_000;

    fn pace(bytes_per_second: u64) -> Pace {
        Pace::new(NonZeroU64::new(bytes_per_second).expect("a rate is not zero"))
    }

    const fn millis(millis: u64) -> Moment {
        Moment(millis * MILLI)
    }

    #[test]
    fn a_portion_passes_at_once_and_then_half_a_portion_in_half_its_time() {
        let mut pace = pace(1000);
        assert_eq!(pace.poll_allowance(millis(0)), Bytes(50));
        pace.handle_passed(50);
        for half in 1..=40 {
            let due = millis(25 * half);
            let early = Moment(due.0 - 1);
            assert_eq!(pace.poll_allowance(early), HeldUntil(due));
            assert_eq!(pace.poll_allowance(due), Bytes(25));
            pace.handle_passed(25);
        }
    }

    #[test]
    fn what_is_allowed_may_pass_in_pieces_and_later() {
        let mut pace = pace(1000);
        assert_eq!(pace.poll_allowance(millis(0)), Bytes(50));
        pace.handle_passed(20);
        assert_eq!(pace.poll_allowance(millis(0)), Bytes(30));
        pace.handle_passed(29);
        // The last byte of what was given out, and then what has grown since.
        assert_eq!(pace.poll_allowance(millis(1000)), Bytes(1));
        pace.handle_passed(1);
        assert_eq!(pace.poll_allowance(millis(1000)), Bytes(49));
        pace.handle_passed(49);
        assert_eq!(pace.poll_allowance(millis(1000)), HeldUntil(millis(1025)));
    }

    #[test]
    fn who_comes_a_little_late_loses_nothing_and_a_pause_is_no_burst() {
        let mut pace = pace(1000);
        assert_eq!(pace.poll_allowance(millis(0)), Bytes(50));
        pace.handle_passed(50);
        assert_eq!(pace.poll_allowance(millis(40)), Bytes(40));
        pace.handle_passed(40);
        assert_eq!(pace.poll_allowance(millis(40)), HeldUntil(millis(65)));
        assert_eq!(pace.poll_allowance(millis(60_000)), Bytes(50));
        pace.handle_passed(50);
        assert_eq!(
            pace.poll_allowance(millis(60_000)),
            HeldUntil(millis(60_025))
        );
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing() {
        let mut pace = pace(1000);
        assert_eq!(pace.poll_allowance(millis(100)), Bytes(50));
        pace.handle_passed(50);
        assert_eq!(pace.poll_allowance(millis(0)), HeldUntil(millis(125)));
        assert_eq!(pace.poll_allowance(millis(125)), Bytes(25));
    }

    #[test]
    fn any_rate_moves_and_is_finite() {
        // The rate, what passes at once, and how many nanoseconds later something may pass again.
        let table = [
            (1, 1, 1_000_000_000),
            (3, 1, 333_333_334),
            (20, 1, 50_000_000),
            (59, 2, 16_949_153),
            (60, 3, 33_333_334),
            (1_000_000_000_000, 50_000_000_000, 25_000_000),
            (u64::MAX, u64::MAX / 20, 25_000_000),
        ];
        for (rate, portion, later) in table {
            let mut pace = pace(rate);
            let start = Moment(7);
            assert_eq!(pace.poll_allowance(start), Bytes(portion), "{rate}");
            pace.handle_passed(portion);
            let due = Moment(start.0 + later);
            assert_eq!(pace.poll_allowance(start), HeldUntil(due), "{rate}");
            let Bytes(bytes) = pace.poll_allowance(due) else {
                panic!("{rate}: it is time")
            };
            assert!(bytes >= portion.div_ceil(2), "{rate}");
            assert_eq!(pace.poll_allowance(Moment::NEVER), Bytes(bytes), "{rate}");
        }
    }

    /// However it is asked, and however much of what is allowed passes.
    #[test]
    fn no_second_has_more_than_the_rate_and_one_portion() {
        let (rate, portion) = (1000, 50);
        let mut pace = pace(rate);
        let mut drawn = 12_345_u64;
        let mut draw = |most: u64| {
            drawn = drawn.wrapping_mul(6_364_136_223_846_793_005);
            drawn = drawn.wrapping_add(1_442_695_040_888_963_407);
            (drawn >> 33) % most
        };
        let mut now = Moment(0);
        let mut passes: Vec<(Moment, u64)> = Vec::new();
        for _ in 0..3000 {
            now = now.after(Duration::from_nanos(draw(30 * MILLI)));
            if let Bytes(allowed) = pace.poll_allowance(now) {
                let bytes = 1 + draw(allowed);
                pace.handle_passed(bytes);
                passes.push((now, bytes));
            }
        }
        for (at, (from, _)) in passes.iter().enumerate() {
            let within = passes[at..]
                .iter()
                .take_while(|(moment, _)| moment.0 - from.0 <= 1000 * MILLI);
            let bytes: u64 = within.map(|(_, bytes)| bytes).sum();
            assert!(bytes <= rate + portion, "{bytes} from {from:?} on");
        }
        let all: u64 = passes.iter().map(|(_, bytes)| bytes).sum();
        assert!(all > 0 && u128::from(all) <= u128::from(now.0) / 1_000_000 + 50);
    }
}
