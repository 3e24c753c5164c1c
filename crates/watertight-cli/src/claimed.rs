//! Descriptors that the program was started with.

use crate::address::{Address, Place};
use crate::end::{End, Failure};
use crate::platform;
use std::fs::File;
use std::io;
use watertight::{Direction, OsHandle};

/// Where our messages go.
const STANDARD_ERROR: u32 = 2;
/// The standard streams' numbers end here.
const STANDARD_STREAMS: u32 = 3;

/// Descriptors above the standard streams, to be taken before this program opens anything that could get their numbers.
pub(crate) struct Claimed {
    files: Vec<(u32, File)>,
    /// The first that was not there.
    failure: Option<Failure>,
}

impl Claimed {
    pub(crate) fn take<'a>(ends: impl IntoIterator<Item = (End, &'a Address)>) -> Self {
        let mut files: Vec<(u32, File)> = Vec::new();
        let mut failure = None;
        for (end, address) in ends {
            if let Place::Fd(number) = address.place
                && number >= STANDARD_STREAMS
            {
                // One that got its number since is ours.
                let mut ours = files.iter().map(|(_, file)| file);
                let handle = if ours.any(|file| platform::has_number(file, number)) {
                    Err(cannot_use(end, address, number, "the number was free"))
                } else {
                    inherited(end, address, number)
                };
                match handle {
                    Ok(handle) => files.push((number, File::from(handle))),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        Self { files, failure }
    }

    /// Looks at what is behind a descriptor that the program was started with, and takes no further one for it.
    pub(crate) fn look<T>(&self, number: u32, look: impl FnOnce(&File) -> Option<T>) -> Option<T> {
        if number < STANDARD_STREAMS {
            return platform::look_at_standard(number, look);
        }
        let (_, file) = self.files.iter().find(|(known, _)| *known == number)?;
        look(file)
    }

    /// A second descriptor of one that the program was started with, to be written as it is. It may be one of these, too.
    pub(crate) fn copy_to_write(&self, number: u32) -> io::Result<File> {
        // One that got its number since is ours.
        let mut ours = self.files.iter().map(|(_, file)| file);
        if ours.any(|file| platform::has_number(file, number)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let handle = if number < STANDARD_STREAMS {
            platform::standard_at_start(number)?;
            platform::standard_copy(number)?
        } else {
            watertight::inherited(number, Direction::Write)?
        };
        let file = File::from(handle);
        if platform::is_writable(&file) {
            Ok(file)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// The first that was not there.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<OsHandle> {
        let index = self.files.iter().position(|(known, _)| *known == number)?;
        Some(self.files.swap_remove(index).1.into())
    }
}

/// What is behind a descriptor that the program was started with.
pub(crate) fn inherited(end: End, address: &Address, number: u32) -> Result<OsHandle, Failure> {
    let direction = match end {
        End::Source => Direction::Read,
        End::Destination(_) => Direction::Write,
    };
    let opened = if number == STANDARD_ERROR {
        // A copy: a terminal has our messages, too.
        let copy = platform::standard_at_start(number);
        let copy = copy.and_then(|()| platform::standard_copy(number));
        copy.map_err(|error| error.to_string())
    } else {
        watertight::inherited(number, direction).map_err(|error| error.to_string())
    };
    opened.map_err(|error| cannot_use(end, address, number, &error))
}

fn cannot_use(end: End, address: &Address, number: u32, error: &str) -> Failure {
    let redirection = redirection(end, number);
    let way_out =
        format!("is it open? Open it where this program is started, as in `{redirection}`");
    (end, format!("cannot use {address}: {error}; {way_out}"))
}

/// How a shell opens this descriptor for the program that it starts.
pub(crate) fn redirection(end: End, number: u32) -> String {
    let (sign, default) = match end {
        End::Destination(_) => ('>', 1),
        End::Source => ('<', 0),
    };
    if number == default {
        format!("{sign}file")
    } else {
        format!("{number}{sign}file")
    }
}
