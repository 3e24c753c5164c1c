//! duct: it feeds from one block of memory that has everything, with a thread of its own, and has a thread for each output.

use super::{ChildWork, count_all, ended_well};
use ::duct::cmd;
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::time::Instant;

const NO_ARGUMENTS: [&str; 0] = [];

pub(super) struct Duct;

impl ChildWork for Duct {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        let start = || {
            let command = cmd(program, NO_ARGUMENTS).stdin_null();
            command.stdout_null().stderr_null().run()
        };
        (0..times)
            .map(|_| ended_well(start()?.status.success()))
            .sum()
    }

    fn capture(&self, program: &Path, times: u64) -> io::Result<u64> {
        let capture = || {
            let command = cmd(program, ["x"]).stdin_null();
            command.stdout_capture().stderr_capture().run()
        };
        (0..times)
            .map(|_| io::Result::Ok(capture()?.stdout.len() as u64))
            .sum()
    }

    /// Making the block is not measured.
    fn through(&self, program: &Path, bytes: u64, begin: &mut Instant) -> io::Result<u64> {
        let input = vec![7_u8; usize::try_from(bytes).map_err(io::Error::other)?];
        let command = cmd(program, NO_ARGUMENTS).stdin_bytes(input);
        *begin = Instant::now();
        // Its end waits for the child and for who feeds it.
        count_all(command.reader()?)
    }

    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        let mut running = Vec::new();
        for _ in 0..children {
            let command = cmd(program, NO_ARGUMENTS).stdin_bytes(input.to_vec());
            running.push(command.stdout_capture().stderr_capture().start()?);
        }
        let captured = running
            .iter()
            .map(|run| io::Result::Ok(run.wait()?.stdout.len() as u64));
        captured.sum()
    }
}
