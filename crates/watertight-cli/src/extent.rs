//! How much a source holds, as the system tells it, and whether it was cut while it was read.

use crate::platform;
use std::fs::File;
use std::io::Seek;
use std::time::SystemTime;

/// A file or a block device as it was found: how long it is, and from where it is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extent {
    bytes: u64,
    position: u64,
    modified: Option<SystemTime>,
}

impl Extent {
    /// Looks, and changes nothing. There is no answer for what has no size, nor for a size of 0: files of /proc have that
    /// and are not empty.
    pub(crate) fn of(mut file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let bytes = if metadata.is_file() {
            metadata.len()
        } else {
            platform::block_device_bytes(file, &metadata)?
        };
        let extent = Self {
            bytes,
            position: file.stream_position().ok()?,
            modified: metadata.modified().ok(),
        };
        (bytes > 0).then_some(extent)
    }

    /// How many bytes there are to read.
    pub(crate) fn left(self) -> u64 {
        self.bytes.saturating_sub(self.position)
    }

    /// Whether so many bytes are not all of it.
    pub(crate) fn is_short(self, read: u64) -> bool {
        read < self.left()
    }

    /// Whether a source that ended after so many bytes was cut. `now` is what is found at the end; none if it is empty or
    /// cannot be looked at.
    ///
    /// Not everything that ends before its size was cut: a file of /sys gives its size as 4,096 and has less, and of two
    /// that read one description each gets a part.
    pub(crate) fn was_cut(self, read: u64, now: Option<Self>) -> bool {
        let is_changed = |now: Self| {
            let is_other = (now.bytes, now.modified) != (self.bytes, self.modified);
            is_other && now.position < self.bytes
        };
        self.is_short(read) && now.is_none_or(is_changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, SeekFrom, Write};
    use std::time::Duration;

    fn found(bytes: u64, position: u64, second: u64) -> Extent {
        Extent {
            bytes,
            position,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second)),
        }
    }

    #[test]
    fn what_is_left_counts_from_the_position() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(Extent::of(&file), None, "0 is no size");
        file.write_all(&[b'x'; 10]).unwrap();
        file.seek(SeekFrom::Start(4)).unwrap();
        assert_eq!(Extent::of(&file).unwrap().left(), 6);
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 6, "looking moved the position");
        assert_eq!(Extent::of(&file).unwrap().left(), 0);
    }

    #[test]
    fn a_source_that_became_shorter_was_cut() {
        let start = found(10, 2, 1);
        assert!(start.was_cut(3, Some(found(5, 5, 2))));
        assert!(start.was_cut(3, None));
        // Cut, and written again.
        assert!(start.was_cut(3, Some(found(10, 5, 2))));
        assert!(start.was_cut(3, Some(found(90, 5, 2))));
    }

    #[test]
    fn a_source_that_grew_or_never_had_its_size_was_not_cut() {
        let start = found(10, 2, 1);
        assert!(!start.was_cut(8, None));
        assert!(!start.was_cut(20, Some(found(22, 22, 2))));
        // Like a file of /sys: nothing changed.
        assert!(!start.was_cut(3, Some(found(10, 5, 1))));
        // Somebody else read the rest, and the file grew.
        assert!(!start.was_cut(3, Some(found(12, 12, 2))));
    }
}
