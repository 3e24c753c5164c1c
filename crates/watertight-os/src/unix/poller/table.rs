//! The operations that wait for readiness, by their handle's number in the poller.
//!
//! Of waits for something to read there may be thousands, so each has only what it needs: the number is the handle's, and what a
//! write has besides is in a table of its own.

use super::super::handle::Handle;
use super::super::readiness::Interest;
use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use watertight_core::{Chunks, OpId, OpKind};

/// An operation that waits for readiness: a write, or a wait for something to read. The table knows it by its handle's number,
/// which never changes.
pub(super) struct Armed {
    pub(super) id: OpId,
    pub(super) handle: Arc<Handle>,
    /// The driver's thread is performing it right now.
    pub(super) is_running: Cell<bool>,
    /// A cancel came meanwhile: it must not wait again.
    pub(super) is_cancelled: Cell<bool>,
}

impl Armed {
    /// What its handle has to be ready for.
    pub(super) fn interest(&self) -> Interest {
        if self.is_write() {
            Interest::Write
        } else {
            Interest::Read
        }
    }

    fn is_write(&self) -> bool {
        self.id.kind == OpKind::Write
    }
}

impl Borrow<usize> for Armed {
    fn borrow(&self) -> &usize {
        &self.handle.poll_key
    }
}

impl Eq for Armed {}

impl PartialEq for Armed {
    fn eq(&self, other: &Self) -> bool {
        self.handle.poll_key == other.handle.poll_key
    }
}

impl Hash for Armed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.handle.poll_key.hash(state);
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Table {
    armed: HashSet<Armed>,
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
            is_running: Cell::new(false),
            is_cancelled: Cell::new(false),
        };
        if let Some(chunks) = chunks {
            self.chunks.insert(key, chunks);
        }
        // O1: there was none of this handle.
        drop(self.armed.replace(armed));
        self.armed.get(&key).expect("it was just added")
    }

    /// One begins to run, if it is still here: what it is about.
    pub(super) fn run(&self, key: usize) -> Option<(OpId, Arc<Handle>, Option<Chunks>)> {
        let armed = self.armed.get(&key)?;
        armed.is_running.set(true);
        let chunks = if armed.is_write() {
            self.chunks.get(&key).cloned()
        } else {
            None
        };
        Some((armed.id, armed.handle.clone(), chunks))
    }

    pub(super) fn armed(&self, key: usize) -> Option<&Armed> {
        self.armed.get(&key)
    }

    /// Takes one out, with what it writes.
    pub(super) fn remove(&mut self, key: usize) -> Option<(Armed, Option<Chunks>)> {
        let armed = self.armed.take(&key)?;
        let chunks = if armed.is_write() {
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
        assert!(size_of::<Armed>() <= 24);
    }
}
