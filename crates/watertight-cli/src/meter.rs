//! The progress line: bytes, rate, estimate and stalls, on standard error, while somebody watches; and below it a line for each of several
//! destinations (`destination_lines.rs`).
//!
//! It is handed over as text (see `diagnostics`) and never blocks: of the lines for which standard error has no time, only the
//! newest is kept.

use crate::destination_lines::{self, NAME_COLUMNS_MIN, Rates};
use crate::diagnostics;
use crate::flags::ProgressChoice;
use crate::platform;
use crate::progress::{Awaited, CopyProgress};
use crate::progress_json::{self, ProgressLines};
use crate::units::{printable, shortened, shown_bytes, shown_duration};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When the line is drawn first, and how often again.
const INTERVAL: Duration = Duration::from_millis(100);
const DRAWS_PER_SECOND: u8 = 10;
/// How often lines come again where none can be drawn over.
const LIST_INTERVAL: Duration = Duration::from_secs(1);
/// After this time without a byte the line says that the copy stalls.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// The width of a line that goes to no terminal.
const PLAIN_WIDTH: u16 = 80;

const SIZE_KNOWN: &str =
    "{msg:10} {decimal_bytes_per_sec:>12} {wide_bar} {percent:>3}% eta {eta} {prefix}";
const SIZE_UNKNOWN: &str = "{msg:10} {decimal_bytes_per_sec:>12} {elapsed} {prefix}";
/// While there is nothing to move: all is through, and somebody is waited for.
const WAITING: &str = "{msg:10} {elapsed} {prefix}";
/// What the longest of the first two takes without its bar and its prefix.
const MOVING_COLUMNS: u16 = 42;
/// What the third takes without its prefix.
const WAITING_COLUMNS: u16 = 22;

/// The line, or the lines for a program, or nothing.
pub(crate) struct Meter {
    shown: Option<Shown>,
}

struct Shown {
    display: Display,
    every: Duration,
    due: Instant,
}

enum Display {
    Gauge(Box<Gauge>),
    Json(ProgressLines),
}

/// The line for people, and what is below it.
struct Gauge {
    bar: ProgressBar,
    moving: ProgressStyle,
    waiting: ProgressStyle,
    bytes: u64,
    moved_at: Instant,
    layout: Layout,
    /// Where the line is left for whoever draws the lines below it, too.
    line: Arc<Mutex<String>>,
    rates: Rates,
}

/// How progress is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Layout {
    /// Several lines, drawn over again and again.
    Block,
    /// One line, drawn over again and again.
    Line,
    /// Several lines, again and again one after the other.
    List,
}

impl Layout {
    fn of(destinations: usize) -> Self {
        if destinations < 2 {
            Self::Line
        } else if !diagnostics::is_terminal() {
            Self::List
        } else if !diagnostics::is_dumb_terminal() && platform::moves_cursor() {
            Self::Block
        } else {
            Self::Line
        }
    }

    fn interval(self) -> Duration {
        match self {
            Self::Block | Self::Line => INTERVAL,
            Self::List => LIST_INTERVAL,
        }
    }
}

impl Meter {
    /// `every`: how often there is a line of JSON, if not once a second.
    pub(crate) fn new(
        choice: ProgressChoice,
        every: Option<Duration>,
        (size, destinations): (Option<u64>, usize),
        now: Instant,
    ) -> io::Result<Self> {
        let shown = if is_line_wanted(choice) {
            let layout = Layout::of(destinations);
            let gauge = Gauge::new(size, Rates::new(destinations, now), layout, now)?;
            Some(Shown {
                display: Display::Gauge(Box::new(gauge)),
                every: layout.interval(),
                // Nobody can read a line that goes at once.
                due: later(now, INTERVAL),
            })
        } else if choice == ProgressChoice::Json {
            let every = every.unwrap_or(progress_json::INTERVAL);
            Some(Shown {
                display: Display::Json(ProgressLines::new(size, now)),
                every,
                due: later(now, every),
            })
        } else {
            None
        };
        Ok(Self { shown })
    }

    /// When there is something to show again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.shown.as_ref().map(|shown| shown.due)
    }

    /// Whether it is time.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Shows how far everything is. Never blocks.
    pub(crate) fn show(&mut self, progress: &CopyProgress, now: Instant) {
        let Some(shown) = &mut self.shown else {
            return;
        };
        shown.due = later(now, shown.every);
        match &mut shown.display {
            // It comes again when we come to the foreground.
            Display::Gauge(_) if diagnostics::is_in_background() => {}
            Display::Gauge(gauge) => gauge.draw(progress, now),
            Display::Json(lines) => lines.tell(progress, now),
        }
    }

    /// Takes the line away; the last line of JSON says how far everything came.
    pub(crate) fn end(&mut self, progress: &CopyProgress, now: Instant) {
        let Some(shown) = self.shown.take() else {
            return;
        };
        match shown.display {
            Display::Gauge(gauge) => {
                gauge.bar.finish_and_clear();
                diagnostics::erase();
            }
            Display::Json(lines) => lines.tell_last(progress, now),
        }
    }
}

