//! Children of this process: starting one, hearing of its end, ending it and its tree.
//!
//! There is nothing to reap on Windows: a child's number is its own, and its status is there, while its handle is open.

mod exit_wait;
mod failure;
mod job;

use self::job::{Job, Member};
use super::classify::Call;
use super::handle::Handle;
use super::sys;
use crate::TreeMember;
use crate::fault::fallible;
use crate::process::{
    EarlierStarts, ExitCallback, Found, Reaped, StartError, StartOptions, StartStep, StdStreams,
    TreeEnd, TreeLook, Usage, call_back,
};
use std::fmt;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::os::windows::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Console::GetConsoleCP;
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_SUSPENDED, INFINITE};

/// How long the deaths of the killed are waited for, all together.
const DEATHS_WITHIN: Duration = Duration::from_millis(200);

/// A child that this process has started. Dropping it leaves the child running, unless it was started to end with us.
pub struct Process {
    handle: Arc<OwnedHandle>,
    id: u32,
    job: Job,
    /// It has a process group of its own, which a console event can be sent to.
    has_own_group: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Starts what `command` says with std's own spawn: its quoting, its rules for batch files, its lock that keeps inheritable
    /// handles from other children of std's. The creation flags are those of `options`, whatever `command` was told before.
    ///
    /// The child begins suspended, is put into a job object, and only then runs: nothing that it starts is outside the job,
    /// whatever the grouping. (Jobs nest since Windows 8; whom Ctrl-C reaches is no matter of jobs.)
    ///
    /// # Errors
    /// Which step failed. No child is left behind.
    pub fn start(
        command: &mut Command,
        options: StartOptions,
        _earlier: &mut EarlierStarts,
    ) -> Result<(Self, StdStreams), StartError> {
        let flags = options.creation_flags;
        let made = Job::new(options.ends_with_us);
        let job = made.map_err(|code| failed(command, StartStep::Resources, code))?;
        command.creation_flags(flags | CREATE_SUSPENDED);
        let spawned = fallible("spawn", Call::Start, || command.spawn());
        command.creation_flags(flags);
        let mut child = spawned.map_err(|error| failure::explained(command, error))?;
        let is_to_run = flags & CREATE_SUSPENDED == 0;
        let code = job.take_in(child.as_handle(), is_to_run);
        if code != ERROR_SUCCESS {
            let _ = child.kill();
            // It was killed, and has not run: this takes a moment.
            let _ = child.wait();
            return Err(failed(command, StartStep::Hold, code));
        }
        let streams = StdStreams {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        let process = Self {
            id: child.id(),
            handle: Arc::new(OwnedHandle::from(child)),
            job,
            has_own_group: flags & CREATE_NEW_PROCESS_GROUP != 0,
        };
        Ok((process, streams))
    }

    /// The child's number. Once this `Process` is dropped it may be somebody else's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// There are no control groups on Windows.
    #[must_use]
    pub const fn has_cgroup(&self) -> bool {
        false
    }

    /// Has `callback` called once when the child has ended, on a thread of the system's pool. At once, on this thread, if the
    /// child has ended already. The call comes although the `Process` was dropped.
    ///
    /// # Errors
    /// The system cannot wait for it. Then `callback` is not called.
    pub fn on_exit(&self, callback: ExitCallback) -> io::Result<()> {
        if self.is_over()? {
            call_back(callback);
            return Ok(());
        }
        done(exit_wait::call_at_the_end(&self.handle, callback))
    }

    /// WaitForSingleObject: blocks this thread until the child has ended or the time is over. Whether it has ended.
    ///
    /// # Errors
    /// The system cannot wait.
    pub fn wait_for_exit(&self, timeout: Option<Duration>) -> io::Result<bool> {
        // A time that no clock can show never comes.
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if wait(self.handle.as_handle(), end)? {
                return Ok(true);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
        }
    }

    /// Not offered: what reads overlapped is not waited for in such a way.
    #[must_use]
    pub const fn block_with_outputs(
        &self,
        _outputs: &[&Handle],
        _is_end_waited_for: bool,
        _timeout: Option<Duration>,
    ) -> Option<bool> {
        None
    }

    fn is_over(&self) -> io::Result<bool> {
        self.wait_for_exit(Some(Duration::ZERO))
    }

    /// As [`reap`](Self::reap); [`Reaped::Unknown`] when the system cannot tell.
    #[must_use]
    pub fn try_reap(&self) -> Reaped {
        self.reap().unwrap_or(Reaped::Unknown)
    }

    /// GetExitCodeProcess, if the child has ended: what became of it.
    ///
    /// # Errors
    /// The system cannot tell. The handle is ours and open, so it has no reason to.
    pub fn reap(&self) -> io::Result<Reaped> {
        if !self.is_over()? {
            return Ok(Reaped::Running);
        }
        let code = sys::exit_code(self.handle.as_handle()).map_err(error_of)?;
        Ok(Reaped::Ended(ExitStatus::from_raw(code)))
    }

    /// As [`reap`](Self::reap): a child's handle keeps its number and its job, whoever has asked.
    ///
    /// # Errors
    /// As [`reap`](Self::reap).
    pub fn peek(&self) -> io::Result<Reaped> {
        self.reap()
    }

    /// GetProcessTimes and GetProcessMemoryInfo, if the child has ended: what it has used. `None` while it runs, and where the
    /// system does not tell it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        if !matches!(self.is_over(), Ok(true)) {
            return None;
        }
        let (system, user) = sys::process_times(self.handle.as_handle()).ok()?;
        let memory = sys::process_memory(self.handle.as_handle()).ok();
        let page_faults = memory.map(|(_, page_faults)| u64::from(page_faults));
        Some(Usage {
            user,
            system,
            memory_bytes_max: memory.map(|(bytes_max, _)| bytes_max),
            // No program begins without one (Wine does not count them).
            page_faults: page_faults.filter(|count| *count > 0),
            ..Usage::default()
        })
    }

    /// TerminateProcess with the exit code 1, to the child alone. `false`: it is over.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&self) -> io::Result<bool> {
        if self.is_over()? {
            return Ok(false);
        }
        let code = sys::terminate(self.handle.as_handle());
        if code != ERROR_SUCCESS && self.is_over()? {
            // It ended in between: then the call says "access denied".
            return Ok(false);
        }
        done(code).map(|()| true)
    }

    /// GenerateConsoleCtrlEvent: CTRL_BREAK to the child's process group. `false`: it is over.
    ///
    /// # Errors
    /// The child was started without `CREATE_NEW_PROCESS_GROUP` (`Unsupported`), or has no console in common with us.
    pub fn terminate(&self) -> io::Result<bool> {
        if !self.has_own_group {
            let text = "only a child that was started with CREATE_NEW_PROCESS_GROUP can be asked to end on Windows";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        if self.is_over()? {
            return Ok(false);
        }
        done(sys::console_break(self.id)).map(|()| true)
    }

    /// TerminateJobObject, and waits a moment (200 ms at most) for the deaths.
    pub fn kill_tree(&self) -> TreeEnd {
        self.end_tree(Some(Instant::now() + DEATHS_WITHIN))
    }

    /// As [`kill_tree`](Self::kill_tree), and waits for nobody's death: nobody is told to be left.
    pub fn kill_tree_at_once(&self) -> TreeEnd {
        self.end_tree(None)
    }

    /// SetInformationJobObject: a child that was started to end with us, and all in its job, live on when the `Process` is dropped or
    /// this process ends.
    ///
    /// # Errors
    /// The system refuses.
    pub fn let_go(&self) -> io::Result<()> {
        self.job.let_go().map_err(error_of)
    }

    /// QueryInformationJobObject: whether nobody but the child is alive in the job. No, if the system does not tell. Never waits.
    #[must_use]
    pub fn is_tree_over(&self) -> bool {
        match self.job.alive() {
            Ok(0) => true,
            // Asked after that: it is the child only if the child is alive still.
            Ok(1) => matches!(self.is_over(), Ok(false)),
            Ok(_) | Err(_) => false,
        }
    }

    /// QueryInformationJobObject: who in the job is alive, whatever the handle. Which of them has it, and whether somebody else has, the
    /// system does not show.
    #[must_use]
    pub fn holders_of(&self, _handle: BorrowedHandle<'_>) -> Vec<Found> {
        let mut members = self.job.members().unwrap_or_default();
        members.retain(Member::may_be_alive);
        members.into_iter().map(|member| member.found).collect()
    }

    /// Nothing: the job has everybody.
    ///
    /// # Errors
    /// None.
    pub const fn note_tree(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing, likewise.
    ///
    /// # Errors
    /// None.
    pub const fn note_tree_anew(&self) -> io::Result<()> {
        Ok(())
    }

    /// QueryInformationJobObject: whether anybody in the job is alive when the child is over. Never waits.
    ///
    /// Nobody is held. The system tells a completion port of a job that has become empty, but does not promise to
    /// (`JOBOBJECT_ASSOCIATE_COMPLETION_PORT`); and whoever is opened by a number from the job's list may be a stranger by then.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn look_at_tree(&self) -> io::Result<TreeLook> {
        match self.job.alive().map_err(error_of)? {
            0 => Ok(TreeLook::Over),
            _ => Ok(TreeLook::Unheld),
        }
    }

    /// Nothing: nobody is held.
    pub const fn forget_member(&self, _over: &TreeMember) {}

    /// Without a time nobody's death is waited for.
    fn end_tree(&self, by: Option<Instant>) -> TreeEnd {
        let job = &self.job;
        let mut end = TreeEnd::default();
        let mut members = job.members().unwrap_or_else(|code| {
            // The job has them all the same, and they are killed unnamed.
            end.error = Some(error_of(code));
            self.itself()
        });
        // The child first.
        members.sort_by_key(|member| member.found.pid != self.id);
        let all = || members.iter().map(|member| member.found.clone()).collect();
        let code = job.terminate();
        if code != ERROR_SUCCESS {
            end.left = all();
            end.error.get_or_insert_with(|| error_of(code));
            return end;
        }
        end.signalled = all();
        let Some(by) = by else { return end };
        for member in &members {
            // Whoever cannot be waited for is not known to be there.
            let handle = member.handle.as_ref();
            if handle.is_some_and(|handle| matches!(wait(handle.as_handle(), Some(by)), Ok(false)))
            {
                end.left.push(member.found.clone());
            }
        }
        end
    }

    /// The child as one of its job, if it is not over.
    fn itself(&self) -> Vec<Member> {
        if matches!(self.is_over(), Ok(true)) {
            return Vec::new();
        }
        vec![Member {
            found: self.found(),
            handle: self.handle.try_clone().ok(),
        }]
    }

    fn found(&self) -> Found {
        Found {
            pid: self.id,
            name: sys::process_name(self.handle.as_handle()),
        }
    }

    /// As [`terminate`](Self::terminate): the event reaches everybody in the child's process group and console.
    pub fn terminate_tree(&self) -> TreeEnd {
        self.alone(self.terminate())
    }

    /// What a tree comes to of which only the child was signalled.
    fn alone(&self, signalled: io::Result<bool>) -> TreeEnd {
        let mut end = TreeEnd::default();
        let child = self.found();
        match signalled {
            Ok(true) => end.signalled.push(child),
            Ok(false) => {}
            Err(error) => {
                end.left.push(child);
                end.error = Some(error);
            }
        }
        end
    }
}

/// GetConsoleCP: whether this process has a console. Then its children had better share it, and Ctrl-C reaches them.
#[must_use]
pub fn is_in_terminals_foreground() -> bool {
    // SAFETY: it takes and returns a number; no memory of ours is involved.
    unsafe { GetConsoleCP() != 0 }
}

/// WaitForSingleObject, once: whether the process is over. A wait of more than seven weeks comes back early.
fn wait(handle: BorrowedHandle<'_>, end: Option<Instant>) -> io::Result<bool> {
    let millis = end.map_or(INFINITE, |end| {
        let left = end.saturating_duration_since(Instant::now());
        let millis = left.as_nanos().div_ceil(1_000_000);
        u32::try_from(millis).unwrap_or(INFINITE).min(INFINITE - 1)
    });
    sys::wait_for(handle, millis).map_err(error_of)
}

fn failed(command: &Command, step: StartStep, code: u32) -> StartError {
    StartError {
        step,
        program: command.get_program().to_owned(),
        path: None,
        run_as: None,
        error: error_of(code),
    }
}

fn error_of(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}

fn done(code: u32) -> io::Result<()> {
    if code == ERROR_SUCCESS {
        Ok(())
    } else {
        Err(error_of(code))
    }
}
