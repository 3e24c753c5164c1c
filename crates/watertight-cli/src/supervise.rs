//! `watertight run`: a command with limits, its exit code, and an account of what it wrote.

use crate::claimed::Claimed;
use crate::diagnostics::{self, tell};
use crate::end::NotOpened;
use crate::flags::ReportChoice;
use crate::oom::KillsBefore;
use crate::orphans::Adoption;
use crate::platform::{self, Meanwhile, OurTerminal};
use crate::report_to::{self, ReportFile};
use crate::run_ending::{NoOutcome, RunEnding, ending};
use crate::run_flags::RunFlags;
use crate::run_outputs::{Patience, Streams};
use crate::run_report::{Beside, RunReport};
use crate::run_signals::{Heard, listen};
use crate::run_streams::{RunStreams, Wanted};
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use watertight::{
    Child, Command, Direction, EndRequest, Exit, Group, Input, Limits, OsHandle, Outcome, Output,
    PipeWriter, StartError, StartStep, WriterOptions,
};

const DEADLINE_PASSED: i32 = 124;
/// We failed, or were used wrongly: it is no code of the command's. `env` and `timeout` have the same.
pub(crate) const OURS: i32 = 125;
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

const APPEARED: &str =
    "the command was ended, for its program came to be only while it was started; run it again";

/// What came of the command.
struct Performed {
    outcome: Outcome,
    /// Where its outputs went on to.
    streams: Streams,
    /// Why our input did not get to its terminal, if something failed.
    unfed: Option<String>,
    /// It was started in a control group of its own.
    has_cgroup: bool,
}

/// Runs the command and returns the exit code. `leave` ends the process at once, for a second request when nothing but the report is left.
pub(crate) fn run(flags: &RunFlags, leave: fn(i32)) -> i32 {
    let begun = Instant::now();
    let wanted = Wanted::new(flags);
    // Before anything else is opened: it could get one of these numbers.
    let claimed = wanted.claim();
    // A file system may hang with it, until the first signal.
    let path = flags.report_to.as_deref();
    let there = path.and_then(|path| report_to::open_existing(path, &claimed));
    // There the command stays in our group: Ctrl-C reaches it as it reaches us, and it decides. In the background, too: one that reads the
    // terminal there is stopped with us, and goes on with us. One with a terminal of its own has a group of its own.
    let is_in_our_group = !flags.tty && platform::has_controlling_terminal();
    let adoption = Adoption::new();
    let heard = match listen(is_in_our_group, &adoption, leave) {
        Ok(heard) => heard,
        Err(error) => {
            // Nobody knows yet whether the report's file may be written.
            let report = RunReport::without_outcome(flags, not_run(&error), begun.elapsed());
            return deliver(flags, &report, None);
        }
    };
    let made_at = path.filter(|_| there.is_none());
    // The second goes at the end: a report's file that we made and that nothing was written to is not left behind.
    let (made, _guard) = match made_at.map(report_to::make).transpose() {
        Ok(made) => made.unzip(),
        Err(error) => {
            // Nothing but these words is left: a second request ends the wait for who takes them.
            report_to::begin();
            return cannot_save(flags, &error);
        }
    };
    let mut report_file = there.or(made);
    let streams = (wanted, claimed, report_file.as_ref());
    let group = (is_in_our_group, &adoption);
    let report = supervise(flags, begun, streams, &heard, group).unwrap_or_else(|reason| {
        if reason.is_report_refused {
            report_file = None;
        }
        RunReport::without_outcome(flags, reason, begun.elapsed())
    });
    deliver(flags, &report, report_file)
}

