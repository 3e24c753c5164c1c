//! The one mailbox of a copy: everything that can happen arrives here, so that one `recv` waits for all of it.
//!
//! It has no bound of its own, and needs none: the source may only send as many chunks as it was given credit for, and
//! everything else happens once, is coalesced (`AccountAsked`, `Wake`), or comes once for each time that it was looked (`ChildMayBeOver`,
//! `MayBeRead`).

use crate::end::End;
use crate::opened::OpenedPath;
use crate::source_ending::SourceEnding;
use crate::unread::Answer;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use watertight::{Found, Receipt};

/// Who wakes so much later than it asked for was stopped meanwhile (Ctrl-Z, a debugger, a sleeping machine).
const LATE_BY: Duration = Duration::from_millis(250);

/// Something happened.
pub(crate) enum Event {
    /// Somebody wants to know how far everything is.
    AccountAsked,
    /// A child may be over: it is to be looked at.
    ChildMayBeOver(End),
    /// The source's next bytes.
    Data(Bytes),
    /// A destination's pipe is over.
    DestinationEnded(usize, Receipt),
    /// A signal asks us to stop.
    Interrupted(i32),
    /// The source has given as many bytes as are wanted, and is closed next.
    LimitReached,
    /// A destination's child may have read everything: it is to be asked.
    MayBeRead(usize),
    /// A path is open, or cannot be opened.
    Opened(End, Result<OpenedPath, String>),
    /// Whether a destination's peer has read everything; `None` if it cannot be known.
    ReadByPeer(usize, Option<bool>),
    /// Nothing more comes from the source.
    SourceEnded(SourceEnding),
    /// A child's tree that was to end has ended; who of it is left.
    TreeEnded(End, Vec<Found>),
    /// How much of a destination's pipe its reader has not taken.
    Unread(usize, Answer),
    /// A destination got on.
    Wake,
}

/// Where events are posted. Never blocks.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Event>,
    asked: Arc<AtomicBool>,
    woken: Arc<AtomicBool>,
    /// Nobody waits for progress.
    is_progress_idle: Arc<AtomicBool>,
}

/// Where events are taken out.
pub(crate) struct Inbox {
    receiver: Receiver<Event>,
    asked: Arc<AtomicBool>,
    woken: Arc<AtomicBool>,
}

/// A new mailbox.
pub(crate) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = channel();
    let asked = Arc::new(AtomicBool::new(false));
    let woken = Arc::new(AtomicBool::new(false));
    let mailbox = Mailbox {
        sender,
        asked: asked.clone(),
        woken: woken.clone(),
        is_progress_idle: Arc::default(),
    };
    let inbox = Inbox {
        receiver,
        asked,
        woken,
    };
    (mailbox, inbox)
}

impl Mailbox {
    /// Posts an event. If the copy is over, nobody is left to care.
    pub(crate) fn post(&self, event: Event) {
        let _ = self.sender.send(event);
    }

    /// Posts an `AccountAsked`, unless one is waiting already.
    pub(crate) fn ask_for_account(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.post(Event::AccountAsked);
        }
    }

    /// Says whether anybody waits for progress. After "yes" whoever says it looks once.
    pub(crate) fn wants_progress(&self, yes: bool) {
        self.is_progress_idle.store(!yes, Ordering::SeqCst);
    }

    /// Posts a `Wake` because bytes moved, unless nobody waits for that.
    pub(crate) fn wake_for_progress(&self) {
        if !self.is_progress_idle.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Posts a `Wake`, unless one is waiting already.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.post(Event::Wake);
        }
    }

    pub(crate) fn interrupt(&self, signal: i32) {
        self.post(Event::Interrupted(signal));
    }
}

impl Inbox {
    /// The next event; `None` when the deadline passed first.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Option<Event> {
        let event = match deadline {
            None => self.receiver.recv().ok(),
            Some(deadline) => {
                let rest = deadline.saturating_duration_since(Instant::now());
                self.receiver.recv_timeout(rest).ok()
            }
        };
        if matches!(event, Some(Event::AccountAsked)) {
            self.asked.store(false, Ordering::Release);
        }
        if matches!(event, Some(Event::Wake)) {
            // Before anybody looks at the ledgers: what moves from now on posts a new one.
            self.woken.store(false, Ordering::Release);
        }
        event
    }
}

/// Whether a wait for this deadline ended so late that this program cannot have been running.
pub(crate) fn is_late(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now.saturating_duration_since(deadline) >= LATE_BY)
}
