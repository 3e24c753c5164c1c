//! Which threads a copy has for its commands and its files: however many these are, none that only waits for what it could be told, and none
//! for what the kernel does.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{Run, copy, folder_with, partial, strace};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Without them the library has a thread for each child.
fn has_pidfds() -> bool {
    let has_pidfds = pidfd_open(getpid(), PidfdFlags::empty()).is_ok();
    if !has_pidfds {
        println!("skipped: there are no pidfds here");
    }
    has_pidfds
}

/// A FIFO that lets through whoever reads a line of it. Nobody waits to open it.
fn gate(folder: &Path) -> File {
    let path = folder.join("gate");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    File::options().read(true).write(true).open(path).unwrap()
}

/// The names of the program's threads, of which the system keeps 15 letters. The one that writes what there is to say is left out.
fn threads(child: &Child) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    // A thread that ends has none.
    let names = names.filter_map(Result::ok);
    let names = names.map(|name| name.trim_end().to_owned());
    let mut names: Vec<String> = names.filter(|name| name != "diagnostics").collect();
    names.sort();
    names
}

fn has_thread(child: &Child, wanted: &str) -> bool {
    threads(child).iter().any(|name| name == wanted)
}

/// Asks for the account so far until it is that of two bytes. What had happened before the last question is dealt with then.
fn await_account(child: &Child, told: &mut impl BufRead) {
    let mut line = String::new();
    while !line.contains("so far 2 bytes") {
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-USR1", &pid]).status().unwrap();
        assert!(sent.success());
        // What is told of the destinations stands behind that line.
        line.clear();
        while !line.starts_with("watertight: ") {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "it is over");
        }
    }
}

/// How often the source's thread has waited so far, as the system counts it; none where it does not.
fn waits(child: &Child) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let mut paths = tasks.map(|task| task.unwrap().path());
    let is_source =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "source\n");
    let source = paths.find(is_source).expect("a copy under way has it");
    let status = fs::read_to_string(source.join("status")).unwrap();
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    Some(count.trim().parse().unwrap())
}

