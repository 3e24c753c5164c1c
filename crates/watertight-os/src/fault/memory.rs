//! Which memory the kernel has (Windows): told by the wrappers of the system calls themselves, asked by a checking allocator in
//! the tests. It must not allocate.

use std::sync::atomic::{AtomicUsize, Ordering};

/// More operations at once than any test has.
const GIVEN_MAX: usize = 4096;

/// One operation's memory: its block, by whose address the packet names it, and its buffer.
struct Slot {
    /// 0: nobody's.
    block: AtomicUsize,
    block_end: AtomicUsize,
    buffer: AtomicUsize,
    buffer_end: AtomicUsize,
}

static GIVEN: [Slot; GIVEN_MAX] = [const {
    Slot {
        block: AtomicUsize::new(0),
        block_end: AtomicUsize::new(0),
        buffer: AtomicUsize::new(0),
        buffer_end: AtomicUsize::new(0),
    }
}; GIVEN_MAX];

/// No slot from here on was ever used.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// The kernel is about to be given an operation: until its packet, block and buffer are the kernel's.
///
/// # Panics
/// There are more operations than this can note.
pub(crate) fn give(block: usize, block_bytes: usize, buffer: usize, buffer_bytes: usize) {
    let free = GIVEN.iter().position(|slot| {
        let taken = slot
            .block
            .compare_exchange(0, block, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok()
    });
    let index = free.expect("fewer operations at once");
    let slot = &GIVEN[index];
    slot.buffer.store(buffer, Ordering::SeqCst);
    slot.buffer_end
        .store(buffer + buffer_bytes, Ordering::SeqCst);
    slot.block_end.store(block + block_bytes, Ordering::SeqCst);
    HIGHEST.fetch_max(index + 1, Ordering::SeqCst);
}

/// Its packet is here, or the call that should have submitted it failed: the memory is ours again.
pub(crate) fn take_back(block: usize) {
    for slot in used() {
        if slot.block.load(Ordering::SeqCst) == block {
            slot.block_end.store(0, Ordering::SeqCst);
            slot.buffer_end.store(0, Ordering::SeqCst);
            slot.block.store(0, Ordering::SeqCst);
        }
    }
}

/// Whether any of these bytes is the kernel's.
pub fn is_kernels(start: usize, bytes: usize) -> bool {
    let end = start + bytes;
    used().iter().any(|slot| {
        let overlaps = |from: &AtomicUsize, to: &AtomicUsize| {
            let to = to.load(Ordering::SeqCst);
            start < to && from.load(Ordering::SeqCst) < end
        };
        overlaps(&slot.block, &slot.block_end) || overlaps(&slot.buffer, &slot.buffer_end)
    })
}

/// The blocks and the buffers that the kernel has: where each begins.
pub fn kernels() -> Vec<[usize; 2]> {
    let given = used().iter().filter_map(|slot| {
        let block = slot.block.load(Ordering::SeqCst);
        (block != 0).then(|| [block, slot.buffer.load(Ordering::SeqCst)])
    });
    given.collect()
}

fn used() -> &'static [Slot] {
    &GIVEN[..HIGHEST.load(Ordering::SeqCst)]
}
