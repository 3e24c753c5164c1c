//! A transfer to several destinations against whatever can happen to its ends meanwhile.

use super::harness::{Task, World, ask, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Manner};
use crate::{DeadDestination, ErrorKind, PipeReader, PipeWriter, Tee, TeeEnd, WriterOptions};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use watertight_core::{MoveNow, ReadNow};

/// What is in the source, in pieces of two bytes for the copies: no byte twice, and in order.
const HELD: &[u8] = b"abcd";

/// The source, which was opened first, and the destinations.
struct Ends {
    from: Arc<PipeReader<Kernel>>,
    to: [Arc<PipeWriter<Kernel>>; 2],
}

impl Ends {
    fn new(world: &World, from: Manner, to: Manner) -> Self {
        let ends = Self {
            from: Arc::new(world.reader(from)),
            to: [to; 2].map(|to| Arc::new(world.writer(to, WriterOptions::new()))),
        };
        world.calm();
        ends
    }

    fn tee(&self) -> Tee<'_, Kernel> {
        let to = self.to.iter().map(|to| &**to);
        Tee::new(&self.from, to).unwrap()
    }

    /// What each destination has got, which is what its account says.
    fn streams(&self, world: &World) -> [Vec<u8>; 2] {
        [0, 1].map(|index| {
            let stream = world.kernel().book(index + 1).stream;
            let (ledger, bytes) = (self.to[index].ledger(), stream.len() as u64);
            assert_eq!((ledger.accepted(), ledger.transferred()), (bytes, bytes));
            stream
        })
    }

    /// So many bytes have left the source, and none is between two places.
    fn assert_source(&self, world: &World, bytes: u64) {
        let ledger = self.from.ledger();
        assert_eq!((ledger.transferred(), ledger.unsettled()), (bytes, 0));
        assert_eq!(world.kernel().book(0).given, bytes);
    }
}

/// A source out of which bytes are copied.
fn holding() -> Manner {
    Manner {
        holds: Some(HELD),
        ..Manner::default()
    }
}

/// Its kernel takes what it is given.
fn takes() -> Manner {
    Manner {
        writes: &[Answers::AtOnce],
        ..Manner::default()
    }
}

/// As `takes`, and copies go straight to it.
fn takes_copies() -> Manner {
    Manner {
        copies: &[MoveNow::Moved(2)],
        ..takes()
    }
}

/// Copies on their way ‖ somebody else reads the source, in the middle or after the wait was given up. Of what is read there, nobody gets
/// what it had not got before; every other byte gets to each destination, once and in order.
#[test]
fn copies_meet_another_reader() {
    meet_another_reader(takes());
}

/// The same without a pipe between.
#[test]
fn straight_copies_meet_another_reader() {
    meet_another_reader(takes_copies());
}

fn meet_another_reader(to: Manner) {
    explore(&["first", "given up", "last", "none"], move || {
        let world = World::new(Kernel::new());
        let ends = Ends::new(&world, holding(), to);
        world.race();
        let other = ends.from.clone();
        let reading = spawn(move || {
            let mut buf = [0; 2];
            let bytes = wait(other.receive(&mut buf)).unwrap();
            buf[..bytes].to_vec()
        });
        let (mut tee, task) = (ends.tee(), Task::new());
        let asked = ask(pin!(tee.transfer()), &task);
        let read = reading.join().unwrap();
        let is_given_up = asked.is_pending();
        let done = match asked {
            Poll::Ready(done) => done.unwrap(),
            Poll::Pending => wait(tee.transfer()).unwrap(),
        };
        drop(tee);
        world.rest();
        assert!(done.has_ended);
        assert_eq!(done.bytes + read.len() as u64, HELD.len() as u64);
        ends.assert_source(&world, HELD.len() as u64);
        let streams = ends.streams(&world);
        for (to, stream) in done.destinations.iter().zip(&streams) {
            assert_eq!((to.bytes, to.error), (stream.len() as u64, None));
            assert_whole(stream, &read);
        }
        drop(ends);
        world.end();
        assert_eq!(Arc::strong_count(&task), 1, "a waker nobody waits with");
        match (is_given_up, &read[..]) {
            (true, _) => "given up",
            (false, b"ab") => "first",
            (false, b"cd") => "last",
            (false, b"") => "none",
            (false, _) => panic!("torn: {read:?}"),
        }
    });
}

