//! Consumers of an armed input, as a machine has them, and one of our own, which says what it saw.

use super::moved::file;
use crate::common::children::accounted;
use crate::common::{PATIENCE, test_name};
use rustix::io::Errno;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use watertight::{Child, Command, ErrorKind, Input, Output, transfer};

/// Makes this test binary the feeder of such a consumer, which the test kills.
const CONSUMER: &str = "WATERTIGHT_CONSUMER";

/// Has that feeder move the bytes there inside the kernel.
const MOVED: &str = "WATERTIGHT_MOVED";

/// The name of our own consumer.
const OWN: &str = "";

/// Makes this test binary that consumer.
const READS: &str = "WATERTIGHT_READS";

/// More than a socket and a pipe hold together with any buffer of a consumer's.
const FED_BYTES: usize = 220_000;

/// What is there on every machine, and reads its input to the end. It is followed by what a shell commits.
const CONSUMERS: [&str; 6] = [
    "cat",
    "gzip -c",
    "sha256sum",
    "sort",
    "wc -c",
    "dd status=none",
];

fn consumer(command: &str) -> Command {
    if command == OWN {
        let mut own = Command::new(std::env::current_exe().unwrap());
        let name = test_name(module_path!(), "read_and_tell");
        own.args(["--exact", &name, "--nocapture"])
            .env(READS, "1")
            .stdin(Input::armed());
        return own;
    }
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("{command} >/dev/null 2>&1 && echo committed || echo refused"),
    ]);
    shell.stdin(Input::armed());
    shell
}

/// No test of its own: reads its input to the end, and says how much that was and what came then.
#[test]
fn read_and_tell() {
    if std::env::var_os(READS).is_none() {
        return;
    }
    let (mut bytes, mut buf) = (0, [0; 8192]);
    let end = loop {
        match std::io::stdin().read(&mut buf) {
            Ok(0) => break "the end".to_owned(),
            Ok(count) => bytes += count,
            Err(error) => break format!("error {}", error.raw_os_error().unwrap()),
        }
    };
    println!("{bytes} bytes, and {end}");
    std::process::exit(0);
}

/// What our own consumer says when it has got everything, and then this.
fn told_by_own(end: &str) -> String {
    format!("{FED_BYTES} bytes, and {end}\n")
}

/// What it says of a cut.
fn reset_told_by_own() -> String {
    told_by_own(&format!("error {}", Errno::CONNRESET.raw_os_error()))
}

fn is_there(command: &str) -> bool {
    let program = command.split(' ').next().unwrap();
    let looked = std::process::Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    let is_there = looked.unwrap().success();
    if !is_there {
        println!("skipped {command}: it is not here");
    }
    is_there
}

