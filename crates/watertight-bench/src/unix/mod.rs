//! One run: every cell is calibrated, then measured once a round in rotating order, then reported.
//!
//! Machines are noisy: a contender is compared with the raw loop of the same round only, and never by a single sample.

mod cell;
mod children;
mod counts;
mod document;
mod ends;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux.rs"]
mod kernel;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "other.rs"]
mod kernel;
mod machine;
mod options;
mod peer;
mod picture;
mod probe;
mod program;
mod report;
mod rest;
mod sample;
mod stats;
mod tasks;
mod times;
mod tools;
mod totals;

use cell::Cell;
use clap::Parser;
use machine::Meter;
use options::{Format, Library, Options, What};
use report::{Report, Row};
use sample::Sample;
use std::process::ExitCode;

/// With fewer rounds a median says little.
const ROUNDS_EXPECTED: u32 = 5;

pub(crate) fn run() -> ExitCode {
    let options = Options::parse();
    let done = match &options.what {
        Some(What::Probe(probe)) => probe::run(*probe),
        Some(What::Library(library)) => measure_library(library),
        Some(What::Children(options)) => children::run(options),
        Some(What::ChildProbe(probe)) => children::run_probe(*probe),
        Some(What::Program(options)) => program::run(options),
        Some(What::ProgramProbe(probe)) => program::run_probe(probe),
        None => measure(&options).map(|report| print!("{}", report.to_text(options.format()))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("watertight-bench: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Counts what operations cost, and pipes at rest, then times operations. With `check` only what has a must is counted, and one
/// that is missed is a failure.
fn measure_library(options: &Library) -> Result<(), String> {
    let (tools, tasks) = (tools::Tools::find()?, tasks::tasks());
    let scope = if options.check {
        counts::Scope::Musts
    } else {
        counts::Scope::Everything
    };
    let lines = counts::measure(&tools, &tasks, scope)?;
    let at_rest = rest::measure(&tools)?;
    let mut tables = format!(
        "### Counts per operation\n\n{}### At rest\n\n{}",
        counts::to_markdown(&tasks, &lines),
        rest::to_markdown(&at_rest),
    );
    if !options.check {
        tables += &time_library(options, &tools, &tasks, &tables)?;
    }
    print!("{tables}");
    let mut missed = counts::missed(&tasks, &lines);
    missed.extend(rest::missed(&at_rest));
    for must in &missed {
        eprintln!("watertight-bench: missed: {must}");
    }
    if options.check && !missed.is_empty() {
        return Err(format!("musts missed: {}", missed.len()));
    }
    Ok(())
}

/// The tables of times. They go into the document, behind the counts and the pipes at rest, if there is one.
fn time_library(
    options: &Library,
    tools: &tools::Tools,
    tasks: &[tasks::Task],
    counts: &str,
) -> Result<String, String> {
    let (cores, load_before) = (machine::cores()?, machine::load_average());
    let rows = times::measure(tools, tasks, cores, options.rounds)?;
    let document = options.document.as_deref();
    let picture_name = |section| Some(document::picture_name(document?, section));
    let tables = format!(
        "### Times per operation\n\n{}{} rounds; {}; {}; {cores} cores; {} profile; load average {load_before} before.\n",
        times::to_markdown(tasks, &rows, picture_name),
        options.rounds,
        machine::system(),
        machine::processor(),
        machine::PROFILE,
    );
    if let Some(document) = document {
        let picture = |section| picture::to_svg(section, tasks, &rows);
        document::replace(document, document::LIBRARY, &format!("{counts}{tables}"))?;
        document::draw(document, picture)?;
    }
    Ok(tables)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn measure(options: &Options) -> Result<Report, String> {
    let cells = cell::chosen(options);
    if cells.is_empty() {
        return Err("no such contender in the chosen workloads".into());
    }
    if options.rounds < ROUNDS_EXPECTED {
        eprintln!("watertight-bench: fewer than {ROUNDS_EXPECTED} rounds are not to be reported");
    }
    // Its thread starts with the first pipe: before this one is kept on a core, which the new thread would inherit.
    drop(watertight::pipe().map_err(|error| error.to_string())?);
    let cores = machine::cores()?;
    let placement = options.placement;
    let load_before = machine::load_average();
    let mut rows = Vec::new();
    for cell in cells {
        let messages = calibrate(cell, options)?;
        rows.push(Row {
            cell,
            messages,
            samples: Vec::new(),
        });
    }
    let meter = Meter::start(cores);
    for round in 0..options.rounds {
        eprintln!(
            "watertight-bench: round {} of {}",
            round + 1,
            options.rounds
        );
        for group in rows.chunk_by_mut(|a, b| a.cell.is_compared_with(b.cell)) {
            // Whoever comes first finds another machine than whoever comes last: everybody is first in turn.
            let first = round as usize % group.len();
            group.rotate_left(first);
            for row in &mut *group {
                let sample = sample::take(row.cell, row.messages, placement)?;
                row.samples.push(sample);
            }
            group.rotate_right(first);
        }
    }
    Ok(Report {
        rows,
        rounds: options.rounds,
        placement,
        cores,
        load_before,
        load_after: machine::load_average(),
        others: meter.others(),
    })
}

/// How many messages a sample of this cell has. Its samples also warm the caches, the allocator and the threads.
fn calibrate(cell: Cell, options: &Options) -> Result<u64, String> {
    /// What a rate is believed from.
    const SECONDS_MIN: f64 = 0.05;
    /// So many times a trial may grow fourfold: from a MiB to a TiB.
    const TRIALS_MAX: u32 = 10;

    let mut messages = cell.messages_in(1 << 20);
    if let Some(bytes) = options.bytes {
        let messages_all = cell.messages_in(bytes);
        sample::take(cell, messages.min(messages_all), options.placement)?;
        return Ok(messages_all);
    }
    for _ in 0..TRIALS_MAX {
        let Sample { elapsed, .. } = sample::take(cell, messages, options.placement)?;
        let seconds = elapsed.as_secs_f64();
        if seconds >= SECONDS_MIN.min(options.seconds_per_sample) {
            let wanted = messages as f64 / seconds * options.seconds_per_sample;
            return Ok((wanted as u64).max(1));
        }
        messages *= 4;
    }
    Err(format!("{} is too fast to be measured", cell.writer_name()))
}

/// What the options ask for, for the report's sake.
impl Options {
    fn format(&self) -> Format {
        match (self.json, self.markdown) {
            (true, _) => Format::Json,
            (false, true) => Format::Markdown,
            (false, false) => Format::Plain,
        }
    }
}
