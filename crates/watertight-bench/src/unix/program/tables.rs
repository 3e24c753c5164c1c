//! The tables: for each flow what everybody reached and used, and then what became of musts and aims.

use super::flows::{Flow, Tool};
use super::judged::{Judgement, ours_to};
use super::rows::{Row, find};
use crate::platform::stats::Spread;
use std::fmt::Write;

const MIB: f64 = 1_048_576.0;

/// A table for each flow.
pub(super) fn flows(rows: &[Row]) -> String {
    let mut text = String::new();
    for flow in Flow::ALL {
        let of_flow: Vec<&Row> = rows.iter().filter(|row| row.flow == flow).collect();
        if let Some(first) = of_flow.first() {
            table(
                &mut text,
                flow,
                first.mib,
                &of_flow,
                find(rows, flow, Tool::Ours),
            );
        }
    }
    text
}

fn table(text: &mut String, flow: Flow, mib: u64, rows: &[&Row], ours: Option<&Row>) {
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    add(format!("**{}**, {mib} MiB\n", flow.title()));
    add("| with | GB/s | min | max | watertight copy is × as fast | min | max | relay CPU ms per GB | most memory, MiB | calls per MiB | pipe behind it, KiB |".into());
    add(format!("| --- |{}", " ---: |".repeat(10)));
    for row in rows {
        let to_it = ours.and_then(|ours| ours_to(row, ours));
        let cpu = Spread::of(row.cpu_per_gb()).map(|cpu| cpu.median * 1e3);
        let memory = row.resident_bytes_max().map(|bytes| bytes as f64 / MIB);
        let capacity = row.capacity().map(|bytes| bytes as f64 / 1024.0);
        let cells = [
            spread(Spread::of(row.rates())),
            spread(to_it),
            figure(cpu, 0),
            figure(memory, 1),
            figure(row.calls, 2),
            figure(capacity, 0),
        ];
        add(format!("| {} |{}", row.tool.name(), cells.concat()));
    }
    add(String::new());
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || " - | - | - |".to_owned(),
        |Spread { median, min, max }| format!(" {median:.2} | {min:.2} | {max:.2} |"),
    )
}

fn figure(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(
        || " - |".to_owned(),
        |figure| format!(" {figure:.decimals$} |"),
    )
}

/// A list under a heading.
pub(super) fn judgements(heading: &str, judgements: &[Judgement]) -> String {
    let lines = judgements.iter().map(|one| format!("- {}\n", one.line()));
    format!("### {heading}\n\n{}\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::relay::Taken;
    use super::*;

    #[test]
    fn a_line_has_every_figure() {
        let row = |tool, seconds, capacity, calls| Row {
            flow: Flow::PipeToPipe,
            tool,
            mib: 1024,
            taken: vec![Taken {
                seconds,
                cpu_seconds: Some(0.536_870_912),
                resident_bytes_max: Some(3 << 20),
                capacity,
            }],
            calls,
        };
        let rows = [
            row(Tool::Ours, 0.536_870_912, Some(65_536), Some(16.0)),
            row(Tool::Cat, 1.073_741_824, None, None),
        ];
        let text = flows(&rows);
        assert!(text.contains("**Pipe to pipe**, 1024 MiB\n"), "{text}");
        let ours = "| watertight copy | 2.00 | 2.00 | 2.00 | 1.00 | 1.00 | 1.00 | 500 | 3.0 | 16.00 | 64 |\n";
        assert!(text.contains(ours), "{text}");
        let cat = "| cat | 1.00 | 1.00 | 1.00 | 2.00 | 2.00 | 2.00 | 500 | 3.0 | - | - |\n";
        assert!(text.contains(cat), "{text}");
    }

    #[test]
    fn a_judgement_is_a_point_of_a_list() {
        let missed = Judgement {
            text: "an empty copy".into(),
            is_met: false,
        };
        let text = judgements("Musts", &[missed]);
        assert_eq!(text, "### Musts\n\n- missed: an empty copy\n\n");
    }
}
