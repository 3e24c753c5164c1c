//! Pseudo-terminals: refused, for a child cannot be given one.

use super::OsHandle;
use crate::process::{TerminalEnds, TerminalSize};
use std::io;

fn refused() -> io::Error {
    let text = "Windows gives a child a pseudo-terminal (ConPTY) by an attribute of CreateProcess, which std's Command cannot pass \
                on yet: use pipes";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Refused.
///
/// # Errors
/// Always (`Unsupported`), with the reason.
pub fn open_terminal(_size: TerminalSize) -> io::Result<TerminalEnds> {
    Err(refused())
}

/// Refused: there is no terminal.
///
/// # Errors
/// Always (`Unsupported`), with the reason.
pub fn resize_terminal(_end: &OsHandle, _size: TerminalSize) -> io::Result<()> {
    Err(refused())
}
