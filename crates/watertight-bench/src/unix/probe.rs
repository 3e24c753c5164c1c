//! What is counted and timed: a child process of this program that does one kind of thing, so many times, and nothing else.
//! Its other end is the parent (`peer.rs`), whose calls are not counted.

mod async_io;
mod at_rest;
mod awaiting;
mod blocking;
mod ours;
mod tokio;

use super::options::Placement;
use super::{kernel, machine, text};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Bytes of one lone message, and of one turn of a round trip.
pub(super) const MESSAGE_BYTES: usize = 64;
/// What fills a pipe of the default capacity; also what the parent reads and writes at a time.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of the length that a frame begins with; the whole frame has [`MESSAGE_BYTES`].
const LENGTH_BYTES: usize = 4;
/// What a `BufWriter` holds.
const BUFFER_BYTES: usize = 64 * 1024;
/// A lone message finds room: after so many the other end is emptied, which is 1/128 call a message. A local socket takes 277.
const LONE_MESSAGES: u64 = 128;
const MIB: u64 = 1 << 20;

/// What a probe does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Deed {
    /// Reads a MiB of what never stops coming.
    BulkRead,
    /// Writes a MiB in chunks.
    BulkWrite,
    /// Writes some messages and waits for the byte by which the other end says that it has them all.
    Burst,
    /// Makes a pipe, fills it, leaves a write waiting, takes that back, closes.
    Cycle,
    /// A round trip of a frame: one write of length and content, and two reads of what comes back.
    Frame,
    /// Makes many pipes with a read waiting on each, and then nothing until its standard input ends.
    Idle,
    /// Writes a message of 64 bytes into what has room.
    Lone,
    /// Writes one message, and reads it at the other end where a read was waiting: each time in the next of many pipes.
    Many,
    /// As idle, but each read was polled once, and no task waits for it.
    Polled,
    /// Writes 64 bytes and reads the 64 that come back.
    RoundTrip,
    /// Writes messages as fast as they go, from one thread or several.
    Small,
}

/// Where the writing goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum End {
    /// A pipe whose writing end nobody else has: what watertight takes over with `adopt_unshared`.
    Pipe,
    /// A pipe whose writing end others may have: what watertight takes over with `adopt`.
    SharedPipe,
    /// A local stream socket.
    Socket,
}

/// With what.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum With {
    /// read(2) and write(2), by std's `File`.
    Raw,
    /// As raw, behind std's `BufWriter`.
    StdBuffered,
    /// tokio's pipes and sockets, on a current-thread runtime.
    Tokio,
    /// As tokio, behind tokio's `BufWriter`.
    TokioBuffered,
    /// async-io's `Async`, with its `block_on`.
    AsyncIo,
    /// interprocess's unnamed pipe of the blocking kind.
    Interprocess,
    /// watertight, `.wait()`.
    Wait,
    /// watertight, owned bytes (`send_bytes`), `.wait()`.
    WaitBytes,
    /// watertight, `.wait()`, with a reader that spins before it blocks.
    WaitSpinning,
    /// watertight, `.await` on tokio's current-thread runtime.
    Await,
}

impl With {
    pub(super) fn name(self) -> &'static str {
        match self {
            With::Raw => "raw",
            With::StdBuffered => "std BufWriter",
            With::Tokio => "tokio",
            With::TokioBuffered => "tokio BufWriter",
            With::AsyncIo => "async-io",
            With::Interprocess => "interprocess",
            With::Wait => "watertight, .wait()",
            With::WaitBytes => "watertight, send_bytes, .wait()",
            With::WaitSpinning => "watertight, .wait(), spinning",
            With::Await => "watertight, .await under tokio",
        }
    }
}

/// What is done, apart from who does it.
#[derive(Args, Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Work {
    pub(super) deed: Deed,
    /// Bytes of one message or chunk.
    #[arg(long, default_value_t = MESSAGE_BYTES)]
    pub(super) bytes: usize,
    /// How many producers, or messages of a burst, or pipes.
    #[arg(long, default_value_t = 1)]
    pub(super) count: usize,
    /// Where the writing goes.
    #[arg(long, default_value = "pipe", value_enum)]
    pub(super) end: End,
    /// The capacity that the parent gives the pipes, if not the default.
    #[arg(long)]
    pub(super) capacity: Option<usize>,
    /// Lone messages may be joined, which is to show that they are not: for tools under which they come slowly.
    #[arg(long)]
    pub(super) join: bool,
    /// In a round trip the parent does not block either.
    #[arg(long)]
    pub(super) peer_spins: bool,
}

/// One probe, for the program itself.
#[derive(Args, Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Probe {
    #[command(flatten)]
    pub(super) work: Work,
    pub(super) with: With,
    /// How often: so many MiB, messages, bursts, round trips or cycles.
    pub(super) times: u64,
    /// Which cores it and its other end run on.
    #[arg(long, default_value = "free", value_enum)]
    pub(super) placement: Placement,
    /// Says on standard error how many nanoseconds it took.
    #[arg(long)]
    pub(super) timed: bool,
}

