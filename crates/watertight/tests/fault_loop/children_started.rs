//! Scenarios of starts, with every kind of stream and more than one command: what is made for a child, or nothing.

use super::children::{communicate, hear_streams, nobody, prepare, refused, start, told};
use super::stage::Stage;
use crate::common::noise;
use std::time::Duration;
use watertight::{
    Command, Direction, Input, Limits, Output, PipeAccount, Pipeline, PipelineOutcome, Receipt,
    TerminalSize,
};

/// Its standard streams are pipes.
pub(crate) fn with_pipes(s: &mut Stage<'_>) {
    let fed = noise(3000, 50);
    let mut cat = Command::new("cat");
    cat.stdin(Input::bytes(fed.clone())).stdout(Output::piped());
    if let Some(child) = start(s, cat) {
        communicate(s, child, &fed);
    }
}

/// Both its outputs are one.
pub(crate) fn with_one_output(s: &mut Stage<'_>) {
    let fed = noise(3000, 60);
    let mut cat = Command::new("cat");
    cat.stdin(Input::bytes(fed.clone()))
        .stdout(Output::piped())
        .stderr(Output::to_stdout());
    if let Some(child) = start(s, cat) {
        communicate(s, child, &fed);
    }
}

/// Its input looks cut unless it is ended in order.
pub(crate) fn with_an_armed_input(s: &mut Stage<'_>) {
    let fed = noise(3000, 61);
    let mut cat = Command::new("cat");
    cat.stdin(Input::armed())
        .stdout(Output::piped())
        // What it says of a cut.
        .stderr(Output::null());
    let Some(child) = start(s, cat) else {
        return;
    };
    let input = child.stdin.as_ref().expect("armed");
    if let Err(refused) = input.try_send(&fed) {
        s.hear(refused.error.os);
    }
    communicate(s, child, &fed);
}

/// It has a terminal of its own, and is hung up.
pub(crate) fn with_a_terminal(s: &mut Stage<'_>) {
    let mut cat = Command::new("cat");
    cat.terminal(TerminalSize::default());
    let Some(mut child) = start(s, cat) else {
        return;
    };
    drop(child.terminal.take());
    if let Some(waited) = s.drive(child.wait(), &mut nobody()) {
        told(s, waited);
    }
}

/// It reads from one further pipe and writes to another.
pub(crate) fn with_further_pipes(s: &mut Stage<'_>) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec cat <&3 >&4"])
        .stdin(Input::null())
        .stdout(Output::null())
        .stderr(Output::null())
        .pipe_at(3, Direction::Read)
        .pipe_at(4, Direction::Write);
    let Some(mut child) = start(s, shell) else {
        return;
    };
    // The end of what it reads; and it writes nothing.
    drop((child.take_writer(3), child.take_reader(4)));
    if let Some(waited) = s.drive(child.wait(), &mut nobody()) {
        if let Ok(exit) = waited {
            s.expect(exit.is_success(), "it finds its pipes where they are to be");
        }
        told(s, waited);
    }
}

/// One reads what the other writes, through a pipe of the system's or through this process.
pub(crate) fn in_a_pipeline(s: &mut Stage<'_>, is_accounted: bool) {
    let fed = noise(3000, 62);
    let [mut first, mut last] = [Command::new("cat"), Command::new("cat")];
    prepare(&mut first);
    prepare(&mut last);
    first.stdin(Input::bytes(fed.clone()));
    let mut pipeline = Pipeline::from(first).then(last).accounted(is_accounted);
    // One whose end is not told has the other one killed at once.
    let run = match pipeline.output(Limits::new().grace(Duration::ZERO)) {
        Ok(run) => run,
        Err(failed) => return refused(s, &failed),
    };
    if let Some(outcome) = s.drive(run, &mut nobody()) {
        check(s, &outcome.expect("no forked child"), &fed);
    }
}

/// Whatever failed: what came is what was sent, no more of it than went through the account, and what is missing is not called whole.
fn check(s: &mut Stage<'_>, outcome: &PipelineOutcome, fed: &[u8]) {
    for stage in &outcome.stages {
        hear_streams(s, stage);
        s.hear(stage.failure.and_then(|failure| failure.os));
    }
    let out = &outcome.last().stdout;
    let count = out.bytes.len();
    assert!(
        fed.starts_with(&out.bytes),
        "not what was sent: {count} bytes"
    );
    for pipe in &outcome.pipes {
        if let Err(failed) = &pipe.ended {
            s.hear(failed.error.os);
        }
        let passed_on = pipe.passed_on();
        assert!(count as u64 <= passed_on, "{count} bytes of {passed_on}");
    }
    let first = outcome.stages.first().expect("two of them");
    let is_fed = first.stdin.as_ref().is_some_and(Receipt::is_complete);
    // One whose writes are said to find nobody has a command behind it that wanted no more.
    let is_over = |pipe: &PipeAccount| pipe.ended.is_ok_and(|moved| moved.has_ended);
    let is_whole = is_fed && outcome.is_success() && outcome.pipes.iter().all(is_over);
    let is_lost = is_whole && count < fed.len();
    assert!(!is_lost, "lost: {count} bytes are called all there are");
    s.expect(outcome.is_success(), "all of it goes through both");
}
