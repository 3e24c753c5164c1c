//! Signals to us: what is known of one, and which of those that ask us to end are requests of their own.

use std::time::{Duration, Instant};

/// A signal to us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    pub(crate) number: i32,
    /// A key has sent it to everybody in the terminal's foreground, or may have, where the system does not tell that.
    pub(crate) is_typed: bool,
}

/// GNU timeout sends its signal to its child and then to its own group, in which the child is: that is one request, which comes twice within
/// microseconds. Nobody presses a key twice that fast, and who does without a grace may wait as long as this.
const SAME_WITHIN: Duration = Duration::from_millis(200);

/// The requests so far.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last: Option<(i32, Instant)>,
}

impl Requests {
    /// Whether this signal is a request of its own, and not the last one once more.
    pub(crate) fn is_new(&mut self, signal: i32, now: Instant) -> bool {
        let is_same = |(last, at): (i32, Instant)| {
            last == signal && now.saturating_duration_since(at) < SAME_WITHIN
        };
        if self.last.is_some_and(is_same) {
            return false;
        }
        self.last = Some((signal, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_at_once_is_one_request() {
        let now = Instant::now();
        let mut requests = Requests::default();
        assert!(requests.is_new(15, now));
        assert!(!requests.is_new(15, now));
        let just_before = now + SAME_WITHIN.checked_sub(Duration::from_nanos(1)).unwrap();
        assert!(!requests.is_new(15, just_before));
        // It counts from the request, not from what came with it.
        assert!(requests.is_new(15, now + SAME_WITHIN));
        // Another one is another request.
        assert!(requests.is_new(2, now + SAME_WITHIN));
    }
}
