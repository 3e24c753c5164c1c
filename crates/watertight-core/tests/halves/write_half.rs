//! The writing half against a model that only knows what the kernel took.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects"
)]

use crate::model;
use bytes::Bytes;
use watertight_core::{
    Action, Cause, Chunks, Class, ErrorKind, Moved, Op, OpKind, OsCode, Outcome, WriteHalf,
    WriteLimits, WriteNow,
};

const LIMITS: WriteLimits = WriteLimits {
    queue_bytes_max: 1_000,
    op_bytes_max: 300,
    op_chunks_max: 3,
    segment_bytes_max: 64,
    atomic_bytes_max: None,
    close_discards: false,
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

/// Begins a direct write of so many bytes, as a caller that may.
fn direct(half: &mut WriteHalf, bytes: u64) -> u64 {
    assert!(half.may_be_direct(bytes));
    let start = half.begin_offer(Some(bytes));
    half.begin_direct(bytes);
    start
}

fn no_rest(_: u64) -> Bytes {
    panic!("nothing is left")
}

#[test]
fn a_direct_write_that_goes_whole_leaves_nothing() {
    let mut half = half();
    let start = direct(&mut half, 3);
    assert_eq!(half.ledger().in_flight(), 3);
    assert!(half.poll_action().is_none() && !half.may_be_direct(1) && !half.is_idle());
    half.handle_direct(WriteNow::Transferred(3), no_rest);
    assert_eq!(half.end_offer(start), 0);
    assert_eq!((half.ledger().transferred(), half.messages().whole), (3, 1));
    assert!(half.is_idle());
}

#[test]
fn what_a_direct_write_did_not_take_goes_first() {
    for (answer, taken) in [
        (WriteNow::Transferred(2), 2),
        (WriteNow::Wait, 0),
        (WriteNow::Unavailable, 0),
    ] {
        let mut half = half();
        direct(&mut half, 5);
        // Somebody else comes while the call runs.
        half.accept_copy(b"xyz");
        half.handle_direct(answer, |from| {
            Bytes::from_static(b"abcde").slice(usize::try_from(from).unwrap()..)
        });
        let next = submitted(&mut half).into_vec();
        assert_eq!(joined(&next), [&b"abcde"[taken..], b"xyz"].concat());
        assert_eq!(half.ledger().transferred(), taken as u64);
    }
}

#[test]
fn a_direct_write_that_fails_is_refused_whole() {
    let mut half = half();
    let start = direct(&mut half, 5);
    half.handle_direct(WriteNow::Failed(Class::Gone, Some(OsCode(32))), |_| {
        Bytes::from_static(b"abcde")
    });
    assert_eq!(half.end_offer(start), 5);
    assert_eq!(half.ledger().accepted(), 0);
    assert_eq!(half.failure().unwrap().kind, ErrorKind::BrokenPipe);
}

#[test]
fn a_stop_during_a_direct_write_needs_no_bound_and_keeps_the_rest() {
    let mut half = half();
    direct(&mut half, 5);
    half.abort();
    assert!(!half.is_stopping() && !half.is_over() && half.operations() == 0);
    half.handle_stop_expired();
    assert!(!half.is_quarantined());
    assert!(half.poll_action().is_none(), "the call is still running");
    half.handle_direct(WriteNow::Transferred(1), |_| Bytes::from_static(b"bcde"));
    let (in_doubt, unsent) = half.remains();
    assert!(in_doubt.is_empty());
    assert_eq!(joined(&unsent), b"bcde");
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn only_what_one_operation_carries_and_nothing_is_before_is_direct() {
    let mut half = half();
    assert!(half.may_be_direct(300) && !half.may_be_direct(301) && !half.may_be_direct(0));
    half.accept_copy(b"before");
    assert!(!half.may_be_direct(1));
    submitted(&mut half);
    assert!(!half.may_be_direct(1));
    half.handle_write(Outcome::Transferred(6));
    assert!(half.may_be_direct(1));
    half.finish();
    assert!(!half.may_be_direct(1));
}

#[test]
#[should_panic(expected = "no more than it was given")]
fn a_direct_write_that_claims_too_much_is_a_broken_invariant() {
    let mut half = half();
    direct(&mut half, 5);
    half.handle_direct(WriteNow::Transferred(6), no_rest);
}

#[test]
fn a_move_is_accepted_and_transferred_in_one_and_nothing_is_accepted_meanwhile() {
    let mut half = half();
    half.begin_move();
    assert!(!half.is_idle() && !half.may_be_direct(1) && half.room() == 0);
    assert!(half.poll_action().is_none() && !half.release());
    half.handle_move(70_000, None);
    assert!(half.is_idle() && half.room() > 0);
    let ledger = half.ledger();
    assert_eq!((ledger.accepted(), ledger.transferred()), (70_000, 70_000));
    half.begin_move();
    half.handle_move(0, None);
    assert_eq!((half.messages().whole, half.messages().cut), (1, None));
    assert_eq!(half.ledger(), ledger);
}

#[test]
fn a_move_that_fails_is_the_pipes_failure() {
    let mut half = half();
    half.begin_move();
    let gone = Outcome::failed(Class::Gone, Some(OsCode(32))).cause();
    half.handle_move(0, gone);
    assert_eq!(half.failure(), gone);
    assert_eq!(half.ledger().accepted(), 0);
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn a_stop_or_an_end_during_a_move_waits_for_its_answer() {
    let ends: [fn(&mut WriteHalf); 3] =
        [WriteHalf::abort, WriteHalf::finish, WriteHalf::handle_drop];
    for end in ends {
        let mut half = half();
        half.begin_move();
        end(&mut half);
        assert!(!half.is_stopping() && !half.is_over());
        assert!(half.poll_action().is_none(), "the call is still running");
        half.handle_move(5, None);
        assert_eq!(half.ledger().transferred(), 5);
        assert!(matches!(half.poll_action(), Some(Action::Close)));
    }
}

#[test]
fn a_forked_child_forgets_a_move() {
    let mut half = half();
    half.begin_move();
    half.forget_direct();
    assert_eq!(half.ledger().accepted(), 0);
    assert!(half.is_idle());
}

#[test]
#[should_panic(expected = "nothing is before a move")]
fn a_move_before_queued_bytes_is_a_broken_invariant() {
    let mut half = half();
    half.accept_copy(b"before");
    half.begin_move();
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
        Some(Action::Submit(Op::UntilRead))
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

/// Where a close discards, an orderly end asks by itself, once, when all is transferred; nobody else's loss of interest ends that, and
/// what was not read is told.
#[test]
fn an_end_whose_close_discards_waits_until_the_peer_has_read() {
    let answers = [
        (Outcome::Ready, None),
        (failed(Class::Unsupported, Moved::Exactly(0)), None),
        (
            failed(Class::Gone, Moved::Exactly(0)),
            Some(ErrorKind::BrokenPipe),
        ),
    ];
    for (answer, failure) in answers {
        for is_dropped in [false, true] {
            let mut half = WriteHalf::new(WriteLimits {
                close_discards: true,
                ..LIMITS
            });
            half.accept_copy(b"abc");
            assert_eq!(submitted(&mut half).bytes(), 3);
            if is_dropped {
                half.handle_drop();
            } else {
                half.finish();
            }
            assert!(half.poll_action().is_none());
            half.handle_write(Outcome::Transferred(3));
            let asked = half.poll_action();
            assert!(matches!(asked, Some(Action::Submit(Op::UntilRead))));
            half.drop_until_read();
            assert!(half.poll_action().is_none(), "neither cancelled nor closed");
            half.handle_until_read(&answer);
            assert!(matches!(half.poll_action(), Some(Action::Close)));
            half.handle_closed(None);
            assert!(half.is_over());
            assert_eq!(half.failure().map(|cause| cause.kind), failure);
        }
    }
}

#[test]
fn a_finish_waits_for_a_waited_until_read_and_an_abort_cancels_it() {
    for abort in [false, true] {
        let mut half = half();
        half.ask_until_read();
        assert!(matches!(
            half.poll_action(),
            Some(Action::Submit(Op::UntilRead))
        ));
        half.finish();
        assert!(half.poll_action().is_none(), "closed under the question");
        if abort {
            half.abort();
            assert!(matches!(
                half.poll_action(),
                Some(Action::Cancel(OpKind::UntilRead))
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
        Some(Action::Submit(Op::UntilRead))
    ));
    half.drop_until_read();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::UntilRead))
    ));
    // Somebody asks again before the cancel is answered: the answer is no attempt, and a new one begins.
    half.ask_until_read();
    let attempts = half.until_read_attempts();
    half.handle_until_read(&Outcome::cancelled());
    assert_eq!(half.until_read_attempts(), attempts);
    assert!(matches!(
        half.poll_action(),
        Some(Action::Submit(Op::UntilRead))
    ));
    half.finish();
    half.drop_until_read();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::UntilRead))
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

#[test]
#[should_panic(expected = "an answer has its operation")]
fn an_answer_without_an_operation_is_a_broken_invariant() {
    half().handle_write(Outcome::Transferred(0));
}

#[test]
fn a_write_answered_as_something_else_is_a_broken_invariant() {
    for outcome in [
        Outcome::Data(Bytes::new()),
        Outcome::EndOfStream,
        Outcome::Ready,
    ] {
        let told = std::panic::catch_unwind(|| {
            let mut half = half();
            half.accept_copy(b"abc");
            submitted(&mut half);
            half.handle_write(outcome);
        });
        let text = told.unwrap_err().downcast::<&str>().unwrap();
        assert!(text.contains("answered as a write"), "{text}");
    }
}

#[test]
fn bytes_that_nobody_refused_though_it_is_closed_are_a_broken_invariant() {
    type Accept = fn(&mut WriteHalf);
    let accepts: [Accept; 2] = [
        |half| half.accept_copy(b"x"),
        |half| half.accept_owned(Bytes::from_static(b"x")),
    ];
    for accept in accepts {
        let told = std::panic::catch_unwind(|| {
            let mut half = half();
            half.finish();
            accept(&mut half);
        });
        let text = told.unwrap_err().downcast::<&str>().unwrap();
        assert!(text.contains("only while the half is open"), "{text}");
    }
}

#[test]
#[should_panic(expected = "only events happen that the table has")]
fn a_finish_after_the_drop_is_a_broken_invariant() {
    let mut half = half();
    half.accept_copy(b"x");
    half.handle_drop();
    half.finish();
}

#[test]
fn no_byte_is_lost_or_doubled_in_any_order_of_events() {
    for seed in 0..10_000 {
        let script = model::seeded(seed, 400);
        let run = || model::write::run(&script);
        assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}");
    }
}
