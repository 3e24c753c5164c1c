//! The lines below the progress line, one for each of several destinations: what it has got, its rate, what waits for it, its state.
//!
//! Texts only: nothing here knows where they are shown, or looks at a clock.

use crate::progress::{CopyProgress, DestinationProgress, DestinationState};
use crate::units::{columns_of, per_second, printable, shortened, shown_bytes};
use std::time::{Duration, Instant};

/// A rate is that of so long.
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// So much of a name is shown at least.
pub(crate) const NAME_COLUMNS_MIN: usize = 8;
/// What is behind a name takes so much: ` 999.9 MB 999.9 MB/s 999.9 MB queued `.
const NUMBERS_COLUMNS: usize = 37;
/// What the states take that are all that there is to say.
const STATE_COLUMNS: usize = 6;

/// What takes a block away, from where it leaves the cursor: all from the beginning of that line on.
pub(crate) const ERASURE: &str = "\r\u{1b}[J";

/// How fast each destination gets on.
pub(crate) struct Rates(Vec<Rate>);

struct Rate {
    bytes: u64,
    at: Instant,
    measured: Option<u64>,
}

impl Rates {
    pub(crate) fn new(destinations: usize, now: Instant) -> Self {
        let rate = |_| Rate {
            bytes: 0,
            at: now,
            measured: None,
        };
        Self((0..destinations).map(rate).collect())
    }

    /// The rate of each now, in bytes a second.
    pub(crate) fn measure(&mut self, progress: &CopyProgress, now: Instant) -> Vec<u64> {
        let destinations = progress.destinations.iter();
        let rates = self.0.iter_mut().zip(destinations);
        rates
            .map(|(rate, one)| rate.measure(one.transferred, now))
            .collect()
    }
}

impl Rate {
    /// That of the last full second; before there is one, that of all the time.
    fn measure(&mut self, bytes: u64, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at);
        let rate = per_second(bytes.saturating_sub(self.bytes), since);
        if since >= MEASURED_FOR {
            self.measured = Some(rate);
            self.bytes = bytes;
            self.at = now;
        }
        self.measured.unwrap_or(rate)
    }
}

/// A line for each destination, each in so many columns and all in so many lines. What has no line is counted, if there is a line for
/// that and for one destination at least.
pub(crate) fn lines(
    destinations: &[DestinationProgress],
    rates: &[u64],
    (columns, lines_max): (usize, usize),
) -> Vec<String> {
    let shown = match lines_max {
        _ if destinations.len() <= lines_max => destinations.len(),
        0 | 1 => 0,
        _ => lines_max - 1,
    };
    let names = destinations.iter().take(shown);
    let longest = names.map(|one| columns_of(&printable(&one.address))).max();
    let name_columns = longest.unwrap_or(0).min(name_columns_max(columns));
    let shown_ones = destinations.iter().zip(rates).take(shown);
    let mut lines: Vec<String> = shown_ones
        .map(|(one, rate)| line(one, *rate, name_columns, columns))
        .collect();
    let more = destinations.len() - shown;
    if shown > 0 && more > 0 {
        lines.push(shortened(&format!("and {more} more"), columns));
    }
    lines
}

/// The name gives way before the numbers and the shorter states do.
fn name_columns_max(columns: usize) -> usize {
    let others = NUMBERS_COLUMNS + STATE_COLUMNS;
    columns.saturating_sub(others).max(NAME_COLUMNS_MIN)
}

fn line(one: &DestinationProgress, rate: u64, name_columns: usize, columns: usize) -> String {
    let name = shortened(&printable(&one.address), name_columns);
    let gap = " ".repeat(name_columns.saturating_sub(columns_of(&name)));
    let transferred = shown_bytes(one.transferred);
    let state = state(one);
    let text = if one.live {
        let rate = format!("{}/s", shown_bytes(rate));
        let waiting = shown_bytes(one.waiting());
        format!("{name}{gap} {transferred:>8} {rate:>10} {waiting:>8} queued {state}")
    } else {
        // It has no rate any more, and nothing waits for it.
        format!("{name}{gap} {transferred:>8} {state}")
    };
    shortened(text.trim_end(), columns)
}

/// The state in words. Of one that has all that there is, the numbers say enough.
fn state(one: &DestinationProgress) -> String {
    let with = |word: &str, reason: Option<String>| match reason {
        None => word.to_owned(),
        Some(reason) => format!("{word}: {}", printable(&reason)),
    };
    match one.state {
        DestinationState::Behind => "behind".to_owned(),
        DestinationState::Dropped => {
            let why = one.given_up.map(|why| why.explanation().to_owned());
            with("dropped", why)
        }
        DestinationState::Ended => "ended".to_owned(),
        DestinationState::Ending => "ending".to_owned(),
        DestinationState::Failed => with("failed", one.error.clone()),
        DestinationState::Held => "held".to_owned(),
        DestinationState::Served => String::new(),
    }
}

