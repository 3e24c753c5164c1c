//! One run after the other: the plan, the account before and after, the count of what was done.

use super::children;
use super::ends::Place;
use super::rules;
use super::scenarios::{CHILD_IN_A_CGROUP, CHILDREN, PIPES, Scenario};
use super::stage::{PATIENCE, Stage};
use super::watch::Watch;
use crate::common::{held, take_turn};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use watertight::fault::{self, Fault, Made, Trace};
use watertight::{Census, OsCode, census};

/// How many failures are listed before the loop stops.
const FAILURES_MAX: usize = 300;

/// One planned run.
#[derive(Clone)]
pub(crate) struct Planned {
    scenario: &'static Scenario,
    faults: Vec<Fault>,
}

/// What was done.
#[derive(Default)]
struct Counts {
    faulted: u64,
    not_reached: u64,
    hangs: u64,
    leaks: u64,
    others: u64,
    /// How often, and how long in all.
    by_scenario: BTreeMap<&'static str, (u64, Duration)>,
    calls: BTreeMap<(&'static str, i32), u64>,
}

/// The loop.
pub(crate) struct Loop {
    place: Place,
    watch: Watch,
    begin: Instant,
    counts: Counts,
    failures: Vec<String>,
    scenarios: usize,
    /// What the process held before the first run.
    baseline: Vec<String>,
}

impl Planned {
    /// As it is replayed.
    fn name(&self) -> String {
        let joined = |part: fn(&Fault) -> String| {
            let parts: Vec<String> = self.faults.iter().map(part).collect();
            parts.join("+")
        };
        let mode = match self.faults.first() {
            None => "never",
            Some(fault) if fault.times == 1 => "once",
            Some(_) => "ever",
        };
        format!(
            "{}:{}:{mode}:{}",
            self.scenario.name,
            joined(|fault| format!("{}#{}", fault.only.unwrap_or(""), fault.at)),
            joined(|fault| fault.code.0.to_string())
        )
    }

    /// The other way round.
    pub(crate) fn parse(name: &str) -> Self {
        let parts: Vec<&str> = name.split(':').collect();
        let [name, at, mode, code] = parts[..] else {
            panic!("scenario:call#n:once|ever:code, not {name:?}");
        };
        let mut all = PIPES.iter().chain(CHILDREN);
        let scenario = all.find(|scenario| scenario.name == name);
        let numbers = at.split('+').zip(code.split('+'));
        let faults = numbers.filter_map(|(at, code)| {
            let (call, at) = at.split_once('#')?;
            let code = code.parse().unwrap();
            let times = match mode {
                "once" => 1,
                _ => rules::times(call, Errno::from_raw_os_error(code)),
            };
            Some(Fault {
                at: at.parse().unwrap(),
                only: Some(kept(call)),
                code: OsCode(code),
                times,
            })
        });
        Self {
            scenario: scenario.expect("such a scenario"),
            faults: faults.collect(),
        }
    }

    /// Whether it is a run of one of these.
    pub(crate) fn is_of(&self, scenarios: &[Scenario]) -> bool {
        let name = self.scenario.name;
        scenarios.iter().any(|scenario| scenario.name == name)
    }

    fn is_for_ever(&self) -> bool {
        self.faults.iter().any(|fault| fault.times > 1)
    }
}

impl Loop {
    pub(crate) fn new() -> Self {
        take_turn();
        warm_up();
        let watch = Watch::new();
        Self {
            place: Place::new(),
            watch,
            baseline: held(),
            begin: Instant::now(),
            counts: Counts::default(),
            failures: Vec::new(),
            scenarios: 0,
        }
    }

    /// A clean run of each scenario, and from that every fault of it.
    pub(crate) fn plan_all(
        &mut self,
        scenarios: &'static [Scenario],
        paired: usize,
    ) -> Vec<Planned> {
        let mut clean: Vec<(&Scenario, Vec<Made>)> = Vec::new();
        for scenario in scenarios {
            let planned = Planned {
                scenario,
                faults: Vec::new(),
            };
            let trace = self.run(&planned);
            clean.push((scenario, trace.calls));
        }
        self.scenarios = scenarios.len();
        let mut all = Vec::new();
        for (scenario, calls) in &clean {
            for (index, made) in calls.iter().enumerate() {
                let is_same = |other: &Made| other.name == made.name;
                let is_amid =
                    calls[..index].iter().any(is_same) && calls[index + 1..].iter().any(is_same);
                if is_amid && rules::is_repeated(made.name) {
                    continue;
                }
                for code in rules::codes(made) {
                    for times in [1, rules::times(made.name, code)] {
                        all.push(Planned {
                            scenario,
                            faults: vec![fault_at(calls, index, code, times)],
                        });
                    }
                }
            }
        }
        clean.sort_by_key(|(_, calls)| calls.len());
        for (scenario, calls) in clean.iter().take(paired) {
            all.extend(pairs(scenario, calls));
        }
        all
    }

