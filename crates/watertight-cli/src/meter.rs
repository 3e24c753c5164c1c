//! The progress line: bytes, rate, estimate and stalls, on standard error, while somebody watches.
//!
//! It is drawn by a thread of its own: a terminal that is held (Ctrl-S), or a full pipe, blocks that thread and nothing
//! else. Updates it has no time for are dropped.

use crate::flags::ProgressChoice;
use crate::units::{shown_bytes, shown_duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

/// How often the line is drawn again.
const INTERVAL: Duration = Duration::from_millis(100);
const DRAWS_PER_SECOND: u8 = 10;
/// How long the report waits for the line to go.
const CLEAR_WITHIN: Duration = Duration::from_secs(1);
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
    updates: SyncSender<Update>,
    /// Hung up by the thread once the line is gone.
    gone: Receiver<()>,
    bytes: u64,
    moved_at: Instant,
    due: Instant,
}

/// What the line is to say.
struct Update {
    bytes: u64,
    still: Duration,
}

impl Meter {
    pub(crate) fn new(choice: ProgressChoice, size: Option<u64>, now: Instant) -> io::Result<Self> {
        let is_terminal = io::stderr().is_terminal();
        let is_wanted = match choice {
            ProgressChoice::Always => true,
            ProgressChoice::Auto => is_terminal,
            ProgressChoice::Never => false,
        };
        if !is_wanted {
            return Ok(Self { shown: None });
        }
        let (updates, inbox) = sync_channel(1);
        let (alive, gone) = channel();
        std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || {
                draw(&bar(is_terminal, size), &inbox);
                drop::<Sender<()>>(alive);
            })?;
        let shown = Shown {
            updates,
            gone,
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

    /// Has the line drawn, if it is time. Never blocks.
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
        // A thread that is still drawing misses this one.
        let _ = shown.updates.try_send(Update { bytes, still });
    }

    /// Takes the line away. If standard error is stuck, it stays.
    pub(crate) fn clear(&mut self) {
        if let Some(Shown { updates, gone, .. }) = self.shown.take() {
            drop(updates);
            let _ = gone.recv_timeout(CLEAR_WITHIN);
        }
    }
}

fn bar(is_terminal: bool, size: Option<u64>) -> ProgressBar {
    let target = if is_terminal {
        ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
    } else {
        ProgressDrawTarget::term_like_with_hz(Box::new(PlainLine), DRAWS_PER_SECOND)
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
    bar
}

/// Draws until there is nobody left to send updates.
fn draw(bar: &ProgressBar, updates: &Receiver<Update>) {
    for Update { bytes, still } in updates {
        bar.set_message(shown_bytes(bytes));
        bar.set_prefix(stall(still));
        bar.set_position(bytes);
        bar.tick();
    }
    bar.finish_and_clear();
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
        let meter = Meter::new(ProgressChoice::Never, None, now).unwrap();
        assert_eq!(meter.due(), None);
    }
}
