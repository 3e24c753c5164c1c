//! Children on Unix: who holds a pipe, whom a kill reaches, and what a shell's tree comes to.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use watertight::{
    AfterExit, AtBound, Command, Direction, EndedBy, ErrorKind, Exit, Found, Group, Input, Limits,
    Output, PipeReader, Pipeline, StartStep,
};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn kill(found: &Found) {
    let pid = Pid::from_raw(found.pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Four times it fills so much memory.
#[test]
fn what_a_child_has_used_is_told_with_its_end_and_not_before() {
    const BLOCK: u64 = 64 << 20;
    let _accounted = accounted();
    let script = format!("exec dd if=/dev/zero of=/dev/null bs={BLOCK} count=4 2>/dev/null");
    let outcome = shell(&script).output(Limits::new()).unwrap();
    let usage = outcome.wait().unwrap().usage.unwrap();
    assert!(usage.user + usage.system > Duration::ZERO, "{usage:?}");
    if cfg!(target_os = "linux") {
        assert!(usage.memory_bytes_max.unwrap() >= BLOCK, "{usage:?}");
        assert!(usage.page_faults > usage.page_faults_major, "{usage:?}");
        assert!(usage.context_switches_voluntary.is_some(), "{usage:?}");
        assert!(usage.blocks_read.is_some(), "{usage:?}");
    }

    let mut child = shell("read line").stdin(Input::piped()).spawn().unwrap();
    assert_eq!((child.try_wait(), child.usage()), (None, None));
    drop(child.stdin.take());
    child.wait().within(PATIENCE).wait().unwrap();
    assert!(child.usage().is_some());
}

/// tokio's `wait_with_output` waits for the grandchild.
#[cfg(target_os = "linux")]
#[test]
fn a_grandchild_that_holds_the_output_is_named_and_not_waited_for() {
    let _accounted = accounted();
    let limits = Limits::new().after_exit(AfterExit::Quiet(Duration::from_millis(200)));
    let outcome = shell("sleep 1000 & echo all there is")
        .output(limits)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Quiet);
    assert_eq!(outcome.stdout.bytes, b"all there is\n");
    assert!(!outcome.stdout.is_whole());
    assert!(outcome.exit.unwrap().is_success());
    // Nothing is killed after a success.
    assert!(outcome.tree.is_none());
    let [holder] = outcome.holders.as_slice() else {
        panic!("{:?}", outcome.holders);
    };
    assert_eq!(holder.name.as_deref().unwrap(), "sleep");
    kill(holder);
}

/// With no quiet at all, everything that was written before the exit is there.
#[cfg(target_os = "linux")]
#[test]
fn what_was_written_before_the_exit_is_read_however_short_the_quiet() {
    let _accounted = accounted();
    for _ in 0..20 {
        let limits = Limits::new().after_exit(AfterExit::Quiet(Duration::ZERO));
        let outcome = shell("sleep 1000 & echo all there is; echo and this >&2")
            .output(limits)
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(outcome.stdout.bytes, b"all there is\n");
        assert_eq!(outcome.stderr.bytes, b"and this\n");
        outcome.holders.iter().for_each(kill);
    }
}

/// Somebody who takes nothing is no silence of the child's: all of it goes on, however short the quiet.
#[cfg(target_os = "linux")]
#[test]
fn what_waits_for_its_taker_is_no_silence() {
    const BYTES: usize = 400_000;
    let _accounted = accounted();
    let (reader, writer) = watertight::pipe().unwrap();
    let writer = Arc::new(writer);
    let limits = Limits::new()
        .after_exit(AfterExit::Quiet(Duration::ZERO))
        .stdout_to(writer.clone());
    let mut command = shell(&format!(
        "echo $$ >&2; exec dd if=/dev/zero bs={BYTES} count=1 iflag=fullblock status=none"
    ));
    let (pid_from, pid_into) = std::io::pipe().unwrap();
    command.stderr(Output::from_handle(pid_into));
    let run = command.output(limits).unwrap();
    drop(command);
    let run = std::thread::spawn(move || run.wait().unwrap());
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(pid_from), &mut pid).unwrap();
    // All that it writes has room in the two pipes, in the queue and in what is held between them; then it is over.
    let stat = format!("/proc/{}/stat", pid.trim());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let taking = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader
            .receive_to_end(&mut bytes, 1 << 20)
            .within(PATIENCE)
            .wait()
            .unwrap();
        bytes.len()
    });
    let outcome = run.join().unwrap();
    assert_eq!(outcome.stdout.passed_on, BYTES as u64);
    assert_eq!(outcome.stdout.discarded, 0);
    assert!(
        writer
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    assert_eq!(taking.join().unwrap(), BYTES);
}

