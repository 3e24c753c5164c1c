//! Giving the processor away once before a thread of a transfer blocks: a count, without the call itself.
//!
//! Who wakes the thread of a transfer is most often on the same processor, has just written its first bytes, and is in the middle of more of them.
//! A thread that blocks is woken by these first bytes, takes them, and blocks again: both take turns for every write. One that gives the processor
//! away without blocking comes back when the others have had their time, to a pipe that is full, or empty behind it.

use crate::pump_read::MayBlock;
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

    /// Nothing can be moved now. Gives the processor away, if that is to be tried; then the caller tries to move something once more.
    pub(crate) fn yields<B: Backend>(&mut self, backend: &B, may_block: MayBlock) -> bool {
        if may_block == MayBlock::No || !self.handle_wait() {
            return false;
        }
        let is_offered = backend.yield_now();
        self.is_off = !is_offered;
        is_offered
    }

    /// Nothing can be moved now. `true`: the processor is to be given away, and it is to be tried again; `false`: the wait begins.
    fn handle_wait(&mut self) -> bool {
        if self.is_off {
            return false;
        }
        if std::mem::take(&mut self.has_yielded) {
            self.run = (self.run * 2).clamp(1, Self::RUN_MAX);
            self.without = self.run;
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
