//! The holes of a file that goes into another file: they are left out there too, and nothing is written for them.
//!
//! Never here: how the bytes between them are copied.

use super::classify::{Call, classified};
use super::handle::Handle;
use super::kernel;
use crate::fault::fallible;
use rustix::fs::{FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use watertight_core::MoveNow;

/// The unit of `st_blocks` (stat(2)).
const BLOCK_BYTES: i128 = 512;

/// How often a position is set. No kernel refuses one that lies within the file: what fails is tried again.
const SET_ATTEMPTS_MAX: u32 = 3;

/// What becomes of the source's position.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Position {
    /// It goes behind what was copied.
    GoesOn,
    /// It stays: others are to have the same bytes.
    Stays,
}

/// What there is at the source's position.
pub(super) enum Stretch {
    /// It was a hole, or a position could not be set: the answer to the move.
    Answered(MoveNow),
    /// To be copied: at most so many bytes.
    Data(usize),
}

/// Why nothing is done about a hole.
enum Stop {
    /// Nobody can tell whether there is one, or it cannot be left out: what there is goes as data.
    Copy,
    /// A position could not be set: the answer to the move.
    Failed(MoveNow),
}

/// fstat, lseek, ftruncate: a hole at the source's position makes the destination longer, and the destination's position goes behind it; the
/// source's too, unless it stays. What is no hole is to be copied up to the next one, so that the next move finds that.
///
/// A question moves the source's position, which others may share, and it is set back at once. The destination grows with every
/// hole and not only with the last one: whenever the transfer is given up, it has as many bytes as were moved.
pub(super) fn next_stretch(
    from: &Handle,
    to: &Handle,
    bytes_max: usize,
    position: Position,
) -> Stretch {
    match look_ahead(from, to, bytes_max, position) {
        Ok(stretch) => stretch,
        Err(Stop::Copy) => Stretch::Data(bytes_max),
        Err(Stop::Failed(answer)) => Stretch::Answered(answer),
    }
}

fn look_ahead(
    from: &Handle,
    to: &Handle,
    bytes_max: usize,
    position: Position,
) -> Result<Stretch, Stop> {
    let source = from.original();
    let stat = stat_of(source)?;
    if !may_have_holes(&stat) {
        return Err(Stop::Copy);
    }
    let at = position_of(source)?;
    let known = data_until(from);
    if at < known {
        return Ok(Stretch::Data(bounded(known - at, bytes_max)));
    }
    let end = match asked(source, at, kernel::seek_data(source, at))? {
        Some(data) if data == at => return until_hole(from, at, bytes_max),
        Some(data) => data,
        // A hole up to the end. What was written behind the end meanwhile is no hole, and a file that was cut meanwhile has less: the
        // lesser of the sizes before and after the question is sure.
        None => length_of(&stat).min(length_of(&stat_of(source)?)),
    };
    let bytes = bounded(end.saturating_sub(at), bytes_max);
    if bytes == 0 {
        return Err(Stop::Copy);
    }
    leave_out((source, at), to.original(), bytes, position)
}

/// What is here is to be copied, up to the next hole. It is remembered where that is: some file systems go through the whole run
/// to find it.
fn until_hole(from: &Handle, at: u64, bytes_max: usize) -> Result<Stretch, Stop> {
    let source = from.original();
    let hole = asked(source, at, kernel::seek_hole(source, at))?;
    // It was cut, or emptied, since the other question.
    let hole = hole.filter(|hole| *hole > at).ok_or(Stop::Copy)?;
    if let Some(helped) = from.helped() {
        helped.data_until.store(hole, Ordering::Relaxed);
    }
    Ok(Stretch::Data(bounded(hole - at, bytes_max)))
}

