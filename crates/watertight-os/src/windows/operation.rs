//! One heap block per operation: OVERLAPPED, buffer and handle together, the kernel's from submission to packet.
//!
//! The kernel never borrows: the block is given away whole, and nothing outside this file gives it or takes it back (guarantee
//! G1). No policy lives here, and no event is ever used: with one, the operation would end with the thread that submitted it.
//!
//! A packet is believed only if it names a block that is in the table and that holds its answer. Handles are shared: another
//! process, or an operation begun before the adoption, can put packets with addresses of its own into our port.

use super::answer::{self, Kind, joined};
use super::classify::{Call, classify};
use super::lock::lock;
use super::sys::{code_of_status, last_error};
use crate::fault::{self, fallible};
use bytes::Bytes;
use std::collections::HashMap;
use std::os::windows::io::{AsRawHandle, OwnedHandle, RawHandle};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use watertight_core::{Chunks, Class, Completion, Moved, OpId, Outcome, Submitted};
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_SUCCESS, NTSTATUS, STATUS_PENDING,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED, OVERLAPPED_ENTRY};

/// Blocks that exist, so that tests can prove that none is freed early and none is left.
static ALIVE: AtomicU64 = AtomicU64::new(0);

/// How many operations have their block, in the kernel or on the way there or back.
pub(super) fn alive() -> u64 {
    ALIVE.load(Ordering::SeqCst)
}

/// All operations that the kernel has not answered.
#[derive(Default)]
pub(super) struct Operations(Mutex<Table>);

#[derive(Default)]
struct Table {
    operations: HashMap<OpId, Given>,
    addresses: HashMap<usize, OpId>,
}

/// The memory that the kernel reads or writes.
enum Buffer {
    /// Filled by a read, up to so many bytes: there is room for them, and the length is 0 until the answer.
    Read(Vec<u8>, usize),
    /// Read by a write.
    Write(Bytes),
}

/// One operation. `repr(C)` puts the OVERLAPPED first: its address is the block's.
#[repr(C)]
struct Operation {
    overlapped: OVERLAPPED,
    id: OpId,
    /// Keeps the handle open for as long as the kernel has the operation.
    handle: Arc<OwnedHandle>,
    kind: Kind,
    buffer: Buffer,
}

/// A block that was given away. Losing it leaks the block; nothing but [`Given::take_back`] frees it.
struct Given {
    block: NonNull<Operation>,
    os: RawHandle,
}

// SAFETY: a block has one `Given`, and whoever has that may touch what the kernel does not. All of its contents may move
// between threads; the pointers in OVERLAPPED are null, and `os` is a number that the block's handle keeps open.
unsafe impl Send for Given {}

/// What the submitting call needs. A copy, because the block may be gone before the call returns.
struct Start {
    overlapped: *mut OVERLAPPED,
    os: RawHandle,
    start: *mut u8,
    bytes: u32,
    reads: bool,
}

impl Operations {
    /// ReadFile of at most `bytes_max` bytes.
    pub(super) fn submit_read(
        &self,
        handle: &Arc<OwnedHandle>,
        kind: Kind,
        id: OpId,
        bytes_max: usize,
    ) -> Submitted {
        self.submit(handle, kind, id, Buffer::for_read(bytes_max))
    }

    /// WriteFile.
    pub(super) fn submit_write(
        &self,
        handle: &Arc<OwnedHandle>,
        kind: Kind,
        id: OpId,
        chunks: Chunks,
    ) -> Submitted {
        self.submit(handle, kind, id, Buffer::for_write(chunks))
    }

    fn submit(&self, handle: &Arc<OwnedHandle>, kind: Kind, id: OpId, buffer: Buffer) -> Submitted {
        let mut given = Operation::new(id, handle.clone(), kind, buffer).give();
        let call = given.starter();
        // Before the call: the packet can be there before it returns.
        lock(&self.0).insert(id, given);
        // SAFETY: the block was registered just now and never started; `handle` is borrowed until this returns.
        let Err(code) = (unsafe { start(&call) }) else {
            return Submitted::InFlight;
        };
        let Some(given) = lock(&self.0).remove_unless_warned(id) else {
            return Submitted::InFlight;
        };
        // SAFETY: the call failed with an error, so that no packet will come: the kernel never had the block or is done with
        // it.
        let operation = unsafe { given.take_back() };
        Submitted::Done(operation.into_refusal(code))
    }

    /// Takes the block back that a packet names. `None`: the packet is a stranger's.
    pub(super) fn redeem(&self, entry: &OVERLAPPED_ENTRY) -> Option<Completion> {
        let given = lock(&self.0).redeem(entry.lpOverlapped.addr())?;
        // SAFETY: it was in the table, so it was submitted; the kernel has written its answer into it, and with that is done
        // with block and buffer. The table gave up the only `Given`.
        let operation = unsafe { given.take_back() };
        // Frees the block and its reference to the handle: O4, before anybody hears of the answer.
        Some(operation.into_completion())
    }

