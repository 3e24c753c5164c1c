//! Which of a program's files the kernel refuses to run: a start tells one code for all of them.

use rustix::fs::{Access, FileType, access, stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// The first of these files of which exec says this. It makes two system calls for each, and allocates nothing.
pub(super) fn first_refused(files: &[CString], code: Errno) -> Option<usize> {
    files.iter().position(|file| refusal(file) == Some(code))
}

/// access and stat: what exec says of this file itself, if it may not be run.
fn refusal(file: &CStr) -> Option<Errno> {
    if let Err(code) = access(file, Access::EXEC_OK) {
        return Some(code);
    }
    let mode = stat(file).map(|stat| stat.st_mode);
    let is_file = mode.is_ok_and(|mode| FileType::from_raw_mode(mode).is_file());
    // A folder that may be entered is no program, nor is a device.
    (!is_file).then_some(Errno::ACCESS)
}
