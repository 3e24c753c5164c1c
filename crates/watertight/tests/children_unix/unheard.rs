//! A child whose end the system cannot tell is killed, and all that came is kept.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};
use watertight::fault::{self, Fault};
use watertight::{Command, EndedBy, Exit, Group, Input, Limits, OsCode, Outcome, Output, Pipeline};

/// EPERM: a filter forbids the question.
const FORBIDDEN: OsCode = OsCode(1);

/// ENOSPC: this user watches as many descriptors as may be.
const TOO_MANY: OsCode = OsCode(28);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).group(Group::Own);
    command
}

/// The next calls of this name fail.
fn plan(call: &'static str, code: OsCode, times: u64) {
    fault::plan(&[Fault {
        at: 1,
        only: Some(call),
        code,
        times,
    }]);
}

/// It would go on for long, and was killed.
fn assert_killed(outcome: &Outcome, code: OsCode) {
    assert_eq!(outcome.ended, EndedBy::Failure);
    assert_eq!(outcome.failure.unwrap().os, Some(code));
    assert!(!outcome.exit.is_some_and(Exit::is_success));
    assert!(outcome.stderr.has_ended && outcome.holders.is_empty());
}

#[test]
fn what_came_is_kept_when_nobody_tells_the_end() {
    let _accounted = accounted();
    let _guard = fault::guard();
    let mut command = shell("echo out; echo ready >&2; exec sleep 1000");
    command.stdout(Output::piped()).stderr(Output::piped());
    let mut child = command.spawn().unwrap();
    let ready = child.stderr.take().unwrap();
    let line = ready.lines(100).receive().within(PATIENCE).wait();
    assert_eq!(line.unwrap().unwrap().content(), b"ready");
    plan("EPOLL_CTL_ADD (children)", TOO_MANY, 1);
    let run = child.communicate(Limits::new()).within(PATIENCE);
    let outcome = futures_lite::future::block_on(run).unwrap();
    assert_eq!(fault::stop().begun.len(), 1);
    assert_killed(&outcome, TOO_MANY);
    assert_eq!(outcome.stdout.bytes, b"out\n");
    assert!(outcome.stdout.has_ended);
    let told = outcome.into_result().unwrap_err();
    assert!(told.to_string().contains("cannot be told"), "{told}");
    assert_eq!(told.outcome.stdout.bytes, b"out\n");
    await_no_children();
}

/// It asks in another way, and then in the task's: both are forbidden once something has come.
#[test]
fn a_thread_that_is_not_told_the_end_keeps_what_came() {
    let _accounted = accounted();
    let _guard = fault::guard();
    let run = shell("echo out; exec sleep 1000").output(Limits::new());
    let mut is_planned = false;
    let run = run.unwrap().on_output(move |_, _| {
        if !std::mem::replace(&mut is_planned, true) {
            plan("waitid (life)", FORBIDDEN, Fault::FOR_EVER);
        }
    });
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert_eq!(fault::stop().begun.len(), 1);
    assert_killed(&outcome, FORBIDDEN);
    assert_eq!(outcome.stdout.bytes, b"out\n");
    assert!(outcome.stdout.has_ended);
    await_no_children();
}

/// The first one's end cannot be told, and the second has written something.
#[test]
fn a_pipeline_keeps_what_all_of_them_wrote() {
    let _accounted = accounted();
    let _guard = fault::guard();
    let (from, into) = std::io::pipe().unwrap();
    let mut last = shell("echo out; echo ready >&2; exec sleep 1000");
    last.stderr(Output::from_handle(into));
    let mut pipeline = Pipeline::from(shell("exec sleep 1000")).then(last);
    let limits = Limits::new().grace(Duration::ZERO);
    let run = pipeline.output(limits).unwrap();
    drop(pipeline);
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    plan("EPOLL_CTL_ADD (children)", TOO_MANY, 1);
    let outcome = futures_lite::future::block_on(run.within(PATIENCE)).unwrap();
    assert_eq!(fault::stop().begun.len(), 1);
    assert_killed(&outcome.stages[0], TOO_MANY);
    assert!(!outcome.is_success());
    let last = outcome.last();
    assert_eq!(last.ended, EndedBy::Request);
    assert_eq!(last.stdout.bytes, b"out\n");
    assert!(!last.exit.unwrap().is_success());
    await_no_children();
}

/// As where there is no /proc: its tree cannot be looked at, and it ends as it was asked to.
#[test]
fn who_ends_on_request_tells_how_although_nobody_sees_its_tree() {
    let _accounted = accounted();
    let _guard = fault::guard();
    let mut command = shell("trap 'exit 3' TERM; echo ready; while :; do read line; done");
    let (from, into) = std::io::pipe().unwrap();
    command
        .stdout(Output::from_handle(into))
        .stdin(Input::piped());
    let child = command.spawn().unwrap();
    drop(command);
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).unwrap();
    plan("open (/proc)", OsCode(2), Fault::FOR_EVER);
    let ended = child.terminate_tree(PATIENCE).wait();
    assert!(!fault::stop().begun.is_empty());
    assert_eq!(ended.unwrap().status().unwrap().code(), Some(3));
}

/// As where there is no /proc: the child has its signal with its group, and no other one by itself. Many a program ends at once at the second.
#[test]
fn whoever_nobody_sees_is_asked_to_end_once() {
    let _accounted = accounted();
    let _guard = fault::guard();
    let child = shell("exec sleep 1000").spawn().unwrap();
    let is_unseen = |call| Fault {
        at: 1,
        only: Some(call),
        code: OsCode(2),
        times: Fault::FOR_EVER,
    };
    fault::plan(&["open (/proc)", "read (stat again)"].map(is_unseen));
    let ended = child.terminate_tree(PATIENCE).wait();
    let trace = fault::stop();
    assert!(!ended.unwrap().is_success());
    let calls: Vec<&str> = trace.calls.iter().map(|made| made.name).collect();
    assert!(calls.contains(&"killpg"), "{calls:?}");
    assert!(!calls.contains(&"pidfd_send_signal"), "{calls:?}");
    drop(child);
    await_no_children();
}

/// The thread that hears of ends and reaps does so a moment after the end.
fn await_no_children() {
    let begun = Instant::now();
    while crate::common::held()
        .iter()
        .any(|one| one.starts_with("child") || one.contains("pidfd"))
    {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for no child");
        std::thread::yield_now();
    }
}
