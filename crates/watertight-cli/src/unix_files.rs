//! Files on Unix: what a file has that another one in its place would lack, and how a file gets its name.

pub(crate) use system::{
    appends, is_frozen, is_on_other_mount, is_system_name, rename_new, take_over,
};

use crate::created::create;
use crate::renaming::rename_by;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What of a file's mode has to do with reading and writing by its owner.
const OWNERS_BITS: u32 = 0o600;

/// How a path is opened: no terminal that is opened becomes the controlling terminal of this process.
pub(crate) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NOCTTY.bits().cast_signed());
    options
}

/// Opens what is there for writing. What is no file is opened in non-blocking mode: whoever reads a FIFO is not waited for, and no write
/// waits for room.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    let mut options = open_options();
    options.write(true);
    if !std::fs::metadata(path).is_ok_and(|known| known.is_file()) {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.open(path)
}

/// ENXIO of a FIFO: whether that could not be opened because nobody has opened it to read. Sockets have that code as well.
pub(crate) fn is_unread_fifo(path: &Path, error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
        && std::fs::metadata(path).is_ok_and(|known| known.file_type().is_fifo())
}

/// How many names a file has.
pub(crate) fn links(_: &File, metadata: &Metadata) -> u64 {
    metadata.nlink()
}

/// How a file is made beside another: nobody may do more with it than with that one, not even before it has its mode.
pub(crate) fn private_options(metadata: &Metadata) -> OpenOptions {
    let mut options = open_options();
    options.write(true).mode(metadata.mode() & OWNERS_BITS);
    options
}

/// How a file that was left beside is opened: not through a link.
pub(crate) fn resume_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOCTTY | OFlags::NOFOLLOW;
    options.custom_flags(flags.bits().cast_signed());
    options
}

/// flock: keeps every other copy from taking this file over, for as long as it is open. `WouldBlock`: another copy has it.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
}

/// What keeps the lock when the file itself is closed.
pub(crate) fn lock_holder(file: &File) -> io::Result<Option<File>> {
    file.try_clone().map(Some)
}

/// fsync: the names in a folder are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// fsync, likewise: the name that a file was given in this folder.
pub(crate) fn sync_renamed(_: &File, folder: &Path) -> io::Result<()> {
    sync_folder(folder)
}

/// rename: gives a file a name, and takes that away from what had it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_by(from, to, || std::fs::rename(from, to))
}

/// Gives a file a name that must be free, where the system has no call for that: holds the name, then replaces it.
fn hold_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    hold(to, || rename(from, to))
}

/// If the name is not given, what held it goes; whatever else is there by then stays.
fn hold(name: &Path, give: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // Open until the end: no other file can get its number.
    let (_file, held) = create(open_options().write(true), name.to_owned())?;
    let Err(error) = give() else {
        held.keep();
        return Ok(());
    };
    match held.remove() {
        Ok(()) => Err(error),
        Err(left) => Err(io::Error::other(format!("{error}; {left}"))),
    }
}

/// Linux tells everything.
#[cfg(target_os = "linux")]
mod system {
    use super::hold_and_rename;
    use crate::how::Reason;
    use rustix::fs::{
        AtFlags, CWD, IFlags, OFlags, PROC_SUPER_MAGIC, RenameFlags, Statx, StatxAttributes,
        StatxFlags, XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, ioctl_getflags,
        renameat_with, statfs, statx,
    };
    use rustix::io::Errno;
    use std::fs::{File, Permissions};
    use std::io;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    use std::path::Path;

    /// The most that a list of attributes has, and the most that one attribute has.
    const ATTRIBUTE_BYTES_MAX: usize = 65_536;
    /// The mode without the file's type.
    const MODE_BITS: u32 = 0o7777;
    /// Attributes that belong to the old content: the system itself drops them when a file is written, or computes them.
    const OF_THE_CONTENT: [&[u8]; 3] = [b"security.capability", b"security.evm", b"security.ima"];
    /// The flags that users set.
    const KEPT_FLAGS: IFlags = IFlags::COMPRESSED
        .union(IFlags::JOURNALING)
        .union(IFlags::NOATIME)
        .union(IFlags::NOCOW)
        .union(IFlags::NODUMP)
        .union(IFlags::SECURE_REMOVAL)
        .union(IFlags::SYNC);

    /// An extended attribute: its name and its value.
    type Attribute = (Vec<u8>, Vec<u8>);

