//! `watertight run`: a command with limits, its exit code, and an account of what it wrote.

use crate::diagnostics::{self, tell};
use crate::flags::ReportChoice;
use crate::platform;
use crate::run_flags::RunFlags;
use crate::run_report::{RunEnding, RunReport};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;
use watertight::{
    AfterExit, Command, Direction, EndRequest, EndedBy, Exit, Group, Input, Limits, Outcome,
    Output, PipeWriter, StartError, StartStep, WriterOptions,
};

/// We failed, not the command.
const OURS: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// No signal came.
const NONE: i32 = 0;

/// Where the command's outputs go on to, if they go through our hands.
#[derive(Default)]
struct Streams {
    stdout: Option<Arc<PipeWriter>>,
    stderr: Option<Arc<PipeWriter>>,
}

/// Runs the command and returns the exit code.
pub(crate) fn run(flags: &RunFlags) -> u8 {
    let begun = Instant::now();
    let report_file = match flags.report_to.as_deref().map(File::create).transpose() {
        Ok(file) => file,
        Err(error) => return cannot_save(flags, &error),
    };
    let request = EndRequest::new();
    let signal = Arc::new(AtomicI32::new(NONE));
    let (heard, ending) = (signal.clone(), request.clone());
    // There the command stays in our group: Ctrl-C reaches it as it reaches us, and it decides.
    let in_foreground = watertight::is_in_terminals_foreground();
    let hear = move |number| {
        if number != platform::INTERRUPT || !in_foreground {
            heard.store(number, Ordering::SeqCst);
            // Sent again, it leaves no grace.
            ending.send();
        }
    };
    let streams = match platform::watch_signals(hear).and_then(|()| streams(flags)) {
        Ok(streams) => streams,
        Err(error) => {
            tell(&format!("the command was not run: {error}"));
            return OURS;
        }
    };
    let mut command = command(flags, &streams);
    command.group(if in_foreground {
        Group::Shared
    } else {
        Group::Own
    });
    let started = command.output(limits(flags, &streams, &request));
    // What it kept of its own would keep our outputs from ending.
    drop(command);
    let outcome = match started {
        Ok(run) => run.wait(),
        Err(error) => return not_started(&error),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            tell(&format!("the command's end is not known: {error}"));
            return OURS;
        }
    };
    let lost = finish(flags, &outcome, &streams);
    let signal = signal.load(Ordering::SeqCst);
    let is_all_through = lost.is_empty() && !has_failed(&outcome);
    let code = match exit_code(&outcome, signal) {
        // The command meant well, and what it said did not get through.
        0 if !is_all_through => OURS,
        code => code,
    };
    let report = RunReport::new(flags, &outcome, code, begun.elapsed(), lost);
    deliver(flags, &report, report_file)
}

/// Our own streams, if the command's go through our hands. Taken over, they end when we end them.
fn streams(flags: &RunFlags) -> io::Result<Streams> {
    if !flags.passes_output_on() {
        return Ok(Streams::default());
    }
    let open = |number: u32| -> io::Result<Arc<PipeWriter>> {
        let handle = watertight::inherited(number, Direction::Write)?;
        // Others may have the same socket.
        let options = WriterOptions::new().half_close(false);
        Ok(Arc::new(PipeWriter::adopt_with(handle, options)?))
    };
    let stderr = if flags.merge {
        None
    } else {
        // A copy: we have something to say there ourselves.
        let copy = platform::stderr_copy()?;
        let options = WriterOptions::new().half_close(false);
        Some(Arc::new(PipeWriter::adopt_with(copy, options)?))
    };
    Ok(Streams {
        stdout: Some(open(1)?),
        stderr,
    })
}

fn command(flags: &RunFlags, streams: &Streams) -> Command {
    let (program, arguments) = flags
        .command
        .split_first()
        .expect("clap wants at least one word");
    let mut command = Command::new(program);
    // Should we fail in between, nobody is left behind.
    command
        .args(arguments)
        .stdin(Input::inherited())
        .kill_on_drop(true);
    let of = |is_passed_on: bool| {
        if is_passed_on {
            Output::piped()
        } else {
            Output::inherited()
        }
    };
    command.stdout(of(streams.stdout.is_some()));
    command.stderr(if flags.merge {
        Output::to_stdout()
    } else {
        of(streams.stderr.is_some())
    });
    command
}

