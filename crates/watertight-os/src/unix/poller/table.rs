//! The operations that wait for readiness, by their handle's number in the poller.
//!
//! What a write has and a wait for something to read has not is in a table of its own: of those there may be thousands.

use super::super::handle::Handle;
use std::collections::HashMap;
use std::sync::Arc;
use watertight_core::{Chunks, OpId};

/// An operation that waits for readiness.
pub(super) struct Armed {
    pub(super) id: OpId,
    pub(super) handle: Arc<Handle>,
    /// A write; or else a wait for something to read.
    pub(super) is_write: bool,
    /// The driver's thread is performing it right now.
    pub(super) is_running: bool,
    /// A cancel came meanwhile: it must not wait again.
    pub(super) is_cancelled: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Table {
    armed: HashMap<usize, Armed>,
    /// What the writes among them write.
    chunks: HashMap<usize, Chunks>,
}

impl Table {
    /// Adds one, with what it writes, if it is a write.
    pub(super) fn add(&mut self, id: OpId, handle: &Arc<Handle>, chunks: Option<Chunks>) -> &Armed {
        let key = handle.poll_key;
        let armed = Armed {
            id,
            handle: handle.clone(),
            is_write: chunks.is_some(),
            is_running: false,
            is_cancelled: false,
        };
        if let Some(chunks) = chunks {
            self.chunks.insert(key, chunks);
        }
        self.armed.entry(key).insert_entry(armed).into_mut()
    }

    /// One begins to run, if it is still here: what it is about.
    pub(super) fn run(&mut self, key: usize) -> Option<(OpId, Arc<Handle>, Option<Chunks>)> {
        let armed = self.armed.get_mut(&key)?;
        armed.is_running = true;
        let chunks = if armed.is_write {
            self.chunks.get(&key).cloned()
        } else {
            None
        };
        Some((armed.id, armed.handle.clone(), chunks))
    }

    pub(super) fn armed_mut(&mut self, key: usize) -> Option<&mut Armed> {
        self.armed.get_mut(&key)
    }

    /// Takes one out, with what it writes.
    pub(super) fn remove(&mut self, key: usize) -> Option<(Armed, Option<Chunks>)> {
        let armed = self.armed.remove(&key)?;
        let chunks = if armed.is_write {
            self.chunks.remove(&key)
        } else {
            None
        };
        Some((armed, chunks))
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_something_to_read_has_no_room_for_a_writes_bytes() {
        assert!(size_of::<(usize, Armed)>() <= 32);
    }
}
