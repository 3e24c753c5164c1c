//! The program, side by side with the tools that do the same: from files and pipes to files and pipes, from one to three, with a
//! hash, into a child and back. Each sample is a pipeline of processes, and the relay in its middle is looked at.
//!
//! Counts, memory, and the relay's processor time beside a raw loop's of the same round are musts. Other times, and what is said beside a
//! raw loop that can be stopped, are aims, printed and never a failure.

mod flows;
mod judged;
mod place;
mod qprocess;
mod raw;
mod relay;
mod rows;
mod stages;
mod tables;
mod through;

use super::options::Program;
use super::stats::Spread;
use super::tools::Counter;
use super::{ROUNDS_EXPECTED, document, machine};
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
    let sampled = Sampled::take(&place, rows, options.rounds, Scope::Musts)?;
    let musts = judged::musts(&sampled.rows, &sampled.started);
    print!(
        "{}{}{}",
        tables::judgements("Musts", &musts),
        skipped(&sampled),
        in_memory(&place)
    );
    Ok(musts)
}

fn measure(options: &Program) -> Result<Vec<Judgement>, String> {
    if options.rounds < ROUNDS_EXPECTED {
        eprintln!("watertight-bench: fewer than {ROUNDS_EXPECTED} rounds are not to be reported");
    }
    let (cores, load_before) = (machine::cores()?, machine::load_average());
    let place = Place::make(options.folder.as_deref(), MEASURED.file_mib)?;
    let rows = rows::rows(&place, MEASURED, |_| true);
    let sampled = Sampled::take(&place, rows, options.rounds, Scope::Everything)?;
    let through = Through::measure(place.folder(), options.rounds)?;
    let Sampled { rows, started, .. } = &sampled;
    let musts = judged::musts(rows, started);
    let tables = format!(
        "{}{}### By flow\n\n{}{}{}{}{}{} rounds of {:.0} s; {}; {}; {cores} cores; {} profile; load average {load_before} before.\n",
        tables::judgements("Musts", &musts),
        tables::judgements("Aims", &judged::aims(rows, &through)),
        tables::flows(rows),
        through.to_markdown(),
        skipped(&sampled),
        in_memory(&place),
        absent(&place, &sampled.left_out),
        options.rounds,
        sampled.round_seconds.map_or(0.0, |seconds| seconds.median),
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

/// What was measured.
struct Sampled {
    /// With their samples and counts.
    rows: Vec<Row>,
    /// Who failed, and why.
    left_out: Vec<String>,
    /// What empty copies start.
    started: Vec<(Flow, Started)>,
    /// How long one round of all samples took.
    round_seconds: Option<Spread>,
    /// Who counted calls, or why nobody did.
    counter: Result<Counter, String>,
}

impl Sampled {
    fn take(place: &Place, rows: Vec<Row>, rounds: u32, scope: Scope) -> Result<Self, String> {
        eprintln!("watertight-bench: trying {} contenders", rows.len());
        let (mut rows, left_out) = rows::try_all(place, rows)?;
        let round_seconds = rows::measure(place, &mut rows, rounds)?;
        if place.counter().is_ok() {
            rows::count_calls(place, &mut rows, scope)?;
        }
        let mut started = Vec::new();
        for flow in EMPTY_COPIES {
            let count = match place.counter() {
                Ok(_) => Ok(rows::threads_of_empty_copy(place, flow)?),
                Err(reason) => Err(reason),
            };
            started.push((flow, count));
        }
        Ok(Self {
            rows,
            left_out,
            started,
            round_seconds,
            counter: place.counter(),
        })
    }
}

/// Who counted, and what was not counted or not seen, and why.
fn skipped(sampled: &Sampled) -> String {
    let mut text = match &sampled.counter {
        Ok(counter) => format!("Calls and threads are counted by {}.\n\n", counter.name()),
        Err(reason) => format!("Skipped: calls and threads: {reason}.\n\n"),
    };
    for unseen in judged::unseen(&sampled.rows) {
        text += &format!(
            "Skipped: the memory of {unseen}: it was over too soon, or the system does not tell.\n\n"
        );
    }
    text
}

/// Where the file in memory was.
fn in_memory(place: &Place) -> String {
    let text = if place.has_memory() {
        "The file in memory was on a memory file system."
    } else {
        "Skipped: a memory file system: there is none with room enough. The file in memory was in the folder of the others."
    };
    format!("{text}\n\n")
}

/// Who is not there, and why.
fn absent(place: &Place, left_out: &[String]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for tool in Flow::ALL.into_iter().flat_map(Flow::tools) {
        let name = tool.program_name().unwrap_or_else(|| tool.name());
        if place.program(tool).is_none() && !names.contains(&name) {
            names.push(name);
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
