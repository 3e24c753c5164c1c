//! Children, side by side with other crates: starting them, capturing what they say, sending bytes through one, and many at
//! once. Each sample is a process of its own (`child-probe`), so that nobody pays for another's memory and threads.
//!
//! Times are aims, printed and never a failure. Only counts are checked: system calls per start, and threads.

mod async_process;
mod calls;
mod duct;
mod ours;
mod rounds;
mod std_process;
mod subprocess;
mod table;
mod tokio;

use super::options::Children;
use super::probe::{CHUNK_BYTES, name};
use super::tools::Tools;
use super::{document, kernel, machine, text};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) use rounds::understood;

const MIB: u64 = 1 << 20;
/// What each of many children is fed with. It is more than a pipe holds (64 KiB): `cat` does not end before its output is read.
const FED_BYTES: usize = 100_000;
/// What `echo x` says.
const SAID: &[u8] = b"x\n";
/// Many children at once need no thread for each pipe: the caller's, the library's two, and one to spare.
const THREADS_MAX: u64 = 4;

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ChildDeed {
    /// Starts `true` and waits for it, one after the other.
    Start,
    /// Starts `echo x` and captures its output, one after the other.
    Capture,
    /// Sends MiB through one `cat`, and reads them back.
    Through,
    /// Starts many `cat`, feeds them, and captures the output of all.
    Crowd,
}

impl ChildDeed {
    fn program_name(self) -> &'static str {
        match self {
            ChildDeed::Start => "true",
            ChildDeed::Capture => "echo",
            ChildDeed::Through | ChildDeed::Crowd => "cat",
        }
    }

    /// How often a sample does it: so many children, or so many MiB.
    fn times(self) -> u64 {
        match self {
            ChildDeed::Start | ChildDeed::Capture => 300,
            ChildDeed::Through => 1024,
            ChildDeed::Crowd => 64,
        }
    }

    /// How many samples are taken of it in each round: of short ones more, since the machine's moods are longer than they are.
    fn samples(self) -> u32 {
        match self {
            ChildDeed::Start | ChildDeed::Capture => 24,
            ChildDeed::Through => 6,
            ChildDeed::Crowd => 4,
        }
    }

    /// What a contender must have seen in the end: children that ended well, or bytes.
    fn expected(self, times: u64) -> u64 {
        match self {
            ChildDeed::Start => times,
            ChildDeed::Capture => times * SAID.len() as u64,
            ChildDeed::Through => times * MIB,
            ChildDeed::Crowd => times * FED_BYTES as u64,
        }
    }
}

/// Who starts the children.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Starter {
    /// watertight, `.wait()`.
    Wait,
    /// watertight, `.wait()`, with an armed input.
    WaitArmed,
    /// watertight, `.await` on tokio's current-thread runtime.
    Await,
    /// `std::process`, with threads where it needs them.
    Std,
    /// `tokio::process`, on a current-thread runtime.
    Tokio,
    /// async-process, on async-io's `block_on`.
    AsyncProcess,
    /// duct.
    Duct,
    /// subprocess.
    Subprocess,
}

impl Starter {
    pub(super) fn name(self) -> &'static str {
        match self {
            Starter::Wait => "watertight, .wait()",
            Starter::WaitArmed => "watertight, armed input, .wait()",
            Starter::Await => "watertight, .await under tokio",
            Starter::Std => "std",
            Starter::Tokio => "tokio",
            Starter::AsyncProcess => "async-process",
            Starter::Duct => "duct",
            Starter::Subprocess => "subprocess",
        }
    }

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Starter::Wait | Starter::WaitArmed | Starter::Await)
    }

    /// An armed input is one that is written to for long.
    pub(super) fn is_measured(self, deed: ChildDeed) -> bool {
        self != Starter::WaitArmed || deed == ChildDeed::Through
    }

    fn work(self) -> &'static dyn ChildWork {
        match self {
            Starter::Wait => &ours::Blocking { is_armed: false },
            Starter::WaitArmed => &ours::Blocking { is_armed: true },
            Starter::Await => &ours::Awaiting,
            Starter::Std => &std_process::Std,
            Starter::Tokio => &tokio::Tokio,
            Starter::AsyncProcess => &async_process::AsyncProcess,
            Starter::Duct => &duct::Duct,
            Starter::Subprocess => &subprocess::Subprocess,
        }
    }
}

