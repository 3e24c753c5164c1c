//! What other tools do where this one does something else: facts, as far as they do not depend on time. What they do when a producer fails is
//! in `verdict_unix.rs`.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{EXE, folder_with, is_installed, is_running};
use rustix::pipe::fcntl_getpipe_size;
use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::path::Path;
use std::process::{Command, Stdio};

/// Far more than a pipe and the buffers of these tools hold together.
const LARGE: usize = 4_000_000;

/// A line of shell in a folder, in place of the shell; `$W` is the program. None: the tool is not here, and that is told.
fn line(folder: &Path, line: &str) -> Option<Command> {
    let tool = line.split(' ').next().unwrap();
    if tool != "$W" && !is_installed(tool) {
        println!("skipped {tool}: it is not here");
        return None;
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec {line}")])
        .env("W", EXE)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    Some(command)
}

#[test]
fn a_source_that_becomes_shorter_is_well_for_other_tools_and_not_for_this_one() {
    for (tool, code) in [
        ("cat source", 0),
        ("dd if=source bs=64k", 0),
        ("mbuffer -q -m 256k -s 4k -i source -o -", 0),
        ("pv -q source", 0),
        ("socat -u OPEN:source STDOUT", 0),
        ("tee <source", 0),
        ("$W copy -q source -", 4),
        ("$W copy -q - - <source", 4),
    ] {
        let (folder, source, bytes) = folder_with(LARGE);
        let Some(mut command) = line(folder.path(), tool) else {
            continue;
        };
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut arrived = vec![0];
        stdout.read_exact(&mut arrived).unwrap();
        // The rest waits meanwhile for its reader.
        let cut = File::options().write(true).open(&source).unwrap();
        cut.set_len(LARGE as u64 / 2).unwrap();
        stdout.read_to_end(&mut arrived).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{tool}");
        assert!(arrived == bytes[..LARGE / 2], "{tool}");
    }
}

#[test]
fn the_same_file_at_both_ends_is_emptied_by_other_tools_and_refused_by_this_one() {
    for (tool, code) in [
        ("dd if=source of=source", 0),
        ("mbuffer -q -f -i source -o source", 0),
        ("socat -u OPEN:source CREATE:source", 0),
        ("tee source <source", 0),
        ("$W copy source source", 3),
        ("$W copy - source <source", 3),
        ("$W copy source - >>source", 3),
    ] {
        let (folder, source, bytes) = folder_with(1000);
        let Some(mut command) = line(folder.path(), tool) else {
            continue;
        };
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{tool}");
        let left: &[u8] = if code == 0 { &[] } else { &bytes };
        assert!(fs::read(&source).unwrap() == left, "{tool}");
    }
}

/// Whether a thread of this process waits in a call about standard error.
fn waits_for_standard_error(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(Result::ok).any(|task| {
        // The number of the call, and what it is about. Who runs shows none.
        let call = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        call.split(' ').nth(1) == Some("0x2")
    })
}

/// Each of these tools has something to say. That the end of this one waits only a while when it has: see
/// `a_stuck_standard_error_does_not_hold_the_end`.
#[test]
fn a_stuck_standard_error_holds_other_tools_for_ever_and_this_one_not_at_all() {
    if fs::read_to_string("/proc/self/syscall").is_err() {
        println!("skipped: the kernel does not show which call a process is in");
        return;
    }
    let (folder, source, bytes) = folder_with(1000);
    for tool in [
        "dd",
        "mbuffer",
        "pv -f",
        "socat -d -d -d -u - -",
        "tee missing/file",
        "$W copy - -",
    ] {
        let Some(mut command) = line(folder.path(), tool) else {
            continue;
        };
        // Nobody reads, and there is no room.
        let (_reader, mut full) = pipe().unwrap();
        let room = fcntl_getpipe_size(&full).unwrap();
        full.write_all(&vec![b'x'; room]).unwrap();
        command.stdin(File::open(&source).unwrap()).stderr(full);
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        if tool.starts_with("$W") {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0));
            assert!(output.stdout == bytes);
            continue;
        }
        until("a call about standard error, or the end", || {
            waits_for_standard_error(pid) || !is_running(&pid.to_string())
        });
        assert!(is_running(&pid.to_string()), "{tool}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
