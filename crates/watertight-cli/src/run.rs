//! From flags to exit code: opens, copies, puts the account together, and delivers the report.

use crate::address::Address;
use crate::claimed::Claimed;
use crate::copy::Copy;
use crate::copy_ending::CopyEnding;
use crate::destination::Destination;
use crate::diagnostics::{self, tell};
use crate::discarded::Discarded;
use crate::empty_copy;
use crate::end::{End, NotOpened};
use crate::endpoint::{self, OpenedEnds};
use crate::event::{Inbox, Mailbox, mailbox};
use crate::extent::Extent;
use crate::flags::{CopyFlags, HashChoice, ReportChoice};
use crate::hash_report::{HashReport, NoHash};
use crate::hashing;
use crate::identity;
use crate::left_behind::LeftBehind;
use crate::mixing::DataStreams;
use crate::partial::{Closing, Placed};
use crate::platform::{self, KeptSignals};
use crate::report::{Counters, DestinationReport, PipeEnding, Report, SourceReport};
use crate::report_to::{self, ReportFile};
use crate::requests::{Requests, Signal};
use crate::source_ending::SourceEnding;
use crate::units::{base64_unless_text, hexadecimal, shown_name};

use std::io;
use std::path::Path;
use std::time::Instant;
use watertight::{Ending, Ledger};

/// The exit code of what has no code of its own.
pub(crate) const OTHER: u8 = 1;

/// Runs `watertight copy` and returns its exit code. `leave` ends the process at once, for a second Ctrl-C.
pub(crate) fn copy(flags: &CopyFlags, leave: fn(i32)) -> u8 {
    let begun = Instant::now();
    let (mailbox, inbox) = mailbox();
    // Before anything else is opened: it could get one of these numbers.
    let claimed = Claimed::take(flags.ends());
    let data_streams = DataStreams::of(flags, &claimed);
    if data_streams.is_stderr_an_end() {
        diagnostics::silence();
    }
    let path = flags.report_to.as_deref();
    let there = path.and_then(|path| report_to::open_existing(path, &claimed));
    let made_at = path.filter(|_| there.is_none());
    // After the opening of what is there, which the first signal ends if a file system hangs; before a file is made, which no signal is to
    // leave behind. For its sake none ends the program by itself.
    let heard = hear(mailbox.clone(), leave);
    let kept = KeptSignals::keep(platform::ACCOUNT_SIGNALS, made_at.is_none(), heard);
    let mut signals = match kept {
        Ok(signals) => signals,
        Err(error) => return cannot_begin(&error),
    };
    // The second goes at the end: a report's file that we made and that nothing was written to is not left behind.
    let (made, _guard) = match made_at.map(report_to::make).transpose() {
        Ok(made) => made.unzip(),
        Err(error) => {
            tell(&cannot_save(flags, &error));
            hear_while_said(&mut signals);
            return OTHER;
        }
    };
    let mut report_file = there.or(made);
    let events = (&mut signals, mailbox, inbox);
    let code = match transfer(flags, claimed, data_streams, &mut report_file, events) {
        Ok((mut report, left_behind)) => {
            report.elapsed_seconds = begun.elapsed().as_secs_f64();
            report.note_discarded(data_streams.discarded());
            if report_file
                .as_ref()
                .is_some_and(ReportFile::is_taken_by_others)
            {
                hear_at_last(&mut signals);
            }
            let code = deliver(flags, &report.conclude(), report_file);
            hear_while_said(&mut signals);
            // A report that could not be saved is no success either, nor is one that standard error did not take (`main.rs`).
            let is_success = code == 0 && diagnostics::finish();
            if let Some(mut left_behind) = left_behind.filter(|_| !is_success) {
                left_behind.settle(false);
            }
            code
        }
        Err(error) => cannot_begin(&error),
    };
    hear_while_said(&mut signals);
    code
}

/// Somebody is waited for who takes what is said, and of an empty copy nobody hears signals so far. Without a thread for that a signal ends
/// it that is another one than the first.
fn hear_at_last(signals: &mut KeptSignals) {
    let _ = signals.begin();
}

/// Likewise, if something of what was said waits to be taken.
fn hear_while_said(signals: &mut KeptSignals) {
    if diagnostics::is_anything_waiting() {
        hear_at_last(signals);
    }
}