    /// CancelIoEx. Says whether the kernel has the operation; if not, it is answered, or a helper thread has it.
    pub(super) fn cancel(&self, id: OpId) -> bool {
        let table = lock(&self.0);
        let given = table.operations.get(&id);
        if let Some(given) = given {
            // Under the lock, so that the block is there and is the one that is meant.
            given.cancel();
        }
        given.is_some()
    }

    /// CancelIoEx on everything that the kernel has.
    pub(super) fn cancel_all(&self) {
        let table = lock(&self.0);
        for given in table.operations.values() {
            // Under the lock, as above.
            given.cancel();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).operations.is_empty()
    }
}

impl Table {
    /// Adds an operation, before it can possibly be answered.
    fn insert(&mut self, id: OpId, given: Given) {
        self.addresses.insert(given.address(), id);
        let before = self.operations.insert(id, given);
        assert!(
            before.is_none(),
            "O1: a pipe has one operation of a kind in flight"
        );
    }

    /// Takes out an operation: it is answered, or was never submitted.
    fn remove(&mut self, id: OpId) -> Option<Given> {
        let given = self.operations.remove(&id)?;
        self.addresses.remove(&given.address());
        Some(given)
    }

    /// Takes out an operation whose submitting call failed. `None`: it is in flight all the same, or has been answered
    /// already, because what the call said was a warning: then its packet comes.
    fn remove_unless_warned(&mut self, id: OpId) -> Option<Given> {
        if self.operations.get(&id)?.is_warned() {
            return None;
        }
        self.remove(id)
    }

    /// Takes out the block that a packet names. `None`: it is not ours, and nothing at that address may be touched.
    fn redeem(&mut self, address: usize) -> Option<Given> {
        let id = *self.addresses.get(&address)?;
        if !self.operations.get(&id)?.is_answered() {
            return None;
        }
        self.remove(id)
    }
}

impl Buffer {
    fn for_read(bytes_max: usize) -> Self {
        Self::Read(Vec::with_capacity(bytes_max), bytes_max)
    }

    /// One chunk is not copied; Windows has no gather write for pipes, so several are joined.
    fn for_write(chunks: Chunks) -> Self {
        Self::Write(joined(chunks))
    }
}

