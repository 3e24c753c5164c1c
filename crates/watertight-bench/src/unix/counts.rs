//! Counts per operation: system calls and context switches, and of lone messages instructions and allocations. Counts hold on
//! a noisy machine, so some of them are musts.
//!
//! Each is the difference of two runs of a probe, a short one and a long one, so that starting and ending cost nothing. Calls
//! come from perf's tracepoints where they are allowed, else from strace (which knows no context switches); instructions
//! and allocations from valgrind, of the program and not of the kernel.

use super::machine;
use super::options::Placement;
use super::probe::{Deed, Probe, With};
use super::tasks::{Figure, Kernel, Must, Section, Task};
use super::tools::Tools;
use super::totals::Totals;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A median of so many.
const RUNS: usize = 3;
/// A must is met up to here: two runs differ by a few calls that belong to neither.
const TOLERANCE: f64 = 1.05;
/// So many switches are others': whoever else needs the processor takes it from a thread that never gives it away.
const SWITCHES_OF_OTHERS: f64 = 0.05;

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    Everything,
    /// Only what must not exceed something.
    Musts,
}

/// What one operation costs, as far as it can be counted here.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    calls: Option<f64>,
    of_which: BTreeMap<String, f64>,
    switches: Option<f64>,
    instructions: Option<f64>,
    allocations: Option<f64>,
}

/// One line of a table.
pub(super) struct Line {
    /// The number of its task.
    task: usize,
    with: With,
    counted: Counted,
}

/// Counts what is in the scope.
pub(super) fn measure(tools: &Tools, tasks: &[Task], scope: Scope) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        let is_wanted =
            |with: With| scope == Scope::Everything || task.musts_of(with).next().is_some();
        for &with in task.with.iter().filter(|with| is_wanted(**with)) {
            eprintln!("watertight-bench: counting {}: {}", task.title, with.name());
            lines.push(Line {
                task: number,
                with,
                counted: per_operation(tools, task, with)?,
            });
        }
    }
    Ok(lines)
}

/// Where it is counted: whoever spins, or has an other end that does, needs a core for that end.
fn placement(task: &Task, with: With) -> Placement {
    if with == With::WaitSpinning || task.work.peer_spins {
        Placement::TwoCores
    } else {
        task.counted_on
    }
}

fn per_operation(tools: &Tools, task: &Task, with: With) -> Result<Counted, String> {
    let (short, long) = task.times;
    let placement = placement(task, with);
    if placement == Placement::TwoCores && machine::cores()? < 2 {
        return Ok(Counted::default());
    }
    let probe = |times| Probe {
        work: task.work,
        with,
        times,
        placement,
        timed: false,
    };
    let (short, long, more) = (probe(short), probe(long), (long - short) as f64);
    let mut runs = Vec::new();
    // A run costs a second whatever it counts. What nothing depends on is counted once.
    let times = if task.musts_of(with).next().is_some() {
        RUNS
    } else {
        1
    };
    for _ in 0..times {
        let fewer = tools.count(short, task.kernel)?;
        let all = tools.count(long, task.kernel)?;
        let Some((fewer, all)) = fewer.zip(all) else {
            return Ok(Counted::default());
        };
        runs.push(Counted::of(&all, &fewer, more));
    }
    // Whoever spins makes as many calls as there is time for: they say nothing about which run is an ordinary one.
    let ordinary = if with == With::WaitSpinning {
        Figure::Switches
    } else {
        Figure::Calls
    };
    runs.sort_by(|a, b| {
        let (a, b) = (a.figure(ordinary), b.figure(ordinary));
        Option::partial_cmp(&a, &b).expect("counts are numbers")
    });
    let mut counted = runs.swap_remove(times / 2);
    if task.kernel == Kernel::Before6_18 {
        counted.blocks_the_signal()?;
    } else if task.work.deed == Deed::Lone {
        let per = |fewer: Option<f64>, all: Option<f64>| Some((all? - fewer?) / more);
        counted.instructions = per(tools.instructions(short)?, tools.instructions(long)?);
        counted.allocations = per(tools.allocations(short)?, tools.allocations(long)?);
    }
    Ok(counted)
}