fn cannot_begin(error: &io::Error) -> u8 {
    tell(&format!("the copy could not begin: {error}"));
    OTHER
}

/// What is done about each signal.
fn hear(mailbox: Mailbox, leave: fn(i32)) -> impl FnMut(Signal) + Send + 'static {
    let mut signals = CopySignals::new(mailbox, leave);
    move |signal| signals.handle(signal, Instant::now())
}

/// The signals to a copy.
struct CopySignals {
    mailbox: Mailbox,
    /// Ends the process at once.
    leave: fn(i32),
    requests: Requests,
    /// It was asked to end.
    is_asked: bool,
}

impl CopySignals {
    fn new(mailbox: Mailbox, leave: fn(i32)) -> Self {
        Self {
            mailbox,
            leave,
            requests: Requests::default(),
            is_asked: false,
        }
    }

    fn handle(&mut self, signal: Signal, now: Instant) {
        let number = signal.number;
        if platform::ACCOUNT_SIGNALS.contains(&number) {
            self.mailbox.ask_for_account();
            return;
        }
        if !self.requests.is_new(signal, now, self.is_asked) {
            return;
        }
        if self.is_asked {
            (self.leave)(128 + number);
        }
        self.is_asked = true;
        self.mailbox.interrupt(number);
    }
}

/// Opens and copies. The account, and if it came to a copy, its commands and whoever they have left behind.
fn transfer(
    flags: &CopyFlags,
    claimed: Claimed,
    data_streams: DataStreams,
    report_file: &mut Option<ReportFile>,
    (signals, mailbox, inbox): (&mut KeptSignals, Mailbox, Inbox),
) -> io::Result<(Report, Option<LeftBehind>)> {
    let may_be_empty = empty_copy::may_be(flags, &claimed);
    if !may_be_empty {
        signals.begin()?;
    }
    let is_emptied = report_file.as_ref().is_some_and(ReportFile::is_emptied);
    let report = report_file.as_ref().and_then(ReportFile::file);
    let thing = report_file.as_ref().and_then(ReportFile::thing);
    let refused = thing.map_or(Ok(()), |thing| {
        identity::refuse_report(flags, &claimed, (&thing, is_emptied))
    });
    let events = (!may_be_empty).then_some((&mailbox, &inbox));
    let opened = refused.and_then(|()| endpoint::open(flags, claimed, report, events));
    let started = match opened {
        Ok(opened) if may_be_empty && empty_copy::is_it(flags, &opened, signals) => {
            return Ok((end_empty(flags, opened), None));
        }
        Ok(opened) => {
            signals.begin()?;
            opened.start(flags, data_streams, &mailbox)
        }
        Err(reason) => Err(reason),
    };
    match started {
        Ok((ends, beginning)) => {
            let mut copy = Copy::new(flags, ends, mailbox, inbox)?;
            // Only now: every thread has started, and nothing was read.
            let closings = match beginning.commit() {
                Ok(closings) => closings,
                Err(failure) => return Ok((not_begun(flags, &failure.into()), None)),
            };
            copy.run();
            let placed = close(closings, |index| copy.is_whole_at(index));
            let mut report = account(flags, &copy, placed).conclude();
            let mut left_behind = copy.into_left_behind();
            left_behind.settle(report.exit_code == 0);
            report.note_children(left_behind.statuses());
            Ok((report, Some(left_behind)))
        }
        Err(reason) => {
            if matches!(reason, NotOpened::ReportRefused(..)) {
                *report_file = None;
            }
            Ok((not_begun(flags, &reason), None))
        }
    }
}

/// Ends a copy whose source was at its end before a byte was read, and accounts for it.
fn end_empty(flags: &CopyFlags, opened: OpenedEnds) -> Report {
    let extent = opened.extent();
    let closings = match opened.end(flags) {
        Ok(closings) => closings,
        Err(failure) => return not_begun(flags, &failure.into()),
    };
    // The verdict: nothing else can speak against it.
    let is_whole = flags.expect_bytes.is_none_or(|bytes| bytes == 0);
    account_of_nothing(flags, extent, close(closings, |_| is_whole))
}

