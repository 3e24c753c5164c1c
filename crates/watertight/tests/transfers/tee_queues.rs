//! Several destinations of which one takes nothing for a while, and has a queue: the others go on.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise, read_to_end};
use watertight::{PipeWriter, Tee, pipe};

/// More than two pipes hold, and less than a queue.
const BYTES: usize = 200_000;

fn finish(writer: &PipeWriter) {
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

/// Where the kernel moves the bytes too, for a thread and for a task.
#[test]
fn nobody_waits_for_one_whose_queue_has_room() {
    let _accounted = Accounted::start();
    for as_a_task in [false, true] {
        let (from, feed) = pipe().unwrap();
        let (sinks, to): (Vec<_>, Vec<_>) = (0..2).map(|_| pipe().unwrap()).unzip();
        let data = noise(BYTES, 71);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                feed.send(&data).within(PATIENCE).wait().unwrap();
                finish(&feed);
            });
            let fast = scope.spawn(|| read_to_end(&sinks[0]));
            let mut tee = Tee::new(&from, &to).unwrap();
            let moving = tee.fill_queues().until_accepted().transfer();
            let moving = moving.within(PATIENCE);
            let done = if as_a_task {
                futures_lite::future::block_on(moving).unwrap()
            } else {
                moving.wait().unwrap()
            };
            // Nobody has read from the second one.
            assert_eq!((done.bytes, done.has_ended), (BYTES as u64, true));
            finish(&to[0]);
            assert!(fast.join().unwrap() == data);
            let slow = scope.spawn(|| read_to_end(&sinks[1]));
            finish(&to[1]);
            assert!(slow.join().unwrap() == data);
        });
    }
}

/// All is read into the same memory. A queue that referred to that would keep the room of a whole read for each piece.
#[cfg(unix)]
#[test]
fn a_queue_keeps_nothing_of_the_memory_that_little_pieces_were_read_into() {
    const PIECE: usize = 1000;
    let _accounted = Accounted::start();
    let (from, feed) = pipe().unwrap();
    let (sink, to) = pipe().unwrap();
    let data = noise(BYTES, 72);
    let mut places = Vec::new();
    let mut tee = Tee::new(&from, [&to]).unwrap();
    tee.fill_queues().until_accepted();
    tee.inspect(|bytes| places.push(bytes.as_ptr().addr()));
    let mut fed = 0;
    for piece in data.chunks(PIECE) {
        feed.send(piece).within(PATIENCE).wait().unwrap();
        fed += piece.len() as u64;
        let moving = tee.bytes_max(fed).transfer();
        let done = moving.within(PATIENCE).wait().unwrap();
        assert_eq!(done.bytes, fed);
    }
    drop(tee);
    // Nobody has read, so the last ones are queued.
    assert!(to.ledger().unsettled() > 2 * PIECE as u64);
    assert_eq!(places.len(), BYTES / PIECE);
    places.dedup();
    assert_eq!(places.len(), 1);
    finish(&feed);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| read_to_end(&sink));
        finish(&to);
        assert!(slow.join().unwrap() == data);
    });
}