impl Counted {
    fn of(all: &Totals, fewer: &Totals, more: f64) -> Self {
        let per = |all: f64, fewer: f64| (all - fewer) / more;
        let of_which = all.named.iter().map(|(name, count)| {
            let before = fewer.named.get(name).copied().unwrap_or(0.0);
            (name.clone(), per(*count, before))
        });
        Self {
            calls: Some(per(all.calls, fewer.calls)),
            of_which: of_which.collect(),
            switches: Option::zip(all.switches, fewer.switches).map(|(all, fewer)| per(all, fewer)),
            instructions: None,
            allocations: None,
        }
    }

    /// Without the flag the signal is blocked around each write: else the kernel was not taken for an older one.
    fn blocks_the_signal(&self) -> Result<(), String> {
        let blocks = self.of_which.get("rt_sigprocmask");
        if blocks.is_some_and(|blocks| *blocks >= 1.0) {
            return Ok(());
        }
        Err("the library did not find out that RWF_NOSIGNAL is missing: see `before_6_18` in tools.rs".into())
    }

    fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Allocations => self.allocations,
            Figure::Calls => self.calls,
            Figure::Instructions => self.instructions,
            Figure::Switches => self.switches,
        }
    }

    /// The calls that matter, the most frequent first.
    fn of_which(&self) -> String {
        /// Rarer calls are noise.
        const SHOWN_MIN: f64 = 0.05;
        let mut calls: Vec<_> = self.of_which.iter().collect();
        calls.retain(|(_, count)| **count >= SHOWN_MIN);
        calls.sort_by(|a, b| b.1.total_cmp(a.1));
        let calls = calls
            .iter()
            .map(|(name, count)| format!("{name} {count:.1}"));
        calls.collect::<Vec<_>>().join(", ")
    }
}

/// The musts that are not met, in words.
pub(super) fn missed(tasks: &[Task], lines: &[Line]) -> Vec<String> {
    let mut missed = Vec::new();
    for line in lines {
        let task = &tasks[line.task];
        for must in task.musts_of(line.with) {
            // What cannot be counted here is neither met nor missed; the table has a dash for it.
            let found = line.counted.figure(must.figure);
            if let Some(found) = found.filter(|found| *found > tolerated(must)) {
                missed.push(format!(
                    "{}, {}: {found:.2} {:?}, must be {}",
                    task.title,
                    line.with.name(),
                    must.figure,
                    must.most
                ));
            }
        }
    }
    missed
}

/// Up to where a must is met.
fn tolerated(must: &Must) -> f64 {
    let of_others = match must.figure {
        Figure::Switches => SWITCHES_OF_OTHERS,
        Figure::Allocations | Figure::Calls | Figure::Instructions => 0.0,
    };
    (must.most * TOLERANCE).max(of_others)
}

/// Tables for a document.
pub(super) fn to_markdown(tasks: &[Task], lines: &[Line]) -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let of_section = |line: &&[Line]| tasks[line[0].task].section == section;
        let mut tables = lines
            .chunk_by(|a, b| a.task == b.task)
            .filter(of_section)
            .peekable();
        if tables.peek().is_some() {
            writeln!(text, "#### {}\n", section.title()).expect("a string takes everything");
        }
        for lines in tables {
            table(&mut text, &tasks[lines[0].task], lines);
        }
    }
    text
}

fn table(text: &mut String, task: &Task, lines: &[Line]) {
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    add(format!("**{}**, per {}\n", task.title, task.unit));
    add("| with | calls | must | of which | switches | instructions | allocations |".into());
    add("| --- | ---: | ---: | --- | ---: | ---: | ---: |".into());
    for line in lines {
        let counted = &line.counted;
        let figure = |figure, decimals: usize| {
            let dash = || "-".to_owned();
            counted
                .figure(figure)
                .map_or_else(dash, |count| format!("{count:.decimals$}"))
        };
        add(format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            line.with.name(),
            figure(Figure::Calls, 2),
            musts_of(task, line.with),
            counted.of_which(),
            figure(Figure::Switches, 2),
            figure(Figure::Instructions, 0),
            figure(Figure::Allocations, 2),
        ));
    }
    add(String::new());
}