/// The copy is over: files that are whole get their names, and what is wanted on the disk is synced.
fn close(closings: Vec<Option<Closing>>, is_whole_at: impl Fn(usize) -> bool) -> Vec<Placed> {
    let closings = closings.into_iter().enumerate();
    closings
        .map(|(index, closing)| {
            let placed = closing.map(|closing| closing.close(is_whole_at(index)));
            placed.unwrap_or_default()
        })
        .collect()
}

/// The account of a copy that is over.
pub(crate) fn account(flags: &CopyFlags, copy: &Copy<'_>, placed: Vec<Placed>) -> Report {
    let ending = copy.source_ending.as_ref();
    let source = SourceReport {
        address: flags.source.text.clone(),
        address_base64: flags.source.base64(),
        size_at_start: ending.and_then(|ending| ending.size_at_start),
        bytes_read: copy.bytes_read,
        bytes_untaken: ending.map_or(0, |ending| ending.untaken),
        sealed: flags.sealed,
        seal_bytes: ending.map_or(0, |ending| ending.seal_bytes),
        ended: ending.is_some_and(|ending| ending.ended),
        limit_reached: ending.is_some_and(|ending| ending.limit_reached),
        error: ending.map_or_else(|| copy.not_stopped(), |ending| ending.error.clone()),
        is_abandoned: ending.is_none(),
        discarded: Discarded::default(),
        child: copy.children[0].status(),
    };
    let hash = ending.and_then(|ending| ending.hash);
    let ends = flags
        .destinations
        .iter()
        .zip(&copy.destinations)
        .zip(&copy.children[1..])
        .zip(placed);
    let destinations = ends.map(|(((address, destination), child), placed)| {
        let known = destination_report(address, destination, placed, copy.bytes_read);
        DestinationReport {
            error: known.error.or_else(|| copy.not_counted(destination)),
            child: child.status(),
            sealed: flags.seal,
            ..known
        }
    });
    Report {
        signal: copy.signal,
        sources: vec![source],
        destinations: destinations.collect(),
        hash: hash_report(flags, hash),
        no_hash: no_hash(flags, ending),
        ..empty(flags, copy.ending.unwrap_or(CopyEnding::Finished))
    }
}

fn destination_report(
    address: &Address,
    destination: &Destination,
    placed: Placed,
    bytes_read: u64,
) -> DestinationReport {
    let ledger = destination.ledger();
    let seal_bytes = destination.seal_bytes();
    let verified_bytes = destination.verified_bytes();
    DestinationReport {
        address: address.text.clone(),
        address_base64: address.base64(),
        ending: match destination.ending() {
            // Its pipe ended well, and its file is not where it should be.
            Some(Ending::Finished) if placed.error.is_some() => PipeEnding::Failed,
            Some(Ending::Finished) => PipeEnding::Finished,
            Some(Ending::Failed(_)) => PipeEnding::Failed,
            _ => PipeEnding::Aborted,
        },
        given_up: destination.given_up(),
        error: destination.error().or(placed.error),
        is_failure_ours: destination.is_failure_ours(),
        counters: Counters::from(ledger),
        sealed: false,
        seal_bytes,
        resumed_at: destination.resumed_at(),
        verified_bytes,
        not_accepted: (bytes_read + seal_bytes).saturating_sub(ledger.accepted() + verified_bytes),
        read_by_peer: destination.read_by_peer(),
        how: placed.how,
        in_place_reason: placed.reason,
        partial: placed.partial.as_deref().map(shown_name),
        partial_base64: placed.partial.as_deref().and_then(base64_unless_text),
        input: destination.input(),
        looks_whole: destination.looks_whole(),
        discarded: Discarded::default(),
        child: None,
    }
}

/// The account of a copy whose source had nothing.
fn account_of_nothing(flags: &CopyFlags, extent: Option<Extent>, placed: Vec<Placed>) -> Report {
    let source = SourceReport {
        size_at_start: extent.map(Extent::left),
        ended: true,
        ..source_report(flags)
    };
    let ends = flags.destinations.iter().zip(placed);
    let destinations = ends.map(|(address, placed)| DestinationReport {
        // Its pipe ended well; its file may not be where it should be.
        ending: if placed.error.is_some() {
            PipeEnding::Failed
        } else {
            PipeEnding::Finished
        },
        error: placed.error,
        how: placed.how,
        in_place_reason: placed.reason,
        partial: placed.partial.as_deref().map(shown_name),
        partial_base64: placed.partial.as_deref().and_then(base64_unless_text),
        ..untouched(flags, address)
    });
    Report {
        sources: vec![source],
        destinations: destinations.collect(),
        hash: hash_report(flags, Some(hashing::hash_of_nothing())),
        ..empty(flags, CopyEnding::Finished)
    }
}

