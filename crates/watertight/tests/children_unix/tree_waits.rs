//! The wait for a child's whole tree where /proc shows it and pidfds hold it: who belongs to it, what it costs, and calls that fail.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::accounted;
use crate::common::{PATIENCE, held};
use futures_lite::future::{block_on, poll_once};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::os::unix::process::CommandExt;
use std::time::Duration;
use watertight::{
    Child, Command, Direction, ErrorKind, Exit, Group, Input, Lines, Output, PipeReader,
    PipeWriter, Verb,
};

/// One stays behind until the pipe at 3 ends.
const ONE_STAYS: &str = "(echo ready; read line <&3) & exit 3";

/// A shell in a group of its own, which ends with 3.
struct Started {
    child: Child,
    input: PipeWriter,
    /// What it, and whoever it starts, reads at 3.
    third: PipeWriter,
    output: PipeReader,
}

fn start(script: &str) -> Started {
    let mut command = Command::new("sh");
    command.args(["-c", script]).group(Group::Own);
    command.stdin(Input::piped()).stdout(Output::piped());
    let mut child = command.pipe_at(3, Direction::Read).spawn().unwrap();
    Started {
        input: child.stdin.take().unwrap(),
        third: child.take_writer(3).unwrap(),
        output: child.stdout.take().unwrap(),
        child,
    }
}

/// The next line; nothing once nobody holds the output.
fn next(lines: &mut Lines<'_>) -> Option<String> {
    let line = lines.receive().within(PATIENCE).wait().unwrap();
    line.map(|line| String::from_utf8(line.content().to_vec()).unwrap())
}

fn pid(line: Option<String>) -> Pid {
    Pid::from_raw(line.unwrap().parse().unwrap()).unwrap()
}

/// What /proc says of it: `Z` when it is over and not reaped, nothing once it is reaped.
fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn await_end_of(pid: Pid) {
    while state(pid).is_some_and(|state| state != 'Z') {
        std::thread::yield_now();
    }
}

fn await_exit(child: &Child) {
    child.until_exit().within(PATIENCE).wait().unwrap();
}

/// A look finds somebody to wait for.
fn assert_somebody_is_left(child: &Child) {
    let early = child.wait_tree().within(Duration::ZERO).wait();
    let early = early.unwrap_err();
    let told = (early.verb, early.kind, early.os);
    assert_eq!(told, (Verb::WaitTree, ErrorKind::TimedOut, None));
}

fn is_pending<O>(wait: impl Future<Output = O>) -> bool {
    block_on(poll_once(wait)).is_none()
}

fn assert_ends(child: &Child) {
    assert_3(child.wait_tree().within(PATIENCE).wait().unwrap());
}

fn assert_3(exit: Exit) {
    assert_eq!(exit.status().unwrap().code(), Some(3));
}

/// Its number leads to its group.
#[test]
fn the_child_is_reaped_behind_its_tree() {
    let _accounted = accounted();
    let Started {
        child,
        third,
        output,
        ..
    } = start(ONE_STAYS);
    let mut lines = output.lines(100);
    assert_eq!(next(&mut lines).unwrap(), "ready");
    await_exit(&child);
    assert_somebody_is_left(&child);
    assert!(is_pending(child.wait_tree()));
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    assert_eq!(state(pid), Some('Z'));
    assert!(child.usage().is_none());
    drop(third);
    assert_ends(&child);
    assert!(child.usage().is_some());
    assert_eq!(next(&mut lines), None);
}

/// Nothing leads to it when the child is over: neither the group nor a parent.
#[test]
fn a_session_of_its_own_is_waited_for_if_it_was_there_when_the_wait_began() {
    let _accounted = accounted();
    for is_task in [false, true] {
        let script = "setsid sh -c 'echo ready; read line <&3' & read line; exit 3";
        let Started {
            child,
            input,
            third,
            output,
        } = start(script);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), "ready");
        if is_task {
            assert!(is_pending(child.wait_tree()));
        } else {
            assert_somebody_is_left(&child);
        }
        drop(input);
        await_exit(&child);
        assert_somebody_is_left(&child);
        drop(third);
        assert_ends(&child);
        assert_eq!(next(&mut lines), None);
    }
}

