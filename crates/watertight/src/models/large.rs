//! Models too large to go through every order: many schedules of them are drawn instead.

use super::harness::primitives::JoinHandle;
use super::harness::{World, draw, spawn, wait};
use super::hearing::Hearing;
use super::kernel::Kernel;
use super::manner::{Answers, Cancels, Manner};
use super::state::DATA;
use crate::driver::Driver;
use crate::pump_write::WriterCell;
use crate::{Ledger, PipeReader, PipeWriter, ReaderOptions, Receipt, Settle, WriterOptions};
use shuttle::rand::{Rng, thread_rng};
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{Moment, OpKind, ReadNow};

const SOON: Duration = Duration::from_nanos(1);

/// Later than anything here: the time passes whenever nothing else happens.
const FAR: Moment = Moment(1 << 60);

/// One of these.
fn one<T: Copy>(of: &[T]) -> T {
    of[thread_rng().gen_range(0..of.len())]
}

/// L7: three push, two of them more than the queue holds ‖ short answers pop and submit what is next ‖ one stops.
#[test]
fn many_push_while_one_stops() {
    draw(|| {
        let world = World::new(Kernel::new());
        let manner = Manner {
            writes: one(&[&[Answers::Later][..], &[Answers::AtOnce, Answers::Later]]),
            cancels: one(&[Cancels::Answers, Cancels::Posts]),
            write_bytes_max: 2,
            is_slow: true,
            ..Manner::default()
        };
        let options = WriterOptions::new().queue_bytes_max(4).op_bytes_max(3);
        let writer = Arc::new(world.writer(manner, options));
        let push = |message: &'static [u8]| {
            let writer = writer.clone();
            spawn(move || match wait(writer.send(message)) {
                Ok(()) => message.len(),
                Err(refused) => refused.accepted as usize,
            })
        };
        let pushing = [push(b"aaaaaa"), push(b"bbbbb"), push(b"c")];
        let stops = one(&[true, false]);
        let receipt = match stops {
            true => wait(writer.abort()).unwrap(),
            false => {
                wait(writer.send(b"dd")).unwrap();
                wait(writer.finish()).unwrap()
            }
        };
        let accepted = pushing.map(|thread| thread.join().unwrap());
        let stream = world.kernel().book(0).stream;
        let whole = account(&receipt, &stream);
        assert_eq!(receipt.ledger().transferred(), stream.len() as u64);
        for (letter, accepted) in [b'a', b'b', b'c'].into_iter().zip(accepted) {
            assert_eq!(run_length(&whole, letter), accepted, "{whole:?}");
        }
        drop(writer);
        world.end();
    });
}

/// All that was accepted, in order.
fn account(receipt: &Receipt, stream: &[u8]) -> Vec<u8> {
    let (in_doubt, unsent) = receipt.clone().into_bytes();
    let whole = [stream, &in_doubt.concat(), &unsent.concat()].concat();
    assert_eq!(receipt.ledger().accepted(), whole.len() as u64);
    assert_eq!(receipt.ledger().unsettled(), 0);
    whole
}

/// How many of a letter there are; nothing may stand between them.
fn run_length(text: &[u8], letter: u8) -> usize {
    let is_it = |byte: &u8| *byte == letter;
    let start = text.iter().position(is_it).unwrap_or(text.len());
    let run = text[start..].iter().take_while(|byte| is_it(byte)).count();
    assert_eq!(text.iter().filter(|byte| is_it(byte)).count(), run);
    run
}

/// L9: pipes come and go in the same places, some of them through quarantine ‖ answers that are late ‖ timers and
/// packets of those who had the place before.
#[test]
fn places_are_used_again_while_late_answers_come() {
    draw(|| {
        let world = World::new(Kernel::until(FAR));
        let come_and_go = || {
            let driver = world.driver.clone();
            spawn(move || [come_and_go(&driver), come_and_go(&driver)])
        };
        let threads = [come_and_go(), come_and_go()];
        for _ in 0..3 {
            world.kernel().answer(OpKind::Write);
            world.kernel().haunt();
        }
        let ends = threads.map(|thread| thread.join().unwrap());
        wait(Settle::on(&world.driver)).unwrap();
        while world.kernel().answer(OpKind::Write) {}
        let driver = world.driver.clone();
        world.end();
        let mut accepted = 0;
        for (number, ledger) in ends.into_iter().flatten() {
            accepted += ledger.accepted();
            let taken = driver.backend.book(number).taken();
            let known = ledger.transferred();
            assert!((known..=known + ledger.in_doubt()).contains(&taken));
        }
        let census = driver.census();
        assert_eq!((census.pipes, census.pipes_ended), (0, 4));
        let bytes = census.bytes_transferred + census.bytes_discarded + census.bytes_in_doubt;
        assert_eq!(bytes, accepted);
    });
}

