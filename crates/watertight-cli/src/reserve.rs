//! What `--start-at` holds back: bytes that were read and wait until there is enough of them. Destinations then get them in one
//! go, and again wait for enough once everything before has gone.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Bytes that wait for more. It begins empty, and fills.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// So many are enough.
    bytes_wanted: u64,
    bytes_held: u64,
    /// Shorter pieces are put together, so that a trickle takes no more memory than its bytes.
    block_bytes_max: usize,
    blocks: VecDeque<BytesMut>,
    is_filling: bool,
}

impl Reserve {
    /// Enough is this share of the buffer.
    pub(crate) fn new(buffer_bytes: u64, percent: u8, block_bytes_max: usize) -> Self {
        let share = (u128::from(buffer_bytes) * u128::from(percent)).div_ceil(100);
        Self {
            bytes_wanted: u64::try_from(share).unwrap_or(buffer_bytes).max(1),
            bytes_held: 0,
            block_bytes_max,
            blocks: VecDeque::new(),
            is_filling: true,
        }
    }

    /// How many bytes are missing until it is enough. None: everything may pass.
    pub(crate) fn missing(&self) -> Option<u64> {
        let missing = self.bytes_wanted.saturating_sub(self.bytes_held);
        self.is_filling.then_some(missing)
    }

    /// From now on what comes is held back.
    pub(crate) fn fill(&mut self) {
        self.is_filling = true;
    }

    /// Holds these bytes back, behind those that it has.
    pub(crate) fn put(&mut self, data: &[u8]) {
        self.bytes_held += data.len() as u64;
        match self.blocks.back_mut() {
            Some(last) if last.len() + data.len() <= self.block_bytes_max => {
                last.extend_from_slice(data);
            }
            Some(_) | None => self.blocks.push_back(BytesMut::from(data)),
        }
    }

    /// Everything may pass from now on, first of all what was held back.
    pub(crate) fn open(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        self.is_filling = false;
        self.bytes_held = 0;
        let blocks = std::mem::take(&mut self.blocks);
        blocks.into_iter().map(BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(reserve: &mut Reserve) -> Vec<Bytes> {
        reserve.open().collect()
    }

    #[test]
    fn it_fills_up_to_its_share_and_then_everything_passes() {
        let mut reserve = Reserve::new(1000, 80, 500);
        assert_eq!(reserve.missing(), Some(800));
        reserve.put(&[1; 400]);
        reserve.put(&[2; 399]);
        assert_eq!(reserve.missing(), Some(1));
        // More than enough is enough.
        reserve.put(&[3; 10]);
        assert_eq!(reserve.missing(), Some(0));
        let held = [&[1_u8; 400][..], &[2; 399], &[3; 10]].concat();
        assert_eq!(opened(&mut reserve).concat(), held);
        assert_eq!(reserve.missing(), None);
        reserve.fill();
        assert_eq!(reserve.missing(), Some(800));
        assert!(opened(&mut reserve).is_empty());
    }

    #[test]
    fn a_trickle_is_put_together_and_no_block_is_too_long() {
        let mut reserve = Reserve::new(1000, 100, 300);
        for byte in 0..=250 {
            reserve.put(&[byte; 4]);
        }
        let blocks = opened(&mut reserve);
        assert_eq!(blocks.len(), 4);
        assert!(blocks.iter().all(|block| block.len() <= 300));
        let expected: Vec<u8> = (0..=250).flat_map(|byte| [byte; 4]).collect();
        assert_eq!(blocks.concat(), expected);
    }

    #[test]
    fn a_share_is_at_least_a_byte_and_at_most_the_buffer() {
        for (buffer, percent, wanted) in [
            (1, 1, 1),
            (10, 1, 1),
            (10, 11, 2),
            (u64::MAX, 100, u64::MAX),
        ] {
            let reserve = Reserve::new(buffer, percent, 1);
            assert_eq!(reserve.missing(), Some(wanted), "{buffer} {percent}");
        }
    }
}
