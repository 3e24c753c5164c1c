//! Waiting: wakers, deadlines, questions that are taken back.

use super::harness::{Task, World, ask, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Manner};
use crate::{ErrorKind, WriterOptions};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use watertight_core::{Moment, OpKind};

const SOON: Duration = Duration::from_nanos(1);

/// L5: a waker that is registered, then replaced ‖ the answer it waits for.
#[test]
fn a_waker_is_replaced_while_the_answer_comes() {
    explore(&["at once", "woken"], || {
        let world = World::new(Kernel::new());
        let writer = world.writer(Manner::default(), WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        let (first, second) = (Task::new(), Task::new());
        let mut end = "at once";
        {
            let mut flush = pin!(writer.until_transferred());
            if ask(flush.as_mut(), &first).is_pending() {
                end = "woken";
                // Only the last waker counts.
                while ask(flush.as_mut(), &second).is_pending() {
                    second.sleep();
                }
            }
        }
        world.rest();
        // I3: who is told sees it booked.
        assert_eq!(writer.ledger().transferred(), 2);
        assert_eq!(world.kernel().book(0).taken(), 2);
        assert!(wait(writer.finish()).unwrap().is_complete());
        drop(writer);
        world.end();
        end
    });
}

/// I5: the drop of a wait ‖ its wake. One that is decided already may still come; nothing is woken by what comes later.
#[test]
fn a_wait_is_dropped_while_its_wake_comes() {
    explore(&["at once", "not woken", "woken"], || {
        let world = World::new(Kernel::new());
        let writer = world.writer(Manner::default(), WriterOptions::new());
        let mute = Manner {
            writes: &[Answers::WhenTold],
            ..Manner::default()
        };
        let other = world.writer(mute, WriterOptions::new());
        other.try_send(b"cd").unwrap();
        writer.try_send(b"ab").unwrap();
        world.race();
        let (task, never) = (Task::new(), Task::new());
        let is_pending = ask(pin!(writer.until_transferred()), &task).is_pending();
        assert!(ask(pin!(other.until_transferred()), &never).is_pending());
        assert_eq!(Arc::strong_count(&never), 1, "a waker nobody waits with");
        // The driver is done with the first answer before it tells of the second.
        assert!(world.kernel().answer(OpKind::Write));
        assert!(wait(other.finish()).unwrap().is_complete());
        world.rest();
        assert!(wait(writer.finish()).unwrap().is_complete());
        assert_eq!(never.wakes(), 0);
        let wakes = task.wakes();
        assert!(wakes <= 1);
        drop((writer, other));
        world.end();
        match (is_pending, wakes) {
            (false, _) => "at once",
            (true, 0) => "not woken",
            (true, _) => "woken",
        }
    });
}

/// L11: a flush's deadline ‖ the flush is done.
#[test]
fn a_deadline_meets_the_flush() {
    explore(&["flushed", "timed out"], || deadline(Answers::Later));
}

/// L11: a flush's deadline ‖ the peer is gone.
#[test]
fn a_deadline_meets_the_failure() {
    explore(&["failed", "timed out"], || deadline(Answers::FailsLater));
}

fn deadline(answers: Answers) -> &'static str {
    let world = World::new(Kernel::until(Moment(1)));
    let manner = Manner {
        writes: &[Answers::WhenTold],
        ..Manner::default()
    };
    let writer = world.writer(manner, WriterOptions::new());
    writer.try_send(b"ab").unwrap();
    world.race();
    let driver = world.driver.clone();
    let answering = spawn(move || {
        if answers == Answers::FailsLater {
            driver.backend.fail(OpKind::Write)
        } else {
            driver.backend.answer(OpKind::Write)
        }
    });
    let end = match wait(writer.until_transferred().within(SOON)) {
        Ok(()) => "flushed",
        Err(error) if error.kind == ErrorKind::TimedOut => "timed out",
        Err(_) => "failed",
    };
    // S4: a deadline only ends the waiting.
    assert!(answering.join().unwrap(), "it was cancelled");
    world.rest();
    let receipt = wait(writer.finish()).unwrap();
    let taken = world.kernel().book(0).taken();
    assert_eq!(receipt.ledger().transferred(), taken);
    assert_eq!(taken, [0, 2][usize::from(answers == Answers::Later)]);
    assert_eq!(world.kernel().book(0).cancels, 0);
    drop(writer);
    world.end();
    end
}

/// L12: a deadline's timer fires ‖ the completion ‖ it is armed again by another look.
#[test]
fn a_timer_is_armed_again_while_it_fires() {
    explore(&["flushed", "timed out"], || {
        let world = World::new(Kernel::until(Moment(1)));
        let manner = Manner {
            writes: &[Answers::WhenTold],
            ..Manner::default()
        };
        let writer = world.writer(manner, WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        let driver = world.driver.clone();
        let answering = spawn(move || driver.backend.answer(OpKind::Write));
        let (first, second) = (Task::new(), Task::new());
        let end = {
            let mut flush = pin!(writer.until_transferred().within(SOON));
            let mut answer = ask(flush.as_mut(), &first);
            while answer.is_pending() {
                answer = ask(flush.as_mut(), &second);
                if answer.is_pending() {
                    second.sleep();
                }
            }
            match answer {
                Poll::Ready(Ok(())) => "flushed",
                Poll::Ready(Err(_)) | Poll::Pending => "timed out",
            }
        };
        assert!(answering.join().unwrap());
        world.rest();
        assert!(wait(writer.finish()).unwrap().is_complete());
        let driver = world.driver.clone();
        world.end();
        for task in [first, second] {
            assert_eq!(Arc::strong_count(&task), 1, "it is waited for still");
        }
        drop((driver, writer));
        end
    });
}

/// An earlier timer is set ‖ the driver's thread goes to sleep until a later one.
#[test]
fn an_earlier_timer_is_not_slept_through() {
    explore(&["woken"], || {
        let world = World::new(Kernel::until(Moment(1)));
        let (never, soon) = (Task::new(), Task::new());
        let later = world.driver.wake_at(Moment(2), never.waker());
        world.race();
        world.driver.wake_at(Moment(1), soon.waker());
        soon.sleep();
        world.driver.forget_timer(later);
        world.rest();
        world.end();
        assert_eq!((never.wakes(), soon.wakes()), (0, 1));
        assert_eq!(Arc::strong_count(&never), 1, "a forgotten timer");
        "woken"
    });
}

/// Somebody who waits for the peer's reading gives up ‖ another asks ‖ the answer.
#[test]
fn a_question_is_taken_back_while_another_asks() {
    explore(&["answered"], || {
        let world = World::new(Kernel::new());
        let writer = Arc::new(world.writer(Manner::default(), WriterOptions::new()));
        writer.try_send(b"ab").unwrap();
        world.race();
        let other = writer.clone();
        let asking = spawn(move || wait(other.until_read()));
        let task = Task::new();
        let _ = ask(pin!(writer.until_read()), &task);
        let answer = asking.join().unwrap();
        world.rest();
        assert!(answer.is_ok(), "its question was taken back");
        assert!(wait(writer.finish()).unwrap().is_complete());
        drop(writer);
        world.end();
        assert!(task.wakes() <= 1);
        "answered"
    });
}
