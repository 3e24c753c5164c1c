//! FIFOs and folders for the tests of Unix handles.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("watertight-{name}-{process}-{number}");
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn fifo(&self) -> PathBuf {
        let path = self.0.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A FIFO's two ends, opened as programs do.
pub fn fifo_ends(path: &PathBuf) -> (File, File) {
    let both = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let reader = File::open(path).unwrap();
    let writer = File::options().write(true).open(path).unwrap();
    drop(both);
    (reader, writer)
}
