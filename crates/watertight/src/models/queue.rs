//! The queue and the line of those who wait for room.

use super::answers::assert_account;
use super::harness::{World, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Manner};
use crate::{Ending, WriterOptions};
use std::sync::Arc;
use watertight_core::WriteNow;

/// L7: more is accepted ‖ the answer submits what is next ‖ a stop takes the rest.
#[test]
fn a_push_meets_the_answer_and_a_stop() {
    explore(&["all", "nothing", "the first"], || {
        let world = World::new(Kernel::new());
        let options = WriterOptions::new().op_bytes_max(2);
        let writer = Arc::new(world.writer(Manner::default(), options));
        writer.try_send(b"ab").unwrap();
        world.race();
        let other = writer.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let more = writer.try_send(b"cd").is_ok();
        let receipt = stopping.join().unwrap();
        world.rest();
        let message = if more { &b"abcd"[..] } else { b"ab" };
        assert_eq!(receipt.ending(), Ending::Aborted);
        assert_account(&receipt, message, &world);
        let taken = receipt.ledger().transferred();
        drop(writer);
        world.end();
        match taken {
            0 => "nothing",
            4 => "all",
            _ => "the first",
        }
    });
}

/// L7: a push while the submission before it is on its way back and its answer comes: whoever is inside looks again.
#[test]
fn a_push_while_somebody_is_inside_is_not_forgotten() {
    explore(&["complete"], || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            is_slow: true,
            ..Manner::default()
        };
        let options = WriterOptions::new().op_bytes_max(1);
        let writer = Arc::new(world.writer(manner, options));
        world.race();
        let other = writer.clone();
        let writing = spawn(move || other.try_send(b"a").unwrap());
        writer.try_send(b"b").unwrap();
        writing.join().unwrap();
        wait(writer.until_transferred()).unwrap();
        world.rest();
        assert_eq!(writer.ledger().transferred(), 2);
        assert!(wait(writer.finish()).unwrap().is_complete());
        drop(writer);
        world.end();
        "complete"
    });
}

/// A write out of the caller's memory, of which the kernel takes a part ‖ another one pushes ‖ a stop. What the kernel did not
/// take stands before what came meanwhile, or is in the receipt.
#[test]
fn a_direct_write_meets_a_push_and_a_stop() {
    let ends = [
        "a part",
        "all",
        "the first",
        "the other and a part",
        "the other first",
    ];
    explore(&ends, || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            direct_writes: &[WriteNow::Transferred(1), WriteNow::Wait],
            is_slow: true,
            ..Manner::default()
        };
        let writer = Arc::new(world.writer(manner, WriterOptions::new()));
        world.race();
        let other = writer.clone();
        let pushing = spawn(move || other.try_send(b"c").is_ok());
        let first = writer.try_send(b"ab").is_ok();
        let receipt = wait(writer.abort()).unwrap();
        let second = pushing.join().unwrap();
        world.rest();
        let stream = world.kernel().book(0).stream;
        assert!(first, "nothing stops before it");
        let ledger = receipt.ledger();
        assert_eq!(ledger.transferred(), stream.len() as u64);
        assert_eq!(ledger.accepted(), 2 + u64::from(second));
        assert_eq!(ledger.unsettled(), 0);
        let all = [&stream[..], &receipt.unsent().concat()].concat();
        drop(writer);
        world.end();
        match (&all[..], stream.len()) {
            (b"abc", _) | (b"ab", _) | (b"cab", _) => {}
            (mixed, _) => panic!("mixed: {mixed:?}"),
        }
        match &stream[..] {
            b"a" => "a part",
            b"ab" => "the first",
            b"abc" => "all",
            b"c" => "the other first",
            _ => "the other and a part",
        }
    });
}

/// A direct write ‖ a stop: the handle stays open until the call is back, and is closed then.
#[test]
fn a_direct_write_meets_a_stop() {
    explore(&["refused", "taken"], || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            direct_writes: &[WriteNow::Transferred(2)],
            is_slow: true,
            ..Manner::default()
        };
        let writer = Arc::new(world.writer(manner, WriterOptions::new()));
        world.race();
        let other = writer.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let is_sent = writer.try_send(b"ab").is_ok();
        let receipt = stopping.join().unwrap();
        world.rest();
        assert_eq!(receipt.ending(), Ending::Aborted);
        assert_account(&receipt, if is_sent { b"ab" } else { b"" }, &world);
        drop(writer);
        world.end();
        if is_sent { "taken" } else { "refused" }
    });
}

/// Two write directly at once: the second finds the first inside and leaves its bytes to it.
#[test]
fn a_push_during_a_direct_write_is_not_forgotten() {
    explore(&["complete"], || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            direct_writes: &[WriteNow::Transferred(1)],
            is_slow: true,
            ..Manner::default()
        };
        let writer = Arc::new(world.writer(manner, WriterOptions::new()));
        world.race();
        let other = writer.clone();
        let writing = spawn(move || other.try_send(b"a").unwrap());
        writer.try_send(b"b").unwrap();
        writing.join().unwrap();
        wait(writer.until_transferred()).unwrap();
        world.rest();
        assert!(wait(writer.finish()).unwrap().is_complete());
        drop(writer);
        world.end();
        "complete"
    });
}

/// Two wait in line for room ‖ the answers that make it. Nothing gets between the pieces of one message.
#[test]
fn two_wait_in_line_for_room() {
    explore(&["a first", "b first"], || {
        let world = World::new(Kernel::new());
        let options = WriterOptions::new().queue_bytes_max(1);
        let writer = Arc::new(world.writer(Manner::default(), options));
        world.race();
        let other = writer.clone();
        let writing = spawn(move || wait(other.send(b"b")).unwrap());
        wait(writer.send(b"aa")).unwrap();
        writing.join().unwrap();
        world.rest();
        assert!(wait(writer.finish()).unwrap().is_complete());
        let stream = world.kernel().book(0).stream;
        drop(writer);
        world.end();
        match &stream[..] {
            b"aab" => "a first",
            b"baa" => "b first",
            mixed => panic!("mixed: {mixed:?}"),
        }
    });
}

/// More steps than one thread makes for a pipe: the rest is the driver's thread's ‖ it is told so, and goes to sleep.
#[test]
fn a_nudge_is_not_slept_through() {
    explore(&["complete"], || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            writes: &[Answers::AtOnce],
            is_slow: true,
            ..Manner::default()
        };
        let options = WriterOptions::new().op_bytes_max(1);
        let writer = world.writer(manner, options);
        world.race();
        writer.try_send(b"abcd").unwrap();
        wait(writer.until_transferred()).unwrap();
        world.rest();
        assert_eq!(world.kernel().book(0).stream, b"abcd");
        assert!(wait(writer.finish()).unwrap().is_complete());
        drop(writer);
        world.end();
        "complete"
    });
}
