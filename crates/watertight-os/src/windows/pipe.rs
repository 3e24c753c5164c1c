//! Making a pipe: a uniquely named one with one instance, both ends overlapped, open to its owner only.
//!
//! Windows's anonymous pipes are not overlapped. The name is 128 random bits, the kernel is asked to fail if it exists
//! (FILE_CREATE, which Wine honours too, other than the first-instance flag), and there is no second instance to join.

use super::classify::{Call, classified};
use super::handle::{Handle, associate};
use super::port::Port;
use super::security::{Descriptor, random};
use super::sys;
use crate::fault::fallible;
use crate::step::{Direction, Step, StepError, step};
use std::os::windows::io::{AsHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use watertight_core::{Class, OsCode};
use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_PIPE_BYTE_STREAM_MODE, FILE_PIPE_BYTE_STREAM_TYPE, FILE_PIPE_QUEUE_OPERATION,
    FILE_PIPE_REJECT_REMOTE_CLIENTS,
};
use windows_sys::Win32::Foundation::{
    GENERIC_READ, GENERIC_WRITE, HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, FILE_READ_ATTRIBUTES, FILE_SHARE_WRITE, OPEN_EXISTING,
    SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

/// The bytes the pipe takes with nobody reading.
const CAPACITY_BYTES: u32 = 64 * 1024;

/// The default of WaitNamedPipe in units of 100 ns, from now (negative). Nobody waits for this pipe; 0 is refused.
const WAIT_DEFAULT: i64 = -500_000;

/// Where pipes are, in the kernel's names and in the program's.
const KERNEL_FOLDER: &str = r"\??\pipe\";
const FOLDER: &str = r"\\.\pipe\";

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
pub(super) fn pipe(port: &Arc<Port>) -> Result<(Handle, Handle), StepError> {
    let name = step(Step::RandomName, || {
        random().map(|bits| format!("watertight-{bits:032x}"))
    })?;
    let descriptor = step(Step::SecurityDescriptor, Descriptor::owner_only)?;
    let reading = step(Step::CreatePipe, || create(&name, &descriptor))?;
    let writing = step(Step::OpenEnd, || open(&name))?;
    associate(port, reading.as_handle())?;
    associate(port, writing.as_handle())?;
    let capacity = u64::from(CAPACITY_BYTES);
    Ok((
        Handle::own(reading, Direction::Read, capacity),
        Handle::own(writing, Direction::Write, capacity),
    ))
}

/// NtCreateNamedPipeFile: the reading end. Fails if the name exists.
fn create(name: &str, descriptor: &Descriptor) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let mut path: Vec<u16> = KERNEL_FOLDER
        .encode_utf16()
        .chain(name.encode_utf16())
        .collect();
    let length = u16::try_from(path.len() * size_of::<u16>()).expect("the name has 43 characters");
    let path = UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: path.as_mut_ptr(),
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("48 bytes"),
        RootDirectory: null_mut(),
        ObjectName: &raw const path,
        // Not OBJ_INHERIT: no child gets it by accident.
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: descriptor.as_ptr().cast(),
        SecurityQualityOfService: null(),
    };
    let timeout = WAIT_DEFAULT;
    let mut raw = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    let make = || {
        // SAFETY: path, attributes, descriptor, timeout and both records live until this synchronous call returns and are
        // ours alone; the kernel keeps no pointer to any of them.
        let status = unsafe {
            NtCreateNamedPipeFile(
                &raw mut raw,
                GENERIC_READ | SYNCHRONIZE,
                &raw const attributes,
                &raw mut block,
                // What the other end may do: it writes, so that bytes go one way.
                FILE_SHARE_WRITE,
                FILE_CREATE,
                // No FILE_SYNCHRONOUS_IO: overlapped.
                0,
                FILE_PIPE_BYTE_STREAM_TYPE | FILE_PIPE_REJECT_REMOTE_CLIENTS,
                FILE_PIPE_BYTE_STREAM_MODE,
                FILE_PIPE_QUEUE_OPERATION,
                1,
                CAPACITY_BYTES,
                CAPACITY_BYTES,
                &raw const timeout,
            )
        };
        if status < 0 {
            Err(sys::code_of_status(status))
        } else {
            Ok(())
        }
    };
    fallible("NtCreateNamedPipeFile", Call::Create, make)
        .map_err(|code| classified(Call::Create, code))?;
    // SAFETY: the kernel made this handle just now for us; nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
}

