//! Answers against submissions, stops, drops and releases.

use super::harness::{World, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Cancels, Manner};
use super::state::GONE;
use crate::pump_write::WriterCell;
use crate::{Ending, Error, ErrorKind, Receipt, Settle, WriterOptions};
use std::sync::Arc;

fn slow() -> Manner {
    Manner {
        is_slow: true,
        ..Manner::default()
    }
}

/// What the receipt says is what the kernel knows, and nothing is missing.
pub(super) fn assert_account(receipt: &Receipt, message: &[u8], world: &World) {
    let ledger = receipt.ledger();
    let taken = world.kernel().book(0).stream;
    assert_eq!(ledger.accepted(), message.len() as u64);
    assert_eq!(ledger.transferred(), taken.len() as u64);
    assert_eq!(ledger.unsettled(), 0);
    let (in_doubt, unsent) = receipt.clone().into_bytes();
    let all = [taken, in_doubt.concat(), unsent.concat()].concat();
    assert_eq!(all, message);
}

/// L1: a submission on its way back ‖ its answer.
#[test]
fn an_answer_overtakes_its_submission() {
    explore(&["complete"], || {
        let world = World::new(Kernel::new());
        let writer = world.writer(slow(), WriterOptions::new());
        world.race();
        writer.try_send(b"ab").unwrap();
        let receipt = wait(writer.finish()).unwrap();
        world.rest();
        assert!(receipt.is_complete());
        assert_account(&receipt, b"ab", &world);
        drop(writer);
        world.end();
        "complete"
    });
}

/// L2: a stop ‖ the answer of what it stops, with all the bytes or none.
#[test]
fn a_stop_meets_the_answer() {
    explore(&["a part", "none"], || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            write_bytes_max: 1,
            ..slow()
        };
        let writer = world.writer(manner, WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        let receipt = wait(writer.abort()).unwrap();
        world.rest();
        assert_eq!(receipt.ending(), Ending::Aborted);
        assert_eq!(world.kernel().book(0).closed, 1);
        assert_account(&receipt, b"ab", &world);
        drop(writer);
        world.end();
        ["none", "a part"][usize::from(receipt.ledger().transferred() > 0)]
    });
}

/// L3: a stop ‖ a stop ‖ the answer.
#[test]
fn two_stops_meet_the_answer() {
    explore(&["none", "taken"], || {
        let world = World::new(Kernel::new());
        let writer = Arc::new(world.writer(slow(), WriterOptions::new()));
        writer.try_send(b"ab").unwrap();
        world.race();
        let other = writer.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap().ledger());
        let receipt = wait(writer.abort()).unwrap();
        let same = stopping.join().unwrap();
        world.rest();
        assert_eq!(same, receipt.ledger());
        assert_account(&receipt, b"ab", &world);
        assert!(world.kernel().book(0).cancels <= 1);
        drop(writer);
        world.end();
        ["none", "taken"][usize::from(receipt.ledger().transferred() > 0)]
    });
}

/// L4: the drop of the last handle ‖ the answer; the driver's thread drops what is left.
#[test]
fn a_drop_meets_the_answer() {
    explore(&["settled"], || {
        let world = World::new(Kernel::new());
        let writer = world.writer(slow(), WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        drop(writer);
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let census = world.driver.census();
        assert_eq!((census.pipes, census.pipes_ended), (0, 1));
        assert_eq!(census.bytes_transferred, 2);
        assert_eq!(world.kernel().book(0).stream, b"ab");
        world.end();
        "settled"
    });
}

/// L8: a write that fails at once ‖ the packet of another operation of the same handle, which is still on its way.
#[test]
fn a_failure_waits_for_the_other_operation() {
    explore(&["failed", "failed later", "refused"], || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            writes: &[Answers::AtOnce, Answers::FailsAtOnce],
            ..slow()
        };
        let writer = Arc::new(world.writer(manner, WriterOptions::new()));
        writer.try_send(b"ab").unwrap();
        world.race();
        let other = writer.clone();
        let asking = spawn(move || {
            if let Err(error) = wait(other.until_read()) {
                assert_eq!(error.kind, ErrorKind::BrokenPipe);
            }
        });
        let check = |error: Error, discarded| {
            assert_eq!((error.kind, error.os), (ErrorKind::BrokenPipe, Some(GONE)));
            assert_eq!(
                (error.ledger.discarded(), error.ledger.unsettled()),
                (discarded, 0)
            );
        };
        // L2: a failure within the call is the call's answer. While the other thread is inside, it is only to come; who sees
        // it then sees the whole account.
        let (end, message) = match writer.try_send(b"cd") {
            Err(refused) => {
                check(refused.error, 0);
                ("refused", &b"ab"[..])
            }
            Ok(()) => match writer.try_send(b"e") {
                Ok(()) => ("failed later", &b"abcde"[..]),
                Err(refused) => {
                    check(refused.error, 2);
                    ("failed", &b"abcd"[..])
                }
            },
        };
        let receipt = wait(writer.finish()).unwrap();
        asking.join().unwrap();
        world.rest();
        assert_account(&receipt, message, &world);
        drop(writer);
        world.end();
        end
    });
}

/// A handle given back ‖ the answer: it leaves with nothing in flight and no call on it, or it stays.
#[test]
fn a_release_meets_the_answer() {
    explore(&["busy", "released", "released before"], || {
        let world = World::new(Kernel::new());
        let pipe = world.kernel().open(slow());
        let cell = WriterCell::new(world.driver.clone(), pipe, WriterOptions::new());
        world.race();
        let other = cell.clone();
        let writing = spawn(move || other.try_accept(&mut &b"ab"[..]).is_ok());
        let released = cell.release();
        let end = match released {
            Ok(handle) => {
                world.kernel().take_back(handle);
                "released"
            }
            Err(cause) => {
                assert_eq!(cause.kind, ErrorKind::Busy);
                cell.abort();
                "busy"
            }
        };
        let written = writing.join().unwrap();
        cell.handle_drop();
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let ledger = cell.ledger();
        assert_eq!(ledger.transferred(), world.kernel().book(0).taken());
        if end == "released" {
            assert_eq!(ledger.transferred(), ledger.accepted());
        }
        world.end();
        if written { end } else { "released before" }
    });
}

/// S5, L14: the stop's bound ‖ the answer that it no longer waits for.
#[test]
fn the_stop_bound_meets_the_answer() {
    explore(&["answered", "in doubt"], || {
        let world = World::new(Kernel::until(watertight_core::Moment(1)));
        let manner = Manner {
            writes: &[Answers::WhenTold],
            cancels: Cancels::SaysNothing,
            ..Manner::default()
        };
        let options = WriterOptions::new().stop_within(std::time::Duration::from_nanos(1));
        let writer = world.writer(manner, options);
        writer.try_send(b"ab").unwrap();
        world.race();
        let driver = world.driver.clone();
        let answering = spawn(move || driver.backend.answer(watertight_core::OpKind::Write));
        let receipt = wait(writer.abort()).unwrap();
        let account = receipt.ledger();
        assert_eq!(account.unsettled(), 0);
        let is_answered = answering.join().unwrap();
        world.rest();
        assert!(is_answered);
        // S6: a late answer changes nothing.
        let in_doubt = account.in_doubt() > 0;
        let driver = world.driver.clone();
        world.end();
        assert_eq!(writer.ledger(), account);
        assert_eq!(receipt.in_doubt().concat().len() as u64, account.in_doubt());
        assert_eq!(driver.census().pipes, 0);
        drop(writer);
        if in_doubt { "in doubt" } else { "answered" }
    });
}
