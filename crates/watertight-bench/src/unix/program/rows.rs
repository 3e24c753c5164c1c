//! Samples, round by round and everybody in turn.

use super::flows::{Flow, PART_MIB, Tool};
use super::place::Place;
use super::relay::{Sample, Taken, count, take};
use crate::platform::kernel;
use crate::platform::stats::Spread;
use crate::platform::tools::Counter;
use crate::platform::totals::Totals;
use std::time::Instant;

const BYTES_PER_MIB: f64 = 1_048_576.0;
/// Of what is compared the median of so many counts.
const COUNTS: usize = 5;
/// Where counting slows nobody down, so many MiB are counted if no file limits them: who waits for whom is a matter of chance for a while.
const COUNTED_MIB: u64 = 512;
/// Processor time below this is not told apart from none.
const CPU_SECONDS_MIN: f64 = 1e-6;
/// What vmsplice fills a pipe with goes so many times as fast as what is written: a sample has so many times the MiB.
const VMSPLICED_TIMES: u64 = 4;

/// The samples of one tool at one flow, one for each turn of each round.
pub(super) struct Row {
    pub(super) flow: Flow,
    pub(super) tool: Tool,
    pub(super) mib: u64,
    /// The processor time is what an empty copy of the same round has not.
    pub(super) taken: Vec<Taken>,
    /// System calls for each MiB, if they were counted.
    pub(super) calls: Option<f64>,
}

impl Row {
    pub(super) fn seconds(&self) -> Vec<f64> {
        self.taken.iter().map(|taken| taken.seconds).collect()
    }

    /// What was reached in each round, in GB/s.
    pub(super) fn rates(&self) -> Vec<f64> {
        let rate = |seconds| gigabytes(self.mib) / seconds;
        self.seconds().into_iter().map(rate).collect()
    }

    /// The relay's processor time in each round, in seconds for each GB.
    pub(super) fn cpu_per_gb(&self) -> Vec<f64> {
        let cpu = self.taken.iter().filter_map(|taken| taken.cpu_seconds);
        cpu.map(|seconds| seconds / gigabytes(self.mib)).collect()
    }

    /// The most of all rounds.
    pub(super) fn resident_bytes_max(&self) -> Option<u64> {
        let most = self
            .taken
            .iter()
            .filter_map(|taken| taken.resident_bytes_max);
        most.max()
    }

    /// What the pipe behind the relay had in the end, in the last round.
    pub(super) fn capacity(&self) -> Option<u64> {
        self.taken.last().and_then(|taken| taken.capacity)
    }

    fn sample(&self, mib: u64) -> Sample {
        let (flow, tool) = (self.flow, self.tool);
        Sample { flow, tool, mib }
    }
}

pub(super) fn gigabytes(mib: u64) -> f64 {
    mib as f64 * BYTES_PER_MIB / 1e9
}

pub(super) fn find(rows: &[Row], flow: Flow, tool: Tool) -> Option<&Row> {
    rows.iter().find(|row| (row.flow, row.tool) == (flow, tool))
}

/// How much is carried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub(super) file_mib: u64,
    pub(super) pipe_mib: u64,
}

impl Amount {
    fn mib(self, flow: Flow) -> u64 {
        if flow.has_file() {
            self.file_mib
        } else if flow.is_vmspliced() {
            VMSPLICED_TIMES * self.pipe_mib
        } else {
            self.pipe_mib
        }
    }
}

/// The rows of what is here, without samples. Those that are compared with each other stand side by side.
pub(super) fn rows(place: &Place, amount: Amount, is_wanted: impl Fn(Tool) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    // Where there is one of these calls there is the other.
    let is_possible = |flow: &Flow| kernel::HAS_SPLICE || !flow.is_vmspliced();
    for flow in Flow::ALL.into_iter().filter(is_possible) {
        let tools = flow.tools().into_iter();
        let here = tools.filter(|tool| is_wanted(*tool) && place.program(*tool).is_some());
        rows.extend(here.map(|tool| Row {
            flow,
            tool,
            mib: amount.mib(flow),
            taken: Vec::new(),
            calls: None,
        }));
    }
    rows
}

/// Has everybody carry a little, which is not kept. Peers that fail are left out: why, in words.
pub(super) fn try_all(place: &Place, rows: Vec<Row>) -> Result<(Vec<Row>, Vec<String>), String> {
    let (mut able, mut reasons) = (Vec::new(), Vec::new());
    for row in rows {
        match take(place, row.sample(PART_MIB)) {
            Ok(_) => able.push(row),
            Err(error) if row.tool.program_name().is_none() => return Err(error),
            Err(error) => reasons.push(error),
        }
    }
    Ok((able, reasons))
}

