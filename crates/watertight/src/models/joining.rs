//! Messages that are joined: the tick that sends them, who else does, and a stop.

use super::answers::assert_account;
use super::harness::{Task, World, explore, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Manner};
use crate::{Ending, PipeWriter, WriterOptions};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use watertight_core::Backend;

/// Its kernel takes what it is given.
fn takes() -> Manner {
    Manner {
        writes: &[Answers::AtOnce],
        ..Manner::default()
    }
}

fn joining_writer(world: &World) -> Arc<PipeWriter<Kernel>> {
    Arc::new(world.writer(takes(), WriterOptions::new()))
}

/// Sleeps until every tick is long over. Nothing is sent for that.
fn outlast_the_ticks(world: &World) {
    let late = Task::new();
    let due = world.kernel().now().after(Duration::from_millis(1));
    world.driver.wake_at(due, late.waker());
    late.sleep();
}

/// Two join ‖ the tick of the first. Whoever joins while the tick is at work has another one coming.
#[test]
fn a_message_is_joined_while_the_tick_sends() {
    explore(&["sent"], || {
        let world = World::new(Kernel::joining());
        let writer = joining_writer(&world);
        world.race();
        let other = writer.clone();
        let joining = spawn(move || other.try_send(b"a").unwrap());
        writer.try_send(b"b").unwrap();
        joining.join().unwrap();
        world.rest();
        outlast_the_ticks(&world);
        assert_eq!(writer.ledger().transferred(), 2, "nobody sends it");
        drop(writer);
        world.end();
        "sent"
    });
}

/// A thread that has joined waits, which sends and ends the burst ‖ another joins into it.
#[test]
fn a_message_is_joined_while_the_burst_ends() {
    explore(&["sent"], || {
        let world = World::new(Kernel::joining());
        let writer = joining_writer(&world);
        let reader = world.reader(Manner {
            reads: Answers::WhenTold,
            ..Manner::default()
        });
        writer.try_send(b"b").unwrap();
        world.race();
        let other = writer.clone();
        let joining = spawn(move || other.try_send(b"a").unwrap());
        let task = Task::new();
        let mut buf = [0; 1];
        let asked = super::harness::ask(pin!(reader.receive(&mut buf)), &task);
        assert!(asked.is_pending());
        joining.join().unwrap();
        world.rest();
        outlast_the_ticks(&world);
        assert_eq!(writer.ledger().transferred(), 2, "nobody sends it");
        drop((reader, writer));
        world.end();
        "sent"
    });
}

/// What is joined ‖ its tick ‖ an abort. It is sent or given up, and the account says which.
#[test]
fn a_tick_meets_a_stop() {
    explore(&["given up", "sent"], || {
        let world = World::new(Kernel::joining());
        let manner = Manner {
            is_slow: true,
            ..takes()
        };
        let writer = world.writer(manner, WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        let receipt = wait(writer.abort()).unwrap();
        world.rest();
        assert_eq!(receipt.ending(), Ending::Aborted);
        assert_account(&receipt, b"ab", &world);
        let taken = receipt.ledger().transferred();
        drop(writer);
        world.end();
        if taken == 2 { "sent" } else { "given up" }
    });
}

/// What is joined ‖ its tick ‖ the end of the process, which gives it to the kernel and waits for nobody.
#[test]
fn a_tick_meets_the_end_of_the_process() {
    explore(&["by the end", "by the tick"], || {
        let world = World::new(Kernel::joining());
        let manner = Manner {
            is_slow: true,
            ..takes()
        };
        let writer = world.writer(manner, WriterOptions::new());
        writer.try_send(b"ab").unwrap();
        world.race();
        world.driver.send_joined_at_exit();
        let mut goals = None;
        let left = world.driver.look_at_exit(&mut goals);
        world.rest();
        outlast_the_ticks(&world);
        assert_eq!(writer.ledger().transferred(), 2, "nobody sends it");
        let receipt = wait(writer.finish()).unwrap();
        assert_account(&receipt, b"ab", &world);
        drop(writer);
        // The goals are what the end of the process looks at; they hold the writer.
        drop(goals);
        world.end();
        match left {
            Some(left) if left.pipes == 0 => "by the end",
            Some(_) | None => "by the tick",
        }
    });
}
