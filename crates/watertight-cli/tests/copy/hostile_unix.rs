//! `watertight copy` under a hostile user: ends that are one file, signals that are ignored, a terminal that is held.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, file, folder_with, run};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything here takes, and shorter than what hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a line of shell in a folder; `$W` is the program.
fn shell(folder: &Path, line: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("W", EXE)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A program that a thread waits for. It is killed if it outlives the test.
struct Watched {
    pid: u32,
    output: Receiver<Output>,
    is_over: bool,
}

impl Watched {
    fn new(child: Child) -> Self {
        let (sender, output) = channel();
        let pid = child.id();
        std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
        Self {
            pid,
            output,
            is_over: false,
        }
    }

    fn send(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", signal, &self.pid.to_string()]).status();
        assert!(status.unwrap().success());
    }

    fn lives_for(&self, time: Duration) -> bool {
        self.output.recv_timeout(time).is_err()
    }

    fn end(mut self) -> Run {
        let output = self.output.recv_timeout(PATIENCE).expect("it hangs");
        self.is_over = true;
        Run::of(output)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_over {
            let pid = self.pid.to_string();
            let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
        }
    }
}

/// A copy of standard input to standard output that is under way.
fn under_way(command: &mut Command) -> (Watched, ChildStdin, ChildStdout) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    pass(&mut stdin, &mut stdout);
    (Watched::new(child), stdin, stdout)
}

