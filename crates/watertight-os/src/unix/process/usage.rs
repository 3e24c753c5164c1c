//! Reaping a child, and what it has used: the system tells that only to whoever reaps it, and only once.

use crate::fault::fallible;
use crate::process::{Reaped, Usage};
use crate::unix::classify::Call;
use rustix::io::Errno;
use rustix::process::Pid;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
use crate::unix::kernel::last_errno;
#[cfg(any(target_os = "android", target_os = "linux"))]
use std::os::fd::{AsRawFd, BorrowedFd};
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
use std::{mem::MaybeUninit, time::Duration};

/// What a reaping says, and what the child has used.
pub(super) type ReapedWith = (Reaped, Option<Usage>);

/// In how many bytes the system counts the memory: macOS in bytes, everybody else in KiB (getrusage(2)).
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
const MEMORY_UNIT_BYTES: u64 = if cfg!(target_vendor = "apple") {
    1
} else {
    1024
};

/// What a wait status has when a core file was written (`WCOREFLAG`).
#[cfg(any(target_os = "android", target_os = "linux"))]
const CORE_WRITTEN: i32 = 0x80;

/// wait4, without waiting, so that there is no EINTR.
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
pub(super) fn reap_by_number(pid: Pid) -> Result<ReapedWith, Errno> {
    let mut status = 0;
    let mut used = MaybeUninit::<libc::rusage>::zeroed();
    let waited = fallible("wait4", Call::Spawn, || {
        // SAFETY: both places are ours and live until the call, which does not wait, returns; each is what the call fills in.
        let said = unsafe {
            libc::wait4(
                pid.as_raw_pid(),
                &raw mut status,
                libc::WNOHANG,
                used.as_mut_ptr(),
            )
        };
        if said < 0 {
            Err(last_errno())
        } else {
            Ok(said)
        }
    });
    match waited {
        Ok(0) => Ok((Reaped::Running, None)),
        Ok(_) => {
            // SAFETY: a record of integers of our own: the zeros it began with are a value, and whatever the call put there is.
            let used = unsafe { used.assume_init() };
            let status = ExitStatus::from_raw(status);
            Ok((Reaped::Ended(status), Some(usage(&used))))
        }
        // Somebody else has reaped it.
        Err(Errno::CHILD) => Ok((Reaped::Unknown, None)),
        Err(code) => Err(code),
    }
}

/// waitpid, without waiting, so that there is no EINTR: libc has no wait4 for these systems.
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
pub(super) fn reap_by_number(pid: Pid) -> Result<ReapedWith, Errno> {
    use rustix::process::{WaitOptions, waitpid};
    let waited = fallible("waitpid", Call::Spawn, || {
        waitpid(Some(pid), WaitOptions::NOHANG)
    });
    match waited {
        Ok(None) => Ok((Reaped::Running, None)),
        Ok(Some((_, status))) => {
            let status = ExitStatus::from_raw(status.as_raw());
            Ok((Reaped::Ended(status), None))
        }
        // Somebody else has reaped it.
        Err(Errno::CHILD) => Ok((Reaped::Unknown, None)),
        Err(code) => Err(code),
    }
}

/// waitid, without waiting, so that there is no EINTR, and as the kernel has it: with a fifth argument, which the C libraries leave
/// out.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) fn reap_by_pidfd(pidfd: BorrowedFd<'_>) -> Result<ReapedWith, Errno> {
    let mut said = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut used = MaybeUninit::<libc::rusage>::zeroed();
    // Elsewhere the C library's record is not the kernel's: its times may be wider.
    let is_known = cfg!(target_pointer_width = "64");
    let place = if is_known {
        used.as_mut_ptr()
    } else {
        std::ptr::null_mut()
    };
    let waited = fallible("waitid", Call::Spawn, || {
        // SAFETY: the descriptor is open while it is borrowed. Both records are ours and live until the call, which does not wait,
        // returns; they are as the kernel has them, and the second may be left out (waitid(2)).
        let answer = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                said.as_mut_ptr(),
                libc::WEXITED | libc::WNOHANG,
                place,
            )
        };
        if answer == 0 {
            Ok(())
        } else {
            Err(last_errno())
        }
    });
    match waited {
        Ok(()) => {}
        // Somebody else has reaped it.
        Err(Errno::CHILD) => return Ok((Reaped::Unknown, None)),
        Err(code) => return Err(code),
    }
    // SAFETY: a record of integers of our own: the zeros it began with are a value, and whatever the call put there is.
    let said = unsafe { said.assume_init() };
    // SAFETY: the call has put a child's end there, which has this field, or has left the zeros that it began with.
    let pid = unsafe { said.si_pid() };
    if pid == 0 {
        return Ok((Reaped::Running, None));
    }
    // SAFETY: the call has put a child's end there, as its number says, and a child's end has this field.
    let number = unsafe { said.si_status() };
    let Some(status) = status(said.si_code, number) else {
        return Ok((Reaped::Unknown, None));
    };
    // SAFETY: a record of integers of our own: the zeros it began with are a value, and whatever the call put there is.
    let used = unsafe { used.assume_init() };
    Ok((Reaped::Ended(status), is_known.then(|| usage(&used))))
}

