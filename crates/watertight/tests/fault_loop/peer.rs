//! The other end of a pipe, by plain system calls of the test's own: it counts what really came and trusts nobody.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use super::stage::PATIENCE;

/// How long one look for news lasts at most, while nobody says that there is some.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// The other end.
pub(crate) struct Peer {
    fd: Option<OwnedFd>,
    /// What it read.
    pub(crate) got: Vec<u8>,
    /// It saw the end of the stream.
    pub(crate) ended: bool,
    /// It reads nothing at present.
    pub(crate) holding: bool,
    /// It left before the end.
    pub(crate) left: bool,
    /// What comes late is lost: a terminal drops what it has not passed on yet when the leading end is closed.
    pub(crate) forgets: bool,
    /// What it gets comes by way of a work queue: a moment later.
    pub(crate) delayed: bool,
    /// Others have our end too, so that it sees an end only if we say so.
    pub(crate) shared: bool,
    /// What it writes, and how much of that it has written.
    pub(crate) data: Vec<u8>,
    pub(crate) wrote: usize,
    writes: bool,
    /// It closes when it has written everything.
    pub(crate) closes: bool,
    path: Option<PathBuf>,
}

impl Peer {
    fn new(fd: Option<OwnedFd>) -> Self {
        if let Some(fd) = &fd {
            let flags = rustix::fs::fcntl_getfl(fd).unwrap();
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).unwrap();
        }
        Self {
            fd,
            got: Vec::new(),
            ended: false,
            holding: false,
            left: false,
            forgets: false,
            delayed: false,
            shared: false,
            data: Vec::new(),
            wrote: 0,
            writes: false,
            closes: false,
            path: None,
        }
    }

    /// One that reads. Its description is its own, so that it may be told not to wait.
    pub(crate) fn reading(fd: OwnedFd) -> Self {
        Self::new(Some(fd))
    }

    /// One that writes `data`, and then closes or stays.
    pub(crate) fn writing(fd: OwnedFd, data: Vec<u8>, closes: bool) -> Self {
        Self {
            data,
            closes,
            writes: true,
            ..Self::new(Some(fd))
        }
    }

    /// A file that is looked at in the end.
    pub(crate) fn file(path: PathBuf) -> Self {
        Self {
            path: Some(path),
            ..Self::new(None)
        }
    }

    /// A file's content, which was there before.
    pub(crate) fn content(data: Vec<u8>) -> Self {
        Self {
            wrote: data.len(),
            data,
            ..Self::new(None)
        }
    }

    /// Nobody: what is written there is gone, and there is nothing to look at.
    pub(crate) fn nobody() -> Self {
        Self {
            left: true,
            forgets: true,
            ..Self::new(None)
        }
    }

    /// Goes as far as it can without waiting. Says whether anything happened.
    pub(crate) fn step(&mut self) -> bool {
        match &self.fd {
            None => false,
            Some(_) if self.writes => self.write_some(),
            Some(_) if self.holding || self.ended => false,
            Some(fd) => {
                let mut buf = [0; 32 * 1024];
                match rustix::io::read(fd, &mut buf) {
                    // A terminal whose other end is closed says EIO; a socket that was reset ends too.
                    Ok(0) | Err(Errno::IO | Errno::CONNRESET) => {
                        self.ended = true;
                        true
                    }
                    Ok(n) => {
                        self.got.extend_from_slice(&buf[..n]);
                        true
                    }
                    Err(Errno::AGAIN | Errno::INTR) => false,
                    Err(code) => panic!("the peer cannot read: {code}"),
                }
            }
        }
    }

    fn write_some(&mut self) -> bool {
        let Some(fd) = &self.fd else { return false };
        let rest = &self.data[self.wrote..];
        if rest.is_empty() {
            if self.closes && !self.holding {
                self.fd = None;
                return true;
            }
            return false;
        }
        if self.holding {
            return false;
        }
        match rustix::io::write(fd, rest) {
            Ok(n) => {
                self.wrote += n;
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // The reader under test has left.
            Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => {
                self.fd = None;
                true
            }
            Err(code) => panic!("the peer cannot write: {code}"),
        }
    }

    /// Waits a moment for news of its own, or until this thread is unparked.
    pub(crate) fn rest(&self) {
        let watched = self.fd.as_ref().filter(|_| !self.ended && !self.holding);
        let events = match watched {
            Some(_) if !self.writes => PollFlags::IN,
            Some(_) if self.wrote < self.data.len() => PollFlags::OUT,
            _ => return std::thread::park_timeout(std::time::Duration::from_millis(1)),
        };
        if let Some(fd) = watched {
            let mut polled = [PollFd::new(fd, events)];
            let _ = rustix::event::poll(&mut polled, Some(&LOOK));
        }
    }

    /// Closes its end now.
    pub(crate) fn leave(&mut self) {
        self.fd = None;
        self.left = true;
    }

    /// Reads until it has so many bytes.
    pub(crate) fn await_bytes(&mut self, bytes: usize) {
        let patience = Instant::now() + PATIENCE;
        while self.got.len() < bytes && !self.ended {
            assert!(Instant::now() < patience, "lost: it never came");
            if !self.step() {
                self.rest();
            }
        }
    }

    /// What came is the beginning of what was accepted, and not more than `most` bytes of it.
    pub(crate) fn check_got(&self, accepted: &[u8], most: usize) {
        assert!(
            self.got.len() <= most && accepted.starts_with(&self.got),
            "not what was accepted: {} bytes came, {most} transferred at most",
            self.got.len()
        );
    }

    /// Everything that is there, without waiting.
    pub(crate) fn take_all(&mut self) {
        self.holding = false;
        while self.step() {}
    }

    /// Reads until the end of the stream: our end is closed, so it must come.
    pub(crate) fn read_to_end(&mut self) {
        if let Some(path) = &self.path {
            self.got = std::fs::read(path).unwrap();
            self.ended = true;
        }
        self.holding = false;
        let patience = Instant::now() + PATIENCE;
        while self.fd.is_some() && !self.ended && !self.writes {
            assert!(
                Instant::now() < patience,
                "hang: our end is closed and the peer sees no end"
            );
            if !self.step() {
                self.rest();
            }
        }
    }

    /// Writes the rest and closes, or just closes.
    pub(crate) fn close(&mut self) {
        self.fd = None;
    }

    /// Whether it can tell at once what has come.
    pub(crate) fn is_live(&self) -> bool {
        self.fd.is_some()
    }
}
