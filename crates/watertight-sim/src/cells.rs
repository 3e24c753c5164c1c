//! Counts the cells (call × code) of both classification tables, and which of them were driven.

use crate::codes::{Call, Code, UNIX, WINDOWS};
use crate::faults::is_driven;
use watertight_core::{Cause, Class, Error, ErrorKind, OsCode, Verb};
use watertight_os::classify as unix;
use watertight_os::windows::classify as windows;

/// How many cells there are, and how many were driven.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// All.
    pub all: usize,
    /// Those that were driven.
    pub driven: usize,
}

/// The calls that a pipe's life makes after its construction: the simulated kernel fails them.
fn is_of_life(call: Call) -> bool {
    match call {
        Call::Unix(call) => {
            use unix::Call as C;
            matches!(call, C::Close | C::Query | C::Read | C::Wait | C::Write)
        }
        Call::Windows(call) => {
            use windows::Call as C;
            matches!(
                call,
                C::Cancel | C::Close | C::Flush | C::Read | C::Wait | C::Write
            )
        }
    }
}

/// The cells of those calls; driven if a fault of that call and code was told to the real driver.
#[must_use]
pub fn of_life() -> Count {
    let mut count = Count::default();
    for call in Call::all().filter(|call| is_of_life(*call)) {
        for code in (0..call.codes()).map(Code) {
            count.all += 1;
            count.driven += usize::from(is_driven(call, code));
        }
    }
    count
}

/// The cells of those calls that were not driven.
#[must_use]
pub fn missing() -> Vec<(Call, i32)> {
    let cells = Call::all()
        .filter(|call| is_of_life(*call))
        .flat_map(|call| (0..call.codes()).map(move |code| (call, Code(code))));
    cells
        .filter(|(call, code)| !is_driven(*call, *code))
        .map(|(call, code)| (call, call.raw(code)))
        .collect()
}

/// The cells of the other calls (constructions; listeners and children, which are not there yet): each is classified and
/// made into an error as a construction does it. An error that says nothing, or a success, is not counted as driven.
#[must_use]
pub fn of_constructions() -> Count {
    let mut count = Count::default();
    for call in Call::all().filter(|call| !is_of_life(*call)) {
        for code in (0..call.codes()).map(Code) {
            count.all += 1;
            count.driven += usize::from(told_as_error(call, code));
        }
    }
    count
}

fn told_as_error(call: Call, code: Code) -> bool {
    let raw = call.raw(code);
    let class = match call {
        Call::Unix(call) => unix::classify(call, UNIX[code.0]),
        Call::Windows(call) if windows::is_success(call, WINDOWS[code.0]) => {
            // A success is told as one, and a failure with that code is still a failure.
            return windows::classify(call, WINDOWS[code.0]) == Class::Io;
        }
        Call::Windows(call) => windows::classify(call, WINDOWS[code.0]),
    };
    let cause = Cause {
        kind: class.kind(),
        os: Some(OsCode(raw)),
    };
    let error = Error::without_bytes(Verb::Adopt, cause);
    let text = error.to_string();
    error.kind == ErrorKind::from_class(class) && text.contains(&format!("os error {raw}"))
}

/// The kind that a class is told as, a second time: this table is the checker's own.
trait FromClass {
    fn from_class(class: Class) -> Self;
}

impl FromClass for ErrorKind {
    fn from_class(class: Class) -> Self {
        match class {
            Class::Aborted => Self::Cancelled,
            Class::Argument => Self::InvalidInput,
            Class::Busy => Self::Busy,
            Class::Denied => Self::Denied,
            Class::EndOfStream | Class::Gone => Self::BrokenPipe,
            Class::Limit => Self::Limit,
            Class::NotConnected => Self::NotConnected,
            Class::NotFound => Self::NotFound,
            Class::Reset => Self::Reset,
            Class::Taken => Self::Taken,
            Class::Unsupported => Self::Unsupported,
            Class::WrongProcess => Self::WrongProcess,
            Class::Bug
            | Class::Interrupted
            | Class::Io
            | Class::Partial
            | Class::Pending
            | Class::Wait => Self::Os,
        }
    }
}
