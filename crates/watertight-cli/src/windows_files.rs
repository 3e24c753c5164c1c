//! Files on Windows: what is asked of them on Unix has no answer here, or none that std gives. A file that replaces another
//! has its folder's access list and no further streams.

use crate::how::Reason;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

/// FILE_SHARE_READ and FILE_SHARE_DELETE: no other handle may write.
const SHARED_BUT_FOR_WRITING: u32 = 1 | 4;

/// How a path is opened.
pub(crate) fn open_options() -> OpenOptions {
    OpenOptions::new()
}

/// How many names a file has, as far as std tells.
pub(crate) fn links(_: &Metadata) -> u64 {
    1
}

/// Whether the name leads to what a descriptor has open: there are none.
pub(crate) fn is_system_name(_: &Path) -> bool {
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

/// How a file is made beside another.
pub(crate) fn private_options(_: &Metadata) -> OpenOptions {
    let mut options = open_options();
    options.write(true);
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

/// Gives the new file what the old one has.
pub(crate) fn take_over(_: &File, _: &File) -> Result<(), Reason> {
    Ok(())
}

/// Gives a file a name, and takes that away from what had it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Gives a file a name that must be free: holds the name, then replaces it.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    drop(File::create_new(to)?);
    let renamed = std::fs::rename(from, to);
    if renamed.is_err() {
        // The name was ours; what failed is told.
        let _ = std::fs::remove_file(to);
    }
    renamed
}

/// Nothing: the names in a folder cannot be synced by themselves.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
