//! The library's own way into a child and back, beside std with a thread, tokio::process, and QProcess where Qt is: the samples
//! are those of `children`, with fewer MiB, and one more.

use super::qprocess::QProcess;
use super::rows::gigabytes;
use crate::platform::children::{Starter, find, seconds_through};
use crate::platform::stats::{Spread, ratios};
use crate::platform::text;
use std::fmt::Write;
use std::path::Path;

const MIB: u64 = 256;
/// What QProcess is tried with before it is measured.
const TRIAL_MIB: u64 = 16;
const STARTERS: [Starter; 4] = [Starter::Wait, Starter::Await, Starter::Std, Starter::Tokio];

/// Who sends and reads.
#[derive(Debug, PartialEq)]
pub(super) enum With {
    /// One of those that `children` measures.
    Starter(Starter),
    QProcess(QProcess),
}

impl With {
    pub(super) fn name(&self) -> String {
        match self {
            With::Starter(starter) => starter.name().to_owned(),
            With::QProcess(qprocess) => qprocess.name(),
        }
    }

    fn is_ours(&self) -> bool {
        match self {
            With::Starter(starter) => starter.is_ours(),
            With::QProcess(_) => false,
        }
    }

    fn seconds(&self, cat: &Path) -> Result<f64, String> {
        match self {
            With::Starter(starter) => seconds_through(*starter, MIB),
            With::QProcess(qprocess) => {
                let seconds = qprocess.seconds(cat, MIB);
                seconds.map_err(|error| format!("{}: {error}", qprocess.name()))
            }
        }
    }
}

/// How many seconds each took in each round.
#[derive(Default)]
pub(super) struct Through {
    rows: Vec<(With, Vec<f64>)>,
    /// Why QProcess is not among them, if so.
    without_qprocess: Option<String>,
}

impl Through {
    /// Measures so many rounds, everybody in turn. What is compiled for that is put into the folder.
    pub(super) fn measure(folder: &Path, rounds: u32) -> Result<Self, String> {
        let cat = find("cat").map_err(text)?;
        let mut rows = Vec::from(STARTERS.map(|starter| (With::Starter(starter), Vec::new())));
        let without_qprocess = match tried(folder, &cat) {
            Ok(qprocess) => {
                rows.push((With::QProcess(qprocess), Vec::new()));
                None
            }
            Err(reason) => {
                eprintln!("watertight-bench: QProcess is not measured: {reason}");
                Some(reason)
            }
        };
        for round in 0..rounds {
            eprintln!(
                "watertight-bench: through a child, by the library: round {} of {rounds}",
                round + 1
            );
            // Everybody is first in turn.
            let first = round as usize % rows.len();
            rows.rotate_left(first);
            for (with, seconds) in &mut rows {
                seconds.push(with.seconds(&cat)?);
            }
            rows.rotate_right(first);
        }
        Ok(Self {
            rows,
            without_qprocess,
        })
    }

    fn best_peer(&self) -> Option<&(With, Vec<f64>)> {
        let peers = self.rows.iter().filter(|(with, _)| !with.is_ours());
        let timed = peers.filter_map(|row| Some((Spread::of(row.1.clone())?.median, row)));
        let best = timed.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        Some(best.1)
    }

    /// How many times as fast as the best peer each of ours is: ours, the peer, and the ratios.
    pub(super) fn to_best(&self) -> Vec<(&With, &With, Spread)> {
        let Some((best, best_seconds)) = self.best_peer() else {
            return Vec::new();
        };
        let ours = self.rows.iter().filter(|(with, _)| with.is_ours());
        let ratios = ours.filter_map(|(with, seconds)| {
            let spread = Spread::of(ratios(best_seconds, seconds))?;
            Some((with, best, spread))
        });
        ratios.collect()
    }

    /// A table for a document.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = String::new();
        let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
        add(format!(
            "**{MIB} MiB through a child (`cat`) and back, by the library**\n"
        ));
        add("| with | GB/s | min | max |".into());
        add("| --- | ---: | ---: | ---: |".into());
        for (with, seconds) in &self.rows {
            let rates = seconds.iter().map(|seconds| gigabytes(MIB) / seconds);
            let cells = Spread::of(rates).map_or_else(
                || " - | - | - |".to_owned(),
                |Spread { median, min, max }| format!(" {median:.2} | {min:.2} | {max:.2} |"),
            );
            add(format!("| {} |{cells}", with.name()));
        }
        add(String::new());
        if let Some(reason) = &self.without_qprocess {
            add(format!("Not measured: QProcess: {reason}.\n"));
        }
        text
    }
}

/// QProcess, once it has taken a small sample, which is not kept. The error says why it cannot be measured.
fn tried(folder: &Path, cat: &Path) -> Result<QProcess, String> {
    let qprocess = QProcess::build(folder)?;
    qprocess.seconds(cat, TRIAL_MIB)?;
    Ok(qprocess)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qprocess() -> With {
        With::QProcess(QProcess {
            sampler: "qprocess".into(),
            version: "5.15.8".into(),
        })
    }

    #[test]
    fn ours_are_compared_with_the_best_peer() {
        let through = Through {
            rows: vec![
                (With::Starter(Starter::Wait), vec![1.0, 1.0, 1.0]),
                (With::Starter(Starter::Std), vec![1.3, 1.3, 1.3]),
                (With::Starter(Starter::Tokio), vec![9.0, 1.0, 9.0]),
                (qprocess(), vec![2.0, 2.0, 2.0]),
            ],
            without_qprocess: None,
        };
        let ours = through.to_best();
        let [(with, best, spread)] = ours[..] else {
            panic!("only one is ours");
        };
        assert_eq!(*with, With::Starter(Starter::Wait));
        assert_eq!(*best, With::Starter(Starter::Std));
        assert_eq!(spread.median, 1.3);
        let text = through.to_markdown();
        assert!(text.contains("| std | 0.21 | 0.21 | 0.21 |\n"), "{text}");
        let line = "| QProcess (Qt 5.15.8) | 0.13 | 0.13 | 0.13 |\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("Not measured"), "{text}");
        assert!(Through::default().to_best().is_empty());
    }

    #[test]
    fn qprocess_can_be_the_best_peer() {
        let through = Through {
            rows: vec![
                (qprocess(), vec![1.2, 1.2, 1.2]),
                (With::Starter(Starter::Await), vec![1.0, 1.0, 1.0]),
                (With::Starter(Starter::Std), vec![1.3, 1.3, 1.3]),
            ],
            without_qprocess: None,
        };
        let ours = through.to_best();
        let [(with, best, spread)] = ours[..] else {
            panic!("only one is ours");
        };
        assert_eq!(*with, With::Starter(Starter::Await));
        assert_eq!(*best, qprocess());
        assert_eq!(spread.median, 1.2);
    }

    #[test]
    fn without_qprocess_the_table_says_why() {
        let through = Through {
            rows: vec![(With::Starter(Starter::Std), vec![1.3])],
            without_qprocess: Some("there is no Qt".into()),
        };
        let text = through.to_markdown();
        let end = "| std | 0.21 | 0.21 | 0.21 |\n\nNot measured: QProcess: there is no Qt.\n\n";
        assert!(text.ends_with(end), "{text}");
    }
}
