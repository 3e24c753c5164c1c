//! The library's own way into a child and back, beside std with a thread and tokio::process: the samples are those of `children`,
//! with fewer MiB.

use super::rows::gigabytes;
use crate::platform::children::{Starter, seconds_through};
use crate::platform::stats::{Spread, ratios};
use std::fmt::Write;

const MIB: u64 = 256;
const WITH: [Starter; 4] = [Starter::Wait, Starter::Await, Starter::Std, Starter::Tokio];

/// How many seconds each took in each round.
#[derive(Default)]
pub(super) struct Through {
    rows: Vec<(Starter, Vec<f64>)>,
}

impl Through {
    /// Measures so many rounds, everybody in turn.
    pub(super) fn measure(rounds: u32) -> Result<Self, String> {
        let mut rows = Vec::from(WITH.map(|with| (with, Vec::new())));
        for round in 0..rounds {
            // Everybody is first in turn.
            let first = round as usize % rows.len();
            rows.rotate_left(first);
            for (with, seconds) in &mut rows {
                seconds.push(seconds_through(*with, MIB)?);
            }
            rows.rotate_right(first);
        }
        Ok(Self { rows })
    }

    fn best_peer(&self) -> Option<&(Starter, Vec<f64>)> {
        let peers = self.rows.iter().filter(|(with, _)| !with.is_ours());
        let timed = peers.filter_map(|row| Some((Spread::of(row.1.clone())?.median, row)));
        let best = timed.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        Some(best.1)
    }

    /// How many times as fast as the best peer each of ours is: ours, the peer, and the ratios.
    pub(super) fn to_best(&self) -> Vec<(Starter, Starter, Spread)> {
        let Some((best, best_seconds)) = self.best_peer() else {
            return Vec::new();
        };
        let ours = self.rows.iter().filter(|(with, _)| with.is_ours());
        let ratios = ours.filter_map(|(with, seconds)| {
            let spread = Spread::of(ratios(best_seconds, seconds))?;
            Some((*with, *best, spread))
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
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_compared_with_the_best_peer() {
        let through = Through {
            rows: vec![
                (Starter::Wait, vec![1.0, 1.0, 1.0]),
                (Starter::Std, vec![1.3, 1.3, 1.3]),
                (Starter::Tokio, vec![9.0, 1.0, 9.0]),
            ],
        };
        let ours = through.to_best();
        let [(with, best, spread)] = ours[..] else {
            panic!("only one is ours");
        };
        assert_eq!((with, best), (Starter::Wait, Starter::Std));
        assert_eq!(spread.median, 1.3);
        let text = through.to_markdown();
        assert!(text.contains("| std | 0.21 | 0.21 | 0.21 |\n"), "{text}");
        assert!(Through::default().to_best().is_empty());
    }
}
