//! Bytes from one source to several destinations: the same bytes at each, and exact accounts, whatever ends it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise, read_exactly, read_to_end};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use watertight::{
    DeadDestination, ErrorKind, PipeReader, PipeWriter, Tee, TeeEnd, TeeError, TeeOutcome, pipe,
};

/// Soon: for a deadline that passes while nothing can happen.
const SOON: Duration = Duration::from_millis(20);

fn finish(writer: &PipeWriter) {
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

/// So many destinations, and who reads from each.
fn destinations(count: usize) -> (Vec<PipeReader>, Vec<PipeWriter>) {
    (0..count).map(|_| pipe().unwrap()).unzip()
}

fn pass_on(tee: &mut Tee<'_>) -> Result<TeeOutcome, TeeError> {
    tee.transfer().within(PATIENCE).wait()
}

/// What left the source is what the slowest destination accepted, and the accounts of the destinations are what the `Tee` says.
fn assert_same_account(tee: &Tee<'_>, from: &PipeReader, to: &[PipeWriter]) {
    let accounts = tee.destinations();
    for (account, writer) in accounts.iter().zip(to) {
        assert_eq!(account.bytes, writer.ledger().accepted());
    }
    let slowest = accounts.iter().map(|account| account.bytes).min().unwrap();
    assert_eq!(tee.bytes(), slowest);
    assert_eq!(from.ledger().transferred(), slowest);
}

#[test]
fn each_destination_gets_every_byte_in_order() {
    let _accounted = Accounted::start();
    for as_a_task in [false, true] {
        let (from, feed) = pipe().unwrap();
        let (sinks, to) = destinations(3);
        let data = noise(3_000_000, 51);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in data.chunks(70_001) {
                    feed.send(piece).within(PATIENCE).wait().unwrap();
                }
                finish(&feed);
            });
            let read = |sink| scope.spawn(move || read_to_end(sink));
            let collectors: Vec<_> = sinks.iter().map(read).collect();
            let mut tee = Tee::new(&from, &to).unwrap();
            let moving = tee.transfer().within(PATIENCE);
            let done = if as_a_task {
                futures_lite::future::block_on(moving).unwrap()
            } else {
                moving.wait().unwrap()
            };
            assert_eq!((done.bytes, done.has_ended), (3_000_000, true));
            assert_eq!(done.destinations, tee.destinations());
            for one in &done.destinations {
                assert!(one.in_kernel <= one.bytes);
                assert_eq!(one.in_kernel > 0, cfg!(target_os = "linux"));
            }
            assert_same_account(&tee, &from, &to);
            to.iter().for_each(finish);
            for collector in collectors {
                assert!(collector.join().unwrap() == data);
            }
        });
    }
}

/// It is not even read, and no destination has it. From a pipe whose handle was copied all goes through the buffer.
#[test]
fn what_is_past_the_bound_stays_in_the_source() {
    let _accounted = Accounted::start();
    for is_copied in [false, true] {
        let (from, feed) = pipe().unwrap();
        let copy = is_copied.then(|| from.try_clone_handle().unwrap());
        let (sinks, to) = destinations(2);
        feed.send(b"header and body").wait().unwrap();
        let mut tee = Tee::new(&from, &to).unwrap();
        for (bytes_max, text) in [(0, &b""[..]), (6, &b"header"[..]), (7, &b" "[..])] {
            let done = tee.bytes_max(bytes_max).transfer().wait().unwrap();
            assert_eq!((done.bytes, done.has_ended), (bytes_max, false));
            assert!(done.destinations.iter().all(|one| one.bytes == bytes_max));
            assert_eq!(from.ledger().accepted(), bytes_max);
            for sink in &sinks {
                assert_eq!(read_exactly(sink, text.len()), text);
            }
        }
        drop(copy);
        assert_eq!(read_exactly(&from, 8), b"and body");
    }
}

#[test]
fn what_is_queued_goes_first() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sinks, to) = destinations(2);
    let before = noise(200_000, 52);
    to[1].send(&before).wait().unwrap();
    feed.send(b" and then").wait().unwrap();
    finish(&feed);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| read_to_end(&sinks[1]));
        let mut tee = Tee::new(&from, &to).unwrap();
        let done = pass_on(&mut tee).unwrap();
        assert_eq!((done.bytes, done.has_ended), (9, true));
        assert_eq!(done.destinations[1].bytes, 9);
        to.iter().for_each(finish);
        assert_eq!(read_to_end(&sinks[0]), b" and then");
        assert!(collector.join().unwrap() == [&before[..], b" and then"].concat());
    });
}

