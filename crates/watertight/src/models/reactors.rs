//! A reader whose task waits in a reactor of the caller's: its wake comes from there, at any time.

use super::harness::primitives::Mutex;
use super::harness::{Task, World, explore, spawn};
use super::kernel::{Kernel, Pipe};
use super::manner::Manner;
use crate::pump_read::{Gone, MayBlock, Reactor, ReaderCell};
use crate::{ErrorKind, ReaderOptions, Settle};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Cause, ReadNow};

/// A reactor that is told by the model's own thread.
#[derive(Default)]
struct ModelReactor(Mutex<Known>);

#[derive(Default)]
struct Known {
    is_ready: bool,
    waker: Option<Waker>,
}

impl ModelReactor {
    /// There is something to read.
    fn tell(&self) {
        let mut known = self.0.lock().unwrap();
        known.is_ready = true;
        let waker = known.waker.take();
        drop(known);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Reactor for ModelReactor {
    fn poll_ready(&self, waker: &Waker) -> Poll<Result<(), Gone>> {
        let mut known = self.0.lock().unwrap();
        if known.is_ready {
            return Poll::Ready(Ok(()));
        }
        let replaced = known.waker.replace(waker.clone());
        drop(known);
        drop(replaced);
        Poll::Pending
    }

    fn poll_read(
        &self,
        waker: &Waker,
        read: &mut dyn FnMut() -> ReadNow,
    ) -> Poll<Result<ReadNow, Gone>> {
        match self.poll_ready(waker) {
            Poll::Ready(_) => Poll::Ready(Ok(read())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_here(&self) -> bool {
        true
    }
}

/// A reader in the reactor: the first read finds nothing, the second something.
fn reader(world: &World, reactor: &Arc<ModelReactor>) -> Arc<ReaderCell<Kernel>> {
    let pipe: Pipe = world.kernel().open(Manner {
        direct: &[ReadNow::Wait, ReadNow::Data(3)],
        ..Manner::default()
    });
    let options = ReaderOptions::new();
    ReaderCell::new(world.driver.clone(), pipe, options, Some(reactor.clone()))
}

fn read(cell: &Arc<ReaderCell<Kernel>>) -> Result<usize, Cause> {
    let (task, mut id) = (Task::new(), 0);
    loop {
        let polled = cell.poll_read(&mut id, &mut [0; 4], &task.waker(), MayBlock::No);
        if let Poll::Ready(read) = polled {
            return read;
        }
        task.sleep();
    }
}

fn end(world: World, cell: &Arc<ReaderCell<Kernel>>) {
    cell.handle_drop();
    super::harness::wait(Settle::on(&world.driver)).unwrap();
    world.end();
}

/// A task begins to wait in the reactor ‖ the reactor says that there is something: it is not slept through.
#[test]
fn a_reactors_wake_meets_the_wait() {
    explore(&["read"], || {
        let world = World::new(Kernel::new());
        let reactor = Arc::new(ModelReactor::default());
        let cell = reader(&world, &reactor);
        world.race();
        let telling = spawn(move || reactor.tell());
        assert_eq!(read(&cell), Ok(3));
        telling.join().unwrap();
        world.rest();
        end(world, &cell);
        "read"
    });
}

/// A wait in the reactor ‖ the reactor's wake ‖ a stop: one of them answers for the wait.
#[test]
fn a_reactors_wake_meets_a_stop() {
    explore(&["refused", "taken"], || {
        let world = World::new(Kernel::new());
        let reactor = Arc::new(ModelReactor::default());
        let cell = reader(&world, &reactor);
        world.race();
        let telling = spawn(move || reactor.tell());
        let other = cell.clone();
        let stopping = spawn(move || other.abort());
        let read = read(&cell);
        telling.join().unwrap();
        stopping.join().unwrap();
        world.rest();
        end(world, &cell);
        match read {
            Ok(bytes) => {
                assert_eq!(bytes, 3);
                "taken"
            }
            Err(cause) => {
                assert_eq!(cause, Cause::of(ErrorKind::Aborted));
                "refused"
            }
        }
    });
}
