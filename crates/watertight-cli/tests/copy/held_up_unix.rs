//! Somebody keeps the lock of a pipe, and every call on that pipe waits in the kernel, which no signal ends: what a copy still does, and says.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{copy, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A pipe of this size has room for more than a socket has.
const LARGE: usize = 1 << 20;
/// SIGHUP, SIGINT, SIGQUIT and SIGTERM in a mask.
const ASKING: u64 = 0x4007;
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
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it hangs");
        std::thread::yield_now();
    }
}

/// Whether the program has this path open.
fn has_open(child: &Child, path: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let mut paths = open.flatten().map(|one| fs::read_link(one.path()));
    paths.any(|one| one.is_ok_and(|one| one == path))
}

/// Whether the program's thread of this name is inside a call on a pipe that no signal ends. (Some systems do not tell in which.)
fn is_inside(child: &Child, wanted: &str) -> bool {
    threads(child).into_iter().any(|one| {
        let read = |file| fs::read_to_string(one.join(file)).unwrap_or_default();
        let place = read("wchan");
        let is_there = place.contains("pipe") || place.contains("splice") || place == "0";
        is_there && name(&one) == wanted && read("status").contains("State:\tD")
    })
}

fn terminate(child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
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

/// The signals that the thread of this folder in /proc blocks; none if it has ended.
fn blocked(thread: &Path) -> Option<u64> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:"))?;
    Some(u64::from_str_radix(mask.trim(), 16).unwrap())
}

/// The name of the thread of this folder in /proc; none if it has ended.
fn name(thread: &Path) -> String {
    let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// The folders of the program's threads in /proc.
fn threads(child: &Child) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    threads.map(|one| one.unwrap().path()).collect()
}

/// The system would give a signal to a thread that is inside a call which no signal ends.
#[test]
fn signals_that_ask_for_the_end_are_left_to_the_thread_that_hears_them() {
    let ours = blocked(Path::new("/proc/thread-self")).unwrap();
    let mut asking = [1, 2, 3, 15].into_iter();
    if ours & ASKING != 0 || asking.any(watertight::is_signal_ignored) {
        println!("skipped: some of the signals are blocked or ignored here");
        return;
    }
    let mut child = copy(["--hash", "-", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    until(|| threads(&child).iter().any(|one| name(one) == "signals"));
    for thread in threads(&child) {
        let name = name(&thread);
        let expected = if name == "signals" { 0 } else { ASKING };
        if let Some(blocked) = blocked(&thread) {
            assert_eq!(blocked & ASKING, expected, "{name}");
        }
    }
    let main = format!("/proc/{0}/task/{0}", child.id());
    assert_eq!(blocked(Path::new(&main)), Some(ours | ASKING));
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_command_of_a_copy_blocks_the_signals_that_the_program_found_blocked() {
    let ours = blocked(Path::new("/proc/thread-self")).unwrap();
    for options in [&["--hash"][..], &[]] {
        let source = ["exec:cat /proc/self/status", "-"];
        let run = run(options.iter().chain(&source)).expect(0);
        let status = String::from_utf8(run.stdout).unwrap();
        let line = format!("SigBlk:\t{ours:016x}");
        assert!(status.lines().any(|one| one == line), "{line}: {status}");
    }
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

/// The thread that moves bytes is inside a call on a pipe whose lock is kept, and moves them when everything has been said.
#[test]
fn what_a_source_that_does_not_stop_may_have_moved_is_told() {
    let (source, mut into_source) = std::io::pipe().unwrap();
    let (from, into) = large_pipe();
    let holder = Holder::of(from);
    let mut child = copy(["-", "-"]).stdin(source).stdout(into).spawn().unwrap();
    into_source.write_all(b"one").unwrap();
    until(|| is_inside(&child, "source"));
    terminate(&child);
    let told = report(&mut child).recv_timeout(PATIENCE);
    drop(holder);
    let report = told.unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
    let ends = [&report["sources"][0], &report["destinations"][0]];
    let errors = ends.map(|end| end["error"].as_str().unwrap_or_default());
    assert!(errors[0].contains("did not stop within"), "{report}");
    assert!(errors[1].contains("is not counted"), "{report}");
}

/// A copy of what comes through this program to a reader that has got three bytes, and keeps the lock of the pipe that they are in.
fn copy_to_a_holder(options: &[&str]) -> (Child, ChildStdin, Holder) {
    let (from, into) = large_pipe();
    let mut child = copy(options.iter().chain(&["--hash", "-", "-"]))
        .stdin(Stdio::piped())
        .stdout(into)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    until(|| rustix::io::ioctl_fionread(&from).unwrap() > LARGE as u64 / 2);
    (child, stdin, Holder::of(from))
}

#[test]
fn a_reader_that_keeps_the_lock_is_given_up_although_more_comes() {
    let slow = ["--slow", "fail", "--slow-after", "3s"];
    let (mut child, mut stdin, holder) = copy_to_a_holder(&slow);
    until(|| is_inside(&child, "unread"));
    stdin.write_all(b"two").unwrap();
    let told = report(&mut child).recv_timeout(PATIENCE);
    drop(holder);
    let report = told.unwrap();
    assert_eq!(report["ending"], "slow_deadline", "{report}");
    assert_eq!(report["destinations"][0]["given_up"], "slow_deadline");
    assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
}

/// The close of the pipe waits for the lock, and so does the question at the source's end: nobody else waits for them.
#[test]
fn a_signal_ends_a_copy_to_a_reader_that_keeps_the_lock() {
    for is_source_over in [false, true] {
        let (mut child, stdin, holder) = copy_to_a_holder(&[]);
        let stdin = (!is_source_over).then_some(stdin);
        until(|| !is_source_over || is_inside(&child, "unread"));
        terminate(&child);
        let told = report(&mut child).recv_timeout(PATIENCE);
        drop((holder, stdin));
        let report = told.unwrap();
        assert_eq!(report["ending"], "interrupted", "{report}");
        assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
    }
}
