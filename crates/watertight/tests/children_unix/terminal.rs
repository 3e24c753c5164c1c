//! Children with a pseudo-terminal of their own.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::accounted_behind;
use crate::common::{Accounted, PATIENCE, read_to_end, test_name};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use std::io;
use std::time::Duration;
use watertight::{
    AfterExit, Child, Command, EndedBy, Group, Input, Limits, Outcome, Output, StartStep, Terminal,
    TerminalSize,
};

/// Set, it makes this test binary a program that starts a child with this script.
const SCRIPT: &str = "WATERTIGHT_CHILDS_SCRIPT";

/// What makes it that, in its arguments.
fn starting_arguments() -> [String; 4] {
    let name = test_name(module_path!(), "starting");
    ["--exact", &name, "--nocapture", "--quiet"].map(str::to_owned)
}

/// Whether the child is in the group of its parent, `$1`, and whether it has one of its own.
const GROUPS: &str = r#"read -r pid name state parent group rest </proc/$$/stat
    echo "ours $((group == $1)), its own $((group == $$))""#;

/// No test of its own: what is started in a terminal, and without one.
#[test]
fn starting() {
    let Ok(script) = std::env::var(SCRIPT) else {
        return;
    };
    let ours = getpgrp().as_raw_nonzero().to_string();
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", &ours]);
    assert_eq!(exit_code(&command.spawn().unwrap()), Some(0));
}

/// In a terminal of 24 by 80.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .terminal(TerminalSize::default());
    command
}

fn accounted() -> Accounted {
    accounted_behind(shell("exec sleep 1000"), || {})
}

fn outcome_of(command: &mut Command) -> Outcome {
    let run = command.output(Limits::new()).unwrap();
    run.within(PATIENCE).wait().unwrap()
}

fn exit_code(child: &Child) -> Option<i32> {
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    exit.status().unwrap().code()
}

#[test]
fn all_three_streams_are_the_terminal_and_both_outputs_are_one() {
    let _accounted = accounted();
    let outcome = outcome_of(&mut shell(
        "test -t 0 && test -t 1 && test -t 2 && echo yes; echo error >&2",
    ));
    // Whole: the EIO at its end is the end.
    assert!(outcome.is_success() && outcome.stdout.is_whole());
    assert_eq!(outcome.stdout.text(), "yes\r\nerror\r\n");
}

#[test]
fn the_child_leads_a_session_in_the_foreground_of_its_terminal() {
    let _accounted = accounted();
    let script = "(echo through the terminal >/dev/tty) || exit 1
        read -r pid name state parent group session terminal front rest </proc/$$/stat
        echo $((group == $$)) $((session == $$)) $((front == $$))";
    let outcome = outcome_of(&mut shell(script));
    assert_eq!(outcome.stdout.text(), "through the terminal\r\n1 1 1\r\n");
}

#[test]
fn a_child_in_the_foreground_of_a_terminal_is_in_our_group_and_may_read_it() {
    let _accounted = accounted();
    let script = format!("{GROUPS}\nread -r line </dev/tty && echo \"it read $line\"");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(starting_arguments())
        .env(SCRIPT, script)
        .terminal(TerminalSize::default());
    let mut child = command.spawn().unwrap();
    let Terminal { input, output } = child.terminal.take().unwrap();
    // The terminal keeps it until somebody reads.
    input.send(b"typed\n").within(PATIENCE).wait().unwrap();
    let shown = read_to_end(&output);
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("ours 1, its own 0\r\n"), "{shown}");
    assert!(shown.contains("it read typed\r\n"), "{shown}");
    assert_eq!(exit_code(&child), Some(0));
    let _ = input.abort().within(PATIENCE).wait().unwrap();
}

