//! SIGPIPE never escapes, nor SIGXFSZ of a write that a caller's thread makes, and no process-wide disposition is changed (a C
//! program that uses us leaves them at "kill").
//!
//! Where the kernel can be told not to raise it (`RWF_NOSIGNAL`, `MSG_NOSIGNAL`), nothing of this is needed. Elsewhere the
//! signal is blocked around the write and taken out if the write raised it. That is right where the signal is directed at the
//! writing thread (Linux, FreeBSD, OpenBSD). macOS and NetBSD direct it at the process, so that another thread may get it:
//! there what is ours alone is switched with `F_SETNOSIGPIPE`, and for what others share the gap is stated in docs/gotchas.md.

use rustix::io::Errno;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Signals that the thread's own doing raises: to block them is undefined (POSIX), and silences crash reporters.
pub(super) const OF_THE_THREAD: [libc::c_int; 7] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

thread_local! {
    /// This thread blocks SIGPIPE for good, and what it raises ends with it: nothing has to be done around a write.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Blocks every signal that comes from elsewhere in this thread, for good: a thread of the library's own never runs a handler
/// of the host's, and a SIGPIPE it raises ends with it.
pub fn quiet_thread() {
    IS_QUIET.set(true);
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is ours and lives on this stack; the call fills it and keeps no reference.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    for signal in OF_THE_THREAD {
        // SAFETY: `all` was filled above and is ours alone; the number is a signal's.
        unsafe { libc::sigdelset(all.as_mut_ptr(), signal) };
    }
    // SAFETY: `all` was filled above; the call reads it and changes only this thread's mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}

/// Runs a write that may raise SIGPIPE, so that the signal is neither delivered nor left behind.
pub(super) fn without_sigpipe<T>(write: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    without(libc::SIGPIPE, |code| code == Some(Errno::PIPE), write)
}

/// The same for a call that is several writes inside the kernel (splice and sendfile to a socket): one that was raised by a later write
/// comes with the count of what the earlier ones wrote, and no error.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) fn without_sigpipe_of_several<T>(
    write: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let may_be_raised = |code: Option<Errno>| code.is_none_or(|code| code == Errno::PIPE);
    without(libc::SIGPIPE, may_be_raised, write)
}

/// The same for a write to a file that may raise SIGXFSZ: past the process's bound on the size of files (RLIMIT_FSIZE).
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) fn without_sigxfsz<T>(write: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    without(libc::SIGXFSZ, |code| code == Some(Errno::FBIG), write)
}

/// Runs a write that may raise `signal`, which the kernel directs at this thread: whether it may have, its error tells, if it has one.
fn without<T>(
    signal: libc::c_int,
    may_be_raised: impl FnOnce(Option<Errno>) -> bool,
    write: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    if IS_QUIET.try_with(Cell::get).unwrap_or(false) {
        return write();
    }
    let before = block(&[signal]);
    // One that was not blocked cannot have been pending: it would have been delivered.
    let was_pending = is_member(&before, signal) && is_pending(signal);
    let result = write();
    let may_be_raised = may_be_raised(result.as_ref().err().copied());
    if may_be_raised && !was_pending && is_pending(signal) {
        take_out(signal);
    }
    restore(&before);
    result
}

/// The signals that a write may raise in the thread that makes it.
pub(super) const OF_WRITES: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Holds back what writes raise (SIGPIPE, SIGXFSZ) in this thread until it is dropped, so that nothing has to be done around each of
/// many writes. What was raised meanwhile is taken out, and the mask is as it was.
pub struct WriteSignalsHeld {
    /// What was before; nothing where the thread is quiet anyway.
    before: Option<Before>,
    /// A mask is a thread's.
    _of_this_thread: PhantomData<*const ()>,
}

struct Before {
    mask: libc::sigset_t,
    /// Which of the signals were pending.
    were_pending: [bool; OF_WRITES.len()],
}

impl WriteSignalsHeld {
    /// From now on.
    #[must_use]
    pub fn new() -> Self {
        let before = (!IS_QUIET.try_with(Cell::get).unwrap_or(true)).then(|| {
            let mask = block(&OF_WRITES);
            let were_pending =
                OF_WRITES.map(|signal| is_member(&mask, signal) && is_pending(signal));
            IS_QUIET.set(true);
            Before { mask, were_pending }
        });
        Self {
            before,
            _of_this_thread: PhantomData,
        }
    }
}

impl Default for WriteSignalsHeld {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for WriteSignalsHeld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteSignalsHeld").finish_non_exhaustive()
    }
}

impl Drop for WriteSignalsHeld {
    fn drop(&mut self) {
        let Some(before) = &self.before else { return };
        // It lives as long as this thread runs code of ours.
        let _ = IS_QUIET.try_with(|is_quiet| is_quiet.set(false));
        for (signal, was_pending) in OF_WRITES.into_iter().zip(before.were_pending) {
            if !was_pending && is_pending(signal) {
                take_out(signal);
            }
        }
        restore(&before.mask);
    }
}

