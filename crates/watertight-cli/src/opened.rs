//! A path that was opened, and what it is to become.

use crate::created::Created;
use crate::partial::Placing;
use crate::resume::Prefix;
use std::fs::{File, Metadata};

/// A path that was opened.
pub(crate) struct OpenedPath {
    pub(crate) file: File,
    /// None: it is no file, and the system tells nothing of it (a device on Windows).
    pub(crate) metadata: Option<Metadata>,
    /// There was no such file before.
    pub(crate) created: Option<Created>,
    /// Written is only behind what is there: it is not emptied.
    pub(crate) is_appended: bool,
    /// The file that this one is to replace.
    pub(crate) replaced: Option<File>,
    /// What this one has already, if it was taken over.
    pub(crate) prefix: Option<Box<Prefix>>,
    /// How a destination's file is written.
    pub(crate) placing: Option<Box<Placing>>,
}

impl OpenedPath {
    /// The file itself, and the one that it is to replace.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        std::iter::once(&self.file).chain(&self.replaced)
    }
}
