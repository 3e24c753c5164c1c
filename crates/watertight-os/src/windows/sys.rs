//! One system call, one safe wrapper. Nothing is decided here: every wrapper reports what the system said.
//!
//! Codes are `GetLastError`'s; 0 is success.

use super::classify::Call;
use crate::fault::{self, Code, fallible, fallible_all_the_same};
use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::thread::JoinHandle;
use std::time::Duration;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_ACCESS_INFORMATION, FILE_MODE_INFORMATION, FILE_PIPE_INFORMATION,
    FILE_PIPE_LOCAL_INFORMATION, FileAccessInformation, FileIoCompletionNotificationInformation,
    FileModeInformation, FilePipeInformation, FilePipeLocalInformation, FileStandardInformation,
    NtQueryInformationFile,
};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_OPERATION_ABORTED, ERROR_SUCCESS, FILETIME, GetHandleInformation,
    GetLastError, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, NTSTATUS, RtlNtStatusToDosError,
    SetHandleInformation, SetLastError, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_TYPE_REMOTE, FILE_TYPE_UNKNOWN, FlushFileBuffers, GetFileType, ReadFile, WriteFile,
};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::IO::{
    CancelSynchronousIo, CreateIoCompletionPort, GetQueuedCompletionStatusEx, IO_STATUS_BLOCK,
    OVERLAPPED_ENTRY, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessTimes, OpenProcess, PROCESS_NAME_WIN32,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, QueryFullProcessImageNameW,
    TerminateProcess, WaitForSingleObject,
};

/// The longest path there is, in units of UTF-16.
const PATH_UNITS_MAX: usize = 32_768;

/// What NtQueryInformationFile fills in.
///
/// # Safety
/// A plain record of integers: every pattern of bytes is a value of it, and it is what `CLASS` answers with.
pub(super) unsafe trait Information: Copy + Default {
    const CLASS: i32;
    /// The question's name, by which a test has it fail.
    const NAME: &'static str;
}

/// FILE_STANDARD_INFORMATION, its truth values as the bytes they are.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Standard {
    allocation_bytes: i64,
    end_of_file: i64,
    links: u32,
    delete_pending: u8,
    pub(super) directory: u8,
}

// SAFETY: a record of integers, as winternl.h has it.
unsafe impl Information for FILE_ACCESS_INFORMATION {
    const CLASS: i32 = FileAccessInformation;
    const NAME: &'static str = "FileAccessInformation";
}
// SAFETY: a record of integers, as winternl.h has it.
unsafe impl Information for FILE_MODE_INFORMATION {
    const CLASS: i32 = FileModeInformation;
    const NAME: &'static str = "FileModeInformation";
}
// SAFETY: a record of integers, as winternl.h has it.
unsafe impl Information for FILE_PIPE_INFORMATION {
    const CLASS: i32 = FilePipeInformation;
    const NAME: &'static str = "FilePipeInformation";
}
// SAFETY: a record of integers, as winternl.h has it.
unsafe impl Information for FILE_PIPE_LOCAL_INFORMATION {
    const CLASS: i32 = FilePipeLocalInformation;
    const NAME: &'static str = "FilePipeLocalInformation";
}
// SAFETY: a record of integers, as winternl.h has it.
unsafe impl Information for Standard {
    const CLASS: i32 = FileStandardInformation;
    const NAME: &'static str = "FileStandardInformation";
}

/// FILE_IO_COMPLETION_NOTIFICATION_INFORMATION: what a file object does when an operation succeeds at once.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Notification {
    pub(super) flags: u32,
}
// SAFETY: a record of one integer, as winternl.h has it: any bytes the kernel puts there are a value.
unsafe impl Information for Notification {
    const CLASS: i32 = FileIoCompletionNotificationInformation;
    const NAME: &'static str = "FileIoCompletionNotificationInformation";
}

