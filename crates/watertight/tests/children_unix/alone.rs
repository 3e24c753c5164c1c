//! Which threads children have: a thread that runs one to its end needs no other one of the library's, and a task that runs many needs two.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{PATIENCE, held, is_alone, is_exiting, noise};
use futures_lite::future;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, getpid, pidfd_open, waitid};
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};
use watertight::{
    AfterExit, AtBound, Command, EndRequest, EndedBy, Found, Group, Input, Limits, Outcome, Output,
    OutputStream,
};

fn run(script: &str, limits: Limits) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", script]).group(Group::Own);
    let run = command.output(limits).unwrap();
    run.within(PATIENCE).wait().unwrap()
}

fn kill(found: &Found) {
    let pid = rustix::process::Pid::from_raw(found.pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn every_kind_of_end() {
    let script = "for i in 1 2 3; do echo out $i; sleep 0.01; echo err $i >&2; done; exit 3";
    let outcome = run(script, Limits::new());
    assert_eq!(outcome.stdout.bytes, b"out 1\nout 2\nout 3\n");
    assert_eq!(outcome.stderr.bytes, b"err 1\nerr 2\nerr 3\n");
    assert_eq!(outcome.ended, EndedBy::Itself);
    assert_eq!(outcome.exit.unwrap().status().unwrap().code(), Some(3));

    // Its outputs end before it does.
    let outcome = run("exec >&- 2>&-; sleep 0.05", Limits::new());
    assert!(outcome.is_success());

    let script = "head -c 5000000 /dev/zero; head -c 300000 /dev/zero >&2";
    let outcome = run(script, Limits::new());
    assert_eq!(outcome.stdout.bytes.len(), 5_000_000);
    assert_eq!(outcome.stderr.bytes.len(), 300_000);

    let limits = Limits::new().within(Duration::from_millis(50));
    let outcome = run("echo before; exec sleep 1000", limits.grace(Duration::ZERO));
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert!(b"before\n".starts_with(&outcome.stdout.bytes[..]));

    // They live on, with its output.
    let limits = Limits::new().after_exit(AfterExit::Quiet(Duration::from_millis(10)));
    let outcome = run("sleep 1000 & echo all", limits);
    assert_eq!(outcome.ended, EndedBy::Quiet);
    assert_eq!(outcome.stdout.bytes, b"all\n");
    assert_eq!(outcome.holders.len(), 1);
    outcome.holders.iter().for_each(kill);

    let limits = Limits::new().output_bytes_max(1000).at_bound(AtBound::End);
    let outcome = run("exec yes", limits);
    assert_eq!(outcome.ended, EndedBy::Bound);
    assert_eq!(outcome.stdout.bytes.len(), 1000);

    // It stops reading, and the child waits until it is let go by its deadline.
    let limits = Limits::new().output_bytes_max(1000).at_bound(AtBound::Stop);
    let outcome = run("exec yes", limits.within(Duration::from_millis(50)));
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.bytes.len(), 1000);

    // Somebody else's word reaches the thread that blocks.
    let request = EndRequest::new();
    let limits = Limits::new().end_on(&request);
    let sending = std::thread::spawn(move || request.send());
    assert_eq!(run("exec sleep 1000", limits).ended, EndedBy::Request);
    sending.join().unwrap();
}

/// One output that never pauses keeps neither the other one nor the end from its turn, whoever is told of it.
fn a_flood_leaves_the_others_their_turn() {
    let request = EndRequest::new();
    let mut command = Command::new("sh");
    command.args(["-c", "yes & sleep 0.05; echo failed >&2; exit 7"]);
    let limits = Limits::new().output_bytes_max(1000).end_on(&request);
    let run = command.group(Group::Own).output(limits).unwrap();
    let run = run.on_lines(move |_, line| {
        if line.bytes == b"failed\n" {
            request.send();
        }
    });
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Request);
    assert_eq!(outcome.exit.unwrap().status().unwrap().code(), Some(7));
    outcome.holders.iter().for_each(kill);
}

/// Whoever is told holds the thread up until the child is over, and asks for the end then: it has ended by itself.
fn an_end_that_came_before_the_decision_counts() {
    let request = EndRequest::new();
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo err >&2; echo out"])
        .group(Group::Own);
    command.stdout(Output::piped()).stderr(Output::piped());
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let run = child.communicate(Limits::new().end_on(&request));
    let run = run.on_output(move |stream, _| {
        if stream == OutputStream::Stdout {
            let is_over = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), is_over).unwrap();
            request.send();
        }
    });
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Itself);
    assert!(outcome.is_success());
    assert_eq!(outcome.stderr.bytes, b"err\n");
}

