//! `watertight run --tty`: a terminal for the command, and ours that is as it was.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::EXE;
use crate::harness::terminal::{PATIENCE, is_in_line_mode, read_until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};
use watertight::{Child, Terminal, TerminalSize};

fn run(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(EXE);
    command
        .args(["run", "--tty"])
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
fn the_command_has_a_terminal_and_its_exit_code_is_its_own() {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo yes; echo error >&2; exit 3";
    for options in [&[][..], &["--merge"], &["--max-output", "1M"]] {
        let output = run(options, script).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert_eq!(stdout(&output), "yes\r\nerror\r\n");
        assert_eq!(stderr(&output), "");
    }
    let output = run(&[], "exec no-such-program-here").output().unwrap();
    assert_eq!(output.status.code(), Some(127));
}

#[test]
fn our_input_is_passed_on_and_so_is_its_end() {
    for (input, output) in [
        ("typed\n", "typed\r\ntyped\r\n"),
        // A line without its end.
        ("typed", "typedtyped"),
        ("", ""),
    ] {
        let mut child = run(&[], "cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert_eq!(stdout(&ended), output);
    }
}

#[test]
fn limits_go_on_working() {
    let options = ["--within", "300ms", "--grace", "10ms"];
    let mut command = run(&options, "echo first; sleep 1000");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert_eq!(stdout(&output), "first\r\n");
    let options = ["--max-output", "1000", "--report", "json"];
    let script = "dd if=/dev/zero bs=1000 count=100 2>/dev/null | tr '\\0' x";
    let output = run(&options, script).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, [b'x'; 1000]);
    let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    assert_eq!(report["stdout"]["passed_on"], 1000);
    assert_eq!(report["stdout"]["discarded"], 99_000);
    assert!(report["stderr"].is_null());
    assert!(report["usage"]["user_seconds"].is_number(), "{report}");
}

#[test]
fn what_the_command_shows_goes_to_a_file_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shown");
    let to = crate::harness::file(&path);
    let script = "test -t 1 && echo yes; echo error >&2";
    let output = run(&["--stdout", &to], script).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(std::fs::read(&path).unwrap(), b"yes\r\nerror\r\n");
    assert_eq!((stdout(&output), stderr(&output)), ("", ""));
}

/// In a session of its own it is not hung up with the terminal.
#[test]
fn who_left_the_tree_behind_a_terminal_is_ended_if_we_adopt_orphans() {
    let options = [
        "--adopt-orphans",
        "--within",
        "1s",
        "--grace",
        "100ms",
        "--report",
        "json",
    ];
    // The hang-up at the shell's end may come before the new session.
    let script = "trap '' HUP; setsid sleep 1000 </dev/null >/dev/null 2>&1 & exit 0";
    let output = run(&options, script).output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    let asked = report["asked"].as_array().unwrap();
    assert!(asked.iter().any(|one| one["name"] == "sleep"), "{report}");
    assert_eq!(report["left"].as_array().unwrap().len(), 0, "{report}");
}

