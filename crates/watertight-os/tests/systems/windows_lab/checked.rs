//! The tests' allocator: it refuses to free or move what the kernel has. On Windows a pending write outlives `CloseHandle`, and
//! its OVERLAPPED is written later, into whatever is there by then.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use watertight_os::fault;

/// The message's beginning, by which a test knows it.
pub(crate) const MESSAGE: &str = "memory that the kernel has was given up before its packet";

struct Checked;

#[global_allocator]
static ALLOCATOR: Checked = Checked;

// SAFETY: every call goes to the system's allocator as it came, or the process ends.
unsafe impl GlobalAlloc for Checked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our caller keeps the allocator's contract, and the system's asks for the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        check(start.addr(), layout.size());
        // SAFETY: our caller keeps the allocator's contract, and the system's asks for the same.
        unsafe { System.dealloc(start, layout) };
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(start.addr(), layout.size());
        // SAFETY: our caller keeps the allocator's contract, and the system's asks for the same.
        unsafe { System.realloc(start, layout, bytes) }
    }
}

fn check(start: usize, bytes: usize) {
    if fault::is_kernels(start, bytes) {
        // Past the harness, which would keep it, and without allocating.
        let _ = writeln!(std::io::stderr(), "{MESSAGE}: {bytes} bytes at {start:#x}");
        std::process::abort();
    }
}
