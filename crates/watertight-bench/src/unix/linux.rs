//! What only Linux tells and does: the time that all processes used, and which core a thread stays on.

use rustix::thread::{CpuSet, sched_setaffinity};
use std::time::Duration;

/// /proc/stat: what all processors together have worked since the start, whoever for.
pub(super) fn busy_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let mut ticks = text.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.by_ref().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but the fourth and fifth, and the last is others' work too.
    let worked: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&column| ticks.get(column))
        .sum();
    Some(Duration::from_secs_f64(
        worked as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// sched_setaffinity: keeps this thread, and those it starts from now on, on one core.
pub(super) fn stay_on_core(core: usize) -> Result<(), String> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|code| format!("core {core}: {code}"))
}
