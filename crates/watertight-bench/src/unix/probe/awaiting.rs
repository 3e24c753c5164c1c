//! watertight under tokio: `.await`, and tokio's traits for frames and for many pipes.

use super::ours::{our_lone_ends, whole, writer};
use super::{
    CHUNK_BYTES, Deed, End, LENGTH_BYTES, MESSAGE_BYTES, Work, chunks, drain, input, not_with,
    runtime, share, tokio,
};
use crate::platform::text;
use std::io;
use std::time::Instant;
use watertight::{PipeReader, PipeWriter, ReaderOptions, WriterOptions};

pub(super) fn run(work: Work, times: u64, begin: &mut Instant) -> Result<(), String> {
    match work.deed {
        Deed::Idle => tokio::idle(work.count, new_pipe).map_err(text),
        Deed::Many => runtime()?
            .block_on(tokio::many(work.count, times, begin, new_pipe))
            .map_err(text),
        Deed::Small => small(work, times),
        Deed::BulkRead
        | Deed::BulkWrite
        | Deed::Burst
        | Deed::Cycle
        | Deed::Frame
        | Deed::Lone
        | Deed::Polled
        | Deed::RoundTrip => runtime()?.block_on(deed(work, times)),
    }
}

/// Tasks wait in the runtime's own reactor.
fn in_reactor() -> ReaderOptions {
    ReaderOptions::new().tokio_reactor(true)
}

fn new_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let pipe = watertight::pipe_with(in_reactor(), WriterOptions::new());
    pipe.map_err(text).map_err(io::Error::other)
}

fn reader() -> Result<PipeReader, String> {
    PipeReader::adopt_unshared(input().map_err(text)?, in_reactor()).map_err(text)
}

async fn deed(work: Work, times: u64) -> Result<(), String> {
    match work.deed {
        Deed::BulkRead => bulk_read(work).await,
        Deed::BulkWrite => {
            let into = writer(work.end)?;
            send_all(&into, work, chunks(times, work.bytes)).await?;
            whole(&into.finish().await.map_err(text)?)
        }
        Deed::Burst => burst(work, times).await,
        Deed::Cycle => cycle(times).await,
        Deed::Frame => {
            let (from, into) = (reader()?, writer(work.end)?);
            let done = tokio::round_trips(times, LENGTH_BYTES, from, into).await;
            done.map_err(text)
        }
        Deed::Lone => lone(work, times).await,
        Deed::RoundTrip => round_trips(times).await,
        Deed::Idle | Deed::Many | Deed::Polled | Deed::Small => Err(not_with(work.deed)),
    }
}

async fn bulk_read(work: Work) -> Result<(), String> {
    let mut buf = vec![0; work.bytes];
    let from = reader()?;
    while from.receive(&mut buf).await.map_err(text)? > 0 {}
    Ok(())
}

async fn send_all(into: &PipeWriter, work: Work, times: u64) -> Result<(), String> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        into.send(&message).await.map_err(text)?;
    }
    Ok(())
}

/// One writer for all producers, each of which has a thread and a runtime of its own.
fn small(work: Work, times: u64) -> Result<(), String> {
    let into = writer(work.end)?;
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..work.count)
            .map(|producer| {
                let into = &into;
                let times = share(times, work.count, producer);
                scope.spawn(move || runtime()?.block_on(send_all(into, work, times)))
            })
            .collect();
        let mut ends = producers.into_iter().map(|producer| producer.join());
        ends.try_for_each(|end| end.expect("a producer does not panic"))
    })?;
    whole(&into.finish().wait().map_err(text)?)
}

async fn lone(work: Work, times: u64) -> Result<(), String> {
    let mut buf = vec![7; CHUNK_BYTES];
    let (into, mut from) = our_lone_ends(work)?;
    for message in 0..times {
        into.send(&[7; MESSAGE_BYTES]).await.map_err(text)?;
        drain(&mut from, message, &mut buf).map_err(text)?;
    }
    Ok(())
}

async fn burst(work: Work, times: u64) -> Result<(), String> {
    let (from, into) = (reader()?, writer(work.end)?);
    let message = vec![7; work.bytes];
    for _ in 0..times {
        for _ in 0..work.count {
            into.send(&message).await.map_err(text)?;
        }
        receive_exact(&from, &mut [0]).await?;
    }
    Ok(())
}

async fn round_trips(times: u64) -> Result<(), String> {
    let (from, into) = (reader()?, writer(End::Pipe)?);
    let mut buf = [7; MESSAGE_BYTES];
    for _ in 0..times {
        into.send(&buf).await.map_err(text)?;
        receive_exact(&from, &mut buf).await?;
    }
    Ok(())
}

async fn receive_exact(from: &PipeReader, buf: &mut [u8]) -> Result<(), String> {
    let mut filled = 0;
    while filled < buf.len() {
        match from.receive(&mut buf[filled..]).await.map_err(text)? {
            0 => return Err("the other end is gone".into()),
            more => filled += more,
        }
    }
    Ok(())
}

async fn cycle(times: u64) -> Result<(), String> {
    let buf = vec![7; CHUNK_BYTES];
    for _ in 0..times {
        let (_from, into) = watertight::pipe().map_err(text)?;
        into.send(&buf).await.map_err(text)?;
        into.send(&buf).await.map_err(text)?;
        let _ = into.abort().await.map_err(text)?;
    }
    Ok(())
}
