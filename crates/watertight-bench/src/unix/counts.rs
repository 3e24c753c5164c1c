//! Counts per operation: system calls and context switches, and instructions of lone messages. Counts hold on a noisy
//! machine, so some of them are musts.
//!
//! Each is the difference of two runs of a probe, a short one and a long one, so that starting and ending cost nothing. Calls
//! come from perf's tracepoints where they are allowed, else from strace (which knows no context switches); instructions
//! from callgrind, of the program and not of the kernel.

use super::probe::{CHUNK_BYTES, Deed, MESSAGE_BYTES, Probe, With};
use super::{kernel, text};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// A median of so many.
const RUNS: usize = 3;
/// A must is met up to here: two runs differ by a few calls that belong to neither.
const TOLERANCE: f64 = 1.05;
/// Calls that are named one by one; the others are in the sum.
const NAMED: [&str; 24] = [
    "close",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fcntl",
    "fstatfs",
    "futex",
    "madvise",
    "newfstat",
    "pipe2",
    "poll",
    "ppoll",
    "preadv2",
    "pwritev2",
    "read",
    "recvfrom",
    "rt_sigprocmask",
    "sendmsg",
    "sendto",
    "timerfd_settime",
    "write",
    "writev",
    "munmap",
];

/// What one operation costs at most, if this is to be fast.
struct Must {
    deed: Deed,
    with: With,
    figure: Figure,
    most: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Figure {
    Calls,
    Instructions,
    Switches,
}

const fn must(deed: Deed, with: With, figure: Figure, most: f64) -> Must {
    Must {
        deed,
        with,
        figure,
        most,
    }
}

const MUSTS: [Must; 6] = [
    must(Deed::RoundTrip, With::Wait, Figure::Calls, 4.0),
    must(Deed::RoundTrip, With::Wait, Figure::Switches, 1.0),
    must(Deed::BulkRead, With::Wait, Figure::Calls, 46.0),
    must(Deed::LonePipe, With::Wait, Figure::Calls, 1.0),
    must(Deed::LonePipe, With::Wait, Figure::Instructions, 850.0),
    must(Deed::Cycle, With::Wait, Figure::Calls, 12.0),
];

/// What is counted, in which unit, and in how short and how long a run.
pub(super) struct Task {
    pub(super) deed: Deed,
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    times: (u64, u64),
}

pub(super) const TASKS: [Task; 6] = [
    task(
        Deed::RoundTrip,
        "W3 round trips of 64 bytes, one side",
        "round",
        (2_000, 12_000),
    ),
    task(
        Deed::BulkRead,
        "W1 bulk, a reader of 64 KiB",
        "MiB",
        (50, 550),
    ),
    task(
        Deed::BulkWrite,
        "W1 bulk, a writer of 64 KiB",
        "MiB",
        (50, 550),
    ),
    task(
        Deed::LonePipe,
        "W2 a lone message of 64 bytes, a pipe",
        "message",
        (1_024, 9_216),
    ),
    task(
        Deed::LoneSocket,
        "W2 a lone message of 64 bytes, a local socket",
        "message",
        (1_024, 9_216),
    ),
    task(
        Deed::Cycle,
        "W7 create, fill, write, abort, close",
        "cycle",
        (200, 1_200),
    ),
];

const fn task(deed: Deed, title: &'static str, unit: &'static str, times: (u64, u64)) -> Task {
    Task {
        deed,
        title,
        unit,
        times,
    }
}

/// What one operation costs.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    calls: f64,
    of_which: BTreeMap<String, f64>,
    switches: Option<f64>,
    instructions: Option<f64>,
}

/// One line of the table.
pub(super) struct Line {
    deed: Deed,
    with: With,
    counted: Counted,
}

/// Who counts calls here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Counter {
    Perf,
    Strace,
}

/// What counts here.
pub(super) struct Tools {
    counter: Counter,
    has_callgrind: bool,
    folder: PathBuf,
    program: PathBuf,
}

