//! Whoever the commands of a copy have left behind when it is over: they live on after a success, and are ended after everything else.
//!
//! Never here: what ends a command that is not over (`copy.rs`).

use crate::child::ChildOfEnd;
use crate::child_status::ChildStatus;
use crate::end::End;
use crate::event::{Event, Inbox};
use crate::flags::FailurePolicy;
use std::time::Instant;

/// The commands of a copy that is over. None of them is reaped before this is dropped: so those whom they have started stay in reach.
pub(crate) struct LeftBehind {
    /// The source's first, then the destinations'.
    children: Vec<ChildOfEnd>,
    inbox: Inbox,
    policy: FailurePolicy,
}

impl LeftBehind {
    pub(crate) fn new(children: Vec<ChildOfEnd>, inbox: Inbox, policy: FailurePolicy) -> Self {
        Self {
            children,
            inbox,
            policy,
        }
    }

    /// How the commands ended, by what is known now.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = Option<ChildStatus>> {
        self.children.iter().map(ChildOfEnd::status)
    }

    /// What the copy has come to is known. It may turn out later that it was no success.
    pub(crate) fn settle(&mut self, is_success: bool) {
        if is_success {
            self.children.iter_mut().for_each(ChildOfEnd::release);
        } else {
            self.end();
        }
    }

    /// All are asked to end, and killed after the grace. With `--on-failure end` those of destinations live on: one of them may be writing
    /// the end of what it has got.
    fn end(&mut self) {
        let now = Instant::now();
        for (index, child) in self.children.iter_mut().enumerate() {
            if index > 0 && self.policy == FailurePolicy::End {
                child.release();
            } else {
                child.stop(now);
            }
        }
        // Each is ended by a thread that tells it within a bound.
        while !self.children.iter().all(ChildOfEnd::is_over)
            && let Some(event) = self.inbox.next(None)
        {
            if let Event::TreeEnded(end, left) = event {
                self.child_of(end).handle_tree(&left);
            }
        }
    }

    fn child_of(&mut self, end: End) -> &mut ChildOfEnd {
        match end {
            End::Destination(index) => &mut self.children[index + 1],
            End::Source => &mut self.children[0],
        }
    }
}
