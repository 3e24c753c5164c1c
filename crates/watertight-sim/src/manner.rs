//! How cruel the kernel is, apart from its codes. Drawn per seed: which cruelties exist at all, then how often (swarm).

use crate::chance::Chance;
use std::time::Duration;

/// The longest delay of an answer while a run is to end: with a longer one, a question asked again and again meanwhile
/// would be taken for a livelock.
const DELAY_CALM: Duration = Duration::from_millis(1);

/// Every number `n` is "one in n"; 0 is never.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// A transfer is cut short although there is room.
    pub short_one_in: u32,
    /// The driver's thread runs, or something is called ready, for no reason.
    pub spurious_one_in: u32,
    /// Answers come up to so much later.
    pub delay: Duration,
    /// An answer comes very late.
    pub late_one_in: u32,
    /// How late that is.
    pub late: Duration,
    /// An answer that is due is kept for another time: others overtake it.
    pub hold_back_one_in: u32,
    /// Another thread runs in the middle of a call.
    pub preempt_one_in: u32,
    /// The clock leaps.
    pub leap_one_in: u32,
    /// How far.
    pub leap: Duration,
    /// A cancel is not heard.
    pub deaf_one_in: u32,
    /// A packet comes that names a pipe of the past.
    pub stale_one_in: u32,
    /// After so many small messages dense ones are joined, if at all.
    pub joins_after: Option<u16>,
}

impl Manner {
    /// A kernel that does what the manuals say, at once.
    #[must_use]
    pub fn kind() -> Self {
        Self::default()
    }

    /// Draws a manner.
    #[must_use]
    pub fn draw(chance: &mut Chance) -> Self {
        let mut some = |rates: &[u32]| {
            if chance.one_in(2) {
                chance.pick(rates)
            } else {
                0
            }
        };
        let mut manner = Self {
            short_one_in: some(&[2, 5]),
            spurious_one_in: some(&[3, 20]),
            late_one_in: some(&[10, 50]),
            hold_back_one_in: some(&[2, 4]),
            preempt_one_in: some(&[2, 3, 8]),
            leap_one_in: some(&[50, 200]),
            deaf_one_in: some(&[3, 10]),
            stale_one_in: some(&[5, 20]),
            ..Self::default()
        };
        let millis = |chance: &mut Chance, from: &[u64]| Duration::from_millis(chance.pick(from));
        manner.delay = millis(chance, &[0, 0, 1, 50, 2_000]);
        manner.late = millis(chance, &[6_000, 60_000]);
        manner.leap = millis(chance, &[100, 10_000, 3_600_000]);
        manner.joins_after = chance.pick(&[None, Some(0), Some(1), Some(3)]);
        manner
    }

    /// No more cruelties that keep a run from ending.
    pub fn calm(&mut self) {
        self.delay = self.delay.min(DELAY_CALM);
        self.late_one_in = 0;
        self.deaf_one_in = 0;
        self.hold_back_one_in = 0;
        self.spurious_one_in = 0;
        self.leap_one_in = 0;
    }
}
