//! What is different on Unix: names and commands (`unix_words.rs`), standard error (`unix_stderr.rs`), and that there are FIFOs
//! and signals.

pub(crate) use crate::run_terminal::{Meanwhile, OurTerminal};
pub(crate) use crate::unix_stderr::{STDERR_PIECE_BYTES_MAX, unread_of_stderr, write_stderr};
pub(crate) use crate::unix_words::{
    CommandLine, HAS_DESCRIPTORS, HAS_DRIVES, command_line, os_string,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// Whether `fifo:PATH` means anything.
pub(crate) const HAS_FIFOS: bool = true;

/// Whether this is a FIFO.
pub(crate) fn is_fifo(metadata: &Metadata) -> bool {
    metadata.file_type().is_fifo()
}

/// Which FIFO or pipe this is, if it is one that can be told from others.
pub(crate) fn fifo(metadata: &Metadata) -> Option<(u64, u64)> {
    // Some systems do not number their pipes.
    let is_known = is_fifo(metadata) && metadata.ino() != 0;
    is_known.then(|| (metadata.dev(), metadata.ino()))
}

/// Which block device this is, if it is one.
pub(crate) fn block_device(metadata: &Metadata) -> Option<u64> {
    let is_block = metadata.file_type().is_block_device();
    is_block.then(|| metadata.rdev())
}

/// Whether the file is what the path leads to. The path is not opened.
pub(crate) fn is_same_file(file: &File, path: &Path) -> bool {
    let (Ok(one), Ok(other)) = (file.metadata(), std::fs::metadata(path)) else {
        return false;
    };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether this is a local socket's name.
pub(crate) fn is_socket(metadata: &Metadata) -> bool {
    metadata.file_type().is_socket()
}

/// The signal that ended a child.
pub(crate) fn ending_signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Ctrl-C's number.
pub(crate) const INTERRUPT: i32 = SIGINT;

/// A second descriptor of one of our standard streams.
pub(crate) fn standard_copy(number: u32) -> io::Result<OwnedFd> {
    match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    }
}

/// From now on `hear` is called with each signal that asks us to end. What was ignored when the program was started (by `nohup`, or
/// for a job in the background) stays ignored. Not so the ends of children: where whoever starts us has them ignored, the
/// system keeps no status of a child's.
pub(crate) fn watch_signals(mut hear: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    let ignored = ignored_signals();
    let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
    let wanted = [SIGHUP, SIGINT, SIGTERM];
    let heard = wanted.iter().filter(|signal| !is_ignored(**signal));
    let mut signals = Signals::new(heard.chain([&SIGCHLD]))?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let asking = signals.forever().filter(|signal| *signal != SIGCHLD);
            asking.for_each(&mut hear);
        })?;
    Ok(())
}

/// From now on `hear` is called when children of ours have ended, the adopted ones too; once for several, as signals do.
pub(crate) fn watch_children(mut hear: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGCHLD])?;
    std::thread::Builder::new()
        .name("children".into())
        .spawn(move || signals.forever().for_each(|_| hear()))?;
    Ok(())
}

/// The signals that are ignored now, as bits; signal 1 is the lowest. Known only where the system tells it in a file.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask(&status).unwrap_or(0)
}

fn mask(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask?.trim(), 16).ok()
}
