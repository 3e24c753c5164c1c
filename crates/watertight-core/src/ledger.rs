//! Where every byte is: six counters and the one equation between them (rules L1 to L5).
//!
//! This is the only file that changes a count. It must never learn why a count changes: that is `write.rs` and `read.rs`.

use core::fmt;

/// The account of one pipe, in bytes.
///
/// At every moment `accepted == queued + in_flight + transferred + discarded + in_doubt` (rule L1); every change asserts
/// it, in release builds too.
///
/// For a writer, *accepted* bytes came from the caller and *transferred* bytes were taken by the kernel. For a reader it
/// is the mirror image: *accepted* bytes came from the kernel, *queued* ones are held as read-ahead, and *transferred*
/// ones were handed to the caller.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ledger {
    accepted: u64,
    queued: u64,
    in_flight: u64,
    transferred: u64,
    discarded: u64,
    in_doubt: u64,
}

impl Ledger {
    /// Bytes taken over from the caller (writer) or from the kernel (reader).
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Bytes waiting in our queue.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.queued
    }

    /// Bytes given to the kernel, which has not answered yet.
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes the kernel says it took (writer), or that the caller received (reader).
    #[must_use]
    pub const fn transferred(&self) -> u64 {
        self.transferred
    }

    /// Bytes given up before the kernel took them.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Bytes given to the kernel which never said how many of them it took.
    #[must_use]
    pub const fn in_doubt(&self) -> u64 {
        self.in_doubt
    }

    /// Bytes that no longer change column: transferred, discarded or in doubt.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.transferred + self.discarded + self.in_doubt
    }

    /// Bytes that still take up room: queued or in flight.
    #[must_use]
    pub const fn unsettled(&self) -> u64 {
        self.queued + self.in_flight
    }

    /// Whether the counters add up (rule L1). Always true outside this file.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.accepted
            == self.queued + self.in_flight + self.transferred + self.discarded + self.in_doubt
    }

    /// New bytes enter, into the queue.
    pub(crate) fn accept(&mut self, bytes: u64) {
        self.accepted = add(self.accepted, bytes);
        self.queued = add(self.queued, bytes);
        self.check();
    }

    /// New bytes are given to the kernel at once.
    pub(crate) fn accept_in_flight(&mut self, bytes: u64) {
        self.accepted = add(self.accepted, bytes);
        self.in_flight = add(self.in_flight, bytes);
        self.check();
    }

    /// Queued bytes are given to the kernel.
    pub(crate) fn submit(&mut self, bytes: u64) {
        self.queued = take(self.queued, bytes);
        self.in_flight = add(self.in_flight, bytes);
        self.check();
    }

    /// The kernel did not take bytes that were in flight: back into the queue.
    pub(crate) fn put_back(&mut self, bytes: u64) {
        self.in_flight = take(self.in_flight, bytes);
        self.queued = add(self.queued, bytes);
        self.check();
    }

    /// The kernel took bytes that were in flight.
    pub(crate) fn transfer(&mut self, bytes: u64) {
        self.in_flight = take(self.in_flight, bytes);
        self.transferred = add(self.transferred, bytes);
        self.check();
    }

    /// The kernel will never say what became of bytes in flight.
    pub(crate) fn doubt(&mut self, bytes: u64) {
        self.in_flight = take(self.in_flight, bytes);
        self.in_doubt = add(self.in_doubt, bytes);
        self.check();
    }

    /// Everything queued is given up.
    pub(crate) fn discard_queued(&mut self) {
        self.discarded = add(self.discarded, self.queued);
        self.queued = 0;
        self.check();
    }

    /// The call that brought discarded bytes is answered with a refusal: they were never accepted (rule L2).
    pub(crate) fn refuse(&mut self, bytes: u64) {
        self.discarded = take(self.discarded, bytes);
        self.accepted = take(self.accepted, bytes);
        self.check();
    }

    /// Queued bytes are handed to the caller (a reader's read-ahead).
    pub(crate) fn hand_over(&mut self, bytes: u64) {
        self.queued = take(self.queued, bytes);
        self.transferred = add(self.transferred, bytes);
        self.check();
    }

    fn check(&self) {
        // L1: asserted after every change, in release builds too.
        assert!(self.balances(), "the ledger does not balance: {self:?}");
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} bytes accepted, {} transferred, {} discarded, {} in doubt",
            self.accepted, self.transferred, self.discarded, self.in_doubt
        )?;
        if self.unsettled() > 0 {
            write!(f, ", {} queued, {} in flight", self.queued, self.in_flight)?;
        }
        Ok(())
    }
}

