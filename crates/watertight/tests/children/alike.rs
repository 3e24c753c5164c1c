//! What is the same for children on every system: whose input ends whom, how each command of a pipeline ended, who lives on. The
//! children are this test binary.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a child ends without the harness")]

#[cfg(windows)]
mod on_windows;
mod pipelines;

use crate::common::children::accounted_behind;
use crate::common::{Accounted, PATIENCE, test_name};
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Barrier;
use std::time::Duration;
use watertight::{AfterExit, Child, Command, Exit, Input, Limits, Outcome, Output, Pipeline};

/// Makes this test binary a child that does this, and nothing else.
const DEED: &str = "WATERTIGHT_CHILD";

/// Where the deeds are.
const MODULE: &str = module_path!();

/// No test of its own: what the children do.
#[test]
fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let mut heard = String::new();
    match deed.as_str() {
        "arguments" => std::env::args().for_each(|argument| println!("{argument:?}")),
        "begin and wait" => {
            println!("begun");
            input.read_to_string(&mut heard).unwrap();
        }
        // By then whoever writes to it has begun.
        "fail at a byte" => {
            input.read_exact(&mut [0]).unwrap();
            std::process::exit(4);
        }
        "for ever" => while output.write_all(&[b'y'; 8192]).is_ok() {},
        "for ever or fail" => {
            while output.write_all(&[b'y'; 8192]).is_ok() {}
            std::process::exit(6);
        }
        "hear" => {
            input.read_to_string(&mut heard).unwrap();
            println!("heard: {}", heard.contains("said"));
            std::process::exit(5);
        }
        "keep and leave" => {
            watertight::keep_standard_streams_from_children().unwrap();
            drop(child("stay").stdout(Output::null()).spawn().unwrap());
        }
        // Dropped, it goes on. Its input and its standard error are ours.
        "leave" => drop(child("stay").stdout(Output::null()).spawn().unwrap()),
        // It is killed.
        #[cfg(windows)]
        "keep one until killed" => {
            let mut kept = child("stay");
            kept.stdout(Output::null()).kill_on_drop(true);
            let _kept = kept.spawn().unwrap();
            println!("begun");
            input.read_to_string(&mut heard).unwrap();
        }
        // Whether all of it went on is no matter here.
        "pass on" => drop(std::io::copy(&mut input, &mut output)),
        #[cfg(windows)]
        "leave a holder" => println!("left {}", on_windows::holder().spawn().unwrap().id()),
        "say" => {
            println!("said");
            std::process::exit(3);
        }
        "stay" => {
            input.read_to_string(&mut heard).unwrap();
            eprintln!("stayed");
        }
        "take a byte" => input.read_exact(&mut [0]).unwrap(),
        "wait" => drop(input.read_to_string(&mut heard).unwrap()),
        _ => panic!("no such deed: {deed}"),
    }
    std::process::exit(0);
}

fn child(deed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &test_name(MODULE, "deed"),
            "--nocapture",
            "--quiet",
        ])
        .env(DEED, deed);
    command
}

/// As a command of std's.
fn of_std(deed: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &test_name(MODULE, "deed")])
        .args(["--nocapture", "--quiet"])
        .env(DEED, deed);
    command
}

/// Behind a second child, too: std keeps what it makes its pipes with (Windows).
fn accounted() -> Accounted {
    accounted_behind(child("for ever"), || {
        let _ = child("say").output(Limits::new()).unwrap().wait().unwrap();
    })
}

/// Eight threads start them at once. Each is ended by the end of its own input, and those that were started after it, which may have
/// inherited that, live on.
#[test]
fn a_child_ends_with_its_own_input_while_the_others_live() {
    const THREADS: usize = 8;
    const EACH: usize = 3;
    let _accounted = accounted();
    let together = Barrier::new(THREADS);
    let start = || {
        together.wait();
        [(); EACH].map(|()| {
            let mut command = child("wait");
            command.stdin(Input::piped()).stdout(Output::null());
            command.spawn().unwrap()
        })
    };
    let children: Vec<Child> = std::thread::scope(|scope| {
        let starting = [(); THREADS].map(|()| scope.spawn(start));
        let started = starting.into_iter().map(|thread| thread.join().unwrap());
        started.flatten().collect()
    });
    let mut left = children.into_iter();
    while let Some(mut child) = left.next() {
        drop(child.stdin.take());
        assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
        assert!(left.as_slice().iter().all(|one| one.try_wait().is_none()));
    }
}

