//! The next construction step of a kind, on this thread.

use crate::step::Step;
use std::cell::Cell;
use watertight_core::OsCode;

std::thread_local! {
    static PLAN: Cell<Option<(Step, OsCode)>> = const { Cell::new(None) };
}

/// Makes the next such step on this thread fail with `code`. Says whether an older plan was still unused.
pub fn fail_next(step: Step, code: OsCode) -> bool {
    PLAN.replace(Some((step, code))).is_some()
}

/// Forgets the plan. Says whether it was still unused: the step was never reached.
pub fn clear() -> bool {
    PLAN.take().is_some()
}

/// The planned failure of this step, used up by asking.
pub fn planned(step: Step) -> Option<OsCode> {
    let (planned, code) = PLAN.get()?;
    (planned == step).then(|| {
        PLAN.set(None);
        code
    })
}