/// What a contender does, each time in the way that is ordinary for its crate.
trait ChildWork {
    /// Starts the program with all three streams at the null device and waits for it, so many times. How many ended well.
    fn start(&self, program: &Path, times: u64) -> io::Result<u64>;

    /// Starts the program with the argument `x` and captures both outputs, so many times. How many bytes came.
    fn capture(&self, program: &Path, times: u64) -> io::Result<u64>;

    /// Feeds the program with so many bytes and reads what comes back, at once. How many came. Who has to make them all before
    /// it starts sets `begin` anew then.
    fn through(&self, program: &Path, bytes: u64, begin: &mut Instant) -> io::Result<u64>;

    /// Starts so many, feeds each with the input, and captures both outputs of each. How many bytes came.
    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64>;
}

/// One sample, for the program itself.
#[derive(Args, Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ChildProbe {
    deed: ChildDeed,
    with: Starter,
    /// How often: so many children, or MiB.
    times: u64,
}

impl ChildProbe {
    /// The command line of this sample.
    fn arguments(self) -> [String; 4] {
        [
            "child-probe".to_owned(),
            name(self.deed),
            name(self.with),
            self.times.to_string(),
        ]
    }
}

/// Does it, and says on standard error how many nanoseconds it took and how many bytes of memory it had at most.
pub(super) fn run_probe(probe: ChildProbe) -> Result<(), String> {
    let ChildProbe { deed, with, times } = probe;
    let program = find(deed.program_name()).map_err(text)?;
    let (work, input) = (with.work(), Bytes::from(vec![7_u8; FED_BYTES]));
    let mut begin = Instant::now();
    let seen = match deed {
        ChildDeed::Start => work.start(&program, times),
        ChildDeed::Capture => work.capture(&program, times),
        ChildDeed::Through => work.through(&program, times * MIB, &mut begin),
        ChildDeed::Crowd => work.crowd(&program, times, &input),
    };
    let nanos = begin.elapsed().as_nanos();
    let (seen, expected) = (seen.map_err(text)?, deed.expected(times));
    if seen != expected {
        return Err(format!("{probe:?}: {seen} came, and not {expected}"));
    }
    let resident_bytes_max = kernel::resident_bytes_max();
    eprintln!(
        "{nanos} {}",
        resident_bytes_max.map_or_else(|_| "-".to_owned(), |bytes| bytes.to_string())
    );
    Ok(())
}

/// Counts and measures, or only counts.
pub(super) fn run(options: &Children) -> Result<(), String> {
    let tools = Tools::find()?;
    let calls = calls::count(&tools)?;
    let mut missed = calls.missed();
    let counted = format!("### System calls per start\n\n{}", calls.to_markdown());
    if options.check {
        print!("{counted}");
        for with in [Starter::Wait, Starter::Await] {
            missed.extend(threads_missed(with)?);
        }
    } else {
        measure(options, &counted)?;
    }
    for must in &missed {
        eprintln!("watertight-bench: missed: {must}");
    }
    if options.check && !missed.is_empty() {
        return Err(format!("musts missed: {}", missed.len()));
    }
    Ok(())
}

fn measure(options: &Children, counted: &str) -> Result<(), String> {
    let (cores, load_before) = (machine::cores()?, machine::load_average());
    let rows = rounds::measure(options.rounds)?;
    let tables = format!(
        "{counted}### Times\n\n{}{} rounds; {}; {}; {cores} cores; {} profile; load average {load_before} before.\n",
        table::to_markdown(&rows),
        options.rounds,
        machine::system(),
        machine::processor(),
        machine::PROFILE,
    );
    if let Some(path) = &options.document {
        document::replace(path, document::CHILDREN, &tables)?;
    }
    print!("{tables}");
    Ok(())
}

