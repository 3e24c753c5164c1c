//! The checker: what the program was told, compared with what the kernel and the peer saw. It trusts nobody.

use crate::kernel::{End, Kernel};
use crate::listener::Heard;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watertight::{Ending, Ledger, ReadReceipt, Receipt};
use watertight_core::{Class, Error, ErrorKind, Moment, OsCode};

/// What is known of one message of several tasks' on one writer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// So many of its first bytes were accepted.
    Accepted(usize),
    /// All of it or nothing: nobody waited for the answer.
    Unknown(usize),
}

/// The account of one writer.
#[derive(Debug, Default)]
pub(crate) struct WriterBook {
    pub(crate) end: usize,
    /// What was accepted, in order; with several tasks only the fates are known.
    pub(crate) expected: Vec<u8>,
    pub(crate) fates: HashMap<u16, Fate>,
    pub(crate) is_framed: bool,
    /// Several tasks have it.
    pub(crate) is_shared: bool,
    /// It has an observer.
    pub(crate) is_watched: bool,
    pub(crate) stop_within: Duration,
    pub(crate) linger: Duration,
    /// When it was first asked to stop.
    pub(crate) abort_asked: Option<Moment>,
    pub(crate) is_finish_asked: bool,
    /// When, in the order of all that happens.
    pub(crate) finish_asked: Option<u64>,
    /// What those wait for who flush: so many bytes each.
    pub(crate) flushing: Vec<u64>,
    /// How many wait for the peer's reading.
    pub(crate) asking: u32,
    /// Of each message when it began, and when it got its place in the line.
    pub(crate) turns: HashMap<u16, (u64, Option<u64>)>,
    /// Why calls were refused.
    pub(crate) told: Vec<(ErrorKind, Option<OsCode>)>,
    pub(crate) receipt: Option<Receipt>,
    /// A failure that the receipt does not name: it came too late, or it is swallowed.
    pub(crate) unheard: Option<String>,
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) wrongs: Vec<String>,
}

/// The account of one reader.
#[derive(Debug, Default)]
pub(crate) struct ReaderBook {
    pub(crate) end: usize,
    /// Another task has it too.
    pub(crate) is_shared: bool,
    pub(crate) got: Vec<u8>,
    pub(crate) ended: bool,
    /// The step in which it was first given up.
    pub(crate) given_up: Option<u64>,
    pub(crate) receipt: Option<ReadReceipt>,
    pub(crate) failed: bool,
    /// The first error, which is every later one.
    pub(crate) told: Option<(ErrorKind, Option<OsCode>)>,
    pub(crate) stop_within: Duration,
    /// When it was first asked to stop.
    pub(crate) abort_asked: Option<Moment>,
    /// A failure that the receipt does not name: it came too late, or it is swallowed.
    pub(crate) unheard: Option<String>,
    pub(crate) wrongs: Vec<String>,
}

/// Byte `at` of message `id`, with a head that names it.
pub(crate) fn framed(id: u16, len: usize) -> Vec<u8> {
    let head = [0xA7, id as u8, (id >> 8) as u8, 0x5C];
    let body = (HEAD_BYTES..len).map(|at| crate::chance::pattern(u32::from(id) + 7_000, at));
    head.into_iter().chain(body).take(len).collect()
}

/// The head of a framed message.
pub(crate) const HEAD_BYTES: usize = 4;

