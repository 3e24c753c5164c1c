//! Scenarios of children: started, fed and read, waited for, killed.

use super::peer::Peer;
use super::stage::{PATIENCE, Stage};
use crate::common::noise;
use std::io;
use watertight::{
    Child, Command, EndedBy, Ending, Error, ErrorKind, Exit, Group, Input, Limits, OnDrop, OsCode,
    Outcome, Output, WriterOptions,
};

/// `cat`, which ends when its input does.
fn cat(s: &mut Stage<'_>, input: Input) -> Option<Child> {
    let started = Command::new("cat")
        .stdin(input)
        // A write that the kernel never takes would be sent for ever.
        .stdin_options(WriterOptions::new().on_drop(OnDrop::Abort))
        .stdout(Output::piped())
        .group(Group::Own)
        .kill_on_drop(true)
        .spawn();
    match started {
        Ok(child) => Some(child),
        Err(failed) => {
            hear(s, &failed.error);
            None
        }
    }
}

/// The code of an error of std's: its own, or that of ours inside.
fn hear(s: &mut Stage<'_>, error: &io::Error) {
    let inside = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let code = error.raw_os_error().map(OsCode);
    s.hear(code.or_else(|| inside.and_then(|inside| inside.os)));
}

/// Nobody plays the other end: the child does.
fn nobody() -> Peer {
    Peer::content(Vec::new())
}

/// It is fed, read and waited for at once.
pub(crate) fn communicates(s: &mut Stage<'_>) {
    let fed = noise(3000, 50);
    let Some(child) = cat(s, Input::bytes(fed.clone())) else {
        return;
    };
    match s.drive(child.communicate(Limits::new()), &mut nobody()) {
        None => {}
        Some(outcome) => check(s, &outcome.expect("no forked child"), &fed),
    }
}

/// Whatever failed: what came is what was sent, and what is missing is not called whole.
fn check(s: &mut Stage<'_>, outcome: &Outcome, fed: &[u8]) {
    let out = &outcome.stdout;
    s.hear(out.failure.and_then(|failure| failure.os));
    if let Some(stdin) = &outcome.stdin
        && let Ending::Failed(cause) = stdin.ending()
    {
        s.hear(cause.os);
    }
    assert!(
        fed.starts_with(&out.bytes),
        "not what was sent: {} bytes",
        out.bytes.len()
    );
    if let Some(failure) = outcome.failure {
        // It was killed, with what it had read.
        s.hear(failure.os);
        assert_eq!(outcome.ended, EndedBy::Failure);
        return;
    }
    let is_fed = outcome
        .stdin
        .as_ref()
        .is_some_and(|stdin| stdin.is_complete());
    let is_lost = is_fed && out.is_whole() && out.bytes.len() < fed.len();
    assert!(!is_lost, "lost: {} bytes are called whole", out.bytes.len());
    assert_eq!(outcome.ended, EndedBy::Itself);
    s.expect(
        outcome.is_success(),
        "the child is fed and read and ends well",
    );
}

/// A thread that may block waits for it.
pub(crate) fn waited_for(s: &mut Stage<'_>) {
    let Some(mut child) = cat(s, Input::piped()) else {
        return;
    };
    drop(child.stdin.take());
    let waited = child.wait().within(PATIENCE).wait();
    told(s, waited);
}

/// Its end is seen first, and it is reaped after that.
pub(crate) fn seen_and_reaped(s: &mut Stage<'_>) {
    let Some(mut child) = cat(s, Input::piped()) else {
        return;
    };
    drop(child.stdin.take());
    let seen = child.until_exit().within(PATIENCE).wait();
    told(s, seen);
    let waited = child.wait().within(PATIENCE).wait();
    told(s, waited);
}

/// It is killed with its tree, and a task waits for it.
pub(crate) fn killed(s: &mut Stage<'_>) {
    let Some(mut child) = cat(s, Input::piped()) else {
        return;
    };
    let end = child.kill_tree();
    if let Some(error) = &end.error {
        hear(s, error);
    }
    s.expect(!end.signalled.is_empty(), "it is there to be killed");
    if end.signalled.is_empty() {
        // It may be stopped and no more: the drop kills it.
        return;
    }
    drop(child.stdin.take());
    if let Some(waited) = s.drive(child.wait(), &mut nobody()) {
        told(s, waited);
    }
}

fn told(s: &mut Stage<'_>, waited: Result<Exit, Error>) {
    match waited {
        Ok(exit) => s.expect(exit.status().is_some(), "its status is told"),
        Err(error) => {
            assert_ne!(error.kind, ErrorKind::TimedOut, "hang: no end is told");
            s.hear(error.os);
        }
    }
}

/// Has the thread started that hears of children's ends: only for a child that has not ended yet.
pub(crate) fn wait_for_one_that_lives() {
    let mut cat = Command::new("cat");
    cat.stdin(Input::piped()).stdout(Output::null());
    let mut child = cat.spawn().expect("a child");
    let first = futures_lite::future::poll_once(child.wait());
    assert!(futures_lite::future::block_on(first).is_none());
    drop(child.stdin.take());
    let exit = child.wait().within(PATIENCE).wait();
    assert!(exit.expect("an end").is_success());
}

/// Starts one and waits for it: whoever is left over is reaped by a start.
pub(crate) fn start_another() {
    let another = Command::new("true").output(Limits::new());
    let outcome = another.expect("a child").within(PATIENCE).wait();
    assert!(outcome.expect("an end").is_success());
}
