//! An empty copy: it starts no thread, hears signals all the same, and comes to what it would come to with all its threads.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{EXE, Run, copy, spawn_with_blocked, wait_with_patience};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// With so large a stack no thread can be started, and std's do not try another one.
const NO_THREADS: (&str, &str) = ("RUST_MIN_STACK", "1000000000000000");
/// SIGTERM and SIGUSR1 in a mask.
const WAITED_FOR: u64 = (1 << (15 - 1)) | (1 << (10 - 1));
/// Longer than anything here takes, and shorter than what hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with an empty file, one with a few bytes, and one that has two names.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "").unwrap();
    fs::write(path("old"), "old").unwrap();
    fs::write(path("linked"), "linked").unwrap();
    fs::hard_link(path("linked"), path("second")).unwrap();
    folder
}

/// Everything in a folder: names and contents.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let content = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), content)
        })
        .collect();
    all.sort();
    all
}

/// Runs a line of shell in a folder, in which no program can start a thread; `$W` is the program.
fn shell(folder: &Path, line: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("W", EXE)
        .env(NO_THREADS.0, NO_THREADS.1)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn send(child: &Child, signal: &str) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// A copy of a pipe in which nothing comes to another pipe; it keeps its signals already, and waits.
fn silent(command: &mut Command) -> Child {
    silent_with_blocked(command, &[])
}

/// Likewise, started with these signals blocked.
fn silent_with_blocked(command: &mut Command, signals: &[i32]) -> Child {
    let child = spawn_with_blocked(command.stdin(Stdio::piped()), signals);
    let path = format!("/proc/{}/status", child.id());
    let line = |status: &str, name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    // SIGTERM and SIGUSR1 are caught, and the one thread sleeps.
    let is_waiting = || {
        let status = fs::read_to_string(&path).unwrap();
        let (caught, state) = (line(&status, "SigCgt:"), line(&status, "State:"));
        assert!(!state.starts_with('Z'), "it ended: {status}");
        let caught = u64::from_str_radix(&caught, 16).unwrap_or(0);
        caught & WAITED_FOR == WAITED_FOR && state.starts_with('S')
    };
    while !is_waiting() {
        std::thread::yield_now();
    }
    child
}

#[test]
fn an_empty_copy_starts_no_thread() {
    for line in [
        "$W copy empty target",
        "$W copy empty old",
        "$W copy empty old,inplace",
        "$W copy --sync --report-to account --hash empty target linked -",
        "$W copy /dev/null /dev/null",
        "$W copy - - <empty >out",
        "$W copy - - >>old",
        "$W copy fd:5 fd:6 5<empty 6>out",
        "cat old | { cat >out; $W copy - target; }",
        "true | $W copy - - >out",
    ] {
        let folder = folder();
        let output = shell(folder.path(), line);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {told}");
        assert_eq!(told, "", "{line}");
    }
    // This is how it would be seen.
    let folder = folder();
    let output = shell(folder.path(), "$W copy old target");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the copy could not begin"), "{told}");
}

#[test]
fn a_pipe_that_ends_without_a_byte_is_waited_for_without_a_thread() {
    let mut child = silent(copy(["-", "-"]).env(NO_THREADS.0, NO_THREADS.1));
    drop(child.stdin.take());
    let run = Run::of(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(run.bytes_read(), 0);
    assert_eq!(run.report["sources"][0]["ended"], true);
    assert_eq!(run.stdout, b"");
}

/// What strace sees a program start.
fn started(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "calls"])
        .args(["-e", "trace=clone,clone3,fork,vfork", EXE])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let calls = folder.join("calls");
    let seen = fs::read_to_string(&calls).unwrap();
    fs::remove_file(calls).unwrap();
    seen
}

#[test]
fn strace_sees_an_empty_copy_start_nothing() {
    let mut trial = Command::new("strace");
    let trial = trial.args(["-f", "-o", "/dev/null", "true"]).output();
    if !trial.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no strace that may trace");
        return;
    }
    let folder = folder();
    for arguments in [
        &["copy", "empty", "target"][..],
        &["copy", "-", "-"],
        &["copy", "--report-to", "account", "-", "old"],
    ] {
        let seen = started(folder.path(), arguments);
        assert_eq!(seen, "", "{arguments:?}");
    }
    let seen = started(folder.path(), &["copy", "linked", "target"]);
    assert!(seen.contains("clone"), "{seen}");
    if can_write_at_once() {
        let seen = started(folder.path(), &["copy", "--hash", "empty", "target"]);
        assert_eq!(seen, "", "what it says goes at once");
    } else {
        println!("skipped: a write to a pipe cannot be told not to wait here");
    }
}

fn can_write_at_once() -> bool {
    use rustix::io::{ReadWriteFlags, pwritev2};
    let (_reader, writer) = std::io::pipe().unwrap();
    let byte = [IoSlice::new(b"x")];
    pwritev2(&writer, &byte, u64::MAX, ReadWriteFlags::NOWAIT).is_ok()
}

