//! A consumer that the copy may not end, for it has become another user, or cannot find, for it has left its tree: nothing but its input can
//! tell it that the stream is cut.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, is_installed};
use rustix::process::geteuid;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use tempfile::TempDir;

/// `setpriv` with the set-user-ID bit, in the test's folder: whoever starts it may not signal what it runs.
const AS_ROOT: &str = "./setpriv --reuid 0 --regid 0 --clear-groups";

/// Copied by another program: no thread of ours can start anybody who has the copies open to be written.
const MAKE: &str = "cp \"$(command -v setpriv)\" setpriv && cp \"$W\" watertight && mkfifo gate && chmod 4755 setpriv && chmod 666 gate && chmod 755 .";

/// Runs what is added as a user who may do nothing to the superuser's processes.
fn as_nobody(folder: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// A folder with the program, with what becomes the superuser again, and with a gate. None: that cannot be had, and the reason is told.
fn folder() -> Option<TempDir> {
    if !geteuid().is_root() || !is_installed("setpriv") {
        println!("skipped: it takes the superuser and setpriv");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-c", MAKE])
        .env("W", EXE)
        .current_dir(folder.path())
        .status();
    assert!(made.unwrap().success());
    let line = format!("./watertight --version >/dev/null && exec {AS_ROOT} id -u");
    let asked = as_nobody(folder.path())
        .args(["sh", "-c", &line])
        .output()
        .unwrap();
    if asked.stdout != b"0\n" {
        println!("skipped: the set-user-ID bit means nothing here: {asked:?}");
        return None;
    }
    Some(folder)
}

/// The producer fails once the consumer is the superuser's.
fn committed_by_one_that_cannot_be_killed(options: &str) -> Option<Option<String>> {
    let folder = folder()?;
    let producer = "exec:sh -c 'echo first; read -r go <gate; exit 1'";
    // What `cat` says of its end would come into the middle of the report.
    let script = "echo go >gate; cat >part 2>/dev/null && mv part final";
    let consumer = format!("exec:{AS_ROOT} sh -c '{script}'{options}");
    // This waits for everybody who could write to standard error: the consumer is over then.
    let output = as_nobody(folder.path())
        .args(["./watertight", "copy", "--report", "json"])
        .args([producer, &consumer])
        .output();
    let run = Run::of(output.unwrap()).expect(8);
    let left = run.destination(0)["child"]["left"].as_array().unwrap();
    assert!(!left.is_empty(), "it was killed: {}", run.report);
    let looks_whole = &run.destination(0)["looks_whole"];
    assert_eq!(*looks_whole, options == ",pipe", "{}", run.report);
    Some(fs::read_to_string(folder.path().join("final")).ok())
}

/// A plain pipe has no sign for it, which is told: so it is the arming that keeps the consumer from committing.
#[test]
fn a_consumer_that_cannot_be_killed_reads_an_error_and_no_end() {
    // The copy waits for its death for a while: side by side.
    thread::scope(|scope| {
        let armed = scope.spawn(|| committed_by_one_that_cannot_be_killed(""));
        let plain = scope.spawn(|| committed_by_one_that_cannot_be_killed(",pipe"));
        let (armed, plain) = (armed.join().unwrap(), plain.join().unwrap());
        if let Some((armed, plain)) = armed.zip(plain) {
            assert_eq!(armed, None);
            assert_eq!(plain.as_deref(), Some("first\n"));
        }
    });
}

/// The producer fails once somebody reads the consumer's input who has a session of its own and has lost its parent. Whether that one
/// commits.
#[cfg(target_os = "linux")]
fn is_committed_by_one_that_left(options: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = Command::new("mkfifo").arg(folder.join("gate")).status();
    assert!(made.unwrap().success());
    fs::write(
        folder.join("leave"),
        "echo go >gate; cat >part 2>/dev/null && mv part final\n",
    )
    .unwrap();
    let producer = "exec:sh -c 'echo first; read -r go <gate; exit 1'";
    let consumer = format!("exec:sh -c 'setsid -f sh leave; exec cat >/dev/null 2>&1'{options}");
    // This waits for everybody who could write to standard error: the one that left is over then.
    let output = Command::new("setsid")
        .args([EXE, "copy", "--report", "json", producer, &consumer])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let run = Run::of(output.unwrap()).expect(8);
    let looks_whole = &run.destination(0)["looks_whole"];
    assert_eq!(*looks_whole, options == ",pipe", "{}", run.report);
    folder.join("final").exists()
}

/// No look at the tree finds it: that its pipe is open still tells of it.
#[cfg(target_os = "linux")]
#[test]
fn a_consumer_that_has_left_its_tree_reads_an_error_or_the_report_tells_of_it() {
    assert!(!is_committed_by_one_that_left(""));
    assert!(is_committed_by_one_that_left(",pipe"));
}
