//! A pipeline whose pipes go through this process: what went from command to command, what did not, and how each pipe ended.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use crate::common::files::Folder;
use futures_lite::future;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use watertight::{
    AfterExit, Command, EndRequest, EndedBy, ErrorKind, Input, Limits, Output, PipeAccount,
    Pipeline, PipelineOutcome, TransferEnd,
};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Of these commands, with an account of each pipe.
fn pipeline(commands: impl IntoIterator<Item = Command>) -> Pipeline {
    let mut commands = commands.into_iter();
    let first = Pipeline::from(commands.next().unwrap());
    commands.fold(first, Pipeline::then).accounted(true)
}

/// Waited for by a task or by a thread.
fn outcome_of(mut pipeline: Pipeline, limits: Limits, is_task: bool) -> PipelineOutcome {
    let run = pipeline.output(limits).unwrap().within(PATIENCE);
    // It keeps what its commands are given.
    drop(pipeline);
    let outcome = if is_task {
        future::block_on(run)
    } else {
        run.wait()
    };
    outcome.unwrap()
}

/// What left the one end is what the other one accepted, and nothing is under way.
fn assert_balanced(pipe: &PipeAccount) {
    assert_eq!(pipe.from.transferred(), pipe.to.accepted(), "{pipe:?}");
    assert_eq!(pipe.from.unsettled() + pipe.to.unsettled(), 0, "{pipe:?}");
    let read = pipe.passed_on() + pipe.not_passed_on();
    assert_eq!(read, pipe.from.accepted(), "{pipe:?}");
}

/// The next command read no further.
fn assert_left(pipe: &PipeAccount) {
    let failed = pipe.ended.unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind),
        (TransferEnd::Destination, ErrorKind::BrokenPipe)
    );
}

/// The thread that hears of ends and reaps does so a moment after the end.
fn await_no_children() {
    while crate::common::held()
        .iter()
        .any(|one| one.starts_with("child") || one.contains("pidfd"))
    {
        std::thread::yield_now();
    }
}

#[test]
fn every_byte_between_three_commands_is_counted_at_both_ends_of_each_pipe() {
    const BYTES: u64 = 1 << 20;
    let _accounted = accounted();
    let bytes = crate::common::noise(1 << 20, 5);
    for is_task in [false, true] {
        let mut cat = Command::new("cat");
        cat.stdin(Input::bytes(bytes.clone()));
        let commands = [cat, Command::new("cat"), Command::new("cat")];
        let outcome = outcome_of(pipeline(commands), Limits::new(), is_task);
        assert!(outcome.is_success());
        assert!(outcome.last().stdout.bytes == bytes);
        assert_eq!(outcome.pipes.len(), 2);
        for pipe in &outcome.pipes {
            assert_balanced(pipe);
            assert_eq!((pipe.passed_on(), pipe.not_passed_on()), (BYTES, 0));
            assert_eq!(pipe.to.accepted(), BYTES);
            let done = pipe.ended.unwrap();
            assert_eq!((done.bytes, done.has_ended), (BYTES, true));
            assert!(done.in_kernel > 0, "{done:?}");
        }
    }
    await_no_children();
}

#[test]
fn without_being_asked_for_there_is_no_account() {
    let _accounted = accounted();
    let plain = pipeline([shell("echo x"), Command::new("cat")]).accounted(false);
    let outcome = outcome_of(plain, Limits::new(), false);
    assert!(outcome.is_success() && outcome.pipes.is_empty());
    assert_eq!(outcome.last().stdout.bytes, b"x\n");
    await_no_children();
}

#[test]
fn the_output_of_a_command_that_fails_goes_on_and_then_ends() {
    let _accounted = accounted();
    let commands = [shell("echo some; exit 3"), Command::new("cat")];
    let outcome = outcome_of(pipeline(commands), Limits::new(), false);
    assert!(!outcome.is_success());
    let status = outcome.stages[0].exit.unwrap().status().unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(outcome.last().stdout.bytes, b"some\n");
    assert!(outcome.last().is_success());
    let pipe = outcome.pipes[0];
    assert_eq!((pipe.passed_on(), pipe.not_passed_on()), (5, 0));
    assert!(pipe.ended.unwrap().has_ended);
    await_no_children();
}

