//! Children whose ends tasks wait for in tokio's reactor: told as ever, also when the runtime does not run any more, and no thread
//! of the library's takes part.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::accounted_behind;
use crate::common::{Accounted, PATIENCE};
use futures_lite::future::poll_once;
use std::pin::pin;
use tokio::runtime::{Builder, Runtime};
use watertight::{Child, Command, Direction, EndedBy, Group, Input, Limits, Output};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_io().build().unwrap()
}

/// Behind a first runtime, too: what it leaves stays.
fn accounted() -> Accounted {
    let mut first = Command::new("sh");
    first.args(["-c", "exec sleep 1000"]);
    accounted_behind(first, || drop(runtime()))
}

/// Lives until its input ends.
fn living() -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "read line"]).stdin(Input::piped());
    command.tokio_reactor(true).spawn().unwrap()
}

#[cfg(feature = "fault")]
#[test]
fn the_library_s_threads_have_no_part_in_it() {
    use watertight_os::fault;
    let _accounted = accounted();
    let guard = fault::guard();
    fault::plan(&[]);
    runtime().block_on(async {
        let mut echo = Command::new("sh");
        echo.args(["-c", "read line; echo $line"]);
        echo.stdin(Input::bytes("said\n")).tokio_reactor(true);
        let outcome = echo.output(Limits::new()).unwrap().await.unwrap();
        assert_eq!(outcome.stdout.bytes, b"said\n");
        let mut child = living();
        let mut waiting = pin!(child.stdin.take().map(|input| async move {
            tokio::task::yield_now().await;
            drop(input);
        }));
        let (exit, ()) = tokio::join!(child.wait(), waiting.as_mut().as_pin_mut().unwrap());
        assert!(!exit.unwrap().is_success(), "read found the end");
    });
    let calls = fault::stop().calls;
    let names: Vec<_> = calls.iter().map(|made| made.name).collect();
    assert!(names.contains(&"pidfd_open (child)"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("EPOLL_CTL")),
        "waited with the library's own thread: {names:?}"
    );
    drop(guard);
}

#[test]
fn everybody_who_waits_for_the_same_child_hears_of_it() {
    let _accounted = accounted();
    let mut child = living();
    let input = child.stdin.take();
    runtime().block_on(async {
        let (mut first, mut second) = (pin!(child.until_exit()), pin!(child.wait()));
        assert!(poll_once(first.as_mut()).await.is_none());
        assert!(poll_once(second.as_mut()).await.is_none());
        let mut given_up = pin!(child.wait());
        assert!(poll_once(given_up.as_mut()).await.is_none());
        drop(input);
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.unwrap(), second.unwrap());
    });
}

#[test]
fn one_that_is_over_before_is_told_at_once() {
    let _accounted = accounted();
    let child = Command::new("true").tokio_reactor(true).spawn().unwrap();
    child.until_exit().within(PATIENCE).wait().unwrap();
    runtime().block_on(async {
        assert!(child.wait().await.unwrap().is_success());
        assert!(child.wait().await.unwrap().is_success(), "reaped already");
    });
}

/// The child's own end comes from the reactor, and that of whom it leaves behind from the library's thread.
#[test]
fn who_is_left_of_its_tree_is_waited_for_too() {
    let _accounted = accounted();
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat <&3 & exit 3"]).group(Group::Own);
    shell
        .pipe_at(3, Direction::Read)
        .stdout(Output::null())
        .tokio_reactor(true);
    let mut child = shell.spawn().unwrap();
    let third = child.take_writer(3);
    let exit = runtime().block_on(async {
        let mut waiting = pin!(child.wait_tree());
        // Once it has heard of the child's end, too.
        child.until_exit().await.unwrap();
        assert!(poll_once(waiting.as_mut()).await.is_none());
        drop(third);
        waiting.await.unwrap()
    });
    assert_eq!(exit.status().unwrap().code(), Some(3));
}

/// A wait that was begun in it goes on in another runtime, and in a thread that has none.
#[test]
fn a_wait_outlives_its_runtime() {
    let _accounted = accounted();
    let mut child = living();
    let input = child.stdin.take();
    let (gone, other) = (runtime(), runtime());
    let mut moved = child.until_exit();
    let mut left = child.wait();
    gone.block_on(async {
        assert!(poll_once(&mut moved).await.is_none());
        assert!(poll_once(&mut left).await.is_none());
    });
    other.block_on(async { assert!(poll_once(&mut moved).await.is_none()) });
    drop(gone);
    drop(input);
    let exit = other.block_on(moved).unwrap();
    assert_eq!(left.within(PATIENCE).wait().unwrap(), exit);
}

/// tokio's deadline, and the kill behind it, need no other thread either.
#[test]
fn a_child_that_does_not_end_is_ended() {
    let _accounted = accounted();
    let mut child = living();
    let _input = child.stdin.take();
    runtime().block_on(async {
        let waited = poll_once(child.wait()).await;
        assert!(waited.is_none());
        let exit = child.terminate(PATIENCE).await.unwrap();
        assert!(!exit.is_success());
    });
}

/// A thread that blocks may be the one that runs the reactor.
#[test]
fn who_blocks_inside_of_a_runtime_does_not_wait_for_it() {
    let _accounted = accounted();
    runtime().block_on(async {
        let mut child = living();
        let _input = child.stdin.take();
        let exit = child.terminate(PATIENCE).within(PATIENCE).wait();
        assert!(!exit.unwrap().is_success());

        // One that was begun by a task, and is waited for by a thread.
        let mut echo = Command::new("sh");
        echo.args(["-c", "read line; echo $line"])
            .stdin(Input::piped());
        echo.stdout(Output::piped()).tokio_reactor(true);
        let mut child = echo.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let mut run = child.communicate(Limits::new());
        assert!(poll_once(&mut run).await.is_none());
        input.try_send(b"said\n").unwrap();
        let outcome = run.within(PATIENCE).wait().unwrap();
        assert_eq!(
            (outcome.ended, &outcome.stdout.bytes[..]),
            (EndedBy::Itself, &b"said\n"[..])
        );
    });
}
