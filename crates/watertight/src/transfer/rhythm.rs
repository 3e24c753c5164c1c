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

/// How often a wait was needed before a move, and whether the next one is.
#[derive(Debug, Default)]
struct Foresight {
    /// Moves in a row behind a wait that nobody foresaw.
    seen: u32,
    /// So many more moves are expected to come behind one.
    expected: u32,
    /// As many as were expected the last time.
    run: u32,
}

impl Foresight {
    /// So many waits make a rhythm.
    const SEEN_MIN: u32 = 2;
    /// So many are expected first, then it is tried without, in case the end has become faster. Each time that it has not, twice as
    /// many are expected, up to the bound.
    const RUN_MIN: u32 = 2;
    const RUN_MAX: u32 = 32;

    /// Bytes were moved, behind such a wait or not. Whether to begin with the wait before the next attempt.
    fn handle_move(&mut self, is_behind_wait: bool) -> bool {
        if !is_behind_wait {
            *self = Self::default();
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

/// Which end is waited for. A thread that sees a wait coming does it first, and spares the attempt that tells it.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// An end was waited for since the last move.
    has_waited: bool,
    /// The end that was waited for last was the destination.
    was_destination: bool,
    /// The destination was full since the last move, and the source has more.
    was_full: bool,
    source: Foresight,
    full: Foresight,
    /// So many bytes the source's file still has behind its position, as far as it was asked.
    ahead: u64,
}

impl Rhythm {
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

    /// The destination is full, and the source is a file that has more: found by an attempt, or foreseen.
    pub(super) const fn handle_full(&mut self) {
        self.was_full = true;
    }

    /// So many bytes were moved.
    pub(super) fn handle_move(&mut self, bytes: u64) -> Next {
        let is_behind_source = self.has_waited && !self.was_destination;
        let was_full = std::mem::take(&mut self.was_full);
        self.has_waited = false;
        self.ahead = self.ahead.saturating_sub(bytes);
        let foresees_source = self.source.handle_move(is_behind_source);
        let foresees_full = self.full.handle_move(was_full);
        if self.is_destination() {
            if foresees_full && bytes < FULL_MOVE_BYTES {
                self.handle_full();
                return Next::WaitForDestination;
            }
            return Next::Move;
        }
        if foresees_source {
            Next::WaitForSource
        } else {
            Next::Move
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Bytes were moved: whether the source is waited for before the next attempt.
    fn foresees(rhythm: &mut Rhythm) -> bool {
        rhythm.handle_move(1) == Next::WaitForSource
    }

    /// Moves that are each behind a wait for the source: before how many of the next ones it is waited at once.
    fn foreseen(rhythm: &mut Rhythm, moves: u32) -> Vec<bool> {
        let mut all = Vec::new();
        for _ in 0..moves {
            rhythm.handle_source_wait();
            all.push(foresees(rhythm));
        }
        all
    }

    #[test]
    fn a_wait_after_every_move_is_seen_coming_and_looked_at_again() {
        let mut rhythm = Rhythm::default();
        // Nothing is expected at first, nor of a source that is always ready.
        for _ in 0..10 {
            assert!(!foresees(&mut rhythm));
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
        assert!(!foresees(&mut rhythm));
        assert_eq!(foreseen(&mut rhythm, 3), [false, true, true]);
    }

    #[test]
    fn the_end_that_was_waited_for_last_is_the_guess() {
        let mut rhythm = Rhythm::default();
        assert!(!rhythm.asks(), "the source at first");
        rhythm.handle_source_wait();
        assert!(rhythm.asks(), "it was waited for, and nothing moved");
        foresees(&mut rhythm);
        assert!(!rhythm.asks());
        rhythm.handle_source_wait();
        rhythm.handle_destination_wait();
        foresees(&mut rhythm);
        assert!(rhythm.asks(), "the destination is never guessed");
        rhythm.handle_source_wait();
        foresees(&mut rhythm);
        assert!(!rhythm.asks());
    }

    /// Whoever waits for both ends gains nothing by waiting for the source first.
    #[test]
    fn a_wait_for_the_destination_ends_the_rhythm() {
        let mut rhythm = Rhythm::default();
        assert_eq!(foreseen(&mut rhythm, 2), [false, true]);
        rhythm.handle_source_wait();
        rhythm.handle_destination_wait();
        assert!(!foresees(&mut rhythm));
        assert_eq!(foreseen(&mut rhythm, 1), [false]);
    }

    #[test]
    fn a_file_that_has_more_waits_for_the_destination_without_a_question() {
        let mut rhythm = Rhythm::default();
        rhythm.handle_destination_wait();
        assert!(rhythm.asks() && !rhythm.is_destination());
        rhythm.handle_ahead(10);
        assert!(rhythm.is_destination());
        rhythm.handle_move(9);
        assert!(rhythm.is_destination(), "one byte");
        rhythm.handle_move(1);
        assert!(!rhythm.is_destination(), "it may be the end");
        assert!(rhythm.asks());
        // What has grown meanwhile was not asked for.
        rhythm.handle_move(1);
        assert!(!rhythm.is_destination());
    }

    #[test]
    fn a_destination_that_is_full_behind_every_move_is_seen_coming() {
        let full = |rhythm: &mut Rhythm, bytes| {
            rhythm.handle_full();
            rhythm.handle_move(bytes)
        };
        let mut rhythm = Rhythm::default();
        rhythm.handle_ahead(u64::MAX);
        assert_eq!(full(&mut rhythm, 3), Next::Move);
        let mut lengths = Vec::new();
        for _ in 0..6 {
            let mut length = 0;
            while full(&mut rhythm, 3) == Next::WaitForDestination {
                length += 1;
            }
            lengths.push(length);
        }
        assert_eq!(lengths, [2, 4, 8, 16, 32, 32]);
        // Whoever takes while bytes come makes room for more of them.
        assert_eq!(full(&mut rhythm, 3), Next::WaitForDestination);
        assert_eq!(full(&mut rhythm, FULL_MOVE_BYTES), Next::Move);
        assert_eq!(rhythm.handle_move(3), Next::Move);
        assert_eq!(full(&mut rhythm, 3), Next::Move);
        assert_eq!(full(&mut rhythm, 3), Next::WaitForDestination);
        // With the file's last byte nothing is foreseen any more.
        rhythm.handle_ahead(3);
        assert_eq!(full(&mut rhythm, 3), Next::Move);
    }
}
