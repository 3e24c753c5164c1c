//! The command line: every subcommand and every flag, defined once. Help, completions and the man page come from here.

use crate::address::{Address, Place};
use crate::run_flags::RunFlags;
use crate::units;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

// Lines of at most 78 characters, so that no terminal breaks them.
const EXAMPLES: &str = "\
Examples:
  watertight copy /usr/bin/bash exec:sha256sum
  watertight copy big.iso file:/mnt/usb/big.iso
  tar cf - dir | watertight copy --rate 20M - 'exec:ssh host tar xf -'
  watertight copy --dead drop --slow drop exec:producer log.txt,append \\
      'exec:sh -c \"grep error >errors\"'
  watertight copy --idle 30s --report json --report-to account.json \\
      fifo:/run/feed out.bin";

const ADDRESSES: &str = "\
Addresses:
  -             standard input (source), standard output (destination)
  PATH          a file; the same as file:PATH
  file:PATH     a file. A destination is made, or overwritten; options follow:
                ,append     write behind what is there
                ,create=no  it must exist
                ,exclusive  it must not exist
  fifo:PATH     a FIFO (Unix); opening it waits for the other side
  fd:N          a descriptor the program was started with (Unix)
  exec:COMMAND  a child process. Of a source its standard output (its input is
                empty), of a destination its standard input (its output goes
                to ours, or to standard error if ours has the data of `-`);
                its exit status counts. No shell runs: Unix takes the
                words apart by the shell's quoting rules, Windows passes on
                all that follows the program's name. For pipes, variables and
                patterns: 'exec:sh -c \"...\"'. A child whose pipe ended early
                has 2 s to end, then it is killed
  A comma in a name or a command is written twice: `,,`. A file that is named
  `foo:bar` is file:foo:bar.

Sizes: k, M, G, T are powers of 1000; Ki, Mi, Gi, Ti powers of 1024.
Durations: 500ms, 1.5s, 2m, 1h; a bare number means seconds.
Nothing is cut short by default: without a deadline the copy ends when the
source, all destinations and all children have ended.";

/// What the exit codes mean, for the help text and the man page.
pub(crate) const EXIT_CODES: &str = "\
Exit codes, computed from the closing report. When several apply, the first
of this list counts:
  129, 130, 143
            interrupted (SIGHUP, SIGINT or Ctrl-C, SIGTERM); the account is
            printed. A signal that was ignored at the start stays ignored
  2         wrong usage; nothing was opened
  3         an address could not be opened; nothing was copied
  4         the source failed while it was read, or a file became shorter
  6         a deadline passed (--idle, --drain-within, --slow-after)
  5         a destination ended early: bytes that were read did not reach it,
            or its reader closed with bytes unread. Destinations dropped by
            `--dead drop` count too: bytes are missing there
  8         a child ended badly (a non-zero status, or a signal). One whose
            pipe we closed before its end, or that we killed, does not count:
            its status is a consequence
  7         --expect-bytes was not met
  1         anything else, for instance a report that could not be saved
  0         every byte read was transferred to every destination, and nothing
            of the above happened
A second Ctrl-C ends the program at once, without an account. SIGUSR1 (and
SIGINFO, Ctrl-T, where there is one) prints the account so far.
Nothing is said on standard error, by us or by children, while it is an end
of the copy, as in `copy src - 2>&1 | ...`: see the exit code, --report-to.";

/// Moves bytes through pipes and accounts for every one of them.
#[derive(Debug, Parser)]
#[command(name = "watertight", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Copy a source to one or several destinations and account for every byte
    Copy(Box<CopyFlags>),
    /// Run a command with limits, end it as a tree, and say what became of it
    Run(Box<RunFlags>),
    /// Print the manual page (roff), of the program or of one subcommand
    Man {
        /// The subcommand
        subcommand: Option<String>,
    },
}

/// The flags of `copy`.
#[derive(Args, Debug)]
#[command(after_help = format!("{ADDRESSES}\n\n{EXIT_CODES}\n\n{EXAMPLES}"))]
pub(crate) struct CopyFlags {
    /// Where the bytes come from
    #[arg(value_name = "SRC", value_parser = OsStringValueParser::new().try_map(|text| Address::source(&text)))]
    pub(crate) source: Address,

