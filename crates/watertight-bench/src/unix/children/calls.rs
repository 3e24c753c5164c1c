//! System calls per start: ours and std's, each the difference of a long and a short run, so that starting and ending the
//! process that does it cost nothing. The child's own calls are in both, and are the same.

use super::{ChildDeed, ChildProbe, Starter};
use crate::platform::tools::Tools;
use crate::platform::totals::Totals;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// How many starts a short run and a long one have.
const TIMES: (u64, u64) = (20, 120);
/// A median of so many.
const RUNS: usize = 3;
/// Two runs differ by so much without a reason: two threads meet at a lock, or one is awake already.
const NOISE: f64 = 1.0;

/// The calls that a start and its wait have more than std's, and what each is for.
const MORE: [(&str, &str); 9] = [
    ("getpid", "is this a forked process"),
    ("ppoll", "is a standard stream's number free"),
    ("rt_sigprocmask", "does the child need another signal mask"),
    ("openat", "/dev/tty: is there a terminal to share"),
    ("setpgid", "the child's: a group of its own"),
    ("pidfd_open", "a hold of the child that stays its own"),
    ("waitid", "is it that child, and does it live"),
    ("ppoll", "the caller sleeps until it is over"),
    ("close", "the hold is given up"),
];

/// The calls of one start and its wait.
#[derive(Debug, PartialEq)]
struct PerStart {
    calls: f64,
    named: BTreeMap<String, f64>,
}

impl PerStart {
    fn of(long: &Totals, short: &Totals, more: f64) -> Self {
        let per = |(name, count): (&String, &f64)| {
            let before = short.named.get(name).copied().unwrap_or(0.0);
            (name.clone(), (count - before) / more)
        };
        Self {
            calls: (long.calls - short.calls) / more,
            named: long.named.iter().map(per).collect(),
        }
    }

    fn named(&self, name: &str) -> f64 {
        self.named.get(name).copied().unwrap_or(0.0)
    }

    /// Which calls are more and which are fewer than there: `futex +2.0, wait4 -1.0`.
    fn beside(&self, other: &Self) -> String {
        /// Rarer calls are noise.
        const SHOWN_MIN: f64 = 0.05;
        let names: BTreeSet<&String> = self.named.keys().chain(other.named.keys()).collect();
        let differences = names.into_iter().filter_map(|name| {
            let more = self.named(name) - other.named(name);
            (more.abs() >= SHOWN_MIN).then(|| format!("{name} {more:+.1}"))
        });
        differences.collect::<Vec<_>>().join(", ")
    }
}

/// What a start costs.
#[derive(Debug)]
pub(super) struct Calls {
    std: PerStart,
    ours: Vec<(Starter, PerStart)>,
}

/// Counts std's and ours.
pub(super) fn count(tools: &Tools) -> Result<Calls, String> {
    let mut ours = Vec::new();
    for with in [Starter::Wait, Starter::Await] {
        ours.push((with, per_start(tools, with)?));
    }
    let std = per_start(tools, Starter::Std)?;
    Ok(Calls { std, ours })
}

fn per_start(tools: &Tools, with: Starter) -> Result<PerStart, String> {
    eprintln!(
        "watertight-bench: counting the calls of a start: {}",
        with.name()
    );
    let count = |times| {
        let deed = ChildDeed::Start;
        tools.count_with_children(&ChildProbe { deed, with, times }.arguments())
    };
    let (short, long) = TIMES;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let (fewer, all) = (count(short)?, count(long)?);
        runs.push(PerStart::of(&all, &fewer, (long - short) as f64));
    }
    runs.sort_by(|a, b| a.calls.total_cmp(&b.calls));
    Ok(runs.swap_remove(RUNS / 2))
}

/// Under a runtime the waking is the runtime's, and its calls are shown only.
fn has_must(with: Starter) -> bool {
    with == Starter::Wait
}

impl Calls {
    /// The musts that are not met, in words.
    pub(super) fn missed(&self) -> Vec<String> {
        let bound = self.std.calls + MORE.len() as f64;
        let ours = self.ours.iter().filter(|(with, _)| has_must(*with));
        let missed = ours.filter(|(_, start)| start.calls > bound + NOISE);
        missed
            .map(|(with, start)| {
                format!(
                    "a start, {}: {:.2} calls, must be {bound:.2}, which is std's {:.2} and {} (beside std: {})",
                    with.name(),
                    start.calls,
                    self.std.calls,
                    MORE.len(),
                    start.beside(&self.std)
                )
            })
            .collect()
    }

    /// A table for a document.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = String::new();
        let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
        add("| with | calls | more than std | may be more | which |".into());
        add("| --- | ---: | ---: | ---: | --- |".into());
        add(format!("| std | {:.2} |  |  |  |", self.std.calls));
        for (with, start) in &self.ours {
            let most = if has_must(*with) {
                MORE.len().to_string()
            } else {
                String::new()
            };
            add(format!(
                "| {} | {:.2} | {:.2} | {most} | {} |",
                with.name(),
                start.calls,
                start.calls - self.std.calls,
                start.beside(&self.std)
            ));
        }
        let named = MORE.map(|(name, why)| format!("`{name}` ({why})"));
        add(format!("\nWhat may be more: {}.\n", named.join(", ")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(calls: f64, named: &[(&str, f64)]) -> Totals {
        let named = named
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        Totals {
            calls,
            named: named.collect(),
            switches: None,
        }
    }

    fn start(calls: f64, named: &[(&str, f64)]) -> PerStart {
        PerStart::of(&totals(calls, named), &totals(0.0, &[]), 1.0)
    }

    fn calls(ours: f64) -> Calls {
        Calls {
            std: start(50.0, &[("wait4", 1.0)]),
            ours: vec![(Starter::Wait, start(ours, &[("waitid", 3.0)]))],
        }
    }

    #[test]
    fn what_a_long_run_has_more_is_shared_out() {
        let long = totals(6_100.0, &[("clone3", 120.0), ("mmap", 40.0)]);
        let short = totals(1_100.0, &[("clone3", 20.0), ("mmap", 40.0)]);
        let start = PerStart::of(&long, &short, 100.0);
        assert_eq!(start.calls, 50.0);
        assert_eq!(start.named("clone3"), 1.0);
        assert_eq!(start.named("mmap"), 0.0);
        assert_eq!(start.named("fork"), 0.0);
    }

    #[test]
    fn the_difference_is_named_call_by_call() {
        let ours = start(5.0, &[("futex", 2.0), ("close", 3.0)]);
        let std = start(4.0, &[("wait4", 1.0), ("close", 3.0)]);
        assert_eq!(ours.beside(&std), "futex +2.0, wait4 -1.0");
    }

    #[test]
    fn a_start_may_have_the_named_calls_more_and_no_others() {
        let most = 50.0 + MORE.len() as f64;
        assert!(calls(most + NOISE).missed().is_empty());
        let missed = calls(most + 2.0).missed();
        assert_eq!(missed.len(), 1);
        assert!(missed[0].contains("wait4 -1.0, waitid +3.0"), "{missed:?}");
    }

    #[test]
    fn the_table_says_what_is_more() {
        let text = calls(60.0).to_markdown();
        assert!(text.contains("| std | 50.00 |  |  |  |\n"), "{text}");
        let line = "| watertight, .wait() | 60.00 | 10.00 | 9 | wait4 -1.0, waitid +3.0 |\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("`setpgid` (the child's: a group of its own)"));
    }
}
