//! How a destination ends: in order once everything is accepted, behind its consumer where that is to see no end, or at once.
//!
//! A call on a pipe waits for whoever keeps its lock, a close for a disk too, and no signal ends that: what asks a pipe at its end or ends
//! it is done on threads of its own. (A question about a socket waits for nobody.) Never here: when a destination is to end (`copy.rs`), and
//! what goes to it before that (`destination.rs`).

use super::{Destination, DestinationKind, Phase};
use crate::asking::{HELD_UP_AFTER, abort, finish, is_all_read, knowledge};
use crate::awaited::Awaited;
use crate::child_status::InputKind;
use crate::copy_ending::GivenUp;
use crate::event::{Event, Mailbox};
use crate::platform;
use bytes::Bytes;
use std::time::{Duration, Instant};
use watertight::{Error, Ledger, PipeWriter, Receipt};

/// How long an aborted pipe may take to say so, beyond the library's own bound. Then its account is taken as it stands.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a pipe that takes no more may take to say how it ended. The library closes it at once and tells of it: a close that takes longer
/// waits for a lock or for a disk, which has no bound. Then it is given up.
const ENDING_WITHIN: Duration = Duration::from_secs(5);

impl Destination {
    /// Everything is accepted: sees to it that the peer reads it, as far as that can be known, and then ends the stream.
    pub(super) fn begin_end(&mut self, ledger: Ledger, mailbox: &Mailbox, now: Instant) {
        match self.kind {
            DestinationKind::Child => {
                self.phase = Phase::BeingRead;
                self.await_reading(mailbox, now);
            }
            DestinationKind::File => self.finish(now),
            DestinationKind::Peer => {
                if ledger.unsettled() == 0 {
                    self.end_asked(mailbox, now);
                }
            }
        }
    }

    /// Asks whether a stranger has read everything, and ends its stream: on one thread. It may read whenever it likes, after this program
    /// has ended too: no deadline waits for that. A question that is held up already is not followed by another.
    fn end_asked(&mut self, mailbox: &Mailbox, now: Instant) {
        if self.asking.is_held_up(now) {
            return self.finish(now);
        }
        let asked = self.asking.ask_last(&self.writer, self.index, mailbox);
        if asked.is_ok() {
            self.phase = Phase::Finishing;
            self.end_begun_at = Some(now);
        } else {
            // There is no thread to be had.
            self.read_by_peer = is_all_read(&self.writer);
            self.finish(now);
        }
    }

    /// Waits until the child has read everything, or has closed its end: on a thread of its own only where the question may be held up.
    fn await_reading(&mut self, mailbox: &Mailbox, now: Instant) {
        // An armed input is a socket.
        let may_be_held_up = platform::QUESTIONS_MAY_WAIT && self.input != Some(InputKind::Armed);
        if may_be_held_up {
            if self.await_reading_aside(mailbox.clone()).is_err() {
                self.finish(now);
            }
            return;
        }
        let (writer, index) = (self.writer.clone(), self.index);
        let reading = async move { writer.until_read().await };
        let reading = Awaited::new(reading, mailbox, move || Event::MayBeRead(index));
        self.reading = Some(reading);
        self.look_at_reading(now);
    }

    /// The child may have read everything.
    pub(crate) fn look_at_reading(&mut self, now: Instant) {
        if let Some(answer) = Awaited::poll(&mut self.reading) {
            self.handle_read(knowledge(answer), now);
        }
    }

    fn await_reading_aside(&self, mailbox: Mailbox) -> std::io::Result<()> {
        let (writer, index) = (self.writer.clone(), self.index);
        let name = "reading".to_owned();
        std::thread::Builder::new().name(name).spawn(move || {
            let answer = writer.until_read().wait();
            mailbox.post(Event::ReadByPeer(index, knowledge(answer)));
        })?;
        Ok(())
    }

