//! Files on Windows: what is asked of them on Unix has no answer here, or none that std gives. A file that replaces another
//! has its folder's access list and no further streams.

use crate::how::Reason;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

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

/// Gives the new file what the old one has.
pub(crate) fn take_over(_: &File, _: &File) -> Result<(), Reason> {
    Ok(())
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
