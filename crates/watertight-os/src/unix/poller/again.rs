//! What readiness does not tell: writes that are tried again when their time has come, and when the next question has its own.

use super::super::calls::{lock, write_now};
use super::super::passing::{Passing, is_passing};
use super::Native;
use std::time::Instant;
use watertight_core::{Completion, Submitted};

impl Native {
    /// Tries those again whose time has come. One that now waits for room moves to the table in one step, so that a cancel
    /// finds it in one place or the other.
    pub(super) fn write_again(&self, completions: &mut Vec<Completion>) {
        let now = Instant::now();
        let mut for_room = Vec::new();
        lock(&self.passing).retain_mut(|passing| {
            if passing.next > now {
                return true;
            }
            let Some(outcome) = write_now(&passing.handle, &passing.chunks) else {
                for_room.push(passing.id);
                return true;
            };
            let waits = is_passing(&passing.handle, &outcome) && passing.waits_on(now);
            if !waits {
                let id = passing.id;
                completions.push(Completion { id, outcome });
            }
            waits
        });
        for id in for_room {
            let mut table = lock(&self.armed);
            let mut passing = lock(&self.passing);
            // Gone: it was cancelled meanwhile, and has its answer.
            let Some(at) = passing.iter().position(|passing| passing.id == id) else {
                continue;
            };
            let Passing { handle, chunks, .. } = passing.remove(at);
            drop(passing);
            let armed = self.arm_in(&mut table, id, &handle, Some(chunks));
            drop(table);
            // O4: let go of the handle before the answer is seen.
            drop(handle);
            if let Submitted::Done(outcome) = armed {
                completions.push(Completion { id, outcome });
            }
        }
    }

    pub(super) fn next_question(&self) -> Option<Instant> {
        let asking = self.asking.next();
        let passing = lock(&self.passing).iter().map(|passing| passing.next).min();
        match (asking, passing) {
            (Some(asking), Some(passing)) => Some(asking.min(passing)),
            (asking, passing) => asking.or(passing),
        }
    }
}
