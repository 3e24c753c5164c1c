//! Many seeds, one run each, on as many threads as asked for.

use crate::draw::draw;
use crate::run::run;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many failing seeds are told; then the rest is left.
const FAILURES_MAX: usize = 10;

/// What the seeds did.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were run.
    pub seeds: u64,
    /// Calls to the kernel, its answers, and peers' doings.
    pub events: u64,
    /// How many faults were told.
    pub faults: u64,
    /// The failing seeds, and what was wrong.
    pub failures: Vec<(u64, String)>,
}

/// Runs `count` seeds from `first` on. `progress` is called now and then with how many are done.
pub fn run_all(first: u64, count: u64, threads: usize, progress: impl Fn(u64) + Sync) -> Tally {
    let (next, events, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let enough = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    progress(index);
                    let seed = first.wrapping_add(index);
                    let (scenario, plan) = draw(seed);
                    match run(&scenario, &plan) {
                        Ok(report) => {
                            events.fetch_add(report.events, Ordering::Relaxed);
                            faults.fetch_add(report.faults, Ordering::Relaxed);
                        }
                        Err(wrong) => {
                            let mut all = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            all.push((seed, wrong));
                            enough.store(all.len() >= FAILURES_MAX, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    Tally {
        seeds: next.into_inner().min(count),
        events: events.into_inner(),
        faults: faults.into_inner(),
        failures: failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a seed does must not depend on the seeds that ran on the same thread before it, or a failure could not be repeated.
    #[test]
    fn a_seed_does_alone_what_it_does_among_others() {
        let events = |seed: u64| {
            let (scenario, plan) = draw(seed);
            run(&scenario, &plan).map(|report| report.events)
        };
        let seeds = 1..=SEEDS_COMPARED;
        let upwards: Vec<_> = seeds.clone().map(events).collect();
        let mut downwards: Vec<_> = seeds.rev().map(events).collect();
        downwards.reverse();
        assert_eq!(upwards, downwards);
    }

    /// Enough for one of them to come by 128 ready answers in a row, which is when the library lets others run.
    const SEEDS_COMPARED: u64 = 300;
}
