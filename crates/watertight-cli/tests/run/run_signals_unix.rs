//! Signals to `watertight run`: what would end the program alone ends the command with its tree, also where signals were blocked when it was
//! started.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::terminal::until;
use crate::harness::{
    EXE, SAY_BLOCKED, blocked, ending_signals, is_running, mask, spawn_with_blocked,
    wait_with_patience,
};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

const TERM: i32 = 15;
const CHLD: i32 = 17;

/// The command by a program that ends with ours, in a session of its own: no terminal has a say in the command's group. Its input is this
/// test's.
fn run(options: &[&str], script: &str) -> Command {
    let mut command = Command::new("setsid");
    command
        .args([EXE, "run"])
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn send(signal: i32, pid: u32) {
    let (signal, pid) = (format!("-{signal}"), pid.to_string());
    let sent = Command::new("kill").args([&signal, &pid]).status().unwrap();
    assert!(sent.success());
}

fn line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Also those that ask nobody to end: unheard they would end us alone, and leave the command and its tree to themselves. (The command ends with
/// its input, too.)
#[test]
fn every_signal_that_would_end_us_ends_the_command() {
    for signal in ending_signals() {
        let script = "echo $$; exec cat >/dev/null";
        let mut child = run(&["--report", "json"], script).spawn().unwrap();
        let stdin = child.stdin.take();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let pid = line(&mut out);
        send(signal, child.id());
        let status = wait_with_patience(&mut child);
        let goes_on = is_running(&pid);
        drop(stdin);
        assert_eq!(status.code(), Some(128 + signal), "{signal}: {status:?}");
        assert!(!goes_on, "{signal}");
        let mut told = String::new();
        child.stderr.unwrap().read_to_string(&mut told).unwrap();
        let report: Value = serde_json::from_str(told.trim()).unwrap();
        assert_eq!(report["ending"], "interrupted", "{signal}: {report}");
        assert_eq!(report["asked"][0]["pid"].to_string(), pid, "{signal}");
    }
}

/// As by a program that takes its signals from a descriptor, or that starts us in a thread which blocks everything. The command has that from
/// us.
#[test]
fn a_run_that_is_started_with_signals_blocked_hears_that_it_is_to_end() {
    if watertight::is_signal_ignored(TERM) {
        println!("skipped: SIGTERM is ignored here");
        return;
    }
    let signals = ending_signals();
    let script = format!("{SAY_BLOCKED}; echo $$; exec cat >/dev/null");
    // It does not hear that it is to end.
    let mut command = run(&["--grace", "1ms"], &script);
    let mut child = spawn_with_blocked(&mut command, &signals);
    let stdin = child.stdin.take();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let found = blocked(&line(&mut out));
    let pid = line(&mut out);
    send(TERM, child.id());
    let status = wait_with_patience(&mut child);
    let goes_on = is_running(&pid);
    drop(stdin);
    assert_eq!(status.code(), Some(128 + TERM), "{status:?}");
    assert!(!goes_on);
    assert_eq!(found & mask(&signals), mask(&signals));
}

/// The system would give a signal to a thread that is inside a call which no signal ends, as the write of a report may be. The command has the
/// mask of our start.
#[test]
fn signals_that_end_a_run_are_left_to_the_thread_that_hears_them() {
    let blocked_by = |path: &str| blocked(&fs::read_to_string(path).unwrap());
    let ending = mask(&ending_signals());
    if blocked_by("/proc/thread-self/status") & ending != 0 {
        println!("skipped: some of the signals are blocked here");
        return;
    }
    let script = format!("{SAY_BLOCKED}; exec cat >/dev/null");
    let mut child = run(&[], &script).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let in_command = blocked(&line(&mut out));
    let main = format!("/proc/{0}/task/{0}/status", child.id());
    until("the main thread to leave them", || {
        blocked_by(&main) & ending == ending
    });
    drop(child.stdin.take());
    assert_eq!(wait_with_patience(&mut child).code(), Some(0));
    assert_eq!(in_command & ending, 0);
}

/// The orphan's number goes through our hands, so that we wait for the command by then; and that goes on until its input ends.
#[test]
fn an_orphan_is_reaped_although_the_ends_of_children_were_blocked_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .unwrap()
            .success()
    );
    let script = "(setsid sh -c 'echo $$; read -r go <gate' &); exec cat";
    let mut command = run(&["--adopt-orphans", "--max-output", "1M"], script);
    command.current_dir(&folder);
    let mut child = spawn_with_blocked(&mut command, &[CHLD]);
    let stdin = child.stdin.take();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let pid = line(&mut out);
    assert_ne!(pid, "");
    // Once somebody opens it to read.
    fs::write(gate, "go\n").unwrap();
    // One that has ended and is not reaped has a number.
    let process = Path::new("/proc").join(pid);
    until("the orphan to be reaped", || !process.exists());
    drop(stdin);
    assert_eq!(wait_with_patience(&mut child).code(), Some(0));
}