fn hash_report(flags: &CopyFlags, hash: Option<[u8; 32]>) -> Option<HashReport> {
    let wanted = flags.hash.zip(hash);
    wanted.map(|(algorithm, hash)| HashReport {
        algorithm: algorithm.name(),
        hex: hexadecimal(&hash),
    })
}

/// Why there is no hash, if one was asked for.
fn no_hash(flags: &CopyFlags, ending: Option<&SourceEnding>) -> Option<NoHash> {
    flags.hash?;
    match ending {
        None => Some(NoHash::SourceHangs),
        Some(ending) if ending.hash.is_none() => Some(NoHash::LeftOut),
        Some(_) => None,
    }
}

/// A source of which nothing was read.
fn source_report(flags: &CopyFlags) -> SourceReport {
    SourceReport {
        address: flags.source.text.clone(),
        address_base64: flags.source.base64(),
        sealed: flags.sealed,
        ..SourceReport::default()
    }
}

/// A destination to which nothing was written.
fn untouched(flags: &CopyFlags, address: &Address) -> DestinationReport {
    DestinationReport {
        address: address.text.clone(),
        address_base64: address.base64(),
        ending: PipeEnding::NotOpened,
        given_up: None,
        error: None,
        is_failure_ours: false,
        counters: Counters::from(Ledger::default()),
        sealed: flags.seal,
        seal_bytes: 0,
        resumed_at: None,
        verified_bytes: 0,
        not_accepted: 0,
        read_by_peer: None,
        how: None,
        in_place_reason: None,
        partial: None,
        partial_base64: None,
        input: None,
        looks_whole: false,
        discarded: Discarded::default(),
        child: None,
    }
}

/// The account of a copy that did not begin.
fn not_begun(flags: &CopyFlags, reason: &NotOpened) -> Report {
    let (ending, signal) = match reason {
        NotOpened::Failed(..) | NotOpened::ReportRefused(..) => (CopyEnding::NotOpened, None),
        NotOpened::Idle => (CopyEnding::IdleDeadline, None),
        NotOpened::Interrupted(signal) => (CopyEnding::Interrupted, Some(*signal)),
    };
    let error_of = |end: End| match reason {
        NotOpened::Failed(failed, text) | NotOpened::ReportRefused(failed, text) => {
            (*failed == end).then(|| text.clone())
        }
        NotOpened::Idle | NotOpened::Interrupted(_) => None,
    };
    let destinations = flags.destinations.iter().enumerate();
    Report {
        signal,
        sources: vec![SourceReport {
            error: error_of(End::Source),
            ..source_report(flags)
        }],
        destinations: destinations
            .map(|(index, address)| DestinationReport {
                error: error_of(End::Destination(index)),
                ..untouched(flags, address)
            })
            .collect(),
        no_hash: flags.hash.map(|_| NoHash::NotBegun),
        ..empty(flags, ending)
    }
}

fn empty(flags: &CopyFlags, ending: CopyEnding) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION"),
        ending,
        exit_code: OTHER,
        signal: None,
        elapsed_seconds: 0.0,
        expected_bytes: flags.expect_bytes,
        sources: Vec::new(),
        destinations: Vec::new(),
        hash: None,
        no_hash: None,
    }
}

/// Prints or saves the report; errors are told in any case. The exit code is the report's, unless it could not be saved.
fn deliver(flags: &CopyFlags, report: &Report, file: Option<ReportFile>) -> u8 {
    report_to::begin();
    let code = i32::from(report.exit_code);
    let text = text(flags, report, file.is_some());
    let errors_wanted = text.is_none() || file.is_some();
    let delivered = match (text.transpose(), file) {
        (Err(error), _) => Err(error.into()),
        (Ok(Some(text)), Some(file)) => file.save(&text, code),
        (Ok(Some(text)), None) => {
            // Whether it gets through is known at the end of the program (`main.rs`).
            let is_asked_for = flags.report.is_some() || flags.hash.is_some();
            report_to::say(code, || {
                if is_asked_for {
                    diagnostics::print_asked(&text);
                } else {
                    diagnostics::print(&text);
                }
            });
            Ok(())
        }
        (Ok(None), _) => Ok(()),
    };
    if errors_wanted {
        report.errors().iter().for_each(|line| tell(line));
    }
    match delivered {
        Ok(()) => report.exit_code,
        Err(error) => {
            tell(&cannot_save(flags, &error));
            report.exit_code.max(OTHER)
        }
    }
}