/// GetLastError.
pub(super) fn last_error() -> u32 {
    // SAFETY: it reads a value that only the calling thread has.
    unsafe { GetLastError() }
}

/// What a call that answers FALSE on failure said; 0 if it did not fail.
pub(super) fn code_of(succeeded: i32) -> u32 {
    if succeeded == 0 {
        last_error()
    } else {
        ERROR_SUCCESS
    }
}

impl Code for u32 {
    fn of(code: watertight_core::OsCode) -> Self {
        code.0.cast_unsigned()
    }
}

/// Makes a call that says 0 or a code, unless a test has it fail.
pub(super) fn said(name: &'static str, call: Call, make: impl FnOnce() -> u32) -> u32 {
    let result = fallible(name, call, || result_of(make()));
    result.err().unwrap_or(ERROR_SUCCESS)
}

/// A code as a result.
const fn result_of(code: u32) -> Result<(), u32> {
    if code == ERROR_SUCCESS {
        Ok(())
    } else {
        Err(code)
    }
}

/// RtlNtStatusToDosError; 0 for a success.
pub(super) fn code_of_status(status: NTSTATUS) -> u32 {
    // SAFETY: it takes and returns a number; no memory is involved.
    unsafe { RtlNtStatusToDosError(status) }
}

fn forget_last_error() {
    // SAFETY: it changes a value that only the calling thread has.
    unsafe { SetLastError(ERROR_SUCCESS) };
}

/// NtQueryInformationFile. On a synchronous handle it waits behind a call of anybody's that blocks there (windows-facts 24).
pub(super) fn query<T: Information>(handle: BorrowedHandle<'_>) -> Result<T, u32> {
    let mut answer = T::default();
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(size_of::<T>()).expect("these records are small");
    fallible(T::NAME, Call::Query, || {
        // SAFETY: both records are ours and live until the call, which is synchronous on every handle, returns; the length is
        // theirs, and the trait promises that any bytes the kernel puts there are a value.
        let status = unsafe {
            NtQueryInformationFile(
                handle.as_raw_handle(),
                &raw mut block,
                (&raw mut answer).cast(),
                length,
                T::CLASS,
            )
        };
        if status >= 0 {
            Ok(answer)
        } else {
            Err(code_of_status(status))
        }
    })
}

/// GetHandleInformation: whether children that inherit everything get this handle.
pub(super) fn is_given_to_children(handle: BorrowedHandle<'_>) -> Result<bool, u32> {
    let mut flags = 0;
    fallible("GetHandleInformation", Call::Query, || {
        // SAFETY: the handle is borrowed, so it is open; the flags are ours and written before the call returns.
        let done = unsafe { GetHandleInformation(handle.as_raw_handle(), &raw mut flags) };
        if done == 0 { Err(last_error()) } else { Ok(()) }
    })?;
    Ok(flags & HANDLE_FLAG_INHERIT != 0)
}

/// SetHandleInformation: no child gets this handle by inheriting everything.
pub(super) fn keep_from_children(handle: BorrowedHandle<'_>) -> Result<(), u32> {
    set_inherited(handle, 0)
}

/// SetHandleInformation: children that inherit everything get this handle.
pub(super) fn give_to_children(handle: BorrowedHandle<'_>) -> Result<(), u32> {
    set_inherited(handle, HANDLE_FLAG_INHERIT)
}

fn set_inherited(handle: BorrowedHandle<'_>, flag: u32) -> Result<(), u32> {
    fallible("SetHandleInformation", Call::Query, || {
        // SAFETY: the handle is borrowed, so it is open; the call changes a flag of this process's own entry for it.
        let done =
            unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, flag) };
        if done == 0 { Err(last_error()) } else { Ok(()) }
    })
}

