//! A thread that looks again and again for a moment before it blocks (`ReaderOptions::spin`), and for how long: that follows from
//! how the waits of its pipe went, so that a pipe on which little happens costs no spinning.
//!
//! What decides is given the time, and reads no clock. Never here: a wait of its own. A spin repeats the direct read.

use super::ReaderCell;
use std::task::Waker;
use std::time::Duration;
use watertight_core::{Backend, Moment, ReadNow};

/// Times are kept in so few bytes, for every reader has them, whether it spins or not.
const UNIT: Duration = Duration::from_micros(4);

/// How many reads are made between two looks at the clock, and at whether somebody stops the pipe.
const READS_PER_LOOK: u32 = 4;

/// The bound on a spin where time stands still, as a simulated kernel's may: no system makes so many reads in a unit.
const LOOKS_PER_UNIT: u32 = 16;

/// By so much a blocked wait may be longer than a spin for the same bytes: the thread is woken, and its peer often was, too.
const WOKEN_WITHIN: Duration = Duration::from_micros(100);

/// After spins in vain, and where a thread has one processor, so many short waits pass before it is tried again.
const PAUSE_WAITS: u8 = 64;

/// How long the next wait of a pipe spins. Whoever has the direct read has it too, and books it with the answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Spinning {
    /// The longest spin, in units. Zero: it never spins.
    most: u8,
    /// The next one, in units.
    next: u8,
    /// How many short waits pass before it is tried again.
    pause_waits: u8,
}

/// One spin: when it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Spin {
    until: Moment,
    looks_left: u32,
}

impl Spinning {
    /// Rounded up to whole units. Only a wait that was short has a pipe begin to spin.
    pub(super) fn new(most: Duration) -> Self {
        let units = most.as_nanos().div_ceil(UNIT.as_nanos());
        Self {
            // `ReaderOptions::SPIN_MAX` has fewer units.
            most: u8::try_from(units).unwrap_or(u8::MAX),
            ..Self::default()
        }
    }

    fn is_off(self) -> bool {
        self.most == 0
    }

    /// The spin of a wait that begins now and ends at a deadline; nothing if it is to block at once.
    fn begin(self, now: Moment, deadline: Option<Moment>) -> Option<Spin> {
        let end = now.after(UNIT * u32::from(self.next));
        let until = deadline.map_or(end, |deadline| deadline.min(end));
        (now < until).then(|| Spin {
            until,
            looks_left: u32::from(self.next) * LOOKS_PER_UNIT,
        })
    }

    /// A spin is over.
    fn handle_spin(&mut self, has_brought: bool) {
        if has_brought {
            self.next = self.most;
            return;
        }
        self.next /= 2;
        if self.next == 0 {
            self.pause_waits = PAUSE_WAITS;
        }
    }

    /// A wait that blocked at once has brought bytes. `may_spin` is asked only if spinning would have brought them, too.
    fn handle_blocked(&mut self, waited: Duration, may_spin: impl FnOnce() -> bool) {
        if waited > UNIT * u32::from(self.most) + WOKEN_WITHIN {
            return;
        }
        if self.pause_waits > 0 {
            self.pause_waits -= 1;
        } else if may_spin() {
            self.next = self.most;
        } else {
            self.pause_waits = PAUSE_WAITS;
        }
    }
}

impl Spin {
    /// Asked at each look.
    fn is_over(&mut self, now: Moment) -> bool {
        self.looks_left = self.looks_left.saturating_sub(1);
        self.looks_left == 0 || self.until <= now
    }
}

impl<B: Backend> ReaderCell<B> {
    /// As `block`; spins before if that is what this pipe's waits suggest.
    pub(super) fn spin_or_block(
        &self,
        handle: &B::Handle,
        buf: &mut [u8],
        deadline: Option<Moment>,
        waker: &Waker,
        spinning: &mut Spinning,
    ) -> (ReadNow, bool) {
        if spinning.is_off() {
            return self.block(handle, buf, deadline, waker);
        }
        let begun = self.driver.backend.now();
        if let Some(spin) = spinning.begin(begun, deadline) {
            let now = self.spin(handle, buf, spin);
            let has_brought = now != ReadNow::Wait;
            spinning.handle_spin(has_brought);
            return if has_brought {
                (now, false)
            } else {
                // After a stop and at a deadline it does not block.
                self.block(handle, buf, deadline, waker)
            };
        }
        let (now, is_late) = self.block(handle, buf, deadline, waker);
        if matches!(now, ReadNow::Data(_)) {
            let waited = begun.until(self.driver.backend.now());
            spinning.handle_blocked(waited, || self.driver.backend.may_spin());
        }
        (now, is_late)
    }

