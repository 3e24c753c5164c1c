//! A file that was opened with O_DIRECT takes bytes only out of aligned memory, at aligned positions and in aligned pieces, and gives them
//! likewise (open(2)). What else is to be read or written goes around that, at the file's own position.
//!
//! Never here: another mode of the file. Others may have the same description.

use super::classify::Call;
use crate::fault::fallible;
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Aligned to this is aligned for every device whose blocks are no larger than a page.
const UNIT: usize = 4096;

/// F_GETFL, lseek and pread: what a read brings that was refused (EINVAL). None: not because of O_DIRECT.
pub(super) fn read(fd: BorrowedFd<'_>, bytes_max: usize) -> Option<Result<Vec<u8>, Errno>> {
    modes(fd).map(|_| read_around(fd, bytes_max))
}

/// F_GETFL, open, lseek and write: how much a write takes that was refused (EINVAL). None: not because of O_DIRECT, or the file cannot be
/// opened once more.
pub(super) fn write(fd: BorrowedFd<'_>, data: &[u8]) -> Option<Result<usize, Errno>> {
    let plain = reopened(fd, modes(fd)?).ok()?;
    Some(write_around(fd, &plain, data))
}

/// Its modes, if O_DIRECT is one of them.
fn modes(fd: BorrowedFd<'_>) -> Option<OFlags> {
    let modes = fallible("F_GETFL (direct)", Call::Query, || {
        rustix::fs::fcntl_getfl(fd)
    });
    modes.ok().filter(|modes| modes.contains(OFlags::DIRECT))
}

/// Reads whole units into memory of its own, and takes out of them what was asked for. The position is set behind that.
fn read_around(fd: BorrowedFd<'_>, bytes_max: usize) -> Result<Vec<u8>, Errno> {
    let at = position(fd)?;
    let units_at = at - at % UNIT as u64;
    let before = usize::try_from(at - units_at).expect("it is less than a unit");
    let units = (before + bytes_max).next_multiple_of(UNIT);
    let mut memory = vec![0_u8; units + UNIT];
    let address = memory.as_ptr().addr();
    let start = address.next_multiple_of(UNIT) - address;
    let aligned = &mut memory[start..start + units];
    let read = fallible("pread (direct)", Call::Read, || {
        rustix::io::pread(fd, &mut *aligned, units_at)
    })?;
    let end = read.min(before + bytes_max);
    // Nothing from the position on: it is the end.
    let data = aligned.get(before..end).unwrap_or_default().to_vec();
    if !data.is_empty() {
        set_position(fd, at + data.len() as u64)?;
    }
    Ok(data)
}

/// Writes by a description of our own that has the file's other modes, and sets the position where that one's is then: behind the end of the
/// file, if it appends.
fn write_around(fd: BorrowedFd<'_>, plain: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    set_position(plain.as_fd(), position(fd)?)?;
    let written = fallible("write (direct)", Call::Write, || {
        rustix::io::write(plain, data)
    })?;
    // Were it left where it was, the next bytes would be written over these.
    set_position(fd, position(plain.as_fd())?)?;
    Ok(written)
}

/// open of /proc/self/fd/N.
fn reopened(fd: BorrowedFd<'_>, modes: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let kept = modes & (OFlags::APPEND | OFlags::DSYNC | OFlags::SYNC);
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | kept;
    fallible("open (direct)", Call::Open, || {
        rustix::fs::open(&path, flags, Mode::empty())
    })
}

/// lseek SEEK_CUR.
fn position(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    fallible("lseek (direct)", Call::Query, || rustix::fs::tell(fd))
}

/// lseek SEEK_SET.
fn set_position(fd: BorrowedFd<'_>, at: u64) -> Result<(), Errno> {
    fallible("lseek (direct set)", Call::Query, || {
        rustix::fs::seek(fd, SeekFrom::Start(at))
    })?;
    Ok(())
}