/// Lines as a block on a terminal, drawn over what is below the cursor, which is left at its beginning. So whoever else writes there
/// writes over the block and not into it, and the next block comes behind that: nobody's text is drawn over.
pub(crate) fn block(lines: &[String]) -> String {
    let mut text = format!("\r{}\u{1b}[J", lines.join("\u{1b}[K\r\n"));
    if lines.len() > 1 {
        text += &format!("\u{1b}[{}A", lines.len() - 1);
    }
    text + "\r"
}

/// Lines one after the other, where nothing can be drawn over.
pub(crate) fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy_ending::GivenUp;

    fn destination(address: &str, state: DestinationState) -> DestinationProgress {
        DestinationProgress {
            address: address.to_owned(),
            transferred: 1_396_520,
            not_accepted: 100_000,
            queued: 800_000,
            in_flight: 65_536,
            live: true,
            state,
            ..DestinationProgress::default()
        }
    }

    fn over(address: &str, state: DestinationState) -> DestinationProgress {
        DestinationProgress {
            not_accepted: 0,
            queued: 0,
            in_flight: 0,
            live: false,
            ..destination(address, state)
        }
    }

    #[test]
    fn each_state_has_its_words() {
        let behind = destination("one", DestinationState::Behind);
        let ending = destination("one", DestinationState::Ending);
        let held = destination("one", DestinationState::Held);
        let served = destination("one", DestinationState::Served);
        let ended = over("one", DestinationState::Ended);
        let dropped = DestinationProgress {
            given_up: Some(GivenUp::SlowDeadline),
            ..over("one", DestinationState::Dropped)
        };
        let failed = DestinationProgress {
            error: Some("cannot write:\nBroken pipe".to_owned()),
            ..over("one", DestinationState::Failed)
        };
        let numbers = "one   1.3 MB   2.0 kB/s 965.5 kB queued";
        for (one, expected) in [
            (behind, format!("{numbers} behind")),
            (ending, format!("{numbers} ending")),
            (held, format!("{numbers} held")),
            (served, numbers.to_owned()),
            (ended, "one   1.3 MB ended".to_owned()),
            (
                dropped,
                "one   1.3 MB dropped: it took nothing for --slow-after".to_owned(),
            ),
            (
                failed,
                "one   1.3 MB failed: cannot write:\\nBroken pipe".to_owned(),
            ),
        ] {
            assert_eq!(line(&one, 2000, 3, 79), expected);
        }
    }

    #[test]
    fn a_name_gives_way_and_no_line_is_too_long() {
        let long = "x".repeat(100);
        let wide = "\u{6f22}".repeat(50);
        let ones = ["a\nb", long.as_str(), wide.as_str()]
            .map(|one| destination(one, DestinationState::Behind));
        let reason = DestinationProgress {
            given_up: Some(GivenUp::CutShort),
            ..over("gone", DestinationState::Dropped)
        };
        let ones: Vec<DestinationProgress> = ones.into_iter().chain([reason]).collect();
        for columns in [1, 7, 20, 51, 79, 200] {
            let lines = lines(&ones, &[0; 4], (columns, 10));
            assert_eq!(lines.len(), 4);
            for line in lines {
                assert!(columns_of(&line) <= columns, "{columns}: {line}");
            }
        }
        let lines = lines(&ones, &[0; 4], (51, 10));
        assert_eq!(
            lines[0],
            "a\\nb       1.3 MB      0 B/s 965.5 kB queued behind"
        );
        assert_eq!(
            lines[1],
            "xxxxx...   1.3 MB      0 B/s 965.5 kB queued behind"
        );
    }

    #[test]
    fn what_has_no_line_is_counted() {
        let ones = ["a", "b", "c", "d"].map(|one| destination(one, DestinationState::Served));
        for (lines_max, names, last) in [
            (9, "abcd", None),
            (4, "abcd", None),
            (3, "ab", Some("and 2 more")),
            (2, "a", Some("and 3 more")),
            (1, "", None),
            (0, "", None),
        ] {
            let mut lines = lines(&ones, &[0; 4], (79, lines_max));
            assert!(lines.len() <= lines_max);
            if let Some(last) = last {
                assert_eq!(lines.pop().as_deref(), Some(last));
            }
            let found: String = lines.iter().map(|line| &line[..1]).collect();
            assert_eq!(found, names, "{lines_max}");
        }
    }

    #[test]
    fn a_block_ends_where_it_begins_and_a_list_has_no_codes() {
        let lines = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            block(&lines),
            "\ra\u{1b}[K\r\nb\u{1b}[K\r\nc\u{1b}[J\u{1b}[2A\r"
        );
        assert_eq!(block(&lines[..1]), "\ra\u{1b}[J\r");
        assert_eq!(list(&lines), "a\nb\nc\n");
    }

    #[test]
    fn a_rate_is_that_of_the_last_full_second() {
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut rate = Rate {
            bytes: 0,
            at: begun,
            measured: None,
        };
        assert_eq!(rate.measure(100, at(100)), 1000);
        assert_eq!(rate.measure(600, at(500)), 1200);
        assert_eq!(rate.measure(2000, at(1000)), 2000);
        assert_eq!(rate.measure(2000, at(1900)), 2000);
        assert_eq!(rate.measure(2100, at(2000)), 100);
    }
}
