//! The end of the process: being called then, and one line on standard error past `std`.

use std::cell::Cell;
use std::io::Write;
use std::os::windows::io::AsHandle;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use windows_sys::Win32::System::Threading::{FLS_OUT_OF_INDEXES, FlsAlloc, FlsSetValue};

/// A pending write may have been taken in part, and Windows does not say so.
pub const IN_FLIGHT_IS_IN_DOUBT: bool = true;

/// What runs when all other threads are dead.
static DEATH: OnceLock<extern "C" fn()> = OnceLock::new();
/// The place in every thread's local storage whose end is told; out of indexes: none.
static INDEX: AtomicU32 = AtomicU32::new(FLS_OUT_OF_INDEXES);

unsafe extern "C" {
    /// The C library's, which every Windows program of Rust's is linked with.
    fn atexit(run: extern "C" fn()) -> i32;
}

#[link(name = "ntdll", kind = "raw-dylib")]
unsafe extern "system" {
    fn RtlDllShutdownInProgress() -> u8;
}

/// Has the system call `run` when the process ends through C's `exit` or a return from `main`, with all threads alive; and
/// `death` when it ends through `ExitProcess`, which is what std's `process::exit` calls: then every other thread is dead,
/// and only a thread that [`note_thread`] knows of is told.
///
/// Whether the system keeps them.
#[must_use]
pub fn at_exit(run: extern "C" fn(), death: extern "C" fn()) -> bool {
    // SAFETY: atexit keeps the pointer of a function that lives as long as the program; no memory of ours is involved.
    let kept = unsafe { atexit(run) } == 0;
    DEATH.get_or_init(|| death);
    // SAFETY: the callback lives as long as the program and takes any value; it is never freed, so it is called for every
    // thread that set one, at that thread's end.
    let index = unsafe { FlsAlloc(Some(handle_end_of_thread)) };
    INDEX.store(index, Ordering::Relaxed);
    kept && index != FLS_OUT_OF_INDEXES
}

/// A thread that makes, uses or drops a pipe may be the one that ends the process.
pub fn note_thread() {
    thread_local! {
        static IS_NOTED: Cell<bool> = const { Cell::new(false) };
    }
    let index = INDEX.load(Ordering::Relaxed);
    if index == FLS_OUT_OF_INDEXES || IS_NOTED.replace(true) {
        return;
    }
    // SAFETY: the index is ours and never freed; the value is a number that nobody takes for an address.
    unsafe { FlsSetValue(index, std::ptr::without_provenance(1)) };
}

/// The callback of every noted thread's end, and of the process's on the thread that ends it.
unsafe extern "system" fn handle_end_of_thread(_: *const core::ffi::c_void) {
    // SAFETY: it asks for a flag of the loader's and touches no memory of ours.
    let is_process_ending = unsafe { RtlDllShutdownInProgress() } != 0;
    if let Some(death) = DEATH.get().filter(|_| is_process_ending) {
        death();
    }
}

/// WriteFile of a line to standard error. Always `true`: a standard error that takes nothing would hold this up, as it would
/// everybody else who writes there.
#[must_use]
pub fn say(line: &str) -> bool {
    // Past std's lock, which may be held for ever: a handle of our own for the same stream.
    if let Ok(handle) = std::io::stderr().as_handle().try_clone_to_owned() {
        let mut stderr = std::fs::File::from(handle);
        let _ = stderr.write_all(line.as_bytes());
    }
    true
}