/// The time is told by the lines of progress, ten a second. That the copy is stopped wakes the thread all the same.
#[test]
fn a_source_that_brings_nothing_to_one_destination_wakes_nobody() {
    const LINES: usize = 20;
    // Many more if it looked now and then; and what it does at first may not be over.
    const WAITS_MAX: u64 = 5;
    let shown = ["--progress", "json", "--progress-every", "100ms"];
    let options = ["--drain-within", "1h"];
    let mut child = copy(options.iter().chain(&shown).chain(&["-", "-"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let before = waits(&child);
    for _ in 0..LINES {
        let line = told.next().unwrap().unwrap();
        assert!(line.contains("\"kind\":\"progress\""), "{line}");
    }
    let after = waits(&child);
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    let rest: Vec<String> = told.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{rest:?}");
    let is_left = rest.iter().any(|line| line.contains("did not stop"));
    assert!(!is_left, "{rest:?}");
    drop(stdin);
    let Some((before, after)) = before.zip(after) else {
        println!("skipped: this system does not count how often a thread waits");
        return;
    };
    assert!(after - before <= WAITS_MAX, "{before}, {after}");
}

/// The main thread and the library's own have one name.
#[test]
fn one_thread_hears_of_the_ends_of_all_commands() {
    if !has_pidfds() {
        return;
    }
    for count in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let mut gate = gate(folder.path());
        let source = "exec:sh -c 'echo x; read -r go <gate'";
        let destinations = vec!["exec:sh -c 'cat >/dev/null'"; count];
        let mut command = copy([source].iter().chain(&destinations));
        let child = command.current_dir(folder.path()).spawn().unwrap();
        let expected = [
            "signals",
            "source",
            "watertight",
            "watertight",
            "watertight-chil",
        ];
        let what = format!("the threads for {count} destinations");
        until(&what, || threads(&child) == expected);
        gate.write_all(b"go\n").unwrap();
        let run = Run::of(child.wait_with_output().unwrap()).expect(0);
        for index in 0..count {
            assert_eq!(run.destination(index)["child"]["code"], 0);
        }
    }
}

/// Of a child whose end is not told nobody would know that the copy is over.
#[test]
fn a_copy_that_would_not_be_told_of_a_commands_end_does_not_begin() {
    if !strace::may_trace() || !has_pidfds() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls");
    // The first one is for the pipes.
    let fault = "epoll_create1:error=EMFILE:when=2";
    let mut command = strace::copy(&log, "epoll_create1", &[fault], &[]);
    command.args(["--idle", "1s", "exec:sleep 1000", "made"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let run = Run::of(output).expect(1);
    assert_eq!(strace::failed(&log), 1);
    let told = &run.stderr;
    assert!(told.contains("the copy could not begin"), "{told}");
    let left = fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [log], "the file that was made is still there");
}

/// The account is told when the source's end has come and the verdict is given: from then on the readers are waited for.
#[test]
fn no_thread_waits_until_armed_inputs_are_read() {
    if !has_pidfds() {
        return;
    }
    for count in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let mut gate = gate(folder.path());
        let destinations = vec!["exec:sh -c 'read -r go <gate; cat >/dev/null'"; count];
        let mut child = copy(["-"].iter().chain(&destinations))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"x\n").unwrap();
        drop(stdin);
        until("signals to be heard", || has_thread(&child, "signals"));
        await_account(&child, &mut told);
        until("the source's end", || !has_thread(&child, "source"));
        await_account(&child, &mut told);
        let expected = ["signals", "watertight", "watertight", "watertight-chil"];
        let what = format!("the threads while {count} read");
        until(&what, || threads(&child) == expected);
        gate.write_all(&b"go\n".repeat(count)).unwrap();
        let mut stderr = Vec::new();
        told.read_to_end(&mut stderr).unwrap();
        let run = Run::of(Output {
            status: child.wait().unwrap(),
            stdout: Vec::new(),
            stderr,
        });
        let run = run.expect(0);
        for index in 0..count {
            assert_eq!(run.destination(index)["input"], "armed");
            assert_eq!(run.destination(index)["read_by_peer"], true);
        }
    }
}

/// From a pipe to files: what comes there stays in the kernel.
#[test]
fn files_that_the_kernel_writes_have_no_threads() {
    const PIECE: &[u8] = &[7; 1000];
    for count in [1, 20] {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..count).map(|index| format!("file{index}")).collect();
        let mut command = copy(["-"]);
        command.args(&names).current_dir(folder.path());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let is_there = |name: &String, bytes: usize| {
            let written = fs::metadata(partial(&folder.path().join(name)));
            written.is_ok_and(|written| written.len() == bytes as u64)
        };
        for pieces in 1..=3 {
            stdin.write_all(PIECE).unwrap();
            let bytes = pieces * PIECE.len();
            until("all files to have it", || {
                names.iter().all(|name| is_there(name, bytes))
            });
        }
        let expected = ["signals", "source", "watertight", "watertight"];
        let what = format!("the threads for {count} files");
        until(&what, || threads(&child) == expected);
        drop(stdin);
        Run::of(child.wait_with_output().unwrap()).expect(0);
    }
}

/// One opens all files, and one reads the source's end. A file's close may wait for its disk, so each has a thread of its own then.
#[test]
fn a_copy_of_a_few_bytes_between_files_starts_few_threads() {
    if !strace::may_trace() {
        return;
    }
    for targets in [&["one"][..], &["one", "two", "three"]] {
        let (folder, _, _) = folder_with(3);
        let log = folder.path().join("calls");
        let mut command = strace::copy(&log, "prctl,?copy_file_range", &[], &[]);
        command.arg("source").args(targets);
        let output = command.current_dir(folder.path()).output();
        Run::of(output.unwrap()).expect(0);
        let calls = fs::read_to_string(&log).unwrap();
        let named = calls.lines().filter_map(|line| {
            let (_, name) = line.split_once("PR_SET_NAME, \"")?;
            name.split('"').next()
        });
        let (helpers, mut others): (Vec<&str>, Vec<&str>) =
            named.partition(|name| name.starts_with("watertight-help"));
        others.retain(|name| *name != "diagnostics");
        others.sort_unstable();
        let mut expected = vec!["finish"; targets.len()];
        expected.extend(["open", "signals", "source", "watertight"]);
        assert_eq!(others, expected);
        let mut copied = calls.lines().filter(|line| line.ends_with("= 3"));
        if copied.any(|line| line.contains("copy_file_range")) {
            assert_eq!(helpers.len(), 1, "{calls}");
        } else {
            println!("skipped: the kernel copies no files in {folder:?}");
        }
    }
}
