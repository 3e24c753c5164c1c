//! Bytes and how to get them through, on any kernel.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of it"
)]

use std::time::{Duration, Instant};
use watertight::{ErrorKind, PipeReader, PipeWriter, Refused, Verb};
use watertight_core::Backend;

/// How long anything may take before the test calls it a hang. Never waited for when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Writes until nothing moves any more although nobody reads: the kernel is full, and so is the queue.
pub fn fill_up<B: Backend>(writer: &PipeWriter<B>, message: &[u8]) -> Refused {
    let patience = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < patience, "it takes and takes");
        let Err(refused) = writer.try_send(message) else {
            continue;
        };
        let before = writer.ledger();
        let flushed = writer
            .until_transferred()
            .within(Duration::from_millis(100))
            .wait();
        let Err(late) = flushed else { continue };
        if late.ledger == before {
            assert_eq!(
                (late.verb, late.kind),
                (Verb::UntilTransferred, ErrorKind::TimedOut)
            );
            return refused;
        }
    }
}

/// Bytes that look like nothing in particular and are the same in every run.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Everything up to the end of the stream.
pub fn read_to_end<B: Backend>(reader: &PipeReader<B>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = [0; 32 * 1024];
    loop {
        match reader.receive(&mut buf).within(PATIENCE).wait().unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

/// Exactly `bytes` bytes.
pub fn read_exactly<B: Backend>(reader: &PipeReader<B>, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        let n = reader
            .receive(&mut all[filled..])
            .within(PATIENCE)
            .wait()
            .unwrap();
        assert!(n > 0, "the stream ended after {filled} of {bytes} bytes");
        filled += n;
    }
    all
}

/// `chunks` in one piece.
pub fn joined(chunks: &[bytes::Bytes]) -> Vec<u8> {
    chunks.concat()
}