/// All that nobody else has read is in the stream, once and in order.
fn assert_whole(stream: &[u8], read: &[u8]) {
    let is_in_order = stream.windows(2).all(|two| two[0] < two[1]);
    assert!(is_in_order, "a byte comes twice: {stream:?}");
    let is_there = |byte| stream.contains(byte) || read.contains(byte);
    let is_whole = HELD.iter().all(is_there);
    assert!(is_whole, "a byte is lost: {stream:?} and {read:?}");
}

/// Copies on their way ‖ a stop of their destination: its handle stays open until they are there, and is closed then. The other destination gets
/// everything, and of the copies that nobody takes any more nothing is left.
#[test]
fn copies_meet_a_stop_of_their_destination() {
    meet_a_stop_of_their_destination(takes());
}

/// The same without a pipe between.
#[test]
fn straight_copies_meet_a_stop_of_their_destination() {
    meet_a_stop_of_their_destination(takes_copies());
}

fn meet_a_stop_of_their_destination(to: Manner) {
    explore(&["dropped", "moved"], move || {
        let world = World::new(Kernel::new());
        let manner = Manner {
            is_slow: true,
            ..to
        };
        let ends = Ends::new(&world, holding(), manner);
        world.race();
        let other = ends.to[0].clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let mut tee = ends.tee();
        tee.bytes_max(2).dead_destination(DeadDestination::Drop);
        let done = wait(tee.transfer()).unwrap();
        let receipt = stopping.join().unwrap();
        drop(tee);
        world.rest();
        assert_eq!((done.bytes, done.has_ended), (2, false));
        ends.assert_source(&world, 2);
        let [stopped, whole] = ends.streams(&world);
        assert_eq!(whole, HELD[..2]);
        assert_eq!(receipt.ledger().transferred(), stopped.len() as u64);
        let error = done.destinations[0].error.map(|error| error.kind);
        drop(ends);
        world.end();
        match error {
            None => {
                assert_eq!(stopped, whole);
                "moved"
            }
            Some(kind) => {
                assert_eq!((kind, stopped.len()), (ErrorKind::Aborted, 0));
                "dropped"
            }
        }
    });
}

/// A thread that blocks for all its destinations ‖ a stop of one of them: the thread is called back, and only then is the handle closed.
#[test]
fn a_thread_that_blocks_for_its_destinations_meets_a_stop_of_one() {
    explore(&["called back", "refused"], || {
        let world = World::new(Kernel::new());
        let full = Manner {
            copies: &[MoveNow::Wait],
            blocks: true,
            ..takes()
        };
        let ends = Ends::new(&world, holding(), full);
        world.race();
        let other = ends.to[1].clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let mut tee = ends.tee();
        let mut moving = tee.transfer();
        let failed = world.block_on(&mut moving).unwrap_err();
        let receipt = stopping.join().unwrap();
        drop(moving);
        drop(tee);
        world.rest();
        assert_eq!((failed.end, failed.bytes), (TeeEnd::Destination(1), 0));
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
        assert_eq!(receipt.ledger().accepted(), 0);
        ends.assert_source(&world, 0);
        let blocked = [1, 2].map(|number| world.kernel().book(number).blocked);
        drop(ends);
        world.end();
        match blocked {
            [0, 0] => "refused",
            _ => "called back",
        }
    });
}

/// A thread that blocks for its source ‖ a stop of a destination: the thread is called back, though nobody waits for that end.
#[test]
fn a_thread_that_blocks_for_its_source_meets_a_stop_of_a_destination() {
    explore(&["called back", "refused"], || {
        let world = World::new(Kernel::new());
        let silent = Manner {
            direct: &[ReadNow::Wait],
            blocks: true,
            ..Manner::default()
        };
        let ends = Ends::new(&world, silent, takes());
        world.race();
        let other = ends.to[1].clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let mut tee = ends.tee();
        let mut moving = tee.transfer();
        let failed = world.block_on(&mut moving).unwrap_err();
        let receipt = stopping.join().unwrap();
        drop(moving);
        drop(tee);
        world.rest();
        assert_eq!((failed.end, failed.bytes), (TeeEnd::Destination(1), 0));
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
        assert_eq!(receipt.ledger().accepted(), 0);
        ends.assert_source(&world, 0);
        let blocked = world.kernel().book(0).blocked;
        drop(ends);
        world.end();
        match blocked {
            0 => "refused",
            _ => "called back",
        }
    });
}
