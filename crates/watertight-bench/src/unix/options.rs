//! What can be asked on the command line.

use super::cell::{Contender, ReaderKind, Workload};
use super::children::ChildProbe;
use super::probe::Probe;
use super::program::ProgramProbe;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Measures watertight against a raw loop and its peers, interleaved in one run.
///
/// The figures go to standard output, the progress to standard error.
#[derive(Debug, Parser)]
#[command(name = "watertight-bench", version)]
pub(super) struct Options {
    #[command(subcommand)]
    pub(super) what: Option<What>,

    /// How often every contender is measured. Fewer than 5 rounds are not to be reported.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,

    /// How long a sample should take; the number of messages follows from a trial of each contender.
    #[arg(long, value_name = "SECONDS", default_value = "0.25", value_parser = seconds)]
    pub(super) seconds_per_sample: f64,

    /// How many bytes a sample has, whatever it takes: 512M, 1G, 4096.
    #[arg(long, conflicts_with = "seconds_per_sample", value_name = "BYTES", value_parser = bytes)]
    pub(super) bytes: Option<u64>,

    /// This workload only.
    #[arg(long, value_enum, value_name = "WORKLOAD")]
    pub(super) only: Option<Workload>,

    /// These contenders only. Without `raw` there are no ratios.
    #[arg(long, value_delimiter = ',', value_enum, value_name = "NAME")]
    pub(super) contender: Vec<Contender>,

    /// This kind of reader only.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(super) reader: Option<ReaderKind>,

    /// Messages of this size only.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(super) size: Option<u64>,

    /// Where the two threads run. On a core each, or both on one, figures vary less than where the system places them.
    #[arg(long, default_value = "free", value_enum, value_name = "WHERE")]
    pub(super) placement: Placement,

    /// Prints Markdown tables.
    #[arg(long)]
    pub(super) markdown: bool,

    /// Prints one JSON object, with every sample.
    #[arg(long, conflicts_with = "markdown")]
    pub(super) json: bool,
}

/// What else this program does.
#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// Counts what an operation costs (system calls, context switches, and for lone messages instructions and allocations),
    /// which holds on a noisy machine, and times it.
    Library(Library),
    /// What `library` counts.
    #[command(hide = true)]
    Probe(Probe),
    /// Starts children, feeds them and captures what they say, beside other crates that do. Counts the system calls of a start.
    Children(Children),
    /// What `children` measures.
    #[command(hide = true)]
    ChildProbe(ChildProbe),
    /// Times the program `watertight` beside cat, cp, dd, pv, socat, mbuffer, tee and raw loops of splice calls, as far as they are
    /// installed, and counts its system calls. Build it first: `cargo build --release -p watertight-cli`.
    Program(Program),
    /// What `program` measures beside them.
    #[command(hide = true)]
    ProgramProbe(ProgramProbe),
}

/// What `children` is asked for.
#[derive(Args, Debug)]
pub(super) struct Children {
    /// Counts only, and fails if a start has too many system calls or many children too many threads.
    #[arg(long)]
    pub(super) check: bool,

    /// How often everybody is timed. Fewer than 5 rounds are not to be reported.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,

    /// Puts the tables between this document's marks.
    #[arg(long, conflicts_with = "check", value_name = "FILE")]
    pub(super) document: Option<PathBuf>,
}

/// What `program` is asked for.
#[derive(Args, Debug)]
pub(super) struct Program {
    /// Only what has an upper bound, with 256 MiB, and fails if one is exceeded.
    #[arg(long)]
    pub(super) check: bool,

    /// How often everybody is timed. Fewer than 5 rounds are not to be reported.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,

    /// Puts the tables between this document's marks.
    #[arg(long, conflicts_with = "check", value_name = "FILE")]
    pub(super) document: Option<PathBuf>,

    /// Where the files are, in a new folder that is removed at the end: on a real disk, with room for 1 GiB. Without this
    /// TMPDIR, or /var/tmp. One file is on a memory file system besides, where there is one with room.
    #[arg(long, value_name = "FOLDER")]
    pub(super) folder: Option<PathBuf>,
}

/// What `library` is asked for.
#[derive(Args, Debug)]
pub(super) struct Library {
    /// Counts only what has an upper bound, and fails if a count is above it.
    #[arg(long)]
    pub(super) check: bool,

    /// How often everybody is timed.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,

    /// Puts the tables between this document's marks, and the pictures beside it.
    #[arg(long, conflicts_with = "check", value_name = "FILE")]
    pub(super) document: Option<PathBuf>,
}

/// Which cores the writer and the reader run on: threads, or for `library` the probe with all its threads and its other end.
/// Between two threads of one process, a library's own threads are always free.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Placement {
    /// Wherever the system puts them.
    Free,
    /// Both on the first core.
    OneCore,
    /// The writer on the first core, the reader on the second.
    TwoCores,
}

impl Placement {
    /// The writer's core and the reader's.
    pub(super) fn cores(self) -> Option<(usize, usize)> {
        match self {
            Placement::Free => None,
            Placement::OneCore => Some((0, 0)),
            Placement::TwoCores => Some((0, 1)),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Placement::Free => "threads placed by the system",
            Placement::OneCore => "writer and reader on one core",
            Placement::TwoCores => "writer and reader on a core each",
        }
    }
}

/// How the figures are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Json,
    Markdown,
    Plain,
}

fn seconds(text: &str) -> Result<f64, String> {
    /// A sample longer than this is a mistake.
    const SECONDS_MAX: f64 = 600.0;
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= SECONDS_MAX => Ok(seconds),
        Ok(_) | Err(_) => Err(format!("a number above 0, at most {SECONDS_MAX}")),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.chars().last() {
        Some('K' | 'k') => (&text[..text.len() - 1], 1 << 10),
        Some('M' | 'm') => (&text[..text.len() - 1], 1 << 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 1 << 30),
        Some(_) | None => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        Some(_) | None => Err("a number above 0, with K, M or G behind it or nothing".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn bytes_take_binary_units() {
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("1g"), Ok(1 << 30));
        assert_eq!(bytes("4096"), Ok(4096));
    }

    #[test]
    fn bytes_that_are_none_are_refused() {
        for text in ["", "0", "0K", "M", "-1", "1.5G", "99999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_that_are_none_are_refused() {
        for text in ["", "0", "-1", "nan", "inf", "601"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.25"), Ok(0.25));
    }
}
