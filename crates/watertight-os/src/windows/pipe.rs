//! Making a pipe: one without a name, both ends overlapped. Who serves them is not known here.
//!
//! Windows's anonymous pipes are not overlapped, so this goes the way of std's own pipes to children: a pipe that is made
//! relative to the pipe file system's root, with no name, can be opened relative to the handle of its other end and in no
//! other way. There is nothing to guess, to list, to squat on or to join, and so no access list to get right.

use super::classify::{Call, classified};
use super::sys;
use crate::fault::fallible;
use crate::step::{Step, StepError, step};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::ptr::null_mut;
use watertight_core::{Class, OsCode};
use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_NON_DIRECTORY_FILE, FILE_PIPE_BYTE_STREAM_MODE, FILE_PIPE_BYTE_STREAM_TYPE,
    FILE_PIPE_QUEUE_OPERATION, FILE_PIPE_REJECT_REMOTE_CLIENTS, FILE_SYNCHRONOUS_IO_NONALERT,
    NtOpenFile,
};
use windows_sys::Win32::Foundation::{
    GENERIC_READ, GENERIC_WRITE, HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_READ_ATTRIBUTES, FILE_SHARE_READ, FILE_SHARE_WRITE, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

/// The bytes the pipe takes with nobody reading.
pub(super) const CAPACITY_BYTES: u32 = 64 * 1024;

/// No FILE_SYNCHRONOUS_IO among an open's options: overlapped.
const OVERLAPPED: u32 = 0;

/// The default of WaitNamedPipe in units of 100 ns, from now (negative). Nobody waits for this pipe; 0 is refused.
const WAIT_DEFAULT: i64 = -500_000;

/// The root of the pipe file system, in the kernel's names.
const ROOT: &str = r"\Device\NamedPipe\";

// windows-sys has no declaration of it.
#[cfg_attr(
    target_arch = "x86",
    link(
        name = "ntdll.dll",
        kind = "raw-dylib",
        modifiers = "+verbatim",
        import_name_type = "undecorated"
    )
)]
#[cfg_attr(
    not(target_arch = "x86"),
    link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    fn NtCreateNamedPipeFile(
        handle: *mut HANDLE,
        access: u32,
        attributes: *const OBJECT_ATTRIBUTES,
        block: *mut IO_STATUS_BLOCK,
        share: u32,
        disposition: u32,
        options: u32,
        pipe_type: u32,
        read_mode: u32,
        completion_mode: u32,
        instances_max: u32,
        inbound_quota: u32,
        outbound_quota: u32,
        default_timeout: *const i64,
    ) -> NTSTATUS;
}

/// Makes a pipe: its reading and its writing end. On failure nothing is left of it.
///
/// The reading end is the server, as with the system's own anonymous pipes. Which end closes first makes no difference:
/// what was written before stays readable.
pub(super) fn pipe() -> Result<(OwnedHandle, OwnedHandle), StepError> {
    pipe_with(OVERLAPPED)
}

/// A pipe for a child's output: our reading end, overlapped, and the child's writing end, which is not, as programs expect.
///
/// # Errors
/// The step that failed. Nothing is left behind.
pub fn output_pipe() -> std::io::Result<(OwnedHandle, OwnedHandle)> {
    let failed = |failed: StepError| match failed.os {
        Some(OsCode(code)) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::other(failed.to_string()),
    };
    pipe_with(FILE_SYNCHRONOUS_IO_NONALERT).map_err(failed)
}

/// std's pipe, whose ends are as programs expect them: the reading end and the writing end. Between two children.
///
/// # Errors
/// The system has no more of them. Nothing is left behind.
pub fn plain_pipe() -> std::io::Result<(OwnedHandle, OwnedHandle)> {
    let (from, into) = fallible("CreatePipe", Call::Create, std::io::pipe)?;
    Ok((from.into(), into.into()))
}

/// DuplicateHandle: a second handle of what a child is given as its stream.
///
/// # Errors
/// The system refuses.
pub fn duplicate(handle: &OwnedHandle) -> std::io::Result<OwnedHandle> {
    fallible("DuplicateHandle (stream)", Call::Duplicate, || {
        handle.try_clone()
    })
}

fn pipe_with(writing: u32) -> Result<(OwnedHandle, OwnedHandle), StepError> {
    let root = step(Step::OpenRoot, open_root)?;
    let reading = step(Step::CreatePipe, || create(root.as_handle()))?;
    let writing = step(Step::OpenEnd, || open(reading.as_handle(), writing))?;
    Ok((reading, writing))
}

/// NtOpenFile: the pipe file system's root.
fn open_root() -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let mut path: Vec<u16> = ROOT.encode_utf16().collect();
    let access = GENERIC_READ | SYNCHRONIZE;
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE;
    let make = || open_at(None, &mut path, access, share, FILE_SYNCHRONOUS_IO_NONALERT);
    fallible("NtOpenFile (root)", Call::Open, make).map_err(|code| classified(Call::Open, code))
}

