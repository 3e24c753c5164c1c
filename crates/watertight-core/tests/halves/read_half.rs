//! The reading half: data before errors, the end once and then always, nothing read ahead is lost.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects"
)]

use crate::model;
use bytes::Bytes;
use watertight_core::{
    Action, Class, ErrorKind, Lent, Op, OpKind, OsCode, Outcome, ReadHalf, ReadNow,
};

fn ask(half: &mut ReadHalf) {
    half.ask(Op::Read { bytes_max: 64 });
    assert!(matches!(
        half.poll_action(),
        Some(Action::Submit(Op::Read { bytes_max: 64 }))
    ));
}

fn data(text: &'static str) -> Outcome {
    Outcome::Data(Bytes::from_static(text.as_bytes()))
}

#[test]
fn read_ahead_is_taken_in_any_pieces() {
    let mut half = ReadHalf::new();
    assert_eq!(half.take(&mut [0; 4]), None);
    ask(&mut half);
    half.handle_completion(data("abcdefg"));
    let mut buf = [0; 3];
    assert_eq!(half.take(&mut buf), Some(Ok(3)));
    assert_eq!(&buf, b"abc");
    assert_eq!(half.ledger().queued(), 4);
    assert_eq!(half.take(&mut []), Some(Ok(0)));
    assert_eq!(half.take(&mut [0; 9]), Some(Ok(4)));
    assert_eq!(half.take(&mut buf), None);
    assert_eq!(half.ledger().transferred(), 7);
}

#[test]
fn data_comes_before_the_error() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    half.handle_completion(data("last"));
    ask(&mut half);
    half.handle_completion(Outcome::failed(Class::Io, Some(OsCode(5))));
    assert_eq!(half.take(&mut [0; 9]), Some(Ok(4)));
    let cause = half.take(&mut [0; 9]).unwrap().unwrap_err();
    assert_eq!((cause.kind, cause.os), (ErrorKind::Os, Some(OsCode(5))));
    assert_eq!(half.take(&mut [0; 9]), Some(Err(cause)));
    half.ask(Op::WaitReadable);
    assert!(half.poll_action().is_none(), "a failed half asks no more");
}

#[test]
fn the_end_is_told_after_the_data_and_for_ever() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    half.handle_completion(data("x"));
    ask(&mut half);
    half.handle_completion(Outcome::EndOfStream);
    assert!(half.has_ended());
    assert_eq!(half.take(&mut [0; 9]), Some(Ok(1)));
    for _ in 0..3 {
        assert_eq!(half.take(&mut [0; 9]), Some(Ok(0)));
    }
}

#[test]
fn a_direct_read_is_counted_and_holds_the_handle() {
    let mut half = ReadHalf::new();
    half.begin_direct();
    assert!(half.is_busy());
    half.abort();
    assert!(half.poll_action().is_none(), "closed under a direct read");
    // It never waits, so the stop bound is not for it.
    half.handle_stop_expired();
    assert!(!half.is_stopping() && !half.is_over());
    half.handle_now(ReadNow::Data(5));
    assert_eq!(
        (half.ledger().accepted(), half.ledger().transferred()),
        (5, 5)
    );
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    assert!(half.poll_action().is_none());
    half.handle_closed(None);
    assert!(half.is_over());
    assert_eq!(
        half.take(&mut [0; 1]).unwrap().unwrap_err().kind,
        ErrorKind::Aborted
    );
}

#[test]
fn the_tail_of_a_direct_read_is_read_ahead() {
    let mut half = ReadHalf::new();
    half.begin_direct();
    half.handle_now_with_tail(3, Bytes::from_static(b"tail"));
    let ledger = half.ledger();
    assert_eq!(
        (ledger.accepted(), ledger.queued(), ledger.transferred()),
        (7, 4, 3)
    );
    let mut buf = [0; 9];
    assert_eq!(half.take(&mut buf), Some(Ok(4)));
    assert_eq!(&buf[..4], b"tail");
    assert!(!half.is_busy());
}

#[test]
fn the_tail_of_a_direct_read_that_a_stop_overtook_is_in_the_receipt() {
    let mut half = ReadHalf::new();
    half.begin_direct();
    half.abort();
    half.handle_now_with_tail(3, Bytes::from_static(b"tail"));
    assert_eq!(half.untaken().concat(), b"tail");
    assert_eq!(
        (half.ledger().transferred(), half.ledger().discarded()),
        (3, 4)
    );
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn an_abort_hands_over_what_a_cancelled_read_brought_all_the_same() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    half.handle_completion(data("ahead "));
    ask(&mut half);
    half.abort();
    assert!(matches!(
        half.poll_action(),
        Some(Action::Cancel(OpKind::Read))
    ));
    assert!(half.poll_action().is_none());
    half.handle_completion(data("late"));
    assert_eq!(half.untaken().concat(), b"ahead late");
    assert_eq!(half.ledger().discarded(), 10);
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn an_unanswered_read_is_quarantined_and_released_when_it_answers() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    half.abort();
    assert!(half.poll_action().is_some());
    half.handle_stop_expired();
    assert!(half.is_over() && half.is_quarantined());
    assert!(
        half.poll_action().is_none(),
        "closed under the quarantined operation"
    );
    half.handle_completion(Outcome::cancelled());
    assert!(matches!(half.poll_action(), Some(Action::Close)));
    half.handle_closed(None);
    assert!(!half.is_quarantined());
}

