//! The progress line: bytes, rate, estimate and stalls, on standard error, while somebody watches.

use crate::flags::ProgressChoice;
use crate::units::{shown_bytes, shown_duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is drawn again.
const INTERVAL: Duration = Duration::from_millis(100);
const DRAWS_PER_SECOND: u8 = 10;
/// After this time without a byte the line says that the copy stalls.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// The width of a line that goes to no terminal.
const PLAIN_WIDTH: u16 = 80;

const SIZE_KNOWN: &str =
    "{msg:10} {decimal_bytes_per_sec:>12} {wide_bar} {percent:>3}% eta {eta} {prefix}";
const SIZE_UNKNOWN: &str = "{msg:10} {decimal_bytes_per_sec:>12} {elapsed} {prefix}";

/// The line, or nothing.
pub(crate) struct Meter {
    shown: Option<Shown>,
}

struct Shown {
    bar: ProgressBar,
    bytes: u64,
    moved_at: Instant,
    due: Instant,
}

impl Meter {
    pub(crate) fn new(choice: ProgressChoice, size: Option<u64>, now: Instant) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = match choice {
            ProgressChoice::Always if !is_terminal => {
                ProgressDrawTarget::term_like_with_hz(Box::new(PlainLine), DRAWS_PER_SECOND)
            }
            ProgressChoice::Always | ProgressChoice::Auto if is_terminal => {
                ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
            }
            ProgressChoice::Always | ProgressChoice::Auto | ProgressChoice::Never => {
                return Self { shown: None };
            }
        };
        let bar = ProgressBar::with_draw_target(size, target);
        let template = if size.is_some() {
            SIZE_KNOWN
        } else {
            SIZE_UNKNOWN
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let shown = Shown {
            bar,
            bytes: 0,
            moved_at: now,
            due: now,
        };
        Self { shown: Some(shown) }
    }

    /// When the line wants to be drawn again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.shown.as_ref().map(|shown| shown.due)
    }

    /// Draws the line, if it is time.
    pub(crate) fn show(&mut self, bytes: u64, now: Instant) {
        let Some(shown) = self.shown.as_mut().filter(|shown| shown.due <= now) else {
            return;
        };
        shown.due = now + INTERVAL;
        if bytes > shown.bytes {
            shown.bytes = bytes;
            shown.moved_at = now;
        }
        let still = now.saturating_duration_since(shown.moved_at);
        shown.bar.set_message(shown_bytes(bytes));
        shown.bar.set_prefix(stall(still));
        shown.bar.set_position(bytes);
        shown.bar.tick();
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if let Some(shown) = &self.shown {
            shown.bar.finish_and_clear();
        }
    }
}

fn stall(still: Duration) -> String {
    if still < STALLED_AFTER {
        return String::new();
    }
    format!(
        "stalled for {}",
        shown_duration(Duration::from_secs(still.as_secs()))
    )
}

/// Standard error that is no terminal: the line is written again and again, with a carriage return before it.
#[derive(Debug)]
struct PlainLine;

impl TermLike for PlainLine {
    fn width(&self) -> u16 {
        PLAIN_WIDTH
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        io::stderr().write_all(format!("{text}\n").as_bytes())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        io::stderr().write_all(text.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        io::stderr().write_all(b"\r")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_after_a_while() {
        assert_eq!(stall(Duration::from_millis(1999)), "");
        assert_eq!(stall(Duration::from_millis(3500)), "stalled for 3s");
    }

    #[test]
    fn both_templates_are_valid() {
        for template in [SIZE_KNOWN, SIZE_UNKNOWN] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn never_means_never() {
        let now = Instant::now();
        assert_eq!(Meter::new(ProgressChoice::Never, None, now).due(), None);
    }
}