#[test]
fn each_command_of_a_pipeline_has_its_own_status() {
    let _accounted = accounted();
    let mut pipeline = Pipeline::from(child("say")).then(child("hear"));
    let outcome = pipeline.output(Limits::new()).unwrap().wait().unwrap();
    let code = |stage: &Outcome| stage.exit.and_then(Exit::status).unwrap().code();
    let codes: Vec<_> = outcome.stages.iter().map(code).collect();
    assert_eq!(codes, [Some(3), Some(5)]);
    let heard = outcome.last().stdout.text();
    assert!(heard.contains("heard: true"), "{heard}");
    assert!(!outcome.is_success());
}

/// What is set there, before and after, is the child's. Its standard streams are set here, anew at each start.
#[test]
fn a_command_of_std_is_started_as_it_is_but_for_its_streams() {
    let _accounted = accounted();
    let mut theirs = of_std("say");
    theirs.stdout(Stdio::null());
    let mut command = Command::from(theirs);
    let code = |outcome: &Outcome| outcome.exit.and_then(Exit::status).unwrap().code();
    for _ in 0..2 {
        let run = command.output(Limits::new()).unwrap();
        let outcome = run.within(PATIENCE).wait().unwrap();
        assert_eq!(code(&outcome), Some(3));
        let said = outcome.stdout.text();
        assert!(said.contains("said"), "{said}");
        command.as_std_mut().stdout(Stdio::null());
    }
    command.as_std_mut().env(DEED, "hear");
    let run = command.stdin(Input::bytes("said")).output(Limits::new());
    let outcome = run.unwrap().within(PATIENCE).wait().unwrap();
    assert_eq!(code(&outcome), Some(5));
    let heard = outcome.stdout.text();
    assert!(heard.contains("heard: true"), "{heard}");
}

/// On Windows its job ends with us until then.
#[test]
fn whoever_is_left_behind_lives_on_when_the_command_ended_by_itself() {
    let _accounted = accounted();
    // On Windows whoever is left behind has inherited the output as well.
    for limits in [
        Limits::new().after_exit(AfterExit::Quiet(Duration::ZERO)),
        Limits::new()
            .after_exit(AfterExit::ToDeadline)
            .within(Duration::ZERO),
    ] {
        let (from, into) = std::io::pipe().unwrap();
        let (mut said, theirs) = std::io::pipe().unwrap();
        let mut command = child("leave");
        command
            .stdin(Input::from_handle(from))
            .stdout(Output::piped())
            .stderr(Output::from_handle(theirs))
            .kill_on_drop(true);
        let leaving = command.spawn().unwrap();
        // It has both handles, too.
        drop(command);
        // A deadline begins with what is called next.
        let exit = leaving.until_exit().within(PATIENCE).wait().unwrap();
        let run = leaving.communicate(limits).within(PATIENCE);
        let outcome = run.wait().unwrap();
        assert_eq!(outcome.exit, Some(exit), "{outcome:?}");
        assert!(exit.is_success() && outcome.ended.is_by_itself());
        assert!(outcome.tree.is_none(), "{outcome:?}");
        // Only then is anything said.
        drop(into);
        let mut last = String::new();
        said.read_to_string(&mut last).unwrap();
        assert!(last.contains("stayed"), "{last}");
    }
}

/// What it was started with would be with whoever it leaves behind, and whoever reads it would wait for that one (Windows).
#[test]
fn who_is_left_behind_has_no_stream_that_it_was_not_given() {
    let _accounted = accounted();
    let (from, into) = std::io::pipe().unwrap();
    let (mut said, theirs) = std::io::pipe().unwrap();
    let mut command = child("keep and leave");
    command
        .stdin(Input::from_handle(from))
        .stdout(Output::piped())
        .stderr(Output::from_handle(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    let output = child.stdout.take().unwrap();
    let mut rest = Vec::new();
    // It would not end before that one does, which has its input still.
    let ended = output.receive_to_end(&mut rest, 64 * 1024);
    ended.within(PATIENCE).wait().unwrap();
    assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
    drop(into);
    let mut last = String::new();
    said.read_to_string(&mut last).unwrap();
    assert!(last.contains("stayed"), "{last}");
}

#[cfg(windows)]
#[test]
fn a_terminal_is_refused_with_its_reason() {
    let _accounted = accounted();
    let mut command = child("wait");
    command.terminal(watertight::TerminalSize::default());
    let refused = command.spawn().unwrap_err();
    assert_eq!(refused.step, watertight::StartStep::Terminal);
    assert_eq!(refused.error.kind(), std::io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("ConPTY"), "{refused}");
}