/// CreateFileW: the writing end. The only instance is taken by it, so nobody else can come in.
fn open(name: &str) -> Result<OwnedHandle, (Class, Option<OsCode>)> {
    let path: Vec<u16> = FOLDER
        .encode_utf16()
        .chain(name.encode_utf16())
        .chain([0])
        .collect();
    let make = || {
        // SAFETY: the path ends with a zero, is ours and lives until the call returns. No security attributes: the handle is
        // not inherited. Whoever might serve the name instead could identify us and no more.
        let raw = unsafe {
            CreateFileW(
                path.as_ptr(),
                GENERIC_WRITE | FILE_READ_ATTRIBUTES,
                0,
                null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                null_mut(),
            )
        };
        // SAFETY: straight from CreateFileW, and nobody else knows it.
        unsafe { sys::made(raw) }
    };
    fallible("CreateFileW", Call::Open, make).map_err(|code| classified(Call::Open, code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE_FLAG_INHERIT, LocalFree};
    use windows_sys::Win32::Security::Authorization::{
        ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
        SE_KERNEL_OBJECT,
    };
    use windows_sys::Win32::Security::DACL_SECURITY_INFORMATION;
    use windows_sys::Win32::Storage::FileSystem::PIPE_ACCESS_INBOUND;
    use windows_sys::Win32::System::Pipes::CreateNamedPipeW;

    #[test]
    fn a_name_that_exists_is_refused_as_taken() {
        let name = format!("watertight-test-{:032x}", random().unwrap());
        let descriptor = Descriptor::owner_only().unwrap();
        let path: Vec<u16> = FOLDER
            .encode_utf16()
            .chain(name.encode_utf16())
            .chain([0])
            .collect();
        // Somebody squats on the name and lets everybody make further instances.
        // SAFETY: the path ends with a zero and lives until the call returns; nobody else knows the handle.
        let raw = unsafe {
            CreateNamedPipeW(path.as_ptr(), PIPE_ACCESS_INBOUND, 0, 255, 0, 0, 0, null())
        };
        // SAFETY: straight from the call, and nobody else knows it.
        let squatter = unsafe { sys::made(raw) }.unwrap();
        let (class, os) = create(&name, &descriptor).unwrap_err();
        // Windows says "access denied" (5). Wine has other codes for it; some are "taken" too.
        assert_eq!(class, Class::Taken, "{os:?}");
        drop(squatter);
        drop(create(&name, &descriptor).unwrap());
    }

    #[test]
    fn nobody_joins_a_pipe_that_has_both_ends() {
        let name = format!("watertight-test-{:032x}", random().unwrap());
        let descriptor = Descriptor::owner_only().unwrap();
        let _reading = create(&name, &descriptor).unwrap();
        let _writing = open(&name).unwrap();
        assert_eq!(open(&name).unwrap_err(), (Class::Busy, Some(OsCode(231))));
    }

    #[test]
    fn the_pipe_is_its_owner_s_and_no_child_inherits_it() {
        let name = format!("watertight-test-{:032x}", random().unwrap());
        let reading = create(&name, &Descriptor::owner_only().unwrap()).unwrap();
        let writing = open(&name).unwrap();
        for end in [&reading, &writing] {
            let mut flags = HANDLE_FLAG_INHERIT;
            // SAFETY: the handle is open and the flags are ours.
            let succeeded = unsafe { GetHandleInformation(end.as_raw_handle(), &raw mut flags) };
            assert_ne!(succeeded, 0);
            assert_eq!(flags & HANDLE_FLAG_INHERIT, 0);
        }
        // Windows maps the generic rights ("FA"), Wine keeps them ("GA"). Only Windows enforces any of it.
        let dacl = dacl(&reading);
        let known = ["D:P(A;;FA;;;OW)", "D:P(A;;GA;;;OW)", "D:P(A;;GA;;;S-1-3-4)"];
        assert!(known.contains(&dacl.as_str()), "{dacl}");
    }

    /// Who may do what, as text.
    fn dacl(handle: &OwnedHandle) -> String {
        let (mut descriptor, mut text, mut length) = (null_mut(), null_mut(), 0);
        // SAFETY: the handle is open; the system writes one pointer to memory that it allocates.
        let code = unsafe {
            GetSecurityInfo(
                handle.as_raw_handle(),
                SE_KERNEL_OBJECT,
                DACL_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &raw mut descriptor,
            )
        };
        assert_eq!(code, 0);
        // SAFETY: the descriptor is the one the system allocated; it writes a pointer to text that it allocates.
        let succeeded = unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor,
                SDDL_REVISION_1,
                DACL_SECURITY_INFORMATION,
                &raw mut text,
                &raw mut length,
            )
        };
        assert_ne!(succeeded, 0);
        // SAFETY: the system says that so many characters are there, and nobody else has them.
        let wide = unsafe { std::slice::from_raw_parts(text, length as usize) };
        let dacl = String::from_utf16(wide).unwrap();
        for allocated in [descriptor, text.cast()] {
            // SAFETY: the system allocated both by LocalAlloc, and nothing refers to them any more.
            unsafe { LocalFree(allocated) };
        }
        dacl.trim_end_matches('\0').to_owned()
    }
}
