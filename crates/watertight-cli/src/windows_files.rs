//! Files on Windows: what a file has that another one in its place would lack, and how a file gets its name. But for attributes
//! nothing is given to a new file here: what differs means in place.

use crate::how::Reason;
use crate::renaming::rename_by;
use crate::security;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsHandle;
use std::path::Path;
use winapi_util::file::information;

/// FILE_SHARE_READ and FILE_SHARE_DELETE: no other handle may write.
const SHARED_BUT_FOR_WRITING: u32 = 1 | 4;
/// FILE_ATTRIBUTE_HIDDEN, _SYSTEM and _NOT_CONTENT_INDEXED: a new file can be given these.
const GIVEN_ATTRIBUTES: u32 = 0x2 | 0x4 | 0x2000;
/// FILE_ATTRIBUTE_ARCHIVE, _NORMAL and _SPARSE_FILE: they come and go with the content.
const OF_THE_CONTENT: u64 = 0x20 | 0x80 | 0x200;
/// FILE_ATTRIBUTE_ENCRYPTED: a new file could be read by us alone, whoever may read the old one.
const ENCRYPTED: u64 = 0x4000;

/// How a path is opened.
pub(crate) fn open_options() -> OpenOptions {
    OpenOptions::new()
}

/// Opens what is there for writing.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    open_options().write(true).open(path)
}

/// Whether this is a FIFO that nobody has opened to read: there are none.
pub(crate) fn is_unread_fifo(_: &Path, _: &io::Error) -> bool {
    false
}

/// How many names a file has. Where that is not told, `take_over` says so.
pub(crate) fn links(file: &File, _: &Metadata) -> u64 {
    information(file).map_or(1, |known| known.number_of_links())
}

/// Whether the name leads to what a descriptor has open: there are none.
pub(crate) fn is_system_name(_: &Path) -> bool {
    false
}

/// Whether the name is that of a descriptor that appends: there are none.
pub(crate) fn appends(_: &Path) -> bool {
    false
}

/// Whether a file is mounted by itself: none is.
pub(crate) fn is_on_other_mount(_: &File, _: &Path) -> bool {
    false
}

/// Whether names in a folder stay as they are.
pub(crate) fn is_frozen(_: &Path) -> bool {
    false
}

/// How a file is made beside another: with those of its attributes that can be given.
pub(crate) fn private_options(metadata: &Metadata) -> OpenOptions {
    let attributes = metadata.file_attributes() & GIVEN_ATTRIBUTES;
    let mut options = open_options();
    options.write(true).attributes(attributes);
    options
}

/// How a file that was left beside is opened: not while another handle may write it.
pub(crate) fn resume_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.share_mode(SHARED_BUT_FOR_WRITING);
    options
}

/// Nothing: nobody can open a file for taking it over while it is written (`resume_options`).
pub(crate) fn lock(_: &File) -> io::Result<()> {
    Ok(())
}

/// Nothing, likewise.
pub(crate) fn lock_holder(_: &File) -> io::Result<Option<File>> {
    Ok(None)
}

/// Whether the new file has what the old one has: it was made with all that can be given to it. Audit rules are not told, and not
/// compared.
pub(crate) fn take_over(old: &File, new: &File) -> Result<(), Reason> {
    lacking(old, new)
        .unwrap_or(Some(Reason::Unknown))
        .map_or(Ok(()), Err)
}

/// What the new file lacks. An error: the system does not say.
fn lacking(old: &File, new: &File) -> io::Result<Option<Reason>> {
    let wanted = information(old)?.file_attributes();
    let found = information(new)?.file_attributes();
    if (wanted ^ found) & !OF_THE_CONTENT != 0 || wanted & ENCRYPTED != 0 {
        return Ok(Some(Reason::FileAttributes));
    }
    let (old, new) = (old.as_handle(), new.as_handle());
    if watertight::has_further_streams(old)? {
        return Ok(Some(Reason::Streams));
    }
    if watertight::has_extended_attributes(old)? {
        return Ok(Some(Reason::Attributes));
    }
    // Made in the same folder by the same user: what differs is the old one's own.
    let (wanted, found) = (
        watertight::file_security(old)?,
        watertight::file_security(new)?,
    );
    Ok(security::difference(&wanted, &found))
}

/// Gives a file a name, and takes that away from what had it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_by(from, to, || std::fs::rename(from, to))
}

/// Gives a file a name that must be free: holds the name, then replaces it.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    hold(to, || rename(from, to))
}

/// If the name is not given, what held it goes; whatever else is there by then stays.
fn hold(name: &Path, give: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // Not open meanwhile: not everywhere an open file can be replaced.
    let held = number(&File::create_new(name)?);
    give().map_err(|error| {
        let (Ok(held), Ok((found, 0))) = (held, number_and_length(name)) else {
            return error;
        };
        let removed = if held == found {
            std::fs::remove_file(name)
        } else {
            Ok(())
        };
        match removed {
            Ok(()) => error,
            Err(left) => {
                let name = name.display();
                io::Error::other(format!("{error}; cannot remove {name}: {left}"))
            }
        }
    })
}

/// Which file this is: its volume, and its index there.
fn number(file: &File) -> io::Result<(u64, u64)> {
    let known = information(file)?;
    Ok((known.volume_serial_number(), known.file_index()))
}

fn number_and_length(path: &Path) -> io::Result<((u64, u64), u64)> {
    let file = File::open(path)?;
    Ok((number(&file)?, file.metadata()?.len()))
}

/// Nothing: the names in a folder cannot be synced by themselves. A file that was made here was synced behind that.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// FlushFileBuffers, once more. What the file system has noted of a file goes to the disk with it (NTFS: its log), and so does its new name.
pub(crate) fn sync_renamed(file: &File, _: &Path) -> io::Result<()> {
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::renaming::probe::{rename_and_fail, with_file};
    use std::fs;
    use std::io::ErrorKind;

    /// A file that is open gets its name, and what cannot be flushed is not on the disk: one that may only be read.
    #[test]
    fn a_renamed_file_is_flushed_once_more() {
        let (_folder, from, to) = with_file();
        let file = File::options().write(true).open(&from).unwrap();
        rename(&from, &to).unwrap();
        sync_renamed(&file, &to).unwrap();
        let unwritable = File::open(&to).unwrap();
        assert!(sync_renamed(&unwritable, &to).is_err());
    }

    #[test]
    fn what_held_a_name_goes_and_nothing_else() {
        let (_folder, from, to) = with_file();
        let given = hold(&to, || Err(ErrorKind::PermissionDenied.into()));
        assert_eq!(given.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(!to.exists());
        // It has its name, whatever is said of that, and so has an empty one.
        for data in ["data", ""] {
            fs::write(&from, data).unwrap();
            let given = hold(&to, || rename_and_fail(&from, &to));
            assert!(given.is_err());
            assert_eq!(fs::read(&to).unwrap(), data.as_bytes());
            fs::remove_file(&to).unwrap();
        }
        // Somebody has written to it.
        let given = hold(&to, || {
            fs::write(&to, "theirs")?;
            Err(ErrorKind::PermissionDenied.into())
        });
        assert!(given.is_err());
        assert_eq!(fs::read(&to).unwrap(), b"theirs");
        // Whoever has the name keeps it.
        let given = hold(&to, || panic!("it is not free"));
        assert_eq!(given.unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&to).unwrap();
        fs::write(&from, "data").unwrap();
        rename_new(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"data");
        assert!(!from.exists());
    }
}
