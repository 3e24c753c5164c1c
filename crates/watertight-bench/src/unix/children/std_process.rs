//! `std::process`: what must go on at once has a thread for it.

use super::{CHUNK_BYTES, ChildWork, chunks, count_all, ended_well};
use bytes::Bytes;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

pub(super) struct Std;

impl ChildWork for Std {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        let start = || {
            let mut command = Command::new(program);
            command.stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status()
        };
        (0..times).map(|_| ended_well(start()?.success())).sum()
    }

    fn capture(&self, program: &Path, times: u64) -> io::Result<u64> {
        (0..times)
            .map(|_| captured(&Command::new(program).arg("x").output()?))
            .sum()
    }

    fn through(&self, program: &Path, bytes: u64, _begin: &mut Instant) -> io::Result<u64> {
        let mut child = piped(program).spawn()?;
        let input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        let count = thread::scope(|scope| {
            let feeding = scope.spawn(move || feed(input, bytes));
            let count = count_all(output)?;
            feeding.join().expect("who feeds does not panic")?;
            io::Result::Ok(count)
        })?;
        ended_well(child.wait()?.success())?;
        Ok(count)
    }

    /// A thread for each input; the outputs one child after the other, which std reads both at once.
    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        let mut running = Vec::new();
        for _ in 0..children {
            let mut child = piped(program).stderr(Stdio::piped()).spawn()?;
            let mut into = child.stdin.take().expect("it is piped");
            let input = input.clone();
            running.push((child, thread::spawn(move || into.write_all(&input))));
        }
        let mut count = 0;
        for (child, feeding) in running {
            count += captured(&child.wait_with_output()?)?;
            feeding.join().expect("who feeds does not panic")?;
        }
        Ok(count)
    }
}

fn piped(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Who gives the input up here ends it.
fn feed(mut input: impl Write, bytes: u64) -> io::Result<()> {
    let chunk = vec![7; CHUNK_BYTES];
    (0..chunks(bytes)).try_for_each(|_| input.write_all(&chunk))
}

/// How many bytes of output there are. tokio's and async-process's outputs are std's.
pub(super) fn captured(output: &Output) -> io::Result<u64> {
    ended_well(output.status.success())?;
    Ok(output.stdout.len() as u64)
}
