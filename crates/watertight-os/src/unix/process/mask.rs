//! A child's signal mask: the one this process had when it started.
//!
//! std hands on the mask of the thread that starts the child. A thread of the library's blocks all signals, and a program that
//! takes its signals from a descriptor blocks some in every thread; a child that inherits that hears no SIGTERM.

use crate::unix::start;
use rustix::io::Errno;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the child start with the mask that this process had when it started. Nearly always it is the calling thread's as well,
/// and then nothing is done: std starts a child faster when nothing runs between fork and exec. Whether something was done, for
/// good.
pub(super) fn pass_on(command: &mut Command) -> bool {
    let mask = start::mask_at_start();
    if mask == start::mask_of_this_thread() {
        return false;
    }
    let set = start::set_of(mask);
    let change = move || set_mask(&set);
    // SAFETY: the closure runs in the child between fork and exec. It makes one call that is async-signal-safe, allocates
    // nothing, takes no lock, and reads only the set, which it owns: the child has its own copy of that memory.
    unsafe { command.pre_exec(change) };
    true
}

/// pthread_sigmask: leaves these signals to the threads that do not block them. The calling thread does from now on, and so do the threads that
/// it starts; its children do not.
pub fn block_signals(signals: &[i32]) {
    let set = start::set_of(start::mask_of(signals));
    // SAFETY: the set is ours, lives on this stack, and is only read; the call changes this thread's mask and nothing else.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
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