/// Whether people are shown a line.
pub(crate) fn is_line_wanted(choice: ProgressChoice) -> bool {
    match choice {
        ProgressChoice::Always => true,
        ProgressChoice::Auto => diagnostics::is_terminal() && !diagnostics::is_dumb_terminal(),
        ProgressChoice::Json | ProgressChoice::Never => false,
    }
}

/// Some time after now. What is beyond the clock is a year from now: nobody waits for it.
fn later(now: Instant, after: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + after.min(YEAR)
}

impl Gauge {
    fn new(size: Option<u64>, rates: Rates, layout: Layout, now: Instant) -> io::Result<Self> {
        let line: Arc<Mutex<String>> = Arc::default();
        let target = match layout {
            Layout::Block | Layout::List => {
                // Drawn when it is wanted: it is shown together with others.
                let line = MeterLine::new(Some(Arc::clone(&line)));
                ProgressDrawTarget::term_like(Box::new(line))
            }
            Layout::Line => {
                let line = MeterLine::new(None);
                ProgressDrawTarget::term_like_with_hz(Box::new(line), DRAWS_PER_SECOND)
            }
        };
        let template = if size.is_some() {
            SIZE_KNOWN
        } else {
            SIZE_UNKNOWN
        };
        let style = |template| ProgressStyle::with_template(template).map_err(io::Error::other);
        let moving = style(template)?;
        Ok(Self {
            bar: ProgressBar::with_draw_target(size, target).with_style(moving.clone()),
            moving,
            waiting: style(WAITING)?,
            bytes: 0,
            moved_at: now,
            layout,
            line,
            rates,
        })
    }

    fn draw(&mut self, progress: &CopyProgress, now: Instant) {
        self.draw_line(progress, now);
        let rates = self.rates.measure(progress, now);
        let lines = |lines_max| self.lines(progress, &rates, lines_max);
        match self.layout {
            Layout::Block => {
                let text = destination_lines::block(&lines(height()));
                diagnostics::show(text, destination_lines::ERASURE.to_owned());
            }
            // It is shown already.
            Layout::Line => {}
            Layout::List => {
                let text = destination_lines::list(&lines(usize::MAX));
                diagnostics::show(text, String::new());
            }
        }
    }

    fn draw_line(&mut self, progress: &CopyProgress, now: Instant) {
        if progress.bytes > self.bytes {
            self.bytes = progress.bytes;
            self.moved_at = now;
        }
        let (style, columns) = match progress.awaited {
            Awaited::Nobody => (&self.moving, MOVING_COLUMNS),
            Awaited::Ending(_) | Awaited::Held(_) => (&self.waiting, WAITING_COLUMNS),
        };
        let still = now.saturating_duration_since(self.moved_at);
        let room = width().saturating_sub(columns);
        self.bar.set_style(style.clone());
        self.bar.set_message(shown_bytes(progress.bytes));
        self.bar
            .set_prefix(note(progress, still, usize::from(room)));
        self.bar.set_position(progress.bytes);
        self.bar.tick();
    }

    /// The line and those below it, so many altogether.
    fn lines(&self, progress: &CopyProgress, rates: &[u64], lines_max: usize) -> Vec<String> {
        let columns = usize::from(width());
        let first = shortened(lock(&self.line).trim_end(), columns);
        let room = (columns, lines_max.saturating_sub(1));
        let below = destination_lines::lines(&progress.destinations, rates, room);
        std::iter::once(first).chain(below).collect()
    }
}