/// One in the group leads to it, and is gone then.
#[test]
fn who_was_seen_is_waited_for_when_nothing_leads_to_it_any_more() {
    let _accounted = accounted();
    let script = "(setsid sh -c 'echo $PPID; read line <&3'; :) & exit 3";
    let Started {
        child,
        third,
        output,
        ..
    } = start(script);
    let mut lines = output.lines(100);
    let parent = pid(next(&mut lines));
    await_exit(&child);
    assert_somebody_is_left(&child);
    kill_process(parent, Signal::KILL).unwrap();
    await_end_of(parent);
    assert_somebody_is_left(&child);
    drop(third);
    assert_ends(&child);
    assert_eq!(next(&mut lines), None);
}

/// The one that was seen starts another, and ends.
#[test]
fn a_tree_that_grows_meanwhile_is_waited_for_to_its_end() {
    let _accounted = accounted();
    let script = "sh -c 'echo $$; read line <&3; (read line <&4; :) & exit 0' & exit 3";
    let mut command = Command::new("sh");
    command.args(["-c", script]).group(Group::Own);
    command.stdin(Input::null()).stdout(Output::piped());
    command
        .pipe_at(3, Direction::Read)
        .pipe_at(4, Direction::Read);
    let mut child = command.spawn().unwrap();
    let (third, fourth) = (child.take_writer(3), child.take_writer(4));
    let output = child.stdout.take().unwrap();
    let mut lines = output.lines(100);
    let first = pid(next(&mut lines));
    await_exit(&child);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| child.wait_tree().within(PATIENCE).wait());
        let mut task = child.wait_tree();
        assert!(is_pending(&mut task));
        drop(third);
        await_end_of(first);
        assert_somebody_is_left(&child);
        drop(fourth);
        assert_3(block_on(task.within(PATIENCE)).unwrap());
        assert_3(waiting.join().unwrap().unwrap());
    });
    assert_eq!(next(&mut lines), None);
}

#[test]
fn who_is_stopped_is_alive() {
    let _accounted = accounted();
    let Started { child, output, .. } = start("sleep 1000 & echo $!; exit 3");
    let mut lines = output.lines(100);
    let sleep = pid(next(&mut lines));
    await_exit(&child);
    kill_process(sleep, Signal::STOP).unwrap();
    assert_somebody_is_left(&child);
    kill_process(sleep, Signal::KILL).unwrap();
    assert_ends(&child);
    assert_eq!(next(&mut lines), None);
}

/// It is a child of ours in the group of the one that is waited for.
#[test]
fn who_is_over_and_not_reaped_is_not_waited_for() {
    let _accounted = accounted();
    let Started { child, input, .. } = start("read line; exit 3");
    let mut zombie = std::process::Command::new("true");
    let mut zombie = zombie
        .process_group(child.id().cast_signed())
        .spawn()
        .unwrap();
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(&zombie)), options).unwrap();
    drop(input);
    assert_ends(&child);
    assert!(zombie.wait().unwrap().success());
}

#[test]
fn after_the_reap_only_those_are_waited_for_that_were_seen() {
    let _accounted = accounted();
    for is_seen in [false, true] {
        let Started {
            child,
            third,
            output,
            ..
        } = start(ONE_STAYS);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), "ready");
        await_exit(&child);
        if is_seen {
            assert_somebody_is_left(&child);
        }
        assert_3(child.wait().within(PATIENCE).wait().unwrap());
        if is_seen {
            assert_somebody_is_left(&child);
            drop(third);
            assert_ends(&child);
        } else {
            assert_ends(&child);
            drop(third);
        }
        assert_eq!(next(&mut lines), None);
    }
}

