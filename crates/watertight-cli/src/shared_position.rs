//! Whether another process may move the position of a file that this copy was started with.
//!
//! What the kernel moves by itself takes a file's position, moves the bytes, and sets it, without the lock that read and write have meanwhile
//! (Linux). Two who share it would write to one place, or get the same bytes, and no call would fail.

use crate::address::{Address, Place};
use crate::flags::CopyFlags;
use std::io;
use std::sync::Arc;
use watertight::{PipeReader, PipeWriter};

/// Whether that is so of one of the files. Those that are opened by their paths are ours alone.
pub(crate) fn is_any_shared(
    flags: &CopyFlags,
    source: &PipeReader,
    destinations: impl Iterator<Item = Arc<PipeWriter>>,
) -> bool {
    let is_source = is_given(&flags.source) && is_shared(source.try_clone_handle());
    let mut given = flags.destinations.iter().zip(destinations);
    is_source
        || given.any(|(address, writer)| is_given(address) && is_shared(writer.try_clone_handle()))
}

fn is_given(address: &Address) -> bool {
    matches!(address.place, Place::Fd(_))
}

/// What cannot be asked may be.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn is_shared(copy: io::Result<impl std::os::fd::AsFd>) -> bool {
    copy.map_or(true, |copy| watertight::may_share_position(copy.as_fd()))
}

/// Elsewhere every byte of a file is read and written.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn is_shared<T>(_: io::Result<T>) -> bool {
    false
}
