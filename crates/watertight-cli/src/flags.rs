//! The flags of `watertight copy`, each defined once: help, completions and the man page come from here.

use crate::address::{Address, FileMode, Place};
use crate::end::End;
use crate::topics;
use crate::units;
use crate::verdict::EndRule;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What the short help of `copy` says at its end.
const SEE_COPY: &str = "\
Example: tar cf - dir | watertight copy --rate 20M - 'exec:ssh host tar xf -'
--help has more: slow and failing destinations (--slow, --dead, --on-failure),
progress, all addresses, exit codes. Without a deadline nothing is cut short.";

/// The flags of `copy`.
#[derive(Args, Debug)]
#[command(
    after_help = SEE_COPY,
    after_long_help = topics::in_help(topics::of(Some("copy")))
)]
pub(crate) struct CopyFlags {
    /// Where bytes come from: -, PATH, fifo:PATH, fd:N or exec:COMMAND
    #[arg(value_name = "SRC", value_parser = OsStringValueParser::new().try_map(|text| Address::source(&text)))]
    pub(crate) source: Address,

    /// Where they go: the same, or PATH,append; each gets all of them
    #[arg(
        value_name = "DST",
        required = true,
        value_parser = OsStringValueParser::new().try_map(|text| Address::destination(&text))
    )]
    pub(crate) destinations: Vec<Address>,

    /// What to do with a destination that takes nothing for --slow-after while bytes wait for it
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = SlowPolicy::Wait, hide_short_help = true)]
    pub(crate) slow: SlowPolicy,

    /// When a destination is slow (only with --slow drop or fail)
    ///
    /// Bytes that its reader has not taken out of its pipe wait for it too, where the system tells of them: see --idle.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        requires = "slow",
        value_parser = units::some_duration,
        hide_short_help = true
    )]
    pub(crate) slow_after: Duration,

    /// What to do when a destination fails or closes early
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = DeadPolicy::Fail, hide_short_help = true)]
    pub(crate) dead: DeadPolicy,

    /// What the command of an `exec:` destination gets when the stream is known to be cut
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = FailurePolicy::Kill, hide_short_help = true)]
    pub(crate) on_failure: FailurePolicy,

    /// Write a sealed stream
    ///
    /// Its end mark comes only if everything went well, so that `copy --sealed`, behind a pipe, a FIFO or an ssh, knows a whole stream
    /// from a cut one.
    #[arg(long, hide_short_help = true)]
    pub(crate) seal: bool,

    /// SRC is a sealed stream: take the data out, and fail unless it is whole
    #[arg(long, hide_short_help = true)]
    pub(crate) sealed: bool,

    /// Read at most so many bytes per second
    #[arg(long, value_name = "SIZE", value_parser = units::rate)]
    pub(crate) rate: Option<u64>,

    /// End after so many bytes, as at the end of SRC
    ///
    /// No byte behind them is taken out of the source: whoever reads it next finds it there. A source that ends earlier is none
    /// the worse for it. The command of an `exec:` source is ended then, if it has not ended.
    #[arg(long, value_name = "SIZE", value_parser = units::some_bytes, conflicts_with = "sealed")]
    pub(crate) limit: Option<u64>,

    /// Copy the bytes through this program
    ///
    /// Else the kernel moves them where it can. Holes of a file stay holes in other files then (Linux), and these may share its
    /// blocks (a reflink) if the file system can: btrfs, XFS, bcachefs, NFS 4.2 on its server. A pipe or a command is lent the source
    /// file's own pages: whoever overwrites the file before they are read changes what is read. Several files each get a copy of their
    /// own: whoever overwrites the source meanwhile makes them differ. With several destinations nobody else
    /// is to read the source's pipe meanwhile; and packets stay packets on their way from a pipe that was written with `O_DIRECT`: a
    /// reader that takes a part of one loses the rest.
    #[arg(long, hide_short_help = true)]
    pub(crate) stable: bool,

    /// Leave the pipes of standard input and output as they are
    ///
    /// Else they are enlarged to 256 KiB (Linux) once 4 MiB have flowed, which lets the producer run further ahead; never made smaller.
    #[arg(long, hide_short_help = true)]
    pub(crate) keep_capacity: bool,

    /// How many bytes may wait for each destination [default: 1MiB]
    ///
    /// Two chunks of at most 128 KiB may be read before that. With this option the bytes go through this program even where the kernel
    /// could move them; with --drain-within, and with several destinations also with --slow drop or fail, those that come behind bytes
    /// that wait, and those that come from a file or go to one: so a disk that hangs holds up no other destination.
    ///
    /// Without any of these a fast one of several destinations is sure to get ahead of a slow one only by what the source's pipe held.
    /// With one of them so many bytes may wait for the slow one.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = units::some_bytes,
        hide_short_help = true
    )]
    pub(crate) buffer: Option<u64>,

    /// Give destinations nothing before so much of the buffer (--buffer) is full
    ///
    /// A share in percent, as in 80%. All that is held then goes in one run. Once all destinations have taken everything, it is held
    /// back again. What is left at the end of SRC goes in any case.
    #[arg(
        long,
        value_name = "PERCENT",
        value_parser = units::percent,
        hide_short_help = true
    )]
    pub(crate) start_at: Option<u8>,

    /// End when no byte moved for so long
    ///
    /// Only while some are to come or to go; while addresses are opened, too. Bytes that a reader has not taken out of its pipe are to
    /// go, where the system tells of them (Linux: pipes, FIFOs, local sockets); after the end of SRC only if the reader is a command of
    /// ours.
    #[arg(long, value_name = "DURATION", value_parser = units::some_duration)]
    pub(crate) idle: Option<Duration>,

    /// After the end of SRC, give the rest so long
    ///
    /// Destinations and children that have not ended by then are stopped.
    #[arg(long, value_name = "DURATION", value_parser = units::some_duration)]
    pub(crate) drain_within: Option<Duration>,

    /// Fail unless exactly so many bytes came
    ///
    /// The copy ends at the first byte that is too many.
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub(crate) expect_bytes: Option<u64>,

    /// Have destination files and their folders on the disk (fsync) before success is claimed
    #[arg(long, hide_short_help = true)]
    pub(crate) sync: bool,

    /// Put a hash of the bytes read into the report
    ///
    /// There is none, and the report says why, if some of these bytes were had only by destinations that were over before the others
    /// had them (several destinations, and a copy that failed or dropped one), or if the source did not stop when it was told to.
    #[arg(
        long,
        value_enum,
        value_name = "sha256",
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "sha256"
    )]
    pub(crate) hash: Option<HashChoice>,

    /// How to report at the end
    ///
    /// On standard error. Without this: text when something went wrong or with --hash, else one line if that is a terminal, else
    /// nothing.
    #[arg(
        long,
        value_enum,
        value_name = "text|json|none",
        hide_possible_values = true
    )]
    pub(crate) report: Option<ReportChoice>,

    /// Save the report here instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) report_to: Option<PathBuf>,

    /// Print errors only
    ///
    /// No report and no progress; --report-to is still saved.
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Whether and how to show progress on standard error
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t = ProgressChoice::Auto,
        hide_short_help = true
    )]
    pub(crate) progress: ProgressChoice,

    /// How often --progress json has a line (without this: every second)
    #[arg(long, value_name = "DURATION", value_parser = units::some_duration, hide_short_help = true)]
    pub(crate) progress_every: Option<Duration>,

    /// The expected size, to estimate the rest where the source does not tell its own
    #[arg(long, value_name = "SIZE", value_parser = units::bytes, hide_short_help = true)]
    pub(crate) size: Option<u64>,
}

