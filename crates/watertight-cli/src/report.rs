//! The closing report: the account of every pipe, as text or as JSON, and the exit code that follows from it.

use crate::child_status::{ChildStatus, EndedBy, InputKind};
use crate::copy_ending::{CopyEnding, GivenUp};
use crate::discarded::Discarded;
use crate::hash_report::{HashReport, NoHash};
use crate::how::{How, Reason};
use crate::units::{printable, shown_bytes};
use serde::Serialize;
use std::fmt::Write;
use watertight::Ledger;

/// How one destination's pipe ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PipeEnding {
    Aborted,
    Failed,
    Finished,
    NotOpened,
}

/// A pipe's counters. `accepted` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) accepted: u64,
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    pub(crate) transferred: u64,
    pub(crate) discarded: u64,
    pub(crate) in_doubt: u64,
}

/// What is said of a destination whose child sees a clean end that it was not to see.
const LOOKS_WHOLE: &str = "not all of its command could be ended, and whoever of it is left sees a clean end, as of a whole stream";

/// What is said of a destination whose command may have opened its input once more, which a socket refuses.
const SOCKET_REFUSED: &str = "its input is a socket, and a program that opens /dev/stdin itself cannot use one: try `,pipe` after the command";

/// What became of the source.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SourceReport {
    pub(crate) address: String,
    /// The address's bytes in base64, if they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address_base64: Option<String>,
    /// How many bytes it had at the start; null for what has no size, such as a pipe.
    pub(crate) size_at_start: Option<u64>,
    pub(crate) bytes_read: u64,
    /// Bytes that the system handed over and that were not used, because reading was stopped.
    pub(crate) bytes_untaken: u64,
    /// It had to be a sealed stream; `bytes_read` are the data.
    pub(crate) sealed: bool,
    /// Bytes that were read besides and are no data: the seal's.
    pub(crate) seal_bytes: u64,
    /// Its end was reached.
    pub(crate) ended: bool,
    /// As many bytes as --limit says were read. Whether there were more is not known.
    pub(crate) limit_reached: bool,
    pub(crate) error: Option<String>,
    /// It did not stop when it was told to. That is the error, and no failure of a source that was read.
    #[serde(skip)]
    pub(crate) is_abandoned: bool,
    /// What its child wrote that went nowhere. Its output is the data.
    #[serde(flatten)]
    pub(crate) discarded: Discarded,
    pub(crate) child: Option<ChildStatus>,
}

/// What became of a destination.
#[derive(Debug, Serialize)]
pub(crate) struct DestinationReport {
    pub(crate) address: String,
    /// The address's bytes in base64, if they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address_base64: Option<String>,
    pub(crate) ending: PipeEnding,
    pub(crate) given_up: Option<GivenUp>,
    pub(crate) error: Option<String>,
    /// Its pipe failed because its command was gone, which we had ended.
    #[serde(skip)]
    pub(crate) is_failure_ours: bool,
    #[serde(flatten)]
    pub(crate) counters: Counters,
    /// It gets a sealed stream; the counters are of that.
    pub(crate) sealed: bool,
    /// How many of the accepted bytes are no data: the seal's.
    pub(crate) seal_bytes: u64,
    /// How many bytes its partial had, if a copy that was cut had left it; the counters are of what is behind them.
    pub(crate) resumed_at: Option<u64>,
    /// How many of those were compared with the source, and are the same.
    pub(crate) verified_bytes: u64,
    /// Bytes of data that were read, were not there already, and that this pipe never accepted.
    pub(crate) not_accepted: u64,
    /// Whether its reader has taken everything out of the pipe; null where that cannot be known.
    pub(crate) read_by_peer: Option<bool>,
    /// How its file was written; null for what is no path, and for a file that nothing was written to.
    pub(crate) how: Option<How>,
    /// Why its file was written in place.
    pub(crate) in_place_reason: Option<Reason>,
    /// What lies beside its file, which is as it was.
    pub(crate) partial: Option<String>,
    /// The bytes of `partial` in base64, if they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partial_base64: Option<String>,
    /// What its child reads from.
    pub(crate) input: Option<InputKind>,
    /// That is a plain pipe which was closed without an end that it had deserved, while somebody of its child may live: they see a clean
    /// end, as of a whole stream.
    pub(crate) looks_whole: bool,
    /// What its child wrote that went nowhere.
    #[serde(flatten)]
    pub(crate) discarded: Discarded,
    pub(crate) child: Option<ChildStatus>,
}

