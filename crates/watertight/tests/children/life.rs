//! Children: started, fed, read, ended, and what is left of them. Each test's children are this test binary itself, or a shell.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a child ends without the harness")]

use crate::common::children::accounted_behind;
use crate::common::{Accounted, PATIENCE, test_name};
use std::io::{Read, Write};
use std::time::Duration;
use watertight::{
    AtBound, Command, EndRequest, EndedBy, ErrorKind, Exit, Input, Limits, Output, PipeReader,
    StartStep,
};

/// Makes this test binary a child that does this, and nothing else.
const DEED: &str = "WATERTIGHT_CHILD";

/// No test of its own: what the children do.
#[test]
fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    match deed.as_str() {
        "echo" => drop(std::io::copy(&mut input, &mut output).unwrap()),
        "both" => {
            for round in 0..100 {
                writeln!(output, "out {round}").unwrap();
                output.flush().unwrap();
                eprintln!("err {round}");
            }
        }
        "for ever" => {
            let chunk = [b'y'; 8192];
            while output.write_all(&chunk).is_ok() {}
        }
        "complain for ever" => {
            let chunk = [b'e'; 8192];
            while std::io::stderr().write_all(&chunk).is_ok() {}
        }
        "read a byte" => input.read_exact(&mut [0]).unwrap(),
        "fail" => std::process::exit(3),
        "wait" => drop(input.read_to_end(&mut Vec::new()).unwrap()),
        _ => panic!("no such deed: {deed}"),
    }
    std::process::exit(0);
}

/// Prints nothing but what the deed does: the harness's own line comes before it.
fn child(deed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &test_name(module_path!(), "deed"),
            "--nocapture",
            "--quiet",
        ])
        .env(DEED, deed);
    command
}

/// Behind a second child, too: std keeps what it makes its pipes with (Windows).
fn accounted() -> Accounted {
    accounted_behind(child("for ever"), || {
        let _ = child("fail").output(Limits::new()).unwrap().wait().unwrap();
    })
}

/// What the harness of the child prints before the deed.
fn behind_the_harness(bytes: &[u8]) -> &[u8] {
    let head = b"running 1 test\n";
    let at = bytes.windows(head.len()).position(|window| window == head);
    at.map_or(bytes, |at| &bytes[at + head.len()..])
}

#[test]
fn sixteen_mebibytes_go_in_and_come_out() {
    let _accounted = accounted();
    let bytes = crate::common::noise(16 << 20, 7);
    let outcome = child("echo")
        .stdin(Input::bytes(bytes.clone()))
        .output(Limits::new())
        .unwrap()
        .wait()
        .unwrap();
    assert!(
        outcome.is_success(),
        "{:?} {}",
        outcome.exit,
        outcome.stderr.text()
    );
    assert!(outcome.stdout.is_whole());
    let back = behind_the_harness(&outcome.stdout.bytes);
    assert!(back == bytes);
    assert_eq!(outcome.ended, EndedBy::Itself);
    let receipt = outcome.stdin.unwrap();
    assert!(receipt.is_complete());
    assert_eq!(receipt.ledger().transferred(), 16 << 20);
}