/// Opens the streams, runs the command on them and waits for its end. The account, or why there is none.
fn supervise(
    flags: &RunFlags,
    begun: Instant,
    (wanted, claimed, report_file): (Wanted, Claimed, Option<&ReportFile>),
    heard: &Heard,
    (is_in_our_group, adoption): (bool, &Adoption),
) -> Result<RunReport, NoOutcome> {
    wanted
        .refuse_report(&claimed, report_file)
        .map_err(not_opened)?;
    adoption.begin(flags).map_err(|error| not_run(&error))?;
    let until = flags.within.and_then(|within| begun.checked_add(within));
    let events = (&heard.mailbox, &heard.inbox);
    let opened = wanted.open(claimed, report_file, until, events);
    let opened = opened.map_err(not_opened)?;
    let discarded = opened.discarded;
    let kills = KillsBefore::count();
    let limits = |streams: &Streams| limits(flags, streams, &heard.request, begun);
    let performed = perform(flags, opened, is_in_our_group, adoption, limits)?;
    let outcome = performed.outcome;
    adoption.command_is_over();
    let patience = Patience::new(flags, begun, &outcome, adoption.asked());
    let outputs = performed.streams.end(flags, patience);
    let unfed = performed.unfed;
    let seen_off = adoption.see_off(flags, begun, &outcome);
    let ended = seen_off.ending.unwrap_or_else(|| ending(&outcome));
    let signal = adoption.asked().signal();
    let is_all_through = outputs.is_all_through() && unfed.is_none() && !has_failed(&outcome);
    let is_all_done = is_all_through && seen_off.unseen.is_none();
    let code = match exit_code(ended, &outcome, signal) {
        // The command meant well, and what it said did not get through, or whoever it left behind could not be waited for.
        0 if !is_all_done => OURS,
        code => code,
    };
    let beside = Beside {
        outputs,
        unfed,
        discarded,
        out_of_memory: kills.hint(&outcome),
        has_cgroup: performed.has_cgroup,
    };
    let mut report = RunReport::new(flags, &outcome, code, begun.elapsed(), beside);
    report.add_seen_off(&seen_off);
    Ok(report)
}

/// Runs the command to its end, on its streams or in a terminal of its own. What came of it, or the exit code, if that is not known.
fn perform(
    flags: &RunFlags,
    mut opened: RunStreams,
    is_in_our_group: bool,
    adoption: &Adoption,
    limits: impl FnOnce(&Streams) -> Limits,
) -> Result<Performed, NoOutcome> {
    let failed = |error: io::Error| not_run(&error);
    // First: it looks at our streams as they are.
    let looked = flags.tty.then(OurTerminal::look).transpose();
    let terminal = looked.map_err(failed)?;
    let streams = streams(flags, &mut opened).map_err(failed)?;
    let mut command = command(flags, &streams, &mut opened);
    if let Some(terminal) = &terminal {
        command.terminal(terminal.size());
    }
    command.group(if is_in_our_group {
        Group::Shared
    } else {
        Group::Own
    });
    // It costs milliseconds, so only where a tree is likely to be ended by us.
    command.cgroup(flags.within.is_some() && !flags.no_cgroup);
    let child = start(flags, command, opened, adoption)?;
    let has_cgroup = child.has_cgroup();
    let passing_on = terminal.map(|terminal| Meanwhile::begin(terminal, &child));
    // Returned from here, the child is dropped, and with that killed.
    let meanwhile = passing_on.transpose().map_err(|error| {
        not_known(format!(
            "the command was ended, for our terminal cannot be passed on to it: {error}"
        ))
    })?;
    let run = child.communicate(limits(&streams));
    let outcome = run.tells_exit(adoption.over()).wait();
    // Before anything is said: our terminal is as it was.
    let unfed = meanwhile.and_then(Meanwhile::end);
    let outcome =
        outcome.map_err(|error| not_known(format!("the command's end is not known: {error}")))?;
    Ok(Performed {
        outcome,
        streams,
        unfed,
        has_cgroup,
    })
}

/// Starts the command. What it overwrites is emptied before that, but not for one whose program is missing: that cannot be started.
fn start(
    flags: &RunFlags,
    mut command: Command,
    mut opened: RunStreams,
    adoption: &Adoption,
) -> Result<Child, NoOutcome> {
    if let Some(signal) = adoption.asked().signal() {
        // It came since the streams are open.
        let why = "a signal to us came before it was started";
        return Err(not_run_but(after_signal(signal), &why));
    }
    let program = flags.command.first();
    let is_missing = program.is_some_and(|program| platform::is_missing(program));
    if !is_missing {
        opened.empty_files().map_err(|text| not_run(&text))?;
    }
    adoption.command_begins();
    let started = command.spawn();
    if let Ok(child) = &started {
        adoption.command_is(child.id());
    }
    platform::leave_signals();
    // What it kept of its own would keep our outputs from ending.
    drop(command);
    if started.is_ok() {
        opened.keep_created();
    } else {
        // Removes what was made for a command that cannot be started.
        drop(opened);
    }
    match started {
        // Dropped here, it is killed: it writes over files that were not emptied.
        Ok(_) if is_missing => Err(not_known(APPEARED.to_owned())),
        Ok(child) => Ok(child),
        Err(error) => Err(not_started(&error)),
    }
}

