//! Somebody keeps the lock of a pipe, and every call on that pipe waits in the kernel, which no signal ends: what a copy still does, and says.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{self, EXE, copy, ending_signals, file, folder_with, mask, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A pipe of this size has room for more than a socket has.
const LARGE: usize = 1 << 20;
/// So many bytes flow before a pipe is enlarged.
const ENLARGED_AFTER: usize = 4 << 20;
/// Asks for the account so far, and ends no copy.
const USR1: i32 = 10;
/// Longer than anything here takes, and shorter than what hangs.
const PATIENCE: Duration = Duration::from_secs(40);
/// So many lines of progress, at ten a second, take longer than it takes a question to count as held up.
const HELD_UP_LINES: usize = 30;

/// Keeps the lock of a pipe: it splices out of that into a socket without room.
struct Holder {
    peer: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Holder {
    /// More is in the pipe than a socket has room for.
    fn of(pipe: impl AsFd + Send + 'static) -> Self {
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

/// Puts so much into a pipe that its lock can be kept.
fn fill(mut pipe: &File) {
    fcntl_setpipe_size(pipe, LARGE).unwrap();
    pipe.write_all(&vec![b'x'; LARGE / 2]).unwrap();
}

/// Returns when there is more in this pipe than that.
fn until_more_comes(pipe: impl AsFd) {
    until(|| rustix::io::ioctl_fionread(&pipe).unwrap() > LARGE as u64 / 2);
}

/// poll: whether a pipe has no more room.
fn is_full(pipe: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&pipe, PollFlags::OUT)];
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

/// Whether the program has a thread of this name.
fn has_thread(child: &Child, wanted: &str) -> bool {
    threads(child).iter().any(|one| name(one) == wanted)
}

fn send(signal: &str, child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
}

fn terminate(child: &Child) {
    send("-TERM", child);
}

/// What the program says, line by line, also while it cannot end.
fn lines(child: &mut Child) -> Receiver<String> {
    let stderr = child.stderr.take().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            // Too late, nobody is left to hear it.
            let _ = tell.send(line.unwrap());
        }
    });
    told
}

/// The next line of this kind.
#[track_caller]
fn next_line(lines: &Receiver<String>, is_wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("it hangs");
        if is_wanted(&line) {
            return line;
        }
    }
}

fn is_progress(line: &str) -> bool {
    line.starts_with('{') && line.contains("\"kind\":\"progress\"")
}

/// The closing report, which the program can say while it cannot end.
#[track_caller]
fn report(lines: &Receiver<String>) -> Value {
    let is_report = |line: &str| line.starts_with('{') && !is_progress(line);
    serde_json::from_str(&next_line(lines, is_report)).unwrap()
}

