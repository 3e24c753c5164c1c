//! Scenarios of the ends of children: waited for, asked for, made, of one child and of a tree.

use super::children::{cat, hear, nobody, somebody_lives, start, told};
use super::stage::{PATIENCE, Stage};
use std::io::Read;
use std::time::Duration;
use watertight::{Child, Command, Input, Output};

/// A shell and one whom it has started, which says that it is there and ends with its input. Asked to end, both do, and the shell has
/// reaped the other by then.
const FAMILY: &str =
    "trap 'wait; exit 0' TERM; exec 3<&0; (echo ready; exec cat <&3 >/dev/null) & wait";

/// A shell that ends at once. Whom it leaves behind ends with its input.
const LEAVES_ONE: &str = "exec 3<&0; cat <&3 >/dev/null & echo ready";

/// A shell, and one in a session of its own whose parent is gone. That one ends with the shell's input.
const LEAVES_A_DAEMON: &str =
    "exec 3<&0; sh -c 'setsid sh -c \"echo ready; exec cat <&3 >/dev/null\" &'; exec sleep 1000";

/// What says "alive" for ever of somebody who is over holds an ending up for so long.
const GRACE: Duration = Duration::from_millis(20);

/// Starts a shell, and waits until it says that it is ready.
fn shell(s: &mut Stage<'_>, script: &str) -> Option<Child> {
    shell_apart(s, script, false)
}

/// In a control group of its own, if that is asked for and can be had.
fn shell_apart(s: &mut Stage<'_>, script: &str, has_cgroup: bool) -> Option<Child> {
    let (mut says, into) = std::io::pipe().unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .stdin(Input::piped())
        .stdout(Output::from_handle(into))
        // What it says of those whom a signal has ended.
        .stderr(Output::null())
        .cgroup(has_cgroup);
    let child = start(s, shell)?;
    let mut ready = [0; 6];
    says.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    Some(child)
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

/// It is killed with all that are in its control group. Where none can be had the daemon is not found.
pub(crate) fn killed_in_a_cgroup(s: &mut Stage<'_>) {
    let Some(mut child) = shell_apart(s, LEAVES_A_DAEMON, true) else {
        return;
    };
    let end = child.kill_tree();
    if let Some(error) = &end.error {
        hear(s, error);
    }
    let count = if child.has_cgroup() { 2 } else { 1 };
    s.expect(end.signalled.len() >= count, "all of them are killed");
    if end.signalled.is_empty() {
        // It may be stopped and no more: the drop kills it.
        return;
    }
    drop(child.stdin.take());
    let waited = child.wait().within(PATIENCE).wait();
    told(s, waited);
}

/// It is asked to end.
pub(crate) fn asked(s: &mut Stage<'_>) {
    let Some(child) = cat(s, Input::piped()) else {
        return;
    };
    if let Some(ended) = s.drive(child.terminate(GRACE), &mut nobody()) {
        told(s, ended);
    }
}

/// It is asked with its tree.
pub(crate) fn asked_with_its_tree(s: &mut Stage<'_>) {
    let Some(child) = shell(s, FAMILY) else {
        return;
    };
    if let Some(ended) = s.drive(child.terminate_tree(GRACE), &mut nobody()) {
        told(s, ended);
    }
}

/// A task waits for it and for whom it has left behind.
pub(crate) fn waited_for_with_its_tree(s: &mut Stage<'_>) {
    let Some(mut child) = shell(s, LEAVES_ONE) else {
        return;
    };
    let seen = child.until_exit().within(PATIENCE).wait();
    told(s, seen);
    let looked = s.drive(child.wait_tree().within(Duration::ZERO), &mut nobody());
    somebody_lives(s, looked);
    drop(child.stdin.take());
    if let Some(waited) = s.drive(child.wait_tree(), &mut nobody()) {
        told(s, waited);
    }
}

/// A thread that may block does.
pub(crate) fn tree_blocked_on(s: &mut Stage<'_>) {
    let Some(mut child) = shell(s, LEAVES_ONE) else {
        return;
    };
    let seen = child.until_exit().within(PATIENCE).wait();
    told(s, seen);
    let looked = child.wait_tree().within(Duration::ZERO).wait();
    somebody_lives(s, Some(looked));
    drop(child.stdin.take());
    let waited = child.wait_tree().within(PATIENCE).wait();
    told(s, waited);
}

/// The wait for its tree begins while it lives.
pub(crate) fn tree_noted(s: &mut Stage<'_>) {
    let Some(mut child) = cat(s, Input::piped()) else {
        return;
    };
    let looked = child.wait_tree().within(Duration::ZERO).wait();
    somebody_lives(s, Some(looked));
    drop(child.stdin.take());
    let waited = child.wait_tree().within(PATIENCE).wait();
    told(s, waited);
}
