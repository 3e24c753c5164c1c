//! The files that this copy was started with, of which another process may move the position.
//!
//! What the kernel moves by itself takes a file's position, moves the bytes, and sets it, without the lock that read and write have meanwhile
//! (Linux). Two who share it would write to one place, or get the same bytes, and no call would fail.

use crate::address::{Address, Place};
use crate::flags::CopyFlags;
use std::io;
use std::sync::Arc;
use watertight::{OsHandle, PipeReader, PipeWriter};

/// Those among the ends that have a position, in copies of their descriptors; none: there is one of which no copy could be made. They stay open
/// until the ends are closed: a close before that hears what a disk far away has not taken, and nobody else hears it then.
#[derive(Default)]
pub(crate) struct GivenFiles(Vec<Option<OsHandle>>);

impl GivenFiles {
    /// What is opened by its path is ours alone.
    pub(crate) fn among(
        flags: &CopyFlags,
        source: &PipeReader,
        destinations: impl Iterator<Item = Arc<PipeWriter>>,
    ) -> Self {
        let mut files = Vec::new();
        let mut note = |address: &Address, copy: &dyn Fn() -> io::Result<OsHandle>| {
            if matches!(address.place, Place::Fd(_)) {
                let copy = copy().ok();
                files.extend(copy.as_ref().is_none_or(has_position).then_some(copy));
            }
        };
        note(&flags.source, &|| source.try_clone_handle());
        for (address, writer) in flags.destinations.iter().zip(destinations) {
            note(address, &|| writer.try_clone_handle());
        }
        Self(files)
    }

    pub(crate) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether another process may move the position of one of them. That is a look at all processes.
    pub(crate) fn is_any_shared(&self) -> bool {
        let mut files = self.0.iter();
        files.any(|file| file.as_ref().is_none_or(may_share_position))
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn has_position(file: &impl std::os::fd::AsFd) -> bool {
    watertight::has_position(file.as_fd())
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn may_share_position(file: &impl std::os::fd::AsFd) -> bool {
    watertight::may_share_position(file.as_fd())
}

/// Elsewhere every byte of a file is read and written.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const fn has_position(_: &OsHandle) -> bool {
    false
}

/// As above.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const fn may_share_position(_: &OsHandle) -> bool {
    false
}