/// Also when what was waited for lives on.
#[test]
fn a_wait_that_is_given_up_leaves_no_descriptor() {
    let _accounted = accounted();
    let Started {
        child,
        third,
        output,
        ..
    } = start(ONE_STAYS);
    let mut lines = output.lines(100);
    assert_eq!(next(&mut lines).unwrap(), "ready");
    await_exit(&child);
    assert!(is_pending(child.wait_tree()));
    assert_somebody_is_left(&child);
    drop(child);
    let pidfds = held().into_iter().filter(|one| one.contains("pidfd"));
    assert_eq!(pidfds.collect::<Vec<_>>(), [""; 0]);
    drop(third);
    assert_eq!(next(&mut lines), None);
}

#[cfg(feature = "fault")]
mod planned {
    use super::*;
    use rustix::process::{WaitOptions, waitpid};
    use watertight::OsCode;
    use watertight::fault::{self, Fault};

    /// The child lives until its input ends, and leaves one behind that lives until the pipe at 3 does.
    const BOTH_STAY: &str = "(echo ready; read line <&3) & read line; exit 3";

    const EMFILE: OsCode = OsCode(24);
    const ENOENT: OsCode = OsCode(2);

    /// How many looks are made at most to find nobody: while other processes end, one may pass somebody by.
    const LOOKS_MAX: usize = 4;

    fn plan(call: &'static str, code: OsCode, times: u64) {
        fault::plan(&[Fault {
            at: 1,
            only: Some(call),
            code,
            times,
        }]);
    }

    fn count(trace: &fault::Trace, call: &str) -> usize {
        let calls = trace.calls.iter();
        calls.filter(|made| made.name == call).count()
    }

    /// How often all processes were looked at.
    fn looks(trace: &fault::Trace) -> usize {
        count(trace, "open (/proc)")
    }

