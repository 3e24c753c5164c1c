//! `watertight run` with a shell: signals, trees, and streams that stay what they are.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::{EXE, insist};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(EXE);
    command
        .arg("run")
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn exit_codes_are_the_shells() {
    for (script, code) in [
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ("no-such-program-here", 127),
    ] {
        let output = run(&[], script).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let mut command = Command::new(EXE);
    command.args(["run", "--"]).arg(&script);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(
        stderr(&output).contains("/no/such/interpreter"),
        "{}",
        stderr(&output)
    );
}

/// What is there and cannot be run is not said to be missing.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_no_format_is_126_and_said_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("empty", ""), ("script", "exit 3\n")] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(EXE);
        let output = command.args(["run", "--"]).arg(&file).output().unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(126), "{told}");
        let is_said = told.contains("in no format") && !told.contains("no such program");
        assert!(is_said, "{told}");
    }
}

/// Also where there is no PATH.
#[test]
fn a_bare_name_is_no_program_of_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    let planted = folder.path().join("watertight-planted");
    std::fs::write(&planted, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&planted, PermissionsExt::from_mode(0o755)).unwrap();
    for has_path in [true, false] {
        for (name, code) in [("watertight-planted", 127), ("./watertight-planted", 0)] {
            let mut command = Command::new(EXE);
            command.args(["run", "--", name]).current_dir(&folder);
            if !has_path {
                command.env_remove("PATH");
            }
            let output = command.output().unwrap();
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(code), "{name}: {told}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn streams_that_no_option_sees_stay_what_they_are() {
    let script = "readlink /proc/self/fd/0 /proc/self/fd/1";
    let output = run(&[], script).stdin(Stdio::null()).output().unwrap();
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines[0], "/dev/null");
    assert!(lines[1].starts_with("pipe:"));
    let file = tempfile::tempfile().unwrap();
    let mut command = run(&[], "exec 3>&1; readlink /proc/$$/fd/3 >&2");
    let output = command.stdout(file).output().unwrap();
    assert!(!stderr(&output).starts_with("pipe:"), "{}", stderr(&output));
    // One stream for both, and it is ours.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("out");
    let script = "readlink /proc/$$/fd/1; readlink /proc/$$/fd/2 >&2";
    let mut command = run(&["--merge"], script);
    let output = command.stdout(File::create(&path).unwrap()).output();
    assert_eq!(stderr(&output.unwrap()), "");
    let seen = std::fs::read_to_string(&path).unwrap();
    assert_eq!(seen, format!("{0}\n{0}\n", path.display()));
}

/// Its output does not go through our hands: only an option that has to see it waits for them.
#[test]
fn who_holds_a_merged_output_is_not_waited_for() {
    let (from, into) = std::io::pipe().unwrap();
    let mut command = run(&["--merge", "--within", "60s"], "sleep 1000 & echo $!");
    command.stdout(into).stderr(Stdio::null());
    let status = command.status().unwrap();
    drop(command);
    assert_eq!(status.code(), Some(0));
    let mut out = BufReader::new(from);
    let mut pid = String::new();
    out.read_line(&mut pid).unwrap();
    // It lives, and is ended here. With that nobody writes any more.
    let kill = Command::new("kill").arg(pid.trim()).status();
    assert!(kill.unwrap().success());
    assert_eq!(out.read_to_string(&mut pid).unwrap(), 0);
}

#[test]
fn merged_outputs_come_in_the_order_in_which_they_were_written() {
    let script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done";
    let expected: String = (1..6).map(|i| format!("out {i}\nerr {i}\n")).collect();
    for options in [&["--merge"][..], &["--merge", "--max-output", "1M"]] {
        let output = run(options, script).output().unwrap();
        assert_eq!(stdout(&output), expected, "{options:?}");
        assert_eq!(stderr(&output), "");
    }
}

/// However the one file is called, and whether we see the streams or not.
#[test]
fn both_outputs_into_one_file_come_in_the_order_in_which_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("all");
    let other = folder.path().join(".").join("all");
    let (one_text, other_text) = (crate::harness::file(&one), crate::harness::file(&other));
    let script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done";
    let expected: String = (1..6).map(|i| format!("out {i}\nerr {i}\n")).collect();
    for second in [&one_text, &other_text] {
        for options in [&[][..], &["--max-output", "1M"]] {
            for end in ["", ",append"] {
                let _ = std::fs::remove_file(&one);
                let (to, errors_to) = (one_text.clone() + end, second.clone() + end);
                let mut arguments = vec!["--stdout", &to, "--stderr", &errors_to];
                arguments.extend(options);
                let output = run(&arguments, script).output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
                assert_eq!(std::fs::read_to_string(&one).unwrap(), expected);
                assert_eq!((stdout(&output), stderr(&output)), ("", ""));
            }
        }
    }
    let output = run(&["--stderr", "fd:1"], script).output().unwrap();
    assert_eq!((stdout(&output), stderr(&output)), (&*expected, ""));
}

