//! async-process, on async-io's `block_on`; many at once on smol's executor.

use super::std_process::captured;
use super::{CHUNK_BYTES, ChildWork, chunks, ended_well};
use ::async_process::{ChildStdin, ChildStdout, Command, Stdio};
use async_executor::LocalExecutor;
use async_io::block_on;
use bytes::Bytes;
use futures_lite::future::try_zip;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use std::io;
use std::path::Path;
use std::time::Instant;

pub(super) struct AsyncProcess;

impl ChildWork for AsyncProcess {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        block_on(async {
            let mut count = 0;
            for _ in 0..times {
                let mut command = Command::new(program);
                command.stdin(Stdio::null());
                command.stdout(Stdio::null()).stderr(Stdio::null());
                count += ended_well(command.status().await?.success())?;
            }
            io::Result::Ok(count)
        })
    }

    fn capture(&self, program: &Path, times: u64) -> io::Result<u64> {
        block_on(async {
            let mut count = 0;
            for _ in 0..times {
                let mut command = Command::new(program);
                count += captured(&command.arg("x").output().await?)?;
            }
            io::Result::Ok(count)
        })
    }

    fn through(&self, program: &Path, bytes: u64, _begin: &mut Instant) -> io::Result<u64> {
        block_on(async {
            let mut child = piped(program).spawn()?;
            let input = child.stdin.take().expect("it is piped");
            let output = child.stdout.take().expect("it is piped");
            let ((), count) = try_zip(feed(input, bytes), count_all(output)).await?;
            ended_well(child.status().await?.success())?;
            io::Result::Ok(count)
        })
    }

    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        let executor = LocalExecutor::new();
        let mut running = Vec::new();
        for _ in 0..children {
            let mut child = piped(program).stderr(Stdio::piped()).spawn()?;
            let mut into = child.stdin.take().expect("it is piped");
            let input = input.clone();
            let feeding = async move { into.write_all(&input).await };
            running.push(executor.spawn(try_zip(feeding, child.output())));
        }
        block_on(executor.run(async {
            let mut count = 0;
            for run in running {
                let ((), output) = run.await?;
                count += captured(&output)?;
            }
            io::Result::Ok(count)
        }))
    }
}

fn piped(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Who gives the input up here ends it.
async fn feed(mut input: ChildStdin, bytes: u64) -> io::Result<()> {
    let chunk = vec![7; CHUNK_BYTES];
    for _ in 0..chunks(bytes) {
        input.write_all(&chunk).await?;
    }
    Ok(())
}

async fn count_all(mut output: ChildStdout) -> io::Result<u64> {
    let (mut buf, mut count) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match output.read(&mut buf).await? {
            0 => return Ok(count),
            more => count += more as u64,
        }
    }
}