#[test]
fn a_deadline_loses_nothing_and_the_next_wait_goes_on() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sinks, to) = destinations(3);
    let data = noise(600_000, 53);
    let mut tee = Tee::new(&from, &to).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            finish(&feed);
        });
        let read = |sink| scope.spawn(move || read_to_end(sink));
        // Nobody reads from the second one yet.
        let first = read(&sinks[0]);
        for _ in 0..3 {
            let late = tee.transfer().within(SOON).wait().unwrap_err();
            assert_eq!(late.error.kind, ErrorKind::TimedOut);
            assert_eq!(late.destinations, tee.destinations());
            assert_same_account(&tee, &from, &to);
        }
        let (second, third) = (read(&sinks[1]), read(&sinks[2]));
        let done = pass_on(&mut tee).unwrap();
        assert_eq!((done.bytes, done.has_ended), (600_000, true));
        assert_same_account(&tee, &from, &to);
        to.iter().for_each(finish);
        for collector in [first, second, third] {
            assert!(collector.join().unwrap() == data);
        }
    });
}

#[test]
fn a_transfer_dropped_anywhere_loses_and_doubles_nothing() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sinks, to) = destinations(2);
    let data = noise(2_000_000, 54);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            finish(&feed);
        });
        let read = |sink| scope.spawn(move || read_to_end(sink));
        let collectors: Vec<_> = sinks.iter().map(read).collect();
        let mut nobody = Context::from_waker(Waker::noop());
        let mut tee = Tee::new(&from, &to).unwrap();
        for round in 1..200 {
            tee.bytes_max(round * 3_701);
            let _ = pin!(tee.transfer()).poll(&mut nobody);
            assert_same_account(&tee, &from, &to);
        }
        tee.bytes_max(u64::MAX);
        assert!(pass_on(&mut tee).unwrap().has_ended);
        assert_same_account(&tee, &from, &to);
        to.iter().for_each(finish);
        for collector in collectors {
            assert!(collector.join().unwrap() == data);
        }
    });
}

#[test]
fn what_not_all_had_is_in_the_source_when_the_tee_is_gone() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sinks, to) = destinations(2);
    let data = noise(600_000, 55);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            finish(&feed);
        });
        let collector = scope.spawn(|| read_to_end(&sinks[0]));
        let mut tee = Tee::new(&from, &to).unwrap();
        let late = tee.transfer().within(SOON).wait().unwrap_err();
        assert!(late.bytes < 600_000, "nobody reads from the second one");
        let (bytes, accounts) = (late.bytes, tee.destinations());
        drop(tee);
        let rest = read_to_end(&from);
        assert!(rest == data[usize::try_from(bytes).unwrap()..]);
        let slowest = accounts.iter().map(|account| account.bytes).min();
        assert_eq!(slowest, Some(bytes));
        finish(&to[0]);
        let had = usize::try_from(accounts[0].bytes).unwrap();
        assert!(collector.join().unwrap() == data[..had]);
    });
    let _ = to[1].abort().within(PATIENCE).wait().unwrap();
}

#[test]
fn a_dead_destination_ends_the_transfer_and_is_named() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (_sinks, to) = destinations(3);
    let _ = to[1].abort().within(PATIENCE).wait().unwrap();
    feed.send(b"nobody's").wait().unwrap();
    let mut tee = Tee::new(&from, &to).unwrap();
    for _ in 0..2 {
        let failed = pass_on(&mut tee).unwrap_err();
        assert_eq!(failed.end, TeeEnd::Destination(1));
        assert_eq!((failed.error.kind, failed.bytes), (ErrorKind::Aborted, 0));
        let told = failed.to_string();
        assert!(told.contains("destination 1 of a transfer to 3"), "{told}");
        assert!(tee.destinations().iter().all(|one| one.error.is_none()));
    }
    drop(tee);
    assert_eq!(read_exactly(&from, 8), b"nobody's");
}