/// Where the command's outputs go on to, if they go through our hands. A standard output of ours that is taken over ends when
/// we end it.
fn streams(flags: &RunFlags, opened: &mut RunStreams) -> io::Result<Streams> {
    if !flags.passes_output_on() {
        return Ok(Streams::default());
    }
    let adopt = |handle: OsHandle| -> io::Result<Arc<PipeWriter>> {
        // Others may have the same socket.
        let options = WriterOptions::new().half_close(false);
        Ok(Arc::new(PipeWriter::adopt_with(handle, options)?))
    };
    let stdout = match opened.stdout.take() {
        Some(handle) => handle,
        None if is_closed(1) => null_device()?,
        None => watertight::inherited(1, Direction::Write)?,
    };
    let stderr = match opened.stderr.take() {
        _ if opened.is_joined => None,
        Some(handle) => Some(handle),
        None if is_closed(2) => Some(null_device()?),
        // A copy: we have something to say there ourselves.
        None => Some(platform::standard_copy(2)?),
    };
    Ok(Streams {
        stdout: Some(adopt(stdout)?),
        stderr: stderr.map(adopt).transpose()?,
    })
}

/// Whether the standard stream of this number was closed when we were started. What the command writes there is discarded, and the report says
/// so (`RunStreams::discarded`), whether it goes through our hands or not.
fn is_closed(number: u32) -> bool {
    platform::standard_at_start(number).is_err()
}

fn null_device() -> io::Result<OsHandle> {
    let path = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let null = OpenOptions::new().write(true).open(path)?;
    Ok(null.into())
}

fn command(flags: &RunFlags, streams: &Streams, opened: &mut RunStreams) -> Command {
    let (program, arguments) = flags
        .command
        .split_first()
        .expect("clap wants at least one word");
    let mut command = Command::new(program);
    // Should we fail in between, nobody is left behind.
    command.args(arguments).kill_on_drop(true);
    if flags.tty {
        // All three are its terminal.
        return command;
    }
    let stdin = opened.stdin.take();
    command.stdin(stdin.map_or_else(Input::inherited, Input::from_handle));
    let of = |is_passed_on: bool, handle: Option<OsHandle>| match handle {
        _ if is_passed_on => Output::piped(),
        Some(handle) => Output::from_handle(handle),
        None => Output::inherited(),
    };
    command.stdout(of(streams.stdout.is_some(), opened.stdout.take()));
    command.stderr(if opened.is_joined {
        Output::to_stdout()
    } else {
        of(streams.stderr.is_some(), opened.stderr.take())
    });
    command
}

fn limits(flags: &RunFlags, streams: &Streams, request: &EndRequest, begun: Instant) -> Limits {
    let mut limits = Limits::new()
        .grace(flags.grace)
        .output_bytes_max(flags.max_output.unwrap_or(u64::MAX))
        .after_exit(flags.rule_after_exit())
        .end_on(request);
    if let Some(within) = flags.within {
        // Opening its streams may have taken a while.
        limits = limits.within(within.saturating_sub(begun.elapsed()));
    }
    if let Some(stdout) = &streams.stdout {
        limits = limits.stdout_to(stdout.clone());
    }
    if let Some(stderr) = &streams.stderr {
        limits = limits.stderr_to(stderr.clone());
    }
    limits
}

/// Whether an output failed on its way to us or from us.
fn has_failed(outcome: &Outcome) -> bool {
    outcome.stdout.failure.is_some() || outcome.stderr.failure.is_some()
}

const fn after_signal(signal: i32) -> i32 {
    128 + signal
}

fn exit_code(ended: RunEnding, outcome: &Outcome, signal: Option<i32>) -> i32 {
    match ended {
        RunEnding::Deadline => return DEADLINE_PASSED,
        RunEnding::Failure | RunEnding::NotStarted => return OURS,
        RunEnding::Interrupted => return signal.map_or(OURS, after_signal),
        RunEnding::DeadlineAfterExit | RunEnding::Itself | RunEnding::QuietAfterExit => {}
    }
    let status = outcome.exit.and_then(Exit::status);
    let Some(status) = status else { return OURS };
    match (status.code(), platform::ending_signal(status)) {
        // A byte on Unix; all 32 bits on Windows.
        (Some(code), _) => code,
        (None, Some(signal)) => after_signal(signal),
        (None, None) => OURS,
    }
}

/// The command was started, and its end is not known.
fn not_known(error: String) -> NoOutcome {
    NoOutcome::new(RunEnding::Failure, OURS, error)
}

fn not_run(why: &dyn Display) -> NoOutcome {
    not_run_but(OURS, why)
}

fn not_run_but(exit_code: i32, why: &dyn Display) -> NoOutcome {
    let error = format!("the command was not run: {why}");
    NoOutcome::new(RunEnding::NotStarted, exit_code, error)
}