#[test]
fn a_child_is_fed_and_read_by_hand() {
    let _accounted = accounted();
    let mut child = child("echo")
        .stdin(Input::piped())
        .stdout(Output::piped())
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    input.send(b"by hand").within(PATIENCE).wait().unwrap();
    assert_eq!(child.try_wait(), None);
    let early = child.wait().within(Duration::ZERO).wait();
    assert_eq!(early.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(
        input
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    let mut bytes = Vec::new();
    assert!(
        output
            .receive_to_end(&mut bytes, 1 << 20)
            .within(PATIENCE)
            .wait()
            .unwrap()
    );
    assert_eq!(behind_the_harness(&bytes), b"by hand");
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert!(exit.is_success());
    // Asked again, the same is said; and nobody is there to be killed.
    assert_eq!(child.wait().within(PATIENCE).wait().unwrap(), exit);
    assert_eq!(child.try_wait(), Some(exit));
    assert!(!child.kill().unwrap());
}

#[test]
fn merged_outputs_keep_the_order_in_which_they_were_written() {
    let _accounted = accounted();
    let outcome = child("both")
        .stderr(Output::to_stdout())
        .output(Limits::new())
        .unwrap()
        .wait()
        .unwrap();
    assert!(outcome.is_success());
    let expected: String = (0..100)
        .map(|round| format!("out {round}\nerr {round}\n"))
        .collect();
    let text = String::from_utf8(behind_the_harness(&outcome.stdout.bytes).to_vec()).unwrap();
    assert_eq!(text, expected);
    assert!(outcome.stderr.bytes.is_empty());
}

#[test]
fn a_deadline_keeps_what_was_written_up_to_the_bound() {
    let _accounted = accounted();
    let limits = Limits::new()
        .output_bytes_max(100_000)
        .within(Duration::from_millis(300))
        .grace(Duration::ZERO);
    let outcome = child("for ever").output(limits).unwrap().wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.bytes.len(), 100_000);
    assert!(outcome.stdout.discarded > 0);
    assert!(!outcome.exit.unwrap().is_success());
    assert!(
        outcome
            .into_result()
            .unwrap_err()
            .to_string()
            .contains("deadline")
    );
}

/// The deadline is put off until so much was printed that it could not have been kept.
#[test]
fn a_child_that_prints_for_ever_takes_no_more_memory_than_is_kept() {
    const KEPT_BYTES: usize = 100_000;
    /// What is allocated beside that: the room for one read, a vector twice as large while it moves, and what is listed of every
    /// process when the tree is killed.
    const SLACK_BYTES: usize = 4 << 20;
    let _accounted = accounted();
    let mut within = Duration::from_millis(100);
    let mut printed = 0;
    while printed < 16 * SLACK_BYTES as u64 {
        let limits = Limits::new()
            .output_bytes_max(KEPT_BYTES as u64)
            .within(within)
            .grace(Duration::ZERO);
        let run = child("for ever").output(limits).unwrap();
        let (outcome, peak) = crate::common::with_heap_peak(|| run.wait().unwrap());
        assert_eq!(outcome.ended, EndedBy::Deadline);
        assert!(peak <= KEPT_BYTES + SLACK_BYTES, "{peak} bytes at one time");
        printed = outcome.stdout.bytes.len() as u64 + outcome.stdout.discarded;
        within *= 2;
    }
}

#[test]
fn a_bound_ends_the_child_if_it_is_to() {
    let _accounted = accounted();
    let limits = Limits::new()
        .output_bytes_max(100_000)
        .at_bound(AtBound::End)
        .grace(Duration::ZERO);
    let outcome = child("for ever").output(limits).unwrap().wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Bound);
    assert_eq!(outcome.stdout.bytes.len(), 100_000);
    assert!(outcome.tree.unwrap().left.is_empty());
}

#[test]
fn each_output_has_a_bound_of_its_own() {
    let _accounted = accounted();
    let kept = |limits: Limits| {
        let outcome = child("both").output(limits).unwrap().wait().unwrap();
        assert_eq!(outcome.ended, EndedBy::Itself);
        assert!(outcome.stdout.discarded > 0 && outcome.stderr.discarded > 0);
        (outcome.stdout.bytes.len(), outcome.stderr.bytes.len())
    };
    let limits = Limits::new().stdout_bytes_max(10).stderr_bytes_max(20);
    assert_eq!(kept(limits), (10, 20));
    // The last word counts.
    let limits = Limits::new().stdout_bytes_max(10).output_bytes_max(30);
    assert_eq!(kept(limits.stderr_bytes_max(20)), (30, 20));
}

#[test]
fn what_happens_at_a_bound_is_each_outputs_own() {
    let _accounted = accounted();
    let ended = |deed: &str, limits: Limits| {
        let run = child(deed).output(limits.grace(Duration::ZERO)).unwrap();
        run.within(PATIENCE).wait().unwrap().ended
    };
    let tight = || Limits::new().stdout_bytes_max(0);
    let limits = tight().stderr_at_bound(AtBound::End);
    assert_eq!(ended("both", limits), EndedBy::Itself);
    let limits = tight().stdout_at_bound(AtBound::End);
    assert_eq!(ended("for ever", limits), EndedBy::Bound);
    let limits = Limits::new().stderr_bytes_max(1000);
    let limits = limits.stderr_at_bound(AtBound::End);
    assert_eq!(ended("complain for ever", limits), EndedBy::Bound);
}

