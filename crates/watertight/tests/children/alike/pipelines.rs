//! Pipelines of three commands, on every system: how each of them ends, and whom its end ends. Each is gone through with an account of its
//! pipes and without one, waited for by a task and by a thread.

use super::{accounted, child};
use crate::common::PATIENCE;
use futures_lite::future;
use watertight::{
    EndedBy, ErrorKind, Exit, Limits, Outcome, PipeAccount, Pipeline, PipelineOutcome, TransferEnd,
};

/// With an account or without one; by a task or by a thread.
const WAYS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// What comes of three commands that do this. Nobody is ended by us.
fn outcome_of(deeds: [&str; 3], (is_accounted, is_task): (bool, bool)) -> PipelineOutcome {
    let [first, second, third] = deeds.map(child);
    let pipeline = Pipeline::from(first).then(second).then(third);
    let mut pipeline = pipeline.accounted(is_accounted);
    let run = pipeline.output(Limits::new()).unwrap().within(PATIENCE);
    // It keeps what its commands are given.
    drop(pipeline);
    let outcome = if is_task {
        future::block_on(run)
    } else {
        run.wait()
    };
    let outcome = outcome.unwrap();
    for stage in &outcome.stages {
        assert_eq!(stage.ended, EndedBy::Itself, "{stage:?}");
    }
    let pipes = if is_accounted { 2 } else { 0 };
    assert_eq!(outcome.pipes.len(), pipes);
    outcome.pipes.iter().for_each(assert_balanced);
    outcome
}

/// What left the one end is what the other one accepted, and nothing is under way.
fn assert_balanced(pipe: &PipeAccount) {
    assert_eq!(pipe.from.transferred(), pipe.to.accepted(), "{pipe:?}");
    assert_eq!(pipe.from.unsettled() + pipe.to.unsettled(), 0, "{pipe:?}");
}

/// The next command read no further, and something was on its way to it.
fn assert_left(pipe: &PipeAccount) {
    let failed = pipe.ended.unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind),
        (TransferEnd::Destination, ErrorKind::BrokenPipe),
        "{pipe:?}"
    );
    assert!(pipe.to.accepted() > 0, "{pipe:?}");
}

/// All that was written went to the next command, and its end too.
fn assert_whole(pipe: &PipeAccount) {
    let done = pipe.ended.unwrap();
    assert!(done.has_ended, "{pipe:?}");
    assert_eq!(done.bytes, pipe.passed_on(), "{pipe:?}");
    assert!(done.bytes > 0 && pipe.not_passed_on() == 0, "{pipe:?}");
}

fn codes(outcome: &PipelineOutcome) -> Vec<Option<i32>> {
    let code = |stage: &Outcome| stage.exit.and_then(Exit::status).unwrap().code();
    outcome.stages.iter().map(code).collect()
}

#[test]
fn what_goes_through_three_commands_arrives_and_each_has_its_own_status() {
    let _accounted = accounted();
    for way in WAYS {
        let outcome = outcome_of(["say", "pass on", "hear"], way);
        assert_eq!(codes(&outcome), [Some(3), Some(0), Some(5)]);
        let heard = outcome.last().stdout.text();
        assert!(heard.contains("heard: true"), "{heard}");
        outcome.pipes.iter().for_each(assert_whole);
        assert!(!outcome.is_success());
    }
}

/// The one before is told when it writes, and the one behind reads the end.
#[test]
fn a_command_that_dies_ends_its_neighbours() {
    let _accounted = accounted();
    for way in WAYS {
        let outcome = outcome_of(["for ever", "fail at a byte", "hear"], way);
        assert_eq!(codes(&outcome), [Some(0), Some(4), Some(5)]);
        let heard = outcome.last().stdout.text();
        assert!(heard.contains("heard: false"), "{heard}");
        if let [before, behind] = outcome.pipes.as_slice() {
            assert_left(before);
            assert_whole(behind);
        }
        assert!(!outcome.is_success());
    }
}

#[test]
fn a_command_that_has_enough_ends_those_before_it_and_that_is_no_failure() {
    let _accounted = accounted();
    for way in WAYS {
        let outcome = outcome_of(["for ever", "pass on", "take a byte"], way);
        assert_eq!(codes(&outcome), [Some(0); 3]);
        outcome.pipes.iter().for_each(assert_left);
        assert!(outcome.is_success(), "who has enough is no failure");
    }
}

/// Only a signal says that it was nothing but the broken pipe: a code of its own is the command's word, on every system.
#[test]
fn a_command_that_calls_it_a_failure_has_failed() {
    let _accounted = accounted();
    for way in WAYS {
        let outcome = outcome_of(["for ever or fail", "pass on", "take a byte"], way);
        assert_eq!(codes(&outcome), [Some(6), Some(0), Some(0)]);
        assert!(!outcome.is_success());
    }
}