fn musts_of(task: &Task, with: With) -> String {
    let words = task.musts_of(with).map(|must| match must.figure {
        Figure::Allocations => format!("{} allocations", must.most),
        Figure::Calls => format!("{}", must.most),
        Figure::Instructions => format!("{} instructions", must.most),
        Figure::Switches => format!("{} switches", must.most),
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::tasks::tasks;
    use super::*;

    fn line(tasks: &[Task], title: &str, counted: Counted) -> Line {
        let number = tasks.iter().position(|task| task.title.contains(title));
        Line {
            task: number.unwrap(),
            with: With::Wait,
            counted,
        }
    }

    fn calls(calls: f64) -> Counted {
        Counted {
            calls: Some(calls),
            ..Counted::default()
        }
    }

    #[test]
    fn a_must_that_is_missed_is_named() {
        let tasks = tasks();
        let round_trips = |count| line(&tasks, "W3 round trips", calls(count));
        assert!(missed(&tasks, &[round_trips(4.1)]).is_empty());
        let missed = missed(&tasks, &[round_trips(5.0)]);
        assert_eq!(missed.len(), 1);
        assert!(missed[0].contains("5.00 Calls, must be 4"), "{missed:?}");
    }

    #[test]
    fn no_allocation_means_none() {
        let tasks = tasks();
        let with = |allocations| Counted {
            allocations: Some(allocations),
            ..Counted::default()
        };
        let lone = |count| line(&tasks, "lone message of 64 bytes, a pipe", with(count));
        assert!(missed(&tasks, &[lone(0.0)]).is_empty());
        assert_eq!(missed(&tasks, &[lone(0.001)]).len(), 1);
    }

    #[test]
    fn of_switches_a_few_are_others() {
        let tasks = tasks();
        let spinning = |switches| {
            let counted = Counted {
                switches: Some(switches),
                ..Counted::default()
            };
            Line {
                with: With::WaitSpinning,
                ..line(&tasks, "W3 round trips", counted)
            }
        };
        assert!(missed(&tasks, &[spinning(0.04)]).is_empty());
        let missed = missed(&tasks, &[spinning(0.1)]);
        assert_eq!(missed.len(), 1);
        assert!(missed[0].contains("0.10 Switches, must be 0"), "{missed:?}");
    }

    #[test]
    fn who_spins_is_counted_on_two_cores() {
        for task in tasks() {
            let places = task.with.iter().map(|with| placement(&task, *with));
            let on_two = places.filter(|place| *place == Placement::TwoCores);
            let expected = if task.work.peer_spins {
                task.with.len()
            } else {
                usize::from(task.with.contains(&With::WaitSpinning))
            };
            assert_eq!(on_two.count(), expected, "{}", task.title);
        }
    }

    #[test]
    fn what_a_long_run_has_more_is_shared_out() {
        let totals = |calls: f64, writes: f64, switches| Totals {
            calls,
            named: [("write".to_owned(), writes)].into(),
            switches,
        };
        let (long, short) = (
            totals(120.0, 110.0, Some(30.0)),
            totals(20.0, 10.0, Some(10.0)),
        );
        let counted = Counted::of(&long, &short, 100.0);
        assert_eq!((counted.calls, counted.switches), (Some(1.0), Some(0.2)));
        assert_eq!(counted.of_which(), "write 1.0");
        let counted = Counted::of(&long, &totals(20.0, 10.0, None), 100.0);
        assert_eq!(counted.switches, None);
    }

    #[test]
    fn an_older_kernel_is_told_by_the_calls_that_block_the_signal() {
        let mut counted = calls(3.0);
        assert!(counted.blocks_the_signal().is_err());
        counted.of_which.insert("rt_sigprocmask".into(), 2.0);
        assert!(counted.blocks_the_signal().is_ok());
    }

    #[test]
    fn what_was_not_counted_is_a_dash() {
        let tasks = tasks();
        let lines = [line(&tasks, "before 6.18", Counted::default())];
        let text = to_markdown(&tasks, &lines);
        assert!(
            text.contains("| watertight, .wait() | - | 3 |  | - | - | - |"),
            "{text}"
        );
        assert!(missed(&tasks, &lines).is_empty());
    }
}
