//! The bounded queue: owned chunks by reference, small messages joined into segments.
//!
//! It keeps order and bytes, and never a count of its own that could differ from the ledger's: its length is the sum.

use crate::op::Chunks;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// The first segment's size; it doubles up to the limit as segments fill, so that a pipe that carries little stays small.
const SEGMENT_BYTES_FIRST: usize = 512;

/// An owned chunk shorter than this is copied into the current segment: joining it costs less than a chunk of its own.
const OWNED_COPY_BYTES_MAX: usize = 512;

/// Bytes in order: chunks, and behind them the segment that is still being filled.
#[derive(Debug)]
pub struct Queue {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    segment_bytes: usize,
    segment_bytes_max: usize,
}

impl Queue {
    /// An empty queue whose segments grow up to `segment_bytes_max` bytes. Allocates nothing.
    #[must_use]
    pub fn new(segment_bytes_max: usize) -> Self {
        let segment_bytes_max = segment_bytes_max.max(1);
        Self {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            segment_bytes: SEGMENT_BYTES_FIRST.min(segment_bytes_max),
            segment_bytes_max,
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Adds a copy of `data`.
    pub fn push_copy(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.tail.capacity() == self.tail.len() {
                self.next_segment(data.len());
            }
            let room = self.tail.capacity() - self.tail.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.tail.extend_from_slice(now);
            data = later;
        }
    }

    /// Adds `chunk` itself, without a copy unless it is short.
    pub fn push_owned(&mut self, chunk: Bytes) {
        if chunk.len() < OWNED_COPY_BYTES_MAX {
            return self.push_copy(&chunk);
        }
        self.push_whole(chunk);
    }

    /// Adds `chunk` itself, however short.
    pub fn push_whole(&mut self, chunk: Bytes) {
        self.seal();
        self.chunks.push_back(chunk);
    }

    /// Takes from the front at most `bytes_max` bytes in at most `chunks_max` chunks.
    pub fn take(&mut self, bytes_max: usize, chunks_max: usize) -> Chunks {
        let mut taken = Chunks::default();
        let mut room = bytes_max;
        while room > 0 && taken.count() < chunks_max {
            if self.chunks.is_empty() {
                self.seal();
            }
            let Some(mut chunk) = self.chunks.pop_front() else {
                break;
            };
            if chunk.len() > room {
                self.chunks.push_front(chunk.split_off(room));
            }
            room -= chunk.len();
            taken.push(chunk);
        }
        taken
    }

    /// Puts bytes that were taken back to the front.
    pub fn put_back(&mut self, chunks: Chunks) {
        for chunk in chunks.into_vec().into_iter().rev() {
            self.chunks.push_front(chunk);
        }
    }

    /// Copies bytes from the front into `buf` and removes them; says how many.
    pub fn copy_out(&mut self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        for chunk in self.take(buf.len(), usize::MAX).iter() {
            buf[filled..filled + chunk.len()].copy_from_slice(chunk);
            filled += chunk.len();
        }
        filled
    }

    /// Takes everything.
    pub fn take_all(&mut self) -> Vec<Bytes> {
        self.seal();
        core::mem::take(&mut self.chunks).into()
    }

    /// Closes the segment that is being filled.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    /// Makes room for at least one more byte, and for `wanted` if that fits a segment.
    fn next_segment(&mut self, wanted: usize) {
        if !self.tail.is_empty() {
            self.segment_bytes = (self.segment_bytes * 2).min(self.segment_bytes_max);
            self.seal();
        }
        // Reuses the old segment's memory if nobody holds a part of it any more.
        self.tail
            .reserve(self.segment_bytes.max(wanted.min(self.segment_bytes_max)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn joined(chunks: &Chunks) -> Vec<u8> {
        chunks.iter().flat_map(|chunk| chunk.to_vec()).collect()
    }

    #[test]
    fn order_is_kept_across_copies_and_owned_chunks() {
        let mut queue = Queue::new(1024);
        let big = Bytes::from(vec![b'b'; 5000]);
        queue.push_copy(b"head ");
        queue.push_owned(big.clone());
        queue.push_owned(Bytes::from_static(b" short "));
        queue.push_copy(&[b't'; 3000]);
        let mut expected = b"head ".to_vec();
        expected.extend_from_slice(&big);
        expected.extend_from_slice(b" short ");
        expected.extend_from_slice(&[b't'; 3000]);

        let mut got = Vec::new();
        loop {
            let taken = queue.take(777, 3);
            if taken.count() == 0 {
                break;
            }
            assert!(taken.bytes() <= 777 && taken.count() <= 3);
            got.extend(joined(&taken));
        }
        assert!(queue.is_empty());
        assert_eq!(got, expected);
    }

    #[test]
    fn an_owned_chunk_is_not_copied() {
        let mut queue = Queue::new(1024);
        let big = Bytes::from(vec![1; 4096]);
        queue.push_owned(big.clone());
        let taken = queue.take(usize::MAX, usize::MAX).into_vec();
        assert_eq!(taken[0].as_ptr(), big.as_ptr());
    }

    #[test]
    fn an_owned_chunk_is_copied_only_below_the_bound() {
        for (len, is_copied) in [(511, true), (512, false), (513, false)] {
            let mut queue = Queue::new(4096);
            let chunk = Bytes::from(vec![1; len]);
            queue.push_owned(chunk.clone());
            let taken = queue.take(usize::MAX, usize::MAX).into_vec();
            assert_eq!(taken[0].as_ptr() != chunk.as_ptr(), is_copied, "{len}");
        }
    }

    #[test]
    fn segments_double_up_to_their_bound_as_they_fill() {
        let mut queue = Queue::new(3000);
        for _ in 0..10_000 {
            queue.push_copy(b"x");
        }
        let sizes: Vec<usize> = queue.take_all().iter().map(Bytes::len).collect();
        assert_eq!(sizes[..5], [512, 1024, 2048, 3000, 3000]);
    }

    #[test]
    fn a_large_copy_begins_with_a_segment_of_its_size_and_stays_within_the_bound() {
        for (len, first) in [(100, 100), (700, 700), (5000, 3000)] {
            let mut queue = Queue::new(3000);
            queue.push_copy(&vec![b'x'; len]);
            let sizes: Vec<usize> = queue.take_all().iter().map(Bytes::len).collect();
            assert_eq!((sizes[0], sizes.iter().sum()), (first, len), "{sizes:?}");
        }
    }

    #[test]
    fn a_segment_is_filled_to_its_end_and_not_beyond() {
        let mut queue = Queue::new(3000);
        queue.push_copy(&[b'x'; 100]);
        queue.push_copy(&[b'x'; 600]);
        let sizes: Vec<usize> = queue.take_all().iter().map(Bytes::len).collect();
        assert_eq!(sizes, [512, 188]);
    }

    #[test]
    fn draining_a_queue_does_not_grow_its_segments() {
        let mut queue = Queue::new(3000);
        for _ in 0..20 {
            queue.push_copy(&[b'x'; 512]);
            assert_eq!(queue.take_all().len(), 1);
        }
        queue.push_copy(b"x");
        assert!(queue.tail.capacity() <= 1024, "{}", queue.tail.capacity());
    }

    #[test]
    fn small_messages_are_joined_into_one_chunk() {
        let mut queue = Queue::new(16 * 1024);
        for _ in 0..8 {
            queue.push_copy(&[7; 16]);
        }
        let taken = queue.take(usize::MAX, usize::MAX);
        assert_eq!((taken.count(), taken.bytes()), (1, 128));
    }

    #[test]
    fn put_back_goes_to_the_front() {
        let mut queue = Queue::new(1024);
        queue.push_copy(b"abcdef");
        let taken = queue.take(4, 9);
        queue.push_copy(b"gh");
        queue.put_back(taken.behind(1));
        let mut buf = [0; 16];
        let n = queue.copy_out(&mut buf);
        assert_eq!(&buf[..n], b"bcdefgh");
        assert!(queue.take_all().is_empty());
    }
}
