//! What each Win32 code means, per call: one total function (rule E1). Unknown codes are errors that keep their number.
//!
//! The same number says different things to different calls (232 is a broken pipe to a write, a success to a connect and
//! "empty" to a read in the non-blocking mode), so nothing here is decided by the code alone unless every call agrees.

use watertight_core::{Class, OsCode};
use windows_sys::Win32::Foundation as win;

/// The calls whose codes are told apart. The answer to an operation that was pending is classified as its call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// `CancelIoEx`, `CancelSynchronousIo`.
    Cancel,
    /// `CloseHandle`.
    Close,
    /// `ConnectNamedPipe`.
    Connect,
    /// `CreateNamedPipe`, `NtCreateNamedPipeFile`.
    Create,
    /// `DisconnectNamedPipe`.
    Disconnect,
    /// `DuplicateHandle`, `GetStdHandle`, `SetStdHandle`.
    Duplicate,
    /// `FlushFileBuffers`.
    Flush,
    /// `ImpersonateNamedPipeClient`.
    Impersonate,
    /// `CreateFile` of a pipe's name, `NtOpenFile` relative to its other end: the client's side.
    Open,
    /// `CreateIoCompletionPort`: making a port, or binding a handle to it.
    Port,
    /// `GetFileType`, `NtQueryInformationFile`, `PeekNamedPipe`, `Get…`/`SetNamedPipeHandleState`.
    Query,
    /// `ReadFile`.
    Read,
    /// Making a security descriptor or drawing random bytes, which pipes with names need.
    Security,
    /// Starting a thread or a process, and what is done to a job object.
    Start,
    /// `GetQueuedCompletionStatusEx`, `PostQueuedCompletionStatus`.
    Wait,
    /// `WaitNamedPipe`.
    WaitName,
    /// `WriteFile`.
    Write,
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 17] = [
        Self::Cancel,
        Self::Close,
        Self::Connect,
        Self::Create,
        Self::Disconnect,
        Self::Duplicate,
        Self::Flush,
        Self::Impersonate,
        Self::Open,
        Self::Port,
        Self::Query,
        Self::Read,
        Self::Security,
        Self::Start,
        Self::Wait,
        Self::WaitName,
        Self::Write,
    ];
}

/// Whether `code` says that `call` did what it was asked to do. Ask this first.
///
/// A client that came before the connect is a connected client (535), and so is one that left again: its data may still be
/// read (232). Nothing left to cancel is a cancel that found its operation answered (1168).
#[must_use]
pub const fn is_success(call: Call, code: u32) -> bool {
    match call {
        Call::Cancel => matches!(code, win::ERROR_SUCCESS | win::ERROR_NOT_FOUND),
        Call::Connect => matches!(
            code,
            win::ERROR_SUCCESS | win::ERROR_NO_DATA | win::ERROR_PIPE_CONNECTED
        ),
        Call::Close
        | Call::Create
        | Call::Disconnect
        | Call::Duplicate
        | Call::Flush
        | Call::Impersonate
        | Call::Open
        | Call::Port
        | Call::Query
        | Call::Read
        | Call::Security
        | Call::Start
        | Call::Wait
        | Call::WaitName
        | Call::Write => code == win::ERROR_SUCCESS,
    }
}

