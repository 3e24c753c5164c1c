//! A reader whose tasks wait in a reactor of the caller's (tokio's) and not in the library's own.
//!
//! To the half such a wait is an operation in flight like any other: an `Op::WaitReadable` that went to the reactor and not to
//! the backend. `State::is_in_reactor` says so, and whoever sets it back answers for the operation: the reactor's wake, a
//! cancel, or a caller that the reactor does not serve.

use super::{MayBlock, ReaderCell, State};
use crate::driver::{Answer, BackendCall};
use crate::sync::Mutex;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Weak};
use std::task::{Poll, Wake, Waker};
use watertight_core::{Backend, Op, OpKind, Outcome, ReadNow};

/// The reactor has ended: it tells nobody anything any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// A handle's registration with a reactor.
pub(crate) trait Reactor: Send + Sync {
    /// Whether there may be something to read. `Pending`: not as far as the reactor knows, and `waker` is called once there is.
    fn poll_ready(&self, waker: &Waker) -> Poll<Result<(), Gone>>;

    /// As `poll_ready`, and reads until a read finds something. `Pending`: every read found nothing, if one was made at all.
    fn poll_read(
        &self,
        waker: &Waker,
        read: &mut dyn FnMut() -> ReadNow,
    ) -> Poll<Result<ReadNow, Gone>>;

    /// Whether the calling thread is one that runs this reactor.
    fn is_here(&self) -> bool;
}

/// A reader's place in a reactor.
pub(super) struct InReactor {
    /// Until the reactor or the reader ends.
    registration: Mutex<Option<Arc<dyn Reactor>>>,
    /// What the reactor calls, whichever task waits.
    waker: Waker,
}

impl InReactor {
    pub(super) fn new<B: Backend>(
        registration: Arc<dyn Reactor>,
        cell: &Weak<ReaderCell<B>>,
    ) -> Self {
        Self {
            registration: Mutex::new(Some(registration)),
            waker: Waker::from(Arc::new(ReactorWake(cell.clone()))),
        }
    }

    /// Whether a thread is at the registration. In a forked child one of the parent's is for ever.
    pub(super) fn is_held(&self) -> bool {
        self.registration.is_held()
    }

    /// The registration's lock, held.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn held(&self) -> impl Sized {
        self.registration.lock()
    }
}

/// The reactor says that there may be something to read.
struct ReactorWake<B: Backend>(Weak<ReaderCell<B>>);

impl<B: Backend> Wake for ReactorWake<B> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(cell) = self.0.upgrade() {
            cell.answer_in_reactor();
        }
    }
}

impl<B: Backend> ReaderCell<B> {
    /// The registration and the waker for it, if there is a reactor.
    fn in_reactor(&self) -> Option<(Arc<dyn Reactor>, &Waker)> {
        let place = self.reactor.as_ref()?;
        let registration = place.registration.lock().clone()?;
        Some((registration, &place.waker))
    }

    /// Reads at once. A task does it with the reactor's knowledge, so that it need not look twice before it waits.
    pub(super) fn read_directly(
        &self,
        handle: &B::Handle,
        buf: &mut [u8],
        may_block: MayBlock,
    ) -> ReadNow {
        self.read_seen(may_block, || self.driver.backend.read_now(handle, buf))
    }

    /// Makes a call that reads, with the reactor's knowledge if a task makes it.
    pub(super) fn read_seen(
        &self,
        may_block: MayBlock,
        mut read: impl FnMut() -> ReadNow,
    ) -> ReadNow {
        let in_reactor = (may_block == MayBlock::No).then(|| self.in_reactor());
        let Some((registration, waker)) = in_reactor.flatten() else {
            return read();
        };
        let mut last = None;
        let answer = registration.poll_read(waker, &mut || *last.insert(read()));
        match answer {
            Poll::Ready(Ok(now)) => now,
            Poll::Ready(Err(Gone)) => {
                self.leave_reactor();
                read()
            }
            // What came since the reactor looked last, or before it looked first.
            Poll::Pending => last.unwrap_or_else(read),
        }
    }

    /// Carries out a step, a wait for something to read in the reactor if there is one.
    pub(super) fn perform(&self, step: BackendCall<B>) -> Answer {
        let answer = match &step {
            BackendCall::Submit(_, _, Op::WaitReadable) => self.wait_in_reactor(),
            BackendCall::Cancel(_, id) if id.kind == OpKind::WaitReadable => self
                .take_back_from_reactor()
                .then(|| Answer::Settled(OpKind::WaitReadable, Outcome::cancelled())),
            BackendCall::Close(..) => {
                self.leave_reactor();
                None
            }
            BackendCall::Submit(..) | BackendCall::Cancel(..) => None,
        };
        answer.unwrap_or_else(|| self.driver.perform(step))
    }

    /// Begins to wait in the reactor; `None`: there is none for this thread.
    fn wait_in_reactor(&self) -> Option<Answer> {
        let (registration, waker) = self.in_reactor()?;
        if !registration.is_here() {
            return None;
        }
        self.lock().is_in_reactor = true;
        let Poll::Ready(answer) = registration.poll_ready(waker) else {
            return Some(Answer::InFlight);
        };
        // The waker may have been called already, and has answered then.
        let is_ours = self.take_back_from_reactor();
        if answer.is_err() {
            self.leave_reactor();
        }
        match (is_ours, answer) {
            (false, _) => Some(Answer::InFlight),
            (true, Ok(())) => Some(Answer::Settled(OpKind::WaitReadable, Outcome::Ready)),
            (true, Err(Gone)) => None,
        }
    }

    /// The wait is the caller's to answer, if it is in the reactor.
    fn take_back_from_reactor(&self) -> bool {
        self.reactor.is_some() && self.lock().leave_reactor()
    }

    /// Answers a wait that is in the reactor: look again.
    fn answer_in_reactor(self: &Arc<Self>) {
        self.change(|state| {
            if state.leave_reactor() {
                state.half.handle_completion(Outcome::Ready);
            }
        });
        self.pump();
    }

    /// Somebody reads whom the reactor does not serve, and who knows whether it still runs: the wait is taken out of it.
    pub(super) fn leave_reactor_to_others(self: &Arc<Self>, may_block: MayBlock) {
        if self.reactor.is_none() || !self.lock().is_in_reactor {
            return;
        }
        let is_served = may_block == MayBlock::No
            && self
                .in_reactor()
                .is_some_and(|(registration, _)| registration.is_here());
        if !is_served {
            self.answer_in_reactor();
        }
    }

    /// Ends the registration: before the handle is closed or given away, for it has a copy of it.
    pub(super) fn leave_reactor(&self) {
        let Some(place) = &self.reactor else { return };
        let registration = place.registration.lock().take();
        if self.driver.refuse_elsewhere().is_err() {
            // A forked child: ending it would take it out of the parent's reactor, which both share.
            let _kept = ManuallyDrop::new(registration);
        }
    }
}

impl<B: Backend> State<B> {
    /// Whether a wait was in the reactor, which it is no longer.
    fn leave_reactor(&mut self) -> bool {
        std::mem::take(&mut self.is_in_reactor)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use watertight_os::Native;

    #[test]
    fn a_reader_at_rest_is_small() {
        assert!(size_of::<State<Native>>() <= 176);
    }
}
