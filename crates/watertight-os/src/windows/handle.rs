//! One end of a pipe, and how a handle that somebody else opened becomes one.

use super::answer::Kind;
use super::classify::{Call, classified};
use super::helper::Helper;
use super::sys;
use crate::step::{Direction, Refused, Step, StepError, step};
use crate::unread::Unread;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::{Arc, OnceLock};
use watertight_core::{Cause, Class, ErrorKind, OsCode};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_ACCESS_INFORMATION, FILE_MODE_INFORMATION, FILE_PIPE_INFORMATION,
    FILE_PIPE_LOCAL_INFORMATION, FILE_PIPE_MESSAGE_TYPE, FILE_PIPE_SERVER_END,
    FILE_SYNCHRONOUS_IO_ALERT, FILE_SYNCHRONOUS_IO_NONALERT,
};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DIRECTORY_NOT_SUPPORTED, ERROR_INVALID_PARAMETER,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_APPEND_DATA, FILE_READ_DATA, FILE_TYPE_CHAR, FILE_TYPE_DISK, FILE_TYPE_PIPE,
    FILE_WRITE_DATA,
};
use windows_sys::Win32::System::Pipes::PIPE_NOWAIT;
use windows_sys::Win32::System::WindowsProgramming::FILE_SKIP_COMPLETION_PORT_ON_SUCCESS;

/// What looking at a handle found out.
struct Found {
    kind: Kind,
    blocking: bool,
    capacity: Option<u64>,
}

/// One end of a pipe.
#[derive(Debug)]
pub struct Handle {
    /// Shared only with the operations on it, and by each of them only until its answer is out.
    os: Arc<OwnedHandle>,
    direction: Direction,
    kind: Kind,
    /// It was opened without FILE_FLAG_OVERLAPPED: its calls block, so a thread makes them.
    blocking: bool,
    capacity: Option<u64>,
    /// Set from the start if the handle is a blocking one; else by the first wait until the peer has read.
    helper: OnceLock<Arc<Helper>>,
}

impl Handle {
    /// Which way its bytes go.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// DuplicateHandle: a second handle of the same thing, not inherited.
    ///
    /// # Errors
    /// Out of handles.
    pub fn try_clone(&self) -> std::io::Result<OwnedHandle> {
        self.os.try_clone()
    }

    /// Whether a child can use it as its standard stream: one whose calls wait.
    ///
    /// # Errors
    /// It is an overlapped one, which programs do not expect.
    pub const fn fits_a_child(&self) -> Result<(), Cause> {
        if self.blocking {
            Ok(())
        } else {
            Err(Cause::of(ErrorKind::Unsupported))
        }
    }

    /// Not offered: no handle that is served here has such a sign.
    ///
    /// # Errors
    /// Always.
    pub const fn arm(&self) -> Result<(), StepError> {
        Err(StepError {
            step: Step::Arm,
            class: Class::Unsupported,
            os: None,
        })
    }

    /// Never called: there is no such pair here.
    pub const fn holds_a_byte(&self) {}

    /// Windows keeps each write whole, whatever its size.
    #[must_use]
    pub const fn atomic_bytes_if_shared(&self) -> Option<u64> {
        None
    }

