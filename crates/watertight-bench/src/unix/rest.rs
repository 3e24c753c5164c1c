//! W4: what many pipes cost while nothing happens on them, each with a read waiting: memory, and how often threads are switched.
//!
//! All that are compared rest at once, for none of them has anything to do. A thread that is not switched in all that time has
//! not run, so its processor time is not in the table. Never here: time.

use super::options::Placement;
use super::probe::{Deed, End, MESSAGE_BYTES, Probe, With, Work};
use super::tasks::pipe_counts;
use super::tools::Tools;
use super::{kernel, machine, text};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::thread;
use std::time::Duration;

/// So long nothing happens.
const REST: Duration = Duration::from_secs(10);
/// How long after it has said that it rests every probe is sure to be blocked.
const SETTLE: Duration = Duration::from_secs(1);

/// What a pipe at rest may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum BytesMax {
    AsTokio,
    Fixed(u32),
    Unbounded,
}

/// Who has a read waiting without a thread for it, and how.
#[derive(Debug)]
struct Contender {
    name: &'static str,
    with: With,
    deed: Deed,
    bytes_max: BytesMax,
}

impl Contender {
    const fn new(name: &'static str, with: With, deed: Deed, bytes_max: BytesMax) -> Self {
        Self {
            name,
            with,
            deed,
            bytes_max,
        }
    }

    /// Ours are not to be switched at all.
    fn has_musts(&self) -> bool {
        matches!(self.with, With::Await | With::Wait)
    }
}

/// By whose memory [`BytesMax::AsTokio`] is measured.
const TOKIO_TASKS: &str = "tokio, a task each";
const IN_REACTOR: &str = "watertight, a tokio task each, in tokio's reactor";

static CONTENDERS: [Contender; 6] = {
    use BytesMax::{AsTokio, Fixed, Unbounded};
    use Deed::{Idle, Polled};
    use With::{Await, Raw, Tokio, Wait};
    [
        Contender::new("raw, one epoll", Raw, Idle, Unbounded),
        Contender::new(TOKIO_TASKS, Tokio, Idle, Unbounded),
        Contender::new("tokio, polled once, no task", Tokio, Polled, Unbounded),
        Contender::new("watertight, a tokio task each", Wait, Idle, AsTokio),
        // It has all that tokio's has, and an account besides.
        Contender::new(IN_REACTOR, Await, Idle, Unbounded),
        Contender::new("watertight, polled once, no task", Wait, Polled, Fixed(900)),
    ]
};

/// One line of the table.
pub(super) struct Line {
    pipes: usize,
    contender: &'static Contender,
    bytes_per_pipe: f64,
    switches: u64,
}

/// A probe that rests until it is ended.
struct Resting {
    child: Child,
    bytes_per_pipe: f64,
}

impl Resting {
    fn begin(tools: &Tools, contender: &Contender, pipes: usize) -> Result<Self, String> {
        let probe = Probe {
            work: Work {
                deed: contender.deed,
                bytes: MESSAGE_BYTES,
                count: pipes,
                end: End::Pipe,
                capacity: None,
                join: false,
                peer_spins: false,
            },
            with: contender.with,
            times: 1,
            placement: Placement::Free,
            timed: false,
        };
        let mut child = tools.start(probe)?;
        let stderr = child.stderr.take().expect("it is a pipe");
        let mut said = String::new();
        BufReader::new(stderr).read_line(&mut said).map_err(text)?;
        let Ok(bytes_per_pipe) = said.trim().parse() else {
            return Err(format!("{}: a probe at rest said {said:?}", contender.name));
        };
        Ok(Self {
            child,
            bytes_per_pipe,
        })
    }

    fn switches(&self) -> Result<u64, String> {
        kernel::switches_of(self.child.id()).map_err(text)
    }

    /// Its standard input ends.
    fn end(mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(text)?;
        let is_well = status.success().then_some(());
        is_well.ok_or_else(|| format!("a probe at rest: {status}"))
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "so much time is to pass: nothing is waited for"
)]
pub(super) fn measure(tools: &Tools) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for pipes in pipe_counts(machine::open_files_max()) {
        eprintln!("watertight-bench: {pipes} pipes at rest");
        let mut all = Vec::new();
        for contender in &CONTENDERS {
            all.push(Resting::begin(tools, contender, pipes)?);
        }
        let switches = || {
            all.iter()
                .map(Resting::switches)
                .collect::<Result<Vec<_>, _>>()
        };
        thread::sleep(SETTLE);
        let before = switches()?;
        thread::sleep(REST);
        let after = switches()?;
        for (number, resting) in all.into_iter().enumerate() {
            lines.push(Line {
                pipes,
                contender: &CONTENDERS[number],
                bytes_per_pipe: resting.bytes_per_pipe,
                switches: after[number].saturating_sub(before[number]),
            });
            resting.end()?;
        }
    }
    Ok(lines)
}