/// Five bytes go through.
fn pass(stdin: &mut ChildStdin, stdout: &mut ChildStdout) {
    stdin.write_all(b"hello").unwrap();
    let mut seen = [0; 5];
    stdout.read_exact(&mut seen).unwrap();
    assert_eq!(seen, *b"hello");
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_report_is_never_written_into_an_end() {
    for line in [
        "$W copy --report-to source source target",
        "$W copy --report-to target source target",
        "$W copy --report-to link source target",
        "$W copy --report-to target source link",
        "$W copy --report-to source - target <source",
        "$W copy --report-to target source - >>target",
        "$W copy --report-to target source fd:5 5>>target",
        "$W copy --report json --report-to target source target",
        "$W copy --quiet --report-to target source target",
        // Something else fails, too.
        "$W copy --report-to source source exec:no-such-program",
        "$W copy --report-to source source missing/target",
        "$W copy --report-to source source fd:99",
        "$W copy --report-to target missing target",
    ] {
        let (folder, source, bytes) = folder_with(1000);
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
        let output = shell(folder.path(), line);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{line}: {told}");
        assert!(told.contains("are the same file; write"), "{line}: {told}");
        assert_eq!(fs::read(&source).unwrap(), bytes, "{line}");
        assert_eq!(fs::read(&target).unwrap(), b"precious", "{line}");
    }
}

#[test]
fn a_report_that_goes_where_the_messages_go_is_refused() {
    let (folder, _, _) = folder_with(1000);
    let target = folder.path().join("target");
    let line = "$W copy --report-to target source other 2>>target";
    let output = shell(folder.path(), line);
    assert_eq!(output.status.code(), Some(3));
    let told = fs::read_to_string(&target).unwrap();
    assert!(told.contains("standard error are the same file"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!folder.path().join("other").exists());
}

#[test]
fn a_fifo_is_not_fed_back_into_itself() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let address = format!("fifo:{}", fifo.display());
    let child = copy([&address, &address]).spawn().unwrap();
    let run = Watched::new(child).end().expect(3);
    assert!(run.stderr.contains("same FIFO"), "{}", run.stderr);
}

#[test]
fn a_child_that_lives_on_meets_the_drain_deadline() {
    let (_folder, source, _) = folder_with(10);
    let child = "exec:sh -c 'cat >/dev/null; exec sleep 300'";
    let copy = copy(["--drain-within", "300ms", &file(&source), child]).spawn();
    let run = Watched::new(copy.unwrap()).end().expect(6);
    // It does as it is asked.
    assert_eq!(run.destination(0)["child"]["signal"], 15);
    assert_eq!(run.count(0, "transferred"), 10);
}

/// Whether whoever started this test has hang-ups ignored (`nohup` does): then the program must ignore them too.
fn hangups_are_ignored() -> bool {
    watertight::is_signal_ignored(1)
}

#[test]
fn a_hangup_ends_the_copy_with_the_account() {
    if hangups_are_ignored() {
        println!("skipped: hang-ups are ignored here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (account, pid) = (folder.path().join("account"), folder.path().join("pid"));
    let child = format!("exec:sh -c 'echo $$ >{}; exec cat'", pid.display());
    let report = ["--report-to", account.to_str().unwrap(), "-", &child];
    let (copy, stdin, _stdout) = under_way(&mut copy(report));
    copy.send("HUP");
    copy.end().expect(129);
    drop(stdin);
    let account = fs::read_to_string(&account).unwrap();
    let account: Value = serde_json::from_str(&account).unwrap();
    crate::harness::check(&account);
    assert_eq!(account["ending"], "interrupted");
    assert_eq!(account["signal"], 1);
    let mut kill = Command::new("kill");
    let pid = fs::read_to_string(&pid).unwrap();
    let alive = kill.args(["-0", pid.trim()]).stderr(Stdio::null()).status();
    assert!(!alive.unwrap().success());
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    for (ignored, other, code) in [("INT HUP", "TERM", 143), ("TERM", "INT", 130)] {
        let mut command = Command::new("sh");
        let line = format!("trap '' {ignored}; exec \"$W\" copy --report json - -");
        command.args(["-c", &line]).env("W", EXE);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (copy, mut stdin, mut stdout) = under_way(&mut command);
        for signal in ignored.split(' ') {
            copy.send(signal);
        }
        pass(&mut stdin, &mut stdout);
        copy.send(other);
        assert_eq!(copy.end().expect(code).count(0, "transferred"), 10);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_stuck_progress_line_holds_up_neither_the_copy_nor_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("account");
    make_fifo(&fifo);
    let (reader, mut full) = std::io::pipe().unwrap();
    // The capacity of a new pipe.
    full.write_all(&[b'x'; 65536]).unwrap();
    let (sender, account) = channel();
    let path = fifo.clone();
    std::thread::spawn(move || sender.send(fs::read(path).unwrap()));
    // Slow enough that the line is to be drawn several times.
    let mut command = copy(["--progress", "always", "--rate", "40", "--report-to"]);
    command.arg(&fifo).args(["-", "-"]).stderr(full);
    let (copy, mut stdin, mut stdout) = under_way(&mut command);
    for _ in 0..5 {
        pass(&mut stdin, &mut stdout);
    }
    copy.send("INT");
    let saved = account.recv_timeout(PATIENCE).expect("it hangs");
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    assert_eq!(saved["exit_code"], 130);
    assert_eq!(saved["destinations"][0]["transferred"], 30);
    copy.end().expect(130);
    drop(reader);
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_was_read_of_nothing() {
    let (_folder, source, _) = folder_with(0);
    for target in ["/dev/null", "/dev/full", "exec:cat", "-"] {
        let run = run([file(&source), target.to_owned()]).expect(0);
        assert!(run.destination(0)["read_by_peer"].is_null(), "{target}");
    }
}

#[test]
fn a_name_cannot_forge_a_line() {
    let (folder, _, bytes) = folder_with(10);
    let forged = "a\nwatertight: finished after 0.000 s; exit code 0\u{1b}[2J";
    fs::write(folder.path().join(forged), &bytes).unwrap();
    let text = |arguments: &[&str]| {
        let mut command = Command::new(EXE);
        command.arg("copy").args(arguments);
        let output = command.current_dir(folder.path()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = format!("missing/{forged}");
    for told in [
        text(&["--report", "text", forged, "target"]),
        text(&[forged, "exec:true"]),
        text(&[&missing, "target"]),
        text(&["--report-to", &missing, "source", "target"]),
        text(&["source", &format!("exec:'{missing}'")]),
        text(&[&format!("source,{forged}"), "target"]),
        text(&[&format!("--{forged}"), "source", "target"]),
        text(&["--size", forged, "source", "target"]),
        text(&[&format!("x:{forged}"), "target"]),
    ] {
        assert!(told.contains("a\\nwatertight: finished after"), "{told}");
        assert!(!told.contains("\nwatertight: finished after 0.000 s; exit code 0\u{1b}"));
        assert!(!told.contains('\u{1b}'), "{told}");
    }
    let run = run([file(&folder.path().join(forged)), "exec:cat".to_owned()]).expect(0);
    let address = run.report["sources"][0]["address"].as_str().unwrap();
    assert!(address.ends_with(forged), "JSON has the name as it is");
}

/// Another chance, and then none: side by side.
#[test]
fn a_stopped_program_is_not_idle() {
    std::thread::scope(|scope| {
        scope.spawn(a_stopped_program_goes_on);
        scope.spawn(a_stopped_program_may_still_become_idle);
    });
}

const IDLE: [&str; 4] = ["--idle", "600ms", "-", "-"];

fn a_stopped_program_goes_on() {
    let (child, mut stdin, mut stdout) = under_way(&mut copy(IDLE));
    child.send("STOP");
    assert!(child.lives_for(Duration::from_millis(1200)));
    child.send("CONT");
    // Without another chance it would be over at once.
    assert!(child.lives_for(Duration::from_millis(200)));
    pass(&mut stdin, &mut stdout);
    drop(stdin);
    assert_eq!(child.end().expect(0).count(0, "transferred"), 10);
}

fn a_stopped_program_may_still_become_idle() {
    let (child, stdin, _stdout) = under_way(&mut copy(IDLE));
    child.send("STOP");
    assert!(child.lives_for(Duration::from_millis(1200)));
    child.send("CONT");
    child.end().expect(6);
    drop(stdin);
}