    /// One run, with everything that must hold after it.
    pub(crate) fn run(&mut self, planned: &Planned) -> Trace {
        if self.failures.len() >= FAILURES_MAX {
            return Trace::default();
        }
        let name = planned.name();
        self.watch.begin(&name);
        let begin = Instant::now();
        let before = (self.baseline.clone(), census());
        let mut stage = Stage::new(&self.place, planned.is_for_ever());
        fault::plan(&planned.faults);
        let played = catch_unwind(AssertUnwindSafe(|| {
            (planned.scenario.run)(&mut stage);
            watertight::settle()
                .within(PATIENCE)
                .wait()
                .expect("hang: it does not settle");
            stage.listen();
        }));
        let trace = fault::stop();
        if planned.scenario.name.starts_with("child-") {
            children::start_others(planned.scenario.name == CHILD_IN_A_CGROUP);
        }
        let Stage {
            told,
            unmet,
            in_doubt,
            ..
        } = stage;
        let wrong = match played {
            Err(panic) => Some(text_of(&*panic)),
            Ok(()) if in_doubt && !rules::leaves_doubt(&trace.begun) => {
                Some("in doubt: a cancel was not answered in time".into())
            }
            Ok(()) => {
                // Everything is over first: a failure that comes after its receipt is counted then.
                let left = settled(&before, &trace);
                let late = census().failures_late - before.1.failures_late;
                let is_counted = in_doubt && late > 0;
                judge(planned.scenario, &trace, &told, &unmet)
                    .filter(|wrong| !(is_counted && wrong.starts_with(SWALLOWED)))
                    .or(left)
            }
        };
        let spent = self.counts.by_scenario.entry(planned.scenario.name);
        let spent = spent.or_default();
        *spent = (spent.0 + 1, spent.1 + begin.elapsed());
        self.count(&name, planned, &trace, wrong);
        trace
    }

    fn count(&mut self, name: &str, planned: &Planned, trace: &Trace, wrong: Option<String>) {
        if let Some(wrong) = wrong {
            match &wrong {
                hang if hang.contains("hang") => self.counts.hangs += 1,
                leak if leak.contains("left behind") => self.counts.leaks += 1,
                _ => self.counts.others += 1,
            }
            let begun: Vec<&str> = trace.begun.iter().map(|made| made.name).collect();
            let line = format!("WATERTIGHT_FAULT='{name}' ({}): {wrong}", begun.join(", "));
            println!("{line}");
            self.failures.push(line);
        }
        if planned.faults.is_empty() {
            return;
        }
        if trace.begun.len() < planned.faults.len() {
            if self.scenarios == 0 {
                println!("not reached: {name}");
            }
            self.counts.not_reached += 1;
            return;
        }
        self.counts.faulted += 1;
        for made in &trace.begun {
            let code = made.failed.map_or(0, |code| code.0);
            *self.counts.calls.entry((made.name, code)).or_default() += 1;
        }
    }