/// The signals that the thread of this folder in /proc blocks; none if it has ended.
fn blocked(thread: &Path) -> Option<u64> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    Some(harness::blocked(&status))
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
fn signals_that_end_a_copy_are_left_to_the_thread_that_hears_them() {
    let ours = blocked(Path::new("/proc/thread-self")).unwrap();
    let mut ending = ending_signals();
    ending.retain(|signal| *signal != USR1);
    let ending = mask(&ending);
    if ours & ending != 0 {
        println!("skipped: some of the signals are blocked here");
        return;
    }
    let mut child = copy(["--buffer=1M", "-", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    until(|| has_thread(&child, "signals"));
    for thread in threads(&child) {
        let name = name(&thread);
        let expected = if name == "signals" { 0 } else { ending };
        if let Some(blocked) = blocked(&thread) {
            assert_eq!(blocked & ending, expected, "{name}");
        }
    }
    let main = format!("/proc/{0}/task/{0}", child.id());
    assert_eq!(blocked(Path::new(&main)), Some(ours | ending));
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_command_of_a_copy_blocks_the_signals_that_the_program_found_blocked() {
    let ours = blocked(Path::new("/proc/thread-self")).unwrap();
    for options in [&["--buffer=1M"][..], &[]] {
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
    let report = report(&lines(&mut child));
    drop((holder, into));
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
    let report = report(&lines(&mut child));
    drop(holder);
    assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
    let ends = [&report["sources"][0], &report["destinations"][0]];
    let errors = ends.map(|end| end["error"].as_str().unwrap_or_default());
    assert!(errors[0].contains("did not stop within"), "{report}");
    assert!(errors[1].contains("is not counted"), "{report}");
}

/// A copy of what comes through this program to a reader that has got three bytes, and keeps the lock of the pipe that they are in.
fn copy_to_a_holder(options: &[&str]) -> (Child, ChildStdin, Holder) {
    let (from, into) = large_pipe();
    let mut child = copy(options.iter().chain(&["--buffer=1M", "-", "-"]))
        .stdin(Stdio::piped())
        .stdout(into)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    until_more_comes(&from);
    (child, stdin, Holder::of(from))
}

#[test]
fn a_reader_that_keeps_the_lock_is_given_up_although_more_comes() {
    let slow = ["--slow", "fail", "--slow-after", "3s"];
    let (mut child, mut stdin, holder) = copy_to_a_holder(&slow);
    until(|| is_inside(&child, "unread"));
    stdin.write_all(b"two").unwrap();
    let report = report(&lines(&mut child));
    drop(holder);
    assert_eq!(report["ending"], "slow_deadline", "{report}");
    assert_eq!(report["destinations"][0]["given_up"], "slow_deadline");
    assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
}

/// The byte with which it pays to enlarge the pipe comes when the lock is kept. (To ask for a pipe's size waits for it, too.)
#[test]
fn a_pipe_whose_lock_is_kept_is_enlarged_beside_everything_else() {
    let (mut from, into) = large_pipe();
    let arguments = "--slow fail --slow-after 3s --buffer=1M - -";
    let mut child = copy(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(into)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut bytes = vec![0; ENLARGED_AFTER - 1];
    let feeding = std::thread::spawn(move || {
        stdin.write_all(&vec![b'y'; ENLARGED_AFTER - 1]).unwrap();
        stdin
    });
    from.read_exact(&mut bytes).unwrap();
    let mut stdin = feeding.join().unwrap();
    // What was in there at first is what is left.
    until(|| rustix::io::ioctl_fionread(&from).unwrap() == LARGE as u64 / 2);
    let holder = Holder::of(from);
    until(|| is_inside(&child, "unread"));
    stdin.write_all(b"y").unwrap();
    let report = report(&lines(&mut child));
    drop(holder);
    assert_eq!(
        report["sources"][0]["bytes_read"], ENLARGED_AFTER,
        "{report}"
    );
    assert_eq!(report["ending"], "slow_deadline", "{report}");
    assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
}

/// What this program reads before it writes it has come from the disk by then: whoever keeps the lock, it is not our own thread.
#[test]
fn a_reader_that_keeps_the_lock_is_given_up_although_the_source_is_a_file() {
    let (_folder, source, _) = folder_with(2 * LARGE);
    let source = file(&source);
    let copies = ["--stable", "--hash"].map(|option| {
        let (from, into) = large_pipe();
        let slow = [option, "--slow", "fail", "--slow-after", "3s"];
        let ends = [source.as_str(), "-"];
        let mut child = copy(slow.iter().chain(&ends))
            .stdout(into.try_clone().unwrap())
            .spawn()
            .unwrap();
        until(|| is_full(&into));
        (lines(&mut child), child, Holder::of(from))
    });
    for (lines, mut child, holder) in copies {
        let report = report(&lines);
        drop(holder);
        assert_eq!(report["ending"], "slow_deadline", "{report}");
        assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
    }
}

/// What comes when the question has been held up for a while is not written there, and so nobody waits for the lock but the question.
#[test]
fn others_get_everything_while_a_reader_that_keeps_the_lock_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let (from, into) = large_pipe();
    let slow = ["--slow", "drop", "--slow-after", "5s"];
    let shown = ["--progress", "json", "--progress-every", "100ms"];
    let mut child = copy(slow.iter().chain(&shown).chain(&["-", "-"]))
        .arg(file(&target))
        .stdin(Stdio::piped())
        .stdout(into)
        .spawn()
        .unwrap();
    let lines = lines(&mut child);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    until_more_comes(&from);
    let holder = Holder::of(from);
    until(|| is_inside(&child, "unread"));
    for _ in 0..HELD_UP_LINES {
        next_line(&lines, is_progress);
    }
    stdin.write_all(b"two").unwrap();
    drop(stdin);
    let report = report(&lines);
    drop(holder);
    assert_eq!(report["destinations"][0]["given_up"], "slow_deadline");
    assert_eq!(report["ending"], "incomplete", "{report}");
    assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
    assert_eq!(fs::read(&target).unwrap(), b"onetwo");
}

/// The close of the pipe waits for the lock, and so does the question at the source's end: nobody else waits for them.
#[test]
fn a_signal_ends_a_copy_to_a_reader_that_keeps_the_lock() {
    let copies = [false, true].map(|is_source_over| {
        let (mut child, stdin, holder) = copy_to_a_holder(&[]);
        let stdin = (!is_source_over).then_some(stdin);
        until(|| !is_source_over || is_inside(&child, "unread"));
        terminate(&child);
        (lines(&mut child), child, holder, stdin)
    });
    for (lines, mut child, holder, stdin) in copies {
        let report = report(&lines);
        drop((holder, stdin));
        assert_eq!(report["ending"], "interrupted", "{report}");
        assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
    }
}

/// A question is held up when the source ends, and so is the close of what was opened by its name.
#[test]
fn a_fifo_whose_reader_keeps_the_lock_is_closed_beside_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let (fifo, path) = fifo(folder.path(), "fifo");
    fill(&fifo);
    let address = format!("fifo:{}", path.display());
    let asked = ["--slow", "fail", "--slow-after", "1000s"];
    let shown = ["--progress", "json", "--progress-every", "100ms"];
    let arguments = asked.into_iter().chain(shown);
    let mut child = copy(arguments.chain(["--buffer=1M", "-", address.as_str()]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines(&mut child);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    until_more_comes(&fifo);
    let holder = Holder::of(fifo);
    until(|| is_inside(&child, "unread"));
    for _ in 0..HELD_UP_LINES {
        next_line(&lines, is_progress);
    }
    drop(stdin);
    until(|| has_thread(&child, "finish"));
    terminate(&child);
    let report = report(&lines);
    drop(holder);
    assert_eq!(report["ending"], "interrupted", "{report}");
    assert_eq!(report["destinations"][0]["given_up"], "interrupted");
    assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
}

/// The source is at its end, everything is in the pipe, and what is left is its end.
#[test]
fn a_deadline_counts_also_while_a_reader_holds_up_the_end() {
    let deadlines: [(&[&str], &str); 4] = [
        (&["--drain-within", "2s"], "drain_deadline"),
        (&["--idle", "2s"], "idle_deadline"),
        (&["--slow", "drop", "--slow-after", "2s"], "slow_deadline"),
        (&["--slow", "fail", "--slow-after", "2s"], "slow_deadline"),
    ];
    let copies = deadlines.map(|(options, given_up)| {
        let (mut child, stdin, holder) = copy_to_a_holder(options);
        drop(stdin);
        (lines(&mut child), child, holder, given_up)
    });
    for (lines, mut child, holder, given_up) in copies {
        let report = report(&lines);
        drop(holder);
        assert_eq!(report["destinations"][0]["given_up"], given_up, "{report}");
        assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
    }
}

/// A command that is to end is asked before that whether it has read everything.
#[test]
fn a_command_whose_pipe_is_locked_is_asked_beside_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let command = "exec:sh -c 'echo $$ >pid; exec sleep 1000',pipe";
    let mut child = copy(["--buffer=1M", "-", command])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines(&mut child);
    let pid = || fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
    until(|| pid().ends_with('\n'));
    let input = format!("/proc/{}/fd/0", pid().trim_end());
    let input = File::options().read(true).write(true).open(input).unwrap();
    fill(&input);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    until_more_comes(&input);
    let holder = Holder::of(input);
    terminate(&child);
    until(|| is_inside(&child, "unread"));
    send("-USR1", &child);
    next_line(&lines, |line| line.contains("so far 3 bytes"));
    drop(holder);
    let report = report(&lines);
    assert_eq!(report["ending"], "interrupted", "{report}");
    assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
    drop(stdin);
}

/// Somebody else reads the same FIFO, and the close of our end waits for that.
#[test]
fn a_source_whose_lock_another_reader_keeps_is_stopped_beside_everything_else() {
    // Through a queue of the program's own, and by the library.
    for options in [&["--buffer=1M"][..], &[]] {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, path) = fifo(folder.path(), "fifo");
        fill(&fifo);
        let address = format!("fifo:{}", path.display());
        // It takes a byte, and nothing for a second.
        let ends = ["--rate", "1", &address, "-"];
        let mut child = copy(options.iter().chain(&ends)).spawn().unwrap();
        let lines = lines(&mut child);
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let holder = Holder::of(fifo);
        terminate(&child);
        let report = report(&lines);
        drop(holder);
        assert_eq!(report["ending"], "interrupted", "{report}");
        assert_eq!(child.wait().unwrap().code(), Some(143), "{report}");
    }
}

/// Whether the program is over; its status is there for whoever waits for it.
fn is_over(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    status.unwrap().contains("State:\tZ")
}

#[test]
fn who_has_nothing_to_say_asks_nothing_of_a_locked_standard_error() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    let (from, into) = large_pipe();
    let stderr = into.try_clone().unwrap();
    let holder = Holder::of(from);
    let mut child = Command::new(EXE)
        .args(["copy", "--quiet", &file(&source), &file(&target)])
        .stdin(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    until(|| is_over(&child));
    drop((holder, into));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(fs::read(target).unwrap() == bytes);
}