/// Whether many children at once need a thread for each: in words, if they do.
fn threads_missed(with: Starter) -> Result<Option<String>, String> {
    let deed = ChildDeed::Crowd;
    let times = deed.times();
    eprintln!(
        "watertight-bench: the threads of {times} children: {}",
        with.name()
    );
    let taken = rounds::take(ChildProbe { deed, with, times })?;
    // What the system does not tell is neither met nor missed.
    let threads = taken.threads_max.filter(|threads| *threads > THREADS_MAX);
    Ok(threads.map(|threads| {
        let name = with.name();
        format!("{times} children at once, {name}: {threads} threads, must be {THREADS_MAX}")
    }))
}

/// One sample of so many MiB through `cat` and back: how many seconds it took.
pub(super) fn seconds_through(with: Starter, mib: u64) -> Result<f64, String> {
    let (deed, times) = (ChildDeed::Through, mib);
    Ok(rounds::take(ChildProbe { deed, with, times })?.seconds)
}

/// Where a program is, so that nobody looks for it at each start.
pub(super) fn find(name: &str) -> io::Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let found = paths.find(|path| path.is_file());
    found.ok_or_else(|| io::Error::other(format!("there is no {name} in PATH")))
}

/// One more that ended well, or an error.
fn ended_well(is_success: bool) -> io::Result<u64> {
    if is_success {
        Ok(1)
    } else {
        Err(io::Error::other("a child did not end well"))
    }
}

/// How many chunks have so many bytes together, which is a whole number of them.
fn chunks(bytes: u64) -> u64 {
    bytes / CHUNK_BYTES as u64
}

/// Reads to the end: how many bytes came.
fn count_all(mut from: impl Read) -> io::Result<u64> {
    let (mut buf, mut count) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match from.read(&mut buf)? {
            0 => return Ok(count),
            more => count += more as u64,
        }
    }
}

/// Counts what is written to it, and keeps nothing.
#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
}

impl Write for Tally {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.bytes += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::options::{Options, What};
    use clap::Parser;

    #[test]
    fn a_command_line_says_the_whole_sample() {
        for &deed in ChildDeed::value_variants() {
            for &with in Starter::value_variants() {
                let probe = ChildProbe {
                    deed,
                    with,
                    times: 12,
                };
                let start = ["watertight-bench".to_owned()];
                let arguments = start.into_iter().chain(probe.arguments());
                let what = Options::try_parse_from(arguments).unwrap().what;
                let Some(What::ChildProbe(parsed)) = what else {
                    panic!("it is no sample");
                };
                assert_eq!(parsed, probe);
            }
        }
    }

    #[test]
    fn every_contender_sees_everything() {
        for &with in Starter::value_variants() {
            let (work, mut begin) = (with.work(), Instant::now());
            let (cat, input) = (find("cat").unwrap(), Bytes::from(vec![7_u8; FED_BYTES]));
            let seen = [
                work.start(&find("true").unwrap(), 2),
                work.capture(&find("echo").unwrap(), 2),
                work.through(&cat, MIB, &mut begin),
                work.crowd(&cat, 2, &input),
            ];
            let seen = seen.map(|seen| seen.unwrap());
            assert_eq!(seen, [2, 4, MIB, 200_000], "{}", with.name());
        }
    }

    #[test]
    fn whole_chunks_make_a_mib() {
        assert_eq!(chunks(MIB), 16);
        assert_eq!(ChildDeed::Capture.expected(3), 6);
        assert_eq!(ChildDeed::Through.expected(1024), 1 << 30);
    }

    #[test]
    fn what_is_counted_is_all_there_is() {
        assert_eq!(count_all(io::repeat(7).take(100_001)).unwrap(), 100_001);
        let mut tally = Tally::default();
        tally.write_all(&[0; 10]).unwrap();
        tally.write_all(&[0; 5]).unwrap();
        assert_eq!(tally.bytes, 15);
    }

    #[test]
    fn a_program_that_is_nowhere_is_an_error() {
        assert!(find("true").unwrap().is_absolute());
        assert!(find("watertight-has-no-such-program").is_err());
    }
}