    #[test]
    fn a_tree_that_lives_is_not_looked_at_again() {
        let _accounted = accounted();
        let _guard = fault::guard();
        let Started {
            child,
            input,
            third,
            output,
        } = start(BOTH_STAY);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), "ready");
        let mut waiting = child.wait_tree();
        // Once while the child lives, whoever waits.
        fault::plan(&[]);
        for _ in 0..10 {
            assert!(is_pending(&mut waiting));
            assert_somebody_is_left(&child);
        }
        assert_eq!(looks(&fault::stop()), 1);
        drop(input);
        block_on(child.until_exit().within(PATIENCE)).unwrap();
        // Whoever was seen then is waited for, and a task asks once to be told of the end.
        fault::plan(&[]);
        for _ in 0..10 {
            assert!(is_pending(&mut waiting));
            assert_somebody_is_left(&child);
        }
        let trace = fault::stop();
        assert_eq!(looks(&trace), 0);
        assert_eq!(count(&trace, "F_DUPFD_CLOEXEC (tree)"), 1);
        fault::plan(&[]);
        drop(third);
        assert_3(block_on(waiting.within(PATIENCE)).unwrap());
        let made = looks(&fault::stop());
        assert!((1..=LOOKS_MAX).contains(&made), "{made}");
        assert_eq!(next(&mut lines), None);
    }

    #[test]
    fn who_has_started_nobody_costs_a_look() {
        let _accounted = accounted();
        let _guard = fault::guard();
        let Started { child, .. } = start("exit 3");
        await_exit(&child);
        fault::plan(&[]);
        assert_ends(&child);
        let made = looks(&fault::stop());
        assert!((1..=LOOKS_MAX).contains(&made), "{made}");
        // Nothing leads to anybody any more.
        fault::plan(&[]);
        assert_ends(&child);
        assert_eq!(looks(&fault::stop()), 0);
    }

    #[test]
    fn a_look_that_fails_is_told_and_nothing_is_lost() {
        let _accounted = accounted();
        let _guard = fault::guard();
        let Started {
            child,
            input,
            third,
            output,
        } = start(BOTH_STAY);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), "ready");
        let mut input = Some(input);
        // While the child lives, and when it is over.
        for _ in 0..2 {
            plan("open (/proc)", EMFILE, Fault::FOR_EVER);
            for is_task in [false, true] {
                let waiting = child.wait_tree().within(PATIENCE);
                let refused = if is_task {
                    block_on(waiting)
                } else {
                    waiting.wait()
                };
                let refused = refused.unwrap_err();
                assert_eq!((refused.verb, refused.os), (Verb::WaitTree, Some(EMFILE)));
            }
            assert_eq!(fault::stop().begun.len(), 1);
            if input.take().is_some() {
                await_exit(&child);
            }
        }
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert_eq!(state(pid), Some('Z'), "not reaped");
        assert_somebody_is_left(&child);
        drop(third);
        assert_ends(&child);
        assert_eq!(next(&mut lines), None);
    }

    /// Neither the descriptor nor its copy for the thread that hears of ends is to be had.
    #[test]
    fn who_cannot_be_held_is_looked_at_again() {
        let _accounted = accounted();
        let _guard = fault::guard();
        for call in ["pidfd_open (tree)", "F_DUPFD_CLOEXEC (tree)"] {
            let Started {
                child,
                third,
                output,
                ..
            } = start(ONE_STAYS);
            let mut lines = output.lines(100);
            assert_eq!(next(&mut lines).unwrap(), "ready");
            await_exit(&child);
            plan(call, EMFILE, Fault::FOR_EVER);
            let mut waiting = child.wait_tree();
            for _ in 0..10 {
                assert!(is_pending(&mut waiting), "{call}");
                assert_somebody_is_left(&child);
            }
            drop(third);
            assert_3(block_on(waiting.within(PATIENCE)).unwrap());
            assert_eq!(fault::stop().begun.len(), 1, "{call}");
            assert_eq!(next(&mut lines), None);
        }
    }

    /// As if all that the first look has listed had ended when they were asked about: whoever one of them has started is looked for.
    #[test]
    fn a_look_during_which_somebody_ends_is_made_again() {
        let _accounted = accounted();
        let _guard = fault::guard();
        let Started {
            child,
            third,
            output,
            ..
        } = start(ONE_STAYS);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), "ready");
        await_exit(&child);
        let listed = std::fs::read_dir("/proc").unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().parse::<u32>().is_ok()
        });
        plan("read (stat)", ENOENT, listed.count() as u64);
        assert_somebody_is_left(&child);
        assert_eq!(fault::stop().begun.len(), 1);
        drop(third);
        assert_ends(&child);
        assert_eq!(next(&mut lines), None);
    }

    /// And what it drops is its parent's: that one hears of the end.
    #[test]
    fn a_forked_child_is_refused_and_takes_nothing_from_its_parent() {
        let _accounted = accounted();
        let Started {
            child,
            third,
            output,
            ..
        } = start(ONE_STAYS);
        let mut lines = output.lines(100);
        assert_eq!(next(&mut lines).unwrap(), "ready");
        await_exit(&child);
        let mut waiting = child.wait_tree();
        assert!(is_pending(&mut waiting));
        let forked = watertight_os::fork_for_a_test();
        if forked == 0 {
            let refused = block_on(poll_once(&mut waiting));
            let is_refused = matches!(
                refused,
                Some(Err(error)) if error.kind == ErrorKind::WrongProcess
            );
            drop(waiting);
            watertight_os::end_of_a_test(i32::from(!is_refused));
        }
        let options = WaitOptions::empty();
        let (_, status) = waitpid(Pid::from_raw(forked), options).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        drop(third);
        assert_3(block_on(waiting.within(PATIENCE)).unwrap());
        assert_eq!(next(&mut lines), None);
    }
}
