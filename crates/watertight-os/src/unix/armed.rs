//! Armed sockets: a stream that looks cut to its peer unless it is ended in order, even if this process is killed.
//!
//! SO_LINGER with no time makes every close a reset (socket(7)): the peer reads what its own system has, then ECONNRESET. The
//! orderly end takes that back first. Local sockets ignore it, and pipes have no such sign.

use super::classify::{Call, classified};
use super::handle::{Handle, Kind};
use crate::fault::fallible;
use crate::step::{Step, StepError, step};
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};
use std::os::fd::AsFd;
use std::time::Duration;
use watertight_core::Class;

impl Handle {
    /// SO_LINGER {1, 0}, and what it was before.
    ///
    /// # Errors
    /// No TCP socket, or the system refuses.
    pub fn arm(&self) -> Result<(), StepError> {
        step(Step::Arm, || {
            if !self.is_tcp() {
                return Err((Class::Unsupported, None));
            }
            let query = |code| classified(Call::Query, code);
            let fd = self.original();
            let before = fallible("SO_LINGER", Call::Query, || sockopt::socket_linger(fd));
            let before = before.map_err(query)?;
            set_linger(self, Some(Duration::ZERO)).map_err(query)?;
            // Armed twice, it is still the first answer that counts.
            let _ = self.linger_before.set(before);
            Ok(())
        })
    }

    /// The stream ends in order, or leaves as it came: what was before [`Handle::arm`].
    pub(super) fn disarm(&self) -> Result<(), Errno> {
        match self.linger_before.get() {
            None => Ok(()),
            Some(before) => set_linger(self, *before),
        }
    }

    fn is_tcp(&self) -> bool {
        let name = || rustix::net::getsockname(self.original().as_fd());
        let is_inet = |family| family == AddressFamily::INET || family == AddressFamily::INET6;
        self.kind() == Kind::Socket && name().is_ok_and(|name| is_inet(name.address_family()))
    }
}

fn set_linger(handle: &Handle, linger: Option<Duration>) -> Result<(), Errno> {
    fallible("SO_LINGER (set)", Call::Query, || {
        sockopt::set_socket_linger(handle.original(), linger)
    })
}