/// GetFileType.
pub(super) fn file_type(handle: BorrowedHandle<'_>) -> Result<u32, u32> {
    fallible("GetFileType", Call::Query, || {
        forget_last_error();
        // SAFETY: the handle is open while it is borrowed; nothing of ours is handed over.
        let answer = unsafe { GetFileType(handle.as_raw_handle()) };
        match (answer & !FILE_TYPE_REMOTE, last_error()) {
            (FILE_TYPE_UNKNOWN, code) if code != ERROR_SUCCESS => Err(code),
            (known, _) => Ok(known),
        }
    })
}

/// CreateIoCompletionPort, to make one.
pub(super) fn create_port() -> Result<OwnedHandle, u32> {
    fallible("CreateIoCompletionPort (make)", Call::Port, || {
        // SAFETY: no handle and no memory goes in. One thread at a time may run: only the driver's ever waits.
        let raw = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 1) };
        if raw.is_null() {
            return Err(last_error());
        }
        // SAFETY: the call above made this handle, nobody else knows it, and it is valid.
        Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
    })
}

/// CreateIoCompletionPort, to bind `handle` to `port` for the life of its file.
pub(super) fn bind(port: BorrowedHandle<'_>, handle: BorrowedHandle<'_>, key: usize) -> u32 {
    said("CreateIoCompletionPort (bind)", Call::Port, || {
        // SAFETY: both handles are open while they are borrowed; the key is a number.
        let raw =
            unsafe { CreateIoCompletionPort(handle.as_raw_handle(), port.as_raw_handle(), key, 0) };
        if raw.is_null() {
            last_error()
        } else {
            ERROR_SUCCESS
        }
    })
}

/// PostQueuedCompletionStatus, with no operation.
pub(super) fn post(port: BorrowedHandle<'_>, key: usize) -> u32 {
    said("PostQueuedCompletionStatus", Call::Wait, || {
        // SAFETY: the port is open while it is borrowed; the packet carries a number and no memory.
        code_of(unsafe { PostQueuedCompletionStatus(port.as_raw_handle(), 0, key, null()) })
    })
}

/// GetQueuedCompletionStatusEx: how many packets came.
pub(super) fn dequeue(
    port: BorrowedHandle<'_>,
    entries: &mut [OVERLAPPED_ENTRY],
    timeout_ms: u32,
) -> Result<usize, u32> {
    let mut count = 0;
    let room = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let code = said("GetQueuedCompletionStatusEx", Call::Wait, || {
        // SAFETY: the entries are the caller's and borrowed for us alone until this returns; `room` is how many there are.
        code_of(unsafe {
            GetQueuedCompletionStatusEx(
                port.as_raw_handle(),
                entries.as_mut_ptr(),
                room,
                &raw mut count,
                timeout_ms,
                0,
            )
        })
    });
    if code != ERROR_SUCCESS {
        return Err(code);
    }
    let count = count as usize;
    for entry in &entries[..count] {
        fault::take_back(entry.lpOverlapped.addr());
    }
    Ok(count)
}

/// CloseHandle, for its answer: dropping an `OwnedHandle` hides it.
pub(super) fn close(handle: OwnedHandle) -> u32 {
    let raw = std::os::windows::io::IntoRawHandle::into_raw_handle(handle);
    let closed = fallible_all_the_same("CloseHandle", Call::Close, || {
        // SAFETY: the handle was owned here and is given up with this call; nobody else may use its number.
        result_of(code_of(unsafe { CloseHandle(raw) }))
    });
    closed.err().unwrap_or(ERROR_SUCCESS)
}

/// CancelSynchronousIo: ends the blocking call that `thread` is in. 1168 if it is in none.
pub(super) fn cancel_thread<T>(thread: &JoinHandle<T>) -> u32 {
    said("CancelSynchronousIo", Call::Cancel, || {
        // SAFETY: the join handle keeps the thread's handle open; the call touches no memory of ours.
        code_of(unsafe { CancelSynchronousIo(thread.as_raw_handle()) })
    })
}

