//! What a reading half must do.

use super::Script;
use bytes::Bytes;
use watertight_core::{
    Action, Cause, Class, ErrorKind, Ledger, Op, OpKind, OsCode, Outcome, ReadHalf, ReadNow,
};

/// More rounds than any ending takes.
const ROUNDS_MAX: usize = 1_000;
const BUFFER_BYTES_MAX: u64 = 300;

/// What an ending tells: the failure, the counts, and the bytes that did not get through.
type Account = (Option<Cause>, Ledger, Vec<Bytes>);

/// Everything that can be known from outside.
#[derive(Default)]
struct Model {
    /// What the kernel gave, whoever has it now.
    given: Vec<u8>,
    /// The caller has the first so many.
    taken: usize,
    wanted: Option<OpKind>,
    in_flight: Option<OpKind>,
    cancelled: bool,
    /// A direct read is running.
    direct: bool,
    ended: bool,
    failure: Option<Cause>,
    given_up: bool,
    released: bool,
    close_asked: bool,
    closed: bool,
    quarantined: bool,
    late_bytes: u64,
    late_failures: u64,
    last: Option<Account>,
}

/// Plays a script to its end, and then to the end of the pipe.
pub(crate) fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut half = ReadHalf::default();
    let mut model = Model::default();
    while !script.is_over() {
        model.event(&mut half, &mut script);
        model.check(&half);
        if script.pick(4) != 0 {
            model.poll(&mut half);
            model.check(&half);
        }
    }
    model.wind_up(&mut half);
}

impl Model {
    fn is_busy(&self) -> bool {
        self.in_flight.is_some() || self.direct
    }

    /// No more bytes for the caller, but for what is there already.
    fn is_going(&self) -> bool {
        self.given_up || self.released || self.failure.is_some()
    }

    fn ahead(&self) -> usize {
        if self.given_up {
            0
        } else {
            self.given.len() - self.taken
        }
    }

    fn event(&mut self, half: &mut ReadHalf, script: &mut Script<'_>) {
        match script.pick(20) {
            0..=2 => self.ask(half, script),
            3..=6 => self.answer(half, script),
            7 | 8 if self.in_flight.is_none() && !self.direct && !self.is_going() => {
                half.begin_direct();
                self.direct = true;
            }
            9..=11 => self.answer_direct(half, script),
            12..=14 => self.take(half, script),
            15 if script.pick(4) == 0 => self.give_up(half),
            16 if script.pick(4) == 0 => self.release(half),
            17 => {
                half.handle_stop_expired();
                if self.is_going() && self.in_flight.is_some() && !self.quarantined {
                    self.quarantined = true;
                }
            }
            18 => self.answer_close(half, script.pick(4) == 0),
            _ => {}
        }
    }

    fn ask(&mut self, half: &mut ReadHalf, script: &mut Script<'_>) {
        if self.is_going() {
            return;
        }
        let op = match script.pick(2) {
            0 => Op::WaitReadable,
            _ => Op::Read {
                bytes_max: 1 + usize::from(script.byte()),
            },
        };
        self.wanted = Some(op.kind());
        half.ask(op);
    }

    /// The next bytes from the kernel.
    fn fresh(&self, len: u64) -> Vec<u8> {
        let start = self.given.len() as u64;
        (start..start + len).map(|n| (n % 251) as u8).collect()
    }

    fn fail(&mut self, cause: Cause) {
        if !self.is_going() && !self.closed {
            self.failure = Some(cause);
            self.wanted = None;
        }
    }

