//! A transfer to several by a thread that blocks: it waits for all full destinations by itself, in one call, and whatever happens ends
//! the waiting.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise, read_exactly};
use crate::ends::{destination, full, source, took};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use watertight::{ErrorKind, PipeReader, SlowDestination, Tee, TeeEnd};

/// Soon: for a deadline that passes while nothing can happen.
const SOON: Duration = Duration::from_millis(20);

/// Not a page of it goes through the buffer, although all ends are waited for, and there is no pipe between.
#[test]
fn a_long_stream_to_three_never_leaves_the_kernel() {
    let _accounted = Accounted::start();
    #[cfg(feature = "fault")]
    let _guard = watertight::fault::guard();
    let (from, mut feed) = source();
    let (sinks, to): (Vec<_>, Vec<_>) = (0..3).map(|_| destination()).unzip();
    let data = noise(3_000_000, 61);
    #[cfg(feature = "fault")]
    watertight::fault::plan(&[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in data.chunks(50_001) {
                feed.write_all(piece).unwrap();
            }
            drop(feed);
        });
        let collect = |mut sink: std::io::PipeReader| {
            scope.spawn(move || {
                let mut all = Vec::new();
                sink.read_to_end(&mut all).unwrap();
                all
            })
        };
        let collectors: Vec<_> = sinks.into_iter().map(collect).collect();
        let mut tee = Tee::new(&from, &to).unwrap();
        let done = tee.transfer().within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (3_000_000, true));
        for one in &done.destinations {
            assert_eq!((one.bytes, one.in_kernel), (3_000_000, 3_000_000));
        }
        for to in &to {
            let receipt = to.finish().within(PATIENCE).wait().unwrap();
            assert_eq!(receipt.ledger().transferred(), 3_000_000);
        }
        for collector in collectors {
            assert!(collector.join().unwrap() == data);
        }
    });
    #[cfg(feature = "fault")]
    {
        let calls = watertight::fault::stop().calls;
        let is_unneeded = |name: &str| ["pipe2", "pwritev2", "pwritev2 (NOWAIT)"].contains(&name);
        assert!(!calls.iter().any(|made| is_unneeded(made.name)));
    }
    assert_eq!(from.ledger().transferred(), 3_000_000);
}

/// The first one is full all the time, and the second one has room then: it gets its bytes.
#[test]
fn room_in_any_of_them_ends_the_wait() {
    let _accounted = Accounted::start();
    let (from, mut feed) = source();
    let (mut first, to_first, before_first) = full();
    let (mut second, to_second, before_second) = full();
    let data = noise(20_000, 62);
    feed.write_all(&data).unwrap();
    drop(feed);
    let mut tee = Tee::new(&from, [&to_first, &to_second]).unwrap();
    let done = std::thread::scope(|scope| {
        let moving = scope.spawn(|| tee.transfer().within(PATIENCE).wait());
        took(&mut second, before_second);
        assert!(took(&mut second, data.len()) == data);
        assert_eq!(to_first.ledger().accepted(), 0);
        took(&mut first, before_first);
        assert!(took(&mut first, data.len()) == data);
        moving.join().unwrap().unwrap()
    });
    assert_eq!((done.bytes, done.has_ended), (20_000, true));
    for one in &done.destinations {
        assert_eq!((one.bytes, one.in_kernel), (20_000, 20_000));
    }
}

/// How a wait for full destinations is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    AbortOfDestination,
    AbortOfSource,
    Deadline,
    LeavingReader,
    Slowness,
}

#[test]
fn whatever_ends_the_wait_for_full_destinations_loses_nothing() {
    let _accounted = Accounted::start();
    let endings = [
        (Ending::AbortOfDestination, ErrorKind::Aborted),
        (Ending::AbortOfSource, ErrorKind::Aborted),
        (Ending::Deadline, ErrorKind::TimedOut),
        (Ending::LeavingReader, ErrorKind::BrokenPipe),
        (Ending::Slowness, ErrorKind::Busy),
    ];
    for (ending, kind) in endings.into_iter().cycle().take(50) {
        let (from, mut feed) = source();
        let (_first, to_first, _) = full();
        let (second, to_second, _) = full();
        feed.write_all(b"nobody's").unwrap();
        let mut second = Some(second);
        let mut tee = Tee::new(&from, [&to_first, &to_second]).unwrap();
        if ending == Ending::Slowness {
            tee.slow_destination(SlowDestination::FailAfter(SOON));
        }
        let within = match ending {
            Ending::Deadline => SOON,
            Ending::AbortOfDestination
            | Ending::AbortOfSource
            | Ending::LeavingReader
            | Ending::Slowness => PATIENCE,
        };
        let failed = std::thread::scope(|scope| {
            let moving = tee.transfer().within(within);
            let waiting = scope.spawn(|| moving.wait().unwrap_err());
            match ending {
                Ending::AbortOfDestination => {
                    let receipt = to_second.abort().within(PATIENCE).wait().unwrap();
                    assert_eq!(receipt.ledger().accepted(), 0);
                }
                Ending::AbortOfSource => {
                    let receipt = from.abort().within(PATIENCE).wait().unwrap();
                    assert_eq!(receipt.ledger().transferred(), 0);
                }
                Ending::Deadline | Ending::Slowness => {}
                Ending::LeavingReader => drop(second.take()),
            }
            waiting.join().unwrap()
        });
        assert_eq!((failed.error.kind, failed.bytes), (kind, 0), "{ending:?}");
        match ending {
            Ending::AbortOfSource => assert_eq!(failed.end, TeeEnd::Source),
            Ending::AbortOfDestination | Ending::LeavingReader => {
                assert_eq!(failed.end, TeeEnd::Destination(1), "{ending:?}");
            }
            Ending::Slowness => assert_eq!(failed.end, TeeEnd::Destination(0)),
            // Whichever was looked at last.
            Ending::Deadline => {}
        }
        drop(tee);
        for to in [&to_first, &to_second] {
            assert_eq!(to.ledger().accepted(), 0);
        }
        if ending != Ending::AbortOfSource {
            assert_eq!(read_exactly(&from, 8), b"nobody's");
        }
    }
}

