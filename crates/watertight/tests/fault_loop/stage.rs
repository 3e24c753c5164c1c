//! What a scenario plays on: it drives our end and the peer from one thread and bounds every call.

use super::ends::{self, End, Place};
use super::peer::Peer;
use super::rules;
use super::stage_write::Dropped;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use watertight::{Direction, Operation, OsCode, Wait, fault};

/// How long a call may go without an answer once a fault holds everything up that has no end of its own.
const STALLED: Duration = Duration::from_millis(8);

/// How long anything may take before it is a hang. Never waited for when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a stop waits for an answer. All but a few answer at once; the bound must not pass because the machine is busy.
pub(crate) const STOP_WITHIN: Duration = Duration::from_millis(200);

/// How long a dropped writer goes on.
pub(crate) const LINGER: Duration = Duration::from_millis(10);

/// How much longer than its bound a stop may take before it counts as late: the machine may be busy.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// One run of a scenario.
pub(crate) struct Stage<'p> {
    pub(crate) place: &'p Place,
    /// The raw codes that somebody was told.
    pub(crate) told: Vec<OsCode>,
    /// What went otherwise than in a run without faults.
    pub(crate) unmet: Vec<&'static str>,
    /// A cancelled operation had no answer in time, so that some of its bytes are in doubt.
    pub(crate) in_doubt: bool,
    for_ever: bool,
    pub(crate) dropped: Vec<Dropped>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<'p> Stage<'p> {
    pub(crate) fn new(place: &'p Place, for_ever: bool) -> Self {
        Self {
            place,
            told: Vec::new(),
            unmet: Vec::new(),
            in_doubt: false,
            for_ever,
            dropped: Vec::new(),
        }
    }

    /// What holds unless a fault is told.
    pub(crate) fn expect(&mut self, met: bool, what: &'static str) {
        if !met {
            self.unmet.push(what);
        }
    }

    pub(crate) fn hear(&mut self, os: Option<OsCode>) {
        self.told.extend(os);
    }

    /// Waits for an answer while the peer does its part. `None`: a fault holds it up for ever, and it was given up.
    pub(crate) fn drive<O: Operation>(
        &mut self,
        wait: Wait<O>,
        peer: &mut Peer,
    ) -> Option<O::Output> {
        self.drive_beside(wait, || {
            if !peer.step() {
                peer.rest();
            }
        })
    }

    /// As `drive`, while both peers do their part.
    pub(crate) fn drive_between<O: Operation>(
        &mut self,
        wait: Wait<O>,
        feeds: &mut Peer,
        takes: &mut Peer,
    ) -> Option<O::Output> {
        self.drive_beside(wait, || {
            let (has_fed, has_taken) = (feeds.step(), takes.step());
            if !has_fed && !has_taken {
                rest();
            }
        })
    }

    /// As `drive`, while this is done whenever there is no answer yet. It rests for a moment, if there is nothing to do.
    pub(crate) fn drive_beside<O: Operation>(
        &mut self,
        wait: Wait<O>,
        mut act: impl FnMut(),
    ) -> Option<O::Output> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut wait = pin!(wait);
        let begin = Instant::now();
        loop {
            if let Poll::Ready(answer) = wait.as_mut().poll(&mut cx) {
                return Some(answer);
            }
            if self.gives_up(begin) {
                return None;
            }
            act();
        }
    }

    /// Waits for two answers at once.
    pub(crate) fn drive_both<A: Operation, B: Operation>(
        &mut self,
        first: Wait<A>,
        second: Wait<B>,
        peer: &mut Peer,
    ) -> (Option<A::Output>, Option<B::Output>) {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let (mut first, mut second) = (pin!(first), pin!(second));
        let (mut one, mut two) = (None, None);
        let begin = Instant::now();
        loop {
            one = one.or_else(|| ready(first.as_mut().poll(&mut cx)));
            two = two.or_else(|| ready(second.as_mut().poll(&mut cx)));
            if (one.is_some() && two.is_some()) || self.gives_up(begin) {
                return (one, two);
            }
            if !peer.step() {
                peer.rest();
            }
        }
    }

    /// Whether a fault holds everything up for ever. Without one there must be an answer some time.
    pub(crate) fn gives_up(&self, begin: Instant) -> bool {
        if self.for_ever && begin.elapsed() > STALLED && rules::stalls(&fault::begun()) {
            return true;
        }
        assert!(begin.elapsed() < PATIENCE, "hang: no answer");
        false
    }

    /// As `drive`, for what must end in any case.
    pub(crate) fn stop<O: Operation>(&mut self, wait: Wait<O>, peer: &mut Peer) -> O::Output {
        let for_ever = std::mem::take(&mut self.for_ever);
        let begin = Instant::now();
        let answer = self.drive(wait, peer).expect("without a bound it ends");
        assert!(
            begin.elapsed() < STOP_WITHIN + SLACK,
            "hang: a stop took {:?}",
            begin.elapsed()
        );
        self.for_ever = for_ever;
        answer
    }

    /// An inherited end comes by its number; every other as it is.
    pub(crate) fn by_number(&mut self, end: End, ours: OwnedFd, to_read: bool) -> Option<OwnedFd> {
        if end != End::Inherited {
            return Some(ours);
        }
        let direction = match to_read {
            true => Direction::Read,
            false => Direction::Write,
        };
        match watertight::inherited(ends::number(&ours), direction) {
            Ok(handle) => Some(handle),
            Err(failed) => {
                self.hear(failed.error.os);
                None
            }
        }
    }
}

/// Until the waker is called, or a moment: what the driver's thread writes wakes nobody here.
pub(crate) fn rest() {
    std::thread::park_timeout(Duration::from_millis(1));
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Pending => None,
        Poll::Ready(answer) => Some(answer),
    }
}
