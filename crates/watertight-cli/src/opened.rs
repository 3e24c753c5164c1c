//! A path that was opened, and what it is to become.

use crate::created::Created;
use crate::partial::Placing;
use std::fs::{File, Metadata};

/// A path that was opened.
pub(crate) struct OpenedPath {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    /// There was no such file before.
    pub(crate) created: Option<Created>,
    /// The file that this one is to replace.
    pub(crate) replaced: Option<File>,
    /// How a destination's file is written.
    pub(crate) placing: Option<Box<Placing>>,
}

impl OpenedPath {
    /// The file that has the address's name, if one has it: not the one that is written beside.
    pub(crate) fn named(&self) -> &File {
        self.replaced.as_ref().unwrap_or(&self.file)
    }
}