#[test]
fn a_dead_destination_is_dropped_and_the_others_go_on() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sinks, to) = destinations(3);
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.dead_destination(DeadDestination::Drop);
    feed.send(b"for all").wait().unwrap();
    assert_eq!(tee.bytes_max(7).transfer().wait().unwrap().bytes, 7);
    let _ = to[1].abort().within(PATIENCE).wait().unwrap();
    feed.send(b" and for two").wait().unwrap();
    finish(&feed);
    tee.bytes_max(u64::MAX);
    let done = pass_on(&mut tee).unwrap();
    assert_eq!((done.bytes, done.has_ended), (19, true));
    let bytes: Vec<u64> = done.destinations.iter().map(|one| one.bytes).collect();
    assert_eq!(bytes, [19, 7, 19]);
    let errors: Vec<_> = done.destinations.iter().map(|one| one.error).collect();
    assert_eq!((errors[0], errors[2]), (None, None));
    assert_eq!(errors[1].unwrap().kind, ErrorKind::Aborted);
    to.iter().step_by(2).for_each(finish);
    for sink in sinks.iter().step_by(2) {
        assert_eq!(read_to_end(sink), b"for all and for two");
    }
}

/// Its account is not taken for the others': they get what it had already and they had not.
#[cfg(unix)]
#[test]
fn a_destination_that_nobody_reads_any_more_is_dropped_in_the_middle() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (mut sinks, to) = destinations(3);
    let data = noise(1_000_000, 56);
    let leaver = sinks.remove(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            finish(&feed);
        });
        scope.spawn(move || {
            let head = read_exactly(&leaver, 300_000);
            drop(leaver);
            head
        });
        let read = |sink| scope.spawn(move || read_to_end(sink));
        let collectors: Vec<_> = sinks.iter().map(read).collect();
        let mut tee = Tee::new(&from, &to).unwrap();
        tee.dead_destination(DeadDestination::Drop);
        let done = pass_on(&mut tee).unwrap();
        assert_eq!((done.bytes, done.has_ended), (1_000_000, true));
        let error = done.destinations[1].error.unwrap();
        assert_eq!(error.kind, ErrorKind::BrokenPipe);
        assert!(done.destinations[1].bytes >= 300_000);
        finish(&to[0]);
        finish(&to[2]);
        for collector in collectors {
            assert!(collector.join().unwrap() == data);
        }
    });
}

#[test]
fn with_no_destination_left_it_ends_and_the_source_keeps_its_bytes() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (_sinks, to) = destinations(2);
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.dead_destination(DeadDestination::Drop);
    for writer in &to {
        let _ = writer.abort().within(PATIENCE).wait().unwrap();
    }
    feed.send(b"nobody's").wait().unwrap();
    for _ in 0..2 {
        let failed = pass_on(&mut tee).unwrap_err();
        assert_eq!(failed.end, TeeEnd::Destination(1), "the last one");
        assert_eq!((failed.error.kind, failed.bytes), (ErrorKind::Aborted, 0));
        assert!(failed.destinations.iter().all(|one| one.error.is_some()));
    }
    drop(tee);
    assert_eq!(read_exactly(&from, 8), b"nobody's");
}

#[test]
fn a_stop_of_any_end_ends_the_waiting() {
    let _accounted = Accounted::start();
    for round in 0..40 {
        let (from, _feed) = pipe().unwrap();
        let (_sinks, to) = destinations(2);
        let mut tee = Tee::new(&from, &to).unwrap();
        let failed = std::thread::scope(|scope| {
            let moving = tee.transfer().within(PATIENCE);
            let waiting = scope.spawn(|| moving.wait().unwrap_err());
            if round % 2 == 0 {
                let _ = from.abort().within(PATIENCE).wait().unwrap();
            } else {
                let _ = to[1].abort().within(PATIENCE).wait().unwrap();
            }
            waiting.join().unwrap()
        });
        let end = if round % 2 == 0 {
            TeeEnd::Source
        } else {
            TeeEnd::Destination(1)
        };
        assert_eq!((failed.end, failed.bytes), (end, 0), "round {round}");
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
    }
}

#[test]
fn a_source_that_fails_ends_it() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sinks, to) = destinations(2);
    let mut tee = Tee::new(&from, &to).unwrap();
    feed.send(b"before").wait().unwrap();
    assert_eq!(tee.bytes_max(6).transfer().wait().unwrap().bytes, 6);
    let _ = from.abort().within(PATIENCE).wait().unwrap();
    tee.bytes_max(u64::MAX);
    let failed = pass_on(&mut tee).unwrap_err();
    assert_eq!((failed.end, failed.bytes), (TeeEnd::Source, 6));
    assert_eq!(failed.error.kind, ErrorKind::Aborted);
    let told = failed.to_string();
    let said = "the source of a transfer to 2, after 6 bytes";
    assert!(told.contains(said), "{told}");
    for sink in &sinks {
        assert_eq!(read_exactly(sink, 6), b"before");
    }
}

