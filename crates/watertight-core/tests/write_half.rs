//! The writing half against a model that only knows what the kernel took.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects"
)]

use bytes::Bytes;
use watertight_core::{
    Action, Cause, Chunks, Class, ErrorKind, Moved, Op, OpKind, OsCode, Outcome, WriteHalf,
    WriteLimits,
};

const LIMITS: WriteLimits = WriteLimits {
    queue_bytes_max: 1_000,
    op_bytes_max: 300,
    op_chunks_max: 3,
    segment_bytes_max: 64,
};

fn half() -> WriteHalf {
    WriteHalf::new(LIMITS)
}

fn submitted(half: &mut WriteHalf) -> Chunks {
    match half.poll_action() {
        Some(Action::Submit(Op::Write(chunks))) => chunks,
        other => panic!("a write was due, not {other:?}"),
    }
}

fn joined(chunks: &[Bytes]) -> Vec<u8> {
    chunks.concat()
}

fn failed(class: Class, moved: Moved) -> Outcome {
    Outcome::Failed {
        class,
        os: Some(OsCode(32)),
        moved,
    }
}

#[test]
fn a_short_write_goes_on_where_the_kernel_stopped() {
    let mut half = half();
    half.accept_copy(b"abcdefgh");
    assert_eq!(submitted(&mut half).bytes(), 8);
    half.handle_write(Outcome::Transferred(3));
    let again = submitted(&mut half).into_vec();
    assert_eq!(joined(&again), b"defgh");
    half.handle_write(Outcome::Transferred(5));
    assert!(half.poll_action().is_none());
    assert_eq!(half.ledger().transferred(), 8);
}

#[test]
fn one_operation_is_in_flight_and_no_larger_than_its_bounds() {
    let mut half = half();
    for _ in 0..10 {
        half.accept_owned(Bytes::from(vec![1; 99]));
    }
    assert_eq!(half.room(), 10);
    let chunks = submitted(&mut half);
    assert!(chunks.bytes() <= 300 && chunks.count() <= 3);
    assert!(half.poll_action().is_none(), "a second operation");
    assert_eq!(half.operations(), 1);
    half.handle_write(Outcome::Transferred(chunks.bytes()));
    assert_eq!(half.room(), 10 + chunks.bytes());
}

#[test]
fn finish_sends_the_queue_and_then_closes_once() {
    let mut half = half();
    half.accept_copy(b"the rest");
    half.finish();
    assert_eq!(half.refusal(), Some(Cause::of(ErrorKind::Closed)));
    submitted(&mut half);
    assert!(!half.is_over());
    half.handle_write(Outcome::Transferred(8));
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    assert!(half.poll_action().is_none(), "closed twice");
    assert!(!half.is_over(), "over before the handle is closed");
    half.handle_closed(None);
    assert!(half.is_over() && half.is_closed() && half.failure().is_none());
}

#[test]
fn abort_counts_bytes_the_kernel_took_after_cancel() {
    let mut half = half();
    half.accept_copy(b"0123456789");
    submitted(&mut half);
    half.accept_copy(b"queued");
    half.abort();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::Write))
    ));
    assert!(half.poll_action().is_none(), "closed under an operation");
    assert!(half.is_stopping() && !half.is_over());
    half.handle_write(failed(Class::Aborted, Moved::Exactly(4)));
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    half.handle_closed(None);
    let (in_doubt, unsent) = half.remains();
    assert!(in_doubt.is_empty());
    assert_eq!(joined(&unsent), b"456789queued");
    assert_eq!(
        (half.ledger().transferred(), half.ledger().discarded()),
        (4, 12)
    );
    assert_eq!(half.stopped_by(), Some(ErrorKind::Aborted));
}

