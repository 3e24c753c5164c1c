//! What comes next in an ending (`terminate.rs`), from what is known at the moment: a function without effects, and a table of all of it.

use std::time::Duration;
use watertight_core::Moment;

/// How often to look whether a tree that was asked to end is over, when its child is: nobody tells that.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How far an ending is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Whoever is meant was asked to end, and is killed then.
    Asked(Moment),
    /// Whoever was left was killed.
    Killed,
}

/// What is known at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) now: Moment,
    /// The child is over, and not reaped.
    pub(super) is_over: bool,
    /// Whether all of its tree are over who were asked, the child aside. `None`: the child alone is meant.
    pub(super) is_tree_over: Option<bool>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Whoever is meant is killed.
    Kill,
    /// The child is reaped, and its end is told.
    Reap,
    /// Nothing, and it is looked at again then, if the child's end is not told before.
    Stay(Option<Moment>),
}

/// The first phase, once whoever is meant was asked. Who cannot be asked is killed: if that fails too, it is told.
pub(super) fn begun(is_asked: bool, now: Moment, grace: Duration) -> Phase {
    Phase::Asked(if is_asked { now.after(grace) } else { now })
}

/// What comes next.
pub(super) fn next(phase: Phase, known: Known) -> Next {
    let Known {
        now,
        is_over,
        is_tree_over,
    } = known;
    match phase {
        Phase::Asked(due) if now < due && !is_over => Next::Stay(Some(due)),
        Phase::Asked(due) if now < due && is_tree_over == Some(false) => {
            Next::Stay(Some(due.min(now.after(LOOK_EVERY))))
        }
        Phase::Asked(_) if is_over && is_tree_over.is_none() => Next::Reap,
        // The grace is over, or all are who were asked: whoever was started meanwhile is in reach until the child is reaped.
        Phase::Asked(_) => Next::Kill,
        Phase::Killed if is_over => Next::Reap,
        Phase::Killed => Next::Stay(None),
    }
}

#[cfg(test)]
#[path = "terminate_rule_tests.rs"]
mod tests;
