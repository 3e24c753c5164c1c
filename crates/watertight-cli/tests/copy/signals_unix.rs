//! Signals to a copy: what would end the program alone ends the copy with its commands, and is told.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{Run, copy, ending_signals, partial, wait_with_patience};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Asks a copy for the account so far.
const USR1: i32 = 10;

/// Starts a copy in a folder, and sends it the signal when its destinations have all that came so far. Its source goes on until it has ended.
/// Its consumer commits at its end what it has got.
fn interrupted(folder: &Path, signal: i32) -> Run {
    let mut command = copy(["-", "exec:sh -c 'cat >part && mv part final'", "kept"]);
    command.current_dir(folder).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
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
        let run = interrupted(folder.path(), signal).expect(128 + signal);
        assert_cut(folder.path(), &run, signal);
    }
}