/// Everything that is known at the end.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    pub(crate) ending: CopyEnding,
    pub(crate) exit_code: u8,
    pub(crate) signal: Option<i32>,
    pub(crate) elapsed_seconds: f64,
    pub(crate) expected_bytes: Option<u64>,
    pub(crate) sources: Vec<SourceReport>,
    pub(crate) destinations: Vec<DestinationReport>,
    pub(crate) hash: Option<HashReport>,
    /// Why there is none, if one was asked for.
    pub(crate) no_hash: Option<NoHash>,
}

impl Report {
    fn bytes_read(&self) -> u64 {
        self.sources.iter().map(|source| source.bytes_read).sum()
    }

    /// What children write goes nowhere where our standard streams cannot have it.
    pub(crate) fn note_discarded(&mut self, discarded: Discarded) {
        for one in &mut self.destinations {
            if one.child.is_some() {
                one.discarded = discarded;
            }
        }
        for one in &mut self.sources {
            one.discarded.stderr = discarded.stderr.filter(|_| one.child.is_some());
        }
    }

    /// What is known of the children by now: the source's, and then the destinations'.
    pub(crate) fn note_children(&mut self, statuses: impl Iterator<Item = Option<ChildStatus>>) {
        let sources = self.sources.iter_mut().map(|one| &mut one.child);
        let destinations = self.destinations.iter_mut().map(|one| &mut one.child);
        for (child, status) in sources.chain(destinations).zip(statuses) {
            *child = status;
        }
    }

