//! A call when a process ends: a wait that is registered with the system's pool of threads.
//!
//! The wait keeps itself: what it needs lives until the call has been made, whatever becomes of the [`Process`](super::Process).
//! So it is never unregistered before the call, and nobody ever has to wait for a call that runs.

use crate::process::{ExitCallback, call_back};
use crate::windows::classify::Call;
use crate::windows::lock::lock;
use crate::windows::sys::{code_of, said};
use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
};

/// The pool's handle of a wait.
struct WaitHandle(HANDLE);

// SAFETY: it is a number of the pool's that any thread may give back; we never look behind it.
unsafe impl Send for WaitHandle {}

/// How far a wait has come. Whoever is second, the one that registers it or the call, gives its handle back.
enum Wait {
    /// It is being registered, and its handle is not known.
    Begun,
    /// The call has been made.
    Over,
    /// It is registered.
    Registered(WaitHandle),
}

/// What the call needs.
struct Waiting {
    /// The process's handle stays open as long as the wait for it.
    process: Mutex<Option<Arc<OwnedHandle>>>,
    callback: Mutex<Option<ExitCallback>>,
    wait: Mutex<Wait>,
}

/// RegisterWaitForSingleObject: has `callback` called once when the process ends. The code; unless it is 0 there is no call.
pub(super) fn call_at_the_end(process: &Arc<OwnedHandle>, callback: ExitCallback) -> u32 {
    let waiting = Arc::new(Waiting {
        process: Mutex::new(Some(process.clone())),
        callback: Mutex::new(Some(callback)),
        wait: Mutex::new(Wait::Begun),
    });
    let context = Arc::into_raw(waiting.clone());
    let mut handle: HANDLE = null_mut();
    let code = said("RegisterWaitForSingleObject", Call::Wait, || {
        // SAFETY: the process's handle is open until the call has been made, for what the context points at keeps it. The context
        // is a reference of its own, which the call takes back; it comes once, for the time is endless and nobody cancels it.
        code_of(unsafe {
            RegisterWaitForSingleObject(
                &raw mut handle,
                process.as_raw_handle(),
                Some(handle_exit),
                context.cast(),
                INFINITE,
                WT_EXECUTEONLYONCE,
            )
        })
    });
    if code != ERROR_SUCCESS {
        // SAFETY: nothing was registered, so there will be no call, and the reference is still ours alone to take back.
        drop(unsafe { Arc::from_raw(context) });
        return code;
    }
    let mut wait = lock(&waiting.wait);
    if matches!(*wait, Wait::Over) {
        drop(wait);
        give_back(WaitHandle(handle));
    } else {
        *wait = Wait::Registered(WaitHandle(handle));
    }
    ERROR_SUCCESS
}

/// The call, on a thread of the pool.
unsafe extern "system" fn handle_exit(context: *mut c_void, _has_timed_out: bool) {
    // SAFETY: it is the reference that was made for this one call, and nobody else takes it back.
    let waiting = unsafe { Arc::from_raw(context.cast::<Waiting>().cast_const()) };
    // The wait is over. Before anybody hears of it, so that nothing of it is left by then.
    let process = lock(&waiting.process).take();
    drop(process);
    let callback = lock(&waiting.callback).take();
    if let Some(callback) = callback {
        call_back(callback);
    }
    let before = std::mem::replace(&mut *lock(&waiting.wait), Wait::Over);
    if let Wait::Registered(handle) = before {
        give_back(handle);
    }
}

/// UnregisterWaitEx, which waits for nobody: from the call itself it could not, and the call needs nothing of ours any more.
/// It says "pending" while the call runs, and is done when that has returned.
fn give_back(handle: WaitHandle) {
    // SAFETY: the wait was registered, and its handle is given back here only.
    unsafe { UnregisterWaitEx(handle.0, null_mut()) };
}
