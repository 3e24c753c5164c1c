//! The standard streams this process was started with.

use super::OsHandle;
use super::classify::{Call, told};
use super::sys::{self, last_error};
use crate::step::{Direction, Step, StepError, step};
use std::io::Write;
use std::os::windows::io::{FromRawHandle, IntoRawHandle, OwnedHandle, RawHandle};
use std::ptr::null_mut;
use watertight_core::{Class, OsCode};
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_INVALID_HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    OPEN_EXISTING,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;
use windows_sys::core::w;

const STREAMS: [STD_HANDLE; 3] = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE];

/// A handle of our own for standard stream 0, 1 or 2: not inherited by children, and the only one.
///
/// The null device takes the stream's place and the original is closed, so that ending ours ends the stream. From then on
/// `println!` and friends write nowhere. What the program had buffered there is written out first, and a thread that is
/// just reading or writing the stream through `std` is waited for: do not call this while holding std's lock of stdin, and
/// call it before anybody reads stdin, because what std has read ahead stays with std. A C library that has the same
/// stream open keeps its own number for the handle: it must not use the stream any more.
///
/// # Errors
/// There is no such stream (Windows has no other inherited numbers), or the system is out of handles. Nothing changed.
pub fn inherited(number: u32, direction: Direction) -> Result<OsHandle, StepError> {
    step(Step::Duplicate, || {
        let stream = usize::try_from(number)
            .ok()
            .and_then(|index| STREAMS.get(index));
        let stream = *stream.ok_or((Class::Unsupported, None))?;
        with_std_locked(number, || take(stream, direction))
    })
}

/// Runs `run` while no thread is within std's own use of that stream.
fn with_std_locked<T>(number: u32, run: impl FnOnce() -> T) -> T {
    match number {
        0 => {
            let _stream = std::io::stdin().lock();
            run()
        }
        1 => {
            let mut stream = std::io::stdout().lock();
            // Its failure is the stream's, which is not ours to report: std would have swallowed it at exit as well.
            let _ = stream.flush();
            run()
        }
        _ => {
            let _stream = std::io::stderr().lock();
            run()
        }
    }
}

/// Everything that can fail first, then the exchange.
fn take(stream: STD_HANDLE, direction: Direction) -> Result<OsHandle, (Class, Option<OsCode>)> {
    let original = standard(stream)?;
    let null_device = open_null(direction)?;
    let ours = duplicate(original)?;
    let shared = STREAMS
        .iter()
        .filter(|&&other| other != stream)
        .any(|&other| standard(other).is_ok_and(|handle| handle == original));
    replace(stream, null_device)?;
    if !shared {
        // SAFETY: std never owns the standard handles: it asks GetStdHandle at every use, and we hold the lock under
        // which it uses this one, so from now on it finds the null device. No other standard stream has this number, and
        // no OwnedHandle does: whoever makes one of a standard handle breaks std's own rule. C code is told to stay away.
        let original = unsafe { OwnedHandle::from_raw_handle(original) };
        drop(original);
    }
    Ok(ours)
}

/// GetStdHandle. A program without a console may have none.
fn standard(stream: STD_HANDLE) -> Result<RawHandle, (Class, Option<OsCode>)> {
    // SAFETY: it reads a field of the process; no memory of ours is involved.
    let raw = unsafe { GetStdHandle(stream) };
    if raw.is_null() || raw == INVALID_HANDLE_VALUE {
        return Err((
            Class::NotFound,
            Some(super::classify::os(ERROR_INVALID_HANDLE)),
        ));
    }
    Ok(raw)
}

/// SetStdHandle. The handle belongs to the process from then on.
fn replace(stream: STD_HANDLE, by: OwnedHandle) -> Result<(), (Class, Option<OsCode>)> {
    let raw = by.into_raw_handle();
    // SAFETY: it writes a field of the process. The handle stays open for the rest of it: nobody closes it.
    let succeeded = unsafe { SetStdHandle(stream, raw) };
    if succeeded != 0 {
        return Ok(());
    }
    let code = last_error();
    // SAFETY: the process did not take it; it came out of an OwnedHandle above and is ours to close.
    drop(unsafe { OwnedHandle::from_raw_handle(raw) });
    Err(told(Call::Duplicate, code))
}

/// DuplicateHandle, not inheritable.
fn duplicate(original: RawHandle) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    // SAFETY: it answers a constant; no memory of anybody's is involved.
    let process = unsafe { GetCurrentProcess() };
    let mut raw = null_mut();
    // SAFETY: the system checks the number and writes one handle into `raw`, which is ours.
    let succeeded = unsafe {
        DuplicateHandle(
            process,
            original,
            process,
            &raw mut raw,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        )
    };
    if succeeded == 0 {
        return Err(match last_error() {
            // The number that the process was started with is not open here: that is not our mistake.
            ERROR_INVALID_HANDLE => (
                Class::NotFound,
                Some(super::classify::os(ERROR_INVALID_HANDLE)),
            ),
            code => told(Call::Duplicate, code),
        });
    }
    // SAFETY: the system made this handle just now for us; nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
}

/// CreateFileW on NUL. Inheritable, as standard streams are: children expect one, and this one tells them nothing.
fn open_null(direction: Direction) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let access = match direction {
        Direction::Read => FILE_GENERIC_READ,
        Direction::Write => FILE_GENERIC_WRITE,
    };
    let attributes = SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).expect("24 bytes"),
        lpSecurityDescriptor: null_mut(),
        bInheritHandle: 1,
    };
    // SAFETY: the name is static and ends with a zero, the attributes live until the call returns.
    let raw = unsafe {
        CreateFileW(
            w!("NUL"),
            access,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            &raw const attributes,
            OPEN_EXISTING,
            0,
            null_mut(),
        )
    };
    // SAFETY: straight from CreateFileW, and nobody else knows it.
    unsafe { sys::made(raw) }.map_err(|code| told(Call::Open, code))
}
