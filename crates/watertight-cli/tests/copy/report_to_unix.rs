//! `--report-to` names what somebody has to take the report out of: a pipe or a FIFO that is full, that nobody reads, or that is read late.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::diagnostics_unix::{FILLER, start_stuck};
use crate::harness::terminal::read_until;
use crate::harness::{EXE, copy, file, folder_with, wait_with_patience};
use rustix::fs::OFlags;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use watertight::PipeReader;

/// When whoever takes nothing is given up.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// A FIFO of this name.
fn fifo(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// Neither the opening nor a read or write waits.
fn without_waiting() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

/// Opens a FIFO to read, and fills it.
fn open_full(path: &Path) -> File {
    let reader = without_waiting().read(true).open(path).unwrap();
    let mut writer = without_waiting().write(true).open(path).unwrap();
    let error = loop {
        if let Err(error) = writer.write(&[FILLER; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    reader
}

/// Runs a line of shell in this folder; `$W` is the program.
fn start(folder: &Path, line: &str) -> Child {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("W", EXE)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_report_that_nobody_takes_does_not_hold_the_end() {
    let (folder, _, bytes) = folder_with(1000);
    let reader = open_full(&fifo(folder.path(), "full"));
    fifo(folder.path(), "unread");
    let not_taken = "nobody has taken a byte of it for 3 s";
    let not_opened = "nobody has opened it to read for 3 s";
    let cases = [
        ("copy --report-to full source one", 1, not_taken),
        ("copy --report-to /dev/fd/5 source two 5>full", 1, not_taken),
        ("copy --report-to unread source three", 1, not_opened),
        ("run --report json --report-to full -- true", 125, not_taken),
        (
            "run --report text --report-to unread -- true",
            125,
            not_opened,
        ),
    ];
    let started = cases.map(|(line, code, told)| {
        let child = start(folder.path(), &format!("exec \"$W\" {line}"));
        (child, line, code, told)
    });
    for (mut child, line, code, told) in started {
        let status = wait_with_patience(&mut child);
        let mut said = String::new();
        let stderr = child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(code), "{line}: {said}");
        assert!(
            said.contains("cannot save the report to "),
            "{line}: {said}"
        );
        assert!(said.contains(told), "{line}: {said}");
    }
    drop(reader);
    for copied in ["one", "two", "three"] {
        assert!(fs::read(folder.path().join(copied)).unwrap() == bytes);
    }
}

/// What we say goes there, too: it is not waited for once more.
#[test]
fn a_report_that_nobody_takes_of_standard_error_is_waited_for_once() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    let (source, to) = (file(&source), file(&target));
    let begun = Instant::now();
    let (mut child, reader) = start_stuck(&["copy", "--report-to", "/dev/stderr", &source, &to]);
    assert_eq!(wait_with_patience(&mut child).code(), Some(1));
    let waited = begun.elapsed();
    drop(reader);
    assert!(waited < 2 * STUCK_AFTER, "{waited:?}");
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn a_reader_who_opens_the_fifo_after_the_start_gets_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = fifo(folder.path(), "account");
    let mut command = copy(["--report-to", path.to_str().unwrap(), "-", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stdout = PipeReader::try_from(child.stdout.take().unwrap()).unwrap();
    // When this is through the copy is under way, although nobody reads the FIFO.
    stdin.write_all(b"hello").unwrap();
    read_until(&stdout, "hello");
    let mut reader = without_waiting().read(true).open(&path).unwrap();
    drop(stdin);
    assert_eq!(wait_with_patience(&mut child).code(), Some(0));
    let mut report = String::new();
    reader.read_to_string(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["destinations"][0]["transferred"], 5);
}