/// The wait status that waitid takes apart, put together again.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn status(how: i32, number: i32) -> Option<ExitStatus> {
    let raw = match how {
        libc::CLD_EXITED => (number & 0xff) << 8,
        libc::CLD_KILLED => number,
        libc::CLD_DUMPED => number | CORE_WRITTEN,
        _ => return None,
    };
    Some(ExitStatus::from_raw(raw))
}

/// What is of use of a system's record.
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
fn usage(used: &libc::rusage) -> Usage {
    let memory = count(used.ru_maxrss);
    let page_faults = count(used.ru_minflt).saturating_add(count(used.ru_majflt));
    // No program begins without a page fault: a record without one is of a system that counts none of these.
    let if_counted = |number: u64| (page_faults > 0).then_some(number);
    Usage {
        user: duration(used.ru_utime),
        system: duration(used.ru_stime),
        // Some systems sample it, and have nothing of a child that was over before the first sample.
        memory_bytes_max: (memory > 0).then(|| memory.saturating_mul(MEMORY_UNIT_BYTES)),
        page_faults: if_counted(page_faults),
        page_faults_major: if_counted(count(used.ru_majflt)),
        context_switches_voluntary: if_counted(count(used.ru_nvcsw)),
        context_switches_involuntary: if_counted(count(used.ru_nivcsw)),
        blocks_read: if_counted(count(used.ru_inblock)),
        blocks_written: if_counted(count(used.ru_oublock)),
    }
}

/// No system counts backwards.
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
fn count(number: libc::c_long) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
fn duration(time: libc::timeval) -> Duration {
    // No system counts backwards.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

#[cfg(all(test, not(any(target_os = "illumos", target_os = "solaris"))))]
mod tests {
    use super::*;

    #[test]
    fn a_systems_record_is_taken_apart() {
        // SAFETY: a record of integers, for which zeros are a value; it is ours alone.
        let mut used = unsafe { MaybeUninit::<libc::rusage>::zeroed().assume_init() };
        assert_eq!(usage(&used), Usage::default());
        used.ru_utime.tv_sec = 3;
        used.ru_utime.tv_usec = 250_000;
        used.ru_stime.tv_usec = 1;
        used.ru_maxrss = 7;
        let told = usage(&used);
        assert_eq!(told.user, Duration::from_millis(3250));
        assert_eq!(told.system, Duration::from_micros(1));
        assert_eq!(told.memory_bytes_max, Some(7 * MEMORY_UNIT_BYTES));
        assert_eq!(told.page_faults, None, "nobody counts them");
        used.ru_majflt = 2;
        used.ru_nvcsw = 4;
        used.ru_nivcsw = 5;
        used.ru_inblock = 8;
        used.ru_oublock = 9;
        let told = usage(&used);
        assert_eq!(told.page_faults, Some(2));
        used.ru_minflt = 11;
        let told = usage(&used);
        assert_eq!(
            (told.page_faults, told.page_faults_major),
            (Some(13), Some(2))
        );
        assert_eq!(told.context_switches_voluntary, Some(4));
        assert_eq!(told.context_switches_involuntary, Some(5));
        assert_eq!((told.blocks_read, told.blocks_written), (Some(8), Some(9)));
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    #[test]
    fn a_wait_status_is_put_together_again() {
        let ended = |how, number| status(how, number).unwrap();
        assert_eq!(ended(libc::CLD_EXITED, 7).code(), Some(7));
        assert_eq!(ended(libc::CLD_KILLED, 9).signal(), Some(9));
        assert!(!ended(libc::CLD_KILLED, 9).core_dumped());
        let dumped = ended(libc::CLD_DUMPED, 11);
        assert_eq!(dumped.signal(), Some(11));
        assert!(dumped.core_dumped());
        assert_eq!(status(libc::CLD_STOPPED, 19), None);
    }
}
