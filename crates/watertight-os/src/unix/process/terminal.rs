//! The terminal that this process may have.

use rustix::fs::{Mode, OFlags};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

/// Whether this process has a controlling terminal and is in its foreground group. Then its children had better stay in that
/// group: Ctrl-C and Ctrl-Z reach them, and they may read from the terminal.
#[must_use]
pub fn is_in_terminals_foreground() -> bool {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    // Without a controlling terminal this cannot be opened (tty(4)).
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty());
    terminal.is_ok_and(|terminal| tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()))
}
