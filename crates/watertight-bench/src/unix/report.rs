//! The figures, for people, for documents, and for programs.

use super::cell::{Cell, Workload};
use super::machine;
use super::options::{Format, Placement};
use super::sample::Sample;
use super::stats::{Spread, ratios};
use serde_json::{Value, json};
use std::fmt::Write;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// How the lines of a table are read. Printed below it.
const LEGEND: &str = "Rates are medians of the rounds, with minimum and maximum. \u{d7} raw: the median of the rounds' \
ratios to the raw loop with the raw reader, each within its own round, with minimum and maximum. CPU: median, of the whole \
process, user and system, the reader's included. Reader: raw is a blocking loop of 64 KiB reads, own is the contender's \
type asking for as much; always a thread of its own. Pipes have the system's default capacity.";

/// Everything that was measured of one cell.
pub(super) struct Row {
    pub(super) cell: Cell,
    pub(super) messages: u64,
    pub(super) samples: Vec<Sample>,
}

impl Row {
    /// What each round's sample came to, in the workload's unit.
    fn rates(&self) -> Vec<f64> {
        let work = |sample: &Sample| match self.cell.workload {
            Workload::Bulk => sample.bytes as f64 / MIB,
            Workload::Small => sample.messages as f64 / 1000.0,
        };
        self.samples
            .iter()
            .map(|sample| work(sample) / sample.elapsed.as_secs_f64())
            .collect()
    }

    /// What each round's sample cost, in the workload's unit.
    fn costs(&self) -> Vec<f64> {
        let cost = |sample: &Sample| match self.cell.workload {
            Workload::Bulk => sample.cpu.as_secs_f64() / (sample.bytes as f64 / GIB),
            Workload::Small => sample.cpu.as_secs_f64() * 1e6 / sample.messages as f64,
        };
        self.samples.iter().map(cost).collect()
    }
}

fn rate_unit(workload: Workload) -> &'static str {
    match workload {
        Workload::Bulk => "MiB/s",
        Workload::Small => "1000 messages/s",
    }
}

fn cost_unit(workload: Workload) -> &'static str {
    match workload {
        Workload::Bulk => "CPU s/GiB",
        Workload::Small => "CPU \u{b5}s/message",
    }
}

/// One run.
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) rounds: u32,
    pub(super) placement: Placement,
    pub(super) cores: usize,
    pub(super) load_before: String,
    pub(super) load_after: String,
    /// What part of the machine other programs used meanwhile, in percent.
    pub(super) others: Option<f64>,
}

impl Report {
    pub(super) fn to_text(&self, format: Format) -> String {
        match format {
            Format::Json => format!("{:#}\n", self.to_json()),
            Format::Markdown => self.to_tables(markdown_table),
            Format::Plain => self.to_tables(plain_table),
        }
    }

    /// The rows, those that are compared with each other together, each group with its raw loop if that was measured.
    fn groups(&self) -> impl Iterator<Item = (&[Row], Option<&Row>)> {
        self.rows
            .chunk_by(|a, b| a.cell.is_compared_with(b.cell))
            .map(|group| (group, group.iter().find(|row| row.cell.is_baseline())))
    }

    fn to_tables(&self, table: fn(&str, &[Vec<String>]) -> String) -> String {
        let mut text = String::new();
        for (group, baseline) in self.groups() {
            text += &table(&group[0].cell.group_name(), &lines(group, baseline));
        }
        writeln!(text, "{}.\n\n{LEGEND}", self.surroundings()).expect("a string takes everything");
        text
    }

    fn surroundings(&self) -> String {
        let others = self.others.map_or_else(
            || "what other programs used is unknown".to_owned(),
            |percent| format!("other programs used {percent:.0} % of the machine meanwhile"),
        );
        format!(
            "{} rounds; {}; {}; {} cores; {} profile; {}; load average {} before, {} after; {}",
            self.rounds,
            machine::system(),
            machine::processor(),
            self.cores,
            machine::PROFILE,
            self.placement.name(),
            self.load_before,
            self.load_after,
            others,
        )
    }

    fn to_json(&self) -> Value {
        let mut rows = Vec::new();
        for (group, baseline) in self.groups() {
            rows.extend(group.iter().map(|row| row_json(row, baseline)));
        }
        json!({
            "rounds": self.rounds,
            "kernel": machine::system(),
            "processor": machine::processor(),
            "cores": self.cores,
            "profile": machine::PROFILE,
            "placement": self.placement.name(),
            "others_percent": self.others,
            "load_before": self.load_before,
            "load_after": self.load_after,
            "rows": rows,
        })
    }
}

fn row_json(row: &Row, baseline: Option<&Row>) -> Value {
    let cell = row.cell;
    json!({
        "workload": cell.workload.name(),
        "message_bytes": cell.message_bytes,
        "writer": cell.writer_name(),
        "reader": cell.reader_name(),
        "messages_per_sample": row.messages,
        "rate_unit": rate_unit(cell.workload),
        "rates": row.rates(),
        "rate": spread_json(Spread::of(row.rates())),
        "to_raw": spread_json(to_raw(row, baseline)),
        "cpu_unit": cost_unit(cell.workload),
        "cpu": spread_json(Spread::of(row.costs())),
    })
}

