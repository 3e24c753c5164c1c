//! Signals to a copy: what would end the program alone ends the copy with its commands, and is told.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{
    Run, SAY_BLOCKED, blocked, copy, ending_signals, mask, partial, spawn_with_blocked, strace,
    wait_with_patience,
};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Asks a copy for the account so far.
const USR1: i32 = 10;
const TERM: i32 = 15;

/// Starts a copy with these signals blocked, in a folder, and sends it the signal when its destinations have all that came so far. Its source
/// goes on until it has ended. Its consumer notes what it blocks, and commits at its end what it has got.
fn interrupted(folder: &Path, signals: &[i32], signal: i32) -> Run {
    let commits = format!("exec:sh -c '{SAY_BLOCKED} >mask; cat >part && mv part final'");
    let mut command = copy(["-", commits.as_str(), "kept"]);
    command.current_dir(folder).stdin(Stdio::piped());
    let mut child = spawn_with_blocked(&mut command, signals);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    for path in [folder.join("part"), partial(&folder.join("kept"))] {
        let has_it = || fs::read(&path).is_ok_and(|read| read == b"x");
        until("the first byte", has_it);
    }
    let (signal, pid) = (format!("-{signal}"), child.id().to_string());
    let sent = Command::new("kill").args([&signal, &pid]).status().unwrap();
    assert!(sent.success());
    wait_with_patience(&mut child);
    let run = Run::of(child.wait_with_output().unwrap());
    drop(stdin);
    run
}

/// Nothing was committed, nobody is left, and the account names the partial.
fn assert_cut(folder: &Path, run: &Run, signal: i32) {
    assert_eq!(run.report["ending"], "interrupted", "{signal}");
    let partial = &run.destination(1)["partial"];
    assert!(partial.is_string(), "{signal}: {}", run.report);
    for name in ["final", "kept"] {
        assert!(!folder.join(name).exists(), "{signal}: {name}");
    }
    let what = format!("the end of everybody after {signal}");
    until(&what, || !is_anybody_in(folder));
}

/// Whether somebody works in this folder. The dead do not.
fn is_anybody_in(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut places = processes.map(|one| fs::read_link(one.path().join("cwd")));
    places.any(|place| place.is_ok_and(|place| place == folder))
}

#[test]
fn every_signal_that_would_end_a_copy_ends_its_commands_and_is_told() {
    let others = ending_signals().into_iter();
    for signal in others.filter(|signal| *signal != USR1) {
        let folder = tempfile::tempdir().unwrap();
        let run = interrupted(folder.path(), &[], signal).expect(128 + signal);
        assert_cut(folder.path(), &run, signal);
    }
}

/// As by a program that takes its signals from a descriptor, or that starts us in a thread which blocks everything. Its commands have that from
/// us.
#[test]
fn a_copy_that_is_started_with_signals_blocked_hears_that_it_is_to_end() {
    if watertight::is_signal_ignored(TERM) {
        println!("skipped: SIGTERM is ignored here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let signals = ending_signals();
    let run = interrupted(folder.path(), &signals, TERM).expect(128 + TERM);
    assert_cut(folder.path(), &run, TERM);
    let found = blocked(&fs::read_to_string(folder.path().join("mask")).unwrap());
    assert_eq!(found & mask(&signals), mask(&signals));
}

/// It comes with the call that sets its handler.
#[test]
fn a_signal_that_comes_while_its_handler_is_set_is_heard() {
    if watertight::is_signal_ignored(TERM) {
        println!("skipped: SIGTERM is ignored here");
        return;
    }
    if !strace::may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let run = |faults: &[&str]| {
        let mut command = strace::copy(&log, "rt_sigaction", faults, &[]);
        Run::of(command.args(["-", "-"]).output().unwrap())
    };
    run(&[]).expect(0);
    let seen = fs::read_to_string(&log).unwrap();
    let mut calls = seen.lines().filter(|line| line.contains("rt_sigaction("));
    let is_set = |line: &str| line.contains("rt_sigaction(SIGTERM, {");
    let when = calls.position(is_set).unwrap() + 1;
    let with_it = format!("rt_sigaction:signal=TERM:when={when}");
    let run = run(&[with_it.as_str()]).expect(143);
    assert_eq!(run.report["ending"], "interrupted");
}

/// A file system may hang then, and the signals may have been blocked when the program was started.
#[test]
fn who_asks_is_heard_before_the_reports_file_is_opened() {
    if !strace::may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    fs::write(folder.path().join("account"), "").unwrap();
    let mut command = strace::copy(&log, "rt_sigprocmask,?open,openat", &[], &[]);
    command.current_dir(&folder);
    let output = command.args(["--report-to", "account", "-", "-"]).output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let seen = fs::read_to_string(&log).unwrap();
    let place = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{text}: {seen}"));
    let opened = place("\"account\"");
    assert!(place("SIG_UNBLOCK, [HUP INT QUIT TERM]") < opened, "{seen}");
}
