//! What all writers still hold: for `settle`, and for the end of the process, when no lock may be waited for.

use super::{Driver, Pump, Slot};
use std::sync::Arc;
use watertight_core::{Backend, Ledger};

/// What a writer still has to settle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) ledger: Ledger,
    /// It was dropped, and is not over or has somebody who is still to hear so.
    pub(crate) is_lingering: bool,
    /// It failed, was stopped, or is over: nothing is transferred any more.
    pub(crate) is_stopped: bool,
    /// Somebody hears of its end.
    pub(crate) is_listening: bool,
    /// Its reader is an end of this process's own, which ends with the process.
    pub(crate) reads_itself: bool,
}

/// What all writers together still hold when the process ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AtExit {
    pub(crate) pipes: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_in_flight: u64,
    /// Waiting cannot help any of them.
    pub(crate) is_hopeless: bool,
    /// Somebody is still to hear of an end.
    pub(crate) is_listening: bool,
    /// Of some of them nobody will hear.
    pub(crate) is_untold: bool,
}

/// Writers, and how many of their bytes are to be settled.
pub(crate) type Goals = Vec<(Arc<dyn Pump>, u64)>;

impl<B: Backend> Driver<B> {
    /// The writers that are not dropped, and how much they had accepted.
    pub(crate) fn live_goals(&self) -> Goals {
        let (pipes, _) = self.pipes();
        let goal = |pipe: Arc<dyn Pump>| {
            let target = pipe.status().to_settle?;
            Some((pipe, target))
        };
        pipes.into_iter().filter_map(goal).collect()
    }

    /// What the goals still hold; at first, the goals are all writers with something to settle. `None` if a lock is taken.
    pub(crate) fn look_at_exit(&self, goals: &mut Option<Goals>) -> Option<AtExit> {
        if goals.is_none() {
            let pipes = self.pipes_if_free()?;
            let mut all = Goals::new();
            for pipe in pipes {
                let held = pipe.held()?;
                if held.is_lingering || (held.ledger.unsettled() > 0 && !held.is_stopped) {
                    all.push((pipe, held.ledger.accepted()));
                }
            }
            *goals = Some(all);
        }
        let mut left = AtExit {
            is_hopeless: true,
            ..AtExit::default()
        };
        for (pipe, target) in goals.iter().flatten() {
            let held = pipe.held()?;
            let is_open = !held.is_stopped && held.ledger.transferred() < *target;
            if !is_open && !held.is_lingering {
                continue;
            }
            left.pipes += 1;
            left.is_listening |= held.is_listening;
            left.is_hopeless &= held.reads_itself && is_open;
            if is_open {
                left.bytes += held.ledger.unsettled();
                left.bytes_in_flight += held.ledger.in_flight();
                left.is_untold |= !held.is_listening;
            }
        }
        Some(left)
    }

    /// Gives the kernel what is joined, as far as it takes it at once.
    pub(crate) fn send_joined_at_exit(&self) {
        for pipe in self.pipes_if_free().into_iter().flatten() {
            pipe.send_joined_at_exit();
        }
    }

    /// Stops those of whose end somebody is to hear.
    pub(crate) fn give_up_at_exit(&self) {
        for pipe in self.pipes_if_free().into_iter().flatten() {
            pipe.give_up_at_exit();
        }
    }

    /// All pipes, unless somebody has the registry.
    fn pipes_if_free(&self) -> Option<Vec<Arc<dyn Pump>>> {
        let registry = self.registry.try_lock()?;
        let pipes = registry.slots.iter().filter_map(Slot::pipe).cloned();
        Some(pipes.collect())
    }
}