/// ReadFile on a synchronous handle, at most `bytes_max` bytes into the spare room of `buf`: the code, which may be 234 with valid bytes.
///
/// A console that was interrupted (Ctrl-C) says "success, no bytes" and leaves 995 behind; that is 995 here.
pub(super) fn read(handle: BorrowedHandle<'_>, buf: &mut Vec<u8>, bytes_max: usize) -> u32 {
    let spare = buf.spare_capacity_mut();
    let room = u32::try_from(spare.len().min(bytes_max)).unwrap_or(u32::MAX);
    let start = spare.as_mut_ptr();
    let mut count = 0;
    let code = said("ReadFile (blocking)", Call::Read, || {
        forget_last_error();
        // SAFETY: the room is the vector's own, borrowed for us alone, and the call is synchronous: the kernel is done with
        // it when it returns. The handle is synchronous (adoption checked), so that no OVERLAPPED is needed.
        let succeeded = unsafe {
            ReadFile(
                handle.as_raw_handle(),
                start.cast(),
                room,
                &raw mut count,
                null_mut(),
            )
        };
        match (succeeded, count, last_error()) {
            (0, _, code) => code,
            (_, 0, ERROR_OPERATION_ABORTED) => ERROR_OPERATION_ABORTED,
            _ => ERROR_SUCCESS,
        }
    });
    let filled = buf.len() + count.min(room) as usize;
    // SAFETY: the kernel wrote `count` bytes, and not more than there was room for, behind those that were there.
    unsafe { buf.set_len(filled) };
    code
}

/// WriteFile on a synchronous handle: the code, and how many bytes it says it took.
pub(super) fn write(handle: BorrowedHandle<'_>, bytes: &[u8]) -> (u32, u32) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut count = 0;
    let code = said("WriteFile (blocking)", Call::Write, || {
        // SAFETY: the bytes are borrowed until this returns and only read; the call is synchronous, so the kernel is done
        // with them then. The handle is synchronous (adoption checked), so that no OVERLAPPED is needed.
        code_of(unsafe {
            WriteFile(
                handle.as_raw_handle(),
                bytes.as_ptr(),
                length,
                &raw mut count,
                null_mut(),
            )
        })
    });
    (code, count)
}

/// FlushFileBuffers: waits until the peer has read what was written. It blocks on overlapped handles too.
pub(super) fn flush(handle: BorrowedHandle<'_>) -> u32 {
    said("FlushFileBuffers", Call::Flush, || {
        // SAFETY: the handle is open while it is borrowed; no memory of ours is involved.
        code_of(unsafe { FlushFileBuffers(handle.as_raw_handle()) })
    })
}

/// WaitForSingleObject on a process: whether it is over.
pub(super) fn wait_for(process: BorrowedHandle<'_>, millis: u32) -> Result<bool, u32> {
    fallible("WaitForSingleObject", Call::Wait, || {
        // SAFETY: the handle is open while it is borrowed; no memory of ours is involved.
        match unsafe { WaitForSingleObject(process.as_raw_handle(), millis) } {
            WAIT_OBJECT_0 => Ok(true),
            WAIT_TIMEOUT => Ok(false),
            _ => Err(last_error()),
        }
    })
}

/// GetExitCodeProcess, of a process that is over.
pub(super) fn exit_code(process: BorrowedHandle<'_>) -> Result<u32, u32> {
    let mut exit_code = 0;
    let code = said("GetExitCodeProcess", Call::Query, || {
        // SAFETY: the handle is open while it is borrowed; the number is ours and written before the call returns.
        code_of(unsafe { GetExitCodeProcess(process.as_raw_handle(), &raw mut exit_code) })
    });
    result_of(code).map(|()| exit_code)
}

