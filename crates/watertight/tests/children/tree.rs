//! The wait for a child's whole tree, on every system that has it. The children are this test binary.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a child ends without the harness")]

use crate::common::{Accounted, PATIENCE, test_name};
use futures_lite::future::{block_on, poll_once};
use std::io::Read;
use std::pin::pin;
use std::time::Duration;
use watertight::{Child, Command, EndedBy, ErrorKind, Exit, Group, Input, Limits, Output, Verb};

/// Makes this test binary a child that does this, and nothing else.
const DEED: &str = "WATERTIGHT_CHILD";

/// With what the children end.
const CODE: i32 = 3;

/// No test of its own: what the children do.
#[test]
fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    let mut heard = Vec::new();
    match deed.as_str() {
        // Dropped, it goes on. It has our input, and is in our group.
        "leave" => drop(child("stay").group(Group::Shared).spawn().unwrap()),
        "end" => {}
        "stay" => drop(std::io::stdin().read_to_end(&mut heard).unwrap()),
        _ => panic!("no such deed: {deed}"),
    }
    std::process::exit(CODE);
}

fn child(deed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &test_name(module_path!(), "deed")])
        .args(["--nocapture", "--quiet"])
        .env(DEED, deed)
        .stdout(Output::null())
        .stderr(Output::null());
    command
}

/// Behind a first child: the thread that hears of children's ends stays, and what std makes its pipes with (Windows).
fn accounted() -> Accounted {
    Accounted::start_behind(|| {
        let mut first = child("stay");
        first.stdin(Input::piped()).stdout(Output::piped());
        let mut first = first.spawn().unwrap();
        let input = first.stdin.take();
        let late = first.communicate(Limits::new());
        // As a task waits: a thread needs no other.
        let late = block_on(late.within(Duration::from_millis(1))).unwrap();
        assert_eq!(late.ended, EndedBy::Deadline);
        drop(input);
        let _ = child("end").output(Limits::new()).unwrap().wait().unwrap();
    })
}

/// A child that is over, and the input of the one that it has left behind, which ends with that.
fn tree() -> (Child, std::io::PipeWriter) {
    let (from, into) = std::io::pipe().unwrap();
    let mut command = child("leave");
    command.stdin(Input::from_handle(from)).group(Group::Own);
    let child = command.spawn().unwrap();
    let exit = child.until_exit().within(PATIENCE).wait().unwrap();
    assert_eq!(code(exit), Some(CODE));
    (child, into)
}

fn code(exit: Exit) -> Option<i32> {
    exit.status().unwrap().code()
}

#[test]
fn the_tree_is_over_when_its_last_is() {
    let _accounted = accounted();
    let (child, into) = tree();
    for _ in 0..2 {
        // A deadline ends the waiting and nothing else.
        let early = child.wait_tree().within(Duration::ZERO).wait();
        let early = early.unwrap_err();
        assert_eq!(
            (early.verb, early.kind),
            (Verb::WaitTree, ErrorKind::TimedOut)
        );
    }
    drop(into);
    let exit = child.wait_tree().within(PATIENCE).wait().unwrap();
    assert_eq!(code(exit), Some(CODE));
    // It is reaped, and the same is said again.
    assert!(child.usage().is_some());
    assert_eq!(child.wait_tree().within(PATIENCE).wait().unwrap(), exit);
    assert_eq!(child.wait().within(PATIENCE).wait().unwrap(), exit);
}

#[test]
fn a_task_waits_for_the_last_too() {
    let _accounted = accounted();
    let (child, into) = tree();
    let mut waiting = pin!(child.wait_tree().within(PATIENCE));
    assert!(block_on(poll_once(waiting.as_mut())).is_none());
    // One that is given up takes nothing from the others.
    assert!(block_on(poll_once(child.wait_tree())).is_none());
    drop(into);
    assert_eq!(code(block_on(waiting).unwrap()), Some(CODE));
}

#[test]
fn several_wait_at_once() {
    let _accounted = accounted();
    let (child, into) = tree();
    std::thread::scope(|scope| {
        let waits = [(); 3].map(|()| scope.spawn(|| child.wait_tree().within(PATIENCE).wait()));
        drop(into);
        for wait in waits {
            assert_eq!(code(wait.join().unwrap().unwrap()), Some(CODE));
        }
    });
}

#[test]
fn who_has_started_nobody_is_the_whole_tree() {
    let _accounted = accounted();
    for is_task in [false, true] {
        let child = child("end").spawn().unwrap();
        let waiting = child.wait_tree().within(PATIENCE);
        let waited = if is_task {
            block_on(waiting)
        } else {
            waiting.wait()
        };
        assert_eq!(code(waited.unwrap()), Some(CODE));
    }
}
