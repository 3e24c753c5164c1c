//! Trees that are ended: asked, given their grace, killed. Nobody of them is left.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use watertight::{
    AfterExit, Child, Command, EndedBy, Group, Input, Limits, Lines, Output, PipeReader, PipeWriter,
};

/// In a group of its own. Nobody whom it starts holds an output of the test's.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).group(Group::Own);
    command.stdout(Output::piped()).stderr(Output::null());
    command
}

/// A shell, its input, and its output, which whoever it starts holds too.
fn started(script: &str) -> (Child, PipeWriter, PipeReader) {
    let mut command = shell(script);
    let mut child = command.stdin(Input::piped()).spawn().unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, input, output)
}

/// The next line; nothing once nobody holds the output.
fn next(lines: &mut Lines<'_>) -> Option<Vec<u8>> {
    let line = lines.receive().within(PATIENCE).wait().unwrap();
    line.map(|line| line.content().to_vec())
}

#[test]
fn who_is_asked_to_end_says_its_last_words() {
    let _accounted = accounted();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do read line; done";
    let (child, _input, output) = started(script);
    let mut lines = output.lines(100);
    assert_eq!(next(&mut lines).unwrap(), b"ready");
    let ended = child.terminate_tree(PATIENCE).within(PATIENCE);
    let exit = ended.wait().unwrap();
    assert_eq!(exit.status().unwrap().code(), Some(3));
    assert_eq!(next(&mut lines).unwrap(), b"bye");
    assert_eq!(next(&mut lines), None);
}

/// Blocks until the child is stopped.
fn await_stop(child: &Child) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let stopped = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
    assert!(stopped.unwrap().stopped());
}

/// By itself, with its group, and as one of our group. It would end otherwise if it went on before it is asked.
#[test]
fn who_is_stopped_is_asked_too_and_says_its_last_words() {
    let _accounted = accounted();
    let script = "trap 'echo bye; exit 3' TERM; kill -STOP $$; exit 4";
    for (group, is_tree) in [
        (Group::Own, false),
        (Group::Own, true),
        (Group::Shared, true),
    ] {
        let mut child = shell(script).group(group).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        await_stop(&child);
        let ended = if is_tree {
            child.terminate_tree(PATIENCE)
        } else {
            child.terminate(PATIENCE)
        };
        let exit = ended.within(PATIENCE).wait().unwrap();
        assert_eq!(exit.status().unwrap().code(), Some(3), "{group:?}");
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), b"bye");
        assert_eq!(next(&mut lines), None);
    }
}

/// The child and what it has started, or only the one that does not listen. (What a shell ignores, whoever it starts ignores too.)
#[test]
fn who_is_left_after_the_grace_is_killed() {
    let _accounted = accounted();
    for (script, signal) in [
        (
            "trap '' TERM; sleep 1000 </dev/null & echo ready; wait",
            Signal::KILL,
        ),
        (
            "(trap '' TERM; echo ready; exec sleep 1000 </dev/null) & wait",
            Signal::TERM,
        ),
    ] {
        let (child, _input, output) = started(script);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), b"ready");
        let ended = child.terminate_tree(Duration::from_millis(10));
        let exit = ended.within(PATIENCE).wait().unwrap();
        let status = exit.status().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{script}");
        assert_eq!(next(&mut lines), None, "{script}");
    }
}

/// The child is over at once. What it has started waits for a line, which comes after that.
#[test]
fn the_grace_goes_on_after_the_childs_end() {
    let _accounted = accounted();
    let script = "exec 3<&0; (trap '' TERM; echo ready; read line <&3; echo $line) & wait";
    let (child, input, output) = started(script);
    let mut lines = output.lines(100);
    assert_eq!(next(&mut lines).unwrap(), b"ready");
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            let ended = child.terminate_tree(PATIENCE).within(PATIENCE);
            ended.wait().unwrap()
        });
        child.until_exit().within(PATIENCE).wait().unwrap();
        input.send(b"at last\n").within(PATIENCE).wait().unwrap();
        assert_eq!(next(&mut lines).unwrap(), b"at last");
        let status = ended.join().unwrap().status().unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    });
    assert_eq!(next(&mut lines), None);
}

/// Nobody has seen it when the tree was asked, and it holds the output.
#[test]
fn who_is_started_while_a_tree_ends_is_killed_too() {
    let _accounted = accounted();
    let script =
        "trap 'sleep 1000 </dev/null & exit 0' TERM; echo ready; while :; do read line; done";
    let (child, _input, output) = started(script);
    let mut lines = output.lines(100);
    assert_eq!(next(&mut lines).unwrap(), b"ready");
    let ended = child.terminate_tree(PATIENCE).within(PATIENCE);
    assert!(ended.wait().unwrap().is_success());
    assert_eq!(next(&mut lines), None);
}

