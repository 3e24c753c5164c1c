//! What this program itself does in a pipeline: it is whoever writes, whoever reads, a raw loop, or a hash alone.

use super::raw::{self, Waits};
use crate::platform::probe::{CHUNK_BYTES, input, name, output};
use crate::platform::{kernel, text};
use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

const MIB: usize = 1 << 20;
/// Every byte that is produced.
const PRODUCED: u8 = 7;
/// The capacity of a wide pipe: the most that Linux gives an ordinary user.
pub(super) const WIDE_BYTES: usize = MIB;
/// The capacity that ours gives to pipes that others made.
pub(super) const OURS_BYTES: usize = MIB / 4;

/// What it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Stage {
    /// Reads to the end, and says on standard output how many bytes came and which capacity the pipe had then.
    Consume,
    /// Hashes so many MiB that are in memory.
    Hash,
    /// Writes so many MiB.
    Produce,
    /// Moves everything from standard input to standard output by splice; with two more targets to all three, by tee and splice.
    Splice,
    /// Fills a pipe with so many MiB by vmsplice, always with the same memory.
    Vmsplice,
}

/// One stage, for the program itself.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub(in crate::platform) struct ProgramProbe {
    stage: Stage,
    /// How many MiB, where that is not said by who writes.
    mib: u64,
    /// What is read in place of standard input.
    #[arg(long)]
    from: Option<PathBuf>,
    /// What is written to besides standard output.
    #[arg(long)]
    into: Vec<PathBuf>,
    /// Gives the pipes among both standard streams so large a capacity first.
    #[arg(long)]
    capacity: Option<usize>,
    /// Waits in ppoll, where a stop would be heard, and not inside of splice and tee.
    #[arg(long)]
    polled: bool,
}

/// The command line of a stage.
pub(super) fn stage(stage: Stage, mib: u64) -> Vec<String> {
    vec!["program-probe".to_owned(), name(stage), mib.to_string()]
}

/// Does it.
pub(in crate::platform) fn run_probe(probe: &ProgramProbe) -> Result<(), String> {
    match probe.stage {
        Stage::Consume => {
            let from = match &probe.from {
                Some(path) => File::open(path),
                None => input().map(File::from),
            };
            from.and_then(consume).map(|said| println!("{said}"))
        }
        Stage::Hash => {
            hash(probe.mib);
            Ok(())
        }
        Stage::Produce => output().and_then(|into| produce(File::from(into), probe.mib)),
        Stage::Splice => splice(probe),
        Stage::Vmsplice => output().and_then(|into| lend(into, probe.mib)),
    }
    .map_err(text)
}

/// `1048576 65536`, or a dash where the capacity is not known: what `consumed` understands.
fn consume(mut from: File) -> io::Result<String> {
    let (mut buf, mut count) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match from.read(&mut buf)? {
            0 => break,
            more => count += more as u64,
        }
    }
    let capacity = kernel::capacity(&from);
    let capacity = capacity.map_or_else(|_| "-".to_owned(), |bytes| bytes.to_string());
    Ok(format!("{count} {capacity}"))
}

/// How many bytes came, and which capacity the pipe had, if that is known.
pub(super) fn consumed(said: &str) -> Option<(u64, Option<u64>)> {
    let (count, capacity) = said.trim().split_once(' ')?;
    let capacity = match capacity {
        "-" => None,
        bytes => Some(bytes.parse().ok()?),
    };
    Some((count.parse().ok()?, capacity))
}

/// Something else than zeros, lest anybody be clever. Also what is in the file.
pub(super) fn produce(mut into: impl Write, mib: u64) -> io::Result<()> {
    let chunk = vec![PRODUCED; CHUNK_BYTES];
    for _ in 0..chunks(mib) {
        into.write_all(&chunk)?;
    }
    Ok(())
}

/// What `produce` produces, by vmsplice. The memory is never changed, and stays as long as the process: the pipe has its pages.
fn lend(into: impl AsFd, mib: u64) -> io::Result<()> {
    let page_bytes = rustix::param::page_size();
    let memory: &'static [u8] = vec![PRODUCED; MIB + page_bytes].leak();
    // Of a page that begins elsewhere the pipe has two pieces, and so room for one less.
    let whole_pages = &memory[memory.as_ptr().align_offset(page_bytes)..][..MIB];
    for _ in 0..mib {
        let mut rest = whole_pages;
        while !rest.is_empty() {
            rest = &rest[kernel::vmsplice(&into, rest)?..];
        }
    }
    Ok(())
}

fn hash(mib: u64) {
    let chunk = vec![PRODUCED; CHUNK_BYTES];
    let mut hash = Sha256::new();
    for _ in 0..chunks(mib) {
        hash.update(&chunk);
    }
    // Nobody needs it, and it is to be computed all the same.
    std::hint::black_box(hash.finalize());
}

fn splice(probe: &ProgramProbe) -> io::Result<()> {
    let (from, into) = (input()?, output()?);
    let mut others = Vec::new();
    for path in &probe.into {
        let other = File::options().write(true).open(path)?;
        others.push(OwnedFd::from(other));
    }
    if let Some(bytes) = probe.capacity {
        // As ours does it: two at most, and no FIFO.
        for end in [&from, &into] {
            // Only a pipe has one.
            if kernel::capacity(end).is_ok() {
                kernel::set_capacity(end, bytes)?;
            }
        }
    }
    let waits = if probe.polled {
        Waits::polled(&from)?
    } else {
        Waits::Inside
    };
    match &others[..] {
        [] => raw::move_all(&from, &into, &waits),
        [first, second] => raw::move_all_to_three(&from, [first, second, &into], &waits),
        _ => Err(io::Error::other("it is one target or three")),
    }
}

fn chunks(mib: u64) -> u64 {
    mib * (MIB / CHUNK_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::options::{Options, What};
    use clap::Parser;

    #[test]
    fn a_command_line_says_the_whole_stage() {
        for &value in Stage::value_variants() {
            let start = ["watertight-bench".to_owned()];
            let more = [
                "--from=fifo-1",
                "--into=a",
                "--into=b",
                "--capacity=7",
                "--polled",
            ];
            let arguments = start.into_iter().chain(stage(value, 12));
            let arguments = arguments.chain(more.map(str::to_owned));
            let what = Options::try_parse_from(arguments).unwrap().what;
            let Some(What::ProgramProbe(parsed)) = what else {
                panic!("it is no stage");
            };
            let expected = ProgramProbe {
                stage: value,
                mib: 12,
                from: Some("fifo-1".into()),
                into: vec!["a".into(), "b".into()],
                capacity: Some(7),
                polled: true,
            };
            assert_eq!(parsed, expected);
        }
    }

    #[test]
    fn what_is_produced_is_consumed() {
        let (from, into) = io::pipe().unwrap();
        let writer = std::thread::spawn(move || produce(into, 2));
        let said = consume(File::from(OwnedFd::from(from))).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(consumed(&said).unwrap().0, 2 << 20);
    }

    #[test]
    fn what_a_reader_says_is_understood() {
        assert_eq!(consumed("7 65536\n"), Some((7, Some(65_536))));
        assert_eq!(consumed("7 -\n"), Some((7, None)));
        for said in ["", "7", "x 1", "7 x", "1 2 3"] {
            assert_eq!(consumed(said), None, "{said}");
        }
    }
}