/// How many bytes this line may have, if there is a bound.
fn bytes_max(line: &Line, lines: &[Line]) -> Option<f64> {
    match line.contender.bytes_max {
        BytesMax::AsTokio => {
            let is_tokios = |other: &&Line| other.contender.name == TOKIO_TASKS;
            let mut others = lines.iter().filter(|other| other.pipes == line.pipes);
            others.find(is_tokios).map(|other| other.bytes_per_pipe)
        }
        BytesMax::Fixed(bytes) => Some(bytes.into()),
        BytesMax::Unbounded => None,
    }
}

/// The musts that are not met, in words.
pub(super) fn missed(lines: &[Line]) -> Vec<String> {
    let mut missed = Vec::new();
    for line in lines.iter().filter(|line| line.contender.has_musts()) {
        let mut add = |found: String| {
            let name = line.contender.name;
            missed.push(format!("{} pipes at rest, {name}: {found}", line.pipes));
        };
        let (bytes, most) = (line.bytes_per_pipe, bytes_max(line, lines));
        if let Some(most) = most.filter(|most| bytes > *most) {
            add(format!("{bytes:.0} bytes each, must be {most:.0}"));
        }
        if line.switches > 0 {
            add(format!("{} switches, must be 0", line.switches));
        }
    }
    missed
}

/// A table for a document.
pub(super) fn to_markdown(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    let seconds = REST.as_secs();
    add(format!(
        "**W4 pipes with a read waiting, at rest for {seconds} seconds**\n"
    ));
    add("| with | pipes | bytes of the process per pipe | must | switches | must |".into());
    add("| --- | ---: | ---: | ---: | ---: | ---: |".into());
    for line in lines {
        let bytes_must =
            bytes_max(line, lines).map_or_else(String::new, |most| format!("{most:.0}"));
        let switches_must = if line.contender.has_musts() { "0" } else { "" };
        add(format!(
            "| {} | {} | {:.0} | {bytes_must} | {} | {switches_must} |",
            line.contender.name, line.pipes, line.bytes_per_pipe, line.switches
        ));
    }
    add(String::new());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, bytes_per_pipe: f64, switches: u64) -> Line {
        let contender = CONTENDERS.iter().find(|contender| contender.name == name);
        Line {
            pipes: 1_000,
            contender: contender.unwrap(),
            bytes_per_pipe,
            switches,
        }
    }

    #[test]
    fn what_was_found_becomes_a_line_with_its_musts() {
        let lines = [
            line(TOKIO_TASKS, 1228.8, 3),
            line("watertight, a tokio task each", 1100.0, 0),
        ];
        let text = to_markdown(&lines);
        assert!(
            text.contains("| tokio, a task each | 1000 | 1229 |  | 3 |  |"),
            "{text}"
        );
        let ours = "| watertight, a tokio task each | 1000 | 1100 | 1229 | 0 | 0 |";
        assert!(text.contains(ours), "{text}");
    }

    #[test]
    fn a_must_that_is_missed_is_named() {
        let polled = |bytes, switches| line("watertight, polled once, no task", bytes, switches);
        assert!(missed(&[polled(900.0, 0)]).is_empty());
        let missed = missed(&[polled(901.0, 2)]);
        assert_eq!(missed.len(), 2);
        assert!(missed[0].ends_with("901 bytes each, must be 900"));
        assert!(missed[1].ends_with("2 switches, must be 0"));
    }

    #[test]
    fn a_task_of_ours_is_measured_by_tokios_in_the_same_run() {
        let ours = || line("watertight, a tokio task each", 1300.0, 0);
        let tokio = |bytes| line(TOKIO_TASKS, bytes, 2);
        assert!(missed(&[tokio(1300.0), ours()]).is_empty());
        assert_eq!(missed(&[tokio(1299.0), ours()]).len(), 1);
        // Where tokio's was not measured there is nothing to compare with.
        assert!(missed(&[ours()]).is_empty());
    }
}