/// The first one writes for ever, and so does the second.
#[test]
fn a_command_that_has_enough_ends_those_before_it() {
    let _accounted = accounted();
    for is_task in [false, true] {
        let commands = [
            shell("while echo y; do :; done"),
            Command::new("cat"),
            shell("exec head -c 3"),
        ];
        let outcome = outcome_of(pipeline(commands), Limits::new(), is_task);
        assert!(outcome.is_success(), "who has enough is no failure");
        assert_eq!(outcome.last().stdout.bytes, b"y\ny");
        for (stage, pipe) in outcome.stages.iter().zip(&outcome.pipes) {
            assert_eq!(stage.ended, EndedBy::Itself);
            let status = stage.exit.unwrap().status().unwrap();
            assert_eq!(status.signal(), Some(Signal::PIPE.as_raw()), "{status}");
            assert_balanced(pipe);
            assert_left(pipe);
            assert!(pipe.passed_on() >= 3);
        }
    }
    await_no_children();
}

/// To the byte: the second one has read three bytes and closed its input before the first one writes more, all of it at once.
#[test]
fn what_the_next_command_did_not_take_is_read_and_counted() {
    const MORE: u64 = 50_000;
    let _accounted = accounted();
    for is_task in [false, true] {
        let (go, mut go_into) = std::io::pipe().unwrap();
        let (mut told, told_into) = std::io::pipe().unwrap();
        let mut first = shell(&format!(
            "printf abc; read go; exec dd if=/dev/zero bs={MORE} count=1 status=none"
        ));
        first.stdin(Input::from_handle(go));
        let mut second = shell("head -c 3; exec <&-; echo left");
        second.stdout(Output::from_handle(told_into));
        let pipeline = pipeline([first, second]);
        let run = std::thread::spawn(move || outcome_of(pipeline, Limits::new(), is_task));
        let mut text = String::new();
        told.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcleft\n");
        go_into.write_all(b"go\n").unwrap();
        let outcome = run.join().unwrap();
        let pipe = outcome.pipes[0];
        assert_balanced(&pipe);
        assert_left(&pipe);
        assert_eq!((pipe.passed_on(), pipe.not_passed_on()), (3, MORE));
        assert_eq!((pipe.to.accepted(), pipe.from.discarded()), (3, MORE));
        // It wrote once, and was not told.
        assert!(outcome.stages[0].is_success());
        assert!(outcome.is_success(), "who has enough is no failure");
    }
    await_no_children();
}

/// Runs `first` before a command that counts what it reads, and reads nothing before `first` is over: so many bytes.
fn outcome_of_a_slow_reader(first: &str, bytes: u64, after_exit: AfterExit) -> PipelineOutcome {
    let folder = Folder::new("children-accounted");
    let fifo = folder.fifo();
    let (pid_from, pid_into) = std::io::pipe().unwrap();
    let mut first = shell(first);
    first.stderr(Output::from_handle(pid_into));
    let second = shell(&format!("read go <'{}'; exec wc -c", fifo.display()));
    let pipeline = pipeline([first, second]);
    let limits = Limits::new().after_exit(after_exit);
    let run = std::thread::spawn(move || outcome_of(pipeline, limits, false));
    let mut pid = String::new();
    BufReader::new(pid_from).read_line(&mut pid).unwrap();
    // All that it writes has room on the way; then it is over, and not reaped.
    let stat = format!("/proc/{}/stat", pid.trim());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    std::fs::write(&fifo, "go\n").unwrap();
    let outcome = run.join().unwrap();
    assert_eq!(outcome.last().stdout.text().trim(), bytes.to_string());
    let pipe = outcome.pipes[0];
    assert_balanced(&pipe);
    assert_eq!((pipe.passed_on(), pipe.not_passed_on()), (bytes, 0));
    outcome
}

#[test]
fn a_command_is_over_when_all_that_it_wrote_has_gone_on() {
    let _accounted = accounted();
    // More than one pipe holds, and less than two.
    let script = "echo $$ >&2; exec dd if=/dev/zero bs=100000 count=1 status=none";
    let outcome = outcome_of_a_slow_reader(script, 100_000, AfterExit::ToEnd);
    assert_eq!(outcome.stages[0].ended, EndedBy::Itself);
    assert!(outcome.pipes[0].ended.unwrap().has_ended);
    assert!(outcome.is_success());
    await_no_children();
}

