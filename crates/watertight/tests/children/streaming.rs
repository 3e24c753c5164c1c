//! Output that is told to a function as it comes, by the piece and line by line. Each test's children are this test binary itself.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a child ends without the harness")]

use crate::common::children::accounted_behind;
use crate::common::{Accounted, PATIENCE, test_name};
use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;
use watertight::{
    AtBound, Command, EndRequest, EndedBy, Input, Limits, LineEnd, Output, OutputStream,
};

/// Makes this test binary a child that does this, and nothing else.
const DEED: &str = "WATERTIGHT_CHILD";

/// What the harness of the child prints before the deed.
const HEAD: &[u8] = b"running 1 test\n";

/// No test of its own: what the children do.
#[test]
fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    let mut output = std::io::stdout();
    match deed.as_str() {
        "both" => {
            for round in 0..100 {
                writeln!(output, "out {round}").unwrap();
                output.flush().unwrap();
                eprintln!("err {round}");
            }
        }
        "echo" => drop(std::io::copy(&mut std::io::stdin(), &mut output).unwrap()),
        "for ever" => {
            let chunk = [b'y'; 8192];
            while output.write_all(&chunk).is_ok() {}
        }
        "half a line" => {
            output.write_all(b"whole\nhalf").unwrap();
            output.flush().unwrap();
            loop {
                std::thread::park();
            }
        }
        _ => panic!("no such deed: {deed}"),
    }
    std::process::exit(0);
}

fn child(deed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &test_name(module_path!(), "deed"),
            "--nocapture",
            "--quiet",
        ])
        .env(DEED, deed)
        .kill_on_drop(true);
    command
}

/// Behind a second child, too: std keeps what it makes its pipes with (Windows).
fn accounted() -> Accounted {
    accounted_behind(child("for ever"), || {
        let _ = child("both").output(Limits::new()).unwrap().wait().unwrap();
    })
}

fn behind_the_harness(bytes: &[u8]) -> &[u8] {
    let at = bytes.windows(HEAD.len()).position(|window| window == HEAD);
    at.map_or(bytes, |at| &bytes[at + HEAD.len()..])
}

/// The child ends only when it is ended: so it was told while the child was running.
#[test]
fn output_is_told_as_it_comes_and_half_a_line_at_the_end() {
    let _accounted = accounted();
    let request = EndRequest::new();
    let limits = Limits::new().end_on(&request).grace(Duration::ZERO);
    let (to, lines) = channel();
    let mut heard = Vec::new();
    let outcome = child("half a line")
        .output(limits)
        .unwrap()
        .on_output(move |_, bytes| {
            heard.extend_from_slice(bytes);
            if heard.ends_with(b"whole\nhalf") {
                request.send();
            }
        })
        .on_lines(move |_, line| to.send((line.bytes.clone(), line.end)).unwrap())
        .within(PATIENCE)
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Request);
    let lines: Vec<_> = lines.iter().collect();
    let [.., whole, half] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(whole, &(b"whole\n".to_vec(), LineEnd::Newline));
    // A killed child's pipe ends too, unless somebody else is faster to look.
    assert_eq!(half.0, b"half");
    assert!([LineEnd::Stream, LineEnd::Cut].contains(&half.1));
    assert_eq!(half.1 == LineEnd::Stream, outcome.stdout.has_ended);
    // Kept all the same.
    assert_eq!(behind_the_harness(&outcome.stdout.bytes), b"whole\nhalf");
}

#[test]
fn both_streams_are_told_line_by_line_each_in_its_order() {
    let _accounted = accounted();
    let (to, lines) = channel();
    let outcome = child("both")
        .output(Limits::new())
        .unwrap()
        .on_lines(move |stream, line| to.send((stream, line.clone())).unwrap())
        .wait()
        .unwrap();
    assert!(outcome.is_success());
    let lines: Vec<_> = lines.iter().collect();
    for (wanted, captured) in [
        (OutputStream::Stdout, &outcome.stdout),
        (OutputStream::Stderr, &outcome.stderr),
    ] {
        let of_it = lines.iter().filter(|(stream, _)| *stream == wanted);
        let told: Vec<u8> = of_it.flat_map(|(_, line)| line.bytes.clone()).collect();
        assert_eq!(told, captured.bytes);
        assert_eq!(captured.told, told.len() as u64);
    }
    assert!(lines.iter().all(|(_, line)| line.end == LineEnd::Newline));
}

#[test]
fn merged_streams_are_told_in_the_order_in_which_they_were_written() {
    let _accounted = accounted();
    let (to, lines) = channel();
    let outcome = child("both")
        .stderr(Output::to_stdout())
        .output(Limits::new())
        .unwrap()
        .on_lines(move |stream, line| {
            assert_eq!(stream, OutputStream::Stdout);
            to.send(line.bytes.clone()).unwrap();
        })
        .wait()
        .unwrap();
    assert!(outcome.is_success());
    let expected: String = (0..100)
        .map(|round| format!("out {round}\nerr {round}\n"))
        .collect();
    let told: Vec<u8> = lines.iter().flatten().collect();
    assert_eq!(behind_the_harness(&told), expected.as_bytes());
}