/// Who has room and gets nothing because nothing comes is not slow.
#[test]
fn a_quiet_source_makes_no_destination_slow() {
    let _accounted = Accounted::start();
    for is_task in [false, true] {
        let (from, _feed) = source();
        let (_first, to_first) = destination();
        let (_second, to_second) = destination();
        let mut tee = Tee::new(&from, [&to_first, &to_second]).unwrap();
        tee.slow_destination(SlowDestination::FailAfter(SOON));
        let moving = tee.transfer().within(SOON * 5);
        let late = if is_task {
            futures_lite::future::block_on(moving).unwrap_err()
        } else {
            moving.wait().unwrap_err()
        };
        assert_eq!(
            (late.end, late.error.kind),
            (TeeEnd::Source, ErrorKind::TimedOut)
        );
    }
}

/// The first thread is inside the destination, and blocks there. The second one has a page queued behind that, and waits.
#[test]
fn two_threads_may_wait_for_one_full_destination() {
    let _accounted = Accounted::start();
    let (from, mut feed) = source();
    let (other_from, mut other_feed) = source();
    let (mut sink, to, before) = full();
    feed.write_all(b"ours").unwrap();
    other_feed.write_all(b"ours").unwrap();
    let pass_on = |from: &PipeReader| {
        let mut tee = Tee::new(from, [&to]).unwrap();
        tee.bytes_max(4);
        let calls = tee.transfer().within(PATIENCE);
        calls.wait().unwrap().bytes
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| pass_on(&from));
        let other = scope.spawn(|| pass_on(&other_from));
        let patience = Instant::now() + PATIENCE;
        // Whoever comes second has queued its bytes.
        while to.ledger().accepted() == 0 {
            assert!(
                Instant::now() < patience,
                "the second one goes round and round"
            );
            std::thread::yield_now();
        }
        took(&mut sink, before);
        assert_eq!((one.join().unwrap(), other.join().unwrap()), (4, 4));
    });
    assert_eq!(took(&mut sink, 8), b"oursours");
}

#[test]
fn others_send_while_full_destinations_are_waited_for() {
    let _accounted = Accounted::start();
    let (from, mut feed) = source();
    let (mut first, to_first, before_first) = full();
    let (mut second, to_second, before_second) = full();
    feed.write_all(b"ours").unwrap();
    let mut tee = Tee::new(&from, [&to_first, &to_second]).unwrap();
    tee.bytes_max(4);
    let done = std::thread::scope(|scope| {
        let moving = scope.spawn(|| tee.transfer().within(PATIENCE).wait());
        let patience = Instant::now() + PATIENCE;
        // There is no room only while bytes are copied, which does not wait.
        while to_second.try_send(b" between ").is_err() {
            assert!(Instant::now() < patience, "there is never room");
            std::thread::yield_now();
        }
        took(&mut first, before_first);
        took(&mut second, before_second);
        moving.join().unwrap().unwrap()
    });
    assert_eq!((done.bytes, done.has_ended), (4, false));
    assert_eq!(took(&mut first, 4), b"ours");
    let orders = [" between ours", "ours between "];
    let got = String::from_utf8(took(&mut second, 13)).unwrap();
    assert!(orders.contains(&&*got), "{got:?}");
    assert_eq!(to_second.ledger().transferred(), 13);
}

/// The kernel says the same of full destinations whatever is in the source, and nobody reads here.
#[test]
fn a_source_at_its_end_waits_for_no_destination() {
    let _accounted = Accounted::start();
    let (from, feed) = source();
    drop(feed);
    let (_first, to_first, _) = full();
    let (_second, to_second, _) = full();
    let mut tee = Tee::new(&from, [&to_first, &to_second]).unwrap();
    let done = tee.transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((done.bytes, done.has_ended), (0, true));
}

/// Destinations with room do not end a wait for a source in which nothing is: it would be a loop.
#[cfg(feature = "fault")]
#[test]
fn an_empty_source_is_waited_for_and_not_asked_again_and_again() {
    use watertight::fault;
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let (from, mut feed) = source();
    let (mut first, to_first) = destination();
    let (mut second, to_second) = destination();
    let mut tee = Tee::new(&from, [&to_first, &to_second]).unwrap();
    fault::plan(&[]);
    let late = tee.transfer().within(SOON).wait().unwrap_err();
    let calls = fault::stop().calls;
    assert_eq!(
        (late.end, late.error.kind),
        (TeeEnd::Source, ErrorKind::TimedOut)
    );
    // Two turns, with a processor given away between, and the wait.
    let copies = calls.iter().filter(|made| made.name == "tee").count();
    assert!(copies <= 8, "{copies} copies were tried");
    feed.write_all(b"then").unwrap();
    drop(feed);
    let done = tee.transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((done.bytes, done.has_ended), (4, true));
    for sink in [&mut first, &mut second] {
        assert_eq!(took(sink, 4), b"then");
    }
}
