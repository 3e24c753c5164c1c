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

/// The smallest block of a disk: a read comes short at the end of one, or at the end of the file.
const BLOCK: usize = 512;

/// F_GETFL, lseek and pread: what a read brings that was refused (EINVAL). None: not because of O_DIRECT.
pub(super) fn read(fd: BorrowedFd<'_>, bytes_max: usize) -> Option<Result<Vec<u8>, Errno>> {
    modes(fd).map(|_| read_around(fd, bytes_max))
}

/// F_GETFL, open, lseek and a write: how much a write takes that was refused (EINVAL). None: not because of O_DIRECT, or the file cannot be
/// opened once more.
pub(super) fn write(fd: BorrowedFd<'_>, data: &[u8]) -> Option<Result<usize, Errno>> {
    let modes = modes(fd)?;
    let plain = reopened(fd, modes).ok()?;
    Some(if modes.contains(OFlags::APPEND) {
        append_around(fd, &plain, data)
    } else {
        write_around(fd, &plain, data)
    })
}

/// Its modes, if O_DIRECT is one of them.
fn modes(fd: BorrowedFd<'_>) -> Option<OFlags> {
    let modes = fallible("F_GETFL (direct)", Call::Query, || {
        rustix::fs::fcntl_getfl(fd)
    });
    modes.ok().filter(|modes| modes.contains(OFlags::DIRECT))
}

/// Reads at the position, and then claims what it has read. If somebody who shares the position has claimed that meanwhile, ours is behind it.
fn read_around(fd: BorrowedFd<'_>, bytes_max: usize) -> Result<Vec<u8>, Errno> {
    let at = position(fd)?;
    let data = read_at(fd, at, bytes_max)?;
    if data.is_empty() {
        return Ok(data);
    }
    let claimed_at = claim(fd, data.len())?;
    if claimed_at == at {
        return Ok(data);
    }
    let ours = read_at(fd, claimed_at, data.len());
    let used = ours.as_ref().map_or(0, Vec::len);
    set_right(fd, (claimed_at, data.len()), used)?;
    ours
}

/// Reads whole units into memory of its own, and takes out of them what was asked for. Nothing: it is the end.
fn read_at(fd: BorrowedFd<'_>, at: u64, bytes_max: usize) -> Result<Vec<u8>, Errno> {
    read_units((at, bytes_max), |aligned, from| {
        fallible("pread (direct)", Call::Read, || {
            rustix::io::pread(fd, &mut *aligned, from)
        })
    })
}

/// As `read_at`, by these reads of aligned memory, each from an aligned position.
fn read_units(
    (at, bytes_max): (u64, usize),
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let units_at = at - at % UNIT as u64;
    let before = usize::try_from(at - units_at).expect("it is less than a unit");
    let units = (before + bytes_max).next_multiple_of(UNIT);
    let mut memory = vec![0_u8; units + UNIT];
    let address = memory.as_ptr().addr();
    let start = address.next_multiple_of(UNIT) - address;
    let aligned = &mut memory[start..start + units];
    let mut there = read(aligned, units_at)?;
    // A disk that fails within the unit gives what is before that. So does the end, behind which there is nothing: it is asked which one it is,
    // unless no block of a disk ends there.
    while there > 0 && there <= before && there % BLOCK == 0 {
        match read(&mut aligned[there..], units_at + there as u64) {
            // The disk's blocks are larger, so none of them ends there.
            Ok(0) | Err(Errno::INVAL) => break,
            Ok(more) => there += more,
            Err(code) => return Err(code),
        }
    }
    let end = there.min(before + bytes_max);
    Ok(aligned.get(before..end).unwrap_or_default().to_vec())
}

