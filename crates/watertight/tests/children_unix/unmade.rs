//! The thread that hears of children's ends is made once in a process: here, in one of its own, its making fails.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{PATIENCE, is_alone};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use watertight::fault::{self, Fault};
use watertight::{Child, Command, Input, Limits, OsCode};

/// EMFILE, and EAGAIN, which is what a thread too many is told.
const FAILURES: [(&str, OsCode); 2] = [
    ("epoll_create (children)", OsCode(24)),
    ("clone (children)", OsCode(11)),
];

/// What a task is told that begins to wait.
fn refused(child: &Child) -> Option<OsCode> {
    let wait = pin!(child.wait());
    let polled = wait.poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else {
        panic!("{polled:?}");
    };
    error.os
}

#[test]
fn a_thread_that_cannot_be_made_is_told_and_made_at_the_next_need() {
    let test = "a_thread_that_cannot_be_made_is_told_and_made_at_the_next_need";
    if !is_alone(module_path!(), test) {
        return;
    }
    let _guard = fault::guard();
    let mut child = Command::new("cat").stdin(Input::piped()).spawn().unwrap();
    for (call, code) in FAILURES {
        let once = Fault {
            at: 1,
            only: Some(call),
            code,
            times: 1,
        };
        fault::plan(&[once]);
        assert_eq!(refused(&child), Some(code), "{call}");
        assert_eq!(fault::stop().begun.len(), 1, "{call}");
    }
    drop(child.stdin.take());
    // A thread that may block needs no other.
    assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
    let next = Command::new("true").output(Limits::new()).unwrap();
    assert!(next.within(PATIENCE).wait().unwrap().is_success());
}