#[test]
fn at_a_bound_that_stops_the_child_waits_and_nothing_is_discarded() {
    let _accounted = accounted();
    let limits = Limits::new()
        .output_bytes_max(100_000)
        .at_bound(AtBound::Stop)
        .within(Duration::from_millis(300))
        .grace(Duration::ZERO);
    let outcome = child("for ever").output(limits).unwrap().wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(outcome.stdout.bytes.len(), 100_000);
    // One read brings more than is kept, and what is in the pipe when it is killed is counted too.
    assert!(outcome.stdout.discarded <= 256 * 1024);
}

/// Nobody waits for a child that is over.
#[test]
fn a_bound_that_stops_holds_up_nobody_when_the_child_is_over() {
    let _accounted = accounted();
    let limits = Limits::new().output_bytes_max(1000).at_bound(AtBound::Stop);
    let run = child("echo")
        .stdin(Input::bytes(vec![b'x'; 10_000]))
        .output(limits);
    let outcome = run.unwrap().within(PATIENCE).wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Itself);
    assert_eq!(outcome.stdout.bytes.len(), 1000);
    assert!(outcome.stdout.discarded >= 9_000);
    assert!(outcome.stdout.has_ended);
}

#[test]
fn one_request_ends_all_that_it_was_given_to() {
    let _accounted = accounted();
    let request = EndRequest::new();
    let runs = [(); 2].map(|()| {
        let limits = Limits::new().end_on(&request).grace(Duration::ZERO);
        let mut command = child("for ever");
        let run = command.output(limits).unwrap();
        std::thread::spawn(move || run.wait().unwrap())
    });
    request.send();
    for run in runs {
        assert_eq!(run.join().unwrap().ended, EndedBy::Request);
    }
}

#[test]
fn a_wait_that_is_given_up_keeps_what_was_written_and_kills() {
    let _accounted = accounted();
    let outcome = child("for ever")
        .output(Limits::new().output_bytes_max(10_000))
        .unwrap()
        .within(Duration::from_millis(300))
        .wait()
        .unwrap();
    assert_eq!((outcome.ended, outcome.exit), (EndedBy::Deadline, None));
    assert_eq!(outcome.stdout.bytes.len(), 10_000);
    assert!(outcome.tree.unwrap().left.is_empty());
    await_no_children();
}

#[test]
fn a_child_that_does_not_read_its_input_is_told_with_the_account() {
    let _accounted = accounted();
    // Less than the account lets pass: the driver may still be about to drop them when the outcome is there.
    let bytes = vec![7; 200_000];
    let run = |limits| {
        child("read a byte")
            .stdin(Input::bytes(bytes.clone()))
            .output(limits)
            .unwrap()
            .wait()
            .unwrap()
    };
    let outcome = run(Limits::new());
    let receipt = outcome.stdin.as_ref().unwrap();
    let ledger = receipt.ledger();
    assert!(!receipt.is_complete());
    assert_eq!(ledger.unsettled(), 0);
    assert_eq!(ledger.accepted(), 200_000);
    let told = outcome.into_result().unwrap_err().to_string();
    assert!(told.contains("did not read all of its input"), "{told}");
    assert!(run(Limits::new().ignore_broken_stdin(true)).is_success());
}

#[test]
fn a_child_that_fails_is_told_with_its_code() {
    let _accounted = accounted();
    let outcome = child("fail").output(Limits::new()).unwrap().wait().unwrap();
    assert_eq!(outcome.exit.unwrap().status().unwrap().code(), Some(3));
    assert!(outcome.into_result().unwrap_err().to_string().contains('3'));
}

