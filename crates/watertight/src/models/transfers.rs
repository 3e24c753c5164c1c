//! A transfer's move inside the kernel against whatever can happen to either end meanwhile.

use super::harness::{World, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::Manner;
use super::state::DATA;
use crate::{
    ErrorKind, PipeReader, PipeWriter, TransferEnd, TransferError, Transferred, WriterOptions,
    transfer,
};
use std::sync::Arc;
use watertight_core::{MoveNow, ReadNow, WriteNow};

/// How many bytes are transferred, by one move.
const BYTES: usize = 2;

/// The source, which was opened first, and the destination.
struct Ends {
    from: Arc<PipeReader<Kernel>>,
    to: Arc<PipeWriter<Kernel>>,
}

impl Ends {
    fn new(world: &World) -> Self {
        let from = world.reader(Manner {
            moves: &[MoveNow::Moved(BYTES)],
            direct: &[ReadNow::Data(BYTES)],
            is_slow: true,
            ..Manner::default()
        });
        let manner = Manner {
            direct_writes: &[WriteNow::Transferred(1)],
            is_slow: true,
            ..Manner::default()
        };
        Self {
            from: Arc::new(from),
            to: Arc::new(world.writer(manner, WriterOptions::new())),
        }
    }

    fn pass_on(&self) -> Result<Transferred, TransferError> {
        wait(transfer(&self.from, &self.to).bytes_max(BYTES as u64))
    }

    /// What left the one is what the other accepted, and what the kernel moved.
    fn assert_accounts(&self, world: &World, passed: u64) {
        let (left, accepted) = (self.from.ledger(), self.to.ledger());
        assert_eq!(left.transferred(), passed, "of the source");
        assert_eq!(left.transferred(), world.kernel().book(0).given);
        assert_eq!(accepted.accepted(), passed, "of the destination");
        assert_eq!(accepted.transferred(), world.kernel().book(1).taken());
        assert_eq!((left.unsettled(), accepted.unsettled()), (0, 0));
    }
}

/// How a transfer ended that somebody stopped at one of its ends.
fn end_of(passed: Result<Transferred, TransferError>, stopped: TransferEnd) -> (&'static str, u64) {
    match passed {
        Ok(done) => {
            assert_eq!((done.in_kernel, done.has_ended), (BYTES as u64, false));
            ("moved", done.bytes)
        }
        Err(failed) => {
            assert_eq!((failed.end, failed.bytes), (stopped, 0));
            assert_eq!(failed.error.kind, ErrorKind::Aborted);
            ("refused", 0)
        }
    }
}

/// A move ‖ a stop of its source: the handle stays open until the move is back, and is closed then. What was moved counts.
#[test]
fn a_move_meets_a_stop_of_its_source() {
    explore(&["moved", "refused"], || {
        let world = World::new(Kernel::new());
        let ends = Ends::new(&world);
        world.race();
        let other = ends.from.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let passed = ends.pass_on();
        let receipt = stopping.join().unwrap();
        world.rest();
        let (end, bytes) = end_of(passed, TransferEnd::Source);
        assert_eq!(receipt.ledger().transferred(), bytes, "of the source");
        ends.assert_accounts(&world, bytes);
        assert!(wait(ends.to.finish()).unwrap().is_complete());
        drop(ends);
        world.end();
        end
    });
}

/// A move ‖ a stop of its destination: the handle stays open until the move is back, and is closed then. What was moved counts.
#[test]
fn a_move_meets_a_stop_of_its_destination() {
    explore(&["moved", "refused"], || {
        let world = World::new(Kernel::new());
        let ends = Ends::new(&world);
        world.race();
        let other = ends.to.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let passed = ends.pass_on();
        let receipt = stopping.join().unwrap();
        world.rest();
        let (end, bytes) = end_of(passed, TransferEnd::Destination);
        let ledger = receipt.ledger();
        assert_eq!(ledger.transferred(), bytes, "of the destination");
        ends.assert_accounts(&world, bytes);
        let _ = wait(ends.from.abort()).unwrap();
        drop(ends);
        world.end();
        end
    });
}

/// A move ‖ somebody else sends: before it, behind it, or there is no room while it runs. What is called transferred is.
#[test]
fn a_move_meets_a_sender() {
    explore(&["after", "before", "refused"], || {
        let world = World::new(Kernel::new());
        let ends = Ends::new(&world);
        world.race();
        let other = ends.to.clone();
        let sending = spawn(move || {
            if other.try_send(b"-").is_err() {
                return None;
            }
            wait(other.until_transferred()).unwrap();
            let stream = other.cell().driver.backend.book(1).stream;
            Some(stream.contains(&b'-'))
        });
        let done = ends.pass_on().unwrap();
        let sent = sending.join().unwrap();
        world.rest();
        assert_eq!(done.bytes, BYTES as u64);
        assert_ne!(sent, Some(false), "transferred, and the kernel has less");
        let stream = world.kernel().book(1).stream;
        assert_eq!(ends.from.ledger().transferred(), done.bytes);
        assert_eq!(ends.to.ledger().transferred(), stream.len() as u64);
        assert!(wait(ends.to.finish()).unwrap().is_complete());
        let _ = wait(ends.from.abort()).unwrap();
        drop(ends);
        world.end();
        let data = &DATA[..BYTES];
        match stream.split_first() {
            Some((b'-', rest)) if rest == data => "before",
            Some(_) if stream == data && sent.is_none() => "refused",
            Some(_) if stream == [data, b"-"].concat() => "after",
            Some(_) | None => panic!("mixed: {stream:?}"),
        }
    });
}

/// The ends of a transfer that finds its destination full first, and blocks.
fn blocking(world: &World) -> Ends {
    let from = world.reader(Manner {
        moves: &[MoveNow::DestinationWait, MoveNow::Moved(BYTES)],
        ..Manner::default()
    });
    let manner = Manner {
        blocks: true,
        ..Manner::default()
    };
    Ends {
        from: Arc::new(from),
        to: Arc::new(world.writer(manner, WriterOptions::new())),
    }
}

/// A thread that blocks for its destination ‖ a stop of it: the thread is called back, and only then is the handle closed.
#[test]
fn a_thread_that_blocks_for_its_destination_meets_a_stop() {
    explore(&["called back", "refused"], || {
        let world = World::new(Kernel::new());
        let ends = blocking(&world);
        world.race();
        let other = ends.to.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let mut moving = transfer(&ends.from, &ends.to);
        let failed = world.block_on(&mut moving).unwrap_err();
        let receipt = stopping.join().unwrap();
        world.rest();
        drop(moving);
        assert_eq!((failed.end, failed.bytes), (TransferEnd::Destination, 0));
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
        assert_eq!(receipt.ledger().accepted(), 0);
        ends.assert_accounts(&world, 0);
        let _ = wait(ends.from.abort()).unwrap();
        let blocked = world.kernel().book(1).blocked;
        drop(ends);
        world.end();
        match blocked {
            0 => "refused",
            _ => "called back",
        }
    });
}

/// A thread that blocks for its destination ‖ somebody else sends, and then there is room: what was sent meanwhile goes out first.
#[test]
fn a_thread_that_blocks_for_its_destination_meets_a_sender() {
    explore(&["before", "refused"], || {
        let world = World::new(Kernel::new());
        let ends = blocking(&world);
        world.race();
        let other = ends.to.clone();
        let sending = spawn(move || {
            let is_sent = other.try_send(b"-").is_ok();
            other.cell().driver.backend.ring();
            is_sent
        });
        let mut moving = transfer(&ends.from, &ends.to).bytes_max(BYTES as u64);
        let done = world.block_on(&mut moving).unwrap();
        let is_sent = sending.join().unwrap();
        world.rest();
        wait(ends.to.until_transferred()).unwrap();
        drop(moving);
        // While what was sent is on its way, the transfer's bytes go behind it through a buffer.
        assert_eq!(done.bytes, BYTES as u64);
        let stream = world.kernel().book(1).stream;
        assert_eq!(ends.to.ledger().transferred(), stream.len() as u64);
        assert!(wait(ends.to.finish()).unwrap().is_complete());
        let _ = wait(ends.from.abort()).unwrap();
        drop(ends);
        world.end();
        let (before, data) = (if is_sent { &b"-"[..] } else { b"" }, &DATA[..BYTES]);
        assert_eq!(stream, [before, data].concat());
        if is_sent { "before" } else { "refused" }
    });
}