/// Measures so many rounds. How many seconds one takes.
pub(super) fn measure(
    place: &Place,
    rows: &mut [Row],
    rounds: u32,
) -> Result<Option<Spread>, String> {
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let begin = Instant::now();
        let which = format!("round {} of {rounds}", round + 1);
        for group in rows.chunk_by_mut(|a, b| a.flow == b.flow) {
            eprintln!("watertight-bench: {which}: {}", group[0].flow.title());
            for turn in 0..group[0].flow.turns() {
                // Whoever comes first finds another machine than whoever comes last: everybody is first in turn.
                let first = (round as usize + turn) % group.len();
                group.rotate_left(first);
                for row in &mut *group {
                    let empty = take(place, row.sample(0))?;
                    let taken = take(place, row.sample(row.mib))?;
                    row.taken.push(without(taken, empty));
                }
                group.rotate_right(first);
            }
        }
        let took = begin.elapsed().as_secs_f64();
        eprintln!("watertight-bench: {which} took {took:.0} s");
        seconds.push(took);
    }
    Ok(Spread::of(seconds))
}

/// The sample, without the processor time that starting and ending the relay costs.
fn without(taken: Taken, empty: Taken) -> Taken {
    let cpu = taken.cpu_seconds.zip(empty.cpu_seconds);
    Taken {
        cpu_seconds: cpu.map(|(cpu, empty)| (cpu - empty).max(CPU_SECONDS_MIN)),
        ..taken
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    Everything,
    /// Only what is compared in a must.
    Musts,
}

/// Counts the calls of all rows whose relay is the tool alone: the difference of a copy and an empty one.
pub(super) fn count_calls(place: &Place, rows: &mut [Row], scope: Scope) -> Result<(), String> {
    for row in rows {
        let is_alone = !row.flow.has_child() && row.tool != Tool::HashAlone;
        let is_compared = row.flow.can_be_spliced() && row.tool.is_compared_by_calls();
        if !is_alone || (scope == Scope::Musts && !is_compared) {
            continue;
        }
        let (flow, tool) = (row.flow.title(), row.tool.name());
        eprintln!("watertight-bench: counting calls: {flow}, {tool}");
        let times = if is_compared { COUNTS } else { 1 };
        let mut counts = Vec::new();
        for _ in 0..times {
            let empty = count(place, row.sample(0))?;
            let mib = counted_mib(place, row.flow);
            let all = count(place, row.sample(mib))?;
            counts.push((all.calls - empty.calls) / mib as f64);
        }
        counts.sort_by(f64::total_cmp);
        row.calls = Some(counts[times / 2]);
    }
    Ok(())
}

fn counted_mib(place: &Place, flow: Flow) -> u64 {
    if flow.has_file() || place.counter() != Ok(Counter::Perf) {
        PART_MIB
    } else {
        COUNTED_MIB
    }
}

/// How many threads and processes ours starts for an empty copy.
pub(super) fn threads_of_empty_copy(place: &Place, flow: Flow) -> Result<f64, String> {
    let (tool, mib) = (Tool::Ours, 0);
    Ok(started(&count(place, Sample { flow, tool, mib })?))
}

fn started(totals: &Totals) -> f64 {
    let calls = ["clone", "clone3", "fork", "vfork"];
    calls
        .iter()
        .filter_map(|name| totals.named.get(*name))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(cpu: Option<f64>) -> Taken {
        Taken {
            seconds: 2.0,
            cpu_seconds: cpu,
            resident_bytes_max: Some(4_096),
            capacity: Some(65_536),
        }
    }

    #[test]
    fn starting_and_ending_cost_no_processor_time() {
        let cpu = |all, empty| without(taken(all), taken(empty)).cpu_seconds;
        assert_eq!(cpu(Some(3.5), Some(0.5)), Some(3.0));
        assert_eq!(cpu(Some(0.5), Some(0.75)), Some(CPU_SECONDS_MIN));
        assert_eq!(cpu(Some(0.5), None), None);
    }

    #[test]
    fn figures_are_for_each_gigabyte() {
        let row = Row {
            flow: Flow::PipeToPipe,
            tool: Tool::Cat,
            mib: 15_625,
            taken: vec![taken(Some(8.192)), taken(None)],
            calls: None,
        };
        assert_eq!(row.rates(), [8.192, 8.192]);
        assert_eq!(row.cpu_per_gb(), [0.5]);
        assert_eq!(row.resident_bytes_max(), Some(4_096));
        assert_eq!(row.capacity(), Some(65_536));
    }

    #[test]
    fn samples_without_a_file_are_larger_and_most_of_all_those_of_vmsplice() {
        let amount = Amount {
            file_mib: 1,
            pipe_mib: 2,
        };
        assert_eq!(amount.mib(Flow::PipeToMemory), 1);
        assert_eq!(amount.mib(Flow::PipeToPipe), 2);
        assert_eq!(amount.mib(Flow::VmsplicedWide), 2 * VMSPLICED_TIMES);
    }

    #[test]
    fn threads_and_processes_are_what_was_started() {
        let named = [("clone3", 2.0), ("vfork", 1.0), ("read", 9.0)];
        let named = named.map(|(name, count)| (name.to_owned(), count));
        let totals = Totals {
            calls: 12.0,
            named: named.into_iter().collect(),
            switches: None,
        };
        assert_eq!(started(&totals), 3.0);
        assert_eq!(started(&Totals::default()), 0.0);
    }
}
