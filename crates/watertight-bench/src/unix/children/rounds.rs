//! Samples, round by round and everybody in turn.

use super::{ChildDeed, ChildProbe, Starter};
use crate::platform::{kernel, text};
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::process::{Child, Command, Stdio};

/// How often a sample's threads are counted while it runs.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000,
};
/// A trial, which is not kept, does so small a part of a sample.
const TRIAL_PART: u64 = 16;

/// What one sample took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) seconds: f64,
    /// How much memory the process had at most, where the system tells.
    pub(super) resident_bytes_max: Option<u64>,
    /// How many threads it had at most, where that was looked at and the system tells.
    pub(super) threads_max: Option<u64>,
}

/// The samples of one contender at one deed, one or several for each round.
pub(super) struct ChildRow {
    pub(super) deed: ChildDeed,
    pub(super) with: Starter,
    pub(super) taken: Vec<Taken>,
}

impl ChildRow {
    pub(super) fn seconds(&self) -> Vec<f64> {
        self.taken.iter().map(|taken| taken.seconds).collect()
    }
}

/// Measures so many rounds. Those that are compared with each other stand side by side.
pub(super) fn measure(rounds: u32) -> Result<Vec<ChildRow>, String> {
    let mut rows = Vec::new();
    for &deed in ChildDeed::value_variants() {
        let all = Starter::value_variants().iter().copied();
        for with in all.filter(|with| with.is_measured(deed)) {
            let times = deed.times() / TRIAL_PART;
            take(ChildProbe { deed, with, times })?;
            let taken = Vec::new();
            rows.push(ChildRow { deed, with, taken });
        }
    }
    for round in 0..rounds {
        eprintln!("watertight-bench: round {} of {rounds}", round + 1);
        for group in rows.chunk_by_mut(|a, b| a.deed == b.deed) {
            let samples = group[0].deed.samples();
            for sample in 0..samples {
                take_in_turn(group, (round * samples + sample) as usize)?;
            }
        }
    }
    Ok(rows)
}

/// One sample of each. Whoever comes first finds another machine than whoever comes last: everybody is first in turn.
fn take_in_turn(group: &mut [ChildRow], turn: usize) -> Result<(), String> {
    let first = turn % group.len();
    group.rotate_left(first);
    for row in &mut *group {
        let (deed, with, times) = (row.deed, row.with, row.deed.times());
        row.taken.push(take(ChildProbe { deed, with, times })?);
    }
    group.rotate_right(first);
    Ok(())
}

/// Takes one sample, in a process of its own.
pub(super) fn take(probe: ChildProbe) -> Result<Taken, String> {
    let mut command = Command::new(std::env::current_exe().map_err(text)?);
    command.args(probe.arguments());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn().map_err(text)?;
    let threads_max = if probe.deed == ChildDeed::Crowd {
        threads_max(&child).map_err(text)?
    } else {
        None
    };
    let output = child.wait_with_output().map_err(text)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{probe:?}: {}: {said}", output.status));
    }
    let (seconds, resident_bytes_max) =
        understood(&said).ok_or_else(|| format!("{probe:?} said {said:?}"))?;
    Ok(Taken {
        seconds,
        resident_bytes_max,
        threads_max,
    })
}

/// Looks at the process until it says something: how many threads it had at most, if the system tells. A thread that looks from
/// inside would be one of them.
fn threads_max(child: &Child) -> io::Result<Option<u64>> {
    let said = child.stderr.as_ref().expect("it is piped");
    let mut most: Option<u64> = None;
    loop {
        // None is less than any number. A process that is over has no threads.
        most = most.max(kernel::threads_of(child.id()).ok());
        let mut waited = [PollFd::new(said, PollFlags::IN)];
        match poll(&mut waited, Some(&LOOK_EVERY)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(most),
            Err(code) => return Err(code.into()),
        }
    }
}

/// Nanoseconds and bytes, or a dash in place of the bytes: seconds and bytes.
pub(in crate::platform) fn understood(said: &str) -> Option<(f64, Option<u64>)> {
    let (nanos, bytes) = said.trim().split_once(' ')?;
    let nanos: f64 = nanos.parse().ok()?;
    let bytes = match bytes {
        "-" => None,
        bytes => Some(bytes.parse().ok()?),
    };
    Some((nanos / 1e9, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sample_says_is_understood() {
        assert_eq!(understood("2500000000 4096\n"), Some((2.5, Some(4096))));
        assert_eq!(understood("1000000 -\n"), Some((0.001, None)));
        for said in ["", "1", "x 1", "1 x", "1 2 3"] {
            assert_eq!(understood(said), None, "{said}");
        }
    }

    #[test]
    fn a_trial_does_something() {
        for deed in ChildDeed::value_variants() {
            assert!(deed.times() / TRIAL_PART > 0, "{deed:?}");
        }
    }
}
