//! The n-th system call from now, on any thread of the process: what a fault loop plans, and what it learns of a run.

use crate::classify::Call;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use watertight_core::OsCode;

/// A run whose calls spin must not fill the memory: from here on calls are counted and no longer listed.
const LISTED_MAX: usize = 4096;

/// One planned failure.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which call, counted from 1.
    pub at: u64,
    /// Only calls of this name are counted and fail; without one, calls of every name are counted, and those fail that have
    /// the name of the one reached. Where threads race, the n-th of a name is the same call more often.
    pub only: Option<&'static str>,
    /// What it says.
    pub code: OsCode,
    /// How many calls of that name fail, this one and those that follow it. [`Fault::FOR_EVER`]: all of them.
    pub times: u64,
}

impl Fault {
    /// Every call of that name from there on, until [`stop`].
    pub const FOR_EVER: u64 = u64::MAX;
}

/// One call that was made, or would have been.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Made {
    /// The system's name for it, with a word more where its failure means something else.
    pub name: &'static str,
    /// By which table its codes are judged.
    pub call: Call,
    /// What it was made to say.
    pub failed: Option<OsCode>,
}

/// What happened from [`plan`] to [`stop`].
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// How many fallible calls were made.
    pub count: u64,
    /// The first few thousand of them, in order.
    pub calls: Vec<Made>,
    /// The calls at which a planned failure began, in order. Fewer than were planned: the run did not get that far.
    pub begun: Vec<Made>,
}

struct Plan {
    faults: Vec<Fault>,
    /// How many calls of each name were made.
    by_name: HashMap<&'static str, u64>,
    /// Faults whose call was reached and that are not used up.
    lasting: Vec<(&'static str, OsCode, u64)>,
    trace: Trace,
}

static IS_PLANNED: AtomicBool = AtomicBool::new(false);
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

/// Counts the process's fallible calls from now on and makes those fail that `faults` names.
///
/// # Panics
/// A plan is there already: tests that plan run one at a time.
pub fn plan(faults: &[Fault]) {
    let plan = Plan {
        faults: faults.to_vec(),
        by_name: HashMap::new(),
        lasting: Vec::new(),
        trace: Trace::default(),
    };
    let before = lock().replace(plan);
    assert!(before.is_none(), "one plan at a time");
    IS_PLANNED.store(true, Ordering::SeqCst);
}

/// The planned failures that have begun so far, as in [`Trace::begun`].
pub fn begun() -> Vec<Made> {
    let plan = lock();
    plan.as_ref()
        .map_or_else(Vec::new, |plan| plan.trace.begun.clone())
}

/// Ends the plan: from now on every call is made. Says what happened under it.
pub fn stop() -> Trace {
    IS_PLANNED.store(false, Ordering::SeqCst);
    lock().take().map(|plan| plan.trace).unwrap_or_default()
}

/// Counts a call. Says what it is to say instead of being made.
pub(super) fn made(name: &'static str, call: Call) -> Option<OsCode> {
    if !IS_PLANNED.load(Ordering::Relaxed) {
        return None;
    }
    lock().as_mut()?.count(name, call)
}

impl Plan {
    fn count(&mut self, name: &'static str, call: Call) -> Option<OsCode> {
        self.trace.count += 1;
        let of_all = self.trace.count;
        let of_name = self.by_name.entry(name).or_default();
        *of_name += 1;
        let reached = |fault: &&Fault| match fault.only {
            None => fault.at == of_all,
            Some(only) => only == name && fault.at == *of_name,
        };
        if let Some(fault) = self.faults.iter().find(reached) {
            self.lasting.push((name, fault.code, fault.times));
            let failed = Some(fault.code);
            self.trace.begun.push(Made { name, call, failed });
        }
        let mut lasting = self.lasting.iter_mut();
        let failed = lasting
            .find(|(failing, _, left)| *failing == name && *left > 0)
            .map(|(_, code, left)| {
                *left -= u64::from(*left != Fault::FOR_EVER);
                *code
            });
        if self.trace.calls.len() < LISTED_MAX {
            self.trace.calls.push(Made { name, call, failed });
        }
        failed
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Plan>> {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test states its expectations")]

    use super::*;

    const CODE: OsCode = OsCode(5);

    /// What five calls say under a plan, the second of them of another name.
    fn five(faults: &[Fault]) -> (Vec<bool>, Trace) {
        plan(faults);
        let names = ["read", "close", "read", "read", "read"];
        let said = names.map(|name| made(name, Call::Read) == Some(CODE));
        (said.to_vec(), stop())
    }

    #[test]
    fn a_plan_fails_the_calls_it_names_and_lists_all() {
        let fault = |at, times| Fault {
            at,
            only: None,
            code: CODE,
            times,
        };
        let (said, trace) = five(&[]);
        assert_eq!(said, [false; 5]);
        assert_eq!((trace.count, trace.begun.len()), (5, 0));
        let (said, _) = five(&[fault(3, 1)]);
        assert_eq!(said, [false, false, true, false, false]);
        let (said, _) = five(&[fault(1, 2)]);
        assert_eq!(said, [true, false, true, false, false]);
        let (said, trace) = five(&[fault(3, Fault::FOR_EVER)]);
        assert_eq!(said, [false, false, true, true, true]);
        let failed = trace.begun.first().unwrap();
        assert_eq!((failed.name, failed.failed), ("read", Some(CODE)));
        let of_name = Fault {
            only: Some("read"),
            ..fault(2, 1)
        };
        let (said, _) = five(&[of_name]);
        assert_eq!(said, [false, false, true, false, false]);
        let (said, _) = five(&[fault(2, 1), fault(4, 1)]);
        assert_eq!(said, [false, true, false, true, false]);
        assert_eq!(made("read", Call::Read), None, "the plan is over");
    }
}