#[test]
fn all_of_it_is_told_while_nothing_is_kept() {
    let _accounted = accounted();
    let bytes = crate::common::noise(4 << 20, 11);
    let (to, pieces) = channel();
    let outcome = child("echo")
        .stdin(Input::bytes(bytes.clone()))
        .output(Limits::new().output_bytes_max(0))
        .unwrap()
        .on_output(move |_, bytes| to.send(bytes.to_vec()).unwrap())
        .wait()
        .unwrap();
    assert!(outcome.is_success());
    assert!(outcome.stdout.bytes.is_empty());
    assert_eq!(outcome.stdout.discarded, 0);
    let told: Vec<u8> = pieces.iter().flatten().collect();
    assert_eq!(outcome.stdout.told, told.len() as u64);
    assert!(behind_the_harness(&told) == bytes);
}

#[test]
fn a_line_without_an_end_comes_in_bounded_pieces() {
    let _accounted = accounted();
    let bytes = vec![b'x'; 10_000];
    let (to, lines) = channel();
    let outcome = child("echo")
        .stdin(Input::bytes(bytes.clone()))
        .output(Limits::new().line_bytes_max(1000))
        .unwrap()
        .on_lines(move |stream, line| {
            if stream == OutputStream::Stdout {
                to.send((line.bytes.clone(), line.end)).unwrap();
            }
        })
        .wait()
        .unwrap();
    assert!(outcome.is_success());
    let lines: Vec<_> = lines.iter().collect();
    assert!(lines.iter().all(|(bytes, _)| bytes.len() <= 1000));
    let bounds = lines.iter().filter(|(_, end)| *end == LineEnd::Bound);
    assert_eq!(bounds.count(), 10);
    let told: Vec<u8> = lines.into_iter().flat_map(|(bytes, _)| bytes).collect();
    assert!(behind_the_harness(&told) == bytes);
}

#[test]
fn a_function_that_panics_harms_neither_the_child_nor_what_is_kept() {
    let _accounted = accounted();
    let (to, calls) = channel();
    let outcome = child("both")
        .output(Limits::new())
        .unwrap()
        .on_output(move |_, _| {
            to.send(()).unwrap();
            std::panic::resume_unwind(Box::new("expected"));
        })
        .wait()
        .unwrap();
    // Called once, and dropped.
    assert_eq!(calls.iter().count(), 1);
    assert!(outcome.has_observer_panicked);
    assert!(outcome.exit.unwrap().is_success());
    assert!(outcome.stdout.is_whole() && outcome.stderr.is_whole());
    assert_eq!(outcome.stdout.told + outcome.stderr.told, 0);
    assert!(outcome.stdout.bytes.ends_with(b"out 99\n"));
    let told = outcome.into_result().unwrap_err().to_string();
    assert!(told.contains("panicked"), "{told}");
}

/// What wakes this thread for the outer wait may come while the inner one waits.
#[test]
fn a_function_may_wait_for_another_child() {
    let _accounted = accounted();
    let mut left = 2;
    let outcome = child("both")
        .output(Limits::new())
        .unwrap()
        .on_output(move |_, _| {
            if left > 0 {
                left -= 1;
                let inner = child("both").output(Limits::new()).unwrap().wait();
                assert!(inner.unwrap().is_success());
            }
        })
        .within(PATIENCE)
        .wait()
        .unwrap();
    assert!(outcome.is_success());
}

#[test]
fn a_wait_that_is_given_up_has_told_all_that_it_counts() {
    let _accounted = accounted();
    let (to, lengths) = channel();
    let outcome = child("for ever")
        .output(Limits::new().output_bytes_max(10_000))
        .unwrap()
        .on_output(move |_, bytes| to.send(bytes.len() as u64).unwrap())
        .within(Duration::from_millis(300))
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Deadline);
    assert_eq!(
        lengths.iter().sum::<u64>(),
        outcome.stdout.told + outcome.stderr.told
    );
    assert_eq!(outcome.stdout.bytes.len(), 10_000);
    assert_eq!(outcome.stdout.discarded, 0);
    await_no_children();
}

/// Being told is about bytes that are not kept; a bound that ends the child ends it all the same.
#[test]
fn a_bound_that_ends_the_child_does_so_although_all_is_told() {
    let _accounted = accounted();
    let limits = Limits::new()
        .output_bytes_max(100_000)
        .at_bound(AtBound::End)
        .grace(Duration::ZERO);
    let outcome = child("for ever")
        .output(limits)
        .unwrap()
        .on_output(|_, _| {})
        .wait()
        .unwrap();
    assert_eq!(outcome.ended, EndedBy::Bound);
    assert_eq!(outcome.stdout.bytes.len(), 100_000);
    assert!(outcome.stdout.told > 100_000);
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
