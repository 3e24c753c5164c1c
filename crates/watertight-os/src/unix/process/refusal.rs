//! Which of a program's files the kernel refuses to run, and whether it is the directory: a start tells one code for all of them.

#[cfg(any(target_os = "android", target_os = "linux"))]
use super::mask::with_all_blocked;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
use super::other::with_all_blocked;
use super::run_as::pass_on;
use crate::process::RunAs;
use rustix::fs::{Access, FileType, access, stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a child tells that has refused nothing; of the first file one more, and so on. The system's own codes are smaller (Linux:
/// `MAX_ERRNO`, 4095).
const NOTHING_REFUSED: i32 = 4096;

/// What the system has refused a child before its program runs.
pub(super) enum Refusal {
    /// To enter its directory.
    Directory,
    /// To run this one of the files.
    File(usize),
    /// Nothing that shows.
    Nothing,
}

/// Whether it is the directory of which the system says this, or which of the files, as the child names them in its directory.
pub(super) fn look(
    run_as: RunAs,
    directory: Option<&Path>,
    files: &[PathBuf],
    code: Errno,
) -> Refusal {
    // That user may enter and run what we may not, and the other way round.
    let by_child = if run_as == RunAs::default() {
        None
    } else {
        look_as(run_as, directory, files, code)
    };
    by_child.unwrap_or_else(|| look_ourselves(directory, files, code))
}

fn look_ourselves(directory: Option<&Path>, files: &[PathBuf], code: Errno) -> Refusal {
    if directory.is_some_and(|directory| !can_be_entered(directory)) {
        return Refusal::Directory;
    }
    let here = directory.unwrap_or(Path::new(""));
    let files: Vec<CString> = files.iter().map(|file| c_name(&here.join(file))).collect();
    first_refused(&files, code).map_or(Refusal::Nothing, Refusal::File)
}

/// Starts a child that does what std has it do before exec, becomes that user and enters the directory, then looks at the files, and ends.
/// `None`: it has come to nothing of that.
fn look_as(
    run_as: RunAs,
    directory: Option<&Path>,
    files: &[PathBuf],
    code: Errno,
) -> Option<Refusal> {
    // It is never run.
    let mut child = Command::new("/");
    pass_on(&mut child, run_as);
    if let Some(directory) = directory {
        child.current_dir(directory);
    }
    let files: Vec<CString> = files.iter().map(|file| c_name(file)).collect();
    let tell = move || -> io::Result<()> {
        let at = first_refused(&files, code).and_then(|at| i32::try_from(at).ok());
        let told = at.map_or(NOTHING_REFUSED, |at| NOTHING_REFUSED + 1 + at);
        Err(io::Error::from_raw_os_error(told))
    };
    // SAFETY: the closure runs in the child between fork and exec. It makes calls that are async-signal-safe (access, stat), allocates
    // nothing, takes no lock, and reads only names that it owns: the child has its own copy of that memory.
    unsafe { child.pre_exec(tell) };
    // std reaps it, for it always fails.
    let told = with_all_blocked(|| child.spawn()).err()?.raw_os_error()?;
    if told >= NOTHING_REFUSED {
        let at = usize::try_from(told - NOTHING_REFUSED).ok()?;
        let at = at.checked_sub(1);
        return Some(at.map_or(Refusal::Nothing, Refusal::File));
    }
    let is_directorys = directory.is_some() && told == code.raw_os_error();
    is_directorys.then_some(Refusal::Directory)
}

fn can_be_entered(directory: &Path) -> bool {
    directory.is_dir() && access(directory, Access::EXEC_OK).is_ok()
}

/// A path as the system has it. std has refused those with a zero byte.
fn c_name(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// The first of these files of which exec says this. It makes two system calls for each, and allocates nothing.
fn first_refused(files: &[CString], code: Errno) -> Option<usize> {
    files.iter().position(|file| code_of(file) == Some(code))
}

/// access and stat: what exec says of this file itself, if it may not be run.
fn code_of(file: &CStr) -> Option<Errno> {
    if let Err(code) = access(file, Access::EXEC_OK) {
        return Some(code);
    }
    let mode = stat(file).map(|stat| stat.st_mode);
    let is_file = mode.is_ok_and(|mode| FileType::from_raw_mode(mode).is_file());
    // A folder that may be entered is no program, nor is a device.
    (!is_file).then_some(Errno::ACCESS)
}
