//! Orphans where no process can ask for them: only Linux has that here.

use crate::process::{Found, TreeEnd};
use std::io;

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// Not to be had on this system.
///
/// # Errors
/// Always.
pub fn adopt() -> io::Result<()> {
    Err(unsupported())
}

/// There are none.
///
/// # Errors
/// Always.
pub fn reap(_own: u32) -> io::Result<Vec<Found>> {
    Err(unsupported())
}

/// There are none.
pub fn terminate(own: u32) -> TreeEnd {
    kill(own)
}

/// There are none.
pub fn kill(_own: u32) -> TreeEnd {
    TreeEnd {
        error: Some(unsupported()),
        ..TreeEnd::default()
    }
}
