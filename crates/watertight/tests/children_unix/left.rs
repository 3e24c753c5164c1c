//! Whoever a child that has ended by itself has left behind, and who holds its output: named, and not ended.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::accounted;
use crate::common::{PATIENCE, held};
use futures_lite::future;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use watertight::{
    AfterExit, AtBound, Child, Command, EndRequest, EndedBy, ErrorKind, Exit, Found, Group, Input,
    Limits, Outcome, Output, Pipeline,
};

/// As a thread waits, and as a task does.
const WAYS: [bool; 2] = [false, true];

/// In a group of its own.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).group(Group::Own);
    command
}

/// A shell that is over, and has left a process behind that holds its output.
fn over() -> Child {
    let mut command = shell("sleep 1000 </dev/null & echo said; exit 3");
    command.stdout(Output::piped()).stderr(Output::null());
    let child = command.spawn().unwrap();
    await_ends();
    child
}

/// Waits until every child of this process is over. Nobody reaps them meanwhile.
fn await_ends() {
    let is_alive = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while held()
        .iter()
        .filter_map(|one| one.strip_prefix("child "))
        .any(is_alive)
    {
        std::thread::yield_now();
    }
}

fn outcome_of(child: Child, limits: Limits, is_task: bool) -> Outcome {
    let run = child.communicate(limits).within(PATIENCE);
    let outcome = if is_task {
        future::block_on(run)
    } else {
        run.wait()
    };
    outcome.unwrap()
}

/// The child's status counts, what it said is there, and the one that holds its output is named and lives.
fn assert_left(outcome: &Outcome, said: &[u8]) {
    let status = outcome.exit.and_then(Exit::status).unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(outcome.stdout.bytes, said);
    assert!(!outcome.stdout.has_ended && outcome.tree.is_none());
    assert_eq!(outcome.holders.len(), 1, "{:?}", outcome.holders);
    outcome.holders.iter().for_each(kill);
}

fn kill(found: &Found) {
    let pid = Pid::from_raw(found.pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The silence that is waited for does not come before it.
#[test]
fn whoever_holds_the_output_at_the_deadline_is_named_and_left() {
    let _accounted = accounted();
    for rule in [AfterExit::ToDeadline, AfterExit::Quiet(PATIENCE)] {
        for is_task in WAYS {
            let limits = Limits::new().after_exit(rule).within(Duration::ZERO);
            let outcome = outcome_of(over(), limits, is_task);
            assert_eq!(outcome.ended, EndedBy::DeadlineAfterExit);
            assert_left(&outcome, b"said\n");
            // It is the child's own failure.
            let told = outcome.into_result().unwrap_err().to_string();
            assert!(told.contains('3') && !told.contains("deadline"), "{told}");
        }
    }
}

/// That of the wait itself kills at once whoever is a part of the run, and nobody else.
#[test]
fn a_deadline_of_the_wait_leaves_them_too() {
    let _accounted = accounted();
    for is_task in WAYS {
        let outcome_of = |limits: Limits| {
            let run = over().communicate(limits).within(Duration::ZERO);
            let outcome = if is_task {
                future::block_on(run)
            } else {
                run.wait()
            };
            outcome.unwrap()
        };
        let outcome = outcome_of(Limits::new().after_exit(AfterExit::ToDeadline));
        assert_eq!(outcome.ended, EndedBy::DeadlineAfterExit);
        assert_left(&outcome, b"said\n");
        let outcome = outcome_of(Limits::new());
        assert_eq!(outcome.ended, EndedBy::Deadline);
        assert_eq!(outcome.stdout.bytes, b"said\n");
        let tree = outcome.tree.unwrap();
        assert_eq!((tree.asked.len(), tree.killed.len()), (0, 1), "{tree:?}");
    }
}

/// A request that leaves no grace, and a bound that ends the tree of a child that runs.
#[test]
fn neither_a_request_nor_a_bound_ends_them() {
    let _accounted = accounted();
    for is_task in WAYS {
        let limits = Limits::new().after_exit(AfterExit::ToDeadline);
        let request = EndRequest::new();
        request.send();
        request.send();
        let outcome = outcome_of(over(), limits.clone().end_on(&request), is_task);
        assert_eq!(outcome.ended, EndedBy::Request);
        assert_left(&outcome, b"said\n");
        let told = outcome.into_result().unwrap_err().to_string();
        assert!(told.contains("left on request"), "{told}");

        let limits = limits.output_bytes_max(3).at_bound(AtBound::End);
        let outcome = outcome_of(over(), limits, is_task);
        assert_eq!(outcome.ended, EndedBy::Bound);
        assert_left(&outcome, b"sai");
        let told = outcome.into_result().unwrap_err().to_string();
        assert!(told.ends_with("passed the bound"), "{told}");
    }
}

/// The deadline is far, and what comes until the end is read.
#[test]
fn an_output_that_ends_before_the_deadline_is_whole() {
    let _accounted = accounted();
    // The shell has its input as 3 first: what it starts in the background has none of its own.
    let mut command = shell("exec 3<&0; (read line <&3; echo later) & echo now");
    command.stdin(Input::bytes("go\n"));
    let limits = Limits::new().after_exit(AfterExit::ToDeadline);
    let run = command.output(limits.within(PATIENCE)).unwrap();
    let outcome = run.wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Itself);
    assert!(outcome.stdout.is_whole() && outcome.is_success());
    let text = outcome.stdout.text();
    assert!(text.contains("now\n") && text.contains("later\n"), "{text}");
}

/// The one that is left behind holds the first command's standard error, or its output, which goes to the next one through us.
#[test]
fn a_pipeline_whose_commands_ended_well_is_left_at_the_deadline() {
    let _accounted = accounted();
    let sleep = "sleep 1000 </dev/null";
    for (first, last, is_accounted) in [
        (format!("{sleep} >/dev/null & echo said"), "cat", false),
        (format!("{sleep} 2>/dev/null &"), "exit 0", true),
    ] {
        for is_task in WAYS {
            let pipeline = Pipeline::from(shell(&first)).then(shell(last));
            let mut pipeline = pipeline.accounted(is_accounted);
            let limits = Limits::new().after_exit(AfterExit::ToDeadline);
            let run = pipeline.output(limits.within(Duration::ZERO)).unwrap();
            drop(pipeline);
            await_ends();
            let run = run.within(PATIENCE);
            let outcome = if is_task {
                future::block_on(run)
            } else {
                run.wait()
            };
            let outcome = outcome.unwrap();
            assert_eq!(outcome.stages[0].ended, EndedBy::DeadlineAfterExit);
            assert_eq!(outcome.last().ended, EndedBy::Itself);
            assert!(outcome.is_success(), "{outcome:?}");
            if let [pipe] = outcome.pipes.as_slice() {
                let failed = pipe.ended.unwrap_err();
                assert_eq!(failed.error.kind, ErrorKind::Aborted);
            } else {
                assert_eq!(outcome.last().stdout.bytes, b"said\n");
            }
            let holders = &outcome.stages[0].holders;
            assert_eq!(holders.len(), 1, "{holders:?}");
            holders.iter().for_each(kill);
        }
    }
}
