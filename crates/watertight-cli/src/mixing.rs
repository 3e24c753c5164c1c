//! Messages and children's outputs never get into the data: which of our own streams are ends of the copy, and what follows.

use crate::address::{Address, Place};
use crate::claimed::Claimed;
use crate::discarded::{Discarded, closed};
use crate::end::End;
use crate::flags::CopyFlags;
use crate::identity::{self, Thing};
use crate::platform;
use std::fs::File;
use std::io::{self, IsTerminal};
use watertight::Output;

const STANDARD_OUTPUT: u32 = 1;
const STANDARD_ERROR: u32 = 2;

/// What a standard stream of ours is to the copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StreamUse {
    /// It was closed at the start, and what is written there goes nowhere.
    Closed,
    /// It is an end of the copy, under whatever name.
    Data,
    Free,
}

/// What our standard streams are to the copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DataStreams {
    stdout: StreamUse,
    stderr: StreamUse,
}

impl DataStreams {
    /// To be asked before anything is opened: a standard stream that is taken over leaves the null device in its place.
    pub(crate) fn of(flags: &CopyFlags, claimed: &Claimed) -> Self {
        let stream_use = |number| {
            let look = |stream: &File| Some(is_end(number, stream, flags, claimed));
            if platform::standard_at_start(number).is_err() {
                StreamUse::Closed
            } else if claimed.look(number, look) == Some(true) {
                StreamUse::Data
            } else {
                StreamUse::Free
            }
        };
        Self {
            stdout: stream_use(STANDARD_OUTPUT),
            stderr: stream_use(STANDARD_ERROR),
        }
    }

    /// Whether standard error is an end of the copy: nothing may be said there.
    pub(crate) fn is_stderr_an_end(self) -> bool {
        self.stderr == StreamUse::Data
    }

    /// What goes nowhere of what a destination's child prints. Of a source's child that is its standard error only.
    pub(crate) fn discarded(self) -> Discarded {
        let output = match (self.stdout, self.stderr) {
            (StreamUse::Closed, _) => Some(closed(STANDARD_OUTPUT)),
            (StreamUse::Data, StreamUse::Closed) => Some(
                "standard output is an end of the copy, and standard error is closed (`2>messages` keeps it)",
            ),
            (StreamUse::Data, StreamUse::Data) => Some(
                "standard output and standard error are both ends of the copy (`2>messages` keeps it)",
            ),
            (StreamUse::Data, StreamUse::Free) | (StreamUse::Free, _) => None,
        };
        let stderr = match self.stderr {
            StreamUse::Closed => Some(closed(STANDARD_ERROR)),
            StreamUse::Data => Some("standard error is an end of the copy (`2>messages` keeps it)"),
            StreamUse::Free => None,
        };
        Discarded { output, stderr }
    }

    /// The standard output of a destination's child.
    pub(crate) fn child_stdout(self) -> io::Result<Output> {
        Ok(match (self.stdout, self.stderr) {
            (StreamUse::Data, StreamUse::Data) => Output::null(),
            (StreamUse::Data, StreamUse::Closed | StreamUse::Free) => {
                Output::from_handle(platform::standard_copy(STANDARD_ERROR)?)
            }
            (StreamUse::Closed | StreamUse::Free, _) => Output::inherited(),
        })
    }

    /// The standard error of a child. Where we say nothing, it says nothing: its exit status tells.
    pub(crate) fn child_stderr(self) -> Output {
        if self.is_stderr_an_end() {
            Output::null()
        } else {
            Output::inherited()
        }
    }
}

/// Whether the standard stream of this number is an end of the copy.
fn is_end(number: u32, stream: &File, flags: &CopyFlags, claimed: &Claimed) -> bool {
    // A terminal is made for both, and in the null device nothing is mixed.
    if stream.is_terminal() || platform::is_null_device(stream) {
        return false;
    }
    let thing = Thing::of(stream);
    let is_it = |address: &Address| match &address.place {
        Place::Fd(other) if *other == number => true,
        Place::Exec(_) => false,
        Place::Fd(_) | Place::Fifo(_) | Place::File(..) => {
            thing.is_some() && identity::of_address(address, claimed) == thing
        }
    };
    // What is read from a socket or a device is not what is written there: an answer of a child's may go back.
    let is_two_way = thing.as_ref().is_some_and(Thing::may_be_named_twice);
    let counts = |end: End| end != End::Source || !is_two_way;
    flags
        .ends()
        .any(|(end, address)| counts(end) && is_it(address))
}