    /// Repeats the direct read until it brings something, somebody stops the pipe, or the spin is over (O8). Nobody else reads
    /// meanwhile, and the handle stays open.
    fn spin(&self, handle: &B::Handle, buf: &mut [u8], mut spin: Spin) -> ReadNow {
        loop {
            for _ in 0..READS_PER_LOOK {
                std::hint::spin_loop();
                let now = self.driver.backend.read_now(handle, buf);
                if now != ReadNow::Wait {
                    return now;
                }
            }
            let is_given_up = self.lock().half.is_given_up();
            if is_given_up || spin.is_over(self.driver.backend.now()) {
                return ReadNow::Wait;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Came::{Blocked, BlockedAlone, Spun, SpunInVain};

    const SPIN: Duration = Duration::from_micros(100);

    /// How a wait went.
    #[derive(Clone, Copy)]
    enum Came {
        /// It blocked at once, and bytes came after so many microseconds.
        Blocked(u64),
        /// As that, on a thread that has one processor.
        BlockedAlone(u64),
        /// Spinning brought bytes.
        Spun,
        /// Spinning brought nothing.
        SpunInVain,
    }

    impl Spinning {
        fn handle(&mut self, came: Came) {
            match came {
                Blocked(micros) => self.handle_blocked(Duration::from_micros(micros), || true),
                BlockedAlone(micros) => {
                    self.handle_blocked(Duration::from_micros(micros), || false);
                }
                Spun => self.handle_spin(true),
                SpunInVain => self.handle_spin(false),
            }
        }

        /// The next spin's microseconds.
        fn next_micros(self) -> u64 {
            let spin = self.begin(Moment::default(), None);
            spin.map_or(0, |spin| spin.until.0 / 1_000)
        }
    }

    #[test]
    fn the_next_spin_follows_from_the_waits_before() {
        let table: &[(&[Came], u64)] = &[
            (&[], 0),
            (&[Blocked(20)], 100),
            // So long as the waking may have been what took the time.
            (&[Blocked(200)], 100),
            (&[Blocked(201)], 0),
            (&[Blocked(1_000_000)], 0),
            (&[Blocked(1_000_000), Blocked(20)], 100),
            (&[BlockedAlone(20)], 0),
            (&[BlockedAlone(20), Blocked(20)], 0),
            (&[Blocked(20), Spun], 100),
            (&[Blocked(20), SpunInVain], 48),
            (&[Blocked(20), SpunInVain, Spun], 100),
            (&[Blocked(20), SpunInVain, SpunInVain], 24),
            (&[Blocked(20), SpunInVain, SpunInVain, SpunInVain], 12),
        ];
        for (number, (waits, micros)) in table.iter().enumerate() {
            let mut spinning = Spinning::new(SPIN);
            for came in *waits {
                spinning.handle(*came);
            }
            assert_eq!(spinning.next_micros(), *micros, "line {number}");
        }
    }

    #[test]
    fn a_pipe_whose_spins_are_in_vain_soon_has_none() {
        let mut spinning = Spinning::new(Duration::from_millis(1));
        spinning.handle(Blocked(20));
        let mut spun = Vec::new();
        while spinning.next_micros() > 0 {
            spun.push(spinning.next_micros());
            spinning.handle(SpunInVain);
        }
        assert_eq!(spun[0], 1_000);
        assert!(spun.len() < 10, "{spun:?}");
        assert!(spun.iter().sum::<u64>() < 2_000, "{spun:?}");
    }

    #[test]
    fn after_spins_in_vain_it_is_tried_again_later() {
        let mut spinning = Spinning::new(UNIT);
        spinning.handle(Blocked(20));
        spinning.handle(SpunInVain);
        for _ in 0..PAUSE_WAITS {
            assert_eq!(spinning.next_micros(), 0);
            spinning.handle(Blocked(20));
        }
        assert_eq!(spinning.next_micros(), 0);
        spinning.handle(Blocked(20));
        assert_eq!(spinning.next_micros(), 4);
    }

    #[test]
    fn where_a_thread_has_one_processor_it_is_asked_rarely() {
        let (mut spinning, mut asked) = (Spinning::new(SPIN), 0);
        for _ in 0..10 * (u32::from(PAUSE_WAITS) + 1) {
            spinning.handle_blocked(SPIN, || {
                asked += 1;
                false
            });
        }
        assert_eq!(asked, 10);
    }

    #[test]
    fn a_spin_is_rounded_up_and_cut() {
        for (nanos, micros) in [(0, 0), (1, 4), (4_000, 4), (4_001, 8), (u64::MAX, 1_020)] {
            let mut spinning = Spinning::new(Duration::from_nanos(nanos));
            assert_eq!(spinning.is_off(), nanos == 0);
            spinning.handle(Blocked(1));
            assert_eq!(spinning.next_micros(), micros, "{nanos} ns");
        }
    }

    #[test]
    fn a_spin_ends_at_its_time_at_the_deadline_and_where_time_stands_still() {
        let mut spinning = Spinning::new(SPIN);
        spinning.handle(Blocked(20));
        let now = Moment(1_000);
        let until = |deadline| Some(spinning.begin(now, deadline)?.until);
        assert_eq!(until(None), Some(Moment(101_000)));
        assert_eq!(until(Some(Moment(200_000))), Some(Moment(101_000)));
        assert_eq!(until(Some(Moment(50_000))), Some(Moment(50_000)));
        assert_eq!(until(Some(now)), None, "it has passed");
        let mut spin = spinning.begin(now, None).unwrap();
        assert!(!spin.is_over(Moment(100_999)));
        assert!(spin.is_over(Moment(101_000)));
        let mut spin = spinning.begin(now, None).unwrap();
        let looks = (1..10_000).find(|_| spin.is_over(now));
        assert_eq!(looks, Some(25 * LOOKS_PER_UNIT));
    }
}
