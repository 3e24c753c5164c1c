//! Whether a handle's open file description is ours alone, and for how long. Into a socket that is, in non-blocking mode, bytes are moved by
//! calls that no flag keeps from waiting (sendfile, splice): only that mode does, and whoever has a second descriptor can change it.
//!
//! Never here: which call is made.

use super::OsHandle;
use super::classify::Call;
use super::handle::{Handle, flags_of};
use super::kernel;
use crate::fault::fallible;
use rustix::fs::OFlags;
use std::sync::atomic::Ordering;

impl Handle {
    /// F_DUPFD_CLOEXEC: a second descriptor of the same thing, for anybody. A socket that we switched to non-blocking mode is as everybody
    /// expects one again: at once, or once a call that relies on the mode is over.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn try_clone(&self) -> std::io::Result<OsHandle> {
        // Before there is one. Each of this and `while_ours_alone` sets its own flag before it looks at the other's, so one of them sees it.
        self.is_copied.store(true, Ordering::SeqCst);
        if self.is_socket_kind() && !self.is_moved_to.load(Ordering::SeqCst) {
            self.leave_nonblocking();
        }
        self.try_clone_to_wait()
    }

    /// Whether it is a pipe, or a socket in non-blocking mode, that nobody else has, nor has been given a second descriptor of.
    pub(super) fn is_ours_alone(&self) -> bool {
        self.is_ours() && !self.is_copied.load(Ordering::SeqCst)
    }

    /// Makes a call that waits if this socket is in blocking mode. `None`: others may have it, and it is not made. There is one such call
    /// at a time (D2).
    pub(super) fn while_ours_alone<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        self.is_moved_to.store(true, Ordering::SeqCst);
        let answer = self.is_ours_alone().then(call);
        self.is_moved_to.store(false, Ordering::SeqCst);
        if self.is_copied.load(Ordering::SeqCst) {
            // Whoever made the second descriptor meanwhile has left the mode to us.
            self.leave_nonblocking();
        }
        answer
    }

    /// fcntl F_GETFL, F_SETFL: back to blocking mode, once, if it was us who switched it. If that fails, it stays as it is.
    pub(super) fn leave_nonblocking(&self) {
        if self.is_switched.swap(false, Ordering::AcqRel)
            && let Ok(flags) = flags_of(self.original())
        {
            let _ = fallible("F_SETFL", Call::Query, || {
                rustix::fs::fcntl_setfl(self.original(), flags - OFlags::NONBLOCK)
            });
            let _ = kernel::silence(self.original(), false);
        }
    }
}

#[cfg(all(test, any(target_os = "android", target_os = "linux")))]
mod tests {
    use super::super::armed::armed_pair;
    use super::super::poller::Native;
    use super::*;
    use crate::Direction;
    use std::os::fd::{AsFd, OwnedFd};

    fn is_nonblocking(fd: impl AsFd) -> bool {
        flags_of(fd.as_fd())
            .expect("it is open")
            .contains(OFlags::NONBLOCK)
    }

    /// Our end of an armed pair, and a child's.
    fn armed(native: &Native) -> (Handle, OwnedFd) {
        let (ours, theirs) = armed_pair().expect("a pair can be had");
        let ours = native
            .adopt_unshared(ours, Direction::Write)
            .expect("it is adopted");
        ours.holds_a_byte();
        (ours, theirs)
    }

    #[test]
    fn an_armed_end_is_in_non_blocking_mode_until_it_is_given_away() {
        let native = Native::new().unwrap();
        let (ours, theirs) = armed(&native);
        assert!(ours.is_ours_alone() && is_nonblocking(ours.original()));
        assert!(!is_nonblocking(&theirs), "the child's is as it expects it");
        let waited_on = ours.try_clone_to_wait().unwrap();
        assert!(ours.is_ours_alone() && is_nonblocking(&waited_on));
        drop(waited_on);
        assert!(!is_nonblocking(native.release(ours)));

        let (ours, _theirs) = armed(&native);
        let copy = ours.try_clone().unwrap();
        assert!(!ours.is_ours_alone() && !is_nonblocking(&copy));
        assert_eq!(ours.while_ours_alone(|| ()), None);
        // From then on the mode is also that of whoever has the copy.
        rustix::io::ioctl_fionbio(&copy, true).unwrap();
        assert!(is_nonblocking(native.release(ours)));
    }

    /// The call would wait, and nobody could call it back.
    #[test]
    fn the_mode_stays_as_long_as_a_call_relies_on_it() {
        let native = Native::new().unwrap();
        let (ours, _theirs) = armed(&native);
        let copy = ours.while_ours_alone(|| {
            let copy = ours.try_clone().unwrap();
            assert!(is_nonblocking(&copy));
            copy
        });
        assert!(!is_nonblocking(copy.unwrap()));
        assert_eq!(ours.while_ours_alone(|| ()), None);
        drop(native.release(ours));
    }

    /// Whoever brought it has set the mode, and may rely on it.
    #[test]
    fn a_socket_that_came_in_non_blocking_mode_stays_in_it() {
        let native = Native::new().unwrap();
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = native.adopt_unshared(ours.into(), Direction::Write);
        let ours = ours.unwrap();
        let copy = ours.try_clone().unwrap();
        assert!(!ours.is_ours_alone() && is_nonblocking(&copy));
        assert!(is_nonblocking(native.release(ours)));
    }
}