impl Operation {
    fn new(id: OpId, handle: Arc<OwnedHandle>, kind: Kind, buffer: Buffer) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        // What the submitting call writes first. Said here too, so that "not answered" holds from the start.
        let overlapped = OVERLAPPED {
            Internal: pending(),
            ..OVERLAPPED::default()
        };
        Self {
            overlapped,
            id,
            handle,
            kind,
            buffer,
        }
    }

    /// Gives the block away. From here on it is freed by [`Given::take_back`] or never.
    fn give(self) -> Given {
        let os = self.handle.as_raw_handle();
        let block = NonNull::from(Box::leak(Box::new(self)));
        Given { block, os }
    }

    /// The answer that the kernel left in the block. Frees the block, and with it our reference to the handle.
    fn into_completion(self) -> Completion {
        let status = status_of(self.overlapped.Internal);
        let code = if status == 0 {
            ERROR_SUCCESS
        } else {
            code_of_status(status)
        };
        // S3: only the completion settles bytes, and of a write that was pending and failed nobody knows them.
        let count = self.overlapped.InternalHigh;
        self.answered(code, count, Moved::Unknown)
    }

    /// The answer if the submitting call itself failed: nothing was pending, nothing moved.
    fn into_refusal(self, code: u32) -> Outcome {
        self.answered(code, 0, Moved::Exactly(0)).outcome
    }

    fn answered(mut self, code: u32, count: usize, moved: Moved) -> Completion {
        let id = self.id;
        let empty_ends = self.kind.empty_ends();
        let outcome = match &mut self.buffer {
            Buffer::Read(buf, bytes_max) => {
                let mut filled = std::mem::take(buf);
                let valid = code == ERROR_SUCCESS || classify(Call::Read, code) == Class::Partial;
                let count = if valid { count.min(*bytes_max) } else { 0 };
                // SAFETY: the block is ours again, so the buffer is; the kernel wrote `count` bytes into its
                // room, which is at least `bytes_max`.
                unsafe { filled.set_len(count) };
                answer::read(code, filled.into(), empty_ends)
            }
            Buffer::Write(bytes) => answer::write(code, count as u64, bytes.len() as u64, moved),
        };
        Completion { id, outcome }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Given {
    /// The block's address, by which a packet names it.
    fn address(&self) -> usize {
        self.block.as_ptr().addr()
    }

    /// What the submitting call needs.
    fn starter(&mut self) -> Start {
        // SAFETY: we have the block's only `Given`, and the kernel was not given it yet: nobody else touches it.
        let operation = unsafe { self.block.as_mut() };
        let (start, bytes, reads) = match &mut operation.buffer {
            Buffer::Read(buf, bytes_max) => (buf.as_mut_ptr(), *bytes_max, true),
            Buffer::Write(bytes) => (bytes.as_ptr().cast_mut(), bytes.len(), false),
        };
        Start {
            overlapped: self.block.as_ptr().cast(),
            os: self.os,
            start,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            reads,
        }
    }

    /// Whether the kernel left its answer in the block: it does so before it queues the packet.
    fn is_answered(&self) -> bool {
        self.status() != STATUS_PENDING
    }

    /// Whether the answer in the block is a warning. The submitting call fails then, and the packet comes as for a success;
    /// after an error the kernel leaves the block as it was.
    fn is_warned(&self) -> bool {
        is_warning(self.status())
    }

    /// What the kernel left in the block.
    fn status(&self) -> NTSTATUS {
        let overlapped: *const OVERLAPPED = self.block.as_ptr().cast_const().cast();
        // SAFETY: the block is alive while there is its `Given`; no reference to the field is made.
        let internal = unsafe { &raw const (*overlapped).Internal };
        // SAFETY: as above. The field is the kernel's to write at any moment, hence volatile; nobody else writes it.
        let status = status_of(unsafe { internal.read_volatile() });
        // What the kernel wrote before it is seen after it, on processors that reorder as well.
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
        status
    }

    /// CancelIoEx on this one operation. What it says does not matter: the packet comes in any case (rule O3).
    fn cancel(&self) {
        let overlapped: *const OVERLAPPED = self.block.as_ptr().cast_const().cast();
        let _ = fallible("CancelIoEx", Call::Cancel, || {
            // SAFETY: the block keeps the handle open and is alive while there is its `Given`; the kernel only compares the
            // address with those of the operations it has.
            let asked = unsafe { CancelIoEx(self.os, overlapped) };
            if asked == 0 {
                Err(last_error())
            } else {
                Ok(())
            }
        });
    }

    /// Makes the block ours again.
    ///
    /// # Safety
    /// The kernel is done with it: its packet came, or the call that should have submitted it failed and none will come.
    unsafe fn take_back(self) -> Operation {
        // SAFETY: it came from a Box, this is its only `Given`, and the caller says that the kernel is done with it.
        *unsafe { Box::from_raw(self.block.as_ptr()) }
    }
}

/// ReadFile or WriteFile. `Ok`: exactly one packet will come, or is there already. `Err`: none ever will, unless the block
/// holds a warning by then.
///
/// # Safety
/// The block is registered, was never started, and the handle stays open until this returns.
unsafe fn start(op: &Start) -> Result<(), u32> {
    let (name, call) = if op.reads {
        ("ReadFile", Call::Read)
    } else {
        ("WriteFile", Call::Write)
    };
    fallible(name, call, || {
        let block = op.overlapped.addr();
        fault::give(
            block,
            size_of::<Operation>(),
            op.start.addr(),
            op.bytes as usize,
        );
        // SAFETY: the caller promises what this call asks for: the block is registered, and nobody else touches it.
        let started = unsafe { start_now(op) };
        if started.is_err() {
            fault::take_back(block);
        }
        started
    })
}

/// # Safety
/// As [`start`].
unsafe fn start_now(op: &Start) -> Result<(), u32> {
    let succeeded = if op.reads {
        // SAFETY: the kernel owns block and buffer from here until its packet. They are freed only after that (the
        // table has the `Given`), no reference to them exists, and `bytes` is the buffer's room.
        unsafe { ReadFile(op.os, op.start, op.bytes, null_mut(), op.overlapped) }
    } else {
        // SAFETY: as above; the buffer is only read.
        unsafe { WriteFile(op.os, op.start, op.bytes, null_mut(), op.overlapped) }
    };
    if succeeded != 0 {
        return Ok(());
    }
    match last_error() {
        // 234 is the warning that pipes have, and the packet comes as for a success. Only this port-bound, event-less mode
        // is used.
        ERROR_IO_PENDING | ERROR_MORE_DATA => Ok(()),
        code => Err(code),
    }
}

/// STATUS_PENDING as the field holds it.
fn pending() -> usize {
    usize::try_from(STATUS_PENDING).expect("0x103")
}

/// NT_WARNING: the two highest bits are 10 (ntdef.h).
const fn is_warning(status: NTSTATUS) -> bool {
    status.cast_unsigned() >> 30 == 0b10
}

/// The status in the field: its low 32 bits.
fn status_of(internal: usize) -> NTSTATUS {
    internal as NTSTATUS
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::Foundation::{
        STATUS_BUFFER_OVERFLOW, STATUS_DEVICE_PAPER_EMPTY, STATUS_PIPE_BROKEN, STATUS_SUCCESS,
    };

    #[test]
    fn a_warning_is_neither_a_success_nor_an_error() {
        assert!(is_warning(STATUS_BUFFER_OVERFLOW));
        assert!(is_warning(STATUS_DEVICE_PAPER_EMPTY));
        for status in [STATUS_SUCCESS, STATUS_PENDING, STATUS_PIPE_BROKEN] {
            assert!(!is_warning(status), "{status:#x}");
        }
    }
}
