//! watertight: `.wait()`, and `.await` under tokio.

use super::{CHUNK_BYTES, ChildWork, chunks, ended_well, tokio::runtime};
use crate::platform::text;
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Instant;
use watertight::{Child, Command, Exit, Input, Limits, Outcome, Output, PipeReader, PipeWriter};

pub(super) struct Blocking {
    pub(super) is_armed: bool,
}
pub(super) struct Awaiting;

impl ChildWork for Blocking {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        (0..times)
            .map(|_| ended(silent(program, InReactor::No)?.wait().wait()?))
            .sum()
    }

    fn capture(&self, program: &Path, times: u64) -> io::Result<u64> {
        let capture = || {
            let run = Command::new(program).arg("x").output(Limits::new());
            run.map_err(io::Error::other)?
                .wait()
                .map_err(io::Error::from)
        };
        (0..times).map(|_| captured(capture()?)).sum()
    }

    fn through(&self, program: &Path, bytes: u64, _begin: &mut Instant) -> io::Result<u64> {
        let kind = if self.is_armed {
            Input::armed()
        } else {
            Input::piped()
        };
        let (child, input, output) = piped(program, kind, InReactor::No)?;
        let count = thread::scope(|scope| {
            let feeding = scope.spawn(move || feed(&input, bytes));
            let (mut buf, mut count) = (vec![0; CHUNK_BYTES], 0);
            loop {
                match output.receive(&mut buf).wait()? {
                    0 => break,
                    more => count += more as u64,
                }
            }
            feeding.join().expect("who feeds does not panic")?;
            io::Result::Ok(count)
        })?;
        ended(child.wait().wait()?)?;
        Ok(count)
    }

    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        let mut running = Vec::new();
        for _ in 0..children {
            let run = fed(program, input).output(Limits::new());
            running.push(run.map_err(io::Error::other)?);
        }
        running.into_iter().map(|run| captured(run.wait()?)).sum()
    }
}

impl ChildWork for Awaiting {
    fn start(&self, program: &Path, times: u64) -> io::Result<u64> {
        runtime()?.block_on(async {
            let mut count = 0;
            for _ in 0..times {
                let child = silent(program, InReactor::Yes)?;
                count += ended(child.wait().await?)?;
            }
            io::Result::Ok(count)
        })
    }

    fn capture(&self, program: &Path, times: u64) -> io::Result<u64> {
        runtime()?.block_on(async {
            let mut count = 0;
            for _ in 0..times {
                let mut command = Command::new(program);
                command.arg("x").tokio_reactor(true);
                let run = command.output(Limits::new()).map_err(io::Error::other)?;
                count += captured(run.await?)?;
            }
            io::Result::Ok(count)
        })
    }

    fn through(&self, program: &Path, bytes: u64, _begin: &mut Instant) -> io::Result<u64> {
        runtime()?.block_on(async {
            let (child, input, output) = piped(program, Input::piped(), InReactor::Yes)?;
            let feeding = ::tokio::spawn(feed_awaiting(input, bytes));
            let (mut buf, mut count) = (vec![0; CHUNK_BYTES], 0);
            loop {
                match output.receive(&mut buf).await? {
                    0 => break,
                    more => count += more as u64,
                }
            }
            feeding.await??;
            ended(child.wait().await?)?;
            io::Result::Ok(count)
        })
    }

    fn crowd(&self, program: &Path, children: u64, input: &Bytes) -> io::Result<u64> {
        runtime()?.block_on(async {
            let mut running = Vec::new();
            for _ in 0..children {
                let mut command = fed(program, input);
                command.tokio_reactor(true);
                let run = command.output(Limits::new()).map_err(io::Error::other)?;
                running.push(::tokio::spawn(run));
            }
            let mut count = 0;
            for run in running {
                count += captured(run.await??)?;
            }
            io::Result::Ok(count)
        })
    }
}

/// Whether tasks wait in the runtime's own reactor.
#[derive(Clone, Copy, Eq, PartialEq)]
enum InReactor {
    No,
    Yes,
}

fn silent(program: &Path, in_reactor: InReactor) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.tokio_reactor(in_reactor == InReactor::Yes);
    command.stdin(Input::null());
    command.stdout(Output::null()).stderr(Output::null());
    command.spawn().map_err(io::Error::other)
}

fn fed(program: &Path, input: &Bytes) -> Command {
    let mut command = Command::new(program);
    command.stdin(Input::bytes(input.clone()));
    command
}

fn piped(
    program: &Path,
    kind: Input,
    in_reactor: InReactor,
) -> io::Result<(Child, PipeWriter, PipeReader)> {
    let mut command = Command::new(program);
    command.stdin(kind).stdout(Output::piped());
    command.tokio_reactor(in_reactor == InReactor::Yes);
    let mut child = command.spawn().map_err(io::Error::other)?;
    let input = child.stdin.take().expect("it is piped");
    let output = child.stdout.take().expect("it is piped");
    Ok((child, input, output))
}

fn feed(input: &PipeWriter, bytes: u64) -> io::Result<()> {
    let chunk = Bytes::from(vec![7_u8; CHUNK_BYTES]);
    for _ in 0..chunks(bytes) {
        input.send_bytes(chunk.clone()).wait()?;
    }
    let _ = input.finish().wait()?.into_result()?;
    Ok(())
}

async fn feed_awaiting(input: PipeWriter, bytes: u64) -> io::Result<()> {
    let chunk = Bytes::from(vec![7_u8; CHUNK_BYTES]);
    for _ in 0..chunks(bytes) {
        input.send_bytes(chunk.clone()).await?;
    }
    let _ = input.finish().await?.into_result()?;
    Ok(())
}

fn ended(exit: Exit) -> io::Result<u64> {
    ended_well(exit.is_success())
}

/// How many bytes of output there are, if nothing is missing.
fn captured(outcome: Outcome) -> io::Result<u64> {
    let outcome = outcome
        .into_result()
        .map_err(|incomplete| io::Error::other(text(incomplete)))?;
    Ok(outcome.stdout.bytes.len() as u64)
}
