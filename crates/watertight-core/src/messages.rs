//! Where messages begin and end among the bytes that are not settled: lengths, run-length coded.
//!
//! It follows the ledger and never decides about a byte. It has no memory of what is transferred but a count.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// The most runs of equal messages that are kept: 128 KiB. Past it acceptance waits, as for room, until the first is settled.
pub const RUNS_MAX: usize = 4096;

/// Messages of one length, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Run {
    /// How many bytes of each are accepted.
    bytes: u64,
    /// How many bytes each has. More than are accepted: the call that brought it goes on, or was given up.
    of: u64,
    count: u64,
}

/// A message of which a part was transferred, and not all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CutMessage {
    /// How many bytes it has.
    pub bytes: u64,
    /// How many of its first bytes were transferred.
    pub transferred: u64,
}

/// What became of the messages that were accepted. A message is what one call accepted; an empty one does not count.
///
/// In the order in which they were accepted: first those that went whole, then the one that was cut, then those in doubt, then
/// those of which nothing was given to the kernel. Whoever resends begins with message number [`MessageReport::whole`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MessageReport {
    /// How many were transferred whole.
    pub whole: u64,
    /// The one that was cut, and where. It may be in doubt beyond that.
    pub cut: Option<CutMessage>,
    /// How many, besides the one that was cut, have bytes in doubt.
    pub in_doubt: u64,
    /// How many never began.
    pub unsent: u64,
}

/// The messages of one writer.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Made with the first message, which a failure never is; a pipe that carried nothing has none.
    unsettled: Option<Box<Unsettled>>,
    whole: u64,
}

/// Those that are not settled.
#[derive(Debug, Default)]
struct Unsettled {
    runs: VecDeque<Run>,
    /// How many bytes of the first are transferred.
    done: u64,
}

impl Messages {
    /// Whether another message may begin.
    pub(crate) fn has_room(&self) -> bool {
        let unsettled = self.unsettled.as_ref();
        unsettled.is_none_or(|unsettled| unsettled.runs.len() < RUNS_MAX)
    }

    /// A message of so many bytes begins; they come by [`Messages::accept`]. One that had not got all of its bytes stays cut.
    pub(crate) fn begin(&mut self, of: u64) {
        if of > 0 {
            self.unsettled.get_or_insert_default().push(Run {
                bytes: 0,
                of,
                count: 1,
            });
        }
    }

    /// Bytes of the message that has not got all of its; or else a message of their own.
    pub(crate) fn accept(&mut self, bytes: u64) {
        if bytes > 0 {
            self.unsettled.get_or_insert_default().accept(bytes);
        }
    }

    /// The first bytes are transferred.
    pub(crate) fn transfer(&mut self, bytes: u64) {
        if let Some(unsettled) = &mut self.unsettled {
            self.whole += unsettled.transfer(bytes);
        }
    }

    /// A message went by whole while nothing was unsettled.
    pub(crate) fn pass(&mut self) {
        // One whose call was given up before all of it was accepted stays cut, as when another message begins.
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.runs.clear();
            unsettled.done = 0;
        }
        self.whole += 1;
    }

    /// The last bytes were not accepted after all.
    pub(crate) fn refuse(&mut self, bytes: u64) {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.refuse(bytes);
        }
    }

    /// How many bytes the next write may carry, if one of at most `atomic_max` bytes is whole among those of other writers:
    /// whole messages up to that, or one larger message alone.
    pub(crate) fn next_write(&self, atomic_max: u64, bytes_max: usize) -> usize {
        let unsettled = self.unsettled.as_ref();
        let bytes = unsettled.map_or(0, |unsettled| unsettled.next_write(atomic_max));
        usize::try_from(bytes).map_or(bytes_max, |bytes| bytes.min(bytes_max))
    }

    /// What became of them, with so many bytes in doubt behind those that are transferred.
    pub(crate) fn report(&self, in_doubt: u64) -> MessageReport {
        let unsettled = self.unsettled.as_ref();
        let report = unsettled.map(|unsettled| unsettled.report(in_doubt));
        MessageReport {
            whole: self.whole,
            ..report.unwrap_or_default()
        }
    }
}

