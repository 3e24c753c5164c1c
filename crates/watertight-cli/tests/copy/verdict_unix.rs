//! The end comes after the verdict: a consumer that commits at the end of its input never commits a stream that is known to be cut.
//!
//! The consumer is the most ordinary one: `cat >part && mv part final`. It commits if and only if it sees a clean end.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::harness::{
    EXE, Run, copy, file, folder_with, insist, is_installed, is_running, send_at_once,
};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const CONSUMER: &str = "exec:sh -c \"cat >part && mv part final\"";
/// It says so, too.
const TELLING_CONSUMER: &str = "exec:sh -c \"cat >part && mv part final && echo committed\"";
/// A producer that ends its output, and fails once it is told to at the gate.
const FAILS_LATER: &str = "exec:sh -c \"exec 3<gate; echo first; exec >&-; read go <&3; exit 3\"";
/// How long anything may take before the test calls it a hang. Never waited for when all is well.
const PATIENCE: &str = "60s";

fn run_in(folder: &Path, arguments: &[&str]) -> Run {
    Run::of(copy(arguments).current_dir(folder).output().unwrap())
}

fn committed(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join("final")).ok()
}

/// A copy of our standard input to the consumer, which has got a first line of it.
fn under_way(folder: &Path, arguments: &[&str]) -> Child {
    let mut child = copy(arguments.iter().copied().chain(["-", CONSUMER]))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    // It is a file as soon as the consumer has it: nothing tells that but looking.
    while std::fs::read(folder.join("part")).map_or(0, |part| part.len()) < 6 {
        std::thread::yield_now();
    }
    child
}

/// The gate. We read from it too, so nobody waits to open it; and once we are gone, nobody waits at it.
fn gate(folder: &Path) -> File {
    let path = folder.join("gate");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    File::options().read(true).write(true).open(path).unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// Reads the standard error to its end: all who could write there are gone then, the consumer too.
fn await_everybody(child: &mut Child) {
    let mut text = String::new();
    let stderr = child.stderr.as_mut().unwrap();
    stderr.read_to_string(&mut text).unwrap();
}

#[test]
fn a_whole_stream_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path(), &["exec:echo whole", CONSUMER]).expect(0);
    assert_eq!(committed(folder.path()).as_deref(), Some("whole\n"));
    assert_eq!(run.destination(0)["input"], "armed");
    assert_eq!(run.destination(0)["ending"], "finished");
}

/// A folder with a producer and with the most ordinary consumer. The producer fails after its first line, unless there is a file `whole`.
fn folder_with_scripts() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [
        ("producer", "echo first\ntest -e whole && echo second\n"),
        ("consumer", "cat >part && mv part final\n"),
    ] {
        std::fs::write(folder.path().join(name), script).unwrap();
    }
    folder
}