impl WriterBook {
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrongs.push(what.into());
    }

    /// Every answer about this writer is the last one: how it ended, and where each byte is.
    pub(crate) fn check_receipt(&mut self, receipt: &Receipt, kernel: &Kernel) {
        let end = &kernel.ends[self.end];
        let ledger = receipt.ledger();
        self.check_account(receipt, end, kernel);
        self.check_bytes(receipt, kernel);
        self.check_ending(receipt.ending(), end, ledger.in_doubt() > 0);
        let may_stop = self.linger.is_zero() || kernel.is_settled_by_force;
        self.check_told(receipt.ending(), may_stop);
        match &self.receipt {
            Some(known) if known.ledger() != ledger || known.ending() != receipt.ending() => {
                let known = (known.ending(), known.ledger());
                let (ending, ledger) = (receipt.ending(), ledger);
                self.wrong(format!(
                    "S6: two receipts differ: {known:?} and {ending:?} {ledger:?}"
                ));
            }
            Some(_) => {}
            None => self.receipt = Some(receipt.clone()),
        }
    }

    /// A call was refused. E3: its account is of this moment, which has passed since.
    pub(crate) fn hear(&mut self, error: &Error, now: Ledger) {
        let then = error.ledger;
        if then.accepted() > now.accepted()
            || then.settled() > now.settled()
            || then.accepted() < self.expected.len() as u64
        {
            self.wrong(format!("E3: told {then:?}, it is {now:?}"));
        }
        let is_its_own = matches!(
            error.kind,
            ErrorKind::InvalidInput | ErrorKind::QueueFull | ErrorKind::TimedOut
        );
        if !is_its_own {
            self.told.push((error.kind, error.os));
        }
    }

    /// Whoever was refused was told the failure that ended it, with its code, or that it was being ended.
    fn check_told(&mut self, ending: Ending, may_stop: bool) {
        if ending == Ending::Aborted && self.abort_asked.is_none() && !may_stop {
            self.wrong("S7: called aborted, and nobody aborted it");
        }
        for (kind, os) in std::mem::take(&mut self.told) {
            let is_it = ends_so(ending, (kind, os))
                || (os.is_none() && kind == ErrorKind::Closed && self.is_finish_asked)
                || (os.is_none() && kind == ErrorKind::Aborted && self.abort_asked.is_some());
            if !is_it {
                self.wrong(format!("E2: told {kind:?} {os:?}, ended as {ending:?}"));
            }
        }
    }

    /// S5: what is over with its handle open is in quarantine, and that only after the bound.
    pub(crate) fn check_bound(&mut self, receipt: &Receipt, kernel: &Kernel) {
        let is_early = self
            .abort_asked
            .is_none_or(|asked| kernel.now < asked.after(self.stop_within));
        if receipt.ending() == Ending::Aborted && !kernel.ends[self.end].closed && is_early {
            self.wrong("S5: in quarantine before its bound");
        }
    }

    fn check_account(&mut self, receipt: &Receipt, end: &End, kernel: &Kernel) {
        let ledger = receipt.ledger();
        let is_whole = receipt.ending() == Ending::Finished;
        let is_odd = end.closed && end.end_of_stream && !is_whole && end.close_failed.is_none();
        if is_odd || (end.closed && is_whole && !end.end_of_stream) {
            let ending = receipt.ending();
            self.wrong(format!(
                "S3: ended as {ending:?}, and the stream's end was told otherwise"
            ));
        }
        if ledger.unsettled() != 0 {
            self.wrong(format!("a receipt with bytes under way: {ledger:?}"));
        }
        // In quarantine the handle is closed later: as soon as the operation is answered, which may be just now.
        let is_held = kernel.holds(self.end) || end.landed == kernel.step;
        if !end.closed && ledger.in_doubt() == 0 && !is_held {
            let number = self.end;
            self.wrong(format!(
                "G4: end {number} is called over before its handle is closed: {ledger:?}"
            ));
        }
        if receipt.ending() == Ending::Finished && ledger.transferred() != ledger.accepted() {
            self.wrong(format!("G4: called finished: {ledger:?}"));
        }
        let put_in = kernel.pipes[end.pipe].own().len() as u64;
        let most = ledger.transferred() + ledger.in_doubt();
        if !(ledger.transferred()..=most).contains(&end.transferred) {
            let told = end.transferred;
            self.wrong(format!("G5: the kernel said {told} bytes, {ledger:?}"));
        }
        if !(ledger.transferred()..=most).contains(&put_in) {
            self.wrong(format!("G5: the kernel took {put_in} bytes, {ledger:?}"));
        }
    }

    /// What the kernel took, what is in doubt and what came back are together what was accepted, in order.
    fn check_bytes(&mut self, receipt: &Receipt, kernel: &Kernel) {
        let ledger = receipt.ledger();
        let log = kernel.pipes[kernel.ends[self.end].pipe].own();
        let sure = usize::try_from(ledger.transferred()).unwrap_or(usize::MAX);
        let Some(sure) = log.get(..sure) else {
            return self.wrong("G5: more is called transferred than the kernel ever had");
        };
        let mut whole = sure.to_vec();
        whole.extend(receipt.in_doubt().concat());
        whole.extend(receipt.unsent().concat());
        let (doubt, back) = (receipt.in_doubt().concat(), receipt.unsent().concat());
        if (doubt.len() as u64, back.len() as u64) != (ledger.in_doubt(), ledger.discarded()) {
            self.wrong(format!(
                "G5: handed back {} and {} bytes of {ledger:?}",
                doubt.len(),
                back.len()
            ));
        }
        if whole.len() as u64 != ledger.accepted() {
            self.wrong(format!("G5: {} bytes in all of {ledger:?}", whole.len()));
        }
        if self.is_framed {
            self.check_messages(&whole);
        } else if whole != self.expected {
            let same = whole.iter().zip(&self.expected).take_while(|(a, b)| a == b);
            self.wrong(format!(
                "G5: {} bytes instead of {}, different from byte {} on",
                whole.len(),
                self.expected.len(),
                same.count()
            ));
        }
    }

    /// Messages of several tasks: each whole and in one piece, each once, none that was refused.
    fn check_messages(&mut self, whole: &[u8]) {
        let mut rest = whole;
        let mut first_begun = Vec::new();
        let mut left = self.fates.clone();
        while rest.len() >= HEAD_BYTES {
            let id = u16::from_le_bytes([rest[1], rest[2]]);
            let Some(Fate::Accepted(len) | Fate::Unknown(len)) = left.remove(&id) else {
                return self.wrong(format!("D4: message {id} twice, or never accepted"));
            };
            let message = framed(id, len);
            let Some(after) = rest.strip_prefix(&message[..]) else {
                return self.wrong(format!("D4: message {id} of {len} bytes is torn"));
            };
            rest = after;
            if let Some(turn) = self.turns.get(&id) {
                first_begun.push((id, *turn));
            }
        }
        // L2: of a message that the pipe failed in, the kernel may have taken less than its head.
        let is_cut = |(id, fate): (&u16, &Fate)| {
            let (Fate::Accepted(len) | Fate::Unknown(len)) = *fate;
            (len == rest.len() && framed(*id, len) == rest).then_some(*id)
        };
        if !rest.is_empty()
            && let Some(id) = left.iter().find_map(is_cut)
        {
            left.remove(&id);
            rest = &[];
        }
        self.check_line(&first_begun);
        let lost = |fate: &Fate| matches!(fate, Fate::Accepted(len) if *len > 0);
        if let Some((id, fate)) = left.iter().find(|(_, fate)| lost(fate)) {
            let told = format!("G5: message {id} is lost: {fate:?}");
            self.wrong(told);
        }
        if !rest.is_empty() {
            self.wrong("G5: bytes of no message at the end");
        }
    }

    /// D4: who had a place in the line when another one began to wait is before it.
    fn check_line(&mut self, told: &[(u16, (u64, Option<u64>))]) {
        for (at, (first, (begun, _))) in told.iter().enumerate() {
            let overtaken = told[at + 1..]
                .iter()
                .find(|(_, (_, placed))| placed.is_some_and(|placed| placed < *begun));
            if let Some((second, _)) = overtaken {
                let wrong = format!("D4: message {first} overtook message {second}");
                return self.wrong(wrong);
            }
        }
    }

    /// The first failure the kernel told is the ending, with its code; without one the ending is no failure.
    fn check_ending(&mut self, ending: Ending, end: &End, is_in_doubt: bool) {
        let closing = end.close_failed.map(|os| (ErrorKind::Os, Some(os)));
        let told = match end.failed {
            // A cancel of nobody's may meet one that somebody is just asking for: then it is no failure.
            Some((Class::Aborted, os, _)) if !ends_so(ending, (ErrorKind::Cancelled, os)) => {
                closing
            }
            Some((class, os, _)) => Some((class.kind(), os)),
            None => closing,
        };
        match (ending, told) {
            (Ending::Failed(cause), _) if cause.kind == ErrorKind::ObserverPanicked => {
                if !self.heard.lock().is_ok_and(|heard| heard.panicked) {
                    self.wrong("no observer panicked");
                }
            }
            (Ending::Failed(cause), Some(told)) if (cause.kind, cause.os) == told => {}
            (Ending::Failed(cause), told) => {
                self.wrong(format!(
                    "G3: failed with {cause:?}, and the kernel told {told:?}"
                ));
            }
            (Ending::LingerExpired, _) if self.linger.is_zero() => {
                self.wrong("S7: it lingered although it was not to");
            }
            // What comes after a bound passed changes nothing any more (S6); it is counted.
            (_, Some(_)) if !end.closed || is_in_doubt => {}
            (ending, Some(told)) => {
                let swallowed = format!("G3: swallowed {told:?}: ended as {ending:?}");
                self.unheard = Some(swallowed);
            }
            (_, None) => {}
        }
    }
}

