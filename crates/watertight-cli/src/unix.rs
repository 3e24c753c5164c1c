//! What is different on Unix: names and commands (`unix_words.rs`), what we say (`unix_stderr.rs`), files (`unix_files.rs`), signals
//! (`unix_signals.rs`), what an end says of itself (`unix_outlook.rs`), and that there are FIFOs.

pub(crate) use crate::foreground::has_controlling_terminal;
use crate::foreground::is_in_background;
pub(crate) use crate::run_terminal::{Meanwhile, OurTerminal};
pub(crate) use crate::unix_files::{
    appends, is_frozen, is_on_other_mount, is_system_name, is_unread_fifo, links, lock,
    lock_holder, open_options, open_to_write, private_options, rename, rename_new, resume_options,
    sync_folder, sync_renamed, take_over,
};
pub(crate) use crate::unix_outlook::{TELLS_ENDS, await_end, is_null, outlook, takes_an_end};
pub(crate) use crate::unix_signals::{
    KeptSignals, leave_signals, let_requests_end_us, watch_children, watch_signals,
};
pub(crate) use crate::unix_stderr::{
    PIECE_BYTES_MAX, unread_of, unread_of_stderr, write_stderr, write_stderr_at_once, write_within,
};
pub(crate) use crate::unix_words::{
    CommandLine, HAS_DESCRIPTORS, HAS_DRIVES, command_line, is_missing, os_string, own_descriptor,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGUSR1, SIGXFSZ};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Whether `fifo:PATH` means anything.
pub(crate) const HAS_FIFOS: bool = true;
/// Whether a question about a pipe may wait: for whoever keeps the pipe's lock.
pub(crate) const QUESTIONS_MAY_WAIT: bool = true;

/// Whether a terminal moves its cursor if an escape code says so. One that is dumb says that itself.
pub(crate) fn moves_cursor() -> bool {
    true
}

/// The signals that ask for the account so far. Ctrl-T sends the second one, where there is one.
#[cfg(not(any(
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
pub(crate) const ACCOUNT_SIGNALS: &[i32] = &[SIGUSR1];
#[cfg(any(
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub(crate) const ACCOUNT_SIGNALS: &[i32] = &[SIGUSR1, signal_hook::consts::SIGINFO];

/// What is known of what is open here.
pub(crate) fn known(file: &File) -> io::Result<Option<Metadata>> {
    file.metadata().map(Some)
}

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

/// How many bytes a block device has, if it is one and says so.
pub(crate) fn block_device_bytes(file: &File, metadata: &Metadata) -> Option<u64> {
    block_device(metadata)?;
    watertight::block_device_bytes(file.as_fd())
}

/// Which character device this is, if it is one.
pub(crate) fn character_device(metadata: &Metadata) -> Option<u64> {
    let is_character = metadata.file_type().is_char_device();
    is_character.then(|| metadata.rdev())
}

/// Whether this is where everything vanishes.
pub(crate) fn is_null_device(file: &File) -> bool {
    file.metadata().is_ok_and(|known| is_null(&known))
}

/// Which socket this is, if it is one that can be told from others.
pub(crate) fn socket(metadata: &Metadata) -> Option<(u64, u64)> {
    let is_known = is_socket(metadata) && metadata.ino() != 0;
    is_known.then(|| (metadata.dev(), metadata.ino()))
}

/// Whether this is a local socket's name.
pub(crate) fn is_socket(metadata: &Metadata) -> bool {
    metadata.file_type().is_socket()
}

/// Whether standard error is a terminal in whose background we are.
pub(crate) fn is_in_background_of_stderr() -> bool {
    is_in_background(&io::stderr())
}

/// The signal that ended a child.
pub(crate) fn ending_signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// What names those who hold a command's output: they are known to.
pub(crate) const HELD_BY: &str = "its output is held by";

/// Who of a command's tree is not seen when that is ended.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) const UNSEEN: Option<&str> = Some(
    "whoever has lost its parent in a session of its own and holds no stream that goes through us; --adopt-orphans sees these",
);
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(crate) const UNSEEN: Option<&str> = Some("whoever has left the command's process group");

/// The end of the program with this code, which is a byte.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// From now on a file that may grow no more (`ulimit -f`) is the failure of the write that finds out, and not the end of this
/// program. Children are started with the signal as it was.
pub(crate) fn survive_file_size_bound() {
    if !watertight::is_signal_ignored(SIGXFSZ) {
        // Nobody asks for the flag. Should this fail, the signal is what it was.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }
}

/// An error, if the standard stream of this number was closed when this program was started: what is written there goes nowhere then.
pub(crate) fn standard_at_start(number: u32) -> io::Result<()> {
    if watertight::was_closed_at_start(number) {
        return Err(Errno::BADF.into());
    }
    Ok(())
}

/// A second descriptor of one of our standard streams.
pub(crate) fn standard_copy(number: u32) -> io::Result<OwnedFd> {
    match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    }
}

/// Whether the file has this number here.
pub(crate) fn has_number(file: &File, number: u32) -> bool {
    i32::try_from(number) == Ok(file.as_raw_fd())
}

/// fcntl F_GETFL: whether it is open for writing.
pub(crate) fn is_writable(file: &File) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl};
    fcntl_getfl(file).is_ok_and(|flags| flags & OFlags::RWMODE != OFlags::RDONLY)
}

/// A second descriptor to sync what this one leads to, if that is a file or a block device.
pub(crate) fn to_sync(file: &File) -> io::Result<Option<File>> {
    let metadata = file.metadata()?;
    let keeps = metadata.is_file() || block_device(&metadata).is_some();
    keeps.then(|| file.try_clone()).transpose()
}

/// Looks at what is behind one of our standard streams, and takes no further descriptor for it.
pub(crate) fn look_at_standard<T>(number: u32, look: impl FnOnce(&File) -> Option<T>) -> Option<T> {
    match number {
        0 => watertight::look_at(io::stdin().as_fd(), look),
        1 => watertight::look_at(io::stdout().as_fd(), look),
        _ => watertight::look_at(io::stderr().as_fd(), look),
    }
}

/// To how much a pipe that others made is enlarged: measured, more does not pay, and what a user's pipes may hold together is bounded.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 256 * 1024;

/// Whether a write to it would not wait.
pub(crate) fn has_room(end: &OwnedFd) -> bool {
    polled(end).is_some_and(|seen| seen.contains(PollFlags::OUT))
}

/// Whether somebody has the reading end of this pipe open.
pub(crate) fn has_reader(end: &OwnedFd) -> bool {
    polled(end).is_some_and(|seen| !seen.intersects(PollFlags::ERR | PollFlags::HUP))
}

/// What is so of a writing end now. poll takes no lock of a pipe's.
fn polled(end: &OwnedFd) -> Option<PollFlags> {
    let mut polled = [PollFd::new(end, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&at_once)).ok()?;
    Some(polled[0].revents())
}

/// Enlarges the pipe that this is an end of, if it is one and smaller.
#[cfg(target_os = "linux")]
pub(crate) fn enlarge(end: &OwnedFd) {
    use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
    if fcntl_getpipe_size(end).is_ok_and(|bytes| bytes < PIPE_BYTES) {
        // The user's bound may be reached: it goes on as it is.
        let _ = fcntl_setpipe_size(end, PIPE_BYTES);
    }
}

/// A pipe keeps its size here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn enlarge(_: &OwnedFd) {}
