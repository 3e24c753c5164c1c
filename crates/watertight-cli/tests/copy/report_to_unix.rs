//! `--report-to` names what is no file of its own: a pipe or a FIFO that is full, that nobody reads, or that is read late; and a descriptor that
//! the program was started with.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::diagnostics_unix::{FILLER, start_stuck};
use crate::harness::terminal::{read_until, until};
use crate::harness::{EXE, copy, file, folder_with, insist, wait_with_patience};
use rustix::fs::OFlags;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixStream;
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

/// As it ends a copy. Who takes a byte now and then would hold it for ever.
#[test]
fn a_second_request_ends_a_run_whose_report_nobody_takes() {
    let folder = tempfile::tempdir().unwrap();
    let reader = open_full(&fifo(folder.path(), "full"));
    let line = "exec \"$W\" run --report json --report-to full -- sh -c 'echo >begun'";
    let mut child = start(folder.path(), line);
    let begun = folder.path().join("begun");
    until("the command", || begun.exists());
    assert_eq!(insist(&mut child).code(), Some(143));
    drop(reader);
}

/// Nothing but the words about that is left, which nobody takes either.
#[test]
fn a_second_request_ends_who_cannot_make_the_reports_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("account");
    let report_to = ["--report", "json", "--report-to", path.to_str().unwrap()];
    let copy = [&["copy"][..], &report_to, &["-", "-"]].concat();
    let run = [&["run"][..], &report_to, &["--", "true"]].concat();
    for arguments in [copy, run] {
        let (mut child, reader) = start_stuck(&arguments);
        until("somebody who hears signals", || hears_signals(&child));
        assert_eq!(insist(&mut child).code(), Some(143), "{arguments:?}");
        drop(reader);
    }
}

/// Whether there is a thread for them.
fn hears_signals(child: &Child) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let mut names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
    names.any(|name| name.is_ok_and(|name| name == "signals\n"))
}

/// Somebody has that already. Nobody takes what is said beside it, and a second signal ends the wait for that.
#[test]
fn who_is_ended_at_once_ends_with_what_the_report_has_told() {
    let folder = tempfile::tempdir().unwrap();
    let account = folder.path().join("account");
    let report_to = ["--report", "json", "--report-to", account.to_str().unwrap()];
    let ends = ["exec:sh -c 'exit 3'", "-"];
    let (mut child, reader) = start_stuck(&[&["copy"][..], &report_to, &ends].concat());
    let report = || fs::read_to_string(&account).unwrap_or_default();
    until("the report", || report().ends_with('\n'));
    let code = insist(&mut child).code();
    drop(reader);
    let report: Value = serde_json::from_str(&report()).unwrap();
    assert_eq!(report["exit_code"], 8, "{report}");
    assert_eq!(code, Some(8));
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

/// The lines of a file that begins with one of somebody else's. The others are reports, but for a last one if there is a trailer.
fn expect_reports(text: &str, is_followed: bool, line: &str) {
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.remove(0), "before", "{line}: {text}");
    if is_followed {
        assert_eq!(lines.pop(), Some("behind"), "{line}: {text}");
    }
    assert_eq!(lines.len(), 2, "{line}: {text}");
    for report in lines {
        let report: Value = serde_json::from_str(report).unwrap();
        assert_eq!(report["exit_code"], 0, "{line}: {text}");
    }
}

#[test]
fn a_report_on_a_descriptor_comes_behind_what_is_there() {
    for (command, name, appended, inherited) in [
        ("copy source target", "/dev/stdout", ">>runs", ""),
        ("copy source target", "link", ">>runs", ""),
        ("copy source target", "/dev/fd/1", ">>runs 2>&1", "2>&1"),
        ("copy source target", "/proc/self/fd/5", "5>>runs", "5>&1"),
        ("copy source target", "/dev/stderr", "2>>runs", "2>&1"),
        ("run -- true", "/dev/stdout", ">>runs", ""),
        ("run -- true", "/dev/stderr", "2>>runs", "2>&1"),
    ] {
        let (folder, _, _) = folder_with(1000);
        symlink("/dev/stdout", folder.path().join("link")).unwrap();
        let runs = folder.path().join("runs");
        fs::write(&runs, "before\n").unwrap();
        let (task, rest) = command.split_once(' ').unwrap();
        let program = format!("$W {task} --report json --report-to {name} {rest}");
        let line = format!("{program} {appended} && {program} {appended}");
        let mut child = start(folder.path(), &line);
        assert_eq!(wait_with_patience(&mut child).code(), Some(0), "{line}");
        expect_reports(&fs::read_to_string(&runs).unwrap(), false, &line);
        // The shell writes on behind it.
        let both = format!("{program} {inherited} && {program} {inherited}");
        let line = format!("{{ echo before; {both} && echo behind; }} >runs");
        let mut child = start(folder.path(), &line);
        assert_eq!(wait_with_patience(&mut child).code(), Some(0), "{line}");
        expect_reports(&fs::read_to_string(&runs).unwrap(), true, &line);
    }
}

