//! Our own terminal (Unix): it is ours only as long as we are in its foreground, which matters above all while a command has a terminal of
//! its own.
//!
//! In the background its mode and what is typed are the shell's. Whoever changes the mode or reads there is stopped (SIGTTOU, SIGTTIN),
//! and so is the whole group. So both are left alone until we come to the foreground.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{self, OFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::consts::{SIGINT, SIGQUIT};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often it is looked in the background whether we are in the foreground. Not every shell tells a job that runs (bash: no SIGCONT).
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Whether we are in the background of this terminal. One that is not our controlling terminal has no background for us.
pub(crate) fn is_in_background(terminal: &impl AsFd) -> bool {
    // What the system asks before it stops somebody: a foreground without a group stops nobody.
    tcgetpgrp(terminal.as_fd()).is_ok_and(|group| Some(group) != watertight::own_group())
}

/// Whether we have a controlling terminal, in its foreground or not.
pub(crate) fn has_controlling_terminal() -> bool {
    controlling_terminal().is_some()
}

/// Ctrl-C and Ctrl-\: a terminal sends these signals to everybody in its foreground.
const KEYS: [i32; 2] = [SIGINT, SIGQUIT];

/// Tells the signals that keys have sent from those that processes have sent.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) struct Keyboard;

#[cfg(any(target_os = "android", target_os = "linux"))]
impl Keyboard {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// Whether a key has sent a signal to us that has this `si_code`: that of a signal from a process is 0 or less (sigaction(2)).
    pub(crate) fn has_sent(&self, signal: i32, code: i32) -> bool {
        KEYS.contains(&signal) && code > 0
    }
}

/// Tells the signals that keys may have sent from others. Here a signal does not say who has sent it.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(crate) struct Keyboard {
    began_in_foreground: bool,
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
impl Keyboard {
    /// A key that ends the shell around us may have us in the background by the time we hear it: where we begin counts, too.
    pub(crate) fn new() -> Self {
        Self {
            began_in_foreground: is_in_foreground(),
        }
    }

    /// Whether a key may have sent a signal to us: we are in the foreground, where it would reach us.
    pub(crate) fn has_sent(&self, signal: i32, _: i32) -> bool {
        KEYS.contains(&signal) && (self.began_in_foreground || is_in_foreground())
    }
}

/// Whether we are in the foreground of our controlling terminal: what is typed there reaches us.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn is_in_foreground() -> bool {
    controlling_terminal().is_some_and(|terminal| !is_in_background(&terminal))
}

/// Without one this cannot be opened (tty(4)).
fn controlling_terminal() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    fs::open("/dev/tty", flags, fs::Mode::empty()).ok()
}

/// A terminal that people type at, and that passes everything on as it is while we are in its foreground.
pub(crate) struct Typed {
    terminal: OwnedFd,
    mode: Mutex<Mode>,
    /// Calls whoever waits for what is typed: a byte, to look again; its end, because the command is over.
    bell: UnixStream,
    called: UnixStream,
}

/// What we have done to the terminal.
#[derive(Default)]
struct Mode {
    /// How it was before that.
    before: Option<Termios>,
    /// It passes everything on, as far as we know.
    is_raw: bool,
    /// It was given back.
    is_over: bool,
}

impl Typed {
    pub(crate) fn new(terminal: OwnedFd) -> io::Result<Self> {
        let (bell, called) = UnixStream::pair()?;
        Ok(Self {
            terminal,
            mode: Mutex::default(),
            bell,
            called,
        })
    }

    /// In the foreground it passes everything on from now on. Whether we are there.
    fn take_up(&self) -> io::Result<bool> {
        let mut mode = self.mode();
        let is_ours = !is_in_background(&self.terminal);
        if is_ours && !mode.is_raw && !mode.is_over {
            let before = match &mode.before {
                Some(before) => before.clone(),
                None => tcgetattr(&self.terminal)?,
            };
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&self.terminal, OptionalActions::Now, &raw)?;
            mode.before = Some(before);
        }
        // Whoever comes to the foreground sets the mode that it needs.
        mode.is_raw = is_ours;
        Ok(is_ours)
    }

    /// Waits until something was typed for us. `false`: the command is over.
    pub(crate) fn wait(&self) -> bool {
        loop {
            // A terminal that takes no mode is over, and a read of it says so.
            let is_ours = self.take_up().unwrap_or(true);
            let mut polled = [
                PollFd::new(&self.called, PollFlags::IN),
                PollFd::new(&self.terminal, PollFlags::IN),
            ];
            let (watched, within) = if is_ours {
                (2, None)
            } else {
                (1, Some(&LOOK_EVERY))
            };
            match poll(&mut polled[..watched], within) {
                Ok(_) | Err(Errno::INTR) => {}
                // The read waits in another way.
                Err(_) => return true,
            }
            let [is_called, is_typed] = polled.map(|polled| !polled.revents().is_empty());
            if is_called && !self.goes_on() {
                return false;
            }
            // We may be in the background by now, and what was typed is the shell's.
            if is_typed && !is_in_background(&self.terminal) {
                return true;
            }
        }
    }

    /// Takes the calls that have come. Whether the end is not among them.
    fn goes_on(&self) -> bool {
        match (&self.called).read(&mut [0; 64]) {
            Ok(calls) => calls > 0,
            Err(_) => true,
        }
    }

    /// We were stopped and go on. Meanwhile the terminal was the shell's.
    pub(crate) fn note_continued(&self) {
        self.mode().is_raw = false;
        // It has room as long as somebody waits.
        let _ = (&self.bell).write_all(&[0]);
    }

    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A terminal that is given back when this is dropped: it is as it was. In the background it is somebody else's already.
pub(crate) struct Lent(pub(crate) Arc<Typed>);

impl Lent {
    pub(crate) fn begin(typed: Typed) -> io::Result<Self> {
        let lent = Self(Arc::new(typed));
        lent.0.take_up()?;
        Ok(lent)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let typed = &self.0;
        let mut mode = typed.mode();
        mode.is_over = true;
        let before = mode.before.take();
        if let Some(before) = before.filter(|_| !is_in_background(&typed.terminal)) {
            // It may be gone: then nobody needs it.
            let _ = tcsetattr(&typed.terminal, OptionalActions::Now, &before);
        }
        drop(mode);
        // Nobody may be waiting.
        let _ = typed.bell.shutdown(Shutdown::Write);
    }
}
