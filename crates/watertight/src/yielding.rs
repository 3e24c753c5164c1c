//! Giving the processor away once before a thread of a transfer blocks: a count, without the call itself.
//!
//! Who wakes the thread of a transfer is most often on the same processor, has just written its first bytes, and is in the middle of more of them.
//! A thread that blocks is woken by these first bytes, takes them, and blocks again: both take turns for every write. One that gives the processor
//! away without blocking comes back when the others have had their time, to a pipe that is full, or empty behind it.

use crate::pump_read::MayBlock;
use std::time::Duration;
use watertight_core::Backend;

/// Whether to give the processor away before the next wait.
#[derive(Debug, Default)]
pub(crate) struct Yielding {
    /// It was given away since something moved last.
    has_yielded: bool,
    /// So many more waits begin without.
    without: u32,
    /// As many as began without the last time.
    run: u32,
    /// The system does not offer it.
    is_off: bool,
}

impl Yielding {
    /// While nothing comes of it, twice as many waits each time begin without, up to this bound: a trickle pays one call in so many
    /// waits.
    const RUN_MAX: u32 = 32;

    /// Whoever fills or empties a pipe of 1 MiB is done with that in a fraction of this. Who takes longer computes, and a thread that blocks
    /// instead is called back before whoever computes has had all its time: that counts as nothing that came of it.
    const AWAY_MAX: Duration = Duration::from_millis(1);

    /// Nothing can be moved now. Gives the processor away, if that is to be tried; then the caller tries to move something once more.
    pub(crate) fn yields<B: Backend>(&mut self, backend: &B, may_block: MayBlock) -> bool {
        if may_block == MayBlock::No || !self.handle_wait() {
            return false;
        }
        match backend.yield_now() {
            None => self.is_off = true,
            Some(away) => self.handle_return(away),
        }
        !self.is_off
    }

    /// The processor was given away for so long.
    fn handle_return(&mut self, away: Duration) {
        if away > Self::AWAY_MAX {
            self.fail();
        }
    }

    /// Nothing came of it: so many of the next waits begin without.
    fn fail(&mut self) {
        self.has_yielded = false;
        self.run = (self.run * 2).clamp(1, Self::RUN_MAX);
        self.without = self.run;
    }

    /// Nothing can be moved now. `true`: the processor is to be given away, and it is to be tried again; `false`: the wait begins.
    fn handle_wait(&mut self) -> bool {
        if self.is_off {
            return false;
        }
        if self.has_yielded {
            self.fail();
            return false;
        }
        if self.without > 0 {
            self.without -= 1;
            return false;
        }
        self.has_yielded = true;
        true
    }

    /// Whether the next wait begins with it.
    pub(crate) const fn is_next(&self) -> bool {
        self.without == 0 && !self.has_yielded && !self.is_off
    }

    /// Something moved.
    pub(crate) fn handle_move(&mut self) {
        if std::mem::take(&mut self.has_yielded) {
            self.run = 0;
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_as_long_as_it_pays() {
        let mut yielding = Yielding::default();
        for _ in 0..100 {
            assert!(yielding.is_next());
            assert!(yielding.handle_wait());
            assert!(!yielding.is_next(), "once for each wait");
            yielding.handle_move();
        }
    }

    /// Somebody else computes on that processor, and what came meanwhile has waited for that.
    #[test]
    fn who_is_away_for_long_blocks_the_next_times() {
        let mut yielding = Yielding::default();
        assert!(yielding.handle_wait());
        yielding.handle_return(Yielding::AWAY_MAX);
        yielding.handle_move();
        for without in [1, 2, 4, 8, 16, 32, 32] {
            assert!(yielding.handle_wait());
            yielding.handle_return(Yielding::AWAY_MAX * 2);
            yielding.handle_move();
            for _ in 0..without {
                assert!(!yielding.handle_wait());
                yielding.handle_move();
            }
        }
    }

    #[test]
    fn what_brings_nothing_is_tried_ever_more_rarely() {
        let mut yielding = Yielding::default();
        let mut without = Vec::new();
        for _ in 0..7 {
            assert!(yielding.handle_wait());
            // Nothing moved: the wait begins, and moves something.
            assert!(!yielding.handle_wait());
            yielding.handle_move();
            let mut waits = 0;
            while !yielding.is_next() {
                assert!(!yielding.handle_wait());
                yielding.handle_move();
                waits += 1;
            }
            without.push(waits);
        }
        assert_eq!(without, [1, 2, 4, 8, 16, 32, 32]);
        // Once it pays, each wait begins with it again.
        assert!(yielding.handle_wait());
        yielding.handle_move();
        assert!(yielding.handle_wait());
        assert!(!yielding.handle_wait());
        assert!(!yielding.handle_wait(), "one without");
        assert!(yielding.handle_wait());
    }
}