/// In a process of its own, for it looks at the whole one.
#[test]
fn a_thread_that_waits_for_a_child_waits_alone() {
    let test = "a_thread_that_waits_for_a_child_waits_alone";
    if !is_alone(module_path!(), test) {
        return;
    }
    #[cfg(feature = "fault")]
    let guard = watertight_os::fault::guard();
    #[cfg(feature = "fault")]
    watertight_os::fault::plan(&[]);
    every_kind_of_end();
    a_flood_leaves_the_others_their_turn();
    an_end_that_came_before_the_decision_counts();
    let heard = |name: &String| name.starts_with("thread watertight-chil");
    assert!(!held().iter().any(heard), "a thread hears of ends");
    #[cfg(feature = "fault")]
    {
        let calls = watertight_os::fault::stop().calls;
        let of_the_driver = |name: &&str| name.starts_with("EPOLL_CTL");
        let names: Vec<_> = calls.iter().map(|made| made.name).collect();
        assert!(names.contains(&"ppoll"), "{names:?}");
        assert!(!names.iter().any(of_the_driver), "{names:?}");
        drop(guard);
    }

    // Where an input has to be waited for, the library's thread sends it: that one and ours are all, whatever goes through how many pipes.
    let before = threads();
    let of_the_library = before.iter().filter(|name| name.starts_with("watertight"));
    assert_eq!(of_the_library.count(), 1, "{before:?}");
    let bytes = noise(16 << 20, 7);
    let mut cat = Command::new("cat");
    cat.stdin(Input::bytes(bytes.clone()));
    let (to, seen) = mpsc::channel();
    let run = cat.output(Limits::new()).unwrap().on_output(move |_, _| {
        let _ = to.send(threads());
    });
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert!(outcome.is_success() && outcome.stdout.bytes == bytes);
    let seen: Vec<_> = seen.try_iter().collect();
    assert!(!seen.is_empty());
    for now in seen {
        assert_eq!(now, before);
    }
}

/// One hears of the ends of all, and one of their pipes; none is a child's, and none is a pipe's. In a process of its own, as above.
#[test]
fn sixty_four_children_at_once_have_two_threads() {
    const CHILDREN: usize = 64;
    if !is_alone(
        module_path!(),
        "sixty_four_children_at_once_have_two_threads",
    ) {
        return;
    }
    if pidfd_open(getpid(), PidfdFlags::empty()).is_err() {
        println!(
            "skipped: there are no pidfds here, and each child that is waited for has a thread"
        );
        return;
    }
    let mut expected = threads();
    expected.extend(["watertight\n", "watertight-chil\n"].map(str::to_owned));
    expected.sort();
    let (to, heard) = mpsc::channel();
    let mut inputs = Vec::new();
    let mut start = || {
        let mut cat = Command::new("cat");
        cat.stdin(Input::piped())
            .stdout(Output::piped())
            .stderr(Output::piped());
        let mut child = cat.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        input.try_send(b"x").unwrap();
        inputs.push(input);
        let to = to.clone();
        let run = child.communicate(Limits::new());
        let run = run.on_output(move |_, _| to.send(()).unwrap());
        Box::pin(run.within(PATIENCE))
    };
    let mut runs: Vec<_> = (0..CHILDREN).map(|_| start()).collect();
    let mut left = CHILDREN;
    let all_have_written = future::poll_fn(|context| {
        for run in &mut runs {
            assert!(run.as_mut().poll(context).is_pending(), "one is over");
        }
        left -= heard.try_iter().count();
        if left == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    future::block_on(all_have_written);
    // A new thread takes its name itself.
    let begun = Instant::now();
    while threads() != expected && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert_eq!(threads(), expected);
    drop(inputs);
    for run in runs {
        let outcome = future::block_on(run).unwrap();
        assert!(outcome.is_success());
        assert_eq!(outcome.stdout.bytes, b"x");
    }
}

/// The names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let tasks = tasks.map(|task| task.unwrap().path());
    let mut names: Vec<String> = tasks
        .filter(|task| !is_exiting(task))
        .map(|task| std::fs::read_to_string(task.join("comm")).unwrap_or_default())
        .collect();
    names.sort();
    names
}
