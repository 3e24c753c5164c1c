//! Times per operation of what is counted, round by round and everybody in turn, beside the raw loop of the same round.
//!
//! Times are aims: they are noise on a busy machine, and never a failure.

use super::counts::{TASKS, Task, Tools};
use super::probe::{Deed, Probe, With};
use super::stats::{Spread, ratios};
use clap::ValueEnum;
use std::fmt::Write;

/// Where probe and other end run.
const PLACES: [Option<usize>; 2] = [None, Some(0)];

/// The times of one contender at one deed in one place, in seconds per operation, one for each round.
pub(super) struct Row {
    deed: Deed,
    with: With,
    core: Option<usize>,
    seconds: Vec<f64>,
}

/// So many operations take some tenths of a second.
fn times(deed: Deed) -> u64 {
    match deed {
        Deed::BulkRead | Deed::BulkWrite => 400,
        Deed::Cycle => 10_000,
        Deed::LonePipe | Deed::LoneSocket => 200_000,
        Deed::RoundTrip => 10_000,
    }
}

/// Measures so many rounds.
pub(super) fn measure(tools: &Tools, rounds: u32) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for task in &TASKS {
        for core in PLACES {
            rows.extend(With::value_variants().iter().map(|&with| Row {
                deed: task.deed,
                with,
                core,
                seconds: Vec::new(),
            }));
        }
    }
    for round in 0..rounds {
        eprintln!("watertight-bench: round {} of {rounds}", round + 1);
        for group in rows.chunk_by_mut(|a, b| (a.deed, a.core) == (b.deed, b.core)) {
            // Whoever comes first finds another machine than whoever comes last: everybody is first in turn.
            let first = round as usize % group.len();
            group.rotate_left(first);
            for row in &mut *group {
                let probe = Probe {
                    deed: row.deed,
                    with: row.with,
                    times: times(row.deed),
                    core: row.core,
                    timed: true,
                };
                row.seconds.push(tools.time(probe)? / probe.times as f64);
            }
            group.rotate_right(first);
        }
    }
    Ok(rows)
}

/// What a contender's operation takes, in raw's.
fn to_raw(row: &Row, rows: &[Row]) -> Option<Spread> {
    let is_raw =
        |other: &&Row| (other.deed, other.core, other.with) == (row.deed, row.core, With::Raw);
    let raw = rows.iter().find(is_raw)?;
    Spread::of(ratios(&row.seconds, &raw.seconds))
}

/// The tables, for a document.
pub(super) fn to_markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    for task in &TASKS {
        table(&mut text, task, rows);
    }
    text
}

fn table(text: &mut String, task: &Task, rows: &[Row]) {
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    add(format!("**{}**, per {}\n", task.title, task.unit));
    add("| with | µs | × raw | min | max | one CPU: µs | × raw | min | max |".into());
    add("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |".into());
    for &with in With::value_variants() {
        let mut line = format!("| {} |", with.name());
        for core in PLACES {
            let is_it = |row: &&Row| (row.deed, row.with, row.core) == (task.deed, with, core);
            let row = rows.iter().find(is_it);
            let spread = row.and_then(|row| Spread::of(row.seconds.clone()));
            let ratio = row.and_then(|row| to_raw(row, rows));
            match (spread, ratio) {
                (Some(time), Some(ratio)) => {
                    let Spread { median, min, max } = ratio;
                    let micros = time.median * 1e6;
                    write!(line, " {micros:.2} | {median:.2} | {min:.2} | {max:.2} |")
                }
                _ => write!(line, " - | - | - | - |"),
            }
            .expect("a string takes everything");
        }
        add(line);
    }
    add(String::new());
}

/// A picture: what an operation takes in raw's, one bar for each contender, shorter is better.
pub(super) fn to_svg(rows: &[Row]) -> String {
    const LABEL: usize = 250;
    /// One raw operation.
    const UNIT: f64 = 110.0;
    /// A longer bar is cut, and says so by its figure.
    const RATIO_MAX: f64 = 4.5;
    const STEP: usize = 18;
    let mut body = String::new();
    let mut y = 10;
    let mut add = |line: String| writeln!(body, "{line}").expect("a string takes everything");
    for task in &TASKS {
        y += STEP + 6;
        add(format!(
            r#"<text x="8" y="{y}" font-weight="bold">{}, per {}</text>"#,
            task.title, task.unit
        ));
        for &with in With::value_variants() {
            let is_it = |row: &&Row| (row.deed, row.with, row.core) == (task.deed, with, None);
            let row = rows.iter().find(is_it);
            let Some(ratio) = row.and_then(|row| to_raw(row, rows)) else {
                continue;
            };
            y += STEP;
            let width = ratio.median.min(RATIO_MAX) * UNIT;
            let color = match with {
                With::Raw => "#999999",
                With::Tokio => "#c58f3d",
                With::Wait | With::Await => "#2f6f9f",
            };
            add(format!(
                r#"<text x="24" y="{y}">{}</text><rect x="{LABEL}" y="{}" width="{width:.0}" height="12" fill="{color}"/><text x="{:.0}" y="{y}">{:.2}</text>"#,
                with.name(),
                y - 11,
                LABEL as f64 + width + 6.0,
                ratio.median
            ));
        }
    }
    let height = y + 20;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"820\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\">Time per operation, raw = 1, threads where the system puts them; shorter is better</text>\n{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(with: With, core: Option<usize>, seconds: [f64; 3]) -> Row {
        Row {
            deed: Deed::RoundTrip,
            with,
            core,
            seconds: seconds.to_vec(),
        }
    }

    #[test]
    fn each_round_is_compared_with_the_raw_loop_of_its_own_round_and_place() {
        let rows = [
            row(With::Raw, None, [1e-6, 2e-6, 4e-6]),
            row(With::Wait, None, [2e-6, 4e-6, 12e-6]),
            row(With::Raw, Some(0), [1e-6; 3]),
            row(With::Wait, Some(0), [5e-6; 3]),
        ];
        let text = to_markdown(&rows);
        let line = text.lines().find(|line| line.contains(".wait()")).unwrap();
        assert_eq!(
            line,
            "| watertight, .wait() | 4.00 | 2.00 | 2.00 | 3.00 | 5.00 | 5.00 | 5.00 | 5.00 |"
        );
        assert!(to_svg(&rows).contains(r#"width="220""#));
    }
}
