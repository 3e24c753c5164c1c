//! `watertight run`: exit codes, limits, and what it says, on every system. The command is the program itself.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

mod harness;

use harness::{EXE, pattern};
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Command {
    let mut command = Command::new(EXE);
    command
        .arg("run")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Runs it with this input.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeding.join().unwrap();
    output
}

#[test]
fn a_commands_streams_and_exit_code_are_its_own() {
    let bytes = pattern(1 << 20);
    for options in [&["--"][..], &["--max-output", "10M", "--"]] {
        let mut command = run(options);
        command.args([EXE, "copy", "--quiet", "-", "-"]);
        let output = fed(&mut command, &bytes);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(output.stdout == bytes, "{options:?}");
        assert_eq!(stderr(&output), "");
    }
    // Its own usage error.
    let output = run(&["--", EXE, "copy"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage"));
}

#[test]
fn a_missing_command_is_127_and_named() {
    let output = run(&["--", "no-such-program-here"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(stderr(&output).contains("no-such-program-here"));
}

#[test]
fn a_deadline_ends_the_command_and_is_124() {
    for options in [&[][..], &["--max-output", "1M"]] {
        let mut command = run(&["--within", "300ms", "--grace", "10ms"]);
        command
            .args(options)
            .args(["--", EXE, "copy", "--quiet", "-", "-"]);
        // Its input stays open: it would never end.
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(124));
        assert!(stderr(&output).contains("deadline"));
    }
}

#[test]
fn output_past_the_bound_is_counted_and_dropped() {
    let bytes = pattern(1 << 20);
    let mut command = run(&["--max-output", "1000", "--report", "json", "--"]);
    command.args([EXE, "copy", "--quiet", "-", "-"]);
    let output = fed(&mut command, &bytes);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, bytes[..1000]);
    let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    assert_eq!(report["ending"], "itself");
    assert_eq!(report["stdout"]["passed_on"], 1000);
    assert_eq!(report["stdout"]["discarded"], (1 << 20) - 1000);
    assert_eq!(report["exit_code"], 0);
}

#[test]
fn a_report_is_saved_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let path = path.to_str().unwrap();
    let output = run(&[
        "--report",
        "json",
        "--report-to",
        path,
        "--",
        EXE,
        "--version",
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"watertight "));
    assert_eq!(stderr(&output), "");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        (&report["code"], &report["ending"]),
        (&0.into(), &"itself".into())
    );
    // A place that cannot be written is said before anything runs.
    let nowhere = folder.path().join("no").join("such");
    let output = run(&[
        "--report",
        "json",
        "--report-to",
        nowhere.to_str().unwrap(),
        "--",
        EXE,
        "--version",
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_is_told_and_nothing_runs() {
    for arguments in [
        &[][..],
        &["--within", "soon", "--", EXE],
        &["--report-to", "x", "--", EXE],
    ] {
        let output = run(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}
