//! A child's pipes get more room once enough has gone through them.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::Accounted;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use watertight::{
    Child, Command, Group, Input, Output, PipeReader, PipeWriter, ReaderOptions, WriterOptions,
    pipe, transfer,
};

/// Before it nothing is enlarged.
const AFTER_BYTES: u64 = 4 << 20;
const SMALL: usize = 64 << 10;
const LARGE: usize = 128 << 10;

/// A child that says more than enough, and what it says.
fn talking(options: ReaderOptions) -> (Child, PipeReader) {
    let mut command = Command::new("sh");
    command.args(["-c", "exec head -c 8388608 /dev/zero"]);
    command.stdout(Output::piped()).output_options(options);
    command.group(Group::Own).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let output = child.stdout.take().unwrap();
    // As an ordinary user past the limit of all pipes together has it.
    assert_eq!(capacity(&output), SMALL, "a new pipe");
    (child, output)
}

fn capacity(of: &PipeReader) -> usize {
    fcntl_getpipe_size(of.try_clone_handle().unwrap()).unwrap()
}

/// Reads until so many bytes have come, by reads that end there.
fn read_until(output: &PipeReader, bytes: u64) {
    let mut buf = vec![0; SMALL];
    while output.ledger().transferred() < bytes {
        let left = usize::try_from(bytes - output.ledger().transferred()).unwrap();
        let room = left.min(buf.len());
        assert_ne!(output.receive(&mut buf[..room]).wait().unwrap(), 0);
    }
}

#[test]
fn an_output_gets_more_room_once_it_pays() {
    let _accounted = Accounted::start();
    let (child, output) = talking(ReaderOptions::new());
    read_until(&output, AFTER_BYTES);
    assert_eq!(capacity(&output), SMALL);
    read_until(&output, AFTER_BYTES + 1);
    assert_eq!(capacity(&output), LARGE);
    read_until(&output, 2 * AFTER_BYTES);
    assert_eq!(output.receive(&mut [0]).wait().unwrap(), 0, "the end");
    assert!(child.wait().wait().unwrap().is_success());
}

#[test]
fn an_output_that_is_transferred_gets_it_too() {
    let _accounted = Accounted::start();
    let (child, output) = talking(ReaderOptions::new());
    let (sink, to) = pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| read_until(&sink, AFTER_BYTES + 1));
        let passing = |bytes: u64| transfer(&output, &to).bytes_max(bytes).wait().unwrap();
        passing(AFTER_BYTES);
        assert_eq!(capacity(&output), SMALL);
        passing(1);
        assert_eq!(capacity(&output), LARGE);
    });
    child.kill().unwrap();
    child.wait().wait().unwrap();
}

#[test]
fn it_does_not_where_it_was_said_so() {
    let _accounted = Accounted::start();
    let (child, output) = talking(ReaderOptions::new().enlarge(false));
    read_until(&output, 2 * AFTER_BYTES);
    assert_eq!(capacity(&output), SMALL);
    assert!(child.wait().wait().unwrap().is_success());
}

/// Others may count on how far they can run ahead.
#[test]
fn no_other_pipe_does() {
    let _accounted = Accounted::start();
    let (output, feed) = pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let chunk = vec![0; SMALL];
            while feed.ledger().accepted() < 2 * AFTER_BYTES {
                feed.send(&chunk).wait().unwrap();
            }
        });
        read_until(&output, 2 * AFTER_BYTES);
    });
    assert_eq!(capacity(&output), SMALL);
}

/// Whoever has made it larger than that had a reason.
#[test]
fn a_larger_one_stays_as_large() {
    let _accounted = Accounted::start();
    let (child, output) = talking(ReaderOptions::new());
    fcntl_setpipe_size(output.try_clone_handle().unwrap(), 2 * LARGE).unwrap();
    read_until(&output, 2 * AFTER_BYTES);
    assert_eq!(capacity(&output), 2 * LARGE);
    assert!(child.wait().wait().unwrap().is_success());
}

/// A child that reads all it is given, and its input.
fn hearing(options: WriterOptions) -> (Child, PipeWriter) {
    let mut command = Command::new("sh");
    command.args(["-c", "exec cat >/dev/null"]);
    command.stdin(Input::piped()).stdin_options(options);
    command.group(Group::Own).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    (child, input)
}

fn capacity_in(of: &PipeWriter) -> usize {
    usize::try_from(of.capacity().unwrap()).unwrap()
}

/// Sends so many bytes and waits until the pipe has them.
fn feed(input: &PipeWriter, bytes: u64) {
    let chunk = vec![0; SMALL];
    let end = input.ledger().accepted() + bytes;
    while input.ledger().accepted() < end {
        let left = usize::try_from(end - input.ledger().accepted()).unwrap();
        input.send(&chunk[..left.min(SMALL)]).wait().unwrap();
    }
    input.until_transferred().wait().unwrap();
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// Stops the child, so that the pipe fills, and lets it go on once more is queued than the pipe takes.
fn overfill(child: &Child, input: &PipeWriter) {
    signal(child, Signal::STOP);
    // The child may read on for the moment that the signal takes.
    let chunk = vec![0; 8 * LARGE];
    let send = input.send(&chunk).within(Duration::ZERO).wait();
    assert!(send.is_err(), "more than the pipe and the queue take");
    signal(child, Signal::CONT);
}

#[test]
fn an_input_gets_more_room_once_it_pays() {
    let _accounted = Accounted::start();
    let (child, input) = hearing(WriterOptions::new());
    let before = capacity_in(&input);
    assert!(before < LARGE, "a new pipe");
    feed(&input, AFTER_BYTES / 2);
    overfill(&child, &input);
    assert_eq!(capacity_in(&input), before);
    feed(&input, AFTER_BYTES);
    overfill(&child, &input);
    assert_eq!(capacity_in(&input), LARGE);
    let receipt = input.finish().wait().unwrap();
    assert!(receipt.into_result().is_ok());
    assert!(child.wait().wait().unwrap().is_success());
}

#[test]
fn an_input_that_bytes_are_transferred_to_gets_it_too() {
    let _accounted = Accounted::start();
    let (talker, output) = talking(ReaderOptions::new());
    let (child, input) = hearing(WriterOptions::new());
    let before = capacity_in(&input);
    feed(&input, AFTER_BYTES);
    // Whoever waits for the child's reading is inside the pipe meanwhile.
    signal(&child, Signal::STOP);
    // A wait may be over before it has come so far.
    for _ in 0..1000 {
        let passed = transfer(&output, &input).within(Duration::from_millis(1));
        assert!(passed.wait().is_err(), "nobody reads");
        if capacity_in(&input) != before {
            break;
        }
    }
    assert_eq!(capacity_in(&input), LARGE);
    signal(&child, Signal::CONT);
    talker.kill().unwrap();
    talker.wait().wait().unwrap();
    drop(input.finish().wait().unwrap());
    assert!(child.wait().wait().unwrap().is_success());
}

#[test]
fn no_other_input_does() {
    let _accounted = Accounted::start();
    for options in [
        WriterOptions::new().enlarge(false),
        WriterOptions::new().capacity_bytes(SMALL as u64),
    ] {
        let (child, input) = hearing(options);
        let before = capacity_in(&input);
        feed(&input, AFTER_BYTES);
        overfill(&child, &input);
        assert_eq!(capacity_in(&input), before);
        let receipt = input.finish().wait().unwrap();
        assert!(receipt.into_result().is_ok());
        assert!(child.wait().wait().unwrap().is_success());
    }
}
