//! Which pipes a copy enlarges, and which it leaves as they are.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, copy};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;

/// So many bytes flow before a pipe is enlarged.
const ENLARGED_AFTER: usize = 4 << 20;
/// More than that.
const LARGE: usize = 6 << 20;
/// To how much a pipe is enlarged is less than this.
const ROOM: usize = 1 << 20;
/// Bytes that are moved in the kernel, that go through a buffer, that are looked at, and that are queued: each by a way of its own.
const WAYS: [&str; 4] = ["--dead=fail", "--stable", "--hash", "--buffer=1M"];

/// What the pipes hold at both ends of a copy once so many bytes have come out of it. It ends then, and well.
fn capacities(mut child: Child, mut input: File, mut output: File, bytes: usize) -> [usize; 2] {
    let sizes = thread::scope(|scope| {
        let feeding = scope.spawn(move || {
            input.write_all(&vec![7; bytes]).unwrap();
            input
        });
        output.read_exact(&mut vec![0; bytes]).unwrap();
        let input = feeding.join().unwrap();
        [&input, &output].map(|end| fcntl_getpipe_size(end).unwrap())
    });
    assert!(child.wait().unwrap().success());
    sizes
}

/// A copy of standard input to standard output through these pipes.
fn between_pipes(option: &str, room: Option<usize>, bytes: usize) -> Option<[[usize; 2]; 2]> {
    let (from, input) = pipe().unwrap();
    let (output, to) = pipe().unwrap();
    let (input, output) = (OwnedFd::from(input), OwnedFd::from(output));
    let is_set = |room| [&input, &output].map(|end| fcntl_setpipe_size(end, room).is_ok());
    if room.map(is_set).is_some_and(|set| set != [true; 2]) {
        println!("skipped: no pipe of {room:?} bytes is to be had");
        return None;
    }
    let before = [&input, &output].map(|end| fcntl_getpipe_size(end).unwrap());
    let child = copy([option, "-", "-"]).stdin(from).stdout(to).spawn();
    let after = capacities(child.unwrap(), input.into(), output.into(), bytes);
    Some([before, after])
}

#[test]
fn a_small_copy_leaves_the_pipes_as_they_are() {
    for way in WAYS {
        let sizes = between_pipes(way, None, ENLARGED_AFTER - 1);
        let [before, after] = sizes.unwrap();
        assert_eq!(before, after, "{way}");
    }
}

#[test]
fn a_pipe_that_holds_more_is_not_made_smaller() {
    for way in WAYS {
        let Some([before, after]) = between_pipes(way, Some(ROOM), LARGE) else {
            return;
        };
        assert_eq!(before, [ROOM; 2], "{way}");
        assert_eq!(after, [ROOM; 2], "{way}");
    }
}

/// FIFOs, and descriptors that are not our standard input and output.
#[test]
fn other_pipes_than_the_standard_ones_are_left_as_they_are() {
    for way in WAYS {
        for ends in ["fifo:in fifo:out", "fd:3 fd:4 3<in 4>out"] {
            let folder = tempfile::tempdir().unwrap();
            let mut make = Command::new("mkfifo");
            make.args(["in", "out"]).current_dir(folder.path());
            assert!(make.status().unwrap().success());
            let line = format!("exec \"$W\" copy {way} {ends}");
            let child = Command::new("sh")
                .args(["-c", &line])
                .env("W", EXE)
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // The shell waits for us in this order.
            let input = File::options().write(true).open(folder.path().join("in"));
            let (input, output) = (input.unwrap(), File::open(folder.path().join("out")));
            let output = output.unwrap();
            let before = [&input, &output].map(|end| fcntl_getpipe_size(end).unwrap());
            let after = capacities(child, input, output, LARGE);
            assert_eq!(before, after, "{way}: {ends}");
        }
    }
}
