//! A thread that waits by itself, in one call, until one of several destinations takes more.

use super::branches::Branches;
use super::private::Round;
use crate::joined;
use crate::pump_read::MayBlock;
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{Backend, MoveNow};

/// What came of it.
pub(super) enum AllBlocked {
    /// Whatever it was: look again.
    Awake,
    /// The bound has passed.
    Late,
    /// Nothing is in the source: that one is waited for.
    Source,
    /// Not offered, or not now.
    Unavailable,
}

/// Those that are waited for, and their handles.
type Blocked<B> = Vec<(usize, Arc<<B as Backend>::Handle>)>;

impl<B: Backend> Branches<'_, B> {
    /// Those that get the source's first bytes next are waited for, since now if they have not been before; or they are not.
    pub(super) fn wait_for_front(&mut self, is_waited_for: bool, round: &Round<'_, B>) {
        let start = round.from.ledger().transferred();
        for branch in &mut self.all {
            if branch.wants_copies(start) {
                branch.wait_while(is_waited_for, round.now);
            }
        }
    }

    /// Blocks this thread until one of those for which the source has something may take it, at most as long as it may. It comes back for
    /// whatever its waker is called for, and a stop of any end calls it. Meanwhile this thread is the one inside of each (D2): what others
    /// send is queued behind, and goes out once it is back.
    pub(super) fn block(&mut self, round: &Round<'_, B>) -> AllBlocked {
        let MayBlock::Until(until) = round.may_block else {
            return AllBlocked::Unavailable;
        };
        let backend = &round.from.driver.backend;
        let left = until.map(|until| backend.now().until(until));
        if joined::send_all() {
            // Observers may have run, and have taken a wake that was about the source.
            return AllBlocked::Awake;
        }
        let mut blocked = Blocked::<B>::new();
        let start = round.from.ledger().transferred();
        let mut is_hindered = false;
        for (index, branch) in self.all.iter_mut().enumerate() {
            if !branch.wants_copies(start) {
                continue;
            }
            match branch.begin_block(round.waker) {
                Some(handle) => blocked.push((index, handle)),
                // Somebody else is at it: a page that is queued behind that is the wait. Of a stop the next step tells.
                None => is_hindered |= branch.may_queue(round.waker),
            }
        }
        let answer = if is_hindered {
            AllBlocked::Unavailable
        } else {
            self.block_for(&blocked, left, round)
        };
        for (index, handle) in blocked {
            self.all[index].end_block(handle);
        }
        answer
    }

    fn block_for(
        &self,
        blocked: &Blocked<B>,
        left: Option<Duration>,
        round: &Round<'_, B>,
    ) -> AllBlocked {
        let Some((_, first)) = blocked.first() else {
            return AllBlocked::Awake;
        };
        // O12: a destination that is waited for must not hide an empty source.
        match round.from.who_waits(first) {
            Some(MoveNow::DestinationWait) => {}
            Some(MoveNow::SourceWait) => return AllBlocked::Source,
            Some(MoveNow::EndOfStream | MoveNow::ReadFailed(..)) => return AllBlocked::Awake,
            None
            | Some(
                MoveNow::Moved(_) | MoveNow::Unavailable | MoveNow::Wait | MoveNow::WriteFailed(..),
            ) => return AllBlocked::Unavailable,
        }
        if left == Some(Duration::ZERO) {
            return AllBlocked::Late;
        }
        let handles: Vec<&B::Handle> = blocked.iter().map(|(_, handle)| &**handle).collect();
        let backend = &round.from.driver.backend;
        if backend.block_until_writable(&handles, left) {
            AllBlocked::Awake
        } else {
            AllBlocked::Unavailable
        }
    }
}