    fn answer(&mut self, half: &mut ReadHalf, script: &mut Script<'_>) {
        let Some(kind) = self.in_flight.take() else {
            return;
        };
        let (class, os) = match script.pick(3) {
            0 => (Class::Aborted, None),
            1 => (Class::Gone, Some(OsCode(104))),
            _ => (Class::Aborted, Some(OsCode(995))),
        };
        let choice = script.pick(16);
        let outcome = match (choice, kind) {
            (0, _) => Outcome::EndOfStream,
            (1, _) => Outcome::failed(class, os),
            (2, _) | (_, OpKind::WaitReadable) => Outcome::Ready,
            _ => Outcome::Data(self.fresh(1 + script.up_to(400)).into()),
        };
        half.handle_completion(outcome.clone());
        if self.quarantined {
            if let Outcome::Data(late) = &outcome {
                self.late_bytes = late.len() as u64;
            }
            self.late(outcome.cause());
            return;
        }
        match outcome {
            // Also what a cancelled read brought is part of the account.
            Outcome::Data(data) => self.given.extend_from_slice(&data),
            Outcome::EndOfStream => self.ended = true,
            Outcome::Failed { .. } => {
                let cause = outcome.cause().expect("it failed");
                // A cancel that no system call reported is one that was asked for.
                if cause.os.is_some() || cause.kind != ErrorKind::Cancelled {
                    self.fail(cause);
                }
            }
            Outcome::Ready | Outcome::Transferred(_) => {}
        }
    }

    fn answer_direct(&mut self, half: &mut ReadHalf, script: &mut Script<'_>) {
        if !self.direct {
            return;
        }
        self.direct = false;
        let now = match script.pick(8) {
            0 => ReadNow::EndOfStream,
            1 => ReadNow::Failed(Class::Io, Some(OsCode(5))),
            2 => ReadNow::Unavailable,
            3 => ReadNow::Wait,
            _ => ReadNow::Data(1 + usize::from(script.byte())),
        };
        half.handle_now(now);
        match now {
            ReadNow::Data(len) => {
                // It went straight to the caller, past anything that is ahead: so nothing may be.
                let data = self.fresh(len as u64);
                let at = self.taken;
                self.given.splice(at..at, data);
                self.taken += len;
            }
            ReadNow::EndOfStream => self.ended = true,
            ReadNow::Failed(class, os) => self.fail(Cause {
                kind: class.kind(),
                os,
            }),
            ReadNow::Unavailable | ReadNow::Wait => {}
        }
    }

    fn take(&mut self, half: &mut ReadHalf, script: &mut Script<'_>) {
        let len = script.up_to(BUFFER_BYTES_MAX);
        let mut buf = vec![0; usize::try_from(len).expect("small")];
        let told = half.take(&mut buf);
        let expected = if buf.is_empty() {
            Some(Ok(0))
        } else if self.ahead() > 0 {
            Some(Ok(buf.len().min(self.ahead())))
        } else if let Some(cause) = self.failure {
            Some(Err(cause))
        } else if self.given_up {
            Some(Err(Cause::of(ErrorKind::Aborted)))
        } else if self.released {
            Some(Err(Cause::of(ErrorKind::Closed)))
        } else {
            self.ended.then_some(Ok(0))
        };
        assert_eq!(told, expected);
        let taken = told.and_then(Result::ok).unwrap_or(0);
        let due = &self.given[self.taken..self.taken + taken];
        assert!(buf[..taken] == *due, "lost, doubled or out of order");
        self.taken += taken;
    }

    fn give_up(&mut self, half: &mut ReadHalf) {
        half.abort();
        self.given_up = true;
        self.wanted = None;
    }

    fn release(&mut self, half: &mut ReadHalf) {
        let idle = !self.is_busy() && self.ahead() == 0;
        let released = half.release();
        assert_eq!(released, idle && !self.is_going(), "given up while in use");
        if released {
            self.released = true;
            self.close_asked = true;
            self.closed = true;
        }
    }

    fn answer_close(&mut self, half: &mut ReadHalf, fails: bool) {
        if !self.close_asked || self.closed {
            return;
        }
        let failure = fails.then_some(Cause {
            kind: ErrorKind::Os,
            os: Some(OsCode(9)),
        });
        half.handle_closed(failure);
        self.closed = true;
        if self.quarantined {
            self.late(failure);
        } else {
            self.failure = self.failure.or(failure);
        }
    }

