//! Times per operation of what is counted, round by round and everybody in turn, beside the raw loop of the same round.
//!
//! Times are aims: they are noise on a busy machine, and never a failure.

use super::options::Placement;
use super::probe::{Probe, With};
use super::stats::{Spread, ratios};
use super::tasks::{Section, Task};
use super::tools::Tools;
use std::fmt::Write;

/// How long a sample takes, about: how often it does its deed follows from a trial.
const SAMPLE_SECONDS: f64 = 0.12;
/// A sample does its deed at most so many times as often as the trial did: a trial may have been too short to be believed.
const GROWTH_MAX: f64 = 200.0;
/// The columns of a table.
const PLACES: [Placement; 3] = [Placement::Free, Placement::TwoCores, Placement::OneCore];

/// The times of one contender at one task in one place, in seconds per operation, one for each round.
pub(super) struct Row {
    /// The number of its task.
    task: usize,
    with: With,
    placement: Placement,
    times: u64,
    seconds: Vec<f64>,
}

/// All rows, those that are compared with each other side by side.
fn rows(tasks: &[Task], cores: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        let places = task.places.iter();
        // Where there is one core, there are not two of them.
        for &placement in places.filter(|place| cores > 1 || **place != Placement::TwoCores) {
            rows.extend(task.with.iter().map(|&with| Row {
                task: number,
                with,
                placement,
                times: task.times.0,
                seconds: Vec::new(),
            }));
        }
    }
    rows
}

fn probe(row: &Row, tasks: &[Task]) -> Probe {
    Probe {
        work: tasks[row.task].work,
        with: row.with,
        times: row.times,
        placement: row.placement,
        timed: true,
    }
}

/// How often a deed is done in a sample, when so many times took so many seconds.
fn calibrated(times: u64, seconds: f64) -> u64 {
    let growth = (SAMPLE_SECONDS / seconds.max(f64::MIN_POSITIVE)).min(GROWTH_MAX);
    (times as f64 * growth).round().max(1.0) as u64
}

/// Measures so many rounds.
pub(super) fn measure(
    tools: &Tools,
    tasks: &[Task],
    cores: usize,
    rounds: u32,
) -> Result<Vec<Row>, String> {
    let mut rows = rows(tasks, cores);
    eprintln!("watertight-bench: trying {} contenders", rows.len());
    for row in &mut rows {
        row.times = calibrated(row.times, tools.time(probe(row, tasks))?);
    }
    for round in 0..rounds {
        eprintln!("watertight-bench: round {} of {rounds}", round + 1);
        for group in rows.chunk_by_mut(|a, b| (a.task, a.placement) == (b.task, b.placement)) {
            // Whoever comes first finds another machine than whoever comes last: everybody is first in turn.
            let first = round as usize % group.len();
            group.rotate_left(first);
            for row in &mut *group {
                let seconds = tools.time(probe(row, tasks))?;
                row.seconds.push(seconds / row.times as f64);
            }
            group.rotate_right(first);
        }
    }
    Ok(rows)
}

/// What a contender's operation takes, in raw's.
pub(super) fn to_raw(row: &Row, rows: &[Row]) -> Option<Spread> {
    let raw = find(rows, row.task, With::Raw, row.placement)?;
    Spread::of(ratios(&row.seconds, &raw.seconds))
}

pub(super) fn find(rows: &[Row], task: usize, with: With, placement: Placement) -> Option<&Row> {
    rows.iter()
        .find(|row| (row.task, row.with, row.placement) == (task, with, placement))
}

/// The tables, for a document, with the pictures where they have names.
pub(super) fn to_markdown(
    tasks: &[Task],
    rows: &[Row],
    picture: impl Fn(Section) -> Option<String>,
) -> String {
    let mut text = String::new();
    for section in Section::ALL {
        writeln!(text, "#### {}\n", section.title()).expect("a string takes everything");
        if let Some(picture) = picture(section) {
            let title = section.title();
            writeln!(text, "![{title}: time per operation]({picture})\n")
                .expect("a string takes everything");
        }
        for (number, task) in tasks.iter().enumerate() {
            if task.section == section && !task.places.is_empty() {
                table(&mut text, number, task, rows);
            }
        }
    }
    text
}

