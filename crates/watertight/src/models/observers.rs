//! Foreign code: observers and wakers that take their time, and that panic.

use super::harness::{EXPECTED, Task, World, explore, wait};
use super::hearing::Hearing;
use super::kernel::Kernel;
use super::manner::Manner;
use crate::{Ending, ErrorKind, Settle, WriterOptions};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake};
use watertight_core::Moment;

/// L6: an observer panics ‖ the next answer ‖ a stop.
#[test]
fn an_observer_panics_while_the_pipe_is_stopped() {
    explore(&["failed", "stopped"], || {
        let world = World::new(Kernel::new());
        let hearing = Hearing::new(true);
        let options = WriterOptions::new().op_bytes_max(1);
        let writer = world.writer(Manner::default(), options.observer(hearing.clone()));
        writer.try_send(b"ab").unwrap();
        world.race();
        let receipt = wait(writer.abort()).unwrap();
        let ledger = receipt.ledger();
        assert_eq!(ledger.transferred(), world.kernel().book(0).taken());
        assert_eq!((ledger.accepted(), ledger.unsettled()), (2, 0));
        drop(writer);
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let census = world.driver.census();
        assert_eq!((census.pipes, census.observer_panics), (0, 1));
        world.end();
        assert_eq!(hearing.heard().told, 1);
        assert_eq!(Arc::strong_count(&hearing), 1, "the observer is let go");
        if receipt.ending() == Ending::Aborted {
            "stopped"
        } else {
            let cause = receipt.error().unwrap();
            assert_eq!(cause.kind, ErrorKind::ObserverPanicked);
            "failed"
        }
    });
}

/// An observer hears the end ‖ the pipe leaves the registry ‖ the end of the program waits for both.
#[test]
fn settle_waits_until_the_observer_has_heard() {
    explore(&["heard"], || {
        let world = World::new(Kernel::new());
        let hearing = Hearing::new(false);
        let options = WriterOptions::new().observer(hearing.clone());
        let writer = world.writer(Manner::default(), options);
        writer.try_send(b"ab").unwrap();
        world.race();
        drop(writer);
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let ended = hearing.heard().ended.expect("settled before it was told");
        assert_eq!(ended.transferred(), 2);
        assert_eq!(world.driver.census().pipes, 0);
        world.end();
        assert_eq!(Arc::strong_count(&hearing), 1, "the observer is let go");
        "heard"
    });
}

/// A waker that panics.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new(EXPECTED));
    }
}

/// A waker panics in the driver's hands ‖ the pipe goes on, and so does another.
#[test]
fn a_waker_panics_and_everybody_goes_on() {
    explore(&["at once", "panicked"], || {
        let world = World::new(Kernel::new());
        let writer = world.writer(Manner::default(), WriterOptions::new());
        let other = world.writer(Manner::default(), WriterOptions::new());
        writer.try_send(b"a").unwrap();
        other.try_send(b"b").unwrap();
        let mut flush = pin!(writer.until_transferred());
        let waker = Arc::new(Panicking).into();
        world.race();
        let asked = flush.as_mut().poll(&mut Context::from_waker(&waker));
        // The answer may come when nobody but the driver's thread is left to close it.
        assert!(wait(writer.finish()).unwrap().is_complete());
        assert!(wait(other.finish()).unwrap().is_complete());
        world.rest();
        let is_pending = asked.is_pending();
        assert_eq!(world.driver.census().foreign_panics, u64::from(is_pending));
        drop(other);
        world.end();
        if is_pending { "panicked" } else { "at once" }
    });
}

/// A timer's waker panics on the driver's thread ‖ another timer is due.
#[test]
fn a_timers_waker_panics_and_the_others_ring() {
    explore(&["woken"], || {
        let world = World::new(Kernel::until(Moment(1)));
        let task = Task::new();
        world.race();
        world.driver.wake_at(Moment(1), Arc::new(Panicking).into());
        world.driver.wake_at(Moment(1), task.waker());
        task.sleep();
        world.rest();
        assert_eq!(world.driver.census().foreign_panics, 1);
        world.end();
        "woken"
    });
}