/// A pipe's whole life; its number, and its account at its end.
fn come_and_go(driver: &Arc<Driver<Kernel>>) -> (usize, Ledger) {
    let pipe = driver.backend.open(Manner {
        writes: one(&[
            &[Answers::Later][..],
            &[Answers::AtOnce, Answers::WhenTold],
            &[Answers::WhenTold],
            &[Answers::AtOnce, Answers::FailsLater],
        ]),
        cancels: one(&[Cancels::Answers, Cancels::Posts, Cancels::SaysNothing]),
        is_slow: one(&[true, false]),
        ..Manner::default()
    });
    let number = pipe.number();
    let options = WriterOptions::new().stop_within(SOON).op_bytes_max(2);
    let writer = PipeWriter::on(driver, pipe, options);
    // L2: what the kernel took before it failed within the call stays accepted.
    let accepted = match writer.try_send(b"abcde") {
        Ok(()) => 5,
        Err(refused) => refused.accepted,
    };
    driver.backend.haunt();
    if one(&[true, false]) {
        let _ = wait(writer.finish().within(SOON));
    }
    let ledger = wait(writer.abort()).unwrap().ledger();
    assert_eq!((ledger.accepted(), ledger.unsettled()), (accepted, 0));
    (number, ledger)
}

/// Everything at once: an observed writer with deadlines, a reader, a handle given back, and somebody who counts.
#[test]
fn everything_at_once() {
    draw(|| {
        let world = World::new(Kernel::until(FAR));
        let hearing = Hearing::new(one(&[true, false, false]));
        let threads = [
            write(&world, &hearing),
            read(&world),
            give_back(&world),
            count(&world),
        ];
        let late: u64 = threads.map(|thread| thread.join().unwrap()).iter().sum();
        wait(Settle::on(&world.driver)).unwrap();
        assert_eq!(world.driver.census().lingering, 0);
        let driver = world.driver.clone();
        world.end();
        // What was in quarantine is answered by now.
        let census = driver.census();
        assert_eq!((census.pipes, census.pipes_ended), (0, 3));
        assert_eq!(census.bytes_late, late);
        let heard = hearing.heard();
        assert!(heard.ended.is_some() || heard.told == 1);
        assert_eq!(Arc::strong_count(&hearing), 1, "the observer is let go");
    });
}

fn write(world: &World, hearing: &Arc<Hearing>) -> JoinHandle<u64> {
    let options = WriterOptions::new()
        .queue_bytes_max(2)
        .observer(hearing.clone());
    let manner = Manner {
        cancels: one(&[Cancels::Answers, Cancels::Posts]),
        is_slow: true,
        ..Manner::default()
    };
    let writer = world.writer(manner, options);
    spawn(move || {
        let _ = wait(writer.send(b"abcde").within(SOON));
        let _ = wait(writer.until_transferred().within(SOON));
        let _ = wait(writer.until_read().within(SOON));
        assert!(writer.ledger().balances());
        match one(&[0, 1, 2]) {
            0 => drop(writer),
            1 => assert_eq!(wait(writer.abort()).unwrap().ledger().unsettled(), 0),
            _ => assert_eq!(wait(writer.finish()).unwrap().ledger().unsettled(), 0),
        }
        0
    })
}

/// How many of its bytes come too late.
fn read(world: &World) -> JoinHandle<u64> {
    let pipe = world.kernel().open(Manner {
        direct: one(&[
            &[ReadNow::Unavailable][..],
            &[ReadNow::Wait, ReadNow::Data(2)],
        ]),
        cancels: one(&[Cancels::Answers, Cancels::Posts]),
        is_slow: true,
        ..Manner::default()
    });
    let (number, driver) = (pipe.number(), world.driver.clone());
    spawn(move || {
        let reader = Arc::new(PipeReader::on(&driver, pipe, ReaderOptions::new()));
        let other = reader.clone();
        let stopping = spawn(move || wait(other.abort()).unwrap());
        let mut read = 0;
        for _ in 0..2 {
            let mut buf = [0; 8];
            if let Ok(bytes) = wait(reader.receive(&mut buf).within(SOON)) {
                assert_eq!(buf[..bytes], DATA[..bytes]);
                read += bytes as u64;
            }
        }
        let receipt = stopping.join().unwrap();
        let ledger = receipt.ledger();
        assert_eq!((ledger.transferred(), ledger.unsettled()), (read, 0));
        let untaken = receipt.untaken().concat();
        assert_eq!(ledger.discarded(), untaken.len() as u64);
        drop(reader);
        // Where the stop's bound passed first, the kernel's answer may still come.
        while !driver.backend.book(number).is_gone() {
            shuttle::thread::yield_now();
        }
        driver.backend.book(number).given - ledger.accepted()
    })
}

fn give_back(world: &World) -> JoinHandle<u64> {
    let pipe = world.kernel().open(Manner {
        is_slow: true,
        ..Manner::default()
    });
    let driver = world.driver.clone();
    spawn(move || {
        let cell = WriterCell::new(driver.clone(), pipe, WriterOptions::new());
        cell.try_accept(&mut &b"x"[..]).unwrap();
        if let Ok(handle) = cell.release() {
            driver.backend.take_back(handle);
            assert_eq!(cell.ledger().transferred(), 1);
        }
        cell.handle_drop();
        0
    })
}

fn count(world: &World) -> JoinHandle<u64> {
    let driver = world.driver.clone();
    spawn(move || {
        for _ in 0..2 {
            let census = driver.census();
            assert!(census.pipes + census.pipes_ended <= 3, "{census:?}");
            let _ = wait(Settle::on(&driver).within(SOON));
        }
        0
    })
}
