//! Children on Unix: who holds a pipe, whom a kill reaches, and what a shell's tree comes to.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

mod common;

use common::{Accounted, PATIENCE};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use watertight::{AfterExit, Command, EndedBy, Exit, Found, Input, Limits, Output};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Behind a first child: the thread that hears of children's ends stays.
fn accounted() -> Accounted {
    let _ = shell("exit 0")
        .output(Limits::new())
        .unwrap()
        .wait()
        .unwrap();
    Accounted::start()
}

fn kill(found: &Found) {
    let pid = Pid::from_raw(i32::try_from(found.pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
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
    assert_eq!(holder.name.as_deref(), Some("sleep"));
    kill(holder);
}

#[test]
fn to_the_end_means_the_grandchilds_end() {
    let _accounted = accounted();
    let outcome = shell("(read line <&3; echo later) 3<&0 & echo now")
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
    assert_eq!(escaped.name.as_deref(), Some("sleep"));
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
    // Nobody holds the pipe any more.
    assert!(lines.receive().within(PATIENCE).wait().unwrap().is_none());
    assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
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