#[test]
fn a_child_that_is_asked_to_end_and_does_not_is_killed() {
    let _accounted = accounted();
    let mut child = child("wait").stdin(Input::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let exit = child
        .terminate(Duration::ZERO)
        .within(PATIENCE)
        .wait()
        .unwrap();
    assert!(!exit.is_success());
    drop(input);
}

#[test]
fn a_dropped_child_goes_on_and_is_reaped() {
    let _accounted = accounted();
    let mut child = child("echo")
        .stdin(Input::piped())
        .stdout(Output::piped())
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    drop(child);
    input.send(b"on").within(PATIENCE).wait().unwrap();
    assert!(
        input
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    let mut bytes = Vec::new();
    assert!(
        output
            .receive_to_end(&mut bytes, 1 << 20)
            .within(PATIENCE)
            .wait()
            .unwrap()
    );
    assert_eq!(behind_the_harness(&bytes), b"on");
    await_no_children();
}

#[test]
fn a_dropped_child_is_killed_if_it_is_to() {
    let _accounted = accounted();
    let mut command = child("wait");
    let mut child = command
        .stdin(Input::piped())
        .stdout(Output::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    drop(child);
    // Its input is open: only the kill ended it.
    assert!(
        output
            .receive_to_end(&mut Vec::new(), 1 << 20)
            .within(PATIENCE)
            .wait()
            .unwrap()
    );
    drop(input);
    await_no_children();
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

#[test]
fn a_command_can_be_started_again_and_keeps_no_pipe_open() {
    let _accounted = accounted();
    let mut command = child("fail");
    command.stdout(Output::piped()).stderr(Output::to_stdout());
    for _ in 0..2 {
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        // The command still exists, and must not hold the writing end.
        let mut bytes = Vec::new();
        assert!(
            output
                .receive_to_end(&mut bytes, 1 << 20)
                .within(PATIENCE)
                .wait()
                .unwrap()
        );
        assert_eq!(
            child
                .wait()
                .within(PATIENCE)
                .wait()
                .unwrap()
                .status()
                .unwrap()
                .code(),
            Some(3)
        );
    }
    drop(command);
}

#[test]
fn a_handle_is_what_the_child_reads_and_writes() {
    let _accounted = accounted();
    let (from, mut into) = std::io::pipe().unwrap();
    let (out, theirs) = std::io::pipe().unwrap();
    let mut command = child("echo");
    command
        .stdin(Input::from_handle(from))
        .stdout(Output::from_handle(theirs));
    let child = command.spawn().unwrap();
    drop(command);
    into.write_all(b"through").unwrap();
    drop(into);
    let output = PipeReader::adopt_unshared(out, watertight::ReaderOptions::new()).unwrap();
    let mut bytes = Vec::new();
    assert!(
        output
            .receive_to_end(&mut bytes, 1 << 20)
            .within(PATIENCE)
            .wait()
            .unwrap()
    );
    assert_eq!(behind_the_harness(&bytes), b"through");
    assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
}

/// Where a cut does not show, nobody pretends: and it is Windows that has no such sign.
#[cfg(windows)]
#[test]
fn an_armed_input_is_refused_where_a_cut_does_not_show() {
    let _accounted = accounted();
    let refused = child("echo").stdin(Input::armed()).spawn().unwrap_err();
    assert_eq!(refused.step, StartStep::Other);
    assert_eq!(refused.error.kind(), std::io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("piped"), "{refused}");
}

#[test]
fn a_start_that_fails_names_the_step_and_leaves_nothing() {
    let _accounted = accounted();
    let missing = Command::new("watertight-no-such-program")
        .stdin(Input::bytes("never read"))
        .stderr(Output::to_stdout())
        .output(Limits::new())
        .unwrap_err();
    assert_eq!(missing.step, StartStep::Program);
    assert!(missing.to_string().contains("watertight-no-such-program"));
    let directory = child("fail")
        .current_dir("no/such/directory")
        .spawn()
        .unwrap_err();
    assert_eq!(directory.step, StartStep::Directory);
}

#[test]
fn sixty_four_children_at_once_keep_all_their_output() {
    let _accounted = accounted();
    let runs: Vec<_> = (0..64)
        .map(|number| {
            let bytes = vec![number; 100_000];
            let mut command = child("echo");
            command.stdin(Input::bytes(bytes.clone()));
            (command.output(Limits::new()).unwrap(), bytes)
        })
        .collect();
    for (run, bytes) in runs {
        let outcome = run.wait().unwrap();
        assert!(outcome.is_success());
        assert!(behind_the_harness(&outcome.stdout.bytes) == bytes);
    }
}

#[test]
fn the_end_is_awaited_by_several_at_once() {
    let _accounted = accounted();
    let mut child = child("wait").stdin(Input::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        let waits = [(); 3].map(|()| scope.spawn(|| child.wait().within(PATIENCE).wait().unwrap()));
        drop(input);
        for wait in waits {
            assert!(matches!(wait.join().unwrap(), Exit::Status(status) if status.success()));
        }
    });
}
