//! Why a start failed: the code that CreateProcess left, and a look at the directory, which it does not tell apart everywhere.

use crate::process::{StartError, StartStep};
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use windows_sys::Win32::Foundation as win;

/// Makes std's error one that says what failed.
pub(super) fn explained(command: &Command, error: io::Error) -> StartError {
    let (step, path) = step_of(command, &error);
    StartError {
        step,
        program: command.get_program().to_owned(),
        path,
        run_as: None,
        error,
    }
}

fn step_of(command: &Command, error: &io::Error) -> (StartStep, Option<PathBuf>) {
    let Some(code) = error.raw_os_error().map(i32::cast_unsigned) else {
        return (of_kind(command, error.kind()), None);
    };
    let may_be_the_directory = matches!(
        code,
        win::ERROR_ACCESS_DENIED
            | win::ERROR_DIRECTORY
            | win::ERROR_FILE_NOT_FOUND
            | win::ERROR_INVALID_NAME
            | win::ERROR_PATH_NOT_FOUND
    );
    let directory = command.get_current_dir();
    if let Some(directory) = directory.filter(|path| may_be_the_directory && !path.is_dir()) {
        return (StartStep::Directory, Some(directory.to_owned()));
    }
    (of_code(code), None)
}

/// std's own: it looks for the program itself, and refuses what names none and what cannot be passed on.
fn of_kind(command: &Command, kind: io::ErrorKind) -> StartStep {
    let is_refused = kind == io::ErrorKind::InvalidInput;
    if kind == io::ErrorKind::NotFound || is_refused && names_no_file(command.get_program()) {
        StartStep::Program
    } else if is_refused {
        StartStep::Arguments
    } else {
        StartStep::Other
    }
}

/// Nothing, or a folder.
fn names_no_file(program: &OsStr) -> bool {
    let last = program.as_encoded_bytes().last();
    last.is_none_or(|last| matches!(last, b'/' | b'\\'))
}

const fn of_code(code: u32) -> StartStep {
    match code {
        win::ERROR_FILENAME_EXCED_RANGE => StartStep::Arguments,
        win::ERROR_SHARING_VIOLATION => StartStep::Busy,
        win::ERROR_DIRECTORY => StartStep::Directory,
        win::ERROR_BAD_EXE_FORMAT
        | win::ERROR_EXE_MACHINE_TYPE_MISMATCH
        | win::ERROR_INVALID_EXE_SIGNATURE => StartStep::Format,
        win::ERROR_ACCESS_DENIED
        | win::ERROR_ELEVATION_REQUIRED
        | win::ERROR_PRIVILEGE_NOT_HELD
        | win::ERROR_VIRUS_INFECTED => StartStep::Permission,
        win::ERROR_FILE_NOT_FOUND | win::ERROR_INVALID_NAME | win::ERROR_PATH_NOT_FOUND => {
            StartStep::Program
        }
        win::ERROR_COMMITMENT_LIMIT
        | win::ERROR_NO_SYSTEM_RESOURCES
        | win::ERROR_NOT_ENOUGH_MEMORY
        | win::ERROR_NOT_ENOUGH_QUOTA
        | win::ERROR_TOO_MANY_OPEN_FILES => StartStep::Resources,
        _ => StartStep::Other,
    }
}