    /// Computes what follows from the accounts, and puts it in.
    pub(crate) fn conclude(mut self) -> Self {
        let read = self.bytes_read();
        if self.ending == CopyEnding::Finished
            && self.destinations.iter().any(|one| one.is_short(read))
        {
            self.ending = CopyEnding::Incomplete;
        }
        self.exit_code = exit_code(&self);
        self
    }

    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text)
            .expect("writing into a String does not fail");
        text
    }

    /// A success in one line, and one for each output that was discarded.
    pub(crate) fn to_line(&self) -> String {
        let (bytes, seconds) = (self.bytes_read(), self.elapsed_seconds);
        let (moved, rate) = (shown_bytes(bytes), shown_bytes(rate(bytes, seconds)));
        let mut text = format!("watertight: {moved} in {seconds:.3} s, {rate}/s\n");
        for line in self.discarded_outputs() {
            text += &format!("watertight: {}\n", printable(&line));
        }
        text
    }

    /// What went wrong, in lines, for those who do not get the whole report.
    pub(crate) fn errors(&self) -> Vec<String> {
        let sources = self.sources.iter();
        let sources = sources.map(|one| (&one.address, one.error.clone()));
        let destinations = self.destinations.iter();
        let destinations = destinations.map(|one| (&one.address, one.failure()));
        let errors = sources.chain(destinations).filter_map(|(address, error)| {
            // What could not be opened names its address itself.
            let error = error?;
            Some(if self.ending == CopyEnding::NotOpened {
                error
            } else {
                format!("{address}: {error}")
            })
        });
        let mut lines: Vec<String> = errors.collect();
        for one in &self.destinations {
            let is_as_it_was = one.given_up == Some(GivenUp::NotResumed);
            if let Some(partial) = one.partial.as_ref().filter(|_| !is_as_it_was) {
                lines.push(format!("{}: what arrived is in {partial}", one.address));
            }
            if one.is_socket_refused() {
                lines.push(format!("{}: {SOCKET_REFUSED}", one.address));
            }
        }
        lines.extend(self.warnings());
        lines.extend(self.discarded_outputs());
        if self.exit_code != 0 && self.ending != CopyEnding::NotOpened {
            lines.push(self.headline());
        }
        lines
    }

    /// What went wrong and is no failure of the copy.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let sources = self.sources.iter().map(|one| (&one.address, &one.child));
        let destinations = self.destinations.iter();
        let destinations = destinations.map(|one| (&one.address, &one.child));
        let warnings = sources.chain(destinations).filter_map(|(address, child)| {
            let warning = child.as_ref()?.warning()?;
            Some(format!("{address}: {warning}"))
        });
        let taken_in = self.destinations.iter().filter(|one| one.looks_whole);
        let taken_in = taken_in.map(|one| format!("{}: {LOOKS_WHOLE}", one.address));
        warnings.chain(taken_in).collect()
    }

    /// What commands printed and nobody got. Where their messages are lost, so is what we say.
    fn discarded_outputs(&self) -> impl Iterator<Item = String> {
        self.destinations.iter().filter_map(|one| {
            let (address, why) = (&one.address, one.discarded.output?);
            Some(format!("{address}: what it prints is discarded: {why}"))
        })
    }

    fn headline(&self) -> String {
        let (seconds, code) = (self.elapsed_seconds, self.exit_code);
        // Those say it themselves: a signal's code is 128 and its number.
        let is_said = self.ending == CopyEnding::NotResumed || self.signal.is_some();
        let meaning = meaning(code).filter(|_| !is_said);
        let meaning = meaning.map_or(String::new(), |meaning| format!(": {meaning}"));
        format!(
            "{} after {seconds:.3} s; exit code {code}{meaning}",
            self.ending.explanation()
        )
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "watertight: {}", self.headline())?;
        for source in &self.sources {
            source.write_text(out, self.elapsed_seconds)?;
        }
        for destination in &self.destinations {
            destination.write_text(out)?;
        }
        if let Some(expected) = self.expected_bytes
            && expected != self.bytes_read()
        {
            let read = self.bytes_read();
            let came = if read > expected {
                "more came".to_owned()
            } else {
                format!("{read} were read")
            };
            writeln!(out, "  expected     {expected} bytes, but {came}")?;
        }
        if let Some(hash) = &self.hash {
            writeln!(out, "  {:<12} {}", hash.algorithm, hash.hex)?;
        }
        if let Some(why) = self.no_hash {
            writeln!(out, "  hash         none: {}", why.explanation())?;
        }
        Ok(())
    }
}

impl SourceReport {
    /// Whether it failed while it was read.
    fn has_failed(&self) -> bool {
        self.error.is_some() && !self.is_abandoned
    }

    /// Whether all that was wanted of it was read.
    fn is_done(&self) -> bool {
        self.ended || self.limit_reached
    }

    fn write_text(&self, out: &mut String, seconds: f64) -> std::fmt::Result {
        writeln!(out, "  from         {}", printable(&self.address))?;
        write!(
            out,
            "  read         {} bytes ({}, {}/s)",
            self.bytes_read,
            shown_bytes(self.bytes_read),
            shown_bytes(rate(self.bytes_read, seconds))
        )?;
        out.push_str(match (self.ended, self.limit_reached) {
            (_, true) => ", limit reached",
            (true, false) => ", to the end",
            (false, false) => ", not to the end",
        });
        let all = self.bytes_read + self.seal_bytes;
        if let Some(size) = self.size_at_start.filter(|size| *size > all)
            && self.ended
        {
            write!(out, ", although it had {size} bytes at the start")?;
        }
        if self.sealed && self.ended {
            write!(out, "; its seal ({} bytes more) is whole", self.seal_bytes)?;
        }
        if self.bytes_untaken > 0 {
            write!(
                out,
                "; {} more bytes were read ahead and not used",
                self.bytes_untaken
            )?;
        }
        out.push('\n');
        self.discarded.write_text(out)?;
        write_details(out, self.error.as_deref(), self.child.as_ref())
    }
}