fn table(text: &mut String, number: usize, task: &Task, rows: &[Row]) {
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    add(format!("**{}**, per {}\n", task.title, task.unit));
    let columns = ["unpinned: µs", "two CPUs: µs", "one CPU: µs"];
    let heads = columns.map(|column| format!(" {column} | × raw | min | max |"));
    add(format!("| with |{}", heads.concat()));
    add(format!("| --- |{}", " ---: |".repeat(4 * PLACES.len())));
    for &with in task.with {
        let cells = PLACES.map(|placement| cells(rows, number, with, placement));
        add(format!("| {} |{}", with.name(), cells.concat()));
    }
    add(String::new());
    if let Some(without) = task.without() {
        add(format!("{without}\n"));
    }
}

/// The median time, and the ratios to raw.
fn cells(rows: &[Row], task: usize, with: With, placement: Placement) -> String {
    let row = find(rows, task, with, placement);
    let time = row.and_then(|row| Spread::of(row.seconds.clone()));
    let ratio = row.and_then(|row| to_raw(row, rows));
    let Some((time, Spread { median, min, max })) = time.zip(ratio) else {
        return " - | - | - | - |".into();
    };
    let micros = time.median * 1e6;
    format!(" {micros:.2} | {median:.2} | {min:.2} | {max:.2} |")
}

#[cfg(test)]
pub(super) fn row(task: usize, with: With, placement: Placement, seconds: [f64; 3]) -> Row {
    Row {
        task,
        with,
        placement,
        times: 1,
        seconds: seconds.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tasks::tasks;
    use super::*;

    /// The whole command is to take less than fifteen minutes; counting takes some four of them.
    const TIMES_SECONDS_MAX: f64 = 600.0;
    /// To start a process and to make its pipes. 9,000 pipes take more, and are few samples.
    const START_SECONDS: f64 = 0.03;

    #[test]
    fn five_rounds_and_the_trials_keep_to_their_time() {
        let rows = rows(&tasks(), 2).len() as f64;
        let seconds = rows * 6.0 * (SAMPLE_SECONDS + START_SECONDS);
        assert!(seconds < TIMES_SECONDS_MAX, "{rows} rows: {seconds} s");
    }

    #[test]
    fn with_one_core_nobody_runs_on_two() {
        let rows = rows(&tasks(), 1);
        assert!(rows.iter().all(|row| row.placement != Placement::TwoCores));
        assert!(rows.iter().any(|row| row.placement == Placement::OneCore));
    }

    #[test]
    fn a_trial_says_how_often() {
        assert_eq!(calibrated(1_000, SAMPLE_SECONDS / 10.0), 10_000);
        assert_eq!(calibrated(1_000, SAMPLE_SECONDS * 10.0), 100);
        assert_eq!(calibrated(1, 1_000.0), 1);
        assert_eq!(calibrated(1_000, 0.0), 200_000);
    }

    #[test]
    fn each_round_is_compared_with_the_raw_loop_of_its_own_round_and_place() {
        let tasks = tasks();
        let number = tasks
            .iter()
            .position(|task| task.section == Section::RoundTrips)
            .unwrap();
        let rows = [
            row(number, With::Raw, Placement::Free, [1e-6, 2e-6, 4e-6]),
            row(number, With::Wait, Placement::Free, [2e-6, 4e-6, 12e-6]),
            row(number, With::Raw, Placement::OneCore, [1e-6; 3]),
            row(number, With::Wait, Placement::OneCore, [5e-6; 3]),
        ];
        let text = to_markdown(&tasks, &rows, |_| None);
        let line = text
            .lines()
            .find(|line| line.contains(", .wait() | 4.00"))
            .unwrap();
        assert_eq!(
            line,
            "| watertight, .wait() | 4.00 | 2.00 | 2.00 | 3.00 | - | - | - | - | 5.00 | 5.00 | 5.00 | 5.00 |"
        );
        assert!(!text.contains("!["));
        let text = to_markdown(&tasks, &rows, |section| Some(section.file_name().into()));
        assert!(text.contains("![W3 round trips: time per operation](w3)"));
    }
}
