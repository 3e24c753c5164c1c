//! subprocess: it feeds and reads in one loop of poll(2), on the caller's thread.

use super::{ChildWork, Tally, ended_well};
use ::subprocess::{Capture, Exec, InputData, Redirection};
use bytes::Bytes;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

pub(super) struct Subprocess;

impl ChildWork for Subprocess {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        let start = || {
            let command = Exec::cmd(program).stdin(Redirection::Null);
            let command = command.stdout(Redirection::Null).stderr(Redirection::Null);
            command.join()
        };
        (0..times).map(|_| ended_well(start()?.success())).sum()
    }

    fn capture(&self, program: &Path, times: u64) -> io::Result<u64> {
        let capture = || {
            let command = Exec::cmd(program).arg("x").stdin(Redirection::Null);
            command.capture()
        };
        (0..times).map(|_| captured(&capture()?)).sum()
    }

    fn through(&self, program: &Path, bytes: u64, _begin: &mut Instant) -> io::Result<u64> {
        let input = InputData::from_reader(io::repeat(7).take(bytes));
        let command = Exec::cmd(program).stdin(input).stdout(Redirection::Pipe);
        let mut job = command.start()?;
        let mut tally = Tally::default();
        job.communicate()?.read_to(&mut tally, io::sink())?;
        ended_well(job.wait()?.success())?;
        Ok(tally.bytes)
    }

    /// Each is fed when its turn comes: without a thread it can attend to one only.
    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        let mut running = Vec::new();
        for _ in 0..children {
            let command = Exec::cmd(program).stdin(InputData::from_bytes(input.clone()));
            let command = command.stdout(Redirection::Pipe).stderr(Redirection::Pipe);
            running.push(command.start()?);
        }
        running
            .into_iter()
            .map(|job| captured(&job.capture()?))
            .sum()
    }
}

fn captured(capture: &Capture) -> io::Result<u64> {
    ended_well(capture.exit_status.success())?;
    Ok(capture.stdout.len() as u64)
}
