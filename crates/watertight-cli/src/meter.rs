//! The progress line: bytes, rate, estimate and stalls, on standard error, while somebody watches.
//!
//! It is handed over as text (see `diagnostics`) and never blocks: of the lines for which standard error has no time, only the
//! newest is kept.

use crate::diagnostics;
use crate::flags::ProgressChoice;
use crate::units::{shown_bytes, shown_duration};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::io;
use std::sync::{Mutex, PoisonError};
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
    pub(crate) fn new(choice: ProgressChoice, size: Option<u64>, now: Instant) -> io::Result<Self> {
        let is_wanted = match choice {
            ProgressChoice::Always => true,
            ProgressChoice::Auto => diagnostics::is_terminal() && !diagnostics::is_dumb_terminal(),
            ProgressChoice::Never => false,
        };
        if !is_wanted {
            return Ok(Self { shown: None });
        }
        let shown = Shown {
            bar: bar(size)?,
            bytes: 0,
            moved_at: now,
            due: now,
        };
        Ok(Self { shown: Some(shown) })
    }

    /// When the line wants to be drawn again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.shown.as_ref().map(|shown| shown.due)
    }

    /// Draws the line, if it is time. Never blocks.
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
    pub(crate) fn clear(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.bar.finish_and_clear();
            diagnostics::erase();
        }
    }
}

fn bar(size: Option<u64>) -> io::Result<ProgressBar> {
    let line = Box::new(MeterLine::new());
    let target = ProgressDrawTarget::term_like_with_hz(line, DRAWS_PER_SECOND);
    let template = if size.is_some() {
        SIZE_KNOWN
    } else {
        SIZE_UNKNOWN
    };
    let style = ProgressStyle::with_template(template).map_err(io::Error::other)?;
    Ok(ProgressBar::with_draw_target(size, target).with_style(style))
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

/// The one line that is written again and again, with a carriage return before it. Each is as wide as the one before, and so
/// takes its place.
#[derive(Debug)]
struct MeterLine {
    terminal: Option<Term>,
    /// What is drawn, until all of it is.
    text: Mutex<String>,
}

impl MeterLine {
    fn new() -> Self {
        Self {
            terminal: diagnostics::is_terminal().then(Term::stderr),
            text: Mutex::new(String::new()),
        }
    }

    /// What takes the line away: blanks in its place. Where there is no terminal it stays, and what follows has lines of its own.
    fn erasure(&self) -> String {
        match &self.terminal {
            Some(_) => format!("\r{}\r", " ".repeat(usize::from(self.width()))),
            None => "\n".to_owned(),
        }
    }

    fn append(&self, text: &str) {
        let mut whole = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        whole.push_str(text);
    }
}

impl TermLike for MeterLine {
    fn width(&self) -> u16 {
        let Some(terminal) = &self.terminal else {
            return PLAIN_WIDTH;
        };
        let (_, columns) = terminal.size();
        // In the last column some terminals begin the next line.
        columns.saturating_sub(1).max(1)
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
        self.append(text);
        self.append("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.append(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    /// The line is whole.
    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner));
        if !text.is_empty() {
            diagnostics::show(format!("\r{text}"), self.erasure());
        }
        Ok(())
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
        let meter = Meter::new(ProgressChoice::Never, None, now).unwrap();
        assert_eq!(meter.due(), None);
    }
}
