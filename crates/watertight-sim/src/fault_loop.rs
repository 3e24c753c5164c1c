//! Every fallible call of every scenario fails in turn, with every code its system has, once and for ever; then pairs.

use crate::codes::{Call, Code};
use crate::faults::Nth;
use crate::run::{Plan, run};
use crate::scenarios;
use crate::script::Scenario;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The seed of every run: what happens is decided by the fault alone.
const SEED: u64 = 1;

/// How many of the shortest scenarios have pairs of faults.
const PAIRED: usize = 10;

/// The second code of a pair: one of every kind there is, by number.
const SECOND_UNIX: [i32; 7] = [4, 11, 32, 5, 12, 9, 3999];
const SECOND_WINDOWS: [i32; 7] = [997, 109, 232, 5, 8, 995, 1168];

/// What the loop found.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many scenarios.
    pub scenarios: usize,
    /// How many runs in which at least one fault was told.
    pub faulted: u64,
    /// How many runs in all.
    pub runs: u64,
    /// How many calls, answers and peers' doings.
    pub events: u64,
    /// What went wrong, with the command that does it again.
    pub failures: Vec<String>,
}

/// One run to make.
#[derive(Clone)]
struct Job {
    scenario: usize,
    nth: Vec<Nth>,
}

/// Runs it on so many threads.
#[must_use]
pub fn run_all(threads: usize) -> Tally {
    let scenarios = scenarios::all();
    let mut tally = Tally {
        scenarios: scenarios.len(),
        ..Tally::default()
    };
    let mut kinds = Vec::new();
    for scenario in &scenarios {
        match run(scenario, &Plan::clean(SEED)) {
            Ok(report) => kinds.push(report.kinds),
            Err(wrong) => {
                tally
                    .failures
                    .push(format!("{}: without faults: {wrong}", scenario.name));
                kinds.push(Vec::new());
            }
        }
    }
    let mut jobs = singles(&kinds);
    jobs.extend(pairs(&kinds));
    work(&scenarios, &jobs, threads, &mut tally);
    tally
}

/// Runs one of them again, and tells everything.
///
/// # Errors
/// What was wrong, or that there is no such run.
pub fn replay(name: &str, nth: &[Nth]) -> Result<u64, String> {
    let scenarios = scenarios::all();
    let found = scenarios.iter().find(|scenario| scenario.name == name);
    let scenario = found.ok_or_else(|| format!("there is no scenario `{name}`"))?;
    let plan = Plan {
        nth: nth.to_vec(),
        is_told: true,
        ..Plan::clean(SEED)
    };
    run(scenario, &plan).map(|report| report.faults)
}

fn singles(kinds: &[Vec<Call>]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (scenario, kinds) in kinds.iter().enumerate() {
        for (index, call) in kinds.iter().enumerate() {
            for code in (0..call.codes()).map(Code) {
                for forever in [false, true] {
                    if forever && call.is_again(code) {
                        continue;
                    }
                    let at = index as u64 + 1;
                    let nth = vec![Nth { at, forever, code }];
                    jobs.push(Job { scenario, nth });
                }
            }
        }
    }
    jobs
}

fn pairs(kinds: &[Vec<Call>]) -> Vec<Job> {
    let mut shortest: Vec<usize> = (0..kinds.len()).collect();
    shortest.sort_by_key(|scenario| kinds[*scenario].len());
    let mut jobs = Vec::new();
    for scenario in shortest.into_iter().take(PAIRED) {
        let kinds = &kinds[scenario];
        for (index, call) in kinds.iter().enumerate() {
            for code in (0..call.codes()).map(Code) {
                // A fault changes what follows, so the second one may hit a call that a clean run does not make.
                for second in index + 1..kinds.len() + 3 {
                    jobs.extend(second_codes(*call).map(|other| {
                        let nth = |index: usize, code| Nth {
                            at: index as u64 + 1,
                            forever: false,
                            code,
                        };
                        Job {
                            scenario,
                            nth: vec![nth(index, code), nth(second, other)],
                        }
                    }));
                }
            }
        }
    }
    jobs
}

fn second_codes(call: Call) -> impl Iterator<Item = Code> {
    let of_system = match call {
        Call::Unix(_) => SECOND_UNIX,
        Call::Windows(_) => SECOND_WINDOWS,
    };
    of_system.into_iter().filter_map(move |raw| call.code(raw))
}

fn work(scenarios: &[Scenario], jobs: &[Job], threads: usize, tally: &mut Tally) {
    let (next, faulted, events) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let scenario = &scenarios[job.scenario];
                    let plan = Plan {
                        nth: job.nth.clone(),
                        ..Plan::clean(SEED)
                    };
                    match run(scenario, &plan) {
                        Ok(report) => {
                            faulted.fetch_add(u64::from(report.faults > 0), Ordering::Relaxed);
                            events.fetch_add(report.events, Ordering::Relaxed);
                        }
                        Err(wrong) => {
                            let told = failure(scenario, &job.nth, &wrong);
                            let mut all = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            all.push(told);
                        }
                    }
                }
            });
        }
    });
    tally.runs = jobs.len() as u64;
    tally.faulted = faulted.into_inner();
    tally.events = events.into_inner();
    let failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    tally.failures.extend(failures);
}

fn failure(scenario: &Scenario, nth: &[Nth], wrong: &str) -> String {
    let faults: Vec<String> = nth
        .iter()
        .map(|one| {
            let how = if one.forever { "for-ever" } else { "once" };
            format!("--fault {}:{how}:{}", one.at, one.code.0)
        })
        .collect();
    format!(
        "cargo xtask sim faults --only {:?} {}\n{wrong}",
        scenario.name,
        faults.join(" ")
    )
}
