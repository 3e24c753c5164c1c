//! The job object of a child: everything that the child starts is in it, and it can be ended as a whole.

use crate::fault::fallible;
use crate::process::Found;
use crate::windows::classify::Call;
use crate::windows::sys::{self, code_of, code_of_status, last_error, said};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_SUCCESS, HANDLE, NTSTATUS};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectBasicAccountingInformation,
    JobObjectBasicProcessIdList, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject, TerminateJobObject,
};

/// How many members of a job are named at most. All of them are ended.
const MEMBERS_MAX: usize = 1024;

#[link(name = "ntdll", kind = "raw-dylib")]
unsafe extern "system" {
    fn NtResumeProcess(process: HANDLE) -> NTSTATUS;
}

/// JOBOBJECT_BASIC_PROCESS_ID_LIST with room for many.
#[repr(C)]
struct Numbers {
    assigned: u32,
    listed: u32,
    pids: [usize; MEMBERS_MAX],
}

/// A process in the job, held so that its number stays its own; not held, if it may not be opened or is over.
pub(super) struct Member {
    pub(super) found: Found,
    pub(super) handle: Option<OwnedHandle>,
}

impl Member {
    /// Whether it is not known to be over. Never waits.
    pub(super) fn may_be_alive(&self) -> bool {
        let handle = self.handle.as_ref();
        handle.is_none_or(|handle| !matches!(sys::wait_for(handle.as_handle(), 0), Ok(true)))
    }
}

/// A job object without a name, which no child inherits.
pub(super) struct Job(OwnedHandle);

impl Job {
    /// CreateJobObject. With `ends_with_us` all in it are killed when its last handle is closed, which is ours.
    pub(super) fn new(ends_with_us: bool) -> Result<Self, u32> {
        let handle = fallible("CreateJobObject", Call::Start, || {
            // SAFETY: without attributes and a name no memory goes in.
            let raw = unsafe { CreateJobObjectW(null(), null()) };
            if raw.is_null() {
                return Err(last_error());
            }
            // SAFETY: the call above made this handle, nobody else knows it, and it is valid.
            Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
        })?;
        let job = Self(handle);
        if ends_with_us {
            job.limit(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)?;
        }
        Ok(job)
    }

    /// Nobody in it is killed when its last handle is closed.
    pub(super) fn let_go(&self) -> Result<(), u32> {
        self.limit(0)
    }

    /// SetInformationJobObject: these limits and no others.
    fn limit(&self, flags: JOB_OBJECT_LIMIT) -> Result<(), u32> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = flags;
        let bytes = u32::try_from(size_of_val(&limits)).expect("these records are small");
        let code = said("SetInformationJobObject", Call::Start, || {
            // SAFETY: the handle is open while we have it; the record is ours, as long as is said, and only read.
            code_of(unsafe {
                SetInformationJobObject(
                    self.0.as_raw_handle(),
                    JobObjectExtendedLimitInformation,
                    (&raw const limits).cast(),
                    bytes,
                )
            })
        });
        if code == ERROR_SUCCESS {
            Ok(())
        } else {
            Err(code)
        }
    }

    /// AssignProcessToJobObject, and NtResumeProcess if it is to run: the code of the one that failed.
    pub(super) fn take_in(&self, process: BorrowedHandle<'_>, is_to_run: bool) -> u32 {
        let code = said("AssignProcessToJobObject", Call::Start, || {
            // SAFETY: both handles are open while they are borrowed; no memory of ours is involved.
            code_of(unsafe {
                AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle())
            })
        });
        if code != ERROR_SUCCESS || !is_to_run {
            return code;
        }
        said("NtResumeProcess", Call::Start, || {
            // SAFETY: the handle is open while it is borrowed; no memory of ours is involved.
            let status = unsafe { NtResumeProcess(process.as_raw_handle()) };
            if status >= 0 {
                ERROR_SUCCESS
            } else {
                code_of_status(status)
            }
        })
    }

    /// TerminateJobObject with the exit code 1: everybody in the job and in the jobs within it.
    pub(super) fn terminate(&self) -> u32 {
        said("TerminateJobObject", Call::Start, || {
            // SAFETY: the handle is open while we have it; no memory of ours is involved.
            code_of(unsafe { TerminateJobObject(self.0.as_raw_handle(), 1) })
        })
    }

    /// QueryInformationJobObject: how many of those in the job, and in the jobs within it, are alive.
    pub(super) fn alive(&self) -> Result<u32, u32> {
        let mut accounting = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        let bytes = u32::try_from(size_of_val(&accounting)).expect("this record is small");
        let code = said("QueryInformationJobObject (alive)", Call::Query, || {
            // SAFETY: the handle is open while we have it; the record is ours and as long as is said, any numbers that the call writes
            // are a value of it, and the call is done with it when it returns.
            code_of(unsafe {
                QueryInformationJobObject(
                    self.0.as_raw_handle(),
                    JobObjectBasicAccountingInformation,
                    (&raw mut accounting).cast(),
                    bytes,
                    std::ptr::null_mut(),
                )
            })
        });
        if code == ERROR_SUCCESS {
            Ok(accounting.ActiveProcesses)
        } else {
            Err(code)
        }
    }

    /// QueryInformationJobObject: who is in the job, or the code.
    pub(super) fn members(&self) -> Result<Vec<Member>, u32> {
        let mut numbers = Box::new(Numbers {
            assigned: 0,
            listed: 0,
            pids: [0; MEMBERS_MAX],
        });
        let bytes = u32::try_from(size_of::<Numbers>()).expect("this record is small");
        let code = said("QueryInformationJobObject", Call::Query, || {
            // SAFETY: the record is ours and as long as is said; the call is done with it when it returns, and any numbers that
            // it writes are a value of it.
            code_of(unsafe {
                QueryInformationJobObject(
                    self.0.as_raw_handle(),
                    JobObjectBasicProcessIdList,
                    (&raw mut *numbers).cast(),
                    bytes,
                    std::ptr::null_mut(),
                )
            })
        });
        // More data: there are more than have room, and these are there.
        if code != ERROR_SUCCESS && code != ERROR_MORE_DATA {
            return Err(code);
        }
        let count = usize::try_from(numbers.listed).unwrap_or(MEMBERS_MAX);
        let pids = numbers.pids.iter().take(count);
        let members = pids.filter_map(|pid| Some(member(u32::try_from(*pid).ok()?)));
        Ok(members.collect())
    }
}

fn member(pid: u32) -> Member {
    let handle = sys::open_process(pid).ok();
    let name = handle.as_ref().map(AsHandle::as_handle);
    let name = name.and_then(sys::process_name);
    Member {
        found: Found { pid, name },
        handle,
    }
}
