//! A pipe of our own between the source and one destination of several: what is in it is a copy of what is in the source still.

use crate::driver::Driver;
use crate::passage::sooner;
use crate::pump_read::{MayBlock, MoveHow, ReaderCell};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::task::Waker;
use watertight_core::{Backend, Moment, MoveNow, MoveScope, ReadNow};

/// How bytes are moved inside the kernel in one step of a wait.
pub(super) struct Round<'r, B: Backend> {
    pub(super) from: &'r Arc<ReaderCell<B>>,
    /// How many bytes may still be taken from the source.
    pub(super) left: u64,
    /// Also where it differs from a read and a write.
    pub(super) everywhere: bool,
    /// But where a disk may be waited for: whoever waits for one holds up all others.
    pub(super) without_disk: bool,
    pub(super) may_block: MayBlock,
    /// The time, if somebody looks at it.
    pub(super) now: Option<Moment>,
    pub(super) waker: &'r Waker,
}

impl<B: Backend> Round<'_, B> {
    /// Which moves are asked for.
    pub(super) fn scope(&self) -> MoveScope {
        let scope = self.may_block.move_scope(self.everywhere);
        if self.without_disk && scope == MoveScope::Everywhere {
            MoveScope::WithoutDisk
        } else {
            scope
        }
    }

    /// The same for a thread that does not block now, although it may.
    pub(super) fn at_once(&self) -> Self {
        Self {
            from: self.from,
            left: self.left,
            everywhere: self.everywhere,
            without_disk: self.without_disk,
            may_block: sooner(self.may_block, Some(Moment(0))),
            now: self.now,
            waker: self.waker,
        }
    }
}

/// The reading end and the writing end of one pipe.
type Ends<B> = (Arc<<B as Backend>::Handle>, Arc<<B as Backend>::Handle>);

/// The pipe, and how many bytes are in it.
pub(super) struct PrivatePipe<B: Backend> {
    driver: Arc<Driver<B>>,
    /// Until they are closed.
    ends: Option<Ends<B>>,
    bytes: u64,
}

impl<B: Backend> PrivatePipe<B> {
    /// One for copies out of this source, if they are offered.
    pub(super) fn new(driver: &Arc<Driver<B>>, from: &B::Handle, everywhere: bool) -> Option<Self> {
        let (out, into) = driver.backend.private_pipe(from, everywhere)?;
        Some(Self {
            driver: driver.clone(),
            ends: Some((Arc::new(out), Arc::new(into))),
            bytes: 0,
        })
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies the source's first bytes into it. It is empty, and the caller has the source.
    pub(super) fn copy(&mut self, from: &B::Handle, round: &Round<'_, B>) -> MoveNow {
        debug_assert_eq!(self.bytes, 0, "a copy begins with the source's first byte");
        let how = MoveHow {
            // A size past the address space is no bound.
            bytes_max: usize::try_from(round.left).unwrap_or(usize::MAX),
            scope: round.scope(),
            asks: false,
        };
        let (_, into) = self.ends();
        let source = round.from;
        let copied = source.duplicate_to(round.may_block, (from, into), how, true);
        if let MoveNow::Moved(n) = copied {
            self.bytes = n as u64;
        }
        copied
    }

    /// Moves what it has to the destination.
    pub(super) fn move_to(&mut self, to: &B::Handle, round: &Round<'_, B>) -> MoveNow {
        let bytes_max = usize::try_from(self.bytes).expect("no more than a pipe holds");
        let (out, _) = self.ends();
        let backend = &self.driver.backend;
        let moved = backend.move_now(out, to, bytes_max, round.scope());
        if let MoveNow::Moved(n) = moved {
            self.bytes -= n as u64;
        }
        moved
    }

    /// Reads some of what it has; nothing if that fails, and then nobody knows what is in it.
    pub(super) fn read(&mut self, bytes_max: u64) -> Option<Bytes> {
        let wanted = usize::try_from(bytes_max.min(self.bytes));
        let mut buffer = BytesMut::zeroed(wanted.expect("no more than a pipe holds"));
        let (out, _) = self.ends();
        let ReadNow::Data(n) = self.driver.backend.read_now(out, &mut buffer) else {
            return None;
        };
        buffer.truncate(n);
        self.bytes -= n as u64;
        Some(buffer.freeze())
    }

    fn ends(&self) -> (&B::Handle, &B::Handle) {
        let (out, into) = self.ends.as_ref().expect("closed when it is dropped");
        (out.as_ref(), into.as_ref())
    }
}

impl<B: Backend> Drop for PrivatePipe<B> {
    fn drop(&mut self) {
        let Some((out, into)) = self.ends.take() else {
            return;
        };
        for end in [out, into] {
            // E7: what was in it is a copy, so a failure changes nothing for anybody.
            let _ = self.driver.backend.close(end, false);
        }
    }
}
