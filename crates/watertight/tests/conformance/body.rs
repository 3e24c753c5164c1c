//! What a pipe promises, on whatever kernel this runs: the real ones and the simulated ones.
//!
//! Included by a test crate that has a module `ground`, which says what a pipe is there.

use super::ground::{
    Accounted, KNOWS_WHAT_WAS_TAKEN, PATIENCE, fill_up, joined, noise, pipe, pipe_with,
    read_exactly, read_to_end,
};
use bytes::Bytes;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use watertight::{Ending, ErrorKind, ReaderOptions, TransferEnd, Verb, WriterOptions, transfer};

#[test]
fn bytes_arrive_whole_and_in_order() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let data = noise(3 << 20, 1);
    let collector = std::thread::spawn(move || read_to_end(&reader));
    for (index, piece) in data.chunks(100_003).enumerate() {
        if index % 2 == 0 {
            writer.send(piece).wait().unwrap();
        } else {
            let owned = Bytes::copy_from_slice(piece);
            writer.send_bytes(owned).wait().unwrap();
        }
    }
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(receipt.ledger().transferred(), data.len() as u64);
    assert!(receipt.unsent().is_empty() && receipt.in_doubt().is_empty());
    assert!(collector.join().unwrap() == data, "the bytes differ");
}

#[test]
fn an_unread_pipe_refuses_hands_back_and_accounts_for_every_byte() {
    let _accounted = Accounted::start();
    let options = WriterOptions::new().queue_bytes_max(300_000);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    let mut accepted = Vec::new();
    let mut message = noise(9_973, 2);
    while writer.try_send(&message).is_ok() {
        accepted.extend_from_slice(&message);
        message = noise(9_973, accepted.len() as u64);
    }
    let before = writer.ledger().accepted();
    let refused = fill_up(&writer, &message);
    for _ in (before..writer.ledger().accepted()).step_by(9_973) {
        accepted.extend_from_slice(&message);
    }
    assert_eq!(refused.rest_of(&message), &message[..]);
    assert_eq!(refused.error.kind, ErrorKind::QueueFull);
    assert_eq!(refused.accepted, 0);
    let before = writer.ledger();
    assert_eq!(before.accepted(), accepted.len() as u64);
    assert!(before.unsettled() > 300_000 - 9_973);

    let receipt = writer.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(receipt.ending(), Ending::Aborted);
    let ledger = receipt.ledger();
    assert_eq!(ledger.unsettled(), 0);
    assert_eq!(
        ledger.accepted(),
        ledger.transferred() + ledger.discarded() + ledger.in_doubt()
    );
    assert_eq!(joined(receipt.unsent()).len() as u64, ledger.discarded());
    assert_eq!(joined(receipt.in_doubt()).len() as u64, ledger.in_doubt());

    let mut seen = read_to_end(&reader);
    // Of the operation in doubt the reader saw nothing or a part; all else is exact.
    let known = usize::try_from(ledger.transferred()).unwrap();
    assert!(seen.len() >= known);
    assert!(seen.len() - known <= joined(receipt.in_doubt()).len());
    if KNOWS_WHAT_WAS_TAKEN {
        assert_eq!(ledger.in_doubt(), 0);
    }
    seen.truncate(known);
    seen.extend(joined(receipt.in_doubt()));
    seen.extend(joined(receipt.unsent()));
    assert!(
        seen == accepted,
        "what was read plus what came back differs"
    );
}

#[test]
fn the_end_of_the_stream_is_told_once_and_then_always() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    writer.send(b"last words").wait().unwrap();
    let _ = writer.finish().wait().unwrap();
    assert_eq!(read_to_end(&reader), b"last words");
    for _ in 0..3 {
        assert_eq!(reader.receive(&mut [0; 4]).wait().unwrap(), 0);
    }
    let receipt = reader.abort().wait().unwrap();
    assert_eq!(receipt.ending(), Ending::Finished);
    assert_eq!(receipt.ledger().accepted(), 10);
    assert!(receipt.untaken().is_empty());
}

