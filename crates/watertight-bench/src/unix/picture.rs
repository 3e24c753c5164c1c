//! A picture for each section: what an operation takes in raw's, one bar for each contender, shorter is better.

use super::options::Placement;
use super::probe::With;
use super::tasks::{Section, Task};
use super::times::{Row, find, to_raw};
use std::fmt::Write;

const LABEL: usize = 250;
/// One raw operation.
const UNIT: f64 = 110.0;
/// A longer bar is cut, and says so by its figure.
const RATIO_MAX: f64 = 4.5;
const STEP: usize = 18;

pub(super) fn to_svg(section: Section, tasks: &[Task], rows: &[Row]) -> String {
    let mut body = String::new();
    let mut y = 10;
    let mut add = |line: String| writeln!(body, "{line}").expect("a string takes everything");
    let numbered = tasks.iter().enumerate();
    for (number, task) in numbered.filter(|(_, task)| task.section == section) {
        // What is not timed there has no bars, and no heading.
        if !task.places.contains(&Placement::Free) {
            continue;
        }
        y += STEP + 6;
        add(format!(
            r#"<text x="8" y="{y}" font-weight="bold">{}, per {}</text>"#,
            task.title, task.unit
        ));
        for &with in task.with {
            let row = find(rows, number, with, Placement::Free);
            let Some(ratio) = row.and_then(|row| to_raw(row, rows)) else {
                continue;
            };
            y += STEP;
            add(bar(with, ratio.median, y));
        }
    }
    let height = y + 20;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"820\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\">Time per operation, raw = 1, threads where the system puts them; shorter is better</text>\n{body}</svg>\n"
    )
}

fn bar(with: With, ratio: f64, y: usize) -> String {
    let width = ratio.min(RATIO_MAX) * UNIT;
    format!(
        r#"<text x="24" y="{y}">{}</text><rect x="{LABEL}" y="{}" width="{width:.0}" height="12" fill="{}"/><text x="{:.0}" y="{y}">{ratio:.2}</text>"#,
        with.name(),
        y - 11,
        color(with),
        LABEL as f64 + width + 6.0,
    )
}

fn color(with: With) -> &'static str {
    match with {
        With::Raw | With::StdBuffered => "#999999",
        With::Tokio | With::TokioBuffered => "#c58f3d",
        With::AsyncIo => "#7a9f4a",
        With::Interprocess => "#9a6fb0",
        With::Wait | With::WaitBytes | With::WaitSpinning | With::Await => "#2f6f9f",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tasks::tasks;
    use super::super::times::row;
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let tasks = tasks();
        let is_it = |task: &Task| task.section == Section::RoundTrips;
        let number = tasks.iter().position(is_it).unwrap();
        let rows = [
            row(number, With::Raw, Placement::Free, [1e-6; 3]),
            row(number, With::Wait, Placement::Free, [2e-6; 3]),
            row(number, With::Tokio, Placement::Free, [9e-6; 3]),
        ];
        let svg = to_svg(Section::RoundTrips, &tasks, &rows);
        assert!(svg.contains(r#"width="220""#), "{svg}");
        assert!(svg.contains(r#"width="495""#), "a long bar is cut: {svg}");
        assert!(svg.contains(">9.00</text>"), "its figure is not: {svg}");
        assert!(!to_svg(Section::Bulk, &tasks, &rows).contains("<rect x"));
    }
}
