//! The flags of `watertight run`.

use crate::address::Address;
use crate::flags::ReportChoice;
use crate::units;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const RUN_EXIT_CODES: &str = "\
Exit codes:
  the command's own, if it ended by itself
  128 + N   a signal N ended it (Unix)
  124       the deadline passed (--within), and it was ended, or whoever
            it had left behind was (--adopt-orphans)
  125       `watertight` itself failed: a stream could not be opened, the
            report could not be saved, the system has no more processes; or
            the command ended with 0 and not all of its output got through
  126       the command was found and cannot be run
  127       there is no such command
  129, 130, 143
            we were asked to end (SIGHUP, SIGINT or Ctrl-C, SIGTERM), and ended
            it. In the foreground of a terminal Ctrl-C reaches the command
            itself, and the exit code is what it makes of that. Asked a
            second time, we leave it no grace
  2         wrong usage; nothing was run";

const STREAMS: &str = "\
Addresses of streams (see `watertight copy --help`):
  -          ours of the same name
  PATH       a file; outputs take options: PATH,append  PATH,create=no
             PATH,exclusive. One that is overwritten is emptied right before
             the start; one that was made for a command that cannot be started
             is removed
  fifo:PATH  a FIFO (Unix); opening it waits for the other side, until --within
  fd:N       a descriptor the program was started with (Unix); fd:1 is ours
Both outputs into one file, FIFO or descriptor are one stream, in the order in
which the command writes. Streams are handed to the command as they are.";

const RUN_EXAMPLES: &str = "\
Examples:
  watertight run --within 5m -- make -j4
  watertight run --within 30s --max-output 1M --merge -- ./flaky-test
  watertight run --quiet-after-exit 500ms -- ./start-daemon.sh
  watertight run --stdin in.txt --stdout out.txt --stderr log,append -- ./job
  watertight run --tty --within 10s -- python3 <commands.txt
  watertight run --report json --report-to run.json -- cargo build";

/// The flags of `run`.
#[derive(Args, Debug)]
#[command(after_help = format!(
    "Streams that no option has to see are the command's as they are ours: a terminal\n\
     stays one. With --max-output, --merge or --quiet-after-exit its outputs are pipes,\n\
     passed on as they come. With --tty all three are a terminal of its own.\n\n{STREAMS}\n\n{RUN_EXIT_CODES}\n\n{RUN_EXAMPLES}"
))]
pub(crate) struct RunFlags {
    /// The command and its arguments; no shell takes them apart
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,

    /// End the command and everybody it started when it is not over by then
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) within: Option<Duration>,

    /// How long they have when they are asked to end, before they are killed
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = units::duration)]
    pub(crate) grace: Duration,

    /// After its exit, when somebody it started holds its output: go on until nothing came for so long. Without this: to the end
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) quiet_after_exit: Option<Duration>,

    /// Pass on so many bytes of each output; what comes behind them is read, counted and dropped
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub(crate) max_output: Option<u64>,

    /// Put its standard error into its standard output, in the order in which it writes
    #[arg(long)]
    pub(crate) merge: bool,

    /// Give it a pseudo-terminal (Unix): its output goes to our standard output (or --stdout), our standard input to it, as if
    /// typed. Both its outputs are one
    #[arg(long)]
    pub(crate) tty: bool,

    /// Where its standard input comes from, instead of ours; not with --tty
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "tty",
        value_parser = OsStringValueParser::new().try_map(|text| Address::stream(&text, 0))
    )]
    pub(crate) stdin: Option<Address>,

    /// Where its standard output goes, instead of ours
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = OsStringValueParser::new().try_map(|text| Address::stream(&text, 1))
    )]
    pub(crate) stdout: Option<Address>,

    /// Where its standard error goes, instead of ours; not with --merge or --tty
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with_all = ["merge", "tty"],
        value_parser = OsStringValueParser::new().try_map(|text| Address::stream(&text, 2))
    )]
    pub(crate) stderr: Option<Address>,

    /// Wait for whoever it leaves behind too, in sessions of their own as well, and end them as it would be ended (Linux)
    #[arg(long)]
    pub(crate) adopt_orphans: bool,

    /// How to report at the end, on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ReportChoice::None)]
    pub(crate) report: ReportChoice,

    /// Save the report here instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) report_to: Option<PathBuf>,
}

impl RunFlags {
    /// Whether its outputs have to go through our hands.
    pub(crate) fn passes_output_on(&self) -> bool {
        self.is_one_stream() || self.max_output.is_some() || self.quiet_after_exit.is_some()
    }

    /// Whether its standard error goes where its standard output goes.
    pub(crate) fn is_one_stream(&self) -> bool {
        self.merge || self.tty
    }

    /// What no single flag can know.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.report == ReportChoice::None && self.report_to.is_some() {
            return Err("--report-to needs --report text or --report json".to_owned());
        }
        if self.adopt_orphans && !cfg!(target_os = "linux") {
            let text =
                "--adopt-orphans works on Linux only; --within ends the command's tree without it";
            return Err(text.to_owned());
        }
        if self.adopt_orphans && self.quiet_after_exit.is_some() {
            let text = "--adopt-orphans waits for whoever the command leaves behind, and --quiet-after-exit does not: choose one";
            return Err(text.to_owned());
        }
        Ok(())
    }
}