#[test]
fn a_peer_that_leaves_gives_an_error_with_the_account_and_the_bytes() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let data = noise(200_000, 3);
    writer.send(&data).wait().unwrap();
    assert_eq!(read_exactly(&reader, 1000), data[..1000]);
    drop(reader);
    let error = writer
        .until_transferred()
        .within(PATIENCE)
        .wait()
        .unwrap_err();
    assert_eq!(
        (error.verb, error.kind),
        (Verb::UntilTransferred, ErrorKind::BrokenPipe)
    );
    assert!(error.os.is_some(), "the raw code is kept");
    let refused = writer.try_send(b"more").unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::BrokenPipe);
    assert_eq!(refused.error.os, error.os, "the first failure is latched");

    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(
        matches!(receipt.ending(), Ending::Failed(cause) if cause.kind == ErrorKind::BrokenPipe)
    );
    let ledger = receipt.ledger();
    assert_eq!(ledger.accepted(), 200_000);
    assert!(ledger.discarded() + ledger.in_doubt() > 0);
    let mut back = joined(receipt.in_doubt());
    back.extend(joined(receipt.unsent()));
    assert!(back == data[usize::try_from(ledger.transferred()).unwrap()..]);
}

#[test]
fn flush_means_transferred_and_until_read_means_read() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    writer.send(b"hello").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let unread = writer.until_read().within(Duration::from_millis(20)).wait();
    assert_eq!(unread.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(read_exactly(&reader, 5), b"hello");
    writer.until_read().within(PATIENCE).wait().unwrap();
    // Nothing was written since: known already.
    writer.until_read().within(PATIENCE).wait().unwrap();
    let _ = writer.abort().wait().unwrap();
    drop(reader);
}

#[test]
fn a_until_read_that_gave_up_does_not_hold_up_the_end() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    writer.send(b"unread").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let late = writer.until_read().within(Duration::from_millis(10)).wait();
    assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(read_to_end(&reader), b"unread");
}

#[test]
fn until_read_tells_of_a_peer_that_threw_the_bytes_away() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    writer.send(b"hello").wait().unwrap();
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    drop(reader);
    let error = writer.until_read().within(PATIENCE).wait().unwrap_err();
    assert_eq!(error.kind, ErrorKind::BrokenPipe);
    assert_eq!(error.ledger.transferred(), 5);
    let _ = writer.abort().wait().unwrap();
}

#[test]
fn a_deadline_only_ends_the_waiting() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let data = noise(200_000, 4);
    writer.send(&data).wait().unwrap();
    let late = writer.finish().within(Duration::from_millis(5)).wait();
    assert_eq!(late.unwrap_err().verb, Verb::Finish);
    let collector = std::thread::spawn(move || read_to_end(&reader));
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert!(collector.join().unwrap() == data);
}

#[test]
fn a_message_larger_than_the_queue_says_how_much_of_it_was_accepted() {
    let _accounted = Accounted::start();
    let options = WriterOptions::new().queue_bytes_max(10_000);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    let data = noise(1 << 20, 5);
    let refused = writer.try_send(&data).unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::InvalidInput);
    let owned = Bytes::from(data.clone());
    let late = writer
        .send_bytes(owned)
        .within(Duration::from_millis(50))
        .wait()
        .unwrap_err();
    assert_eq!(late.error.kind, ErrorKind::TimedOut);
    assert_eq!(late.error.ledger.accepted(), late.accepted);
    assert!(late.accepted > 0 && late.accepted < data.len() as u64);
    let collector = std::thread::spawn(move || read_to_end(&reader));
    writer
        .send_bytes(late.rest())
        .within(PATIENCE)
        .wait()
        .unwrap();
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    assert!(collector.join().unwrap() == data);
}

#[test]
fn messages_of_many_threads_are_never_interleaved() {
    const THREADS: u8 = 6;
    let _accounted = Accounted::start();
    // A queue smaller than the larger messages: those go in pieces, and nothing may get between them.
    let options = WriterOptions::new()
        .queue_bytes_max(4_000)
        .op_bytes_max(3_000);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    let collector = std::thread::spawn(move || read_to_end(&reader));
    std::thread::scope(|scope| {
        for id in 1..=THREADS {
            let writer = &writer;
            scope.spawn(move || {
                for round in 0..40u32 {
                    let len = 1 + (u32::from(id) * 977 + round * 331) % 9_000;
                    let body = vec![id; len as usize];
                    let head = len.to_le_bytes();
                    let message = [IoSlice::new(&head), IoSlice::new(&body)];
                    writer
                        .send_vectored(&message)
                        .within(PATIENCE)
                        .wait()
                        .unwrap();
                }
            });
        }
    });
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    let all = collector.join().unwrap();
    let mut rest = &all[..];
    let mut count = 0;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let (body, next) = tail.split_at(u32::from_le_bytes(*head) as usize);
        assert!(
            body.iter().all(|byte| *byte == body[0]),
            "messages are interleaved"
        );
        rest = next;
        count += 1;
    }
    assert_eq!(count, u32::from(THREADS) * 40);
}

