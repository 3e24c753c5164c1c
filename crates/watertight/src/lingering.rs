//! The dropped ends that are still sending, in the order of their drops, and the process's bound on them.
//!
//! Used under the driver's lock for it; nothing here calls out, and what is given up is only named.

use std::collections::BTreeMap;
use watertight_core::Key;

/// How much may linger in a process at once: dropped writers that still send what they accepted. Past it the oldest is given
/// up first, and told as a loss. A single writer never counts for more than its queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "bounds do nothing until they are set"]
pub struct LingeringBounds {
    pub(crate) bytes_max: u64,
    pub(crate) pipes_max: usize,
}

impl LingeringBounds {
    /// The default of [`LingeringBounds::bytes_max`]: a thousand full queues.
    pub const BYTES_MAX: u64 = 256 << 20;
    /// The default of [`LingeringBounds::pipes_max`]: more than a process's usual limit of descriptors.
    pub const PIPES_MAX: usize = 4096;

    /// The defaults.
    pub const fn new() -> Self {
        Self {
            bytes_max: Self::BYTES_MAX,
            pipes_max: Self::PIPES_MAX,
        }
    }

    /// How many bytes may linger, counted as they stood at each drop.
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// How many dropped writers may linger.
    pub const fn pipes_max(mut self, pipes: usize) -> Self {
        self.pipes_max = pipes;
        self
    }
}

impl Default for LingeringBounds {
    fn default() -> Self {
        Self::new()
    }
}

/// Those that linger, the oldest first.
#[derive(Default)]
pub(crate) struct Lingering {
    bounds: LingeringBounds,
    ends: BTreeMap<u64, (Key, u64)>,
    bytes: u64,
    next_id: u64,
}

impl Lingering {
    pub(crate) fn set_bounds(&mut self, bounds: LingeringBounds) -> Vec<Key> {
        self.bounds = bounds;
        self.surplus()
    }

    /// One begins to linger with so many bytes: its id, and those that are too many now.
    pub(crate) fn begin(&mut self, key: Key, bytes: u64) -> (u64, Vec<Key>) {
        self.next_id += 1;
        self.ends.insert(self.next_id, (key, bytes));
        self.bytes += bytes;
        (self.next_id, self.surplus())
    }

    /// One is over, or was given up. 0 is nobody.
    pub(crate) fn end(&mut self, id: u64) {
        if let Some((_, bytes)) = self.ends.remove(&id) {
            self.bytes -= bytes;
        }
    }

    /// The oldest, as long as there are too many.
    fn surplus(&mut self) -> Vec<Key> {
        let mut given_up = Vec::new();
        while self.bytes > self.bounds.bytes_max || self.ends.len() > self.bounds.pipes_max {
            let Some((_, (key, bytes))) = self.ends.pop_first() else {
                break;
            };
            self.bytes -= bytes;
            given_up.push(key);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key {
            slot,
            generation: 0,
        }
    }

    #[test]
    fn the_oldest_is_given_up_first_by_bytes_and_by_number() {
        let mut lingering = Lingering::default();
        let bounds = LingeringBounds::new().bytes_max(100).pipes_max(3);
        assert_eq!(lingering.set_bounds(bounds), []);
        assert_eq!(lingering.begin(key(1), 60), (1, vec![]));
        assert_eq!(lingering.begin(key(2), 40), (2, vec![]));
        assert_eq!(lingering.begin(key(3), 1), (3, vec![key(1)]));
        lingering.end(1);
        lingering.end(2);
        assert_eq!(lingering.begin(key(4), 99), (4, vec![]));
        assert_eq!(lingering.begin(key(5), 0), (5, vec![]));
        assert_eq!(lingering.begin(key(6), 0), (6, vec![key(3)]));
        assert_eq!(lingering.set_bounds(bounds.bytes_max(0)), [key(4)]);
        assert_eq!((lingering.bytes, lingering.ends.len()), (0, 2));
    }
}
