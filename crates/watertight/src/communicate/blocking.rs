//! How a thread waits for both outputs of a child and for its end at once, in one call of its own.

use super::Communicate;
use super::capture::Capture;
use crate::child::Child;
use crate::child::exit_wait::ExitWait;
use crate::handle::Native;
use crate::pump_read::{MayRead, ReaderCell};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, Moment, Verb};
use watertight_os::Reaped;

/// An output that this thread blocks on.
struct Blocked {
    cell: Arc<ReaderCell<Native>>,
    may_read: MayRead<Native>,
}

impl Blocked {
    fn begin(capture: &Capture<Native>, is_over: bool, waker: &Waker) -> Begun {
        let Some(reader) = capture.awaited(is_over) else {
            return Begun::NotAwaited;
        };
        match reader.cell().begin_block(waker) {
            None => Begun::Unavailable,
            Some(may_read) => Begun::Blocked(Self {
                cell: reader.cell().clone(),
                may_read,
            }),
        }
    }
}

/// What came of the attempt to block on an output.
enum Begun {
    Blocked(Blocked),
    NotAwaited,
    /// Somebody else reads, or an operation does.
    Unavailable,
}

impl Begun {
    const fn blocked(&self) -> Option<&Blocked> {
        match self {
            Begun::Blocked(blocked) => Some(blocked),
            Begun::NotAwaited | Begun::Unavailable => None,
        }
    }

    fn end(self) {
        if let Begun::Blocked(Blocked { cell, may_read }) = self {
            cell.end_block(may_read);
        }
    }
}

/// Whether the child is over. What the thread that blocked on it was told counts, also while the system does not say how it ended
/// (somebody traces it).
pub(super) fn look_at_exit(
    child: &Child,
    exit: &mut ExitWait,
    is_end_told: bool,
    waker: &Waker,
) -> Poll<Result<(), Cause>> {
    child.driver.refuse_elsewhere()?;
    match child.process.peek() {
        Ok(Reaped::Running) if !is_end_told => Poll::Pending,
        Ok(_) => Poll::Ready(Ok(())),
        // The other way may be open.
        Err(_) => child.poll_exited(exit, waker),
    }
}

impl Communicate {
    /// In a forked child nothing goes on: the pipes and the end are the parent's.
    pub(super) fn refuse_elsewhere(&self) -> Result<(), Error> {
        let here = self.child.driver.refuse_elsewhere();
        here.map_err(|cause| Error::without_bytes(Verb::Run, cause))
    }

    /// Blocks this thread until there is something to read, the child is over, somebody wakes the thread, or until then. Whether that
    /// is offered; if not, another way has to be taken.
    pub(super) fn block(&mut self, waker: &Waker, until: Option<Moment>) -> bool {
        let is_over = self.outputs.is_over();
        let outputs = [&self.outputs.stdout, &self.outputs.stderr];
        let begun = outputs.map(|one| Blocked::begin(one, is_over, waker));
        let is_available = !begun.iter().any(|one| matches!(one, Begun::Unavailable));
        let blocked = begun.iter().filter_map(Begun::blocked);
        let handles: Vec<_> = blocked.map(|one| &*one.may_read.handle).collect();
        let now = self.child.driver.backend.now();
        let left = until.map(|until| now.until(until));
        let process = &self.child.process;
        let told = is_available
            .then(|| process.block_with_outputs(&handles, !is_over, left))
            .flatten();
        drop(handles);
        begun.into_iter().for_each(Begun::end);
        self.is_end_told |= told == Some(true);
        told.is_some()
    }
}
