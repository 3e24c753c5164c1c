//! What is counted: a child process of this program that makes one kind of operation, so many times, and nothing else. Its
//! other end is the parent, whose calls are not counted.

use super::{kernel, text};
use clap::{Args, ValueEnum};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use watertight::{PipeReader, PipeWriter, ReaderOptions, WriterOptions};

/// Bytes of one message, and of one turn of a round trip.
pub(super) const MESSAGE_BYTES: usize = 64;
/// Bytes of one chunk of bulk.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// A lone message finds room: after so many the other end is emptied, which is 1/128 call a message. A local socket takes 277.
const LONE_MESSAGES: u64 = 128;

/// What a probe does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Deed {
    /// Reads a MiB of what never stops coming, 64 KiB at a time.
    BulkRead,
    /// Writes a MiB in chunks of 64 KiB.
    BulkWrite,
    /// Makes a pipe, fills it, leaves a write waiting, takes that back, closes.
    Cycle,
    /// Writes a message of 64 bytes into a pipe that has room.
    LonePipe,
    /// As that, into a local socket.
    LoneSocket,
    /// Writes 64 bytes and reads the 64 that come back.
    RoundTrip,
}

/// With what.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum With {
    /// read(2) and write(2).
    Raw,
    /// tokio's pipes, on a current-thread runtime.
    Tokio,
    /// watertight, `.wait()`.
    Wait,
    /// watertight, `.await` on tokio's current-thread runtime.
    Await,
}

impl With {
    pub(super) fn name(self) -> &'static str {
        match self {
            With::Raw => "raw",
            With::Tokio => "tokio",
            With::Wait => "watertight, .wait()",
            With::Await => "watertight, .await under tokio",
        }
    }
}

/// One probe, for the program itself.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) deed: Deed,
    pub(super) with: With,
    /// How often.
    pub(super) times: u64,
    /// On this core.
    #[arg(long)]
    pub(super) core: Option<usize>,
    /// Says on standard error how many nanoseconds it took.
    #[arg(long)]
    pub(super) timed: bool,
}

