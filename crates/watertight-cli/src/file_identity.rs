//! Which file it is, whatever its name. Never here: what is built on that (`identity.rs`, `created.rs`, `renaming.rs`), some of which
//! `platform` has a part in.

pub(crate) use system::{Identity, of, of_path};

use std::fs::File;
use std::path::Path;

/// Whether the path is known to lead to this file.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let found = of_path(path).ok();
    found.is_some() && found == of(file).ok()
}

#[cfg(unix)]
mod system {
    use std::fs::{File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// Which file this is, whatever its name.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub(crate) struct Identity {
        device: u64,
        inode: u64,
    }

    impl Identity {
        fn of(metadata: &Metadata) -> Self {
            Self {
                device: metadata.dev(),
                inode: metadata.ino(),
            }
        }
    }

    /// fstat: which file is open here.
    pub(crate) fn of(file: &File) -> io::Result<Identity> {
        file.metadata().map(|metadata| Identity::of(&metadata))
    }

    /// stat: which file the path leads to. It is not opened.
    pub(crate) fn of_path(path: &Path) -> io::Result<Identity> {
        std::fs::metadata(path).map(|metadata| Identity::of(&metadata))
    }
}

#[cfg(windows)]
mod system {
    use same_file::Handle;
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// Which file this is, whatever its name. It is held open: only then is its number nobody else's.
    pub(crate) type Identity = Handle;

    /// Which file is open here.
    pub(crate) fn of(file: &File) -> io::Result<Identity> {
        file.try_clone().and_then(Handle::from_file)
    }

    /// Which file the path leads to.
    pub(crate) fn of_path(path: &Path) -> io::Result<Identity> {
        Handle::from_path(path)
    }
}