/// Somebody whom the child has left behind holds its output. The child's end comes before the deadline begins, so that it has said all.
#[test]
fn a_deadline_ends_whoever_stays_behind_and_keeps_what_the_child_said() {
    let _accounted = accounted();
    for (grace, is_task) in [
        (Duration::ZERO, false),
        (Duration::ZERO, true),
        (PATIENCE, false),
        (PATIENCE, true),
    ] {
        let child = shell("sleep 1000 </dev/null & echo x").spawn().unwrap();
        let exit = child.until_exit().within(PATIENCE).wait().unwrap();
        assert!(exit.is_success());
        let limits = Limits::new()
            .after_exit(AfterExit::ToEnd)
            .within(Duration::from_millis(1))
            .grace(grace);
        let run = child.communicate(limits).within(PATIENCE);
        let outcome = if is_task {
            futures_lite::future::block_on(run).unwrap()
        } else {
            run.wait().unwrap()
        };
        assert_eq!(outcome.ended, EndedBy::Deadline);
        assert_eq!(outcome.exit, Some(exit));
        assert_eq!(outcome.stdout.bytes, b"x\n");
        // Whoever held it is gone.
        assert!(outcome.stdout.has_ended && outcome.holders.is_empty());
        let tree = outcome.tree.unwrap();
        assert!(tree.left.is_empty() && tree.error.is_none(), "{tree:?}");
        if cfg!(target_os = "linux") {
            let expected = if grace.is_zero() { (0, 1) } else { (1, 0) };
            let ended = (tree.asked.len(), tree.killed.len());
            assert_eq!(ended, expected, "{tree:?}");
        }
    }
}

/// The shell does as it is asked, and the one whom it has started does not listen. The word that leaves no grace comes when the shell is
/// over.
#[cfg(target_os = "linux")]
#[test]
fn who_did_as_it_was_asked_is_told_from_who_was_killed() {
    use watertight::{EndRequest, Found};

    let _accounted = accounted();
    let script = "(trap '' TERM; echo ready; exec sleep 1000 </dev/null) & wait";
    let child = shell(script).spawn().unwrap();
    let id = child.id();
    let request = EndRequest::new();
    let limits = Limits::new().grace(PATIENCE).end_on(&request);
    let again = request.clone();
    let run = child
        .communicate(limits)
        .on_output(move |_, _| request.send());
    let asking = std::thread::spawn(move || {
        let pid = Pid::from_raw(id.cast_signed()).unwrap();
        let is_over = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), is_over).unwrap();
        again.send();
    });
    let outcome = run.within(PATIENCE).wait().unwrap();
    asking.join().unwrap();
    assert_eq!(outcome.ended, EndedBy::Request);
    let tree = outcome.tree.unwrap();
    let pids = |found: &[Found]| found.iter().map(|one| one.pid).collect::<Vec<_>>();
    let (asked, killed) = (pids(&tree.asked), pids(&tree.killed));
    assert!(asked.len() == 2 && asked[0] == id, "{tree:?}");
    assert_eq!(killed, asked[1..], "{tree:?}");
}

/// The child passes a bound that leaves no grace: it is looked at once more, and lives. If its other output were read between that look and the
/// kill, it would end by itself, with 3.
#[cfg(target_os = "linux")]
#[test]
fn who_has_no_grace_is_killed_before_anything_else_is_read() {
    use crate::common::read_exactly;
    use watertight::{AtBound, Direction, OutputStream};

    let _accounted = accounted();
    let script = "echo ready >&2; read line; echo out; echo said >&4; read line; exit 3";
    let mut command = shell(script);
    command.stdin(Input::piped()).stderr(Output::piped());
    let mut child = command.pipe_at(4, Direction::Write).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let said = child.take_reader(4).unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    let limits = Limits::new()
        .grace(Duration::ZERO)
        .stderr_bytes_max(0)
        .stderr_at_bound(AtBound::End);
    let run = child.communicate(limits).on_output(move |stream, _| {
        // One that was killed reads no line.
        let _ = input.try_send(b"go on\n");
        match stream {
            OutputStream::Stderr => assert_eq!(read_exactly(&said, 5), b"said\n"),
            OutputStream::Stdout => await_end(&stat),
        }
    });
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert!(!outcome.has_observer_panicked);
    assert_eq!(outcome.ended, EndedBy::Bound);
    assert_eq!(outcome.stdout.bytes, b"out\n");
    let status = outcome.exit.unwrap().status().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
}

/// Waits until a process is over that nobody reaps meanwhile.
#[cfg(target_os = "linux")]
fn await_end(stat: &str) {
    while std::fs::read_to_string(stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}