#[test]
fn no_destination_and_one_given_twice_are_refused() {
    let _accounted = Accounted::start();
    let (from, _feed) = pipe().unwrap();
    let (_sinks, to) = destinations(2);
    let twice = [&to[0], &to[1], &to[0]];
    let refused = Tee::new(&from, twice).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidInput);
    let none: [&PipeWriter; 0] = [];
    let refused = Tee::new(&from, none).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidInput);
}

#[cfg(unix)]
#[test]
fn a_socket_among_the_destinations_gets_every_byte() {
    let _accounted = Accounted::start();
    for place in [0, 1] {
        let (from, feed) = pipe().unwrap();
        let (mut sinks, mut to) = destinations(1);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        sinks.insert(place, PipeReader::adopt(theirs).unwrap());
        to.insert(place, PipeWriter::adopt(ours).unwrap());
        let data = noise(500_000, 57);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                feed.send(&data).within(PATIENCE).wait().unwrap();
                finish(&feed);
            });
            let read = |sink| scope.spawn(move || read_to_end(sink));
            let collectors: Vec<_> = sinks.iter().map(read).collect();
            let mut tee = Tee::new(&from, &to).unwrap();
            let done = pass_on(&mut tee).unwrap();
            assert_eq!((done.bytes, done.has_ended), (500_000, true));
            assert_eq!(done.destinations[place].in_kernel, 0);
            assert_same_account(&tee, &from, &to);
            to.iter().for_each(finish);
            for collector in collectors {
                assert!(collector.join().unwrap() == data);
            }
        });
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use std::fs::File;

    #[test]
    fn between_our_own_pipes_bytes_stay_in_the_kernel() {
        let _accounted = Accounted::start();
        let (from, feed) = pipe().unwrap();
        let (sinks, to) = destinations(3);
        let data = noise(40_000, 58);
        feed.send(&data).wait().unwrap();
        finish(&feed);
        let mut tee = Tee::new(&from, &to).unwrap();
        let done = pass_on(&mut tee).unwrap();
        assert_eq!((done.bytes, done.has_ended), (40_000, true));
        for one in &done.destinations {
            assert_eq!((one.bytes, one.in_kernel), (40_000, 40_000));
        }
        assert_same_account(&tee, &from, &to);
        to.iter().for_each(finish);
        assert!(sinks.iter().all(|sink| read_to_end(sink) == data));
    }

    #[test]
    fn a_destination_that_throws_all_away_is_moved_to_as_well() {
        let _accounted = Accounted::start();
        let (from, feed) = pipe().unwrap();
        let (sinks, mut to) = destinations(1);
        let null = File::options().write(true).open("/dev/null").unwrap();
        to.insert(0, PipeWriter::adopt(null).unwrap());
        let data = noise(40_000, 59);
        feed.send(&data).wait().unwrap();
        finish(&feed);
        let mut tee = Tee::new(&from, &to).unwrap();
        let done = pass_on(&mut tee).unwrap();
        let moved = done.destinations.iter().map(|one| one.in_kernel);
        assert_eq!(moved.collect::<Vec<_>>(), [40_000, 40_000]);
        to.iter().for_each(finish);
        assert!(read_to_end(&sinks[0]) == data);
    }

    /// Whoever has the copy may take bytes between a copy of ours and the moment at which they leave the source.
    #[test]
    fn a_source_whose_handle_was_copied_goes_through_the_buffer() {
        let _accounted = Accounted::start();
        let (from, feed) = pipe().unwrap();
        let (sinks, to) = destinations(2);
        let copy = from.try_clone_handle().unwrap();
        feed.send(b"every byte").wait().unwrap();
        finish(&feed);
        let mut tee = Tee::new(&from, &to).unwrap();
        let done = pass_on(&mut tee).unwrap();
        for (one, sink) in done.destinations.iter().zip(&sinks) {
            assert_eq!((one.bytes, one.in_kernel), (10, 0));
            assert_eq!(read_exactly(sink, 10), b"every byte");
        }
        drop(copy);
    }

    /// What one has and another has not is in the source's hands when nobody waits, and no byte of it in the pipe.
    #[test]
    fn whoever_reads_a_copy_of_the_source_between_two_waits_takes_nothing_twice() {
        let _accounted = Accounted::start();
        let (from, feed) = pipe().unwrap();
        let (sinks, to) = destinations(2);
        // The first one takes nothing inside the kernel.
        let before = crate::common::fill_up(&to[0], &noise(1_000, 60));
        let queued = before.error.ledger.accepted();
        feed.send(b"for both").wait().unwrap();
        let mut tee = Tee::new(&from, &to).unwrap();
        let late = tee.transfer().within(SOON).wait().unwrap_err();
        assert_eq!(late.error.kind, ErrorKind::TimedOut);
        let has: Vec<u64> = late.destinations.iter().map(|one| one.bytes).collect();
        assert_eq!(has, [0, 8]);
        let mut copy = File::from(from.try_clone_handle().unwrap());
        feed.send(b"for the other").wait().unwrap();
        let mut buf = [0; 13];
        std::io::Read::read_exact(&mut copy, &mut buf).unwrap();
        assert_eq!(&buf, b"for the other");
        feed.send(b" again").wait().unwrap();
        finish(&feed);
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| read_to_end(&sinks[0]));
            let done = pass_on(&mut tee).unwrap();
            assert_eq!((done.bytes, done.has_ended), (14, true));
            to.iter().for_each(finish);
            assert_eq!(read_to_end(&sinks[1]), b"for both again");
            let came = collector.join().unwrap();
            let queued = usize::try_from(queued).unwrap();
            assert_eq!(&came[queued..], b"for both again");
        });
    }

    /// Which destinations there are: two pipes, or two that throw all away, to which copies go through private pipes.
    #[cfg(feature = "fault")]
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        Pipes,
        Nulls,
    }

    /// Passes ten bytes on while one call fails. A failure of a destination is told by that one, and the bytes are in the source still; of
    /// any other one a read and a write do the same.
    #[cfg(feature = "fault")]
    fn pass_on_with(kind: Kind, name: &'static str, at: u64, broken: usize) {
        use watertight::fault::{self, Fault};
        let table = match name {
            "pipe2" => watertight_os::classify::Call::Make,
            _ => watertight_os::classify::Call::Write,
        };
        for code in fault::allowed(table) {
            let case = format!("{kind:?}: {name} {at}: {code:?}");
            let (from, feed) = pipe().unwrap();
            let (mut sinks, mut to) = destinations(2);
            if kind == Kind::Nulls {
                sinks.clear();
                for to in &mut to {
                    let null = File::options().write(true).open("/dev/null").unwrap();
                    *to = PipeWriter::adopt(null).unwrap();
                }
            }
            feed.send(b"every byte").wait().unwrap();
            finish(&feed);
            let mut tee = Tee::new(&from, &to).unwrap();
            fault::plan(&[Fault {
                at,
                only: Some(name),
                code: watertight::OsCode(code.raw_os_error()),
                times: 1,
            }]);
            let moved = pass_on(&mut tee);
            assert_eq!(fault::stop().begun.len(), 1, "{case}");
            match moved {
                Ok(done) => {
                    assert_eq!((done.bytes, done.has_ended), (10, true), "{case}");
                    for sink in &sinks {
                        assert_eq!(read_exactly(sink, 10), b"every byte");
                    }
                }
                Err(failed) => {
                    assert_eq!(failed.end, TeeEnd::Destination(broken), "{case}");
                    assert_eq!(failed.error.kind, ErrorKind::BrokenPipe, "{case}");
                    drop(tee);
                    assert_eq!(read_exactly(&from, 10), b"every byte");
                }
            }
        }
    }

    #[cfg(feature = "fault")]
    #[test]
    fn a_copy_or_a_private_pipe_that_fails_loses_nothing() {
        let _accounted = Accounted::start();
        let _guard = watertight::fault::guard();
        pass_on_with(Kind::Pipes, "tee", 1, 0);
        pass_on_with(Kind::Nulls, "tee", 1, 0);
        pass_on_with(Kind::Nulls, "pipe2", 1, 0);
    }

    /// Out of the source, or out of the private pipe of one of them.
    #[cfg(feature = "fault")]
    #[test]
    fn a_splice_that_fails_loses_nothing() {
        let _accounted = Accounted::start();
        let _guard = watertight::fault::guard();
        pass_on_with(Kind::Pipes, "splice", 1, 1);
        pass_on_with(Kind::Nulls, "splice", 1, 0);
        pass_on_with(Kind::Nulls, "splice", 2, 1);
    }
}
