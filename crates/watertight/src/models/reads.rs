//! The reading half: direct reads, read-ahead, and what is taken back.

use super::harness::{Task, World, ask, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Cancels, Manner};
use super::state::DATA;
use crate::pump_read::{MayBlock, ReaderCell};
use crate::{ErrorKind, ReaderOptions, Settle};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use watertight_core::{Cause, ReadNow};

/// A direct read on its way back ‖ a stop: the handle stays open until it is back, and is closed then.
#[test]
fn a_direct_read_meets_a_stop() {
    explore(&["refused", "taken"], || {
        let world = World::new(Kernel::new());
        let reader = Arc::new(world.reader(Manner {
            direct: &[ReadNow::Data(1)],
            is_slow: true,
            ..Manner::default()
        }));
        world.race();
        let other = reader.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let read = wait(reader.receive(&mut [0; 4]));
        let receipt = stopping.join().unwrap();
        world.rest();
        assert_eq!(receipt.ledger().accepted(), world.kernel().book(0).given);
        assert_eq!(receipt.ledger().unsettled(), 0);
        drop(reader);
        world.end();
        match read {
            Ok(bytes) => {
                assert_eq!(receipt.ledger().transferred(), bytes as u64);
                "taken"
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Aborted);
                "refused"
            }
        }
    });
}

/// A direct read that finds nothing waits ‖ the kernel says there is something: it is not slept through.
#[test]
fn a_direct_read_waits_for_something_to_read() {
    explore(&["read"], || {
        let world = World::new(Kernel::new());
        let reader = world.reader(Manner {
            direct: &[ReadNow::Wait, ReadNow::Data(3)],
            is_slow: true,
            ..Manner::default()
        });
        let mut buf = [0; 4];
        world.race();
        assert_eq!(wait(reader.receive(&mut buf)).unwrap(), 3);
        world.rest();
        assert_eq!(&buf[..3], &DATA[..3]);
        let receipt = wait(reader.abort()).unwrap();
        assert_eq!(receipt.ledger().transferred(), 3);
        drop(reader);
        world.end();
        "read"
    });
}

/// A thread that blocks in its own read ‖ a stop: the thread is called back, and only then is the handle closed.
#[test]
fn a_blocked_read_meets_a_stop() {
    explore(&["called back", "refused"], || {
        let world = World::new(Kernel::new());
        let pipe = world.kernel().open(Manner {
            direct: &[ReadNow::Wait],
            blocks: true,
            ..Manner::default()
        });
        let cell = ReaderCell::new(world.driver.clone(), pipe, ReaderOptions::new(), None);
        world.race();
        let other = cell.clone();
        let stopping = spawn(move || other.abort());
        let waker = world.bell(&Task::new());
        let mut id = 0;
        let may_block = MayBlock::Until(None);
        let read = cell.poll_read(&mut id, &mut [0; 4], &waker, may_block);
        stopping.join().unwrap();
        world.rest();
        assert_eq!(read, Poll::Ready(Err(Cause::of(ErrorKind::Aborted))));
        let reads = world.kernel().book(0).direct_reads;
        cell.handle_drop();
        wait(Settle::on(&world.driver)).unwrap();
        world.end();
        match reads {
            0 => "refused",
            _ => "called back",
        }
    });
}

/// A read into memory of the kernel's ‖ a stop: what it brought is with the caller or in the receipt.
#[test]
fn a_read_ahead_meets_a_stop() {
    explore(&["cancelled", "taken", "untaken"], || {
        let world = World::new(Kernel::new());
        let reader = Arc::new(world.reader(Manner {
            is_slow: true,
            ..Manner::default()
        }));
        world.race();
        let other = reader.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let mut buf = [0; 8];
        let read = wait(reader.receive(&mut buf)).unwrap_or(0);
        let receipt = stopping.join().unwrap();
        world.rest();
        let ledger = receipt.ledger();
        assert_eq!(ledger.accepted(), world.kernel().book(0).given);
        assert_eq!(ledger.transferred(), read as u64);
        let untaken = receipt.untaken().concat();
        assert_eq!(ledger.discarded(), untaken.len() as u64);
        if ledger.accepted() > 0 {
            assert_eq!([&buf[..read], &untaken].concat(), DATA);
        }
        drop(reader);
        world.end();
        match (read, untaken.len()) {
            (0, 0) => "cancelled",
            (0, _) => "untaken",
            (_, _) => "taken",
        }
    });
}

/// The drop of a reader ‖ the answer to a read that nobody waits for any more.
#[test]
fn a_dropped_reader_meets_the_answer() {
    explore(&["dropped"], || {
        let world = World::new(Kernel::new());
        let reader = world.reader(Manner {
            is_slow: true,
            ..Manner::default()
        });
        world.race();
        let task = Task::new();
        let mut buf = [0; 8];
        let read = match ask(pin!(reader.receive(&mut buf)), &task) {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => 0,
        };
        drop(reader);
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let census = world.driver.census();
        let given = world.kernel().book(0).given;
        assert_eq!((census.pipes, census.pipes_ended), (0, 1));
        assert_eq!(census.bytes_transferred, read as u64);
        assert_eq!(census.bytes_transferred + census.bytes_discarded, given);
        world.end();
        assert_eq!(Arc::strong_count(&task), 1, "a waker nobody waits with");
        "dropped"
    });
}

/// A wait for something to read is taken back for a release ‖ its answer. The cancel answers, or has the answer come.
#[test]
fn a_wait_is_taken_back_while_its_answer_comes() {
    for cancels in [Cancels::Answers, Cancels::Posts] {
        explore(&["busy", "released"], move || take_back(cancels));
    }
}

fn take_back(cancels: Cancels) -> &'static str {
    let world = World::new(Kernel::new());
    let pipe = world.kernel().open(Manner {
        direct: &[ReadNow::Wait],
        reads: Answers::Later,
        cancels,
        is_slow: true,
        ..Manner::default()
    });
    let cell = ReaderCell::new(world.driver.clone(), pipe, ReaderOptions::new(), None);
    world.race();
    let task = Task::new();
    let mut id = 0;
    // Whoever reads gives up at once.
    let asked = cell.poll_read(&mut id, &mut [0; 4], &task.waker(), MayBlock::No);
    assert!(asked.is_pending());
    cell.forget(id);
    let end = match cell.release() {
        Ok(handle) => {
            world.kernel().take_back(handle);
            "released"
        }
        Err(cause) => {
            assert_eq!(cause.kind, ErrorKind::Busy);
            "busy"
        }
    };
    cell.handle_drop();
    wait(Settle::on(&world.driver)).unwrap();
    world.rest();
    world.end();
    assert_eq!(Arc::strong_count(&task), 1, "a waker nobody waits with");
    end
}
