//! Somebody keeps the lock of a pipe, and every call on that pipe waits in the kernel, which no signal ends: what a copy still does, and says.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

mod harness;

use harness::copy;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A pipe of this size has room for more than a socket has.
const LARGE: usize = 1 << 20;
/// Longer than anything here takes, and shorter than what hangs.
const PATIENCE: Duration = Duration::from_secs(40);

/// Keeps the lock of a pipe: it splices out of that into a socket without room.
struct Holder {
    peer: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Holder {
    /// More is in the pipe than a socket has room for.
    fn of(pipe: PipeReader) -> Self {
        let (into, mut peer) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            // It fails when the peer goes.
            let _ = splice(&pipe, None, &into, None, LARGE, SpliceFlags::empty());
        });
        // It has the lock when the first byte comes, and until the last one has gone.
        peer.read_exact(&mut [0]).unwrap();
        Self {
            peer: Some(peer),
            thread: Some(thread),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.peer = None;
        // Nobody asks how it ended.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A pipe with so much in it that its lock can be kept.
fn large_pipe() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&writer, LARGE).unwrap();
    writer.write_all(&vec![b'x'; LARGE / 2]).unwrap();
    (reader, writer)
}

/// A FIFO with a reader that takes nothing.
fn fifo(folder: &Path, name: &str) -> (File, PathBuf) {
    let path = folder.join(name);
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let reader = File::options().read(true).write(true).open(&path).unwrap();
    (reader, path)
}

/// poll: whether a FIFO has no more room.
fn is_full(fifo: &File) -> bool {
    let mut polled = [PollFd::new(fifo, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&at_once)).unwrap() == 0
}

/// Waits until something is so: nothing tells that but looking.
fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

/// Whether the program has this path open.
fn has_open(child: &Child, path: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let mut paths = open.flatten().map(|one| fs::read_link(one.path()));
    paths.any(|one| one.is_ok_and(|one| one == path))
}

/// The closing report, which the program can say while it cannot end.
fn report(child: &mut Child) -> Receiver<Value> {
    let stderr = child.stderr.take().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
        let report = lines.find(|line| line.starts_with('{'));
        // Too late, nobody is left to hear it.
        let _ = tell.send(serde_json::from_str(&report.unwrap()).unwrap());
    });
    told
}

/// Nobody is woken when bytes are moved by the library, so it has to be looked.
#[test]
fn a_source_that_hangs_is_given_up_once_nobody_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (first, first_path) = fifo(folder.path(), "first");
    let (second, second_path) = fifo(folder.path(), "second");
    let (source, into) = large_pipe();
    let fifos = [&first_path, &second_path].map(|path| format!("fifo:{}", path.display()));
    let arguments = ["-"].into_iter().chain(fifos.iter().map(String::as_str));
    let mut child = copy(arguments)
        .stdin(source.try_clone().unwrap())
        .spawn()
        .unwrap();
    until(|| is_full(&first) && is_full(&second));
    let holder = Holder::of(source);
    drop(first);
    until(|| !has_open(&child, &first_path));
    // Up to now it is behind, and now it gets everything that was read.
    let mut reader = File::open(&second_path).unwrap();
    drop(second);
    let rest = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let told = report(&mut child).recv_timeout(PATIENCE);
    drop((holder, into));
    let report = told.unwrap();
    assert_eq!(report["ending"], "destination_ended", "{report}");
    assert_eq!(child.wait().unwrap().code(), Some(5), "{report}");
    rest.join().unwrap().unwrap();
}