    /// statfs: whether the name is one of /proc. The links there lead to what a descriptor has open, not to a name.
    pub(crate) fn is_system_name(path: &Path) -> bool {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let found = statfs(folder.unwrap_or(Path::new(".")));
        found.is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC)
    }

    /// /proc/PID/fdinfo/N: whether the name in /proc is that of a descriptor that appends. What is not known is taken for one that does not.
    pub(crate) fn appends(name: &Path) -> bool {
        let (Some(folder), Some(number)) = (name.parent(), name.file_name()) else {
            return false;
        };
        // Found from the folder itself, which may be a link or where we are.
        let known = folder.join("../fdinfo").join(number);
        let known = std::fs::read_to_string(known).unwrap_or_default();
        let flags = known.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        flags.is_some_and(|flags| OFlags::from_bits_retain(flags).contains(OFlags::APPEND))
    }

    /// statx: whether a file is not on the mount that its folder is on: it is mounted by itself, and cannot be replaced.
    pub(crate) fn is_on_other_mount(file: &File, folder: &Path) -> bool {
        let mounts = (
            statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID),
            statx(CWD, folder, AtFlags::empty(), StatxFlags::MNT_ID),
        );
        if let (Ok(of_file), Ok(of_folder)) = mounts
            && has_mount(&of_file)
            && has_mount(&of_folder)
        {
            return of_file.stx_mnt_id != of_folder.stx_mnt_id;
        }
        // An older system: the device is all there is to go by.
        match (file.metadata(), std::fs::metadata(folder)) {
            (Ok(file), Ok(folder)) => file.dev() != folder.dev(),
            _ => true,
        }
    }

    fn has_mount(found: &Statx) -> bool {
        StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID)
    }

    /// statx: whether names in a folder stay as they are (`chattr +a`, `+i`).
    pub(crate) fn is_frozen(folder: &Path) -> bool {
        let frozen = StatxAttributes::APPEND | StatxAttributes::IMMUTABLE;
        let found = statx(CWD, folder, AtFlags::empty(), StatxFlags::empty());
        found.is_ok_and(|found| found.stx_attributes.intersects(frozen))
    }

    /// Gives the new file all that the old one has but its content. Nobody may do more with it meanwhile than with the old
    /// one: first the owner, then the access lists, and the mode last.
    pub(crate) fn take_over(old: &File, new: &File) -> Result<(), Reason> {
        let wanted = old.metadata().map_err(|_| Reason::Owner)?;
        let found = new.metadata().map_err(|_| Reason::Owner)?;
        if (wanted.uid(), wanted.gid()) != (found.uid(), found.gid()) {
            let owner = (Some(wanted.uid()), Some(wanted.gid()));
            fchown(new, owner.0, owner.1).map_err(|_| Reason::Owner)?;
        }
        take_attributes(old, new).map_err(|_| Reason::Attributes)?;
        let mode = Permissions::from_mode(wanted.mode() & MODE_BITS);
        new.set_permissions(mode).map_err(|_| Reason::Mode)?;
        if flags(old) == flags(new) {
            Ok(())
        } else {
            Err(Reason::Flags)
        }
    }

    fn take_attributes(old: &File, new: &File) -> rustix::io::Result<()> {
        let (wanted, found) = (attributes(old)?, attributes(new)?);
        // What a folder hands down to its new files may be wider than what the old one has.
        for (name, _) in &found {
            if !wanted.iter().any(|(other, _)| other == name) {
                fremovexattr(new, name)?;
            }
        }
        for attribute in &wanted {
            if !found.contains(attribute) {
                let (name, value) = attribute;
                fsetxattr(new, name, value, XattrFlags::empty())?;
            }
        }
        Ok(())
    }

    /// flistxattr, fgetxattr: the access lists are among them.
    fn attributes(file: &File) -> rustix::io::Result<Vec<Attribute>> {
        let mut room = vec![0_u8; ATTRIBUTE_BYTES_MAX];
        let listed = match flistxattr(file, room.as_mut_slice()) {
            // This file system has none.
            Err(Errno::NOTSUP) => 0,
            listed => listed?,
        };
        let names: Vec<Vec<u8>> = room[..listed]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty() && !OF_THE_CONTENT.contains(name))
            .map(<[u8]>::to_vec)
            .collect();
        let mut attributes = Vec::new();
        for name in names {
            let length = fgetxattr(file, &name, room.as_mut_slice())?;
            attributes.push((name, room[..length].to_vec()));
        }
        Ok(attributes)
    }

    fn flags(file: &File) -> IFlags {
        // Many file systems have none.
        ioctl_getflags(file).map_or(IFlags::empty(), |flags| flags & KEPT_FLAGS)
    }

    /// renameat2: gives a file a name that must be free.
    pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // This file system, or this system, does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS) => hold_and_rename(from, to),
            renamed => renamed.map_err(io::Error::from),
        }
    }
}

/// Nobody has looked at what these systems tell: a file that is there is written in place.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::hold_and_rename;
    use crate::how::Reason;
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// Whether the name leads to what a descriptor has open.
    pub(crate) fn is_system_name(path: &Path) -> bool {
        path.starts_with("/dev/fd") || path.starts_with("/proc")
    }

    /// Whether the name is that of a descriptor that appends: that is not told here.
    pub(crate) fn appends(_: &Path) -> bool {
        false
    }

    /// Whether a file is not on the device that its folder is on.
    pub(crate) fn is_on_other_mount(file: &File, folder: &Path) -> bool {
        match (file.metadata(), std::fs::metadata(folder)) {
            (Ok(file), Ok(folder)) => file.dev() != folder.dev(),
            _ => true,
        }
    }

    /// Whether names in a folder stay as they are.
    pub(crate) fn is_frozen(_: &Path) -> bool {
        false
    }

    /// Gives the new file all that the old one has but its content: nobody can say that here.
    pub(crate) fn take_over(_: &File, _: &File) -> Result<(), Reason> {
        Err(Reason::Unknown)
    }

    /// Gives a file a name that must be free.
    pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
        hold_and_rename(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::renaming::probe::{rename_and_fail, with_file};
    use std::fs;
    use std::io::ErrorKind;

    #[test]
    fn what_held_a_name_goes_and_nothing_else() {
        let (_folder, from, to) = with_file();
        let given = hold(&to, || Err(ErrorKind::PermissionDenied.into()));
        assert!(given.is_err() && !to.exists());
        // It has its name, whatever is said of that.
        let given = hold(&to, || rename_and_fail(&from, &to));
        assert!(given.is_err());
        assert_eq!(fs::read(&to).unwrap(), b"data");
        // Whoever has the name keeps it.
        let given = hold(&to, || panic!("it is not free"));
        assert_eq!(given.unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&to).unwrap();
        hold(&to, || {
            fs::write(&from, "data").and_then(|()| rename(&from, &to))
        })
        .unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"data");
    }
}
