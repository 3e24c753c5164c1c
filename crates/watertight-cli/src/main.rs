//! The program `watertight`: arguments in, exit code out. Everything else is in the other rooms of this crate.
#![forbid(unsafe_code)]

mod account;
mod address;
#[cfg(test)]
mod address_checks;
mod asking;
mod awaited;
mod child;
mod child_status;
mod claimed;
mod cli;
mod copy;
mod copy_ending;
#[cfg(test)]
mod corpus;
mod created;
mod destination;
mod destination_lines;
mod diagnostics;
mod discarded;
#[cfg(all(test, unix))]
mod drop_checks;
mod empty_copy;
mod end;
mod endpoint;
mod event;
mod extent;
mod failure_line;
mod file_identity;
mod flags;
#[cfg(unix)]
mod foreground;
mod gate;
mod generate;
mod hash_report;
mod hashing;
mod how;
mod identity;
mod last_reader;
mod left_behind;
mod meter;
mod mixing;
mod moving;
mod names;
mod oom;
mod opened;
mod orphans;
mod outlook;
mod partial;
mod paths;
mod progress;
mod progress_json;
mod rate;
mod renaming;
mod report;
mod report_to;
mod requests;
mod reserve;
mod resume;
mod run;
mod run_ending;
mod run_flags;
mod run_outputs;
mod run_report;
mod run_signals;
mod run_streams;
#[cfg(unix)]
mod run_terminal;
mod seal;
#[cfg(any(test, windows))]
mod security;
mod shared_position;
mod source;
mod source_ending;
mod stop_request;
mod supervise;
mod topics;
mod units;
#[cfg(test)]
mod units_checks;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_files;
#[cfg(unix)]
mod unix_outlook;
#[cfg(unix)]
mod unix_signals;
#[cfg(unix)]
mod unix_stderr;
#[cfg(unix)]
mod unix_words;
mod unread;
mod verdict;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
mod windows_files;

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

use clap::error::{ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use cli::{Cli, Task};
use std::process::ExitCode;
use std::time::Duration;
use units::printable;

fn main() -> ExitCode {
    platform::survive_file_size_bound();
    // Who waits for the end of our streams is to wait for us, and not for whom a child of ours leaves behind. Should it fail, they are what
    // they were.
    let _ = watertight::keep_standard_streams_from_children();
    // The second Ctrl-C: no destructor, no account, no waiting for anybody, just out. No empty report stays behind, and nobody we started
    // lives on, unless the report has told how it all ended: then everybody has what that says.
    let leave: fn(i32) = |code| {
        // First: the end of the children could be the end of the copy, with a report.
        report_to::leave();
        if told_code().is_none() {
            child::kill_all();
        }
        watertight::exit_within(Duration::ZERO);
        std::process::exit(told_code().unwrap_or(code))
    };
    let (code, if_lost) = match Cli::try_parse() {
        Err(error) => (complain(&on_its_line(error)), i32::from(run::OTHER)),
        Ok(cli) => (perform(&cli, leave), code_of_loss(&cli)),
    };
    let is_all_said = diagnostics::finish();
    let is_lost = code == 0 && !is_all_said;
    platform::exit_code(if is_lost { if_lost } else { code })
}

/// The exit code that the report has told. A success of which something of what we said is not taken is none: at the ordinary end that is
/// waited for.
fn told_code() -> Option<i32> {
    let told = report_to::told();
    told.filter(|code| *code != 0 || !diagnostics::is_anything_waiting())
}

/// The exit code in place of 0 if something that was asked for could not be written to standard error.
fn code_of_loss(cli: &Cli) -> i32 {
    match &cli.command {
        Task::Run(_) => supervise::OURS,
        Task::Completions { .. } | Task::Copy(_) | Task::Man { .. } => i32::from(run::OTHER),
    }
}

/// Does what is asked for. The exit code: a byte, but for a command's own (`run`).
fn perform(cli: &Cli, leave: fn(i32)) -> i32 {
    let refused = |subcommand: &str, text: String| {
        let mut program = Cli::command();
        // So that the usage below the error is this subcommand's.
        program.build();
        let command = program.find_subcommand_mut(subcommand);
        let command = command.expect("its flags were parsed");
        complain(&command.error(ErrorKind::ArgumentConflict, text))
    };
    match &cli.command {
        Task::Completions { shell } => i32::from(generate::completions(*shell)),
        Task::Copy(flags) => match flags.check() {
            Ok(()) => i32::from(run::copy(flags, leave)),
            Err(text) => refused("copy", text),
        },
        Task::Run(flags) => match flags.check() {
            Ok(()) => supervise::run(flags, leave),
            Err(text) => refused("run", text),
        },
        Task::Man { subcommand } => i32::from(generate::man(subcommand.as_deref())),
    }
}

/// The error with what the user wrote escaped: no argument may look like a message of ours.
fn on_its_line(mut error: clap::Error) -> clap::Error {
    let quoted = error.context().filter_map(|(kind, value)| {
        let ContextValue::String(text) = value else {
            return None;
        };
        Some((kind, printable(text)))
    });
    for (kind, text) in quoted.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    error
}

/// Prints help or the version on standard output, or what is wrong with the arguments on standard error. The exit code.
fn complain(error: &clap::Error) -> i32 {
    if !error.use_stderr() {
        return i32::from(generate::printed(error.print()));
    }
    let text = error.render();
    if diagnostics::has_colours() {
        diagnostics::print(&text.ansi().to_string());
    } else {
        diagnostics::print(&text.to_string());
    }
    let subcommand = std::env::args_os().nth(1);
    if subcommand.is_some_and(|name| name == "run") {
        // 2 may be the code of the command that it runs.
        supervise::OURS
    } else {
        error.exit_code()
    }
}
