//! W4: what many pipes cost while nothing happens on them, each with a read waiting. Measured once: two seconds for each.

use super::machine;
use super::options::Placement;
use super::probe::{Deed, End, MESSAGE_BYTES, Probe, With, Work};
use super::tasks::pipe_counts;
use super::tools::Tools;
use std::fmt::Write;
use std::str::FromStr;

/// Who has a read waiting without a thread for it.
const WITH: [With; 3] = [With::Raw, With::Tokio, With::Await];

/// What the probe says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    bytes_per_pipe: f64,
    cpu_nanos: f64,
    switches: u64,
}

impl FromStr for Cost {
    type Err = String;

    fn from_str(said: &str) -> Result<Self, String> {
        let not_understood = || format!("a probe at rest said {said:?}");
        let words: Vec<&str> = said.split_whitespace().collect();
        let [bytes, nanos, switches] = words[..] else {
            return Err(not_understood());
        };
        Ok(Self {
            bytes_per_pipe: bytes.parse().map_err(|_| not_understood())?,
            cpu_nanos: nanos.parse().map_err(|_| not_understood())?,
            switches: switches.parse().map_err(|_| not_understood())?,
        })
    }
}

/// One line of the table.
pub(super) struct Line {
    pipes: usize,
    with: With,
    cost: Cost,
}

pub(super) fn measure(tools: &Tools) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for pipes in pipe_counts(machine::open_files_max()) {
        eprintln!("watertight-bench: {pipes} pipes at rest");
        for with in WITH {
            let probe = Probe {
                work: Work {
                    deed: Deed::Idle,
                    bytes: MESSAGE_BYTES,
                    count: pipes,
                    end: End::Pipe,
                    capacity: None,
                    join: false,
                },
                with,
                times: 1,
                placement: Placement::Free,
                timed: false,
            };
            let cost: Cost = tools.say(probe)?.parse()?;
            lines.push(Line { pipes, with, cost });
        }
    }
    Ok(lines)
}

/// A table for a document.
pub(super) fn to_markdown(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    add("**W4 pipes with a read waiting, at rest for two seconds**\n".into());
    add("| with | pipes | bytes of the process per pipe | CPU ms | switches |".into());
    add("| --- | ---: | ---: | ---: | ---: |".into());
    for Line { pipes, with, cost } in lines {
        add(format!(
            "| {} | {pipes} | {:.0} | {:.2} | {} |",
            with.name(),
            cost.bytes_per_pipe,
            cost.cpu_nanos / 1e6,
            cost.switches
        ));
    }
    add(String::new());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_at_rest_says_becomes_a_line() {
        let cost: Cost = "1228.8 250000 3\n".parse().unwrap();
        let line = Line {
            pipes: 1_000,
            with: With::Tokio,
            cost,
        };
        let text = to_markdown(&[line]);
        assert!(
            text.contains("| tokio | 1000 | 1229 | 0.25 | 3 |"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for said in ["", "1 2", "1 2 x", "1 2 3 4"] {
            assert!(said.parse::<Cost>().is_err(), "{said}");
        }
    }
}
