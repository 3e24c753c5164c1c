//! Where nobody of a tree can be held, nobody's end can be waited for.

use crate::process::{ExitCallback, MemberWatch};
use std::io;
use std::time::Duration;

/// Somebody of a child's tree beside the child itself. There is none on this system.
#[derive(Debug)]
pub struct TreeMember(());

impl TreeMember {
    /// Refused.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn wait(&self, _timeout: Option<Duration>) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Refused.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn on_exit(&self, _callback: ExitCallback) -> io::Result<MemberWatch> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
