//! The registry: places that are used again, packets and timers of those who had them before.

use super::harness::{World, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Cancels, Manner};
use crate::{Ending, Observer, Receipt, Settle, WriterOptions};
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{Completion, Moment, OpKind, Outcome};

const SOON: Duration = Duration::from_nanos(1);

/// L9: a packet for a pipe that is closed ‖ a new pipe takes its place.
#[test]
fn a_late_packet_meets_the_next_in_its_place() {
    explore(&["complete"], || {
        let world = World::new(Kernel::new());
        let at_once = Manner {
            writes: &[Answers::AtOnce],
            ..Manner::default()
        };
        let first = world.writer(at_once, WriterOptions::new());
        first.try_send(b"ab").unwrap();
        assert!(wait(first.finish()).unwrap().is_complete());
        let stale = world.kernel().book(0).last.unwrap();
        world.race();
        let driver = world.driver.clone();
        let straying = spawn(move || {
            driver.backend.stray(Completion {
                id: stale,
                outcome: Outcome::Transferred(1),
            });
        });
        let second = world.writer(Manner::default(), WriterOptions::new());
        second.try_send(b"cd").unwrap();
        let own = world.kernel().book(1).last.unwrap();
        assert_eq!(stale.pipe.slot, own.pipe.slot);
        let receipt = wait(second.finish()).unwrap();
        straying.join().unwrap();
        world.rest();
        assert!(receipt.is_complete());
        assert_eq!(world.kernel().book(1).stream, b"cd");
        drop((first, second));
        world.end();
        "complete"
    });
}

/// L9, L14: a pipe in quarantine gets its answer ‖ a new pipe is registered, perhaps in its place.
#[test]
fn quarantine_ends_while_another_pipe_begins() {
    explore(&["in its place", "in quarantine still"], || {
        let world = World::new(Kernel::until(Moment(1)));
        let mute = Manner {
            writes: &[Answers::WhenTold],
            cancels: Cancels::SaysNothing,
            ..Manner::default()
        };
        let first = world.writer(mute, WriterOptions::new().stop_within(SOON));
        first.try_send(b"ab").unwrap();
        let account = wait(first.abort()).unwrap().ledger();
        assert_eq!(account.in_doubt(), 2);
        assert_eq!(world.driver.census().quarantined, 1);
        let late = world.kernel().book(0).last.unwrap();
        world.race();
        let driver = world.driver.clone();
        let answering = spawn(move || driver.backend.answer(OpKind::Write));
        let second = world.writer(Manner::default(), WriterOptions::new());
        second.try_send(b"c").unwrap();
        let own = world.kernel().book(1).last.unwrap();
        assert!(wait(second.finish()).unwrap().is_complete());
        assert!(answering.join().unwrap());
        world.rest();
        assert_eq!(first.ledger(), account);
        drop((first, second));
        let driver = world.driver.clone();
        world.end();
        assert_eq!(driver.census().pipes, 0);
        if own.pipe.slot == late.pipe.slot {
            "in its place"
        } else {
            "in quarantine still"
        }
    });
}

/// Told how it ended.
#[derive(Default)]
struct EndingSeen(std::sync::Mutex<Option<Ending>>);

impl Observer for EndingSeen {
    fn ended(&self, receipt: &Receipt) {
        *self.0.lock().unwrap() = Some(receipt.ending());
    }
}

/// A linger's timer comes due ‖ the pipe is being stopped for another reason: a stale timer does not end that stop.
#[test]
fn a_stale_timer_leaves_a_stop_alone() {
    explore(&["the linger's end", "the program's end"], || {
        let world = World::new(Kernel::until(Moment(1)));
        let mute = Manner {
            writes: &[Answers::WhenTold],
            cancels: Cancels::SaysNothing,
            ..Manner::default()
        };
        // The linger's end is within the kernel's time, the stop's bound is not.
        let told = Arc::new(EndingSeen::default());
        let options = WriterOptions::new().linger(SOON).observer(told.clone());
        let writer = world.writer(mute, options);
        writer.try_send(b"ab").unwrap();
        world.race();
        drop(writer);
        assert_eq!(world.driver.abort_lingering().len(), 1);
        assert!(world.kernel().answer(OpKind::Write));
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let census = world.driver.census();
        assert_eq!((census.bytes_in_doubt, census.bytes_transferred), (0, 2));
        assert_eq!(census.pipes_ended, 1);
        world.end();
        let ending = told
            .0
            .lock()
            .unwrap()
            .expect("it is told before it is settled");
        if ending == Ending::LingerExpired {
            "the linger's end"
        } else {
            "the program's end"
        }
    });
}

/// The census ‖ a pipe ends and leaves the registry: it is counted once, wherever it is.
#[test]
fn the_census_meets_the_end_of_a_pipe() {
    explore(&["after", "before"], || {
        let world = World::new(Kernel::new());
        let writer = world.writer(Manner::default(), WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        drop(writer);
        let census = world.driver.census();
        assert_eq!(census.pipes + census.pipes_ended, 1, "{census:?}");
        assert_eq!(census.bytes_transferred, 2 * census.pipes_ended);
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let census_after = world.driver.census();
        assert_eq!((census_after.pipes, census_after.pipes_ended), (0, 1));
        world.end();
        if census.pipes == 1 { "before" } else { "after" }
    });
}

/// The end of a program waits ‖ two pipes end, each on its own.
#[test]
fn settle_meets_the_ends_it_waits_for() {
    explore(&["settled"], || {
        let world = World::new(Kernel::new());
        let first = world.writer(Manner::default(), WriterOptions::new());
        first.try_send(b"a").unwrap();
        let second = world.writer(Manner::default(), WriterOptions::new());
        second.try_send(b"b").unwrap();
        world.race();
        drop((first, second));
        wait(Settle::on(&world.driver)).unwrap();
        world.rest();
        let census = world.driver.census();
        assert_eq!((census.lingering, census.bytes_transferred), (0, 2));
        world.end();
        "settled"
    });
}