    /// The answer to `await_reading`, or to the last question.
    pub(crate) fn handle_read(&mut self, read_by_peer: Option<bool>, now: Instant) {
        self.read_by_peer = read_by_peer;
        if self.is_live() && self.phase == Phase::BeingRead {
            self.finish(now);
        }
    }

    fn finish(&mut self, now: Instant) {
        self.phase = Phase::Finishing;
        self.end_begun_at = Some(now);
        self.aside("finish", finish);
    }

    /// From when on its end, which is on its way, has been held up for so long: by whoever keeps its pipe's lock, and takes nothing
    /// meanwhile. Of a file nobody tells how far the disk is with what its close waits for.
    pub(crate) fn end_held_up_at(&self, after: Duration) -> Option<Instant> {
        let is_read = self.kind != DestinationKind::File;
        let begun = self.end_begun_at.filter(|_| is_read && self.is_live())?;
        // What is not held up takes less.
        begun.checked_add(after.max(HELD_UP_AFTER))
    }

    /// Whether its pipe has failed: it takes no more, and its ending is on its way.
    pub(super) fn has_failed(&self, ledger: Ledger) -> bool {
        let is_cut = ledger.unsettled() == 0 && ledger.transferred() < ledger.accepted();
        self.has_refused || is_cut
    }

    /// It takes no more: how it ended is to be here in time. Why it takes no more is known already.
    pub(crate) fn expect_ending(&mut self, now: Instant) {
        if self.is_live() && self.ending_due.is_none() {
            self.ending_due = Some(now + ENDING_WITHIN);
            self.refusal = refusal(&self.writer);
        }
    }

    /// What is wrong with it, if it was given up and has not told how it ended.
    pub(super) fn untold_failure(&self) -> Option<String> {
        let refusal = self.refusal.filter(|_| self.given_up.is_some())?;
        Some(format!("{refusal}; how it ended is not known"))
    }

    /// When it is given up, if it takes no more and does not say how it ended.
    pub(crate) fn ending_due(&self) -> Option<Instant> {
        self.ending_due.filter(|_| self.is_live())
    }

    /// The time up to now does not count for its end.
    pub(super) fn forgive_end(&mut self, now: Instant) {
        self.end_begun_at = self.end_begun_at.map(|at| at.max(now));
        self.ending_due = self.ending_due.map(|due| due.max(now + ENDING_WITHIN));
    }

    /// Its consumer is to end, and only then its input: so it never sees an end of its input. It is asked whether that has read everything:
    /// see `await_condemned`.
    pub(crate) fn condemn(&mut self, why: GivenUp, mailbox: &Mailbox, now: Instant) {
        if !self.is_live() {
            return;
        }
        self.given_up = Some(why);
        self.is_condemned = true;
        self.pending = None;
        if self.asking.is_held_up(now) {
            return;
        }
        match self
            .asking
            .ask_whether_read(&self.writer, self.index, mailbox)
        {
            Ok(answer) => self.condemned_read = Some(answer),
            // There is no thread to be had.
            Err(_) => self.read_by_peer = is_all_read(&self.writer),
        }
    }

    /// Takes the answer to that question, which is waited for until then. Before its consumer is told to end: one that left bytes unread has
    /// failed by itself, and what it does from then on says nothing.
    pub(crate) fn await_condemned(&mut self, until: Instant) {
        if let Some(answer) = self.condemned_read.take() {
            let rest = until.saturating_duration_since(Instant::now());
            self.read_by_peer = answer.recv_timeout(rest).unwrap_or(None);
        }
    }

    /// The consumer is gone: so may its input be. `may_live`: somebody of it could not be ended, and is waited for no longer. Somebody who has
    /// left its tree is not seen there, but has the pipe open still. Where no sign tells a cut stream from a whole one, they take this one for
    /// whole: that cannot be kept from them, only told.
    pub(crate) fn close_condemned(&mut self, may_live: bool, now: Instant) {
        if std::mem::take(&mut self.is_condemned) && self.receipt.is_none() {
            let is_plain = self.input == Some(InputKind::Pipe);
            self.looks_whole = is_plain && (may_live || self.has_reader());
            self.abandoned_at = Some(now + ANSWER_WITHIN);
            self.aside("abort", abort);
        }
    }

