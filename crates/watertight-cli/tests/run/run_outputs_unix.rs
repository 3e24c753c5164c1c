//! What `watertight run` passes on and nobody takes: whoever takes nothing is not waited for without end, and the report counts what got
//! through.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::EXE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

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

/// Starts a command that ends by itself and whose output is in our hands, for nobody reads it. Comes back when the command is gone.
fn with_a_consumer_that_takes_nothing(
    options: &[&str],
) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    // More than the consumer's pipe holds, and less than everything on the way.
    let script = "echo $$ >&2; exec dd if=/dev/zero bs=1024 count=340 status=none";
    let options = [&["--max-output", "1G", "--grace", "1ms"][..], options].concat();
    let mut child = run(&options, script).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut pid = String::new();
    errors.read_line(&mut pid).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    (child, errors)
}

#[test]
fn a_consumer_that_takes_nothing_is_left_on_a_signal() {
    let (mut child, mut errors) = with_a_consumer_that_takes_nothing(&[]);
    let pid = child.id().to_string();
    let mut kill = Command::new("kill");
    assert!(kill.args(["-TERM", &pid]).status().unwrap().success());
    let mut told = String::new();
    errors.read_to_string(&mut told).unwrap();
    assert!(told.contains("did not get all of it"), "{told}");
    // The signal may come before its output is read to the end: then it ends the run.
    let code = child.wait().unwrap().code().unwrap();
    assert!(code == 125 || code == 143, "{code}");
}

#[test]
fn a_consumer_that_takes_nothing_is_left_at_the_deadline() {
    let (mut child, mut errors) = with_a_consumer_that_takes_nothing(&["--within", "2s"]);
    let mut told = String::new();
    errors.read_to_string(&mut told).unwrap();
    assert!(told.contains("did not get all of it"), "{told}");
    assert!(told.contains("the deadline (--within 2s) passed"), "{told}");
    // Likewise for a deadline that passes before that.
    let code = child.wait().unwrap().code().unwrap();
    assert!(code == 125 || code == 124, "{code}");
}

/// What was only queued with us was passed on to nobody.
#[test]
fn a_report_counts_what_a_consumer_got_that_takes_nothing() {
    let options = ["--within", "5s", "--report", "json"];
    let (mut child, mut errors) = with_a_consumer_that_takes_nothing(&options);
    let mut told = String::new();
    errors.read_to_string(&mut told).unwrap();
    let report: Value = serde_json::from_str(told.trim()).unwrap();
    let mut got = Vec::new();
    let mut out = child.stdout.take().unwrap();
    out.read_to_end(&mut got).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    assert!(code == 125 || code == 124, "{code}");
    let stream = &report["stdout"];
    assert_eq!(stream["passed_on"], got.len(), "{report}");
    assert!(stream["discarded"].as_u64().unwrap() > 0, "{report}");
    let error = stream["error"].as_str().unwrap();
    assert!(
        error.contains("the deadline (--within 5s) passed"),
        "{error}"
    );
    assert_eq!(report["stderr"]["error"], Value::Null, "{report}");
}

#[test]
fn a_report_counts_nothing_as_passed_on_that_a_full_disk_refused() {
    let options = ["--max-output", "1G", "--stdout", "/dev/full", "--report"];
    let run = |report: &str| {
        let options = [&options[..], &[report]].concat();
        let output = run(&options, "echo hi").output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        String::from_utf8(output.stderr).unwrap()
    };
    let report: Value = serde_json::from_str(run("json").trim()).unwrap();
    let stream = &report["stdout"];
    assert_eq!(stream["passed_on"], 0, "{report}");
    assert_eq!(stream["discarded"], 3, "{report}");
    assert_eq!(stream["in_doubt"], 0, "{report}");
    assert_eq!(stream["ended"], true, "{report}");
    let error = stream["error"].as_str().unwrap();
    let begins = error.starts_with("/dev/full did not get all of it: ");
    assert!(begins && error.contains("No space left"), "{error}");
    assert_eq!(report["errors"], json!([]), "{report}");
    let text = run("text");
    let line = "stdout: 0 B passed on to /dev/full, 3 B dropped\n";
    assert!(text.contains(line), "{text}");
}
