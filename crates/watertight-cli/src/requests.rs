//! Signals that ask us to end: which of them are requests of their own.

use std::time::{Duration, Instant};

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