/// Whoever passes bytes on sees the end of the producer's output, and not how the producer ended. The shell that knows it (`pipefail`)
/// knows it too late: the consumer has had its end. Only who knows both can hold the end back.
#[test]
fn other_tools_have_a_cut_stream_committed_and_this_one_has_not() {
    // What the line ends with is the consumer's status, and with `pipefail` the producer's.
    let peers = [
        ("sh", "sh producer | sh consumer", 0),
        ("bash", "bash -o pipefail -c 'sh producer | sh consumer'", 1),
        ("mbuffer", "sh producer | mbuffer -q | sh consumer", 0),
        ("pv", "sh producer | pv -q | sh consumer", 0),
        ("socat", "sh producer | socat -u - - | sh consumer", 0),
        ("tee", "sh producer | tee all | sh consumer", 0),
    ];
    for (tool, line, code) in peers {
        if !is_installed(tool) {
            println!("skipped {tool}: it is not here");
            continue;
        }
        let folder = folder_with_scripts();
        // This waits for everybody who could write there: the consumer is over then.
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let was_committed = committed(folder.path());
        assert_eq!(was_committed.as_deref(), Some("first\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(code), "{tool}: {output:?}");
    }
    let folder = folder_with_scripts();
    let ends = ["exec:sh producer", "exec:sh consumer"];
    run_in(folder.path(), &ends).expect(8);
    assert_eq!(committed(folder.path()), None);
    // It is the same consumer that commits what is whole.
    std::fs::write(folder.path().join("whole"), "").unwrap();
    run_in(folder.path(), &ends).expect(0);
    let was_committed = committed(folder.path());
    assert_eq!(was_committed.as_deref(), Some("first\nsecond\n"));
}

/// What cuts a stream, and the exit code that tells it.
#[test]
fn a_stream_that_is_known_to_be_cut_is_not_committed() {
    let idle = "exec:sh -c \"echo first; exec sleep 1000\"";
    let cuts: [(&[&str], i32); 7] = [
        (&["exec:sh -c \"echo first; exit 1\""], 8),
        (&["exec:sh -c \"echo first; kill -9 $$\""], 8),
        // It closes its output first, and fails only then.
        (&["exec:sh -c \"echo first; exec >&-; exit 3\""], 8),
        (&["/proc/self/mem"], 4),
        (&["--expect-bytes", "7", "exec:echo first"], 7),
        (&["--idle", "200ms", idle], 6),
        // Another destination fails, and counts.
        (&["/dev/zero", "/dev/full"], 5),
    ];
    for (arguments, code) in cuts {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<&str> = arguments.iter().copied().chain([CONSUMER]).collect();
        let run = run_in(folder.path(), &all).expect(code);
        assert_eq!(committed(folder.path()), None, "{arguments:?}");
        let last = run.report["destinations"].as_array().unwrap().len() - 1;
        let child = &run.destination(last)["child"];
        assert_eq!(child["ended_by"], "asked", "{arguments:?}");
        assert!(run.destination(last)["given_up"].is_string());
    }
}

/// All is through, and the producer may still fail: the consumer has no end before that is known, and none when it has failed.
#[test]
fn nothing_is_committed_while_the_producer_may_still_fail() {
    let folder = tempfile::tempdir().unwrap();
    let mut gate = gate(folder.path());
    let lines = ["--progress", "json", "--progress-every", "10ms"];
    let mut child = copy(lines.into_iter().chain([FAILS_LATER, CONSUMER]))
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let state = loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        let line: Value = serde_json::from_str(&line).unwrap();
        let state = line["destinations"][0]["state"].as_str().unwrap();
        // Until the end of the producer's output is seen.
        if !["behind", "served"].contains(&state) {
            break state.to_owned();
        }
    };
    assert_eq!(state, "held");
    assert_eq!(committed(folder.path()), None);
    gate.write_all(b"go\n").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(8), "{rest}");
    assert_eq!(committed(folder.path()), None);
}

#[test]
fn a_signal_to_the_copy_cuts_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = under_way(folder.path(), &[]);
    signal(&child, "-TERM");
    await_everybody(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(committed(folder.path()), None);
}

/// Nobody is left to end the consumer in order: its input is armed, so it reads an error where a pipe would have ended.
#[test]
fn the_copys_own_death_is_no_end_of_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = under_way(folder.path(), &[]);
    signal(&child, "-KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    await_everybody(&mut child);
    assert_eq!(committed(folder.path()), None);
    let part = std::fs::read(folder.path().join("part")).unwrap();
    assert_eq!(part, b"first\n", "what it was given is its own");
}

/// The same with a plain pipe, which has no sign for it: so it was the arming that kept the consumer above from committing.
#[test]
fn a_plain_pipe_has_no_sign() {
    let folder = tempfile::tempdir().unwrap();
    let plain = format!("{CONSUMER},pipe");
    let mut child = copy(["-", &plain])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    while std::fs::read(folder.path().join("part")).map_or(0, |part| part.len()) < 6 {
        std::thread::yield_now();
    }
    signal(&child, "-KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    await_everybody(&mut child);
    assert_eq!(committed(folder.path()).as_deref(), Some("first\n"));
}

/// With a plain pipe too the consumer is ended before its input, whoever of its tree reads that, and whatever it does about
/// being asked.
#[test]
fn the_consumers_tree_is_dead_before_its_input_ends() {
    let folder = tempfile::tempdir().unwrap();
    let stubborn = "exec:sh -c \"trap '' TERM; (cat >part && mv part final); true\",pipe";
    let failing = "exec:sh -c \"echo first; exit 1\"";
    let run = run_in(folder.path(), &[failing, stubborn]).expect(8);
    assert_eq!(committed(folder.path()), None);
    let child = &run.destination(0)["child"];
    assert_eq!(
        (&child["ended_by"], &child["signal"]),
        (&"killed".into(), &9.into())
    );
    assert_eq!(run.destination(0)["input"], "pipe");
}

/// Everybody that a source's child started goes with it when the copy fails (f03), and nobody when it does not.
#[test]
fn a_failed_copy_leaves_nobody_of_its_producers() {
    let folder = tempfile::tempdir().unwrap();
    let source = "exec:sh -c \"sleep 1000 & echo $! >worker; echo x; wait\"";
    run_in(folder.path(), &["--idle", "200ms", source, "/dev/null"]).expect(6);
    let worker = std::fs::read_to_string(folder.path().join("worker")).unwrap();
    assert!(!is_running(worker.trim()), "the worker lives on");

    let source = "exec:sh -c \"sleep 1000 >/dev/null 2>&1 & echo $! >worker; echo x\"";
    run_in(folder.path(), &[source, "/dev/null"]).expect(0);
    let worker = std::fs::read_to_string(folder.path().join("worker")).unwrap();
    assert!(is_running(worker.trim()), "nothing is killed after success");
    let killed = Command::new("kill").args(["-KILL", worker.trim()]).status();
    assert!(killed.unwrap().success());
}

/// The same where nothing but the number of bytes is wrong, and the producer would go on for long.
#[test]
fn a_copy_that_expected_more_leaves_nobody_of_its_producers() {
    let folder = tempfile::tempdir().unwrap();
    let source =
        "exec:sh -c \"sleep 1000 >/dev/null 2>&1 & echo $! >worker; echo first; exec >&-; wait\"";
    // The exit code would be another one if it were that bound which ends the producer.
    let expecting = ["--expect-bytes", "7", "--drain-within", PATIENCE];
    let arguments: Vec<&str> = expecting.into_iter().chain([source, "/dev/null"]).collect();
    let run = run_in(folder.path(), &arguments).expect(7);
    assert_eq!(run.report["sources"][0]["child"]["stopped"], true);
    let worker = std::fs::read_to_string(folder.path().join("worker")).unwrap();
    assert!(!is_running(worker.trim()), "the worker lives on");
}

#[test]
fn exit_codes_that_mean_well_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = "exec:sh -c \"echo found; exit 1\",ok=0,1";
    run_in(folder.path(), &[source, CONSUMER]).expect(0);
    assert_eq!(committed(folder.path()).as_deref(), Some("found\n"));
}