fn limits(flags: &RunFlags, streams: &Streams, request: &EndRequest) -> Limits {
    let mut limits = Limits::new()
        .grace(flags.grace)
        .output_bytes_max(flags.max_output.unwrap_or(u64::MAX))
        .end_on(request);
    if let Some(within) = flags.within {
        limits = limits.within(within);
    }
    if let Some(quiet) = flags.quiet_after_exit {
        limits = limits.after_exit(AfterExit::Quiet(quiet));
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

/// Ends what was passed on to. What did not get through, if anything. A command that we ended is not followed by a wait without end.
fn finish(flags: &RunFlags, outcome: &Outcome, streams: &Streams) -> Vec<String> {
    let is_in_time = matches!(
        ending(outcome),
        RunEnding::Itself | RunEnding::QuietAfterExit
    );
    let both = [
        ("standard output", &streams.stdout),
        ("standard error", &streams.stderr),
    ];
    let failed = both.into_iter().filter_map(|(name, writer)| {
        let finish = writer.as_ref()?.finish();
        let receipt = if is_in_time {
            finish.wait()
        } else {
            finish.within(flags.grace).wait()
        };
        let error = match receipt {
            Ok(receipt) => receipt.error()?,
            Err(error) => error,
        };
        Some(format!("our {name} did not get all of it: {error}"))
    });
    failed.collect()
}

fn exit_code(outcome: &Outcome, signal: i32) -> u8 {
    let after_signal = |signal: i32| u8::try_from(128 + signal).unwrap_or(OURS);
    match ending(outcome) {
        RunEnding::Deadline => return 124,
        RunEnding::Interrupted => return after_signal(signal),
        RunEnding::Itself | RunEnding::QuietAfterExit => {}
    }
    let status = outcome.exit.and_then(Exit::status);
    let Some(status) = status else { return OURS };
    match (status.code(), platform::ending_signal(status)) {
        // A Windows code may be larger; what is left of it is never 0.
        (Some(code), _) => u8::try_from(code).unwrap_or(OURS),
        (None, Some(signal)) => after_signal(signal),
        (None, None) => OURS,
    }
}

fn not_started(error: &StartError) -> u8 {
    tell(&error.to_string());
    let cannot_run = [
        StartStep::Arguments,
        StartStep::Busy,
        StartStep::Interpreter,
        StartStep::Permission,
    ];
    if error.step == StartStep::Program {
        NOT_FOUND
    } else if cannot_run.contains(&error.step) {
        CANNOT_RUN
    } else {
        OURS
    }
}

/// Prints or saves the report. What went wrong is told in any case, unless the report says it.
fn deliver(flags: &RunFlags, report: &RunReport, file: Option<File>) -> u8 {
    let text = match flags.report {
        ReportChoice::Json => Some(report.to_json().map(|json| json + "\n")),
        ReportChoice::Text => Some(Ok(report.to_text())),
        ReportChoice::None => None,
    };
    let is_saved = file.is_some();
    let delivered = match (text.transpose(), file) {
        (Err(error), _) => Err(io::Error::from(error)),
        (Ok(Some(text)), Some(mut file)) => file.write_all(text.as_bytes()),
        (Ok(Some(text)), None) => {
            // Nobody may be there to read it; that changes nothing about the command.
            diagnostics::print(&text);
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

fn cannot_save(flags: &RunFlags, error: &io::Error) -> u8 {
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

/// How it ended, in one word.
pub(crate) fn ending(outcome: &Outcome) -> RunEnding {
    let known = [
        (EndedBy::Deadline, RunEnding::Deadline),
        (EndedBy::Request, RunEnding::Interrupted),
        (EndedBy::Quiet, RunEnding::QuietAfterExit),
    ];
    let found = known.into_iter().find(|(ended, _)| *ended == outcome.ended);
    found.map_or(RunEnding::Itself, |(_, ending)| ending)
}
