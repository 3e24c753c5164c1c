//! The program, side by side with the tools that do the same: from files and pipes to files and pipes, from one to three, with a
//! hash, into a child and back. Each sample is a pipeline of processes, and the relay in its middle is looked at.
//!
//! Counts, memory, and the relay's processor time beside a raw splice loop's of the same round are musts. Other times are aims,
//! printed and never a failure.

mod flows;
mod judged;
mod place;
mod qprocess;
mod relay;
mod rows;
mod stages;
mod tables;
mod through;

use super::options::Program;
use super::{document, machine};
use flows::Flow;
use judged::{Judgement, Started};
use place::Place;
use rows::{Amount, Row, Scope};
use through::Through;

pub(super) use stages::{ProgramProbe, run_probe};

const MEASURED: Amount = Amount {
    file_mib: 512,
    pipe_mib: 1024,
};
const CHECKED: Amount = Amount {
    file_mib: 256,
    pipe_mib: 256,
};
/// Where an empty copy must start no thread.
const EMPTY_COPIES: [Flow; 2] = [Flow::FileToFile, Flow::PipeToPipe];
/// What cannot be measured by this program, and why.
const NOT_MEASURED: &str = "Not measured: a producer with vmsplice, a call that is unsafe, which this program forbids itself.";

/// Measures, or only checks the musts.
pub(super) fn run(options: &Program) -> Result<(), String> {
    let musts = if options.check {
        check(options)?
    } else {
        measure(options)?
    };
    let missed: Vec<&Judgement> = musts.iter().filter(|must| !must.is_met).collect();
    for must in &missed {
        eprintln!("watertight-bench: {}", must.line());
    }
    if options.check && !missed.is_empty() {
        return Err(format!("musts missed: {}", missed.len()));
    }
    Ok(())
}

fn check(options: &Program) -> Result<Vec<Judgement>, String> {
    let place = Place::make(options.folder.as_deref(), CHECKED.file_mib)?;
    let rows = rows::rows(&place, CHECKED, judged::is_in_a_must);
    let (rows, _, started) = sampled(&place, rows, options.rounds, Scope::Musts)?;
    let musts = judged::musts(&rows, &started);
    print!(
        "{}{}",
        tables::judgements("Musts", &musts),
        skipped(&started)
    );
    Ok(musts)
}

fn measure(options: &Program) -> Result<Vec<Judgement>, String> {
    let (cores, load_before) = (machine::cores()?, machine::load_average());
    let place = Place::make(options.folder.as_deref(), MEASURED.file_mib)?;
    let rows = rows::rows(&place, MEASURED, |_| true);
    let (rows, left_out, started) = sampled(&place, rows, options.rounds, Scope::Everything)?;
    eprintln!("watertight-bench: through a child, by the library");
    let through = Through::measure(place.folder(), options.rounds)?;
    let musts = judged::musts(&rows, &started);
    let tables = format!(
        "{}{}### By flow\n\n{}{}{}{}{}\n\n{} rounds; {}; {}; {cores} cores; {} profile; load average {load_before} before.\n",
        tables::judgements("Musts", &musts),
        tables::judgements("Aims", &judged::aims(&rows, &through)),
        tables::flows(&rows),
        through.to_markdown(),
        skipped(&started),
        absent(&place, &left_out),
        NOT_MEASURED,
        options.rounds,
        machine::system(),
        machine::processor(),
        machine::PROFILE,
    );
    if let Some(path) = &options.document {
        document::replace(path, document::PROGRAM, &tables)?;
    }
    print!("{tables}");
    Ok(musts)
}

/// The rows with their samples and counts, who was left out and why, and what empty copies start.
type Sampled = (Vec<Row>, Vec<String>, Vec<(Flow, Started)>);

fn sampled(place: &Place, rows: Vec<Row>, rounds: u32, scope: Scope) -> Result<Sampled, String> {
    eprintln!("watertight-bench: trying {} contenders", rows.len());
    let (mut rows, left_out) = rows::try_all(place, rows)?;
    rows::measure(place, &mut rows, rounds)?;
    if place.strace().is_ok() {
        rows::count_calls(place, &mut rows, scope)?;
    }
    let mut started = Vec::new();
    for flow in EMPTY_COPIES {
        let count = match place.strace() {
            Ok(_) => Ok(rows::threads_of_empty_copy(place, flow)?),
            Err(reason) => Err(reason),
        };
        started.push((flow, count));
    }
    Ok((rows, left_out, started))
}

/// What was not counted, and why.
fn skipped(started: &[(Flow, Started)]) -> String {
    let reason = started
        .iter()
        .find_map(|(_, started)| started.as_ref().err());
    reason.map_or_else(String::new, |reason| {
        format!("Skipped: calls and threads are counted by strace: {reason}.\n\n")
    })
}

/// Who is not there, and why.
fn absent(place: &Place, left_out: &[String]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for tool in Flow::ALL.into_iter().flat_map(Flow::tools) {
        if place.program(*tool).is_none() && !names.contains(&tool.name()) {
            names.push(tool.name());
        }
    }
    let mut text = String::new();
    if !names.is_empty() {
        text += &format!("Not here: {}.\n\n", names.join(", "));
    }
    for reason in left_out {
        text += &format!("Left out, since it failed: {}.\n\n", reason.trim());
    }
    text
}