fn spread_json(spread: Option<Spread>) -> Option<Value> {
    spread.map(|Spread { median, min, max }| json!({ "median": median, "min": min, "max": max }))
}

fn to_raw(row: &Row, baseline: Option<&Row>) -> Option<Spread> {
    Spread::of(ratios(&row.rates(), &baseline?.rates()))
}

/// A table's heading and its lines, as text.
fn lines(group: &[Row], baseline: Option<&Row>) -> Vec<Vec<String>> {
    let workload = group[0].cell.workload;
    let heading = [
        "Writer",
        "Reader",
        rate_unit(workload),
        "min",
        "max",
        "\u{d7} raw",
        "min",
        "max",
        cost_unit(workload),
    ];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for row in group {
        let mut line = vec![
            row.cell.writer_name().to_owned(),
            row.cell.reader_name().to_owned(),
        ];
        line.extend(figures(Spread::of(row.rates()), 0));
        line.extend(figures(to_raw(row, baseline), 2));
        let cost = Spread::of(row.costs()).map_or(0.0, |spread| spread.median);
        line.push(format!("{cost:.3}"));
        lines.push(line);
    }
    lines
}

/// Median, minimum and maximum with so many decimals, or dashes.
fn figures(spread: Option<Spread>, decimals: usize) -> [String; 3] {
    match spread {
        Some(Spread { median, min, max }) => [median, min, max].map(|x| format!("{x:.decimals$}")),
        None => ["-"; 3].map(str::to_owned),
    }
}

/// The columns of words; all others are figures and stand to the right.
const WORD_COLUMNS: usize = 2;

fn markdown_table(title: &str, lines: &[Vec<String>]) -> String {
    let mut text = format!("**{title}**\n\n");
    for (index, line) in lines.iter().enumerate() {
        text += &format!("| {} |\n", line.join(" | "));
        if index == 0 {
            let rules: Vec<&str> = (0..line.len())
                .map(|column| if column < WORD_COLUMNS { "---" } else { "---:" })
                .collect();
            text += &format!("| {} |\n", rules.join(" | "));
        }
    }
    text + "\n"
}

fn plain_table(title: &str, lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = format!("{title}\n");
    for line in lines {
        for (column, (entry, &width)) in line.iter().zip(&widths).enumerate() {
            text += &if column < WORD_COLUMNS {
                format!("  {entry:<width$}")
            } else {
                format!("  {entry:>width$}")
            };
        }
        text.push('\n');
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::cell::{Contender, ReaderKind};
    use super::*;
    use std::time::Duration;

    fn row(contender: Contender, millis: [u64; 3]) -> Row {
        let cell = Cell {
            workload: Workload::Small,
            message_bytes: 64,
            contender,
            reader: ReaderKind::Raw,
        };
        let samples = millis.map(|millis| Sample {
            messages: 1000,
            bytes: 64_000,
            elapsed: Duration::from_millis(millis),
            cpu: Duration::from_millis(2 * millis),
        });
        Row {
            cell,
            messages: 1000,
            samples: samples.to_vec(),
        }
    }

    fn report() -> Report {
        Report {
            rows: vec![
                row(Contender::Raw, [10, 20, 40]),
                row(Contender::Tokio, [20, 40, 80]),
            ],
            rounds: 3,
            placement: Placement::Free,
            cores: 2,
            others: None,
            load_before: "0.00".into(),
            load_after: "0.00".into(),
        }
    }

    #[test]
    fn a_line_has_rates_ratios_and_costs() {
        let report = report();
        let lines = lines(&report.rows, report.rows.first());
        assert_eq!(
            lines[1][2..],
            ["50", "25", "100", "1.00", "1.00", "1.00", "40.000"]
        );
        assert_eq!(
            lines[2][2..],
            ["25", "12", "50", "0.50", "0.50", "0.50", "80.000"]
        );
    }

    #[test]
    fn without_a_raw_loop_there_are_no_ratios() {
        let mut report = report();
        report.rows.remove(0);
        let lines = lines(&report.rows, None);
        assert_eq!(lines[1][5..8], ["-", "-", "-"]);
        assert!(report.to_json()["rows"][0]["to_raw"].is_null());
    }

    #[test]
    fn markdown_has_a_rule_below_the_heading() {
        let text = report().to_text(Format::Markdown);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "**W2 small, messages of 64 bytes**");
        assert!(lines[2].starts_with("| Writer | Reader | 1000 messages/s |"));
        assert_eq!(
            lines[3],
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        );
        assert!(lines[4].starts_with("| raw | raw | 50 | 25 | 100 | 1.00 |"));
    }

    #[test]
    fn json_has_every_sample() {
        let json = report().to_json();
        assert_eq!(json["rows"][1]["to_raw"]["median"], 0.5);
        assert_eq!(json["rows"][1]["rates"], json!([50.0, 25.0, 12.5]));
    }
}
