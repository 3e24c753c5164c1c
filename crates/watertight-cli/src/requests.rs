//! Signals to us: what is known of one, and which of those that ask us to end are requests of their own.

use std::time::{Duration, Instant};

/// A signal to us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    pub(crate) number: i32,
    /// A key has sent it to everybody in the terminal's foreground, or may have, where the system does not tell that.
    pub(crate) is_typed: bool,
    /// It is there to ask a program to end: so one more is a request more. Other signals end it too, and timers and limits send theirs again
    /// and again.
    pub(crate) is_asking: bool,
}

/// One event may bring several signals at once. GNU timeout sends its signal to its child and then to its own group, in which the child is.
/// A terminal that is closed sends SIGHUP, its shell sends that once more, and whoever supervises the session sends SIGTERM (systemd both, with
/// `SendSIGHUP=`). Ctrl-C reaches us and a program above us, which sends SIGTERM for it. All that is one request, and its parts come within a
/// few milliseconds. Nobody presses a key twice that fast, and who does without a grace may wait as long as this.
const SAME_WITHIN: Duration = Duration::from_millis(200);

/// The requests so far.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last: Option<Instant>,
}

impl Requests {
    /// Whether a signal that has come now is a request of its own, and no part of the last one, whichever signals the two are. `is_ending`: we
    /// have a request already, so that only who asks has one more.
    pub(crate) fn is_new(&mut self, signal: Signal, now: Instant, is_ending: bool) -> bool {
        let is_same = |at: Instant| now.saturating_duration_since(at) < SAME_WITHIN;
        let is_more_of_others = is_ending && !signal.is_asking;
        if is_more_of_others || self.last.is_some_and(is_same) {
            return false;
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERRUPT: Signal = Signal {
        number: 2,
        is_typed: false,
        is_asking: true,
    };
    const TERMINATE: Signal = Signal {
        number: 15,
        ..INTERRUPT
    };
    const TIMER: Signal = Signal {
        number: 27,
        is_asking: false,
        ..INTERRUPT
    };

    #[test]
    fn what_comes_at_once_is_one_request() {
        let now = Instant::now();
        let mut requests = Requests::default();
        assert!(requests.is_new(TERMINATE, now, false));
        assert!(!requests.is_new(TERMINATE, now, true));
        assert!(!requests.is_new(INTERRUPT, now, true));
        let just_before = now + SAME_WITHIN.checked_sub(Duration::from_nanos(1)).unwrap();
        assert!(!requests.is_new(INTERRUPT, just_before, true));
        // It counts from the request, not from what came with it.
        assert!(requests.is_new(TERMINATE, now + SAME_WITHIN, true));
        assert!(!requests.is_new(INTERRUPT, now + SAME_WITHIN, true));
    }

    #[test]
    fn what_timers_send_again_and_again_is_one_request() {
        let now = Instant::now();
        let mut requests = Requests::default();
        assert!(requests.is_new(TIMER, now, false));
        assert!(!requests.is_new(TIMER, now + SAME_WITHIN, true));
        assert!(requests.is_new(TERMINATE, now + SAME_WITHIN, true));
        assert!(!requests.is_new(TIMER, now + 2 * SAME_WITHIN, true));
    }
}