impl Tools {
    pub(super) fn find() -> Result<Self, String> {
        let answers = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null());
            let output = command.stderr(Stdio::null()).output();
            output.is_ok_and(|output| output.status.success())
        };
        let counter = if answers("perf", &["stat", "-e", "raw_syscalls:sys_enter", "true"]) {
            Counter::Perf
        } else if answers("strace", &["-c", "-o", "/dev/null", "true"]) {
            Counter::Strace
        } else {
            return Err(
                "neither perf's tracepoints nor strace can be used here, and without them calls \
                 are not counted (Debian's packages linux-perf and strace; perf wants root)"
                    .into(),
            );
        };
        let folder = std::env::temp_dir().join(format!("watertight-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(text)?;
        Ok(Self {
            counter,
            has_callgrind: answers("valgrind", &["--version"]),
            folder,
            program: std::env::current_exe().map_err(text)?,
        })
    }

    /// The start of a command that counts what the rest of it does.
    fn counting(&self, into: &Path) -> Command {
        match self.counter {
            Counter::Perf => {
                let mut command = Command::new("perf");
                command.args(["stat", "-x,", "-o"]).arg(into);
                command.args(["-e", "raw_syscalls:sys_enter", "-e", "context-switches"]);
                for name in NAMED {
                    command.args(["-e", &format!("syscalls:sys_enter_{name}")]);
                }
                command.arg("--");
                command
            }
            Counter::Strace => {
                let mut command = Command::new("strace");
                command.args(["-f", "-c", "-o"]).arg(into);
                command
            }
        }
    }

    fn count(&self, probe: Probe) -> Result<Totals, String> {
        let file = self.folder.join("counts");
        self.run(self.counting(&file), probe, Stdio::inherit())?;
        let said = std::fs::read_to_string(&file).map_err(text)?;
        let totals = match self.counter {
            Counter::Perf => Totals::from_perf(&said),
            Counter::Strace => Totals::from_strace(&said),
        };
        totals.ok_or_else(|| format!("what {:?} said is not understood:\n{said}", self.counter))
    }

    fn instructions(&self, probe: Probe) -> Result<f64, String> {
        let file = self.folder.join("callgrind");
        let mut command = Command::new("valgrind");
        command.args(["-q", "--tool=callgrind"]);
        command.arg(format!("--callgrind-out-file={}", file.display()));
        // It warns of calls that are newer than it; the program takes the older one then.
        self.run(command, probe, Stdio::null())?;
        let said = std::fs::read_to_string(&file).map_err(text)?;
        let totals = said.lines().find_map(|line| line.strip_prefix("totals: "));
        let totals = totals.and_then(|number| number.trim().parse().ok());
        totals.ok_or_else(|| "callgrind said no total".into())
    }

    /// How many seconds the probe takes, counted by itself.
    pub(super) fn time(&self, probe: Probe) -> Result<f64, String> {
        // Nothing stands before the program.
        let said = self.run(Command::new("env"), probe, Stdio::piped())?;
        let nanos: f64 = said
            .trim()
            .parse()
            .map_err(|_| format!("{probe:?} said {said:?}"))?;
        Ok(nanos / 1e9)
    }

    /// Runs the probe, and is its other end. What it says on standard error, if that is a pipe.
    fn run(&self, mut command: Command, probe: Probe, stderr: Stdio) -> Result<String, String> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default()
        };
        command
            .arg(&self.program)
            .arg("probe")
            .arg(name(probe.deed.to_possible_value()))
            .arg(name(probe.with.to_possible_value()))
            .arg(probe.times.to_string())
            .args(probe.timed.then_some("--timed"));
        if let Some(core) = probe.core {
            command.args(["--core", &core.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(text)?;
        let (into, from) = (child.stdin.take(), child.stdout.take());
        let (Some(into), Some(from)) = (into, from) else {
            return Err("the probe has no ends".into());
        };
        // A thread of its own, which may have to stay on a core. If the probe ends early, its status says more than our broken
        // pipe.
        let other_end = std::thread::spawn(move || {
            if let Some(core) = probe.core {
                kernel::stay_on_core(core)?;
            }
            other_end(probe, into, from).map_err(text)
        });
        let output = child.wait_with_output().map_err(text)?;
        let other_end = other_end.join().expect("the other end does not panic");
        if !output.status.success() {
            return Err(format!("{probe:?}: {}", output.status));
        }
        other_end.map_err(|error| format!("{probe:?}: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn per_operation(&self, task: &Task, with: With) -> Result<Counted, String> {
        let (short, long) = task.times;
        let probe = |times| Probe {
            deed: task.deed,
            with,
            times,
            core: None,
            timed: false,
        };
        let more = (long - short) as f64;
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let (fewer, all) = (self.count(probe(short))?, self.count(probe(long))?);
            runs.push(all.minus(&fewer, more));
        }
        runs.sort_by(|a, b| a.calls.total_cmp(&b.calls));
        let mut counted = runs.swap_remove(RUNS / 2);
        if self.has_callgrind && matches!(task.deed, Deed::LonePipe | Deed::LoneSocket) {
            let (fewer, all) = (
                self.instructions(probe(short))?,
                self.instructions(probe(long))?,
            );
            counted.instructions = Some((all - fewer) / more);
        }
        Ok(counted)
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        // What stays of it harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn other_end(probe: Probe, mut into: ChildStdin, mut from: ChildStdout) -> std::io::Result<()> {
    let mut buf = vec![7; CHUNK_BYTES];
    match probe.deed {
        Deed::BulkRead => {
            for _ in 0..probe.times * ((1 << 20) / CHUNK_BYTES as u64) {
                into.write_all(&buf)?;
            }
        }
        Deed::RoundTrip => {
            for _ in 0..probe.times {
                from.read_exact(&mut buf[..MESSAGE_BYTES])?;
                into.write_all(&buf[..MESSAGE_BYTES])?;
            }
        }
        Deed::BulkWrite | Deed::Cycle | Deed::LonePipe | Deed::LoneSocket => {
            while from.read(&mut buf)? > 0 {}
        }
    }
    Ok(())
}

/// What a whole run came to.
#[derive(Debug, Default, PartialEq)]
struct Totals {
    calls: f64,
    named: BTreeMap<String, f64>,
    switches: Option<f64>,
}

impl Totals {
    /// `29,,raw_syscalls:sys_enter,1277585,100.00,,`.
    fn from_perf(said: &str) -> Option<Self> {
        let mut totals = Totals::default();
        let mut is_there = false;
        for line in said.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(',');
            let (Some(count), Some(_), Some(event)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(count) = count.parse::<f64>() else {
                continue;
            };
            if event == "raw_syscalls:sys_enter" {
                totals.calls = count;
                is_there = true;
            } else if event == "context-switches" {
                totals.switches = Some(count);
            } else if let Some(name) = event.strip_prefix("syscalls:sys_enter_") {
                totals.named.insert(name.to_owned(), count);
            }
        }
        is_there.then_some(totals)
    }

    /// `  0.00    0.000000           0         8           mmap`, and `total` at the end.
    fn from_strace(said: &str) -> Option<Self> {
        let mut totals = Totals::default();
        let mut is_there = false;
        for line in said.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(name), Some(count)) = (words.last(), words.get(3)) else {
                continue;
            };
            let Ok(count) = count.parse::<f64>() else {
                continue;
            };
            if *name == "total" {
                totals.calls = count;
                is_there = true;
            } else {
                totals.named.insert((*name).to_owned(), count);
            }
        }
        is_there.then_some(totals)
    }

    fn minus(&self, fewer: &Self, more: f64) -> Counted {
        let per = |all: f64, fewer: f64| (all - fewer) / more;
        let of_which = self.named.iter().map(|(name, count)| {
            let before = fewer.named.get(name).copied().unwrap_or(0.0);
            (name.clone(), per(*count, before))
        });
        Counted {
            calls: per(self.calls, fewer.calls),
            of_which: of_which.collect(),
            switches: Option::zip(self.switches, fewer.switches)
                .map(|(all, fewer)| per(all, fewer)),
            instructions: None,
        }
    }
}

/// Counts everything.
pub(super) fn measure(tools: &Tools) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for task in &TASKS {
        eprintln!("watertight-bench: counting {}", task.title);
        for &with in With::value_variants() {
            lines.push(Line {
                deed: task.deed,
                with,
                counted: tools.per_operation(task, with)?,
            });
        }
    }
    Ok(lines)
}