#[test]
fn a_failed_or_ended_half_keeps_its_handle_until_it_is_given_up() {
    for outcome in [Outcome::EndOfStream, Outcome::failed(Class::Gone, None)] {
        let mut half = ReadHalf::new();
        ask(&mut half);
        half.handle_completion(outcome);
        assert!(half.poll_action().is_none());
        half.abort();
        assert!(matches!(half.poll_action(), Some(Action::Close)));
    }
}

#[test]
fn release_gives_up_only_an_idle_half() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    assert!(!half.release());
    half.handle_completion(data("ahead"));
    assert!(!half.release(), "read-ahead would be lost");
    assert_eq!(half.take(&mut [0; 9]), Some(Ok(5)));
    assert!(half.release());
    assert!(half.poll_action().is_none());
}

#[test]
#[should_panic(expected = "an answer has its operation")]
fn an_answer_without_an_operation_is_a_broken_invariant() {
    ReadHalf::new().handle_completion(Outcome::Ready);
}

#[test]
#[should_panic(expected = "not answered as a write")]
fn a_read_answered_as_a_write_is_a_broken_invariant() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    half.handle_completion(Outcome::Transferred(3));
}

#[test]
fn what_is_lent_stays_in_the_account_until_it_is_another_pipes() {
    let mut half = ReadHalf::new();
    assert_eq!(half.lend(9), Lent::Nothing);
    half.begin_direct();
    half.handle_ahead(Bytes::from_static(b"abcdef"));
    assert_eq!(half.lend(4), Lent::Bytes(Bytes::from_static(b"abcd")));
    assert_eq!(half.lend(4), Lent::Busy);
    assert_eq!(half.take(&mut [0; 9]), None, "nobody else takes any");
    assert!(half.is_busy() && !half.release());
    half.take_back(3);
    assert_eq!(
        (half.ledger().transferred(), half.ledger().queued()),
        (3, 3)
    );
    let mut buf = [0; 9];
    assert_eq!(half.take(&mut buf), Some(Ok(3)));
    assert_eq!(&buf[..3], b"def");
    assert!(half.is_dry());
    half.begin_direct();
    half.handle_now(ReadNow::EndOfStream);
    assert!(!half.is_dry());
    assert_eq!(half.lend(4), Lent::Ended(Ok(())));
}

#[test]
fn a_stop_while_bytes_are_lent_gives_up_what_nobody_took() {
    let mut half = ReadHalf::new();
    half.begin_direct();
    half.handle_ahead(Bytes::from_static(b"abcdef"));
    assert!(matches!(half.lend(4), Lent::Bytes(_)));
    half.abort();
    assert!(half.poll_action().is_none(), "they are lent");
    half.take_back(4);
    let ledger = half.ledger();
    assert_eq!((ledger.transferred(), ledger.discarded()), (4, 2));
    assert_eq!(half.untaken(), [Bytes::from_static(b"ef")]);
    assert!(matches!(half.poll_action(), Some(Action::Close)));
}

#[test]
fn a_forked_child_forgets_what_was_lent() {
    let mut half = ReadHalf::new();
    half.begin_direct();
    half.handle_ahead(Bytes::from_static(b"abc"));
    assert!(matches!(half.lend(4), Lent::Bytes(_)));
    half.forget_direct();
    half.abort();
    assert_eq!(half.ledger().discarded(), 3);
}

#[test]
#[should_panic(expected = "one read at a time")]
fn a_direct_read_beside_an_operation_is_a_broken_invariant() {
    let mut half = ReadHalf::new();
    ask(&mut half);
    half.begin_direct();
}

#[test]
#[should_panic(expected = "one read at a time")]
fn two_direct_reads_are_a_broken_invariant() {
    let mut half = ReadHalf::new();
    half.begin_direct();
    half.begin_direct();
}

#[test]
fn nothing_that_arrived_is_lost_or_doubled_in_any_order_of_events() {
    for seed in 0..10_000 {
        let script = model::seeded(seed, 300);
        let run = || model::read::run(&script);
        assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}");
    }
}