#[test]
fn a_cancel_that_lost_the_race_is_a_transfer() {
    let mut half = half();
    half.accept_copy(b"0123456789");
    submitted(&mut half);
    half.abort();
    assert!(half.poll_action().is_some());
    half.handle_write(Outcome::Transferred(10));
    assert_eq!(half.ledger().transferred(), 10);
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn an_unknown_count_is_in_doubt_and_told_apart() {
    let mut half = half();
    half.accept_copy(b"in doubt");
    submitted(&mut half);
    half.accept_copy(b"unsent");
    half.abort();
    assert!(half.poll_action().is_some());
    half.handle_write(failed(Class::Aborted, Moved::Unknown));
    let (in_doubt, unsent) = half.remains();
    assert_eq!(
        (joined(&in_doubt), joined(&unsent)),
        (b"in doubt".to_vec(), b"unsent".to_vec())
    );
    assert_eq!(
        (half.ledger().in_doubt(), half.ledger().discarded()),
        (8, 6)
    );
}

#[test]
fn the_first_failure_wins_and_its_count_is_taken() {
    let mut half = half();
    half.accept_copy(b"0123456789");
    submitted(&mut half);
    half.handle_write(failed(Class::Gone, Moved::Exactly(6)));
    let first = half.failure().unwrap();
    assert_eq!(
        (first.kind, first.os),
        (ErrorKind::BrokenPipe, Some(OsCode(32)))
    );
    half.handle_failure(Cause::of(ErrorKind::ObserverPanicked));
    assert_eq!(half.failure(), Some(first));
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    half.handle_closed(Some(Cause::of(ErrorKind::Os)));
    assert_eq!(half.failure(), Some(first));
    assert_eq!(
        (half.ledger().transferred(), half.ledger().discarded()),
        (6, 4)
    );
}

#[test]
fn a_failure_outside_the_kernel_waits_for_the_answer_in_flight() {
    let mut half = half();
    half.accept_copy(b"0123456789");
    submitted(&mut half);
    half.handle_failure(Cause::of(ErrorKind::ObserverPanicked));
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::Write))
    ));
    assert!(half.poll_action().is_none());
    half.handle_write(failed(Class::Aborted, Moved::Exactly(2)));
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    assert_eq!(half.ledger().transferred(), 2);
}

#[test]
fn quarantine_makes_the_account_final_and_a_late_answer_only_releases() {
    let mut half = half();
    half.accept_copy(b"0123456789");
    submitted(&mut half);
    half.accept_copy(b"queued");
    half.abort();
    assert!(half.poll_action().is_some());
    half.handle_stop_expired();
    assert!(half.is_over() && half.is_quarantined() && !half.is_closed());
    let account = half.ledger();
    assert_eq!((account.in_doubt(), account.discarded()), (10, 6));
    assert!(
        half.poll_action().is_none(),
        "closed under the quarantined operation"
    );
    half.handle_write(Outcome::Transferred(10));
    assert_eq!(half.ledger(), account);
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    half.handle_closed(None);
    assert!(!half.is_quarantined());
}

#[test]
fn a_linger_that_expires_stops() {
    let mut half = half();
    half.accept_copy(b"0123456789");
    submitted(&mut half);
    half.handle_drop();
    assert!(half.is_lingering());
    half.handle_linger_expired();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::Write))
    ));
    half.handle_write(Outcome::cancelled());
    assert_eq!(half.stopped_by(), Some(ErrorKind::TimedOut));
    assert_eq!(half.ledger().discarded(), 10);
}

#[test]
fn until_read_is_asked_when_all_is_transferred_and_answers_for_what_was() {
    let mut half = half();
    half.accept_copy(b"abc");
    half.ask_until_read();
    submitted(&mut half);
    assert_eq!(half.until_read(3, 0), None);
    half.handle_write(Outcome::Transferred(3));
    assert!(matches!(
        half.poll_action(),
        Some(Action::Submit(Op::WaitUntilRead))
    ));
    half.accept_copy(b"later");
    half.handle_until_read(&Outcome::Ready);
    assert_eq!(half.until_read(3, 0), Some(Ok(())));
    assert_eq!(half.until_read(8, 0), None);
    half.ask_until_read();
    let chunks = submitted(&mut half);
    half.handle_write(Outcome::Transferred(chunks.bytes()));
    assert!(half.poll_action().is_some());
    let attempts = half.until_read_attempts();
    half.handle_until_read(&failed(Class::Gone, Moved::Exactly(0)));
    let cause = half.until_read(8, attempts).unwrap().unwrap_err();
    assert_eq!(cause.kind, ErrorKind::BrokenPipe);
    assert!(
        half.failure().is_none(),
        "that question failing does not fail the pipe"
    );
}

#[test]
fn a_finish_waits_for_a_waited_until_read_and_an_abort_cancels_it() {
    for abort in [false, true] {
        let mut half = half();
        half.ask_until_read();
        assert!(matches!(
            half.poll_action(),
            Some(Action::Submit(Op::WaitUntilRead))
        ));
        half.finish();
        assert!(half.poll_action().is_none(), "closed under the question");
        if abort {
            half.abort();
            assert!(matches!(
                half.poll_action(),
                Some(Action::Cancel(OpKind::WaitUntilRead))
            ));
        }
        half.handle_until_read(&Outcome::Ready);
        assert!(matches!(half.poll_action(), Some(Action::Close)));
    }
}