impl Probe {
    /// What the command line of this probe says behind the word `probe`.
    pub(super) fn arguments(self) -> Vec<String> {
        let work = self.work;
        let mut arguments = vec![
            name(work.deed),
            name(self.with),
            self.times.to_string(),
            format!("--bytes={}", work.bytes),
            format!("--count={}", work.count),
            format!("--end={}", name(work.end)),
            format!("--placement={}", name(self.placement)),
        ];
        arguments.extend(work.capacity.map(|bytes| format!("--capacity={bytes}")));
        arguments.extend(work.join.then(|| "--join".to_owned()));
        arguments.extend(work.peer_spins.then(|| "--peer-spins".to_owned()));
        arguments.extend(self.timed.then(|| "--timed".to_owned()));
        arguments
    }
}

/// What the command line calls it.
pub(super) fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    let value = value.expect("no value of these is hidden");
    value.get_name().to_owned()
}

/// Does it, on standard input and output.
pub(super) fn run(probe: Probe) -> Result<(), String> {
    let Probe {
        work, with, times, ..
    } = probe;
    if let Some((core, other)) = probe.placement.cores() {
        kernel::stay_on_core(core)?;
        if with == With::WaitSpinning {
            // It is there by now, and stays there as long as it keeps that core busy. Bound to one core it would not spin.
            kernel::stay_on_cores(&[core, other])?;
        }
    }
    if matches!(work.deed, Deed::Idle | Deed::Many | Deed::Polled) {
        machine::raise_open_files_max()?;
    }
    // Who has much to set up sets this anew.
    let mut begin = Instant::now();
    match with {
        With::Raw | With::StdBuffered | With::Interprocess => {
            blocking::run(work, with, times, &mut begin)
        }
        With::Tokio | With::TokioBuffered => tokio::run(work, with, times, &mut begin),
        With::AsyncIo => async_io::run(work, times),
        With::Wait | With::WaitBytes | With::WaitSpinning => ours::run(work, with, times),
        With::Await => awaiting::run(work, times, &mut begin),
    }?;
    if probe.timed {
        eprintln!("{}", begin.elapsed().as_nanos());
    }
    Ok(())
}

fn runtime() -> Result<::tokio::runtime::Runtime, String> {
    let mut builder = ::tokio::runtime::Builder::new_current_thread();
    builder.enable_io().build().map_err(text)
}

/// What a table must not ask for.
fn not_with(deed: Deed) -> String {
    format!("{deed:?} is not done with that")
}

/// How many chunks of `bytes` have so many MiB together, rounded up.
fn chunks(times: u64, bytes: usize) -> u64 {
    (times * MIB).div_ceil(bytes as u64)
}

/// How many of `times` messages are this producer's.
fn share(times: u64, producers: usize, producer: usize) -> u64 {
    let (times, producers, producer) = (times, producers as u64, producer as u64);
    times / producers + u64::from(producer < times % producers)
}

pub(super) fn input() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

pub(super) fn output() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// The writing end for lone messages, and the other one.
fn lone_ends(end: End) -> io::Result<(OwnedFd, OwnedFd)> {
    if end == End::Socket {
        let (ours, theirs) = UnixStream::pair()?;
        return Ok((ours.into(), theirs.into()));
    }
    let (from, into) = io::pipe()?;
    Ok((into.into(), from.into()))
}

/// Empties the other end, when it is time.
fn drain(from: &mut File, message: u64, buf: &mut [u8]) -> io::Result<()> {
    if message % LONE_MESSAGES == LONE_MESSAGES - 1 {
        from.read_exact(&mut buf[..MESSAGE_BYTES * LONE_MESSAGES as usize])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::options::{Options, What};
    use clap::Parser;

    fn parsed(probe: Probe) -> Probe {
        let start = ["watertight-bench".to_owned(), "probe".to_owned()];
        let arguments = start.into_iter().chain(probe.arguments());
        let Some(What::Probe(probe)) = Options::try_parse_from(arguments).unwrap().what else {
            panic!("it is no probe");
        };
        probe
    }

    #[test]
    fn a_command_line_says_the_whole_probe() {
        for with in With::value_variants() {
            for capacity in [None, Some(1 << 20)] {
                let probe = Probe {
                    work: Work {
                        deed: Deed::Small,
                        bytes: 16,
                        count: 4,
                        end: End::SharedPipe,
                        capacity,
                        join: capacity.is_none(),
                        peer_spins: capacity.is_some(),
                    },
                    with: *with,
                    times: 1000,
                    placement: Placement::TwoCores,
                    timed: capacity.is_some(),
                };
                assert_eq!(parsed(probe), probe);
            }
        }
    }

    #[test]
    fn the_shares_of_all_producers_are_the_whole() {
        for (times, producers) in [(0, 1), (1, 4), (10, 4), (12, 4), (1_001, 2)] {
            let all: u64 = (0..producers)
                .map(|producer| share(times, producers, producer))
                .sum();
            assert_eq!(all, times);
        }
    }

    #[test]
    fn chunks_of_a_mib_are_counted() {
        assert_eq!(chunks(3, 8 * 1024), 384);
        assert_eq!(chunks(3, 64 * 1024), 48);
        assert_eq!(chunks(3, 1 << 20), 3);
    }
}