impl CopyFlags {
    /// Every end with its address, the source first.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (End, &Address)> {
        let destinations = self.destinations.iter().enumerate();
        let destinations = destinations.map(|(index, address)| (End::Destination(index), address));
        std::iter::once((End::Source, &self.source)).chain(destinations)
    }

    /// The default of `--buffer`: a few pipe capacities, so that neither side waits for the other's every move.
    const BUFFER_BYTES: u64 = 1024 * 1024;

    /// How many bytes may wait for each destination.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.buffer.unwrap_or(Self::BUFFER_BYTES)
    }

    /// How many bytes are read at most: as many as are wanted, or up to the first one that is too many, for there the copy has failed.
    pub(crate) fn read_bytes_max(&self) -> Option<u64> {
        self.limit.into_iter().chain(self.too_many_bytes()).min()
    }

    /// Whether that is one byte too many, and not what is wanted.
    pub(crate) fn reads_up_to_too_many(&self) -> bool {
        let too_many = self.too_many_bytes();
        too_many.is_some_and(|bytes| self.limit.is_none_or(|limit| limit > bytes))
    }

    fn too_many_bytes(&self) -> Option<u64> {
        self.expect_bytes.map(|bytes| bytes.saturating_add(1))
    }

    /// Whether the library can move the bytes on, those that no destination has already (`,resume`). Not if somebody here has to change
    /// them, nor if our own buffer is what is wanted.
    pub(crate) fn lets_bytes_pass(&self) -> bool {
        let is_changed = self.seal || self.sealed;
        let is_buffered = self.buffer.is_some() || self.start_at.is_some();
        !is_changed && !is_buffered
    }

    /// Whether bytes that a destination does not take at once are queued there while the library moves them: so that the others go on if
    /// one may be given up for being slow; and so that the end of the source is seen although nobody takes anything, if a deadline counts from
    /// there.
    pub(crate) fn fills_queues(&self) -> bool {
        let is_slow_one_among_others = self.slow != SlowPolicy::Wait && self.destinations.len() > 1;
        is_slow_one_among_others || self.drain_within.is_some()
    }

    /// When a destination is given its end.
    pub(crate) fn end_rule(&self, is_child: bool) -> EndRule {
        match self.on_failure {
            // A seal's last frame tells the verdict: it cannot go before that.
            FailurePolicy::End if self.seal => EndRule::AfterVerdict,
            FailurePolicy::End => EndRule::AtOnce,
            FailurePolicy::Kill if is_child => EndRule::IfGood,
            FailurePolicy::Kill => EndRule::AfterVerdict,
        }
    }

    /// The ends that are our standard input and output, if their pipes may be enlarged.
    pub(crate) fn ends_to_enlarge(&self) -> Vec<End> {
        let is_standard = |end: End, address: &Address| match (end, &address.place) {
            (End::Source, Place::Fd(number)) => *number == 0,
            (End::Destination(_), Place::Fd(number)) => *number == 1,
            (_, Place::Exec(_) | Place::Fifo(_) | Place::File(..)) => false,
        };
        let ends = self.ends().filter(|_| !self.keep_capacity);
        let ends = ends.filter(|&(end, address)| is_standard(end, address));
        ends.map(|(end, _)| end).collect()
    }

    /// What is shown while the copy runs.
    pub(crate) fn progress_choice(&self) -> ProgressChoice {
        if self.quiet {
            ProgressChoice::Never
        } else {
            self.progress
        }
    }

    /// Whether what was left of a file may be compared with the bytes.
    pub(crate) fn is_resumed(&self) -> bool {
        let is_resumed = |address: &Address| {
            matches!(address.place, Place::File(_, FileMode { resume: true, .. }))
        };
        self.destinations.iter().any(is_resumed)
    }

    /// What no single flag can know: which of them exclude each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.report == Some(ReportChoice::None) && self.report_to.is_some() {
            return Err("--report none and --report-to exclude each other; choose text or json, or leave --report-to out".to_owned());
        }
        if self.progress_every.is_some() && self.progress != ProgressChoice::Json {
            return Err("--progress-every says how often --progress json has a line; add --progress json, or leave --progress-every out".to_owned());
        }
        if self.seal && self.is_resumed() {
            return Err("--seal and `,resume` exclude each other: the frames of a sealed stream may be others in another run; leave one of them out".to_owned());
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
    /// It never sees an end: it is asked to end while its input is open, and killed after 2 s (Windows: at once)
    Kill,
    /// It gets the end at once, as from a shell's pipe: for what keeps what it got, as a live capture does. At a terminal Ctrl-C reaches it,
    /// too, unless it ignores that: sh -c 'trap "" INT; ...'
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
    /// A line, and one for each of several destinations, if standard error is a terminal
    Auto,
    /// The same in any case
    Always,
    /// One JSON object a line, for programs: bytes, rate, estimate, every destination, and what is waited for
    Json,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Task};
    use clap::Parser;

    fn flags(line: &str) -> Box<CopyFlags> {
        let words = ["watertight", "copy"].into_iter().chain(line.split(' '));
        let Task::Copy(flags) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a copy");
        };
        flags
    }

    /// However the bytes get on, what comes of it is nearly the same: that it is the library that moves them shows here.
    #[test]
    fn the_library_moves_what_needs_no_queue_of_ours() {
        for line in [
            "- -",
            "- one two",
            "exec:producer -",
            "--hash - -",
            "--hash - one two",
            "--stable - -",
            "--stable exec:producer one two",
            "--rate 1k - -",
            "--rate 1k exec:producer one two",
            "--rate 1k --stable --hash --limit 10 exec:producer -",
            "--limit 10 exec:producer -",
            "--limit 10 exec:producer one two",
            "--idle 1s --dead drop - one two",
            "--slow drop - -",
            "--slow drop - one two",
            "--slow fail - one two",
            "--drain-within 1s - -",
            "--drain-within 1s - one two",
            "--on-failure end - exec:consumer",
            "--on-failure end - one two",
            "- target,resume",
        ] {
            assert!(flags(line).lets_bytes_pass(), "{line}");
        }
        for line in [
            "--seal - -",
            "--sealed - -",
            "--buffer 1M - -",
            "--start-at 50% - -",
        ] {
            assert!(!flags(line).lets_bytes_pass(), "{line}");
        }
    }

    #[test]
    fn queues_are_filled_where_somebody_else_goes_on_or_the_end_has_to_be_seen() {
        for (line, expected) in [
            ("--slow drop - one two", true),
            ("--slow fail - one two", true),
            ("--drain-within 1s - -", true),
            ("--drain-within 1s - one two", true),
            ("--slow drop - -", false),
            ("--idle 1s --dead drop - one two", false),
        ] {
            assert_eq!(flags(line).fills_queues(), expected, "{line}");
        }
    }

    #[test]
    fn no_more_is_read_than_is_wanted_and_one_byte_more_than_is_expected() {
        for (line, bytes_max, is_too_many) in [
            ("- -", None, false),
            ("--limit 10 - -", Some(10), false),
            ("--expect-bytes 10 - -", Some(11), true),
            ("--expect-bytes 0 - -", Some(1), true),
            ("--limit 10 --expect-bytes 10 - -", Some(10), false),
            // As many as are wanted are too many then.
            ("--limit 11 --expect-bytes 10 - -", Some(11), false),
            ("--limit 12 --expect-bytes 10 - -", Some(11), true),
        ] {
            let flags = flags(line);
            assert_eq!(flags.read_bytes_max(), bytes_max, "{line}");
            assert_eq!(flags.reads_up_to_too_many(), is_too_many, "{line}");
        }
    }

    #[test]
    fn the_end_that_a_destination_gets_depends_on_who_reads_it() {
        for (line, of_a_child, of_others) in [
            ("- -", EndRule::IfGood, EndRule::AfterVerdict),
            ("--seal - -", EndRule::IfGood, EndRule::AfterVerdict),
            ("--on-failure end - -", EndRule::AtOnce, EndRule::AtOnce),
            (
                "--on-failure end --seal - -",
                EndRule::AfterVerdict,
                EndRule::AfterVerdict,
            ),
        ] {
            let flags = flags(line);
            let rules = [true, false].map(|is_child| flags.end_rule(is_child));
            assert_eq!(rules, [of_a_child, of_others], "{line}");
        }
    }
}
