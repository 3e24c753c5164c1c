//! Which codes a test has each call say: what Windows says there (docs/gotchas.md), and one that nobody knows.

use super::classify::Call;
use windows_sys::Win32::Foundation as win;

/// A code of no system's.
const UNKNOWN: u32 = 31_337;

/// The codes that a fault loop has `call` say.
#[must_use]
pub const fn allowed(call: Call) -> &'static [u32] {
    match call {
        Call::Cancel => CANCEL,
        Call::Close => CLOSE,
        Call::Create | Call::Open => MAKE,
        Call::Duplicate | Call::Port => LIMITS,
        Call::Flush => FLUSH,
        Call::Query => QUERY,
        Call::Read => READ,
        Call::Wait => WAIT,
        Call::Write => WRITE,
        // Nothing here makes these yet, or not through a wrapper of ours.
        Call::Connect
        | Call::Disconnect
        | Call::Impersonate
        | Call::Security
        | Call::Start
        | Call::WaitName => &[],
    }
}

const CANCEL: &[u32] = &[
    win::ERROR_NOT_FOUND,
    win::ERROR_ACCESS_DENIED,
    win::ERROR_INVALID_HANDLE,
    win::ERROR_NO_SYSTEM_RESOURCES,
    win::ERROR_GEN_FAILURE,
    UNKNOWN,
];

const CLOSE: &[u32] = &[
    win::ERROR_INVALID_HANDLE,
    win::ERROR_ACCESS_DENIED,
    win::ERROR_GEN_FAILURE,
    UNKNOWN,
];

const MAKE: &[u32] = &[
    win::ERROR_ACCESS_DENIED,
    win::ERROR_PIPE_BUSY,
    win::ERROR_FILE_NOT_FOUND,
    win::ERROR_PATH_NOT_FOUND,
    win::ERROR_INVALID_NAME,
    win::ERROR_INVALID_PARAMETER,
    win::ERROR_TOO_MANY_OPEN_FILES,
    win::ERROR_NO_SYSTEM_RESOURCES,
    win::ERROR_NOT_ENOUGH_QUOTA,
    UNKNOWN,
];

const LIMITS: &[u32] = &[
    win::ERROR_NOT_ENOUGH_MEMORY,
    win::ERROR_NO_SYSTEM_RESOURCES,
    win::ERROR_INVALID_PARAMETER,
    win::ERROR_INVALID_HANDLE,
    UNKNOWN,
];

const FLUSH: &[u32] = &[
    win::ERROR_BROKEN_PIPE,
    win::ERROR_NO_DATA,
    win::ERROR_PIPE_NOT_CONNECTED,
    win::ERROR_OPERATION_ABORTED,
    win::ERROR_ACCESS_DENIED,
    win::ERROR_INVALID_HANDLE,
    win::ERROR_GEN_FAILURE,
    UNKNOWN,
];

const QUERY: &[u32] = &[
    win::ERROR_ACCESS_DENIED,
    win::ERROR_INVALID_HANDLE,
    win::ERROR_INVALID_PARAMETER,
    win::ERROR_INVALID_FUNCTION,
    win::ERROR_NOT_SUPPORTED,
    win::ERROR_BROKEN_PIPE,
    win::ERROR_NO_SYSTEM_RESOURCES,
    UNKNOWN,
];

const READ: &[u32] = &[
    win::ERROR_BROKEN_PIPE,
    win::ERROR_NO_DATA,
    win::ERROR_PIPE_NOT_CONNECTED,
    win::ERROR_PIPE_LISTENING,
    win::ERROR_BAD_PIPE,
    win::ERROR_ACCESS_DENIED,
    win::ERROR_INVALID_HANDLE,
    win::ERROR_INVALID_PARAMETER,
    win::ERROR_OPERATION_ABORTED,
    win::ERROR_NOACCESS,
    win::ERROR_NOT_ENOUGH_MEMORY,
    win::ERROR_NO_SYSTEM_RESOURCES,
    win::ERROR_NOT_ENOUGH_QUOTA,
    win::ERROR_WORKING_SET_QUOTA,
    win::ERROR_INVALID_USER_BUFFER,
    win::ERROR_NETNAME_DELETED,
    win::ERROR_GEN_FAILURE,
    win::ERROR_IO_DEVICE,
    win::ERROR_HANDLE_EOF,
    UNKNOWN,
];

const WAIT: &[u32] = &[
    win::WAIT_TIMEOUT,
    win::ERROR_ABANDONED_WAIT_0,
    win::ERROR_INVALID_HANDLE,
    win::ERROR_NO_SYSTEM_RESOURCES,
    UNKNOWN,
];

const WRITE: &[u32] = &[
    win::ERROR_NO_DATA,
    win::ERROR_BROKEN_PIPE,
    win::ERROR_PIPE_NOT_CONNECTED,
    win::ERROR_PIPE_LISTENING,
    win::ERROR_BAD_PIPE,
    win::ERROR_ACCESS_DENIED,
    win::ERROR_INVALID_HANDLE,
    win::ERROR_INVALID_PARAMETER,
    win::ERROR_OPERATION_ABORTED,
    win::ERROR_NOACCESS,
    win::ERROR_NOT_ENOUGH_MEMORY,
    win::ERROR_NO_SYSTEM_RESOURCES,
    win::ERROR_NOT_ENOUGH_QUOTA,
    win::ERROR_WORKING_SET_QUOTA,
    win::ERROR_INVALID_USER_BUFFER,
    win::ERROR_DISK_FULL,
    win::ERROR_NETNAME_DELETED,
    win::ERROR_GEN_FAILURE,
    win::ERROR_IO_DEVICE,
    UNKNOWN,
];
