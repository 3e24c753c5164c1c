//! What a forked child does with the poller's tables, of which it has copies: the epoll instance is the parent's.

use super::super::handle::Handle;
use super::Native;
use watertight_core::OpId;

impl Native {
    /// A forked child lets go of what an operation refers to. A table that another thread had at the fork stays as it is.
    pub(super) fn forget_elsewhere(&self, handle: &Handle, id: OpId) {
        self.asking.forget_elsewhere(id);
        let armed = self.armed.try_lock().ok();
        let removed = armed.and_then(|mut armed| armed.remove(handle.poll_key));
        drop(removed);
        if let Ok(mut passing) = self.passing.try_lock() {
            passing.retain(|one| one.id != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::calls::lock;
    use super::super::super::passing::Passing;
    use super::*;
    use crate::step::Direction;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use watertight_core::{Chunks, Key, OpKind};

    /// Nothing refers to the handle behind that, so that its descriptor can be closed.
    #[test]
    fn a_write_that_waits_for_memory_is_let_go_of_in_a_forked_child() {
        let native = Native::new().unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let handle = Arc::new(native.adopt(ours.into(), Direction::Write).unwrap());
        let pipe = Key {
            slot: 0,
            generation: 0,
        };
        let kind = OpKind::Write;
        let id = OpId { pipe, kind };
        let waiting = Passing::new(id, handle.clone(), Chunks::default());
        lock(&native.passing).push(waiting);
        native.forget_elsewhere(&handle, id);
        let handle = Arc::into_inner(handle).expect("nothing else refers to it");
        drop(native.release(handle));
    }
}