#[test]
fn to_the_end_means_the_grandchilds_end() {
    let _accounted = accounted();
    let outcome = shell("exec 3<&0; (read line <&3; echo later) & echo now")
        .stdin(Input::bytes("go\n"))
        .output(Limits::new())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Itself);
    assert!(outcome.stdout.is_whole());
    let text = outcome.stdout.text();
    assert!(text.contains("now\n") && text.contains("later\n"), "{text}");
}

#[test]
fn a_deadline_ends_the_whole_tree() {
    let _accounted = accounted();
    let limits = Limits::new()
        .within(Duration::from_millis(200))
        .grace(Duration::ZERO);
    let outcome = shell("echo first; sleep 1000 & (sleep 1000 & sleep 1000) & wait")
        .output(limits)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.bytes, b"first\n");
    // All of them held the pipe, and it has ended.
    assert!(outcome.stdout.has_ended);
    assert!(outcome.holders.is_empty());
    let status = outcome.exit.unwrap().status().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
}

#[test]
fn a_tree_that_is_asked_to_end_says_its_last_words() {
    let _accounted = accounted();
    let limits = Limits::new()
        .within(Duration::from_millis(300))
        .grace(PATIENCE);
    let outcome = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do read line; done")
        .stdin(Input::null())
        .output(limits)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.text(), "ready\nbye\n");
    assert!(outcome.exit.unwrap().is_success());
    assert!(!outcome.is_success(), "it was ended");
}

/// A session of its own, whose parent is gone: no group and no walk leads there. It holds the output, which names it.
#[cfg(target_os = "linux")]
#[test]
fn who_escapes_the_tree_is_named() {
    let _accounted = accounted();
    let limits = Limits::new()
        .within(Duration::from_millis(300))
        .grace(Duration::ZERO);
    let outcome = shell("sh -c 'setsid sleep 1000 &'; echo out; sleep 1000")
        .output(limits)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.bytes, b"out\n");
    assert!(!outcome.stdout.has_ended);
    let [escaped] = outcome.holders.as_slice() else {
        panic!("{:?} {:?}", outcome.holders, outcome.tree);
    };
    assert_eq!(escaped.name.as_deref().unwrap(), "sleep");
    kill(escaped);
}