#[test]
fn a_descriptor_that_we_were_started_with_is_a_stream_too() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("'{EXE}' run --stdin fd:4 --stdout fd:3 -- cat 3>out 4<in");
    std::fs::write(folder.path().join("in"), "there and back\n").unwrap();
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let out = std::fs::read_to_string(folder.path().join("out"));
    assert_eq!(out.unwrap(), "there and back\n");
    let output = run(&["--stdout", "fd:99"], "exit 0").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("fd:99"), "{}", stderr(&output));
}

#[test]
fn a_device_may_be_several_streams() {
    let null = "/dev/null";
    let all = ["--stdin", null, "--stdout", null, "--stderr", null];
    let output = run(&all, "cat; echo out; echo error >&2").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let unlike = ["--stdout", null, "--stderr", "/dev/null,append"];
    let output = run(&unlike, "exit 0").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// A FIFO in this folder, and its address.
fn fifo(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let address = format!("fifo:{}", path.display());
    (path, address)
}

#[test]
fn a_fifo_ends_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let (path, address) = fifo(folder.path(), "fifo");
    for options in [&[][..], &["--max-output", "1M"]] {
        let mut arguments = vec!["--stdout", &address, "--stderr", &address];
        arguments.extend(options);
        let child = run(&arguments, "echo out; echo err >&2").spawn().unwrap();
        let mut all = String::new();
        let mut reader = File::open(&path).unwrap();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "out\nerr\n");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn a_fifo_without_its_other_side_is_waited_for_until_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (_, address) = fifo(folder.path(), "fifo");
    let fresh = folder.path().join("fresh");
    let to = crate::harness::file(&fresh);
    let options = ["--within", "100ms", "--stdin", &address, "--stdout", &to];
    let output = run(&options, "echo ran >&2").output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(stderr(&output).contains("not run"), "{}", stderr(&output));
    assert!(!fresh.exists());
}

#[test]
fn a_signal_ends_the_wait_for_a_fifos_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let (_, never) = fifo(folder.path(), "never");
    let (path, address) = fifo(folder.path(), "there");
    let options = ["--stdin", &never, "--stdout", &address];
    let child = run(&options, "echo ran >&2").spawn().unwrap();
    // Both are opened at once: from now on it hears signals, and waits for the other one.
    let there = File::open(path).unwrap();
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert!(stderr(&output).contains("not run"), "{}", stderr(&output));
    drop(there);
}

#[test]
fn both_outputs_are_passed_on_as_they_come() {
    let script = "echo first; echo error >&2; read line; echo $line";
    let mut command = run(&["--max-output", "1M"], script);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    // Only now does it go on.
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"second\n").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "error\n");
    assert!(output.status.success());
}

/// Who is named as a holder is a grandchild of this test's, and ended by it.
#[cfg(target_os = "linux")]
#[test]
fn a_grandchild_that_holds_the_output_is_named_and_not_waited_for() {
    for quiet in ["200ms", "0"] {
        let options = ["--quiet-after-exit", quiet, "--report", "json"];
        let output = run(&options, "sleep 1000 & echo out").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), "out\n");
        let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
        assert_eq!(report["ending"], "quiet_after_exit");
        let holder = &report["holders"][0];
        // At once it may be the shell's copy still, about to run the other program.
        let is_named = ["sleep", "sh"].contains(&holder["name"].as_str().unwrap());
        assert!(is_named && (quiet == "0" || holder["name"] == "sleep"));
        let pid = holder["pid"].as_i64().unwrap().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }
}

/// Nobody is asked, and they are killed at once.
#[test]
fn there_may_be_no_grace() {
    let script = "exec 2>/dev/null; trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done";
    let options = ["--within", "300ms", "--grace", "0s", "--report", "json"];
    let output = run(&options, script).output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    assert!(report["asked"].as_array().unwrap().is_empty(), "{report}");
    assert!(!report["killed"].as_array().unwrap().is_empty(), "{report}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_signal_to_us_ends_the_whole_tree() {
    let mut command = run(&["--max-output", "1M"], "sleep 1000 & echo ready; wait");
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    // The end of the stream: nobody of the tree holds it any more.
    out.read_to_string(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert!(stderr(&output).contains("signal"));
}

/// Its own end is not its tree's: whoever cleans up has the grace.
#[test]
fn the_grace_is_the_whole_trees() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sh -c 'trap \"sleep 0.3; echo saved > saved; exit\" TERM; while :; do sleep 0.05; done' & wait";
    let output = run(&["--within", "300ms", "--grace", "20s"], script)
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let saved = std::fs::read_to_string(folder.path().join("saved"));
    assert_eq!(saved.unwrap(), "saved\n");
}

#[test]
fn a_second_signal_leaves_no_grace_and_nobody_behind() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = run(&["--max-output", "1M", "--grace", "1000s"], script);
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(insist(&mut child).code(), Some(143));
    // The end of the stream: nobody of the tree holds it any more.
    out.read_to_string(&mut line).unwrap();
}