/// A log of another process is not emptied. One that is overwritten is, as by the shell.
#[cfg(target_os = "linux")]
#[test]
fn a_report_on_another_processs_descriptor_comes_behind_what_is_there_if_that_one_appends() {
    for task in ["copy source target", "run -- true"] {
        for (is_appended, kept) in [(true, "before\n"), (false, "")] {
            let (folder, _, _) = folder_with(1000);
            let log = folder.path().join("log");
            fs::write(&log, "before\n").unwrap();
            let mut options = File::options();
            let opened = options.write(true).append(is_appended).open(&log).unwrap();
            let mut holder = Command::new("cat");
            holder.stdin(Stdio::piped()).stdout(opened);
            let mut holder = holder.spawn().unwrap();
            symlink(
                format!("/proc/{}/fd/1", holder.id()),
                folder.path().join("link"),
            )
            .unwrap();
            let (task, rest) = task.split_once(' ').unwrap();
            let line = format!("exec \"$W\" {task} --report json --report-to link {rest}");
            let mut child = start(folder.path(), &line);
            assert_eq!(wait_with_patience(&mut child).code(), Some(0), "{line}");
            drop(holder.stdin.take());
            assert!(holder.wait().unwrap().success());
            let text = fs::read_to_string(&log).unwrap();
            let report = text.strip_prefix(kept).unwrap_or_else(|| panic!("{text}"));
            let report: Value = serde_json::from_str(report).unwrap();
            assert_eq!(report["exit_code"], 0, "{line}: {text}");
        }
    }
}

/// It cannot be opened by its name.
#[test]
fn a_report_goes_to_a_socket_that_is_standard_output() {
    let (folder, source, _) = folder_with(1000);
    let target = file(&folder.path().join("target"));
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = copy(["--report-to", "/dev/stdout", &file(&source), &target]);
    let output = command.stdout(OwnedFd::from(theirs)).output().unwrap();
    drop(command);
    assert!(output.status.success(), "{output:?}");
    let mut report = String::new();
    ours.read_to_string(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["exit_code"], 0);
}

#[test]
fn a_report_never_gets_into_the_data_by_another_name() {
    for line in [
        "{ $W copy --report-to /dev/stdout source -; echo $? >code; } | cat >log",
        "{ $W copy --report-to /dev/fd/5 source - 5>&1; echo $? >code; } | cat >log",
        "$W copy --report-to /dev/stdout source /dev/stdout >log; echo $? >code",
        "$W copy --report-to /dev/stdout source - >>log; echo $? >code",
        "mkfifo x; : >log; $W copy --report-to x source fifo:x; echo $? >code",
    ] {
        let (folder, _, _) = folder_with(1000);
        let mut child = start(folder.path(), line);
        assert_eq!(wait_with_patience(&mut child).code(), Some(0), "{line}");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("code"), "3\n", "{line}");
        assert_eq!(read("log"), "", "{line}");
    }
}

#[test]
fn a_report_on_a_descriptor_that_cannot_be_written_is_refused_before_the_copy() {
    for line in [
        "copy --report-to /dev/fd/9 source target 9>&-",
        "copy --report-to /dev/stdin source target <precious",
        "copy --report-to /dev/stdout source target >&-",
        "copy --report-to /dev/fd/4 source fd:3 3>>precious 4>&-",
    ] {
        let (folder, _, _) = folder_with(1000);
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let mut child = start(folder.path(), &format!("exec \"$W\" {line}"));
        let status = wait_with_patience(&mut child);
        let mut said = String::new();
        let stderr = child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(1), "{line}: {said}");
        assert!(
            said.contains("it is not open for writing"),
            "{line}: {said}"
        );
        assert_eq!(fs::read(&precious).unwrap(), b"precious", "{line}");
        assert!(!folder.path().join("target").exists(), "{line}");
    }
}