/// Somebody holds the output still, so that its end never comes; a little more than the next command's pipe holds is on its way.
#[test]
fn what_waits_for_the_next_command_is_no_silence() {
    let _accounted = accounted();
    let script = "sleep 1000 & echo $$ >&2; exec dd if=/dev/zero bs=66000 count=1 status=none";
    let quiet = AfterExit::Quiet(Duration::ZERO);
    let outcome = outcome_of_a_slow_reader(script, 66_000, quiet);
    assert_eq!(outcome.stages[0].ended, EndedBy::Quiet);
    let failed = outcome.pipes[0].ended.unwrap_err();
    assert_eq!(failed.error.kind, ErrorKind::Aborted);
    assert!(outcome.is_success(), "it is left as it was asked for");
    let [holder] = outcome.stages[0].holders.as_slice() else {
        panic!("{:?}", outcome.stages[0].holders);
    };
    assert_eq!(holder.name.as_deref(), Some("sleep".as_ref()));
    let pid = Pid::from_raw(i32::try_from(holder.pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    await_no_children();
}

/// The second one reads nothing, so that most of it is under way.
#[test]
fn a_deadline_ends_all_commands_and_every_byte_has_its_place() {
    let _accounted = accounted();
    for is_task in [false, true] {
        let limits = Limits::new()
            .within(Duration::from_millis(200))
            .grace(Duration::ZERO);
        let commands = [
            shell("exec dd if=/dev/zero bs=1000000 count=1 2>/dev/null"),
            shell("exec sleep 1000"),
        ];
        let outcome = outcome_of(pipeline(commands), limits, is_task);
        assert!(!outcome.is_success());
        for stage in &outcome.stages {
            assert_ne!(stage.ended, EndedBy::Itself);
            assert!(!stage.exit.unwrap().is_success());
        }
        assert_balanced(&outcome.pipes[0]);
    }
    await_no_children();
}

#[test]
fn what_went_on_before_the_end_was_asked_for_is_in_the_account() {
    let _accounted = accounted();
    let request = EndRequest::new();
    let limits = Limits::new().end_on(&request).grace(Duration::ZERO);
    let (told, told_into) = std::io::pipe().unwrap();
    let mut last = shell("head -n 1; exec sleep 1000");
    last.stdout(Output::from_handle(told_into));
    let pipeline = pipeline([shell("echo x; exec sleep 1000"), last]);
    let run = std::thread::spawn(move || outcome_of(pipeline, limits, false));
    let mut line = String::new();
    BufReader::new(told).read_line(&mut line).unwrap();
    assert_eq!(line, "x\n");
    request.send();
    let outcome = run.join().unwrap();
    for stage in &outcome.stages {
        assert_eq!(stage.ended, EndedBy::Request);
    }
    let pipe = outcome.pipes[0];
    assert_balanced(&pipe);
    assert_eq!((pipe.passed_on(), pipe.not_passed_on()), (2, 0));
    await_no_children();
}

/// That of the wait itself: all are killed at once.
#[test]
fn a_deadline_of_the_wait_yields_the_account_too() {
    let _accounted = accounted();
    for is_task in [false, true] {
        let commands = [shell("exec sleep 1000"), shell("exec sleep 1000")];
        let mut pipeline = pipeline(commands);
        let run = pipeline.output(Limits::new()).unwrap();
        let run = run.within(Duration::from_millis(1));
        let outcome = if is_task {
            future::block_on(run)
        } else {
            run.wait()
        };
        let outcome = outcome.unwrap();
        for stage in &outcome.stages {
            assert_eq!(stage.ended, EndedBy::Deadline);
        }
        let failed = outcome.pipes[0].ended.unwrap_err();
        assert_eq!(
            (failed.end, failed.error.kind, failed.bytes),
            (TransferEnd::Source, ErrorKind::TimedOut, 0)
        );
        assert!(!outcome.is_success());
    }
    await_no_children();
}

/// The last one reads the end, although the first one goes on.
#[test]
fn a_pipeline_that_is_given_up_leaves_no_pipe_open() {
    let _accounted = accounted();
    let (input, input_into) = std::io::pipe().unwrap();
    let (mut told, told_into) = std::io::pipe().unwrap();
    let mut first = Command::new("cat");
    first.stdin(Input::from_handle(input));
    let mut last = shell("cat; echo ended");
    last.stdout(Output::from_handle(told_into));
    let mut pipeline = pipeline([first, last]);
    let run = pipeline.output(Limits::new()).unwrap();
    drop(pipeline);
    assert!(future::block_on(future::poll_once(run)).is_none());
    let mut text = String::new();
    told.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ended\n");
    drop(input_into);
    await_no_children();
}

#[test]
fn one_that_cannot_start_leaves_nobody_and_nothing_set() {
    let _accounted = accounted();
    let commands = [
        shell("exec sleep 1000"),
        Command::new("watertight-no-such-program"),
    ];
    let error = pipeline(commands).output(Limits::new()).unwrap_err();
    assert_eq!(error.program, "watertight-no-such-program");
    await_no_children();
    let mut again = pipeline([shell("echo again"), Command::new("cat")]);
    for _ in 0..2 {
        let outcome = again.output(Limits::new()).unwrap().wait().unwrap();
        assert_eq!(outcome.last().stdout.bytes, b"again\n");
        assert_eq!(outcome.pipes[0].passed_on(), 6);
    }
    await_no_children();
}
