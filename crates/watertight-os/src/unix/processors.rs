//! Whether another processor is there while a thread keeps one. Only then is it worth anything to spin: on one processor a thread
//! that spins keeps away whoever is to bring what it waits for.

use super::classify::Call;
use crate::fault::fallible;
use std::sync::OnceLock;

/// sched_getaffinity: whether the calling thread may run on several processors, and the process on several at once. What cannot
/// be asked is taken for one.
///
/// A thread that is bound to one processor is told no although others may run elsewhere: where they run is not known.
pub(super) fn are_several() -> bool {
    let allowed = fallible("sched_getaffinity", Call::Query, || {
        rustix::thread::sched_getaffinity(None)
    });
    allowed.is_ok_and(|allowed| allowed.count() > 1) && are_several_at_once()
}

/// A control group may give the process the time of one processor, wherever its threads run: what one of them spins away, the
/// others lack. It is read from files, so it is asked once, by a thread that may run on several: the answer is the process's.
fn are_several_at_once() -> bool {
    static ARE_SEVERAL: OnceLock<bool> = OnceLock::new();
    *ARE_SEVERAL
        .get_or_init(|| std::thread::available_parallelism().is_ok_and(|number| number.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    #[test]
    fn a_thread_that_is_bound_to_one_processor_has_no_other() {
        // A thread of its own: what it is bound to ends with it.
        let bound = std::thread::spawn(|| {
            let allowed = sched_getaffinity(None).unwrap();
            let mut processors = 0..CpuSet::MAX_CPU;
            let first = processors.find(|processor| allowed.is_set(*processor));
            let mut only = CpuSet::new();
            only.set(first.unwrap());
            sched_setaffinity(None, &only).unwrap();
            are_several()
        });
        assert!(!bound.join().unwrap());
    }

    #[test]
    fn a_thread_that_is_not_bound_has_what_the_process_has() {
        let number = std::thread::available_parallelism().unwrap();
        assert_eq!(are_several(), number.get() > 1);
    }

    #[cfg(feature = "fault")]
    #[test]
    fn what_cannot_be_asked_is_taken_for_one_processor() {
        use crate::fault::{Fault, guard, plan, stop};
        let _guard = guard();
        plan(&[Fault {
            at: 1,
            only: Some("sched_getaffinity"),
            code: watertight_core::OsCode(1),
            times: 1,
        }]);
        assert!(!are_several());
        assert_eq!(stop().begun.len(), 1);
    }
}
