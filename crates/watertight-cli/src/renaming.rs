//! A rename whose answer is not believed. Nothing here gives a file its name: `platform` knows the calls.

use crate::file_identity;
use std::io::{self, ErrorKind};
use std::path::Path;

/// An error need not mean that nothing was renamed: over a network (NFS, SMB) the server's answer may be lost, and the request made
/// again then finds nothing to rename.
pub(crate) fn rename_by(
    from: &Path,
    to: &Path,
    call: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let known = file_identity::of_path(from);
    call().or_else(|error| {
        let left = std::fs::symlink_metadata(from);
        let is_gone = left.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        match (known, file_identity::of_path(to)) {
            (Ok(known), Ok(found)) if is_gone && known == found => Ok(()),
            _ => Err(error),
        }
    })
}

/// What the checks of renames share.
#[cfg(test)]
pub(crate) mod probe {
    use std::io::{self, ErrorKind};
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    /// A folder, and a file's two names in it: the one that it has, and the one that it is to have.
    pub(crate) fn with_file() -> (TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, "data").unwrap();
        (folder, from, to)
    }

    /// As over a network, where an answer was lost.
    pub(crate) fn rename_and_fail(from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        Err(ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::probe::{rename_and_fail, with_file};
    use super::*;
    use std::fs;

    #[test]
    fn a_rename_that_fails_and_was_done_is_done() {
        let (_folder, from, to) = with_file();
        rename_by(&from, &to, || rename_and_fail(&from, &to)).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"data");
        // Not so if nothing was renamed, or what is there now is another file.
        let (_folder, from, to) = with_file();
        fs::write(&to, "other").unwrap();
        let error = rename_by(&from, &to, || Err(ErrorKind::PermissionDenied.into()));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::PermissionDenied);
        let lost = rename_by(&from, &to, || {
            fs::remove_file(&from)?;
            Err(ErrorKind::NotFound.into())
        });
        assert!(lost.is_err());
        assert_eq!(fs::read(&to).unwrap(), b"other");
    }
}