#[test]
fn a_signal_to_us_ends_the_tree_behind_the_terminal() {
    for (signal, code) in [("-TERM", 143), ("-QUIT", 131)] {
        let mut child = run(&[], "sleep 1000 & echo ready; wait").spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\r\n");
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
        out.read_to_string(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}

/// It is hung up, as by a terminal's window that is closed.
#[test]
fn a_consumer_that_leaves_hangs_the_command_up() {
    let mut child = run(&[], "while echo line; do :; done").spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    // SIGHUP, which is 1 everywhere.
    assert_eq!(output.status.code(), Some(129), "{}", stderr(&output));
}

/// The program itself in a terminal.
fn in_a_terminal(script: &str) -> (Child, Terminal) {
    in_a_terminal_by(&[], script)
}

/// Likewise, started by the program of these words, which puts ours in its own place.
fn in_a_terminal_by(words: &[&str], script: &str) -> (Child, Terminal) {
    let words = [words, &[EXE, "run", "--tty", "--", "sh", "-c", script]].concat();
    let mut command = watertight::Command::new(words[0]);
    command.args(&words[1..]).terminal(TerminalSize {
        rows: 50,
        columns: 132,
    });
    let mut child = command.spawn().unwrap();
    let terminal = child.terminal.take().unwrap();
    (child, terminal)
}

#[test]
fn our_terminals_size_is_the_commands_and_stays_so() {
    let script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done";
    let (child, terminal) = in_a_terminal(script);
    assert_eq!(read_until(&terminal.output, "\n"), "50 132\r\n");
    assert!(!is_in_line_mode(&terminal));
    let size = TerminalSize {
        rows: 40,
        columns: 100,
    };
    terminal.resize(size).unwrap();
    assert_eq!(read_until(&terminal.output, "\n"), "40 100\r\n");
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert_eq!(exit.status().unwrap().code(), Some(3));
    assert!(is_in_line_mode(&terminal));
}

/// The command finds them blocked too, so it looks.
#[test]
fn our_terminals_size_is_the_commands_although_its_changes_were_blocked_at_the_start() {
    let blocking = ["env", "--block-signal=WINCH,CONT"];
    let trial = Command::new("env").args([blocking[1], "true"]).output();
    if !trial.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no env that blocks signals");
        return;
    }
    let script = "stty size; until [ \"$(stty size)\" = '40 100' ]; do sleep 0.05; done; exit 3";
    let (child, terminal) = in_a_terminal_by(&blocking, script);
    assert_eq!(read_until(&terminal.output, "\n"), "50 132\r\n");
    let size = TerminalSize {
        rows: 40,
        columns: 100,
    };
    terminal.resize(size).unwrap();
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert_eq!(exit.status().unwrap().code(), Some(3));
}

#[test]
fn our_terminal_is_as_it_was_after_a_signal() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::USR1, 138)] {
        let (child, terminal) = in_a_terminal("echo ready; sleep 1000");
        read_until(&terminal.output, "ready\r\n");
        assert!(!is_in_line_mode(&terminal));
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let exit = child.wait().within(PATIENCE).wait();
        assert_eq!(exit.unwrap().status().unwrap().code(), Some(code));
        assert!(is_in_line_mode(&terminal));
    }
}

/// Ctrl-C is a byte like any other to our terminal: what it means is the command's terminal's business.
#[test]
fn what_is_typed_reaches_the_command_as_it_is() {
    let script = "stty raw -echo; echo ready; head -c 3 | od -An -tx1";
    let (child, terminal) = in_a_terminal(script);
    read_until(&terminal.output, "ready\n");
    let typed = terminal.input.send(b"\x03\x04\r");
    typed.within(PATIENCE).wait().unwrap();
    assert_eq!(read_until(&terminal.output, "\n"), " 03 04 0d\n");
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert_eq!(exit.status().unwrap().code(), Some(0));
}

/// Its group is orphaned, for its parent is in another session: there the system stops nobody who has no handler.
#[test]
fn ctrl_z_stops_no_command_that_leads_a_session() {
    let script = r#"echo ready; until read -r line; do :; done; echo "it read $line""#;
    for (handler, shown) in [("", "^Z"), ("trap 'echo heard' TSTP; ", "heard\r\n")] {
        let (child, terminal) = in_a_terminal(&format!("{handler}{script}"));
        read_until(&terminal.output, "ready\r\n");
        let types = |keys: &'static [u8]| {
            let typed = terminal.input.send(keys);
            typed.within(PATIENCE).wait().unwrap();
        };
        types(b"\x1a");
        read_until(&terminal.output, shown);
        types(b"typed\n");
        read_until(&terminal.output, "it read typed\r\n");
        let exit = child.wait().within(PATIENCE).wait().unwrap();
        assert_eq!(exit.status().unwrap().code(), Some(0));
    }
}
