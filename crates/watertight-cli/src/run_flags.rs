//! The flags of `watertight run`.

use crate::address::Address;
use crate::flags::ReportChoice;
use crate::topics;
use crate::units;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use watertight::AfterExit;

/// What the short help says at its end.
const SEE: &str = "\
Example: watertight run --within 30s --max-output 1M -- ./flaky-test
--help has more: addresses of streams (PATH,append fifo:PATH fd:N), the grace
before a kill, exit codes (124: the deadline passed; 125: we failed).";

/// How long to go on after the command's exit, when somebody holds its output still.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum AfterExitChoice {
    /// To the deadline at most, and they are left then.
    Deadline,
    /// To the end; at the deadline they are ended.
    End,
}

/// The flags of `run`.
#[derive(Args, Debug)]
#[command(
    after_help = SEE,
    after_long_help = topics::in_help(topics::of(Some("run")))
)]
pub(crate) struct RunFlags {
    /// The command and its arguments; no shell takes them apart
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,

    /// End it and its tree after so long
    ///
    /// Its tree is all that it started and that can be found: whoever has lost its parent in a session of its own cannot. At a terminal the command
    /// is in our process group, perhaps with others: an orphan there is ended if it holds a stream that goes through us (see Streams), and else it
    /// is named and left. All of them are ended where the command has a control group of its own (see --no-cgroup), and with --adopt-orphans
    /// (Linux).
    #[arg(long, value_name = "DURATION", value_parser = units::some_duration)]
    pub(crate) within: Option<Duration>,

    /// How long they have when they are asked to end, before they are killed
    ///
    /// With 0 they are killed at once, unasked. So they are on Windows in any case: only Ctrl-Break to a process group of its own could ask the
    /// command, and in such a group Ctrl-C would not reach it any more.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2s",
        value_parser = units::duration,
        hide_short_help = true
    )]
    pub(crate) grace: Duration,

    /// After its exit: until quiet for so long
    ///
    /// When somebody it started holds its output: go on until nothing came for so long, or to the deadline, and leave them then.
    /// With 0 only what it has written by its end is waited for. Without this: see --after-exit.
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) quiet_after_exit: Option<Duration>,

    /// After its exit: to the end of its output, or to the deadline
    ///
    /// When somebody it started holds its output: go on until they let go of it, and end them at the deadline (`end`), or go on to the
    /// deadline at most, and leave them then (`deadline`; the exit code is the command's). Without this: to the end, of what goes
    /// through us.
    #[arg(
        long,
        value_enum,
        value_name = "end|deadline",
        hide_possible_values = true,
        hide_short_help = true,
        conflicts_with = "quiet_after_exit"
    )]
    pub(crate) after_exit: Option<AfterExitChoice>,

    /// Pass on so many bytes of each output
    ///
    /// What comes behind them is read, counted and dropped.
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub(crate) max_output: Option<u64>,

    /// Put its standard error into its output
    ///
    /// In the order in which it writes: it has one stream for both. That is our standard output itself, and nobody who holds it is waited
    /// for, unless another option has to see what it writes (see Streams).
    #[arg(long)]
    pub(crate) merge: bool,

    /// Give it a pseudo-terminal (Unix)
    ///
    /// Its output goes to our standard output (or --stdout), our standard input to it, as if typed. Both its outputs are one.
    #[arg(long)]
    pub(crate) tty: bool,

    /// Where its standard input comes from
    ///
    /// Instead of ours; not with --tty.
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "tty",
        value_parser = OsStringValueParser::new().try_map(|text| Address::stream(&text, 0))
    )]
    pub(crate) stdin: Option<Address>,

    /// Where its standard output goes
    ///
    /// Instead of ours.
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = OsStringValueParser::new().try_map(|text| Address::stream(&text, 1))
    )]
    pub(crate) stdout: Option<Address>,

    /// Where its standard error goes
    ///
    /// Instead of ours; not with --merge or --tty.
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with_all = ["merge", "tty"],
        value_parser = OsStringValueParser::new().try_map(|text| Address::stream(&text, 2))
    )]
    pub(crate) stderr: Option<Address>,

    /// Wait for whoever it leaves behind (Linux)
    ///
    /// In sessions of their own as well; they are ended as it would be ended. Children that we had before it, from a shell that has put us in
    /// its place (`exec`), are none of them.
    #[arg(long)]
    pub(crate) adopt_orphans: bool,

    /// Start it in our control group, with --within too (Linux)
    ///
    /// With --within it has one of its own, where we may make one (cgroups version 2): whoever it has started is ended with it then, also who has
    /// left its session and lost its parent. What it finds in /proc/self/cgroup is another one, and its start takes some milliseconds longer.
    #[arg(long, hide_short_help = true)]
    pub(crate) no_cgroup: bool,

    /// How to report at the end
    ///
    /// On standard error. In JSON, a name that is no Unicode text has its bytes in base64 beside it: `command_base64`, `name_base64`,
    /// `stdin_from_base64` and so on.
    #[arg(
        long,
        value_enum,
        value_name = "text|json|none",
        hide_possible_values = true,
        default_value_t = ReportChoice::None
    )]
    pub(crate) report: ReportChoice,

    /// Save the report here instead of printing it
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) report_to: Option<PathBuf>,
}

impl RunFlags {
    /// Whether its outputs have to go through our hands.
    pub(crate) fn passes_output_on(&self) -> bool {
        let has_rule = self.quiet_after_exit.is_some() || self.after_exit.is_some();
        self.tty || self.max_output.is_some() || has_rule
    }

    /// How long to go on after the command's exit.
    pub(crate) fn rule_after_exit(&self) -> AfterExit {
        match (self.quiet_after_exit, self.after_exit) {
            (Some(quiet), _) => AfterExit::Quiet(quiet),
            (None, Some(AfterExitChoice::Deadline)) => AfterExit::ToDeadline,
            (None, Some(AfterExitChoice::End) | None) => AfterExit::ToEnd,
        }
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
        let leaves = match (self.quiet_after_exit, self.after_exit) {
            (Some(_), _) => Some("--quiet-after-exit"),
            (None, Some(AfterExitChoice::Deadline)) => Some("--after-exit deadline"),
            (None, Some(AfterExitChoice::End) | None) => None,
        };
        if let Some(leaves) = leaves.filter(|_| self.adopt_orphans) {
            return Err(format!(
                "--adopt-orphans waits for whoever the command leaves behind, and {leaves} does not: choose one"
            ));
        }
        if self.after_exit == Some(AfterExitChoice::Deadline) && self.within.is_none() {
            return Err("--after-exit deadline needs a deadline: --within".to_owned());
        }
        Ok(())
    }
}