    /// Says what was done, and fails if anything was wrong.
    pub(crate) fn conclude(self) {
        if std::env::var_os("WATERTIGHT_FAULT_TIMES").is_some() {
            for (name, (runs, spent)) in &self.counts.by_scenario {
                println!("{name}: {runs} runs in {spent:.1?}");
            }
        }
        let names: std::collections::BTreeSet<_> =
            self.counts.calls.keys().map(|(name, _)| name).collect();
        println!(
            "{} scenarios, {} faulted runs in {:.1?} ({} more whose fault was not reached); {} calls by name, {} calls by code; \
             {} hangs, {} leaks, {} other failures",
            self.scenarios,
            self.counts.faulted,
            self.begin.elapsed(),
            self.counts.not_reached,
            names.len(),
            self.counts.calls.len(),
            self.counts.hangs,
            self.counts.leaks,
            self.counts.others,
        );
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}

/// How the complaint begins that nobody was told of a failure. One that comes after the receipt of an end in doubt is counted in
/// the census instead.
const SWALLOWED: &str = "swallowed";

/// What must have been told was told, and what need not be told changed nothing.
fn judge(scenario: &Scenario, trace: &Trace, told: &[OsCode], unmet: &[&str]) -> Option<String> {
    let must = |made: &&Made| rules::is_told(made) && !scenario.silent.contains(&made.name);
    if let Some(first) = trace.begun.iter().find(must) {
        let code = first.failed.unwrap_or(OsCode(0));
        return (!told.contains(&code)).then(|| {
            format!(
                "{SWALLOWED}: {} said {code}, and nobody was told",
                first.name
            )
        });
    }
    let changes = |made: &Made| rules::changes(made) || scenario.silent.contains(&made.name);
    let changed = rules::stalls(&trace.begun) || trace.begun.iter().any(changes);
    (!changed && !unmet.is_empty()).then(|| format!("not so: {}", unmet.join("; ")))
}

/// Everything is as it was before.
fn settled(before: &(Vec<String>, Census), trace: &Trace) -> Option<String> {
    let patience = Instant::now() + PATIENCE;
    let waits_failed = trace
        .begun
        .iter()
        .any(|made| made.name == "epoll_wait" && made.failed != Some(INTERRUPTED));
    loop {
        let (now, held) = (census(), held());
        let idle = now.pipes == 0
            && now.operations_in_flight == 0
            && now.quarantined == 0
            && now.lingering == 0;
        let failed = now.wait_failures > before.1.wait_failures;
        if idle && held == before.0 && failed == waits_failed {
            return None;
        }
        if Instant::now() > patience {
            return Some(format!(
                "left behind: {held:?} instead of {:?}; {now:?}",
                before.0
            ));
        }
        std::thread::yield_now();
    }
}

const INTERRUPTED: OsCode = OsCode(Errno::INTR.raw_os_error());

/// A fault at the call that was the `index`-th of a clean run, named as the n-th of its name: threads race.
fn fault_at(calls: &[Made], index: usize, code: Errno, times: u64) -> Fault {
    let name = calls[index].name;
    let of_name = calls[..=index].iter().filter(|made| made.name == name);
    Fault {
        at: of_name.count() as u64,
        only: Some(name),
        code: OsCode(code.raw_os_error()),
        times,
    }
}

/// A call's name for the life of the test; there are a few.
fn kept(call: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap();
    let known = names.get(call).copied();
    known.unwrap_or_else(|| {
        let name = String::leak(call.to_owned());
        names.insert(name);
        name
    })
}

/// Two faults of one scenario: for each two calls a few codes, different ones for different calls.
fn pairs(scenario: &'static Scenario, calls: &[Made]) -> Vec<Planned> {
    const CODES: usize = 4;
    let mut all = Vec::new();
    for (first, one) in calls.iter().enumerate() {
        for (second, other) in calls.iter().enumerate().skip(first + 1) {
            let (ones, others) = (rules::codes(one), rules::codes(other));
            for turn in 0..CODES {
                let code = ones[(first + second + turn * 5) % ones.len()];
                let after = others[(first * 3 + second + turn * 7 + 1) % others.len()];
                all.push(Planned {
                    scenario,
                    faults: vec![
                        fault_at(calls, first, code, 1),
                        fault_at(calls, second, after, 1),
                    ],
                });
            }
        }
    }
    all
}

/// The driver's thread, the one that hears of children's ends, and their descriptors stay: have them before counting. A new thread
/// takes its name itself.
fn warm_up() {
    let (reader, writer) = watertight::pipe().expect("a first pipe");
    // What this thread is called back with when it blocks in a read.
    let mut buf = [0; 8];
    let nothing = reader
        .receive(&mut buf)
        .within(std::time::Duration::from_millis(1));
    assert!(nothing.wait().is_err());
    drop((reader, writer));
    watertight::settle()
        .within(PATIENCE)
        .wait()
        .expect("a first end");
    children::wait_for_one_that_lives();
    let is_thread = |one: &&String| one.starts_with("thread");
    let patience = Instant::now() + PATIENCE;
    while held().iter().filter(is_thread).count() < 2 {
        assert!(
            Instant::now() < patience,
            "two threads of the library's own"
        );
        std::thread::yield_now();
    }
}

/// A seed nobody chose.
pub(crate) fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_nanos() as u64
}

/// Fisher and Yates.
pub(crate) fn shuffle<T>(all: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for last in (1..all.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".into())
}
