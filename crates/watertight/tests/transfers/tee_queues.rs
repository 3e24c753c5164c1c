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
