//! The tables of times: for each deed what everybody reached, and how that compares with the best peer of the same rounds.

use super::rounds::{ChildRow, Taken};
use super::{ChildDeed, MIB};
use crate::platform::stats::{Spread, ratios};
use clap::ValueEnum;
use std::fmt::Write;

/// What part of the best peer's speed is aimed at.
const AIM: f64 = 0.95;

impl ChildDeed {
    fn title(self) -> &'static str {
        match self {
            ChildDeed::Start => "Starting `true` and waiting for it, one after the other",
            ChildDeed::Capture => "Capturing what `echo x` says, one after the other",
            ChildDeed::Through => "1 GiB through `cat`, written and read at once",
            ChildDeed::Crowd => "64 `cat` at once, each fed with 100 kB, their output captured",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            ChildDeed::Start | ChildDeed::Capture => "starts per second",
            ChildDeed::Through => "GB/s",
            ChildDeed::Crowd => "ms for all",
        }
    }

    /// What a sample reached, in that unit.
    fn reached(self, seconds: f64) -> f64 {
        match self {
            ChildDeed::Start | ChildDeed::Capture => self.times() as f64 / seconds,
            ChildDeed::Through => (self.times() * MIB) as f64 / 1e9 / seconds,
            ChildDeed::Crowd => seconds * 1e3,
        }
    }

    fn decimals(self) -> usize {
        match self {
            ChildDeed::Start | ChildDeed::Capture => 0,
            ChildDeed::Through => 2,
            ChildDeed::Crowd => 1,
        }
    }
}

pub(super) fn to_markdown(rows: &[ChildRow]) -> String {
    let mut text = String::new();
    for &deed in ChildDeed::value_variants() {
        let rows: Vec<&ChildRow> = rows.iter().filter(|row| row.deed == deed).collect();
        if let Some(best) = best_peer(&rows) {
            table(&mut text, deed, &rows, best);
        }
    }
    text
}

/// Of those that are not ours the one with the shortest median time.
fn best_peer<'a>(rows: &[&'a ChildRow]) -> Option<&'a ChildRow> {
    let peers = rows.iter().filter(|row| !row.with.is_ours());
    let timed = peers.filter_map(|row| Some((Spread::of(row.seconds())?.median, *row)));
    let best = timed.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(best.1)
}

/// The speed as a ratio to the best peer's: its time over this one's, round by round.
fn to_best(row: &ChildRow, best: &ChildRow) -> Option<Spread> {
    Spread::of(ratios(&best.seconds(), &row.seconds()))
}

fn table(text: &mut String, deed: ChildDeed, rows: &[&ChildRow], best: &ChildRow) {
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    let (more_heads, more_columns) = match deed {
        ChildDeed::Crowd => (" most memory, MiB | most threads |", " ---: | ---: |"),
        ChildDeed::Start | ChildDeed::Capture | ChildDeed::Through => ("", ""),
    };
    add(format!("**{}**\n", deed.title()));
    add(format!(
        "| with | {} | min | max | × best peer | min | max |{more_heads}",
        deed.unit()
    ));
    add(format!("| --- |{}{more_columns}", " ---: |".repeat(6)));
    for row in rows {
        let reached = row
            .seconds()
            .into_iter()
            .map(|seconds| deed.reached(seconds));
        let cells = [
            spread(Spread::of(reached), deed.decimals()),
            spread(to_best(row, best), 2),
        ];
        let more = match deed {
            ChildDeed::Crowd => memory_and_threads(&row.taken),
            ChildDeed::Start | ChildDeed::Capture | ChildDeed::Through => String::new(),
        };
        add(format!("| {} |{}{more}", row.with.name(), cells.concat()));
    }
    add(format!("\n{}\n", aim(rows, best)));
}

fn spread(spread: Option<Spread>, decimals: usize) -> String {
    match spread {
        Some(Spread { median, min, max }) => {
            format!(" {median:.decimals$} | {min:.decimals$} | {max:.decimals$} |")
        }
        None => " - | - | - |".into(),
    }
}