impl Unsettled {
    fn accept(&mut self, bytes: u64) {
        // The most frequent case: the only message that is not settled.
        if self.runs.len() == 1
            && let Some(only) = self.runs.front_mut()
            && only.count == 1
            && only.bytes < only.of
        {
            only.bytes += bytes;
            only.of = only.of.max(only.bytes);
            return;
        }
        let mut last = match self.pop_last() {
            Some(last) if last.bytes < last.of => last,
            complete => {
                self.runs.extend(complete);
                Run {
                    bytes: 0,
                    of: bytes,
                    count: 1,
                }
            }
        };
        last.bytes += bytes;
        last.of = last.of.max(last.bytes);
        self.push(last);
    }

    /// Says how many messages are transferred whole by that.
    fn transfer(&mut self, bytes: u64) -> u64 {
        // The most frequent case: the only message that is not settled, and all of it.
        if self.runs.len() == 1
            && let Some(only) = self.runs.front()
            && (only.count, only.bytes, only.of) == (1, bytes, bytes)
            && self.done == 0
        {
            self.runs.pop_front();
            return 1;
        }
        self.done += bytes;
        let mut whole = 0;
        loop {
            let is_last = self.runs.len() == 1;
            let Some(first) = self.runs.front_mut() else {
                return whole;
            };
            let is_open = first.bytes < first.of;
            let mut over = self.done / first.bytes.max(1);
            over = over.min(first.count);
            // A message whose call goes on is not over, however much of it went.
            if is_last && is_open {
                over = over.min(first.count - 1);
            }
            if over == 0 {
                return whole;
            }
            self.done -= over * first.bytes;
            first.count -= over;
            if !is_open {
                whole += over;
            }
            if first.count == 0 {
                self.runs.pop_front();
            }
        }
    }

    fn refuse(&mut self, mut bytes: u64) {
        while bytes > 0
            && let Some(mut last) = self.pop_last()
        {
            let now = bytes.min(last.bytes);
            last.bytes -= now;
            bytes -= now;
            if last.bytes > 0 {
                self.push(last);
            }
        }
    }

    fn next_write(&self, atomic_max: u64) -> u64 {
        let mut taken = 0;
        let mut skipped = self.done;
        for run in &self.runs {
            for _ in 0..run.count {
                let rest = run.bytes - skipped;
                skipped = 0;
                if taken > 0 && taken + rest > atomic_max {
                    return taken;
                }
                taken += rest;
                if taken >= atomic_max {
                    return taken;
                }
            }
        }
        taken
    }

    /// All but those that went whole.
    fn report(&self, in_doubt: u64) -> MessageReport {
        let mut report = MessageReport::default();
        let mut doubtful = self.done + in_doubt;
        for (at, run) in self.runs.iter().enumerate() {
            let mut count = run.count;
            if at == 0 && self.done > 0 {
                report.cut = Some(CutMessage {
                    bytes: run.of,
                    transferred: self.done,
                });
                doubtful = doubtful.saturating_sub(run.bytes);
                count -= 1;
            }
            let touched = doubtful.div_ceil(run.bytes.max(1)).min(count);
            doubtful = doubtful.saturating_sub(touched * run.bytes);
            report.in_doubt += touched;
            report.unsent += count - touched;
        }
        report
    }

    fn push(&mut self, one: Run) {
        match self.runs.back_mut() {
            Some(last) if (last.bytes, last.of) == (one.bytes, one.of) && one.bytes == one.of => {
                last.count += one.count;
            }
            Some(_) | None => self.runs.push_back(one),
        }
    }