    /// Something failed that no receipt can tell any more. A cancel is what was asked for.
    fn late(&mut self, cause: Option<Cause>) {
        let failed = cause.is_some_and(|cause| cause.kind != ErrorKind::Cancelled);
        self.late_failures += u64::from(failed);
    }

    /// Does everything it wants done, and checks that each is allowed now and that nothing is forgotten.
    fn poll(&mut self, half: &mut ReadHalf) {
        for round in 0.. {
            assert!(round < 4, "it never has enough");
            match half.poll_action() {
                None => break,
                Some(Action::Submit(op)) => {
                    assert!(!self.is_busy(), "O1");
                    assert!(!self.is_going() && !self.ended, "nothing more to read");
                    assert_eq!(self.wanted.take(), Some(op.kind()));
                    self.in_flight = Some(op.kind());
                }
                Some(Action::Cancel(kind)) => {
                    assert_eq!(self.in_flight, Some(kind));
                    assert!(self.is_going() && !self.cancelled, "cancelled twice");
                    self.cancelled = true;
                }
                Some(Action::Close) => {
                    assert!(!self.is_busy(), "closed under an operation");
                    assert!(self.given_up && !self.close_asked, "closed twice");
                    self.close_asked = true;
                }
            }
        }
        if self.is_going() {
            assert!(
                self.in_flight.is_none() || self.cancelled,
                "a cancel is forgotten"
            );
            let due = self.given_up && !self.is_busy();
            assert!(!due || self.close_asked, "a close is forgotten");
        } else if !self.ended && !self.is_busy() {
            assert!(self.wanted.is_none(), "an operation is forgotten");
        }
    }

    /// Compares everything the half says with what is known.
    fn check(&mut self, half: &ReadHalf) {
        let ledger = half.ledger();
        assert!(ledger.balances());
        assert_eq!(ledger.accepted(), self.given.len() as u64);
        assert_eq!(ledger.transferred(), self.taken as u64);
        assert_eq!(ledger.queued(), self.ahead() as u64);
        assert_eq!((ledger.in_flight(), ledger.in_doubt()), (0, 0));
        assert_eq!(half.failure(), self.failure);
        assert_eq!(half.has_ended(), self.ended);
        assert_eq!(half.is_busy(), self.is_busy());
        assert_eq!(half.operations(), u64::from(self.in_flight.is_some()));
        assert_eq!(half.is_closed(), self.closed);
        assert_eq!(half.is_over(), self.closed || self.quarantined);
        assert_eq!(half.is_quarantined(), self.quarantined && !self.closed);
        assert_eq!(half.is_released(), self.released);
        assert_eq!(half.is_given_up(), self.given_up);
        assert_eq!(half.late_bytes(), self.late_bytes);
        assert_eq!(half.late_failures(), self.late_failures);
        let in_flight = self.in_flight.is_some();
        let stopping = self.is_going() && in_flight && !self.quarantined;
        assert_eq!(half.is_stopping(), stopping);
        let waiting = self.in_flight == Some(OpKind::WaitReadable);
        assert_eq!(half.is_waiting(), waiting && !self.is_going());
        if half.is_over() {
            let now = (self.failure, ledger, half.untaken());
            let last = self.last.get_or_insert_with(|| now.clone());
            assert_eq!(*last, now, "S6: the account was final");
        }
    }

    /// Ends it, answers everything, and recounts every byte.
    fn wind_up(mut self, half: &mut ReadHalf) {
        if !self.given_up && !self.released {
            self.give_up(half);
        }
        let mut rounds = 0;
        loop {
            self.check(half);
            self.poll(half);
            self.check(half);
            if self.closed {
                break;
            }
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "it never ends");
            self.answer(half, &mut Script::new(&[0, 1]));
            self.answer_direct(half, &mut Script::new(&[3]));
            self.answer_close(half, false);
        }
        assert!(!self.is_busy() && half.poll_action().is_none());
        let untaken = half.untaken().concat();
        assert_eq!(untaken.len() as u64, half.ledger().discarded());
        assert!(
            untaken == self.given[self.taken..],
            "lost, doubled or out of order"
        );
    }
}
