//! A child in our own group, as at a terminal: which of the orphans there are of its tree.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::{accounted, accounted_behind};
use crate::common::{PATIENCE, test_name};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use watertight::{
    Child, Command, ErrorKind, Found, Input, Limits, Lines, Output, PipeReader, TerminalSize,
};

/// Makes this test binary the process in a terminal.
const IN_A_TERMINAL: &str = "WATERTIGHT_IN_A_TERMINAL";

/// What has none of the child's pipes open.
const NOTHING: &str = "</dev/null >/dev/null 2>&1";

/// Whether this process runs that test at the head of a terminal's session: it is in the foreground, and orphans leave the session. If not,
/// one that does is started and has to pass.
fn is_in_a_terminal(test: &str) -> bool {
    if std::env::var_os(IN_A_TERMINAL).is_some() {
        return true;
    }
    let in_a_terminal = |mut command: Command| {
        command.terminal(TerminalSize::default());
        command
    };
    let mut first = Command::new("sleep");
    first.arg("1000");
    let _accounted = accounted_behind(in_a_terminal(first), || {});
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", &test_name(module_path!(), test)])
        .env(IN_A_TERMINAL, "1");
    let run = in_a_terminal(again).output(Limits::new()).unwrap();
    let outcome = run.within(PATIENCE).wait().unwrap();
    let text = outcome.stdout.text();
    assert!(outcome.is_success() && text.contains("1 passed"), "{text}");
    false
}

/// A shell that waits for a line, and what its script has left behind, which has said its number.
struct Started {
    child: Child,
    orphan: u32,
    output: PipeReader,
}

/// Its script leaves a process behind that has these streams.
fn start(mut shell: Command, before: &str, streams: &str) -> Started {
    let script = format!("{before} (sleep 1000 {streams} & echo $!); echo ready; read line");
    shell.args(["-c", &script]).stdout(Output::piped());
    let mut child = shell.spawn().unwrap();
    let output = child.stdout.take().unwrap();
    let mut lines = output.lines(100);
    let orphan = next(&mut lines).unwrap().parse().unwrap();
    // Its parent is over and reaped.
    assert_eq!(next(&mut lines).unwrap(), "ready");
    drop(lines);
    await_sleep(orphan);
    Started {
        child,
        orphan,
        output,
    }
}

/// In the group in which a child is at a terminal if nobody says otherwise: ours.
fn shell() -> Command {
    let mut shell = Command::new("sh");
    shell.stdin(Input::piped());
    shell
}

/// The next line; nothing once nobody holds the output.
fn next(lines: &mut Lines<'_>) -> Option<String> {
    let line = lines.receive().within(PATIENCE).wait().unwrap();
    line.map(|line| String::from_utf8(line.content().to_vec()).unwrap())
}

/// Waits until it runs its program: from then on it has no streams but those that it was to have.
fn await_sleep(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    while !std::fs::read_to_string(&stat).unwrap().contains("(sleep)") {
        std::thread::yield_now();
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn pids(found: &[Found]) -> Vec<u32> {
    found.iter().map(|one| one.pid).collect()
}

/// Ends the child alone, and names the orphan.
fn assert_left(child: &Child, orphan: u32) {
    let end = child.kill_tree();
    assert!(end.error.is_none(), "{end:?}");
    assert_eq!(pids(&end.signalled), [child.id()]);
    assert_eq!(pids(&end.left), [orphan]);
    assert_eq!(end.left[0].name.as_deref().unwrap(), "sleep");
    assert!(is_alive(orphan), "{end:?}");
}

fn assert_ends(child: &Child) {
    assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
}

#[test]
fn an_orphan_that_may_be_anybodys_is_named_and_lives_on() {
    if !is_in_a_terminal("an_orphan_that_may_be_anybodys_is_named_and_lives_on") {
        return;
    }
    let _accounted = accounted();
    let Started { child, orphan, .. } = start(shell(), "", NOTHING);
    assert_left(&child, orphan);
    kill(orphan);
    assert_ends(&child);
}

/// Its input, its output, its standard error, or both outputs as one.
#[test]
fn an_orphan_with_one_of_the_childs_pipes_is_killed_with_it() {
    if !is_in_a_terminal("an_orphan_with_one_of_the_childs_pipes_is_killed_with_it") {
        return;
    }
    let _accounted = accounted();
    for (before, streams, stderr) in [
        ("exec 3<&0;", NOTHING, Output::inherited()),
        ("", "</dev/null 2>/dev/null", Output::inherited()),
        ("", "</dev/null >/dev/null", Output::piped()),
        ("", "</dev/null >/dev/null", Output::to_stdout()),
    ] {
        let mut command = shell();
        command.stderr(stderr);
        let Started {
            child,
            orphan,
            output,
        } = start(command, before, streams);
        let end = child.kill_tree();
        assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
        assert_eq!(
            pids(&end.signalled),
            [child.id(), orphan],
            "{before}{streams}"
        );
        assert_eq!(next(&mut output.lines(100)), None);
        assert_ends(&child);
    }
}

/// The end that was ours was given to another command, which has left the orphan behind.
#[test]
fn an_orphan_with_our_end_of_a_pipe_is_not_the_childs() {
    if !is_in_a_terminal("an_orphan_with_our_end_of_a_pipe_is_not_the_childs") {
        return;
    }
    let _accounted = accounted();
    let mut writes = shell();
    writes.args(["-c", "read line"]).stdout(Output::piped());
    let mut writes = writes.spawn().unwrap();
    let ours = writes.stdout.take().unwrap().into_handle().unwrap();
    let mut reads = Command::new("sh");
    reads.stdin(Input::from_handle(ours));
    let Started { child, orphan, .. } = start(reads, "exec 3<&0;", NOTHING);
    assert_left(&writes, orphan);
    assert_ends(&writes);
    // Its input has ended with that.
    child.until_exit().within(PATIENCE).wait().unwrap();
    assert_eq!(pids(&child.kill_tree().left), [orphan]);
    kill(orphan);
    assert_ends(&child);
}

/// Neither one that the child has left behind nor another command's is in doubt.
#[test]
fn a_control_group_tells_whose_an_orphan_is() {
    if !is_in_a_terminal("a_control_group_tells_whose_an_orphan_is") {
        return;
    }
    let _accounted = accounted();
    let mut apart = shell();
    apart.cgroup(true);
    let first = start(apart, "", NOTHING);
    let second = start(shell(), "", NOTHING);
    if first.child.has_cgroup() {
        let end = first.child.kill_tree();
        assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
        assert_eq!(pids(&end.signalled), [first.child.id(), first.orphan]);
    } else {
        println!("skipped: no control group can be made here");
        kill(first.orphan);
        assert!(first.child.kill().unwrap());
    }
    assert_ends(&first.child);
    assert_left(&second.child, second.orphan);
    kill(second.orphan);
    assert_ends(&second.child);
}

#[test]
fn an_orphan_with_one_of_the_childs_pipes_is_waited_for() {
    if !is_in_a_terminal("an_orphan_with_one_of_the_childs_pipes_is_waited_for") {
        return;
    }
    let _accounted = accounted();
    let Started {
        mut child,
        orphan,
        output,
    } = start(shell(), "", "</dev/null 2>/dev/null");
    drop(child.stdin.take());
    child.until_exit().within(PATIENCE).wait().unwrap();
    let early = child.wait_tree().within(Duration::ZERO).wait();
    assert_eq!(early.unwrap_err().kind, ErrorKind::TimedOut);
    kill(orphan);
    child.wait_tree().within(PATIENCE).wait().unwrap();
    assert_eq!(next(&mut output.lines(100)), None);
}