fn add(column: u64, bytes: u64) -> u64 {
    column
        .checked_add(bytes)
        .expect("a pipe never carries 2^64 bytes")
}

fn take(column: u64, bytes: u64) -> u64 {
    column
        .checked_sub(bytes)
        .expect("a column never gives up more bytes than it holds")
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_move_keeps_the_equation() {
        let mut ledger = Ledger::default();
        ledger.accept(900);
        ledger.submit(600);
        assert_eq!((ledger.queued(), ledger.in_flight()), (300, 600));
        ledger.transfer(500);
        ledger.put_back(40);
        ledger.doubt(60);
        ledger.hand_over(12);
        ledger.discard_queued();
        assert!(ledger.balances());
        assert_eq!(
            (
                ledger.accepted(),
                ledger.transferred(),
                ledger.discarded(),
                ledger.in_doubt()
            ),
            (900, 512, 328, 60)
        );
        assert_eq!((ledger.settled(), ledger.unsettled()), (900, 0));
        ledger.refuse(300);
        assert_eq!((ledger.accepted(), ledger.discarded()), (600, 28));
    }

    #[test]
    #[should_panic(expected = "never gives up more bytes than it holds")]
    fn a_column_cannot_go_below_zero() {
        let mut ledger = Ledger::default();
        ledger.accept(3);
        ledger.submit(4);
    }

    #[test]
    fn an_unbalanced_ledger_is_seen() {
        let ledger = Ledger {
            accepted: 1,
            ..Ledger::default()
        };
        assert!(!ledger.balances());
    }

    #[test]
    fn an_unbalanced_ledger_lets_no_change_through() {
        type Change = fn(&mut Ledger);
        let changes: [Change; 9] = [
            |ledger| ledger.accept(1),
            |ledger| ledger.accept_in_flight(1),
            |ledger| ledger.submit(1),
            |ledger| ledger.put_back(1),
            |ledger| ledger.transfer(1),
            |ledger| ledger.doubt(1),
            Ledger::discard_queued,
            |ledger| ledger.refuse(1),
            |ledger| ledger.hand_over(1),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let told = std::panic::catch_unwind(|| {
                let mut ledger = Ledger {
                    accepted: 9,
                    queued: 2,
                    in_flight: 2,
                    discarded: 2,
                    ..Ledger::default()
                };
                change(&mut ledger);
            })
            .unwrap_err();
            let text = told.downcast::<std::string::String>().unwrap();
            assert!(text.contains("does not balance"), "change {at}: {text}");
        }
    }

    #[test]
    #[should_panic(expected = "never carries 2^64 bytes")]
    fn a_column_cannot_overflow() {
        let mut ledger = Ledger::default();
        ledger.accept(u64::MAX);
        ledger.accept(1);
    }

    #[test]
    fn display_names_waiting_bytes_only_while_there_are_some() {
        let mut ledger = Ledger::default();
        ledger.accept(10);
        ledger.submit(4);
        assert_eq!(
            ledger.to_string(),
            "of 10 bytes accepted, 0 transferred, 0 discarded, 0 in doubt, 6 queued, 4 in flight"
        );
        ledger.transfer(4);
        ledger.discard_queued();
        assert_eq!(
            ledger.to_string(),
            "of 10 bytes accepted, 4 transferred, 6 discarded, 0 in doubt"
        );
    }
}