/// NtOpenFile: the writing end of the pipe whose reading end this is.
fn open(
    reading: BorrowedHandle<'_>,
    synchronous: u32,
) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let access = GENERIC_WRITE | FILE_READ_ATTRIBUTES | SYNCHRONIZE;
    let options = FILE_NON_DIRECTORY_FILE | synchronous;
    let make = || open_at(Some(reading), &mut [], access, 0, options);
    fallible("NtOpenFile (pipe)", Call::Open, make).map_err(|code| classified(Call::Open, code))
}

/// What is to be opened or made: by its path, or by a path relative to `root`.
fn attributes(root: Option<BorrowedHandle<'_>>, path: &UNICODE_STRING) -> OBJECT_ATTRIBUTES {
    OBJECT_ATTRIBUTES {
        Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("48 bytes"),
        RootDirectory: root.map_or(null_mut(), |root| root.as_raw_handle()),
        ObjectName: path,
        // Not OBJ_INHERIT: no child gets it by accident.
        Attributes: OBJ_CASE_INSENSITIVE,
        // The token's default. Nobody can open what has no name.
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    }
}

fn unicode(path: &mut [u16]) -> UNICODE_STRING {
    let length = u16::try_from(size_of_val(path)).expect("the longest path is ROOT");
    UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: path.as_mut_ptr(),
    }
}

/// NtOpenFile.
fn open_at(
    root: Option<BorrowedHandle<'_>>,
    path: &mut [u16],
    access: u32,
    share: u32,
    options: u32,
) -> Result<OwnedHandle, u32> {
    let path = unicode(path);
    let attributes = attributes(root, &path);
    let mut raw = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: path, attributes and both records live until this synchronous call returns and are ours alone; the kernel keeps
    // no pointer to any of them. `root` is borrowed until then.
    let status = unsafe {
        NtOpenFile(
            &raw mut raw,
            access,
            &raw const attributes,
            &raw mut block,
            share,
            options,
        )
    };
    made(status, raw)
}

/// NtCreateNamedPipeFile: the reading end of a new pipe without a name.
fn create(root: BorrowedHandle<'_>) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let path = unicode(&mut []);
    let attributes = attributes(Some(root), &path);
    let timeout = WAIT_DEFAULT;
    let mut raw = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    let make = || {
        // SAFETY: path, attributes, timeout and both records live until this synchronous call returns and are ours alone; the
        // kernel keeps no pointer to any of them. `root` is borrowed until then.
        let status = unsafe {
            NtCreateNamedPipeFile(
                &raw mut raw,
                GENERIC_READ | SYNCHRONIZE,
                &raw const attributes,
                &raw mut block,
                // What the other end may do: it writes, so that bytes go one way.
                FILE_SHARE_WRITE,
                FILE_CREATE,
                OVERLAPPED,
                FILE_PIPE_BYTE_STREAM_TYPE | FILE_PIPE_REJECT_REMOTE_CLIENTS,
                FILE_PIPE_BYTE_STREAM_MODE,
                FILE_PIPE_QUEUE_OPERATION,
                1,
                CAPACITY_BYTES,
                CAPACITY_BYTES,
                &raw const timeout,
            )
        };
        made(status, raw)
    };
    fallible("NtCreateNamedPipeFile", Call::Create, make)
        .map_err(|code| classified(Call::Create, code))
}

/// The handle that the kernel made just now, or the code.
fn made(status: NTSTATUS, raw: HANDLE) -> Result<OwnedHandle, u32> {
    if status < 0 {
        return Err(sys::code_of_status(status));
    }
    // SAFETY: the kernel says that it made this handle for us; nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Wdk::Storage::FileSystem::FILE_MODE_INFORMATION;
    use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE_FLAG_INHERIT};

    fn ends() -> (OwnedHandle, OwnedHandle) {
        let root = open_root().unwrap();
        let reading = create(root.as_handle()).unwrap();
        let writing = open(reading.as_handle(), OVERLAPPED).unwrap();
        (reading, writing)
    }

    #[test]
    fn nobody_joins_a_pipe_that_has_both_ends() {
        let (reading, _writing) = ends();
        open(reading.as_handle(), OVERLAPPED).unwrap_err();
    }

    #[test]
    fn every_pipe_is_one_of_its_own() {
        let (first, second) = (ends(), ends());
        drop(first);
        open(second.0.as_handle(), OVERLAPPED).unwrap_err();
    }

    #[test]
    fn no_child_inherits_an_end() {
        let (reading, writing) = ends();
        for end in [&reading, &writing] {
            let mut flags = HANDLE_FLAG_INHERIT;
            // SAFETY: the handle is open and the flags are ours.
            let succeeded = unsafe { GetHandleInformation(end.as_raw_handle(), &raw mut flags) };
            assert_ne!(succeeded, 0);
            assert_eq!(flags & HANDLE_FLAG_INHERIT, 0);
        }
    }

    /// Programs expect that calls on theirs wait for their answers; ours is read by operations.
    #[test]
    fn a_childs_end_is_synchronous_and_ours_is_not() {
        let (ours, theirs) = output_pipe().unwrap();
        let is_synchronous = |end: &OwnedHandle| {
            let mode: FILE_MODE_INFORMATION = sys::query(end.as_handle()).unwrap();
            mode.Mode & FILE_SYNCHRONOUS_IO_NONALERT != 0
        };
        assert!(is_synchronous(&theirs));
        assert!(!is_synchronous(&ours));
    }
}
