//! A child's output pipe gets more room once enough has come out of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

mod common;

use common::Accounted;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use watertight::{Child, Command, Group, Output, PipeReader, ReaderOptions, pipe, transfer};

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
