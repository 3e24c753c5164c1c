//! Which end of a transfer is waited for next, guessed from what was waited for before: a wrong guess costs a call and nothing else.
//!
//! Never here: the waiting itself, and which end has to be waited for in truth.

/// A move that carried fewer bytes out of a file that has more has filled its destination, most likely: the backend carries as many at once
/// into one that has room.
const FULL_MOVE_BYTES: u64 = 1024 * 1024;

/// What is to be done first behind a move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Another move.
    Move,
    WaitForDestination,
    WaitForSource,
}

/// How often a move came behind a wait, and for which end. A thread that sees a wait for the source coming does it first, and
/// spares the attempt that tells it.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// An end was waited for since the last move.
    has_waited: bool,
    /// The end that was waited for last was the destination.
    was_destination: bool,
    /// Moves in a row behind a wait for the source that nobody foresaw.
    seen: u32,
    /// So many more moves are expected to come behind one.
    expected: u32,
    /// As many as were expected the last time.
    run: u32,
    /// So many bytes the source's file still has behind its position, as far as it was asked.
    ahead: u64,
}

impl Rhythm {
    /// So many waits make a rhythm.
    const SEEN_MIN: u32 = 2;
    /// So many are expected first, then it is tried without, in case the source has become faster. Each time that it has not, twice as
    /// many are expected, up to the bound.
    const RUN_MIN: u32 = 2;
    const RUN_MAX: u32 = 32;

    /// Whether it is worth a call to be told which end is waited for. If not, the source is the guess.
    pub(super) const fn asks(&self) -> bool {
        self.has_waited || self.was_destination
    }

    /// The source is a file that has more: nothing but the destination is waited for, and nobody has to be asked.
    pub(super) const fn is_destination(&self) -> bool {
        self.ahead > 0
    }

    /// It was asked how many bytes the source's file has behind its position: none, if it is no file.
    pub(super) const fn handle_ahead(&mut self, bytes: u64) {
        self.ahead = bytes;
    }

    pub(super) const fn handle_destination_wait(&mut self) {
        self.has_waited = true;
        self.was_destination = true;
    }

    pub(super) const fn handle_source_wait(&mut self) {
        self.has_waited = true;
        self.was_destination = false;
    }

    /// So many bytes were moved.
    pub(super) fn handle_move(&mut self, bytes: u64) -> Next {
        self.ahead = self.ahead.saturating_sub(bytes);
        if self.is_destination() && bytes < FULL_MOVE_BYTES {
            // The attempt that would tell that it is full is spared.
            return Next::WaitForDestination;
        }
        if self.foresees_source() {
            Next::WaitForSource
        } else {
            Next::Move
        }
    }

    /// Bytes were moved. Whether to wait for the source before the next attempt.
    fn foresees_source(&mut self) -> bool {
        let is_behind_source = self.has_waited && !self.was_destination;
        self.has_waited = false;
        if !is_behind_source {
            *self = Self {
                was_destination: self.was_destination,
                ahead: self.ahead,
                ..Self::default()
            };
            return false;
        }
        if self.expected > 0 {
            self.expected -= 1;
            return self.expected > 0;
        }
        self.seen += 1;
        if self.seen < Self::SEEN_MIN {
            return false;
        }
        self.run = (self.run * 2).clamp(Self::RUN_MIN, Self::RUN_MAX);
        self.expected = self.run;
        true
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Moves that are each behind a wait for the source: before how many of the next ones it is waited at once.
    fn foreseen(rhythm: &mut Rhythm, moves: u32) -> Vec<bool> {
        let mut all = Vec::new();
        for _ in 0..moves {
            rhythm.handle_source_wait();
            all.push(rhythm.foresees_source());
        }
        all
    }

    #[test]
    fn a_wait_after_every_move_is_seen_coming_and_looked_at_again() {
        let mut rhythm = Rhythm::default();
        // Nothing is expected at first, nor of a source that is always ready.
        for _ in 0..10 {
            assert!(!rhythm.foresees_source());
        }
        let mut lengths = Vec::new();
        assert_eq!(foreseen(&mut rhythm, 1), [false]);
        for _ in 0..6 {
            let mut length = 0;
            while foreseen(&mut rhythm, 1) == [true] {
                length += 1;
            }
            lengths.push(length);
        }
        assert_eq!(lengths, [2, 4, 8, 16, 32, 32]);
        // One move without a wait, and nothing is expected any more.
        assert_eq!(foreseen(&mut rhythm, 1), [true]);
        assert!(!rhythm.foresees_source());
        assert_eq!(foreseen(&mut rhythm, 3), [false, true, true]);
    }

    #[test]
    fn the_end_that_was_waited_for_last_is_the_guess() {
        let mut rhythm = Rhythm::default();
        assert!(!rhythm.asks(), "the source at first");
        rhythm.handle_source_wait();
        assert!(rhythm.asks(), "it was waited for, and nothing moved");
        rhythm.foresees_source();
        assert!(!rhythm.asks());
        rhythm.handle_source_wait();
        rhythm.handle_destination_wait();
        rhythm.foresees_source();
        assert!(rhythm.asks(), "the destination is never guessed");
        rhythm.handle_source_wait();
        rhythm.foresees_source();
        assert!(!rhythm.asks());
    }

    /// Whoever waits for both ends gains nothing by waiting for the source first.
    #[test]
    fn a_wait_for_the_destination_ends_the_rhythm() {
        let mut rhythm = Rhythm::default();
        assert_eq!(foreseen(&mut rhythm, 2), [false, true]);
        rhythm.handle_source_wait();
        rhythm.handle_destination_wait();
        assert!(!rhythm.foresees_source());
        assert_eq!(foreseen(&mut rhythm, 1), [false]);
    }

    #[test]
    fn a_file_that_has_more_waits_for_the_destination_without_a_question() {
        let mut rhythm = Rhythm::default();
        rhythm.handle_destination_wait();
        assert!(rhythm.asks() && !rhythm.is_destination());
        rhythm.handle_ahead(FULL_MOVE_BYTES + 10);
        assert!(rhythm.is_destination());
        assert_eq!(rhythm.handle_move(3), Next::WaitForDestination);
        assert_eq!(
            rhythm.handle_move(FULL_MOVE_BYTES),
            Next::Move,
            "it may have room for more"
        );
        assert_eq!(rhythm.handle_move(6), Next::WaitForDestination);
        assert!(rhythm.is_destination(), "one byte");
        assert_eq!(rhythm.handle_move(1), Next::Move);
        assert!(!rhythm.is_destination(), "it may be the end");
        assert!(rhythm.asks());
        // What has grown meanwhile was not asked for.
        assert_eq!(rhythm.handle_move(FULL_MOVE_BYTES), Next::Move);
        assert!(!rhythm.is_destination());
    }
}