#[cfg(target_os = "linux")]
#[test]
fn a_group_of_its_own_within_the_tree_is_killed_with_it() {
    let _accounted = accounted();
    let mut child = shell("setsid sleep 1000 & echo ready; wait")
        .stdout(Output::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let mut lines = output.lines(100);
    let line = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    assert_eq!(line.content(), b"ready");
    let end = child.kill_tree();
    assert!(end.left.is_empty(), "{end:?}");
    assert!(end.error.is_none(), "{end:?}");
    assert!(lines.receive().within(PATIENCE).wait().unwrap().is_none());
    assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
}

/// A child that is seen to be over and not reaped keeps its group, so whoever it left behind is still in reach.
#[test]
fn an_end_that_is_seen_leaves_the_tree_in_reach() {
    let _accounted = accounted();
    let mut command = shell("sleep 1000 >/dev/null 2>&1 & exit 3");
    command.group(Group::Own);
    let child = command.spawn().unwrap();
    for _ in 0..2 {
        let exit = child.until_exit().wait().unwrap();
        assert_eq!(exit.status().unwrap().code(), Some(3));
    }
    let end = child.kill_tree();
    assert_eq!(end.signalled.len(), 1, "{end:?}");
    assert!(end.left.is_empty() && end.error.is_none(), "{end:?}");
    assert_eq!(
        child.wait().wait().unwrap().status().unwrap().code(),
        Some(3)
    );
    assert!(child.kill_tree().signalled.is_empty());
}

#[test]
fn a_child_that_somebody_else_reaped_has_an_unknown_end() {
    let _accounted = accounted();
    let mut child = shell("read line").stdin(Input::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    drop(input);
    waitpid(pid, WaitOptions::empty()).unwrap();
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert_eq!(exit, Exit::Unknown);
    assert!(!child.kill().unwrap());
}

/// Also one whose parent waited for the child before it forked.
#[cfg(feature = "fault")]
#[test]
fn a_forked_child_is_refused_a_wait_for_our_child() {
    let _accounted = accounted();
    let mut child = shell("read line; exit 0")
        .stdin(Input::piped())
        .spawn()
        .unwrap();
    let first = futures_lite::future::poll_once(child.wait());
    assert!(futures_lite::future::block_on(first).is_none());
    let forked = watertight_os::fork_for_a_test();
    if forked == 0 {
        let as_a_task = futures_lite::future::block_on(child.wait());
        let as_a_thread = child.wait().within(PATIENCE).wait();
        let are_refused = [as_a_task, as_a_thread]
            .into_iter()
            .all(|refused| refused.is_err_and(|error| error.kind == ErrorKind::WrongProcess));
        watertight_os::end_of_a_test(i32::from(!are_refused));
    }
    let forked = Pid::from_raw(forked);
    let (_, status) = waitpid(forked, WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0));
    drop(child.stdin.take());
    assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
    drop(child);
    await_no_children();
}

/// Each would wait for the others' ends if it had inherited their pipes.
#[test]
fn children_started_at_once_do_not_inherit_each_others_input() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 10;
    let _accounted = accounted();
    let together = Arc::new(Barrier::new(THREADS));
    let threads = [(); THREADS].map(|()| {
        let together = together.clone();
        std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                let mut child = shell("cat >/dev/null")
                    .stdin(Input::piped())
                    .spawn()
                    .unwrap();
                together.wait();
                // Its own end alone ends it, while all the others are open.
                drop(child.stdin.take());
                assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
                together.wait();
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn directory_environment_and_arguments_arrive() {
    let _accounted = accounted();
    let outcome = Command::new("sh")
        .args(["-c", "pwd; echo \"$WORD\" \"$1\"; echo \"[$GONE]\""])
        .args(["name", "an argument"])
        .env("WORD", "a word")
        .env("GONE", "x")
        .env_remove("GONE")
        .current_dir("/")
        .output(Limits::new())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.stdout.text(), "/\na word an argument\n[]\n");
}

/// As with any shell: a child's SIGPIPE is at its default, although ours is ignored.
#[test]
fn sigpipe_is_at_its_default_in_the_child() {
    let _accounted = accounted();
    let mut child = shell("read line; echo into a closed pipe; exit 7")
        .stdin(Input::piped())
        .stdout(Output::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let input = child.stdin.take().unwrap();
    input.send(b"go\n").within(PATIENCE).wait().unwrap();
    assert!(
        input
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert_eq!(exit.status().unwrap().signal(), Some(Signal::PIPE.as_raw()));
}

/// Also at numbers that std would take for itself while it starts the child, and at one that is far away.
#[test]
fn further_pipes_are_where_the_child_looks_for_them() {
    let _accounted = accounted();
    let mut command = shell("read line <&3; echo got $line >&4; cat <&9 >/dev/fd/200");
    command
        .pipe_at(3, Direction::Read)
        .pipe_at(4, Direction::Write)
        .pipe_at(9, Direction::Read)
        .pipe_at(200, Direction::Write);
    for _ in 0..2 {
        let mut child = command.spawn().unwrap();
        let (third, ninth) = (child.take_writer(3).unwrap(), child.take_writer(9).unwrap());
        let (fourth, last) = (
            child.take_reader(4).unwrap(),
            child.take_reader(200).unwrap(),
        );
        assert!(child.take_writer(3).is_none() && child.take_reader(3).is_none());
        third.send(b"a line\n").within(PATIENCE).wait().unwrap();
        ninth.send(b"all of it").within(PATIENCE).wait().unwrap();
        assert!(
            ninth
                .finish()
                .within(PATIENCE)
                .wait()
                .unwrap()
                .is_complete()
        );
        let read = |reader: PipeReader| {
            let mut bytes = Vec::new();
            assert!(
                reader
                    .receive_to_end(&mut bytes, 1 << 20)
                    .within(PATIENCE)
                    .wait()
                    .unwrap()
            );
            bytes
        };
        assert_eq!(read(fourth), b"got a line\n");
        assert_eq!(read(last), b"all of it");
        assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
    }
}

#[test]
fn a_further_pipe_at_a_standard_streams_number_is_refused() {
    let _accounted = accounted();
    let twice = |first, second| {
        let mut command = shell("exit 0");
        command
            .pipe_at(first, Direction::Read)
            .pipe_at(second, Direction::Write);
        command.spawn().unwrap_err()
    };
    for (first, second) in [(2, 4), (5, 5)] {
        let error = twice(first, second);
        assert!(error.to_string().contains("from 3 on"), "{error}");
    }
    // A program that is missing is told as ever, although there is a step between fork and exec.
    let mut command = Command::new("watertight-no-such-program");
    let missing = command.pipe_at(3, Direction::Write).spawn().unwrap_err();
    assert_eq!(missing.step, StartStep::Program);
}

/// Another descriptor that is inheritable stays here.
#[cfg(target_os = "linux")]
#[test]
fn only_what_is_named_is_inherited() {
    use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
    use std::os::fd::AsRawFd;
    let _accounted = accounted();
    let (from, _into) = std::io::pipe().unwrap();
    let [named, other] = [80, 90].map(|least| {
        let fd = fcntl_dupfd_cloexec(&from, least).unwrap();
        fcntl_setfd(&fd, FdFlags::empty()).unwrap();
        fd
    });
    let numbers = [&named, &other].map(|fd| u32::try_from(fd.as_raw_fd()).unwrap());
    let list = |command: &mut Command| {
        let outcome = command.output(Limits::new()).unwrap().wait().unwrap();
        outcome
            .stdout
            .text()
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    let mut command = shell("ls /proc/$$/fd");
    let all = list(&mut command);
    assert!(numbers.iter().all(|number| all.contains(number)), "{all:?}");
    command
        .inherit_only([numbers[0]])
        .pipe_at(3, Direction::Read);
    let some = list(&mut command);
    assert!(
        some.contains(&numbers[0]) && !some.contains(&numbers[1]),
        "{some:?}"
    );
    assert!(
        [0, 1, 2, 3].iter().all(|number| some.contains(number)),
        "{some:?}"
    );
}

#[test]
fn a_pipeline_is_a_shells() {
    let _accounted = accounted();
    let mut cat = Command::new("cat");
    let bytes = crate::common::noise(4 << 20, 3);
    cat.stdin(Input::bytes(bytes.clone()));
    let mut pipeline = Pipeline::from(cat)
        .then(shell("cat; echo second >&2"))
        .then(Command::new("cat"));
    let outcome = pipeline.output(Limits::new()).unwrap().wait().unwrap();
    assert!(outcome.is_success());
    assert!(outcome.last().stdout.bytes == bytes);
    assert_eq!(outcome.stages.len(), 3);
    assert_eq!(outcome.stages[1].stderr.bytes, b"second\n");
    assert!(outcome.stages[0].stdin.as_ref().unwrap().is_complete());
}

/// The first writes for ever, and is ended by the second's end.
#[test]
fn a_command_that_ends_ends_its_neighbours() {
    let _accounted = accounted();
    let run = |last: &str| {
        Pipeline::from(shell("while echo y; do :; done"))
            .then(Command::new("cat"))
            .then(shell(last))
            .output(Limits::new())
            .unwrap()
            .wait()
            .unwrap()
    };
    let outcome = run("head -n 2");
    assert_eq!(outcome.last().stdout.bytes, b"y\ny\n");
    assert!(outcome.is_success(), "who has enough is no failure");
    let outcome = run("exit 3");
    assert!(!outcome.is_success());
    let last = outcome.last().exit.unwrap().status().unwrap();
    assert_eq!(last.code(), Some(3));
}

#[test]
fn a_deadline_ends_every_command_of_a_pipeline() {
    let _accounted = accounted();
    let limits = Limits::new()
        .within(Duration::from_millis(200))
        .grace(Duration::ZERO);
    let outcome = Pipeline::from(shell("echo x; sleep 1000"))
        .then(shell("cat; sleep 1000"))
        .output(limits)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.last().stdout.bytes, b"x\n");
    for stage in &outcome.stages {
        assert_eq!(stage.ended, EndedBy::Deadline);
        assert!(!stage.exit.unwrap().is_success());
    }
}

/// One that passes its bound has all of them ended, also those that would never hear of it.
#[test]
fn a_bound_ends_every_command_of_a_pipeline() {
    let _accounted = accounted();
    let limits = Limits::new()
        .output_bytes_max(1000)
        .at_bound(AtBound::End)
        .grace(Duration::ZERO);
    let outcome = Pipeline::from(shell("sleep 1000"))
        .then(shell("while echo y; do :; done"))
        .output(limits)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(outcome.last().ended, EndedBy::Bound);
    assert_eq!(outcome.last().stdout.bytes.len(), 1000);
    assert_eq!(outcome.stages[0].ended, EndedBy::Request);
}

#[test]
fn a_pipeline_that_cannot_start_leaves_nobody() {
    let _accounted = accounted();
    let mut pipeline =
        Pipeline::from(shell("sleep 1000")).then(Command::new("watertight-no-such-program"));
    let error = pipeline.output(Limits::new()).unwrap_err();
    assert_eq!(error.program, "watertight-no-such-program");
    await_no_children();
    // Mended, the same pipeline runs: it keeps no pipe of the start before.
    let mut pipeline = Pipeline::from(shell("echo again")).then(shell("cat"));
    for _ in 0..2 {
        let outcome = pipeline.output(Limits::new()).unwrap().wait().unwrap();
        assert_eq!(outcome.last().stdout.bytes, b"again\n");
    }
}

/// The thread that hears of ends and reaps does so a moment after the end.
fn await_no_children() {
    #[cfg(target_os = "linux")]
    while crate::common::held()
        .iter()
        .any(|one| one.starts_with("child") || one.contains("pidfd"))
    {
        std::thread::yield_now();
    }
}

#[cfg(feature = "tokio")]
#[test]
fn the_same_under_tokio() {
    let _accounted = accounted();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let mut command = shell("cat; echo err >&2");
        command.stdin(Input::bytes("in"));
        command.output(Limits::new()).unwrap().await.unwrap()
    });
    assert!(outcome.is_success());
    assert_eq!(
        (outcome.stdout.bytes, outcome.stderr.bytes),
        (b"in".to_vec(), b"err\n".to_vec())
    );
}
