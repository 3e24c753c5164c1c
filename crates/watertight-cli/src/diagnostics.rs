//! Everything that this program says on standard error: messages, reports, and the progress line.
//!
//! What the system takes at once is written at once, where it can be told not to wait. From the first word on that has to wait a
//! thread of its own writes; everybody else hands text over and goes on. A standard error that takes nothing (a full pipe that
//! nobody reads, a terminal that is held with Ctrl-S) blocks that thread and nobody else. The end of the program waits for it
//! (`finish`), but not for ever. Never here: `std::io::stderr()` and its lock, but for what the platform's file says.

use crate::last_reader::{LOOK_EVERY, LastReader, STUCK_AFTER};
use crate::platform;
use crate::units::printable;
use std::io::{self, ErrorKind, IsTerminal};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When so much waits, nothing more is offered: a pipe is full of it, and nobody reads.
const OFFERED_UP_TO_BYTES: usize = 64 * 1024;

/// What waits has no bound of its own, and needs none: a run has a few messages and one report, of the progress lines only the
/// newest waits, and what may come again and again is left out where much waits (`offer`).
struct Outgoing {
    /// What the system has not taken yet, in order.
    waiting: Vec<u8>,
    /// How many of these bytes there are up to the end of the last text that was asked for; 0: the system has taken all of them.
    asked_bytes: usize,
    /// Something that was asked for could not be written.
    is_asked_lost: bool,
    /// The newest progress line. It goes out when nothing else waits.
    line: Option<ProgressLine>,
    /// How the progress line that is on display goes away.
    erasure: Option<String>,
    has_writer: bool,
    /// Nobody took what waits in time: it is not waited for once more.
    is_given_up: bool,
    /// Nothing is said any more.
    is_silent: bool,
}

struct ProgressLine {
    text: String,
    erasure: String,
}

static OUTGOING: Mutex<Outgoing> = Mutex::new(Outgoing {
    waiting: Vec::new(),
    asked_bytes: 0,
    is_asked_lost: false,
    line: None,
    erasure: None,
    has_writer: false,
    is_given_up: false,
    is_silent: false,
});
/// Something came, or was taken.
static CHANGED: Condvar = Condvar::new();

/// From now on nothing is said: standard error is an end of the copy, and it would get into the data; or nobody takes it.
pub(crate) fn silence() {
    lock().is_silent = true;
    // The library has words of its own for what is lost; here it is in the account.
    watertight::on_loss(Some(Arc::new(|_: &watertight::Loss| {})));
}

/// One line for the user.
pub(crate) fn tell(line: &str) {
    print(&format!("watertight: {}\n", printable(line)));
}

/// A text of whole lines, as it is. A progress line gives way to it.
pub(crate) fn print(text: &str) {
    say(text, false);
}

/// Likewise, for what was asked for: that it could not be written is no success (`finish`).
pub(crate) fn print_asked(text: &str) {
    say(text, true);
}

fn say(text: &str, is_asked: bool) {
    let mut state = lock();
    if state.is_silent {
        state.is_asked_lost |= is_asked;
        return;
    }
    state.push(text, is_asked);
    if state.write_at_once() {
        return;
    }
    let has_writer = state.ensure_writer();
    drop(state);
    CHANGED.notify_all();
    if !has_writer {
        // The system has no more threads, and that may be what this text is about.
        while !lock().waiting.is_empty() && write_some() {}
        lock().forget_waiting();
    }
}

/// A text that may be asked for again and again: it is left out where much waits already, or where nobody but this thread could write it.
pub(crate) fn offer(text: &str) {
    say_if_there_is_room(text, false);
}

/// Likewise, for what was asked for. That it is left out where much waits is no failure.
pub(crate) fn offer_asked(text: &str) {
    say_if_there_is_room(text, true);
}

fn say_if_there_is_room(text: &str, is_asked: bool) {
    let mut state = lock();
    if state.is_silent {
        state.is_asked_lost |= is_asked;
        return;
    }
    let has_room = state.waiting.len() < OFFERED_UP_TO_BYTES;
    if has_room && state.ensure_writer() {
        state.push(text, is_asked);
        drop(state);
        CHANGED.notify_all();
    }
}

/// Shows a progress line in place of the one before. `erasure` is what takes it away. A line that has not gone out when the
/// next one comes is left out.
pub(crate) fn show(text: String, erasure: String) {
    let mut state = lock();
    // Without a writer it is left out as well: it may not hold anybody up.
    if !state.is_silent && state.ensure_writer() {
        state.line = Some(ProgressLine { text, erasure });
        if state.waiting.is_empty() {
            state.send_line();
        }
        drop(state);
        CHANGED.notify_all();
    }
}

/// Takes the progress line away.
pub(crate) fn erase() {
    print("");
}

/// Whether something of what was said waits to be taken.
pub(crate) fn is_anything_waiting() -> bool {
    !lock().waiting.is_empty()
}

/// Waits until everything is taken, or until nobody took a byte for [`STUCK_AFTER`], and that once. Nothing is said behind it. `false`: something
/// that was asked for could not be written. What nobody took in time is no such thing.
pub(crate) fn finish() -> bool {
    await_reader();
    !lock().is_asked_lost
}

