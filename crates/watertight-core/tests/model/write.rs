//! What a writing half must do.

mod checks;

use super::Script;
use bytes::Bytes;
use watertight_core::{
    Cause, Class, ErrorKind, Ledger, Moved, OsCode, Outcome, WriteHalf, WriteLimits,
};

/// More rounds than any ending takes.
const ROUNDS_MAX: usize = 100_000;

/// Why it no longer takes bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// It takes bytes.
    Open,
    /// Asked to transfer the rest and close.
    Finishing,
    /// As finishing, with nobody left who could ask for anything.
    Lingering,
    /// Asked to stop.
    Stopped(ErrorKind),
    /// The handle was given back.
    Released,
}

/// What an ending tells: the failure, the counts, and the bytes that did not get through.
type Account = (Option<Cause>, Ledger, Vec<Bytes>, Vec<Bytes>);

/// Everything that can be known from outside.
struct Model {
    limits: WriteLimits,
    accepted: Vec<u8>,
    /// The kernel certainly took the first so many.
    taken: usize,
    in_flight: Option<usize>,
    in_doubt: usize,
    stage: Stage,
    failure: Option<Cause>,
    write_cancelled: bool,
    asked: bool,
    reading: bool,
    /// The question in flight is nobody's any more.
    reading_unwanted: bool,
    reading_cancelled: bool,
    /// What the question in flight answers for, and what is known to be read.
    covers: usize,
    read: usize,
    attempts: u64,
    answered: Option<Cause>,
    close_asked: bool,
    closed: bool,
    quarantined: bool,
    late_failures: u64,
    /// The account when it was over.
    last: Option<Account>,
}

/// Plays a script to its end, and then to the end of the pipe.
pub(crate) fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let limits = WriteLimits {
        queue_bytes_max: 1 + script.up_to(4_000),
        op_bytes_max: 1 + usize::from(script.byte()) * 8,
        op_chunks_max: 1 + usize::from(script.pick(5)),
        segment_bytes_max: usize::from(script.byte()) * 4,
        atomic_bytes_max: None,
        close_discards: false,
    };
    let mut half = WriteHalf::new(limits);
    let mut model = Model::new(limits);
    while !script.is_over() {
        model.event(&mut half, &mut script);
        model.check(&half);
        // The driver looks again after every event; what it does not see at once must still be there later.
        if script.pick(4) != 0 {
            model.poll(&mut half);
            model.check(&half);
        }
    }
    model.wind_up(&mut half);
}

impl Model {
    fn new(limits: WriteLimits) -> Self {
        Self {
            limits,
            accepted: Vec::new(),
            taken: 0,
            in_flight: None,
            in_doubt: 0,
            stage: Stage::Open,
            failure: None,
            write_cancelled: false,
            asked: false,
            reading: false,
            reading_unwanted: false,
            reading_cancelled: false,
            covers: 0,
            read: 0,
            attempts: 0,
            answered: None,
            close_asked: false,
            closed: false,
            quarantined: false,
            late_failures: 0,
            last: None,
        }
    }

    fn is_sending(&self) -> bool {
        let ends = matches!(
            self.stage,
            Stage::Open | Stage::Finishing | Stage::Lingering
        );
        ends && self.failure.is_none() && !self.is_drained_for_good()
    }

    /// Finishing is over when everything is transferred and nobody waits for it to be read.
    fn is_drained_for_good(&self) -> bool {
        let drained = self.taken == self.accepted.len() && self.in_flight.is_none();
        let waited_for = self.asked || (self.reading && !self.reading_unwanted);
        match self.stage {
            Stage::Finishing => drained && !waited_for,
            Stage::Lingering => drained,
            Stage::Released => true,
            Stage::Open | Stage::Stopped(_) => false,
        }
    }

    fn anything_in_flight(&self) -> bool {
        self.in_flight.is_some() || self.reading
    }

    fn is_over(&self) -> bool {
        self.closed || self.quarantined
    }

    /// Bytes that still need room.
    fn waiting(&self) -> usize {
        if self.is_sending() {
            self.accepted.len() - self.taken
        } else if self.quarantined {
            0
        } else {
            self.in_flight.unwrap_or(0)
        }
    }

    fn event(&mut self, half: &mut WriteHalf, script: &mut Script<'_>) {
        match script.pick(24) {
            0..=5 => self.accept(half, script),
            6..=11 => self.answer_write(half, script),
            12 | 13 => self.answer_reading(half, script),
            14 => self.ask_reading(half),
            15 => {
                self.drop_reading(half);
            }
            16 => self.answer_close(half, script),
            17 | 18 => self.end(half, script),
            19 => {
                let expires = self.anything_in_flight() && !self.quarantined && !self.is_sending();
                half.handle_stop_expired();
                if expires {
                    self.quarantined = true;
                    self.in_doubt += self.in_flight.unwrap_or(0);
                }
            }
            20 => {
                half.handle_linger_expired();
                if self.stage == Stage::Lingering && self.is_sending() {
                    self.stage = Stage::Stopped(ErrorKind::TimedOut);
                }
            }
            21 => self.release(half),
            _ => {}
        }
    }

    fn accept(&mut self, half: &mut WriteHalf, script: &mut Script<'_>) {
        let len = script.up_to(1_500).min(half.room());
        if half.refusal().is_some() {
            return;
        }
        let start = self.accepted.len() as u64;
        // Neighbouring bytes differ, and so do neighbouring blocks of 256.
        let data: Vec<u8> = (start..start + len).map(|n| (n % 251) as u8).collect();
        self.accepted.extend_from_slice(&data);
        if script.pick(2) == 0 {
            half.accept_copy(&data);
        } else {
            half.accept_owned(data.into());
        }
    }

