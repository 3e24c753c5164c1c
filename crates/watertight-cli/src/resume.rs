//! `,resume`: the file that a cut copy left beside is taken over. What it has is compared with the beginning of the source, and
//! only what is behind that is written. Until the comparison is through, nothing of it changes.

use crate::created::Created;
use crate::file_identity;
use crate::platform;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// A file beside that is to be written: made, or taken over.
pub(crate) struct Beside {
    pub(crate) file: File,
    pub(crate) created: Created,
    /// As long as this is there, no other copy takes the file over; none where the system needs no handle for that.
    pub(crate) lock: Option<File>,
    /// What it has, if it was taken over.
    pub(crate) prefix: Option<Prefix>,
}

/// What a file that was taken over has, to be compared with the beginning of the source.
pub(crate) struct Prefix {
    /// Its path, for messages.
    name: String,
    /// None once everything is compared.
    file: Option<File>,
    bytes: u64,
    /// So many are compared, and the same.
    verified: u64,
    buffer: Vec<u8>,
}

/// Opens a file that was left beside, to be written behind its last byte. Nothing of it is changed.
pub(crate) fn take_over(path: &Path) -> io::Result<Beside> {
    // Its kind would say something about another file: that one can be made or not.
    let told = |error: io::Error| {
        io::Error::other(format!(
            "cannot go on with {}: {error}; move or remove it, or leave `resume` out",
            path.display()
        ))
    };
    open(path).map_err(told)
}

fn open(path: &Path) -> io::Result<Beside> {
    // Opening something else could wait, or lead elsewhere.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut file = platform::resume_options().write(true).open(path)?;
    platform::lock(&file).map_err(|error| {
        if error.kind() == ErrorKind::WouldBlock {
            io::Error::other("another copy is writing it")
        } else {
            io::Error::new(error.kind(), format!("it cannot be locked: {error}"))
        }
    })?;
    if platform::links(&file, &file.metadata()?) > 1 {
        return Err(io::Error::other("it has other links"));
    }
    // Not by a second handle of the same opening: that would move the place where the first one writes.
    let reader = platform::open_options().read(true).open(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let lock = platform::lock_holder(&file)?;
    let is_same = file_identity::of(&file)? == file_identity::of(&reader)?;
    let created = Created::of(&file, path.to_owned());
    if !is_same || !created.is_ours() {
        created.keep();
        return Err(io::Error::other("somebody replaced or removed it just now"));
    }
    Ok(Beside {
        file,
        created,
        lock,
        prefix: Some(Prefix::new(path.display().to_string(), reader, bytes)),
    })
}

impl Prefix {
    /// The first `bytes` bytes of a file, which is at its beginning.
    fn new(name: String, file: File, bytes: u64) -> Self {
        Self {
            name,
            file: (bytes > 0).then_some(file),
            bytes,
            verified: 0,
            buffer: Vec::new(),
        }
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of them are known to be the source's.
    pub(crate) fn verified(&self) -> u64 {
        self.verified
    }

    /// Compares the source's next bytes with those that are there, and says how many are. An error says where they differ.
    pub(crate) fn verify(&mut self, data: &[u8]) -> Result<usize, String> {
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        let left = usize::try_from(self.bytes - self.verified).unwrap_or(usize::MAX);
        let data = &data[..data.len().min(left)];
        self.buffer.resize(data.len(), 0);
        file.read_exact(&mut self.buffer)
            .map_err(|error| format!("cannot read {}: {error}", self.name))?;
        if self.buffer == data {
            self.verified += data.len() as u64;
            if self.verified == self.bytes {
                self.file = None;
                self.buffer = Vec::new();
            }
            return Ok(data.len());
        }
        let mut pairs = self.buffer.iter().zip(data);
        let same = pairs.position(|(there, read)| there != read);
        self.verified += same.unwrap_or(0) as u64;
        Err(self.told(&format!(
            "differs from the source at byte {}, counted from 0",
            self.verified
        )))
    }

    /// What there is to say if the source has ended: this has more.
    pub(crate) fn excess(&self) -> Option<String> {
        let is_longer = self.verified < self.bytes;
        is_longer.then(|| {
            self.told(&format!(
                "has {} bytes, and the source ended after {}",
                self.bytes, self.verified
            ))
        })
    }

    fn told(&self, difference: &str) -> String {
        format!(
            "{} {difference}: it was not left by a copy of this source, and nothing was written to it; move or remove it, or choose the right source",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn prefix(bytes: &[u8]) -> (tempfile::TempDir, Prefix) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.partial");
        fs::write(&path, bytes).unwrap();
        let beside = take_over(&path).unwrap();
        beside.created.keep();
        (folder, beside.prefix.unwrap())
    }

    #[test]
    fn what_is_there_is_compared_piece_by_piece() {
        let (_folder, mut prefix) = prefix(b"abcdef");
        assert_eq!(prefix.bytes(), 6);
        assert_eq!(prefix.verify(b"abcd"), Ok(4));
        assert!(prefix.excess().unwrap().contains("ended after 4"));
        // What is behind its end is not its own.
        assert_eq!(prefix.verify(b"efgh"), Ok(2));
        assert_eq!(prefix.verify(b"ijkl"), Ok(0));
        assert_eq!(prefix.verified(), 6);
        assert_eq!(prefix.excess(), None);
    }

    #[test]
    fn a_difference_is_told_with_its_place() {
        for (data, at) in [
            (&b"aXcdef"[..], 1),
            (&b"abcdeX"[..], 5),
            (&b"zbcdef"[..], 0),
        ] {
            let (_folder, mut prefix) = prefix(b"abcdef");
            let told = prefix.verify(data).unwrap_err();
            assert!(told.contains(&format!("at byte {at},")), "{told}");
            assert_eq!(prefix.verified(), at);
        }
    }

    #[test]
    fn an_empty_file_has_nothing_to_compare() {
        let (_folder, mut prefix) = prefix(b"");
        assert_eq!(prefix.verify(b"abc"), Ok(0));
        assert_eq!(prefix.excess(), None);
    }

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    #[test]
    fn only_a_file_that_nobody_writes_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.partial");
        fs::create_dir(&path).unwrap();
        let told = take_over(&path).err().unwrap().to_string();
        assert!(told.contains("no regular file"), "{told}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "abc").unwrap();
        let first = take_over(&path).unwrap();
        assert!(take_over(&path).is_err());
        drop(first);
        // Another test's child that is being started may have a copy of it for a moment.
        let begun = std::time::Instant::now();
        while let Err(error) = take_over(&path) {
            assert!(begun.elapsed() < PATIENCE, "{error}");
            std::thread::yield_now();
        }
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