/// The musts that are not met, in words.
pub(super) fn missed(lines: &[Line]) -> Vec<String> {
    let mut missed = Vec::new();
    for must in &MUSTS {
        let line = lines
            .iter()
            .find(|line| line.deed == must.deed && line.with == must.with);
        let found = line.and_then(|line| line.counted.figure(must.figure));
        // What cannot be counted here is neither met nor missed; the table has a dash for it.
        if let Some(found) = found.filter(|found| *found > must.most * TOLERANCE) {
            missed.push(format!(
                "{:?} of {:?} with {}: {found:.2}, must be {}",
                must.figure,
                must.deed,
                must.with.name(),
                must.most
            ));
        }
    }
    missed
}

impl Counted {
    fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Calls => Some(self.calls),
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

/// Tables for a document.
pub(super) fn to_markdown(lines: &[Line]) -> String {
    let mut text = String::new();
    for task in &TASKS {
        let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
        add(format!("**{}**, per {}\n", task.title, task.unit));
        add("| with | calls | must | of which | switches | instructions |".into());
        add("| --- | ---: | ---: | --- | ---: | ---: |".into());
        for line in lines.iter().filter(|line| line.deed == task.deed) {
            let counted = &line.counted;
            let figure = |figure, decimals: usize| {
                let dash = || "-".to_owned();
                counted
                    .figure(figure)
                    .map_or_else(dash, |count| format!("{count:.decimals$}"))
            };
            add(format!(
                "| {} | {} | {} | {} | {} | {} |",
                line.with.name(),
                figure(Figure::Calls, 2),
                musts_of(line),
                counted.of_which(),
                figure(Figure::Switches, 2),
                figure(Figure::Instructions, 0),
            ));
        }
        add(String::new());
    }
    text
}

fn musts_of(line: &Line) -> String {
    let musts = MUSTS
        .iter()
        .filter(|must| must.deed == line.deed && must.with == line.with);
    let words = musts.map(|must| match must.figure {
        Figure::Calls => format!("{}", must.most),
        Figure::Instructions => format!("{} instructions", must.most),
        Figure::Switches => format!("{} switches", must.most),
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_says_is_understood() {
        let said = "# started\n\n29,,raw_syscalls:sys_enter,1277585,100.00,,\n\
            19,,context-switches,1277585,100.00,,\n7,,syscalls:sys_enter_write,1277585,100.00,,\n";
        let totals = Totals::from_perf(said).unwrap();
        assert_eq!((totals.calls, totals.switches), (29.0, Some(19.0)));
        assert_eq!(totals.named["write"], 7.0);
        assert_eq!(
            Totals::from_perf("<not supported>,,raw_syscalls:sys_enter,0,,,"),
            None
        );
    }

    #[test]
    fn what_strace_says_is_understood() {
        let said = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            50.00    0.000000           0         8           mmap\n\
            50.00    0.000000           0         1         1 access\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000000           0         9         1 total\n";
        let totals = Totals::from_strace(said).unwrap();
        assert_eq!(totals.calls, 9.0);
        assert_eq!(totals.named["mmap"], 8.0);
        assert_eq!(totals.switches, None);
    }

    fn line(calls: f64) -> Line {
        Line {
            deed: Deed::RoundTrip,
            with: With::Wait,
            counted: Counted {
                calls,
                ..Counted::default()
            },
        }
    }

    #[test]
    fn a_must_that_is_missed_is_named() {
        assert!(missed(&[line(4.1)]).is_empty());
        let missed = missed(&[line(5.0)]);
        assert_eq!(missed.len(), 1);
        assert!(missed[0].contains("5.00, must be 4"), "{missed:?}");
    }
}
