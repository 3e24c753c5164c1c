//! `tokio::process`, on a current-thread runtime.

use super::std_process::captured;
use super::{CHUNK_BYTES, ChildWork, chunks, ended_well};
use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::process::{ChildStdin, Command};
use ::tokio::runtime::{Builder, Runtime};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

pub(super) struct Tokio;

impl ChildWork for Tokio {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        runtime()?.block_on(async {
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
        runtime()?.block_on(async {
            let mut count = 0;
            for _ in 0..times {
                let mut command = Command::new(program);
                command.arg("x").stdin(Stdio::null());
                count += captured(&command.output().await?)?;
            }
            io::Result::Ok(count)
        })
    }

    fn through(&self, program: &Path, bytes: u64, _begin: &mut Instant) -> io::Result<u64> {
        runtime()?.block_on(async {
            let mut child = piped(program).spawn()?;
            let input = child.stdin.take().expect("it is piped");
            let mut output = child.stdout.take().expect("it is piped");
            let feeding = ::tokio::spawn(feed(input, bytes));
            let (mut buf, mut count) = (vec![0; CHUNK_BYTES], 0);
            loop {
                match output.read(&mut buf).await? {
                    0 => break,
                    more => count += more as u64,
                }
            }
            feeding.await??;
            ended_well(child.wait().await?.success())?;
            io::Result::Ok(count)
        })
    }

    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        runtime()?.block_on(async {
            let mut running = Vec::new();
            for _ in 0..children {
                let mut child = piped(program).stderr(Stdio::piped()).spawn()?;
                let mut into = child.stdin.take().expect("it is piped");
                let input = input.clone();
                let feeding = ::tokio::spawn(async move { into.write_all(&input).await });
                running.push((feeding, ::tokio::spawn(child.wait_with_output())));
            }
            let mut count = 0;
            for (feeding, capture) in running {
                feeding.await??;
                count += captured(&capture.await??)?;
            }
            io::Result::Ok(count)
        })
    }
}

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().build()
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
