//! Transfers to an armed input: our end of it is ours alone, and bytes go there inside the kernel.

use crate::common::children::accounted;
use crate::common::{PATIENCE, noise, read_to_end};
use futures_lite::future::block_on;
use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, memfd_create};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use watertight::{
    Child, Command, ErrorKind, Input, Output, PipeReader, PipeWriter, ReaderOptions, TransferEnd,
    transfer,
};

/// Many times what a socket holds.
const LARGE: usize = 3_000_000;

/// Soon: for a deadline that passes while a destination takes nothing.
const SOON: Duration = Duration::from_millis(20);

/// From where bytes go into a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    File,
    /// One that is ours alone.
    Pipe,
}

/// A source that has those bytes, and its end behind them. A pipe is filled meanwhile, as far as it is read.
fn with_source<T>(kind: Source, data: &[u8], run: impl FnOnce(PipeReader) -> T) -> T {
    match kind {
        Source::File => run(file(data)),
        Source::Pipe => {
            let (from, mut feed) = std::io::pipe().unwrap();
            let from = PipeReader::adopt_unshared(from, ReaderOptions::new()).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    // Nobody may read the rest.
                    let _ = feed.write_all(data);
                });
                run(from)
            })
        }
    }
}

pub(super) fn file(data: &[u8]) -> PipeReader {
    let mut file = File::from(memfd_create("source", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(data).unwrap();
    file.rewind().unwrap();
    PipeReader::adopt(file).unwrap()
}

fn cat(output: Output) -> Child {
    let mut cat = Command::new("cat");
    cat.stdin(Input::armed()).stdout(output);
    cat.spawn().unwrap()
}

fn end_well(input: &PipeWriter, child: &Child) {
    let receipt = input.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
    expect_success(child);
}

fn expect_success(child: &Child) {
    let exit = child.wait().within(PATIENCE).wait().unwrap();
    assert!(exit.is_success(), "{exit:?}");
}

#[test]
fn bytes_go_into_an_armed_input_inside_the_kernel() {
    let _accounted = accounted();
    let data = noise(LARGE, 91);
    for kind in [Source::File, Source::Pipe] {
        for as_a_task in [false, true] {
            let mut child = cat(Output::piped());
            let input = child.stdin.take().unwrap();
            let output = child.stdout.take().unwrap();
            let came = with_source(kind, &data, |from| {
                std::thread::scope(|scope| {
                    let collector = scope.spawn(|| read_to_end(&output));
                    let moving = transfer(&from, &input).in_kernel_everywhere();
                    let moving = moving.within(PATIENCE);
                    let done = if as_a_task {
                        block_on(moving)
                    } else {
                        moving.wait()
                    };
                    let done = done.unwrap();
                    assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
                    match (kind, as_a_task) {
                        (_, false) => assert_eq!(done.in_kernel, LARGE as u64, "{kind:?}"),
                        // Whenever the input is full, a page goes through the buffer.
                        (Source::Pipe, true) => assert!(done.in_kernel > 0),
                        (Source::File, true) => assert_eq!(done.in_kernel, 0),
                    }
                    end_well(&input, &child);
                    collector.join().unwrap()
                })
            });
            assert!(came == data, "{kind:?}, by a task: {as_a_task}");
        }
    }
}

/// It has taken what a socket holds. What is behind that is in the source still, whatever ends the wait.
#[test]
fn a_child_that_takes_nothing_and_then_dies_is_named_and_the_account_is_exact() {
    let _accounted = accounted();
    let data = noise(LARGE, 92);
    for kind in [Source::File, Source::Pipe] {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").stdin(Input::armed());
        let mut child = sleep.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        with_source(kind, &data, |from| {
            let patience = Instant::now() + PATIENCE;
            let late = loop {
                let moving = transfer(&from, &input).in_kernel_everywhere();
                let late = moving.within(SOON).wait().unwrap_err();
                assert_eq!(late.error.kind, ErrorKind::TimedOut, "{kind:?}");
                // Until whoever fills the pipe has been there.
                if late.bytes == 0 && late.end == TransferEnd::Destination {
                    break late;
                }
                assert!(Instant::now() < patience, "{late:?}");
            };
            let held = from.ledger().transferred();
            assert!(held > 0 && held < LARGE as u64, "{late:?}");
            assert_eq!(input.ledger().transferred(), held, "{kind:?}");
            assert_eq!(input.ledger().accepted(), held, "{kind:?}");

            child.kill().unwrap();
            let _ = child.wait().within(PATIENCE).wait().unwrap();
            let moving = transfer(&from, &input).in_kernel_everywhere();
            let failed = moving.within(PATIENCE).wait().unwrap_err();
            assert_eq!(failed.end, TransferEnd::Destination, "{kind:?}");
            assert_eq!(failed.error.kind, ErrorKind::BrokenPipe, "{kind:?}");
            let left = from.ledger().transferred();
            assert_eq!(left, held + failed.bytes, "{kind:?}");
            assert_eq!(input.ledger().accepted(), left, "{kind:?}");
            assert_eq!(input.ledger().transferred(), held, "{kind:?}");
        });
        let _ = input.abort().within(PATIENCE).wait().unwrap();
    }
}

/// Whoever gets it has a stream as programs expect one. As long as somebody else may have it, everything goes through the buffer.
#[test]
fn an_armed_input_that_is_given_away_is_in_blocking_mode() {
    fn is_waiting(handle: impl AsFd) -> bool {
        !fcntl_getfl(handle).unwrap().contains(OFlags::NONBLOCK)
    }
    let _accounted = accounted();
    let mut child = cat(Output::null());
    let input = child.stdin.take().unwrap();
    let copy = input.try_clone_handle().unwrap();
    assert!(is_waiting(&copy));
    let from = file(b"through the buffer");
    let moving = transfer(&from, &input).in_kernel_everywhere();
    let done = moving.within(PATIENCE).wait().unwrap();
    assert_eq!((done.bytes, done.in_kernel), (18, 0));
    assert!(is_waiting(&copy));
    drop(copy);
    end_well(&input, &child);

    let mut child = cat(Output::null());
    let input = child.stdin.take().unwrap();
    let handle = input.into_handle().unwrap();
    assert!(is_waiting(&handle));
    // It is disarmed: its close is an end.
    drop(handle);
    expect_success(&child);
}
