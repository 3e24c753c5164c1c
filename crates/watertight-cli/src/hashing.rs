//! The hash of a stream, on a thread of its own: it costs more than to read the bytes and to write them together, so nobody waits for it
//! but the end, and a reader that is further ahead than memory allows.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// So many chunks may wait for it. They are few: each keeps a buffer from being used again.
const CHUNKS_MAX: usize = 4;

/// The hash of a stream in which nothing was.
pub(crate) fn hash_of_nothing() -> [u8; 32] {
    Sha256::new().finalize().into()
}

/// A hash under way.
pub(crate) struct Hashing {
    chunks: SyncSender<Bytes>,
    thread: JoinHandle<([u8; 32], u64)>,
}

impl Hashing {
    /// Starts its thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (chunks, received) = sync_channel(CHUNKS_MAX);
        let thread = std::thread::Builder::new()
            .name("hash".into())
            .spawn(move || hash_of(&received))?;
        Ok(Self { chunks, thread })
    }

    /// The next bytes of the stream. Waits until there is room for them.
    pub(crate) fn update(&self, chunk: Bytes) {
        // A thread that panicked is told of at the end.
        let _ = self.chunks.send(chunk);
    }

    /// As [`update`](Self::update), with bytes that are lent.
    pub(crate) fn show(&self, bytes: &[u8]) {
        self.update(Bytes::copy_from_slice(bytes));
    }

    /// The hash of everything, and how many bytes that is.
    pub(crate) fn finish(self) -> ([u8; 32], u64) {
        drop(self.chunks);
        let hash = self.thread.join();
        hash.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn hash_of(chunks: &Receiver<Bytes>) -> ([u8; 32], u64) {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    for chunk in chunks {
        hash.update(&chunk);
        bytes += chunk.len() as u64;
    }
    (hash.finalize().into(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_chunks_than_may_wait_are_hashed_in_order() {
        let hashing = Hashing::start().unwrap();
        let mut expected = Sha256::new();
        let numbers = u8::try_from(5 * CHUNKS_MAX).unwrap();
        for number in 0..numbers {
            let chunk = Bytes::from(vec![number; 100]);
            expected.update(&chunk);
            if number % 2 == 0 {
                hashing.update(chunk);
            } else {
                hashing.show(&chunk);
            }
        }
        let hash = <[u8; 32]>::from(expected.finalize());
        assert_eq!(hashing.finish(), (hash, 100 * u64::from(numbers)));
    }

    #[test]
    fn of_nothing_there_is_a_hash_too() {
        assert_eq!(Hashing::start().unwrap().finish(), (hash_of_nothing(), 0));
    }
}