impl DestinationReport {
    /// Whether something of so many bytes is missing there.
    fn is_short(&self, read: u64) -> bool {
        if self.is_held_back() {
            // It was served, unless it threw something away; what else was wrong was wrong elsewhere, and counts there.
            return self.read_by_peer == Some(false);
        }
        self.ending != PipeEnding::Finished
            || self.counters.transferred + self.verified_bytes != read + self.seal_bytes
            || self.read_by_peer == Some(false)
    }

    /// Whether it was given no end because the stream was cut.
    fn is_held_back(&self) -> bool {
        self.given_up == Some(GivenUp::CutShort)
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let counters = self.counters;
        writeln!(out, "  to           {}", printable(&self.address))?;
        if self.ending == PipeEnding::NotOpened {
            out.push_str("  not opened\n");
            return write_details(out, self.error.as_deref(), self.child.as_ref());
        }
        write!(out, "  transferred  {} bytes", counters.transferred)?;
        if counters.accepted == counters.transferred {
            out.push_str(", all that were accepted");
        } else {
            write!(
                out,
                " of {} accepted; {} discarded, {} in doubt",
                counters.accepted, counters.discarded, counters.in_doubt
            )?;
            if counters.queued + counters.in_flight > 0 {
                write!(
                    out,
                    ", {} queued, {} in flight",
                    counters.queued, counters.in_flight
                )?;
            }
        }
        if self.sealed {
            write!(
                out,
                "; {} of the accepted bytes are the seal's",
                self.seal_bytes
            )?;
        }
        if self.not_accepted > 0 {
            write!(out, "; {} read but not accepted", self.not_accepted)?;
        }
        match self.read_by_peer {
            Some(true) => out.push_str("; its reader has taken all of it"),
            Some(false) => out.push_str("; its reader closed without taking all of it"),
            None => {}
        }
        if let Some(why) = self.given_up {
            write!(out, "; given up: {}", why.explanation())?;
            if why == GivenUp::CutShort && !self.looks_whole {
                out.push_str(", and it was not to take that for the end");
            }
        }
        out.push('\n');
        if self.looks_whole {
            writeln!(out, "  input        a plain pipe; {LOOKS_WHOLE}")?;
        } else if self.input == Some(InputKind::Pipe) {
            out.push_str(
                "  input        a plain pipe: should we be killed, a cut stream looks whole\n",
            );
        }
        self.discarded.write_text(out)?;
        self.write_how(out)?;
        // Why it was given up, and how its command ended, say that already.
        let error = self.error.as_deref().filter(|_| !self.is_failure_ours);
        write_details(out, error, self.child.as_ref())?;
        if self.is_socket_refused() {
            writeln!(out, "  hint         {SOCKET_REFUSED}")?;
        }
        Ok(())
    }

    fn write_how(&self, out: &mut String) -> std::fmt::Result {
        if let Some(at) = self.resumed_at {
            let same = self.verified_bytes;
            let extent = if same == at {
                "all of them".to_owned()
            } else {
                format!("{same} of them")
            };
            writeln!(
                out,
                "  resumed      at {at} bytes that were there; {extent} are the source's"
            )?;
        }
        if let Some(partial) = &self.partial {
            let partial = printable(partial);
            return if self.given_up == Some(GivenUp::NotResumed) {
                writeln!(
                    out,
                    "  partial      {partial} is as it was, and so is the file itself"
                )
            } else {
                writeln!(
                    out,
                    "  partial      {partial} has what arrived; the file itself is as it was"
                )
            };
        }
        match (self.how, self.in_place_reason) {
            (Some(How::Renamed), _) => writeln!(out, "  how          renamed"),
            // Nobody expects anything else of a device.
            (Some(How::InPlace), Some(reason)) if reason != Reason::NoFile => {
                writeln!(out, "  how          in place ({})", reason.text())
            }
            (Some(How::InPlace | How::Partial) | None, _) => Ok(()),
        }
    }

