//! Trouble that passes: a local socket whose kernel is short of memory for a moment (ENOBUFS, ENOMEM). A write that meets it is
//! tried again, ever less often, within a bound; then it fails with the code.

use super::handle::Handle;
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight_core::{Chunks, OpId, OsCode, Outcome};

const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// After so long without a byte it is no passing trouble.
const BOUND: Duration = Duration::from_secs(5);

/// A write that waits for memory.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) id: OpId,
    pub(super) next: Instant,
    pub(super) handle: Arc<Handle>,
    pub(super) chunks: Chunks,
    pause: Duration,
    end: Instant,
}

impl Passing {
    pub(super) fn new(id: OpId, handle: Arc<Handle>, chunks: Chunks) -> Self {
        let now = Instant::now();
        Self {
            id,
            next: now + PAUSE_FIRST,
            handle,
            chunks,
            pause: PAUSE_FIRST,
            end: now + BOUND,
        }
    }

    /// It met the same trouble again: whether it waits on.
    pub(super) fn waits_on(&mut self, now: Instant) -> bool {
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.next = now + self.pause;
        now < self.end
    }
}

/// Whether a write's failure is such a trouble.
pub(super) fn is_passing(handle: &Handle, outcome: &Outcome) -> bool {
    is_short_of_memory(handle, outcome.cause().and_then(|cause| cause.os))
}

/// As [`is_passing`], by the code.
pub(super) fn is_short_of_memory(handle: &Handle, code: Option<OsCode>) -> bool {
    let is_short = |os: OsCode| {
        [Errno::NOBUFS, Errno::NOMEM]
            .iter()
            .any(|code| code.raw_os_error() == os.0)
    };
    handle.is_socket_kind() && code.is_some_and(is_short)
}
