//! The standard streams this process was started with.

use super::classify::{Call, classified, os};
use super::sys;
use crate::step::{Direction, Step, StepError, step};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, IntoRawHandle, OwnedHandle};
use watertight_core::{Class, OsCode};
use windows_sys::Win32::Foundation::{ERROR_INVALID_HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Console::{
    STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
};

const STREAMS: [STD_HANDLE; 3] = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE];

/// A handle of our own for standard stream 0, 1 or 2, not inherited by children.
///
/// The null device takes the stream's place: from then on `println!` and friends write nowhere. What the program had
/// buffered there is written out first, and a thread that is just reading or writing the stream through `std` is waited
/// for: do not call this while holding std's lock of stdin, and call it before anybody reads stdin, because what std has
/// read ahead stays with std.
///
/// The original handle stays open, out of children's reach, until the process ends: somebody may hold a borrow of it
/// (`std::io::stderr().as_handle()` is good for as long as the stream, which is for ever), and a number that is closed
/// under a borrow becomes somebody else's file. So a peer sees the end of such a stream when this process ends.
///
/// # Errors
/// There is no such stream (Windows has no other inherited numbers), or the system is out of handles. Nothing changed.
pub fn inherited(number: u32, direction: Direction) -> Result<OwnedHandle, StepError> {
    step(Step::Duplicate, || {
        let stream = usize::try_from(number)
            .ok()
            .and_then(|index| STREAMS.get(index));
        let stream = *stream.ok_or((Class::Unsupported, None))?;
        match number {
            0 => take(stream, io::stdin().lock().as_handle(), direction),
            1 => {
                let mut original = io::stdout().lock();
                // Its failure is the stream's, not ours to report: std would have swallowed it at exit as well.
                let _ = original.flush();
                take(stream, original.as_handle(), direction)
            }
            _ => take(stream, io::stderr().lock().as_handle(), direction),
        }
    })
}

/// SetHandleInformation: from now on no child gets the standard streams that this process was started with, unless one is given to it as a
/// stream of its own.
///
/// Whoever starts a process with redirected streams makes these inheritable, and so they are here. A child of std's or of this library's gets
/// every inheritable handle of this process, whatever its own streams are; so one that outlives this process keeps our streams open, and
/// whoever reads them waits for it. std gives a child that is to inherit a stream a duplicate, so that such a child has it all the same. Code
/// that calls `CreateProcessW` by itself has to do so too.
///
/// For a program to call before its first child; in a library these handles are somebody else's.
///
/// # Errors
/// The system refuses it for a stream that is there; the others are kept from children. A stream that is not there is none.
pub fn keep_standard_streams_from_children() -> io::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut kept = Ok(());
    for stream in [stdin.as_handle(), stdout.as_handle(), stderr.as_handle()] {
        if is_missing(stream) {
            continue;
        }
        let one = match sys::keep_from_children(stream) {
            // The number that the process was started with is not open here.
            Ok(()) | Err(ERROR_INVALID_HANDLE) => Ok(()),
            Err(code) => Err(io::Error::from_raw_os_error(code.cast_signed())),
        };
        kept = kept.and(one);
    }
    kept
}

/// A program without a console may have no such stream.
fn is_missing(stream: BorrowedHandle<'_>) -> bool {
    let raw = stream.as_raw_handle();
    raw.is_null() || raw == INVALID_HANDLE_VALUE
}

/// Everything that can fail first, then the exchange.
fn take(
    stream: STD_HANDLE,
    original: BorrowedHandle<'_>,
    direction: Direction,
) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let null_device = open_null(direction)?;
    let ours = duplicate(original)?;
    replace(stream, null_device)?;
    // Children are to inherit the null device. A failure leaves what there was before: a handle that children may get.
    let _ = sys::keep_from_children(original);
    Ok(ours)
}

/// SetStdHandle. The handle belongs to the process from then on.
fn replace(stream: STD_HANDLE, by: OwnedHandle) -> Result<(), (Class, Option<OsCode>)> {
    // SAFETY: it writes a field of the process, and touches no memory of ours. std never owns what stands there, and this
    // handle stays open for the rest of the process: nobody closes it.
    let succeeded = unsafe { SetStdHandle(stream, by.as_raw_handle()) };
    if succeeded == 0 {
        return Err(classified(Call::Duplicate, sys::last_error()));
    }
    // The process has it for good.
    let _ = by.into_raw_handle();
    Ok(())
}

/// DuplicateHandle, not inheritable.
fn duplicate(original: BorrowedHandle<'_>) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let missing = (Class::NotFound, Some(os(ERROR_INVALID_HANDLE)));
    if is_missing(original) {
        return Err(missing);
    }
    original.try_clone_to_owned().map_err(|error| {
        match error.raw_os_error().map(i32::cast_unsigned) {
            // The number that the process was started with is not open here: that is not our mistake.
            Some(ERROR_INVALID_HANDLE) | None => missing,
            Some(code) => classified(Call::Duplicate, code),
        }
    })
}

/// The null device, inheritable as standard streams are: children expect one, and this one tells them nothing.
fn open_null(direction: Direction) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let failed = |error: io::Error| {
        let code = error.raw_os_error().map_or(0, i32::cast_unsigned);
        classified(Call::Open, code)
    };
    let mut options = OpenOptions::new();
    match direction {
        Direction::Read => options.read(true),
        Direction::Write => options.write(true),
    };
    let null: OwnedHandle = options.open("NUL").map_err(failed)?.into();
    sys::give_to_children(null.as_handle()).map_err(|code| classified(Call::Query, code))?;
    Ok(null)
}