/// What `code` means when `call` failed with it. Total: a code nobody knows is [`Class::Io`].
///
/// A call that failed and left a code of success is [`Class::Io`] too: a failure is never taken for a success.
#[must_use]
pub const fn classify(call: Call, code: u32) -> Class {
    if is_success(call, code) {
        return Class::Io;
    }
    match code {
        win::ERROR_OPERATION_ABORTED => Class::Aborted,
        win::ERROR_ABANDONED_WAIT_0 | win::ERROR_INVALID_HANDLE | win::ERROR_NOACCESS => Class::Bug,
        win::ERROR_NOT_ENOUGH_MEMORY
        | win::ERROR_OUTOFMEMORY
        | win::ERROR_NO_SYSTEM_RESOURCES
        | win::ERROR_COMMITMENT_LIMIT
        | win::ERROR_NOT_ENOUGH_QUOTA
        | win::ERROR_WORKING_SET_QUOTA
        | win::ERROR_INVALID_USER_BUFFER
        | win::ERROR_TOO_MANY_OPEN_FILES
        | win::ERROR_MAX_THRDS_REACHED => Class::Limit,
        // A pipe may in truth be a file: its disk is full.
        win::ERROR_DISK_FULL | win::ERROR_HANDLE_DISK_FULL | win::ERROR_DISK_QUOTA_EXCEEDED => {
            Class::Limit
        }
        win::ERROR_INVALID_FUNCTION
        | win::ERROR_NOT_SUPPORTED
        | win::ERROR_CALL_NOT_IMPLEMENTED => unsupported(call),
        win::ERROR_BAD_IMPERSONATION_LEVEL
        | win::ERROR_CANNOT_IMPERSONATE
        | win::ERROR_NO_TOKEN
        | win::ERROR_PRIVILEGE_NOT_HELD => Class::Denied,
        win::ERROR_INVALID_OWNER
        | win::ERROR_UNKNOWN_REVISION
        | win::ERROR_INVALID_ACL
        | win::ERROR_INVALID_SID
        | win::ERROR_INVALID_SECURITY_DESCR => Class::Argument,
        win::ERROR_ACCESS_DENIED => denied(call),
        win::ERROR_INVALID_PARAMETER => parameter(call),
        win::ERROR_IO_PENDING | win::ERROR_IO_INCOMPLETE | win::WAIT_TIMEOUT => waiting(call),
        win::ERROR_HANDLE_EOF => at_end(call),
        win::ERROR_MORE_DATA => more_data(call),
        _ => of_a_pipe(call, code),
    }
}

/// The codes that say how it stands with the pipe, its peer and its name.
const fn of_a_pipe(call: Call, code: u32) -> Class {
    match code {
        win::ERROR_BROKEN_PIPE => broken(call),
        win::ERROR_NO_DATA => closing(call),
        win::ERROR_PIPE_NOT_CONNECTED => disconnected(call),
        win::ERROR_BAD_PIPE => Class::NotConnected,
        win::ERROR_PIPE_LISTENING => listening(call),
        win::ERROR_NOT_FOUND => not_found(call),
        win::ERROR_PIPE_BUSY | win::ERROR_SEM_TIMEOUT => busy(call, code),
        win::ERROR_FILE_NOT_FOUND
        | win::ERROR_PATH_NOT_FOUND
        | win::ERROR_INVALID_NAME
        | win::ERROR_BAD_PATHNAME
        | win::ERROR_FILENAME_EXCED_RANGE
        | win::ERROR_ALREADY_EXISTS
        | win::ERROR_FILE_EXISTS => name(call, code),
        win::ERROR_NETNAME_DELETED | win::ERROR_CONNECTION_ABORTED | win::ERROR_NOT_CONNECTED => {
            remote_end(call)
        }
        // ERROR_GEN_FAILURE, ERROR_IO_DEVICE, what else remote pipes say, and every code nobody knows.
        _ => Class::Io,
    }
}

/// 109: the peer closed. To a read this is the end, after everything it left was read.
const fn broken(call: Call) -> Class {
    if matches!(call, Call::Read) {
        Class::EndOfStream
    } else if matches!(
        call,
        Call::Connect | Call::Disconnect | Call::Flush | Call::Query | Call::Write
    ) {
        Class::Gone
    } else {
        Class::Io
    }
}

/// 232: the peer closed before this call; to a read in the non-blocking mode it says "empty".
const fn closing(call: Call) -> Class {
    if matches!(call, Call::Read) {
        Class::Wait
    } else if matches!(
        call,
        Call::Disconnect | Call::Flush | Call::Query | Call::Write
    ) {
        Class::Gone
    } else {
        Class::Io
    }
}