/// The most of all rounds.
fn memory_and_threads(taken: &[Taken]) -> String {
    let memory = taken.iter().filter_map(|taken| taken.resident_bytes_max);
    let threads = taken.iter().filter_map(|taken| taken.threads_max);
    let dash = || "-".to_owned();
    let memory = memory
        .max()
        .map_or_else(dash, |bytes| format!("{:.1}", bytes as f64 / MIB as f64));
    let threads = threads.max().map_or_else(dash, |count| count.to_string());
    format!(" {memory} | {threads} |")
}

/// Whether ours are where they are to be, in words.
fn aim(rows: &[&ChildRow], best: &ChildRow) -> String {
    let ours = rows.iter().filter(|row| row.with.is_ours());
    let said = ours.filter_map(|row| {
        let Spread { median, .. } = to_best(row, best)?;
        let met = if median >= AIM { "met" } else { "missed" };
        Some(format!("{met} by {} ({median:.2})", row.with.name()))
    });
    let said = said.collect::<Vec<_>>().join(", ");
    format!(
        "The best peer is {}. The aim, {AIM} of it: {said}.",
        best.with.name()
    )
}

#[cfg(test)]
mod tests {
    use super::super::Starter;
    use super::*;

    fn row(deed: ChildDeed, with: Starter, seconds: [f64; 3]) -> ChildRow {
        let taken = seconds.map(|seconds| Taken {
            seconds,
            resident_bytes_max: (seconds > 1.0).then_some(3 * MIB),
            threads_max: Some((seconds * 2.0) as u64),
        });
        let taken = taken.to_vec();
        ChildRow { deed, with, taken }
    }

    #[test]
    fn each_deed_has_its_unit() {
        assert_eq!(ChildDeed::Start.reached(0.5), 600.0);
        assert_eq!(ChildDeed::Through.reached(1.0), 1.073_741_824);
        assert_eq!(ChildDeed::Crowd.reached(0.25), 250.0);
    }

    #[test]
    fn the_best_peer_is_the_fastest_that_is_not_ours() {
        let deed = ChildDeed::Start;
        let rows = [
            row(deed, Starter::Wait, [0.5, 0.5, 0.5]),
            row(deed, Starter::Std, [9.0, 1.0, 1.5]),
            row(deed, Starter::Tokio, [2.0, 2.0, 2.0]),
        ];
        let rows: Vec<&ChildRow> = rows.iter().collect();
        assert_eq!(best_peer(&rows).unwrap().with, Starter::Std);
        assert!(best_peer(&rows[..1]).is_none());
    }

    #[test]
    fn speeds_are_compared_round_by_round() {
        let deed = ChildDeed::Start;
        let rows = [
            row(deed, Starter::Wait, [1.0, 2.0, 6.0]),
            row(deed, Starter::Std, [0.5, 2.0, 3.0]),
        ];
        let text = to_markdown(&rows);
        assert!(
            text.contains("| watertight, .wait() | 150 | 50 | 300 | 0.50 | 0.50 | 1.00 |\n"),
            "{text}"
        );
        assert!(
            text.contains("| std | 150 | 100 | 600 | 1.00 | 1.00 | 1.00 |\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "The best peer is std. The aim, 0.95 of it: missed by watertight, .wait() (0.50)."
            ),
            "{text}"
        );
    }

    #[test]
    fn many_at_once_have_memory_and_threads() {
        let deed = ChildDeed::Crowd;
        let rows = [
            row(deed, Starter::Await, [1.0, 1.5, 2.0]),
            row(deed, Starter::Duct, [0.1, 0.1, 0.1]),
        ];
        let text = to_markdown(&rows);
        assert!(text.contains(" | 3.0 | 4 |\n"), "{text}");
        assert!(
            text.contains("| duct | 100.0 | 100.0 | 100.0 | 1.00 | 1.00 | 1.00 | - | 0 |\n"),
            "{text}"
        );
    }
}
