//! What a writing half does next and says, against what is known.

use super::{Model, ROUNDS_MAX, Script, Stage};
use watertight_core::{Action, Cause, Chunks, ErrorKind, Op, OpKind, WriteHalf};

impl Model {
    /// Does everything it wants done, and checks that each is allowed now and that nothing is forgotten.
    pub(super) fn poll(&mut self, half: &mut WriteHalf) {
        for round in 0.. {
            assert!(round < 8, "it never has enough");
            match half.poll_action() {
                None => break,
                Some(Action::Submit(Op::Write(chunks))) => self.submitted(&chunks),
                Some(Action::Submit(Op::UntilRead)) => {
                    assert!(self.asked && self.is_sending() && !self.anything_in_flight());
                    assert_eq!(self.taken, self.accepted.len(), "asked too early");
                    self.asked = false;
                    self.reading = true;
                    self.covers = self.taken;
                }
                Some(Action::Cancel(OpKind::Write)) => {
                    assert!(self.in_flight.is_some() && !self.is_sending());
                    assert!(!self.write_cancelled, "cancelled twice");
                    self.write_cancelled = true;
                }
                Some(Action::Cancel(OpKind::UntilRead)) => {
                    assert!(self.reading && (self.reading_unwanted || !self.is_sending()));
                    assert!(!self.reading_cancelled, "cancelled twice");
                    self.reading_cancelled = true;
                }
                Some(Action::Close) => {
                    assert!(!self.anything_in_flight(), "closed under an operation");
                    assert!(!self.close_asked, "closed twice");
                    assert!(!self.is_sending(), "closed too early");
                    self.close_asked = true;
                }
                Some(other) => panic!("not a writer's: {other:?}"),
            }
        }
        if self.is_sending() {
            let waiting = self.taken < self.accepted.len();
            assert!(!waiting || self.in_flight.is_some(), "a write is forgotten");
            let asked = self.asked && !self.anything_in_flight();
            assert!(!asked, "a question is forgotten");
            let unwanted = self.reading && self.reading_unwanted;
            assert!(!unwanted || self.reading_cancelled, "a cancel is forgotten");
        } else {
            let write = self.in_flight.is_none() || self.write_cancelled;
            let reading = !self.reading || self.reading_cancelled;
            assert!(write && reading, "a cancel is forgotten");
            assert!(
                self.anything_in_flight() || self.close_asked,
                "a close is forgotten"
            );
        }
    }

    fn submitted(&mut self, chunks: &Chunks) {
        assert!(self.is_sending() && self.in_flight.is_none(), "O1");
        assert!(
            chunks.bytes() <= self.limits.op_bytes_max as u64,
            "too large"
        );
        assert!(
            (1..=self.limits.op_chunks_max).contains(&chunks.count()),
            "too many"
        );
        let data = chunks.iter().flat_map(|chunk| chunk.iter().copied());
        let len = usize::try_from(chunks.bytes()).expect("bounded");
        let due = &self.accepted[self.taken..self.taken + len];
        assert!(
            data.eq(due.iter().copied()),
            "lost, doubled or out of order"
        );
        assert!(
            chunks.iter().all(|chunk| !chunk.is_empty()),
            "an empty chunk"
        );
        self.in_flight = Some(len);
    }