/// Each with the threads of a copy that shows its progress, and without.
#[test]
fn an_empty_copy_comes_to_the_same_with_and_without_threads() {
    let others = "--limit 5 --rate 1k --idle 9s --drain-within 9s --buffer 8k --start-at 50% --slow drop --dead drop --stable";
    let mut cases: Vec<(Vec<&str>, i32)> = [
        ("empty target", 0),
        ("empty old", 0),
        ("empty linked", 0),
        ("empty old,inplace", 0),
        ("empty old,append", 0),
        ("empty old,exclusive", 3),
        ("empty target,exclusive", 0),
        ("empty target,create=no", 3),
        ("empty empty", 3),
        ("empty missing/target", 3),
        ("empty target old fd:99", 3),
        ("empty fd:0", 3),
        ("empty target target.partial", 3),
        ("empty target old - /dev/null", 0),
        ("--hash empty target", 0),
        ("--sync empty target", 0),
        ("--expect-bytes 0 empty old", 0),
        ("--expect-bytes 5 empty old", 7),
        ("--expect-bytes 5 empty old,inplace", 7),
        ("--expect-bytes 5 - -", 7),
        ("/dev/null target", 0),
        ("- -", 0),
        ("- /dev/null", 0),
    ]
    .into_iter()
    .map(|(line, code)| (line.split(' ').collect(), code))
    .collect();
    cases.push((others.split(' ').chain(["empty", "target"]).collect(), 0));
    for (arguments, code) in cases {
        let few: &[&str] = &[];
        let [without, with] = [few, &["--progress", "json"]].map(|options| {
            let folder = folder();
            let mut command = copy(options.iter().chain(&arguments));
            let output = command.current_dir(folder.path()).output().unwrap();
            let mut report = Run::of(output).expect(code).report;
            let fields = report.as_object_mut().unwrap();
            fields.remove("elapsed_seconds");
            (report, contents(folder.path()))
        });
        assert_eq!(without, with, "{arguments:?}");
    }
}

#[test]
fn a_signal_ends_a_copy_whose_source_is_silent() {
    let mut child = silent(&mut copy(["-", "-"]));
    let stdin = child.stdin.take();
    send(&child, "TERM");
    let run = Run::of(child.wait_with_output().unwrap()).expect(143);
    drop(stdin);
    assert_eq!(run.report["ending"], "interrupted");
    assert_eq!(run.report["sources"][0]["ended"], false);
    assert_eq!(run.destination(0)["given_up"], "interrupted");
}

/// Whether there is a thread for them by then, or not yet. An account that is asked for starts it.
#[test]
fn signals_that_were_blocked_at_the_start_reach_a_silent_copy() {
    for has_thread in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let mut command = copy(["-", "-"]);
        command.stderr(File::create(&told).unwrap());
        let mut child = silent_with_blocked(&mut command, &[10, 15]);
        let stdin = child.stdin.take();
        if has_thread {
            send(&child, "USR1");
            until("the account", || {
                let told = fs::read_to_string(&told).unwrap();
                told.starts_with("watertight: so far 0 bytes")
            });
        }
        send(&child, "TERM");
        let code = wait_with_patience(&mut child).code();
        drop(stdin);
        assert_eq!(code, Some(143), "{has_thread}");
    }
}

/// Comes back when it is stopped: what is sent to it now is heard when it goes on, all at once.
fn stop(child: &Child) {
    send(child, "STOP");
    let path = format!("/proc/{}/stat", child.id());
    let is_stopped = || fs::read_to_string(&path).unwrap().contains(") T ");
    while !is_stopped() {
        std::thread::yield_now();
    }
}

/// The handler of a signal runs when the call is over that saw the end.
#[test]
fn a_signal_just_before_the_end_is_no_end() {
    for (signal, code) in [("TERM", 143), ("PROF", 155)].repeat(10) {
        let mut child = silent(&mut copy(["-", "-"]));
        stop(&child);
        send(&child, signal);
        drop(child.stdin.take());
        send(&child, "CONT");
        let run = Run::of(child.wait_with_output().unwrap()).expect(code);
        assert_eq!(run.report["ending"], "interrupted");
    }
}

/// Who asks is heard first, whatever else was kept: left to the thread, it could be heard so much later that it would be a second request.
#[test]
fn who_asks_is_heard_before_a_timer_that_was_kept_with_it() {
    let mut child = silent(&mut copy(["-", "-"]));
    let stdin = child.stdin.take();
    stop(&child);
    for signal in ["ALRM", "TERM", "CONT"] {
        send(&child, signal);
    }
    let code = wait_with_patience(&mut child).code();
    drop(stdin);
    assert_eq!(code, Some(143));
}