/// A socket refuses to be opened by its name (ENXIO). The report says what helps, whether there were few bytes, which the socket had taken,
/// or many; it does help; and where the input is a pipe nothing is suggested.
#[test]
fn a_consumer_that_opens_its_socket_again_is_told_what_helps() {
    const HINT: &str = "its input is a socket, and a program that opens /dev/stdin itself cannot use one: try `,pipe`";
    const OPENS_AGAIN: &str = "exec:sh -c \"cat /dev/stdin >part && mv part final\"";
    let (folder, source, bytes) = folder_with(3_000_000);
    let told = |options: &[&str], source: &str, consumer: &str, code| {
        let output = Command::new(EXE)
            .arg("copy")
            .args(options)
            .args([source, consumer])
            .current_dir(folder.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let text_of =
        |source: &str, consumer: &str, code| told(&["--report", "text"], source, consumer, code);
    let helped = format!("{OPENS_AGAIN},pipe");
    let all = file(&source);
    let sources = [
        ("exec:head -c 3000 source", 3_000),
        (all.as_str(), bytes.len()),
    ];
    for (source, count) in sources {
        let text = text_of(source, OPENS_AGAIN, 5);
        assert!(text.contains("No such device or address"), "{text}");
        assert!(text.contains(&format!("\n  hint         {HINT}")), "{text}");
        let errors = told(&["--quiet"], source, OPENS_AGAIN, 5);
        assert!(
            errors.contains(&format!("{OPENS_AGAIN}: {HINT}")),
            "{errors}"
        );
        assert_eq!(committed(folder.path()), None);
        // The report for programs has the facts that this follows from.
        let run = run_in(folder.path(), &[source, OPENS_AGAIN]).expect(5);
        let (input, child) = (&run.destination(0)["input"], &run.destination(0)["child"]);
        assert_eq!(*input, "armed");
        let ending = (child["code"].as_i64(), child["ended_by"].as_str());
        assert_eq!(ending, (Some(1), Some("itself")), "{}", run.report);

        let text = text_of(source, &helped, 0);
        assert!(!text.contains(" hint "), "{text}");
        let whole = folder.path().join("final");
        assert!(std::fs::read(&whole).unwrap() == bytes[..count]);
        std::fs::remove_file(whole).unwrap();
    }
    let text = text_of(&all, "exec:sh -c \"exit 1\",pipe", 5);
    assert!(!text.contains(" hint "), "{text}");
}

/// Who was dropped by the policy cuts nobody else: the exit code tells of it.
#[test]
fn a_dropped_destination_cuts_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = "exec:head -c 300000 /dev/zero";
    run_in(
        folder.path(),
        &["--dead", "drop", bytes, "/dev/full", CONSUMER],
    )
    .expect(5);
    assert_eq!(committed(folder.path()).unwrap().len(), 300_000);
}

/// A live capture keeps what it got: its end comes at once, with everything that was read.
#[test]
fn on_request_a_cut_stream_ends_like_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = under_way(folder.path(), &["--on-failure", "end"]);
    signal(&child, "-INT");
    await_everybody(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(committed(folder.path()).as_deref(), Some("first\n"));
}

/// The end of the producer's output is the end: how the producer itself ends is not waited for.
#[test]
fn on_request_the_end_waits_for_no_producer() {
    let folder = tempfile::tempdir().unwrap();
    let mut gate = gate(folder.path());
    let options = ["--on-failure", "end", "--drain-within", PATIENCE];
    let mut child = copy(options.into_iter().chain([FAILS_LATER, TELLING_CONSUMER]))
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "committed\n");
    assert_eq!(committed(folder.path()).as_deref(), Some("first\n"));
    gate.write_all(b"go\n").unwrap();
    Run::of(child.wait_with_output().unwrap()).expect(8);
}