    /// Whether its child ended badly by itself and did not take everything out of its armed input. A program that opens that by its name
    /// (ENXIO) ends so, and others may.
    fn is_socket_refused(&self) -> bool {
        let is_bad = |child: &ChildStatus| {
            child.ended_by == EndedBy::Itself && !child.good && child.code.is_some()
        };
        self.input == Some(InputKind::Armed)
            && self.child.as_ref().is_some_and(is_bad)
            && (self.read_by_peer == Some(false) || self.error.is_some())
    }
}

/// Bytes per second, for people: the loss of precision beyond 2^53 bytes does not matter.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn rate(bytes: u64, seconds: f64) -> u64 {
    (bytes as f64 / seconds.max(1e-6)) as u64
}

fn write_details(
    out: &mut String,
    error: Option<&str>,
    child: Option<&ChildStatus>,
) -> std::fmt::Result {
    if let Some(error) = error {
        writeln!(out, "  error        {}", printable(error))?;
    }
    let Some(child) = child else {
        return Ok(());
    };
    match (child.code, child.signal) {
        (Some(code), _) => write!(out, "  child        ended with status {code}")?,
        (None, Some(signal)) => write!(out, "  child        ended by signal {signal}")?,
        (None, None) => write!(out, "  child        its ending is not known")?,
    }
    out.push_str(match child.ended_by {
        EndedBy::Asked => " (after we had asked it to end)\n",
        EndedBy::Itself => "\n",
        EndedBy::Killed => " (after we had killed it)\n",
    });
    if !child.left.is_empty() {
        writeln!(out, "  left         {}", printable(&child.left.join(", ")))?;
    }
    if let Some(warning) = child.warning() {
        writeln!(out, "  warning      {}", printable(&warning))?;
    }
    Ok(())
}

impl From<Ledger> for Counters {
    fn from(ledger: Ledger) -> Self {
        Self {
            accepted: ledger.accepted(),
            queued: ledger.queued(),
            in_flight: ledger.in_flight(),
            transferred: ledger.transferred(),
            discarded: ledger.discarded(),
            in_doubt: ledger.in_doubt(),
        }
    }
}

/// The exit code that a report amounts to. The order is the priority; [`crate::topics::COPY_EXIT_STATUS`] explains it to users.
fn exit_code(report: &Report) -> u8 {
    let read = report.bytes_read();
    let deadline =
        |destination: &DestinationReport| destination.given_up.is_some_and(GivenUp::is_deadline);
    // A child that has given as much as is wanted may end as it likes.
    let sources = report.sources.iter().filter(|one| !one.limit_reached);
    let sources = sources.map(|source| &source.child);
    let destinations = report
        .destinations
        .iter()
        .map(|destination| &destination.child);
    let mut children = sources.chain(destinations).flatten();
    let stopped_by_deadline = matches!(
        report.ending,
        CopyEnding::DrainDeadline | CopyEnding::IdleDeadline | CopyEnding::SlowDeadline
    );
    match report.signal {
        Some(signal) => u8::try_from(128 + signal).unwrap_or(130),
        None if report.ending == CopyEnding::NotOpened => 3,
        None if report.sources.iter().any(SourceReport::has_failed) => 4,
        None if report.ending == CopyEnding::NotResumed => 4,
        None if stopped_by_deadline || report.destinations.iter().any(deadline) => 6,
        None if report.destinations.iter().any(|one| one.is_short(read)) => 5,
        None if !children.all(|child| child.is_good()) => 8,
        None if report
            .expected_bytes
            .is_some_and(|expected| expected != read) =>
        {
            7
        }
        None if report.ending != CopyEnding::Finished => 1,
        None if !report.sources.iter().all(SourceReport::is_done) => 1,
        // A file that does not have its name is no success.
        None if report
            .destinations
            .iter()
            .any(|one| one.is_held_back() || one.partial.is_some()) =>
        {
            1
        }
        None => 0,
    }
}

/// An exit code in a few words, for the text report. 0 needs none.
fn meaning(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => return None,
        3 => "an address could not be opened",
        4 => "the source failed",
        5 => "bytes are missing at a destination",
        6 => "a deadline passed",
        7 => "--expect-bytes was not met",
        8 => "a child ended badly",
        _ => "see above",
    })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