/// Started, and given all that it is given.
fn fed(command: &str) -> Child {
    let mut child = consumer(command).stdout(Output::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    input
        .send(&vec![b'7'; FED_BYTES])
        .within(PATIENCE)
        .wait()
        .unwrap();
    input.until_transferred().within(PATIENCE).wait().unwrap();
    child.stdin = Some(input);
    child
}

fn verdict(mut child: Child) -> String {
    let output = child.stdout.take().unwrap();
    let mut bytes = Vec::new();
    assert!(
        output
            .receive_to_end(&mut bytes, 1 << 20)
            .within(PATIENCE)
            .wait()
            .unwrap()
    );
    let _ = child.wait().within(PATIENCE).wait().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_orderly_end_is_an_end() {
    let _accounted = accounted();
    for command in CONSUMERS.into_iter().filter(|command| is_there(command)) {
        let mut child = fed(command);
        let input = child.stdin.take().unwrap();
        assert!(
            input
                .finish()
                .within(PATIENCE)
                .wait()
                .unwrap()
                .is_complete()
        );
        assert_eq!(verdict(child), "committed\n", "{command}");
        // A drop that sends everything is one too.
        let mut child = fed(command);
        drop(child.stdin.take());
        assert_eq!(verdict(child), "committed\n", "{command}");
    }
}

#[test]
fn an_abort_is_a_cut() {
    let _accounted = accounted();
    for command in CONSUMERS.into_iter().filter(|command| is_there(command)) {
        let mut child = fed(command);
        let input = child.stdin.take().unwrap();
        let _ = input.abort().within(PATIENCE).wait().unwrap();
        assert_eq!(verdict(child), "refused\n", "{command}");
    }
}

/// Not only that it is an error, but which: a reset. Before it, all that was sent.
#[test]
fn a_consumer_of_our_own_reads_everything_and_then_the_end_or_a_reset() {
    let _accounted = accounted();
    let mut child = fed(OWN);
    let input = child.stdin.take().unwrap();
    let receipt = input.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    let told = verdict(child);
    assert!(told.ends_with(&told_by_own("the end")), "{told}");

    let mut child = fed(OWN);
    let input = child.stdin.take().unwrap();
    let _ = input.abort().within(PATIENCE).wait().unwrap();
    let told = verdict(child);
    assert!(told.ends_with(&reset_told_by_own()), "{told}");

    for is_moved in [false, true] {
        let told = verdict_behind_a_kill(OWN, is_moved);
        assert!(told.ends_with(&reset_told_by_own()), "{told}");
    }
}

/// Of a child of our own: all the data first, then the error.
#[test]
fn all_that_was_sent_comes_before_the_cut() {
    let _accounted = accounted();
    let mut child = Command::new("sh");
    child.args(["-c", "cat; echo $?"]).stdin(Input::armed());
    let mut child = child
        .stdout(Output::piped())
        .stderr(Output::null())
        .spawn()
        .unwrap();
    let input = child.stdin.take().unwrap();
    input.send(b"all of it\n").within(PATIENCE).wait().unwrap();
    input.until_transferred().within(PATIENCE).wait().unwrap();
    let _ = input.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(verdict(child), "all of it\n1\n");
}

/// No test of its own: feeds its consumer, says so, and waits to be killed.
#[test]
fn feeder() {
    let Ok(command) = std::env::var(CONSUMER) else {
        return;
    };
    let mut child = consumer(&command).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let data = vec![b'7'; FED_BYTES];
    if std::env::var_os(MOVED).is_some() {
        let from = file(&data);
        let moving = transfer(&from, &input).in_kernel_everywhere();
        let done = moving.wait().unwrap();
        assert_eq!(done.in_kernel, FED_BYTES as u64);
    } else {
        input.send(&data).wait().unwrap();
        input.until_transferred().wait().unwrap();
    }
    eprintln!("fed");
    let _ = child.wait().wait();
    std::process::exit(1);
}

/// What a consumer says whose feeder is killed when it has sent, or moved, everything and not ended it.
fn verdict_behind_a_kill(command: &str, is_moved: bool) -> String {
    let mut feeder = std::process::Command::new(std::env::current_exe().unwrap());
    if is_moved {
        feeder.env(MOVED, "1");
    }
    let mut feeder = feeder
        .args([
            "--exact",
            &test_name(module_path!(), "feeder"),
            "--nocapture",
        ])
        .env(CONSUMER, command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(feeder.stderr.take().unwrap());
    while !said.contains("fed") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    // SIGKILL.
    feeder.kill().unwrap();
    feeder.wait().unwrap();
    let mut verdict = String::new();
    let mut stdout = feeder.stdout.take().unwrap();
    stdout.read_to_string(&mut verdict).unwrap();
    verdict
}

#[test]
fn a_killed_feeder_leaves_a_cut() {
    let _accounted = accounted();
    for command in CONSUMERS.into_iter().filter(|command| is_there(command)) {
        for is_moved in [false, true] {
            let verdict = verdict_behind_a_kill(command, is_moved);
            assert!(verdict.ends_with("refused\n"), "{command}: {verdict}");
        }
    }
}

/// A child that does not read at all is told as with a pipe.
#[test]
fn a_consumer_that_leaves_is_told() {
    let _accounted = accounted();
    let mut child = consumer("true").stdout(Output::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    assert_eq!(verdict(child), "committed\n");
    let refused = input.send(b"nobody").within(PATIENCE).wait().unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::BrokenPipe);
}

/// Nothing is started then, and nothing is left.
#[cfg(feature = "fault")]
#[test]
fn an_input_that_cannot_be_armed_is_told() {
    use watertight::{OsCode, StartStep, Step, fault};
    let _accounted = accounted();
    let _guard = fault::guard();
    let code = OsCode(31_337);
    fault::fail_next(Step::Arm, code);
    let failed = consumer("cat").spawn().unwrap_err();
    assert!(!fault::clear(), "it was not reached");
    let told = (failed.step, failed.error.raw_os_error());
    assert_eq!(told, (StartStep::Resources, Some(code.0)));
}

/// It is tried once in a process whether a cut shows, so this has one of its own. The second read of the trial finds the reset.
#[cfg(feature = "fault")]
#[test]
fn where_a_trial_shows_no_cut_an_armed_input_is_refused() {
    use watertight::fault::{self, Fault};
    use watertight::{Limits, OsCode, StartStep};
    let test = "where_a_trial_shows_no_cut_an_armed_input_is_refused";
    if !crate::common::is_alone(module_path!(), test) {
        return;
    }
    let _accounted = accounted();
    let _guard = fault::guard();
    fault::plan(&[Fault {
        at: 2,
        only: Some("read (trial)"),
        code: OsCode(Errno::IO.raw_os_error()),
        times: 1,
    }]);
    for _ in 0..2 {
        let refused = consumer("cat").spawn().unwrap_err();
        assert_eq!(refused.step, StartStep::Other);
        assert_eq!(refused.error.kind(), std::io::ErrorKind::Unsupported);
        assert!(refused.to_string().contains("piped"), "{refused}");
    }
    let trace = fault::stop();
    assert_eq!(trace.begun.len(), 1, "{trace:?}");
    assert!(!trace.calls.iter().any(|made| made.name == "spawn"));
    // A pipe makes no such promise.
    let run = consumer("cat")
        .stdin(Input::bytes("a pipe's"))
        .output(Limits::new());
    let outcome = run.unwrap().within(PATIENCE).wait().unwrap();
    assert!(outcome.is_success());
    assert_eq!(outcome.stdout.bytes, b"committed\n");
}