/// The report as it is wanted, if it is. `is_saved`: it goes into a file.
fn text(flags: &CopyFlags, report: &Report, is_saved: bool) -> Option<serde_json::Result<String>> {
    if flags.quiet && !is_saved {
        return None;
    }
    // A copy that did not begin has no account to print: the error says it all.
    let has_account = is_saved || report.ending != CopyEnding::NotOpened;
    // A hash that was asked for is wanted after a success, too, and what went wrong beside it.
    let is_told = report.exit_code != 0 || !report.warnings().is_empty();
    let is_all_wanted = is_saved || is_told || flags.hash.is_some();
    let all = || has_account.then(|| Ok(report.to_text()));
    match flags.report {
        Some(ReportChoice::Json) => Some(report.to_json().map(|json| json + "\n")),
        Some(ReportChoice::Text) => all(),
        Some(ReportChoice::None) => None,
        None if is_all_wanted => all(),
        None => diagnostics::is_terminal().then(|| Ok(report.to_line())),
    }
}

fn cannot_save(flags: &CopyFlags, error: &io::Error) -> String {
    let path = flags
        .report_to
        .as_deref()
        .unwrap_or(Path::new("standard error"));
    format!(
        "cannot save the report to {}: {error}; name a file that can be written",
        path.display()
    )
}

impl HashChoice {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Task};
    use crate::event::Event;
    use clap::Parser;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::time::Duration;

    /// As GNU timeout sends one, and as a terminal that is closed and whoever supervises its session send two. The second request leaves at once.
    #[test]
    fn signals_that_come_at_once_are_one_request_to_a_copy() {
        const TERMINATE: Signal = Signal {
            number: 15,
            is_typed: false,
            is_asking: true,
        };
        const HANG_UP: Signal = Signal {
            number: 1,
            ..TERMINATE
        };
        static LEFT_WITH: AtomicI32 = AtomicI32::new(0);
        let (mailbox, inbox) = mailbox();
        let leave = |code| LEFT_WITH.store(code, Ordering::SeqCst);
        let mut signals = CopySignals::new(mailbox, leave);
        let now = Instant::now();
        for signal in [TERMINATE, TERMINATE, HANG_UP] {
            signals.handle(signal, now);
        }
        let later = now + Duration::from_secs(1);
        // A timer asks nobody.
        let timer = Signal {
            number: 27,
            is_asking: false,
            ..TERMINATE
        };
        signals.handle(timer, later);
        assert_eq!(LEFT_WITH.load(Ordering::SeqCst), 0);
        signals.handle(TERMINATE, later);
        assert_eq!(LEFT_WITH.load(Ordering::SeqCst), 128 + 15);
        drop(signals);
        let events = std::iter::from_fn(|| inbox.next(None));
        let interrupts = events.filter(|event| matches!(event, Event::Interrupted(15)));
        // Here the process has not ended at the second one.
        assert_eq!(interrupts.count(), 2);
    }

    #[test]
    fn why_there_is_no_hash_is_known() {
        let flags = |option: &str| {
            let line = ["watertight", "copy", option, "a", "b"];
            let Task::Copy(flags) = Cli::try_parse_from(line).unwrap().command else {
                panic!("not a copy");
            };
            flags
        };
        let (with, without) = (flags("--hash"), flags("--sync"));
        let none = SourceEnding::default();
        let some = SourceEnding {
            hash: Some([0; 32]),
            ..SourceEnding::default()
        };
        assert_eq!(no_hash(&with, Some(&some)), None);
        assert_eq!(no_hash(&with, Some(&none)), Some(NoHash::LeftOut));
        assert_eq!(no_hash(&with, None), Some(NoHash::SourceHangs));
        assert_eq!(no_hash(&without, Some(&none)), None);
        assert_eq!(no_hash(&without, None), None);
    }
}