    /// Where they go; each destination gets all of them
    #[arg(
        value_name = "DST",
        required = true,
        value_parser = OsStringValueParser::new().try_map(|text| Address::destination(&text))
    )]
    pub(crate) destinations: Vec<Address>,

    /// What to do with a destination that takes nothing for --slow-after while bytes wait for it
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = SlowPolicy::Wait)]
    pub(crate) slow: SlowPolicy,

    /// When a destination is slow (only with --slow drop or fail)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::duration)]
    pub(crate) slow_after: Duration,

    /// What to do when a destination fails or closes early
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = DeadPolicy::Fail)]
    pub(crate) dead: DeadPolicy,

    /// What the command of an `exec:` destination gets when the stream is known to be cut
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = FailurePolicy::Kill)]
    pub(crate) on_failure: FailurePolicy,

    /// Read at most so many bytes per second
    #[arg(long, value_name = "SIZE", value_parser = units::rate)]
    pub(crate) rate: Option<u64>,

    /// Copy the bytes through this program, so that a source file that is overwritten meanwhile does not change what a pipe's reader
    /// gets (else the kernel moves them where it can, and lends a file's own pages)
    #[arg(long)]
    pub(crate) stable: bool,

    /// How many bytes may wait for each destination (two chunks of at most 128 KiB may be read before that)
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = units::some_bytes)]
    pub(crate) buffer: u64,

    /// End when no byte moved for so long although some are to come or to go (while addresses are opened, too)
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) idle: Option<Duration>,

    /// After the end of the source, give the destinations (and children) so long to end
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) drain_within: Option<Duration>,

    /// Fail unless the source had exactly so many bytes
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub(crate) expect_bytes: Option<u64>,

    /// Put a hash of the bytes read into the report
    #[arg(
        long,
        value_enum,
        value_name = "ALGORITHM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "sha256"
    )]
    pub(crate) hash: Option<HashChoice>,

    /// How to report at the end, on standard error. Without this: text when something went wrong or with --hash, else one line
    /// if that is a terminal, else nothing
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) report: Option<ReportChoice>,

    /// Save the report here instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) report_to: Option<PathBuf>,

    /// Print no report and no progress; errors are still printed, and --report-to is still saved
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Whether to show a progress line on standard error (auto: if that is a terminal)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ProgressChoice::Auto)]
    pub(crate) progress: ProgressChoice,

    /// The expected size, to estimate the rest where the source does not tell its own
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub(crate) size: Option<u64>,
}

impl CopyFlags {
    /// What no single flag can know: which of them exclude each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.report == Some(ReportChoice::None) && self.report_to.is_some() {
            return Err("--report none and --report-to exclude each other; choose text or json, or leave --report-to out".to_owned());
        }
        let mut taken = Vec::new();
        for address in std::iter::once(&self.source).chain(&self.destinations) {
            let Place::Fd(number) = address.place else {
                continue;
            };
            if taken.contains(&number) {
                return Err(format!(
                    "`{address}`: descriptor {number} is named twice; to have the same bytes twice on one stream, copy twice"
                ));
            }
            taken.push(number);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum SlowPolicy {
    /// Wait for it: the slowest destination sets the pace
    Wait,
    /// Stop it and go on with the others
    Drop,
    /// Stop it and end the copy
    Fail,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DeadPolicy {
    /// End the copy; the others still get what was read
    Fail,
    /// Go on with the others
    Drop,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FailurePolicy {
    /// It never sees an end: it is asked to end while its input is open, and killed after 2 s
    Kill,
    /// It gets the end at once, as from a shell's pipe: for what keeps what it got, as a live capture does
    End,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum HashChoice {
    Sha256,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ReportChoice {
    Text,
    Json,
    None,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ProgressChoice {
    Auto,
    Always,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_hash_flag_does_not_swallow_the_source() {
        let cli = Cli::try_parse_from(["watertight", "copy", "--hash", "a", "b"]).unwrap();
        let Task::Copy(flags) = cli.command else {
            panic!("not a copy");
        };
        assert_eq!(flags.hash, Some(HashChoice::Sha256));
        assert_eq!(flags.source.text, "a");
        assert_eq!(flags.destinations.len(), 1);
    }
}
