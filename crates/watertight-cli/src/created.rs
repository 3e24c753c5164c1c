//! Files that this program makes: each has its guard from the first moment, which takes it away again unless it is kept.

use crate::file_identity::{self, Identity};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// How many links are followed to the file that is to be made: as many as Linux follows.
pub(crate) const LINKS_MAX: usize = 40;

/// A file that this program made. It is removed when this is dropped, if it is still there, and still empty.
pub(crate) struct Created {
    path: PathBuf,
    identity: Option<Identity>,
    is_kept: bool,
}

impl Created {
    /// Never fails, so that no file is without its guard.
    pub(crate) fn of(file: &File, path: PathBuf) -> Self {
        Self {
            path,
            identity: file_identity::of(file).ok(),
            is_kept: false,
        }
    }

    /// The file stays.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file that was made. An error: that is not known.
    pub(crate) fn look(&self) -> io::Result<bool> {
        let found = std::fs::symlink_metadata(&self.path)
            .and_then(|known| Ok((known.is_file(), file_identity::of_path(&self.path)?)));
        let (is_file, found) = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found?,
        };
        let Some(identity) = &self.identity else {
            return Err(io::Error::other("which file was made is not known"));
        };
        Ok(is_file && found == *identity)
    }

    /// Whether the path is known to lead still to the file that was made.
    pub(crate) fn is_ours(&self) -> bool {
        self.look().unwrap_or(false)
    }

    /// Takes the file away again if it is still there, and still empty. An error: it is left.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.is_kept = true;
        if !self.is_ours_and_empty() {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(|error| {
            let text = format!("cannot remove {}: {error}", self.path.display());
            io::Error::new(error.kind(), text)
        })
    }

    /// Whether, besides, nobody has written to it.
    fn is_ours_and_empty(&self) -> bool {
        let known = std::fs::symlink_metadata(&self.path);
        known.is_ok_and(|known| known.len() == 0) && self.is_ours()
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if !self.is_kept && self.is_ours_and_empty() {
            // It was a courtesy; what failed is being told already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the file, which must not be there.
pub(crate) fn create(options: &OpenOptions, path: PathBuf) -> io::Result<(File, Created)> {
    let file = options.clone().create_new(true).open(&path)?;
    let created = Created::of(&file, path);
    Ok((file, created))
}

/// Opens the file, or makes it unless the options keep from that; says which. A link that leads nowhere is followed here
/// and not by the system, so that it is known who made the file behind it.
pub(crate) fn open_or_create(
    options: &OpenOptions,
    path: &Path,
    is_exclusive: bool,
) -> io::Result<(File, Option<Created>)> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        // First as if it must not exist: so it is known who made it.
        let refusal = match create(options, path.clone()) {
            Ok((file, created)) => return Ok((file, Some(created))),
            Err(refusal) if is_exclusive => return Err(refusal),
            Err(refusal) => refusal,
        };
        match options.open(&path) {
            Ok(file) => return Ok((file, None)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // It is not there, and why it cannot be made is the better answer.
            Err(_) if refusal.kind() != io::ErrorKind::AlreadyExists => return Err(refusal),
            Err(_) => {}
        }
        // It was there a moment ago, or it is a link.
        if let Ok(target) = std::fs::read_link(&path) {
            let folder = path.parent().unwrap_or(Path::new(""));
            path = folder.join(target);
        }
    }
    Err(io::Error::other(
        "the links lead from one to the next without an end",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn make(path: &Path) -> (File, Option<Created>) {
        open_or_create(OpenOptions::new().write(true), path, false).unwrap()
    }

    #[test]
    fn a_file_that_is_not_kept_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (file, created) = make(&path);
        assert!(path.exists());
        drop(file);
        drop(created);
        assert!(!path.exists());
        make(&path).1.unwrap().keep();
        assert!(path.exists());
        // Now it is not ours.
        assert!(make(&path).1.is_none());
        assert!(path.exists());
        let refusal = open_or_create(OpenOptions::new().write(true), &path, true).err();
        assert_eq!(refusal.unwrap().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_somebody_else_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (file, created) = make(&path);
        fs::write(&path, "theirs").unwrap();
        drop(file);
        drop(created);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    #[cfg(unix)]
    fn what_somebody_else_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let other = folder.path().join("other");
        // Open until the end: no other file can get its number.
        let (_file, created) = make(&path);
        fs::write(&other, "").unwrap();
        fs::rename(&other, &path).unwrap();
        drop(created);
        assert!(path.exists());
    }

    #[test]
    #[cfg(unix)]
    fn a_link_that_leads_nowhere_stays_and_what_it_names_goes() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let (first, second) = (folder.path().join("first"), inner.join("second"));
        std::os::unix::fs::symlink("inner/second", &first).unwrap();
        std::os::unix::fs::symlink("../file", &second).unwrap();
        let (_file, created) = make(&first);
        assert!(folder.path().join("file").exists());
        drop(created);
        assert!(!folder.path().join("file").exists());
        assert!(fs::symlink_metadata(&first).is_ok());
        // A link that leads to itself is an error and no endless loop.
        let circle = folder.path().join("circle");
        std::os::unix::fs::symlink("circle", &circle).unwrap();
        assert!(open_or_create(OpenOptions::new().write(true), &circle, false).is_err());
    }

    #[test]
    fn a_folder_that_is_missing_is_told_as_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("file");
        let error = open_or_create(OpenOptions::new().write(true), &path, false).err();
        assert_eq!(error.unwrap().kind(), io::ErrorKind::NotFound);
    }
}
