//! Who ended a command that `watertight run` has run, and who is left: whoever holds its output, whom we may not kill, and the system's
//! out-of-memory killer.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::{EXE, is_running, send_at_once};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Ends with 3, and leaves somebody behind who holds its output.
const HELD: &str = "sleep 1000 & echo out; exit 3";

/// The command ends before the first of these, unless the machine is slow: then the next one is taken.
const DEADLINES: [&str; 3] = ["1s", "10s", "60s"];

/// The command by a program that ends with ours, in a session of its own: no terminal has a say in the command's group.
fn run(options: &[&str], script: &str) -> Command {
    let mut command = Command::new("setsid");
    command
        .args([EXE, "run"])
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What came of a run of `HELD` with a deadline that passed when the command was over.
fn held_at_the_deadline(options: &[&str], was_over: impl Fn(&Output) -> bool) -> Output {
    let mut outputs = DEADLINES.into_iter().map(|within| {
        let options = [options, &["--within", within]].concat();
        run(&options, HELD).output().unwrap()
    });
    let output = outputs.find(was_over);
    output.expect("the command is over before its deadline")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_str(stderr(output).trim()).unwrap()
}

fn send(signal: &str, pid: &str) {
    let sent = Command::new("kill").args([signal, pid]).status().unwrap();
    assert!(sent.success());
}

/// Nobody was signalled, and the one that holds the output is named and ended by this test.
fn assert_left(report: &Value) {
    for list in ["asked", "killed", "left"] {
        assert_eq!(report[list].as_array().unwrap().len(), 0, "{report}");
    }
    send("-KILL", &report["holders"][0]["pid"].to_string());
}

/// The command's own exit code counts.
#[test]
fn who_holds_the_output_at_the_deadline_is_named_and_left() {
    let options = ["--after-exit", "deadline"];
    let json = [&options[..], &["--report", "json"]].concat();
    let output = held_at_the_deadline(&json, |output| report(output)["code"] == 3);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(output.stdout, b"out\n");
    let report = report(&output);
    assert_eq!(report["ending"], "deadline_after_exit");
    assert_eq!(report["holders"][0]["name"], "sleep", "{report}");
    assert_left(&report);
    let output = held_at_the_deadline(&options, |output| output.status.code() == Some(3));
    let told = stderr(&output);
    assert!(told.contains("output still at the deadline"), "{told}");
    let (_, held) = told.split_once("its output is held by sleep (").unwrap();
    send("-KILL", held.split_once(')').unwrap().0);
}

#[test]
fn who_holds_the_output_is_ended_at_the_deadline_if_its_end_is_waited_for() {
    let options = ["--after-exit", "end", "--report", "json"];
    let output = held_at_the_deadline(&options, |output| report(output)["code"] == 3);
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let report = report(&output);
    assert_eq!(report["ending"], "deadline");
    assert_eq!(report["asked"][0]["name"], "sleep", "{report}");
    for list in ["holders", "killed", "left"] {
        assert_eq!(report[list].as_array().unwrap().len(), 0, "{report}");
    }
}

/// Nor does a signal to us end them.
#[test]
fn a_signal_to_us_leaves_those_who_are_no_part_of_the_run() {
    let options = ["--quiet-after-exit", "1000s", "--report", "json"];
    let script = "sleep 1000 & echo $$; exit 3";
    let mut child = run(&options, script).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    out.read_line(&mut pid).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    send("-TERM", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    let report = report(&output);
    assert_eq!(report["ending"], "interrupted");
    assert_eq!(report["code"], 3, "{report}");
    assert_left(&report);
}

/// A terminal that is closed sends the one, and whoever supervises its session the other: the command has its grace.
#[test]
fn a_hang_up_and_a_supervisors_signal_at_once_are_one_request_to_a_run() {
    let script = "exec 2>/dev/null; trap 'sleep 0.3; echo saved; exit' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    let options = ["--grace", "60s", "--report", "json"];
    let mut child = run(&options, script).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    send_at_once(&child, &["-HUP", "-TERM"]);
    out.read_to_string(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    let report = report(&output);
    assert_eq!(said, "ready\nsaved\n", "{report}");
    assert_eq!(report["ending"], "interrupted", "{report}");
    let code = output.status.code().unwrap();
    assert!([129, 143].contains(&code), "{report}");
    assert_eq!(report["exit_code"], code, "{report}");
}

#[test]
fn the_signal_that_ended_it_is_in_the_report() {
    let told = |report: &str| run(&["--report", report], "kill -9 $$").output().unwrap();
    let output = told("json");
    assert_eq!(output.status.code(), Some(137));
    let report = report(&output);
    assert_eq!(report["ending"], "itself");
    assert_eq!(report["signal"], 9);
    assert!(report["code"].is_null());
    assert_eq!(report["exit_code"], 137);
    let output = told("text");
    let text = stderr(&output);
    assert!(text.contains("signal 9 ended it"), "{text}");
}

/// A shell that puts us in its own place leaves us the children that it had. The command has not left them behind: they are neither waited
/// for nor ended, and whoever it has left behind is.
#[test]
fn who_was_started_before_us_is_none_of_those_that_we_adopt() {
    let left_behind = "(setsid sleep 1000 >/dev/null 2>&1 &); exit 3";
    for (within, script, code) in [("20s", "exit 3", 3), ("1s", left_behind, 124)] {
        let line = format!(
            "sleep 1000 >/dev/null 2>&1 & echo $!; \
             exec \"$0\" run --adopt-orphans --within {within} --grace 1ms -- sh -c \"$1\""
        );
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", &line, EXE, script]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let earlier = std::str::from_utf8(&output.stdout).unwrap().trim();
        let goes_on = is_running(earlier);
        if goes_on {
            send("-KILL", earlier);
        }
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(goes_on, "{}", stderr(&output));
    }
}

/// It is another process at each look, for each forks and ends. It has our output, so that this ends when the last one does, and that one says so.
const MOVES: &str = r#"use POSIX;
    $SIG{TERM} = "IGNORE";
    for (1 .. 20000) { POSIX::_exit(0) if fork; setsid }
    print "escaped\n""#;

/// Whoever is passed by is not gone.
#[test]
fn who_forks_and_ends_again_and_again_is_ended_if_we_adopt_orphans() {
    let mut command = Command::new("setsid");
    command
        .args([EXE, "run", "--adopt-orphans", "--no-cgroup"])
        .args(["--within", "500ms", "--grace", "1ms"])
        .args(["--", "perl", "-e", MOVES])
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    if output.status.code() == Some(127) {
        println!("skipped: there is no perl");
        return;
    }
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert_eq!(output.stdout, b"", "{}", stderr(&output));
}

/// Beside a child that we had before, too. That one is no orphan, and goes on.
#[test]
fn a_child_of_before_us_hides_nobody_who_forks_and_ends_again_and_again() {
    if !Path::new("/proc/thread-self/children").exists() {
        println!("skipped: this kernel does not list a thread's children");
        return;
    }
    let line = "sleep 1000 >/dev/null 2>&1 & echo $!; \
                exec \"$0\" run --adopt-orphans --no-cgroup --within 500ms --grace 1ms -- perl -e \"$1\"";
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", line, EXE, MOVES]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = std::str::from_utf8(&output.stdout).unwrap();
    let earlier = said.lines().next().unwrap();
    let goes_on = is_running(earlier);
    if goes_on {
        send("-KILL", earlier);
    }
    if output.status.code() == Some(127) {
        println!("skipped: there is no perl");
        return;
    }
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(!said.contains("escaped"), "{}", stderr(&output));
    assert!(goes_on, "{}", stderr(&output));
}

/// The worker has lost its parent and is in the group of the session's leader, who is an orphan too. A second request would leave it no time.
#[test]
fn an_orphan_in_the_group_of_another_one_is_asked_once() {
    let worker = "trap 'echo asked; last=1' TERM; echo ready; \
                  until test -n \"$last\"; do sleep 0.05; done; sleep 0.5";
    let leader = "trap 'last=1' TERM; (sh -c \"$WORKER\" &); echo ready; \
                  until test -n \"$last\"; do sleep 0.05; done";
    let script = "setsid sh -c \"$LEADER\" & echo pid $$; exit 3";
    let options = ["--adopt-orphans", "--no-cgroup", "--grace", "60s"];
    // Two requests that come before the worker runs would be one to it.
    for _ in 0..3 {
        let mut command = run(&options, script);
        command.env("WORKER", worker).env("LEADER", leader);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut begun = lines.by_ref().take(3).map(Result::unwrap);
        let pid = begun.find_map(|line| line.strip_prefix("pid ").map(str::to_owned));
        let stat = format!("/proc/{}/stat", pid.unwrap());
        begun.for_each(drop);
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        send("-TERM", &child.id().to_string());
        let said: Vec<String> = lines.map(Result::unwrap).collect();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
        assert_eq!(said, ["asked"], "{}", stderr(&output));
    }
}

const WITHOUT_KILL: &str = "--bounding-set=-kill";

const AS_ANOTHER: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

/// Whether a command can be run as another user by one who may not signal it. If not, that is told.
fn may_run_as_another() -> bool {
    let mut trial = Command::new("setpriv");
    trial.arg(WITHOUT_KILL).args(AS_ANOTHER).arg("true");
    let status = trial.stderr(Stdio::null()).status();
    let may = status.is_ok_and(|status| status.success());
    if !may {
        println!("skipped: no setpriv that may run a program as another user");
    }
    may
}

/// Several are another user's, and we may not signal them although we are root's. They end when their input does, which this test holds.
/// With a wait for each of them behind each kill it would take half a minute.
#[test]
fn who_refuses_to_be_killed_is_not_waited_for() {
    if !may_run_as_another() {
        return;
    }
    let mut command = Command::new("setpriv");
    command
        .args([WITHOUT_KILL, "setsid", EXE, "run", "--adopt-orphans"])
        .args(["--no-cgroup", "--within", "2s", "--grace", "1ms"])
        .args(["--report", "json", "--"])
        .args(AS_ANOTHER)
        .args([
            "sh",
            "-c",
            "exec 3<&0; for i in $(seq 8); do cat <&3 >/dev/null 2>&1 & done; exit 3",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let report = report(&output);
    assert_eq!(report["left"].as_array().unwrap().len(), 8, "{report}");
    assert!(
        report["elapsed_seconds"].as_f64().unwrap() < 20.0,
        "{report}"
    );
}

/// The command is another user's, and we may not signal it although we are root's. It ends when its input does, which this test holds. (In
/// a control group of its own it would be killed all the same.)
#[test]
fn who_may_not_be_killed_is_told_to_be_left() {
    if !may_run_as_another() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    let mut command = Command::new("setpriv");
    command
        .args([WITHOUT_KILL, "setsid", EXE, "run", "--grace", "1ms"])
        .args(["--no-cgroup", "--report", "json", "--report-to"])
        .arg(&path)
        .arg("--")
        .args(AS_ANOTHER)
        .args(["sh", "-c", "echo $$; exec cat >/dev/null 2>&1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    out.read_line(&mut pid).unwrap();
    send("-TERM", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    let report = std::fs::read_to_string(path).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let left = report["left"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{report}");
    assert_eq!(left[0]["pid"].to_string(), pid.trim(), "{report}");
    assert_eq!(report["killed"].as_array().unwrap().len(), 0, "{report}");
    let told = stderr(&output);
    assert!(told.contains("not ended: "), "{told}");
    assert!(told.contains(&format!("({})", pid.trim())), "{told}");
}

/// Runs a line of shell in namespaces of its own.
fn unshare(namespaces: &str, line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", line]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The namespaces in which this can be mounted: as root, or as one who is root in a user namespace.
fn namespaces_with(mounted: &str) -> Option<&'static str> {
    ["-m", "-rm"].into_iter().find(|namespaces| {
        let tried = unshare(namespaces, mounted).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// A file system of our own over that of the control groups, with a counter that rises while the command runs.
#[test]
fn the_out_of_memory_killer_is_named_where_it_may_have_ended_the_command() {
    const MOUNTED: &str =
        "grep -q ^0:: /proc/self/cgroup && mount -t tmpfs none /sys/fs/cgroup 2>/dev/null";
    let line = format!(
        "{MOUNTED} && echo oom_kill 5 >$COUNTER && exec \"$W\" run $OPTIONS --report json -- sh -c \"$SCRIPT\""
    );
    let Some(namespaces) = namespaces_with(MOUNTED) else {
        println!("skipped: nobody here may mount, or the control groups are the first version's");
        return;
    };
    let rises = "echo oom_kill 7 >$COUNTER;";
    for (options, script, kills) in [
        ("", format!("{rises} kill -9 $$"), Some(2)),
        ("", format!("{rises} exit 137"), Some(2)),
        ("", "kill -9 $$".to_owned(), None),
        ("", format!("{rises} exit 3"), None),
        // It was we who killed it, for it asks us to end when it is ready.
        (
            "--grace 1ms",
            format!("{rises} trap '' TERM; kill -TERM $PPID; exec sleep 1000"),
            None,
        ),
    ] {
        let mut command = unshare(namespaces, &line);
        command
            .env("W", EXE)
            .env("COUNTER", "/sys/fs/cgroup/memory.events")
            .env("OPTIONS", options)
            .env("SCRIPT", &script);
        let report = report(&command.output().unwrap());
        let named = report["out_of_memory"]["kills"].as_u64();
        assert_eq!(named, kills, "{script}: {report}");
        let is_killed = report["exit_code"] == 137 || report["signal"] == 9;
        assert!(is_killed || script.ends_with('3'), "{report}");
    }
}

/// Hides /proc, by a file system of our own over it.
const HIDE: &str = "mount -t tmpfs none /proc 2>/dev/null";

/// Before the command is started, or by the command itself.
#[test]
fn orphans_that_nobody_can_find_are_told_of_and_no_success() {
    let Some(namespaces) = namespaces_with(HIDE) else {
        println!("skipped: nobody here may mount");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let line = "eval \"$BEFORE\"; exec \"$W\" run --adopt-orphans --report json --report-to report -- sh -c \"$SCRIPT\"";
    for (before, script, ending) in [
        (HIDE, "echo >ran".to_owned(), "not_started"),
        (":", HIDE.to_owned(), "itself"),
        (":", format!("{HIDE}; exit 3"), "itself"),
    ] {
        let output = unshare(namespaces, line)
            .env("W", EXE)
            .env("BEFORE", before)
            .env("SCRIPT", &script)
            .current_dir(&folder)
            .output()
            .unwrap();
        let code = if script.ends_with('3') { 3 } else { 125 };
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let report = std::fs::read_to_string(folder.path().join("report")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["ending"], ending, "{report}");
        assert_eq!(report["unseen"].is_string(), ending == "itself", "{report}");
        for told in [report["errors"][0].as_str().unwrap(), stderr(&output)] {
            assert!(told.contains("/proc does not show"), "{told}");
        }
    }
    // The command that was not run.
    assert!(!folder.path().join("ran").exists());
}

/// In a pid namespace of our own the numbers of the /proc outside are other processes': nobody is found there, or named after them.
#[test]
fn nobody_is_looked_for_among_the_processes_of_another_namespace() {
    let forms: [&[&str]; 2] = [&["-pf"], &["-rpf"]];
    let run = |form: &[&str], line: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(form).args(line).stdin(Stdio::null());
        command.output().unwrap()
    };
    let can = |form: &&[&str]| run(form, &["true"]).status.success();
    let Some(form) = forms.into_iter().find(can) else {
        println!("skipped: nobody here may have a pid namespace");
        return;
    };
    let output = run(form, &[EXE, "run", "--adopt-orphans", "--", "true"]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(stderr(&output).contains("another pid namespace's"));
    let options = [
        "run",
        "--no-cgroup",
        "--within",
        "100ms",
        "--report",
        "json",
    ];
    let output = run(
        form,
        &[&[EXE][..], &options, &["--", "sleep", "1000"]].concat(),
    );
    let report = report(&output);
    assert_eq!(report["ending"], "deadline", "{report}");
    let asked = report["asked"].as_array().unwrap();
    assert!(!asked.is_empty(), "{report}");
    assert!(asked.iter().all(|one| one["name"].is_null()), "{report}");
    let told = report["errors"].to_string();
    assert!(told.contains("another pid namespace's"), "{report}");
}