#[test]
fn a_waiting_writer_that_gives_up_lets_the_next_one_in() {
    let _accounted = Accounted::start();
    let options = WriterOptions::new().queue_bytes_max(1_000);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    fill_up(&writer, &[0; 1_000]);
    let late = writer
        .send(&[1; 500])
        .within(Duration::from_millis(5))
        .wait();
    assert_eq!(late.unwrap_err().accepted, 0);
    let before = writer.ledger().accepted();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| writer.send(&[2; 500]).within(PATIENCE).wait());
        let mut buf = [0; 4096];
        while !waiting.is_finished() {
            // It may have read everything there is before the waiting one is told: look again.
            if let Ok(n) = reader
                .receive(&mut buf)
                .within(Duration::from_millis(50))
                .wait()
            {
                assert!(buf[..n].iter().all(|byte| *byte != 1));
            }
        }
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(writer.ledger().accepted(), before + 500);
    let _ = writer.abort().wait().unwrap();
}

#[test]
fn a_read_that_gave_up_loses_nothing() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let data = noise(50_000, 7);
    let mut seen = Vec::new();
    let mut sent = 0;
    while seen.len() < data.len() {
        let mut buf = [0; 700];
        match reader
            .receive(&mut buf)
            .within(Duration::from_micros(300))
            .wait()
        {
            Ok(n) => seen.extend_from_slice(&buf[..n]),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::TimedOut);
                let end = data.len().min(sent + 1_900);
                writer
                    .send(&data[sent..end])
                    .within(PATIENCE)
                    .wait()
                    .unwrap();
                sent = end;
            }
        }
    }
    assert!(seen == data);
    let _ = writer.finish().wait().unwrap();
}

#[test]
fn readers_on_many_threads_get_separate_pieces() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let total: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut sum = 0;
                    let mut buf = [0; 512];
                    loop {
                        match reader.receive(&mut buf).within(PATIENCE).wait().unwrap() {
                            0 => return sum,
                            n => sum += buf[..n].iter().map(|byte| u64::from(*byte)).sum::<u64>(),
                        }
                    }
                })
            })
            .collect();
        writer.send(&[3; 100_000]).within(PATIENCE).wait().unwrap();
        let _ = writer.finish().within(PATIENCE).wait().unwrap();
        readers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(total, 300_000);
    assert_eq!(reader.ledger().transferred(), 100_000);
}

#[test]
fn abort_from_another_thread_ends_a_blocked_read_and_a_blocked_write() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    std::thread::scope(|scope| {
        let (begun, wait_begun) = mpsc::channel();
        let reader = &reader;
        let blocked = scope.spawn(move || {
            begun.send(()).unwrap();
            reader.receive(&mut [0; 8]).within(PATIENCE).wait()
        });
        wait_begun.recv().unwrap();
        let receipt = reader.abort().within(PATIENCE).wait().unwrap();
        assert_eq!(receipt.ledger().accepted(), 0);
        assert_eq!(
            blocked.join().unwrap().unwrap_err().kind,
            ErrorKind::Aborted
        );
    });
    drop(writer);

    let (reader, writer) = pipe().unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| writer.send(&[0; 10 << 20]).within(PATIENCE).wait());
        while writer.ledger().unsettled() == 0 {
            std::thread::yield_now();
        }
        let receipt = writer.abort().within(PATIENCE).wait().unwrap();
        let refused = blocked.join().unwrap().unwrap_err();
        assert_eq!(refused.error.kind, ErrorKind::Aborted);
        assert_eq!(refused.accepted, receipt.ledger().accepted());
    });
    drop(reader);
}

#[test]
fn a_transfer_that_is_interrupted_anywhere_passes_every_byte_on_once() {
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    let data = noise(400_000, 9);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.send(&data).within(PATIENCE).wait().unwrap();
            let receipt = feed.finish().within(PATIENCE).wait().unwrap();
            assert!(receipt.is_complete());
        });
        let collector = scope.spawn(|| read_to_end(&sink));
        to.send(b"head").within(PATIENCE).wait().unwrap();
        let part = transfer(&from, &to).bytes_max(100_001);
        let part = part.within(PATIENCE).wait().unwrap();
        assert_eq!((part.bytes, part.has_ended), (100_001, false));
        let own = read_exactly(&from, 5_000);
        let mut bytes = part.bytes;
        let rest = loop {
            match transfer(&from, &to)
                .within(Duration::from_micros(300))
                .wait()
            {
                Ok(rest) => break rest,
                Err(late) => {
                    assert_eq!(late.error.kind, ErrorKind::TimedOut);
                    bytes += late.bytes;
                }
            }
            assert_eq!(from.ledger().transferred(), bytes + 5_000);
            assert_eq!(to.ledger().accepted(), bytes + 4);
        };
        assert!(rest.has_ended && rest.in_kernel <= rest.bytes);
        assert_eq!(bytes + rest.bytes, 395_000);
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        let passed = [&b"head"[..], &data[..100_001], &data[105_001..]].concat();
        assert!(own == data[100_001..105_001]);
        assert!(collector.join().unwrap() == passed);
    });
}

