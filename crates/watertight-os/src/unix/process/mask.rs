//! A child's signals: the mask that this process had when it started, and no handler of this process's.
//!
//! std hands on the mask of the thread that starts the child. A thread of the library's blocks all signals, and a program that
//! takes its signals from a descriptor blocks some in every thread; a child that inherits that hears no SIGTERM.
//!
//! The exec resets handlers, and not before: until then a new process runs this one's, and a Ctrl-C that it is sent is lost to its
//! program. `posix_spawn` lets no handler run there, and std calls it where nothing of ours runs between fork and exec. Where something
//! does, all signals wait from before the fork until the handlers are reset.

use crate::unix::sigpipe::OF_THE_THREAD;
use crate::unix::start;
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the child start with the mask that this process had when it started, and with no handler. Nearly always the mask is the calling
/// thread's as well, and std does not fork (`forks`) for another reason: then nothing is done, since std starts a child faster when
/// nothing runs between fork and exec. Whether something was done, for good: then the start is to be made by [`with_all_blocked`].
pub(super) fn pass_on(command: &mut Command, forks: bool) -> bool {
    let mask = start::mask_at_start();
    if !forks && mask == start::mask_of_this_thread() {
        return false;
    }
    let set = start::set_of(mask);
    let change = move || {
        // First: what has come by now is delivered by the second call.
        reset_handlers();
        set_mask(&set)
    };
    // SAFETY: the closure runs in the child between fork and exec. It makes calls that are async-signal-safe (sigaction,
    // pthread_sigmask), allocates nothing, takes no lock, and reads only the set, which it owns: the child has its own copy of that memory.
    unsafe { command.pre_exec(change) };
    true
}

/// Starts a child for which [`pass_on`] has done something: every signal waits until that runs in the child, and in this thread until
/// the start is over.
pub(super) fn with_all_blocked<T>(start: impl FnOnce() -> T) -> T {
    let _blocked = AllBlocked::new();
    start()
}

/// The calling thread blocks every signal that comes from elsewhere, until this is dropped.
struct AllBlocked {
    before: libc::sigset_t,
}

impl AllBlocked {
    /// pthread_sigmask.
    fn new() -> Self {
        let all = start::set_of(!start::mask_of(&OF_THE_THREAD));
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both sets are ours and live on this stack; the call reads the one, fills the other, and keeps no reference.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, before.as_mut_ptr()) };
        // SAFETY: it is a record of integers that was zeroed before the call filled it, so that any bytes are a value of it.
        let before = unsafe { before.assume_init() };
        Self { before }
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // It fails only for an operation that there is not.
        let _ = set_mask(&self.before);
    }
}

/// pthread_sigmask: leaves these signals to the threads that do not block them. The calling thread does from now on, and so do the threads that
/// it starts; its children do not.
pub fn block_signals(signals: &[i32]) {
    let set = start::set_of(start::mask_of(signals));
    // SAFETY: the set is ours, lives on this stack, and is only read; the call changes this thread's mask and nothing else.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// sigaction, in the child: what has a handler is at its default from now on, as it will be behind the exec. What is ignored stays so.
fn reset_handlers() {
    for signal in start::SIGNALS {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: no action is given, so that nothing changes; `action` is ours, lives on this stack, and the call keeps no reference.
        let code = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
        // SAFETY: it is ours, and zeros are a value of it, so that it is one also if the call has filled in nothing.
        let mut action = unsafe { action.assume_init() };
        // What the C library keeps for itself it does not tell.
        if code != 0 || [libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction) {
            continue;
        }
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = 0;
        // SAFETY: `action` is ours and only read until the call returns; it names no handler, and nothing is asked for in return.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// pthread_sigmask.
fn set_mask(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is borrowed until the call returns, and only read; nothing is asked for in return.
    let code = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
    if code == 0 {
        Ok(())
    } else {
        Err(Errno::from_raw_os_error(code).into())
    }
}