/// Leaves a hole out of the destination, if that is at its end. Elsewhere its zeros have a place to go to: over what is there, or
/// behind whatever others append. Nor is it left out where each write is to be on the disk when it comes back: a new size would not be.
fn leave_out(
    (from, at): (BorrowedFd<'_>, u64),
    to: BorrowedFd<'_>,
    bytes: usize,
    position: Position,
) -> Result<Stretch, Stop> {
    let stat = stat_of(to)?;
    let end = position_of(to)?;
    if !is_regular(&stat) || length_of(&stat) != end || has_to_be_written(to)? {
        return Err(Stop::Copy);
    }
    let hole = bytes as u64;
    // First what a system may refuse. Nothing has to be undone then.
    kernel::set_size(to, end + hole).map_err(|_| Stop::Copy)?;
    set_position(to, end + hole).map_err(|code| {
        let (class, os) = classified(Call::Query, code);
        Stop::Failed(MoveNow::WriteFailed(class, os))
    })?;
    if position == Position::GoesOn {
        set_source(from, at + hole)?;
    }
    Ok(Stretch::Answered(MoveNow::Moved(bytes)))
}

/// What lseek said of the next data or the next hole, with the position set back. `None`: there is nothing of the kind before the
/// end, and the position was not moved.
fn asked(source: BorrowedFd<'_>, at: u64, said: Result<u64, Errno>) -> Result<Option<u64>, Stop> {
    match said {
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows of no holes, for one. The position is where it was.
        Err(_) => Err(Stop::Copy),
        Ok(found) if found == at => Ok(Some(at)),
        Ok(found) => {
            set_source(source, at)?;
            Ok(Some(found))
        }
    }
}

fn set_source(source: BorrowedFd<'_>, at: u64) -> Result<(), Stop> {
    set_position(source, at).map_err(|code| {
        let (class, os) = classified(Call::Query, code);
        Stop::Failed(MoveNow::ReadFailed(class, os))
    })
}

/// lseek SEEK_SET.
fn set_position(fd: BorrowedFd<'_>, at: u64) -> Result<(), Errno> {
    let mut attempts = 1;
    loop {
        let set = fallible("lseek (SEEK_SET)", Call::Query, || {
            rustix::fs::seek(fd, SeekFrom::Start(at))
        });
        match set {
            Ok(_) => return Ok(()),
            Err(code) if attempts == SET_ATTEMPTS_MAX => return Err(code),
            Err(_) => attempts += 1,
        }
    }
}

/// lseek SEEK_CUR.
pub(super) fn told_position(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    fallible("lseek (SEEK_CUR)", Call::Query, || rustix::fs::tell(fd))
}

fn position_of(fd: BorrowedFd<'_>) -> Result<u64, Stop> {
    told_position(fd).map_err(|_| Stop::Copy)
}

/// fstat.
fn stat_of(fd: BorrowedFd<'_>) -> Result<Stat, Stop> {
    let stat = fallible("fstat (holes)", Call::Query, || rustix::fs::fstat(fd));
    stat.map_err(|_| Stop::Copy)
}

/// fcntl F_GETFL: whether only a write does what was asked for when the file was opened: it goes behind the end, wherever the position is
/// (O_APPEND), or waits until it is on the disk (O_DSYNC, which is a part of O_SYNC).
fn has_to_be_written(fd: BorrowedFd<'_>) -> Result<bool, Stop> {
    let flags = fallible("F_GETFL (holes)", Call::Query, || {
        rustix::fs::fcntl_getfl(fd)
    });
    flags
        .map(|flags| flags.intersects(OFlags::APPEND | OFlags::DSYNC))
        .map_err(|_| Stop::Copy)
}

/// Whether it takes less room than it has bytes. Most files are none of these, and are asked nothing more.
fn may_have_holes(stat: &Stat) -> bool {
    is_regular(stat) && i128::from(stat.st_blocks) * BLOCK_BYTES < i128::from(stat.st_size)
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn length_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Up to where the source has no hole, as far as is known. Where one was made since, its zeros are copied.
fn data_until(from: &Handle) -> u64 {
    let helped = from.helped();
    helped.map_or(0, |helped| helped.data_until.load(Ordering::Relaxed))
}

fn bounded(bytes: u64, bytes_max: usize) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(bytes_max)
}
