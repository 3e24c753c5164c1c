//! What comes next in a `communicate`, from what is known at the moment: a function without effects, and a table of all of it.

use super::outcome::{AfterExit, EndedBy};
use std::time::Duration;
use watertight_core::Moment;

/// How often to look whether a tree that was asked to end is over, when its child is: nobody tells that.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long after the child's exit somebody may take to tell of what it has written, when the reading is to end for another reason than
/// silence. It takes well under a millisecond unless the machine is busy.
const READ_OUT_WITHIN: Duration = Duration::from_millis(500);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Everything goes on.
    Going,
    /// The tree was asked to end, and is killed then.
    Asked(EndedBy, Moment),
    /// The tree was killed; what is in the pipes is read until then.
    Killed(EndedBy, Moment),
    /// The streams are being closed.
    Closing(EndedBy),
}

/// What is known at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(super) now: Moment,
    /// When the child was seen to be over.
    pub(super) exited_at: Option<Moment>,
    /// The system cannot tell whether the child is over.
    pub(super) is_unheard: bool,
    /// Both outputs are at their ends.
    pub(super) has_ended: bool,
    /// An output is past its bound, and that ends it.
    pub(super) is_past_bound: bool,
    /// How often somebody asked for the end.
    pub(super) requests: u32,
    /// The deadline.
    pub(super) due: Option<Moment>,
    /// How long to go on after the child's exit.
    pub(super) after_exit: AfterExit,
    /// The outputs were looked at once more since the child was seen to be over.
    pub(super) is_read_out: bool,
    /// What came waits for whoever it is passed on to: that is no silence of the child's.
    pub(super) is_held_up: bool,
    /// When something came last.
    pub(super) heard_at: Moment,
}

impl Known {
    /// P3: since when the child is over, if whoever it has left behind is no part of the run and is let be.
    pub(super) fn let_be_since(&self) -> Option<Moment> {
        self.exited_at
            .filter(|_| self.after_exit != AfterExit::ToEnd)
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    /// The tree is asked to end.
    Ask(EndedBy),
    /// The streams are closed.
    Close(EndedBy),
    /// The tree is killed.
    Kill(EndedBy),
    /// The child and its outputs are over after they were asked to be: close if its tree is over too, and otherwise look again then.
    LookAtTree(EndedBy, Moment),
    /// Nothing, and it is looked at again then, if nothing happens before.
    Stay(Option<Moment>),
}

/// What comes next.
pub(crate) fn next(phase: Phase, known: &Known) -> Next {
    let is_over = known.exited_at.is_some() || known.is_unheard;
    let is_done = is_over && known.has_ended;
    let now = known.now;
    match phase {
        Phase::Closing(_) => Next::Stay(None),
        // Nobody would hear of its end: it is not left alone.
        Phase::Going if known.is_unheard => Next::Kill(EndedBy::Failure),
        Phase::Asked(why, _) if known.is_unheard => Next::Kill(why),
        Phase::Going if is_done => Next::Close(EndedBy::Itself),
        Phase::Going => next_of_going(known),
        Phase::Asked(why, due) if is_done && known.requests < 2 && now < due => {
            Next::LookAtTree(why, due.min(now.after(LOOK_EVERY)))
        }
        Phase::Killed(why, _) if is_done => Next::Close(why),
        Phase::Asked(why, due) if now >= due || known.requests > 1 => Next::Kill(why),
        Phase::Killed(why, due) if now >= due => Next::Close(why),
        Phase::Asked(_, due) | Phase::Killed(_, due) => Next::Stay(Some(due)),
    }
}

fn next_of_going(known: &Known) -> Next {
    let now = known.now;
    if known.is_past_bound {
        return end(known, EndedBy::Bound);
    }
    if known.requests > 0 {
        return end(known, EndedBy::Request);
    }
    if known.due.is_some_and(|due| due <= now) {
        return end(known, EndedBy::Deadline);
    }
    let mut look = known.due;
    if let (Some(exited_at), AfterExit::Quiet(quiet)) = (known.exited_at, known.after_exit)
        && known.is_read_out
        && !known.is_held_up
    {
        let due = exited_at.max(known.heard_at).after(quiet);
        if due <= now {
            return Next::Close(EndedBy::Quiet);
        }
        look = Some(look.map_or(due, |known| known.min(due)));
    }
    Next::Stay(look)
}

/// How a limit or somebody's word ends what goes on.
fn end(known: &Known, why: EndedBy) -> Next {
    let Some(since) = known.let_be_since() else {
        return Next::Ask(why);
    };
    // P4: what the child wrote is read first.
    let by = since.after(READ_OUT_WITHIN);
    if !known.is_read_out && known.now < by {
        return Next::Stay(Some(by));
    }
    Next::Close(if why == EndedBy::Deadline {
        EndedBy::DeadlineAfterExit
    } else {
        why
    })
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