    /// Compares everything the half says with what is known.
    pub(super) fn check(&mut self, half: &WriteHalf) {
        let ledger = half.ledger();
        assert!(ledger.balances());
        assert_eq!(ledger.accepted(), self.accepted.len() as u64);
        assert_eq!(ledger.transferred(), self.taken as u64);
        assert_eq!(ledger.in_doubt(), self.in_doubt as u64);
        assert_eq!(ledger.unsettled(), self.waiting() as u64);
        let in_flight = self.in_flight.filter(|_| !self.quarantined).unwrap_or(0);
        assert_eq!(ledger.in_flight(), in_flight as u64);
        assert_eq!(
            half.room(),
            self.limits.queue_bytes_max - ledger.unsettled()
        );
        let operations = u64::from(self.in_flight.is_some()) + u64::from(self.reading);
        assert_eq!(half.operations(), operations);

        assert_eq!(half.failure(), self.failure);
        assert_eq!(half.late_failures(), self.late_failures);
        let stopped_by = match self.stage {
            Stage::Stopped(why) => Some(why),
            Stage::Finishing | Stage::Lingering | Stage::Open | Stage::Released => None,
        };
        assert_eq!(half.stopped_by(), stopped_by);
        assert_eq!(half.refusal(), self.refusal(stopped_by));
        assert_eq!(half.is_closed(), self.closed);
        assert_eq!(half.is_over(), self.is_over());
        assert_eq!(half.is_quarantined(), self.quarantined && !self.closed);
        assert_eq!(half.is_released(), self.stage == Stage::Released);
        let lingering = self.stage == Stage::Lingering && self.is_sending();
        assert_eq!(half.is_lingering(), lingering);
        let stopping = !self.is_sending() && self.anything_in_flight() && !self.quarantined;
        assert_eq!(half.is_stopping(), stopping);
        self.check_reading(half);
        if self.is_over() {
            let (in_doubt, unsent) = half.remains();
            let now = (self.failure, ledger, in_doubt, unsent);
            let last = self.last.get_or_insert_with(|| now.clone());
            assert_eq!(*last, now, "S6: the account was final");
        }
    }

    fn refusal(&self, stopped_by: Option<ErrorKind>) -> Option<Cause> {
        match self.failure {
            Some(cause) => Some(cause),
            None if self.stage == Stage::Open => None,
            None => Some(Cause::of(stopped_by.unwrap_or(ErrorKind::Closed))),
        }
    }

    fn check_reading(&self, half: &WriteHalf) {
        assert_eq!(half.until_read_attempts(), self.attempts);
        assert_eq!(half.until_read(self.read as u64, 0), Some(Ok(())));
        for target in [self.taken, self.taken + 1] {
            // What is cancelled, or was asked for less, answers nobody.
            let good = !self.reading_unwanted && !self.reading_cancelled && self.covers >= target;
            let asked = self.asked || (self.reading && good);
            assert_eq!(half.is_until_read_asked(target as u64), asked);
        }
        let more = self.read as u64 + 1;
        let told = half.until_read(more, self.attempts);
        let gone = !self.is_sending();
        assert_eq!(told.is_some(), gone, "known only when it is over");
        assert!(!matches!(told, Some(Ok(()))), "nobody has read that much");
        if let (Some(before), Some(cause)) = (self.attempts.checked_sub(1), self.answered) {
            assert_eq!(half.until_read(more, before), Some(Err(cause)));
        }
    }

    /// Ends it, answers everything, and recounts every byte.
    pub(super) fn wind_up(mut self, half: &mut WriteHalf) {
        if self.stage == Stage::Open && self.failure.is_none() {
            half.finish();
            self.stage = Stage::Finishing;
        }
        self.drop_reading(half);
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
            // What stands in this script: everything succeeds, all of it at once.
            let all = self.in_flight.unwrap_or(0);
            let [high, low] = u16::try_from(all).expect("bounded").to_be_bytes();
            self.answer_write(half, &mut Script::new(&[high, low, 0, 7]));
            self.answer_reading(half, &mut Script::new(&[2]));
            self.answer_close(half, &mut Script::new(&[1]));
        }
        assert!(!self.anything_in_flight() && half.poll_action().is_none());
        let (in_doubt, unsent) = half.remains();
        assert_eq!(in_doubt.concat().len(), self.in_doubt);
        assert_eq!(unsent.concat().len() as u64, half.ledger().discarded());
        let rest = [in_doubt, unsent].concat().concat();
        assert!(
            rest == self.accepted[self.taken..],
            "lost, doubled or out of order"
        );
    }
}
