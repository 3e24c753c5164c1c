//! async-io: its `Async` around a file or a socket, and its `block_on`.

use super::{
    CHUNK_BYTES, Deed, End, MESSAGE_BYTES, Work, chunks, drain, input, lone_ends, not_with, output,
    share,
};
use crate::platform::text;
use async_io::{Async, block_on};
use futures_lite::{AsyncReadExt, AsyncWrite, AsyncWriteExt, future};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

pub(super) fn run(work: Work, times: u64) -> Result<(), String> {
    let done = if work.deed == Deed::Small {
        small(work, times)
    } else {
        block_on(deed(work, times))
    };
    done.map_err(text)
}

fn reader() -> io::Result<Async<File>> {
    Async::new(File::from(input()?))
}

fn writer() -> io::Result<Async<File>> {
    Async::new(File::from(output()?))
}

async fn deed(work: Work, times: u64) -> io::Result<()> {
    match work.deed {
        Deed::BulkRead => {
            let mut buf = vec![0; work.bytes];
            let mut from = reader()?;
            while from.read(&mut buf).await? > 0 {}
            Ok(())
        }
        Deed::BulkWrite => write_all(writer()?, work, chunks(times, work.bytes)).await,
        Deed::Burst => burst(work, times).await,
        Deed::Cycle => cycle(times).await,
        Deed::RoundTrip => round_trips(times).await,
        Deed::Lone => {
            let (into, from) = lone_ends(work.end)?;
            let from = File::from(from);
            match work.end {
                End::Socket => lone(times, from, Async::new(UnixStream::from(into))?).await,
                End::Pipe | End::SharedPipe => {
                    lone(times, from, Async::new(File::from(into))?).await
                }
            }
        }
        Deed::Frame | Deed::Idle | Deed::Many | Deed::Polled | Deed::Small => {
            Err(io::Error::other(not_with(work.deed)))
        }
    }
}

async fn write_all(mut into: impl AsyncWrite + Unpin, work: Work, times: u64) -> io::Result<()> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        into.write_all(&message).await?;
    }
    Ok(())
}

async fn lone(times: u64, mut from: File, mut into: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buf = vec![7; CHUNK_BYTES];
    for message in 0..times {
        into.write_all(&[7; MESSAGE_BYTES]).await?;
        drain(&mut from, message, &mut buf)?;
    }
    Ok(())
}

async fn burst(work: Work, times: u64) -> io::Result<()> {
    let (mut from, mut into) = (reader()?, writer()?);
    let message = vec![7; work.bytes];
    for _ in 0..times {
        for _ in 0..work.count {
            into.write_all(&message).await?;
        }
        from.read_exact(&mut [0]).await?;
    }
    Ok(())
}

async fn round_trips(times: u64) -> io::Result<()> {
    let (mut from, mut into) = (reader()?, writer()?);
    let mut buf = [7; MESSAGE_BYTES];
    for _ in 0..times {
        into.write_all(&buf).await?;
        from.read_exact(&mut buf).await?;
    }
    Ok(())
}

async fn cycle(times: u64) -> io::Result<()> {
    let buf = vec![7; CHUNK_BYTES];
    for _ in 0..times {
        let (from, into) = io::pipe()?;
        let mut into = Async::new(File::from(OwnedFd::from(into)))?;
        into.write_all(&buf).await?;
        // It is left waiting, and taken back.
        assert!(future::poll_once(into.write(&buf)).await.is_none());
        drop(from);
    }
    Ok(())
}

/// Each producer has a thread and a duplicate of the descriptor of its own.
fn small(work: Work, times: u64) -> io::Result<()> {
    let produce = |times| {
        block_on(async {
            match work.end {
                End::Socket => {
                    let into = Async::new(UnixStream::from(output()?))?;
                    write_all(into, work, times).await
                }
                End::Pipe | End::SharedPipe => write_all(writer()?, work, times).await,
            }
        })
    };
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..work.count)
            .map(|producer| scope.spawn(move || produce(share(times, work.count, producer))))
            .collect();
        let mut ends = producers.into_iter().map(|producer| producer.join());
        ends.try_for_each(|end: Result<io::Result<()>, _>| end.expect("a producer does not panic"))
    })
}
