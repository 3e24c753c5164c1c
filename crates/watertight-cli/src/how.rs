//! How a destination's file gets its bytes: beside its place until the verdict is good, or in place. A pure decision; nothing
//! here looks at a file.

use serde::Serialize;
use std::io::ErrorKind;

/// How a destination's file got its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Written where it is.
    InPlace,
    /// Written beside, and left there: the file itself is as it was.
    Partial,
    /// Written beside, and then renamed.
    Renamed,
}

/// Why a file is written in place.
#[allow(dead_code, reason = "each system has its own reasons")]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// An access list, or an integrity label, that a new file would not have (Windows).
    AccessList,
    Append,
    Asked,
    /// Extended attributes, on Unix access lists among them.
    Attributes,
    /// The name leads to what another process has open.
    Descriptor,
    /// Hidden, compressed and the like (Windows).
    FileAttributes,
    /// The inode's flags (chattr).
    Flags,
    /// The folder does not let us make a file, or not take its name away again.
    Folder,
    /// Other names of the same file would keep the old content.
    Links,
    Mode,
    /// The file is a mount of its own: nothing can be renamed onto it.
    Mount,
    /// `NAME.partial` would be too long.
    Name,
    /// A device, a FIFO or the like.
    NoFile,
    Owner,
    Room,
    /// Streams besides the content (Windows).
    Streams,
    /// The system does not tell what would be lost.
    Unknown,
}

/// What is known of a file that is there, before the first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) is_append: bool,
    pub(crate) is_in_place_asked: bool,
    pub(crate) is_file: bool,
    /// Its name leads to another process's descriptor, or to another file by now.
    pub(crate) is_descriptor: bool,
    /// How many names it has.
    pub(crate) links: u64,
    /// It is not on the mount that its folder is on.
    pub(crate) is_on_other_mount: bool,
    /// What is in the folder cannot be renamed.
    pub(crate) is_folder_frozen: bool,
}

/// Whether the file is to be written in place, and why; none: beside.
///
/// What only an attempt can tell (room, owner, attributes) is tried after this, also before the first byte.
pub(crate) fn decide(facts: &Facts) -> Option<Reason> {
    [
        (facts.is_append, Reason::Append),
        (facts.is_in_place_asked, Reason::Asked),
        (!facts.is_file, Reason::NoFile),
        (facts.is_descriptor, Reason::Descriptor),
        (facts.links > 1, Reason::Links),
        (facts.is_on_other_mount, Reason::Mount),
        (facts.is_folder_frozen, Reason::Folder),
    ]
    .into_iter()
    .find_map(|(counts, reason)| counts.then_some(reason))
}

/// What it means that no file can be made beside one that is there; none: an error to tell.
pub(crate) fn refusal(kind: ErrorKind) -> Option<Reason> {
    [
        (ErrorKind::InvalidFilename, Reason::Name),
        (ErrorKind::PermissionDenied, Reason::Folder),
        (ErrorKind::QuotaExceeded, Reason::Room),
        (ErrorKind::ReadOnlyFilesystem, Reason::Folder),
        (ErrorKind::StorageFull, Reason::Room),
    ]
    .into_iter()
    .find_map(|(known, reason)| (known == kind).then_some(reason))
}

impl Reason {
    /// For the report's text.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::AccessList => "its access list cannot be kept",
            Self::Append => "`append`",
            Self::Asked => "`inplace`",
            Self::Attributes => "its extended attributes or access list cannot be kept",
            Self::Descriptor => "its name is that of a descriptor, or another one of /proc",
            Self::FileAttributes => {
                "its attributes (hidden, compressed and the like) cannot be kept"
            }
            Self::Flags => "its flags (chattr) cannot be kept",
            Self::Folder => "its folder takes no other file",
            Self::Links => "it has other links",
            Self::Mode => "its mode cannot be kept",
            Self::Mount => "it is a mount of its own",
            Self::Name => "its name is too long for NAME.partial",
            Self::NoFile => "it is no file",
            Self::Owner => "its owner cannot be kept",
            Self::Room => "there is no room for a file beside it",
            Self::Streams => "its further streams cannot be kept",
            Self::Unknown => "this system does not tell what a new file would lack",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Facts = Facts {
        is_append: false,
        is_in_place_asked: false,
        is_file: true,
        is_descriptor: false,
        links: 1,
        is_on_other_mount: false,
        is_folder_frozen: false,
    };

    #[test]
    fn the_table() {
        type Change = fn(&mut Facts);
        let table: [(Change, Reason); 7] = [
            (|facts| facts.is_folder_frozen = true, Reason::Folder),
            (|facts| facts.is_on_other_mount = true, Reason::Mount),
            (|facts| facts.links = 2, Reason::Links),
            (|facts| facts.is_descriptor = true, Reason::Descriptor),
            (|facts| facts.is_file = false, Reason::NoFile),
            (|facts| facts.is_in_place_asked = true, Reason::Asked),
            (|facts| facts.is_append = true, Reason::Append),
        ];
        assert_eq!(decide(&PLAIN), None);
        let mut all = PLAIN;
        for (change, reason) in table {
            let mut one = PLAIN;
            change(&mut one);
            assert_eq!(decide(&one), Some(reason));
            // Of several, the one that comes later here is told.
            change(&mut all);
            assert_eq!(decide(&all), Some(reason));
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_beside_is_a_reason_or_an_error() {
        assert_eq!(refusal(ErrorKind::StorageFull), Some(Reason::Room));
        assert_eq!(refusal(ErrorKind::PermissionDenied), Some(Reason::Folder));
        assert_eq!(refusal(ErrorKind::InvalidFilename), Some(Reason::Name));
        // Too few descriptors, for instance.
        assert_eq!(refusal(ErrorKind::Other), None);
    }
}
