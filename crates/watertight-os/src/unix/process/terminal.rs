//! The terminal that this process may have, and its process group.

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::termios::tcgetpgrp;

/// Whether this process has a controlling terminal and is in its foreground group. Then its children had better stay in that
/// group: Ctrl-C and Ctrl-Z reach them, and they may read from the terminal.
#[must_use]
pub fn is_in_terminals_foreground() -> bool {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    // Without a controlling terminal this cannot be opened (tty(4)).
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty());
    terminal
        .is_ok_and(|terminal| tcgetpgrp(&terminal).is_ok_and(|group| Some(group) == own_group()))
}

/// getpgrp: this process's group, if it has a number here. One whose leader is outside our pid namespace has none (`unshare --pid`):
/// the system says 0.
#[must_use]
pub fn own_group() -> Option<Pid> {
    // SAFETY: it takes nothing, touches no memory of ours, and never fails (getpgrp(2)).
    Pid::from_raw(unsafe { libc::getpgrp() })
}
