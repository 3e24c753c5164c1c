//! For how long the end of this program waits for whoever takes what it says last. Nothing here knows a clock.

use std::time::Duration;

/// How long the end of the program waits since somebody last took a byte: time enough for a reader that is alive to come
/// back to it, and less than what supervisors leave between a SIGTERM and the SIGKILL (10 s and more).
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(3);
/// How often the end of the program looks whether somebody reads. The waiting is counted in such looks, so that a stop of
/// this program (Ctrl-Z) does not count.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whoever takes what the end of the program waits to get rid of, as far as that can be seen.
pub(crate) struct LastReader {
    /// How many bytes the system had not taken at the last look.
    waiting: usize,
    /// How many lay unread in the pipe then. A full pipe has room again only when a good part of it was read; whoever reads slowly is seen
    /// by what is left in it.
    unread: Option<u64>,
    /// For how long nobody took a byte.
    idle: Duration,
}

impl LastReader {
    pub(crate) const fn new(waiting: usize, unread: Option<u64>) -> Self {
        Self {
            waiting,
            unread,
            idle: Duration::ZERO,
        }
    }

    /// The next look, so much later.
    pub(crate) fn look(&mut self, waiting: usize, unread: Option<u64>, passed: Duration) {
        let has_read = |(before, now): (u64, u64)| now < before;
        let has_taken = waiting < self.waiting || self.unread.zip(unread).is_some_and(has_read);
        self.idle += passed;
        if has_taken {
            self.idle = Duration::ZERO;
        }
        (self.waiting, self.unread) = (waiting, unread);
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.idle >= STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full pipe, and how much must be read before it takes more.
    const PIPE_BYTES: u64 = 65_536;
    const PAGE_BYTES: u64 = 4_096;

    /// What the end of the program sees, by a clock of the test's own.
    struct Ending {
        reader: LastReader,
        waiting: u64,
        unread: Option<u64>,
        clock: Duration,
    }

    impl Ending {
        fn new(waiting: u64, unread: Option<u64>) -> Self {
            Self {
                reader: LastReader::new(usize::try_from(waiting).unwrap(), unread),
                waiting,
                unread,
                clock: Duration::ZERO,
            }
        }

        fn look(&mut self, passed: Duration) {
            self.clock += passed;
            let waiting = usize::try_from(self.waiting).unwrap();
            self.reader.look(waiting, self.unread, passed);
        }

        /// Nobody takes anything for so long.
        fn pause(&mut self, duration: Duration) {
            let end = self.clock + duration;
            while self.clock < end {
                self.look(LOOK_EVERY);
            }
        }
    }

    #[test]
    fn a_slow_reader_gets_everything_however_long_it_takes() {
        let mut ending = Ending::new(3 * PAGE_BYTES, Some(PIPE_BYTES));
        while ending.waiting > 0 {
            ending.pause(Duration::from_millis(2_900));
            assert!(!ending.reader.is_stuck(), "at {:?}", ending.clock);
            // It takes little: for a while the pipe has no room, and what was read in it is all that is seen.
            let unread = ending.unread.unwrap() - PAGE_BYTES / 4;
            ending.unread = Some(unread);
            if PIPE_BYTES - unread >= PAGE_BYTES {
                // The pipe is full again by the next look, and only what waits is seen to be less.
                ending.unread = Some(PIPE_BYTES);
                ending.waiting -= PAGE_BYTES;
            }
            ending.look(LOOK_EVERY);
            assert!(!ending.reader.is_stuck(), "at {:?}", ending.clock);
        }
        assert!(ending.clock > 10 * STUCK_AFTER);
    }

    #[test]
    fn a_reader_is_given_up_three_seconds_after_the_last_byte_that_it_took() {
        // What is left unread is known of a pipe only.
        for unread in [None, Some(PIPE_BYTES)] {
            let mut ending = Ending::new(PAGE_BYTES, unread);
            ending.pause(Duration::from_millis(2_900));
            ending.waiting -= 1;
            ending.look(Duration::ZERO);
            ending.pause(Duration::from_millis(2_900));
            // Wakes that bring nothing are no time.
            for _ in 0..100 {
                ending.look(Duration::ZERO);
            }
            assert!(!ending.reader.is_stuck(), "after 2.9 s");
            ending.pause(Duration::from_millis(100));
            assert!(ending.reader.is_stuck(), "after 3.0 s");
        }
    }

    /// Others write into the same pipe, and a pipe may stop telling: neither is a sign of a reader.
    #[test]
    fn what_is_no_sign_of_a_reader_gives_it_no_time() {
        let mut ending = Ending::new(PAGE_BYTES, Some(10));
        for unread in [Some(20), None, Some(30)] {
            ending.pause(Duration::from_millis(900));
            ending.unread = unread;
            ending.look(LOOK_EVERY);
        }
        assert!(ending.reader.is_stuck(), "after 3.0 s");
    }
}