#[test]
fn a_transfer_names_the_end_that_was_stopped() {
    let _accounted = Accounted::start();
    for is_source in [true, false] {
        let (from, feed) = pipe().unwrap();
        let (sink, to) = pipe().unwrap();
        feed.send(b"passed on").within(PATIENCE).wait().unwrap();
        let done = transfer(&from, &to).bytes_max(9).within(PATIENCE).wait();
        assert_eq!(done.unwrap().bytes, 9);
        let failed = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| transfer(&from, &to).within(PATIENCE).wait());
            if is_source {
                let _ = from.abort().within(PATIENCE).wait().unwrap();
            } else {
                let _ = to.abort().within(PATIENCE).wait().unwrap();
            }
            waiting.join().unwrap().unwrap_err()
        });
        let stopped = match is_source {
            true => TransferEnd::Source,
            false => TransferEnd::Destination,
        };
        assert_eq!((failed.end, failed.bytes), (stopped, 0));
        assert_eq!(failed.error.kind, ErrorKind::Aborted);
        assert_eq!(read_exactly(&sink, 9), b"passed on");
        drop(feed);
    }
}

/// Nobody reads the destination, so the transfer waits for it sooner or later.
#[test]
fn a_transfer_into_a_pipe_that_nobody_reads_is_stopped_at_either_end() {
    let _accounted = Accounted::start();
    for is_source in [true, false] {
        let (from, feed) = pipe().unwrap();
        let (sink, to) = pipe().unwrap();
        std::thread::scope(|scope| {
            // It is held up too, until its reader leaves.
            let feeding = scope.spawn(|| feed.send(&[3; 10 << 20]).within(PATIENCE).wait());
            let waiting = scope.spawn(|| transfer(&from, &to).within(PATIENCE).wait());
            while to.ledger().accepted() == 0 {
                std::thread::yield_now();
            }
            if is_source {
                let _ = from.abort().within(PATIENCE).wait().unwrap();
            } else {
                let _ = to.abort().within(PATIENCE).wait().unwrap();
            }
            let failed = waiting.join().unwrap().unwrap_err();
            let stopped = match is_source {
                true => TransferEnd::Source,
                false => TransferEnd::Destination,
            };
            assert_eq!(failed.end, stopped);
            assert_eq!(failed.error.kind, ErrorKind::Aborted);
            assert_eq!(from.ledger().transferred(), failed.bytes);
            assert_eq!(to.ledger().accepted(), failed.bytes);
            let _ = from.abort().within(PATIENCE).wait().unwrap();
            let _ = feeding.join().unwrap().unwrap_err();
        });
        drop(sink);
    }
}

#[test]
fn empty_messages_and_buffers_are_no_trouble() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    writer.try_send(b"").unwrap();
    writer.send(b"").wait().unwrap();
    writer.send_bytes(Bytes::new()).wait().unwrap();
    writer.send_vectored(&[]).wait().unwrap();
    writer.until_transferred().wait().unwrap();
    assert_eq!(reader.receive(&mut []).wait().unwrap(), 0);
    let receipt = writer.finish().wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(reader.receive(&mut [0; 1]).wait().unwrap(), 0);
}

#[test]
fn calls_after_the_end_say_so_and_accept_nothing() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let writer = Arc::new(writer);
    let _ = writer.finish().wait().unwrap();
    assert_eq!(
        writer.try_send(b"x").unwrap_err().error.kind,
        ErrorKind::Closed
    );
    let refused = writer
        .send_bytes(Bytes::from_static(b"x"))
        .wait()
        .unwrap_err();
    assert_eq!((refused.accepted, &refused.rest()[..]), (0, &b"x"[..]));
    writer.until_transferred().wait().unwrap();
    assert!(writer.finish().wait().unwrap().is_complete());
    assert!(writer.abort().wait().unwrap().is_complete());
    let _ = reader.abort().wait().unwrap();
    assert_eq!(
        reader.receive(&mut [0; 1]).wait().unwrap_err().kind,
        ErrorKind::Aborted
    );
}