    fn pop_last(&mut self) -> Option<Run> {
        let last = self.runs.back_mut()?;
        let one = Run { count: 1, ..*last };
        last.count -= 1;
        if last.count == 0 {
            self.runs.pop_back();
        }
        Some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(lengths: &[u64]) -> Messages {
        let mut messages = Messages::default();
        for &bytes in lengths {
            messages.begin(bytes);
            messages.accept(bytes);
        }
        messages
    }

    fn runs(messages: &Messages) -> usize {
        let unsettled = messages.unsettled.as_ref();
        unsettled.map_or(0, |unsettled| unsettled.runs.len())
    }

    fn report(messages: &Messages, in_doubt: u64) -> (u64, Option<(u64, u64)>, u64, u64) {
        let report = messages.report(in_doubt);
        let cut = report.cut.map(|cut| (cut.bytes, cut.transferred));
        (report.whole, cut, report.in_doubt, report.unsent)
    }

    #[test]
    fn equal_messages_are_one_run_and_settle_in_order() {
        let mut messages = accepted(&[10, 10, 10, 7, 10, 0]);
        assert_eq!(runs(&messages), 3);
        messages.transfer(25);
        assert_eq!(report(&messages, 0), (2, Some((10, 5)), 0, 2));
        messages.transfer(5);
        assert_eq!(report(&messages, 0), (3, None, 0, 2));
        messages.transfer(17);
        assert_eq!(report(&messages, 0), (5, None, 0, 0));
        assert_eq!(runs(&messages), 0);
    }

    #[test]
    fn doubt_begins_behind_what_is_transferred() {
        let mut messages = accepted(&[10, 10, 10, 10]);
        messages.transfer(5);
        // Five bytes of the first, and six more: it and the second.
        assert_eq!(report(&messages, 11), (0, Some((10, 5)), 1, 2));
        assert_eq!(report(&messages, 5), (0, Some((10, 5)), 0, 3));
        assert_eq!(report(&accepted(&[3, 3, 9]), 4), (0, None, 2, 1));
    }

    #[test]
    fn a_message_in_pieces_is_one_and_is_cut_if_it_is_given_up() {
        let mut messages = Messages::default();
        messages.begin(10);
        messages.accept(4);
        messages.transfer(4);
        assert_eq!(report(&messages, 0), (0, Some((10, 4)), 0, 0));
        messages.accept(6);
        messages.transfer(6);
        assert_eq!(report(&messages, 0), (1, None, 0, 0));
        messages.begin(10);
        messages.accept(4);
        messages.begin(2);
        messages.accept(2);
        messages.transfer(6);
        assert_eq!(report(&messages, 0), (2, None, 0, 0));
    }

    #[test]
    fn refused_bytes_leave_from_the_end() {
        let mut messages = accepted(&[10, 10]);
        messages.transfer(13);
        messages.refuse(7);
        assert_eq!(report(&messages, 0), (1, Some((10, 3)), 0, 0));
        let mut messages = accepted(&[10]);
        messages.refuse(10);
        assert_eq!(runs(&messages), 0);
    }

    #[test]
    fn a_write_that_is_whole_ends_at_a_message() {
        let messages = accepted(&[1000, 1000, 1000, 1000, 1000]);
        assert_eq!(messages.next_write(4096, 65536), 4000);
        let mut messages = accepted(&[100, 5000, 100]);
        assert_eq!(messages.next_write(4096, 65536), 100);
        messages.transfer(100);
        assert_eq!(messages.next_write(4096, 65536), 5000);
        assert_eq!(messages.next_write(4096, 3000), 3000);
        messages.transfer(3000);
        assert_eq!(messages.next_write(4096, 65536), 2100);
        assert_eq!(accepted(&[4096, 1]).next_write(4096, 65536), 4096);
        assert_eq!(accepted(&[1, 1, 1]).next_write(4096, 65536), 3);
    }

    #[test]
    fn runs_are_bounded() {
        let mut messages = Messages::default();
        let mut begun = 0;
        while messages.has_room() {
            begun += 1;
            messages.begin(begun);
            messages.accept(begun);
        }
        assert_eq!(runs(&messages), RUNS_MAX);
        messages.transfer(1);
        assert!(messages.has_room());
    }
}