/// What there is to say beside the numbers, in so many columns: who is waited for, or that it stalls, and at whom.
fn note(progress: &CopyProgress, still: Duration, columns: usize) -> String {
    let (before, name, after) = match &progress.awaited {
        Awaited::Ending(command) => ("ending ".to_owned(), command.text.as_str(), String::new()),
        Awaited::Held(command) => {
            let (before, after) = ("held: waiting for ".to_owned(), " to end".to_owned());
            (before, command.text.as_str(), after)
        }
        Awaited::Nobody => {
            let stall = stall(still);
            let slowest = progress
                .slowest
                .and_then(|at| progress.destinations.get(at));
            let Some(slowest) = slowest.filter(|_| progress.destinations.len() > 1) else {
                return shortened(&stall, columns);
            };
            let before = if stall.is_empty() {
                "slowest ".to_owned()
            } else {
                stall + ": "
            };
            let queued = shown_bytes(slowest.waiting());
            (
                before,
                slowest.address.as_str(),
                format!(", {queued} queued"),
            )
        }
    };
    // The name gives way before the words do.
    let taken = before.len() + after.len();
    let name = shortened(
        &printable(name),
        columns.saturating_sub(taken).max(NAME_COLUMNS_MIN),
    );
    shortened(&(before + &name + &after), columns)
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

/// How wide a line may be.
fn width() -> u16 {
    if !diagnostics::is_terminal() {
        return PLAIN_WIDTH;
    }
    let (_, columns) = Term::stderr().size();
    // In the last column some terminals begin the next line.
    columns.saturating_sub(1).max(1)
}

/// How many lines a block may have.
fn height() -> usize {
    let (rows, _) = Term::stderr().size();
    // What was there before has the first line.
    usize::from(rows.saturating_sub(1).max(1))
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one line that is written again and again, with a carriage return before it. Each is as wide as the one before, and so
/// takes its place.
#[derive(Debug)]
struct MeterLine {
    is_terminal: bool,
    /// What is drawn, until all of it is.
    text: Mutex<String>,
    /// Where it is left, if somebody else shows it.
    left_in: Option<Arc<Mutex<String>>>,
}

impl MeterLine {
    fn new(left_in: Option<Arc<Mutex<String>>>) -> Self {
        Self {
            is_terminal: diagnostics::is_terminal(),
            text: Mutex::new(String::new()),
            left_in,
        }
    }

    /// What takes the line away: blanks in its place. Where there is no terminal it stays, and what follows has lines of its own.
    fn erasure(&self) -> String {
        if self.is_terminal {
            format!("\r{}\r", " ".repeat(usize::from(width())))
        } else {
            "\n".to_owned()
        }
    }

    fn append(&self, text: &str) {
        lock(&self.text).push_str(text);
    }
}

impl TermLike for MeterLine {
    fn width(&self) -> u16 {
        width()
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
        let text = std::mem::take(&mut *lock(&self.text));
        match &self.left_in {
            _ if text.is_empty() => {}
            None => diagnostics::show(format!("\r{text}"), self.erasure()),
            Some(place) => *lock(place) = text,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{AwaitedCommand, DestinationProgress};

    #[test]
    fn a_stall_is_told_after_a_while() {
        assert_eq!(stall(Duration::from_millis(1999)), "");
        assert_eq!(stall(Duration::from_millis(3500)), "stalled for 3s");
    }

    fn progress(names: &[&str], awaited: Awaited) -> CopyProgress {
        let destination = |name: &&str| DestinationProgress {
            address: (*name).to_owned(),
            queued: 900,
            in_flight: 100,
            live: true,
            ..DestinationProgress::default()
        };
        CopyProgress {
            bytes_read: 1000,
            bytes: 0,
            slowest: Some(names.len() - 1),
            destinations: names.iter().map(destination).collect(),
            awaited,
        }
    }

    #[test]
    fn of_several_the_slowest_is_named_with_what_waits_for_it() {
        let (now, long) = (Duration::ZERO, Duration::from_secs(3));
        let several = progress(&["a", "b\n"], Awaited::Nobody);
        assert_eq!(note(&several, now, 40), "slowest b\\n, 1.0 kB queued");
        assert_eq!(
            note(&several, long, 40),
            "stalled for 3s: b\\n, 1.0 kB queued"
        );
        let one = progress(&["a"], Awaited::Nobody);
        assert_eq!(note(&one, now, 40), "");
        assert_eq!(note(&one, long, 40), "stalled for 3s");
    }

    #[test]
    fn whoever_is_waited_for_is_named() {
        let now = Duration::ZERO;
        let command = |text: String| AwaitedCommand { text, base64: None };
        let held = progress(&["a"], Awaited::Held(command("make all".to_owned())));
        assert_eq!(note(&held, now, 58), "held: waiting for make all to end");
        let ending = progress(&["a"], Awaited::Ending(command("make all".to_owned())));
        assert_eq!(note(&ending, now, 58), "ending make all");
        let long = progress(&["a"], Awaited::Held(command("x".repeat(100))));
        let told = note(&long, now, 40);
        assert_eq!(told.len(), 40, "{told}");
        assert!(told.ends_with("... to end"), "{told}");
    }

    #[test]
    fn all_templates_are_valid() {
        for template in [SIZE_KNOWN, SIZE_UNKNOWN, WAITING] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    /// What indicatif makes of it is kept for the block, as often as it is drawn.
    #[test]
    fn of_several_the_line_is_the_first_of_all() {
        let now = Instant::now();
        let several = progress(&["a", "b\n"], Awaited::Nobody);
        for layout in [Layout::Block, Layout::List] {
            let mut gauge = Gauge::new(Some(4000), Rates::new(2, now), layout, now).unwrap();
            for _ in 0..50 {
                gauge.draw_line(&several, now);
            }
            let lines = gauge.lines(&several, &[0, 0], 3);
            assert_eq!(lines.len(), 3, "{lines:?}");
            assert!(lines[0].starts_with("0 B "), "{lines:?}");
            assert!(
                lines[0].ends_with("slowest b\\n, 1.0 kB queued"),
                "{lines:?}"
            );
            assert!(lines[1].starts_with("a ") && lines[2].starts_with("b\\n "));
            assert_eq!(gauge.lines(&several, &[0, 0], 1).len(), 1);
        }
    }

    #[test]
    fn never_means_never() {
        let now = Instant::now();
        let meter = Meter::new(ProgressChoice::Never, None, (None, 1), now).unwrap();
        assert_eq!(meter.due(), None);
    }

    #[test]
    fn a_copy_that_is_over_at_once_shows_no_line() {
        let now = Instant::now();
        let meter = Meter::new(ProgressChoice::Always, None, (None, 1), now).unwrap();
        assert_eq!(meter.due(), Some(now + INTERVAL));
        assert!(!meter.is_due(now));
    }
}
