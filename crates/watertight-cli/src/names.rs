//! The names that a destination's file has in its folder, where the links of its address lead. Nothing is opened here.

use crate::created::LINKS_MAX;
use crate::platform;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".partial";

/// The names of a destination's file in its folder, where its links lead: its own, and the one beside.
#[derive(Debug)]
pub(crate) struct Names {
    folder: PathBuf,
    own: OsString,
    beside: OsString,
}

impl Names {
    /// None for what has no name of its own: a descriptor's name, or one like `folder/`.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        let (path, is_descriptor) = follow(path)?;
        if is_descriptor {
            return Ok(None);
        }
        let Some(own) = path.file_name() else {
            return Ok(None);
        };
        let (whole, end) = (path.as_os_str().as_encoded_bytes(), own.as_encoded_bytes());
        if !whole.ends_with(end) {
            return Ok(None);
        }
        let mut beside = own.to_owned();
        beside.push(SUFFIX);
        Ok(Some(Self {
            folder: folder_of(&path).to_owned(),
            own: own.to_owned(),
            beside,
        }))
    }

    /// The folder, to look at it.
    pub(crate) fn folder(&self) -> &Path {
        if self.folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.folder
        }
    }

    /// Whether both, in one folder, are names of one file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.own == other.own
    }

    /// Whether one, in the same folder, is written under the other's name.
    pub(crate) fn is_in_the_way(&self, other: &Self) -> bool {
        self.beside == other.own || self.own == other.beside
    }

    /// Where it is.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.join(&self.own)
    }

    /// Where it is written until it is whole.
    pub(crate) fn partial(&self) -> PathBuf {
        self.folder.join(&self.beside)
    }
}

/// Where the path's links lead, and whether that is a descriptor of another process.
fn follow(path: &Path) -> io::Result<(PathBuf, bool)> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if platform::is_system_name(&path) {
            return Ok((path, true));
        }
        let Ok(target) = std::fs::read_link(&path) else {
            return Ok((path, false));
        };
        path = folder_of(&path).join(target);
    }
    Err(io::Error::other(
        "the links lead from one to the next without an end",
    ))
}

/// Whether the name is that of a descriptor by which another process appends: what is there is not ours to empty or to overwrite.
pub(crate) fn is_appended_elsewhere(path: &Path) -> bool {
    let found = follow(path);
    found.is_ok_and(|(name, is_descriptor)| is_descriptor && platform::appends(&name))
}

/// The folder of a name as it is written: empty for one that is here.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_no_file_has_no_place_beside() {
        for odd in ["a/", "a/.", "..", "/"] {
            assert!(Names::of(Path::new(odd)).unwrap().is_none(), "{odd}");
        }
        let names = Names::of(Path::new("a")).unwrap().unwrap();
        assert_eq!(names.folder(), Path::new("."));
        assert_eq!(names.partial(), Path::new("a.partial"));
    }
}