fn not_opened(reason: NotOpened) -> NoOutcome {
    match reason {
        NotOpened::Failed(_, text) => not_run(&text),
        NotOpened::Idle => not_run_but(
            DEADLINE_PASSED,
            &"its deadline passed while its streams were opened",
        ),
        NotOpened::Interrupted(signal) => not_run_but(
            after_signal(signal),
            &"a signal to us came while its streams were opened",
        ),
        NotOpened::ReportRefused(_, text) => NoOutcome {
            is_report_refused: true,
            ..not_run(&text)
        },
    }
}

fn not_started(error: &StartError) -> NoOutcome {
    NoOutcome::new(
        RunEnding::NotStarted,
        code_of_start(error),
        error.to_string(),
    )
}

/// As `env` has it: what exec refuses is 127 if the program, or what is to run it, is not there, and 126 if there is any other reason.
/// What comes before exec is ours.
fn code_of_start(error: &StartError) -> i32 {
    let of_exec = [
        StartStep::Arguments,
        StartStep::Busy,
        StartStep::Format,
        StartStep::Interpreter,
        StartStep::Name,
        StartStep::Permission,
    ];
    let is_missing = error.error.kind() == io::ErrorKind::NotFound;
    // A code that has no step of its own, such as that of a program's file that is cut. Without a code it is we who refuse.
    let is_unnamed = error.step == StartStep::Other && error.error.raw_os_error().is_some();
    if error.step == StartStep::Program || (error.step == StartStep::Interpreter && is_missing) {
        NOT_FOUND
    } else if is_unnamed || of_exec.contains(&error.step) {
        CANNOT_RUN
    } else {
        OURS
    }
}

/// Prints or saves the report. What went wrong is told in any case, unless the report says it.
fn deliver(flags: &RunFlags, report: &RunReport, file: Option<ReportFile>) -> i32 {
    report_to::begin();
    let text = match flags.report {
        ReportChoice::Json => Some(report.to_json().map(|json| json + "\n")),
        ReportChoice::Text => Some(Ok(report.to_text())),
        ReportChoice::None => None,
    };
    let is_saved = file.is_some();
    let delivered = match (text.transpose(), file) {
        (Err(error), _) => Err(io::Error::from(error)),
        (Ok(Some(text)), Some(file)) => file.save(&text, report.exit_code),
        (Ok(Some(text)), None) => {
            // Whether it gets through is known at the end of the program (`main.rs`).
            report_to::say(report.exit_code, || diagnostics::print_asked(&text));
            Ok(())
        }
        (Ok(None), _) => Ok(()),
    };
    if flags.report == ReportChoice::None || is_saved {
        report.notes().iter().for_each(|note| tell(note));
    }
    match delivered {
        Ok(()) => report.exit_code,
        Err(error) => cannot_save(flags, &error),
    }
}

fn cannot_save(flags: &RunFlags, error: &io::Error) -> i32 {
    let path = flags
        .report_to
        .as_deref()
        .unwrap_or(Path::new("standard error"));
    tell(&format!(
        "cannot save the report to {}: {error}; name a file that can be written",
        path.display()
    ));
    OURS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exec_refuses_is_told_apart_from_what_comes_before_it() {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        // EIO on Unix, ERROR_ACCESS_DENIED on Windows.
        let refused = || io::Error::from_raw_os_error(5);
        let unsupported = io::Error::from(io::ErrorKind::Unsupported);
        for (step, error, code) in [
            (StartStep::Arguments, refused(), CANNOT_RUN),
            (StartStep::Busy, refused(), CANNOT_RUN),
            (StartStep::Descriptors, refused(), OURS),
            (StartStep::Directory, missing(), OURS),
            (StartStep::Directory, refused(), OURS),
            (StartStep::Format, refused(), CANNOT_RUN),
            (StartStep::Hold, refused(), OURS),
            (StartStep::Interpreter, missing(), NOT_FOUND),
            (StartStep::Interpreter, refused(), CANNOT_RUN),
            (StartStep::Name, refused(), CANNOT_RUN),
            (StartStep::Other, refused(), CANNOT_RUN),
            (StartStep::Other, unsupported, OURS),
            (StartStep::Permission, refused(), CANNOT_RUN),
            (StartStep::Program, missing(), NOT_FOUND),
            (StartStep::Resources, refused(), OURS),
            (StartStep::Terminal, refused(), OURS),
            (StartStep::User, refused(), OURS),
        ] {
            let error = StartError {
                step,
                program: "tool".into(),
                path: None,
                run_as: None,
                error,
            };
            assert_eq!(code_of_start(&error), code, "{error:?}");
        }
    }
}