    /// Whether somebody has the other end of its pipe open.
    fn has_reader(&self) -> bool {
        let copy = self.writer.try_clone_handle();
        copy.is_ok_and(|copy| platform::has_reader(&copy))
    }

    /// Stops it now.
    pub(crate) fn give_up(&mut self, why: GivenUp, now: Instant) {
        if self.is_live() {
            self.given_up = Some(why);
            self.abandoned_at = Some(now + ANSWER_WITHIN);
            self.pending = None;
            self.aside("abort", abort);
        }
    }

    /// Ends it on a thread of its own. The answer is its ending.
    fn aside(&self, name: &str, end: fn(&PipeWriter)) {
        let writer = self.writer.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        if thread.spawn(move || end(&writer)).is_err() {
            end(&self.writer);
        }
    }

    /// Its pipe is over. Says whether that came too early.
    pub(crate) fn handle_ending(&mut self, receipt: Receipt) -> bool {
        self.transferred = receipt.ledger().transferred();
        self.pending = None;
        let early = self.given_up.is_none() && !receipt.is_complete();
        self.receipt = Some(receipt);
        early
    }
}

/// Why it takes no more: whoever has more for it is told that at once, also one who has nothing to send.
fn refusal(writer: &PipeWriter) -> Option<Error> {
    let refused = writer.try_send_bytes(Bytes::new()).err()?;
    Some(refused.error)
}

#[cfg(test)]
mod tests {
    use super::super::DestinationEnd;
    use super::*;
    use watertight::PipeReader;

    const LONG: Duration = Duration::from_secs(100);

    /// One whose end is on its way and never told.
    fn ending(kind: DestinationKind, now: Instant) -> (Destination, PipeReader) {
        let (reader, writer) = watertight::pipe().unwrap();
        let end = DestinationEnd {
            child: crate::child::Unclaimed::default(),
            writer,
            kind,
            input: None,
            prefix: None,
        };
        let mut destination = Destination::new(0, end, now);
        assert_eq!(destination.end_held_up_at(LONG), None);
        destination.finish(now);
        (destination, reader)
    }

    #[test]
    fn an_end_is_held_up_after_a_while_and_a_files_never() {
        let now = Instant::now();
        for kind in [DestinationKind::Child, DestinationKind::Peer] {
            let (mut destination, _reader) = ending(kind, now);
            let at = |after| destination.end_held_up_at(after);
            assert_eq!(at(Duration::ZERO), Some(now + HELD_UP_AFTER), "{kind:?}");
            assert_eq!(at(LONG), Some(now + LONG), "{kind:?}");
            assert_eq!(destination.slow_at(LONG), Some(now + LONG), "{kind:?}");
            let later = now + Duration::from_secs(3);
            destination.forgive(later);
            assert_eq!(destination.end_held_up_at(LONG), Some(later + LONG));
            destination.give_up(GivenUp::Interrupted, now);
            assert_eq!(destination.end_held_up_at(LONG), None, "it is over");
        }
        let (destination, _reader) = ending(DestinationKind::File, now);
        assert_eq!(destination.end_held_up_at(LONG), None);
        assert_eq!(destination.slow_at(LONG), None);
    }

    #[test]
    fn nobody_is_slow_while_our_own_source_may_hold_up_the_end() {
        let now = Instant::now();
        let (mut destination, _reader) = ending(DestinationKind::Peer, now);
        destination.note_our_lock();
        assert_eq!(destination.slow_at(LONG), None);
        // Nothing moves, whoever it is.
        assert!(destination.end_held_up_at(LONG).is_some());
        destination.forget_our_lock(now);
        assert_eq!(destination.slow_at(LONG), Some(now + LONG));
    }
}