/// Whoever starts us may have set the ends of children to be ignored, and with them their statuses.
#[test]
fn the_status_is_known_although_ends_of_children_are_ignored() {
    let script = format!("trap '' CHLD; exec '{EXE}' run -- sh -c 'exit 3'");
    let output = Command::new("bash").args(["-c", &script]).output();
    let Ok(output) = output else {
        println!("skipped: there is no bash");
        return;
    };
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_does_not_get_through_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = run(&["--merge", "--max-output", "1M"], "echo hi")
        .stdout(full.unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("No space left"),
        "{}",
        stderr(&output)
    );
}

/// A consumer that looks away for longer than the quiet is no silence of the command's. It looks again when the command is gone,
/// which has found room for all of it: in our pipe, our queue, what we hold, and the consumer's pipe.
#[cfg(target_os = "linux")]
#[test]
fn a_slow_consumer_gets_all_of_it() {
    for kibibytes in [340, 370] {
        let script =
            format!("echo $$ >&2; exec dd if=/dev/zero bs=1024 count={kibibytes} status=none");
        let mut child = run(&["--quiet-after-exit", "1ms"], &script)
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut pid = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut pid)
            .unwrap();
        // Its number is there as long as it is not reaped: what matters is that it writes no more.
        let stat = format!("/proc/{}/stat", pid.trim());
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        let mut all = Vec::new();
        out.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), kibibytes * 1024);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_consumer_that_leaves_ends_the_command_as_in_any_pipeline() {
    let mut command = run(
        &["--max-output", "1G"],
        "while echo line; do :; done; echo $? >&2",
    );
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    // SIGPIPE, which is 13 everywhere.
    assert_eq!(output.status.code(), Some(141), "{}", stderr(&output));
}

/// A daemon that leaves the command's session and loses its parent: no walk over the tree finds it.
#[cfg(target_os = "linux")]
const DAEMON: &str = "sh -c 'setsid sh -c \"$1\" </dev/null >/dev/null 2>&1 &' sh";

#[cfg(target_os = "linux")]
#[test]
fn who_left_the_tree_is_waited_for_if_we_adopt_orphans() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{DAEMON} 'sleep 0.3; echo late > late'; exit 3");
    let output = run(&["--adopt-orphans"], &script)
        .current_dir(&folder)
        .output()
        .unwrap();
    // The command's own code, and the daemon is over.
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let late = std::fs::read_to_string(folder.path().join("late"));
    assert_eq!(late.unwrap(), "late\n");
}

#[cfg(target_os = "linux")]
#[test]
fn who_left_the_tree_is_ended_at_the_deadline_if_we_adopt_orphans() {
    let options = [
        "--adopt-orphans",
        "--within",
        "1s",
        "--grace",
        "100ms",
        "--report",
        "json",
    ];
    // One ends when it is asked, the other does not; its own children have to be killed with it.
    let deaf = "trap \"\" TERM; while :; do sleep 0.05; done";
    let script = format!("{DAEMON} 'exec sleep 1000'; {DAEMON} '{deaf}'; exit 0");
    let output = run(&options, &script).output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    assert_eq!(report["ending"], "deadline", "{report}");
    assert_eq!(report["left"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!(report["errors"].as_array().unwrap().len(), 0, "{report}");
    let asked = report["asked"].as_array().unwrap();
    for name in ["sleep", "sh"] {
        assert!(asked.iter().any(|one| one["name"] == name), "{report}");
    }
    let killed = report["killed"].as_array().unwrap();
    assert!(killed.iter().any(|one| one["name"] == "sh"), "{report}");
    for one in asked.iter().chain(killed) {
        // Reaped, not only dead.
        let process = format!("/proc/{}", one["pid"]);
        assert!(!std::path::Path::new(&process).exists(), "{report}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_to_us_ends_who_left_the_tree_if_we_adopt_orphans() {
    let script = format!("{DAEMON} 'exec sleep 1000'; echo ready");
    let mut child = run(&["--adopt-orphans"], &script).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
}

#[test]
fn orphans_are_adopted_or_let_be() {
    for rule in [
        &["--quiet-after-exit", "1ms"][..],
        &["--after-exit", "deadline", "--within", "1s"],
    ] {
        let options = [&["--adopt-orphans"][..], rule].concat();
        let output = run(&options, "exit 0").output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        // Elsewhere than on Linux that is the reason.
        let told = stderr(&output);
        assert!(told.contains("--adopt-orphans"), "{told}");
        assert!(told.contains(rule[0]) || cfg!(not(target_os = "linux")));
    }
}
