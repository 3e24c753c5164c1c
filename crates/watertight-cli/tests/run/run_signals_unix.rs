//! Signals to `watertight run`: what would end the program alone ends the command with its tree.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::{EXE, ending_signals, is_running, wait_with_patience};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// The command by a program that ends with ours, in a session of its own: no terminal has a say in the command's group. Its input is this
/// test's.
fn run(options: &[&str], script: &str) -> Command {
    let mut command = Command::new("setsid");
    command
        .args([EXE, "run"])
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn send(signal: i32, pid: u32) {
    let (signal, pid) = (format!("-{signal}"), pid.to_string());
    let sent = Command::new("kill").args([&signal, &pid]).status().unwrap();
    assert!(sent.success());
}

fn line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Also those that ask nobody to end: unheard they would end us alone, and leave the command and its tree to themselves. (The command ends with
/// its input, too.)
#[test]
fn every_signal_that_would_end_us_ends_the_command() {
    for signal in ending_signals() {
        let script = "echo $$; exec cat >/dev/null";
        let mut child = run(&["--report", "json"], script).spawn().unwrap();
        let stdin = child.stdin.take();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let pid = line(&mut out);
        send(signal, child.id());
        let status = wait_with_patience(&mut child);
        let goes_on = is_running(&pid);
        drop(stdin);
        assert_eq!(status.code(), Some(128 + signal), "{signal}: {status:?}");
        assert!(!goes_on, "{signal}");
        let mut told = String::new();
        child.stderr.unwrap().read_to_string(&mut told).unwrap();
        let report: Value = serde_json::from_str(told.trim()).unwrap();
        assert_eq!(report["ending"], "interrupted", "{signal}: {report}");
        assert_eq!(report["asked"][0]["pid"].to_string(), pid, "{signal}");
    }
}