/// A consumer that took what it needs and works on is waited for, not killed (f15).
#[test]
fn a_child_that_closed_its_input_and_works_on_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("go on");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let worker = "exec:sh -c \"head -c 3 >head; exec <&-; echo closed; read word <'go on'; echo done >result\"";
    let mut child = copy([
        "--dead",
        "drop",
        "exec:head -c 3000000 /dev/zero",
        "all",
        worker,
    ])
    .current_dir(folder.path())
    .spawn()
    .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "closed\n");
    // It waits for this word, however far the copy is.
    std::fs::write(&fifo, "go\n").unwrap();
    let run = Run::of(child.wait_with_output().unwrap()).expect(5);
    assert_eq!(
        std::fs::read(folder.path().join("result")).unwrap(),
        b"done\n"
    );
    assert_eq!(run.destination(1)["child"]["ended_by"], "itself");
    assert_eq!(run.count(0, "transferred"), 3_000_000);
}

/// Told a second time, the program leaves at once, and takes with it whom it started.
#[test]
fn a_second_signal_ends_the_program_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // They would have two seconds of grace, and would use them.
    let stubborn =
        "exec:sh -c \"trap '' TERM INT; echo $$ >source; echo x; while :; do sleep 1000; done\"";
    let stubborn_too = "exec:sh -c \"trap '' TERM INT; echo $$ >destination; read -r line; echo $line; while :; do sleep 1000; done\"";
    let mut child = Command::new(EXE)
        .args(["copy", "-q", stubborn, stubborn_too])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "x\n");
    signal(&child, "-INT");
    assert_eq!(insist(&mut child).code(), Some(143));
    for name in ["source", "destination"] {
        let pid = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(!is_running(pid.trim()), "the {name}'s command lives on");
    }
}

/// A terminal that is closed sends the one, and whoever supervises its session the other: the command has its grace.
#[test]
fn a_hang_up_and_a_supervisors_signal_at_once_are_one_request_to_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let saves = "exec:sh -c \"exec 2>/dev/null; trap 'sleep 0.3; echo done >saved; exit' TERM; \
                 echo x; while :; do sleep 0.05; done\"";
    let mut child = copy([saves, "-"])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "x\n");
    send_at_once(&child, &["-HUP", "-TERM"]);
    let run = Run::of(child.wait_with_output().unwrap());
    assert!([129, 143].contains(&run.code), "{}", run.stderr);
    assert_eq!(run.report["ending"], "interrupted", "{}", run.stderr);
    let saved = std::fs::read_to_string(folder.path().join("saved"));
    assert_eq!(saved.unwrap(), "done\n");
}

/// The report that it had no time for leaves no file behind. One that was there before is not the program's to remove.
#[test]
fn a_second_signal_leaves_no_empty_report() {
    for was_there in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("account");
        if was_there {
            std::fs::write(&account, "").unwrap();
        }
        let stubborn = "exec:sh -c \"trap '' TERM INT; echo x; while :; do sleep 1000; done\"";
        let mut child = copy(["--report-to", "account", stubborn, "-"])
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "x\n");
        assert!(account.exists());
        signal(&child, "-INT");
        assert_eq!(insist(&mut child).code(), Some(143));
        let left = std::fs::read_to_string(&account).ok();
        assert_eq!(left.as_deref(), was_there.then_some(""));
    }
}

/// The README's demonstration, line by line; times are not compared.
#[test]
fn the_readmes_demonstration_is_true() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
    let readme = readme.unwrap();
    let (_, rest) = readme.split_once("<!-- demonstration -->\n```\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(EXE).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let without_time = |text: &str| -> String {
        let lines = text.lines().map(|line| match line.split_once(" after ") {
            Some((before, after)) => {
                format!("{before} after {}", after.split_once(" s").unwrap().1)
            }
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    for step in block.split("$ ").skip(1) {
        let (line, expected) = step.split_once('\n').unwrap();
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {line}; }} 2>&1")])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(without_time(&said), without_time(expected), "{line}");
    }
}