fn ends_so(ending: Ending, told: (ErrorKind, Option<OsCode>)) -> bool {
    matches!(ending, Ending::Failed(cause) if (cause.kind, cause.os) == told)
}

impl ReaderBook {
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrongs.push(what.into());
    }

    /// So many bytes were passed on: which ones they must be.
    pub(crate) fn pass(&mut self, bytes: usize, kernel: &Kernel) -> Vec<u8> {
        let start = self.got.len();
        let log = kernel.pipes[kernel.ends[self.end].pipe].log();
        let Some(data) = log
            .get(start..start.saturating_add(bytes))
            .map(<[u8]>::to_vec)
        else {
            self.wrong("G5: more was passed on than was ever written");
            return Vec::new();
        };
        if bytes > 0 {
            self.take(&data, kernel);
        }
        data
    }

    /// Bytes came: they are the next ones of the stream.
    pub(crate) fn take(&mut self, data: &[u8], kernel: &Kernel) {
        self.got.extend_from_slice(data);
        let log = kernel.pipes[kernel.ends[self.end].pipe].log();
        if !log.starts_with(&self.got) {
            self.wrong("G5: a reader got other bytes than were written");
        }
        if self.failed || self.ended {
            self.wrong("E5: data after the end or after an error");
        }
    }

    /// A read failed: with the same error as every one before.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.failed = true;
        let told = (error.kind, error.os);
        if *self.told.get_or_insert(told) != told || self.ended {
            self.wrong(format!("S1: another error, or after the end: {told:?}"));
        }
    }

    /// The end was told: everything was read, and the writer is gone.
    pub(crate) fn end(&mut self, kernel: &Kernel) {
        self.ended = true;
        let end = &kernel.ends[self.end];
        let pipe = &kernel.pipes[end.pipe];
        // A fault that says "end of stream" (109, 38) is believed, and what a writer took back is gone.
        let all = self.got.len() == pipe.read && pipe.unread() == 0 && !pipe.writing;
        if !all && kernel.faults.told() == 0 && !pipe.disconnected {
            self.wrong(format!(
                "G5: the end before the last byte: got {} of {}, {} unread",
                self.got.len(),
                pipe.read,
                pipe.unread()
            ));
        }
    }

    pub(crate) fn check_receipt(&mut self, receipt: &ReadReceipt, kernel: &Kernel) {
        let end = &kernel.ends[self.end];
        let pipe = &kernel.pipes[end.pipe];
        let ledger = receipt.ledger();
        if ledger.unsettled() != 0 {
            self.wrong(format!(
                "L5: a receipt with bytes that nobody has: {ledger:?}"
            ));
        }
        let untaken = receipt.untaken().concat();
        let mut whole = self.got.clone();
        whole.extend_from_slice(&untaken);
        if !pipe.log().starts_with(&whole) {
            self.wrong("G5: what was read and what was left are not the stream");
        }
        if (ledger.transferred(), ledger.discarded())
            != (self.got.len() as u64, untaken.len() as u64)
        {
            self.wrong(format!("G5: read {} of {ledger:?}", self.got.len()));
        }
        if ledger.accepted() > pipe.read as u64 {
            self.wrong(format!("G5: {} bytes came, {ledger:?}", pipe.read));
        }
        let before = |step: u64| self.given_up.is_none_or(|given_up| step < given_up);
        match (receipt.ending(), end.failed) {
            (Ending::Failed(cause), told) => {
                let told = told.map(|(class, os, _)| (class.kind(), os));
                if told != Some((cause.kind, cause.os)) && end.close_failed != cause.os {
                    self.wrong(format!("G3: failed with {cause:?} instead of {told:?}"));
                }
            }
            (ending, Some((class, os, step))) if before(step) && !self.ended => {
                self.wrong(format!(
                    "G3: swallowed {class:?} {os:?}: ended as {ending:?}"
                ));
            }
            _ => {}
        }
        let is_failed = matches!(receipt.ending(), Ending::Failed(_));
        if let (Some(os), false) = (end.close_failed, is_failed) {
            self.unheard = Some(format!("E4: swallowed {os:?} of the closing"));
        }
        if let Some(told) = self.told
            && !ends_so(receipt.ending(), told)
        {
            let ending = receipt.ending();
            self.wrong(format!("E2: told {told:?}, ended as {ending:?}"));
        }
        if end.closed && end.end_of_stream {
            self.wrong("S3: a reader told the end of a stream");
        }
        let is_early = self
            .abort_asked
            .is_none_or(|asked| kernel.now < asked.after(self.stop_within));
        if receipt.ending() == Ending::Aborted && !end.closed && is_early {
            self.wrong("S5: in quarantine before its bound");
        }
        self.receipt = Some(receipt.clone());
    }
}