/// How much is unread is asked only while something waits: the question waits for whoever keeps the pipe's lock, and who has nothing more to
/// say is not to wait for that. It has no thread of its own, which would win nothing: a process ends when each of its threads has left the
/// kernel, and nothing but that end is left to do.
fn await_reader() {
    let mut state = lock();
    if state.waiting.is_empty() || state.is_given_up {
        return;
    }
    let mut reader = LastReader::new(state.waiting.len(), platform::unread_of_stderr());
    while !reader.is_stuck() {
        let woken = CHANGED.wait_timeout(state, LOOK_EVERY);
        let (now, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
        state = now;
        let passed = if timeout.timed_out() {
            LOOK_EVERY
        } else {
            Duration::ZERO
        };
        if state.waiting.is_empty() {
            return;
        }
        reader.look(state.waiting.len(), platform::unread_of_stderr(), passed);
    }
    state.is_given_up = true;
}

/// Whether standard error is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether it is a terminal in whose background we are. What is drawn there gets into what others show.
pub(crate) fn is_in_background() -> bool {
    platform::is_in_background_of_stderr()
}

/// Whether it is a terminal that can do no more than a typewriter.
pub(crate) fn is_dumb_terminal() -> bool {
    is_terminal() && std::env::var_os("TERM").is_some_and(|name| name == "dumb")
}

/// Whether colours are wanted there: a terminal that says what it is, and nobody has switched them off.
pub(crate) fn has_colours() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let says_what_it_is = std::env::var_os("TERM").is_some_and(|name| !name.is_empty());
    is_terminal() && says_what_it_is && !is_dumb_terminal() && !is_off
}

impl Outgoing {
    /// A text comes after all that waits, and in place of the progress line.
    fn push(&mut self, text: &str, is_asked: bool) {
        self.erase();
        self.waiting.extend_from_slice(text.as_bytes());
        if is_asked {
            self.asked_bytes = self.waiting.len();
            // std has the null device in place of a stream that was closed: every write succeeds.
            self.is_asked_lost |= platform::standard_at_start(2).is_err();
        }
    }

    /// The system has taken so many of the first bytes.
    fn handle_taken(&mut self, bytes: usize) {
        drop(self.waiting.drain(..bytes));
        self.asked_bytes = self.asked_bytes.saturating_sub(bytes);
    }

    /// The system will never take what waits.
    fn lose_waiting(&mut self) {
        self.is_asked_lost |= self.asked_bytes > 0;
        self.forget_waiting();
    }

    fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.asked_bytes = 0;
    }

    /// The progress line that waits is on its way.
    fn send_line(&mut self) {
        if let Some(line) = self.line.take() {
            self.waiting.extend_from_slice(line.text.as_bytes());
            self.erasure = Some(line.erasure);
        }
    }

    /// The progress line is taken away. One that waits goes out before that: it is the last that there is.
    fn erase(&mut self) {
        self.send_line();
        if let Some(erasure) = self.erasure.take() {
            self.waiting.extend_from_slice(erasure.as_bytes());
        }
    }

    /// Writes what goes at once, unless the thread does that. Under the lock, which keeps it in order: no call waits. Whether nothing is
    /// left.
    fn write_at_once(&mut self) -> bool {
        while !self.has_writer && !self.waiting.is_empty() {
            let bytes = self.waiting.len().min(platform::PIECE_BYTES_MAX);
            match platform::write_stderr_at_once(&self.waiting[..bytes]) {
                Some(taken) => self.handle_taken(taken),
                None => break,
            }
        }
        self.waiting.is_empty()
    }

    /// Starts the thread that writes, if it does not run yet. Whether it runs.
    fn ensure_writer(&mut self) -> bool {
        if !self.has_writer {
            let writer = std::thread::Builder::new().name("diagnostics".into());
            // It is never joined: it may be stuck for ever, and ends with the process.
            self.has_writer = writer.spawn(write_for_ever).is_ok();
        }
        self.has_writer
    }
}

/// The thread that writes.
fn write_for_ever() {
    loop {
        let mut state = lock();
        while state.waiting.is_empty() {
            state = CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        write_some();
    }
}

/// Gives the system the first of what waits, without the lock. Whether the system took it, or never will; `false`: there was
/// no room in time.
fn write_some() -> bool {
    let piece: Vec<u8> = {
        let state = lock();
        let first = state.waiting.iter().copied();
        first.take(platform::PIECE_BYTES_MAX).collect()
    };
    let written = platform::write_stderr(&piece, STUCK_AFTER);
    let mut state = lock();
    match written {
        Ok(taken) if taken > 0 => state.handle_taken(taken),
        Err(error) if error.kind() == ErrorKind::TimedOut => return false,
        // Nobody is there, or the disk is full: only the exit code can tell. What comes later is tried again.
        Ok(_) | Err(_) => state.lose_waiting(),
    }
    if state.waiting.is_empty() {
        state.send_line();
    }
    drop(state);
    CHANGED.notify_all();
    true
}

fn lock() -> MutexGuard<'static, Outgoing> {
    OUTGOING.lock().unwrap_or_else(PoisonError::into_inner)
}