/// GetProcessTimes: how long processors were in the system for a process, and in its own code.
pub(super) fn process_times(process: BorrowedHandle<'_>) -> Result<(Duration, Duration), u32> {
    let (mut made, mut over) = (FILETIME::default(), FILETIME::default());
    let (mut system, mut user) = (FILETIME::default(), FILETIME::default());
    let code = said("GetProcessTimes", Call::Query, || {
        // SAFETY: the handle is open while it is borrowed; the four records are ours and written before the call returns.
        code_of(unsafe {
            GetProcessTimes(
                process.as_raw_handle(),
                &raw mut made,
                &raw mut over,
                &raw mut system,
                &raw mut user,
            )
        })
    });
    result_of(code).map(|()| (duration_of(system), duration_of(user)))
}

/// A span, which the system counts in units of 100 ns.
fn duration_of(time: FILETIME) -> Duration {
    const UNITS_PER_SECOND: u64 = 10_000_000;
    let units = (u64::from(time.dwHighDateTime) << 32) | u64::from(time.dwLowDateTime);
    let seconds = Duration::from_secs(units / UNITS_PER_SECOND);
    seconds.saturating_add(Duration::from_nanos(units % UNITS_PER_SECOND * 100))
}

/// GetProcessMemoryInfo: how many bytes a process's working set had at most, and how many page faults the process had.
pub(super) fn process_memory(process: BorrowedHandle<'_>) -> Result<(u64, u32), u32> {
    let length = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).expect("a small record");
    let mut counters = PROCESS_MEMORY_COUNTERS {
        cb: length,
        ..PROCESS_MEMORY_COUNTERS::default()
    };
    let code = said("GetProcessMemoryInfo", Call::Query, || {
        // SAFETY: the handle is open while it is borrowed; the record is ours, as long as is said, and written before the call
        // returns.
        code_of(unsafe {
            K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut counters, length)
        })
    });
    result_of(code).map(|()| (counters.PeakWorkingSetSize as u64, counters.PageFaultCount))
}

/// TerminateProcess with the exit code 1.
pub(super) fn terminate(process: BorrowedHandle<'_>) -> u32 {
    said("TerminateProcess", Call::Start, || {
        // SAFETY: the handle is open while it is borrowed; no memory of ours is involved.
        code_of(unsafe { TerminateProcess(process.as_raw_handle(), 1) })
    })
}

/// GenerateConsoleCtrlEvent: CTRL_BREAK to a process group.
pub(super) fn console_break(group: u32) -> u32 {
    said("GenerateConsoleCtrlEvent", Call::Start, || {
        // SAFETY: two numbers go in; no memory of ours is involved.
        code_of(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) })
    })
}

/// OpenProcess, to wait for it and to ask for its name.
pub(super) fn open_process(pid: u32) -> Result<OwnedHandle, u32> {
    let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    fallible("OpenProcess", Call::Open, || {
        // SAFETY: three numbers go in; no memory of ours is involved.
        let raw = unsafe { OpenProcess(rights, 0, pid) };
        if raw.is_null() {
            return Err(last_error());
        }
        // SAFETY: the call above made this handle, nobody else knows it, and it is valid.
        Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
    })
}

/// QueryFullProcessImageName: the last part of a process's path. `None`: the system does not say.
pub(super) fn process_name(process: BorrowedHandle<'_>) -> Option<OsString> {
    let mut path = vec![0_u16; PATH_UNITS_MAX];
    let mut units = u32::try_from(path.len()).ok()?;
    let code = said("QueryFullProcessImageName", Call::Query, || {
        // SAFETY: the handle is open while it is borrowed; the room is ours and as long as is said, and so is the number; the call
        // is done with both when it returns.
        code_of(unsafe {
            QueryFullProcessImageNameW(
                process.as_raw_handle(),
                PROCESS_NAME_WIN32,
                path.as_mut_ptr(),
                &raw mut units,
            )
        })
    });
    result_of(code).ok()?;
    let path = path.get(..usize::try_from(units).ok()?)?;
    let name = path.rsplit(|unit| *unit == u16::from(b'\\')).next()?;
    Some(OsString::from_wide(name))
}