    /// Gives the handle back, open.
    ///
    /// An overlapped one was bound to our completion port, and Windows binds a file once and for ever: no other runtime
    /// (tokio, the thread pool) can bind this handle or a duplicate of it again (code 87), but blocking calls with an
    /// event of one's own, and children, can use it. A blocking one is as it was; its thread ends by itself.
    #[must_use]
    pub fn into_os(self) -> OwnedHandle {
        Arc::into_inner(self.os).expect("O4: nothing is in flight, so no operation has the handle")
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_regular_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// How many bytes the pipe takes with nobody reading: what was asked for when it was made. Found out at adoption.
    #[must_use]
    pub const fn capacity(&self) -> Option<u64> {
        self.capacity
    }

    /// Windows cannot change a pipe's capacity: always `None`.
    #[must_use]
    pub const fn set_capacity(&self, _: u64) -> Option<u64> {
        None
    }

    /// Never: what is free of a pipe's quota is no answer, for a reader that waits takes its read out of it too.
    #[must_use]
    pub const fn unread(&self) -> Option<Unread> {
        None
    }

    /// An overlapped end of a pipe that we made ourselves, bound to the port already.
    pub(super) fn own(os: OwnedHandle, direction: Direction, capacity: u64) -> Self {
        let found = Found {
            kind: Kind::Pipe,
            blocking: false,
            capacity: Some(capacity),
        };
        Self::made(os, direction, &found, OnceLock::new())
    }

    fn made(
        os: OwnedHandle,
        direction: Direction,
        found: &Found,
        helper: OnceLock<Arc<Helper>>,
    ) -> Self {
        let &Found {
            kind,
            blocking,
            capacity,
        } = found;
        Self {
            os: Arc::new(os),
            direction,
            kind,
            blocking,
            capacity,
            helper,
        }
    }

    pub(super) fn shared_os(&self) -> &Arc<OwnedHandle> {
        &self.os
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// The thread for calls that block; started now if there is none.
    pub(super) fn helper(
        &self,
        start: impl FnOnce() -> Result<Arc<Helper>, (Class, Option<OsCode>)>,
    ) -> Result<&Arc<Helper>, (Class, Option<OsCode>)> {
        if let Some(helper) = self.helper.get() {
            return Ok(helper);
        }
        let helper = start()?;
        Ok(self.helper.get_or_init(|| helper))
    }
}

/// Not offered: Windows has no such sign.
///
/// # Errors
/// Always.
pub const fn armed_pair() -> Result<(OwnedHandle, OwnedHandle), StepError> {
    Err(StepError {
        step: Step::Arm,
        class: Class::Unsupported,
        os: None,
    })
}

/// Never asked here: see [`Handle::unread`].
#[must_use]
pub const fn unread_in_pipe(_: &OwnedHandle) -> Option<u64> {
    None
}

/// Never asked here: no socket is served.
#[must_use]
pub const fn unread_by_peer(_: u32) -> Option<u64> {
    None
}

/// Takes over a handle, or gives it back untouched with the step that failed. `bind` binds it to the port, which cannot be
/// taken back; `start_helper` starts the thread of one whose calls block. One of the two is called, once the handle fits.
///
/// On a blocking handle every question waits while somebody else is in a blocking call on the same file (a brother
/// process that reads the same inherited stdin): Windows answers one call at a time there.
pub(super) fn adopt(
    os: OwnedHandle,
    direction: Direction,
    bind: impl FnOnce(BorrowedHandle<'_>) -> Result<(), StepError>,
    start_helper: impl FnOnce() -> Result<Arc<Helper>, (Class, Option<OsCode>)>,
) -> Result<Handle, Refused> {
    let ready = inspect(os.as_handle(), direction).and_then(|found| {
        // Before the port: that binding cannot be taken back.
        let was_inherited = step(Step::CloseOnExec, || {
            hide(os.as_handle()).map_err(|code| classified(Call::Query, code))
        })?;
        match serve(os.as_handle(), &found, bind, start_helper) {
            Ok(helper) => Ok((found, helper)),
            Err(error) => {
                if was_inherited {
                    // C1: it goes back as it came. If that fails too, children do not get it, which harms nobody.
                    let _ = sys::give_to_children(os.as_handle());
                }
                Err(error)
            }
        }
    });
    match ready {
        Ok((found, helper)) => Ok(Handle::made(os, direction, &found, helper)),
        Err(error) => Err(Refused { error, handle: os }),
    }
}

/// No child gets the handle. Says whether children got it before.
fn hide(os: BorrowedHandle<'_>) -> Result<bool, u32> {
    let was_inherited = sys::is_given_to_children(os)?;
    if was_inherited {
        sys::keep_from_children(os)?;
    }
    Ok(was_inherited)
}

/// Who carries out its operations: a thread if its calls block, else the port.
fn serve(
    os: BorrowedHandle<'_>,
    found: &Found,
    bind: impl FnOnce(BorrowedHandle<'_>) -> Result<(), StepError>,
    start_helper: impl FnOnce() -> Result<Arc<Helper>, (Class, Option<OsCode>)>,
) -> Result<OnceLock<Arc<Helper>>, StepError> {
    let helper = OnceLock::new();
    if found.blocking {
        let thread = step(Step::StartHelper, start_helper)?;
        helper.get_or_init(|| thread);
    } else {
        bind(os)?;
    }
    Ok(helper)
}

/// GetFileType, NtQueryInformationFile: what it is and whether it fits.
fn inspect(os: BorrowedHandle<'_>, direction: Direction) -> Result<Found, StepError> {
    let found = step(Step::Inspect, || {
        let kind = match sys::file_type(os).map_err(query_failed)? {
            FILE_TYPE_CHAR => Kind::Device,
            FILE_TYPE_DISK => regular(os)?,
            FILE_TYPE_PIPE => {
                keeps_no_messages(os, direction)?;
                waiting_mode(os)?
            }
            _ => return Err((Class::Argument, None)),
        };
        let mode: FILE_MODE_INFORMATION = sys::query(os).map_err(query_failed)?;
        let blocking = mode.Mode & (FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT) != 0;
        if kind == Kind::File && !blocking {
            // An overlapped file has no position: every call would have to name one, and nobody says where to begin.
            return Err((Class::Unsupported, None));
        }
        answers_by_packet(os)?;
        let capacity = capacity(os, kind, direction);
        Ok(Found {
            kind,
            blocking,
            capacity,
        })
    })?;
    step(Step::InspectAccess, || {
        let granted: FILE_ACCESS_INFORMATION = sys::query(os).map_err(query_failed)?;
        if granted.AccessFlags & needed(found.kind, direction) == 0 {
            return Err(argument(ERROR_ACCESS_DENIED));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The rights of which one is needed. On a pipe, the bit for appending is the right to make further instances.
const fn needed(kind: Kind, direction: Direction) -> u32 {
    match (kind, direction) {
        (_, Direction::Read) => FILE_READ_DATA,
        (Kind::File, Direction::Write) => FILE_WRITE_DATA | FILE_APPEND_DATA,
        (Kind::Device | Kind::Pipe, Direction::Write) => FILE_WRITE_DATA,
    }
}

/// NtQueryInformationFile(FileStandardInformation): a file, not a directory.
fn regular(os: BorrowedHandle<'_>) -> Result<Kind, (Class, Option<OsCode>)> {
    let standard: sys::Standard = sys::query(os).map_err(query_failed)?;
    if standard.directory != 0 {
        return Err(argument(ERROR_DIRECTORY_NOT_SUPPORTED));
    }
    Ok(Kind::File)
}

/// NtQueryInformationFile(FilePipeLocalInformation): it is a pipe and not a socket; and one whose every write is a message cannot
/// be written by us, who join messages and cut them at an operation's size.
fn keeps_no_messages(
    os: BorrowedHandle<'_>,
    direction: Direction,
) -> Result<(), (Class, Option<OsCode>)> {
    match sys::query::<FILE_PIPE_LOCAL_INFORMATION>(os) {
        Ok(pipe)
            if direction == Direction::Write && pipe.NamedPipeType == FILE_PIPE_MESSAGE_TYPE =>
        {
            Err((Class::Unsupported, None))
        }
        // A handle without the right to ask keeps its secret.
        Ok(_) | Err(ERROR_ACCESS_DENIED) => Ok(()),
        // What is called a pipe and knows no such question is a socket, which wants another way to be closed.
        Err(code) => Err(argument(code)),
    }
}

/// NtQueryInformationFile(FilePipeInformation): not in PIPE_NOWAIT mode, in which a write "succeeds" with no bytes.
fn waiting_mode(os: BorrowedHandle<'_>) -> Result<Kind, (Class, Option<OsCode>)> {
    // A handle without the right to ask keeps its secret.
    match sys::query::<FILE_PIPE_INFORMATION>(os) {
        Ok(pipe) if pipe.CompletionMode & PIPE_NOWAIT != 0 => {
            Err(argument(ERROR_INVALID_PARAMETER))
        }
        Ok(_) | Err(_) => Ok(Kind::Pipe),
    }
}

/// NtQueryInformationFile(FileIoCompletionNotificationInformation): a file whose operations send no packet when they succeed
/// at once (`FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`, set for good and for all duplicates) would never answer us.
///
/// Somebody who holds a duplicate can still set it later: then operations end in quarantine.
fn answers_by_packet(os: BorrowedHandle<'_>) -> Result<(), (Class, Option<OsCode>)> {
    match sys::query::<sys::Notification>(os) {
        Ok(found) if found.flags & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS != 0 => {
            Err((Class::Unsupported, None))
        }
        // A system that cannot be asked has no such mode.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// NtQueryInformationFile(FilePipeLocalInformation): the quota of the queue that this direction uses.
fn capacity(os: BorrowedHandle<'_>, kind: Kind, direction: Direction) -> Option<u64> {
    if kind != Kind::Pipe {
        return None;
    }
    let pipe: FILE_PIPE_LOCAL_INFORMATION = sys::query(os).ok()?;
    // "Inbound" is towards the server, whichever end asks.
    let towards_server =
        (pipe.NamedPipeEnd == FILE_PIPE_SERVER_END) == (direction == Direction::Read);
    let quota = if towards_server {
        pipe.InboundQuota
    } else {
        pipe.OutboundQuota
    };
    Some(u64::from(quota))
}

fn query_failed(code: u32) -> (Class, Option<OsCode>) {
    classified(Call::Query, code)
}

fn argument(code: u32) -> (Class, Option<OsCode>) {
    (Class::Argument, Some(super::classify::os(code)))
}