/// 233: the server disconnected. A server's own calls hear that nobody is connected; data calls hear it on either end.
const fn disconnected(call: Call) -> Class {
    if matches!(call, Call::Flush | Call::Read | Call::Write) {
        Class::Gone
    } else {
        Class::NotConnected
    }
}

/// 536: no client has come yet.
const fn listening(call: Call) -> Class {
    if matches!(call, Call::Connect) {
        Class::Wait
    } else {
        Class::NotConnected
    }
}

/// 1168: no client to ask about.
const fn not_found(call: Call) -> Class {
    if matches!(call, Call::Query) {
        Class::NotConnected
    } else {
        Class::Io
    }
}

/// 231 and 121: all instances are taken. For the server that is a limit, for a client a matter of time.
const fn busy(call: Call, code: u32) -> Class {
    match (call, code) {
        (Call::Open, win::ERROR_PIPE_BUSY) | (Call::WaitName, _) => Class::Busy,
        (Call::Create, win::ERROR_PIPE_BUSY) => Class::Limit,
        _ => Class::Io,
    }
}

/// What is wrong with a name: 2, 3, 80, 123, 161, 183 and 206.
const fn name(call: Call, code: u32) -> Class {
    match (call, code) {
        (Call::Open | Call::WaitName, win::ERROR_FILE_NOT_FOUND) => Class::NotFound,
        (Call::Create, win::ERROR_ALREADY_EXISTS | win::ERROR_FILE_EXISTS) => Class::Taken,
        (_, win::ERROR_ALREADY_EXISTS | win::ERROR_FILE_EXISTS | win::ERROR_FILE_NOT_FOUND) => {
            Class::Io
        }
        (Call::Create | Call::Open | Call::WaitName, _) => Class::Argument,
        _ => Class::Io,
    }
}

/// 64, 1236 and 2250: a pipe of another machine broke.
const fn remote_end(call: Call) -> Class {
    if matches!(call, Call::Flush | Call::Read | Call::Write) {
        Class::Gone
    } else {
        Class::Io
    }
}

/// 5: to the maker of a pipe it says that the name is somebody else's, to a read or write that the handle is not for that.
const fn denied(call: Call) -> Class {
    if matches!(call, Call::Create) {
        Class::Taken
    } else if matches!(call, Call::Flush | Call::Read | Call::Write) {
        Class::Argument
    } else {
        Class::Denied
    }
}

/// 87: the caller's argument where there is one of the caller's, ours elsewhere.
const fn parameter(call: Call) -> Class {
    if matches!(call, Call::Cancel | Call::Close | Call::Start | Call::Wait) {
        Class::Bug
    } else {
        Class::Argument
    }
}

/// 997, 996, 258: no answer yet, from a call that may wait.
const fn waiting(call: Call) -> Class {
    if matches!(call, Call::Connect | Call::Read | Call::Wait | Call::Write) {
        Class::Pending
    } else {
        Class::Io
    }
}

/// 38: the end of a file.
const fn at_end(call: Call) -> Class {
    if matches!(call, Call::Read) {
        Class::EndOfStream
    } else {
        Class::Io
    }
}

/// 234: the bytes are valid, and the message goes on.
const fn more_data(call: Call) -> Class {
    if matches!(call, Call::Query | Call::Read) {
        Class::Partial
    } else {
        Class::Io
    }
}

/// 1, 50 and 120: the platform, a sandbox or this kind of handle does not do it. A flush asks a question that has another
/// answer: it cannot be known here.
const fn unsupported(call: Call) -> Class {
    if matches!(call, Call::Flush) {
        Class::Unsupported
    } else {
        Class::Argument
    }
}

/// The class and the raw code, as the seam wants them.
#[must_use]
pub const fn classified(call: Call, code: u32) -> (Class, Option<OsCode>) {
    (classify(call, code), Some(os(code)))
}

/// The raw code as the core keeps it.
pub(super) const fn os(code: u32) -> OsCode {
    OsCode(code.cast_signed())
}
