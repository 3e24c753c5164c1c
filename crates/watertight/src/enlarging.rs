//! When a pipe gets more room: once so much has gone through it that a larger one pays.

/// What goes through a pipe before it gets more room: few bytes do not pay for it, and the pages of all pipes of a user's
/// have one bound (Linux: `pipe-user-pages-soft`).
const AFTER_BYTES: u64 = 4 * 1024 * 1024;

/// Whether a pipe is still to get more room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Enlarging {
    is_wanted: bool,
}

impl Enlarging {
    pub(crate) const fn new(is_wanted: bool) -> Self {
        Self { is_wanted }
    }

    /// Whether the time has come. It comes once.
    pub(crate) const fn is_due(&mut self, seen_bytes: u64) -> bool {
        let is_due = self.is_wanted && seen_bytes >= AFTER_BYTES;
        if is_due {
            self.is_wanted = false;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_done_once_and_not_before_it_pays() {
        let mut enlarging = Enlarging::new(true);
        assert!(!enlarging.is_due(AFTER_BYTES - 1));
        assert!(enlarging.is_due(AFTER_BYTES));
        assert!(!enlarging.is_due(AFTER_BYTES));
        assert!(!Enlarging::new(false).is_due(u64::MAX));
    }
}
