//! What the tests of children share: an account of what this process holds, and children that do little.
#![allow(dead_code, reason = "elsewhere than on Linux a part of it is not used")]
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::turn::take_turn;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use watertight_os::{EarlierStarts, Grouping, Process, Reaped, StartOptions, StdStreams};

/// How long anything may take before it is a hang. Never waited for when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A test's account of descriptors, threads and children, in its turn.
pub(crate) struct Accounted {
    held: Vec<String>,
}

impl Accounted {
    pub(crate) fn start() -> Self {
        take_turn();
        // The thread that waits for all children, and what it waits on, stay for the life of the process.
        let (process, streams) = start(&mut waiting());
        let told = told_of(&process);
        drop(streams);
        told.recv_timeout(PATIENCE).unwrap();
        assert!(status(&process).success());
        drop(process);
        Self { held: settled() }
    }
}

impl Drop for Accounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // The thread closes what it held a moment after it has told.
        let by = Instant::now() + PATIENCE;
        while held() != self.held && Instant::now() < by {
            std::thread::yield_now();
        }
        assert_eq!(
            held(),
            self.held,
            "descriptors, threads or children left behind"
        );
    }
}

/// What is held when the warm-up's own has gone: the same at many looks in a row.
fn settled() -> Vec<String> {
    let mut last = held();
    let mut same = 0;
    while same < 100 {
        std::thread::yield_now();
        let now = held();
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

#[cfg(target_os = "linux")]
fn held() -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        // The listing's own descriptor points at the listing.
        if let Ok(target) = std::fs::read_link(entry.path())
            && !target.starts_with("/proc")
        {
            let number = entry.file_name().into_string().unwrap();
            all.push(format!("{number} -> {}", target.display()));
        }
    }
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.starts_with("watertight-chil") {
            all.push(format!("thread {name}"));
        }
        let children = std::fs::read_to_string(task.join("children")).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .map(|pid| format!("child {pid}")),
        );
    }
    all.sort();
    all
}

#[cfg(not(target_os = "linux"))]
fn held() -> Vec<String> {
    Vec::new()
}

/// A shell that runs this.
pub(crate) fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

/// A child that ends well when its standard input does.
pub(crate) fn waiting() -> Command {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

pub(crate) fn start(command: &mut Command) -> (Process, StdStreams) {
    Process::start(
        command,
        StartOptions::default(),
        &mut EarlierStarts::default(),
    )
    .unwrap()
}

pub(crate) fn start_grouped(command: &mut Command, grouping: Grouping) -> (Process, StdStreams) {
    let options = StartOptions {
        grouping,
        ..StartOptions::default()
    };
    Process::start(command, options, &mut EarlierStarts::default()).unwrap()
}

/// How a child ended, once it has.
pub(crate) fn status(process: &Process) -> ExitStatus {
    assert!(process.wait_for_exit(Some(PATIENCE)).unwrap());
    let reaped = process.try_reap();
    let Reaped::Ended(status) = reaped else {
        panic!("{reaped:?}");
    };
    // The same again, and for good.
    assert_eq!(process.try_reap(), reaped);
    status
}

/// Receives once when the child has ended; hung up after that.
pub(crate) fn told_of(process: &Process) -> Receiver<()> {
    let (tell, told) = channel();
    let tell = move || tell.send(()).unwrap();
    process.on_exit(Box::new(tell)).unwrap();
    told
}

/// Reads a child's first line, by which it says that it has come so far.
pub(crate) fn first_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" && stream.read(&mut byte).unwrap() == 1 {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Reads to the end: everybody who had the other end is gone.
pub(crate) fn assert_ends(mut stream: impl Read) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// A folder that is removed with all that is in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("watertight-{name}-{process}-{number}");
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file of this text and mode.
    pub(crate) fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