/// Claims room at the position, and writes there by a description of our own without the mode.
fn write_around(fd: BorrowedFd<'_>, plain: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    let mut claimed = claim(fd, data.len()).map(|at| (at, data.len()));
    if claimed == Err(Errno::INVAL) {
        // No position is behind a device's end.
        let left = end_of(plain)?.saturating_sub(position(fd)?);
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        claimed = claim(fd, room).map(|at| (at, room));
    }
    let (at, room) = claimed?;
    // Where there is none, the write says so.
    let part = if room == 0 { data } else { &data[..room] };
    let written = fallible("pwrite (direct)", Call::Write, || {
        rustix::io::pwrite(plain, part, at)
    });
    set_right(fd, (at, room), written.unwrap_or(0))?;
    written
}

/// Writes behind the end of the file, wherever that is then, and sets the position there.
fn append_around(fd: BorrowedFd<'_>, plain: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    let written = fallible("write (direct)", Call::Write, || {
        rustix::io::write(plain, data)
    })?;
    set_position(fd, position(plain.as_fd())?)?;
    Ok(written)
}

/// lseek SEEK_CUR: where the position was. Now it is so much further, in one call: nobody who shares it reads or writes the same bytes.
fn claim(fd: BorrowedFd<'_>, bytes: usize) -> Result<u64, Errno> {
    let by = i64::try_from(bytes).map_err(|_| Errno::INVAL)?;
    let end = fallible("lseek (direct claim)", Call::Query, || {
        rustix::fs::seek(fd, SeekFrom::Current(by))
    })?;
    Ok(end - bytes as u64)
}

/// Not all was used that was claimed: the position is behind what was, unless somebody has gone on from where it was set.
fn set_right(fd: BorrowedFd<'_>, (at, claimed): (u64, usize), used: usize) -> Result<(), Errno> {
    if used != claimed && position(fd)? == at + claimed as u64 {
        set_position(fd, at + used as u64)?;
    }
    Ok(())
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

/// lseek SEEK_END, of a description that nobody shares.
fn end_of(plain: &OwnedFd) -> Result<u64, Errno> {
    fallible("lseek (direct end)", Call::Query, || {
        rustix::fs::seek(plain, SeekFrom::End(0))
    })
}

/// lseek SEEK_SET.
fn set_position(fd: BorrowedFd<'_>, at: u64) -> Result<(), Errno> {
    fallible("lseek (direct set)", Call::Query, || {
        rustix::fs::seek(fd, SeekFrom::Start(at))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Into how many bytes, and from where in the file, each read was asked for.
    type Asked = Vec<(usize, u64)>;

    /// Reads that bring these in turn, and how they were asked for.
    fn read(at: u64, answers: &[Result<usize, Errno>]) -> (Result<Vec<u8>, Errno>, Asked) {
        let (mut asked, mut answers) = (Vec::new(), answers.iter());
        let brought = read_units((at, 100), |memory, from| {
            asked.push((memory.len(), from));
            let n = (*answers.next().unwrap())?;
            memory[..n].fill(7);
            Ok(n)
        });
        (brought, asked)
    }

    /// A sector before the position that cannot be read is no end of the file.
    #[test]
    fn a_read_that_does_not_come_as_far_as_the_position_is_no_end() {
        let at = 8192 + 1000;
        let (brought, asked) = read(at, &[Ok(512), Err(Errno::IO)]);
        assert_eq!(brought, Err(Errno::IO));
        assert_eq!(asked, [(4096, 8192), (4096 - 512, 8192 + 512)]);
        let (brought, asked) = read(at, &[Ok(512), Ok(512), Ok(0)]);
        assert_eq!((brought, asked.len()), (Ok(vec![7; 24]), 2));
        // The file ends there.
        let larger = [Ok(512), Err(Errno::INVAL)];
        for answers in [&[Ok(512), Ok(0)][..], &larger, &[Ok(700)], &[Ok(0)]] {
            let (brought, asked) = read(at, answers);
            assert_eq!((brought, asked.len()), (Ok(Vec::new()), answers.len()));
        }
        let (brought, asked) = read(at, &[Ok(1050)]);
        assert_eq!((brought, asked.len()), (Ok(vec![7; 50]), 1));
    }
}