/// Does it, on standard input and output.
pub(super) fn run(probe: Probe) -> Result<(), String> {
    if let Some(core) = probe.core {
        kernel::stay_on_core(core)?;
    }
    let (times, begin) = (probe.times, Instant::now());
    match probe.with {
        With::Raw => raw(probe.deed, times).map_err(text),
        With::Tokio => runtime()?.block_on(tokio(probe.deed, times)).map_err(text),
        With::Wait => blocking(probe.deed, times),
        With::Await => runtime()?.block_on(awaiting(probe.deed, times)),
    }?;
    if probe.timed {
        eprintln!("{}", begin.elapsed().as_nanos());
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().build().map_err(text)
}

fn chunks(times: u64) -> u64 {
    times * ((1 << 20) / CHUNK_BYTES as u64)
}

fn input() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

fn output() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// The writing end for lone messages, and the other one.
fn lone_ends(deed: Deed) -> io::Result<(OwnedFd, OwnedFd)> {
    if deed == Deed::LoneSocket {
        let (ours, theirs) = UnixStream::pair()?;
        return Ok((ours.into(), theirs.into()));
    }
    let (from, into) = io::pipe()?;
    Ok((into.into(), from.into()))
}

/// Empties the other end, when it is time.
fn drain(from: &mut std::fs::File, message: u64, buf: &mut [u8]) -> io::Result<()> {
    if message % LONE_MESSAGES == LONE_MESSAGES - 1 {
        from.read_exact(&mut buf[..MESSAGE_BYTES * LONE_MESSAGES as usize])?;
    }
    Ok(())
}

fn raw(deed: Deed, times: u64) -> io::Result<()> {
    let mut buf = vec![7; CHUNK_BYTES];
    match deed {
        Deed::BulkRead => {
            let mut from = std::fs::File::from(input()?);
            while from.read(&mut buf)? > 0 {}
        }
        Deed::BulkWrite => {
            let mut into = std::fs::File::from(output()?);
            for _ in 0..chunks(times) {
                into.write_all(&buf)?;
            }
        }
        Deed::Cycle => {
            for _ in 0..times {
                let (_from, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK)?;
                rustix::io::write(&into, &buf)?;
                let full = rustix::io::write(&into, &buf);
                assert_eq!(full, Err(rustix::io::Errno::AGAIN));
            }
        }
        Deed::LonePipe | Deed::LoneSocket => {
            let (into, from) = lone_ends(deed)?;
            let (mut into, mut from) = (std::fs::File::from(into), std::fs::File::from(from));
            for message in 0..times {
                into.write_all(&[7; MESSAGE_BYTES])?;
                drain(&mut from, message, &mut buf)?;
            }
        }
        Deed::RoundTrip => {
            let mut from = std::fs::File::from(input()?);
            let mut into = std::fs::File::from(output()?);
            for _ in 0..times {
                into.write_all(&buf[..MESSAGE_BYTES])?;
                from.read_exact(&mut buf[..MESSAGE_BYTES])?;
            }
        }
    }
    Ok(())
}

async fn tokio(deed: Deed, times: u64) -> io::Result<()> {
    let mut buf = vec![7; CHUNK_BYTES];
    match deed {
        Deed::BulkRead => {
            let mut from = pipe::Receiver::from_owned_fd(input()?)?;
            while from.read(&mut buf).await? > 0 {}
        }
        Deed::BulkWrite => {
            let mut into = pipe::Sender::from_owned_fd(output()?)?;
            for _ in 0..chunks(times) {
                into.write_all(&buf).await?;
            }
        }
        Deed::Cycle => {
            for _ in 0..times {
                let (from, into) = io::pipe()?;
                let mut into = pipe::Sender::from_owned_fd(into.into())?;
                into.write_all(&buf).await?;
                let _ = into.try_write(&buf);
                drop(from);
            }
        }
        Deed::LonePipe | Deed::LoneSocket => {
            let (into, from) = lone_ends(deed)?;
            let mut from = std::fs::File::from(from);
            if deed == Deed::LoneSocket {
                let into = UnixStream::from(into);
                into.set_nonblocking(true)?;
                let mut into = tokio::net::UnixStream::from_std(into)?;
                for message in 0..times {
                    into.write_all(&[7; MESSAGE_BYTES]).await?;
                    drain(&mut from, message, &mut buf)?;
                }
                return Ok(());
            }
            let mut into = pipe::Sender::from_owned_fd(into)?;
            for message in 0..times {
                into.write_all(&[7; MESSAGE_BYTES]).await?;
                drain(&mut from, message, &mut buf)?;
            }
        }
        Deed::RoundTrip => {
            let mut from = pipe::Receiver::from_owned_fd(input()?)?;
            let mut into = pipe::Sender::from_owned_fd(output()?)?;
            for _ in 0..times {
                into.write_all(&buf[..MESSAGE_BYTES]).await?;
                from.read_exact(&mut buf[..MESSAGE_BYTES]).await?;
            }
        }
    }
    Ok(())
}

fn whole(receipt: &watertight::Receipt) -> Result<(), String> {
    let is_complete = receipt.is_complete().then_some(());
    is_complete.ok_or_else(|| format!("{:?}", receipt.ending()))
}

fn our_input() -> Result<PipeReader, String> {
    PipeReader::adopt_unshared(input().map_err(text)?, ReaderOptions::new()).map_err(text)
}

fn our_output() -> Result<PipeWriter, String> {
    PipeWriter::adopt_unshared(output().map_err(text)?, WriterOptions::new()).map_err(text)
}

fn our_lone_ends(deed: Deed) -> Result<(PipeWriter, std::fs::File), String> {
    let (into, from) = lone_ends(deed).map_err(text)?;
    let into = PipeWriter::adopt_unshared(into, WriterOptions::new()).map_err(text)?;
    Ok((into, from.into()))
}

fn blocking(deed: Deed, times: u64) -> Result<(), String> {
    let mut buf = vec![7; CHUNK_BYTES];
    match deed {
        Deed::BulkRead => {
            let from = our_input()?;
            while from.receive(&mut buf).wait().map_err(text)? > 0 {}
        }
        Deed::BulkWrite => {
            let into = our_output()?;
            for _ in 0..chunks(times) {
                into.send(&buf).wait().map_err(text)?;
            }
            whole(&into.finish().wait().map_err(text)?)?;
        }
        Deed::Cycle => {
            for _ in 0..times {
                let (_from, into) = watertight::pipe().map_err(text)?;
                into.send(&buf).wait().map_err(text)?;
                into.send(&buf).wait().map_err(text)?;
                let _ = into.abort().wait().map_err(text)?;
            }
        }
        Deed::LonePipe | Deed::LoneSocket => {
            let (into, mut from) = our_lone_ends(deed)?;
            for message in 0..times {
                into.send(&[7; MESSAGE_BYTES]).wait().map_err(text)?;
                drain(&mut from, message, &mut buf).map_err(text)?;
            }
        }
        Deed::RoundTrip => {
            let (from, into) = (our_input()?, our_output()?);
            for _ in 0..times {
                into.send(&buf[..MESSAGE_BYTES]).wait().map_err(text)?;
                let mut filled = 0;
                while filled < MESSAGE_BYTES {
                    let rest = &mut buf[filled..MESSAGE_BYTES];
                    filled += from.receive(rest).wait().map_err(text)?;
                }
            }
        }
    }
    Ok(())
}

async fn awaiting(deed: Deed, times: u64) -> Result<(), String> {
    let mut buf = vec![7; CHUNK_BYTES];
    match deed {
        Deed::BulkRead => {
            let from = our_input()?;
            while from.receive(&mut buf).await.map_err(text)? > 0 {}
        }
        Deed::BulkWrite => {
            let into = our_output()?;
            for _ in 0..chunks(times) {
                into.send(&buf).await.map_err(text)?;
            }
            whole(&into.finish().await.map_err(text)?)?;
        }
        Deed::Cycle => {
            for _ in 0..times {
                let (_from, into) = watertight::pipe().map_err(text)?;
                into.send(&buf).await.map_err(text)?;
                into.send(&buf).await.map_err(text)?;
                let _ = into.abort().await.map_err(text)?;
            }
        }
        Deed::LonePipe | Deed::LoneSocket => {
            let (into, mut from) = our_lone_ends(deed)?;
            for message in 0..times {
                into.send(&[7; MESSAGE_BYTES]).await.map_err(text)?;
                drain(&mut from, message, &mut buf).map_err(text)?;
            }
        }
        Deed::RoundTrip => {
            let (from, into) = (our_input()?, our_output()?);
            for _ in 0..times {
                into.send(&buf[..MESSAGE_BYTES]).await.map_err(text)?;
                let mut filled = 0;
                while filled < MESSAGE_BYTES {
                    let rest = &mut buf[filled..MESSAGE_BYTES];
                    filled += from.receive(rest).await.map_err(text)?;
                }
            }
        }
    }
    Ok(())
}