#[test]
fn a_question_that_nobody_waits_for_is_taken_back_and_holds_no_finish() {
    let mut half = half();
    half.ask_until_read();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Submit(Op::WaitUntilRead))
    ));
    half.drop_until_read();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::WaitUntilRead))
    ));
    // Somebody asks again before the cancel is answered: the answer is no attempt, and a new one begins.
    half.ask_until_read();
    let attempts = half.until_read_attempts();
    half.handle_until_read(&Outcome::cancelled());
    assert_eq!(half.until_read_attempts(), attempts);
    assert!(matches!(
        half.poll_action(),
        Some(Action::Submit(Op::WaitUntilRead))
    ));
    half.finish();
    half.drop_until_read();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::WaitUntilRead))
    ));
    assert!(half.poll_action().is_none(), "closed under the question");
    half.handle_until_read(&Outcome::cancelled());
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn release_gives_up_only_an_idle_handle() {
    let mut half = half();
    half.accept_copy(b"x");
    assert!(!half.release());
    submitted(&mut half);
    assert!(!half.release());
    half.handle_write(Outcome::Transferred(1));
    assert!(half.release());
    assert!(
        half.poll_action().is_none(),
        "a released handle is not closed"
    );
    assert!(half.is_over());
}

#[test]
#[should_panic(expected = "takes no more than it was given")]
fn a_kernel_that_claims_too_much_is_a_broken_invariant() {
    let mut half = half();
    half.accept_copy(b"abc");
    submitted(&mut half);
    half.handle_write(Outcome::Transferred(4));
}

/// A small generator, so that a failing seed replays.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// What a peer that reads everything would have seen, and what the half must account for.
struct Model {
    accepted: Vec<u8>,
    taken: Vec<u8>,
    in_flight: Option<Vec<u8>>,
    closed: u32,
    ended: bool,
}

fn step(half: &mut WriteHalf, model: &mut Model, dice: &mut Dice) {
    match dice.roll(12) {
        0..=3 if half.refusal().is_none() => {
            let len = dice.roll(half.room().min(400) + 1);
            let next = model.accepted.len() as u64;
            let data: Vec<u8> = (next..next + len).map(|n| (n % 251) as u8).collect();
            model.accepted.extend_from_slice(&data);
            if dice.roll(2) == 0 {
                half.accept_copy(&data);
            } else {
                half.accept_owned(data.into());
            }
        }
        4..=9 => answer(half, model, dice),
        10 if dice.roll(20) == 0 => {
            model.ended = true;
            match dice.roll(3) {
                0 => half.abort(),
                1 => half.finish(),
                _ => half.handle_failure(Cause::of(ErrorKind::ObserverPanicked)),
            }
        }
        _ => {}
    }
    while let Some(action) = half.poll_action() {
        match action {
            Action::Submit(Op::Write(chunks)) => {
                assert!(model.in_flight.is_none(), "two operations in flight");
                model.in_flight = Some(joined(&chunks.into_vec()));
            }
            Action::Close => {
                assert!(model.in_flight.is_none(), "closed under an operation");
                model.closed += 1;
                half.handle_closed(None);
            }
            Action::Cancel(OpKind::Write) => assert!(model.in_flight.is_some()),
            other => panic!("not in this model: {other:?}"),
        }
    }
}

fn answer(half: &mut WriteHalf, model: &mut Model, dice: &mut Dice) {
    let Some(data) = model.in_flight.take() else {
        return;
    };
    let moved = dice.roll(data.len() as u64 + 1);
    model
        .taken
        .extend_from_slice(&data[..usize::try_from(moved).unwrap()]);
    let cancelled = half.is_stopping();
    half.handle_write(match dice.roll(8) {
        0 if cancelled => failed(Class::Aborted, Moved::Exactly(moved)),
        1 if !model.ended && dice.roll(10) == 0 => {
            model.ended = true;
            failed(Class::Gone, Moved::Exactly(moved))
        }
        _ => Outcome::Transferred(moved),
    });
}

#[test]
fn no_byte_is_lost_or_doubled_in_any_order_of_events() {
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let mut half = half();
        let mut model = Model {
            accepted: Vec::new(),
            taken: Vec::new(),
            in_flight: None,
            closed: 0,
            ended: false,
        };
        for _ in 0..200 {
            step(&mut half, &mut model, &mut dice);
        }
        if !model.ended {
            half.abort();
        }
        let mut rounds = 0;
        while !half.is_over() {
            rounds += 1;
            assert!(rounds < 1_000, "seed {seed}: it never ends");
            answer(&mut half, &mut model, &mut dice);
            step(&mut half, &mut model, &mut Dice(11));
        }
        assert_eq!(model.closed, 1, "seed {seed}");
        let ledger = half.ledger();
        assert_eq!(
            ledger.transferred(),
            model.taken.len() as u64,
            "seed {seed}"
        );
        let (in_doubt, unsent) = half.remains();
        assert!(in_doubt.is_empty());
        let mut all = model.taken;
        all.extend(joined(&unsent));
        assert!(
            all == model.accepted,
            "seed {seed}: bytes lost, doubled or out of order"
        );
    }
}