#[test]
fn a_child_without_a_terminal_or_in_its_background_has_a_group_of_its_own() {
    let _accounted = accounted();
    let program = std::env::current_exe().unwrap();
    // A session of its own has no terminal. Who leads no group needs no fork for that.
    let mut without = Command::new("setsid");
    without.group(Group::Shared).arg(&program);
    let mut behind = shell(r#"set -m; "$0" "$@" & wait $!"#);
    behind.arg(&program);
    for command in [&mut without, &mut behind] {
        let outcome = outcome_of(command.args(starting_arguments()).env(SCRIPT, GROUPS));
        let shown = outcome.stdout.text();
        assert!(shown.contains("ours 0, its own 1"), "{shown}");
        assert!(outcome.is_success(), "{shown}");
    }
}

/// Also when it was started before, with a group of its own and with pipes.
#[test]
fn a_command_gets_a_terminal_at_each_start() {
    let _accounted = accounted();
    let mut command = Command::new("sh");
    command.args(["-c", "test -t 1; echo $?"]).group(Group::Own);
    assert_eq!(outcome_of(&mut command).stdout.text(), "1\n");
    command.terminal(TerminalSize::default());
    for _ in 0..2 {
        assert_eq!(outcome_of(&mut command).stdout.text(), "0\r\n");
    }
}

#[test]
fn a_new_size_is_told_to_the_child() {
    let _accounted = accounted();
    let script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done";
    let child = shell(script).spawn().unwrap();
    let terminal = child.terminal.as_ref().unwrap();
    let mut lines = terminal.output.lines(100);
    let line = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(line.content(), b"24 80");
    let size = TerminalSize {
        rows: 50,
        columns: 132,
    };
    terminal.resize(size).unwrap();
    let line = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(line.content(), b"50 132");
    assert!(lines.receive().within(PATIENCE).wait().unwrap().is_none());
    assert_eq!(exit_code(&child), Some(3));
}

#[test]
fn what_is_typed_is_echoed_and_its_end_is_a_byte() {
    let _accounted = accounted();
    let mut child = shell("cat; exit 4").spawn().unwrap();
    let Terminal { input, output } = child.terminal.take().unwrap();
    input.send(b"typed\n").within(PATIENCE).wait().unwrap();
    let end = input.send(Terminal::END_OF_INPUT);
    end.within(PATIENCE).wait().unwrap();
    assert_eq!(read_to_end(&output), b"typed\r\ntyped\r\n");
    assert_eq!(exit_code(&child), Some(4));
    let _ = input.abort().within(PATIENCE).wait().unwrap();
}

/// All that the last program wrote comes before the end, however much it is.
#[test]
fn eio_is_the_end_of_what_a_terminal_says() {
    let _accounted = accounted();
    let script = "dd if=/dev/zero bs=1000 count=100 2>/dev/null | tr '\\0' x";
    for _ in 0..5 {
        let mut child = shell(script).spawn().unwrap();
        let terminal = child.terminal.take().unwrap();
        assert_eq!(read_to_end(&terminal.output).len(), 100_000);
        // Once more, it is the end still.
        let again = terminal.output.receive(&mut [0; 8]).within(PATIENCE).wait();
        assert_eq!(again.unwrap(), 0);
        assert_eq!(exit_code(&child), Some(0));
    }
}

#[test]
fn a_typed_line_of_more_than_4095_bytes_is_cut() {
    let _accounted = accounted();
    let script = "stty -echo; echo ready; read -r line; echo ${#line}";
    let mut child = shell(script).spawn().unwrap();
    let terminal = child.terminal.take().unwrap();
    let mut lines = terminal.output.lines(100);
    let ready = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(ready.content(), b"ready");
    let mut line = vec![b'x'; 5000];
    line.push(b'\n');
    terminal.input.send(&line).within(PATIENCE).wait().unwrap();
    let length = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(length.content(), b"4095");
    assert_eq!(exit_code(&child), Some(0));
}

#[test]
fn a_child_whose_terminal_is_dropped_is_hung_up() {
    let _accounted = accounted();
    let script = "trap 'exit 7' HUP; echo ready; while :; do sleep 0.05; done";
    let mut child = shell(script).spawn().unwrap();
    let terminal = child.terminal.take().unwrap();
    let mut lines = terminal.output.lines(100);
    let ready = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(ready.content(), b"ready");
    drop(lines);
    drop(terminal);
    assert_eq!(exit_code(&child), Some(7));
}

#[test]
fn who_is_left_at_a_terminal_is_hung_up() {
    let _accounted = accounted();
    let outcome = outcome_of(&mut shell("sleep 1000 & echo bye"));
    assert_eq!(outcome.ended, EndedBy::Itself);
    assert!(outcome.stdout.is_whole());
    assert_eq!(outcome.stdout.text(), "bye\r\n");
}

#[test]
fn who_holds_a_terminal_in_spite_of_that_is_named() {
    let _accounted = accounted();
    let limits = Limits::new().after_exit(AfterExit::Quiet(Duration::from_millis(200)));
    let mut command = shell("trap '' HUP; sleep 1000 & echo bye");
    let run = command.output(limits).unwrap();
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Quiet);
    assert_eq!(outcome.stdout.text(), "bye\r\n");
    assert!(!outcome.stdout.has_ended);
    let [holder] = outcome.holders.as_slice() else {
        panic!("{:?}", outcome.holders);
    };
    let pid = Pid::from_raw(i32::try_from(holder.pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn the_tree_behind_a_terminal_is_killed_with_its_sessions() {
    let _accounted = accounted();
    let script = "sleep 1000 & setsid sleep 1000 & echo ready; wait";
    let child = shell(script).spawn().unwrap();
    let terminal = child.terminal.as_ref().unwrap();
    let mut lines = terminal.output.lines(100);
    let ready = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(ready.content(), b"ready");
    let end = child.kill_tree();
    assert!(end.left.is_empty(), "{end:?}");
    assert!(end.error.is_none(), "{end:?}");
    // Nobody holds the terminal any more.
    assert!(lines.receive().within(PATIENCE).wait().unwrap().is_none());
    assert_eq!(exit_code(&child), None);
}

#[test]
fn a_deadline_ends_a_child_in_a_terminal() {
    let _accounted = accounted();
    let limits = Limits::new()
        .within(Duration::from_millis(200))
        .grace(Duration::ZERO);
    let mut command = shell("echo first; cat; sleep 1000");
    let outcome = command.output(limits).unwrap().wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.text(), "first\r\n");
    assert!(outcome.stdout.has_ended);
}

#[test]
fn streams_that_are_set_stay_what_they_are() {
    let _accounted = accounted();
    let mut fed = shell("test -t 0; echo $?; cat");
    let outcome = outcome_of(fed.stdin(Input::bytes("piped\n")));
    assert!(outcome.is_success());
    assert_eq!(outcome.stdout.text(), "1\r\npiped\r\n");
    let mut apart = shell("test -t 1; echo $?; echo error >&2");
    let outcome = outcome_of(apart.stdout(Output::piped()));
    assert_eq!(outcome.stdout.text(), "1\n");
    assert_eq!(outcome.stderr.text(), "error\r\n");
}

#[test]
fn a_start_that_fails_leaves_no_terminal() {
    let _accounted = accounted();
    let mut missing = Command::new("watertight-no-such-program");
    let error = missing.terminal(TerminalSize::default()).spawn();
    assert_eq!(error.unwrap_err().step, StartStep::Program);
    // Its session has a group of its own.
    let error = shell("exit 0").group(Group::Shared).spawn().unwrap_err();
    assert_eq!(error.step, StartStep::Terminal);
    assert_eq!(error.error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Group::Shared"), "{error}");
}
