//! Messages and children's outputs never get into the data: which of our own streams are ends of the copy, and what follows.

use crate::address::{Address, Place};
use crate::claimed::Claimed;
use crate::end::End;
use crate::flags::CopyFlags;
use crate::identity::{self, Thing};
use crate::platform;
use std::fs::File;
use std::io::{self, IsTerminal};
use watertight::Output;

const STANDARD_OUTPUT: u32 = 1;
const STANDARD_ERROR: u32 = 2;

/// Which of our standard streams are ends of the copy, under whatever name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct DataStreams {
    stdout: bool,
    /// Nothing may be said there.
    pub(crate) stderr: bool,
}

impl DataStreams {
    /// To be asked before anything is opened: a standard stream that is taken over leaves the null device in its place.
    pub(crate) fn of(flags: &CopyFlags, claimed: &Claimed) -> Self {
        let carries_data = |number| {
            let look = |stream: &File| Some(is_end(number, stream, flags, claimed));
            claimed.look(number, look) == Some(true)
        };
        Self {
            stdout: carries_data(STANDARD_OUTPUT),
            stderr: carries_data(STANDARD_ERROR),
        }
    }

    /// Whether what a destination's child prints goes nowhere: both of our streams are ends.
    pub(crate) fn discard_output(self) -> bool {
        self.stdout && self.stderr
    }

    /// The standard output of a destination's child.
    pub(crate) fn child_stdout(self) -> io::Result<Output> {
        Ok(if self.discard_output() {
            Output::null()
        } else if self.stdout {
            Output::from_handle(platform::standard_copy(STANDARD_ERROR)?)
        } else {
            Output::inherited()
        })
    }

    /// The standard error of a child. Where we say nothing, it says nothing: its exit status tells.
    pub(crate) fn child_stderr(self) -> Output {
        if self.stderr {
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