/// Blocks signals in this thread. What was blocked before.
pub(super) fn block(signals: &[libc::c_int]) -> libc::sigset_t {
    let set = set_of(signals);
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is initialised, `before` is ours to be filled; both live on this stack until the end of the function.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) };
    // SAFETY: the call above filled `before` whole: it fails only for an operation that there is not.
    unsafe { before.assume_init() }
}

fn is_member(mask: &libc::sigset_t, signal: libc::c_int) -> bool {
    // SAFETY: the mask is filled and borrowed; the call only reads it.
    unsafe { libc::sigismember(std::ptr::from_ref(mask), signal) == 1 }
}

/// Takes a signal out that is pending, and that this thread blocks.
fn take_out(signal: libc::c_int) {
    let only = set_of(&[signal]);
    let mut number = 0;
    // SAFETY: the signal is blocked in this thread and pending, so this returns at once; `only` and `number` are ours.
    unsafe { libc::sigwait(&raw const only, &raw mut number) };
}

/// This thread blocks what is in the mask, and nothing else.
pub(super) fn restore(mask: &libc::sigset_t) {
    let mask = std::ptr::from_ref(mask);
    // SAFETY: the mask is filled and borrowed until the call, which only reads it, returns.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// fcntl F_SETNOSIGPIPE (macOS, NetBSD): whether a write to this open file description raises SIGPIPE.
#[cfg(any(target_os = "netbsd", target_vendor = "apple"))]
pub(super) fn silence(fd: std::os::fd::BorrowedFd<'_>, is_silent: bool) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    #[cfg(target_os = "netbsd")]
    const F_SETNOSIGPIPE: libc::c_int = libc::F_SETNOSIGPIPE;
    // <sys/fcntl.h> of macOS; the crate libc has no declaration of it.
    #[cfg(target_vendor = "apple")]
    const F_SETNOSIGPIPE: libc::c_int = 73;
    // SAFETY: the descriptor is borrowed and open; this command takes an int and no pointer.
    let answer =
        unsafe { libc::fcntl(fd.as_raw_fd(), F_SETNOSIGPIPE, libc::c_int::from(is_silent)) };
    if answer == -1 {
        Err(super::kernel::last_errno())
    } else {
        Ok(())
    }
}

/// A set of these signals, as the C library has it. What that keeps for itself is not in it.
pub(super) fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is ours; the call fills it whole.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the call above filled it whole, and it cannot fail with memory of ours.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: `set` is filled and ours alone until the call returns; the number is a signal's.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

fn is_pending(signal: libc::c_int) -> bool {
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `pending` is ours; the call fills it and keeps no reference.
    if unsafe { libc::sigpending(pending.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: sigpending succeeded, so `pending` is filled whole; nobody else has it.
    let pending = unsafe { pending.assume_init() };
    // SAFETY: `pending` is filled and ours alone; the call only reads it.
    unsafe { libc::sigismember(&raw const pending, signal) == 1 }
}

/// Sets SIGPIPE to its default, as C programs leave it, for a test; says whether it was at the default before.
#[cfg(feature = "fault")]
#[must_use]
pub fn sigpipe_to_default() -> bool {
    // SAFETY: SIG_DFL is a valid disposition for it, and the caller is a test in a process of its own.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    before == libc::SIG_DFL
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own with the default disposition's mask semantics: raises a real SIGPIPE and lives.
    #[test]
    fn a_raised_sigpipe_is_taken_out_again() {
        std::thread::spawn(|| {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let result = without_sigpipe(|| rustix::io::write(&writer, b"x"));
            assert_eq!(result, Err(Errno::PIPE));
            assert!(!is_pending(libc::SIGPIPE));
        })
        .join()
        .unwrap();
    }

    /// Every call that may raise it (Linux), a write also as on a kernel that cannot be told not to. In a thread that blocks it, so that
    /// whatever is left behind is seen.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    #[test]
    fn no_call_to_nobody_leaves_a_sigpipe_behind() {
        use super::super::handle::Kind;
        use super::super::kernel::{self, Features};
        use rustix::io::IoSlice;
        use std::io::Write;
        use std::os::fd::AsFd;

        #[track_caller]
        fn expect_silence(result: Result<usize, Errno>, name: &str) {
            assert_eq!(result, Err(Errno::PIPE), "{name}");
            assert!(!is_pending(libc::SIGPIPE), "{name}");
        }
        std::thread::spawn(|| {
            block(&[libc::SIGPIPE]);
            let (source, mut feed) = std::io::pipe().unwrap();
            feed.write_all(b"nobody's").unwrap();
            let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
            let (reader, pipe) = std::io::pipe().unwrap();
            let (peer, socket) = std::os::unix::net::UnixStream::pair().unwrap();
            drop((reader, peer));
            for features in Features::all_below(kernel::probe().unwrap()) {
                let text = [IoSlice::new(b"nobody's")];
                let written = kernel::write(pipe.as_fd(), &text, false, features);
                expect_silence(written, &format!("a write with {features:?}"));
            }
            let into = (pipe.as_fd(), Kind::Pipe);
            let moved = kernel::splice((source.as_fd(), Kind::Pipe), into, 8);
            expect_silence(moved, "splice");
            let into = (socket.as_fd(), Kind::LocalSocket);
            let moved = kernel::splice((source.as_fd(), Kind::Pipe), into, 8);
            expect_silence(moved, "splice into a socket");
            let sent = kernel::sendfile(file.as_fd(), socket.as_fd(), 8);
            expect_silence(sent, "sendfile");
        })
        .join()
        .unwrap();
    }

    /// Every call that may raise it (Linux). The bound is far behind every other file of this process's.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    #[test]
    fn no_call_past_the_bound_on_files_leaves_a_sigxfsz_behind() {
        use super::super::handle::Kind;
        use super::super::kernel;
        use rustix::fs::{MemfdFlags, SeekFrom};
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        use std::io::Write;
        use std::os::fd::AsFd;
        const BOUND: u64 = 1 << 40;

        #[track_caller]
        fn expect_silence(result: Result<usize, Errno>, name: &str) {
            assert_eq!(result, Err(Errno::FBIG), "{name}");
            assert!(!is_pending(libc::SIGXFSZ), "{name}");
        }
        std::thread::spawn(|| {
            block(&[libc::SIGXFSZ]);
            let file = |name: &str| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).unwrap();
            let (source, copy) = (file("source"), file("copy"));
            kernel::set_size(source.as_fd(), 8).unwrap();
            rustix::fs::seek(&copy, SeekFrom::Start(BOUND)).unwrap();
            let (pipe, mut feed) = std::io::pipe().unwrap();
            feed.write_all(b"too much").unwrap();
            let before = getrlimit(Resource::Fsize);
            let bound = Rlimit {
                current: Some(BOUND),
                ..before
            };
            setrlimit(Resource::Fsize, bound).unwrap();
            let (from, into) = ((pipe.as_fd(), Kind::Pipe), (copy.as_fd(), Kind::File));
            expect_silence(kernel::splice(from, into, 8), "splice");
            let copied = kernel::copy_file_range((source.as_fd(), None), copy.as_fd(), 8);
            expect_silence(copied, "copy_file_range");
            let sized = kernel::set_size(copy.as_fd(), BOUND + 1).map(|()| 0);
            expect_silence(sized, "ftruncate");
            setrlimit(Resource::Fsize, before).unwrap();
        })
        .join()
        .unwrap();
    }

    /// Many writes under one guard: nothing is delivered, nothing is left behind, and a guard within another one changes nothing.
    #[test]
    fn what_is_raised_while_it_is_held_is_taken_out() {
        std::thread::spawn(|| {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let held = WriteSignalsHeld::new();
            for _ in 0..3 {
                let inner = WriteSignalsHeld::new();
                let result = without_sigpipe(|| rustix::io::write(&writer, b"x"));
                assert_eq!(result, Err(Errno::PIPE));
                drop(inner);
                assert!(is_pending(libc::SIGPIPE));
            }
            drop(held);
            assert!(!is_pending(libc::SIGPIPE));
            let before = block(&OF_WRITES);
            let is_blocked = OF_WRITES.map(|signal| is_member(&before, signal));
            assert_eq!(is_blocked, [false, false], "the mask is as it was");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_sigpipe_that_was_pending_before_outlives_the_guard() {
        std::thread::spawn(|| {
            block(&[libc::SIGPIPE]);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE));
            drop(WriteSignalsHeld::new());
            assert!(is_pending(libc::SIGPIPE));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_raised_sigpipe_is_taken_out_of_a_thread_that_blocks_it() {
        std::thread::spawn(|| {
            block(&[libc::SIGPIPE]);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let result = without_sigpipe(|| rustix::io::write(&writer, b"x"));
            assert_eq!(result, Err(Errno::PIPE));
            assert!(!is_pending(libc::SIGPIPE));
        })
        .join()
        .unwrap();
    }

    /// The second of two writes raised it, and what is told is what the first one wrote.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    #[test]
    fn a_sigpipe_that_came_with_a_count_is_taken_out() {
        std::thread::spawn(|| {
            block(&[libc::SIGPIPE]);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let result = without_sigpipe_of_several(|| {
                assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE));
                Ok(1)
            });
            assert_eq!(result, Ok(1));
            assert!(!is_pending(libc::SIGPIPE));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_sigpipe_that_was_pending_before_stays() {
        std::thread::spawn(|| {
            block(&[libc::SIGPIPE]);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE));
            assert!(is_pending(libc::SIGPIPE));
            let result = without_sigpipe(|| rustix::io::write(&writer, b"x"));
            assert_eq!(result, Err(Errno::PIPE));
            assert!(is_pending(libc::SIGPIPE));
        })
        .join()
        .unwrap();
    }
}