    fn answer_write(&mut self, half: &mut WriteHalf, script: &mut Script<'_>) {
        let Some(len) = self.in_flight else {
            assert!(half.take_carried().is_none(), "nothing was answered");
            return;
        };
        let moved = script.up_to(len as u64);
        let os = Some(OsCode(32));
        let (class, os) = match script.pick(4) {
            0 => (Class::Aborted, None),
            1 => (Class::Aborted, os),
            2 => (Class::Gone, os),
            _ => (Class::Io, None),
        };
        let (outcome, certain) = match script.pick(8) {
            0 => {
                let moved = Moved::Unknown;
                (Outcome::Failed { class, os, moved }, None)
            }
            1 => {
                let exact = Moved::Exactly(moved);
                let moved_all = Some(moved);
                (
                    Outcome::Failed {
                        class,
                        os,
                        moved: exact,
                    },
                    moved_all,
                )
            }
            _ => (Outcome::Transferred(moved), Some(moved)),
        };
        let cause = outcome.cause();
        let was_sending = self.is_sending();
        half.handle_write(outcome);
        self.in_flight = None;
        let spent = half.take_carried().expect("the operation's bytes");
        assert_eq!(spent.bytes(), len as u64, "spent");
        if self.quarantined {
            // S6: a late answer changes no count but this one.
            self.late(cause);
            return;
        }
        match certain {
            Some(moved) => self.taken += usize::try_from(moved).expect("at most what was given"),
            None => self.in_doubt = len,
        }
        if self.failure.is_none() && !self.is_over() {
            // S1: the first failure. A cancel that was asked for is none.
            self.failure = cause.filter(|c| was_sending || c.kind != ErrorKind::Cancelled);
        }
    }

    fn ask_reading(&mut self, half: &mut WriteHalf) {
        if self.stage == Stage::Lingering || self.is_drained_for_good() || self.close_asked {
            return; // The driver asks only for somebody who waits, and only while it can be told.
        }
        half.ask_until_read();
        self.asked = true;
        self.reading_unwanted = false;
    }

    fn drop_reading(&mut self, half: &mut WriteHalf) {
        half.drop_until_read();
        self.asked = false;
        self.reading_unwanted = self.reading;
    }

    fn answer_reading(&mut self, half: &mut WriteHalf, script: &mut Script<'_>) {
        if !self.reading {
            return;
        }
        let outcome = match script.pick(3) {
            0 => Outcome::cancelled(),
            1 => Outcome::failed(Class::Gone, Some(OsCode(104))),
            _ => Outcome::Ready,
        };
        half.handle_until_read(&outcome);
        let cause = outcome.cause();
        if cause.is_none() {
            self.read = self.covers;
        }
        if cause.is_none() || !self.reading_cancelled {
            self.attempts += 1;
            self.answered = cause;
        }
        self.reading = false;
        self.reading_unwanted = false;
        self.reading_cancelled = false;
    }

    fn answer_close(&mut self, half: &mut WriteHalf, script: &mut Script<'_>) {
        if !self.close_asked || self.closed {
            return;
        }
        let failure = (script.pick(4) == 0).then_some(Cause {
            kind: ErrorKind::Os,
            os: Some(OsCode(5)),
        });
        half.handle_closed(failure);
        self.closed = true;
        if self.quarantined {
            self.late(failure);
        } else {
            // E4: told, unless something failed before it.
            self.failure = self.failure.or(failure);
        }
    }

    /// Something failed that no receipt can tell any more. A cancel is what was asked for.
    fn late(&mut self, cause: Option<Cause>) {
        let failed = cause.is_some_and(|cause| cause.kind != ErrorKind::Cancelled);
        self.late_failures += u64::from(failed);
    }

    fn end(&mut self, half: &mut WriteHalf, script: &mut Script<'_>) {
        let choice = script.pick(32);
        let gone = self.stage == Stage::Lingering;
        let can_stop = self.is_sending();
        match choice {
            0..=2 => {
                half.abort();
                if can_stop {
                    self.stage = Stage::Stopped(ErrorKind::Aborted);
                }
            }
            3..=6 if !gone => {
                half.finish();
                if can_stop {
                    self.stage = Stage::Finishing;
                }
            }
            7 | 8 if !gone => {
                half.handle_drop();
                if can_stop {
                    self.stage = Stage::Lingering;
                }
            }
            9 => {
                let cause = Cause::of(ErrorKind::ObserverPanicked);
                half.handle_failure(cause);
                let ended = self.is_drained_for_good() || self.close_asked || self.is_over();
                if !ended && self.failure.is_none() {
                    let stopping = matches!(self.stage, Stage::Stopped(_));
                    // A stop that has its answer is over.
                    if !stopping || self.anything_in_flight() {
                        self.failure = Some(cause);
                    }
                }
            }
            _ => {}
        }
    }

    fn release(&mut self, half: &mut WriteHalf) {
        let idle = self.taken == self.accepted.len() && !self.anything_in_flight();
        let released = half.release();
        assert_eq!(
            released,
            idle && self.stage == Stage::Open && self.failure.is_none(),
            "given up while in use"
        );
        if released {
            self.stage = Stage::Released;
            self.close_asked = true;
            self.closed = true;
        }
    }
}
