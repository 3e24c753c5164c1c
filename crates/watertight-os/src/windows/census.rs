//! How many handles and threads this process has, for tests that prove that none is left, or started.

use std::mem::offset_of;
use windows_sys::Wdk::System::SystemInformation::{
    NtQuerySystemInformation, SYSTEM_INFORMATION_CLASS, SystemProcessInformation,
};
use windows_sys::Win32::System::WindowsProgramming::SYSTEM_PROCESS_INFORMATION;

/// SystemExtendedHandleInformation. GetProcessHandleCount says 0 under Wine; this one is exact there too.
const EXTENDED_HANDLES: SYSTEM_INFORMATION_CLASS = 64;

/// The table's head and each entry, in machine words: the object, the process, the handle, and 16 bytes of
/// details.
const HEAD_WORDS: usize = 2;
const ENTRY_WORDS: usize = 3 + 16 / size_of::<usize>();
const ENTRY_PROCESS: usize = 1;

/// The room for a table at first, doubled until it fits, and the most that is tried. All in machine words.
const TABLE_WORDS: usize = 1 << 14;
const TABLE_WORDS_MAX: usize = 1 << 24;

/// NtQuerySystemInformation: how many handles this process has open. `None`: the system does not say.
pub(super) fn open_handles() -> Option<usize> {
    let table = table(EXTENDED_HANDLES)?;
    let process = usize::try_from(std::process::id()).ok()?;
    let entries = table.get(HEAD_WORDS..)?.chunks_exact(ENTRY_WORDS);
    let ours = |entry: &&[usize]| entry[ENTRY_PROCESS] == process;
    Some(entries.take(*table.first()?).filter(ours).count())
}

/// NtQuerySystemInformation: how many threads this process has. `None`: the system does not say.
pub(super) fn threads() -> Option<usize> {
    let table = table(SystemProcessInformation)?;
    let bytes: Vec<u8> = table.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let number = |at: usize| {
        let number = bytes.get(at..at + size_of::<u32>())?;
        Some(u32::from_ne_bytes(number.try_into().ok()?))
    };
    let mut entry = 0;
    loop {
        let next = number(entry + offset_of!(SYSTEM_PROCESS_INFORMATION, NextEntryOffset))?;
        // A handle's size, of which a process's number is the low half.
        let process = number(entry + offset_of!(SYSTEM_PROCESS_INFORMATION, UniqueProcessId))?;
        if process == std::process::id() {
            let threads = entry + offset_of!(SYSTEM_PROCESS_INFORMATION, NumberOfThreads);
            return usize::try_from(number(threads)?).ok();
        }
        if next == 0 {
            return None;
        }
        entry += usize::try_from(next).ok()?;
    }
}

/// What the system says of all processes.
fn table(class: SYSTEM_INFORMATION_CLASS) -> Option<Vec<usize>> {
    let mut table = vec![0_usize; TABLE_WORDS];
    while table.len() <= TABLE_WORDS_MAX {
        let bytes = u32::try_from(size_of_val(table.as_slice())).ok()?;
        let mut needed = 0;
        // SAFETY: the table is ours and as long as is said; the call is done with it when it returns.
        let status = unsafe {
            NtQuerySystemInformation(class, table.as_mut_ptr().cast(), bytes, &raw mut needed)
        };
        if status >= 0 {
            return Some(table);
        }
        table.resize(table.len() * 2, 0);
    }
    None
}