/// As a terminal that is closed and whoever supervises its session send them: one request, which is heard, whether the report's file was there or
/// was made.
#[test]
fn two_signals_at_once_to_a_silent_copy_are_one_request() {
    for was_there in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("account");
        if was_there {
            fs::write(&account, "").unwrap();
        }
        let report = ["--report-to", account.to_str().unwrap(), "-", "-"];
        let mut child = silent(&mut copy(report));
        let stdin = child.stdin.take();
        assert!(account.exists());
        stop(&child);
        for signal in ["HUP", "TERM", "CONT"] {
            send(&child, signal);
        }
        let code = child.wait().unwrap().code();
        drop(stdin);
        assert!([Some(129), Some(143)].contains(&code), "{code:?}");
        let report = fs::read_to_string(&account).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["exit_code"].as_i64(), code.map(i64::from));
    }
}

#[test]
fn the_account_of_a_silent_source_is_told_and_the_copy_goes_on() {
    let mut child = silent(&mut copy(["-", "-"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut told = BufReader::new(child.stderr.take().unwrap());
    send(&child, "USR1");
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("watertight: so far 0 bytes"), "{line}");
    stdin.write_all(b"hello").unwrap();
    drop(stdin);
    let mut seen = String::new();
    stdout.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "hello");
    let mut report = String::new();
    told.read_to_string(&mut report).unwrap();
    let report = report.lines().last().unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["destinations"][0]["transferred"], 5);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Who is to take the report of an empty copy, and does not.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// Of what `--report-to` names.
    Named,
    OfStandardError,
}

/// An empty copy that is held: nobody takes its report. Its destination has its end by then.
struct Held {
    child: Child,
    /// Where the report goes. There is no room, for bytes of others are in front of it.
    account: File,
    _folder: TempDir,
}

impl Held {
    fn start(reader: Reader, has_threads: bool) -> Self {
        let folder = folder();
        let path = folder.path().join("account");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let open = |reads| File::options().read(reads).write(true).open(&path).unwrap();
        let mut account = open(true);
        rustix::io::ioctl_fionbio(&account, true).unwrap();
        let error = loop {
            if let Err(error) = account.write(&[b'.'; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let mut command = match reader {
            Reader::Named => copy(["--report-to", path.to_str().unwrap(), "-", "-"]),
            Reader::OfStandardError => {
                let mut command = copy(["-", "-"]);
                command.stderr(open(false));
                command
            }
        };
        if !has_threads {
            command.env(NO_THREADS.0, NO_THREADS.1);
        }
        let mut child = command.spawn().unwrap();
        // When its destination has its end, only the report is left.
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        Self {
            child,
            account,
            _folder: folder,
        }
    }

    /// Comes back when the program has taken the signal.
    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let path = format!("/proc/{}/status", self.child.id());
        let is_pending = || {
            let status = fs::read_to_string(&path).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
            // One that has ended takes none.
            let mask = mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
            mask & (1 << (15 - 1)) != 0 && !status.contains("State:\tZ")
        };
        while is_pending() {
            std::thread::yield_now();
        }
    }

    /// Takes everything until it ends. How it ended, and what it reported.
    fn take(&mut self) -> (Option<i32>, String) {
        let (until, mut seen) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            // Before the look at what there is: then that is all.
            let ended = self.child.try_wait().unwrap();
            let mut buffer = [0; 4096];
            while let Ok(bytes) = self.account.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..bytes]);
            }
            if let Some(status) = ended {
                let report = String::from_utf8(seen).unwrap();
                return (status.code(), report.trim_start_matches('.').to_owned());
            }
            assert!(Instant::now() < until, "it hangs");
            std::thread::yield_now();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody hears the first one: the one thread is held by a report that nobody takes.
#[test]
fn a_second_signal_ends_an_empty_copy_that_is_held() {
    let mut held = Held::start(Reader::Named, false);
    for signal in ["TERM", "INT"] {
        send(&held.child, signal);
    }
    let code = wait_with_patience(&mut held.child).code();
    assert!([Some(130), Some(143)].contains(&code), "{code:?}");
}

/// As GNU timeout sends it: to the process, and to the group in which that is. On a busy machine it may come too late for one request.
#[test]
fn a_signal_that_comes_twice_at_once_does_not_end_an_empty_copy_that_is_held() {
    for (reader, has_threads) in [
        (Reader::Named, true),
        (Reader::Named, false),
        (Reader::OfStandardError, true),
    ] {
        let is_reported = |_| {
            let mut held = Held::start(reader, has_threads);
            held.terminate();
            held.terminate();
            let (code, report) = held.take();
            code == Some(0) && report.contains("\"exit_code\":0")
        };
        assert!((0..5).any(is_reported), "{reader:?} {has_threads}");
    }
}

/// Later it is a request of its own, and that is heard although the one thread of the copy is held.
#[test]
fn a_signal_that_is_repeated_ends_an_empty_copy_that_is_held() {
    for reader in [Reader::Named, Reader::OfStandardError] {
        let mut held = Held::start(reader, true);
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = held.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "{reader:?} hangs");
            held.terminate();
        };
        assert_eq!(status.code(), Some(143), "{reader:?}");
    }
}
