//! Facts that a program asks of the system, each by the call that answers it.

use super::OsHandleRef;
use std::fs::File;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsRawFd, FromRawFd};

/// sigaction: whether this process ignores the signal. A number that is no signal's is not ignored.
#[must_use]
pub fn is_signal_ignored(signal: i32) -> bool {
    disposition(signal) == Some(libc::SIG_IGN)
}

/// sigaction: what happens at the signal. None: it is no signal's number, or one that the C library keeps for itself.
pub(super) fn disposition(signal: i32) -> Option<libc::sighandler_t> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no action is given, so that nothing changes; `action` is ours, lives on this stack, and the call keeps no
    // reference to it.
    let answer = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if answer != 0 {
        return None;
    }
    // SAFETY: the call has filled `action`, which was zeroed before, has no other owner, and is valid as zeros.
    let action = unsafe { action.assume_init() };
    Some(action.sa_sigaction)
}

/// ioctl BLKGETSIZE64: how many bytes the block device has. The position of the description stays where it is: others may
/// share it.
#[cfg(any(target_os = "android", target_os = "linux"))]
#[must_use]
pub fn block_device_bytes(device: OsHandleRef<'_>) -> Option<u64> {
    use rustix::ioctl::{Getter, Opcode, ioctl, opcode};
    // <linux/fs.h> declares it with a size_t, and the kernel writes a u64 all the same.
    const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);
    // SAFETY: for this request the kernel writes one u64, which the getter has room for; nobody else has the getter.
    let bytes = unsafe { Getter::<{ BLKGETSIZE64 }, u64>::new() };
    // SAFETY: the descriptor is borrowed and open; the getter is moved in and lives until the call has returned.
    unsafe { ioctl(device, bytes) }.ok()
}

/// Shows what a descriptor leads to, as a file. Whatever `look` is told, the descriptor stays open: it is somebody else's.
pub fn look_at<T>(descriptor: OsHandleRef<'_>, look: impl FnOnce(&File) -> T) -> T {
    // SAFETY: the descriptor is borrowed, and so open until `look` has returned; who lends it alone closes it, for this file is
    // never dropped, also if `look` panics.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor.as_raw_fd()) });
    look(&file)
}

/// The other systems have calls of their own for it, which nobody here has tried.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
#[must_use]
pub fn block_device_bytes(_: OsHandleRef<'_>) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_signal_that_is_ignored_is_known_and_asking_changes_nothing() {
        // Rust's runtime ignores it before `main`.
        assert!(is_signal_ignored(libc::SIGPIPE));
        assert!(is_signal_ignored(libc::SIGPIPE), "asking changed it");
        assert!(!is_signal_ignored(libc::SIGSEGV));
        assert!(!is_signal_ignored(0));
        assert!(!is_signal_ignored(i32::MAX));
    }

    #[test]
    fn a_descriptor_that_is_looked_at_stays_open() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(look_at(reader.as_fd(), File::as_raw_fd), reader.as_raw_fd());
        (&writer).write_all(b"x").unwrap();
        let mut byte = [0];
        (&reader).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn what_is_no_block_device_has_no_size_of_one() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(block_device_bytes(reader.as_fd()), None);
    }
}
