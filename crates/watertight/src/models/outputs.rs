//! A thread that blocks on two readers at once, as one does that waits for both outputs of a child (`communicate/blocking.rs`): the calls
//! are those that are made there, with the models' kernel in place of the process.

use super::harness::{Task, World, ask, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::Manner;
use crate::PipeReader;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::ReadNow;

/// Two readers on which a thread may block.
fn outputs(world: &World) -> [Arc<PipeReader<Kernel>>; 2] {
    let manner = Manner {
        direct: &[ReadNow::Data(3)],
        blocks: true,
        ..Manner::default()
    };
    let readers = [manner; 2].map(|manner| Arc::new(world.reader(manner)));
    world.calm();
    readers
}

/// Blocks on both until the waker is called; not if one of them is not to be had. Whether it did.
fn block(world: &World, readers: &[Arc<PipeReader<Kernel>>; 2], waker: &Waker) -> bool {
    let begun = readers
        .each_ref()
        .map(|reader| reader.cell().begin_block(waker));
    let handles: Vec<_> = begun.iter().flatten().map(|one| &*one.handle).collect();
    let has_blocked = handles.len() == readers.len() && world.kernel().block_on_all(&handles);
    drop(handles);
    for (reader, may_read) in readers.iter().zip(begun) {
        if let Some(may_read) = may_read {
            reader.cell().end_block(may_read);
        }
    }
    has_blocked
}

/// A thread that blocks on two ‖ a stop of one of them: the thread is called back, only then is that handle closed, and the stop ends.
#[test]
fn a_thread_that_blocks_on_two_meets_a_stop() {
    explore(&["called back", "refused"], || {
        let world = World::new(Kernel::new());
        let readers = outputs(&world);
        world.race();
        let other = readers[1].clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let waker = world.bell(&Task::new());
        let has_blocked = block(&world, &readers, &waker);
        let receipt = stopping.join().unwrap();
        world.rest();
        assert_eq!(receipt.ledger().accepted(), 0);
        drop(readers);
        world.end();
        if has_blocked {
            "called back"
        } else {
            "refused"
        }
    });
}

/// A thread that blocks on two ‖ there is something in one of them, which another reads: before, behind the thread, or the thread does not block.
#[test]
fn a_thread_that_blocks_on_two_meets_another_reader() {
    explore(&["before", "behind", "refused"], || {
        let world = World::new(Kernel::new());
        let readers = outputs(&world);
        world.race();
        let other = readers[1].clone();
        let reading = spawn(move || {
            other.cell().driver.backend.ring();
            let mut buf = [0; 4];
            let mut receiving = pin!(other.receive(&mut buf));
            let asked = ask(receiving.as_mut(), &Task::new());
            let has_waited = asked.is_pending();
            let read = match asked {
                Poll::Ready(read) => read,
                Poll::Pending => wait(receiving),
            };
            (read.unwrap(), has_waited)
        });
        let waker = world.bell(&Task::new());
        let has_blocked = block(&world, &readers, &waker);
        let (read, has_waited) = reading.join().unwrap();
        world.rest();
        assert_eq!((read, readers[1].ledger().transferred()), (3, 3));
        drop(readers);
        world.end();
        match (has_blocked, has_waited) {
            (true, false) => "before",
            (true, true) => "behind",
            (false, _) => "refused",
        }
    });
}
